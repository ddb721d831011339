//! Why a record is a dead letter: what was found, and what to write instead.

use super::{NAME_BYTES_MAX, RECORD_BYTES_MAX};
use crate::symbols::Refused;

/// Why a record is a dead letter.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// Longer than [`RECORD_BYTES_MAX`].
    #[error("record of {0} bytes is larger than {RECORD_BYTES_MAX}")]
    TooLarge(usize),
    /// JSON that is no UTF-8.
    #[error("invalid UTF-8 at byte {0}")]
    Utf8(usize),
    /// JSON in another encoding.
    #[error("UTF-16 text: events are read as UTF-8")]
    Utf16,
    /// A schema registry's serializer wrote before the event.
    #[error(
        "begins with a zero byte and the schema id {0}, as serializers of a schema registry write it: set `framing: confluent` \
         for the topic"
    )]
    Framed(u32),
    /// No JSON object; with the position.
    #[error("malformed JSON: {0}")]
    Json(String),
    /// No `bidstream.v1.Event`; with the field where it broke off.
    #[error("malformed Protobuf: {0}")]
    Protobuf(String),
    /// The event's type is none that exists.
    #[error("unknown event type {0}")]
    UnknownType(String),
    /// A field that an event of its type needs is absent.
    #[error("missing {0}")]
    Missing(&'static str),
    /// A field that identifies, dates or pays has a value of another JSON type.
    #[error("{field} is {found}: write {wanted}")]
    WrongType {
        /// The field.
        field: &'static str,
        /// What was found.
        found: &'static str,
        /// What is read.
        wanted: &'static str,
    },
    /// A field that is twice in a JSON object, with two values, and identifies, dates or pays.
    #[error("{0} is given twice, with two values")]
    Twice(&'static str),
    /// A time that cannot be read.
    #[error("{field} {problem}")]
    Time {
        /// The field.
        field: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// A time before 2000, which is one in another unit.
    #[error("event_time {0} ms is before 2000: {1}")]
    TooEarly(i64, &'static str),
    /// An amount that cannot be read.
    #[error("{field}: {problem}")]
    Amount {
        /// The field.
        field: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// The event id says that there is none, so copies cannot be told from other events.
    #[error("event_id {0:?} is a placeholder, no id: send an id of the event, the same in all its copies")]
    Placeholder(String),
    /// An `identify` with fewer than two ids links nothing.
    #[error("identify needs two of user, device and login")]
    NothingToLink,
    /// A number beyond ±2^53, or a time before 1970 or after 9999.
    #[error("{field} out of range: {value}")]
    OutOfRange {
        /// The field.
        field: &'static str,
        /// Its value, or the nearest that an `i64` holds.
        value: i64,
    },
    /// A tenant or currency longer than [`NAME_BYTES_MAX`].
    #[error("{field} of {bytes} bytes is longer than {NAME_BYTES_MAX}")]
    TooLong {
        /// The field.
        field: &'static str,
        /// Its length.
        bytes: usize,
    },
    /// The second name for a symbol, or one too many of its tenant.
    #[error(transparent)]
    Name(#[from] Refused),
}
