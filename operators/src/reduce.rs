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
//! Keys expire ([`Expires`]), and their values with them: a key that has expired must not change any more. What was made of
//! it stays. Time is totally ordered: each time at which a key changes goes on from the one before.
//!
//! **State.** The values until their key and those of what came before, and shares a segment with them, have expired; of a key
//! with many at most about twice those that count. And what comes until its time is complete. A change costs as many
//! values as its key has, twice sorted, and `logic` twice.
//!
//! # Panics
//! When a worker keeps 2³² values.
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
//!     fn expiry(&self) -> Option<u64> {
//!         Some(self.0 + 2)
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

use differential_dataflow::consolidation::{consolidate, consolidate_updates};
use differential_dataflow::difference::Abelian;
use differential_dataflow::hashable::Hashable;
use differential_dataflow::{AsCollection, Data, ExchangeData, VecCollection};
use timely::dataflow::channels::pact::Exchange;
use timely::dataflow::operators::generic::Operator;
use timely::order::TotalOrder;
use timely::progress::Timestamp;

use crate::Expires;
use crate::pending::{Held, Pending, Updates, first};
use crate::postings::{BLOCK, Postings, hash, hashes};

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
    // As an arrangement does: where the output is arranged by the same key, it is there.
    let to_worker = Exchange::new(|((key, _), _, _): &((K, V1), T, R)| key.hashed().into());
    let changes = values.inner.unary_frontier(to_worker, name, move |_, _| {
        let (mut pending, mut held) = (Pending::default(), Held(None));
        let mut reducing = Reducing { kept: Postings::new(), logic };
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
                reducing.step(new, &mut |change| session.give(change));
            }
            held.advance(pending.first());
            if let Some(upper) = upper {
                reducing.kept.advance(reader, &upper);
            }
        }
    });
    changes.as_collection()
}

/// A value that came or went.
struct Kept<K, V, R> {
    key: K,
    value: V,
    diff: R,
}

impl<K: Expires<T>, V, T: timely::order::PartialOrder, R> Expires<T> for Kept<K, V, R> {
    fn expiry(&self) -> Option<T> {
        self.key.expiry()
    }
}

struct Reducing<K, V, T, R, L> {
    kept: Postings<Kept<K, V, R>, T>,
    logic: L,
}

impl<K, V1, T, R, L> Reducing<K, V1, T, R, L>
where
    K: ExchangeData + Hashable + Expires<T>,
    V1: ExchangeData,
    T: Timestamp + TotalOrder,
    R: ExchangeData + Abelian,
{
    /// Takes in all values of some times, later than those before.
    fn step<V2: Data>(&mut self, mut new: Updates<(K, V1), T, R>, send: &mut impl FnMut(((K, V2), T, R)))
    where
        L: FnMut(&K, &[(&V1, R)], &mut Vec<(V2, R)>),
    {
        consolidate_updates(&mut new);
        let Reducing { kept, logic } = self;
        let by_key: Vec<&[((K, V1), T, R)]> = new.chunk_by(|((one, _), ..), ((other, _), ..)| one == other).collect();
        let (mut hashes_to_keep, mut to_keep, mut anew) = (Vec::new(), Vec::new(), Vec::new());
        let mut lists: Vec<List<'_, V1, R>> = std::iter::repeat_with(List::default).take(BLOCK).collect();
        for block in by_key.chunks(BLOCK) {
            let key = |at: usize| &block[at][0].0.0;
            let hashes = hashes((0..block.len()).map(|at| hash(key(at).hashed().into())));
            lists.iter_mut().for_each(List::clear);
            kept.find(&hashes[..block.len()], u64::MAX, |at, _, kept| lists[at].find(kept, key(at)));
            for ((list, new), hash) in lists.iter_mut().zip(block).zip(hashes) {
                let key = &new[0].0.0;
                let rows = list.rows;
                changes(key, &mut list.values, new, logic, send);
                let keep = |value: &V1, diff| Kept { key: key.clone(), value: value.clone(), diff };
                if !list.is_shared && !list.values.is_empty() && rows > MANY && rows > 2 * list.values.len() {
                    let values: Vec<_> = list.values.iter().map(|(value, diff)| keep(value, diff.clone())).collect();
                    anew.push((hash, values));
                    continue;
                }
                // When they came in the step does not matter after it.
                for equal in new.chunk_by(|((_, one), ..), ((_, other), ..)| one == other) {
                    let mut sum = equal[0].2.clone();
                    equal[1..].iter().for_each(|(.., diff)| sum.plus_equals(diff));
                    if !sum.is_zero() {
                        hashes_to_keep.push(hash);
                        to_keep.push(keep(&equal[0].0.1, sum));
                    }
                }
            }
        }
        drop(lists);
        // These first: the step may bring the first value of another key of the list.
        anew.into_iter().for_each(|(hash, values)| kept.replace(hash, values.into_iter()));
        let mut to_keep = to_keep.into_iter();
        hashes_to_keep.chunks(BLOCK).for_each(|hashes| kept.extend(hashes, to_keep.by_ref()));
    }
}

/// A list with so many rows, of which no more than half count, is written anew.
const MANY: usize = if cfg!(test) { 4 } else { 64 };

/// What is found in the list of a key.
struct List<'a, V, R> {
    values: Vec<(&'a V, R)>,
    rows: usize,
    /// Whether it holds those of another key as well.
    is_shared: bool,
}

impl<V, R> Default for List<'_, V, R> {
    fn default() -> Self {
        List { values: Vec::new(), rows: 0, is_shared: false }
    }
}

impl<'a, V, R: Clone> List<'a, V, R> {
    fn clear(&mut self) {
        self.values.clear();
        (self.rows, self.is_shared) = (0, false);
    }

    fn find<K: PartialEq>(&mut self, kept: &'a Kept<K, V, R>, key: &K) {
        self.rows += 1;
        if kept.key == *key {
            self.values.push((&kept.value, kept.diff.clone()));
        } else {
            self.is_shared = true;
        }
    }
}

/// Sends what changes in the output of a key whose earlier values are these, in any order.
fn changes<'a, K: Data, V1: Ord, V2: Data, T: Timestamp, R: ExchangeData + Abelian>(
    key: &K,
    values: &mut Vec<(&'a V1, R)>,
    new: &'a [((K, V1), T, R)],
    logic: &mut impl FnMut(&K, &[(&V1, R)], &mut Vec<(V2, R)>),
    send: &mut impl FnMut(((K, V2), T, R)),
) {
    let mut make = |values: &mut Vec<(&'a V1, R)>| {
        let mut made = Vec::new();
        consolidate(values);
        if !values.is_empty() {
            logic(key, values, &mut made);
            consolidate(&mut made);
        }
        made
    };
    let mut stands = make(values);
    let mut new: Vec<_> = new.iter().collect();
    new.sort_by(|(_, one, _), (_, other, _)| one.cmp(other));
    let mut all: Updates<(K, V2), T, R> = Vec::new();
    let mut times = new.chunk_by(|(_, one, _), (_, other, _)| one == other).peekable();
    while let Some(at_once) = times.next() {
        let time = &at_once[0].1;
        values.extend(at_once.iter().map(|((_, value), _, diff)| (value, diff.clone())));
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

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use differential_dataflow::input::InputSession;
    use proptest::prelude::*;
    use serde::{Deserialize, Serialize};
    use timely::Config;

    use super::*;
    use crate::segments::SEGMENT_ROWS;

    impl Expires<u64> for u64 {
        fn expiry(&self) -> Option<u64> {
            None
        }
    }

    /// Its number, and when it expires: a key changes in the ticks before.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
    struct Key(u64, u64);

    /// Some share a list, also with those that expire at another time.
    impl std::hash::Hash for Key {
        fn hash<H: std::hash::Hasher>(&self, hasher: &mut H) {
            (self.0 / 3).hash(hasher);
        }
    }

    impl Expires<u64> for Key {
        fn expiry(&self) -> Option<u64> {
            Some(self.1)
        }
    }

    /// Times of a tick.
    const TICK: u64 = 10;
    /// Ticks in which a key may change.
    const LIFE: u64 = 3;

    /// Key, value, time from the begin of its tick, difference.
    type Update = (u64, u8, u64, i64);
    /// Changes of the output: key, (value, sum), time, difference.
    type Changes = Vec<((Key, (u8, i64)), u64, i64)>;

    /// The updates of each tick reduced here, and by differential, which forgets nothing: the greatest value of each key,
    /// and the sum of all. Keys of a number are others after their life.
    fn reduced(ticks: Vec<Vec<Update>>, workers: usize) -> [Changes; 2] {
        let found = Arc::new(Mutex::new([Vec::new(), Vec::new()]));
        let (all, ticks) = (Arc::clone(&found), Arc::new(ticks));
        let guards = timely::execute(Config::process(workers), move |worker| {
            let mut input = InputSession::new();
            let (one, other) = (Arc::clone(&all), Arc::clone(&all));
            let probe = worker.dataflow::<u64, _, _>(|scope| {
                let rows = input.to_collection(scope);
                let logic = |_: &Key, values: &[(&u8, i64)], output: &mut Vec<((u8, i64), i64)>| {
                    assert!(values.is_sorted() && values.iter().all(|(_, count)| *count != 0));
                    let sum = values.iter().map(|(_, count)| count).sum();
                    // Sometimes two, sometimes none.
                    output.extend(values.last().map(|(value, _)| ((**value, sum), 1)));
                    output.extend((sum == 1).then_some(((0, sum), 2)));
                    output.retain(|_| sum != 2);
                };
                let here = reduce(rows.clone(), "here", logic);
                let there = rows.reduce(logic);
                let here = here.inspect(move |change| one.lock().unwrap()[0].push(*change));
                here.concat(there.inspect(move |change| other.lock().unwrap()[1].push(*change))).probe().0
            });
            let worker_index = worker.index();
            for (tick, updates) in (0..).zip(&*ticks) {
                for (key, value, time, diff) in updates.iter().skip(worker_index).step_by(workers) {
                    let time = tick * TICK + time;
                    let key = Key(*key, (time / (LIFE * TICK) + 1) * LIFE * TICK);
                    input.update_at((key, *value), time, *diff);
                }
                input.advance_to((tick + 1) * TICK);
                input.flush();
                worker.step_while(|| probe.less_than(&((tick + 1) * TICK)));
            }
            drop(input);
            worker.step_while(|| !probe.done());
        });
        drop(guards.expect("workers start").join());
        let mut found = std::mem::take(&mut *found.lock().unwrap());
        found.iter_mut().for_each(consolidate_updates);
        found
    }

    fn updates(keys: u64, apart: u64, most: usize) -> impl Strategy<Value = Vec<Vec<Update>>> {
        // Some come for later ticks.
        let time = prop_oneof![3 => 0..TICK, 1 => 0..4 * TICK];
        let keys = (0..keys).prop_map(move |key| key * apart);
        let update = (keys, 0..3u8, time, prop_oneof![3 => Just(1i64), 1 => Just(-1)]);
        prop::collection::vec(prop::collection::vec(update, 0..most), 1..8)
    }

    proptest! {
        #[test]
        fn a_reduction_is_differentials_though_it_forgets(ticks in updates(100, 1, 200), workers in 1..3usize) {
            let [here, there] = reduced(ticks, workers);
            prop_assert_eq!(here, there);
        }

        #[test]
        fn lists_that_are_written_anew_hold_the_same(ticks in updates(3, 3, 60), workers in 1..3usize) {
            let [here, there] = reduced(ticks, workers);
            prop_assert_eq!(here, there);
        }
    }

    /// What is made of each key: how many values it has.
    fn counting<K>() -> Reducing<K, u8, u64, isize, impl FnMut(&K, &[(&u8, isize)], &mut Vec<(usize, isize)>)>
    where
        K: ExchangeData + Expires<u64>,
    {
        let logic = |_: &K, values: &[(&u8, isize)], output: &mut Vec<_>| output.push((values.len(), 1));
        Reducing { kept: Postings::new(), logic }
    }

    #[test]
    fn a_key_whose_values_repeat_has_a_short_list() {
        let (mut reducing, mut found) = (counting(), Vec::new());
        for time in 0..10_000u64 {
            reducing.step(vec![((7, (time % 3) as u8), time, 1)], &mut |change| found.push(change));
        }
        let mut rows = 0;
        reducing.kept.find(&[hash(7u64.hashed())], u64::MAX, |_, _, _| rows += 1);
        assert!(rows <= 2 * MANY, "{rows} rows");
        let expected = [((7, 1), 0, 1), ((7, 1), 1, -1), ((7, 2), 1, 1), ((7, 2), 2, -1), ((7, 3), 2, 1)];
        assert_eq!(found, expected);
    }

    #[test]
    fn a_key_that_joins_a_list_as_it_is_written_anew_stays() {
        const LAST: u64 = 4 * MANY as u64;
        let [long, joins] = [0, 1].map(|number| Key(number, LAST + 1));
        for joined in 0..LAST {
            let (mut reducing, mut found) = (counting(), Vec::new());
            for time in 0..=LAST {
                let mut values = vec![((long, 0), time, 1)];
                values.extend((time == joined).then_some(((joins, 0), time, 1)));
                values.extend((time == LAST).then_some(((joins, 1), time, 1)));
                reducing.step(values, &mut |change| found.push(change));
            }
            found.retain(|((key, _), ..)| *key == joins);
            found.sort();
            assert_eq!(found, [((joins, 1), joined, 1), ((joins, 1), LAST, -1), ((joins, 2), LAST, 1)]);
        }
    }

    #[test]
    fn a_key_that_lost_all_values_begins_anew() {
        const VALUES: u8 = 4 * MANY as u8;
        let (mut reducing, mut found) = (counting(), Vec::new());
        for (time, diff) in [(0, 1), (1, -1), (2, 1)] {
            let values = if time < 2 { 0..VALUES } else { VALUES..VALUES + 1 };
            let updates = values.map(|value| ((7, value), time, diff)).collect();
            reducing.step(updates, &mut |change| found.push(change));
        }
        let all = usize::from(VALUES);
        assert_eq!(found, [((7, all), 0, 1), ((7, all), 1, -1), ((7, 1), 2, 1)]);
    }

    #[test]
    fn values_go_when_their_keys_have_expired() {
        let value = Arc::new(0u8);
        let (given, kept) = (Arc::clone(&value), Arc::new(Mutex::new(Vec::new())));
        let counts = Arc::clone(&kept);
        timely::execute_directly(move |worker| {
            let mut input = InputSession::new();
            let probe = worker.dataflow::<u64, _, _>(|scope| {
                let output = reduce(input.to_collection(scope), "counts", |_, values: &[(&Arc<u8>, isize)], output| {
                    output.push((values.len(), 1));
                });
                output.probe().0
            });
            let mut number = 0;
            for tick in 0..100 {
                for _ in 0..SEGMENT_ROWS {
                    input.update((Key(number, tick + LIFE), Arc::clone(&given)), 1isize);
                    number += 1;
                }
                input.advance_to(tick + 1);
                input.flush();
                worker.step_while(|| probe.less_than(&(tick + 1)));
                counts.lock().unwrap().push(Arc::strong_count(&given) / SEGMENT_ROWS);
            }
        });
        let kept = kept.lock().unwrap();
        // A segment for each tick of which the keys may still change.
        assert!(kept.iter().skip(1).all(|segments| *segments == LIFE as usize - 1), "{kept:?}");
    }
}
