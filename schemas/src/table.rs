//! The tables' rows and their Arrow form.

use std::sync::Arc;

use crate::event::{Capped, Event};
use crate::ids::PayloadHash;
use crate::units::Tick;

/// What the gate said of a record: once, from the record and its arrival alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verdict {
    /// Accepted.
    Ok,
    /// Later than the allowed lateness.
    Late,
    /// Not readable; the reason and the raw bytes are kept.
    Dead,
}

/// One row of `records`: unique by (topic, partition, offset).
#[derive(Clone, Debug, PartialEq)]
pub struct RecordRow {
    /// The gate's verdict.
    pub verdict: Verdict,
    /// Why the record is dead.
    pub reason: Option<Box<str>>,
    /// Topic.
    pub topic: Arc<str>,
    /// Partition.
    pub partition: i32,
    /// Offset.
    pub offset: i64,
    /// When the log took it in, ms since the Unix epoch.
    pub arrival_ms: i64,
    /// The cut that makes it durable.
    pub cut: Tick,
    /// First 16 bytes of the SHA-256 of the record's value.
    pub payload_hash: PayloadHash,
    /// The event; none where dead.
    pub event: Option<Event>,
    /// The join keys by which the touch is no candidate.
    pub capped: Capped,
    /// Item lines of a conversion, as a JSON array.
    pub items: Option<Box<str>>,
    /// The record's value, where dead.
    pub raw: Option<Box<[u8]>>,
}
