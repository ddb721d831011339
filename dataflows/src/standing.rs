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
//! touch and 184 of another, the way to it in the index of copies included. Contested events in a reduction, as long.
//!
//! [`Index::contested`]: operators::Index::contested

use std::cell::RefCell;
use std::rc::Rc;

use differential_dataflow::{AsCollection, Data, VecCollection};
use operators::{Expires, reduce};
use schemas::event::Accepted;
use schemas::{EventId, EventTime, EventType, Micros, PayloadHash, Subject, Symbol, Tick};
use serde::{Deserialize, Serialize};
use timely::dataflow::Stream;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::generic::Operator;

use crate::attribution::touch_row::TouchRow;
use crate::attribution::touches::{Copies, Identity, halves, halves_of_cost};
use crate::horizon::{Horizons, Until};

/// What views read of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct EventRow {
    /// Hash of its bytes; the least copy stands.
    pub payload_hash: PayloadHash,
    /// What happened.
    pub event_type: EventType,
    /// Account.
    pub tenant: Symbol,
    /// App.
    pub app: Symbol,
    /// When it happened.
    pub event_time: EventTime,
    /// Its event id.
    pub event_id: EventId,
    /// Its subject.
    pub subject: Subject,
    /// Campaign.
    pub campaign: Symbol,
    /// Ad group.
    pub ad_group: Symbol,
    /// Creative.
    pub creative: Symbol,
    /// Publisher or traffic source.
    pub source: Symbol,
    /// Marketing channel.
    pub channel: Symbol,
    /// Country.
    pub country: Symbol,
    /// Currency of a cost; none of a touch.
    pub currency: Symbol,
    /// Media cost; none of a touch.
    pub cost: Option<Micros>,
    /// Version of a cost; none of a touch.
    pub version: Option<i64>,
}

impl EventRow {
    /// The row of an accepted record.
    pub fn of(record: &Accepted) -> EventRow {
        let event = &record.event;
        let is_touch = event.event_type.is_touch();
        EventRow {
            payload_hash: record.payload_hash,
            event_type: event.event_type,
            tenant: event.tenant,
            app: event.app,
            event_time: event.event_time,
            event_id: event.event_id,
            subject: event.subject,
            campaign: event.campaign,
            ad_group: event.ad_group,
            creative: event.creative,
            source: event.source,
            channel: event.channel,
            country: event.country,
            currency: if is_touch { Symbol::NONE } else { event.currency },
            cost: event.cost.filter(|_| !is_touch),
            version: event.version.filter(|_| !is_touch),
        }
    }

    /// The row of a touch.
    pub(crate) fn of_touch(touch: &TouchRow, rest: &TouchRest) -> EventRow {
        EventRow {
            payload_hash: touch.payload_hash,
            event_type: touch.traits.event_type(),
            tenant: rest.tenant,
            app: rest.app,
            event_time: touch.event_time,
            event_id: touch.event_id,
            subject: touch.subject,
            campaign: touch.campaign,
            ad_group: touch.ad_group,
            creative: touch.creative,
            source: touch.source,
            channel: touch.channel,
            country: rest.country,
            currency: Symbol::NONE,
            cost: None,
            version: None,
        }
    }

    /// What all copies of it share.
    pub fn identity(&self) -> Identity {
        (self.event_time, self.event_id, self.subject)
    }
}

/// What [`EventRow`] has of a touch and [`TouchRow`] has not.
#[derive(Clone, Copy, Debug)]
pub struct TouchRest {
    tenant: Symbol,
    app: Symbol,
    country: Symbol,
    until: Until,
}

impl TouchRest {
    /// Of a touch.
    pub fn of(event: &EventRow, horizons: &Horizons) -> TouchRest {
        let EventRow { tenant, app, country, .. } = *event;
        TouchRest { tenant, app, country, until: horizons.target(event.event_time) }
    }
}

impl Expires<Tick> for TouchRest {
    fn expiry(&self) -> Tick {
        self.until.expiry()
    }
}

/// An event that is no touch, or a tombstone.
#[derive(Clone, Copy, Debug)]
pub struct OtherEvent {
    /// Its row.
    pub row: EventRow,
    /// Whether it is a copy of costs, or withdraws one.
    pub of_costs: bool,
    until: Until,
}

impl OtherEvent {
    /// Of any event but a touch.
    pub fn of(row: &EventRow, of_costs: bool, horizons: &Horizons) -> OtherEvent {
        OtherEvent { row: *row, of_costs, until: until(row.event_time, of_costs, horizons) }
    }
}

impl Expires<Tick> for OtherEvent {
    fn expiry(&self) -> Tick {
        self.until.expiry()
    }
}

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

/// Until when a copy of an event can come.
fn until(event_time: EventTime, of_costs: bool, horizons: &Horizons) -> Until {
    if of_costs { horizons.cost(event_time) } else { horizons.target(event_time) }
}

/// What tells an event of which there are several copies from all others, until none can come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Contested {
    halves: (u64, u64),
    until: Until,
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
        let halves = if of_costs { halves_of_cost(row.identity()) } else { halves(row.identity()) };
        (Contested { halves, until: until(row.event_time, of_costs, &horizons) }, row)
    });
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
}
