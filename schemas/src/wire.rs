//! The wire form of events: what producers send, as JSON or Protobuf.

use serde::{Deserialize, Serialize};

/// How the records of a topic are encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Encoding {
    /// One JSON object a record.
    Json,
    /// One `bidstream.v1.Event` a record.
    Protobuf,
}

/// One event as a producer sends it.
pub struct Event;
