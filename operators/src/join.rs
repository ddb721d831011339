//! Joins of arrangements whose keys are spread evenly, as hashes are, and seldom meet.
//!
//! Differential's join walks a cursor over all batches of a trace from key to key, in steps that double. In a large trace each
//! step of such a search waits for memory, one wait after the other; and for most keys of a sparse join all of them
//! are in vain. [`join`] finds the places of many keys at once ([`crate::spread`]).
//!
//! **Semantics.** Those of differential's `join_core`: each pair of rows with equal keys, at the later of their times, with the
//! product of their differences. Updates that cancel are passed on. Where keys are not spread evenly the result is the same.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use differential_dataflow::lattice::Lattice;
use differential_dataflow::operators::arrange::{Arranged, TraceAgent};
use differential_dataflow::operators::join::{Fresh, JoinTactic, join_with_tactic};
use differential_dataflow::trace::BatchReader;
use differential_dataflow::trace::implementations::ord_neu::val_batch::OrdValStorage;
use differential_dataflow::{AsCollection, ExchangeData, VecCollection};
use timely::order::TotalOrder;
use timely::progress::Timestamp;

use crate::forget::{Horizon, SharedForgettingBatch, SharedForgettingSpine};
use crate::offsets::Rows;
use crate::spread::{BLOCK, Spread, places};

/// Updates that are passed on at a time.
const OUTPUT_UPDATES: usize = 1_024;

/// An arrangement that can be joined here.
type Indexed<'scope, K, V, T, H> = Arranged<'scope, TraceAgent<SharedForgettingSpine<K, V, T, isize, H>>>;

/// Joins two arrangements by key: what `logic` makes of each pair of rows.
pub fn join<'scope, K, V1, V2, T, H1, H2, L, I, D>(
    left: Indexed<'scope, K, V1, T, H1>,
    right: Indexed<'scope, K, V2, T, H2>,
    logic: L,
) -> VecCollection<'scope, T, D, isize>
where
    K: ExchangeData + Spread,
    V1: ExchangeData,
    V2: ExchangeData,
    T: Timestamp + Lattice + TotalOrder,
    H1: Horizon<K, V1, T>,
    H2: Horizon<K, V2, T>,
    L: FnMut(&K, &V1, &V2) -> I + 'static,
    I: IntoIterator<Item = D>,
    D: Clone + 'static,
{
    join_with_tactic(left, right, BatchByBatch(Rc::new(RefCell::new(logic)))).as_collection()
}

/// Joins each pair of batches by itself.
struct BatchByBatch<L>(Rc<RefCell<L>>);

impl<K, V1, V2, T, H1, H2, L, I, D>
    JoinTactic<
        SharedForgettingBatch<K, V1, T, isize, H1>,
        SharedForgettingBatch<K, V2, T, isize, H2>,
        Vec<(D, T, isize)>,
    > for BatchByBatch<L>
where
    K: ExchangeData + Spread,
    V1: ExchangeData,
    V2: ExchangeData,
    T: Timestamp + Lattice + TotalOrder,
    H1: Horizon<K, V1, T>,
    H2: Horizon<K, V2, T>,
    L: FnMut(&K, &V1, &V2) -> I + 'static,
    I: IntoIterator<Item = D>,
    D: Clone + 'static,
{
    fn prep(
        &mut self,
        left: Vec<SharedForgettingBatch<K, V1, T, isize, H1>>,
        right: Vec<SharedForgettingBatch<K, V2, T, isize, H2>>,
        _: Fresh,
        _: T,
    ) -> Box<dyn Iterator<Item = Vec<(D, T, isize)>>> {
        let pairs = (0..left.len()).flat_map(|at| (0..right.len()).map(move |other| (at, other)));
        let mut pairs: VecDeque<_> =
            pairs.filter(|(at, other)| !left[*at].is_empty() && !right[*other].is_empty()).collect();
        let logic = Rc::clone(&self.0);
        let mut next_key = 0;
        Box::new(std::iter::from_fn(move || {
            let (mut found, mut logic) = (Vec::new(), logic.borrow_mut());
            while let Some((at, other)) = pairs.front().filter(|_| found.len() < OUTPUT_UPDATES) {
                next_key = join_block(&left[*at].storage, &right[*other].storage, next_key, &mut *logic, &mut found);
                if next_key == 0 {
                    pairs.pop_front();
                }
            }
            (!found.is_empty()).then_some(found)
        }))
    }
}

type Storage<K, V, T> = OrdValStorage<Rows<((K, V), T, isize)>>;

/// Joins the next keys of the smaller batch with the larger; returns where to go on, 0 at the end.
fn join_block<K, V1, V2, T, I, D>(
    left: &Storage<K, V1, T>,
    right: &Storage<K, V2, T>,
    next_key: usize,
    logic: &mut impl FnMut(&K, &V1, &V2) -> I,
    found: &mut Vec<(D, T, isize)>,
) -> usize
where
    K: ExchangeData + Spread,
    V1: ExchangeData,
    V2: ExchangeData,
    T: Timestamp + Lattice,
    I: IntoIterator<Item = D>,
    D: Clone,
{
    let left_is_smaller = left.keys.len() <= right.keys.len();
    let (smaller, larger) = if left_is_smaller { (&left.keys, &right.keys) } else { (&right.keys, &left.keys) };
    let end = smaller.len().min(next_key + BLOCK);
    let places = places(&smaller[next_key..end], larger);
    for (at, place) in (next_key..end).zip(places) {
        if larger.get(place) == Some(&smaller[at]) {
            let keys = if left_is_smaller { (at, place) } else { (place, at) };
            join_key((left, keys.0), (right, keys.1), logic, found);
        }
    }
    if end == smaller.len() { 0 } else { end }
}

/// Pairs the rows of a key, given its place in each batch.
fn join_key<K, V1, V2, T, I, D>(
    (left, key1): (&Storage<K, V1, T>, usize),
    (right, key2): (&Storage<K, V2, T>, usize),
    logic: &mut impl FnMut(&K, &V1, &V2) -> I,
    found: &mut Vec<(D, T, isize)>,
) where
    K: ExchangeData,
    V1: ExchangeData,
    V2: ExchangeData,
    T: Timestamp + Lattice,
    I: IntoIterator<Item = D>,
    D: Clone,
{
    let (start2, end2) = right.vals.bounds(key2);
    let (start1, end1) = left.vals.bounds(key1);
    for row1 in start1..end1 {
        for row2 in start2..end2 {
            for datum in logic(&left.keys[key1], left.vals.get_abs(row1), right.vals.get_abs(row2)) {
                let (updates1, updates2) = (left.upds.bounds(row1), right.upds.bounds(row2));
                for (time1, diff1) in (updates1.0..updates1.1).map(|update| left.upds.get_abs(update)) {
                    for (time2, diff2) in (updates2.0..updates2.1).map(|update| right.upds.get_abs(update)) {
                        found.push((datum.clone(), time1.join(time2), diff1 * diff2));
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use differential_dataflow::consolidation::consolidate_updates;
    use differential_dataflow::input::InputSession;
    use proptest::prelude::*;

    use super::*;
    use crate::{ByVal, Expires, arrange_forgetting};

    /// A value that expires at the end of time.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
    struct Value(u8);

    impl Expires<u64> for Value {
        fn expiry(&self) -> u64 {
            u64::MAX
        }
    }

    /// Which side, key, value, difference.
    type Update = (bool, u64, u8, isize);

    /// The updates of each tick joined here, and by differential.
    fn joined(ticks: Vec<Vec<Update>>) -> [Vec<((u64, u8, u8), u64, isize)>; 2] {
        let found = Arc::new(Mutex::new([Vec::new(), Vec::new()]));
        let all = Arc::clone(&found);
        timely::execute_directly(move |worker| {
            let mut inputs = [InputSession::new(), InputSession::new()];
            let probe = worker.dataflow::<u64, _, _>(|scope| {
                let [left, right] =
                    inputs.each_mut().map(|input| arrange_forgetting(input.to_collection(scope), "rows", ByVal));
                let pair = |key: &u64, one: &Value, other: &Value| Some((*key, one.0, other.0));
                let here = join(left.clone(), right.clone(), pair);
                let there = left.join_core(right, pair);
                let (one, other) = (Arc::clone(&all), all);
                let here = here.inspect(move |update| one.lock().unwrap()[0].push(*update));
                here.concat(there.inspect(move |update| other.lock().unwrap()[1].push(*update))).probe().0
            });
            for (tick, updates) in (1..).zip(ticks) {
                for (left, key, value, diff) in updates {
                    inputs[usize::from(left)].update((key, Value(value)), diff);
                }
                for input in &mut inputs {
                    input.advance_to(tick);
                    input.flush();
                }
                while probe.less_than(&tick) {
                    worker.step();
                }
            }
        });
        let mut found = std::mem::take(&mut *found.lock().unwrap());
        found.iter_mut().for_each(consolidate_updates);
        found
    }

    fn updates(keys: impl Strategy<Value = u64>) -> impl Strategy<Value = Vec<Vec<Update>>> {
        let update = (any::<bool>(), keys, 0..3u8, prop_oneof![3 => Just(1isize), 1 => Just(-1)]);
        prop::collection::vec(prop::collection::vec(update, 0..200), 1..6)
    }

    proptest! {
        #[test]
        fn a_join_of_spread_keys_is_differentials(ticks in updates((0..300u64).prop_map(|key| key << 32 | key << 55))) {
            let [here, there] = joined(ticks);
            prop_assert_eq!(here, there);
        }

        #[test]
        fn a_join_of_crowded_keys_is_differentials(ticks in updates(prop_oneof![0..100u64, Just(u64::MAX), Just(1 << 40)])) {
            let [here, there] = joined(ticks);
            prop_assert_eq!(here, there);
        }
    }
}
