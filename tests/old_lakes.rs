//! Lakes that release 0.1.0 made (`tests/fixtures/lake-0.1.0`): they answer as they did, are written on, and are kept in
//! house.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;

use crate::exactly_once::{assert_every_table_equals_its_sql, bidstream, sql};

/// The key that the fixture's ids were made with.
const KEY: &str = "a key for the fixture, sixteen and more";

/// Questions, and what 0.1.0 answered. What comes to the lake later is of later days.
const ANSWERS: [(&str, &[&str]); 6] = [
    (
        "SELECT type, count(*) FROM events WHERE event_time < '2026-11-03T09:30:00Z' GROUP BY 1 ORDER BY 1",
        &["click,7", "conversion,5", "cost,2", "impression,1", "install,4"],
    ),
    (
        "SELECT event_time, method, channel, touch_type, candidates, reinstall, ctit_ms FROM installs ORDER BY 1",
        &[
            "2026-11-01T11:00:00.000Z,person,search,click,1,false,3600000",
            "2026-11-02T09:10:00.000Z,organic,,,1,false,",
            "2026-11-02T09:20:00.000Z,click_id,affiliate,click,1,false,540000",
            "2026-11-02T12:30:00.000Z,fingerprint,display,click,1,false,1800000",
        ],
    ),
    (
        "SELECT event_time, model, channel, credit_ppm, revenue_micros, currency FROM credits \
         WHERE model IN ('last', 'linear', 'time_decay') AND event_time < '2026-11-04T00:00:00Z' ORDER BY 1, 2, 3",
        &[
            "2026-11-01T12:00:00.000Z,last,search,1000000,9990000,EUR",
            "2026-11-01T12:00:00.000Z,linear,search,1000000,9990000,EUR",
            "2026-11-01T12:00:00.000Z,time_decay,search,1000000,9990000,EUR",
            "2026-11-01T13:00:00.000Z,last,email,1000000,4500000,EUR",
            "2026-11-01T13:00:00.000Z,linear,display,500000,2250000,EUR",
            "2026-11-01T13:00:00.000Z,linear,email,500000,2250000,EUR",
            "2026-11-01T13:00:00.000Z,time_decay,display,497937,2240717,EUR",
            "2026-11-01T13:00:00.000Z,time_decay,email,502063,2259283,EUR",
            "2026-11-02T11:00:00.000Z,last,direct,1000000,20000000,EUR",
            "2026-11-02T11:00:00.000Z,linear,direct,1000000,20000000,EUR",
            "2026-11-02T11:00:00.000Z,time_decay,direct,1000000,20000000,EUR",
            "2026-11-02T15:00:00.000Z,last,(none),1000000,-3100000,EUR",
            "2026-11-02T15:00:00.000Z,linear,(none),1000000,-3100000,EUR",
            "2026-11-02T15:00:00.000Z,time_decay,(none),1000000,-3100000,EUR",
            "2026-11-03T09:00:00.000Z,last,replayed,1000000,,",
            "2026-11-03T09:00:00.000Z,linear,replayed,1000000,,",
            "2026-11-03T09:00:00.000Z,time_decay,replayed,1000000,,",
        ],
    ),
    (
        "SELECT tenant, source, campaign, hour, currency, cost_micros, version FROM costs",
        &["shop,network,spring,2026-11-02T13:00:00.000Z,EUR,12500000,1"],
    ),
    (
        "SELECT \"offset\", raw FROM dead_letters ORDER BY 1",
        &[
            "2,7965737465726461792c6275792c72332c666179",
            "121,7965737465726461792c636c69636b2c6b392c64616e2c2c2c2c7365617263682c2c2c2c2c",
        ],
    ),
    (
        "SELECT \"offset\" FROM records WHERE verdict = 'ok' AND topic = (SELECT min(topic) FROM records) ORDER BY 1 LIMIT 2",
        &["0", "1"],
    ),
];

fn fixture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/lake-0.1.0")
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(|entry| entry.unwrap()) {
        let to = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), to).unwrap();
        }
    }
}

/// A copy of the lake, to be written.
fn old_lake() -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let lake = dir.path().join("lake");
    copy(&fixture().join("lake"), &lake);
    (dir, lake)
}

fn command() -> Command {
    let mut command = bidstream();
    command.env("BIDSTREAM_ID_KEY", KEY);
    command
}

/// Imports rows by a mapping of the fixture.
fn import(lake: &Path, mapping: &str, rows: &str, failpoint: Option<&str>) -> Output {
    let file = lake.parent().unwrap().join("more.csv");
    std::fs::write(&file, rows).unwrap();
    let mut import = command();
    import.arg("import").arg(file).arg("--mapping").arg(fixture().join(mapping)).arg("--lake").arg(lake);
    import.envs(failpoint.map(|failpoint| ("BIDSTREAM_FAILPOINT", failpoint)));
    import.output().unwrap()
}

fn imported(lake: &Path, mapping: &str, rows: &str) {
    let output = import(lake, mapping, rows, None);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Rows of the fixture's replay, of another day.
fn day(number: u32) -> String {
    format!(
        "time,kind,id,user\n2026-11-{number:02} 08:00:00,click,x{number},gus\n2026-11-{number:02} 09:00:00,buy,y{number},gus\n"
    )
}

fn assert_answers_as_it_did(lake: &Path) {
    for (question, answers) in ANSWERS {
        assert_eq!(sql(lake, question), answers, "{question}");
    }
    assert_every_table_equals_its_sql(lake);
}

#[test]
fn a_lake_of_0_1_0_answers_as_it_did_before_and_after_it_is_written() {
    let (_dir, lake) = old_lake();
    assert_answers_as_it_did(&lake);
    let nothing =
        "SELECT count(referrer), count(faults), count(unknown_fields), count(key), count(headers) FROM records";
    assert_eq!(sql(&lake, nothing), ["0,0,0,0,0"], "columns that it does not have are null");
    assert_eq!(sql(&lake, "SELECT count(*) FROM imports WHERE file IS NULL AND NOT is_void AND records > 0"), ["2"]);

    // Of the replay's own day, so that its file lies beside an old one.
    imported(
        &lake,
        "replay.yaml",
        "time,kind,id,user\n2026-11-03 10:00:00,click,s1,hal\n2026-11-04 08:00:00,buy,s2,hal\n",
    );
    assert_answers_as_it_did(&lake);
    assert_eq!(sql(&lake, nothing), ["0,0,0,0,0"], "old files beside new ones");
    let credited = "SELECT channel FROM credits WHERE model = 'last' AND event_time = '2026-11-04T08:00:00Z'";
    assert_eq!(sql(&lake, credited), ["replayed"]);

    // Enough commits for a checkpoint, which then has to tell the columns.
    for number in 5..9 {
        imported(&lake, "replay.yaml", &day(number));
    }
    let kept = command().args(["maintain", "--format", "json", "--lake"]).arg(&lake).output().unwrap();
    assert!(kept.status.success(), "{}", String::from_utf8_lossy(&kept.stderr));
    let report: Value = serde_json::from_slice(&kept.stdout).unwrap();
    assert!(report["tables"][0]["files_read"].as_u64() >= Some(2), "old and new files are merged: {report}");
    assert!(lake.join("records/_delta_log/_last_checkpoint").exists());
    assert_eq!(sql(&lake, nothing), ["0,0,0,0,0"]);
    imported(&lake, "replay.yaml", &day(9));
    assert_every_table_equals_its_sql(&lake);
    assert_eq!(sql(&lake, "SELECT count(*) FROM credits WHERE model = 'last'"), ["11"]);
}

#[test]
fn killed_at_any_step_of_the_first_start_the_next_one_goes_on() {
    for failpoint in [
        "records.put.before:kill",
        "records.put.after:kill",
        "open.followed:kill",
        "records.put.after:kill:2",
        "credits.put.after:kill:2",
    ] {
        let (_dir, lake) = old_lake();
        let killed = import(&lake, "replay.yaml", &day(5), Some(failpoint));
        assert_eq!(killed.status.code(), None, "{failpoint}: {}", String::from_utf8_lossy(&killed.stderr));
        assert_answers_as_it_did(&lake);
        imported(&lake, "replay.yaml", &day(5));
        assert_answers_as_it_did(&lake);
        assert_eq!(sql(&lake, "SELECT count(*), count(referrer) FROM records"), ["26,0"], "{failpoint}");
    }
}

#[test]
fn what_a_newer_release_left_is_named() {
    let (_dir, lake) = old_lake();
    let file = lake.join("lake.json");
    let mut content: Value = serde_json::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
    content["settings"]["views"]["installs"]["tomorrow"] = "1d".into();
    std::fs::write(&file, content.to_string()).unwrap();
    for output in [
        import(&lake, "replay.yaml", &day(5), None),
        command().args(["audit", "--all", "--lake"]).arg(&lake).output().unwrap(),
    ] {
        let message = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success());
        assert!(message.contains("does not know the field settings.views.installs.tomorrow"), "{message}");
        assert!(message.contains("with that release or a later one"), "{message}");
    }
}

#[test]
fn describe_tells_what_this_lake_runs() {
    let (_dir, lake) = old_lake();
    let described = || {
        let output = command().args(["describe", "--lake"]).arg(&lake).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let before = described();
    for part in [
        "ids are hashed with: a key of its own",
        "allowed_lateness: 3d",
        "installs.click_window: 7d",
        "credits.half_life: 7d",
        "8ee05ab65d5cacff",
        "records lacks columns of this release: referrer, faults, unknown_fields, key, headers",
    ] {
        assert!(before.contains(part), "{part}: {before}");
    }
    imported(&lake, "replay.yaml", &day(5));
    let after = described();
    assert!(
        after.contains("null in older rows: faults, headers, key, referrer, unknown_fields")
            && !after.contains("lacks columns"),
        "{after}"
    );
}

#[test]
fn the_demo_key_is_told_once_a_lake() {
    let dir = tempfile::tempdir().unwrap();
    let lake = dir.path().join("lake");
    let warned = |arguments: &[&str]| {
        let mut command = command();
        command.env_remove("BIDSTREAM_ID_KEY").env("BIDSTREAM_LOG", "warn").args(arguments).arg("--lake").arg(&lake);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stderr).matches("demo key").count()
    };
    let (file, mapping) = (fixture().join("replay.csv"), fixture().join("replay.yaml"));
    let import = ["import", file.to_str().unwrap(), "--mapping", mapping.to_str().unwrap()];
    assert_eq!(warned(&import), 1, "when the lake is made");
    assert_eq!(warned(&import), 0);
    assert_eq!(warned(&["sql", "SELECT 1"]), 0);
    assert_eq!(warned(&["audit", "--all"]), 0);
}
