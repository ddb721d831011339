//! `bidstream sql` as a process: what it takes of the machine, and how it ends.

use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use dataflows::views;

use crate::exactly_once::bidstream;
use crate::files::import;

fn entries(dir: &Path) -> usize {
    std::fs::read_dir(dir).unwrap().count()
}

/// Sends a signal once the query has spilled; the exit code, and how long it took to end.
fn ended_by(child: &mut Child, spills: &Path, signal: &str) -> (Option<i32>, Duration) {
    let start = Instant::now();
    while entries(spills) == 0 {
        assert!(child.try_wait().unwrap().is_none() && start.elapsed() < Duration::from_secs(60));
        std::thread::sleep(Duration::from_millis(20));
    }
    let sent = Instant::now();
    assert!(std::process::Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap().success());
    (child.wait().unwrap().code(), sent.elapsed())
}

#[test]
fn ctrl_c_ends_a_query_at_once_and_removes_what_it_spilled() {
    let dir = tempfile::tempdir().unwrap();
    import(dir.path(), "clicks.csv", "time,kind,user\n1700000000000,click,u1\n1700000060000,buy,u1\n");
    let spills = dir.path().join("spills");
    std::fs::create_dir(&spills).unwrap();
    for (signal, code) in [("-INT", 130), ("-TERM", 143)] {
        let mut command = bidstream();
        command.arg("sql").arg("--lake").arg(dir.path().join("lake")).args(["--memory", "64MiB"]);
        command.arg("SELECT value FROM generate_series(1, 100000000000) ORDER BY -value");
        let mut child = command.env("TMPDIR", &spills).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let (exit, took) = ended_by(&mut child, &spills, signal);
        assert_eq!(exit, Some(code), "{signal}");
        assert!(took < Duration::from_secs(2), "{took:?}");
        assert_eq!(entries(&spills), 0, "{signal}");
    }
}

#[test]
fn the_help_names_every_table() {
    let help = String::from_utf8(bidstream().args(["sql", "--help"]).output().unwrap().stdout).unwrap();
    let named = |table: &str| {
        help.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_').any(|word| word == table)
    };
    let missing: Vec<&str> = views::views().iter().map(|view| view.name).filter(|name| !named(name)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}
