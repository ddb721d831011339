//! Generic operators over keys, values, times and differences: what differential dataflow does not bring.
//!
//! No words of advertising and no I/O. [`shared`] makes arrangements that other threads may read, [`publish`] hands
//! them out, all views at one tick, [`records`] are read where they are changed, [`forget`] makes arrangements that drop the rows which nothing can find,
//! [`heap`] keeps rows that are too large to move, [`components`](mod@components) are kept as links come and go, [`index`](mod@index) finds rows that only come, [`reduce`](mod@reduce)
//! is for keys of which few change, and [`join`](mod@join) for keys that are [spread](UniformKey) evenly, of which few meet.
//!
//! # What is for what
//! | rows | they live | operator |
//! |---|---|---|
//! | only come ([`Appends`]) | until they expire | [`index`](index()) and [`find`], [`Heap`] and [`look_up`] |
//! | change | until they expire | [`arrange_forgetting`], [`reduce`](reduce()), [`join`](join()) |
//! | follow from what one key has done, and from time | as long as their record | [`keyed`](keyed()) |
//! | link two nodes | for ever | [`components`](components()) |
//! | change | for ever | differential's own; [`arrange_shared`] and [`reduce_shared`] where other threads read |
//!
//! Nothing may change at its expiry or after it ([`Expires`]): [`late_updates`] counts what does.

pub mod appends;
mod batcher;
pub mod components;
pub mod forget;
pub mod heap;
pub mod index;
pub mod join;
pub mod keyed;
mod late;
pub mod linked;
mod offsets;
mod pending;
mod postings;
pub mod publish;
pub mod records;
pub mod reduce;
mod segments;
pub mod shared;
mod spread;

pub use appends::{AppendInput, Appends};
pub use components::{Member, components};
pub use forget::{ByKey, ByVal, Expires, Horizon, arrange_forgetting};
pub use heap::{Heap, RowId, look_up};
pub use index::{Index, find, index};
pub use join::join;
pub use keyed::{Keyed, keyed, keyed_published, sections};
pub use late::late_updates;
pub use linked::linked_at;
pub use publish::{Hub, Publisher, RecordsView, Snapshot, View};
pub use records::{Records, TooOld};
pub use reduce::{reduce, reduce_forgetting};
pub use shared::{arrange_shared, reduce_shared};
pub use spread::UniformKey;
