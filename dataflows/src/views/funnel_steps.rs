//! Which steps of each funnel did a visitor reach, by the day of its first step, and how fast?
//!
//! A visitor *reaches* step *k* by a first step if events of the steps 2 to *k* follow it, each at a later millisecond than the one
//! before it, the last within the funnel's time. Of several first steps that lead to an event the latest counts: it leads wherever
//! they do, and sooner. A row is of a day: what the visitor reached by its first steps of that day, and the shortest time that it
//! took. First steps of one period (`per`) of the funnel stand in for each other, so a period's rows together say what was reached in
//! it, and no row of a day depends on what happened longer after it than the funnel's time. `funnels` counts visitors by these rows.
//!
//! **State.** Of each visitor the events that are steps, 16 bytes each, and what was told of them, until the day is final and the
//! longest time of a funnel has passed since. What comes, late or not, or goes has the days around it made anew, once a tick.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use chrono::{DateTime, Datelike};
use differential_dataflow::VecCollection;
use foldhash::fast::FixedState;
use operators::{ByKey, Expires, Keyed, arrange_forgetting};
use schemas::units::{DAY_MS, HOUR_MS};
use schemas::zones::Day;
use schemas::{EventTime, Subject, Symbol, Tick, Zones, columns};
use serde::{Deserialize, Serialize};

use crate::changes::ToRows;
use crate::funnels::{Dimension, Funnel, Per, STEPS_MAX};
use crate::horizon::{Horizons, Until};
use crate::needs::Needs;
use crate::params::Params;
use crate::view::{Maintained, OfRecords, Output, View};
use crate::visitor_event::{VisitorEvent, VisitorInput};

mod filters;
mod of_visitor;
mod sql;

pub use filters::Filters;
pub use of_visitor::OfVisitor;

/// `funnel_steps`.
pub static FUNNEL_STEPS: View = View {
    name: "funnel_steps",
    question: "Which steps of each funnel did a visitor reach by its first steps of a day, and how fast?",
    key: &["tenant", "visitor", "funnel", "day", "breakdown", "step"],
    read_by: &[&["tenant", "visitor"]],
    code: 1,
    reads: &["events", "zone_spans"],
    sql: sql::sql,
    maintained: Some(Maintained::rows::<StepRow>(|params, retention| {
        // A day that can still change begins no earlier.
        let more_ms = if params.funnels.is_empty() { 0 } else { longest_ms(params) + DAY_MS + 2 * HOUR_MS };
        Needs::until_final(retention).and_events(more_ms)
    })),
};

/// How long a visitor may take, at most.
fn longest_ms(params: &Params) -> i64 {
    params.funnels.iter().map(|funnel| funnel.max_time.ms(params.forget_after)).max().unwrap_or(0)
}

/// A visitor, and until when what it reached on a day can change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct StepKey {
    visitor: Subject,
    until: Until,
}

impl Expires<Tick> for StepKey {
    fn expiry(&self) -> Tick {
        self.until.expiry()
    }
}

/// That a step was reached by a first step of a day.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
struct Reached {
    /// When the day began.
    day: EventTime,
    /// The place of the funnel.
    funnel: u8,
    /// The step, from 0.
    step: u8,
    /// By what visitors are broken down, at the first step; none where they are not.
    breakdown: Symbol,
    /// How long after the first step, at least.
    seconds: u32,
}

/// One row, but for the funnel's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct FunnelStep {
    tenant: Symbol,
    visitor: Subject,
    reached: Reached,
}

/// One row of `funnel_steps`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct StepRow {
    of: FunnelStep,
    funnel: Arc<str>,
}

columns! {
    StepRow, |row| {
        tenant: Symbol = row.of.tenant,
        /// user, else device
        visitor: Subject = row.of.visitor,
        /// the funnel, by its name in the job file
        funnel: Arc<str> = row.funnel.clone(),
        day: EventTime = row.of.reached.day,
        breakdown: Option<Symbol> = row.of.reached.breakdown.some(),
        /// number of the step, from 1
        step: i64 = i64::from(row.of.reached.step) + 1,
        /// shortest time from the first step to this one, in whole seconds
        seconds: i64 = i64::from(row.of.reached.seconds),
    }
}

/// The names of funnels, by their places.
#[derive(Clone)]
struct Names(Arc<[Arc<str>]>);

impl Names {
    fn of(params: &Params) -> Names {
        Names(params.funnels.iter().map(|funnel| Arc::from(funnel.name.as_str())).collect())
    }

    fn row(&self, of: FunnelStep) -> StepRow {
        StepRow { of, funnel: Arc::clone(&self.0[of.reached.funnel as usize]) }
    }
}

impl ToRows<FunnelStep> for Names {
    type Row = StepRow;
    type Group = FunnelStep;

    fn group(&self, step: &FunnelStep) -> FunnelStep {
        *step
    }

    fn rows(&self, step: &FunnelStep) -> Vec<StepRow> {
        vec![self.row(*step)]
    }
}

/// What is kept of a visitor; nothing where it was at no step.
#[derive(Clone, Default)]
pub struct Steps(Option<Box<OfOne>>);

/// What is kept of one.
#[derive(Clone)]
struct OfOne {
    tenant: Symbol,
    /// In order.
    events: Vec<StepEvent>,
    told: Vec<Reached>,
    /// The first and the last time at which an event came or went in the tick that is under way.
    changed: Option<(EventTime, EventTime)>,
    /// When the first day is final.
    due: Tick,
}

/// An event that is a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct StepEvent {
    time: EventTime,
    /// The place of what else is known of it.
    kind: u32,
}

/// What is known of events that are steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Kind {
    /// Of which steps it is one, all funnels' in a row.
    steps: u64,
    /// App, campaign, source, channel, country: of those that a funnel breaks down by, and of a first step alone.
    dimensions: [Symbol; DIMENSIONS.len()],
}

const DIMENSIONS: [Dimension; 5] =
    [Dimension::App, Dimension::Campaign, Dimension::Source, Dimension::Channel, Dimension::Country];

/// A funnel, as events meet it.
struct Course {
    /// The bit of its first step.
    first: u32,
    steps: usize,
    max_ms: i64,
    per: Per,
    /// The place of its dimension.
    by: Option<usize>,
}

/// The first steps of a period, and where they lead: of each step the latest that leads there.
struct Period {
    number: i64,
    breakdown: Symbol,
    latest: [EventTime; STEPS_MAX],
}

const NEVER: EventTime = EventTime(i64::MIN);

/// The section of `funnel_steps` in the records of visitors.
pub struct FunnelSteps {
    courses: Vec<Course>,
    days: Days,
    /// What events were met, and the places of that.
    kinds: Vec<Kind>,
    places: HashMap<Kind, u32, FixedState>,
}

/// The days of tenants, and when they are final.
#[derive(Clone)]
struct Days {
    zones: Zones,
    horizons: Horizons,
    longest_ms: i64,
}

impl Days {
    /// Until when what was reached by first steps of a day can change.
    fn until(&self, day: Day) -> Until {
        self.horizons.target(EventTime(day.ends.0 + self.longest_ms))
    }

    fn of(&self, tenant: Symbol, time: EventTime) -> Day {
        self.zones.day(tenant, time)
    }
}

impl FunnelSteps {
    /// With the funnels of these parameters, where records are accepted as long as that says.
    pub fn new(params: &Params, horizons: Horizons) -> FunnelSteps {
        let mut first = 0;
        let course = |funnel: &Funnel| {
            let steps = funnel.steps.len();
            let course = Course {
                first,
                steps,
                max_ms: funnel.max_time.ms(params.forget_after),
                per: funnel.per,
                by: funnel.by.and_then(|by| DIMENSIONS.iter().position(|of| *of == by)),
            };
            first += steps as u32;
            course
        };
        let courses = params.funnels.iter().map(course).collect();
        let days = Days { zones: params.zones.clone(), horizons, longest_ms: longest_ms(params) };
        FunnelSteps { courses, days, kinds: Vec::new(), places: HashMap::default() }
    }

    /// How the rows of a visitor are read from what is kept of it.
    pub fn of_visitor(params: &Params) -> Arc<OfVisitor> {
        Arc::new(OfVisitor::new(Names::of(params)))
    }

    fn kind(&mut self, event: &VisitorEvent) -> u32 {
        let of_event = [event.app, event.campaign, event.source, event.channel, event.country];
        let mut dimensions = [Symbol::NONE; DIMENSIONS.len()];
        for course in self.courses.iter().filter(|course| event.steps >> course.first & 1 != 0) {
            course.by.into_iter().for_each(|by| dimensions[by] = of_event[by]);
        }
        let kind = Kind { steps: event.steps, dimensions };
        let next = u32::try_from(self.kinds.len()).expect("fewer kinds of events than bits tell apart");
        let place = *self.places.entry(kind).or_insert(next);
        if place == next {
            self.kinds.push(kind);
        }
        place
    }

    /// What was reached in a funnel by first steps from one time to another, by events since the first; in order.
    fn reached(&self, funnel: usize, one: &OfOne, (from, to): (EventTime, EventTime)) -> Vec<Reached> {
        let course = &self.courses[funnel];
        let since = one.events.partition_point(|event| event.time < from);
        let last = EventTime(to.0.saturating_add(course.max_ms));
        let events = one.events[since..].iter().take_while(|event| event.time < last).count();
        let mut periods: Vec<Period> = Vec::new();
        let mut least: BTreeMap<(EventTime, u8, Symbol), u32> = BTreeMap::new();
        let mut tell = |first: EventTime, breakdown: Symbol, step: usize, time: EventTime| {
            if first < to {
                let day = self.days.of(one.tenant, first).begins;
                let seconds = u32::try_from((time.0 - first.0) / 1000).expect("a funnel lasts for ten years at most");
                let least = least.entry((day, step as u8, breakdown)).or_insert(seconds);
                *least = seconds.min(*least);
            }
        };
        for moment in one.events[since..since + events].chunk_by(|one, other| one.time == other.time) {
            let time = moment[0].time;
            let kinds = moment.iter().map(|event| &self.kinds[event.kind as usize]);
            let steps = kinds.clone().fold(0, |steps, kind| steps | kind.steps) >> course.first;
            let within = |first: EventTime| first != NEVER && time.0 - first.0 <= course.max_ms;
            periods.retain(|period| within(period.latest[0]));
            for Period { breakdown, latest, .. } in &mut periods {
                // From the last, so that no event is two steps.
                for step in (1..course.steps).rev().filter(|step| steps >> step & 1 != 0) {
                    let first = latest[step - 1];
                    if within(first) {
                        latest[step] = first;
                        tell(first, *breakdown, step, time);
                    }
                }
            }
            for kind in kinds.filter(|kind| kind.steps >> course.first & 1 != 0) {
                let breakdown = course.by.map_or(Symbol::NONE, |by| kind.dimensions[by]);
                let number = self.period(course.per, one.tenant, time);
                let same = |period: &&mut Period| period.number == number && period.breakdown == breakdown;
                match periods.iter_mut().find(same) {
                    Some(period) => period.latest[0] = time,
                    None => {
                        let mut latest = [NEVER; STEPS_MAX];
                        latest[0] = time;
                        periods.push(Period { number, breakdown, latest });
                    }
                }
                tell(time, breakdown, 0, time);
            }
        }
        let row = |((day, step, breakdown), seconds)| Reached { day, funnel: funnel as u8, step, breakdown, seconds };
        least.into_iter().map(row).collect()
    }

    /// The number of the period of a time.
    fn period(&self, per: Per, tenant: Symbol, time: EventTime) -> i64 {
        if per == Per::All {
            return 0;
        }
        let number = self.days.of(tenant, time).number;
        match per {
            Per::All => 0,
            Per::Day => number,
            // The first day of 1970 was a Thursday; weeks begin with Mondays.
            Per::Week => (number + 3).div_euclid(7),
            Per::Month => {
                let date = DateTime::from_timestamp_millis(number * DAY_MS).unwrap_or_default();
                i64::from(date.year()) * 12 + i64::from(date.month0())
            }
        }
    }

    /// Makes anew what events of a tick may have changed, and tells what differs. Whether any came or went.
    fn tell(&self, visitor: Subject, one: &mut OfOne, out: &mut impl FnMut((StepKey, FunnelStep), isize)) -> bool {
        let Some((first, last)) = one.changed.take() else { return false };
        let of_day = |tenant, reached: &Reached| {
            let until = self.days.until(self.days.of(tenant, reached.day));
            (StepKey { visitor, until }, FunnelStep { tenant, visitor, reached: *reached })
        };
        for (funnel, course) in self.courses.iter().enumerate() {
            let from = self.days.of(one.tenant, EventTime(first.0.saturating_sub(course.max_ms))).begins;
            let to = self.days.of(one.tenant, last).ends;
            let is = self.reached(funnel, one, (from, to));
            let may_differ = |told: &mut Reached| {
                usize::from(told.funnel) == funnel && (from..to).contains(&told.day)
            };
            let mut was: Vec<Reached> = one.told.extract_if(.., may_differ).collect();
            was.sort_unstable();
            let lacks = |all: &[Reached], told: &Reached| all.binary_search(told).is_err();
            was.iter().filter(|told| lacks(&is, told)).for_each(|told| out(of_day(one.tenant, told), -1));
            is.iter().filter(|told| lacks(&was, told)).for_each(|told| out(of_day(one.tenant, told), 1));
            one.told.extend(is);
        }
        true
    }

    /// Forgets the days that are final, and what happened on them: no first step of a later day leads back.
    fn forget(&self, one: &mut OfOne, now: Tick) {
        let mut since = NEVER;
        one.due = loop {
            let first = one.events[one.events.partition_point(|event| event.time < since)..].first();
            let Some(first) = first else { break Tick::MAX };
            let day = self.days.of(one.tenant, first.time);
            let due = self.days.until(day).expiry();
            if due > now {
                break due;
            }
            since = day.ends;
        };
        if since != NEVER {
            one.events.drain(..one.events.partition_point(|event| event.time < since));
            one.told.retain(|told| told.day >= since);
        }
    }
}

impl Keyed for FunnelSteps {
    type Key = Subject;
    type Event = VisitorInput;
    type Record = Steps;
    type Output = (StepKey, FunnelStep);

    fn on_event(
        &mut self,
        _: Subject,
        Steps(steps): &mut Steps,
        input: &VisitorInput,
        diff: isize,
        _: Tick,
        _: &mut impl FnMut((StepKey, FunnelStep), isize),
    ) {
        let VisitorInput::Event(event) = input else { return };
        if event.steps == 0 {
            return;
        }
        let (time, tenant) = (event.time, event.tenant);
        let event = StepEvent { time, kind: self.kind(event) };
        let new = || OfOne { tenant, events: Vec::new(), told: Vec::new(), changed: None, due: Tick::MAX };
        let one = steps.get_or_insert_with(|| Box::new(new()));
        let at = one.events.partition_point(|other| *other < event);
        if diff > 0 {
            if one.events.len() == one.events.capacity() {
                // Most visitors have few: doubling would leave half of it unused.
                one.events.reserve_exact(2 + at / 4);
            }
            one.events.insert(at, event);
        } else {
            assert_eq!(one.events.get(at), Some(&event), "what goes had come");
            one.events.remove(at);
        }
        one.changed = Some(one.changed.map_or((time, time), |(first, last)| (first.min(time), last.max(time))));
    }

    fn after_events(
        &mut self,
        visitor: Subject,
        Steps(steps): &mut Steps,
        now: Tick,
        out: &mut impl FnMut((StepKey, FunnelStep), isize),
    ) {
        let Some(one) = steps else { return };
        if self.tell(visitor, one, out) {
            self.forget(one, now);
        }
        if one.events.is_empty() {
            *steps = None;
        }
    }

    fn on_timer(&mut self, _: Subject, Steps(steps): &mut Steps, now: Tick, _: &mut impl FnMut((StepKey, FunnelStep), isize)) {
        let Some(one) = steps.as_mut().filter(|one| one.due <= now) else { return };
        self.forget(one, now);
        if one.events.is_empty() {
            *steps = None;
        }
    }

    fn due(&self, Steps(steps): &Steps) -> Option<Tick> {
        steps.as_ref().map(|one| one.due)
    }

    fn is_empty(&self, Steps(steps): &Steps) -> bool {
        steps.is_none()
    }

    fn bytes(&self, Steps(steps): &Steps) -> usize {
        let of = |one: &OfOne| size_of_val(one) + size_of_val(&*one.events) + size_of_val(&*one.told);
        steps.as_deref().map_or(0, of)
    }
}

/// The view, as its rows follow from what visitors did: read from what is kept of a visitor.
pub fn output<'scope, R: Send + 'static>(
    rows: VecCollection<'scope, Tick, (StepKey, FunnelStep), isize>,
    of_records: OfRecords<Subject, R, OfVisitor>,
    params: &Params,
) -> Output<'scope> {
    let name = FUNNEL_STEPS.name;
    Output::rows_of_records(name, arrange_forgetting(rows, name, ByKey), Names::of(params), of_records)
}
