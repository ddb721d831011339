//! JSON as people write it: what is read, what is a fault, what is strict, and what the reasons say.

use super::*;

#[test]
fn json_is_read_as_people_write_it() {
    let least = |rest: &str| format!(r#"{{"type":"click","event_id":"1","event_time":1772359200,"tenant":"t"{rest}}}"#);
    let mut decoder = decoder();
    let mut read = |json: &str| decoder.decode(json.as_bytes(), Encoding::Json).cloned();
    let plain = read(&least("")).unwrap();
    assert_eq!(plain.event.event_time, EventTime(1_772_359_200_000));
    for same in [
        r#"{"type":" Click ","event_id":1,"event_time":"1772359200000","tenant":"t"}"#,
        r#"{"tenant":"t","event_time":"2026-03-01T10:00:00Z","event_id":1.0,"type":"CLICK"}"#,
        r#"{"type":"EVENT_TYPE_CLICK","event_id":"1","event_time":1772359200000000,"tenant":"t","user":null}"#,
        "\u{feff}{\"type\":\"click\",\"event_id\":\"1\",\"event_time\":1.7723592e9,\"tenant\":\"t\"}",
        r#"{"type":"click","event_id":"1","event_id":"1","event_time":1772359200,"tenant":"t"}"#,
    ] {
        assert_eq!(read(same).as_ref(), Ok(&plain), "{same}");
    }
    let user = |value: &str, read: &mut dyn FnMut(&str) -> Result<Decoded, Reason>| {
        read(&least(&format!(r#","user":{value}"#))).unwrap()
    };
    assert_eq!(user("7", &mut read).event.user, hasher().user("t", "7"));
    assert_eq!(user("\"7\"", &mut read).event.user, hasher().user("t", "7"));
    assert_eq!(user("12345678901234567890123", &mut read).event.user, hasher().user("t", "12345678901234567890123"));
    for value in ["true", "[7]", "{\"id\":7}"] {
        let found = user(value, &mut read);
        assert_eq!((found.event.user, faults(&found)), (UserId::NONE, vec![("user", "wrong type", None)]), "{value}");
    }
    let twice = read(&least(r#","user":"a","user":"b""#)).unwrap();
    assert_eq!((twice.event.user, faults(&twice)), (hasher().user("t", "b"), vec![("user", "given twice", None)]));
    let unknown = read(&least(r#","colour":{"a":[1]},"size":2,"colour":3"#)).unwrap();
    assert_eq!(unknown.extras.unknown_fields, ["colour".into(), "size".into()]);
    let many: String = (0..40).map(|number| format!(r#","x{number}{}":1"#, "y".repeat(100))).collect();
    let many = read(&least(&many)).unwrap().extras.unknown_fields;
    assert!(many.len() == 16 && many.iter().all(|name| name.len() == 64));
    let items = read(&least(r#","items":[{"item":7,"quantity":"2","amount_micros":"x"},5]"#)).unwrap();
    assert_eq!(items.items.as_deref(), Some(r#"[{"item":"7","quantity":2}]"#));
    assert_eq!(faults(&items), [("items.amount_micros", "unreadable", None), ("items", "wrong type", None)]);
    let odd = read(&least(r#","quantity":"many","items":5,"install_begin_time":"soon","version":1.5"#)).unwrap();
    let fields: Vec<&str> = odd.extras.faults.iter().map(|fault| fault.field).collect();
    assert_eq!(fields, ["quantity", "items", "version", "install_begin_time"]);
}

#[test]
fn amounts_in_json_are_decimals() {
    let read = |rest: &str| {
        let json = format!(
            r#"{{"type":"conversion","event_id":"1","event_time":1772359200,"tenant":"t","name":"n","currency":"EUR",{rest}}}"#
        );
        let decoded = decoder().decode(json.as_bytes(), Encoding::Json).unwrap().clone();
        (
            decoded.event.revenue.map(|micros| micros.0),
            decoded.extras.faults.first().map(|fault| (fault.field, fault.reason)),
        )
    };
    for rest in [
        r#""revenue_micros":12500000"#,
        r#""revenue_micros":"12500000""#,
        r#""revenue_micros":1.25e7"#,
        r#""revenue":12.5"#,
        r#""revenue":"12.50""#,
        r#""revenue":12.5,"revenue_micros":12500000"#,
    ] {
        assert_eq!(read(rest), (Some(12_500_000), None), "{rest}");
    }
    assert_eq!(read(r#""revenue":59.970000000000006"#), (Some(59_970_000), Some(("revenue", "rounded to micros"))));
    assert_eq!(read(r#""revenue":"0.0000005""#), (Some(0), Some(("revenue", "rounded to micros"))));
    assert_eq!(read(r#""revenue":"0.0000015""#), (Some(2), Some(("revenue", "rounded to micros"))));
    assert_eq!(
        read(r#""revenue":99,"revenue_micros":12500000"#),
        (Some(12_500_000), Some(("revenue", "disagrees with the amount in micros")))
    );
    assert_eq!(read(r#""revenue":"""#), (None, None));
    assert_eq!(read(r#""revenue":null"#), (None, None));
}

#[test]
fn what_identifies_or_dates_is_strict_and_says_what_was_found() {
    let check = |json: &str, expected: &str| assert_eq!(json_reason(json.as_bytes()), expected, "{json}");
    check(r#"{"type":"click","event_id":true}"#, "event_id is a boolean: write a text or a whole number");
    check(r#"{"type":"click","tenant":["t"]}"#, "tenant is an array: write a text or a whole number");
    check(r#"{"type":2}"#, r#"type is a number: write the name of a type, as "click""#);
    check(r#"{"type":"swipe"}"#, r#"unknown event type "swipe""#);
    check(r#"{"type":"click","event_id":"1","event_id":"2"}"#, "event_id is given twice, with two values");
    check(r#"{"type":"click","event_time":5}"#, "event_time 5 is no time from 2000 on in s, ms, µs or ns since 1970");
    check(r#"{"type":"click","event_time":false}"#, "event_time is a boolean: write a number or an ISO 8601 text");
    assert!(json_reason(br#"{"event_time":"1999-12-31T23:59:59Z"}"#).contains("is before 2000"));
    check(r#""{}""#, "malformed JSON: a text, not an object: is it encoded twice?");
    check(r#"{"type":"click"} {}"#, "malformed JSON: trailing characters at line 1 column 18");
    let utf16 = |order: fn(u16) -> [u8; 2]| r#"{"type":"click"}"#.encode_utf16().flat_map(order).collect::<Vec<u8>>();
    for bytes in
        [utf16(u16::to_le_bytes), utf16(u16::to_be_bytes), [&b"\xff\xfe"[..], &utf16(u16::to_le_bytes)].concat()]
    {
        assert_eq!(json_reason(&bytes), "UTF-16 text: events are read as UTF-8");
    }
    let seconds = wire::Event { event_time: Some(1_772_359_200), ..least(EventType::Click) };
    let wrong = decoder().decode(&to_protobuf(&seconds), Encoding::Protobuf).unwrap_err().to_string();
    assert_eq!(
        wrong,
        "event_time 1772359200 ms is before 2000: it looks like seconds (epoch_s), and milliseconds (epoch_ms) are needed"
    );
    decoder().validate(&seconds).unwrap();
}

#[test]
fn what_a_schema_registry_writes_is_named() {
    for encoding in [Encoding::Json, Encoding::Protobuf] {
        let framed = [&[0, 0, 0, 1, 2][..], &encoding.encode(&least(EventType::Click))].concat();
        let reason = decoder().decode(&framed, encoding).unwrap_err();
        assert_eq!(reason, Reason::Framed(258), "{encoding:?}");
        assert!(reason.to_string().contains("`framing: confluent`"), "{reason}");
    }
}
