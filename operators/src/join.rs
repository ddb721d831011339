//! Joins of arrangements whose keys are spread evenly, as hashes are, and seldom meet.
//!
//! Differential's join walks a cursor over all batches of a trace from key to key, in steps that double. In a large trace each
//! step of such a search waits for memory, one wait after the other; and for most keys of a sparse join all of them
//! are in vain. [`join`] finds the places of many keys at once ([`crate::spread`]).
//!
//! **Semantics.** Those of differential's `join_core`: each pair of rows with equal keys, at the later of their times, with the
//! product of their differences. Updates that cancel are passed on. Where keys are not spread evenly the result is the same.
//!
//! A key with many rows on both sides makes a pair of each with each. They are made some at a time, and after a million of them others
//! have their turn; differential's join makes all pairs of a key before that.

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
use crate::spread::{BLOCK, UniformKey, places};

/// After so many updates what was made is passed on.
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
    K: ExchangeData + UniformKey,
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
    K: ExchangeData + UniformKey,
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
        let mut next = Next::default();
        Box::new(std::iter::from_fn(move || {
            let (mut found, mut logic) = (Vec::new(), logic.borrow_mut());
            while let Some((at, other)) = pairs.front().filter(|_| found.len() < OUTPUT_UPDATES) {
                if join_block(&left[*at].storage, &right[*other].storage, &mut next, &mut *logic, &mut found) {
                    pairs.pop_front();
                    next = Next::default();
                }
            }
            (!found.is_empty()).then_some(found)
        }))
    }
}

type Storage<K, V, T> = OrdValStorage<Rows<((K, V), T, isize)>>;

/// Where the join of two batches goes on.
#[derive(Default)]
struct Next {
    /// The key of the smaller.
    key: usize,
    /// The pair of its rows.
    pair: usize,
}

/// Joins the next keys of the smaller batch with the larger, until they are some or enough was found; whether none is left.
fn join_block<K, V1, V2, T, I, D>(
    left: &Storage<K, V1, T>,
    right: &Storage<K, V2, T>,
    next: &mut Next,
    logic: &mut impl FnMut(&K, &V1, &V2) -> I,
    found: &mut Vec<(D, T, isize)>,
) -> bool
where
    K: ExchangeData + UniformKey,
    V1: ExchangeData,
    V2: ExchangeData,
    T: Timestamp + Lattice,
    I: IntoIterator<Item = D>,
    D: Clone,
{
    let left_is_smaller = left.keys.len() <= right.keys.len();
    let (smaller, larger) = if left_is_smaller { (&left.keys, &right.keys) } else { (&right.keys, &left.keys) };
    let end = smaller.len().min(next.key + BLOCK);
    let places = places(&smaller[next.key..end], larger);
    for (at, place) in (next.key..end).zip(places) {
        if larger.get(place) == Some(&smaller[at]) {
            let keys = if left_is_smaller { (at, place) } else { (place, at) };
            if let Some(pair) = join_key((left, keys.0), (right, keys.1), next.pair, logic, found) {
                *next = Next { key: at, pair };
                return false;
            }
        }
        *next = Next { key: at + 1, pair: 0 };
    }
    next.key == smaller.len()
}

/// Pairs the rows of a key, given its place in each batch, from a pair on until enough was found; the next pair, none at the end.
fn join_key<K, V1, V2, T, I, D>(
    (left, key1): (&Storage<K, V1, T>, usize),
    (right, key2): (&Storage<K, V2, T>, usize),
    first_pair: usize,
    logic: &mut impl FnMut(&K, &V1, &V2) -> I,
    found: &mut Vec<(D, T, isize)>,
) -> Option<usize>
where
    K: ExchangeData,
    V1: ExchangeData,
    V2: ExchangeData,
    T: Timestamp + Lattice,
    I: IntoIterator<Item = D>,
    D: Clone,
{
    let ((start1, end1), (start2, end2)) = (left.vals.bounds(key1), right.vals.bounds(key2));
    let (rows1, rows2) = (end1 - start1, end2 - start2);
    for pair in first_pair..rows1 * rows2 {
        if found.len() >= OUTPUT_UPDATES {
            return Some(pair);
        }
        let (row1, row2) = (start1 + pair / rows2, start2 + pair % rows2);
        for datum in logic(&left.keys[key1], left.vals.get_abs(row1), right.vals.get_abs(row2)) {
            let (updates1, updates2) = (left.upds.bounds(row1), right.upds.bounds(row2));
            for (time1, diff1) in (updates1.0..updates1.1).map(|update| left.upds.get_abs(update)) {
                for (time2, diff2) in (updates2.0..updates2.1).map(|update| right.upds.get_abs(update)) {
                    found.push((datum.clone(), time1.join(time2), diff1 * diff2));
                }
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use differential_dataflow::consolidation::consolidate_updates;
    use differential_dataflow::input::InputSession;
    use proptest::prelude::*;

    use differential_dataflow::trace::{Builder, Description};
    use timely::progress::Antichain;

    use super::*;
    use crate::forget::SharedForgettingBuilder;
    use crate::{ByVal, Expires, arrange_forgetting};

    /// A value that expires at the end of time.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
    struct Value(u64);

    impl Expires<u64> for Value {
        fn expiry(&self) -> u64 {
            u64::MAX
        }
    }

    /// Which side, key, value, difference.
    type Update = (bool, u64, u64, isize);

    /// The updates of each tick joined here, and by differential.
    fn joined(ticks: Vec<Vec<Update>>) -> [Vec<((u64, u64, u64), u64, isize)>; 2] {
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

    /// Schedule K of the review.
    #[test]
    fn the_pairs_of_a_key_are_made_some_at_a_time() {
        const ROWS: usize = 300;
        // Of the middle key each side has many rows.
        let batch = |others: u64| {
            let middle = (0..ROWS).map(|row| ((5, Value(row as u64)), 1, 1));
            let mut rows: Vec<_> = middle.chain([0, 9].map(|key| ((key + others, Value(0)), 1, 1))).collect();
            rows.sort();
            let description =
                Description::new(Antichain::from_elem(0), Antichain::from_elem(2), Antichain::from_elem(0));
            SharedForgettingBuilder::<u64, Value, u64, isize, ByVal>::seal(&mut vec![rows], description)
        };
        let logic = |key: &u64, one: &Value, other: &Value| Some((*key, one.0, other.0));
        let mut joining = BatchByBatch(Rc::new(RefCell::new(logic)));
        let made = joining.prep(vec![batch(0)], vec![batch(0), batch(1)], Fresh::Input0, 1);
        let mut all = Vec::new();
        for made in made {
            assert!(!made.is_empty() && made.len() <= OUTPUT_UPDATES, "{} updates at once", made.len());
            all.extend(made);
        }
        let middle = || (0..ROWS as u64).flat_map(|one| (0..ROWS as u64).map(move |other| (5, one, other)));
        let mut expected: Vec<_> = middle().chain(middle()).chain([(0, 0, 0), (9, 0, 0)]).collect();
        let mut all: Vec<_> = all.into_iter().map(|(pair, _, _)| pair).collect();
        all.sort_unstable();
        expected.sort_unstable();
        assert!(all == expected);
    }

    /// What is passed on is full in the midst of a key, and at the end of one.
    #[test]
    fn a_step_of_many_keys_loses_none() {
        for (keys, rows) in [(3_000, 1), (3_000, 2), (700, 3), (40, 32), (3, 600)] {
            let row = |left| (0..keys).flat_map(move |key| (0..rows).map(move |row| (left, key << 40, row % 5, 1)));
            let [here, there] = joined(vec![vec![], row(true).chain(row(false)).collect(), row(true).collect()]);
            assert!(!there.is_empty() && here == there, "{keys} keys of {rows} rows");
        }
    }

    fn updates(keys: impl Strategy<Value = u64>) -> impl Strategy<Value = Vec<Vec<Update>>> {
        let update = (any::<bool>(), keys, 0..3u64, prop_oneof![3 => Just(1isize), 1 => Just(-1)]);
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
