//! Attribution beside a recomputation in plain Python that shares nothing with it (`tests/oracles/`): over a real shop's
//! clicks, a mobile click log written the untidy way that networks write them, journeys of people known by device, by user
//! or by both, and a generated stream with copies, late and withdrawn events. SQL and the metrics beside DuckDB, over the
//! same files.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::exactly_once::bidstream;

/// Runs `tests/oracles/check.py` with these arguments after the name of the check and the program.
fn check(what: &str, arguments: &[&str]) {
    let with_program: Vec<&str> = [what, env!("CARGO_BIN_EXE_bidstream")].iter().chain(arguments).copied().collect();
    run(Path::new("python3"), "check.py", &with_program);
}

/// Runs a script of `tests/oracles/`, which exits 0 where it finds no difference.
fn run(python: &Path, script: &str, arguments: &[&str]) {
    let mut command = Command::new(python);
    // Nothing is left beside the sources.
    command.env("PYTHONDONTWRITEBYTECODE", "1").env("BIDSTREAM_LOG", "error");
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/oracles").join(script)).args(arguments);
    let output = command.output().expect("python3 is installed");
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{script} {arguments:?}:\n{}{}", said(&output.stdout), said(&output.stderr));
}

/// A Python that has DuckDB: that of `target/oracles`, or the one on the path.
fn python_with_duckdb() -> Option<PathBuf> {
    let made = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/oracles/bin/python");
    let has_duckdb = |python: &PathBuf| {
        Command::new(python).args(["-c", "import duckdb"]).output().is_ok_and(|output| output.status.success())
    };
    [made, PathBuf::from("python3")].into_iter().find(has_duckdb)
}

/// The same; where there is none, tells the check that a test was skipped.
fn python_or_skip(test: &str) -> Option<PathBuf> {
    let python = python_with_duckdb();
    if python.is_none() {
        // To the real stderr, which the test harness does not capture: the check counts these lines.
        let get = "python3 -m venv target/oracles && target/oracles/bin/pip install -r tests/oracles/requirements.txt";
        writeln!(std::io::stderr(), "SKIPPED {test}: no Python here has DuckDB; {get}").expect("stderr takes a line");
    }
    python
}

/// A lake of 20,000 generated events, in a directory of its own.
fn demo_lake() -> (tempfile::TempDir, String) {
    let dir = tempfile::tempdir().unwrap();
    let lake = dir.path().join("lake").to_str().expect("a path that is text").to_owned();
    let output = bidstream().args(["demo", "--events", "20000", "--exit", "--lake", &lake]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    (dir, lake)
}

#[test]
fn a_shop_is_credited_as_the_oracle_says() {
    let Some(data) = std::env::var_os("BIDSTREAM_DATA") else {
        // To the real stderr, which the test harness does not capture: the check counts these lines.
        writeln!(std::io::stderr(), "SKIPPED a_shop_is_credited_as_the_oracle_says: BIDSTREAM_DATA is not set")
            .expect("stderr takes a line");
        return;
    };
    let file = Path::new(&data).join("clickstream/ecom.csv.gz");
    let mapping = Path::new(env!("CARGO_MANIFEST_DIR")).join("jobs/mappings/ecom.yaml");
    check("shop", &[file.to_str().unwrap(), mapping.to_str().unwrap()]);
}

#[test]
fn an_untidy_click_log_is_read_as_the_oracle_says() {
    for seed in ["7", "8"] {
        check("clicks", &[seed]);
    }
}

#[test]
fn people_known_by_device_or_user_are_credited_as_the_oracle_says() {
    for seed in ["7", "8"] {
        check("paths", &[seed]);
    }
}

#[test]
fn a_generated_stream_is_credited_as_the_oracle_says() {
    let (_dir, lake) = demo_lake();
    check("lake", &[&lake]);
}

#[test]
fn questions_and_metrics_are_answered_as_duckdb_answers_them() {
    let Some(python) = python_or_skip("questions_and_metrics_are_answered_as_duckdb_answers_them") else { return };
    let (_dir, lake) = demo_lake();
    for script in ["questions.py", "metrics.py", "visitors.py"] {
        run(&python, script, &[env!("CARGO_BIN_EXE_bidstream"), &lake]);
    }
}

#[test]
fn sessions_of_a_shop_are_those_that_its_file_names() {
    let test = "sessions_of_a_shop_are_those_that_its_file_names";
    let Some(data) = std::env::var_os("BIDSTREAM_DATA") else {
        writeln!(std::io::stderr(), "SKIPPED {test}: BIDSTREAM_DATA is not set").expect("stderr takes a line");
        return;
    };
    let Some(python) = python_or_skip(test) else { return };
    let dir = tempfile::tempdir().unwrap();
    let lake = dir.path().join("lake").to_str().expect("a path that is text").to_owned();
    let file = Path::new(&data).join("clickstream/ecom.csv.gz").to_str().expect("a path that is text").to_owned();
    let mapping = concat!(env!("CARGO_MANIFEST_DIR"), "/jobs/mappings/ecom.yaml");
    let output = bidstream().args(["import", &file, "--mapping", mapping, "--lake", &lake]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    run(&python, "visitors.py", &[env!("CARGO_BIN_EXE_bidstream"), &lake, &file]);
}

#[test]
fn funnels_and_paths_of_a_shop_are_as_walked_one_by_one() {
    let test = "funnels_and_paths_of_a_shop_are_as_walked_one_by_one";
    let Some(data) = std::env::var_os("BIDSTREAM_DATA") else {
        writeln!(std::io::stderr(), "SKIPPED {test}: BIDSTREAM_DATA is not set").expect("stderr takes a line");
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().expect("a path that is text").to_owned();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/oracles/funnels.py");
    let funnels = Command::new("python3").env("PYTHONDONTWRITEBYTECODE", "1").args([script, "--job"]).output().unwrap();
    let funnels = String::from_utf8(funnels.stdout).unwrap();
    // JSON is YAML, too.
    let job = format!(
        "lake: {}\nviews: {{ only: [contested_events, funnel_steps, paths], funnels: {funnels} }}\n",
        path("lake")
    );
    std::fs::write(path("job.yaml"), job).unwrap();
    let file = Path::new(&data).join("clickstream/ecom.csv.gz").to_str().expect("a path that is text").to_owned();
    let mapping = concat!(env!("CARGO_MANIFEST_DIR"), "/jobs/mappings/ecom.yaml");
    let output =
        bidstream().args(["import", &file, "--mapping", mapping, "--job", &path("job.yaml")]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    run(Path::new("python3"), "funnels.py", &[env!("CARGO_BIN_EXE_bidstream"), &path("lake"), &file]);
    run(Path::new("python3"), "paths.py", &[env!("CARGO_BIN_EXE_bidstream"), &path("lake"), &file]);
}

#[test]
fn cohorts_of_a_web_shop_are_those_of_its_invoices() {
    let test = "cohorts_of_a_web_shop_are_those_of_its_invoices";
    let Some(data) = std::env::var_os("BIDSTREAM_DATA") else {
        writeln!(std::io::stderr(), "SKIPPED {test}: BIDSTREAM_DATA is not set").expect("stderr takes a line");
        return;
    };
    let Some(python) = python_or_skip(test) else { return };
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().expect("a path that is text").to_owned();
    let views = "{ only: [contested_events, activity, firsts, cohorts] }";
    std::fs::write(path("job.yaml"), format!("lake: {}\nviews: {views}\n", path("lake"))).unwrap();
    let file = Path::new(&data).join("retail/online_retail_2009_2010.parquet");
    let file = file.to_str().expect("a path that is text").to_owned();
    let mapping = concat!(env!("CARGO_MANIFEST_DIR"), "/jobs/mappings/online_retail.yaml");
    let output =
        bidstream().args(["import", &file, "--mapping", mapping, "--job", &path("job.yaml")]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    run(&python, "cohorts.py", &[env!("CARGO_BIN_EXE_bidstream"), &path("lake"), &file]);
}
