//! Generic operators over keys, values, times and differences: what differential dataflow does not bring.
//!
//! No words of advertising and no I/O. [`shared`] makes arrangements that other threads may read, [`publish`] hands
//! them out, all views at one tick, and [`forget`] makes arrangements that drop the rows which nothing can find.

pub mod forget;
pub mod publish;
pub mod shared;

pub use forget::{ByKey, ByVal, Expires, Horizon, arrange_forgetting, reduce_forgetting};
pub use publish::{Hub, Publisher, Snapshot, View};
pub use shared::{arrange_keys_shared, arrange_shared, reduce_shared};
