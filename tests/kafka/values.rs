//! Values that are no events of ours: null values, what a schema registry writes, and other people's JSON.

use schemas::wire::{Encoding, Event, EventType};

use super::fixture::shared;
use super::jobs::{Job, event};
use crate::exactly_once::assert_every_table_equals_its_sql;

#[test]
fn null_values_are_named_and_dead_letters_keep_key_and_headers() {
    let kafka = shared();
    let topic = kafka.topic("nulls", 1);
    let job = Job::new(&kafka.brokers(), &format!("{{ {topic}: json }}"), "");
    kafka.send_whole(&topic, b"user-1", None, &[]);
    let headers: [(&str, &[u8]); 2] = [("source", b"shop"), ("trace", &[0xff])];
    kafka.send_whole(&topic, b"user-2", Some(b"{"), &headers);
    kafka.send_whole(&topic, b"user-3", Some(event("click", "e1", "u").as_bytes()), &headers);
    job.until(&[], 3);
    let rows = job.sql("SELECT verdict, encode(key, 'hex'), headers, raw IS NULL FROM raw.records ORDER BY \"offset\"");
    assert_eq!(
        rows,
        [
            "dead,757365722d31,,false",
            r#"dead,757365722d32,"{""source"":""shop"",""trace"":""hex:ff""}",false"#,
            "ok,,,true",
        ]
    );
    let reasons = job.sql("SELECT reason FROM raw.records WHERE verdict = 'dead' ORDER BY \"offset\"");
    assert!(reasons[0].contains("null value: in a compacted topic it deletes"), "{reasons:?}");
    assert!(reasons[1].contains("malformed JSON"), "{reasons:?}");
}

#[test]
fn what_a_schema_registry_writes_before_an_event_is_skipped() {
    let kafka = shared();
    let (json, protobuf) = (kafka.topic("framed-json", 1), kafka.topic("framed-protobuf", 1));
    let topics = format!(
        "{{ {json}: {{ encoding: json, framing: confluent }}, {protobuf}: {{ encoding: protobuf, framing: confluent }} }}"
    );
    let job = Job::new(&kafka.brokers(), &topics, "");
    let framed = |prefix: &[u8], event: &[u8]| [prefix, event].concat();
    let text = event("click", "e1", "u");
    kafka.send_whole(&json, b"", Some(&framed(b"\0\0\0\0\x07", text.as_bytes())), &[]);
    kafka.send_whole(&json, b"", Some(text.as_bytes()), &[]);
    let click = Event {
        r#type: EventType::Click as i32,
        tenant: "shop".into(),
        event_id: "e2".into(),
        event_time: Some(bidstream::clock::Clock::system().now_ms()),
        user: "u".into(),
        ..Event::default()
    };
    let bytes = Encoding::Protobuf.encode(&click);
    kafka.send_whole(&protobuf, b"", Some(&framed(b"\0\0\0\0\x07\0", &bytes)), &[]);
    kafka.send_whole(&protobuf, b"", Some(&framed(b"\0\0\0\0\x07\x04\x02\x00", &bytes)), &[]);
    job.until(&[], 4);
    let rows = job.sql("SELECT verdict, count(*) FROM raw.records GROUP BY 1 ORDER BY 1");
    assert_eq!(rows, ["dead,1", "ok,3"]);
    let reasons = job.sql("SELECT reason FROM raw.records WHERE verdict = 'dead'");
    assert!(reasons[0].contains("no schema-registry prefix") && reasons[0].contains("0x7b"), "{reasons:?}");
}

const ORDERS: &str = r#"
format: jsonl
tenant: shop
event_time: { column: at, format: epoch_ms }
emit:
  - { type: conversion, when: { kind: [order] }, set: { event_id: order.id, user: customer, name: kind, revenue_micros: { column: order.total, unit: units }, currency: currency } }
  - { type: click, when: { present: customer }, set: { user: customer, channel: kind } }
"#;

#[test]
fn other_peoples_json_enters_by_a_mapping_of_the_topic() {
    let kafka = shared();
    let topic = kafka.topic("orders", 1);
    let job = Job::new(&kafka.brokers(), "{ none: json }", "");
    let mapping = job.dir().join("orders.yaml");
    std::fs::write(&mapping, ORDERS).unwrap();
    job.write(&kafka.brokers(), &format!("{{ {topic}: {{ mapping: '{}' }} }}", mapping.display()), "");
    let at = bidstream::clock::Clock::system().now_ms();
    let order = |id: u32| {
        format!(
            r#"{{"at":{at},"kind":"order","customer":"c1","order":{{"id":{id},"total":"12.50"}},"currency":"EUR"}}"#
        )
    };
    let view = format!(r#"{{"at":{},"kind":"ads","customer":"c1"}}"#, at - 1_000);
    let ping = format!(r#"{{"at":{at},"kind":"ping"}}"#);
    let broken = r#"{"kind":"order"}"#;
    // A view that comes twice is one event.
    kafka.send(&topic, 0, &[&view, &view, &order(1), &ping, broken]);
    job.until(&[], 5);
    let rows = job.sql("SELECT verdict, count(*), count(raw) FROM raw.records GROUP BY 1 ORDER BY 1");
    assert_eq!(rows, ["dead,1,1", "ok,3,0", "skipped,1,0"]);
    let reasons = job.sql("SELECT reason FROM raw.records WHERE verdict = 'dead'");
    assert!(reasons[0].contains("column at: is empty"), "{reasons:?}");
    let credits = job.sql("SELECT channel, credit_ppm, revenue_micros FROM credits WHERE model = 'last'");
    assert_eq!(credits.len(), 1, "{credits:?}");
    assert!(credits[0].starts_with("ads,1000000,"), "{credits:?}");

    // A changed mapping counts from the next record on.
    std::fs::write(&mapping, ORDERS.replace("when: { kind: [order] }", "when: { kind: [sale] }")).unwrap();
    kafka.send(&topic, 0, &[&order(2)]);
    let said = job.until(&[], 6);
    assert!(said.contains("the topic's mapping has changed"), "{said}");
    let types = job.sql("SELECT type FROM raw.records WHERE verdict = 'ok' ORDER BY \"offset\"");
    assert_eq!(types, ["click", "click", "conversion", "click"]);
    assert_every_table_equals_its_sql(&job.lake());
    std::fs::remove_file(&mapping).unwrap();
    let (code, said) = job.ends(&[]);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("orders.yaml: cannot be read"), "{said}");
}
