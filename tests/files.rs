//! Files through the whole program, without a broker.

use std::fmt::Write;
use std::path::Path;

use crate::exactly_once::{assert_every_table_equals_its_sql, bidstream, sql};

const MAPPING: &str = "\
format: csv
arrival: event_time
tenant: acme
event_time: { column: time, format: epoch_ms }
emit:
  - { type: click, when: { kind: [click] }, set: { user: user, channel: kind } }
  - { type: conversion, when: { kind: [buy] }, set: { user: user, name: kind } }
";
const HOURS: i64 = 40 * 24;

pub fn import(dir: &Path, name: &str, rows: &str) {
    let (file, mapping) = (dir.join(name), dir.join("mapping.yaml"));
    std::fs::write(&file, rows).unwrap();
    std::fs::write(&mapping, MAPPING).unwrap();
    let mut command = bidstream();
    command.arg("import").arg(file).arg("--mapping").arg(mapping).arg("--lake").arg(dir.join("lake"));
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn two_files_of_one_period_are_matched_though_the_first_was_replayed_to_its_end() {
    let dir = tempfile::tempdir().unwrap();
    let (mut clicks, mut buys) = ("time,kind,user\n".to_owned(), "time,kind,user\n".to_owned());
    for hour in 0..HOURS {
        let time_ms = 1_700_000_000_000 + hour * 3_600_000;
        for part in 0..10 {
            writeln!(clicks, "{},click,u{}", time_ms + part * 1_000, hour % 50).unwrap();
        }
        writeln!(buys, "{},buy,u{}", time_ms + 60_000, hour % 50).unwrap();
    }
    import(dir.path(), "clicks.csv", &clicks);
    import(dir.path(), "buys.csv", &buys);
    let lake = dir.path().join("lake");
    let credited = sql(&lake, "SELECT count(DISTINCT event_id) FROM credits WHERE channel = 'click'");
    assert_eq!(credited, [HOURS.to_string()]);
    assert_every_table_equals_its_sql(&lake);
}
