//! Reductions of arrangements whose keys are spread evenly, as hashes are, and of which few change at a time.
//!
//! Differential's reduction walks a cursor over all batches of its input and of its output from changed key to changed key,
//! and replays what it finds there, for times that are not in order. [`reduce`] finds the places of many keys at once
//! ([`crate::spread`]), and time is totally ordered here: all that was before is one sum, and each time at which a key
//! changes goes on from the one before.
//!
//! **Semantics.** Those of differential's `reduce_abelian`: at each time the output of a key is what `logic` makes of its
//! accumulated values, in order; of a key without values it is nothing. Keys expire in input and output alike
//! ([`crate::forget`]). Where keys are not spread evenly the result is the same.

use differential_dataflow::ExchangeData;
use differential_dataflow::consolidation::{consolidate, consolidate_updates};
use differential_dataflow::difference::Abelian;
use differential_dataflow::lattice::Lattice;
use differential_dataflow::operators::arrange::{Arranged, TraceAgent};
use differential_dataflow::operators::reduce::{ReduceTactic, reduce_with_tactic};
use differential_dataflow::trace::implementations::ord_neu::val_batch::OrdValStorage;
use differential_dataflow::trace::{Builder, Description};
use timely::order::TotalOrder;
use timely::progress::{Antichain, Timestamp};

use crate::forget::{ByKey, Expires, SharedForgettingBatch, SharedForgettingBuilder, SharedForgettingSpine};
use crate::offsets::Rows;
use crate::spread::{BLOCK, Spread, places};

/// An arrangement that can be reduced here, and what it is reduced to.
type Indexed<'scope, K, V, T, R> = Arranged<'scope, TraceAgent<SharedForgettingSpine<K, V, T, R, ByKey>>>;
type Batch<K, V, T, R> = SharedForgettingBatch<K, V, T, R, ByKey>;
type Storage<K, V, T, R> = OrdValStorage<Rows<((K, V), T, R)>>;

/// Reduces the values of each key to what `logic` makes of them: it gets the key, the values that do not sum up to nothing,
/// in order, and the output to fill.
pub fn reduce<'scope, K, V1, V2, T, R, L>(
    input: Indexed<'scope, K, V1, T, R>,
    name: &str,
    logic: L,
) -> Indexed<'scope, K, V2, T, R>
where
    K: ExchangeData + Spread + Expires<T>,
    V1: ExchangeData,
    V2: ExchangeData,
    T: Timestamp + Lattice + TotalOrder,
    R: ExchangeData + Abelian,
    L: FnMut(&K, &[(&V1, R)], &mut Vec<(V2, R)>) + 'static,
{
    reduce_with_tactic(input, name, BlockByBlock(logic))
}

/// Reduces the changed keys a block at a time.
struct BlockByBlock<L>(L);

impl<K, V1, V2, T, R, L> ReduceTactic<Batch<K, V1, T, R>, Batch<K, V2, T, R>> for BlockByBlock<L>
where
    K: ExchangeData + Spread + Expires<T>,
    V1: ExchangeData,
    V2: ExchangeData,
    T: Timestamp + Lattice + TotalOrder,
    R: ExchangeData + Abelian,
    L: FnMut(&K, &[(&V1, R)], &mut Vec<(V2, R)>) + 'static,
{
    fn retire(
        &mut self,
        before: Vec<Batch<K, V1, T, R>>,
        output: Vec<Batch<K, V2, T, R>>,
        new: Vec<Batch<K, V1, T, R>>,
        lower: &Antichain<T>,
        upper: &Antichain<T>,
        held: &Antichain<T>,
    ) -> (Vec<(T, Batch<K, V2, T, R>)>, Antichain<T>) {
        let Some(held_time) = held.as_option().filter(|time| !upper.less_equal(time)) else {
            return (Vec::new(), held.clone());
        };
        let mut changed: Vec<K> = new.iter().flat_map(|batch| batch.storage.keys.iter().cloned()).collect();
        changed.sort();
        changed.dedup();
        let (keys, mut chunk) = (changed.len(), Vec::new());
        let mut builder = SharedForgettingBuilder::<K, V2, T, R, ByKey>::with_capacity(keys, keys, keys);
        let mut block: [Values<'_, V1, V2, T, R>; BLOCK] = std::array::from_fn(|_| Values::default());
        for keys in changed.chunks(BLOCK) {
            block.iter_mut().for_each(Values::clear);
            for batch in &before {
                each(keys, &batch.storage, |at, value, _, diff| block[at].before.push((value, diff.clone())));
            }
            // Of a key that was nothing before, nothing was made; and most that change are new.
            let known: Vec<usize> = (0..keys.len()).filter(|at| !block[*at].before.is_empty()).collect();
            let known_keys: Vec<K> = known.iter().map(|at| keys[*at].clone()).collect();
            for batch in &output {
                each(&known_keys, &batch.storage, |at, value, _, diff| {
                    block[known[at]].output.push((value, diff.clone()));
                });
            }
            for batch in &new {
                each(keys, &batch.storage, |at, value, time, diff| {
                    block[at].new.push((time.clone(), value, diff.clone()));
                });
            }
            for (key, values) in keys.iter().zip(&mut block) {
                let changes = values.changes(key, &mut self.0);
                chunk.extend(changes.drain(..).map(|(value, time, diff)| ((key.clone(), value), time, diff)));
            }
            builder.push(&mut chunk);
        }
        let description = Description::new(lower.clone(), upper.clone(), Antichain::from_elem(T::minimum()));
        // In a total order all that changes does so at a time of the new batches: nothing is put off.
        (vec![(held_time.clone(), builder.done(description))], Antichain::new())
    }
}

/// What is known of a key.
struct Values<'a, V1, V2, T, R> {
    /// Its values before, each time they came or went.
    before: Vec<(&'a V1, R)>,
    /// What was made of them, likewise.
    output: Vec<(&'a V2, R)>,
    /// Its values that come or go.
    new: Vec<(T, &'a V1, R)>,
    /// What changes in its output.
    changes: Vec<(V2, T, R)>,
}

impl<V1, V2, T, R> Default for Values<'_, V1, V2, T, R> {
    fn default() -> Self {
        Values { before: Vec::new(), output: Vec::new(), new: Vec::new(), changes: Vec::new() }
    }
}

/// Each update of each of the keys, by the key's place among them.
fn each<'a, K, V, T, R>(keys: &[K], rows: &'a Storage<K, V, T, R>, mut found: impl FnMut(usize, &'a V, &T, &R))
where
    K: ExchangeData + Spread,
    V: ExchangeData,
    T: Timestamp + Lattice,
    R: ExchangeData + Abelian,
{
    if keys.is_empty() || rows.keys.is_empty() {
        return;
    }
    for (at, place) in (0..keys.len()).zip(places(keys, &rows.keys)) {
        if rows.keys.get(place) != Some(&keys[at]) {
            continue;
        }
        let (first, end) = rows.vals.bounds(place);
        for row in first..end {
            let (first, end) = rows.upds.bounds(row);
            for (time, diff) in (first..end).map(|update| rows.upds.get_abs(update)) {
                found(at, rows.vals.get_abs(row), time, diff);
            }
        }
    }
}

impl<V1, V2, T, R> Values<'_, V1, V2, T, R>
where
    V1: ExchangeData,
    V2: ExchangeData,
    T: Timestamp + Lattice + TotalOrder,
    R: ExchangeData + Abelian,
{
    fn clear(&mut self) {
        self.before.clear();
        self.output.clear();
        self.new.clear();
    }

    /// What changes in the output of the key, in the order of values, then times.
    fn changes<K>(
        &mut self,
        key: &K,
        logic: &mut impl FnMut(&K, &[(&V1, R)], &mut Vec<(V2, R)>),
    ) -> &mut Vec<(V2, T, R)> {
        self.new.sort_by(|(one, ..), (other, ..)| one.cmp(other));
        consolidate(&mut self.output);
        // What stands; as it was found, until the first change.
        let mut standing: Option<Vec<(V2, R)>> = None;
        for at_once in self.new.chunk_by(|(one, ..), (other, ..)| one == other) {
            let time = &at_once[0].0;
            self.before.extend(at_once.iter().map(|(_, value, diff)| (*value, diff.clone())));
            consolidate(&mut self.before);
            let mut made = Vec::new();
            if !self.before.is_empty() {
                logic(key, &self.before, &mut made);
                consolidate(&mut made);
            }
            let stands = match &standing {
                Some(standing) => *standing == made,
                None => self.output.iter().map(|(value, diff)| (*value, diff)).eq(made.iter().map(|(v, d)| (v, d))),
            };
            if stands {
                continue;
            }
            let goes = standing
                .take()
                .unwrap_or_else(|| self.output.iter().map(|(value, diff)| ((*value).clone(), diff.clone())).collect());
            self.changes.extend(goes.into_iter().map(|(value, mut diff)| {
                diff.negate();
                (value, time.clone(), diff)
            }));
            self.changes.extend(made.iter().map(|(value, diff)| (value.clone(), time.clone(), diff.clone())));
            standing = Some(made);
        }
        consolidate_updates(&mut self.changes);
        &mut self.changes
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use differential_dataflow::input::InputSession;
    use proptest::prelude::*;

    use super::*;
    use crate::arrange_forgetting;

    impl Expires<u64> for u64 {
        fn expiry(&self) -> Option<u64> {
            None
        }
    }

    /// Key, value, time within its tick, difference.
    type Update = (u64, u8, u64, i64);
    /// Changes of the output: key, (value, sum), time, difference.
    type Changes = Vec<((u64, (u8, i64)), u64, i64)>;

    /// The updates of each tick reduced here, and by differential: the greatest value of each key, and the sum of all.
    fn reduced(ticks: Vec<Vec<Update>>) -> [Changes; 2] {
        let found = Arc::new(Mutex::new([Vec::new(), Vec::new()]));
        let all = Arc::clone(&found);
        timely::execute_directly(move |worker| {
            let mut input = InputSession::new();
            let probe = worker.dataflow::<u64, _, _>(|scope| {
                let rows = arrange_forgetting(input.to_collection(scope), "rows", ByKey);
                let logic = |_: &u64, values: &[(&u8, i64)], output: &mut Vec<((u8, i64), i64)>| {
                    assert!(values.is_sorted() && values.iter().all(|(_, count)| *count != 0));
                    let sum = values.iter().map(|(_, count)| count).sum();
                    // Sometimes two, sometimes none.
                    output.extend(values.last().map(|(value, _)| ((**value, sum), 1)));
                    output.extend((sum == 1).then_some(((0, sum), 2)));
                    output.retain(|_| sum != 2);
                };
                let here = reduce(rows.clone(), "here", logic).as_collection(|key, value| (*key, *value));
                let there = rows.reduce_abelian::<
                    _,
                    SharedForgettingBuilder<u64, (u8, i64), u64, i64, ByKey>,
                    SharedForgettingSpine<u64, (u8, i64), u64, i64, ByKey>,
                    Vec<u64>,
                    _,
                >("there", logic, |chunk, key, updates| {
                    chunk.clear();
                    chunk.extend(updates.drain(..).map(|(value, time, diff)| ((*key, value), time, diff)));
                });
                let there = there.as_collection(|key, value| (*key, *value));
                let (one, other) = (Arc::clone(&all), all);
                let here = here.inspect(move |change| one.lock().unwrap()[0].push(*change));
                here.concat(there.inspect(move |change| other.lock().unwrap()[1].push(*change))).probe().0
            });
            for (tick, updates) in (0..).map(|tick| tick * 10).zip(ticks) {
                for (key, value, time, diff) in updates {
                    input.update_at((key, value), tick + time, diff);
                }
                input.advance_to(tick + 10);
                input.flush();
                worker.step_while(|| probe.less_than(&(tick + 10)));
            }
        });
        let mut found = std::mem::take(&mut *found.lock().unwrap());
        found.iter_mut().for_each(consolidate_updates);
        found
    }

    fn updates(keys: impl Strategy<Value = u64>) -> impl Strategy<Value = Vec<Vec<Update>>> {
        let update = (keys, 0..3u8, 0..10u64, prop_oneof![3 => Just(1i64), 1 => Just(-1)]);
        prop::collection::vec(prop::collection::vec(update, 0..200), 1..6)
    }

    proptest! {
        #[test]
        fn a_reduction_of_spread_keys_is_differentials(ticks in updates((0..100u64).prop_map(|key| key << 32 | key << 57))) {
            let [here, there] = reduced(ticks);
            prop_assert_eq!(here, there);
        }

        #[test]
        fn a_reduction_of_crowded_keys_is_differentials(ticks in updates(prop_oneof![0..30u64, Just(u64::MAX), Just(1 << 40)])) {
            let [here, there] = reduced(ticks);
            prop_assert_eq!(here, there);
        }
    }
}
