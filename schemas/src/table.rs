//! The tables' rows and their Arrow form, both ways.
//!
//! | table | rows | unique by |
//! |---|---|---|
//! | `records` | every consumed record, accepted or not | topic, partition, offset |
//! | `symbols` | the names behind symbols | symbol |
//! | a view | its changes: rows ([`Columns`]) with `_cut` and `_diff`, or sums with `_cut` | the view's key, `_cut` |
//!
//! Ids are `Binary` of 16 big-endian bytes, symbols, times (ms) and money (micros) `Int64`; absent is null. A table's
//! schema is that of its batch without rows, so that each column is named in one place. Readers find columns by name:
//! one that may be null may also be left out of a projection.

mod columns;
mod records;
mod row;
mod symbols;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use crate::event::{Capped, Event};
use crate::fault::Extras;
use crate::ids::PayloadHash;
use crate::units::Tick;

pub use arrow::array::ArrayRef;
pub use arrow::datatypes::Field;
pub use columns::TableError;
pub use records::{events_batch, events_schema, records_batch, records_rows, records_schema};
pub use row::{Column, Columns, Kind, Value};
pub use symbols::{symbols_batch, symbols_rows, symbols_schema};

/// What the gate said of a record: once, from the record and its arrival alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verdict {
    /// Accepted.
    Ok,
    /// Later than the allowed lateness.
    Late,
    /// Not readable; the reason and the raw bytes are kept.
    Dead,
    /// No event by the mapping of its topic, which no entry of it wants; only that it came is kept.
    Skipped,
}

impl Verdict {
    /// All verdicts.
    pub const ALL: [Verdict; 4] = [Verdict::Ok, Verdict::Late, Verdict::Dead, Verdict::Skipped];

    /// The name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Verdict::Ok => "ok",
            Verdict::Late => "late",
            Verdict::Dead => "dead",
            Verdict::Skipped => "skipped",
        }
    }

    /// Whether records of this verdict are events.
    pub fn has_event(self) -> bool {
        matches!(self, Verdict::Ok | Verdict::Late)
    }

    /// The verdict of a name.
    pub fn from_name(name: &str) -> Option<Verdict> {
        Verdict::ALL.into_iter().find(|verdict| verdict.name() == name)
    }
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
    /// The event; none where dead or skipped.
    pub event: Option<Event>,
    /// The join keys by which the touch is no candidate.
    pub capped: Capped,
    /// Item lines of a conversion, as a JSON array.
    pub items: Option<Box<str>>,
    /// The record's value, where dead.
    pub raw: Option<Box<[u8]>>,
    /// What few records have; not read back, as nothing in memory follows from it.
    pub extras: Option<Box<Extras>>,
}
