//! When can nothing find a row any more?
//!
//! A record of event time *e* is accepted at a tick of at most *e* + *R*, the *retention*: the allowed lateness and how far
//! a tick may run ahead of arrivals. So with a window *w*, a touch of time *e* is of no use from tick *e* + *w* + *R* on:
//! a target that comes then happened more than *w* later. And nothing about an event changes from *e* + *R* on. Costs have an *R* of
//! their own ([`Retention`]), and so identities of their own: a cost is no copy of an event that is none.
//!
//! Rows carry that time, in minutes and rounded up ([`Until`]), and traces drop them after it. Results do not
//! depend on when that happens: of two rows that decide something together neither changes once the other has expired,
//! by acceptance alone. A join may offer a touch that the channel's window excludes or, if its row is gone, not offer it; the
//! reduction after it refuses such a pair either way.
//!
//! Without a retention every row is kept for two thousand years.

use operators::Expires;
use schemas::event::Accepted;
use schemas::units::MINUTE_MS;
use schemas::view::Method;
use schemas::{EventKey, EventTime, EventType, Tick};
use serde::{Deserialize, Serialize};

use crate::attribution::eligibility::Eligibility;
use crate::moments::Moments;
use crate::params::InstallsParams;

/// Two thousand years: more than any two accepted records lie apart where nothing is too late.
const FOREVER_MIN: u32 = 1 << 30;

/// The minute from which nothing can find a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Until(u32);

impl Expires<Tick> for Until {
    fn expiry(&self) -> Tick {
        u64::from(self.0) * MINUTE_MS as u64
    }
}

/// The minute of a time, kept within 32 bits: the years 1970 to 10136.
fn minute(time: EventTime) -> u32 {
    time.0.div_euclid(MINUTE_MS).clamp(0, i64::from(u32::MAX)) as u32
}

/// How long after it happened a record may be accepted, in ticks of milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// A record of any type but a cost.
    pub ms: i64,
    /// A cost: networks restate them for weeks.
    pub cost_ms: i64,
}

impl From<i64> for Retention {
    fn from(ms: i64) -> Retention {
        Retention { ms, cost_ms: ms }
    }
}

/// What bounds the state of a dataflow.
#[derive(Clone, Copy, Debug, Default)]
pub struct Bounds {
    /// How long after it is over an hour or a day is final, by the lake's rule, whichever records this dataflow takes in. Where a lake
    /// has none, when it is written all the same.
    pub final_after_ms: i64,
    /// How long after it happened a record may be accepted; none where it may be of any age: then nothing is forgotten.
    pub retention: Option<Retention>,
    /// Days that were sealed before this cut are loaded from their table, not from their events; 0 where none is.
    pub sealed_before: Tick,
    /// Installs before this are loaded from their table, not from their events; none where none is.
    pub installs_before: Option<EventTime>,
    /// Links of days that began before this are loaded from their table, not from their events; none where none is.
    pub links_before: Option<EventTime>,
    /// As of when links count for a target.
    pub moments: Moments,
}

/// How long rows of each kind can be found.
#[derive(Clone, Copy, Debug)]
pub struct Horizons {
    retention_min: u32,
    cost_retention_min: u32,
    /// The longest window of a method: of person and click id, and of fingerprint.
    window_ms: i64,
    fingerprint_ms: i64,
    lifetime_ms: i64,
}

impl Horizons {
    /// The horizons of these parameters, where records are accepted as long as this says.
    pub fn of(params: &InstallsParams, retention: Option<Retention>) -> Horizons {
        let eligibility = Eligibility::of(params);
        let within = |ms: Option<i64>| ms.map_or(FOREVER_MIN, |ms| minutes(ms).min(FOREVER_MIN));
        Horizons {
            retention_min: within(retention.map(|retention| retention.ms)),
            cost_retention_min: within(retention.map(|retention| retention.cost_ms)),
            window_ms: eligibility.longest_ms(Method::Person),
            fingerprint_ms: eligibility.longest_ms(Method::Fingerprint),
            lifetime_ms: params.attribution_lifetime.0,
        }
    }

    /// What finds a target, or tells of it, until it is final.
    pub fn target(&self, event_time: EventTime) -> Until {
        self.after(event_time, 0)
    }

    /// What a cost shares its identity or hour with, until no cost can come for it.
    pub fn cost(&self, event_time: EventTime) -> Until {
        Until(minute(event_time).saturating_add(self.cost_retention_min + 1 + minutes(0)))
    }

    /// Any record of a time.
    pub fn latest(&self, event_time: EventTime) -> Until {
        self.target(event_time).max(self.cost(event_time))
    }

    /// An install, as long as it speaks for its person.
    pub fn install(&self, event_time: EventTime) -> Until {
        self.after(event_time, self.lifetime_ms)
    }

    /// A touch, however it is found.
    pub fn touch(&self, event_time: EventTime) -> Until {
        self.after(event_time, self.window_ms)
    }

    /// A touch that is found by this method.
    pub fn touch_by(&self, event_time: EventTime, method: Method) -> Until {
        self.after(event_time, self.window_by(method))
    }

    /// Whether a touch happened within the longest window of a method before `event_time`, of which is known until when
    /// it can be found by that method, and the millisecond of its minute. Never wrongly false.
    pub fn may_precede(&self, touch: Until, ms_of_minute: i64, event_time: EventTime, method: Method) -> bool {
        let window_ms = self.window_by(method);
        let minute_of_touch = touch.0.checked_sub(self.beyond(minutes(window_ms)));
        match minute_of_touch {
            // A minute that did not fit says nothing.
            None | Some(0) => true,
            Some(_) if touch.0 == u32::MAX => true,
            Some(minute) => {
                let touched_ms = i64::from(minute) * MINUTE_MS + ms_of_minute;
                (0..=window_ms).contains(&event_time.0.saturating_sub(touched_ms))
            }
        }
    }

    fn window_by(&self, method: Method) -> i64 {
        if method == Method::Fingerprint { self.fingerprint_ms } else { self.window_ms }
    }

    fn after(&self, event_time: EventTime, span_ms: i64) -> Until {
        Until(minute(event_time).saturating_add(self.beyond(minutes(span_ms))))
    }

    /// From the minute of an event to its horizon: later than its time, the span and the retention together.
    fn beyond(&self, span_min: u32) -> u32 {
        span_min + self.retention_min + 1
    }
}

/// More minutes than a span has.
fn minutes(span_ms: i64) -> u32 {
    (span_ms.max(0) / MINUTE_MS + 1).min(i64::from(FOREVER_MIN)) as u32
}

/// The identity of an install or conversion, with its kind and how long it can be found.
///
/// Copies that differ in kind are reduced apart; each knows of the others as its contenders.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TargetKey {
    /// The identity.
    pub key: EventKey,
    /// Whether it is an install, or an open with which a device comes back; else a conversion.
    pub is_install: bool,
    /// Until when.
    pub until: Until,
}

impl TargetKey {
    /// Of an accepted install or conversion, until it is final.
    pub fn of(record: &Accepted, horizons: &Horizons) -> TargetKey {
        let event = &record.event;
        let is_install = event.event_type == EventType::Install;
        TargetKey { key: event.key(), is_install, until: horizons.target(event.event_time) }
    }
}

impl Expires<Tick> for TargetKey {
    fn expiry(&self) -> Tick {
        self.until.expiry()
    }
}

#[cfg(test)]
mod tests {
    use schemas::units::{DAY_MS, HOUR_MS};

    use super::*;

    #[test]
    fn a_touch_is_found_as_long_as_a_target_may_come_for_it() {
        let params = InstallsParams::default();
        let time = EventTime(20_000 * DAY_MS + 59_999);
        for retention_ms in [0, 1, 59_999, HOUR_MS, 3 * DAY_MS] {
            let horizons = Horizons::of(&params, Some(retention_ms.into()));
            for (method, window_ms) in [(Method::Person, 7 * DAY_MS), (Method::Fingerprint, DAY_MS)] {
                let until = horizons.touch_by(time, method);
                let last = (time.0 + window_ms + retention_ms) as Tick;
                assert!(!until.expired(&last), "{retention_ms} {method:?}");
                assert!(until.expired(&(last + 5 * MINUTE_MS as Tick)), "{retention_ms} {method:?}");
                let precedes = |target_ms| horizons.may_precede(until, 59_999, EventTime(target_ms), method);
                let found = [time.0 - 1, time.0, time.0 + window_ms, time.0 + window_ms + 1].map(precedes);
                assert_eq!(found, [false, true, true, false], "{retention_ms} {method:?}");
            }
        }
    }

    #[test]
    fn what_is_kept_for_ever_says_when_it_was() {
        let horizons = Horizons::of(&InstallsParams::default(), None);
        for time in [-1, 0, 1_793_491_200_000, 253_402_300_799_999] {
            let until = horizons.touch_by(EventTime(time), Method::Person);
            assert!(!until.expired(&(time.max(0) as Tick + 1_000 * 365 * DAY_MS as Tick)) || time > 1 << 47);
            let ms_of_minute = time.rem_euclid(MINUTE_MS);
            assert!(horizons.may_precede(until, ms_of_minute, EventTime(time + DAY_MS), Method::Person), "{time}");
        }
    }
}
