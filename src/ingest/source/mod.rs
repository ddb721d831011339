//! Where records come from. Every source speaks of *partitions*: sequences of records with consecutive offsets and an
//! arrival that never falls. A worker polls its own partitions and never those of another.

pub mod file;
pub mod kafka;

use std::collections::BTreeMap;

pub use crate::lake::{PartitionId, Resume};

use schemas::{PayloadHash, Tick};

/// A record as it arrived, lent for the time of a call.
pub struct Arrived<'a> {
    /// Index into [`Source::partitions`].
    pub partition: usize,
    /// Offset within the partition.
    pub offset: i64,
    /// When the log took it in, raised to its predecessor's: ms since the Unix epoch.
    pub arrival_ms: i64,
    /// What it says.
    pub payload: Payload<'a>,
}

/// The content of a record.
pub enum Payload<'a> {
    /// An encoded event, from a topic.
    Bytes {
        /// The record's value.
        bytes: &'a [u8],
        /// Where the event begins in it: what stands before has been read.
        start: usize,
        /// How to read it.
        encoding: schemas::wire::Encoding,
        /// What the record has besides its value.
        about: About<'a>,
    },
    /// A record of a topic that the source has read by itself.
    Mapped {
        /// The event that the topic's mapping makes of it; none where no entry of the mapping wants the record; or the
        /// reason why it is no event.
        event: Result<Option<&'a crate::job::mapping::Mapped>, &'a str>,
        /// The record's value; empty where it has none.
        bytes: &'a [u8],
        /// What the record has besides its value.
        about: About<'a>,
    },
    /// One event of a file's row, already mapped; or why the row could not be.
    Row {
        /// The event, in wire form, or the reason why there is none.
        event: Result<&'a schemas::wire::Event, &'a str>,
        /// Hash of the row's bytes and the mapping's entry.
        hash: PayloadHash,
        /// The row, as text.
        raw: &'a [u8],
        /// What was wrong with, or changed in, fields that the event does without.
        faults: &'a [schemas::fault::Fault],
    },
}

/// What a record of a topic has besides its value; kept where it is a dead letter.
#[derive(Clone, Copy, Default)]
pub struct About<'a> {
    /// The key.
    pub key: Option<&'a [u8]>,
    /// Makes a JSON object of the headers, for the few records whose headers are kept; none where there are none.
    pub headers: Option<&'a dyn Fn() -> Option<String>>,
}

/// What a poll achieved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// What comes later enters at this tick or after.
    pub tick: Tick,
    /// Records handed over.
    pub records: usize,
    /// Whether every partition was read to its end when last asked.
    pub at_end: bool,
    /// Whether nothing will ever come again (a file that was read; a drained source).
    pub finished: bool,
}

/// How it stands with a source, for metrics and readiness.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SourceHealth {
    /// Why nothing can be read at present; none where all is well.
    pub trouble: Option<String>,
    /// Offsets between each partition's position and its end, where known, in the order of [`Source::partitions`].
    pub lag_records: Vec<Option<i64>>,
    /// Records so far that came too far behind the tick and were raised.
    pub raised: u64,
}

/// A sequence of records that a worker reads.
pub trait Source {
    /// Hands over at most about `records_max` records. Partitions whose last arrival is far ahead of `frontier` (the
    /// tick up to which all workers are done) wait. Never blocks longer than a few milliseconds.
    fn poll(
        &mut self,
        frontier: Tick,
        records_max: usize,
        each: &mut dyn FnMut(Arrived<'_>),
    ) -> Result<Progress, SourceError>;

    /// The partitions that this worker reads, in a stable order; new ones are added at the end.
    fn partitions(&self) -> &[PartitionId];

    /// The next offset to read of a partition; it also moves where the log has offsets without records.
    fn position(&self, partition: usize) -> i64;

    /// How it stands. Asked about once a second.
    fn standing(&self) -> SourceHealth {
        SourceHealth::default()
    }

    /// The ids that the log gives to the topics read, by name, where it gives any: a topic made anew has another.
    fn topic_ids(&self) -> BTreeMap<String, String> {
        BTreeMap::new()
    }

    /// What the ledger is to note with the next commit: names and numbers (see [`crate::lake::State::notes`]).
    fn notes(&self) -> BTreeMap<String, i64> {
        BTreeMap::new()
    }
}

/// Why a source cannot go on. Temporary trouble (a broker away) is none: the source logs it and goes on trying.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The broker has lost records that the ledger still needs.
    #[error(
        "topic {topic} partition {partition}: the ledger goes on at offset {wanted}, but the broker has offsets \
         {earliest} to {latest} only{}", lost(*.wanted, *.earliest)
    )]
    OffsetGone {
        /// Topic.
        topic: String,
        /// Partition.
        partition: i32,
        /// Where the ledger wants to go on.
        wanted: i64,
        /// The broker's first offset.
        earliest: i64,
        /// The broker's next offset.
        latest: i64,
    },
    /// A topic was deleted and made again: its offsets mean other records now.
    #[error(
        "topic {topic} was re-created: the ledger knows it as {recorded}, the broker as {found}; what was not read of \
         the old one is lost"
    )]
    TopicRecreated {
        /// Topic.
        topic: String,
        /// Topic id in the ledger.
        recorded: String,
        /// Topic id at the broker.
        found: String,
    },
    /// A setting that the client library refuses, a missing topic, and the like.
    #[error("{0}")]
    Setup(String),
    /// What the lake holds already forbids it.
    #[error("{0}")]
    Refused(String),
    /// A file that cannot be read.
    #[error("{path}: {error}")]
    File {
        /// Path of the file.
        path: String,
        /// What went wrong.
        error: String,
    },
}

/// A source of nothing, for a run that only brings the lake's tables up to what its ledger says.
pub struct Nothing(pub crate::clock::Clock);

impl Source for Nothing {
    fn poll(&mut self, _: Tick, _: usize, _: &mut dyn FnMut(Arrived<'_>)) -> Result<Progress, SourceError> {
        Ok(Progress { tick: self.0.now_ms().max(0) as Tick, records: 0, at_end: true, finished: true })
    }

    fn partitions(&self) -> &[PartitionId] {
        &[]
    }

    fn position(&self, _partition: usize) -> i64 {
        0
    }
}

/// How it came that offsets are gone.
fn lost(wanted: i64, earliest: i64) -> String {
    match earliest - wanted {
        missing @ 1.. => format!(": its retention has removed {missing} that were not read yet"),
        _ => ": it has lost records at its end that were read (an unclean election of a leader, or a restored copy)"
            .to_owned(),
    }
}

impl SourceError {
    /// The option of `run` by which a person can accept what was lost.
    pub fn accept(&self) -> Option<(&'static str, &str)> {
        match self {
            SourceError::OffsetGone { topic, wanted, earliest, .. } if wanted < earliest => {
                Some(("--accept-gap", topic))
            }
            SourceError::OffsetGone { topic, .. } | SourceError::TopicRecreated { topic, .. } => {
                Some(("--accept-new-topic", topic))
            }
            SourceError::Setup(_) | SourceError::Refused(_) | SourceError::File { .. } => None,
        }
    }
}
