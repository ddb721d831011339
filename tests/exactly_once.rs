//! Killed at random moments, on a real Kafka: nothing is lost, nothing counted twice. What the producer knows of its
//! records is compared with `records`, row for row, and every table with its SQL.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::kafka_fixture::Kafka;

/// Kills in one test.
const KILLS: u64 = 20;
/// Records that the producer sends while the kills go on, and how fast.
const EVENTS: u64 = 60_000;
const RATE: u64 = 1_500;

fn bidstream() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bidstream"));
    command.env("BIDSTREAM_LOG", "warn").stdin(Stdio::null());
    command
}

fn job(dir: &Path, brokers: &str, topic: &str, workers: usize) -> PathBuf {
    let path = dir.join("job.yaml");
    let lake = dir.join("lake");
    let text = format!(
        "lake: {}\nsource: {{ kafka: {{ brokers: '{brokers}', topics: {{ {topic}: protobuf }} }} }}\n\
         commit_every: 200ms\nworkers: {workers}\n",
        lake.display()
    );
    std::fs::write(&path, text).unwrap();
    path
}

fn sql(lake: &Path, query: &str) -> Vec<String> {
    let output = bidstream().args(["sql", "--format", "csv", "--lake"]).arg(lake).arg(query).output().unwrap();
    assert!(output.status.success(), "{query}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().lines().skip(1).map(str::to_owned).collect()
}

fn audit(lake: &Path) {
    let output = bidstream().args(["audit", "--all", "--lake"]).arg(lake).output().unwrap();
    let printed = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{printed}\n{}", String::from_utf8_lossy(&output.stderr));
}

/// The next moment to kill at: from a fixed seed, so that a failure comes again.
fn moment(kill: u64) -> Duration {
    let word = (kill + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
    Duration::from_millis(300 + word % 1_700)
}

fn terminate(child: &mut Child) -> Option<i32> {
    Command::new("kill").arg(child.id().to_string()).status().unwrap();
    child.wait().unwrap().code()
}
