//! Jobs on topics of JSON, run as a person runs them.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use bidstream::clock::Clock;
use tempfile::TempDir;

use crate::exactly_once::{CATCH_UP_MAX, Running, bidstream, sql, terminate, wait_within};

/// A job file and its lake.
pub(crate) struct Job {
    dir: TempDir,
}

impl Job {
    /// A job on a broker; `topics` and `more` as they stand in the file.
    pub(crate) fn new(brokers: &str, topics: &str, more: &str) -> Job {
        let job = Job { dir: tempfile::tempdir().unwrap() };
        job.write(brokers, topics, more);
        job
    }

    /// Writes the job file anew.
    pub(crate) fn write(&self, brokers: &str, topics: &str, more: &str) {
        let text = format!(
            "lake: {}\ncommit_every: 200ms\nsource:\n  kafka:\n    brokers: '{brokers}'\n    topics: {topics}\n{more}\n",
            self.lake().display()
        );
        fs::write(self.file(), text).unwrap();
    }

    pub(crate) fn file(&self) -> PathBuf {
        self.dir.path().join("job.yaml")
    }

    pub(crate) fn lake(&self) -> PathBuf {
        self.dir.path().join("lake")
    }

    /// Where other files of the job may be.
    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Starts it.
    pub(crate) fn run(&self, options: &[&str]) -> Running {
        let mut command = bidstream();
        command.env("BIDSTREAM_LOG", "warn,bidstream::run::recovery=info").env("KAFKA_PASSWORD", "secret");
        Running::start(command.arg("run").arg(self.file()).args(options).stderr(Stdio::piped()))
    }

    /// Runs it until the lake holds so many records, then stops it in order. What it said.
    pub(crate) fn until(&self, options: &[&str], records: usize) -> String {
        let mut child = self.run(options);
        self.wait_for(records, &mut child);
        let mut stderr = child.stderr.take().unwrap();
        assert_eq!(terminate(child), Some(0));
        let mut said = String::new();
        stderr.read_to_string(&mut said).unwrap();
        said
    }

    /// Waits until the lake of a run holds so many records.
    pub(crate) fn wait_for(&self, records: usize, run: &mut Running) {
        let started = Instant::now();
        while self.count() < records {
            let ended = run.try_wait().unwrap();
            if ended.is_some() || started.elapsed() > CATCH_UP_MAX {
                panic!("{} of {records} records; {ended:?}: {}", self.count(), said(run));
            }
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    /// Runs it until it ends by itself: its exit code, and what it said.
    pub(crate) fn ends(&self, options: &[&str]) -> (Option<i32>, String) {
        let mut child = self.run(options);
        let code = wait_within(&mut child, CATCH_UP_MAX);
        (code, said(&mut child))
    }

    fn count(&self) -> usize {
        match self.lake().join("lake.json").exists() {
            true => self.sql("SELECT count(*) FROM raw.records")[0].parse().unwrap(),
            false => 0,
        }
    }

    pub(crate) fn sql(&self, query: &str) -> Vec<String> {
        sql(&self.lake(), query)
    }

    /// Whether the log of `records` has a note of this name and number.
    pub(crate) fn has_note(&self, name: &str, number: &str) -> bool {
        let log = fs::read_dir(self.lake().join("records/_delta_log")).unwrap();
        let texts = log.filter_map(|entry| fs::read_to_string(entry.unwrap().path()).ok());
        let (name, number) = (format!("\"bidstream/note/{name}"), format!("\"version\":{number}"));
        texts
            .flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>())
            .any(|line| line.contains(&name) && line.contains(&number))
    }
}

fn said(child: &mut Running) -> String {
    let _gone = child.kill();
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    said
}

/// An event of one user in JSON, as it happened now.
pub(crate) fn event(kind: &str, id: &str, user: &str) -> String {
    let now_ms = Clock::system().now_ms();
    let more =
        if kind == "conversion" { r#","name":"purchase","revenue_micros":1000000,"currency":"EUR""# } else { "" };
    format!(
        r#"{{"type":"{kind}","tenant":"shop","event_id":"{id}","event_time":{now_ms},"user":"{user}","channel":"search"{more}}}"#
    )
}
