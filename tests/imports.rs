//! `bidstream import` as a person meets it: what is refused and why, what a report says, and the way back.

use std::fmt::Write;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::exactly_once::{assert_every_table_equals_its_sql, bidstream, sql, sql_as_of};

const MAPPING: &str = "\
format: csv
tenant: t
app: web
event_time: { column: at, format: rfc3339 }
emit:
  - { type: click, when: { what: [touch] }, set: { user: who, channel: by } }
  - { type: conversion, when: { what: [order] }, set: { user: who, name: what } }
";
const HEADER: &str = "at,what,who,by\n";

/// A directory with a lake that may come, and files beside it.
struct Place(tempfile::TempDir);

/// What a command answered.
struct Answer {
    code: Option<i32>,
    report: Value,
    errors: String,
}

impl Place {
    fn new() -> Place {
        let place = Place(tempfile::tempdir().unwrap());
        place.file("m.yaml", MAPPING);
        place
    }

    fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.path().join(name);
        std::fs::write(&path, content).unwrap();
        path
    }

    fn lake(&self) -> PathBuf {
        self.0.path().join("lake")
    }

    fn command(&self, arguments: &str) -> Command {
        let mut command = bidstream();
        command.current_dir(self.0.path()).args(["import", "--format", "json"]).args(arguments.split_whitespace());
        if !arguments.contains("--job") {
            command.args(["--lake", "lake"]);
        }
        command
    }

    fn import(&self, arguments: &str) -> Answer {
        let output = self.command(arguments).output().unwrap();
        let errors = String::from_utf8(output.stderr).unwrap();
        let report = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
        Answer { code: output.status.code(), report, errors }
    }

    fn events(&self) -> i64 {
        sql(&self.lake(), "SELECT count(*) FROM events")[0].parse().unwrap()
    }
}

impl Answer {
    #[track_caller]
    fn is(&self, code: i32, outcome: &str) -> &Answer {
        assert_eq!(self.code, Some(code), "{}", self.errors);
        assert_eq!(self.report["outcome"], outcome, "{}", self.errors);
        self
    }

    #[track_caller]
    fn fails(&self, code: i32, words: &str) {
        assert_eq!(self.code, Some(code), "{}", self.errors);
        assert!(self.errors.contains(words), "{}", self.errors);
    }
}

/// A touch and an order an hour later of each of so many people.
fn day(people: std::ops::Range<usize>) -> String {
    let mut rows = String::new();
    for person in people {
        writeln!(rows, "2026-05-01T10:00:{:02}Z,touch,p{person},mail", person % 60).unwrap();
        writeln!(rows, "2026-05-01T11:00:{:02}Z,order,p{person},", person % 60).unwrap();
    }
    rows
}

fn gzipped(text: &str) -> Vec<u8> {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(text.as_bytes()).unwrap();
    gzip.finish().unwrap()
}

#[test]
fn a_file_that_breaks_midway_leaves_nothing_and_the_good_one_counts_once() {
    let place = Place::new();
    let whole = gzipped(&format!("{HEADER}{}", day(0..5_000)));
    place.file("a.csv.gz", &whole[..whole.len() * 3 / 4]);
    place.import("a.csv.gz --mapping m.yaml").fails(4, "a.csv.gz: ");
    assert!(!place.lake().exists());
    place.file("a.csv.gz", &whole);
    place.import("a.csv.gz --mapping m.yaml").is(0, "imported");
    assert_eq!(place.events(), 10_000);
    place.import("a.csv.gz --mapping m.yaml").is(0, "nothing_new");
    assert_eq!(place.events(), 10_000);
}

#[test]
fn a_pipe_is_refused_with_the_remedy() {
    let place = Place::new();
    assert!(Command::new("mkfifo").arg(place.0.path().join("pipe.csv")).status().unwrap().success());
    place.import("pipe.csv --mapping m.yaml").fails(4, "write it to a file first");
    place.import("- --mapping m.yaml").fails(4, "write it to a file first");
    place.import("none.csv --mapping m.yaml").fails(4, "none.csv");
    assert!(!place.lake().exists());
}

#[test]
fn a_dry_run_shows_what_would_enter_and_writes_nothing() {
    let place = Place::new();
    place.file("a.csv", format!("{HEADER}{}2026-05-01T10:00:00Z,look,p1,\nsoon,order,p1,\n", day(0..7)));
    let answer = place.import("a.csv --mapping m.yaml --dry-run");
    let report = &answer.is(0, "dry_run").report;
    assert_eq!(report["rows"], 16);
    assert_eq!(report["events"], serde_json::json!({ "click": 7, "conversion": 7 }));
    assert_eq!((&report["unmatched_rows"], &report["dead_rows"]), (&1.into(), &1.into()));
    assert_eq!(report["first_event"], "2026-05-01T10:00:00.000Z");
    assert_eq!(report["last_event"], "2026-05-01T11:00:06.000Z");
    assert_eq!(report["reasons"][0]["first_row"], 16);
    let shown = report["shown"]["conversion"].as_array().unwrap();
    assert_eq!((shown.len(), &shown[4]["user"]), (5, &"p4".into()));
    assert!(!place.lake().exists());
    let mut people = bidstream();
    people.current_dir(place.0.path()).args(["import", "a.csv", "--mapping", "m.yaml", "--dry-run"]);
    let printed = String::from_utf8(people.output().unwrap().stdout).unwrap();
    assert!(printed.contains("14 events: click 7, conversion 7; from 2026-05-01T10:00:00.000Z"), "{printed}");
    assert!(printed.contains("1 rows match no entry of m.yaml"), "{printed}");
    assert!(printed.ends_with("Dry run: nothing was written.\n"), "{printed}");
}

#[test]
fn a_file_of_no_use_is_refused_unless_that_is_allowed() {
    let place = Place::new();
    place.file("other.csv", format!("{HEADER}2026-05-01T10:00:00Z,look,p1,\n"));
    place
        .import("other.csv --mapping m.yaml")
        .is(3, "refused")
        .fails(3, "no entry of the mapping matches any of the 1 rows");
    place.import("empty.csv --mapping m.yaml").fails(4, "empty.csv");
    place.file("empty.csv", HEADER);
    place.import("empty.csv --mapping m.yaml").is(3, "refused").fails(3, "the file has no rows");
    place.file("nothing.csv", "");
    place.file("mark.csv", "\u{feff}");
    place.file("nothing.csv.gz", gzipped(""));
    for file in ["nothing.csv", "mark.csv", "nothing.csv.gz"] {
        place.import(&format!("{file} --mapping m.yaml")).is(3, "refused").fails(3, "the file has no rows");
    }
    let bad = "yesterday,order,p1,\n\u{1b}[2Jtoday,order,p2,\n";
    place.file("bad.csv", format!("{HEADER}{bad}{}", day(0..1)));
    place
        .import("bad.csv --mapping m.yaml --allow-dead 0.4")
        .is(3, "refused")
        .fails(3, "2 of 4 rows would be dead letters");
    place.file("worse.csv", format!("{HEADER}{bad}2026-05-01T10:00:00Z,touch,p1,mail\n"));
    let worse = place.import("worse.csv --mapping m.yaml");
    worse.is(3, "refused").fails(3, "allow it with --allow-dead 0.67");
    assert!(!worse.errors.contains('\u{1b}'), "{:?}", worse.errors);
    assert!(!place.lake().exists());
    place.import("worse.csv --mapping m.yaml --allow-dead 0.67").is(0, "imported");
    assert_eq!(sql(&place.lake(), "SELECT count(*) FROM dead_letters"), ["2"]);
    for file in ["empty.csv", "nothing.csv", "mark.csv", "nothing.csv.gz"] {
        place.import(&format!("{file} --mapping m.yaml --allow-empty")).is(0, "nothing_new");
    }
    place.import("bad.csv --mapping m.yaml --allow-dead 2").fails(2, "write a share from 0 to 1");
    place.import("bad.csv --mapping none.yaml").fails(2, "none.yaml");
}

#[test]
fn an_import_that_is_undone_counts_no_more_and_can_be_made_again() {
    let place = Place::new();
    place.file("a.csv", format!("{HEADER}{}", day(0..10)));
    place.file("b.csv", format!("{HEADER}{}", day(10..13)));
    place.import("a.csv --mapping m.yaml").is(0, "imported");
    let cut = sql(&place.lake(), "SELECT max(_cut) FROM raw.records").remove(0);
    place.import("b.csv --mapping m.yaml").is(0, "imported");
    assert_eq!(sql(&place.lake(), "SELECT file FROM imports ORDER BY 1"), ["a.csv", "b.csv"]);
    assert_eq!(sql_as_of(&place.lake(), &cut, "SELECT file FROM imports"), ["a.csv"]);
    place.import("--undo c.csv").fails(2, "\"c.csv\" is no import of this lake; there are ");
    let undone = place.import("--undo a.csv");
    assert_eq!((&undone.is(0, "undone").report["rows"], &undone.report["events"]), (&20.into(), &20.into()));
    assert_eq!(place.events(), 6);
    assert_eq!(sql(&place.lake(), "SELECT count(*) FROM credits WHERE model = 'last'"), ["3"]);
    assert_every_table_equals_its_sql(&place.lake());
    place.import("--undo a.csv").is(0, "void_already");
    let again = place.import("a.csv --mapping m.yaml");
    assert!(again.is(0, "imported").report["topic"].as_str().unwrap().ends_with("@2"), "{}", again.report);
    place.import("a.csv --mapping m.yaml").is(0, "nothing_new");
    assert_eq!(place.events(), 26);
    assert_eq!(sql(&place.lake(), "SELECT count(*) FROM credits WHERE model = 'last'"), ["13"]);
    assert_every_table_equals_its_sql(&place.lake());
}

#[test]
fn a_file_that_grew_is_warned_of_by_name_and_can_replace_the_one_before() {
    let place = Place::new();
    let first = format!("{HEADER}{}", day(0..5));
    place.file("first.csv", &first);
    place.file("grown.csv", format!("{first}2026-05-01T12:00:00Z,order,p0,\n"));
    // The same events with a column more, in another order.
    let wide: String = first.lines().map(|line| format!("x,{line}\n")).collect();
    place.file("wide.csv", &wide);
    place.import("first.csv --mapping m.yaml").is(0, "imported");
    let warned = place.import("grown.csv --mapping m.yaml --dry-run");
    warned.fails(0, "grown.csv shares 10 of 11 events with first.csv (");
    assert!(warned.errors.contains("--replace first.csv"), "{}", warned.errors);
    assert!(warned.report["warnings"][0].as_str().unwrap().contains("shares 10 of 11"));
    place.import("wide.csv --mapping m.yaml --dry-run").fails(0, "wide.csv shares 10 of 10 events with first.csv (");
    let replaced = place.import("grown.csv --mapping m.yaml --replace first.csv");
    assert_eq!(replaced.is(0, "imported").report["warnings"], serde_json::json!([]), "{}", replaced.errors);
    assert_eq!(place.events(), 11);
    assert_every_table_equals_its_sql(&place.lake());
    // Under its own name nothing need be named.
    place.file("grown.csv", format!("{HEADER}{}", day(20..22)));
    place.import("grown.csv --mapping m.yaml --dry-run").fails(0, "grown.csv was imported before with other content");
    place.import("--replace grown.csv --mapping m.yaml").is(0, "imported");
    assert_eq!(place.events(), 4);
    place.import("--replace grown.csv --mapping m.yaml").is(0, "nothing_new");
    assert_eq!(place.events(), 4);
}

#[test]
fn copies_with_an_event_id_are_no_overlap_but_blank_ids_are() {
    let place = Place::new();
    place.file("m.yaml", MAPPING.replace("{ user: who", "{ event_id: by, user: who"));
    let rows = |blank: usize| -> String {
        let id = |n: usize| if n < blank { String::new() } else { format!("id{n}") };
        (0..20).map(|n| format!("2026-05-01T10:00:{n:02}Z,touch,p{n},{}\n", id(n))).collect()
    };
    place.file("a.csv", format!("{HEADER}{}", rows(3)));
    place.file("b.csv", format!("{HEADER}{}2026-05-01T12:00:00Z,touch,p0,id99\n", rows(3)));
    place.import("a.csv --mapping m.yaml").is(0, "imported");
    place.import("b.csv --mapping m.yaml").fails(0, "b.csv shares 3 of 21 events with a.csv");
    assert_eq!(place.events(), 24);
}

#[test]
fn another_mapping_of_a_file_is_refused_or_replaces_the_first() {
    let place = Place::new();
    place.file("a.csv", format!("{HEADER}{}", day(0..4)));
    place.file("other.yaml", MAPPING.replace("app: web", "app: shop"));
    place.import("a.csv --mapping m.yaml").is(0, "imported");
    place.import("a.csv --mapping other.yaml").fails(3, "imported by another mapping");
    place.import("a.csv --mapping m.yaml --replace a.csv").fails(2, "first undo it");
    place.import("a.csv --mapping other.yaml --replace").is(0, "imported");
    assert_eq!(sql(&place.lake(), "SELECT app, count(*) FROM events GROUP BY app"), ["shop,8"]);
    place.import("a.csv --mapping other.yaml --replace").is(0, "nothing_new");
    assert_every_table_equals_its_sql(&place.lake());
}

#[test]
fn a_kill_between_the_void_and_the_import_is_made_good_by_the_same_command() {
    let place = Place::new();
    place.file("a.csv", format!("{HEADER}{}", day(0..4)));
    place.import("a.csv --mapping m.yaml").is(0, "imported");
    place.file("a.csv", format!("{HEADER}{}", day(0..6)));
    for failpoint in ["open.claimed:kill", "records.put.before:kill:2", "records.put.after:kill:2", "commit.end:kill"] {
        let mut command = place.command("a.csv --mapping m.yaml --replace");
        assert_eq!(command.env("BIDSTREAM_FAILPOINT", failpoint).status().unwrap().code(), None, "{failpoint}");
    }
    assert_eq!(place.import("a.csv --mapping m.yaml --replace").code, Some(0));
    assert_eq!(place.events(), 12);
    assert_every_table_equals_its_sql(&place.lake());
    let mut command = place.command("--undo a.csv");
    assert_eq!(command.env("BIDSTREAM_FAILPOINT", "open.claimed:kill").status().unwrap().code(), None);
    place.import("--undo a.csv").is(0, "completed");
    place.import("--undo a.csv").is(0, "void_already");
    assert_eq!(place.events(), 0);
    assert_every_table_equals_its_sql(&place.lake());
}

#[test]
fn a_kill_while_rows_enter_loses_and_repeats_nothing() {
    let place = Place::new();
    place.file("job.yaml", format!("lake: lake\n{JOB}commit_every: 100ms\n"));
    place.file("a.csv", format!("{HEADER}{}", day(0..40_000)));
    let mut command = place.command("a.csv --mapping m.yaml --job job.yaml");
    assert_eq!(command.env("BIDSTREAM_FAILPOINT", "records.put.after:kill:2").status().unwrap().code(), None);
    // What entered counts, and nobody need find that out alone.
    place.file("b.csv", format!("{HEADER}{}", day(50_000..50_001)));
    let other = place.import("b.csv --mapping m.yaml --dry-run");
    let warned =
        other.errors.contains("was imported in part: ") && other.errors.contains(" of 80000 rows; import it again");
    // Where the machine was fast, that was the only commit.
    let rest = place.import("a.csv --mapping m.yaml --job job.yaml");
    assert_eq!((rest.code, warned), (Some(0), rest.report["outcome"] == "imported"), "{}", other.errors);
    let counted = sql(&place.lake(), "SELECT count(*), count(DISTINCT \"offset\") FROM raw.records");
    assert_eq!(counted, ["80000,80000"]);
    assert_eq!(place.events(), 80_000);
}

/// Waits for the first commit of an import, then sends the signal of `kill`.
fn interrupt(place: &Place, mut command: Command) -> Answer {
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let log = place.lake().join("records/_delta_log");
    let deadline = Instant::now() + Duration::from_secs(60);
    while std::fs::read_dir(&log).map_or(0, Iterator::count) < 3 {
        assert!(Instant::now() < deadline, "no commit came");
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    let output = child.wait_with_output().unwrap();
    Answer {
        code: output.status.code(),
        report: serde_json::from_slice(&output.stdout).unwrap_or(Value::Null),
        errors: String::from_utf8(output.stderr).unwrap(),
    }
}

#[test]
fn an_import_that_is_interrupted_says_so_and_the_same_command_completes_it() {
    let place = Place::new();
    place.file("job.yaml", "lake: lake\ncommit_every: 100ms\n");
    place.file("a.csv", format!("{HEADER}{}", day(0..300_000)));
    let answer = interrupt(&place, place.command("a.csv --mapping m.yaml --job job.yaml"));
    answer.is(1, "interrupted").fails(1, " of 600000 rows were durable: the same command goes on");
    let durable = answer.report["durable_rows"].as_i64().unwrap();
    assert!(durable < 600_000 && place.events() == durable, "{}", answer.report);
    place.import("a.csv --mapping m.yaml --job job.yaml").is(0, "imported");
    assert_eq!(place.events(), 600_000);
    // An undo that is told to stop while it loads has declared, and no more.
    let mut command = place.command("--undo a.csv");
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).env("BIDSTREAM_LOG", "warn").spawn().unwrap();
    let declared =
        || sql(&place.lake(), "SELECT count(*) FROM raw.import_notes WHERE declared_at IS NOT NULL") == ["1"];
    let deadline = Instant::now() + Duration::from_secs(60);
    while !declared() {
        assert!(Instant::now() < deadline, "nothing was declared");
    }
    assert!(Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap().success());
    let code = child.wait_with_output().unwrap().status.code();
    let outcome = if place.events() == 0 { ("void_already", 0) } else { ("completed", 1) };
    assert_eq!(code, Some(outcome.1), "the exit code tells whether readers see it");
    place.import("--undo a.csv").is(0, outcome.0);
    assert_eq!(place.events(), 0);
}

#[test]
fn a_path_whose_content_is_void_names_the_import_of_its_name_that_counts() {
    let place = Place::new();
    let first = format!("{HEADER}{}", day(0..5));
    let grown = format!("{first}2026-05-01T12:00:00Z,order,p0,\n");
    place.file("day1.csv", &first);
    place.import("day1.csv --mapping m.yaml").is(0, "imported");
    place.file("day1.csv", &grown);
    place.import("day1.csv --mapping m.yaml --replace").is(0, "imported");
    place.file("day1.csv", &first);
    let back = place.import("day1.csv --mapping m.yaml --replace day1.csv");
    assert_eq!(back.is(0, "imported").report["replaced"].as_array().unwrap().len(), 1);
    assert_eq!(place.events(), 10);
    place.import("--undo day1.csv").is(0, "undone");
    place.import("--undo day1.csv").is(0, "void_already");
    assert_eq!(place.events(), 0);
}

#[test]
fn what_the_lake_refuses_has_a_report_and_a_dry_run_refuses_it_too() {
    let place = Place::new();
    place.file("a.csv", format!("{HEADER}{}", day(0..4)));
    place.file("other.yaml", MAPPING.replace("app: web", "app: shop"));
    place.file("key", "another key, long enough for a hash of ids");
    place.import("a.csv --mapping m.yaml").is(0, "imported");
    for dry_run in ["", " --dry-run"] {
        let other = place.import(&format!("a.csv --mapping other.yaml{dry_run}"));
        other.is(3, "refused").fails(3, "imported by another mapping");
        let key = place.import(&format!("a.csv --mapping m.yaml --id-key-file key{dry_run}"));
        key.is(3, "refused").fails(3, "BIDSTREAM_ID_KEY or as id_key_file");
    }
}

#[test]
fn a_file_without_rows_is_said_to_have_none() {
    let place = Place::new();
    place.file("none.csv", "");
    place.file("header.csv", HEADER);
    for file in ["none.csv", "header.csv"] {
        place.import(&format!("{file} --mapping m.yaml")).is(3, "refused").fails(3, "the file has no rows");
        let mut people = bidstream();
        people.current_dir(place.0.path()).args([
            "import",
            file,
            "--mapping",
            "m.yaml",
            "--lake",
            "lake",
            "--allow-empty",
        ]);
        let output = people.output().unwrap();
        let printed = String::from_utf8(output.stdout).unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
        assert!(printed.ends_with("The file has no rows: nothing was imported.\n"), "{printed}");
    }
}

const JOB: &str = "source: { kafka: { brokers: '127.0.0.1:9', topics: { unread: json } } }\n";

#[test]
fn a_job_file_says_what_the_views_of_an_import_are() {
    let place = Place::new();
    place.file("a.csv", format!("{HEADER}2026-05-01T10:00:00Z,touch,p1,mail\n2026-05-21T10:00:00Z,order,p1,\n"));
    let by_mail = || sql(&place.lake(), "SELECT count(*) FROM credits WHERE channel = 'mail' AND model = 'last'");
    place.import("a.csv --mapping m.yaml").is(0, "imported");
    assert_eq!(by_mail(), ["0"], "seven days are the default");
    place.file("job.yaml", "lake: lake\nviews: { installs: { click_window: 30d } }\n");
    place.import("a.csv --mapping m.yaml --job job.yaml").is(0, "nothing_new");
    assert_eq!(by_mail(), ["1"]);
    assert_every_table_equals_its_sql(&place.lake());
    // What the lake runs stays what it is where no job says otherwise.
    place.file("b.csv", format!("{HEADER}2026-05-22T10:00:00Z,order,p1,\n"));
    place.import("b.csv --mapping m.yaml").is(0, "imported");
    assert_eq!(by_mail(), ["2"]);
    place.file("job.yaml", "lake: lake\nallowed_lateness: 1d\n");
    place.import("a.csv --mapping m.yaml --job job.yaml").fails(3, "allowed_lateness");
}

/// The plain way to say where a lake is.
#[test]
fn a_target_is_needed_but_for_a_dry_run() {
    let place = Place::new();
    place.file("a.csv", format!("{HEADER}{}", day(0..1)));
    let bare = |arguments: &[&str]| {
        let output = bidstream().current_dir(Path::new(place.0.path())).arg("import").args(arguments).output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let (code, errors) = bare(&["a.csv", "--mapping", "m.yaml"]);
    assert!(code == Some(2) && errors.contains("--lake DIR, --job JOB.yaml or --brokers"), "{errors}");
    assert_eq!(bare(&["a.csv", "--mapping", "m.yaml", "--dry-run"]).0, Some(0));
    assert_eq!(bare(&["--undo", "a.csv", "--lake", "none"]).0, Some(2));
}

#[test]
fn sums_beyond_64_bits_end_an_import_or_a_query_with_what_they_were() {
    let place = Place::new();
    place.file(
        "money.yaml",
        "format: csv\ntenant: t\napp: web\nevent_time: { column: at, format: epoch_ms }\nemit:\n  - type: conversion\n    \
         set: { user: who, name: { const: buy }, revenue_micros: { column: paid, unit: units }, currency: { const: EUR } }\n",
    );
    let paid = |months: i64, people: i64| {
        let mut rows = "at,who,paid\n".to_owned();
        for (month, person) in (0..months).flat_map(|month| (0..people).map(move |person| (month, person))) {
            writeln!(rows, "{},u{person},9007199254.740992", 1_767_225_600_000 + month * 31 * 86_400_000).unwrap();
        }
        rows
    };
    place.file("hour.csv", paid(1, 1_100));
    let Answer { code, errors, .. } = place.import("hour.csv --mapping money.yaml");
    assert_eq!(code, Some(1), "{errors}");
    assert!(errors.contains(" does not fit 64 bits, which is 9.2e12 units of a currency: look at "), "{errors}");
    // Each month fits, and so does each row of the views; what all bring together does not.
    place.file("months.csv", paid(3, 600));
    place.file("job.yaml", "lake: months\nviews: { only: [metrics_hourly] }\n");
    let Answer { code, errors, .. } = place.import("months.csv --mapping money.yaml --job job.yaml");
    assert_eq!(code, Some(0), "{errors}");
    let all = "SELECT sum(revenue_micros) AS revenue FROM metrics_hourly";
    let output = bidstream().current_dir(place.0.path()).args(["sql", "--lake", "months", all]).output().unwrap();
    let errors = String::from_utf8(output.stderr).unwrap();
    assert!(
        !output.status.success() && errors.contains("a sum of 16212958658533785600 does not fit 64 bits: "),
        "{errors}"
    );
}
