//! The Kafka source on a real broker.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bidstream::clock::Clock;
use bidstream::ingest::source::kafka::produce::Delivered;
use bidstream::ingest::source::kafka::{
    BEHIND_MS_MAX, KafkaConfig, KafkaSource, POLL_BYTES_MAX, SharedTicks, Start, Timing,
};
use bidstream::ingest::source::{Arrived, PartitionId, Payload, Progress, Resume, Source, SourceError};
use schemas::Tick;
use schemas::units::HOUR_MS;
use schemas::wire::Encoding;
use sha2::{Digest, Sha256};

use super::fixture::{Kafka, TIMEOUT, shared};

/// A record as the source handed it over.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Record {
    offset: i64,
    arrival_ms: i64,
    bytes: Vec<u8>,
}

/// A source and what it has handed over. Each poll checks what must hold always.
struct Reading {
    source: KafkaSource,
    records: BTreeMap<PartitionId, Vec<Record>>,
    tick: Tick,
    records_max: usize,
}

/// What a reading goes on from.
#[derive(Clone, Default)]
struct From {
    resumes: Vec<Resume>,
    topic_ids: BTreeMap<String, String>,
    cut: Tick,
}

fn config(kafka: &Kafka, topics: &[&str]) -> KafkaConfig {
    KafkaConfig {
        timing: Timing {
            metadata_every: Duration::from_millis(300),
            probe_every: Duration::from_millis(100),
            quiet_max: Duration::from_secs(2),
        },
        ..KafkaConfig::new(&kafka.brokers(), topics.iter().map(|topic| (topic.to_string(), Encoding::Json)))
    }
}

fn now_ms() -> i64 {
    Clock::system().now_ms()
}

impl Reading {
    fn new(config: &KafkaConfig, from: &From, clock: Clock) -> Reading {
        Reading::worker(config, from, &Arc::new(SharedTicks::new(clock)), 0, 1)
    }

    fn worker(config: &KafkaConfig, from: &From, ticks: &Arc<SharedTicks>, worker: usize, workers: usize) -> Reading {
        let (resumes, topic_ids) = (from.resumes.clone(), from.topic_ids.clone());
        let start = Start { resumes, topic_ids, notes: BTreeMap::new() };
        let source = KafkaSource::new(config, worker, workers, &start, from.cut, ticks.clone());
        let source = source.expect("settings that the library takes");
        Reading { source, records: BTreeMap::new(), tick: from.cut, records_max: 1_000 }
    }

    fn poll(&mut self) -> Result<Progress, SourceError> {
        let mut came = Vec::new();
        let progress = self.source.poll(self.tick, self.records_max, &mut |arrived| {
            let Payload::Bytes { bytes, encoding: Encoding::Json, .. } = arrived.payload else {
                panic!("not as configured")
            };
            let record = Record { offset: arrived.offset, arrival_ms: arrived.arrival_ms, bytes: bytes.to_vec() };
            came.push((arrived.partition, record));
        })?;
        assert_eq!(progress.records, came.len());
        assert!(progress.tick >= self.tick, "the tick went back from {} to {}", self.tick, progress.tick);
        for (partition, record) in came {
            let records = self.records.entry(self.source.partitions()[partition].clone()).or_default();
            if let Some(last) = records.last() {
                assert!(
                    record.offset > last.offset && record.arrival_ms >= last.arrival_ms,
                    "{last:?} before {record:?}"
                );
            }
            assert!(self.source.position(partition) > record.offset);
            records.push(record);
        }
        self.tick = progress.tick;
        Ok(progress)
    }

    /// Polls until `done` says so.
    fn until(&mut self, what: &str, mut done: impl FnMut(&Reading, Progress) -> bool) {
        let start = Instant::now();
        loop {
            let progress = self.poll().unwrap_or_else(|error| panic!("{what}: {error}"));
            if done(self, progress) {
                return;
            }
            assert!(start.elapsed() < TIMEOUT, "{what}: {progress:?}, {:?}", self.source.status());
            pause(progress);
        }
    }

    fn until_end(&mut self) {
        self.until("the end", |_, progress| progress.at_end);
    }

    /// Polls for some time and lets `check` look.
    fn during(&mut self, time: Duration, mut check: impl FnMut(&Reading, Progress)) {
        let start = Instant::now();
        while start.elapsed() < time {
            let progress = self.poll().expect("no error");
            check(self, progress);
            pause(progress);
        }
    }

    /// Polls until there is an error.
    fn error(&mut self) -> SourceError {
        let start = Instant::now();
        loop {
            match self.poll() {
                Err(error) => return error,
                Ok(progress) => pause(progress),
            }
            assert!(start.elapsed() < TIMEOUT, "no error: {:?}", self.source.status());
        }
    }

    fn count(&self) -> usize {
        self.records.values().map(Vec::len).sum()
    }

    fn texts(&self, partition: i32) -> Vec<String> {
        let mine = self.records.iter().filter(|(id, _)| id.partition == partition);
        mine.flat_map(|(_, records)| records).map(|record| String::from_utf8(record.bytes.clone()).unwrap()).collect()
    }

    fn last_arrival_ms(&self) -> i64 {
        self.records.values().flatten().map(|record| record.arrival_ms).max().expect("a record")
    }

    /// Where the records came from, with their hashes, as the producer lists them.
    fn delivered(&self) -> Vec<Delivered> {
        let mut all: Vec<Delivered> = self
            .records
            .iter()
            .flat_map(|(id, records)| records.iter().map(|record| delivered(id.partition, record)))
            .collect();
        all.sort();
        all
    }

    /// What the ledger would write down now.
    fn stop(self) -> From {
        let resumes = self.source.partitions().iter().enumerate().map(|(index, id)| Resume {
            partition: id.clone(),
            offset: self.source.position(index),
            arrival_ms: self.records.get(id).and_then(|records| records.last()).map_or(0, |record| record.arrival_ms),
        });
        From { resumes: resumes.collect(), topic_ids: self.source.topic_ids(), cut: self.tick }
    }
}

fn pause(progress: Progress) {
    if progress.records == 0 {
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn delivered(partition: i32, record: &Record) -> Delivered {
    let mut hash = [0; 16];
    hash.copy_from_slice(&Sha256::digest(&record.bytes)[..16]);
    Delivered { partition, offset: record.offset, hash: schemas::PayloadHash(schemas::Id::from_bytes(hash)) }
}

fn sorted(mut delivered: Vec<Delivered>) -> Vec<Delivered> {
    delivered.sort();
    delivered
}

#[test]
fn reads_all_from_the_beginning_and_goes_on_where_it_stopped() {
    let kafka = shared();
    let topic = kafka.topic("all", 4);
    let sent = kafka.produce(&topic, (0..20_000).map(|number| format!("record {number}")));
    let config = config(kafka, &[&topic]);

    let mut first = Reading::new(&config, &From::default(), Clock::system());
    first.records_max = 500;
    first.until("half of the records", |reading, progress| {
        // Each partition still has records, so none lets the tick go past its last one.
        let lasts = reading.records.values().map(|records| records.last().unwrap().arrival_ms);
        assert!(progress.tick as i64 <= lasts.min().unwrap_or(0));
        reading.count() >= 10_000
    });
    let mut seen = first.delivered();
    let from = first.stop();
    assert!(seen.len() < sent.len(), "the test wants to stop halfway");

    let mut second = Reading::new(&config, &from, Clock::system());
    second.until_end();
    seen.extend(second.delivered());
    assert_eq!(sorted(seen), sorted(sent));
    let started = now_ms();
    second.until("the tick follows the clock", |reading, _| reading.tick as i64 >= started);
    assert_eq!(second.source.status().raised, 0);
    assert!(second.source.status().connected);
}

#[test]
fn workers_share_the_partitions() {
    let kafka = shared();
    let topics = [kafka.topic("shared", 3), kafka.topic("shared", 2)];
    let sent: usize =
        topics.iter().map(|topic| kafka.produce(topic, (0..1_000).map(|number| format!("{number}"))).len()).sum();
    let config = config(kafka, &[&topics[0], &topics[1]]);
    let ticks = Arc::new(SharedTicks::new(Clock::system()));
    let mut readings: Vec<Reading> =
        (0..3).map(|worker| Reading::worker(&config, &From::default(), &ticks, worker, 3)).collect();
    readings.iter_mut().for_each(Reading::until_end);
    let mut partitions: Vec<PartitionId> =
        readings.iter().flat_map(|reading| reading.source.partitions().to_vec()).collect();
    partitions.sort();
    partitions.dedup();
    assert_eq!(partitions.len(), 5);
    assert_eq!(readings.iter().map(|reading| reading.source.partitions().len()).sum::<usize>(), 5);
    assert_eq!(readings.iter().map(Reading::count).sum::<usize>(), sent);
}

#[test]
fn a_worker_without_partitions_moves_with_the_others() {
    let kafka = shared();
    let topic = kafka.topic("idle", 1);
    let config = config(kafka, &[&topic]);
    kafka.send(&topic, 0, &["a"]);
    let open = kafka.open_transaction("idles", &topic, 0, &["b"]);
    let clock_ms = now_ms() + 10 * HOUR_MS;
    let ticks = Arc::new(SharedTicks::new(Clock::manual(clock_ms)));
    let from = From { cut: 5_000, ..From::default() };
    let [mut busy, mut idle] = [0, 1].map(|worker| Reading::worker(&config, &from, &ticks, worker, 2));
    idle.until("the end of nothing", |_, progress| progress.at_end);
    idle.during(Duration::from_millis(500), |idle, _| {
        assert_eq!(idle.tick, 5_000, "nobody knows how far the other is")
    });
    busy.until("the first record", |busy, _| busy.count() == 1 && busy.tick as i64 == busy.last_arrival_ms());
    idle.poll().expect("no error");
    assert_eq!(idle.tick, busy.tick);
    open.abort();
    busy.until("the clock", |busy, _| busy.tick as i64 == clock_ms);
    idle.poll().expect("no error");
    assert_eq!(idle.tick, busy.tick);
    assert!(idle.source.partitions().is_empty());
}

#[test]
fn a_worker_with_silent_partitions_begins_at_the_first_arrival_of_the_others() {
    let kafka = shared();
    let topic = kafka.topic("silent", 2);
    let config = config(kafka, &[&topic]);
    kafka.send(&topic, 0, &["a"]);
    let open = kafka.open_transaction("silences", &topic, 1, &["b"]);
    let clock_ms = now_ms() + 10 * HOUR_MS;
    let ticks = Arc::new(SharedTicks::new(Clock::manual(clock_ms)));
    let [mut busy, mut silent] = [0, 1].map(|worker| Reading::worker(&config, &From::default(), &ticks, worker, 2));
    busy.until("the record", |busy, _| busy.count() == 1);
    let bound_ms = busy.last_arrival_ms() + BEHIND_MS_MAX;
    silent.until("the bound", |silent, _| silent.tick as i64 == bound_ms);
    open.abort();
}

#[test]
fn what_is_ahead_of_the_frontier_waits() {
    let kafka = shared();
    let topic = kafka.topic("ahead", 1);
    kafka.send(&topic, 0, &["a", "b", "c"]);
    let mut source = Reading::new(&config(kafka, &[&topic]), &From::default(), Clock::system()).source;
    let mut count = 0;
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(2) {
        let progress = source.poll(0, 100, &mut |_| count += 1).expect("no error");
        assert!(!progress.at_end);
        pause(progress);
    }
    // Nothing is known of a partition before its first record.
    assert_eq!(count, 1);
    let mut rest = 0;
    while rest < 2 {
        assert!(start.elapsed() < TIMEOUT);
        pause(source.poll(now_ms() as Tick, 100, &mut |_| rest += 1).expect("no error"));
    }
}

#[test]
fn a_partition_added_while_running_is_read_from_its_beginning() {
    let kafka = shared();
    let topic = kafka.topic("grows", 1);
    kafka.send(&topic, 0, &["old"]);
    let mut reading = Reading::new(&config(kafka, &[&topic]), &From::default(), Clock::system());
    reading.until_end();
    kafka.grow(&topic, 2);
    kafka.send(&topic, 1, &["new"]);
    reading.until("the new partition's record", |reading, _| reading.texts(1) == ["new"]);
    reading.until_end();
    assert_eq!(reading.source.partitions().iter().map(|id| id.partition).collect::<Vec<_>>(), [0, 1]);
}

#[test]
fn a_re_created_topic_is_an_error() {
    let kafka = shared();
    let topic = kafka.topic("again", 1);
    kafka.send(&topic, 0, &["a", "b"]);
    let config = config(kafka, &[&topic]);
    let mut reading = Reading::new(&config, &From::default(), Clock::system());
    reading.until_end();
    kafka.delete(&topic);
    kafka.create(&topic, 1, &[]);
    let recreated = |error: SourceError| match error {
        SourceError::TopicRecreated { topic, recorded, found } => {
            assert_ne!(recorded, found);
            (topic, recorded)
        }
        error => panic!("another error: {error}"),
    };
    let recorded = reading.source.topic_ids()[&topic].clone();
    assert_eq!(recreated(reading.error()), (topic.clone(), recorded.clone()));
    assert_eq!(reading.texts(0), ["a", "b"]);
    // And at a start, though the new topic has records enough.
    kafka.send(&topic, 0, &["x", "y", "z"]);
    let mut later = Reading::new(&config, &reading.stop(), Clock::system());
    assert_eq!(recreated(later.error()), (topic, recorded));
    assert_eq!(later.count(), 0);
}

#[test]
fn lost_offsets_are_an_error_with_the_numbers() {
    let kafka = shared();
    let topic = kafka.topic("lost", 1);
    kafka.send(&topic, 0, &["0", "1", "2", "3", "4", "5"]);
    kafka.forget(&topic, 0, 4);
    let from = |offset| From {
        resumes: vec![Resume {
            partition: PartitionId { topic: topic.as_str().into(), partition: 0 },
            offset,
            arrival_ms: 0,
        }],
        ..From::default()
    };
    for lost in [2, 7] {
        match Reading::new(&config(kafka, &[&topic]), &from(lost), Clock::system()).error() {
            SourceError::OffsetGone { topic: of, partition: 0, wanted, earliest: 4, latest: 6 } => {
                assert_eq!((of, wanted), (topic.clone(), lost))
            }
            error => panic!("another error: {error}"),
        }
    }
    // The bounds themselves are good; and who starts anew starts at what there is.
    for (from, texts) in [(from(4), &["4", "5"][..]), (from(6), &[]), (From::default(), &["4", "5"])] {
        let mut reading = Reading::new(&config(kafka, &[&topic]), &from, Clock::system());
        reading.until_end();
        assert_eq!(reading.texts(0), texts);
        assert_eq!(reading.source.position(0), 6);
    }
}

#[test]
fn only_committed_transactions_are_read_and_the_position_passes_the_others() {
    let kafka = shared();
    let topic = kafka.topic("transactions", 1);
    let config = config(kafka, &[&topic]);
    kafka.send(&topic, 0, &["a"]);
    kafka.open_transaction("aborts", &topic, 0, &["x", "y"]).abort();
    let mut reading = Reading::new(&config, &From::default(), Clock::system());
    reading.until_end();
    assert_eq!(reading.texts(0), ["a"]);
    // a, x, y and the marker of the end of the transaction.
    assert_eq!(reading.source.position(0), 4);
    kafka.open_transaction("commits", &topic, 0, &["b", "c"]).commit();
    reading.until("the committed records", |reading, progress| reading.source.position(0) == 7 && progress.at_end);
    assert_eq!(reading.texts(0), ["a", "b", "c"]);
    // What stops behind a marker goes on behind it.
    kafka.send(&topic, 0, &["d"]);
    let mut later = Reading::new(&config, &reading.stop(), Clock::system());
    later.until_end();
    assert_eq!(later.texts(0), ["d"]);
    assert_eq!(later.source.position(0), 8);
}

#[test]
fn an_open_transaction_lets_the_tick_run_a_bounded_way() {
    let kafka = shared();
    let topic = kafka.topic("open", 1);
    kafka.send(&topic, 0, &["a"]);
    let open = kafka.open_transaction("stays-open", &topic, 0, &["b"]);
    kafka.send(&topic, 0, &["behind"]);
    // By the clock, ten hours have passed.
    let clock = Clock::manual(now_ms() + 10 * HOUR_MS);
    let mut reading = Reading::new(&config(kafka, &[&topic]), &From::default(), clock);
    reading.until("the first record", |reading, progress| {
        assert!(!progress.at_end);
        reading.count() == 1 && progress.tick as i64 == reading.last_arrival_ms()
    });
    let bound_ms = reading.last_arrival_ms() + BEHIND_MS_MAX;
    reading.until("the bound", |reading, _| reading.tick as i64 == bound_ms);
    reading.during(Duration::from_secs(1), |reading, progress| {
        assert_eq!(reading.tick as i64, bound_ms);
        assert!(!progress.at_end);
    });
    assert_eq!(reading.texts(0), ["a"]);
    open.commit();
    reading.until_end();
    assert_eq!(reading.texts(0), ["a", "b", "behind"]);
    assert_eq!(reading.source.status().raised, 0, "all came within the bound");
}

#[test]
fn a_stamp_far_behind_the_tick_is_raised_and_counted() {
    let kafka = shared();
    let topic = kafka.topic("behind", 1);
    let clock_ms = now_ms() + 10 * HOUR_MS;
    let mut reading = Reading::new(&config(kafka, &[&topic]), &From::default(), Clock::manual(clock_ms));
    reading.until("the clock", |reading, _| reading.tick as i64 == clock_ms);
    kafka.send(&topic, 0, &["a"]);
    reading.until("the record", |reading, _| reading.count() == 1);
    assert_eq!(reading.last_arrival_ms(), clock_ms - BEHIND_MS_MAX);
    assert_eq!(reading.source.status().raised, 1);
}

#[test]
fn records_without_a_stamp_of_the_log_arrive_when_they_are_read() {
    let kafka = shared();
    let topic = kafka.topic("create-time", 1);
    let stamped = format!("{topic}-own");
    kafka.create(&stamped, 1, &[("message.timestamp.type", "CreateTime")]);
    kafka.send(&stamped, 0, &["a", "b"]);
    let clock_ms = now_ms() + HOUR_MS;
    let clock = Clock::manual(clock_ms);
    let mut reading = Reading::new(&config(kafka, &[&stamped]), &From::default(), clock.clone());
    reading.until_end();
    assert_eq!(reading.texts(0), ["a", "b"]);
    clock.set(clock_ms + 5);
    reading.until("the clock", |reading, _| reading.tick as i64 == clock_ms + 5);
    kafka.send(&stamped, 0, &["c"]);
    reading.until("the third record", |reading, _| reading.count() == 3);
    let arrivals: Vec<i64> = reading.records.values().flatten().map(|record| record.arrival_ms).collect();
    assert_eq!(arrivals, [clock_ms, clock_ms, clock_ms + 5]);
}

#[test]
fn oversized_records_come_whole() {
    let kafka = shared();
    let topic = kafka.topic("large", 1);
    let large = "x".repeat(5 << 20);
    kafka.send(&topic, 0, &["small", &large, "small too"]);
    let mut reading = Reading::new(&config(kafka, &[&topic]), &From::default(), Clock::system());
    reading.until_end();
    assert_eq!(reading.texts(0), ["small", &large, "small too"]);
}

#[test]
fn a_poll_hands_over_a_bounded_number_of_bytes() {
    const LARGE: usize = 1 << 20;
    let kafka = shared();
    let topic = kafka.topic("bytes", 4);
    let (large, sent) = ("x".repeat(LARGE), 60);
    (0..4).for_each(|partition| kafka.send(&topic, partition, &[&*large; 15]));
    let mut reading = Reading::new(&config(kafka, &[&topic]), &From::default(), Clock::system());
    let (mut bytes, mut count) = (0, 0);
    let start = Instant::now();
    while count < sent {
        assert!(start.elapsed() < TIMEOUT, "{count} of {sent} records");
        // What is fetched meanwhile is more than a poll hands over.
        std::thread::sleep(Duration::from_millis(500));
        let mut polled = 0;
        let each = &mut |arrived: Arrived<'_>| {
            let Payload::Bytes { bytes, .. } = arrived.payload else { panic!("not as configured") };
            polled += bytes.len();
            count += 1;
        };
        reading.source.poll(now_ms() as Tick, 1_000, each).expect("no error");
        bytes = polled.max(bytes);
    }
    assert!((POLL_BYTES_MAX..POLL_BYTES_MAX + LARGE).contains(&bytes), "{bytes} bytes in a poll");
}

#[test]
fn a_clock_behind_the_committed_cut_goes_on_from_there() {
    let kafka = shared();
    let topic = kafka.topic("slow-clock", 1);
    let cut = now_ms() as Tick + 5_000_000;
    let from = From { cut, ..From::default() };
    let mut reading = Reading::new(&config(kafka, &[&topic]), &from, Clock::manual(1));
    reading.until("half a second after the cut", |reading, _| reading.tick >= cut + 500);
    assert!(reading.tick < cut + 60_000);
}

#[test]
fn a_clock_that_comes_as_far_as_the_committed_cut_does_not_stop_the_tick() {
    let kafka = shared();
    let topic = kafka.topic("caught-up-clock", 1);
    let cut = now_ms() as Tick + 5_000_000;
    let (from, clock) = (From { cut, ..From::default() }, Clock::manual(1));
    let mut reading = Reading::new(&config(kafka, &[&topic]), &from, clock.clone());
    reading.until("half a second after the cut", |reading, _| reading.tick >= cut + 500);
    clock.set(cut as i64);
    reading.until("a second after the cut", |reading, _| reading.tick >= cut + 1_000);
}

#[test]
fn the_lag_grows_while_nobody_polls() {
    let kafka = shared();
    let topic = kafka.topic("lag", 1);
    let mut reading = Reading::new(&config(kafka, &[&topic]), &From::default(), Clock::system());
    reading.until_end();
    assert_eq!(reading.source.standing().lag_records, [Some(0)]);
    kafka.send(&topic, 0, &["a", "b", "c"]);
    let start = Instant::now();
    while reading.source.standing().lag_records != [Some(3)] {
        assert!(start.elapsed() < TIMEOUT, "{:?}", reading.source.standing());
        std::thread::sleep(Duration::from_millis(50));
    }
    reading.until_end();
    assert_eq!(reading.source.standing().lag_records, [Some(0)]);
}

#[test]
fn mistakes_in_the_settings_are_errors() {
    let kafka = shared();
    let topic = kafka.topic("settings", 1);
    let missing = Reading::new(&config(kafka, &["no-such-topic"]), &From::default(), Clock::system()).error();
    assert!(missing.to_string().contains("no topic no-such-topic"), "{missing}");
    for (name, value, says) in
        [("isolation.level", "read_uncommitted", "set by Bidstream"), ("no.such.property", "1", "no.such.property")]
    {
        let mut config = config(kafka, &[&topic]);
        config.properties.insert(name.into(), value.into());
        let ticks = Arc::new(SharedTicks::new(Clock::system()));
        let refused = KafkaSource::new(&config, 0, 1, &Start::default(), 0, ticks);
        let error = refused.err().expect("a refused property").to_string();
        assert!(error.contains(says), "{error}");
    }
}

#[test]
fn brokers_may_come_late_and_go() {
    let kafka = Kafka::absent();
    let mut config = config(&kafka, &["resilient"]);
    config.timing.quiet_max = Duration::from_secs(20);
    let mut reading = Reading::new(&config, &From { cut: 5_000, ..From::default() }, Clock::system());
    reading.records_max = 100;
    reading.during(Duration::from_secs(2), |reading, progress| {
        assert_eq!((progress.records, progress.at_end, progress.tick), (0, false, 5_000));
        assert!(!reading.source.status().connected);
    });
    assert!(reading.source.status().last_error.is_some());

    kafka.start();
    kafka.create("resilient", 2, &[]);
    let mut sent = kafka.produce("resilient", (0..3_000).map(|number| format!("{number} {}", "x".repeat(20_000))));
    reading.until("some records", |reading, _| reading.count() >= 300);
    kafka.kill();
    // What was fetched still comes; then it waits, without an error.
    let mut killed_tick = None;
    reading.during(Duration::from_secs(5), |reading, progress| {
        if !reading.source.status().connected {
            assert!(!progress.at_end || killed_tick.is_none());
            killed_tick = Some(progress.tick);
        }
    });
    assert!(killed_tick.is_some(), "the source has not noticed");

    kafka.start();
    sent.extend(kafka.produce("resilient", ["after the restart".to_string()]));
    reading.until("all records", |reading, progress| reading.count() == sent.len() && progress.at_end);
    assert_eq!(reading.delivered(), sorted(sent));
    assert_eq!(reading.source.status().raised, 0);

    // Nor does a broker that is away hold up the end.
    kafka.kill();
    let start = Instant::now();
    drop(reading);
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
}
