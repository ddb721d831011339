//! What a Kafka source is told, and what it tells.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use schemas::wire::Encoding;

use super::mapped::Mapped;
use crate::job::{ConfigError, Framing, Kafka, Topic};

/// Where the records are.
#[derive(Clone, Debug)]
pub struct KafkaConfig {
    /// Addresses to ask for the cluster first: `host:port,host:port`.
    pub brokers: String,
    /// Topics, and how their records are read.
    pub topics: BTreeMap<String, Reading>,
    /// Further properties of librdkafka, such as those for TLS and SASL.
    pub properties: BTreeMap<String, String>,
    /// What a person accepted for this start, after an earlier one could not go on.
    pub accepted: Accepted,
    /// How often brokers are asked; for tests.
    pub timing: Timing,
}

/// How the records of a topic are read.
#[derive(Clone, Debug)]
pub struct Reading {
    /// How an event is encoded.
    pub encoding: Encoding,
    /// What stands around it.
    pub framing: Framing,
    /// What makes events of other people's JSON.
    pub mapping: Option<Mapped>,
}

impl From<Encoding> for Reading {
    fn from(encoding: Encoding) -> Reading {
        Reading { encoding, framing: Framing::None, mapping: None }
    }
}

/// Topics for which a start goes on though something was lost.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Accepted {
    /// The broker no longer has the offsets that come next: go on at its first.
    pub gaps: BTreeSet<String>,
    /// The topic was made anew: read it from its beginning, under another name.
    pub new_topics: BTreeSet<String>,
}

impl KafkaConfig {
    /// Topics whose records are events, with the client's own settings.
    pub fn new(brokers: &str, topics: impl IntoIterator<Item = (String, Encoding)>) -> KafkaConfig {
        KafkaConfig {
            brokers: brokers.to_owned(),
            topics: topics.into_iter().map(|(name, encoding)| (name, Reading::from(encoding))).collect(),
            properties: BTreeMap::new(),
            accepted: Accepted::default(),
            timing: Timing::default(),
        }
    }

    /// What a job says, with the mappings of its topics read.
    pub fn read(kafka: &Kafka) -> Result<KafkaConfig, ConfigError> {
        let reading = |topic: &Topic| {
            let mapping = topic.mapping.as_deref().map(Mapped::read).transpose()?;
            Ok(Reading { encoding: topic.encoding, framing: topic.framing, mapping })
        };
        let topics = kafka.topics.iter().map(|(name, topic)| Ok((name.clone(), reading(topic)?)));
        let topics = topics.collect::<Result<_, ConfigError>>()?;
        Ok(KafkaConfig { topics, properties: kafka.properties.clone(), ..KafkaConfig::new(&kafka.brokers, []) })
    }
}

/// How often brokers are asked, and when one counts as silent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// Ids and partition counts of topics; also at once when something is strange.
    pub metadata_every: Duration,
    /// First and next offsets of partitions.
    pub probe_every: Duration,
    /// After so long without a record a partition that is not at its end lets the tick run on, a bounded way; and a
    /// topic that is missing for so long is an error.
    pub quiet_max: Duration,
}

impl Default for Timing {
    fn default() -> Timing {
        Timing {
            metadata_every: Duration::from_secs(30),
            probe_every: Duration::from_secs(1),
            quiet_max: Duration::from_secs(10),
        }
    }
}

/// What there is to see of a source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KafkaStatus {
    /// Whether the brokers answered when last asked.
    pub connected: bool,
    /// What went wrong last, if anything.
    pub last_error: Option<String>,
    /// Records whose arrival had to be raised, because they came too far behind the tick: a hanging transaction or a
    /// wrong clock of a broker.
    pub raised: u64,
    /// Each partition's progress, in the order of [`crate::ingest::source::Source::partitions`].
    pub partitions: Vec<PartitionStatus>,
}

/// A partition's progress.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionStatus {
    /// The next offset to read.
    pub position: i64,
    /// The log's next offset, when last asked.
    pub high: Option<i64>,
    /// Offsets between.
    pub lag: Option<i64>,
}
