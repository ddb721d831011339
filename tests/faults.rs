//! Every fault that can be made on a real Kafka and a real directory: processes killed at each step of a commit, answers
//! lost, zombies, brokers and stores that go away, outages, clocks. After each, `records` is compared with the
//! producer's list and every table with its SQL.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use bidstream::failpoint;

use crate::exactly_once::{
    CATCH_UP_MAX, Producing, assert_every_table_equals_its_sql, assert_reconciled, bidstream, catch_up, job, sql,
    terminate, wait_within,
};
use crate::kafka::fixture::{self, Kafka};

/// How long a run may go on before its failpoint is reached. A checkpoint comes every hundred commits.
const REACHED_MAX: Duration = Duration::from_secs(90);

/// A run with a failpoint armed.
fn armed(job: &Path, failpoint: &str) -> Child {
    let mut command = bidstream();
    command.env(failpoint::VARIABLE, failpoint).arg("run").arg(job).stderr(Stdio::null());
    command.spawn().unwrap()
}

/// Waits for a process to be ended by a signal; whether that came within the limit.
fn dies(child: &mut Child, limit: Duration) -> bool {
    use std::os::unix::process::ExitStatusExt;
    let started = Instant::now();
    while started.elapsed() < limit {
        if let Some(status) = child.try_wait().unwrap() {
            assert!(status.signal().is_some(), "the run ended by itself: {status}");
            return true;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    false
}

/// A lake, a job on it, and a producer that goes on until it is told to end.
struct Faulty {
    dir: tempfile::TempDir,
    topic: String,
    brokers: String,
    producing: Producing,
}

impl Faulty {
    fn start(kafka: &Kafka, name: &str, rate: u64) -> Faulty {
        let dir = tempfile::tempdir().unwrap();
        let (topic, brokers) = (kafka.topic(name, 4), kafka.brokers());
        let producing = Producing::start(dir.path(), &brokers, &topic, rate);
        Faulty { dir, topic, brokers, producing }
    }

    fn lake(&self) -> PathBuf {
        self.dir.path().join("lake")
    }

    fn job(&self, workers: usize) -> PathBuf {
        job(self.dir.path(), &self.brokers, &self.topic, workers)
    }

    /// Ends the producer, lets a run catch up, and compares all there is.
    fn settle(mut self, workers: usize) {
        let sent = self.producing.end();
        catch_up(&self.job(workers), &self.lake(), sent);
        assert_reconciled(self.producing.delivered(), &self.lake());
        assert_every_table_equals_its_sql(&self.lake());
    }
}

#[test]
fn a_kill_at_each_failpoint_on_kafka_loses_and_repeats_nothing() {
    let faulty = Faulty::start(fixture::shared(), "failpoints", 800);
    let mut reached = Vec::new();
    // New names come with the first records only, so their steps come first; a start has something to load only after
    // the first commit. Housekeeping has a test of its own.
    let housekeeping = |name: &&str| ["compact", "clean", "vacuum"].iter().any(|part| name.contains(part));
    let mut names: Vec<&str> = failpoint::ALL.into_iter().filter(|name| !housekeeping(name)).collect();
    let order = ["symbols", "commit", "records", "installs", "credits", "open", "recovery", "checkpoint"];
    names.sort_by_key(|name| order.iter().position(|part| name.starts_with(part)));
    for (turn, name) in names.iter().enumerate() {
        // The second time where there is one in each run: the first is the claim of the start.
        let hit = if name.contains(".put.") && !name.starts_with("symbols.") { 2 } else { 1 };
        let mut run = armed(&faulty.job(1 + turn % 2), &format!("{name}:kill:{hit}"));
        if dies(&mut run, REACHED_MAX) {
            reached.push(*name);
        } else {
            run.kill().unwrap();
            run.wait().unwrap();
        }
    }
    println!("killed once at each of {} failpoints: {}", reached.len(), reached.join(" "));
    let missed: Vec<_> = names.iter().filter(|name| !reached.contains(name)).collect();
    assert!(missed.is_empty(), "never reached: {missed:?}");
    faulty.settle(2);
}

#[test]
fn lost_answers_on_kafka_are_recognised() {
    let faulty = Faulty::start(fixture::shared(), "lost-answers", 800);
    let names = ["records", "installs", "credits"];
    let failpoints: Vec<String> =
        names.iter().flat_map(|table| [2, 4].map(|hit| format!("{table}.put.after:error:{hit}"))).collect();
    let run = armed(&faulty.job(2), &failpoints.join(","));
    std::thread::sleep(Duration::from_secs(5));
    assert_eq!(terminate(run), Some(0), "a lost answer is no reason to end");
    faulty.settle(1);
}

#[test]
fn a_zombie_on_kafka_changes_nothing_when_it_wakes() {
    let faulty = Faulty::start(fixture::shared(), "zombie", 800);
    for point in
        ["records.put.before", "records.put.after", "installs.put.before", "installs.put.after", "credits.put.before"]
    {
        let mut zombie = armed(&faulty.job(1), &format!("{point}:sleep=4000:3"));
        std::thread::sleep(Duration::from_millis(2_500));
        assert!(zombie.try_wait().unwrap().is_none(), "{point}: ended before its successor came");
        let successor = bidstream().arg("run").arg(faulty.job(2)).arg("--take-over").spawn().unwrap();
        assert_eq!(wait_within(&mut zombie, CATCH_UP_MAX), Some(5), "{point}: a zombie is fenced");
        std::thread::sleep(Duration::from_millis(500));
        assert_eq!(terminate(successor), Some(0), "{point}");
    }
    faulty.settle(1);
}

#[test]
fn an_outage_longer_than_the_allowed_lateness_on_kafka_makes_nothing_late() {
    let kafka = fixture::shared();
    let dir = tempfile::tempdir().unwrap();
    let topic = kafka.topic("outage", 2);
    let job = job(dir.path(), &kafka.brokers(), &topic, 1);
    let text = std::fs::read_to_string(&job).unwrap();
    std::fs::write(&job, format!("{text}allowed_lateness: 3s\n")).unwrap();
    let lake = dir.path().join("lake");
    let click = |number: i64| {
        let now_ms = std::time::UNIX_EPOCH.elapsed().unwrap().as_millis() as i64;
        format!(
            "{{\"type\":\"click\",\"event_id\":\"{number}\",\"event_time\":{now_ms},\"tenant\":\"t\",\"user\":\"u\"}}"
        )
    };
    let text = std::fs::read_to_string(&job).unwrap().replace("protobuf", "json");
    std::fs::write(&job, text).unwrap();
    kafka.send(&topic, 0, &[&click(1)]);
    catch_up(&job, &lake, 1);
    // Sent while nobody reads; read when they are older than is allowed.
    kafka.open_transaction("outage-aborts", &topic, 1, &[&click(100), &click(101)]).abort();
    for number in 2..6 {
        kafka.send(&topic, (number % 2) as i32, &[&click(number)]);
    }
    std::thread::sleep(Duration::from_secs(5));
    catch_up(&job, &lake, 5);
    assert_eq!(sql(&lake, "SELECT count(*) FROM events"), ["5"]);
    assert_eq!(sql(&lake, "SELECT count(*) FROM raw.late_events"), ["0"]);
    assert_every_table_equals_its_sql(&lake);
}

#[test]
fn a_run_goes_on_over_a_restart_of_its_kafka() {
    // A broker of its own: the others' must stay.
    let kafka = Kafka::absent();
    kafka.start();
    let faulty = Faulty::start(&kafka, "restart", 800);
    let run = bidstream().arg("run").arg(faulty.job(2)).stderr(Stdio::null()).spawn().unwrap();
    std::thread::sleep(Duration::from_secs(3));
    kafka.kill();
    std::thread::sleep(Duration::from_secs(2));
    kafka.start();
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(terminate(run), Some(0));
    faulty.settle(1);
}

#[test]
fn a_store_that_is_away_on_kafka_stops_nothing_and_is_told() {
    let faulty = Faulty::start(fixture::shared(), "store-away", 800);
    let http = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let job = faulty.job(1);
    let text = std::fs::read_to_string(&job).unwrap();
    std::fs::write(&job, format!("{text}http: {http}\n")).unwrap();
    let ready = || {
        let mut stream = std::net::TcpStream::connect(http).ok()?;
        write!(stream, "GET /readyz HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n").ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        Some(answer)
    };
    let until = |what: &str, holds: &dyn Fn(&str) -> bool| {
        let started = Instant::now();
        while !ready().is_some_and(|answer| holds(&answer)) {
            assert!(started.elapsed() < CATCH_UP_MAX, "never {what}: {:?}", ready());
            std::thread::sleep(Duration::from_millis(100));
        }
    };
    // Twelve attempts in a row: about 20 s.
    let run = armed(&job, "records.upload.before:error:3-14");
    until("told of the store", &|answer| answer.contains("503") && answer.contains("upload of records failed"));
    until("ready again", &|answer| answer.starts_with("HTTP/1.1 200"));
    assert_eq!(terminate(run), Some(0));
    faulty.settle(1);
}

#[test]
fn a_changed_parameter_on_kafka_builds_a_table_beside_the_old_and_moves_the_name() {
    let mut faulty = Faulty::start(fixture::shared(), "redefined", 800);
    let lake = faulty.lake();
    let run = bidstream().arg("run").arg(faulty.job(1)).spawn().unwrap();
    std::thread::sleep(Duration::from_secs(4));
    assert_eq!(terminate(run), Some(0));
    let tables = || std::fs::read_dir(lake.join("credits")).unwrap().count();
    let weights = "SELECT credit_ppm FROM credits WHERE model = 'time_decay' ORDER BY event_id, touch_event_id";
    let (before, cut) = (sql(&lake, weights), sql(&lake, "SELECT max(_cut) FROM raw.records").remove(0));
    assert_eq!(tables(), 1);

    let job = faulty.job(2);
    let text = std::fs::read_to_string(&job).unwrap();
    std::fs::write(&job, format!("{text}views: {{ credits: {{ half_life: 36h }} }}\n")).unwrap();
    let sent = faulty.producing.end();
    // Killed while the new table is being built: the name has not moved, or it has and the table is whole.
    for point in ["recovery.end:kill", "records.put.after:kill:2", "credits.put.before:kill:2"] {
        assert!(dies(&mut armed(&job, point), CATCH_UP_MAX), "{point}");
        assert_every_table_equals_its_sql(&lake);
    }
    let run = bidstream().arg("run").arg(&job).spawn().unwrap();
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(terminate(run), Some(0));
    catch_up(&job, &lake, sent);
    assert_reconciled(faulty.producing.delivered(), &lake);
    assert_every_table_equals_its_sql(&lake);
    assert_eq!(tables(), 2, "the old table is still there");
    assert_ne!(before, sql(&lake, weights), "another half-life weighs in another way");
    let earlier = bidstream().args(["sql", "--as-of", &cut, "--lake"]).arg(&lake).arg("SELECT 1 FROM credits").output();
    let earlier = earlier.unwrap();
    assert!(!earlier.status.success(), "the new table knows no cut before the one that it was made at");
}

#[test]
fn housekeeping_on_kafka_may_be_killed_at_each_step_beside_a_run() {
    let faulty = Faulty::start(fixture::shared(), "housekeeping", 800);
    let lake = faulty.lake();
    let mut run = bidstream().arg("run").arg(faulty.job(2)).spawn().unwrap();
    std::thread::sleep(Duration::from_secs(6));
    let housekeeping = |name: &&str| ["compact", "clean", "vacuum"].iter().any(|part| name.contains(part));
    let (mut reached, mut missed) = (Vec::new(), Vec::new());
    for name in failpoint::ALL.into_iter().filter(housekeeping) {
        let mut command = bidstream();
        command.env(failpoint::VARIABLE, format!("{name}:kill")).args(["maintain", "--retention", "1m", "--lake"]);
        let ended = command.arg(&lake).stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap();
        match ended.code() {
            None => reached.push(name),
            Some(code) => missed.push((name, code)),
        }
        assert!(run.try_wait().unwrap().is_none(), "{name}: the run ended");
    }
    println!("killed once at each of {} failpoints: {}", reached.len(), reached.join(" "));
    assert!(missed.is_empty(), "never reached: {missed:?}");
    let kept = bidstream().args(["maintain", "--format", "json", "--lake"]).arg(&lake).output().unwrap();
    assert!(kept.status.success(), "{}", String::from_utf8_lossy(&kept.stderr));
    let report: serde_json::Value = serde_json::from_slice(&kept.stdout).unwrap();
    let records = &report["tables"][0];
    assert!(records["files_after"].as_u64() < Some(20), "{report}");
    assert_eq!(terminate(run), Some(0));
    faulty.settle(1);
}
