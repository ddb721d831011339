//! Bidstream runs dataflows over the ad event stream: sources feed a gate, the gate feeds the dataflow and the ledger,
//! and the ledger commits what readers see. `docs/architecture.md` is the map; each folder uses only those above it here.

pub mod clock;
pub mod observe;
pub mod job;
pub mod lake;
pub mod ingest;
pub mod reads;
pub mod sql;
pub mod run;
