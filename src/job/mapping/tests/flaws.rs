//! Cells that no field can take as they are: the field is absent and counted, unless it identifies, dates or pays, or
//! a condition looks at it.

use schemas::fault::{GIVEN_TWICE, HALF_SURROGATE, NO_UTF8, PLACEHOLDER, WRONG_TYPE};

use super::*;

const SHOP: &str = r#"
format: jsonl
tenant: t
event_time: { column: ts, format: iso8601, zone: { column: tz } }
emit:
  - { type: click, when: { kind: [click] }, set: { user: who, campaign: by.campaign, device: [a, b], app: site } }
  - { type: conversion, when: { kind: [buy] }, set: { event_id: id, user: who, name: what, quantity: many, revenue_micros: { column: paid, unit: units }, currency: in } }
  - { type: identify, when: { kind: [login] }, set: { user: who, device: a, login: mail } }
  - { type: cost, when: { kind: [cost] }, set: { source: by.source, version: many, cost_micros: { column: paid, unit: units }, currency: in } }
  - { type: open, when: { present: opened }, set: { user: who } }
  - { type: open, when: { test: ["true"] }, set: { user: who } }
"#;

/// What the members of an object make with `ts` and `tz` as usual: events, or the reason why there is none.
fn made(members: impl AsRef<[u8]>) -> Result<Vec<Result<Mapped, String>>, String> {
    let time = br#"{"ts": "2026-03-01 10:00", "tz": "UTC", "#;
    let bytes = [time, members.as_ref(), b"}"].concat();
    let mapping = mapping(SHOP);
    let (mut cells, mut mapped, mut all) = (Cells::default(), Mapped::default(), Vec::new());
    JsonColumns::of(&mapping).read(json_text(&bytes), &mut cells)?;
    let id = RowId { content: &[7; 32], row: 0 };
    mapping.apply(id, &cells, 0, &mut mapped, |_, made| all.push(made.cloned().map_err(str::to_owned)));
    Ok(all)
}

/// The one event, and its faults as `field: reason`.
fn event(members: impl AsRef<[u8]>) -> (wire::Event, Vec<String>) {
    let all = made(&members).unwrap_or_else(|reason| panic!("{reason}"));
    assert_eq!(all.len(), 1);
    let Mapped { event, faults } = all[0].clone().unwrap_or_else(|reason| panic!("{reason}"));
    let faults = faults.into_iter().map(|Fault { field, reason, value }| match value {
        Some(value) => format!("{field}: {reason} {value}"),
        None => format!("{field}: {reason}"),
    });
    (event, faults.collect())
}

/// Why the one entry that wants the object makes no event, or why the object cannot be read.
fn dead(members: impl AsRef<[u8]>) -> String {
    match made(&members) {
        Ok(all) => {
            assert_eq!(all.len(), 1);
            all[0].clone().expect_err("no event")
        }
        Err(reason) => reason,
    }
}

#[test]
fn an_optional_field_that_is_no_text_is_absent_and_counted() {
    for (value, fault) in [
        (&br#""\ud800x""#[..], format!("campaign: {HALF_SURROGATE}")),
        (b"\"caf\xe9\"", format!("campaign: {NO_UTF8}")),
        (br#"["a", "b"]"#, format!("campaign: {WRONG_TYPE} an array")),
        (b"[]", format!("campaign: {WRONG_TYPE} an array")),
        (br#"{"id": 1}"#, format!("campaign: {WRONG_TYPE} an object")),
        (b"true", format!("campaign: {WRONG_TYPE} a boolean")),
    ] {
        let members = [br#""kind": "click", "who": "u", "by": {"campaign": "#, value, b"}"].concat();
        let (event, faults) = event(members);
        assert_eq!((event.user.as_str(), event.campaign.as_str(), faults), ("u", "", vec![fault]));
    }
    // Joined columns are absent where one of them is; what the mapping says of all rows does not stand in.
    let (event, faults) = event(r#""kind": "click", "a": "x", "b": [1], "site": {}"#);
    assert_eq!((event.device.as_str(), event.app.as_str(), faults.len()), ("", "", 2), "{faults:?}");
    let (event, faults) = self::event(r#""kind": "buy", "id": "e", "what": "order", "many": [2]"#);
    assert_eq!((event.quantity, faults), (None, vec![format!("quantity: {WRONG_TYPE} an array")]));
}

#[test]
fn of_an_optional_member_that_is_twice_the_last_stands_and_is_counted() {
    let campaign = |members: &str| {
        let (event, faults) = event(format!(r#""kind": "click", {members}"#));
        (event.campaign, faults)
    };
    let twice = || vec![format!("campaign: {GIVEN_TWICE}")];
    assert_eq!(campaign(r#""by": {"campaign": "x"}, "by": {"campaign": "y"}"#), ("y".to_owned(), twice()));
    assert_eq!(campaign(r#""by": {"campaign": "x", "campaign": "y"}"#), ("y".to_owned(), twice()));
    assert_eq!(campaign(r#""by": {"campaign": "x", "campaign": null}"#), (String::new(), twice()));
    assert_eq!(campaign(r#""by": {"campaign": "x", "campaign": ["y"]}"#), (String::new(), twice()));
    // With one value it is given once, and one that is not named may say what it likes.
    assert_eq!(campaign(r#""by": {"campaign": "x", "campaign": "x"}"#), ("x".to_owned(), vec![]));
    assert_eq!(campaign(r#""by": {"campaign": "x", "z": 1, "z": 2}, "z": 1, "z": 2"#), ("x".to_owned(), vec![]));
    // Where a joined column is twice and another cannot be read, nothing stands.
    let (event, faults) = event(r#""kind": "click", "a": "x", "a": "y", "b": [1]"#);
    assert_eq!((event.device.as_str(), faults), ("", vec![format!("device: {WRONG_TYPE} an array")]));
}

#[test]
fn what_identifies_dates_or_pays_is_strict() {
    let buy = |members: &str| dead(format!(r#""kind": "buy", {members}"#));
    for (reason, expected) in [
        (buy(r#""what": "o", "id": ["e"]"#), "column id: is an array"),
        (buy(r#""what": "o", "id": "e", "id": "f""#), "column id: is given twice, with two values"),
        (buy(r#""what": {"a": 1}"#), "column what: is an object, where a text or a number is needed: name one of its"),
        (buy(r#""what": true"#), "column what: is a boolean"),
        (buy(r#""what": "o", "paid": [1], "in": "EUR""#), "column paid: is an array"),
        (buy(r#""what": "o", "paid": 1, "paid": 2, "in": "EUR""#), "column paid: is given twice"),
        (buy(r#""what": "o", "paid": 1, "in": "\ud800""#), "column in: is a text with half a surrogate pair"),
        (buy(r#""what": "o", "paid": 1, "in": "EUR", "in": "USD""#), "column in: is given twice"),
        (buy(r#""what": "o", "ts": "2026-03-02""#), "column ts: is given twice"),
        (buy(r#""what": "o", "tz": ["Asia/Tokyo"]"#), "column tz: is given twice"),
        (
            dead(r#""kind": "cost", "by": {"source": [1]}, "paid": 1, "in": "EUR", "many": 1"#),
            "column by.source: is an array",
        ),
        (
            dead(r#""kind": "cost", "by": {"source": "s"}, "paid": 1, "in": "EUR", "many": {}"#),
            "column many: is an object",
        ),
        (dead(r#""kind": "login", "who": "u", "a": [1]"#), "column a: is an array"),
        (
            dead(b"\"kind\": \"buy\", \"what\": \"caf\xe9\""),
            "column what: invalid UTF-8: if the file has another encoding",
        ),
    ] {
        assert!(reason.starts_with(expected), "{expected}: {reason}");
    }
    // Nothing costs the same in every currency, and two ids are enough to link.
    assert_eq!(
        event(r#""kind": "buy", "what": "o", "paid": 0, "in": [1]"#).1,
        [format!("currency: {WRONG_TYPE} an array")]
    );
    assert_eq!(event(r#""kind": "login", "who": "u", "a": [1], "mail": "m"#.to_owned() + "\"").1.len(), 1);
}

#[test]
fn what_a_condition_looks_at_is_strict_but_for_its_type() {
    for members in [&br#""kind": "click", "kind": "buy""#[..], br#""kind": "\udfff""#, b"\"kind\": \"\xff\""] {
        // Once, though every entry looks at it.
        assert!(dead(members).starts_with("column kind: "), "{members:?}");
    }
    // An entry that does not look at it makes its event.
    let all = made(r#""kind": "click", "who": "u", "test": "\ud800""#).unwrap();
    assert_eq!(all[0].as_ref().unwrap().event.user, "u");
    assert_eq!(
        (all.len(), all[1].as_ref().unwrap_err().as_str()),
        (2, "column test: is a text with half a surrogate pair")
    );
    assert_eq!(event(r#""opened": {"at": 1}, "who": "u""#).0.user, "u");
    assert_eq!(event(r#""opened": [], "who": "u""#).0.user, "u");
    assert_eq!(event(r#""test": true, "who": "u""#).0.user, "u");
    assert_eq!(made(r#""test": false, "who": "u""#).unwrap().len(), 0);
}

#[test]
fn names_that_may_be_broken_are_not_guessed() {
    let mapping = mapping(&SHOP.replace("by.campaign", "größe"));
    let bytes = [br#"{"ts": "2026-03-01", "kind": "click", "gr"#, &b"\xf6\xdfe\": \"L\"}"[..]].concat();
    let error = JsonColumns::of(&mapping).read(json_text(&bytes), &mut Cells::default()).unwrap_err();
    assert!(error.starts_with("byte 41: invalid UTF-8: "), "{error}");
}

#[test]
fn placeholders_of_amounts_are_empty_cells() {
    for cell in ["null", "NULL", "N/A", "n/a", "-", "(not set)", "NaN", "—", "{price}"] {
        let set = "{quantity: b, revenue_micros: {product: [a, b], unit: units}, currency: {const: EUR}}";
        let Mapped { event, faults } = super::made("", set, cell, "2", "").unwrap();
        assert_eq!((event.quantity, event.revenue_micros), (Some(2), None), "{cell}");
        let [Fault { field: "revenue_micros", reason: PLACEHOLDER, value: Some(_) }] = &faults[..] else {
            panic!("{cell}: {faults:?}");
        };
        let Mapped { event, faults } = super::made("", "{quantity: a}", cell, "", "").unwrap();
        assert_eq!((event.quantity, faults[0].reason), (None, PLACEHOLDER), "{cell}");
    }
    // Zeros and ones are numbers, whatever they may be as ids.
    for (cell, micros) in [("0", 0), ("-1", -1), ("0.0", 0), ("1111111111111111", 1_111_111_111_111_111)] {
        assert_eq!(
            set("{revenue_micros: a, currency: {const: EUR}}", cell, "", "").unwrap().revenue_micros,
            Some(micros)
        );
    }
    // A cost is none without its amount.
    let cost = |cell: &str| {
        let text = "{format: csv, tenant: t, event_time: {column: t, format: iso8601}, emit: [{type: cost, \
                    set: {source: {const: s}, cost_micros: {product: [b, a], unit: units}, currency: {const: EUR}, version: {const: 1}}}]}";
        emitted(&mapping(text), &[&["t", "a", "b"], &["2026-03-01", cell, "2"]]).remove(0).1.unwrap_err()
    };
    assert_eq!(
        cost("N/A"),
        "column a: \"N/A\" stands for no amount, and a cost needs its amount: write 0 in the file where nothing was spent, \
         or leave such rows out, as by `when: { not: { a: [\"N/A\"] } }`"
    );
    assert!(
        cost("").starts_with("column a: is empty, and a cost needs") && cost("").ends_with("`when: { present: a }`")
    );
}

#[test]
fn constants_that_make_every_event_wrong_are_refused() {
    let entry = |kind: &str, set: &str| {
        let text = format!(
            "format: csv\ntenant: t\nevent_time: {{ column: t, format: iso8601 }}\nemit:\n  - type: {kind}\n    set:\n      {set}\n"
        );
        Mapping::parse(Path::new("m.yaml"), &text).map(|_| ()).map_err(|error| error.to_string())
    };
    let money = |currency: &str| {
        entry("conversion", &format!("name: what\n      revenue_micros: r\n      currency: {{ const: {currency} }}"))
    };
    for currency in ["\"null\"", "N/A", "(not set)", "\"-\"", "$", "\"000\"", "{{currency}}"] {
        let currency = if currency.starts_with('{') { format!("\"{currency}\"") } else { currency.to_owned() };
        let error = money(&currency).expect_err(&currency);
        assert!(error.starts_with("m.yaml:9: emit[0].set.currency.const: ") && error.contains("as EUR"), "{error}");
    }
    assert!(money(&"AB".repeat(513)).unwrap_err().contains("is of 1026 bytes: at most 1024"));
    for currency in ["EUR", "€", "\" USD \""] {
        assert_eq!(money(currency), Ok(()), "{currency}");
    }
    for (kind, set, expected) in [
        ("click", "event_id: { const: \"null\" }", "m.yaml:7: emit[0].set.event_id.const: \"null\" is a placeholder"),
        ("identify", "{ user: u, login: { const: none } }", "sets fewer than two of user, device and login"),
        (
            "conversion",
            "{ name: what, currency: { const: EUR }, revenue_micros: { const: 9007199254740993 } }",
            "emit[0].set.revenue_micros.const: 9007199254740993 is out of range",
        ),
    ] {
        let error = entry(kind, set).expect_err(set);
        assert!(error.contains(expected), "{error}");
    }
    // What an event does without, it does without.
    assert_eq!(entry("click", "{ version: { const: 9007199254740993 }, event_id: { const: \"0\" } }"), Ok(()));
    let tenant = format!(
        "{{format: csv, tenant: {}, event_time: {{column: t, format: epoch}}, emit: [{{type: open}}]}}",
        "t".repeat(1025)
    );
    assert!(mistake(&tenant).contains("tenant: is longer than 1024 bytes"), "{}", mistake(&tenant));
}
