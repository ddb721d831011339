//! What a start has to read of what earlier runs recorded, for its state to be what it would be had it read all.
//!
//! Nothing about an event changes later than its retention *R* after it happened ([`crate::horizon`]), and a window looks no
//! further back than it is long. So of the time before the cut *m* that a start loads to, each view says how far back it still
//! looks; older events can change none of its rows any more. Where a result itself is needed for longer than what it is made of,
//! it is loaded from its table: an install hands its frozen path to conversions for as long as it speaks for its person, but the
//! touches that made the path are needed only until it is final.
//!
//! The spans are of all events alike, as what has the identity of a touch is a copy of it, whatever its type. Only costs have
//! identities of their own, so they have a span of their own.

use std::ops::Range;

use schemas::units::{DAY_MS, HOUR_MS};
use schemas::view::Method;
use schemas::{EventTime, EventType, Tick};

use crate::attribution::eligibility::Eligibility;
use crate::horizon::Retention;
use crate::params::Params;
use crate::sealing::{SealedDays, Sealing};

/// How far back a view looks, in event time, milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// At events.
    pub events_ms: i64,
    /// At costs.
    pub costs_ms: i64,
    /// At installs and conversions, with all that leads to them; 0 where it reads no attribution.
    pub attributed_ms: i64,
    /// At counts of days that are sealed, in the view's own table.
    pub sealed_ms: i64,
    /// At days that are sealed on which visitors and devices were there, in the table of `activity`; what visitors did first is needed of
    /// all time.
    pub lives_ms: i64,
    /// At links of days that may still change; all before comes from the table of links. 0 where it reads no links.
    pub links_ms: i64,
}

impl Needs {
    /// Of what is attributed, too, all on days of which some can change; and the days that are final on which visitors and devices were
    /// there that may come back.
    pub fn of_lives(params: &Params, retention: Retention) -> Needs {
        let of_days = retention.ms + DAY_MS + HOUR_MS;
        let lives_ms = params.forget_after.0 + of_days + DAY_MS;
        Needs { lives_ms, ..Needs::attributed_until_final(retention).at_least(of_days) }
    }

    /// As long as events can change.
    pub fn until_final(retention: Retention) -> Needs {
        Needs { events_ms: retention.ms, costs_ms: retention.cost_ms, ..Needs::default() }
    }

    /// Of what is attributed, too, as long as it can change.
    pub fn attributed_until_final(retention: Retention) -> Needs {
        Needs { attributed_ms: retention.ms, ..Needs::until_final(retention) }
    }

    /// At all of it so much at least.
    pub fn at_least(self, ms: i64) -> Needs {
        let attributed_ms = if self.attributed_ms > 0 { self.attributed_ms.max(ms) } else { 0 };
        Needs { events_ms: self.events_ms.max(ms), costs_ms: self.costs_ms.max(ms), attributed_ms, ..self }
    }

    /// At events so much more.
    pub fn and_events(self, more_ms: i64) -> Needs {
        Needs { events_ms: self.events_ms + more_ms, ..self }
    }

    /// What either needs.
    pub fn or(self, other: Needs) -> Needs {
        Needs {
            events_ms: self.events_ms.max(other.events_ms),
            costs_ms: self.costs_ms.max(other.costs_ms),
            attributed_ms: self.attributed_ms.max(other.attributed_ms),
            sealed_ms: self.sealed_ms.max(other.sealed_ms),
            lives_ms: self.lives_ms.max(other.lives_ms),
            links_ms: self.links_ms.max(other.links_ms),
        }
    }
}

/// What a start loads of the time up to a cut *m*.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Needed {
    /// Events since then.
    pub events_since: EventTime,
    /// Costs since then.
    pub costs_since: EventTime,
    /// Installs of these times come from their table; no record of one of them, or of one before, is a target.
    pub final_installs: Option<Range<EventTime>>,
    /// Days of visitors of which counts come from their table.
    pub sealed: Option<SealedDays>,
    /// Days on which visitors were there that come from their table.
    pub lives: Option<SealedDays>,
    /// Links of days that began before this come from their table.
    pub links_before: Option<EventTime>,
    /// How long after it happened a record may have been accepted.
    pub retention: Retention,
}

impl Needed {
    /// All there is.
    pub fn all(retention: Retention) -> Needed {
        let ever = EventTime(i64::MIN);
        Needed {
            events_since: ever,
            costs_since: ever,
            final_installs: None,
            sealed: None,
            lives: None,
            links_before: None,
            retention,
        }
    }

    /// What views with these needs need of the time up to `load_to`. With a table of `installs` what is final of them comes from there, with
    /// one of `identity_links` those of days that are.
    pub fn of(
        needs: Needs,
        params: &Params,
        (has_installs, has_links): (bool, bool),
        (retention, sealing): (Retention, Sealing),
        load_to: Tick,
    ) -> Needed {
        let before = |ms: i64| EventTime((load_to as i64).saturating_sub(ms));
        let Needs { mut events_ms, costs_ms, mut attributed_ms, sealed_ms, lives_ms, mut links_ms } = needs;
        let mut final_installs = None;
        if attributed_ms > 0 && params.installs.identity {
            // What a target is known by is final a retention after it happened, and the links of its moment as long before; their table tells
            // not when they came.
            links_ms = links_ms.max(2 * retention.ms + 2 * DAY_MS);
            let of_links_ms = if has_links { links_ms + 2 * DAY_MS } else { i64::MAX };
            events_ms = events_ms.max(of_links_ms);
        }
        if attributed_ms > 0 {
            let lifetime_ms = params.installs.attribution_lifetime.0;
            if has_installs {
                final_installs = Some(before(attributed_ms + lifetime_ms)..before(attributed_ms));
            } else {
                // Whether an install that governs is a reinstall depends on those of a lifetime before it.
                attributed_ms += 2 * lifetime_ms;
            }
            events_ms = events_ms.max(attributed_ms + Eligibility::of(&params.installs).longest_ms(Method::Person));
        }
        // What decides together may happen within an hour, and expires by the minute.
        let with_its_hour = |ms: i64| before(ms.saturating_add(2 * HOUR_MS));
        let (events_since, costs_since) = (with_its_hour(events_ms), with_its_hour(costs_ms));
        let sealed = |ms: i64| {
            let days = SealedDays { since: before(ms), before: load_to, sealing, zones: params.zones.clone() };
            (ms > 0).then_some(days)
        };
        let (sealed, lives) = (sealed(sealed_ms), sealed(lives_ms));
        let links_before = (links_ms > 0).then(|| before(links_ms));
        Needed { events_since, costs_since, final_installs, sealed, lives, links_before, retention }
    }

    /// The cut before which days were sealed that come from tables; 0 where none does.
    pub fn sealed_before(&self) -> Tick {
        [&self.sealed, &self.lives].into_iter().flatten().map(|sealed| sealed.before).max().unwrap_or(0)
    }

    /// Since when events of a type are loaded. A tombstone withdraws an event or a cost.
    pub fn since(&self, event_type: EventType) -> EventTime {
        match event_type {
            EventType::Cost => self.costs_since,
            EventType::Tombstone => self.costs_since.min(self.events_since),
            _ => self.events_since,
        }
    }

    /// Whether an event of a type and time is loaded.
    pub fn has(&self, event_type: EventType, event_time: EventTime) -> bool {
        event_time >= self.since(event_type)
    }

    /// The earliest time of which anything is loaded.
    pub fn earliest(&self) -> EventTime {
        self.events_since.min(self.costs_since)
    }

    /// The day as of whose end a record is loaded, in days since 1970: that on which it came, as state is forgotten by then; of a
    /// record that no gate let through, and that came when what it belongs to was long forgotten, that on which it happened.
    pub fn day(&self, event_type: EventType, event_time: EventTime, arrival_ms: i64) -> i64 {
        let of_type = if event_type == EventType::Cost { self.retention.cost_ms } else { self.retention.ms };
        // What comes in a day is loaded at its end, for which the retention has a day.
        let came_late = arrival_ms.saturating_sub(event_time.0) > of_type - DAY_MS;
        (if came_late { event_time.0 } else { arrival_ms }).div_euclid(DAY_MS)
    }

    /// Whether some record of this time came as late as that.
    pub fn may_be_late(&self, event_time: EventTime, arrival_ms: i64) -> bool {
        arrival_ms.saturating_sub(event_time.0) > self.retention.ms.min(self.retention.cost_ms) - DAY_MS
    }
}
