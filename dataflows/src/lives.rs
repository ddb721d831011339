//! The lives of visitors in apps: when they began, what came first in them, and what each adds to `cohorts`.
//!
//! A life is days on which a visitor was there, between which it never was away for longer than `forget_after`. In each the first
//! install, purchase and event are a row of `firsts` and decide in which cohorts the visitor is; each further day of the life counts it
//! at an age of these. So what a day adds is known when it comes, and a cohort needs no state of its own: cells are sums.
//!
//! **State.** Of a visitor and app what is first in its life, the days of the last month and what can still change, until it was away for
//! `forget_after`: some hundred bytes. What changes which event is the first moves the visitor with all its days to another cohort; that can
//! only happen while all of these days can still change, so older days need not be known.

mod kept;

use std::collections::HashMap;

use foldhash::fast::FixedState;
use operators::{Expires, Keyed};
use schemas::units::DAY_MS;
use schemas::{EventTime, EventType, Subject, Symbol, Tick, Zones};

use crate::changes::Sum;
use crate::cohort::{AGE_DAYS_MAX, Cohort, Milestone, Unit};
use crate::horizon::{Bounds, Horizons};
use crate::overflow::fits;
use crate::params::Params;
use crate::places::Places;
use crate::sealing::Sealing;
use crate::views::activity::{self, is_presence};
use crate::views::cohorts::{COHORTS, CohortKey, CohortRow, MEASURES};
use crate::views::firsts::FirstRow;
use crate::visitor_event::{ActiveDay, First, Led, VisitorEvent, VisitorInput};
use kept::{Anchor, Candidate, ForgetAfter, Life, Money, Next, OfApp, Told};

/// What follows from the lives of visitors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum OfLives {
    /// A row of `firsts`.
    First(FirstRow),
    /// What is added to a cell of `cohorts`.
    Cell(CohortRow),
}

/// What is kept of a visitor.
#[derive(Clone, Default)]
pub struct Kept(Vec<OfApp>);

/// The section of `firsts` and `cohorts` in the records of visitors.
pub struct Lives {
    forget_after: ForgetAfter,
    /// None where `cohorts` are not maintained.
    cohorts: Vec<Cohort>,
    sealing: Sealing,
    sealed_before: Tick,
    zones: Zones,
    horizons: Horizons,
    /// Tenants and apps.
    apps: Places<(Symbol, Symbol)>,
    led: Places<Led>,
    /// What visitors add to cells until the tick ends.
    cells: HashMap<CohortKey, [i64; MEASURES], FixedState>,
}

/// What an input says of a day.
#[derive(Default)]
struct Says {
    is_there: bool,
    candidate: Option<(Candidate, &'static [Milestone])>,
    money: Option<Money>,
}

/// Who is counted, and what it brings, as a cell adds it up: users, active users, revenue, and how many of these.
type Measures = [i64; MEASURES];
const USER: Measures = [1, 0, 0, 1];
const ACTIVE: Measures = [0, 1, 0, 1];

impl Lives {
    /// The types of events that count: those for which somebody is there. A refund is a conversion.
    pub const TYPES: [EventType; 4] = activity::TYPES;

    /// With these parameters, within these bounds.
    pub fn new(params: &Params, bounds: Bounds, horizons: Horizons) -> Lives {
        let days = u32::try_from(params.forget_after.0 / DAY_MS).expect("it may be up to ten years");
        let cohorts = if params.maintains(COHORTS.name) { params.cohorts.definitions.clone() } else { Vec::new() };
        Lives {
            forget_after: ForgetAfter(days),
            cohorts,
            sealing: Sealing { final_after_ms: bounds.final_after_ms },
            sealed_before: bounds.sealed_before,
            zones: params.zones.clone(),
            horizons,
            apps: Places::new(),
            led: Places::new(),
            cells: HashMap::default(),
        }
    }

    /// When nothing changes a day any more.
    fn final_at(&self, app: u32, day: u32) -> Tick {
        let (tenant, _) = self.apps.at(app);
        self.horizons.target(self.zones.day_of_number(tenant, i64::from(day)).ends).expiry()
    }

    /// The day of a time; none where it comes from its table.
    fn day(&self, visitor: Subject, tenant: Symbol, time: EventTime) -> Option<u32> {
        let day = self.zones.day(tenant, time);
        (self.sealing.at(visitor, day.ends) >= self.sealed_before).then(|| number(day.number))
    }

    fn of_event(&mut self, day: u32, event: &VisitorEvent, diff: isize) -> Says {
        let VisitorEvent { time, id, campaign, source, channel, country, .. } = *event;
        let is_there = is_presence(event.event_type, event.revenue);
        let led = self.led.of(Led { campaign, source, channel, country });
        let milestones: &[Milestone] = match event.event_type {
            EventType::Conversion => &[Milestone::Purchase, Milestone::Event],
            _ => &[Milestone::Event],
        };
        let candidate = is_there.then_some((Candidate { time, id, day, led }, milestones));
        let money = event.revenue.map(|revenue| {
            let micros = fits(revenue.0.checked_mul(diff as i64), "what a visitor brings in a day");
            Money { day, currency: event.currency, micros, conversions: diff as i64 }
        });
        Says { is_there, candidate, money }
    }

    /// Takes in what is said of a day, and tells what follows.
    fn take_in(
        &mut self,
        visitor: Subject,
        of: &mut OfApp,
        (day, says, diff): (u32, Says, isize),
        now: Tick,
        out: &mut impl FnMut(OfLives, isize),
    ) {
        let (app, forget_after) = (of.app, self.forget_after);
        let is_final = |day| self.final_at(app, day) <= now;
        let toggles = says.is_there && of.toggles(day, diff);
        let proposed: Vec<(Milestone, Candidate)> = says
            .candidate
            .iter()
            .flat_map(|(candidate, milestones)| milestones.iter().map(|milestone| (*milestone, *candidate)))
            .filter(|(milestone, _)| !of.is_later(*milestone, day, is_final, forget_after))
            .collect();
        let before = (toggles || !proposed.is_empty()).then(|| of.told(forget_after));
        if says.is_there {
            of.count(day, diff);
        }
        for (milestone, candidate) in proposed {
            of.propose(milestone, candidate, diff);
        }
        if let Some(money) = says.money {
            of.pay(money);
        }
        let Some(before) = before else {
            if let Some(money) = says.money {
                let lives = of.lives(forget_after);
                self.add_money(app, &lives, of.days(), &money, 1);
            }
            return;
        };
        let lives = of.lives(forget_after);
        if lives == before.lives && self.keeps_money(&before, of) {
            if toggles {
                self.add_day(app, &lives, of.days(), day, diff.signum() as i64);
            }
            if let Some(money) = says.money {
                self.add_money(app, &lives, of.days(), &money, 1);
            }
            return;
        }
        self.add_all(app, &before, -1);
        self.add_all(app, &of.told(forget_after), 1);
        self.tell_firsts(visitor, app, &before.lives, -1, out);
        self.tell_firsts(visitor, app, &lives, 1, out);
    }

    /// Whether no refund ceases to belong to a life, or begins to, where lives are as they were: none lies far from all days.
    fn keeps_money(&self, before: &Told, of: &OfApp) -> bool {
        let first = |days: &[kept::Active]| days.first().map(|active| active.day);
        let (Some(one), Some(other)) = (first(&before.days), first(of.days())) else { return false };
        let spans = |money: &Money| money.day >= one.max(other) && money.day - one.min(other) <= self.forget_after.0;
        before.money.iter().all(spans)
    }

    /// Tells the first events of lives.
    fn tell_firsts(
        &self,
        visitor: Subject,
        app: u32,
        lives: &[Life],
        diff: isize,
        out: &mut impl FnMut(OfLives, isize),
    ) {
        let (tenant, app) = self.apps.at(app);
        for (milestone, anchor) in lives.iter().flat_map(|life| Milestone::ALL.into_iter().zip(life.anchors)) {
            let Some(Anchor { led, event: Some((time, id)), .. }) = anchor else { continue };
            let first = First { tenant, app, milestone, time, id, led: self.led.at(led) };
            out(OfLives::First(FirstRow { visitor, first }), diff);
        }
    }

    /// Adds to the cells of an age.
    fn add(&mut self, app: u32, cohort: usize, anchor: &Anchor, (age, currency): (i64, Symbol), more: Measures) {
        let ((tenant, app), Led { campaign, source, channel, country }) = (self.apps.at(app), self.led.at(anchor.led));
        let of = &self.cohorts[cohort];
        if of.unit() == Unit::Day && age > AGE_DAYS_MAX {
            return;
        }
        let begins = self.zones.day_of_number(tenant, of.period.first_day(i64::from(anchor.day))).begins;
        for grouping in &of.groupings {
            let group = grouping.group(tenant, [campaign, source, channel, country]);
            let key =
                CohortKey { first: of.first, period: of.period, unit: of.unit(), app, group, begins, age, currency };
            let sums = self.cells.entry(key).or_default();
            for (sum, more) in sums.iter_mut().zip(more) {
                *sum = fits(sum.checked_add(more), "a sum of a cohort");
            }
        }
    }

    /// How old a visitor of a cohort is on a day; none before its first.
    fn age(&self, cohort: usize, anchor: &Anchor, day: u32) -> Option<i64> {
        let number = |day: u32| self.cohorts[cohort].unit().number(i64::from(day));
        (day >= anchor.day).then(|| number(day) - number(anchor.day))
    }

    /// Adds that a visitor was there on a day, unless it was there at the same age anyway.
    fn add_day(&mut self, app: u32, lives: &[Life], days: &[kept::Active], day: u32, times: i64) {
        let Some(at) = lives.iter().rposition(|life| life.begins <= day) else { return };
        let days = of_life(lives, at, days);
        for cohort in 0..self.cohorts.len() {
            let Some(anchor) = lives[at].anchors[self.cohorts[cohort].first as usize] else { continue };
            let Some(age) = self.age(cohort, &anchor, day) else { continue };
            let mut others = days.iter().filter(|active| active.day != day);
            if !others.any(|active| self.age(cohort, &anchor, active.day) == Some(age)) {
                self.add(app, cohort, &anchor, (age, Symbol::NONE), ACTIVE.map(|more| more * times));
            }
        }
    }

    /// Adds what was brought on a day, to the life that goes on then.
    fn add_money(&mut self, app: u32, lives: &[Life], days: &[kept::Active], money: &Money, times: i64) {
        let Some(at) = lives.iter().rposition(|life| life.begins <= money.day) else { return };
        let last = days.iter().rev().find(|active| active.day <= money.day);
        if last.is_none_or(|last| money.day - last.day > self.forget_after.0) {
            return;
        }
        for cohort in 0..self.cohorts.len() {
            let Some(anchor) = lives[at].anchors[self.cohorts[cohort].first as usize] else { continue };
            if let Some(age) = self.age(cohort, &anchor, money.day) {
                let more = [0, 0, money.micros, money.conversions].map(|more| more * times);
                self.add(app, cohort, &anchor, (age, money.currency), more);
            }
        }
    }

    /// Adds all that is known of a visitor.
    fn add_all(&mut self, app: u32, Told { lives, days, money }: &Told, times: i64) {
        for (at, life) in lives.iter().enumerate() {
            let days = of_life(lives, at, days);
            for cohort in 0..self.cohorts.len() {
                let Some(anchor) = life.anchors[self.cohorts[cohort].first as usize] else { continue };
                self.add(app, cohort, &anchor, (0, Symbol::NONE), USER.map(|more| more * times));
                let mut ages: Vec<i64> =
                    days.iter().filter_map(|active| self.age(cohort, &anchor, active.day)).collect();
                ages.dedup();
                for age in ages {
                    self.add(app, cohort, &anchor, (age, Symbol::NONE), ACTIVE.map(|more| more * times));
                }
            }
        }
        money.iter().for_each(|money| self.add_money(app, lives, days, money, times));
    }
}

/// The days of a life.
fn of_life<'a>(lives: &[Life], at: usize, days: &'a [kept::Active]) -> &'a [kept::Active] {
    let from = days.partition_point(|active| active.day < lives[at].begins);
    let until = lives.get(at + 1).map_or(days.len(), |next| days.partition_point(|active| active.day < next.begins));
    &days[from..until]
}

fn number(day: i64) -> u32 {
    u32::try_from(day).expect("an event is of the years 1970 to 9999")
}

impl Keyed for Lives {
    type Key = Subject;
    type Event = VisitorInput;
    type Record = Kept;
    type Output = OfLives;

    fn on_event(
        &mut self,
        visitor: Subject,
        Kept(apps): &mut Kept,
        input: &VisitorInput,
        diff: isize,
        now: Tick,
        out: &mut impl FnMut(OfLives, isize),
    ) {
        let (tenant, app, time) = match input {
            VisitorInput::Event(event) if Lives::TYPES.contains(&event.event_type) => {
                (event.tenant, event.app, event.time)
            }
            VisitorInput::Installed(first) | VisitorInput::First(first) => (first.tenant, first.app, first.time),
            VisitorInput::Active(ActiveDay { tenant, app, day }) => (*tenant, *app, *day),
            VisitorInput::Event(_) | VisitorInput::Counted(_) | VisitorInput::OfDevice(_) => return,
        };
        let place = self.apps.of((tenant, app));
        let day = match input {
            VisitorInput::First(_) | VisitorInput::Active(_) => Some(number(self.zones.day(tenant, time).number)),
            _ => self.day(visitor, tenant, time),
        };
        let Some(day) = day else { return };
        let at = apps.iter().position(|of| of.app == place).unwrap_or_else(|| {
            apps.reserve_exact(1);
            apps.push(OfApp::new(place));
            apps.len() - 1
        });
        let of = &mut apps[at];
        let says = match input {
            VisitorInput::Event(event) => self.of_event(day, event, diff),
            VisitorInput::Installed(First { time, id, led, .. }) => {
                let candidate = Candidate { time: *time, id: *id, day, led: self.led.of(*led) };
                Says { candidate: Some((candidate, &[Milestone::Install])), ..Says::default() }
            }
            VisitorInput::First(First { milestone, led, .. }) => {
                of.due = 0;
                return of.settle(*milestone, day, self.led.of(*led));
            }
            // Written long ago, so that it is told to nobody.
            VisitorInput::Active(_) => {
                of.due = 0;
                return of.count(day, diff);
            }
            VisitorInput::Counted(_) | VisitorInput::OfDevice(_) => return,
        };
        self.take_in(visitor, of, (day, says, diff), now, out);
        of.due = of.due.min(self.final_at(place, day));
    }

    fn on_timer(&mut self, _: Subject, Kept(apps): &mut Kept, now: Tick, _: &mut impl FnMut(OfLives, isize)) {
        for of in apps.iter_mut().filter(|of| of.due <= now) {
            let app = of.app;
            of.due = match of.tidy(|day| self.final_at(app, day) <= now, self.forget_after) {
                Next::FinalOf(day) => self.final_at(app, day),
                Next::Nothing => Tick::MAX,
            };
        }
        apps.retain(|of| !of.is_empty());
    }

    fn end_of_tick(&mut self, out: &mut impl FnMut(OfLives, isize)) {
        for (key, sums) in self.cells.drain().filter(|(_, sums)| *sums != Measures::default()) {
            out(OfLives::Cell(Sum { key, sums }), 1);
        }
    }

    fn due(&self, Kept(apps): &Kept) -> Option<Tick> {
        apps.iter().map(|of| of.due).min()
    }

    fn is_empty(&self, Kept(apps): &Kept) -> bool {
        apps.is_empty()
    }

    fn bytes(&self, Kept(apps): &Kept) -> usize {
        apps.iter().map(|of| size_of::<OfApp>() + of.bytes()).sum()
    }
}
