//! Generic operators over keys, values, times and differences: what differential dataflow does not bring.
//!
//! No words of advertising and no I/O. [`shared`] makes arrangements that other threads may read, and [`publish`]
//! hands them out, all views at one tick.

pub mod publish;
pub mod shared;

pub use publish::{Hub, Publisher, Snapshot, View};
pub use shared::{arrange_keys_shared, arrange_shared, reduce_shared};
