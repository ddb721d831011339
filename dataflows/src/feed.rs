//! How accepted records enter the dataflow: as [`InputBatch`], which any thread makes, through the [`Feed`] of a worker.
//!
//! What a record says is a function of the record, so the thread that reads it can say it, and a worker is left to its dataflow.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

use differential_dataflow::input::InputSession;
use operators::AppendInput;
use schemas::event::Accepted;
use schemas::{EventTime, EventType, Subject, Tick, Zones};
use timely::container::CapacityContainerBuilder;
use timely::dataflow::InputHandle;

use crate::attribution::hot::CappedCopy;
use crate::attribution::persons::Said;
use crate::attribution::targets::TargetRow;
use crate::attribution::touch_row::TouchRow;
use crate::attribution::touches::{Contender, Entry, Heaps, Stored, entries};
use crate::event_row::{EventRow, OtherEvent, TouchRest};
use crate::horizon::{Horizons, TargetKey};
use crate::links::Link;
use crate::moments::Moments;
use crate::params::PersonRule;
use crate::sightings::{SharedHours, Sighting};
use crate::standing::{Contested, Pool, Step};
use crate::views::installs::InstallRow;
use crate::visitor_event::{OfVisitor, VisitorInput};

/// What accepted records say: for each input of the dataflow the rows that go there, and their ticks.
pub struct InputBatch {
    rules: Arc<Rules>,
    records: usize,
    /// Whether a view reads events.
    with_events: bool,
    events: Vec<(EventRow, Tick)>,
    touches: Vec<(TouchRow, Option<TouchRest>, Tick)>,
    by_id: Vec<((u64, Entry), Tick)>,
    by_fingerprint: Vec<((u64, Entry), Tick)>,
    capped: Vec<((u64, CappedCopy), Tick)>,
    targets: Vec<((TargetKey, Arc<TargetRow>), Tick)>,
    others: Vec<((u64, Contender), Option<OtherEvent>, Tick)>,
    said: Vec<((Contested, Said), Tick)>,
    sightings: Vec<((Contested, Sighting), Tick)>,
}

/// By what rules a record says them.
pub(crate) struct Rules {
    pub(crate) horizons: Horizons,
    pub(crate) person: PersonRule,
    /// An install before this is no target: what was found of it is loaded.
    pub(crate) no_target_before: EventTime,
    pub(crate) moments: Moments,
    /// Where targets are known by other ids, too: the days of links.
    pub(crate) identity: Option<Zones>,
    /// Whether it matters who was seen with which fingerprint.
    pub(crate) sightings: bool,
}

impl InputBatch {
    fn new(rules: Arc<Rules>, with_events: bool) -> InputBatch {
        let (events, touches, by_id, by_fingerprint, capped, targets, others, said, sightings) = Default::default();
        InputBatch {
            rules,
            records: 0,
            with_events,
            events,
            touches,
            by_id,
            by_fingerprint,
            capped,
            targets,
            others,
            said,
            sightings,
        }
    }

    /// None, for the same feed.
    pub fn like(&self) -> InputBatch {
        InputBatch::new(Arc::clone(&self.rules), self.with_events)
    }

    /// The records that say them.
    pub fn records(&self) -> usize {
        self.records
    }

    /// Adds what an accepted record says at a tick.
    pub fn push(&mut self, record: &Accepted, tick: Tick) {
        let Rules { horizons, person, no_target_before, moments, identity, sightings } = &*self.rules;
        self.records += 1;
        let event_type = record.event.event_type;
        let event = self.with_events.then(|| EventRow::of(record, moments));
        if event_type != EventType::Tombstone {
            self.events.extend(event.map(|event| (event, tick)));
        }
        if *sightings {
            self.sightings.extend(Sighting::of(record, horizons).map(|sighting| (sighting, tick)));
        }
        if event_type.is_touch() {
            let rest = event.map(|event| TouchRest::of(&event, horizons));
            self.touches.push((TouchRow::of(record, horizons), rest, tick));
            for (of_fingerprint, entry) in entries(record, horizons, *person) {
                let entries = if of_fingerprint { &mut self.by_fingerprint } else { &mut self.by_id };
                entries.push((entry, tick));
            }
            self.capped.extend(CappedCopy::of(record, horizons).map(|copy| (copy, tick)));
            return;
        }
        // What shares its identity with a touch or target is a copy of it, whatever its type; but a cost is one of costs alone, and a
        // tombstone withdraws either.
        let is_tombstone = event_type == EventType::Tombstone;
        for of_costs in [false, true] {
            if is_tombstone || of_costs == (event_type == EventType::Cost) {
                let event = event.map(|event| OtherEvent::of(&event, of_costs, horizons));
                self.others.push((Contender::of(record, of_costs, horizons), event, tick));
            }
        }
        if let Some(zones) = identity {
            self.said.extend(Said::of(record, horizons, zones).map(|said| (said, tick)));
        }
        let is_final = event_type == EventType::Install && record.event.event_time < *no_target_before;
        if matches!(event_type, EventType::Install | EventType::Conversion) && !is_final {
            let target = Arc::new(TargetRow::of(record, moments));
            self.targets.push(((TargetKey::of(record, horizons), target), tick));
        }
    }
}

/// Where accepted records enter the dataflow. Each worker has one; a record enters at one worker, whichever.
///
/// Records only come; none is ever taken back: copies, late events and withdrawals are records too. So all inputs are of what only
/// grows ([`operators::Appends`]).
pub struct Feed {
    pub(crate) arrivals: InputHandle<Tick, CapacityContainerBuilder<Vec<Rc<Step>>>>,
    pub(crate) pool: Pool,
    /// Whether a view reads events: known once all views are built.
    pub(crate) with_events: Rc<Cell<bool>>,
    pub(crate) by_id: AppendInput<Tick, (u64, Entry)>,
    pub(crate) by_fingerprint: AppendInput<Tick, (u64, Entry)>,
    pub(crate) copies: AppendInput<Tick, (u64, Stored)>,
    pub(crate) capped: AppendInput<Tick, (u64, CappedCopy)>,
    pub(crate) targets: AppendInput<Tick, (TargetKey, Arc<TargetRow>)>,
    pub(crate) final_installs: InputSession<Tick, (TargetKey, Arc<InstallRow>), isize>,
    pub(crate) finals_of_visitors: InputSession<Tick, (Subject, VisitorInput), isize>,
    pub(crate) final_links: InputSession<Tick, Link, isize>,
    pub(crate) said: AppendInput<Tick, (Contested, Said)>,
    pub(crate) sightings: AppendInput<Tick, (Contested, Sighting)>,
    pub(crate) final_hours: InputSession<Tick, SharedHours, isize>,
    pub(crate) heaps: Heaps,
    pub(crate) rules: Arc<Rules>,
}

impl Feed {
    /// A batch without rows, to be filled on any thread.
    pub fn batch(&self) -> InputBatch {
        InputBatch::new(Arc::clone(&self.rules), self.with_events.get())
    }

    /// Takes in rows of `installs` as their table holds them: they are final. They enter now.
    pub fn load_installs(&mut self, changes: impl IntoIterator<Item = (InstallRow, isize)>) {
        for (row, diff) in changes {
            // As long as it is asked for: it decides about later ones, and is itself decided.
            let until = self.rules.horizons.install(row.event_time);
            let key = TargetKey { key: row.key(), is_install: true, until };
            self.final_installs.update((key, Arc::new(row)), diff);
        }
    }

    /// Takes in what the tables of views say of visitors, of days that were sealed by the cut that is loaded. It enters now, which is
    /// before any record.
    pub fn load_visitors(&mut self, changes: impl IntoIterator<Item = OfVisitor>) {
        for (visitor, input, diff) in changes {
            self.finals_of_visitors.update((visitor, input), diff);
        }
    }

    /// Takes in what the table of `identity_links` has of days that are final, and how often. It enters now.
    pub fn load_links(&mut self, links: impl IntoIterator<Item = (Link, isize)>) {
        links.into_iter().for_each(|(link, times)| self.final_links.update(link, times));
    }

    /// Takes in what the table of `shared_hours` has of days that are final. It enters now.
    pub fn load_shared_hours(&mut self, hours: impl IntoIterator<Item = SharedHours>) {
        hours.into_iter().for_each(|hours| self.final_hours.update(hours, 1));
    }

    /// Takes a batch in and leaves it without rows.
    ///
    /// # Panics
    /// When the feed was already advanced past the tick of one.
    pub fn take(&mut self, batch: &mut InputBatch) {
        if let Some(step) = self.pool.step(&mut batch.events) {
            self.arrivals.send(step);
        }
        for (row, rest, tick) in batch.touches.drain(..) {
            self.copies.push(self.heaps.touch(row, rest), tick);
        }
        for (contender, event, tick) in batch.others.drain(..) {
            self.copies.push(self.heaps.contender(contender, event), tick);
        }
        batch.by_id.drain(..).for_each(|(entry, tick)| self.by_id.push(entry, tick));
        batch.by_fingerprint.drain(..).for_each(|(entry, tick)| self.by_fingerprint.push(entry, tick));
        batch.capped.drain(..).for_each(|(copy, tick)| self.capped.push(copy, tick));
        batch.targets.drain(..).for_each(|(target, tick)| self.targets.push(target, tick));
        batch.said.drain(..).for_each(|(said, tick)| self.said.push(said, tick));
        batch.sightings.drain(..).for_each(|(sighting, tick)| self.sightings.push(sighting, tick));
        batch.records = 0;
    }

    /// Promises that no record will come before `tick`.
    ///
    /// # Panics
    /// When `tick` lies before an earlier promise.
    pub fn advance_to(&mut self, tick: Tick) {
        if *self.arrivals.time() < tick {
            self.arrivals.advance_to(tick);
        }
        self.by_id.advance_to(tick);
        self.by_fingerprint.advance_to(tick);
        self.copies.advance_to(tick);
        self.capped.advance_to(tick);
        self.targets.advance_to(tick);
        self.said.advance_to(tick);
        self.sightings.advance_to(tick);
        self.final_hours.advance_to(tick);
        self.final_installs.advance_to(tick);
        self.finals_of_visitors.advance_to(tick);
        self.final_links.advance_to(tick);
    }

    /// Hands what came, and the promise, to the dataflow.
    pub fn flush(&mut self) {
        self.arrivals.flush();
        self.by_id.flush();
        self.by_fingerprint.flush();
        self.copies.flush();
        self.capped.flush();
        self.targets.flush();
        self.said.flush();
        self.sightings.flush();
        self.final_hours.flush();
        self.final_installs.flush();
        self.finals_of_visitors.flush();
        self.final_links.flush();
    }

    /// The tick up to which nothing more will come.
    pub fn tick(&self) -> Tick {
        *self.copies.time()
    }
}
