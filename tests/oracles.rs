//! Attribution beside a recomputation in plain Python that shares nothing with it (`tests/oracles/`): over a real shop's
//! clicks, a mobile click log written the untidy way that networks write them, journeys of people known by device, by user
//! or by both, and a generated stream with copies, late and withdrawn events.

use std::io::Write;
use std::path::Path;
use std::process::Command;

use crate::exactly_once::bidstream;

/// Runs `tests/oracles/check.py` with these arguments after the name of the check and the program.
fn check(what: &str, arguments: &[&str]) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/oracles/check.py");
    let mut command = Command::new("python3");
    // Nothing is left beside the sources.
    command.env("PYTHONDONTWRITEBYTECODE", "1").env("BIDSTREAM_LOG", "error");
    command.arg(script).arg(what).arg(env!("CARGO_BIN_EXE_bidstream")).args(arguments);
    let output = command.output().expect("python3 is installed");
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{what}:\n{}{}", said(&output.stdout), said(&output.stderr));
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
    let dir = tempfile::tempdir().unwrap();
    let lake = dir.path().join("lake");
    let mut demo = bidstream();
    let output = demo.args(["demo", "--events", "20000", "--exit", "--lake"]).arg(&lake).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    check("lake", &[lake.to_str().unwrap()]);
}
