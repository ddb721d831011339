//! Rows become events by the rules of the mapping; mistakes name file, line, field and what may be written.

mod flaws;

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

/// What rows emit: the entry and what it makes, or the reason. The header is the first row.
fn emitted(mapping: &Mapping, rows: &[&[&str]]) -> Vec<(usize, Result<Mapped, String>)> {
    let header: Vec<String> = rows[0].iter().map(|name| (*name).to_owned()).collect();
    let positions = mapping.positions(&header).unwrap();
    let mut seen = Seen::default();
    let (mut cells, mut mapped) = (Cells::default(), Mapped::default());
    let mut all = Vec::new();
    for (row, texts) in rows[1..].iter().enumerate() {
        cells.clear();
        positions.iter().for_each(|position| cells.push(texts[*position]));
        let firsts = mapping.firsts(&mut seen, &cells);
        let id = RowId { content: &[7; 32], row: row as u64 };
        mapping.apply(id, &cells, firsts, &mut mapped, |entry, made| {
            all.push((entry, made.cloned().map_err(str::to_owned)));
        });
    }
    all
}

/// What a mapping with `set` makes of a row of the columns a, b, c; `more` are further keys of the mapping.
fn made(more: &str, set: &str, a: &str, b: &str, c: &str) -> Result<Mapped, String> {
    let text = format!(
        "{{format: csv, tenant: t, earliest: 1970-01-01, event_time: {{column: t, format: epoch_ms}}, {more} \
         emit: [{{type: impression, set: {set}}}]}}"
    );
    emitted(&mapping(&text), &[&["t", "a", "b", "c"], &["1", a, b, c]]).remove(0).1
}

/// The one event of a mapping with `set`, for a row of the columns a, b, c.
fn set(set: &str, a: &str, b: &str, c: &str) -> Result<wire::Event, String> {
    made("", set, a, b, c).map(|mapped| mapped.event)
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
    let kinds: Vec<(usize, i32)> =
        all.iter().map(|(entry, made)| (*entry, made.as_ref().unwrap().event.r#type)).collect();
    let [click, event, conversion] =
        [EventType::Click, EventType::Event, EventType::Conversion].map(|kind| kind as i32);
    assert_eq!(kinds, [(0, click), (2, event), (1, conversion), (0, click), (1, conversion), (2, event)]);
    let first = all[0].1.clone().unwrap().event;
    assert_eq!((first.tenant.as_str(), first.app.as_str()), ("shop", "web"));
    assert_eq!((first.user.as_str(), first.channel.as_str()), ("u1", "email"));
    assert_eq!(first.event_time, Some(1_710_325_274_000));
    assert_eq!(all[2].1.as_ref().unwrap().event.name, "purchase");
    let ids: HashSet<&str> = all.iter().map(|(_, made)| made.as_ref().unwrap().event.event_id.as_str()).collect();
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
    let all: Vec<wire::Event> = emitted(&mapping, &rows).into_iter().map(|(_, made)| made.unwrap().event).collect();
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

/// The amount that a row has by a spec of `revenue_micros`, and the reasons of its faults.
fn revenue(more: &str, spec: &str, a: &str, b: &str) -> Result<(Option<i64>, Vec<&'static str>), String> {
    let set = format!("{{revenue_micros: {spec}, currency: {{const: EUR}}}}");
    let Mapped { event, faults } = made(more, &set, a, b, "")?;
    assert!(faults.iter().all(|fault| fault.field == "revenue_micros"), "{faults:?}");
    Ok((event.revenue_micros, faults.iter().map(|fault| fault.reason).collect()))
}

#[test]
fn amounts_are_exact_or_rounded_and_counted() {
    let exact = |spec: &str, a: &str, b: &str| {
        revenue("", spec, a, b).map(|(micros, faults)| {
            assert!(faults.is_empty(), "{faults:?}");
            micros
        })
    };
    assert_eq!(exact("a", "-1500000", ""), Ok(Some(-1_500_000)));
    assert_eq!(exact("{column: a, unit: units}", "2.55", ""), Ok(Some(2_550_000)));
    assert_eq!(exact("{column: a, unit: units}", "", ""), Ok(None));
    assert_eq!(exact("{product: [a, b], unit: units}", "2.55", "-12"), Ok(Some(-30_600_000)));
    assert_eq!(exact("{product: [a, b], unit: units}", "2.55", ""), Ok(None));
    assert_eq!(exact("{product: [a, b], unit: units}", "0.0000004", "10"), Ok(Some(4)));
    assert_eq!(exact("{const: 0.5, unit: units}", "", ""), Ok(Some(500_000)));
    let rounded = |spec: &str, a: &str, b: &str| revenue("", spec, a, b);
    for (a, expected) in [("59.970000000000006", 59_970_000), ("0.0000005", 0), ("1.0000015", 1_000_002), ("1e-9", 0)] {
        assert_eq!(rounded("{column: a, unit: units}", a, ""), Ok((Some(expected), vec![ROUNDED])), "{a}");
    }
    assert_eq!(
        rounded("{product: [a, b], unit: units}", "19.990000000000002", "3"),
        Ok((Some(59_970_000), vec![ROUNDED]))
    );
    assert_eq!(rounded("a", "1500000.0000000002", ""), Ok((Some(1_500_000), vec![ROUNDED])));
    let error = exact("a", "2.5", "").unwrap_err();
    assert_eq!(error, "column a: 2.5 is no whole number of micros: is the column in units (`unit: units`)?");
    let error = exact("{product: [a, b], unit: units}", "9e30", "1").unwrap_err();
    assert_eq!(error, "column a × b: 9e30 is beyond 64 bits of micros");
}

#[test]
fn amounts_are_written_as_the_mapping_says() {
    let micros = |more: &str, spec: &str, a: &str| revenue(more, spec, a, "").map(|(micros, _)| micros.unwrap());
    let units = "{column: a, unit: units}";
    assert_eq!(micros("", "{column: a, unit: units, decimal: ','}", "12,50"), Ok(12_500_000));
    assert_eq!(micros("decimal: ',', thousands: '.',", units, "1.234,50"), Ok(1_234_500_000));
    assert_eq!(micros("decimal: ',', strip: [€],", units, "€ 12,50"), Ok(12_500_000));
    assert_eq!(
        micros("decimal: ',',", "{column: a, unit: units, decimal: '.', thousands: ','}", "1,234.5"),
        Ok(1_234_500_000)
    );
    assert_eq!(micros("decimal: ',',", "{product: [a, a], unit: units}", "1,5"), Ok(2_250_000));
    let refused = micros("", units, "12,50").unwrap_err();
    assert!(
        refused.starts_with("column a: \"12,50\" has a comma") && refused.contains("{ decimal: \",\" }"),
        "{refused}"
    );
    assert!(micros("decimal: ',',", units, "12.50").unwrap_err().contains("has a point"));
}

#[test]
fn what_an_event_does_without_is_a_fault() {
    let fields = "{quantity: a, install_begin_time: {column: b, format: epoch_s}, version: c}";
    let good = made("", fields, "7.0", "1700000000", "3").unwrap();
    assert_eq!((good.event.quantity, good.event.version), (Some(7), Some(3)));
    assert_eq!((good.event.install_begin_time, good.faults.len()), (Some(1_700_000_000_000), 0));
    let bad = made("", fields, "2.5", "soon", "x").unwrap();
    assert_eq!((bad.event.quantity, bad.event.install_begin_time, bad.event.version), (None, None, None));
    let faults: Vec<(&str, &str)> = bad.faults.iter().map(|fault| (fault.field, fault.reason)).collect();
    assert_eq!(faults, [("install_begin_time", NO_TIME), ("quantity", NO_WHOLE_NUMBER), ("version", NO_WHOLE_NUMBER)]);
    // A cost is known by its version.
    let cost = "{format: csv, tenant: t, earliest: 1970-01-01, event_time: {column: t, format: epoch_ms}, emit: [{type: cost, \
                set: {source: {const: s}, cost_micros: b, currency: {const: EUR}, version: a}}]}";
    let all = emitted(&mapping(cost), &[&["t", "a", "b"], &["1", "x", "5"]]);
    assert_eq!(all[0].1.as_ref().unwrap_err(), "column a: \"x\" is no number");
}

#[test]
fn times_are_read_in_the_zone_that_the_mapping_says() {
    let time = |more: &str, time: &str, a: &str, b: &str| {
        let text =
            format!("{{format: csv, tenant: t, event_time: {time}, {more} emit: [{{type: click, set: {{user: c}}}}]}}");
        let made = emitted(&mapping(&text), &[&["a", "b", "c"], &[a, b, "u"]]).remove(0).1;
        made.map(|mapped| schemas::times::show(mapped.event.event_time.unwrap()))
    };
    let iso = "{column: a, format: iso8601}";
    let summer = "2026-07-15 12:00";
    assert_eq!(time("", iso, summer, "").unwrap(), "2026-07-15T12:00:00Z");
    assert_eq!(time("time_zone: Europe/Berlin,", iso, summer, "").unwrap(), "2026-07-15T10:00:00Z");
    let own = "{column: a, format: iso8601, zone: Asia/Tokyo}";
    assert_eq!(time("time_zone: Europe/Berlin,", own, summer, "").unwrap(), "2026-07-15T03:00:00Z");
    let column = "{column: a, format: iso8601, zone: {column: b}}";
    assert_eq!(time("", column, summer, "America/New_York").unwrap(), "2026-07-15T16:00:00Z");
    assert_eq!(time("", column, summer, "+02:00").unwrap(), "2026-07-15T10:00:00Z");
    assert!(
        time("", column, summer, "Mars/Phobos").unwrap_err().starts_with("column b: \"Mars/Phobos\" is no time zone")
    );
    // An empty cell says nothing, and an unknown name does not matter to a text with an offset.
    assert_eq!(time("", column, summer, "").unwrap(), "2026-07-15T12:00:00Z");
    assert_eq!(time("time_zone: Europe/Berlin,", column, summer, "").unwrap(), "2026-07-15T10:00:00Z");
    assert_eq!(time("", column, "2026-07-15T12:00:00+02:00", "Mars/Phobos").unwrap(), "2026-07-15T10:00:00Z");
    assert!(time("", column, "soon", "Mars/Phobos").unwrap_err().starts_with("column a: "));
}

#[test]
fn times_that_cannot_be_are_mistakes_of_the_unit() {
    let time = |more: &str, format: &str, a: &str| {
        let text = format!(
            "{{format: csv, tenant: t, event_time: {{column: a, format: {format}}}, {more} emit: [{{type: click, set: {{user: a}}}}]}}"
        );
        emitted(&mapping(&text), &[&["a"], &[a]]).remove(0).1.map(|mapped| mapped.event.event_time.unwrap())
    };
    assert_eq!(
        time("", "epoch_ms", "1772359200").unwrap_err(),
        "column a: \"1772359200\" would be 1970-01-21T12:19:19Z in the format epoch_ms, before 2000-01-01: write epoch_s, \
         which makes it 2026-03-01T10:00:00Z"
    );
    for (format, text, right) in [
        ("epoch_s", "1772359200000", "write epoch_ms"),
        ("epoch_ms", "1772359200000000", "write epoch_us"),
        ("epoch_us", "1772359200000", "write epoch_ms"),
        ("epoch_ns", "1772359200000", "write epoch_ms"),
        ("iso8601", "1970-01-01T00:00:00Z", "write `earliest: 1970-01-01`"),
        ("iso8601", "1999-12-31T23:59:59Z", "write `earliest: 1970-01-01`"),
        ("iso8601", "9999-12-31", "after 2099"),
        ("epoch_ms", "0", "write `earliest: 1970-01-01`"),
    ] {
        let error = time("", format, text).unwrap_err();
        assert!(error.contains(right), "{format} {text}: {error}");
    }
    assert_eq!(time("", "iso8601", "2000-01-01"), Ok(946_684_800_000));
    assert_eq!(time("earliest: 1970-01-01,", "epoch_ms", "5"), Ok(5));
    assert!(time("earliest: 2020-01-01,", "iso8601", "2019-12-31").unwrap_err().contains("before 2020-01-01"));
}

#[test]
fn entries_that_can_make_no_valid_event_are_refused() {
    let entry = |entry: &str| {
        let text =
            format!("format: csv\ntenant: t\nevent_time: {{ column: t, format: iso8601 }}\nemit:\n  - {entry}\n");
        Mapping::parse(Path::new("m.yaml"), &text).map(|_| ()).map_err(|error| error.to_string())
    };
    for (text, expected) in [
        (
            "{ type: conversion, set: { user: u } }",
            "m.yaml:5: emit[0].set: sets no name, which every conversion needs: add `name: { const: purchase }`",
        ),
        ("{ type: conversion }", "m.yaml:5: emit[0].set: sets no name"),
        (
            "{ type: event, set: { name: { const: '' } } }",
            "m.yaml:5: emit[0].set: sets no name, which every event needs",
        ),
        ("{ type: cost, set: { cost_micros: c, version: v, currency: k } }", "m.yaml:5: emit[0].set: sets no source"),
        ("{ type: cost, set: { source: s, version: v, currency: k } }", "m.yaml:5: emit[0].set: sets no cost_micros"),
        ("{ type: cost, set: { source: s, cost_micros: c, currency: k } }", "m.yaml:5: emit[0].set: sets no version"),
        (
            "{ type: cost, set: { source: s, cost_micros: c, version: v } }",
            "m.yaml:5: emit[0].set: sets cost_micros without a currency",
        ),
        (
            "{ type: conversion, set: { name: nm, revenue_micros: r } }",
            "m.yaml:5: emit[0].set: sets revenue_micros without a currency",
        ),
        (
            "{ type: identify, set: { user: u } }",
            "m.yaml:5: emit[0].set: sets fewer than two of user, device and login",
        ),
        ("{ type: click, set: { event_id: { const: '' } } }", "m.yaml:5: emit[0].set: sets event_id to nothing"),
    ] {
        let error = entry(text).expect_err(text);
        assert!(error.starts_with(expected), "{text}: {error}");
    }
    for text in [
        "{ type: impression }",
        "{ type: click, set: { user: u } }",
        "{ type: identify, set: { user: u, login: l } }",
        "{ type: conversion, set: { name: nm, revenue_micros: { const: 0 } } }",
        "{ type: cost, set: { source: s, cost_micros: c, version: v, currency: { const: EUR } } }",
    ] {
        assert_eq!(entry(text), Ok(()), "{text}");
    }
}

#[test]
fn bad_cells_say_which_column_and_why() {
    let rows: [&[&str]; 3] = [HEADER, &["u", "s", "home", "yesterday", ""], &["u", "s", "home", "", ""]];
    let all = emitted(&mapping(SHOP), &rows);
    let reasons: Vec<String> = all.into_iter().map(|(_, made)| made.unwrap_err()).collect();
    let first = r#"column timestamp: "yesterday" is no time in the format "%Y-%m-%d %H:%M:%S""#;
    // The click and the event of the first row; the event of the second, whose session was seen before.
    assert_eq!(reasons, [first, first, "column timestamp: is empty, but tells the event time"]);
}

#[test]
fn conditions_must_all_hold() {
    let text = "{format: csv, tenant: t, earliest: 1970-01-01, event_time: {column: t, format: epoch_ms}, \
         emit: [{type: open, when: WHEN}]}";
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
            r#"5: event_time.format: "ISO" is no format of time: write iso8601, rfc2822, epoch, epoch_s, epoch_ms, epoch_us, epoch_ns or a strftime pattern, as "%Y-%m-%d %H:%M:%S""#,
        ),
        (
            "name: event } }\n  - {",
            "name: event, revenue_micros: { column: price, unit: pounds } } }\n  - {",
            r#"8: emit[1].set.revenue_micros.unit: unknown variant `pounds`, expected one of micros, units"#,
        ),
        (
            "name: event } }\n  - {",
            "name: event, revenue_micros: { colum: price } } }\n  - {",
            r#"8: emit[1].set.revenue_micros.colum: unknown field `colum`, expected one of column, product, const, unit, decimal, thousands, strip, format, zone"#,
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
            r#"8: emit[1].set.quantity.const: 1.5 is no number whole and within 64 bits"#,
        ),
        (
            "name: event } }\n  - {",
            "name: event, install_begin_time: a } }\n  - {",
            r#"8: emit[1].set.install_begin_time: is a time and needs its format, as { column: COLUMN, format: iso8601 }"#,
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
