//! The wire form of events: what producers send, as JSON or Protobuf.
//!
//! `proto/bidstream.proto` is the one definition: from it come the types, and the way they are written as JSON. How JSON
//! is read is [`crate::decode`]'s, which takes in what people write; what an event needs is checked there for both.

use prost::Message;
use serde::{Deserialize, Serialize, Serializer};

pub use generated::{Event, EventType, ItemLine};

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

/// Writes a type as its name.
fn kind<S: Serializer>(number: &i32, to: S) -> Result<S::Ok, S::Error> {
    crate::event::EventType::from_number(*number).map(crate::event::EventType::name).serialize(to)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_absent_is_left_out_of_json() {
        let event = Event { r#type: 2, user: "u".into(), event_time: Some(5), ..Event::default() };
        assert_eq!(to_json(&event), br#"{"type":"click","event_time":5,"user":"u"}"#);
    }
}
