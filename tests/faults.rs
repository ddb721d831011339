//! Every fault that can be made on a real Kafka and a real directory: processes killed at each step of a commit, answers
//! lost, zombies, brokers and stores that go away, outages, clocks. After each, `records` is compared with the
//! producer's list and every table with its SQL.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use bidstream::clock::{self, Clock};
use bidstream::ingest::source::kafka::produce::{self, Delivered};
use bidstream::lake::directory;
use bidstream::lake::failpoint;
use dataflows::views;
use schemas::PayloadHash;
use schemas::units::HOUR_MS;
use schemas::wire;

use crate::endpoints::Endpoints;
use crate::exactly_once::{
    CATCH_UP_MAX, Producing, Running, assert_every_table_equals_its_sql, assert_reconciled, bidstream, catch_up, job,
    sql, terminate, wait_within,
};
use crate::kafka::fixture::{self, Kafka};

/// How long a run may go on before its failpoint is reached. A checkpoint comes every hundred commits.
const REACHED_MAX: Duration = Duration::from_secs(150);

/// A run with a failpoint armed.
pub(crate) fn armed(job: &Path, failpoint: &str) -> Running {
    let mut command = bidstream();
    command.env(failpoint::VARIABLE, failpoint).arg("run").arg(job).stderr(Stdio::null());
    Running::start(&mut command)
}

/// Waits for a process to be ended by a signal; whether that came within the limit.
fn dies(child: &mut Running, limit: Duration) -> bool {
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
pub(crate) struct Faulty {
    dir: tempfile::TempDir,
    pub(crate) topic: String,
    brokers: String,
    producing: Producing,
}

impl Faulty {
    pub(crate) fn start(kafka: &Kafka, name: &str, rate: u64) -> Faulty {
        let dir = tempfile::tempdir().unwrap();
        let (topic, brokers) = (kafka.topic(name, 4), kafka.brokers());
        let producing = Producing::start(dir.path(), &brokers, &topic, rate);
        Faulty { dir, topic, brokers, producing }
    }

    pub(crate) fn lake(&self) -> PathBuf {
        self.dir.path().join("lake")
    }

    pub(crate) fn job(&self, workers: usize) -> PathBuf {
        job(self.dir.path(), &self.brokers, &self.topic, workers)
    }

    /// The job with further lines.
    pub(crate) fn job_with(&self, workers: usize, lines: &str) -> PathBuf {
        let job = self.job(workers);
        let text = std::fs::read_to_string(&job).unwrap();
        std::fs::write(&job, format!("{text}{lines}\n")).unwrap();
        job
    }

    /// Sends records beside the producer; where they went, as lines of the list.
    pub(crate) fn send<P: AsRef<[u8]>>(&self, payloads: impl IntoIterator<Item = P>) -> Vec<String> {
        let records = payloads.into_iter().map(|payload| (None::<&str>, payload));
        let sent = produce::produce(&self.brokers, &BTreeMap::new(), &self.topic, 4, records, |_| ()).unwrap();
        let line = |sent: Delivered| format!("{},{},{}", sent.partition, sent.offset, hex(sent.hash));
        sent.into_iter().map(line).collect()
    }

    /// Ends the producer, lets a run catch up, and compares all there is.
    pub(crate) fn settle(self, workers: usize) {
        self.settle_with(workers, Vec::new());
    }

    /// The same where others sent records, too: where they went, as lines of the list.
    pub(crate) fn settle_with(mut self, workers: usize, others: Vec<String>) {
        let sent = self.producing.end() + others.len();
        self.producing.add(&others);
        catch_up(&self.job(workers), &self.lake(), sent);
        assert_reconciled(self.producing.delivered(), &self.lake());
        assert_every_table_equals_its_sql(&self.lake());
    }
}

/// The failpoints at which runs are killed here. The tables of views of one form are written alike, so one of each is enough on a
/// Kafka; the simulation has them all.
fn failpoints() -> impl Iterator<Item = String> {
    let others = views::maintained().filter(|(view, _)| !["installs", "metrics_hourly"].contains(&view.name));
    let others: Vec<String> = others.map(|(view, _)| format!("{}.", view.name)).collect();
    failpoint::all().into_iter().filter(move |name| !others.iter().any(|table| name.starts_with(table)))
}

#[test]
fn a_kill_at_each_failpoint_on_kafka_loses_and_repeats_nothing() {
    let faulty = Faulty::start(fixture::shared(), "failpoints", 800);
    let mut reached = Vec::new();
    // New names come with the first records only, so their steps come first; a start has something to load only after
    // the first commit. Housekeeping has a test of its own.
    let housekeeping = |name: &String| ["compact", "clean", "vacuum"].iter().any(|part| name.contains(part));
    let mut names: Vec<String> = failpoints().filter(|name| !housekeeping(name)).collect();
    let order = ["symbols", "commit", "records"];
    let last = ["open", "recovery", "checkpoint"];
    names.sort_by_key(|name| match order.iter().position(|part| name.starts_with(part)) {
        Some(place) => place,
        None => order.len() + last.iter().position(|part| name.starts_with(part)).map_or(0, |place| place + 1),
    });
    for (turn, name) in names.iter().enumerate() {
        // The second time where there is one in each run: the first is the claim of the start.
        let hit = if name.contains(".put.") && !name.starts_with("symbols.") { 2 } else { 1 };
        let mut run = armed(&faulty.job(1 + turn % 2), &format!("{name}:kill:{hit}"));
        if dies(&mut run, REACHED_MAX) {
            reached.push(name.clone());
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
        let successor = Running::start(bidstream().arg("run").arg(faulty.job(2)).arg("--take-over"));
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
    let run = Running::start(bidstream().arg("run").arg(faulty.job(2)).stderr(Stdio::null()));
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
    let http = Endpoints::free();
    let job = faulty.job_with(1, &http.line());
    // Twelve attempts in a row: about 20 s.
    let run = armed(&job, "records.upload.before:error:3-14");
    http.until("/readyz", |answer| answer.contains("503") && answer.contains("upload of records failed"));
    http.until("/readyz", |answer| answer.starts_with("HTTP/1.1 200"));
    assert_eq!(terminate(run), Some(0));
    faulty.settle(1);
}

#[test]
fn a_changed_parameter_on_kafka_builds_a_table_beside_the_old_and_moves_the_name() {
    let mut faulty = Faulty::start(fixture::shared(), "redefined", 800);
    let lake = faulty.lake();
    let run = Running::start(bidstream().arg("run").arg(faulty.job(1)));
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
    let run = Running::start(bidstream().arg("run").arg(&job));
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

/// The number of data files under a directory.
fn data_files(dir: &Path) -> usize {
    let Ok(entries) = std::fs::read_dir(dir) else { return 0 };
    let count = |path: PathBuf| match path.is_dir() {
        true => data_files(&path),
        false => usize::from(path.extension().is_some_and(|kind| kind == "parquet")),
    };
    entries.flatten().map(|entry| count(entry.path())).sum()
}

/// An install by a user, and under an account, of this name.
fn install_of(name: &str) -> Vec<u8> {
    wire::to_protobuf(&wire::Event {
        r#type: wire::EventType::Install as i32,
        event_id: name.to_owned(),
        event_time: Some(Clock::system().now_ms()),
        tenant: name.to_owned(),
        app: name.to_owned(),
        user: name.to_owned(),
        ..wire::Event::default()
    })
}

#[test]
fn housekeeping_on_kafka_may_be_killed_at_each_step_beside_a_run() {
    let faulty = Faulty::start(fixture::shared(), "housekeeping", 800);
    let lake = faulty.lake();
    let mut run = Running::start(bidstream().arg("run").arg(faulty.job(2)));
    // Each table that it is killed at has something to merge. What is sealed days later has not. All names of the
    // producer may have come with the first commit, so others are sent until there are two files of names, too.
    let started = Instant::now();
    let steps: Vec<String> = failpoints().collect();
    let is_killed_at = |table: &&str| steps.iter().any(|name| name.starts_with(&format!("{table}.")));
    let tables: Vec<&str> = directory::tables().filter(is_killed_at).collect();
    let mut sent = Vec::new();
    loop {
        let lacking: Vec<&&str> = tables.iter().filter(|table| data_files(&lake.join(table)) < 2).collect();
        if lacking.is_empty() {
            break;
        }
        assert!(started.elapsed() < REACHED_MAX, "too few files of {lacking:?} after {REACHED_MAX:?}");
        sent.extend(faulty.send([install_of(&format!("new {}", sent.len()))]));
        std::thread::sleep(Duration::from_millis(500));
    }
    let housekeeping = |name: &String| ["compact", "clean", "vacuum"].iter().any(|part| name.contains(part));
    let (mut reached, mut missed) = (Vec::new(), Vec::new());
    for name in failpoints().filter(housekeeping) {
        let mut command = bidstream();
        command.env(failpoint::VARIABLE, format!("{name}:kill")).args(["maintain", "--retention", "1m", "--lake"]);
        let ended = command.arg(&lake).stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap();
        match ended.code() {
            None => reached.push(name.clone()),
            Some(code) => missed.push((name.clone(), code)),
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
    faulty.settle_with(1, sent);
}

#[test]
fn a_clock_an_hour_ahead_and_corrected_on_kafka_changes_no_verdict() {
    assert_a_wrong_clock_changes_no_verdict("clock-ahead", HOUR_MS);
}

#[test]
fn a_clock_an_hour_behind_and_corrected_on_kafka_changes_no_verdict() {
    assert_a_wrong_clock_changes_no_verdict("clock-behind", -HOUR_MS);
}

/// How far an arrival may be from the broker's stamp: what is more than an hour behind the tick is raised to that, which
/// with a clock an hour ahead is as much as a record is on its way.
const ON_ITS_WAY_MS_MAX: i64 = 10_000;

/// Runs with a wrong clock and with the right one take turns, each killed but the last.
fn assert_a_wrong_clock_changes_no_verdict(name: &str, offset_ms: i64) {
    let mut faulty = Faulty::start(fixture::shared(), name, 300);
    let lake = faulty.lake();
    // Less than the clock is wrong by, so that a verdict by the clock would be another.
    let job = |workers| faulty.job_with(workers, "allowed_lateness: 30m");
    for (offset_ms, workers) in [(offset_ms, 1), (0, 2), (offset_ms, 2), (0, 1)] {
        let mut command = bidstream();
        command.env(clock::OFFSET_VARIABLE, offset_ms.to_string()).arg("run").arg(job(workers));
        let mut run = Running::start(command.stderr(Stdio::null()));
        let before = last_cut(&lake);
        let started = Instant::now();
        // The first run goes on until its clock shows: while it is behind its cuts follow the records' stamps.
        let shows = |cut: i64| before > 0 || (cut - Clock::system().now_ms() - offset_ms).abs() < 60_000;
        while last_cut(&lake) < before.max(1) + 2_000 || !shows(last_cut(&lake)) {
            assert!(started.elapsed() < CATCH_UP_MAX, "no cut by that clock comes after {before}");
            std::thread::sleep(Duration::from_millis(200));
        }
        run.kill().unwrap();
        assert_eq!(run.wait().unwrap().code(), None, "the run ended by itself");
    }
    let job = job(2);
    let sent = faulty.producing.end();
    catch_up(&job, &lake, sent);
    assert_reconciled(faulty.producing.delivered(), &lake);
    assert_every_table_equals_its_sql(&lake);

    // The same topic read by the right clock alone.
    let other = tempfile::tempdir().unwrap();
    let text = std::fs::read_to_string(&job).unwrap();
    let (right, right_job) = (other.path().join("lake"), other.path().join("job.yaml"));
    std::fs::write(&right_job, text.replace(&*lake.to_string_lossy(), &right.to_string_lossy())).unwrap();
    catch_up(&right_job, &right, sent);
    let (mut late, mut near) = (0, 0);
    for (wrong, right) in verdicts(&lake).into_iter().zip(verdicts(&right)) {
        assert_eq!((wrong.partition, wrong.offset), (right.partition, right.offset));
        assert!((wrong.arrival_ms - right.arrival_ms).abs() < ON_ITS_WAY_MS_MAX, "{wrong:?}, by the broker {right:?}");
        // Only there does the time on its way decide.
        let spare_ms = right.event_time_ms.map(|event_time_ms| right.arrival_ms - event_time_ms - HOUR_MS / 2);
        if spare_ms.is_some_and(|spare_ms| spare_ms.abs() < ON_ITS_WAY_MS_MAX) {
            near += 1;
        } else {
            assert_eq!(wrong.verdict, right.verdict, "{wrong:?}, by the broker {right:?}");
        }
        late += usize::from(wrong.verdict == "late");
    }
    assert!(late > 0 && late < sent / 10 && near < sent / 100, "{late} late and {near} nearly so of {sent}");
}

/// What became of a record.
#[derive(Debug)]
struct Judged {
    partition: i64,
    offset: i64,
    verdict: String,
    arrival_ms: i64,
    event_time_ms: Option<i64>,
}

fn verdicts(lake: &Path) -> Vec<Judged> {
    let query = "SELECT partition, \"offset\", verdict, arrival, event_time FROM raw.records ORDER BY 1, 2";
    let judged = |line: String| {
        let fields: Vec<&str> = line.split(',').collect();
        let [partition, offset, verdict, arrival_ms, event_time_ms] = fields[..] else { panic!("{line}") };
        Judged {
            partition: partition.parse().unwrap(),
            offset: offset.parse().unwrap(),
            verdict: verdict.to_owned(),
            arrival_ms: arrival_ms.parse().unwrap(),
            event_time_ms: event_time_ms.parse().ok(),
        }
    };
    sql(lake, query).into_iter().map(judged).collect()
}

/// The one number that a query answers.
fn number(lake: &Path, query: &str) -> i64 {
    sql(lake, query)[0].parse().unwrap()
}

/// The last cut that a lake holds, zero where it holds none.
fn last_cut(lake: &Path) -> i64 {
    match lake.join("lake.json").exists() {
        true => number(lake, "SELECT coalesce(max(_cut), 0) FROM raw.records"),
        false => 0,
    }
}

#[test]
fn an_open_transaction_on_kafka_holds_its_partition_alone_and_its_records_come_once() {
    const RECORDS: i64 = 20;
    let kafka = fixture::shared();
    let mut faulty = Faulty::start(kafka, "open-transactions", 800);
    let lake = faulty.lake();
    let run = |workers| {
        let mut command = bidstream();
        Running::start(command.arg("run").arg(faulty.job(workers)).stderr(Stdio::null()))
    };
    let mut first = run(1);
    std::thread::sleep(Duration::from_secs(3));
    let clicks = |of: &str| -> Vec<Vec<u8>> {
        let click = |number| wire::Event {
            r#type: wire::EventType::Click as i32,
            event_id: format!("{of} {number}"),
            event_time: Some(Clock::system().now_ms()),
            tenant: of.to_owned(),
            user: "u".to_owned(),
            ..wire::Event::default()
        };
        (0..RECORDS).map(|number| wire::to_protobuf(&click(number))).collect()
    };
    let kept = clicks("kept");
    let to_keep = kafka.open_transaction("keeps", &faulty.topic, 1, &kept);
    let to_abort = kafka.open_transaction("takes-back", &faulty.topic, 2, &clicks("taken back"));
    let opened_ms = Clock::system().now_ms();
    // The tick stands at the last records of the two partitions, and no cut comes, until they have been silent for ten
    // seconds though there is more in them. Then the others' records become durable, cut by cut.
    let came_since = |partitions: &str| {
        number(
            &lake,
            &format!("SELECT count(*) FROM raw.records WHERE partition IN ({partitions}) AND arrival > {opened_ms}"),
        )
    };
    let started = Instant::now();
    while came_since("0, 3") == 0 {
        assert!(started.elapsed() < CATCH_UP_MAX, "an open transaction holds the other partitions up");
        std::thread::sleep(Duration::from_millis(500));
    }
    assert_eq!(came_since("1, 2"), 0, "read behind an open transaction");
    first.kill().unwrap();
    assert_eq!(first.wait().unwrap().code(), None, "the run ended by itself");

    let second = run(2);
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(came_since("1, 2"), 0, "read behind an open transaction after a restart");
    to_keep.commit();
    to_abort.abort();
    let sent = faulty.producing.end();
    let started = Instant::now();
    while number(&lake, "SELECT count(*) FROM raw.records") < sent as i64 + RECORDS {
        assert!(started.elapsed() < CATCH_UP_MAX, "what was committed never came");
        std::thread::sleep(Duration::from_millis(500));
    }
    assert_eq!(terminate(second), Some(0));

    // The list lacks them: their producer does not tell where they went. They lie together.
    let hashes: Vec<String> = kept.iter().map(|record| hex(PayloadHash::of(record))).collect();
    let query = "SELECT partition, \"offset\", encode(payload_hash, 'hex') FROM raw.records
                 WHERE tenant = symbol('kept') ORDER BY \"offset\"";
    let came = sql(&lake, query);
    let first_offset: i64 = came[0].split(',').nth(1).unwrap().parse().unwrap();
    let expected: Vec<String> =
        hashes.iter().zip(first_offset..).map(|(hash, offset)| format!("1,{offset},{hash}")).collect();
    assert_eq!(came, expected);
    faulty.producing.add(&came);
    assert_reconciled(faulty.producing.delivered(), &lake);
    assert_every_table_equals_its_sql(&lake);
}

/// A hash as the list has it.
fn hex(hash: PayloadHash) -> String {
    hash.0.to_bytes().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn a_stop_on_kafka_while_one_worker_still_recovers_ends_the_run_in_order() {
    let faulty = Faulty::start(fixture::shared(), "leaves", 800);
    let run = Running::start(bidstream().arg("run").arg(faulty.job(2)));
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(terminate(run), Some(0));

    let http = Endpoints::free();
    let mut run = armed(&faulty.job_with(2, &http.line()), "recovery.worker:sleep=5000:2");
    // One worker reads, the other has not recovered.
    http.until("/metrics", |answer| answer.contains("bidstream_records_total{"));
    http.until("/readyz", |answer| answer.contains("records of earlier runs are read"));
    let before = last_cut(&faulty.lake());
    let pid = run.id().to_string();
    std::process::Command::new("kill").arg(pid).status().unwrap();
    assert_eq!(wait_within(&mut run, CATCH_UP_MAX), Some(0), "nobody waits for who has left");
    assert_eq!(last_cut(&faulty.lake()), before, "there is no last cut");
    faulty.settle(1);
}
