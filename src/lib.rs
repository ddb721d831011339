//! Bidstream runs dataflows over the ad event stream: sources feed a gate, the gate feeds the dataflow and the ledger,
//! and the ledger commits what readers see. `docs/architecture.md` is the map.

pub mod clock;
pub mod config;
pub mod cuts;
pub mod failpoint;
pub mod gate;
pub mod generator;
pub mod housekeeping;
pub mod intake;
pub mod ledger;
pub mod live;
pub mod mapping;
pub mod pieces;
pub mod pipeline;
pub mod reader;
pub mod recovery;
pub mod source;
pub mod sql;
pub mod status;
pub mod telemetry;
pub mod worker;
