//! Reductions of keys of which few change at a time, and each only a few times.
//!
//! Differential's reduction needs its input arranged, and arranges its output: both are sorted and merged again and again, so
//! that any row can be found at any time. [`reduce`] keeps the values of each key where they came, in a list
//! (`crate::postings`), written once. Where a key changes it gathers them and makes of them what was made before and what is
//! made now. So no output is kept: whoever wants to look it up arranges it.
//!
//! **Semantics.** Those of differential's `reduce_abelian`, as a collection: at each time the output of a key is what `logic`
//! makes of its accumulated values, in order; of a key without values it is nothing. `logic` makes the same of the same.
//!
//! Keys expire ([`Expires`]), and their values with them: a key must not change any more once it has expired, which is asserted, and
//! counted in a release ([`late_updates`](crate::late_updates)). What was made of it stays. Time is totally ordered: each time at
//! which a key changes goes on from the one before. A key that lives for ever is not for this operator: differential's own
//! reductions, and [`reduce_shared`](crate::reduce_shared), keep what has been consolidated.
//!
//! **State** is bounded by the values that count, those of keys that have not expired and that do not sum up to nothing, however often
//! they change: of each key at most twice as many rows and 16 more, and of all of these at most a few times as many, as
//! at least a quarter of a segment is needed (`crate::segments`). And what comes until its time is complete.
//!
//! **Work.** A key that changes has its *n* values gathered and sorted. Each time at which it changes then costs, for each change, a
//! search among them and the moving of those after it; and `logic` runs on all of them, at each time and once for
//! what was made before. So a key with many values should not change at many times of one step.
//!
//! # Values that expire one by one
//! As no output is kept, what was made before and what is made now are made of the same values. So where `logic` is *local*, values may
//! expire by themselves ([`reduce_forgetting`] with [`ByVal`](crate::ByVal)): what has expired is missed by both, and nothing of it is
//! taken back. Local means: let *X* be any values of a key that have expired at the time of a change, *Y* its other values before
//! the change and *Z* those after it, then
//!
//! > `logic`(*X* ∪ *Z*) − `logic`(*X* ∪ *Y*) = `logic`(*Z*) − `logic`(*Y*).
//!
//! Pairs of consecutive visits that are at most an hour apart are local, with an expiry after which no visit comes within an hour of
//! one; the first visit of all is not. Of the updates of *X* any part may be gone, so it must hold for whatever is left of them, be
//! it what took a value back alone.
//!
//! # Panics
//! When 2³⁹ values have come to a worker after one that it keeps.
//!
//! ```
//! use differential_dataflow::input::InputSession;
//! use operators::{Expires, reduce};
//! use serde::{Deserialize, Serialize};
//!
//! /// A day, to whose sales nothing is added from the next day but one on.
//! #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
//! struct Day(u64);
//!
//! impl Expires<u64> for Day {
//!     fn expiry(&self) -> u64 {
//!         self.0 + 2
//!     }
//! }
//!
//! timely::execute_directly(|worker| {
//!     let mut sales = InputSession::new();
//!     worker.dataflow::<u64, _, _>(|scope| {
//!         let best = reduce(sales.to_collection(scope), "best sale", |_, amounts, output| {
//!             output.extend(amounts.last().map(|(amount, _)| (**amount, 1)));
//!         });
//!         best.inspect(|(best, at, change)| println!("{best:?} {change:+} at {at}"));
//!     });
//!     sales.update_at((Day(0), 30), 0, 1isize);
//!     sales.update_at((Day(0), 50), 1, 1isize);
//! });
//! ```

use std::marker::PhantomData;

use differential_dataflow::consolidation::{consolidate, consolidate_updates};
use differential_dataflow::difference::Abelian;
use differential_dataflow::hashable::Hashable;
use differential_dataflow::{AsCollection, Data, ExchangeData, VecCollection};
use timely::dataflow::channels::pact::Exchange;
use timely::dataflow::operators::generic::Operator;
use timely::order::TotalOrder;
use timely::progress::Timestamp;

use crate::forget::{ByKey, Horizon};
use crate::pending::{Held, Pending, Updates, first};
use crate::postings::{BLOCK, Postings, hash, hashes};
use crate::{Expires, late};

/// Reduces the values of each key to what `logic` makes of them: it gets the key, the values that do not sum up to nothing,
/// in order, and the output to fill.
pub fn reduce<'scope, K, V1, V2, T, R>(
    values: VecCollection<'scope, T, (K, V1), R>,
    name: &str,
    logic: impl FnMut(&K, &[(&V1, R)], &mut Vec<(V2, R)>) + 'static,
) -> VecCollection<'scope, T, (K, V2), R>
where
    K: ExchangeData + Hashable + Expires<T>,
    V1: ExchangeData,
    V2: Data,
    T: Timestamp + TotalOrder,
    R: ExchangeData + Abelian,
{
    reduce_forgetting(values, name, ByKey, logic)
}

/// As [`reduce`](reduce()), of values that are forgotten as `_horizon` says: with their keys ([`ByKey`]), or one by one where `logic` is
/// [local](self#values-that-expire-one-by-one).
pub fn reduce_forgetting<'scope, K, V1, V2, T, R, H>(
    values: VecCollection<'scope, T, (K, V1), R>,
    name: &str,
    _horizon: H,
    logic: impl FnMut(&K, &[(&V1, R)], &mut Vec<(V2, R)>) + 'static,
) -> VecCollection<'scope, T, (K, V2), R>
where
    K: ExchangeData + Hashable,
    V1: ExchangeData,
    V2: Data,
    T: Timestamp + TotalOrder,
    R: ExchangeData + Abelian,
    H: Horizon<K, V1, T>,
{
    // As an arrangement does: where the output is arranged by the same key, it is there.
    let to_worker = Exchange::new(|((key, _), _, _): &((K, V1), T, R)| key.hashed().into());
    let operator = name.to_owned();
    let changes = values.inner.unary_frontier(to_worker, name, move |_, _| {
        let (mut pending, mut held) = (Pending::default(), Held(None));
        let mut reducing = Reducing::<_, _, _, _, H, _>::new(logic);
        let reader = reducing.kept.reader();
        move |(input, frontier), output| {
            input.for_each(|capability, values: &mut Updates<(K, V1), T, R>| {
                held.hold(&capability);
                pending.push(std::mem::take(values));
            });
            let upper = first(frontier);
            let new: Updates<(K, V1), T, R> = pending.take_together(upper.as_ref());
            if !new.is_empty() {
                let mut session = output.session(held.0.as_ref().expect("held with what waited"));
                late::check(reducing.step(new, &mut |change| session.give(change)), &operator);
            }
            held.advance(pending.first());
            if let Some(upper) = upper {
                reducing.advance(reader, &upper);
            }
        }
    });
    changes.as_collection()
}

/// A value that came or went.
struct Kept<K, V, R, H> {
    key: K,
    value: V,
    diff: R,
    horizon: PhantomData<fn() -> H>,
}

impl<K: Clone, V: Clone, R: Clone, H> Clone for Kept<K, V, R, H> {
    fn clone(&self) -> Self {
        Kept::new(self.key.clone(), self.value.clone(), self.diff.clone())
    }
}

impl<K, V, R, H> Kept<K, V, R, H> {
    fn new(key: K, value: V, diff: R) -> Self {
        Kept { key, value, diff, horizon: PhantomData }
    }
}

impl<K, V, T: timely::order::PartialOrder, R, H: Horizon<K, V, T>> Expires<T> for Kept<K, V, R, H> {
    fn expiry(&self) -> T {
        H::expiry(&self.key, &self.value)
    }
}

struct Reducing<K, V, T, R, H, L> {
    kept: Postings<Kept<K, V, R, H>, T>,
    logic: L,
}

impl<K, V1, T, R, H, L> Reducing<K, V1, T, R, H, L>
where
    K: ExchangeData + Hashable,
    V1: ExchangeData,
    T: Timestamp + TotalOrder,
    R: ExchangeData + Abelian,
    H: Horizon<K, V1, T>,
{
    fn new(logic: L) -> Self {
        Reducing { kept: Postings::new(), logic }
    }

    /// Forgets what cannot change at `since` or later.
    fn advance(&mut self, reader: usize, since: &T) {
        self.kept.advance_and_move(reader, since, |kept| hash(kept.key.hashed().into()));
    }

    /// Takes in all values of some times, later than those before. How many of them had expired.
    fn step<V2: Data>(&mut self, mut new: Updates<(K, V1), T, R>, send: &mut impl FnMut(((K, V2), T, R))) -> usize
    where
        L: FnMut(&K, &[(&V1, R)], &mut Vec<(V2, R)>),
    {
        consolidate_updates(&mut new);
        let late = new.iter().filter(|((key, value), time, _)| H::expiry(key, value) <= *time).count();
        let Reducing { kept, logic } = self;
        let by_key: Vec<&[((K, V1), T, R)]> = new.chunk_by(|((one, _), ..), ((other, _), ..)| one == other).collect();
        let (mut hashes_to_keep, mut to_keep, mut to_compact) = (Vec::new(), Vec::new(), Vec::new());
        let mut lists: Vec<List<'_, V1, R>> = std::iter::repeat_with(List::default).take(BLOCK).collect();
        for block in by_key.chunks(BLOCK) {
            let key = |at: usize| &block[at][0].0.0;
            let hashes = hashes((0..block.len()).map(|at| hash(key(at).hashed().into())));
            lists.iter_mut().for_each(List::clear);
            kept.find(&hashes[..block.len()], u64::MAX, |at, _, kept| lists[at].find(kept, key(at)));
            for ((list, new), hash) in lists.iter_mut().zip(block).zip(hashes) {
                changes(&new[0].0.0, &mut list.values, new, logic, send);
                // When they came in the step does not matter after it.
                for equal in new.chunk_by(|((_, one), ..), ((_, other), ..)| one == other) {
                    let mut sum = equal[0].2.clone();
                    equal[1..].iter().for_each(|(.., diff)| sum.plus_equals(diff));
                    if !sum.is_zero() {
                        let (key, value) = equal[0].0.clone();
                        list.rows += 1;
                        hashes_to_keep.push(hash);
                        to_keep.push(Kept::new(key, value, sum));
                    }
                }
                let rows_max = if list.values.is_empty() { 0 } else { 2 * list.values.len() + MORE };
                if list.rows > rows_max {
                    to_compact.push(hash);
                }
            }
        }
        drop(lists);
        let mut to_keep = to_keep.into_iter();
        hashes_to_keep.chunks(BLOCK).for_each(|hashes| kept.extend(hashes, to_keep.by_ref()));
        to_compact.into_iter().for_each(|hash| kept.compact(hash, consolidated));
        late
    }
}

/// A list that holds more than twice the values of a key that count, and so many more, is compacted: most never are.
const MORE: usize = if cfg!(test) { 4 } else { 16 };

/// What sums up to the same.
fn consolidated<K: Data, V: Data, R: Abelian, H>(rows: Vec<Kept<K, V, R, H>>) -> Vec<Kept<K, V, R, H>> {
    let mut rows: Vec<_> = rows.into_iter().map(|row| ((row.key, row.value), row.diff)).collect();
    consolidate(&mut rows);
    rows.into_iter().map(|((key, value), diff)| Kept::new(key, value, diff)).collect()
}

/// What is found of a key in its list.
struct List<'a, V, R> {
    values: Vec<(&'a V, R)>,
    rows: usize,
}

impl<V, R> Default for List<'_, V, R> {
    fn default() -> Self {
        List { values: Vec::new(), rows: 0 }
    }
}

impl<'a, V, R: Clone> List<'a, V, R> {
    fn clear(&mut self) {
        self.values.clear();
        self.rows = 0;
    }

    /// Takes a row of the list, which may be another key's.
    fn find<K: PartialEq, H>(&mut self, kept: &'a Kept<K, V, R, H>, key: &K) {
        if kept.key == *key {
            self.values.push((&kept.value, kept.diff.clone()));
            self.rows += 1;
        }
    }
}

/// Sends what changes in the output of a key whose earlier values are these, in any order; they become those after the changes.
fn changes<'a, K: Data, V1: Ord, V2: Data, T: Timestamp, R: ExchangeData + Abelian>(
    key: &K,
    values: &mut Vec<(&'a V1, R)>,
    new: &'a [((K, V1), T, R)],
    logic: &mut impl FnMut(&K, &[(&V1, R)], &mut Vec<(V2, R)>),
    send: &mut impl FnMut(((K, V2), T, R)),
) {
    let mut make = |values: &[(&'a V1, R)]| {
        let mut made = Vec::new();
        if !values.is_empty() {
            logic(key, values, &mut made);
            consolidate(&mut made);
        }
        made
    };
    consolidate(values);
    let mut stands = make(values);
    let mut new: Vec<_> = new.iter().collect();
    new.sort_by(|(_, one, _), (_, other, _)| one.cmp(other));
    let mut all: Updates<(K, V2), T, R> = Vec::new();
    let mut times = new.chunk_by(|(_, one, _), (_, other, _)| one == other).peekable();
    while let Some(at_once) = times.next() {
        let time = &at_once[0].1;
        add(values, at_once.iter().map(|((_, value), _, diff)| (value, diff.clone())));
        let made = make(values);
        if made == stands {
            continue;
        }
        let change = |(value, diff)| ((key.clone(), value), time.clone(), diff);
        all.extend(stands.drain(..).map(change).map(|(row, time, mut diff)| {
            diff.negate();
            (row, time, diff)
        }));
        if times.peek().is_some() {
            stands.clone_from(&made);
        }
        all.extend(made.into_iter().map(change));
    }
    consolidate_updates(&mut all);
    all.into_iter().for_each(send);
}

/// So many changes are put in their places one by one.
const FEW: usize = 8;

/// Adds to consolidated values others, which are consolidated as well.
fn add<V: Ord, R: Abelian>(values: &mut Vec<(V, R)>, new: impl ExactSizeIterator<Item = (V, R)>) {
    if new.len() > FEW {
        // Two sorted runs are merged.
        values.extend(new);
        return consolidate(values);
    }
    for (value, diff) in new {
        match values.binary_search_by(|(other, _)| other.cmp(&value)) {
            Ok(at) => {
                values[at].1.plus_equals(&diff);
                if values[at].1.is_zero() {
                    values.remove(at);
                }
            }
            Err(at) => values.insert(at, (value, diff)),
        }
    }
}

#[cfg(test)]
mod tests;
