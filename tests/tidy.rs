//! The rules of the house that no compiler checks: who may use what, and that every file says what it holds.

use std::path::{Path, PathBuf};

/// Lines of a file beyond which it should have been two.
const LINES_MAX: usize = 600;

fn sources(dir: &str) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut dirs = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join(dir)];
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                dirs.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push((path.clone(), std::fs::read_to_string(path).unwrap()));
            }
        }
    }
    found
}

fn assert_absent(dir: &str, words: &[&str], why: &str) {
    for (path, text) in sources(dir) {
        let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
        for (line, number) in code.lines().zip(1..) {
            if let Some(word) = words.iter().find(|word| line.contains(**word) && !line.trim_start().starts_with("//"))
            {
                panic!("{}:{number}: `{word}`: {why}", path.display());
            }
        }
    }
}

#[test]
fn views_read_no_clock_no_files_and_no_dice() {
    let words = ["Instant", "SystemTime", "std::fs", "std::net", "rand::", "tokio", "thread::sleep"];
    assert_absent("dataflows/src", &words, "a view is a function of the accepted records");
}

#[test]
fn operators_know_no_advertising() {
    assert_absent("operators/src", &["schemas::", "Install", "Campaign", "Impression"], "operators are generic");
}

#[test]
fn schemas_do_no_work() {
    assert_absent("schemas/src", &["timely", "differential", "std::fs", "TcpStream", "tokio"], "schemas only describe");
}

#[test]
fn only_the_clock_asks_the_system_for_the_time() {
    for (path, text) in sources("src") {
        let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
        assert!(path.ends_with("clock.rs") || !code.contains("SystemTime::now"), "{}: use the clock", path.display());
    }
}

#[test]
fn every_file_says_what_it_holds_and_stays_small() {
    for dir in ["schemas/src", "operators/src", "dataflows/src", "src", "jobs", "tests", "benchmarks"] {
        for (path, text) in sources(dir) {
            assert!(text.starts_with("//!"), "{}: begins without saying what it holds", path.display());
            assert!(text.lines().count() <= LINES_MAX, "{}: over {LINES_MAX} lines", path.display());
        }
    }
}
