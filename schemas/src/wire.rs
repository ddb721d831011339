//! The wire form of events: what producers send, as JSON or Protobuf.
//!
//! `proto/bidstream.proto` is the one definition: from it come the types, and the JSON form of each field follows from
//! its Protobuf type ([`json`]). Both are tolerant here: unknown fields are ignored, missing ones are empty. What an
//! event needs is checked in one place for both, by [`crate::decode`].

mod json;

use prost::Message;
use serde::{Deserialize, Serialize};

pub use generated::{Event, EventType, ItemLine};
pub(crate) use json::UNKNOWN_TYPE;
pub use json::parse_time_ms;

mod generated {
    #![doc = "Types made from `proto/bidstream.proto`."]
    include!(concat!(env!("OUT_DIR"), "/bidstream.v1.rs"));
}

/// How the records of a topic are encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Encoding {
    /// One JSON object a record.
    Json,
    /// One `bidstream.v1.Event` a record.
    Protobuf,
}

impl Encoding {
    /// Encodes an event, as producers do.
    pub fn encode(self, event: &Event) -> Vec<u8> {
        match self {
            Encoding::Json => to_json(event),
            Encoding::Protobuf => to_protobuf(event),
        }
    }
}

/// One JSON object; what is absent is left out.
pub fn to_json(event: &Event) -> Vec<u8> {
    serde_json::to_vec(event).expect("an event has text keys and no fallible parts")
}

/// One `bidstream.v1.Event`.
pub fn to_protobuf(event: &Event) -> Vec<u8> {
    event.encode_to_vec()
}
