//! Records from Kafka: the partitions of a worker, read-committed, each with the arrival that its log gave it.
//!
//! Partitions are assigned by number, never by a consumer group: partition *p* of the *t*-th topic (by name) belongs to
//! worker (*t* + *p*) mod workers. Each has a queue of its own, so that one which is ahead of the others is simply not
//! polled (`pause` would throw away what was fetched). A second client in a thread of its own (`probe`) tells what the
//! reading one does not: ids of topics, new partitions, and how far each log goes; nothing is read of a partition before
//! its topic's id and the recorded offset were found good. How the tick moves is in `follow`, what workers tell each other
//! in `shared`.
//!
//! Brokers may be away at the start or at any time: that is logged, and the library tries again for ever.

mod accept;
mod client;
mod config;
mod follow;
mod mapped;
mod probe;
pub mod produce;
mod read;
mod shared;
mod topic_id;
mod value;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::consumer::base_consumer::PartitionQueue;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::{Message, Offset, TopicPartitionList};
use schemas::Tick;

pub use self::accept::{Start, name_in_records};
use self::client::{Context, Limit};
pub use self::config::{Accepted, KafkaConfig, KafkaStatus, PartitionStatus, Reading, Timing};
pub use self::follow::BEHIND_MS_MAX;
use self::follow::Follow;
pub use self::mapped::Mapped;
use self::mapped::Scratch;
use self::probe::{Answer, Findings, Prober};
use self::read::Handed;
pub use self::shared::SharedTicks;
pub use self::value::{ABOUT_BYTES_MAX, NULL_VALUE};
use super::{Arrived, PartitionId, Progress, Source, SourceError, SourceHealth};

/// A partition whose last arrival is further ahead of the frontier than this is not polled.
pub const AHEAD_MS_MAX: i64 = 60_000;

/// A poll ends once it has handed over so many bytes: what waits for a commit is counted and bounded between polls, and
/// records may be large.
pub const POLL_BYTES_MAX: usize = 16 << 20;

/// Reads the partitions of one worker.
pub struct KafkaSource {
    topics: Vec<Topic>,
    worker: usize,
    workers: usize,
    ids: Vec<PartitionId>,
    // Queues go before the client that owns what is in them.
    partitions: Vec<Partition>,
    /// Partitions that exist but whose bounds nobody has told yet.
    waiting: Vec<(usize, i32, Follow)>,
    consumer: Arc<BaseConsumer<Context>>,
    prober: Prober,
    round_seen: u64,
    timing: Timing,
    brokers: String,
    shared: Arc<SharedTicks>,
    /// Where the clock is behind the committed cut at the start, time goes on from there.
    origin: (Instant, i64),
    tick_ms: i64,
    /// Whether all topics were described since this start; before, partitions may be missing here.
    described: bool,
    /// Where reading begins next, so that no partition is always first.
    turn: usize,
    positions_asked: Instant,
    raised: u64,
    last_error: Option<String>,
    raised_limit: Limit,
    /// What the ledger is to note: of one worker only.
    notes: BTreeMap<String, i64>,
    scratch: Scratch,
}

struct Topic {
    /// At the brokers.
    name: Arc<str>,
    /// In `records` and in the ledger.
    known_as: Arc<str>,
    reading: Reading,
    /// As the ledger or, first, the brokers told it.
    id: Option<String>,
    warned_of_create_time: bool,
}

struct Partition {
    topic: usize,
    number: i32,
    follow: Follow,
    /// There once the recorded offset was found good.
    queue: Option<PartitionQueue<Context>>,
    /// When the brokers refused the position.
    refused: Option<Instant>,
    /// Whether there is a recorded position; else it starts at its beginning, wherever that is by then.
    resumed: bool,
}

impl KafkaSource {
    /// Goes on where the ledger says. `start` may name more than this worker reads; `committed_cut` is the tick that
    /// nothing goes back before, zero on a new lake; `shared` is one for all workers of the run. Needs no broker to be
    /// there.
    pub fn new(
        config: &KafkaConfig,
        worker: usize,
        workers: usize,
        start: &Start,
        committed_cut: Tick,
        shared: Arc<SharedTicks>,
    ) -> Result<KafkaSource, SourceError> {
        shared.enter(worker, workers);
        if config.topics.is_empty() {
            return Err(SourceError::Setup("source.kafka.topics names no topic".into()));
        }
        let topics: Vec<Topic> = config
            .topics
            .iter()
            .map(|(name, reading)| {
                let known_as = name_in_records(name, &start.topic_ids);
                Topic {
                    name: name.as_str().into(),
                    id: start.topic_ids.get(&known_as).cloned(),
                    known_as: known_as.into(),
                    reading: reading.clone(),
                    warned_of_create_time: false,
                }
            })
            .collect();
        let reader = client::reader(&config.properties, &config.brokers)?;
        let consumer = Arc::new(client::create(&reader, &config.brokers)?);
        let prober = Prober::start(config, move |topic, partition| mine(topic, partition, worker, workers))?;
        let mut source = KafkaSource {
            topics,
            worker,
            workers,
            ids: Vec::new(),
            partitions: Vec::new(),
            waiting: Vec::new(),
            consumer,
            prober,
            round_seen: 0,
            timing: config.timing,
            brokers: config.brokers.clone(),
            shared,
            origin: (Instant::now(), committed_cut as i64),
            tick_ms: committed_cut as i64,
            described: false,
            turn: 0,
            positions_asked: Instant::now(),
            raised: 0,
            last_error: None,
            raised_limit: Limit::default(),
            notes: if worker == 0 { start.notes.clone() } else { BTreeMap::new() },
            scratch: Scratch::default(),
        };
        for resume in &start.resumes {
            let Some(topic) = source.topics.iter().position(|topic| topic.known_as == resume.partition.topic) else {
                continue;
            };
            if source.is_mine(topic, resume.partition.partition) {
                // Zero says that nothing was read yet.
                let arrival_ms = (resume.arrival_ms > 0).then_some(resume.arrival_ms);
                let follow = Follow::new(resume.offset, arrival_ms, source.tick_ms);
                source.join(topic, resume.partition.partition, follow, true);
            }
        }
        Ok(source)
    }

    /// What there is to see.
    pub fn status(&self) -> KafkaStatus {
        let findings = self.prober.findings();
        KafkaStatus {
            connected: findings.connected,
            last_error: findings.error.clone().or_else(|| self.last_error.clone()),
            raised: self.raised,
            partitions: self
                .partitions
                .iter()
                .map(|Partition { topic, number, follow, .. }| {
                    // As last told, not as last taken in: the log grows also while nobody reads.
                    let high = findings.answers.get(&(*topic, *number)).map(|answer| answer.high);
                    // In an outage what was told last says nothing of what there is now.
                    let lag = high.filter(|_| findings.connected).map(|high| (high - follow.position).max(0));
                    PartitionStatus { position: follow.position, high, lag }
                })
                .collect(),
        }
    }

    fn is_mine(&self, topic: usize, partition: i32) -> bool {
        mine(topic, partition, self.worker, self.workers)
    }

    fn join(&mut self, topic: usize, number: i32, follow: Follow, resumed: bool) {
        self.ids.push(PartitionId { topic: self.topics[topic].known_as.clone(), partition: number });
        self.partitions.push(Partition { topic, number, follow, queue: None, refused: None, resumed });
    }

    /// The clock; where it is behind the committed cut, the throttle of the monotonic clock from there. The greater of both: a
    /// clock that comes as far as the cut is still behind what was told since.
    fn now_ms(&self) -> i64 {
        let (start, start_ms) = self.origin;
        self.shared.clock().now_ms().max(start_ms + start.elapsed().as_millis() as i64)
    }

    /// Serves the client's events; records come by the partitions' own queues.
    fn serve_events(&mut self) {
        const EVENTS_MAX: usize = 100;
        for _ in 0..EVENTS_MAX {
            match self.consumer.poll(Duration::ZERO) {
                None => break,
                // The context has logged it.
                Some(Err(error)) => self.last_error = Some(error.to_string()),
                Some(Ok(record)) => {
                    unreachable!("a record of {} {} came past its queue", record.topic(), record.partition())
                }
            }
        }
    }

    /// Takes in what the prober found: checks ids and offsets, lets new partitions join, starts what is good.
    fn take_findings(&mut self) -> Result<(), SourceError> {
        let round = self.prober.round();
        if round == self.round_seen {
            return Ok(());
        }
        self.round_seen = round;
        let (topics, answers) = {
            let Findings { topics, answers, connected, .. } = &*self.prober.findings();
            if *connected {
                self.last_error = None;
            }
            (topics.clone(), answers.clone())
        };
        self.described = topics.iter().all(|found| found.described.is_some());
        for (index, found) in topics.iter().enumerate() {
            if found.missing_for().is_some_and(|time| time >= self.timing.quiet_max) {
                let name = &self.topics[index].name;
                return Err(SourceError::Setup(format!("Kafka at {} has no topic {name}: create it", self.brokers)));
            }
            let Some(described) = &found.described else { continue };
            self.check_id(index, &described.id)?;
            for number in 0..described.partitions {
                let known = |topic: usize, other: i32| topic == index && other == number;
                if self.is_mine(index, number)
                    && !self.partitions.iter().any(|partition| known(partition.topic, partition.number))
                    && !self.waiting.iter().any(|&(topic, other, _)| known(topic, other))
                {
                    self.waiting.push((index, number, Follow::new(0, None, self.tick_ms)));
                }
            }
        }
        let waiting = std::mem::take(&mut self.waiting);
        for (topic, number, mut follow) in waiting {
            match answers.get(&(topic, number)) {
                Some(answer) => {
                    follow.position = answer.low;
                    tracing::info!(topic = %self.topics[topic].name, partition = number, "reading from the beginning");
                    self.join(topic, number, follow, false);
                }
                None => self.waiting.push((topic, number, follow)),
            }
        }
        for index in 0..self.partitions.len() {
            let partition = &self.partitions[index];
            let Some(&answer) = answers.get(&(partition.topic, partition.number)) else { continue };
            let described_at = topics[partition.topic].asked;
            self.take_answer(index, answer, described_at)?;
        }
        Ok(())
    }

    fn check_id(&mut self, topic: usize, found: &str) -> Result<(), SourceError> {
        let topic = &mut self.topics[topic];
        match &topic.id {
            Some(recorded) if recorded != found => Err(SourceError::TopicRecreated {
                topic: topic.name.to_string(),
                recorded: recorded.clone(),
                found: found.to_string(),
            }),
            Some(_) => Ok(()),
            None => {
                topic.id = Some(found.to_string());
                Ok(())
            }
        }
    }

    /// Takes in the bounds of a partition; starts reading it, where that has to wait for them.
    fn take_answer(&mut self, index: usize, answer: Answer, described: Option<Instant>) -> Result<(), SourceError> {
        let partition = &mut self.partitions[index];
        let before = partition.follow.answer.replace(answer);
        let position = partition.follow.position;
        let name = &self.topics[partition.topic].name;
        let gone = || SourceError::OffsetGone {
            topic: name.to_string(),
            partition: partition.number,
            wanted: position,
            earliest: answer.low,
            latest: answer.high,
        };
        let within = (answer.low..=answer.high).contains(&position);
        if partition.queue.is_none() {
            if partition.resumed && !within {
                return Err(gone());
            }
            return self.start(index);
        }
        if let Some(refused) = partition.refused {
            // Both answers must be newer than the refusal: a re-created topic is told as such.
            if answer.asked <= refused || described.is_none_or(|described| described <= refused) {
                self.prober.suspect();
                return Ok(());
            }
            let unread = !partition.resumed && !partition.follow.has_read();
            if !within && !unread {
                return Err(gone());
            }
            partition.refused = None;
            let offset = if unread { Offset::Beginning } else { Offset::Offset(position) };
            if let Err(error) = self.consumer.seek(name, partition.number, offset, Duration::ZERO) {
                tracing::warn!(topic = %name, partition = partition.number, "seek to {position}: {error}");
                partition.refused = Some(Instant::now());
            }
            return Ok(());
        }
        // A log does not shrink. Where it seems to, the topic may be another.
        if before.is_some_and(|before| answer.high < before.high || answer.low < before.low) {
            self.prober.suspect();
        }
        Ok(())
    }

    /// Starts reading a partition at its position.
    fn start(&mut self, index: usize) -> Result<(), SourceError> {
        let partition = &mut self.partitions[index];
        let name = &self.topics[partition.topic].name;
        let refused = |error: KafkaError| SourceError::Setup(format!("topic {name}: {error}"));
        // The queue is split off before there is anything to fetch, so no record takes another way.
        let queue = self.consumer.split_partition_queue(name, partition.number);
        let queue = queue.ok_or_else(|| SourceError::Setup(format!("topic {name}: no such partition")))?;
        let offset = if partition.resumed { Offset::Offset(partition.follow.position) } else { Offset::Beginning };
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(name, partition.number, offset).map_err(refused)?;
        self.consumer.incremental_assign(&list).map_err(refused)?;
        partition.queue = Some(queue);
        Ok(())
    }

    /// Moves the tick as far as all partitions let it; whether all of them are at their end. Without partitions, it goes
    /// along with those who have some.
    fn move_tick(&mut self, now_ms: i64) -> bool {
        if !self.described {
            return false;
        }
        let now = Instant::now();
        let quiet_max = self.timing.quiet_max;
        let first_ms = self.shared.first_ms();
        let mut limit_ms = now_ms;
        let mut at_end = true;
        let joined = self.partitions.iter_mut().map(|partition| &mut partition.follow);
        for follow in joined.chain(self.waiting.iter_mut().map(|(_, _, follow)| follow)) {
            limit_ms = limit_ms.min(follow.limit_ms(now_ms, now, quiet_max, first_ms));
            at_end &= follow.followed(now);
        }
        let has_partitions = !self.partitions.is_empty() || !self.waiting.is_empty();
        if !has_partitions {
            self.shared.tell(self.worker, None);
            limit_ms = self.shared.slowest_ms().map_or(now_ms, |slowest_ms| slowest_ms.min(now_ms));
        }
        self.tick_ms = self.tick_ms.max(limit_ms);
        if has_partitions {
            self.shared.tell(self.worker, Some(self.tick_ms));
        }
        at_end
    }
}

impl Source for KafkaSource {
    fn poll(
        &mut self,
        frontier: Tick,
        records_max: usize,
        each: &mut dyn FnMut(Arrived<'_>),
    ) -> Result<Progress, SourceError> {
        self.serve_events();
        self.take_findings()?;
        let now_ms = self.now_ms();
        let ahead_ms = i64::try_from(frontier).unwrap_or(i64::MAX).saturating_add(AHEAD_MS_MAX);
        let Handed { records, moved, .. } = self.read(ahead_ms, now_ms, records_max, each)?;
        if moved {
            self.ask_positions();
        }
        let at_end = self.move_tick(now_ms);
        Ok(Progress { tick: self.tick_ms as Tick, records, at_end, finished: false })
    }

    fn partitions(&self) -> &[PartitionId] {
        &self.ids
    }

    /// As far as the brokers have told them.
    fn topic_ids(&self) -> BTreeMap<String, String> {
        self.topics.iter().filter_map(|topic| Some((topic.known_as.to_string(), topic.id.clone()?))).collect()
    }

    fn notes(&self) -> BTreeMap<String, i64> {
        self.notes.clone()
    }

    fn standing(&self) -> SourceHealth {
        let status = self.status();
        let unknown = || "the brokers have not answered yet".to_owned();
        let trouble = match status.connected {
            true => self.consumer.context().refusal().map(|reason| format!("nothing can be read: {reason}")),
            false => Some(status.last_error.unwrap_or_else(unknown)),
        };
        SourceHealth {
            trouble,
            lag_records: status.partitions.iter().map(|partition| partition.lag).collect(),
            raised: status.raised,
        }
    }

    fn position(&self, partition: usize) -> i64 {
        self.partitions[partition].follow.position
    }
}

fn mine(topic: usize, partition: i32, worker: usize, workers: usize) -> bool {
    (topic + partition as usize) % workers == worker
}
