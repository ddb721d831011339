//! From a record's bytes to an [`Event`], or the reason why it is a dead letter.
//!
//! Only what identifies (tenant, event id, type), dates (event time) or pays (amounts, and the currency of one that is
//! not zero) is strict. Any other field that cannot be read is absent or cut, with a [`crate::fault::Fault`].
//!
//! A function of the record, the hasher's key and the job's rules of ids alone, with one exception: a name whose symbol
//! stands for another name already is refused ([`Symbols`] decides who came first). A record is checked whole before any
//! of its names is interned, so that dead ones leave no symbols behind. What needs the arrival (lateness, future dates)
//! is the gate's.

mod checker;
mod json;
mod names;
mod reason;
mod rules;
#[cfg(test)]
mod tests;
mod values;

use std::sync::Arc;

use prost::Message;

use self::checker::Checker;
use self::json::JsonReader;
pub use self::reason::Reason;
pub use self::rules::IdRules;
pub use self::values::{TIME_MS_MIN, epoch_ms};
use crate::event::Event;
use crate::fault::Extras;
use crate::ids::IdHasher;
use crate::symbols::Symbols;
use crate::wire::{self, Encoding};

/// The largest record that is read: 1 MiB, as brokers take by default.
pub const RECORD_BYTES_MAX: usize = 1 << 20;
/// The longest name that becomes a symbol. All names are kept in memory.
pub const NAME_BYTES_MAX: usize = 1024;
/// As much of a text of the record as a reason quotes.
const QUOTED_BYTES_MAX: usize = 200;

/// What a record says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Decoded {
    /// The event.
    pub event: Event,
    /// Its item lines, as a JSON array.
    pub items: Option<Box<str>>,
    /// The faults of its optional fields, and what else few records have.
    pub extras: Extras,
}

/// Decodes the records of one worker. It remembers names and user agents that it has seen, both bounded, and reuses
/// its buffers: a usual record allocates nothing. What it decoded last stays with it, as an event is large to move.
pub struct Decoder {
    wire: wire::Event,
    json: JsonReader,
    checker: Checker,
}

impl Decoder {
    /// A decoder for one worker. All workers of a process share `symbols`.
    pub fn new(hasher: IdHasher, symbols: Arc<Symbols>, rules: &IdRules) -> Decoder {
        let checker = Checker::new(hasher, symbols, rules);
        Decoder { wire: wire::Event::default(), json: JsonReader::default(), checker }
    }

    /// Decodes a record's value.
    pub fn decode(&mut self, bytes: &[u8], encoding: Encoding) -> Result<&Decoded, Reason> {
        if bytes.len() > RECORD_BYTES_MAX {
            return Err(Reason::TooLarge(bytes.len()));
        }
        // Clearing keeps the capacity of the texts.
        self.wire.clear();
        let extras = self.checker.begin();
        match encoding {
            Encoding::Json => self.json.read(bytes, &mut self.wire, extras)?,
            Encoding::Protobuf => self.wire.merge(bytes).map_err(|error| match framed(bytes) {
                Some(schema) => Reason::Framed(schema),
                None => Reason::Protobuf(quoted(&error.to_string())),
            })?,
        }
        if let Some(time) = self.wire.event_time.filter(|time| (0..TIME_MS_MIN).contains(time)) {
            return Err(Reason::TooEarly(time, values::unit_hint(time)));
        }
        self.checker.check(&self.wire)
    }

    /// Checks an event that is in wire form already. Its time may be any from 1970 on: whoever made it knows the unit.
    pub fn validate(&mut self, event: &wire::Event) -> Result<&Decoded, Reason> {
        self.checker.begin();
        self.checker.check(event)
    }
}

/// The schema id before a value that a schema registry's serializer wrote. Neither JSON nor an event in Protobuf begins with
/// a zero byte.
fn framed(bytes: &[u8]) -> Option<u32> {
    match bytes {
        [0, a, b, c, d, _, ..] => Some(u32::from_be_bytes([*a, *b, *c, *d])),
        _ => None,
    }
}

/// The head of a text, for a reason.
fn quoted(text: &str) -> String {
    match text.floor_char_boundary(QUOTED_BYTES_MAX) {
        end if end < text.len() => format!("{}…", &text[..end]),
        _ => text.to_owned(),
    }
}
