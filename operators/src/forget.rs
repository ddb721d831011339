//! Arrangements that drop the rows which nothing can find any more.
//!
//! A row that waits to be joined, or that has become final, must leave without a retraction: a retraction costs a
//! second copy of the row, and would correct what is not wrong. Composition cannot say that, so the trace itself
//! forgets. A row carries its *expiry*, the time from which nothing can find it ([`Expires`]), and a merge of batches
//! drops the rows whose expiry the trace's `since` has reached.
//!
//! **Semantics.** Let *C*(*x*, *t*) be the accumulated difference of row *x* at time *t* in the arranged collection,
//! *A*(*x*, *t*) that in the arrangement, and *e*(*x*) the row's expiry. For every *t* ≥ `since`
//!
//! > *A*(*x*, *t*) = *C*(*x*, *t*) unless *e*(*x*) ≤ `since`,
//!
//! and an expired row has the sum of any part of its updates: all of them, none, or a retraction alone. What is sent
//! downstream is never changed, only what is kept. So results depend on when merges ran unless the reader sees to
//! it that they do not:
//! * *A join* must yield nothing for a pair of rows of which one changes when the other has expired: from the two rows
//!   alone, its closure repeats what the expiry promises.
//! * *A reduction* looks at all rows of a key when one of them changes. So below it the expiry is the key's alone
//!   ([`ByKey`]), and a key never changes from its expiry on, as in [`reduce`](crate::reduce()).
//! * *Any other reader* skips the rows that have expired at the time that it reads at ([`Expires::expired`]).
//!
//! **State.** The rows that have not expired, and about as many that have: each batch keeps the expiries of a sample of
//! its rows, and once half of all rows have expired by that estimate, the trace goes on merging without new input
//! until they are gone. A merge costs as many rows as it scans, dropped ones too, so no step is longer than in a
//! trace that keeps everything, and the rows scanned for forgetting are at most a few times the rows dropped. While a merge
//! runs, its inputs are held beside its result.
//!
//! Time is totally ordered here: an expiry is reached or not. Nothing panics but a merge of batches that are no
//! neighbours.

mod batch;
mod spine;

use differential_dataflow::difference::Semigroup;
use differential_dataflow::hashable::Hashable;
use differential_dataflow::lattice::Lattice;
use differential_dataflow::operators::arrange::arrangement::arrange_core;
use differential_dataflow::operators::arrange::{Arranged, TraceAgent};
use differential_dataflow::{ExchangeData, VecCollection};
use timely::dataflow::channels::pact::Exchange;
use timely::order::{PartialOrder, TotalOrder};
use timely::progress::Timestamp;

use crate::batcher::{PassThrough, SortingBatcher};
use crate::pending::Updates;
use crate::shared::{Shared, SharedBuilder};

pub use batch::{Forgets, ForgettingBatch, ForgettingBuilder, ForgettingMerger};
pub use spine::ForgettingSpine;

/// A key or value that knows when nothing can find it any more.
///
/// All of them come to that. What lives for ever is not for the operators that ask for this trait: it is arranged and reduced by
/// differential's own operators ([`arrange_shared`](crate::arrange_shared) and [`reduce_shared`](crate::reduce_shared) where other
/// threads read), whose traces consolidate what has been superseded.
pub trait Expires<T: PartialOrder> {
    /// The first time at which nothing can find it.
    fn expiry(&self) -> T;

    /// Whether nothing can find it at `time`.
    fn expired(&self, time: &T) -> bool {
        self.expiry().less_equal(time)
    }
}

/// Says when a row of an arrangement expires. [`ByKey`] and [`ByVal`] ask the row.
pub trait Horizon<K, V, T>: 'static {
    /// The first time at which nothing can find the row.
    fn expiry(key: &K, val: &V) -> T;
}

/// Keys expire, with all their values. Fit for joins and reductions.
#[derive(Clone, Copy, Debug)]
pub struct ByKey;

impl<K: Expires<T>, V, T: PartialOrder> Horizon<K, V, T> for ByKey {
    fn expiry(key: &K, _: &V) -> T {
        key.expiry()
    }
}

/// Values expire one by one. Fit for joins, not for reductions.
#[derive(Clone, Copy, Debug)]
pub struct ByVal;

impl<K, V: Expires<T>, T: PartialOrder> Horizon<K, V, T> for ByVal {
    fn expiry(_: &K, val: &V) -> T {
        val.expiry()
    }
}

/// A batch that forgets, shared with other threads.
pub type SharedForgettingBatch<K, V, T, R, H> = Shared<ForgettingBatch<((K, V), T, R), H>>;
/// A trace of such batches.
pub type SharedForgettingSpine<K, V, T, R, H> = ForgettingSpine<SharedForgettingBatch<K, V, T, R, H>>;
/// Builds its batches.
pub type SharedForgettingBuilder<K, V, T, R, H> = SharedBuilder<ForgettingBuilder<((K, V), T, R), H>>;

/// Arranges `(key, value)` rows in a trace that forgets them as `_horizon` says. Other threads may read it.
///
/// ```
/// use differential_dataflow::input::InputSession;
/// use differential_dataflow::trace::{BatchReader, TraceReader};
/// use operators::{Horizon, arrange_forgetting};
/// use timely::progress::Antichain;
///
/// /// Sightings, by when they were, can be found for ten ticks.
/// struct TenTicks;
///
/// impl Horizon<u32, u64, u64> for TenTicks {
///     fn expiry(_key: &u32, seen: &u64) -> u64 {
///         seen + 10
///     }
/// }
///
/// timely::execute_directly(|worker| {
///     let mut input = InputSession::new();
///     let mut sightings = worker.dataflow::<u64, _, _>(|scope| {
///         arrange_forgetting(input.to_collection(scope), "Sightings", TenTicks).trace
///     });
///     for tick in 0..1_000 {
///         input.update((7, tick), 1i64);
///         input.advance_to(tick + 1);
///         input.flush();
///         worker.step();
///         let now = Antichain::from_elem(tick + 1);
///         sightings.set_logical_compaction(now.borrow());
///         sightings.set_physical_compaction(now.borrow());
///     }
///     let mut resident = 0;
///     sightings.map_batches(|batch| resident += batch.len());
///     assert!((10..=25).contains(&resident), "{resident} of 1,000 sightings are held");
/// });
/// ```
pub fn arrange_forgetting<'scope, T, K, V, R, H>(
    collection: VecCollection<'scope, T, (K, V), R>,
    name: &str,
    _horizon: H,
) -> Arranged<'scope, TraceAgent<SharedForgettingSpine<K, V, T, R, H>>>
where
    T: Timestamp + Lattice + TotalOrder,
    K: ExchangeData + Hashable,
    V: ExchangeData,
    R: ExchangeData + Semigroup,
    H: Horizon<K, V, T>,
{
    let to_worker = Exchange::new(|((key, _), _, _): &((K, V), T, R)| key.hashed().into());
    arrange_core::<
        _,
        _,
        PassThrough<Updates<(K, V), T, R>>,
        SortingBatcher<(K, V), T, R>,
        SharedForgettingBuilder<K, V, T, R, H>,
        SharedForgettingSpine<K, V, T, R, H>,
    >(collection.inner, to_worker, name)
}

#[cfg(test)]
mod tests;
