//! Rows become events by the rules of the mapping; mistakes name file, line, field and what may be written.

use super::*;

const SHOP: &str = r#"
format: csv
tenant: shop
app: web
event_time: { column: timestamp, format: "%Y-%m-%d %H:%M:%S" }
emit:
  - { type: click, when: { first_of: session_id }, set: { user: user_id, channel: acquisition_channel } }
  - { type: conversion, when: { event: [purchase] }, set: { user: user_id, name: event } }
  - { type: event, when: { not: { event: [purchase] } }, set: { user: user_id, name: event } }
"#;

fn mapping(text: &str) -> Mapping {
    Mapping::parse(Path::new("map.yaml"), text).unwrap_or_else(|error| panic!("{error}"))
}

fn mistake(text: &str) -> String {
    Mapping::parse(Path::new("map.yaml"), text).expect_err(text).to_string()
}

/// What rows emit: the entry and its event or reason. The header is the first row.
fn emitted(mapping: &Mapping, rows: &[&[&str]]) -> Vec<(usize, Result<wire::Event, String>)> {
    let header: Vec<String> = rows[0].iter().map(|name| (*name).to_owned()).collect();
    let positions = mapping.positions(&header).unwrap();
    let mut seen = Seen::default();
    let mut all = Vec::new();
    for (row, texts) in rows[1..].iter().enumerate() {
        let cell = |position: &usize| Some(texts[*position]).filter(|text| !text.is_empty());
        let cells: Vec<Option<&str>> = positions.iter().map(cell).collect();
        let firsts = mapping.firsts(&mut seen, &cells);
        let id = RowId { content: &[7; 32], row: row as u64 };
        mapping.apply(id, &cells, firsts, |entry, event| all.push((entry, event.cloned())));
    }
    all
}

/// The one event of a mapping with `set`, for a row of the columns a, b, c.
fn set(set: &str, a: &str, b: &str, c: &str) -> Result<wire::Event, String> {
    let text = format!(
        "{{format: csv, tenant: t, event_time: {{column: t, format: epoch_ms}}, emit: [{{type: cost, set: {set}}}]}}"
    );
    emitted(&mapping(&text), &[&["t", "a", "b", "c"], &["1", a, b, c]]).remove(0).1
}

const HEADER: &[&str] = &["user_id", "session_id", "event", "timestamp", "acquisition_channel"];

#[test]
fn a_shop_row_emits_what_its_conditions_say() {
    let mapping = mapping(SHOP);
    let rows: [&[&str]; 5] = [
        HEADER,
        &["u1", "s1", "home", "2024-03-13 10:21:14", "email"],
        &["u1", "s1", "purchase", "2024-03-13 10:22:14", "email"],
        &["u1", "s2", "purchase", "2024-03-14 10:22:14", "email"],
        &["u2", "", "home", "2024-03-14 10:22:15", ""],
    ];
    let all = emitted(&mapping, &rows);
    let kinds: Vec<(usize, i32)> = all.iter().map(|(entry, event)| (*entry, event.as_ref().unwrap().r#type)).collect();
    let [click, event, conversion] =
        [EventType::Click, EventType::Event, EventType::Conversion].map(|kind| kind as i32);
    assert_eq!(kinds, [(0, click), (2, event), (1, conversion), (0, click), (1, conversion), (2, event)]);
    let first = all[0].1.clone().unwrap();
    assert_eq!((first.tenant.as_str(), first.app.as_str()), ("shop", "web"));
    assert_eq!((first.user.as_str(), first.channel.as_str()), ("u1", "email"));
    assert_eq!(first.event_time, Some(1_710_325_274_000));
    assert_eq!(all[2].1.as_ref().unwrap().name, "purchase");
    let ids: HashSet<&str> = all.iter().map(|(_, event)| event.as_ref().unwrap().event_id.as_str()).collect();
    assert_eq!(ids.len(), all.len());
    assert!(ids.iter().all(|id| id.len() == 32));
}

#[test]
fn a_click_log_row_is_a_click_and_an_install_at_its_own_time() {
    let mapping = mapping(&std::fs::read_to_string("jobs/mappings/click_log.yaml").unwrap());
    let rows: [&[&str]; 3] = [
        &["ip", "app", "device", "os", "channel", "click_time", "attributed_time", "is_attributed"],
        &["5348", "19", "0", "24", "213", "2017-11-07 09:30:38", "2017-11-07 09:31:00", "1"],
        &["5348", "12", "1", "13", "259", "2017-11-07 09:30:39", "", "0"],
    ];
    let all: Vec<wire::Event> = emitted(&mapping, &rows).into_iter().map(|(_, event)| event.unwrap()).collect();
    assert_eq!(all.len(), 3);
    assert_eq!((all[0].r#type, all[1].r#type), (EventType::Click as i32, EventType::Install as i32));
    assert_eq!((all[0].app.as_str(), all[0].device.as_str(), all[0].channel.as_str()), ("19", "5348|0|24", "213"));
    assert_eq!((all[1].app.as_str(), all[1].device.as_str(), all[1].channel.as_str()), ("19", "5348|0|24", ""));
    assert_eq!(all[1].event_time.unwrap() - all[0].event_time.unwrap(), 22_000);
    assert_eq!((all[2].app.as_str(), all[2].r#type), ("12", EventType::Click as i32));
}

#[test]
fn texts_are_columns_joined_or_constant() {
    assert_eq!(set("{device: [a, b, c]}", "1", "x", "3").unwrap().device, "1|x|3");
    assert_eq!(set("{device: [a, b, c]}", "1|x", r"\", "3").unwrap().device, r"1\|x|\\|3");
    assert_eq!(set("{device: [a, b, c]}", "1", "", "3").unwrap().device, "");
    assert_eq!(set("{name: {const: 007}}", "", "", "").unwrap().name, "007");
    assert_eq!(set("{event_id: a}", "e7", "", "").unwrap().event_id, "e7");
    assert_eq!(set("{tenant: a, app: b}", "other", "ios", "").unwrap().tenant, "other");
}

#[test]
fn amounts_are_exact() {
    let revenue = |spec: &str, a: &str, b: &str| {
        set(&format!("{{revenue_micros: {spec}}}"), a, b, "").map(|event| event.revenue_micros)
    };
    assert_eq!(revenue("a", "-1500000", ""), Ok(Some(-1_500_000)));
    assert_eq!(revenue("{column: a, unit: units}", "2.55", ""), Ok(Some(2_550_000)));
    assert_eq!(revenue("{column: a, unit: units}", "", ""), Ok(None));
    assert_eq!(revenue("{product: [a, b], unit: units}", "2.55", "-12"), Ok(Some(-30_600_000)));
    assert_eq!(revenue("{product: [a, b], unit: units}", "2.55", ""), Ok(None));
    assert_eq!(revenue("{const: 0.5, unit: units}", "", ""), Ok(Some(500_000)));
    let error = revenue("a", "2.5", "").unwrap_err();
    assert_eq!(error, "column a: 25e-1 is no number whole and within 64 bits");
    assert!(revenue("{column: a, unit: units}", "0.0000001", "").is_err());
    assert_eq!(set("{quantity: a}", "7", "", "").unwrap().quantity, Some(7));
    assert_eq!(
        set("{install_begin_time: {column: a, format: epoch_s}}", "7", "", "").unwrap().install_begin_time,
        Some(7_000)
    );
}

#[test]
fn bad_cells_say_which_column_and_why() {
    let rows: [&[&str]; 3] = [HEADER, &["u", "s", "home", "yesterday", ""], &["u", "s", "home", "", ""]];
    let all = emitted(&mapping(SHOP), &rows);
    let reasons: Vec<String> = all.into_iter().map(|(_, event)| event.unwrap_err()).collect();
    let first = r#"column timestamp: "yesterday" is no time in the format "%Y-%m-%d %H:%M:%S""#;
    // The click and the event of the first row; the event of the second, whose session was seen before.
    assert_eq!(reasons, [first, first, "column timestamp: is empty, but tells the event time"]);
}

#[test]
fn conditions_must_all_hold() {
    let text = "{format: csv, tenant: t, event_time: {column: t, format: epoch_ms}, emit: [{type: open, when: WHEN}]}";
    let holds = |when: &str, a: &str, b: &str| {
        let mapping = mapping(&text.replace("WHEN", when));
        !emitted(&mapping, &[&["t", "a", "b"], &["1", a, b]]).is_empty()
    };
    assert!(holds("{}", "", ""));
    assert!(holds("{a: [1, 01], b: [x]}", "01", "x") && !holds("{a: [1], b: [x]}", "1", "y"));
    assert!(holds("{present: a}", "1", "") && !holds("{present: a}", "", ""));
    assert!(holds("{not: {a: [1], b: [x]}}", "1", "y") && !holds("{not: {a: [1], b: [x]}}", "1", "x"));
    assert!(holds("{first_of: a}", "1", "") && !holds("{first_of: a}", "", ""));
}

#[test]
fn mistakes_name_file_line_field_and_what_to_write() {
    let cases = [
        ("format: csv", "format: xml", r#"2: format: unknown variant `xml`, expected one of csv, jsonl, parquet"#),
        ("tenant: shop\n", "", r#"1: tenant: is missing"#),
        (
            "type: click",
            "type: clik",
            r#"7: emit[0].type: unknown variant `clik`, expected one of impression, click, install, open, event, conversion, identify, cost, tombstone"#,
        ),
        (
            "user: user_id, channel",
            "usr: user_id, channel",
            r#"7: emit[0].set.usr: is no field of an event; write one of event_id, tenant, app, user, device, click_id, referrer, login, campaign, ad_group, creative, source, channel, placement, ip, user_agent, os, os_version, device_model, language, country, name, item, quantity, revenue_micros, cost_micros, currency, version, install_begin_time"#,
        ),
        ("{ first_of: session_id }", "{ first_of: [session_id] }", r#"7: emit[0].when.first_of: expected a text"#),
        (
            "{ event: [purchase] }, set",
            "{ event: purchase }, set",
            r#"8: emit[1].when.event: expected a list, as [a, b]"#,
        ),
        (
            "{ event: [purchase] }, set",
            "{ event: [] }, set",
            r#"8: emit[1].when.event: has no value, so that it never holds: write at least one, as [purchase]"#,
        ),
        (
            "set: { user: user_id, name: event } }\n  - { type: event",
            "sets: {} }\n  - { type: event",
            r#"8: emit[1].sets: unknown field `sets`, expected one of type, when, set, event_time"#,
        ),
        (
            "%Y-%m-%d %H:%M:%S",
            "ISO",
            r#"5: event_time.format: "ISO" is no format of time: write rfc3339, epoch_s, epoch_ms or a strftime pattern, as "%Y-%m-%d %H:%M:%S""#,
        ),
        (
            "name: event } }\n  - {",
            "name: event, revenue_micros: { column: price, unit: pounds } } }\n  - {",
            r#"8: emit[1].set.revenue_micros.unit: unknown variant `pounds`, expected one of micros, units"#,
        ),
        (
            "name: event } }\n  - {",
            "name: event, revenue_micros: { colum: price } } }\n  - {",
            r#"8: emit[1].set.revenue_micros.colum: unknown field `colum`, expected one of column, product, const, unit, format"#,
        ),
        (
            "name: event } }\n  - {",
            "name: event, revenue_micros: { column: a, const: 1 } } }\n  - {",
            r#"8: emit[1].set.revenue_micros: needs exactly one of column, product, const"#,
        ),
        (
            "name: event } }\n  - {",
            "name: { column: a, unit: units } } }\n  - {",
            r#"8: emit[1].set.name.unit: means nothing here: it is for amounts (revenue_micros, cost_micros)"#,
        ),
        (
            "name: event } }\n  - {",
            "name: event, quantity: { const: 1.5 } } }\n  - {",
            r#"8: emit[1].set.quantity.const: 15e-1 is no number whole and within 64 bits"#,
        ),
        (
            "name: event } }\n  - {",
            "name: event, install_begin_time: a } }\n  - {",
            r#"8: emit[1].set.install_begin_time: is a time and needs its format, as { column: COLUMN, format: rfc3339 }"#,
        ),
        (
            "tenant: shop",
            "tenant: shop\narrival: now",
            r#"4: arrival: unknown variant `now`, expected one of import, event_time"#,
        ),
    ];
    for (from, to, expected) in cases {
        assert!(SHOP.contains(from), "{from}");
        assert_eq!(mistake(&SHOP.replace(from, to)), format!("map.yaml:{expected}"));
    }
}

#[test]
fn columns_that_the_file_lacks_are_named_with_those_it_has() {
    let header: Vec<String> = ["user_id", "session_id", "event", "time"].map(str::to_owned).to_vec();
    let error = mapping(SHOP).positions(&header).unwrap_err().to_string();
    let expected =
        "map.yaml:5: event_time.column: the file has no column \"timestamp\"; it has user_id, session_id, event, time";
    assert_eq!(error, expected);
}

#[test]
fn every_mapping_of_the_repository_is_read() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("jobs/mappings");
    let files: Vec<_> = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(files.len() >= 3);
    for file in files {
        Mapping::read(&file).unwrap_or_else(|error| panic!("{error}"));
    }
}
