//! Standing events: each event once, the copy with the smallest payload hash, none that was withdrawn; as `events` says it in SQL.
//!
//! Nearly every event has one copy and no tombstone. So each accepted record goes out as it comes ([`Events::arrivals`]), in
//! batches that all consumers share, and what is wrong with that is taken back at the same tick ([`Events::corrections`]): the
//! index of copies knows at insertion which records share their key with another ([`Index::contested`]), and only of those
//! the copies are compared. The two together are `events`:
//!
//! > arrivals + corrections = for each identity, at each tick, its least copy, unless a tombstone came
//!
//! **State.** Of each event what attribution does not keep of it, until no copy of it can be accepted any more: 40 bytes of a
//! touch and 232 of another, the way to it in the index of copies included. Contested events in a reduction, as long.
//!
//! [`Index::contested`]: operators::Index::contested

use std::cell::RefCell;
use std::collections::HashMap;
use std::hash::Hash;
use std::rc::Rc;

use differential_dataflow::{AsCollection, Data, VecCollection};
use foldhash::fast::FixedState;
use operators::{Expires, reduce};
use schemas::{EventTime, EventType, Tick};
use serde::{Deserialize, Serialize};
use timely::dataflow::Stream;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::generic::Operator;
use timely::dataflow::operators::vec::Filter;

use crate::attribution::identity::{Identity, split_cost_identity, split_identity};
use crate::attribution::touches::Copies;
use crate::event_row::{EventRow, until};
use crate::horizon::{Horizons, Until};

/// Accepted records as they came, each with its tick. Shared by all who read them; given back to be filled again.
pub struct Step {
    events: Vec<(EventRow, Tick)>,
    pool: Pool,
}

/// Where the memory of steps waits to be used again: taken anew for each, it would cost more than what is done with it.
#[derive(Clone, Default)]
pub struct Pool(Rc<RefCell<Vec<Vec<(EventRow, Tick)>>>>);

/// More than are under way at a time: what a burst leaves behind is freed.
const POOLED_MAX: usize = 16;

impl Pool {
    /// Takes events out and leaves room for others; none where there are no events.
    pub fn step(&self, events: &mut Vec<(EventRow, Tick)>) -> Option<Rc<Step>> {
        if events.is_empty() {
            return None;
        }
        let room = self.0.borrow_mut().pop().unwrap_or_default();
        Some(Rc::new(Step { events: std::mem::replace(events, room), pool: self.clone() }))
    }
}

impl Step {
    /// Its events and their ticks. Tombstones are none.
    pub fn events(&self) -> impl Iterator<Item = &(EventRow, Tick)> {
        self.events.iter()
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        let mut pool = self.pool.0.borrow_mut();
        if pool.len() < POOLED_MAX {
            self.events.clear();
            pool.push(std::mem::take(&mut self.events));
        }
    }
}

/// The standing events: both together.
#[derive(Clone)]
pub struct Events<'scope> {
    /// Every accepted record but tombstones, as it comes, where it entered.
    pub arrivals: Stream<'scope, Tick, Vec<Rc<Step>>>,
    /// What has to be added so that of each event the copy that stands is there once, and of a withdrawn one none.
    pub corrections: VecCollection<'scope, Tick, EventRow, isize>,
    /// The records of events that have several, tombstones among them, and of some that are alone after all.
    pub contested: VecCollection<'scope, Tick, (Contested, EventRow), isize>,
}

/// What tells an event of which there are several copies from all others, until none can come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Contested {
    halves: (u64, u64),
    until: Until,
}

impl Contested {
    /// Of an event that is no cost.
    pub fn of(identity: Identity, event_time: EventTime, horizons: &Horizons) -> Contested {
        Contested { halves: split_identity(identity), until: until(event_time, false, horizons) }
    }
}

impl Expires<Tick> for Contested {
    fn expiry(&self) -> Tick {
        self.until.expiry()
    }
}

/// Corrects the arrivals by the copies of each event.
pub fn standing<'scope>(
    arrivals: Stream<'scope, Tick, Vec<Rc<Step>>>,
    copies: &Copies<'scope>,
    horizons: Horizons,
) -> Events<'scope> {
    let contested = copies.contested().map(move |(row, of_costs)| {
        let halves = if of_costs { split_cost_identity(row.identity()) } else { split_identity(row.identity()) };
        (Contested { halves, until: until(row.event_time, of_costs, &horizons) }, row)
    });
    // One that has expired only shares some bits with another: no copy of it can come.
    let contested = contested.inner.filter(|((key, _), time, _)| !key.expired(time)).as_collection();
    let withdraws = |row: &EventRow| row.event_type == EventType::Tombstone;
    let passed = contested.clone().filter(move |(_, row)| !withdraws(row)).map(|(_, row)| row);
    let decided = reduce(contested.clone(), "contested events", move |_, copies, output| {
        if !copies.iter().any(|(row, _)| withdraws(row)) {
            output.extend(copies.first().map(|(row, _)| (**row, 1)));
        }
    });
    Events { arrivals, corrections: passed.negate().concat(decided.map(|(_, row)| row)), contested }
}

impl<'scope> Events<'scope> {
    /// What `of_event` makes of the standing events.
    pub fn flat_map<D, I>(
        &self,
        name: &str,
        of_event: impl Fn(&EventRow) -> I + Clone + 'static,
    ) -> VecCollection<'scope, Tick, D, isize>
    where
        D: Data,
        I: IntoIterator<Item = D> + 'static,
    {
        let of_arrival = of_event.clone();
        let arrivals = self.arrivals.clone().unary(Pipeline, name, move |_, _| {
            move |input, output| {
                input.for_each(|capability, steps| {
                    let events = steps.iter().flat_map(|step| step.events());
                    let made =
                        events.flat_map(|(event, tick)| of_arrival(event).into_iter().map(|made| (made, *tick, 1)));
                    output.session(&capability).give_iterator(made);
                });
            }
        });
        arrivals.as_collection().concat(self.corrections.clone().flat_map(move |event| of_event(&event)))
    }

    /// The sums of what `of_event` adds to keys, one a key and tick of a step: of many events that share a few keys, few go on.
    pub fn sums<K, const N: usize>(
        &self,
        name: &str,
        of_event: impl Fn(&EventRow, &mut dyn FnMut(K, [i64; N])) + Clone + 'static,
    ) -> VecCollection<'scope, Tick, (K, [i64; N]), isize>
    where
        K: Data + Eq + Hash,
    {
        let of_arrival = of_event.clone();
        let arrivals = self.arrivals.clone().unary(Pipeline, name, move |_, _| {
            let mut sums: HashMap<(K, Tick), [i64; N], FixedState> = HashMap::default();
            move |input, output| {
                input.for_each(|capability, steps| {
                    for (event, tick) in steps.iter().flat_map(|step| step.events()) {
                        of_arrival(event, &mut |key, added| {
                            let sums = sums.entry((key, *tick)).or_insert([0; N]);
                            sums.iter_mut().zip(added).for_each(|(sum, added)| *sum += added);
                        });
                    }
                    let made = sums.drain().map(|((key, tick), sums)| ((key, sums), tick, 1));
                    output.session(&capability).give_iterator(made);
                });
            }
        });
        let corrected = self.corrections.clone().flat_map(move |event| {
            let mut made = Vec::new();
            of_event(&event, &mut |key, added| made.push((key, added)));
            made
        });
        arrivals.as_collection().concat(corrected)
    }
}
