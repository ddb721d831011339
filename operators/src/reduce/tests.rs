//! Results as differential's, whatever is forgotten, and how much is kept.

use std::sync::{Arc, Mutex};

use differential_dataflow::input::InputSession;
use proptest::prelude::*;
use serde::{Deserialize, Serialize};
use timely::Config;

use super::*;
use crate::segments::SEGMENT_ROWS;

/// A key that expires at the end of time.
impl Expires<u64> for u64 {
    fn expiry(&self) -> u64 {
        u64::MAX
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
    fn expiry(&self) -> u64 {
        self.1
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
fn counting<K>() -> Reducing<K, u8, u64, isize, ByKey, impl FnMut(&K, &[(&u8, isize)], &mut Vec<(usize, isize)>)>
where
    K: ExchangeData + Hashable + Expires<u64>,
{
    let logic = |_: &K, values: &[(&u8, isize)], output: &mut Vec<_>| output.push((values.len(), 1));
    Reducing::new(logic)
}

#[test]
fn a_key_whose_values_repeat_has_a_short_list() {
    let (mut reducing, mut found) = (counting(), Vec::new());
    for time in 0..10_000u64 {
        reducing.step(vec![((7, (time % 3) as u8), time, 1)], &mut |change| found.push(change));
    }
    let mut rows = 0;
    reducing.kept.find(&[hash(7u64.hashed())], u64::MAX, |_, _, _| rows += 1);
    assert!(rows <= 6 + MORE, "{rows} rows");
    let expected = [((7, 1), 0, 1), ((7, 1), 1, -1), ((7, 2), 1, 1), ((7, 2), 2, -1), ((7, 3), 2, 1)];
    assert_eq!(found, expected);
}

#[test]
fn a_key_that_joins_a_list_as_it_is_written_anew_stays() {
    const LAST: u64 = 4 * MORE as u64;
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
    const VALUES: u8 = 4 * MORE as u8;
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

/// Schedule A of the review: keys that live long, with a change an event.
fn changing(changes: u64, mut others: impl FnMut(u64) -> Option<Key>) -> (usize, usize) {
    const KEYS: u64 = 50;
    let (mut reducing, mut found, mut most, mut of_others) = (counting(), Vec::new(), 0, 0);
    let reader = reducing.kept.reader();
    for time in 0..changes {
        // The value of a key is replaced by another: it has one at a time. Some share a list.
        let (key, turn) = (Key(time % KEYS, u64::MAX), time / KEYS);
        let mut changes = vec![((key, (turn % 100) as u8), time, 1)];
        changes.extend((turn > 0).then(|| ((key, ((turn - 1) % 100) as u8), time, -1)));
        changes.extend(others(time).map(|key| ((key, 0), time, 1)));
        of_others += usize::from(others(time).is_some());
        reducing.step(changes, &mut |change| found.push(change));
        reducing.advance(reader, &time);
        most = most.max(reducing.kept.len());
    }
    assert_eq!(found.len(), KEYS as usize + of_others, "each has one value from its first change on");
    // A list is compacted when there are twice as many rows as values and so many more.
    (most, KEYS as usize * (2 + MORE + 2))
}

#[test]
fn what_is_kept_is_bounded_by_the_values_that_count_and_not_by_changes() {
    let (most, in_lists) = changing(40_000, |_| None);
    assert!(most <= 2 * in_lists + 4 * SEGMENT_ROWS, "{most} rows are kept of {in_lists} that may be in lists");
}

#[test]
fn a_key_that_seldom_changes_keeps_no_others() {
    const EVERY: u64 = SEGMENT_ROWS as u64 / 2;
    const CHANGES: u64 = 40_000;
    let key = |time: u64| 1_000 + 3 * time;
    // As many as segments are filled, so that each segment has some.
    let (most, in_lists) = changing(CHANGES, |time| (time % EVERY == 0).then(|| Key(key(time), u64::MAX)));
    let live = in_lists + (CHANGES / EVERY) as usize;
    assert!(most <= 4 * live, "{most} rows are kept, {live} may be in lists");
    // Many that expire soon lie beside few that live long.
    let (most, in_lists) = changing(CHANGES, |time| {
        let until = if time % EVERY == 0 { u64::MAX } else { time + 100 };
        Some(Key(key(time), until))
    });
    let live = in_lists + (CHANGES / EVERY) as usize + 100;
    assert!(most <= 4 * live, "{most} rows are kept, {live} may be in lists");
}

#[test]
fn of_a_key_that_lost_all_values_nothing_is_kept() {
    let mut reducing = counting();
    let reader = reducing.kept.reader();
    for time in 0..10_000u64 {
        for diff in [1, -1] {
            reducing.step(vec![((time, 0), time, diff)], &mut |_| {});
        }
        reducing.advance(reader, &time);
        assert!(reducing.kept.len() <= 4 * SEGMENT_ROWS, "{} rows", reducing.kept.len());
    }
}

#[test]
#[should_panic(expected = "counts: 1 updates")]
#[cfg(debug_assertions)]
fn a_key_that_changes_when_it_has_expired_is_found() {
    timely::execute_directly(|worker| {
        let mut input = InputSession::new();
        worker.dataflow::<u64, _, _>(|scope| {
            reduce(input.to_collection(scope), "counts", |_, values: &[(&u8, isize)], output| {
                output.push((values.len(), 1));
            });
        });
        input.update_at((Key(1, 10), 1), 9, 1isize);
        input.update_at((Key(1, 10), 2), 10, 1);
        input.close();
        while worker.step() {}
    });
}

#[test]
fn updates_of_what_has_expired_are_counted() {
    let mut reducing = counting();
    let update = |key: u64, time, diff| ((Key(key, 10), 0), time, diff);
    assert_eq!(reducing.step(vec![update(0, 9, 1), update(3, 10, 1), update(6, 11, 1)], &mut |_| {}), 2);
    assert_eq!(reducing.step(vec![update(0, 12, 1), update(0, 12, -1)], &mut |_| {}), 0, "nothing changed");
}

thread_local! {
    static COMPARISONS: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
}

/// A value that counts how often it is compared.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Compared(u64);

impl Ord for Compared {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        COMPARISONS.set(COMPARISONS.get() + 1);
        self.0.cmp(&other.0)
    }
}

impl PartialOrd for Compared {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

/// Schedule J of the review.
#[test]
fn a_key_with_many_times_in_a_step_is_not_sorted_at_each() {
    const VALUES: u64 = 4_000;
    const TIMES: u64 = 1_000;
    let logic =
        |_: &u64, values: &[(&Compared, isize)], output: &mut Vec<(usize, isize)>| output.push((values.len(), 1));
    let mut reducing = Reducing::<u64, Compared, u64, isize, ByKey, _>::new(logic);
    let value = |number: u64| Compared(hash(number));
    reducing.step((0..VALUES).map(|number| ((7, value(number)), 0, 1)).collect(), &mut |_| {});
    let mut found = Vec::new();
    COMPARISONS.set(0);
    let new = (0..TIMES).map(|at| ((7, value(VALUES + at)), 1 + at, 1)).collect();
    reducing.step(new, &mut |change| found.push(change));
    assert_eq!(found.len() as u64, 2 * TIMES);
    assert_eq!(found.last(), Some(&((7, (VALUES + TIMES) as usize), TIMES, 1)));
    // All are sorted a few times, and each change searches among them.
    let (comparisons, log) = (COMPARISONS.get(), u64::from((VALUES + TIMES).ilog2() + 1));
    let most = 3 * (VALUES + TIMES) * log;
    assert!(comparisons < most, "{comparisons} comparisons, where sorting at each time takes {}", TIMES * VALUES);
}

proptest! {
    #[test]
    fn values_are_added_one_by_one_as_together(
        mut values in prop::collection::vec((0..30u8, -1..2i64), 0..40),
        mut new in prop::collection::vec((0..30u8, -1..2i64), 0..2 * FEW),
    ) {
        consolidate(&mut values);
        consolidate(&mut new);
        let mut together = [values.clone(), new.clone()].concat();
        consolidate(&mut together);
        add(&mut values, new.into_iter());
        prop_assert_eq!(values, together);
    }
}

/// How far apart two visits may be to count as a pair.
const GAP: u64 = 5;
/// How long after it was made a visit may come or be withdrawn.
const LATENESS: u64 = 7;

/// A visit, by when it was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Visit(u64);

/// From then on no visit comes or goes that is within the gap of it.
impl Expires<u64> for Visit {
    fn expiry(&self) -> u64 {
        self.0 + GAP + LATENESS + 1
    }
}

/// Pairs of consecutive visits within the gap.
fn pairs(_: &u64, visits: &[(&Visit, isize)], output: &mut Vec<((u64, u64), isize)>) {
    let pairs = visits.windows(2).map(|pair| (pair[0].0.0, pair[1].0.0));
    output.extend(pairs.filter(|(one, other)| other - one <= GAP).map(|pair| (pair, 1)));
}

proptest! {
    #[test]
    fn values_that_expire_one_by_one_are_not_missed_by_what_is_local(
        late in prop::collection::vec(prop::collection::vec((0..3u64, 0..=LATENESS, any::<bool>()), 0..3), 100..300),
    ) {
        let mut reducing = Reducing::<u64, Visit, u64, isize, crate::ByVal, _>::new(pairs);
        let reader = reducing.kept.reader();
        let (mut all, mut found) = (std::collections::BTreeMap::<u64, std::collections::BTreeSet<Visit>>::new(), Vec::new());
        for (tick, visits) in (LATENESS..).zip(&late) {
            let mut changes = Vec::new();
            for (key, late, withdraw) in visits {
                let (visit, of_key) = (Visit(tick - late), all.entry(*key).or_default());
                if of_key.insert(visit) {
                    changes.push(((*key, visit), tick, 1));
                } else if *withdraw {
                    of_key.remove(&visit);
                    changes.push(((*key, visit), tick, -1));
                }
            }
            prop_assert_eq!(reducing.step(changes, &mut |(row, _, diff)| found.push((row, diff))), 0);
            reducing.advance(reader, &tick);
            consolidate(&mut found);
            let mut expected = Vec::new();
            for (key, visits) in &all {
                let (visits, mut made) = (visits.iter().map(|visit| (visit, 1)).collect::<Vec<_>>(), Vec::new());
                pairs(key, &visits, &mut made);
                expected.extend(made.into_iter().map(|(pair, diff)| ((*key, pair), diff)));
            }
            prop_assert_eq!(&found, &expected);
        }
        let kept = reducing.kept.len();
        prop_assert!(kept <= 3 * (GAP + LATENESS) as usize * 2 + 2 * SEGMENT_ROWS, "{} visits are kept", kept);
    }
}
