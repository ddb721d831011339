//! After exit 4 there is a way on: what was lost is accepted, the ledger says so, and everything goes on from there.

use std::time::{Duration, Instant};

use super::fixture::{Kafka, TIMEOUT, shared};
use super::jobs::{Job, event};
use crate::exactly_once::assert_every_table_equals_its_sql;

fn send(kafka: &Kafka, topic: &str, ids: std::ops::Range<u32>) {
    // Every third is a conversion, so that credits follow from what was kept.
    let kind = |id: u32| if id % 3 == 2 { "conversion" } else { "click" };
    let events: Vec<String> = ids.map(|id| event(kind(id), &format!("e{id}"), &format!("u{}", id % 2))).collect();
    kafka.send(topic, 0, &events.iter().map(String::as_str).collect::<Vec<_>>());
}

#[test]
fn offsets_that_are_gone_are_accepted_as_lost() {
    let kafka = shared();
    let topic = kafka.topic("gap", 1);
    let job = Job::new(&kafka.brokers(), &format!("{{ {topic}: json }}"), "");
    send(kafka, &topic, 0..5);
    let said = job.until(&["--accept-gap", &topic], 5);
    assert!(said.contains("there is no gap to accept"), "given without need: {said}");

    send(kafka, &topic, 5..10);
    kafka.forget(&topic, 0, 8);
    let (code, said) = job.ends(&[]);
    assert_eq!(code, Some(4), "{said}");
    assert!(said.contains("goes on at offset 5") && said.contains("removed 3 that were not read yet"), "{said}");
    let remedy = format!("bidstream run {} --accept-gap {topic}", job.file().display());
    assert!(said.contains(&remedy), "{said}");
    let (code, said) = job.ends(&["--accept-gap", "other"]);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains(&format!("the job reads no topic other; it reads {topic}")), "{said}");

    let said = job.until(&["--accept-gap", &topic], 7);
    assert!(said.contains("gap accepted") && said.contains("lost=3"), "{said}");
    assert!(job.has_note(&format!("gap/{topic}/0/5"), "8"));
    send(kafka, &topic, 10..12);
    job.until(&[], 9);
    let offsets = job.sql("SELECT \"offset\" FROM raw.records ORDER BY 1");
    assert_eq!(offsets, ["0", "1", "2", "3", "4", "8", "9", "10", "11"]);
    assert_every_table_equals_its_sql(&job.lake());
}

#[test]
fn an_accepted_gap_is_recorded_though_nothing_comes() {
    let kafka = shared();
    let topic = kafka.topic("idle-gap", 1);
    let job = Job::new(&kafka.brokers(), &format!("{{ {topic}: json }}"), "");
    send(kafka, &topic, 0..2);
    job.until(&[], 2);
    send(kafka, &topic, 2..4);
    kafka.forget(&topic, 0, 4);
    assert_eq!(job.ends(&[]).0, Some(4));
    let (run, started) = (job.run(&["--accept-gap", &topic]), Instant::now());
    while !job.has_note(&format!("gap/{topic}/0/2"), "4") {
        assert!(started.elapsed() < TIMEOUT, "the decision was never recorded");
        std::thread::sleep(Duration::from_millis(100));
    }
    drop(run);
    send(kafka, &topic, 4..5);
    job.until(&[], 3);
}

#[test]
fn a_topic_made_anew_is_read_under_a_name_of_its_own() {
    let kafka = shared();
    let topic = kafka.topic("anew", 1);
    let job = Job::new(&kafka.brokers(), &format!("{{ {topic}: json }}"), "");
    send(kafka, &topic, 0..5);
    job.until(&[], 5);
    kafka.delete(&topic);
    let started = Instant::now();
    while std::panic::catch_unwind(|| kafka.create(&topic, 2, &[])).is_err() {
        assert!(started.elapsed() < TIMEOUT, "the topic never went");
        std::thread::sleep(Duration::from_millis(200));
    }
    // A copy of what was read of the old one, and what is new; as many as the old one had, so that offsets are no help.
    send(kafka, &topic, 4..9);
    let (code, said) = job.ends(&[]);
    assert_eq!(code, Some(4), "{said}");
    assert!(said.contains("was re-created"), "{said}");
    assert!(said.contains(&format!("bidstream run {} --accept-new-topic {topic}", job.file().display())), "{said}");
    assert_eq!(job.ends(&["--accept-gap", &topic]).0, Some(4), "it is no gap");

    let said = job.until(&["--accept-new-topic", &topic], 10);
    assert!(said.contains("new topic accepted"), "{said}");
    send(kafka, &topic, 9..12);
    let said = job.until(&["--accept-new-topic", &topic], 13);
    assert!(said.contains("the topic is the one that the ledger knows"), "{said}");
    job.until(&[], 13);
    let counts = job.sql("SELECT topic, count(*), count(DISTINCT \"offset\") FROM raw.records GROUP BY 1 ORDER BY 1");
    assert_eq!(counts, [format!("{topic},5,5"), format!("{topic}@2,8,8")]);
    let events = job.sql("SELECT count(*), count(DISTINCT event_id) FROM raw.events");
    assert_eq!(events, ["13,12"], "one was sent to both topics");
    let credits = job.sql("SELECT count(DISTINCT event_id) FROM raw.credits");
    assert_eq!(credits, ["4"], "e2, e5, e8 and e11, of both topics");
    assert_every_table_equals_its_sql(&job.lake());
}
