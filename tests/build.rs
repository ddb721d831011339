//! `bidstream build`: views that a lake lacks are built, killed midway and repeated, and the next start goes on from their tables.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use crate::exactly_once::{Running, assert_every_table_equals_its_sql, bidstream, sql};

/// Four months.
const DAYS: i64 = 120;
const MAPPING: &str = "\
format: csv
tenant: shop
event_time: { column: at, format: epoch_ms }
emit:
  - { type: impression, when: { what: [view] }, set: { user: who, channel: by, campaign: by } }
  - { type: click, when: { what: [click] }, set: { user: who, channel: by, campaign: by } }
  - { type: install, when: { what: [install] }, set: { user: who } }
  - { type: conversion, when: { what: [buy] }, set: { user: who, name: what, revenue_micros: paid, currency: { const: EUR } } }
  - { type: identify, when: { what: [signin] }, set: { user: who, login: by } }
  - { type: cost, when: { what: [cost] }, set: { source: by, version: paid, cost_micros: paid, currency: { const: EUR } } }
";
const HEADER: &str = "at,what,who,by,paid\n";
/// The views of the job that comes first.
const FEW: &str = "[contested_events, costs, installs]";
/// So few people are an anomaly only where one more is.
const SMALL: &str = "anomalies: { bound: 0.5, floor_events: 1, floor_micros: 100000 }";
/// Those that it leaves out.
const OTHERS: [&str; 14] = [
    "credits",
    "metrics_hourly",
    "metrics_sliding",
    "anomalies",
    "sessions",
    "frequency",
    "firsts",
    "cohorts",
    "funnel_steps",
    "paths",
    "uniques",
    "identity_links",
    "shared_hours",
    "identity",
];

/// What people did from one day to another, and what was paid for it; each day in the order of time.
fn history(days: std::ops::Range<i64>) -> Vec<String> {
    let mut rows = Vec::new();
    for day in days {
        let at = |minute: i64| 1_700_006_400_000 + day * 86_400_000 + minute * 60_000;
        for person in (0..20).filter(|person| (person * 7 + day) % 3 != 0) {
            let by = ["search", "social", "mail"][(day + person) as usize % 3];
            let start = person * 55;
            rows.push(format!("{},view,u{person},{by},", at(start)));
            rows.push(format!("{},click,u{person},{by},", at(start + 5)));
            if (day + person) % 40 == 0 {
                rows.push(format!("{},install,u{person},,", at(start + 9)));
            }
            if (day + person) % 20 == 0 {
                rows.push(format!("{},signin,u{person},u{}@shop.example,", at(start + 12), person / 2));
            }
            if (day + person) % 4 == 0 {
                rows.push(format!("{},buy,u{person},,{}", at(start + 45), 1_000_000 + person));
            }
        }
        // Costs of an hour are restated two hours later.
        rows.push(format!("{},cost,,search,{}", at(60), 5_000 + day));
        rows.push(format!("{},cost,,search,{}", at(60), 7_000 + day));
        rows.sort();
    }
    rows
}

/// A directory with a lake of the first job, and both job files.
struct Place(TempDir);

/// What a command answered.
struct Answer {
    code: Option<i32>,
    report: Value,
    errors: String,
}

impl Place {
    /// Imports a history in this order, of records that are gated as live ones are, or of any age.
    fn with(rows: &[String], is_gated: bool) -> Place {
        let place = Place(tempfile::tempdir().unwrap());
        let mapping = if is_gated { format!("arrival: event_time\n{MAPPING}") } else { MAPPING.to_owned() };
        std::fs::write(place.path("m.yaml"), mapping).unwrap();
        let job = |views: &str| format!("lake: lake\ncommit_every: 100ms\nviews: {{ {views} }}\n");
        std::fs::write(place.path("few.yaml"), job(&format!("only: {FEW}, {SMALL}"))).unwrap();
        std::fs::write(place.path("all.yaml"), job(SMALL)).unwrap();
        place.import("history.csv", rows, "few.yaml");
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn lake(&self) -> PathBuf {
        self.path("lake")
    }

    /// Imports rows by the views of a job file.
    fn import(&self, name: &str, rows: &[String], job: &str) {
        std::fs::write(self.path(name), format!("{HEADER}{}\n", rows.join("\n"))).unwrap();
        let mut import = bidstream();
        import.current_dir(&self.0).args(["import", name, "--mapping", "m.yaml", "--job", job]);
        let output = import.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    fn command(&self, arguments: &str, failpoint: &str) -> std::process::Command {
        let mut build = bidstream();
        build.env("BIDSTREAM_FAILPOINT", failpoint).current_dir(&self.0).args(["build", "--format", "json"]);
        build.args(arguments.split_whitespace());
        build
    }

    fn build(&self, arguments: &str, failpoint: &str) -> Answer {
        let output = self.command(arguments, failpoint).output().unwrap();
        Answer {
            code: output.status.code(),
            report: serde_json::from_slice(&output.stdout).unwrap_or(Value::Null),
            errors: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// The views that readers find a table of.
    fn named(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.lake().join("lake.json")).unwrap();
        let lake: Value = serde_json::from_str(&text).unwrap();
        lake["views"].as_object().unwrap().keys().cloned().collect()
    }

    /// The least cut in the changes of a view, and the rows that stand at it.
    fn first_commit(&self, view: &str) -> String {
        let query = format!("SELECT _cut, count(*) FROM raw.{view}_changes GROUP BY 1 ORDER BY 1 LIMIT 1");
        sql(&self.lake(), &query)[0].clone()
    }
}

fn outcomes(answer: &Answer) -> Vec<(&str, &str)> {
    let views = answer.report["views"].as_array().expect(&answer.errors);
    views.iter().map(|view| (view["view"].as_str().unwrap(), view["outcome"].as_str().unwrap())).collect()
}

#[test]
fn what_a_job_left_out_is_built_and_the_next_start_goes_on_from_there() {
    let place = Place::with(&history(0..DAYS), true);
    let answer = place.build(&format!("{} --job all.yaml", OTHERS.join(" ")), "");
    assert_eq!(answer.code, Some(0), "{}", answer.errors);
    assert_eq!(outcomes(&answer), OTHERS.map(|view| (view, "built")));
    assert_eq!(answer.report["lacking"], Value::Array(Vec::new()), "all views of the job have tables now");
    let cut = sql(&place.lake(), "SELECT max(_cut) FROM raw.records")[0].parse::<i64>().unwrap();
    assert!(answer.report["cut"].as_i64().unwrap() >= cut);

    // Nobody sees it yet: readers go by the SQL of what has no table.
    assert_eq!(place.named().len(), 4);
    assert_every_table_equals_its_sql(&place.lake());
    let again = place.build("sessions --job all.yaml", "");
    assert_eq!((again.code, outcomes(&again)), (Some(0), vec![("sessions", "there")]), "{}", again.errors);

    place.import("more.csv", &history(DAYS..DAYS + 3), "all.yaml");
    assert_eq!(place.named().len(), 4 + OTHERS.len());
    for view in answer.report["views"].as_array().unwrap() {
        if view["rows"] == 0 {
            let is_empty = ["funnel_steps", "shared_hours"].contains(&view["view"].as_str().unwrap());
            assert!(is_empty, "the job defines no funnel and wants no likely links, and all else has rows: {view}");
            continue;
        }
        let first = format!("{},{}", answer.report["cut"], view["rows"]);
        assert_eq!(place.first_commit(view["view"].as_str().unwrap()), first, "{view}");
    }
    assert_every_table_equals_its_sql(&place.lake());
}

#[test]
fn records_of_any_age_in_any_order_are_built_from_too() {
    let rows = history(0..60);
    let shuffled: Vec<String> = (0..rows.len()).map(|at| rows[at * 1_009 % rows.len()].clone()).collect();
    let place = Place::with(&shuffled, false);
    // One by one, and by the parameters of the lake, whose job leaves them out.
    for view in OTHERS {
        let answer = place.build(&format!("{view} --lake lake --workers 2"), "");
        assert_eq!((answer.code, outcomes(&answer)), (Some(0), vec![(view, "built")]), "{}", answer.errors);
    }
    place.import("more.csv", &history(60..63), "all.yaml");
    assert_eq!(place.named().len(), 4 + OTHERS.len());
    assert_every_table_equals_its_sql(&place.lake());
}

#[test]
fn killed_midway_nothing_of_it_is_there_and_the_same_command_builds_anew() {
    let place = Place::with(&history(0..40), true);
    let files = || {
        let dir = std::fs::read_dir(place.lake().join("sessions")).unwrap().next().unwrap().unwrap().path();
        let files = std::fs::read_dir(dir).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap());
        files.filter(|name| name.ends_with(".parquet")).count()
    };
    for (failpoint, leaves) in
        [("recovery.file:kill:2", 0), ("sessions.upload.after:kill", 1), ("sessions.put.before:kill", 1)]
    {
        let answer = place.build("sessions --job all.yaml", failpoint);
        assert_eq!(answer.code, None, "{failpoint}: {}", answer.errors);
        assert_eq!(files(), leaves, "{failpoint}");
        assert_every_table_equals_its_sql(&place.lake());
    }
    // The reading fails, and says why; what was written before is taken away.
    let answer = place.build("sessions --job all.yaml", "recovery.file:error:3");
    assert_eq!(answer.code, Some(1), "{}", answer.errors);
    assert!(answer.errors.contains("removed 1 files of a build that did not end"), "{}", answer.errors);
    assert!(answer.errors.contains("failpoint recovery.file"), "{}", answer.errors);
    assert_eq!(files(), 0);
    // Killed after the commit it is there.
    assert_eq!(place.build("sessions --job all.yaml", "sessions.put.after:kill").code, None);
    let answer = place.build("sessions --job all.yaml", "");
    assert_eq!((answer.code, outcomes(&answer)), (Some(0), vec![("sessions", "there")]), "{}", answer.errors);
    place.import("more.csv", &history(40..41), "all.yaml");
    assert_every_table_equals_its_sql(&place.lake());
}

#[test]
fn a_second_build_of_a_view_is_refused_while_the_first_goes_on() {
    let place = Place::with(&history(0..5), true);
    let mut first = place.command("sessions --job all.yaml", "recovery.file:sleep=8000");
    let first = Running::start(first.stdout(Stdio::null()).stderr(Stdio::null()));
    let started = Instant::now();
    while !is_locked(&place.lake()) {
        assert!(started.elapsed() < Duration::from_secs(60), "it never began");
        std::thread::sleep(Duration::from_millis(20));
    }
    let second = place.build("sessions --job all.yaml", "");
    assert_eq!(second.code, Some(3), "{}", second.errors);
    assert!(second.errors.contains(&format!("process {}", first.id())), "{}", second.errors);
    let mut first = first;
    assert_eq!(first.wait().unwrap().code(), Some(0));
    assert!(!is_locked(&place.lake()), "the file of the lock is gone");
}

/// Whether a table of `sessions` has the file of a lock that says who holds it.
fn is_locked(lake: &Path) -> bool {
    let Ok(tables) = std::fs::read_dir(lake.join("sessions")) else { return false };
    let said = |table: PathBuf| std::fs::read_to_string(table.join(".build")).unwrap_or_default();
    tables.into_iter().any(|table| !said(table.unwrap().path()).is_empty())
}

#[test]
fn what_cannot_be_built_is_told_with_what_can() {
    let place = Place::with(&history(0..1), true);
    let mut told = String::new();
    for (arguments, code, says) in [
        (
            "session --lake lake",
            2,
            "there is no view \"session\"; these have tables: contested_events, costs, activity, installs",
        ),
        ("metrics_daily --lake lake", 2, "metrics_daily has no table: it is SQL over metrics_hourly"),
        ("sessions --lake nowhere", 2, "nowhere is no lake"),
        ("sessions --lake lake --workers 0", 2, "--workers is 0: it may be 1 to 64"),
    ] {
        let answer = place.build(arguments, "");
        writeln!(told, "{arguments}: {:?} {}", answer.code, answer.errors).unwrap();
        assert!(answer.code == Some(code) && answer.errors.contains(says), "{told}");
    }
}
