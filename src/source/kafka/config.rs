//! What a Kafka source is told, and what it tells.

use std::collections::BTreeMap;
use std::time::Duration;

use schemas::wire::Encoding;

/// Where the records are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KafkaConfig {
    /// Addresses to ask for the cluster first: `host:port,host:port`.
    pub brokers: String,
    /// Topics, and how their records are encoded.
    pub topics: BTreeMap<String, Encoding>,
    /// Further properties of librdkafka, such as those for TLS and SASL.
    pub properties: BTreeMap<String, String>,
    /// How often brokers are asked; for tests.
    pub timing: Timing,
}

impl From<&crate::config::Kafka> for KafkaConfig {
    fn from(config: &crate::config::Kafka) -> KafkaConfig {
        let crate::config::Kafka { brokers, topics, properties } = config.clone();
        KafkaConfig { brokers, topics, properties, timing: Timing::default() }
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
    /// Each partition's progress, in the order of [`crate::source::Source::partitions`].
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
