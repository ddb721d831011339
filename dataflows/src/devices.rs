//! What devices do: the days on which each is there in an app, and when it comes back to one.
//!
//! A device comes back where it installs or opens an app, and that is the first it did there for more than `reattribution_after` whole
//! days, by the tenant's time zone. One that was away for longer than `forget_after` is a new one: it has nothing to come back to.
//!
//! **State.** Of each device what it did on days that can still change, 72 bytes an event and 48 more of one that may come back; and
//! of each of its apps the last day before, until `forget_after` is over, 8 bytes.

use std::sync::Arc;

use differential_dataflow::VecCollection;
use operators::{Expires, Keyed, keyed};
use schemas::units::DAY_MS;
use schemas::{
    DeviceId, EventId, EventKey, EventTime, EventType, JoinKey, PayloadHash, Subject, Symbol, Tick, UserId, Zones,
};
use serde::{Deserialize, Serialize};

use crate::attribution::targets::TargetRow;
use crate::event_row::{EventRow, OfType};
use crate::horizon::{Bounds, Horizons, TargetKey};
use crate::params::Params;
use crate::places::Places;
use crate::standing::Events;
use crate::views::activity::{ActivityRow, Whose, is_presence};
use crate::visitor_event::{ActiveDay, VisitorInput};

/// What follows from what devices did.
#[derive(Clone)]
pub struct Devices<'scope> {
    /// The rows of `activity` that are theirs.
    pub days: VecCollection<'scope, Tick, ActivityRow, isize>,
    /// The installs and opens with which they come back.
    pub returns: VecCollection<'scope, Tick, (TargetKey, Arc<TargetRow>), isize>,
}

/// What comes to the record of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
enum Input {
    /// Something that it did.
    Did(Deed),
    /// At a start: a row of `activity`.
    Active(ActiveDay),
}

/// Something that a device did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Deed {
    tenant: Symbol,
    app: Symbol,
    time: EventTime,
    id: EventId,
    subject: Subject,
    user: UserId,
    event_type: EventType,
    country: Symbol,
    click: JoinKey,
    fingerprint: JoinKey,
    late: bool,
}

impl Deed {
    fn of(event: &EventRow) -> Deed {
        let EventRow { tenant, app, event_time: time, event_id: id, subject, event_type, country, .. } = *event;
        let (click, fingerprint, late) = match event.of_type {
            OfType::Open { click, fingerprint, late } => (click, fingerprint, late),
            _ => (JoinKey::NONE, JoinKey::NONE, false),
        };
        Deed { tenant, app, time, id, subject, user: event.user(), event_type, country, click, fingerprint, late }
    }

    /// What is kept of it, on this day in the app of this place.
    fn kept(&self, app: u32, day: u32) -> Kept {
        let Deed { time, id, subject, user, event_type, country, click, fingerprint, late, .. } = *self;
        let opens =
            (event_type == EventType::Open).then(|| Box::new(Opened { user, country, click, fingerprint, late }));
        Kept { app, day, time, id, subject, installs: event_type == EventType::Install, opens }
    }
}

/// What is kept of it.
#[derive(Clone, Debug)]
struct Kept {
    /// The place of the app.
    app: u32,
    /// The number of the day.
    day: u32,
    time: EventTime,
    id: EventId,
    subject: Subject,
    installs: bool,
    opens: Option<Box<Opened>>,
}

/// What is known of an open alone; an install is known to attribution.
#[derive(Clone, Copy, Debug)]
struct Opened {
    user: UserId,
    country: Symbol,
    click: JoinKey,
    fingerprint: JoinKey,
    late: bool,
}

impl Kept {
    fn order(&self) -> (u32, EventTime, EventId, Subject) {
        (self.app, self.time, self.id, self.subject)
    }
}

/// What is kept of a device.
#[derive(Clone, Default)]
struct Record {
    /// What it did on days that can change, in its order by app.
    did: Vec<Kept>,
    /// The place of each app in which it was, and the last day of those that cannot change.
    last: Vec<(u32, u32)>,
    /// When there is something to forget, at the earliest.
    due: Tick,
}

impl Record {
    /// The day of what it did before the one at a place, in the same app.
    fn day_before(&self, at: usize) -> Option<u32> {
        let app = self.did[at].app;
        let before = at.checked_sub(1).map(|before| &self.did[before]).filter(|before| before.app == app);
        before.map(|before| before.day).or_else(|| self.last_day(app))
    }

    fn last_day(&self, app: u32) -> Option<u32> {
        self.last.iter().find(|(of, _)| *of == app).map(|(_, day)| *day)
    }

    fn was_there_until(&mut self, app: u32, day: u32) {
        match self.last.iter_mut().find(|(of, _)| *of == app) {
            Some((_, last)) => *last = day.max(*last),
            None => {
                self.last.reserve_exact(1);
                self.last.push((app, day));
            }
        }
    }
}

/// What a device's record makes of what comes.
struct OfDevices {
    /// It comes back after more days than these, and no more than these.
    away: std::ops::RangeInclusive<u32>,
    /// Days that were over by then come from their table.
    installs_before: Option<EventTime>,
    zones: Zones,
    horizons: Horizons,
    /// Tenants and apps.
    apps: Places<(Symbol, Symbol)>,
}

/// What follows.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Made {
    Day(ActivityRow),
    Return(TargetKey, Arc<TargetRow>),
}

fn number(day: i64) -> u32 {
    u32::try_from(day).expect("an event is of the years 1970 to 9999")
}

impl OfDevices {
    /// When nothing changes a day any more.
    fn final_at(&self, app: u32, day: u32) -> Tick {
        let (tenant, _) = self.apps.at(app);
        self.horizons.target(self.zones.day_of_number(tenant, i64::from(day)).ends).expiry()
    }

    /// When a device that was there that day for the last time is forgotten.
    fn forgotten_at(&self, app: u32, day: u32) -> Tick {
        self.final_at(app, day + self.away.end())
    }

    /// The install or open at a place, if the device comes back with it.
    fn comes_back(&self, device: Subject, record: &Record, at: usize) -> Option<(TargetKey, Arc<TargetRow>)> {
        let kept = record.did.get(at).filter(|kept| kept.installs || kept.opens.is_some())?;
        // What is final is loaded with what was found of it.
        if self.installs_before.is_some_and(|before| kept.time < before) {
            return None;
        }
        let away = kept.day.checked_sub(record.day_before(at)?)?;
        if !self.away.contains(&away) {
            return None;
        }
        let (tenant, app) = self.apps.at(kept.app);
        let none = Opened {
            user: UserId::NONE,
            country: Symbol::NONE,
            click: JoinKey::NONE,
            fingerprint: JoinKey::NONE,
            late: false,
        };
        let Opened { user, country, click, fingerprint, late } = kept.opens.as_deref().copied().unwrap_or(none);
        let row = TargetRow {
            payload_hash: PayloadHash::NONE,
            late,
            event_type: if kept.installs { EventType::Install } else { EventType::Open },
            reinstall: false,
            comes_back: true,
            tenant,
            app,
            event_time: kept.time,
            event_id: kept.id,
            subject: kept.subject,
            user,
            device: DeviceId(device.0),
            click,
            fingerprint,
            country,
            name: Symbol::NONE,
            revenue: None,
            currency: Symbol::NONE,
        };
        let key = EventKey::of(tenant, kept.subject, kept.id, kept.time);
        Some((TargetKey { key, is_install: true, until: self.horizons.target(kept.time) }, Arc::new(row)))
    }
}

impl Keyed for OfDevices {
    type Key = Subject;
    type Event = Input;
    type Record = Record;
    type Output = Made;
    const TIMERS_TELL: bool = false;

    fn on_event(
        &mut self,
        device: Subject,
        record: &mut Record,
        input: &Input,
        diff: isize,
        _: Tick,
        out: &mut impl FnMut(Made, isize),
    ) {
        let deed = match input {
            Input::Did(deed) => deed,
            Input::Active(ActiveDay { tenant, app, day }) => {
                let app = self.apps.of((*tenant, *app));
                record.due = 0;
                return record.was_there_until(app, number(self.zones.day(*tenant, *day).number));
            }
        };
        let day = self.zones.day(deed.tenant, deed.time);
        if self.installs_before.is_some_and(|before| day.ends <= before) {
            return;
        }
        let app = self.apps.of((deed.tenant, deed.app));
        let kept = deed.kept(app, number(day.number));
        let (of_day, opens_day) = (kept.day, day.begins);
        let place = record.did.binary_search_by_key(&kept.order(), Kept::order);
        let at = place.unwrap_or_else(|at| at);
        // What comes or goes decides whether it comes back, and whether what follows it does.
        let mut tell = |devices: &OfDevices, record: &Record, at: usize, times: isize| {
            if let Some((key, row)) = devices.comes_back(device, record, at) {
                out(Made::Return(key, row), times);
            }
        };
        match place {
            Err(_) => {
                assert!(diff == 1, "a standing event is there once, and what goes had come");
                let due = self.final_at(app, of_day);
                record.due = if self.is_empty(record) { due } else { record.due.min(due) };
                tell(self, record, at, -1);
                if record.did.len() == record.did.capacity() {
                    // Most do little: doubling would leave half of it unused.
                    record.did.reserve_exact(1 + at / 4);
                }
                record.did.insert(at, kept);
                tell(self, record, at, 1);
                tell(self, record, at + 1, 1);
            }
            Ok(_) => {
                assert!(diff == -1, "a standing event is there once");
                tell(self, record, at, -1);
                tell(self, record, at + 1, -1);
                record.did.remove(at);
                tell(self, record, at, 1);
            }
        }
        // Those of a day are side by side.
        let mut beside = at.checked_sub(1).into_iter().chain([if diff > 0 { at + 1 } else { at }]);
        let is_alone = beside.all(|at| record.did.get(at).is_none_or(|kept| (kept.app, kept.day) != (app, of_day)));
        if is_alone {
            let Deed { tenant, app, .. } = *deed;
            out(Made::Day(ActivityRow { tenant, app, whose: Whose::Device, id: device, day: opens_day }), diff);
        }
    }

    fn on_timer(&mut self, _: Subject, record: &mut Record, now: Tick, _: &mut impl FnMut(Made, isize)) {
        if record.due > now {
            return;
        }
        let did = std::mem::take(&mut record.did);
        let (past, rest): (Vec<Kept>, Vec<Kept>) =
            did.into_iter().partition(|kept| self.final_at(kept.app, kept.day) <= now);
        record.did = rest;
        past.iter().for_each(|kept| record.was_there_until(kept.app, kept.day));
        record.last.retain(|(app, day)| self.forgotten_at(*app, *day) > now);
        let of_did = record.did.iter().map(|kept| self.final_at(kept.app, kept.day));
        let of_last = record.last.iter().map(|(app, day)| self.forgotten_at(*app, *day));
        record.due = of_did.chain(of_last).min().unwrap_or(Tick::MAX);
    }

    fn due(&self, record: &Record) -> Option<Tick> {
        (!self.is_empty(record)).then_some(record.due)
    }

    fn is_empty(&self, record: &Record) -> bool {
        record.did.is_empty() && record.last.is_empty()
    }

    fn bytes(&self, record: &Record) -> usize {
        let opens = record.did.iter().filter(|kept| kept.opens.is_some()).count();
        size_of_val(&*record.did) + size_of_val(&*record.last) + opens * size_of::<Opened>()
    }
}

/// What devices do, by the standing events and what is final in the tables.
pub fn devices<'scope>(
    events: &Events<'scope>,
    finals: VecCollection<'scope, Tick, (Subject, VisitorInput), isize>,
    params: &Params,
    bounds: Bounds,
    horizons: Horizons,
) -> Devices<'scope> {
    let installs_before = bounds.installs_before;
    let did = events.flat_map("events of devices", |event| {
        let is_there = !event.device.is_none() && is_presence(event.event_type, event.amount);
        is_there.then(|| (Subject(event.device.0), Input::Did(Deed::of(event))))
    });
    let zones = params.zones.clone();
    let finals = finals.flat_map(move |(device, input)| match input {
        VisitorInput::OfDevice(active) => {
            let ends = zones.day(active.tenant, active.day).ends;
            installs_before.is_some_and(|before| ends <= before).then_some((device, Input::Active(active)))
        }
        _ => None,
    });
    let days = |span_ms: i64| u32::try_from(span_ms / DAY_MS).expect("it may be up to ten years");
    let away = days(params.installs.reattribution_after.0) + 1..=days(params.forget_after.0);
    let logic = OfDevices { away, installs_before, zones: params.zones.clone(), horizons, apps: Places::new() };
    let made = keyed(did.concat(finals), "devices", logic);
    let days = made.clone().flat_map(|made| if let Made::Day(row) = made { Some(row) } else { None });
    let returns = made.flat_map(|made| match made {
        Made::Return(key, row) => Some((key, row)),
        Made::Day(_) => None,
    });
    Devices { days, returns }
}
