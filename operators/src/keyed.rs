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
//! was due when it was set, and one that it was set to before; one that comes too early sets the next. No change waits in a merge batcher for a far tick.
//!
//! Other threads may read the records, as of a tick ([`keyed_published`]).
//!
//! **Progress.** The operator holds a capability for its earliest timer, unless timers only forget ([`Keyed::TIMERS_TELL`]), so output at that tick can follow whenever the frontier
//! of its input has passed it. Once the input is closed time ends: no further timer goes off, or windows would step on for as long
//! as anything is dated ahead.

pub mod sections;

use std::collections::BTreeMap;

use differential_dataflow::consolidation::{consolidate, consolidate_updates};
use differential_dataflow::{AsCollection, Data, ExchangeData, Hashable, VecCollection};
use timely::dataflow::channels::pact::Exchange;
use timely::dataflow::operators::Capability;
use timely::dataflow::operators::generic::Operator;

use crate::pending::{Pending, first};
use crate::records::{IsEmpty, Records, Slot, Writer};

/// Ticks of the dataflow.
type Tick = u64;

/// How many records are brought into the cache at a time.
const FETCHED: usize = 64;

/// What is kept of each key and what follows from it.
pub trait Keyed: 'static {
    /// What records are kept by. Its hash is taken as it is, so it should be uniform.
    type Key: ExchangeData + Hashable<Output: Into<u64>> + Copy + Eq;
    /// What comes.
    type Event: ExchangeData;
    /// What is kept of a key. Where other threads read records, what changes is copied first.
    type Record: Clone + Default + Send + 'static;
    /// What follows.
    type Output: Clone + 'static;
    /// Whether timers say anything. Where they only forget, nothing that follows waits for them: else, when the input is closed, whoever
    /// moves with time would go through all the time to the last of them.
    const TIMERS_TELL: bool = true;

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

    /// Says what follows of what came and went of the key at `now`, once all of that has: what is made anew is made once a tick.
    fn after_events(
        &mut self,
        _: Self::Key,
        _: &mut Self::Record,
        _now: Tick,
        _: &mut impl FnMut(Self::Output, isize),
    ) {
    }

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

    /// About how many bytes a record has on the heap. Where other threads read, a large one is not copied when it changes: who reads
    /// it, or one of the few beside it, may have to ask again until the change is published.
    fn bytes(&self, _: &Self::Record) -> usize {
        0
    }
}

/// The records of a worker and their timers.
struct Table<K: Keyed> {
    records: Records<K::Key, K::Record>,
    timers: BTreeMap<Tick, Vec<K::Key>>,
}

/// The table while a step is taken in.
struct Step<'a, K: Keyed> {
    writer: Writer<'a, K::Key, K::Record>,
    timers: &'a mut BTreeMap<Tick, Vec<K::Key>>,
}

impl<K: Keyed> Table<K> {
    fn step(&mut self) -> Step<'_, K> {
        Step { writer: self.records.writer(), timers: &mut self.timers }
    }
}

impl<K: Keyed> Step<'_, K> {
    /// Visits the record of a key; sets its timer; drops it if there is nothing to keep.
    fn visit(&mut self, logic: &mut K, key: K::Key, now: Tick, visit: impl FnOnce(&mut K, &mut Slot<K::Record>)) {
        let mut set_to = None;
        self.writer.visit((key.hashed().into(), &key), now, logic, K::bytes, |logic, slot| {
            visit(logic, slot);
            let is_empty = logic.is_empty(&slot.record);
            let due = logic.due(&slot.record).filter(|_| !is_empty).map(|due| due.max(now));
            set_to = due.filter(|due| slot.set(*due, now));
            IsEmpty(is_empty)
        });
        if let Some(due) = set_to {
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
                logic.after_events(*key, &mut slot.record, now, out);
            });
        }
    }

    /// Has the timers of a tick go off.
    fn go_off(&mut self, logic: &mut K, tick: Tick, out: &mut impl FnMut(K::Output, isize)) {
        for key in self.timers.remove(&tick).unwrap_or_default() {
            self.visit(logic, key, tick, |logic, slot| {
                // One that was set to an earlier tick since has gone off then.
                if slot.is_set_to(tick) {
                    slot.goes_off();
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
    logic: K,
) -> VecCollection<'scope, Tick, K::Output, isize>
where
    K::Output: Data,
{
    operator(events, name, logic, consolidate_updates).0
}

/// The same, as it is made: changes of a step may cancel. And the records of this worker, which other threads may read once they are
/// [published](crate::Publisher::register_records).
pub fn keyed_published<'scope, K: Keyed>(
    events: VecCollection<'scope, Tick, (K::Key, K::Event), isize>,
    name: &str,
    logic: K,
) -> (VecCollection<'scope, Tick, K::Output, isize>, Records<K::Key, K::Record>) {
    operator(events, name, logic, |_| ())
}

/// The operator; `finish` is done to the changes of a step.
fn operator<'scope, K: Keyed>(
    events: VecCollection<'scope, Tick, (K::Key, K::Event), isize>,
    name: &str,
    mut logic: K,
    finish: impl Fn(&mut Vec<(K::Output, Tick, isize)>) + 'static,
) -> (VecCollection<'scope, Tick, K::Output, isize>, Records<K::Key, K::Record>) {
    let records = Records::new();
    let (published, operator) = (records.clone(), name.to_owned());
    let to_worker = Exchange::new(|((key, _), _, _): &((K::Key, K::Event), Tick, isize)| key.hashed().into());
    let made = events.inner.unary_frontier(to_worker, name, move |_, _| {
        let mut table = Table::<K> { records, timers: BTreeMap::new() };
        let mut next_to_tidy = 0;
        let mut waiting: Pending<(K::Key, K::Event), Tick, isize> = Pending::default();
        // Kept for its memory.
        let mut places = Vec::new();
        let mut held: Option<Capability<Tick>> = None;
        move |(input, frontier), output| {
            input.for_each(|capability, events| {
                if held.as_ref().is_none_or(|held| capability.time() < held.time()) {
                    held = Some(capability.retain(0));
                }
                waiting.push(std::mem::take(events));
            });
            let complete = first(frontier);
            let ready = waiting.take_together(complete.as_ref());
            // Events are large, so it is not them that are sorted.
            let place = |(at, ((key, _), tick, _)): (usize, &((K::Key, K::Event), Tick, isize))| -> (Tick, u64, u32) {
                (*tick, key.hashed().into(), at as u32)
            };
            places.clear();
            places.extend(ready.iter().enumerate().map(place));
            places.sort_unstable();
            let mut made = Vec::new();
            let mut table = table.step();
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
                            table.writer.fetch(block.iter().map(|(_, hash, at)| (*hash, ready[*at as usize].0.0)));
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
            table.writer.complete(complete.unwrap_or(Tick::MAX));
            table.writer.tidy(&mut next_to_tidy);
            assert!(held.is_some() || made.is_empty(), "timers of {operator} say nothing");
            if let Some(holding) = &held {
                finish(&mut made);
                output.session(holding).give_container(&mut made);
            }
            let next_timer = table.timers.keys().next().copied().filter(|_| K::TIMERS_TELL);
            let next = waiting.first().copied().into_iter().chain(next_timer).min();
            match (next.filter(|_| complete.is_some()), &mut held) {
                (Some(next), Some(held)) => held.downgrade(&next),
                _ => held = None,
            }
        }
    });
    (made.as_collection(), published)
}

#[cfg(test)]
mod read_tests;
#[cfg(test)]
mod tests;
