//! JSON, Protobuf and wire form mean the same; each way to be dead has its reason; nothing makes the decoder panic.

mod json;

use proptest::prelude::*;

use super::*;
use crate::event::EventType;
use crate::fault::Fault;
use crate::ids::{ClickId, DeviceId, EventKey, Fingerprint, IpHash, Subject, UserId};
use crate::network::Network;
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
    assert_eq!(parsed.ip_net, Network::of("203.0.113.9".parse().unwrap()));
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
        assert_eq!((event.ip, event.ip_net), (IpHash::NONE, Network::NONE));
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
    check_fault(placeholder("login", "n/a"), |wire| wire.login = "N/A".into());
    check_fault(placeholder("referrer", "{gclid}"), |wire| wire.referrer = "gclid={gclid}".into());
    assert_eq!(
        reason(&wire::Event { event_id: "(null)".into(), ..least(EventType::Click) }),
        "event_id \"null\" is a placeholder, no id: send an id of the event, the same in all its copies"
    );
    let uuid = wire::Event { event_id: "00000000-0000-0000-0000-000000000000".into(), ..least(EventType::Click) };
    assert!(reason(&uuid).starts_with("event_id \"0\" is a placeholder"));
    for first in ["0", "0-0", "000"] {
        decoded(&wire::Event { event_id: first.into(), ..least(EventType::Click) });
    }
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
    assert_eq!(faults(&found), [("campaign", "placeholder", Some("not set"))]);
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
