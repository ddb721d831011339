//! Bidstream runs dataflows over the ad event stream: sources feed a gate, the gate feeds the dataflow and the ledger,
//! and the ledger commits what readers see. `docs/architecture.md` is the map.

pub mod clock;
pub mod config;
pub mod gate;
pub mod generator;
pub mod ledger;
pub mod mapping;
pub mod source;
pub mod sql;
pub mod telemetry;
pub mod worker;
