//! What stays bounded however long a run goes on and however slow its store is: the files of a lake, and the memory of
//! records that wait for a commit.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bidstream::clock::Clock;
use bidstream::ingest::gate::Gate;
use bidstream::ingest::source::Source;
use bidstream::ingest::source::kafka::{KafkaConfig, KafkaSource, POLL_BYTES_MAX, SharedTicks, Start};
use bidstream::job::{ID_KEY_DEMO, Lateness};
use bidstream::run::cuts::WAITING_BYTES_MAX;
use bidstream::run::housekeeping::Housekeeping;
use bidstream::run::pipeline::{self, Plan, Run};
use dataflows::grid::CUT_MS;
use dataflows::params::Params;
use schemas::decode::IdRules;
use schemas::ids::IdHasher;
use schemas::wire::Encoding;

use crate::endpoints::Endpoints;
use crate::exactly_once::{CATCH_UP_MAX, terminate};
use crate::faults::{Faulty, armed};
use crate::kafka::fixture;

const WORKERS: usize = 2;

/// The job that `bidstream run` runs, in this process: there its retention may be too short for any user. It maintains a view of
/// each form; with all of them a debug build commits too seldom for files to become many.
fn start(faulty: &Faulty) -> Run {
    let hasher = IdHasher::new(ID_KEY_DEMO.as_bytes());
    let (lateness, clock) = (Lateness::default(), Clock::system());
    let only = ["installs", "metrics_hourly", "sessions"].map(str::to_owned).to_vec();
    let plan = Plan {
        lake: faulty.lake(),
        settings: Plan::settings(&lateness, Params { only, ..Params::default() }, &hasher),
        gate: Gate::of(&lateness),
        replays: None,
        workers: WORKERS,
        commit_every: Duration::from_millis(200),
        take_over: false,
        void: Vec::new(),
        hasher,
        id_rules: IdRules::default(),
        clock: clock.clone(),
    };
    let kafka = KafkaConfig::new(&fixture::shared().brokers(), [(faulty.topic.clone(), Encoding::Protobuf)]);
    let ticks = Arc::new(SharedTicks::new(clock));
    let run = pipeline::start(plan, |_| {
        Box::new(move |worker, workers| {
            let source = KafkaSource::new(&kafka, worker, workers, &Start::default(), 0, ticks.clone())?;
            Ok(Box::new(source) as Box<dyn Source>)
        })
    });
    run.unwrap()
}

/// The files of a lake, by table: data files, and those of the log.
fn files(lake: &Path) -> BTreeMap<(String, bool), BTreeSet<PathBuf>> {
    let mut found: BTreeMap<(String, bool), BTreeSet<PathBuf>> = BTreeMap::new();
    let mut dirs = vec![lake.to_owned()];
    while let Some(dir) = dirs.pop() {
        // What goes meanwhile is no matter.
        for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
            let path = entry.path();
            let within = path.strip_prefix(lake).unwrap();
            let log = within.components().any(|part| part.as_os_str() == "_delta_log");
            let table = within.components().next().unwrap().as_os_str().to_string_lossy().into_owned();
            match path.is_dir() {
                true => dirs.push(path),
                false => drop(found.entry((table, log)).or_default().insert(path)),
            }
        }
    }
    found.retain(|(table, _), _| lake.join(table).is_dir());
    found
}

#[test]
fn files_stay_few_while_a_job_on_kafka_keeps_house() {
    const RETENTION: Duration = Duration::from_secs(9);
    /// What a pass over all tables may take where others are at work.
    const PASS_SECONDS_MAX: f64 = 10.0;
    const SHOWN_AFTER: Duration = Duration::from_secs(42);
    let faulty = Faulty::start(fixture::shared(), "files", 400);
    let run = start(&faulty);
    let kept = Housekeeping::start(&run.cuts, faulty.lake(), RETENTION).unwrap();
    let (mut seen, mut most) = (BTreeMap::new(), BTreeMap::new());
    // The bound of `lake::maintain`, where no table comes to the rows of a large file.
    let (pause, retention, cut) = (RETENTION.as_secs_f64() / 6.0, RETENTION.as_secs_f64(), CUT_MS as f64 / 1e3);
    let data_max = (WORKERS as f64 / cut + 1.0 / pause) * (2.0 * PASS_SECONDS_MAX + retention) + 2.0;
    let log_max = (1.0 / cut + 2.0 / pause) * (PASS_SECONDS_MAX + retention) + 20.0;
    let max = |log: bool| if log { log_max } else { data_max };
    let started = Instant::now();
    // Where commits are slow it takes longer until there have been more files than may be there at a time.
    let shown = |seen: &BTreeMap<(String, bool), BTreeSet<PathBuf>>| {
        let ever = |log| seen.get(&("records".to_owned(), log)).map_or(0, BTreeSet::len);
        [false, true].into_iter().all(|log| ever(log) as f64 > max(log))
    };
    while started.elapsed() < SHOWN_AFTER || (!shown(&seen) && started.elapsed() < CATCH_UP_MAX) {
        for (of, files) in files(&faulty.lake()) {
            let most: &mut usize = most.entry(of.clone()).or_default();
            *most = files.len().max(*most);
            let seen: &mut BTreeSet<PathBuf> = seen.entry(of).or_default();
            seen.extend(files);
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    drop(kept);
    run.cuts.stop();
    run.wait().unwrap();
    for ((table, log), most) in most {
        let (ever, max) = (seen[&(table.clone(), log)].len(), max(log));
        let kind = if log { "log" } else { "data" };
        println!("{table}: at most {most} of {ever} {kind} files at a time, and {max:.0} by the bound");
        assert!(most as f64 <= max, "{table}: {most} {kind} files at a time, by the bound {max}");
        assert!(table != "records" || ever as f64 > max, "{table}: {ever} {kind} files show nothing");
    }
    faulty.settle(1);
}

/// What a run tells while its store is slow.
#[derive(Debug)]
struct Sample {
    waiting_bytes: usize,
    lag: u64,
    records: u64,
    ready: String,
}

#[test]
fn a_slow_store_on_kafka_stops_reading_at_the_bound_of_memory_and_is_told() {
    const LARGE: usize = 1 << 20;
    /// What may be taken in between two looks at what waits: a poll, and what rows need beside their bytes.
    const BEYOND_BYTES_MAX: usize = 2 * POLL_BYTES_MAX;
    let kafka = fixture::shared();
    let faulty = Faulty::start(kafka, "slow-store", 500);
    // More than may wait. Dead letters keep their bytes, so they fill memory sooner than events.
    let large = "x".repeat(LARGE);
    let sent = faulty.send((0..WAITING_BYTES_MAX / LARGE * 5 / 4).map(|number| format!("{number} {large}")));

    let http = Endpoints::free();
    let run = armed(&faulty.job_with(1, &http.line()), "records.upload.before:sleep=5000:1-");
    let mut samples = Vec::new();
    let started = Instant::now();
    let stopped = |sample: &Sample| sample.ready.contains("the store has fallen behind, reading has stopped");
    let reads_on = |sample: &Sample| sample.ready.starts_with("HTTP/1.1 200") && sample.lag < 1_000;
    while !samples.iter().any(stopped) || !samples.last().is_some_and(reads_on) {
        assert!(started.elapsed() < CATCH_UP_MAX, "{:?}", samples.last());
        std::thread::sleep(Duration::from_millis(200));
        samples.push(Sample {
            waiting_bytes: http.metric("bidstream_waiting_bytes") as usize,
            lag: http.metric("bidstream_partition_lag_records") as u64,
            records: http.metric("bidstream_records_total") as u64,
            ready: http.get("/readyz").unwrap_or_default(),
        });
    }
    assert_eq!(terminate(run), Some(0));
    let most = samples.iter().map(|sample| sample.waiting_bytes).max().unwrap();
    let bound = WAITING_BYTES_MAX..WAITING_BYTES_MAX + BEYOND_BYTES_MAX;
    assert!(bound.contains(&most), "{most} bytes waited; reading was to stop at {WAITING_BYTES_MAX}");
    // While nothing is read, the lag grows with what is sent.
    let held = samples.chunk_by(|one, next| one.records == next.records && one.records > 0);
    let held = held.max_by_key(|samples| samples.len()).unwrap();
    assert!(held.iter().any(stopped), "{held:?}");
    let mut lags: Vec<u64> = held.iter().map(|sample| sample.lag).collect();
    lags.dedup();
    // The first may have been told before reading stopped.
    assert!(lags.len() > 4 && lags[1..].is_sorted(), "{lags:?}");

    let topic = faulty.topic.clone();
    faulty.settle_with(1, sent);
    // The broker's disk is others', too.
    kafka.delete(&topic);
}
