//! What a person accepts as lost, after a run could not go on (`--accept-gap`, `--accept-new-topic`): settled once with the
//! brokers, before the workers start, so that they go on from a ledger in which nothing is missing.
//!
//! * A *gap*: the broker no longer has the offsets from where the ledger stands. Reading goes on at the broker's first one.
//! * A *new topic*: it was made anew, or its log ends before where the ledger stands, so that its offsets mean other records
//!   now. It is read from its beginning under another name in `records`: `ads@2`, then `ads@3`. So (topic, partition, offset)
//!   stays unique, and no name of Kafka's has an `@`.
//!
//! Both come into the ledger with the first commit: positions and ids as ever, and notes that say what was decided:
//! `gap/<topic>/<partition>/<from>` = to, and `new-topic/<name>` = when (ms). Until then a start without the option is
//! refused as before. Where there is nothing to accept that is said, and the run goes on.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};

use super::KafkaConfig;
use super::client::{self, Context};
use super::topic_id::{self, Described};
use crate::ingest::source::{Resume, SourceError};
use crate::lake::State;
use crate::observe::telemetry::name;

/// How long the brokers may take to answer all that must be known.
const ANSWERS_MAX: Duration = Duration::from_secs(60);
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

/// Where to go on, after what was accepted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Start {
    /// Where each partition goes on.
    pub resumes: Vec<Resume>,
    /// The topics' ids, by their names in `records`.
    pub topic_ids: BTreeMap<String, String>,
    /// What the ledger is to note with the first commit.
    pub notes: BTreeMap<String, i64>,
}

/// The name in `records` of a topic: its own, until one that was made anew was accepted.
pub fn name_in_records(topic: &str, topic_ids: &BTreeMap<String, String>) -> String {
    match generation(topic, topic_ids) {
        1 => topic.to_owned(),
        number => format!("{topic}@{number}"),
    }
}

fn generation(topic: &str, topic_ids: &BTreeMap<String, String>) -> u32 {
    let numbers = topic_ids.keys().filter_map(|name| name.strip_prefix(topic)?.strip_prefix('@')?.parse().ok());
    numbers.max().unwrap_or(1)
}

impl Start {
    /// Goes on where the ledger stands, after what `config` says was accepted. Asks the brokers only where something was.
    pub fn settle(config: &KafkaConfig, state: &State, now_ms: i64) -> Result<Start, SourceError> {
        let resumes = state.resumes.clone();
        let mut start = Start { resumes, topic_ids: state.topic_ids.clone(), notes: BTreeMap::new() };
        let accepted = &config.accepted;
        if !accepted.gaps.is_empty() || !accepted.new_topics.is_empty() {
            let broker = Broker::new(config)?;
            for topic in &accepted.new_topics {
                let described = broker.describe(topic)?;
                let bounds = start.bounds(topic, |partition| broker.bounds(topic, partition))?;
                start.accept_new_topic(topic, &described.id, &bounds, now_ms);
            }
            for topic in &accepted.gaps {
                broker.describe(topic)?;
                let bounds = start.bounds(topic, |partition| broker.bounds(topic, partition))?;
                start.accept_gaps(topic, &bounds);
            }
        }
        start.note_mappings(config, state, now_ms);
        Ok(start)
    }

    /// The first and the next offset of each partition of a topic that the ledger knows.
    fn bounds(
        &self,
        topic: &str,
        ask: impl Fn(i32) -> Result<(i64, i64), SourceError>,
    ) -> Result<BTreeMap<i32, (i64, i64)>, SourceError> {
        let known = name_in_records(topic, &self.topic_ids);
        let mine = self.resumes.iter().filter(|resume| *resume.partition.topic == *known);
        mine.map(|resume| Ok((resume.partition.partition, ask(resume.partition.partition)?))).collect()
    }

    fn accept_gaps(&mut self, topic: &str, bounds: &BTreeMap<i32, (i64, i64)>) {
        let known = name_in_records(topic, &self.topic_ids);
        let mut lost = 0;
        for resume in self.resumes.iter_mut().filter(|resume| *resume.partition.topic == *known) {
            let partition = resume.partition.partition;
            let Some(&(first, _)) = bounds.get(&partition) else { continue };
            let from = resume.offset;
            if from < first {
                tracing::warn!(
                    topic,
                    partition,
                    from,
                    to = first,
                    lost = first - from,
                    "gap accepted: goes on at the broker's first offset"
                );
                self.notes.insert(format!("gap/{known}/{partition}/{from}"), first);
                resume.offset = first;
                lost += first - from;
            }
        }
        if lost == 0 {
            tracing::warn!(topic, "--accept-gap: there is no gap to accept; goes on");
        }
        metrics::counter!(name::GAPS_ACCEPTED, "topic" => topic.to_owned()).increment(lost as u64);
    }

    fn accept_new_topic(&mut self, topic: &str, found_id: &str, bounds: &BTreeMap<i32, (i64, i64)>, now_ms: i64) {
        let known = name_in_records(topic, &self.topic_ids);
        let recorded = self.topic_ids.get(&known);
        let is_new = recorded.is_some_and(|recorded| recorded != found_id);
        let ends_early = self.resumes.iter().any(|resume| {
            let next = bounds.get(&resume.partition.partition).map(|(_, next)| *next);
            *resume.partition.topic == *known && next.is_some_and(|next| next < resume.offset)
        });
        if !is_new && !ends_early {
            tracing::warn!(topic, "--accept-new-topic: {}; goes on", self.nothing_to_accept(&known));
            return;
        }
        let renamed = format!("{topic}@{}", generation(topic, &self.topic_ids) + 1);
        tracing::warn!(
            topic,
            in_records = renamed,
            recorded,
            found = found_id,
            "new topic accepted: read from its beginning; what was not read of the old one is lost"
        );
        self.notes.insert(format!("new-topic/{renamed}"), now_ms);
        self.topic_ids.insert(renamed, found_id.to_owned());
    }

    /// Why a topic is not accepted as a new one.
    fn nothing_to_accept(&self, known: &str) -> &'static str {
        let read = self.resumes.iter().any(|resume| *resume.partition.topic == *known);
        if read || self.topic_ids.contains_key(known) {
            "the topic is the one that the ledger knows"
        } else {
            "the ledger does not know the topic, so there is nothing to accept: it is read from its beginning"
        }
    }

    /// Notes each mapping that is not the one that its topic was read by last.
    fn note_mappings(&mut self, config: &KafkaConfig, state: &State, now_ms: i64) {
        for (topic, reading) in &config.topics {
            let Some(mapping) = &reading.mapping else { continue };
            let prefix = format!("mapping/{topic}/");
            let noted = state.notes.iter().filter_map(|(name, at)| Some((name.strip_prefix(&prefix)?, *at)));
            let last = noted.max_by_key(|(_, at)| *at);
            match last {
                Some((identity, _)) if identity == mapping.identity() => continue,
                Some((identity, _)) => tracing::warn!(
                    topic,
                    before = identity,
                    now = mapping.identity(),
                    "the topic's mapping has changed: it counts from the next record on"
                ),
                None => {}
            }
            // Later than the last, whatever the clock says.
            let at = last.map_or(now_ms, |(_, at)| now_ms.max(at + 1));
            self.notes.insert(format!("{prefix}{}", mapping.identity()), at);
        }
    }
}

/// The brokers, asked one question at a time.
struct Broker<'a> {
    client: BaseConsumer<Context>,
    brokers: &'a str,
    until: Instant,
}

impl Broker<'_> {
    fn new(config: &KafkaConfig) -> Result<Broker<'_>, SourceError> {
        let client = client::create(&client::prober(config)?, &config.brokers)?;
        Ok(Broker { client, brokers: &config.brokers, until: Instant::now() + ANSWERS_MAX })
    }

    fn describe(&self, topic: &str) -> Result<Described, SourceError> {
        let name = CString::new(topic).map_err(|_| SourceError::Setup("a topic's name holds a zero byte".into()))?;
        let names = [name];
        let described = self.ask(|| topic_id::describe(self.client.client(), &names, ANSWER_TIMEOUT))?;
        let missing = || SourceError::Setup(format!("Kafka at {} has no topic {topic}: create it", self.brokers));
        described.into_iter().next().flatten().ok_or_else(missing)
    }

    fn bounds(&self, topic: &str, partition: i32) -> Result<(i64, i64), SourceError> {
        self.ask(|| {
            let bounds = self.client.fetch_watermarks(topic, partition, ANSWER_TIMEOUT);
            bounds.map_err(|error| format!("topic {topic} partition {partition}: {error}"))
        })
    }

    /// Asks until there is an answer or it has taken too long.
    fn ask<T>(&self, question: impl Fn() -> Result<T, String>) -> Result<T, SourceError> {
        const PAUSE: Duration = Duration::from_millis(200);
        loop {
            match question() {
                Ok(answer) => return Ok(answer),
                Err(reason) if Instant::now() >= self.until => {
                    self.client.poll(Duration::ZERO);
                    let detail =
                        self.client.context().take_error().map(|detail| format!(" ({detail})")).unwrap_or_default();
                    let message = format!("Kafka at {} does not say what is lost: {reason}{detail}", self.brokers);
                    return Err(SourceError::Setup(message));
                }
                Err(_) => std::thread::sleep(PAUSE),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ingest::source::PartitionId;

    fn start(topic: &str, offsets: &[i64]) -> Start {
        let resume = |(partition, &offset): (usize, &i64)| Resume {
            partition: PartitionId { topic: topic.into(), partition: partition as i32 },
            offset,
            arrival_ms: 5,
        };
        Start {
            resumes: offsets.iter().enumerate().map(resume).collect(),
            topic_ids: BTreeMap::from([(topic.to_owned(), "first".to_owned())]),
            notes: BTreeMap::new(),
        }
    }

    #[test]
    fn a_gap_moves_what_the_broker_no_longer_has_and_nothing_else() {
        let mut start = start("ads", &[10, 20, 30]);
        let bounds = BTreeMap::from([(0, (15, 40)), (1, (0, 40)), (2, (0, 7))]);
        start.accept_gaps("ads", &bounds);
        let offsets: Vec<i64> = start.resumes.iter().map(|resume| resume.offset).collect();
        assert_eq!(offsets, [15, 20, 30], "the log that ends early is no gap");
        assert_eq!(start.notes, BTreeMap::from([("gap/ads/0/10".to_owned(), 15)]));
        let settled = start.clone();
        start.accept_gaps("ads", &bounds);
        assert_eq!(start, settled);
    }

    #[test]
    fn a_new_topic_gets_a_name_of_its_own() {
        let mut start = start("ads", &[10]);
        start.accept_new_topic("ads", "first", &BTreeMap::from([(0, (0, 10))]), 70);
        assert_eq!(name_in_records("ads", &start.topic_ids), "ads");
        start.accept_new_topic("ads", "second", &BTreeMap::from([(0, (0, 90))]), 70);
        assert_eq!(name_in_records("ads", &start.topic_ids), "ads@2");
        assert_eq!(start.notes, BTreeMap::from([("new-topic/ads@2".to_owned(), 70)]));
        start.accept_new_topic("ads", "second", &BTreeMap::new(), 71);
        assert_eq!(name_in_records("ads", &start.topic_ids), "ads@2", "it is known now");
        start.accept_new_topic("ads", "third", &BTreeMap::new(), 72);
        assert_eq!(name_in_records("ads", &start.topic_ids), "ads@3");
        assert_eq!(name_in_records("ad", &start.topic_ids), "ad", "a name is no prefix");
    }

    #[test]
    fn a_topic_that_the_ledger_never_saw_is_not_said_to_be_known() {
        let mut start = start("ads", &[10]);
        assert_eq!(start.nothing_to_accept("ads"), "the topic is the one that the ledger knows");
        assert!(start.nothing_to_accept("shop").starts_with("the ledger does not know the topic"));
        let before = start.clone();
        start.accept_new_topic("shop", "first", &BTreeMap::new(), 70);
        assert_eq!(start, before);
    }

    #[test]
    fn a_log_that_ends_before_the_ledger_is_a_new_topic() {
        let mut start = start("ads", &[10]);
        start.accept_new_topic("ads", "first", &BTreeMap::from([(0, (0, 9))]), 70);
        assert_eq!(name_in_records("ads", &start.topic_ids), "ads@2");
    }
}
