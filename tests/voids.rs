//! Imports that are undone: their topic is declared void with the claim of the lake, and counts no more once all views are
//! made without it. Killed at any step, the lake answers as before or as after, and the next start completes it.

use std::path::Path;

use bidstream::clock::Clock;
use bidstream::ingest::gate::Gate;
use bidstream::ingest::source::{Arrived, PartitionId, Progress, Source, SourceError};
use bidstream::lake::{Lake, Ledger};
use bidstream::run::pipeline::{self, Plan};
use schemas::Tick;
use schemas::ids::IdHasher;
use schemas::symbols::Symbols;

use crate::exactly_once::{assert_every_table_equals_its_sql, bidstream, sql};

const KEY: &str = "a key of these tests";
const MAPPING: &str = "\
format: csv
tenant: acme
event_time: { column: time, format: epoch_ms }
emit:
  - { type: click, when: { kind: [click] }, set: { user: user, channel: channel } }
  - { type: conversion, when: { kind: [buy] }, set: { user: user, name: kind } }
";
const GOOD: &str =
    "time,kind,user,channel\n1700000000000,click,u1,search\n1700000100000,buy,u1,\n1700000000000,buy,u2,\n";
const BAD: &str =
    "time,kind,user,channel\n1700000050000,click,u1,wrong\n1699999950000,click,u2,wrong\nyesterday,buy,u1,\n";
const MORE: &str = "time,kind,user,channel\n1700000200000,buy,u1,\n";
/// Channels of the last touch by the number of conversions: of the good file alone, and of both.
const CREDITED: &str = "SELECT channel, count(*) FROM credits WHERE model = 'last' GROUP BY 1 ORDER BY 1";
const WITHOUT: [&str; 2] = ["(none),1", "search,1"];
const WITH: [&str; 1] = ["wrong,2"];

/// A source that has nothing.
struct Nothing;

impl Source for Nothing {
    fn poll(
        &mut self,
        frontier: Tick,
        _records_max: usize,
        _each: &mut dyn FnMut(Arrived<'_>),
    ) -> Result<Progress, SourceError> {
        Ok(Progress { tick: frontier, records: 0, at_end: true, finished: true })
    }

    fn partitions(&self) -> &[PartitionId] {
        &[]
    }

    fn position(&self, _partition: usize) -> i64 {
        unreachable!("it has no partition")
    }
}

fn import(dir: &Path, rows: &str, failpoint: Option<&str>) -> bool {
    let (file, mapping) = (dir.join("file.csv"), dir.join("mapping.yaml"));
    std::fs::write(&file, rows).unwrap();
    std::fs::write(&mapping, MAPPING).unwrap();
    let mut command = bidstream();
    command.arg("import").arg(file).arg("--mapping").arg(mapping).arg("--lake").arg(dir.join("lake"));
    command.env("BIDSTREAM_ID_KEY", KEY).envs(failpoint.map(|failpoint| ("BIDSTREAM_FAILPOINT", failpoint)));
    let output = command.output().unwrap();
    let killed = output.status.code().is_none();
    assert!(killed || output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    !killed
}

/// A lake of both files, and the topic of the bad one.
fn lake_of_both(dir: &Path) -> String {
    assert!(import(dir, GOOD, None) && import(dir, BAD, None));
    let lake = dir.join("lake");
    assert_eq!(sql(&lake, CREDITED), WITH);
    sql(&lake, "SELECT topic FROM events WHERE channel = 'wrong' LIMIT 1").remove(0)
}

/// Declares a topic void as a start does that is killed right after.
fn declare(lake: &Path, topic: &str) {
    let settings = Lake::read(lake).unwrap().settings;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let void = [topic.to_owned()];
    drop(runtime.block_on(Ledger::open(lake, &settings, false, &void, &Symbols::new())).unwrap());
}

/// Undoes an import by a run that reads nothing.
fn undo(lake: &Path, topic: &str) {
    let (clock, hasher) = (Clock::system(), IdHasher::new(KEY.as_bytes()));
    let plan = Plan {
        lake: lake.to_owned(),
        settings: Lake::read(lake).unwrap().settings,
        gate: Gate::OPEN,
        replays: None,
        workers: 1,
        commit_every: std::time::Duration::from_millis(200),
        take_over: false,
        void: vec![topic.to_owned()],
        hasher,
        id_rules: Default::default(),
        clock,
    };
    let run = pipeline::start(plan, |_| Box::new(|_, _| Ok(Box::new(Nothing) as Box<dyn Source>))).unwrap();
    run.wait().unwrap();
}

fn assert_undone(lake: &Path) {
    assert_eq!(sql(lake, CREDITED), WITHOUT);
    assert_eq!(sql(lake, "SELECT count(*) FROM events WHERE channel = 'wrong'"), ["0"]);
    assert_eq!(sql(lake, "SELECT count(*) FROM dead_letters"), ["0"]);
    assert_eq!(sql(lake, "SELECT records, ok, dead FROM imports WHERE is_void"), ["3,2,1"]);
    assert_eq!(sql(lake, "SELECT count(*) FROM records"), ["6"], "what came is kept");
    assert_every_table_equals_its_sql(lake);
}

#[test]
fn a_run_without_records_completes_an_undo() {
    let dir = tempfile::tempdir().unwrap();
    let lake = dir.path().join("lake");
    let topic = lake_of_both(dir.path());
    undo(&lake, &topic);
    assert_undone(&lake);
    // Again, it changes nothing; and later imports go on with it.
    let version = |lake: &Path| std::fs::read_dir(lake.join("credits")).unwrap().count();
    let tables = version(&lake);
    undo(&lake, &topic);
    assert_undone(&lake);
    assert!(import(dir.path(), MORE, None));
    assert_eq!(version(&lake), tables, "no view is made anew");
    assert_eq!(sql(&lake, CREDITED), ["(none),1", "search,2"]);
    assert_every_table_equals_its_sql(&lake);
}

#[test]
fn killed_at_any_step_an_undo_is_not_seen_or_is_complete() {
    for failpoint in [
        "open.claimed:kill",
        "records.put.after:kill:2",
        "installs.put.after:kill:2",
        "credits.put.after:kill:2",
        "commit.end:kill",
    ] {
        let dir = tempfile::tempdir().unwrap();
        let lake = dir.path().join("lake");
        let topic = lake_of_both(dir.path());
        declare(&lake, &topic);
        assert_eq!(sql(&lake, CREDITED), WITH, "declared only");
        assert_every_table_equals_its_sql(&lake);
        assert!(!import(dir.path(), MORE, Some(failpoint)), "{failpoint} was not reached");
        let credited = sql(&lake, CREDITED);
        let after = credited == ["(none),1", "search,2"];
        assert!(after || credited == WITH, "{failpoint}: {credited:?}");
        assert_every_table_equals_its_sql(&lake);
        import(dir.path(), MORE, None);
        assert_eq!(sql(&lake, CREDITED), ["(none),1", "search,2"], "{failpoint}");
        assert_eq!(sql(&lake, "SELECT count(*) FROM imports WHERE is_void"), ["1"]);
        assert_every_table_equals_its_sql(&lake);
    }
}
