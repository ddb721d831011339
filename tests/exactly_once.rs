//! Killed at random moments, on a real Kafka: nothing is lost, nothing counted twice. What the producer knows of its
//! records is compared with `records`, row for row, and every table with its SQL.

use std::io::{Read, Write};
use std::ops::{Deref, DerefMut};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::kafka::fixture;

/// Kills in one test.
const KILLS: u64 = 50;
/// Records a second that the producer sends while the kills go on.
const RATE: u64 = 1_000;
/// How long the last run may take to catch up.
pub(crate) const CATCH_UP_MAX: Duration = Duration::from_secs(120);

pub(crate) fn bidstream() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bidstream"));
    command.env("BIDSTREAM_LOG", "error").stdin(Stdio::null());
    command
}

pub(crate) fn job(dir: &Path, brokers: &str, topic: &str, workers: usize) -> PathBuf {
    let path = dir.join("job.yaml");
    let text = format!(
        "lake: {}\nsource: {{ kafka: {{ brokers: '{brokers}', topics: {{ {topic}: protobuf }} }} }}\n\
         commit_every: 200ms\nworkers: {workers}\n",
        dir.join("lake").display()
    );
    std::fs::write(&path, text).unwrap();
    path
}

/// A process of the program, which does not outlive the test that started it.
pub(crate) struct Running(Child);

impl Running {
    pub(crate) fn start(command: &mut Command) -> Running {
        Running(command.spawn().unwrap())
    }
}

impl Deref for Running {
    type Target = Child;

    fn deref(&self) -> &Child {
        &self.0
    }
}

impl DerefMut for Running {
    fn deref_mut(&mut self) -> &mut Child {
        &mut self.0
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Gone already unless a test failed.
        let _gone = self.0.kill();
        let _waited = self.0.wait();
    }
}

fn run(job: &Path) -> Running {
    Running::start(bidstream().arg("run").arg(job))
}

/// The rows of a query, each as one line of CSV.
pub(crate) fn sql(lake: &Path, query: &str) -> Vec<String> {
    rows_of(bidstream().args(["sql", "--lake"]).arg(lake), query)
}

/// The same as it was at a cut.
pub(crate) fn sql_as_of(lake: &Path, cut: &str, query: &str) -> Vec<String> {
    rows_of(bidstream().args(["sql", "--as-of", cut, "--lake"]).arg(lake), query)
}

fn rows_of(command: &mut Command, query: &str) -> Vec<String> {
    let output = command.args(["--format", "csv", query]).output().unwrap();
    assert!(output.status.success(), "{query}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().lines().skip(1).map(str::to_owned).collect()
}

pub(crate) fn assert_every_table_equals_its_sql(lake: &Path) {
    let output = bidstream().args(["audit", "--all", "--lake"]).arg(lake).output().unwrap();
    let (printed, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(0), "{printed}\n{errors}");
}

/// How long a run lives before its kill: from a fixed seed, so that a failure comes again.
fn lifetime(kill: u64) -> Duration {
    let word = (kill + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
    Duration::from_millis(300 + word % 1_000)
}

pub(crate) fn terminate(mut child: Running) -> Option<i32> {
    Command::new("kill").arg(child.id().to_string()).status().unwrap();
    child.wait().unwrap().code()
}

/// Runs the job until the lake holds as many records, then stops it in order.
pub(crate) fn catch_up(job: &Path, lake: &Path, records: usize) {
    let (child, started) = (run(job), Instant::now());
    let count = || match lake.join("lake.json").exists() {
        true => sql(lake, "SELECT count(*) FROM raw.records")[0].parse::<usize>().unwrap(),
        false => 0,
    };
    while count() < records {
        assert!(started.elapsed() < CATCH_UP_MAX, "{} of {records} records after {CATCH_UP_MAX:?}", count());
        std::thread::sleep(Duration::from_secs(1));
    }
    assert_eq!(terminate(child), Some(0), "SIGTERM drains, commits and exits 0");
}

/// The producer's list of where its records went, and the ledger's, both as partition,offset,hash.
pub(crate) fn assert_reconciled(delivered: &Path, lake: &Path) {
    let mut sent: Vec<String> = std::fs::read_to_string(delivered).unwrap().lines().map(str::to_owned).collect();
    let mut kept = sql(lake, "SELECT partition, \"offset\", encode(payload_hash, 'hex') FROM raw.records");
    sent.sort();
    kept.sort();
    assert_eq!(sent.len(), kept.len());
    assert!(sent == kept, "the records of the lake are not those that were sent");
}

/// A producer of generated records that goes on until it is told to end.
pub(crate) struct Producing {
    process: Running,
    delivered: PathBuf,
}

impl Producing {
    /// Sends so many records a second; where they went is listed in `dir`.
    pub(crate) fn start(dir: &Path, brokers: &str, topic: &str, rate: u64) -> Producing {
        let delivered = dir.join("delivered.csv");
        let mut command = bidstream();
        // More than it will come to.
        command.args(["generate", "--events", "100000000", "--rate", &rate.to_string(), "--users", "300"]);
        command.args(["--brokers", brokers, "--topic", topic, "--delivered"]).arg(&delivered);
        Producing { process: Running::start(command.stderr(Stdio::null())), delivered }
    }

    /// Ends it; how many records it has sent.
    pub(crate) fn end(&mut self) -> usize {
        let pid = self.process.id().to_string();
        Command::new("kill").arg(pid).status().unwrap();
        assert!(self.process.wait().unwrap().success(), "SIGTERM lets the producer finish");
        std::fs::read_to_string(&self.delivered).unwrap().lines().count()
    }

    /// Adds what others sent to the list of a producer that has ended.
    pub(crate) fn add(&self, lines: &[String]) {
        let mut list = std::fs::OpenOptions::new().append(true).open(&self.delivered).unwrap();
        lines.iter().for_each(|line| writeln!(list, "{line}").unwrap());
    }

    /// The producer's list of where its records went.
    pub(crate) fn delivered(&self) -> &Path {
        &self.delivered
    }
}

#[test]
fn fifty_kills_on_kafka_lose_and_repeat_nothing() {
    let kafka = fixture::shared();
    let dir = tempfile::tempdir().unwrap();
    let lake = dir.path().join("lake");
    let topic = kafka.topic("kills", 4);
    let mut producing = Producing::start(dir.path(), &kafka.brokers(), &topic, RATE);
    for kill in 0..KILLS {
        // Another number of workers after each restart.
        let mut child = run(&job(dir.path(), &kafka.brokers(), &topic, 1 + kill as usize % 2));
        std::thread::sleep(lifetime(kill));
        assert!(child.try_wait().unwrap().is_none(), "the run ended by itself before kill {kill}");
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let sent = producing.end();
    catch_up(&job(dir.path(), &kafka.brokers(), &topic, 2), &lake, sent);
    assert_reconciled(producing.delivered(), &lake);
    assert_every_table_equals_its_sql(&lake);
    let corrected = sql(&lake, "SELECT count(*) FROM raw.credits_changes WHERE _diff < 0")[0].parse::<u64>().unwrap();
    assert!(corrected > 0, "late events and withdrawals correct something, or this test shows little");
}

#[test]
fn a_second_run_on_kafka_is_refused_and_a_take_over_fences_the_first() {
    let kafka = fixture::shared();
    let dir = tempfile::tempdir().unwrap();
    let topic = kafka.topic("fence", 1);
    kafka.send(&topic, 0, &["not an event"]);
    let job = job(dir.path(), &kafka.brokers(), &topic, 1);
    let mut first = Running::start(bidstream().arg("run").arg(&job).stderr(Stdio::piped()));
    let lake = dir.path().join("lake");
    let started = Instant::now();
    while !lake.join("lake.json").exists() || sql(&lake, "SELECT count(*) FROM raw.dead_letters")[0] != "1" {
        assert!(started.elapsed() < CATCH_UP_MAX, "the dead letter never came");
        std::thread::sleep(Duration::from_millis(200));
    }
    let second = bidstream().arg("run").arg(&job).output().unwrap();
    assert_eq!(second.status.code(), Some(3));
    let message = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(message.contains(&first.id().to_string()) && message.contains("--take-over"), "{message}");

    let third = Running::start(bidstream().arg("run").arg(&job).arg("--take-over"));
    // Also one that has nothing to commit looks now and then.
    let code = wait_within(&mut first, CATCH_UP_MAX);
    let mut message = String::new();
    first.stderr.take().unwrap().read_to_string(&mut message).unwrap();
    kafka.send(&topic, 0, &["not an event either"]);
    assert_eq!(code, Some(5), "{message}");
    assert!(message.contains(&third.id().to_string()), "names its successor: {message}");
    let started = Instant::now();
    while sql(&lake, "SELECT count(*) FROM raw.dead_letters")[0] != "2" {
        assert!(started.elapsed() < CATCH_UP_MAX, "the second dead letter never came");
        std::thread::sleep(Duration::from_millis(200));
    }
    assert_eq!(terminate(third), Some(0));
    assert_eq!(sql(&lake, "SELECT count(*) FROM raw.records"), ["2"], "never mixed, never twice");
}

/// The exit code of a process that is to end by itself.
pub(crate) fn wait_within(child: &mut Running, limit: Duration) -> Option<i32> {
    let started = Instant::now();
    while child.try_wait().unwrap().is_none() {
        assert!(started.elapsed() < limit, "still running after {limit:?}");
        std::thread::sleep(Duration::from_millis(50));
    }
    child.wait().unwrap().code()
}
