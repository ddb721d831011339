//! JSON, Protobuf and wire form mean the same; each way to be dead has its reason; nothing makes the decoder panic.

use proptest::prelude::*;

use super::*;
use crate::event::EventType;
use crate::fault::Fault;
use crate::ids::{ClickId, DeviceId, EventKey, Fingerprint, IpHash, Subject, UserId};
use crate::symbols::Symbol;
use crate::units::{EventTime, Micros, TIME_MS_MAX};
use crate::wire::{ItemLine, to_json, to_protobuf};

const TIME_MS: i64 = 1_767_225_600_000;

fn decoder() -> Decoder {
    Decoder::new(IdHasher::new(b"test"), Arc::new(Symbols::new()), &IdRules::default())
}

fn hasher() -> IdHasher {
    IdHasher::new(b"test")
}

/// A valid event of a type, with no more than it needs.
fn least(event_type: EventType) -> wire::Event {
    let text = |needs: bool, text: &str| if needs { text.to_owned() } else { String::new() };
    let (cost, identify) = (event_type == EventType::Cost, event_type == EventType::Identify);
    wire::Event {
        r#type: event_type as i32,
        event_id: "e1".into(),
        event_time: Some(TIME_MS),
        tenant: "shop".into(),
        name: text(matches!(event_type, EventType::Event | EventType::Conversion), "purchase"),
        source: text(cost, "network"),
        currency: text(cost, "EUR"),
        cost_micros: cost.then_some(1),
        version: cost.then_some(1),
        user: text(identify, "u1"),
        login: text(identify, "a@shop.example"),
        ..wire::Event::default()
    }
}

fn decoded(wire: &wire::Event) -> Event {
    decoder().validate(wire).unwrap().event
}

fn reason(wire: &wire::Event) -> String {
    let reason = decoder().validate(wire).unwrap_err();
    assert_eq!(decoder().decode(&to_protobuf(wire), Encoding::Protobuf), Err(reason.clone()));
    reason.to_string()
}

fn json_reason(bytes: &[u8]) -> String {
    decoder().decode(bytes, Encoding::Json).unwrap_err().to_string()
}

#[test]
fn the_least_of_each_type_is_enough() {
    for event_type in EventType::ALL {
        let event = decoded(&least(event_type));
        assert_eq!(event.event_type, event_type);
        assert_eq!(event.tenant, Symbol::of("shop"));
        assert_eq!(event.event_id, hasher().event("shop", "e1"));
        assert_eq!(event.event_time, EventTime(TIME_MS));
    }
}

#[test]
fn what_a_type_needs_must_be_there() {
    let check = |event_type: EventType, expected: &str, take: fn(&mut wire::Event)| {
        let mut wire = least(event_type);
        take(&mut wire);
        assert_eq!(reason(&wire), expected);
    };
    for event_type in EventType::ALL {
        check(event_type, "missing type", |wire| wire.r#type = 0);
        check(event_type, "missing tenant", |wire| wire.tenant.clear());
        check(event_type, "missing tenant", |wire| wire.tenant = " \t".into());
        check(event_type, "missing event_id", |wire| wire.event_id.clear());
        check(event_type, "missing event_time", |wire| wire.event_time = None);
    }
    check(EventType::Event, "missing name", |wire| wire.name.clear());
    check(EventType::Conversion, "missing name", |wire| wire.name = " ".into());
    check(EventType::Conversion, "missing currency", |wire| wire.revenue_micros = Some(-1));
    check(EventType::Conversion, "missing currency", |wire| {
        wire.revenue_micros = Some(1);
        wire.currency = "(not set)".into();
    });
    check(EventType::Click, "missing currency", |wire| wire.cost_micros = Some(5));
    check(EventType::Cost, "missing source", |wire| wire.source.clear());
    check(EventType::Cost, "missing cost_micros", |wire| wire.cost_micros = None);
    check(EventType::Cost, "missing version", |wire| wire.version = None);
    check(EventType::Cost, "missing currency", |wire| wire.currency.clear());
    check(EventType::Identify, "identify needs two of user, device and login", |wire| wire.login.clear());
    check(EventType::Identify, "identify needs two of user, device and login", |wire| {
        wire.user.clear();
        wire.device = "00000000-0000-0000-0000-000000000000".into();
    });
}

#[test]
fn values_out_of_range_are_refused() {
    let check = |expected: &str, change: fn(&mut wire::Event)| {
        let mut wire = wire::Event { currency: "EUR".into(), ..least(EventType::Conversion) };
        change(&mut wire);
        assert_eq!(reason(&wire), expected);
    };
    check("revenue_micros out of range: 9007199254740993", |wire| wire.revenue_micros = Some((1 << 53) + 1));
    check("revenue_micros out of range: -9223372036854775808", |wire| wire.revenue_micros = Some(i64::MIN));
    check("cost_micros out of range: -9007199254740993", |wire| wire.cost_micros = Some(-(1 << 53) - 1));
    check("event_time out of range: -1", |wire| wire.event_time = Some(-1));
    check("event_time out of range: 253402300800000", |wire| wire.event_time = Some(253_402_300_800_000));
    check("tenant of 1025 bytes is longer than 1024", |wire| wire.tenant = "t".repeat(1025));
    check("version out of range: 9223372036854775807", |wire| {
        *wire = wire::Event { version: Some(i64::MAX), ..least(EventType::Cost) };
    });
    check("unknown event type 10", |wire| wire.r#type = 10);
    let largest =
        wire::Event { revenue_micros: Some(-(1 << 53)), currency: "EUR".into(), ..least(EventType::Conversion) };
    assert_eq!(decoded(&largest).revenue, Some(Micros(-(1 << 53))));
}

#[test]
fn malformed_bytes_are_refused_with_their_place() {
    assert_eq!(json_reason(b""), "malformed JSON: EOF while parsing a value at line 1 column 0");
    assert_eq!(json_reason(b"{\"type\":\"click\""), "malformed JSON: EOF while parsing an object at line 1 column 15");
    assert_eq!(json_reason(b"[\"click\"]"), "malformed JSON: an array, not an object");
    assert_eq!(json_reason(b"{\"user\":\"\xff\"}"), "invalid UTF-8 at byte 9");
    assert_eq!(json_reason(br#"{"type":"swipe"}"#), r#"unknown event type "swipe""#);
    let amount = |value: &str| {
        json_reason(format!(r#"{{"type":"conversion","event_id":"1","event_time":1772359200,"tenant":"t","name":"n","currency":"EUR",{value}}}"#).as_bytes())
    };
    assert_eq!(amount(r#""revenue_micros":9223372036854775808"#), "revenue_micros out of range: 9223372036854775807");
    assert_eq!(amount(r#""revenue_micros":9007199254740993"#), "revenue_micros out of range: 9007199254740993");
    assert_eq!(amount(r#""revenue":"12,50""#), r#"revenue: "12,50" is no number, as -12.50"#);
    assert_eq!(amount(r#""revenue":true"#), "revenue: is a boolean: write a number");
    assert!(amount(r#""revenue_micros":12.5"#).contains("is no whole number of micros"));
    assert!(amount(r#""revenue":1e300"#).starts_with("revenue: "));
    assert!(json_reason(format!(r#"{{"event_time":"{}"}}"#, "x".repeat(9_000)).as_bytes()).len() < 400);
    let large = json_reason(&vec![b' '; RECORD_BYTES_MAX + 1]);
    assert_eq!(large, "record of 1048577 bytes is larger than 1048576");

    let protobuf = to_protobuf(&least(EventType::Click));
    let cut = decoder().decode(&protobuf[..protobuf.len() - 1], Encoding::Protobuf).unwrap_err().to_string();
    assert!(cut.starts_with("malformed Protobuf: ") && cut.contains("Event.tenant"), "{cut}");
    let no_text = decoder().decode(b"\x12\x01\xff", Encoding::Protobuf).unwrap_err().to_string();
    assert!(no_text.contains("Event.event_id") && no_text.contains("UTF-8"), "{no_text}");
    assert_eq!(decoder().decode(b"", Encoding::Protobuf), Err(Reason::Missing("type")));
}

#[test]
fn a_record_that_broke_off_leaves_nothing_to_the_next() {
    let mut decoder = decoder();
    let whole = wire::Event { user: "u1".into(), ..least(EventType::Conversion) };
    let bytes = to_protobuf(&whole);
    decoder.decode(&bytes[..bytes.len() - 3], Encoding::Protobuf).unwrap_err();
    let next = to_protobuf(&least(EventType::Click));
    assert_eq!(decoder.decode(&next, Encoding::Protobuf).unwrap().event, decoded(&least(EventType::Click)));
}

#[test]
fn a_dead_record_adds_no_symbols_and_a_clash_is_dead() {
    let symbols = Arc::new(Symbols::with_hash(|name| Symbol(name.len() as i64)));
    let mut decoder = Decoder::new(hasher(), symbols.clone(), &IdRules::default());
    let mut wire = least(EventType::Event);
    wire.name.clear();
    decoder.validate(&wire).unwrap_err();
    wire = least(EventType::Event);
    wire.tenant = "c".repeat(NAME_BYTES_MAX + 1);
    decoder.validate(&wire).unwrap_err();
    assert_eq!(symbols.take_unsaved(), vec![]);

    decoder.validate(&least(EventType::Event)).unwrap();
    symbols.take_unsaved();
    let clash = wire::Event { channel: "social".into(), app: "game".into(), ..least(EventType::Event) };
    let reason = decoder.validate(&clash).unwrap_err();
    assert_eq!(reason.to_string(), r#"symbol 0x0000000000000004 of "game" already stands for "shop""#);
    assert_eq!(symbols.take_unsaved(), vec![]);
    assert_eq!(decoder.validate(&clash), Err(reason), "also when asked again");
}

#[test]
fn the_subject_is_the_user_else_the_device_else_the_click_id() {
    let subject = |user: &str, device: &str, click_id: &str, referrer: &str| {
        let [user, device, click_id, referrer] = [user, device, click_id, referrer].map(str::to_owned);
        decoded(&wire::Event { user, device, click_id, referrer, ..least(EventType::Install) }).subject
    };
    assert_eq!(subject("u", "d", "c", "r").0, hasher().user("shop", "u").0);
    assert_eq!(subject(" ", "d", "c", "r").0, hasher().device("shop", "d").0);
    assert_eq!(subject("", "optout", "c", "r").0, hasher().click("shop", "c").0);
    assert_eq!(subject("", "", "", "gclid=c").0, hasher().click("shop", "c").0);
    assert_eq!(subject("", "", "", ""), Subject::NONE);
}

#[test]
fn a_tombstone_has_the_key_of_its_target() {
    let target = wire::Event {
        device: "d1".into(),
        revenue_micros: Some(5),
        currency: "EUR".into(),
        ..least(EventType::Conversion)
    };
    let tombstone = wire::Event { device: "d1".into(), ..least(EventType::Tombstone) };
    assert_eq!(decoded(&tombstone).key(), decoded(&target).key());
    assert_ne!(decoded(&least(EventType::Tombstone)).key(), decoded(&target).key());
    let key = decoded(&target);
    assert_eq!(key.key(), EventKey::of(key.tenant, key.subject, key.event_id, key.event_time));
}

#[test]
fn the_events_own_system_comes_before_the_user_agent() {
    let phone = "Dalvik/2.1.0 (Linux; U; Android 12; Pixel 6 Build/SD1A.210817.036)";
    let event = |os: &str, os_version: &str, device_model: &str, user_agent: &str| {
        let [os, os_version, device_model, user_agent] = [os, os_version, device_model, user_agent].map(str::to_owned);
        let ip = "203.0.113.9".to_owned();
        decoded(&wire::Event { os, os_version, device_model, user_agent, ip, ..least(EventType::Click) })
    };
    let parsed = event("", "", "", phone);
    assert_eq!([parsed.os, parsed.os_version, parsed.device_model], ["android", "12", "Pixel 6"].map(Symbol::of));
    assert_eq!(parsed.ip_net, Symbol::of("203.0.113.0/24"));
    assert_eq!(parsed.ip, hasher().ip("shop", "203.0.113.9".parse().unwrap()));
    assert_eq!(parsed, event("Android", "12", "Pixel 6", ""));
    assert_eq!(parsed.fingerprint, event("ANDROID", "12.1", " Pixel 6 ", "unknown").fingerprint);
    assert_ne!(parsed.fingerprint, event("", "", "Pixel 7", phone).fingerprint);
    assert_eq!(event("", "", "Pixel 7", phone).os, Symbol::of("android"));
    assert_eq!(event("", "", "Pixel 7", "").fingerprint, Fingerprint::NONE);
    assert_eq!(event("android", "12", "", "curl/8").fingerprint, Fingerprint::NONE);
}

#[test]
fn a_whole_event_in_json_is_what_it_says() {
    let json = br#"{"type":"conversion","event_id":"o-1","event_time":"2026-01-01T00:00:00Z","tenant":"shop","app":"web",
        "user":"u1","device":"6D92078A-8246-4BA4-AE5B-76104861E7DC","click_id":"c1","campaign":"spring","channel":"search",
        "name":"purchase","items":[{"item":"sku-1","quantity":2,"amount_micros":1500000},{"item":"sku-2"}],
        "revenue_micros":1500000,"currency":"EUR","quantity":2,"new_field":{"a":[null]}}"#;
    let Decoded { event, items, .. } = decoder().decode(json, Encoding::Json).cloned().unwrap();
    let expected = Event {
        event_type: EventType::Conversion,
        tenant: Symbol::of("shop"),
        app: Symbol::of("web"),
        event_id: hasher().event("shop", "o-1"),
        event_time: EventTime(TIME_MS),
        subject: Subject(hasher().user("shop", "u1").0),
        user: hasher().user("shop", "u1"),
        device: hasher().device("shop", "6d92078a-8246-4ba4-ae5b-76104861e7dc"),
        click: hasher().click("shop", "c1"),
        campaign: Symbol::of("spring"),
        channel: Symbol::of("search"),
        name: Symbol::of("purchase"),
        quantity: Some(2),
        revenue: Some(Micros(1_500_000)),
        currency: Symbol::of("EUR"),
        ..Event::default()
    };
    assert_eq!(event, expected);
    assert_eq!(items.as_deref(), Some(r#"[{"item":"sku-1","quantity":2,"amount_micros":1500000},{"item":"sku-2"}]"#));
    assert!(event.user != UserId::NONE && event.device != DeviceId::NONE && event.click != ClickId::NONE);
}

#[test]
fn an_install_that_began_at_zero_began_at_no_known_time() {
    let event = decoded(&wire::Event { install_begin_time: Some(0), ..least(EventType::Install) });
    assert_eq!(event.install_begin_time, None);
}

#[test]
fn the_types_of_the_wire_are_those_of_the_dataflow() {
    for event_type in EventType::ALL {
        let wire = wire::EventType::try_from(event_type as i32).unwrap();
        assert_eq!(wire.as_str_name(), format!("EVENT_TYPE_{}", event_type.name().to_uppercase()));
    }
    assert!(wire::EventType::try_from(EventType::ALL.len() as i32 + 1).is_err());
}

fn word() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => Just(String::new()),
        4 => "[a-z]{1,3}",
        1 => " ?[A-Z0-9ü\"\\\\-]{1,12} ?",
        1 => Just("203.0.113.9".to_owned()),
        1 => Just("Dalvik/2.1.0 (Linux; U; Android 12; Pixel 6 Build/SD1A)".to_owned()),
    ]
}

fn number() -> impl Strategy<Value = Option<i64>> {
    prop_oneof![3 => Just(None), 3 => (0i64..TIME_MS_MAX).prop_map(Some), 1 => any::<i64>().prop_map(Some)]
}

/// JSON tells the unit of a time by its size, so times are ones in milliseconds.
fn time() -> impl Strategy<Value = Option<i64>> {
    prop_oneof![1 => Just(None), 3 => (TIME_MS_MIN..=TIME_MS_MAX).prop_map(Some)]
}

prop_compose! {
    fn events()(
        r#type in 1i32..=9,
        texts in proptest::collection::vec(word(), 24),
        numbers in proptest::collection::vec(number(), 4),
        times in proptest::collection::vec(time(), 2),
        items in proptest::collection::vec((word(), number(), number()), 0..3),
        usual in any::<bool>(),
    ) -> wire::Event {
        let mut texts = texts.into_iter();
        let mut text = || texts.next().unwrap_or_default();
        let mut event = wire::Event {
            r#type,
            event_id: text(),
            event_time: times[0],
            tenant: text(),
            app: text(),
            user: text(),
            device: text(),
            click_id: text(),
            referrer: text(),
            login: text(),
            campaign: text(),
            ad_group: text(),
            creative: text(),
            source: text(),
            channel: text(),
            placement: text(),
            ip: text(),
            user_agent: text(),
            os: text(),
            os_version: text(),
            device_model: text(),
            language: text(),
            country: text(),
            name: text(),
            item: text(),
            quantity: numbers[0],
            items: items.into_iter().map(|(item, quantity, amount_micros)| ItemLine { item, quantity, amount_micros }).collect(),
            revenue_micros: numbers[1],
            cost_micros: numbers[2],
            currency: "EUR".to_owned(),
            version: numbers[3],
            install_begin_time: times[1],
        };
        if usual {
            // Most random events lack something: these lack less, so that many are valid.
            event = wire::Event {
                event_id: "e1".into(),
                event_time: Some(TIME_MS),
                tenant: "shop".into(),
                name: "purchase".into(),
                ..event
            };
        }
        event
    }
}

/// What an event has by way of faults: field, reason, value.
fn faults(decoded: &Decoded) -> Vec<(&str, &str, Option<&str>)> {
    decoded.extras.faults.iter().map(|Fault { field, reason, value }| (*field, *reason, value.as_deref())).collect()
}

fn check_fault(expected: (&str, &str, Option<&str>), change: impl Fn(&mut wire::Event)) -> Event {
    let mut wire = wire::Event { currency: "EUR".into(), ..least(EventType::Conversion) };
    change(&mut wire);
    let mut decoder = decoder();
    let decoded = decoder.decode(&to_protobuf(&wire), Encoding::Protobuf).unwrap();
    assert_eq!(faults(decoded), [expected]);
    decoded.event
}

#[test]
fn an_optional_field_never_loses_an_event() {
    let out_of_range = |field| (field, "out of range", None);
    let check = |expected, change: fn(&mut wire::Event)| check_fault(expected, change);
    assert_eq!(check(out_of_range("quantity"), |wire| wire.quantity = Some(i64::MAX)).quantity, None);
    assert_eq!(check(out_of_range("version"), |wire| wire.version = Some(i64::MIN)).version, None);
    assert_eq!(
        check(out_of_range("install_begin_time"), |wire| wire.install_begin_time = Some(-5)).install_begin_time,
        None
    );
    check(out_of_range("items.amount_micros"), |wire| {
        wire.items = vec![ItemLine { amount_micros: Some(i64::MAX), ..ItemLine::default() }];
    });
    for (ip, reason) in
        [("300.1.1.1", "no address"), ("10.0.0.1", "not public"), ("1.2.3.xxx", "masked"), ("unknown", "placeholder")]
    {
        let event = check_fault(("ip", reason, None), |wire| wire.ip = ip.into());
        assert_eq!((event.ip, event.ip_net), (IpHash::NONE, Symbol::NONE));
    }
    let none = decoded(&wire::Event { ip: " ".into(), ..least(EventType::Click) });
    assert_eq!(none.ip, IpHash::NONE);
    let listed = decoded(&wire::Event { ip: "203.0.113.9:443, 10.0.0.1".into(), ..least(EventType::Click) });
    assert_eq!(listed.ip, hasher().ip("shop", "203.0.113.9".parse().unwrap()));
}

#[test]
fn overlong_names_are_cut_and_stay_two() {
    let long = |end: &str| format!("{}{end}", "ü".repeat(600));
    let campaign =
        |name: String| check_fault(("campaign", "cut", None), |wire| wire.campaign.clone_from(&name)).campaign;
    assert_ne!(campaign(long("a")), campaign(long("b")));
    assert_eq!(campaign(long("a")), campaign(long("a")));
    let exact = decoded(&wire::Event { campaign: "c".repeat(NAME_BYTES_MAX), ..least(EventType::Click) });
    assert_eq!(exact.campaign, Symbol::of(&"c".repeat(NAME_BYTES_MAX)));
}

#[test]
fn nothing_costs_nothing_in_no_currency() {
    for amount in [None, Some(0)] {
        let event = decoded(&wire::Event { revenue_micros: amount, ..least(EventType::Conversion) });
        assert_eq!((event.revenue, event.currency), (amount.map(Micros), Symbol::NONE));
    }
    decoded(&wire::Event { cost_micros: Some(0), currency: String::new(), ..least(EventType::Cost) });
}

#[test]
fn placeholders_are_no_ids_and_are_counted() {
    let placeholder = |field, value| (field, "placeholder", Some(value));
    assert_eq!(check_fault(placeholder("user", "null"), |wire| wire.user = " NULL ".into()).user, UserId::NONE);
    assert_eq!(check_fault(placeholder("device", "0"), |wire| wire.device = "0000-00".into()).device, DeviceId::NONE);
    assert_eq!(
        check_fault(placeholder("click_id", "{gclid}"), |wire| wire.click_id = "%7Bgclid%7D".into()).click,
        ClickId::NONE
    );
    check_fault(placeholder("login", "na"), |wire| wire.login = "N/A".into());
    check_fault(placeholder("referrer", "{gclid}"), |wire| wire.referrer = "gclid={gclid}".into());
    assert_eq!(
        reason(&wire::Event { event_id: "(null)".into(), ..least(EventType::Click) }),
        "event_id \"null\" is a placeholder, no id: send an id of the event, the same in all its copies"
    );
    decoded(&wire::Event { event_id: "0".into(), ..least(EventType::Click) });
    for person in ["7", "22"] {
        assert_eq!(
            decoded(&wire::Event { user: person.into(), ..least(EventType::Click) }).user,
            hasher().user("shop", person)
        );
    }
}

#[test]
fn a_job_adds_placeholders_and_click_parameters() {
    let rules = IdRules { placeholders: vec!["Test-User".into()], click_parameters: vec!["clickref".into()] };
    let mut decoder = Decoder::new(hasher(), Arc::new(Symbols::new()), &rules);
    let mut wire = wire::Event { user: "test-user".into(), referrer: "CLICKREF=X".into(), ..least(EventType::Click) };
    let found = decoder.validate(&wire).unwrap();
    assert_eq!((found.event.user, found.event.click), (UserId::NONE, hasher().click("shop", "X")));
    assert_eq!(faults(found), [("user", "placeholder", Some("test-user"))]);
    wire.referrer = "gclid=Y&clickref=X".into();
    assert_eq!(decoder.validate(&wire).unwrap().event.click, hasher().click("shop", "Y"));
    assert_eq!(decoded(&wire).click, hasher().click("shop", "Y"));
}

#[test]
fn a_referrer_stands_in_where_the_event_is_silent() {
    let referrer = "utm_source=google-play&utm_medium=organic&utm_campaign=(not%20set)&gclid=X".to_owned();
    let mut decoder = decoder();
    let mut wire = wire::Event { referrer, ..least(EventType::Install) };
    let found = decoder.validate(&wire).unwrap().clone();
    assert_eq!(found.event.click, hasher().click("shop", "X"));
    assert_eq!([found.event.source, found.event.channel], ["google-play", "organic"].map(Symbol::of));
    assert_eq!(found.event.campaign, Symbol::NONE);
    assert_eq!(faults(&found), [("campaign", "placeholder", Some("notset"))]);
    assert_eq!(
        found.extras.referrer.as_deref(),
        Some("utm_source=google-play&utm_medium=organic&utm_campaign=(not%20set)")
    );
    wire = wire::Event { click_id: "C".into(), channel: "search".into(), campaign: "spring".into(), ..wire };
    let found = decoder.validate(&wire).unwrap();
    assert_eq!(found.event.click, hasher().click("shop", "C"), "an explicit click id wins");
    assert_eq!([found.event.channel, found.event.campaign], ["search", "spring"].map(Symbol::of));
    assert_eq!(faults(found), []);
    wire.referrer.clear();
    assert_eq!(decoder.validate(&wire).unwrap().extras, Extras::default(), "nothing is left of the record before");
    let page = wire::Event { referrer: "https://www.google.com/?q=shoes".into(), ..least(EventType::Click) };
    let found = decoder.validate(&page).unwrap();
    assert_eq!((found.event.click, found.event.subject), (ClickId::NONE, Subject::NONE));
    assert_eq!(found.extras.referrer.as_deref(), Some("https://www.google.com/"));
}

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

#[test]
fn short_and_long_names_are_told_apart() {
    let names: Vec<String> = (1..30).map(|length| "n".repeat(length)).chain(["n\0".into(), "n\0\0".into()]).collect();
    let mut decoder = decoder();
    // The second time they are remembered.
    for _ in 0..2 {
        for name in &names {
            assert_eq!(
                decoder.checker.names.symbols([("campaign", name.as_str())]),
                Ok([Symbol::of(name)]),
                "{name:?}"
            );
        }
    }
    assert_eq!(decoder.checker.names.remembered(), names.len());
}

proptest! {
    #[test]
    fn json_protobuf_and_wire_form_mean_the_same(wire in events()) {
        let mut decoder = decoder();
        let expected = decoder.validate(&wire).cloned();
        let (json, protobuf) = (to_json(&wire), to_protobuf(&wire));
        prop_assert_eq!(&decoder.decode(&json, Encoding::Json).cloned(), &expected);
        prop_assert_eq!(&decoder.decode(&protobuf, Encoding::Protobuf).cloned(), &expected);
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let mut decoder = decoder();
        for encoding in [Encoding::Json, Encoding::Protobuf] {
            let _ = decoder.decode(&bytes, encoding);
        }
    }

    #[test]
    fn no_damage_makes_it_panic(wire in events(), cut in any::<prop::sample::Index>(), at in any::<prop::sample::Index>(), byte: u8) {
        let mut decoder = decoder();
        for encoding in [Encoding::Json, Encoding::Protobuf] {
            let mut bytes = encoding.encode(&wire);
            let _ = decoder.decode(&bytes[..cut.index(bytes.len())], encoding);
            let at = at.index(bytes.len());
            bytes[at] = byte;
            let _ = decoder.decode(&bytes, encoding);
        }
    }
}
