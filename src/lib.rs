//! Bidstream runs dataflows over the ad event stream: sources feed a gate, the gate feeds the dataflow and the ledger,
//! and the ledger commits what readers see. `docs/architecture.md` is the map, with the folders in
//! the order in which they use each other.

pub mod clock;
pub mod ingest;
pub mod job;
pub mod lake;
pub mod observe;
pub mod reads;
pub mod run;
pub mod sql;
