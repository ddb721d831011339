//! `check` finds what `run` would refuse, with the exit codes that both document; and no command takes an object store for a
//! directory. Needs no broker.

use std::fs;
use std::path::Path;

use crate::exactly_once::bidstream;

const JOB: &str = "lake: LAKE\nsource: { kafka: { brokers: '127.0.0.1:1', topics: { ads: json } } }\n";

/// The exit code of a command on this job, and what it said.
fn answer(dir: &Path, command: &str, job: &str) -> (Option<i32>, String) {
    let file = dir.join("job.yaml");
    fs::write(&file, job.replace("LAKE", &dir.join("lake").display().to_string())).unwrap();
    let output = bidstream().arg(command).arg(&file).env("HOST", "127.0.0.1").env_remove("NONE").output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8_lossy(&said).into_owned())
}

#[test]
fn mistakes_are_found_before_anything_is_touched() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let (code, said) = answer(dir, "check", &JOB.replace("127.0.0.1:1", "${HOST}:1"));
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("ok. Reads ads at 127.0.0.1:1"), "{said}");
    let with = |more: &str| format!("{JOB}{more}\n");
    let properties = |yaml: &str| JOB.replace("topics:", &format!("properties: {yaml}, topics:"));
    fs::write(dir.join("key"), "short").unwrap();
    fs::write(
        dir.join("csv.yaml"),
        "format: csv\ntenant: t\nevent_time: { column: t, format: rfc3339 }\nemit: [{ type: click }]\n",
    )
    .unwrap();
    let file = |name: &str| dir.join(name).display().to_string();
    for (job, expected) in [
        (properties("{ no.such.property: 1 }"), "No such configuration property"),
        (properties("{ security.protocol: sasl_ssl }"), "sasl.mechanisms: is missing"),
        (properties("{ ssl.ca.location: /none, security.protocol: ssl }"), "ssl.ca.location: /none cannot be read"),
        (JOB.replace("ads:", "ads/1:"), "is no name of a topic"),
        (JOB.replace("json", &format!("{{ mapping: '{}' }}", file("none.yaml"))), "none.yaml: cannot be read"),
        (JOB.replace("json", &format!("{{ mapping: '{}' }}", file("csv.yaml"))), "is no format of a topic's records"),
        (with(&format!("id_key_file: {}", file("none"))), "none: cannot be read"),
        (with(&format!("id_key_file: {}", file("key"))), "has 5 bytes: a key for ids has at least 16"),
        (with("http: \"${NONE}\""), "job.yaml:3: http: names the variable NONE, which is not set"),
        (
            JOB.replace("LAKE", "s3://bucket/lake"),
            "job.yaml:1: lake: \"s3://bucket/lake\": s3:// is no local directory",
        ),
    ] {
        for command in ["check", "run"] {
            let (code, said) = answer(dir, command, &job);
            assert_eq!(code, Some(2), "{command}: {said}");
            assert!(said.contains(expected), "{command}: {said}\ninstead of\n{expected}");
        }
    }
    let (code, said) = answer(dir, "run", "lake: LAKE\n");
    assert!(code == Some(2) && said.contains("source: is missing"), "{said}");
    let (code, said) = answer(dir, "check", "lake: LAKE\n");
    assert!(
        code == Some(0) && said.contains("It names no source, so it is for `import --job` alone; makes the lake"),
        "{said}"
    );
    assert!(!dir.join("lake").exists(), "a mistake makes no lake");
}

#[test]
fn a_lake_that_was_made_otherwise_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    fs::write(dir.join("m.yaml"), "format: csv\ntenant: t\nevent_time: { column: t, format: rfc3339 }\nemit: [{ type: click, set: { user: u } }]\n").unwrap();
    fs::write(dir.join("f.csv"), "t,u\n2026-11-01T00:00:00Z,a\n").unwrap();
    let import = bidstream()
        .arg("import")
        .arg(dir.join("f.csv"))
        .arg("--mapping")
        .arg(dir.join("m.yaml"))
        .arg("--lake")
        .arg(dir.join("lake"))
        .output()
        .unwrap();
    assert!(import.status.success(), "{}", String::from_utf8_lossy(&import.stderr));
    let (code, said) = answer(dir, "check", JOB);
    assert_eq!(code, Some(0), "{said}");
    for (more, expected) in [
        ("allowed_lateness: 5d", "settings.allowed_lateness_ms is 259200000 in the lake"),
        ("id_key_file: KEY", "BIDSTREAM_ID_KEY"),
    ] {
        fs::write(dir.join("key"), "another key of ids").unwrap();
        let more = more.replace("KEY", &dir.join("key").display().to_string());
        for command in ["check", "run"] {
            let (code, said) = answer(dir, command, &format!("{JOB}{more}\n"));
            assert_eq!(code, Some(3), "{command}: {said}");
            assert!(said.contains(expected), "{command}: {said}");
        }
    }
}

#[test]
fn no_command_takes_an_object_store_for_a_directory() {
    let dir = tempfile::tempdir().unwrap();
    let lake = "--lake=s3://bucket/lake";
    for arguments in [
        &["import", "f.csv", "--mapping", "m.yaml", lake][..],
        &["sql", lake, "SELECT 1"],
        &["audit", lake, "--all"],
        &["maintain", lake],
        &["repair", lake],
        &["demo", lake],
    ] {
        let output = bidstream().args(arguments).current_dir(dir.path()).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {said}");
        assert!(said.contains("object stores come later"), "{arguments:?}: {said}");
    }
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "nothing was made");
}
