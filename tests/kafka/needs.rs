//! A start reads no more of what was recorded than its views need, also after an import of old events that passed no gate.

use std::fmt::Write;

use schemas::units::DAY_MS;

use super::fixture::shared;
use super::jobs::{Job, event};
use crate::exactly_once::{assert_every_table_equals_its_sql, bidstream};

const DAYS: i64 = 300;
pub(super) const MAPPING: &str = "\
format: csv
tenant: shop
event_time: { column: at, format: epoch_ms }
emit:
  - { type: click, when: { what: [click] }, set: { user: who, channel: by } }
  - { type: install, when: { what: [install] }, set: { user: who } }
  - { type: conversion, when: { what: [buy] }, set: { user: who, name: what, revenue_micros: paid, currency: in } }
";

/// People who click and buy for so many days up to now, each of whom has installed once.
pub(super) fn history(now_ms: i64) -> String {
    let mut rows = "at,what,who,by,paid,in\n".to_owned();
    for day in 0..DAYS {
        for person in (0..30).filter(|person| (person * 7 + day) % 4 != 0) {
            let mut row = |minute: i64, what: &str| {
                let at = now_ms - (DAYS - day) * DAY_MS + (person * 20 + minute) * 60_000;
                let by = ["search", "social", "mail"][(day + person) as usize % 3];
                let paid = if what == "buy" { "3500000,EUR" } else { "," };
                writeln!(rows, "{at},{what},u{person},{by},{paid}").unwrap();
            };
            row(0, "click");
            if day == person * 9 + 1 || day == person * 9 + 2 {
                row(3, "install");
            }
            if (day + person) % 5 == 0 {
                row(7, "buy");
            }
        }
    }
    rows
}

/// The records that a start said it has loaded, and how many the lake held.
pub(super) fn loaded(said: &str) -> (u64, u64) {
    let line = said.lines().find(|line| line.contains("records of earlier runs are loaded")).expect(said);
    let number = |name: &str| {
        let (_, rest) = line.split_once(&format!("{name}=")).expect(line);
        rest.split(|char: char| !char.is_ascii_digit()).next().unwrap().parse().expect(line)
    };
    (number("records"), number(" of"))
}

#[test]
fn a_start_reads_what_its_views_need_of_an_imported_history() {
    let kafka = shared();
    let topic = kafka.topic("needs", 2);
    let job = Job::new(&kafka.brokers(), &format!("{{ {topic}: json }}"), "");
    let now_ms = bidstream::clock::Clock::system().now_ms();
    std::fs::write(job.dir().join("m.yaml"), MAPPING).unwrap();
    std::fs::write(job.dir().join("history.csv"), history(now_ms)).unwrap();
    let mut import = bidstream();
    import.current_dir(job.dir()).args(["import", "history.csv", "--mapping", "m.yaml", "--lake", "lake"]);
    let output = import.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let imported: usize = job.sql("SELECT count(*) FROM raw.records")[0].parse().unwrap();

    // What comes now: purchases of people whose installs are older than what is read, and a reinstall.
    for (turn, workers) in [2, 1, 2].into_iter().enumerate() {
        let id = |of: &str| format!("{of}{turn}");
        let events =
            [event("click", &id("c"), "u3"), event("conversion", &id("b"), "u3"), event("install", &id("i"), "u9")];
        kafka.send(&topic, 0, &events.each_ref().map(String::as_str));
        kafka.send(&topic, 1, &[&event("conversion", &id("a"), "u29")]);
        job.write(&kafka.brokers(), &format!("{{ {topic}: json }}"), &format!("workers: {workers}"));
        let said = job.until(&[], imported + 4 * (turn + 1));
        let (loaded, held) = loaded(&said);
        assert_eq!(held as usize, imported + 4 * turn, "{said}");
        assert!(loaded * 3 < held, "{loaded} of {held} records were loaded");
        assert_every_table_equals_its_sql(&job.lake());
    }
    let governed = "SELECT count(*) FROM credits WHERE event_time > now() - INTERVAL '1 hour' \
        AND install_event_time < now() - INTERVAL '100 days' AND model = 'last'";
    assert_eq!(job.sql(governed), ["3"], "conversions follow installs that were loaded from their table");
}
