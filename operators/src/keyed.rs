//! State by key, with timers: what the field calls a keyed process function.
//!
//! A view of what a key has done (its sessions, how often it saw a campaign) is found from one record a key, visited once for the
//! events that a step brings it. As a composition of arrangements it would cost a search and a merge for each of them
//! (`docs/decisions/0026-keyed-state.md`).
//!
//! **Semantics.** [`Keyed::on_event`] takes in each event that came, or was taken back, at its tick; [`Keyed::on_timer`] is called
//! at the tick that [`Keyed::due`] named. Both change the record and say what follows from it from that tick on. So what the
//! operator gives is a function of the events up to a tick and of the tick, whenever it was scheduled: a jump of the frontier over
//! a day has all timers of that day go off one after the other, each at its own tick.
//!
//! Of one key and tick, events that cancel are left out, and what is taken back goes before anything comes. So `on_event` is never
//! told that an event goes that had not come. What it says of a tick, summed, must not depend on the order of that tick's events.
//!
//! **State.** A record for each key that is not [`Keyed::is_empty`] after a visit. Timers: one a record, at the earliest tick that
//! was due when it was set; one that comes too early sets the next. No change waits in a merge batcher for a far tick.
//!
//! **Progress.** The operator holds a capability for its earliest timer, so output at that tick can follow whenever the frontier
//! of its input has passed it. Once the input is closed time ends: no further timer goes off, or windows would step on for as long
//! as anything is dated ahead.

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasherDefault, Hash, Hasher};

use differential_dataflow::consolidation::{consolidate, consolidate_updates};
use differential_dataflow::{AsCollection, Data, ExchangeData, Hashable, VecCollection};
use timely::dataflow::channels::pact::Exchange;
use timely::dataflow::operators::Capability;
use timely::dataflow::operators::generic::Operator;

/// Ticks of the dataflow.
type Tick = u64;

/// Tables of a worker: each grows by itself, so no step has to move all records.
const SHARDS: usize = 256;

/// How many records are brought into the cache at a time.
const FETCHED: usize = 64;

/// What is kept of each key and what follows from it.
pub trait Keyed: 'static {
    /// What records are kept by. Its hash is taken as it is, so it should be uniform.
    type Key: ExchangeData + Hashable<Output: Into<u64>> + Copy + Eq;
    /// What comes.
    type Event: ExchangeData;
    /// What is kept of a key.
    type Record: Default + 'static;
    /// What follows.
    type Output: Data;

    /// Takes in that an event came (`diff` > 0) or was taken back (< 0) at `now`.
    fn on_event(
        &mut self,
        key: Self::Key,
        record: &mut Self::Record,
        event: &Self::Event,
        diff: isize,
        now: Tick,
        out: &mut impl FnMut(Self::Output, isize),
    );

    /// Does what is due at `now`, after the events of that tick. Nothing may be: a timer that was set too early goes off all the same.
    fn on_timer(
        &mut self,
        key: Self::Key,
        record: &mut Self::Record,
        now: Tick,
        out: &mut impl FnMut(Self::Output, isize),
    );

    /// Says what it gathered over the keys of a worker since the last call, at the tick that ends: what many keys add to a few sums
    /// need not be said for each.
    fn end_of_tick(&mut self, _: &mut impl FnMut(Self::Output, isize)) {}

    /// When something is due next. What was due before the last visit is done at its tick; after [`Keyed::on_timer`] nothing may be
    /// due at its tick or before.
    fn due(&self, record: &Self::Record) -> Option<Tick>;

    /// Whether nothing need be kept.
    fn is_empty(&self, record: &Self::Record) -> bool;
}

/// Two of one key in one record and one visit, or one of them alone: what a visit costs is finding the record.
pub struct Both<A, B>(pub Option<A>, pub Option<B>);

/// What follows from the one or the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Either<A, B> {
    /// From the first.
    First(A),
    /// From the second.
    Second(B),
}

impl<A: Keyed, B: Keyed<Key = A::Key, Event = A::Event>> Keyed for Both<A, B> {
    type Key = A::Key;
    type Event = A::Event;
    type Record = (A::Record, B::Record);
    type Output = Either<A::Output, B::Output>;

    fn on_event(
        &mut self,
        key: A::Key,
        (first, second): &mut Self::Record,
        event: &A::Event,
        diff: isize,
        now: Tick,
        out: &mut impl FnMut(Self::Output, isize),
    ) {
        if let Some(logic) = &mut self.0 {
            logic.on_event(key, first, event, diff, now, &mut |row, diff| out(Either::First(row), diff));
        }
        if let Some(logic) = &mut self.1 {
            logic.on_event(key, second, event, diff, now, &mut |row, diff| out(Either::Second(row), diff));
        }
    }

    fn on_timer(
        &mut self,
        key: A::Key,
        (first, second): &mut Self::Record,
        now: Tick,
        out: &mut impl FnMut(Self::Output, isize),
    ) {
        if let Some(logic) = &mut self.0 {
            logic.on_timer(key, first, now, &mut |row, diff| out(Either::First(row), diff));
        }
        if let Some(logic) = &mut self.1 {
            logic.on_timer(key, second, now, &mut |row, diff| out(Either::Second(row), diff));
        }
    }

    fn end_of_tick(&mut self, out: &mut impl FnMut(Self::Output, isize)) {
        if let Some(logic) = &mut self.0 {
            logic.end_of_tick(&mut |row, diff| out(Either::First(row), diff));
        }
        if let Some(logic) = &mut self.1 {
            logic.end_of_tick(&mut |row, diff| out(Either::Second(row), diff));
        }
    }

    fn due(&self, (first, second): &Self::Record) -> Option<Tick> {
        let of_first = self.0.as_ref().and_then(|logic| logic.due(first));
        let of_second = self.1.as_ref().and_then(|logic| logic.due(second));
        of_first.into_iter().chain(of_second).min()
    }

    fn is_empty(&self, (first, second): &Self::Record) -> bool {
        self.0.as_ref().is_none_or(|logic| logic.is_empty(first))
            && self.1.as_ref().is_none_or(|logic| logic.is_empty(second))
    }
}

/// A hash that is there already.
#[derive(Default)]
struct AsItIs(u64);

impl Hasher for AsItIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _: &[u8]) {
        unreachable!("only hashes are hashed");
    }

    fn write_u64(&mut self, hash: u64) {
        // The shard and the worker were chosen by its low bits.
        self.0 = hash.rotate_left(20);
    }
}

/// A key and its hash.
#[derive(PartialEq, Eq)]
struct Hashed<K>(u64, K);

impl<K> Hash for Hashed<K> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.0);
    }
}

/// The record of a key, and when its timer is set to.
struct Slot<R> {
    record: R,
    set_to: Option<Tick>,
}

type Shard<K> = HashMap<Hashed<<K as Keyed>::Key>, Slot<<K as Keyed>::Record>, BuildHasherDefault<AsItIs>>;

/// The records of a worker.
struct Table<K: Keyed> {
    shards: Vec<Shard<K>>,
    timers: BTreeMap<Tick, Vec<K::Key>>,
}

impl<K: Keyed> Table<K> {
    fn new() -> Self {
        Table { shards: (0..SHARDS).map(|_| HashMap::default()).collect(), timers: BTreeMap::new() }
    }

    /// Brings the records of keys into the processor's cache: it waits for many at a time, not for one after the other.
    fn fetch(&self, keys: impl Iterator<Item = (u64, K::Key)>) {
        for (hash, key) in keys {
            let slot = self.shards[(hash >> 8) as usize % SHARDS].get(&Hashed(hash, key));
            std::hint::black_box(slot.is_some_and(|slot| slot.set_to.is_some()));
        }
    }

    /// Visits the record of a key; sets its timer; drops it if there is nothing to keep.
    fn visit(&mut self, logic: &mut K, key: K::Key, now: Tick, visit: impl FnOnce(&mut K, &mut Slot<K::Record>)) {
        let hash: u64 = key.hashed().into();
        let shard = &mut self.shards[(hash >> 8) as usize % SHARDS];
        let new = || Slot { record: K::Record::default(), set_to: None };
        let slot = shard.entry(Hashed(hash, key)).or_insert_with(new);
        visit(logic, slot);
        if logic.is_empty(&slot.record) {
            shard.remove(&Hashed(hash, key));
        } else if let Some(due) = logic.due(&slot.record).map(|due| due.max(now))
            && slot.set_to.is_none_or(|set_to| due < set_to)
        {
            slot.set_to = Some(due);
            self.timers.entry(due).or_default().push(key);
        }
    }

    /// Takes in the events of a tick whose keys have one hash.
    fn take_in<'a>(
        &mut self,
        logic: &mut K,
        events: impl Iterator<Item = &'a ((K::Key, K::Event), Tick, isize)>,
        now: Tick,
        out: &mut impl FnMut(K::Output, isize),
    ) where
        K::Key: 'a,
        K::Event: 'a,
    {
        let mut events: Vec<(&(K::Key, K::Event), isize)> = events.map(|(event, _, diff)| (event, *diff)).collect();
        if events.len() > 1 {
            consolidate(&mut events);
        }
        for of_key in events.chunk_by(|((one, _), _), ((other, _), _)| one == other) {
            let ((key, _), _) = of_key[0];
            self.visit(logic, *key, now, |logic, slot| {
                // What is taken back goes before anything comes.
                for going in [true, false] {
                    for ((_, event), diff) in of_key.iter().filter(|(_, diff)| (*diff < 0) == going) {
                        logic.on_event(*key, &mut slot.record, event, *diff, now, out);
                    }
                }
            });
        }
    }

    /// Has the timers of a tick go off.
    fn go_off(&mut self, logic: &mut K, tick: Tick, out: &mut impl FnMut(K::Output, isize)) {
        for key in self.timers.remove(&tick).unwrap_or_default() {
            self.visit(logic, key, tick, |logic, slot| {
                // One that was set to an earlier tick since has gone off then.
                if slot.set_to == Some(tick) {
                    slot.set_to = None;
                    logic.on_timer(key, &mut slot.record, tick, out);
                }
            });
        }
    }
}

/// What `logic` makes of events by their keys. See the module's page.
pub fn keyed<'scope, K: Keyed>(
    events: VecCollection<'scope, Tick, (K::Key, K::Event), isize>,
    name: &str,
    mut logic: K,
) -> VecCollection<'scope, Tick, K::Output, isize> {
    let to_worker = Exchange::new(|((key, _), _, _): &((K::Key, K::Event), Tick, isize)| key.hashed().into());
    let made = events.inner.unary_frontier(to_worker, name, move |_, _| {
        let mut table = Table::<K>::new();
        let mut waiting: Vec<((K::Key, K::Event), Tick, isize)> = Vec::new();
        // Kept for their memory.
        let (mut ready, mut places) = (Vec::new(), Vec::new());
        let mut held: Option<Capability<Tick>> = None;
        move |(input, frontier), output| {
            input.for_each(|capability, events| {
                if held.as_ref().is_none_or(|held| capability.time() < held.time()) {
                    held = Some(capability.retain(0));
                }
                waiting.append(events);
            });
            let complete = frontier.frontier().first().copied();
            let is_complete = |tick: Tick| complete.is_none_or(|complete| tick < complete);
            ready.clear();
            if waiting.iter().all(|(_, tick, _)| is_complete(*tick)) {
                std::mem::swap(&mut ready, &mut waiting);
            } else {
                ready.extend(waiting.extract_if(.., |(_, tick, _)| is_complete(*tick)));
            }
            // Events are large, so it is not them that are sorted.
            let place = |(at, ((key, _), tick, _)): (usize, &((K::Key, K::Event), Tick, isize))| -> (Tick, u64, u32) {
                (*tick, key.hashed().into(), at as u32)
            };
            places.clear();
            places.extend(ready.iter().enumerate().map(place));
            places.sort_unstable();
            let mut made = Vec::new();
            let mut of_ticks = places.chunk_by(|(one, ..), (other, ..)| one == other).peekable();
            loop {
                let of_events = of_ticks.peek().map(|places| places[0].0);
                let next_timer = table.timers.keys().next().copied();
                let of_timers = next_timer.filter(|tick| complete.is_some_and(|complete| *tick < complete));
                let Some(now) = of_events.into_iter().chain(of_timers).min() else { break };
                let mut out = |row, diff| made.push((row, now, diff));
                if of_events == Some(now)
                    && let Some(places) = of_ticks.next()
                {
                    let mut unfetched = places;
                    for of_hash in places.chunk_by(|(_, one, _), (_, other, _)| one == other) {
                        if unfetched.first().is_some_and(|next| of_hash[0] >= *next) {
                            let (block, rest) = unfetched.split_at(unfetched.len().min(FETCHED));
                            table.fetch(block.iter().map(|(_, hash, at)| (*hash, ready[*at as usize].0.0)));
                            unfetched = rest;
                        }
                        table.take_in(&mut logic, of_hash.iter().map(|(.., at)| &ready[*at as usize]), now, &mut out);
                    }
                }
                // What is due at this tick, also by what has just come.
                while table.timers.contains_key(&now) {
                    table.go_off(&mut logic, now, &mut out);
                }
                logic.end_of_tick(&mut out);
            }
            if let Some(holding) = &held {
                consolidate_updates(&mut made);
                output.session(holding).give_container(&mut made);
            }
            let next = waiting.iter().map(|(_, tick, _)| *tick).chain(table.timers.keys().next().copied()).min();
            match (next.filter(|_| complete.is_some()), &mut held) {
                (Some(next), Some(held)) => held.downgrade(&next),
                _ => held = None,
            }
        }
    });
    made.as_collection()
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use differential_dataflow::input::InputSession;
    use timely::dataflow::operators::probe::Handle;

    use super::*;

    /// How many events a key had within the last ten ticks.
    struct Recent;

    impl Keyed for Recent {
        type Key = u64;
        type Event = Tick;
        type Record = (Vec<Tick>, isize);
        type Output = (u64, isize);

        fn on_event(
            &mut self,
            key: u64,
            (events, told): &mut (Vec<Tick>, isize),
            event: &Tick,
            diff: isize,
            now: Tick,
            out: &mut impl FnMut((u64, isize), isize),
        ) {
            if diff > 0 {
                events.extend(std::iter::repeat_n(*event, diff as usize));
            } else {
                let at = events.iter().position(|came| came == event);
                events.remove(at.expect("it had come"));
            }
            self.tell(key, events, told, now, out);
        }

        fn on_timer(
            &mut self,
            key: u64,
            (events, told): &mut (Vec<Tick>, isize),
            now: Tick,
            out: &mut impl FnMut((u64, isize), isize),
        ) {
            events.retain(|event| event + 10 > now);
            self.tell(key, events, told, now, out);
        }

        fn due(&self, (events, _): &(Vec<Tick>, isize)) -> Option<Tick> {
            events.iter().min().map(|event| event + 10)
        }

        fn is_empty(&self, (events, _): &(Vec<Tick>, isize)) -> bool {
            events.is_empty()
        }
    }

    impl Recent {
        fn tell(
            &self,
            key: u64,
            events: &[Tick],
            told: &mut isize,
            now: Tick,
            out: &mut impl FnMut((u64, isize), isize),
        ) {
            let count = events.iter().filter(|event| **event + 10 > now).count() as isize;
            if *told > 0 {
                out((key, *told), -1);
            }
            if count > 0 {
                out((key, count), 1);
            }
            *told = count;
        }
    }

    /// Events of a key at their own ticks, fed in steps of so many ticks.
    fn changes(events: &[(u64, Tick)], step: Tick, workers: usize) -> Vec<((u64, isize), Tick, isize)> {
        let (events, made) = (events.to_vec(), Arc::new(Mutex::new(Vec::new())));
        let collected = Arc::clone(&made);
        timely::execute(timely::Config::process(workers), move |worker| {
            let (mut input, probe, collected) = (InputSession::new(), Handle::new(), Arc::clone(&collected));
            worker.dataflow(|scope| {
                let made = keyed(input.to_collection(scope), "recent", Recent);
                made.inspect(move |change| collected.lock().unwrap().push(*change)).probe_with(&probe);
            });
            for from in (0..100).step_by(step as usize) {
                for (key, tick) in events.iter().skip(worker.index()).step_by(worker.peers()) {
                    if (from..from + step).contains(tick) {
                        input.update_at((*key, *tick), *tick, 1);
                    }
                }
                input.advance_to(from + step);
                input.flush();
                worker.step_while(|| probe.less_than(&(from + step)));
            }
        })
        .unwrap()
        .join()
        .into_iter()
        .for_each(|worker| worker.unwrap());
        let mut made = made.lock().unwrap().clone();
        consolidate_updates(&mut made);
        made
    }

    #[test]
    fn no_timer_goes_off_once_the_input_is_closed() {
        assert_eq!(changes(&[(7, 80), (7, 95)], 5, 1), [((7, 1), 80, 1), ((7, 1), 90, -1), ((7, 1), 95, 1)]);
    }

    #[test]
    fn timers_go_off_at_their_own_ticks_however_the_frontier_moves() {
        let events: Vec<(u64, Tick)> = (0..300u64).map(|n| (n * n % 7, n * 37 % 80)).collect();
        let one_by_one = changes(&events, 1, 1);
        assert!(one_by_one.iter().any(|(_, tick, _)| *tick > 80), "windows end though nothing comes");
        for tick in 0..99 {
            for key in 0..7 {
                let within = events.iter().filter(|(of, at)| *of == key && *at <= tick && at + 10 > tick).count();
                let rows = one_by_one.iter().filter(|((of, _), at, _)| *of == key && *at <= tick);
                let told: isize = rows.map(|((_, count), _, diff)| count * diff).sum();
                assert_eq!(told, within as isize, "key {key} at {tick}");
            }
        }
        for (step, workers) in [(10, 1), (100, 1), (7, 2), (100, 3)] {
            assert!(changes(&events, step, workers) == one_by_one, "steps of {step}, {workers} workers");
        }
    }

    #[test]
    fn a_timer_holds_nothing_back() {
        assert_eq!(changes(&[(1, 5)], 50, 2), [((1, 1), 5, 1), ((1, 1), 15, -1)]);
    }
}
