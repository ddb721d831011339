//! Event and record types, ids, units, codecs and Arrow schemas: what the rest of Bidstream agrees on.
//!
//! No I/O and no dataflow here. Rows that live in arrangements are fixed-size `Copy` types; strings of low
//! cardinality are 64-bit [`Symbol`]s, people and addresses are 128-bit keyed hashes ([`Id`]).

mod address;
pub mod decimal;
pub mod decode;
pub mod event;
pub mod fault;
pub mod ids;
pub mod network;
pub mod placeholders;
pub mod raw_ids;
pub mod reference;
pub mod referrer;
pub mod symbols;
pub mod table;
pub mod times;
pub mod units;
mod user_agent;
pub mod view;
pub mod wire;
pub mod zones;

pub use event::{Accepted, Capped, Event, EventType};
pub use ids::{
    ClickId, DeviceId, EventId, EventKey, Fingerprint, Id, IdKind, IpHash, JoinKey, LinkedId, LoginId, PayloadHash,
    Subject, UserId,
};
pub use network::Network;
pub use symbols::Symbol;
pub use units::{EventTime, Micros, Tick};
pub use zones::Zones;
