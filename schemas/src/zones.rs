//! The time zones of tenants: when the hours and days of their local time begin.
//!
//! | term | meaning |
//! |---|---|
//! | offset | how far local time is ahead of UTC; it holds for a *span*, between two changes of the zone |
//! | hour | the UTC instant at which an hour of local time began. A change of the offset begins a new hour, so one that the clock repeats is two, and none is longer than 60 minutes |
//! | day | the UTC instant at which a local date came for the first time; a day ends where the next date comes. It has 23 or 25 hours where the clock changes |
//!
//! So hours lie in days without overlap, whatever the offset: those of India begin at half past an hour of UTC. A date that a zone
//! skipped (Samoa, 30 December 2011) is a day without length.
//!
//! A tenant without a zone has UTC. So has everybody before [`ZONED_FROM_MS`] and from [`ZONED_UNTIL_MS`] on. The offsets are those of the
//! IANA database as the crate `chrono-tz` has it, to the second.

mod calendar;
mod names;
mod tables;

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;

use foldhash::fast::FixedState;

use crate::symbols::Symbol;
use crate::units::{DAY_MS, EventTime, HOUR_MS};
use calendar::Calendar;

pub use calendar::{ZONED_FROM_MS, ZONED_UNTIL_MS};
pub use names::{check, database};
pub use tables::HALF_YEAR_MS;

/// The zones of tenants. Cheap to clone; one look into a map that is mostly empty says that a tenant has none.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Zones(Arc<HashMap<Symbol, Zone, FixedState>>);

/// A zone that is not UTC.
#[derive(PartialEq, Eq)]
struct Zone {
    name: String,
    calendar: Arc<Calendar>,
}

/// A day of a tenant's local time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Day {
    /// Days since 1970 by the local calendar: consecutive dates have consecutive numbers.
    pub number: i64,
    /// When it began.
    pub begins: EventTime,
    /// When the next one begins.
    pub ends: EventTime,
}

/// An hour of a tenant's local time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hour {
    /// When it began.
    pub begins: EventTime,
    /// The number of the day that it lies in.
    pub day: i64,
    /// How many hours of that day came before it: less than [`HOURS_OF_DAY_MAX`].
    pub of_day: i64,
}

/// No day of any zone has more hours: the two on which zones begin and cease to count have up to 38, all others fewer than 30.
pub const HOURS_OF_DAY_MAX: i64 = 64;

impl Zones {
    /// Zones of the IANA database by their names. An error says what is wrong with the first name that is none.
    pub fn new<'a>(zones: impl IntoIterator<Item = (Symbol, &'a str)>) -> Result<Zones, String> {
        let mut calendars: BTreeMap<&str, Arc<Calendar>> = BTreeMap::new();
        let mut by_tenant = HashMap::default();
        for (tenant, name) in zones {
            let zone = names::parse(name)?;
            let calendar = calendars.entry(name).or_insert_with(|| Arc::new(Calendar::of(zone)));
            if !calendar.is_utc() {
                by_tenant.insert(tenant, Zone { name: name.to_owned(), calendar: Arc::clone(calendar) });
            }
        }
        Ok(Zones(Arc::new(by_tenant)))
    }

    /// Whether a name is that of a zone that is UTC all the time.
    pub fn is_utc(name: &str) -> bool {
        names::parse(name).is_ok_and(|zone| Calendar::of(zone).is_utc())
    }

    /// The hour that a time lies in.
    pub fn hour(&self, tenant: Symbol, time: EventTime) -> EventTime {
        match self.calendar(tenant) {
            Some(calendar) => EventTime(calendar.hour(time.0)),
            None => EventTime(time.0 - time.0.rem_euclid(HOUR_MS)),
        }
    }

    /// The same, with its place in its day.
    pub fn hour_of_day(&self, tenant: Symbol, time: EventTime) -> Hour {
        match self.calendar(tenant) {
            Some(calendar) => calendar.hour_of_day(time.0),
            None => calendar::utc_hour(time.0),
        }
    }

    /// When the hour ends that begins at a time.
    pub fn hour_end(&self, tenant: Symbol, begins: EventTime) -> EventTime {
        match self.calendar(tenant) {
            Some(calendar) => EventTime(calendar.hour_end(begins.0)),
            None => EventTime(begins.0 + HOUR_MS),
        }
    }

    /// What the tenant's clocks show at a time: the UTC time at which clocks of UTC show the same.
    pub fn local(&self, tenant: Symbol, time: EventTime) -> EventTime {
        EventTime(time.0 + self.calendar(tenant).map_or(0, |calendar| calendar.offset_ms(time.0)))
    }

    /// The times at which the tenant's clocks show that: none where they skip it, two where they repeat it.
    pub fn when_local(&self, tenant: Symbol, local: EventTime) -> impl Iterator<Item = EventTime> {
        let calendar = self.calendar(tenant);
        let zoned = calendar.into_iter().flat_map(move |calendar| calendar.when_local(local.0).map(EventTime));
        calendar.is_none().then_some(local).into_iter().chain(zoned)
    }

    /// The day that a time lies in.
    pub fn day(&self, tenant: Symbol, time: EventTime) -> Day {
        match self.calendar(tenant) {
            Some(calendar) => calendar.day(calendar.day_number(time.0)),
            None => calendar::utc_day(time.0.div_euclid(DAY_MS)),
        }
    }

    /// The day of a number.
    pub fn day_of_number(&self, tenant: Symbol, number: i64) -> Day {
        match self.calendar(tenant) {
            Some(calendar) => calendar.day(number),
            None => calendar::utc_day(number),
        }
    }

    fn calendar(&self, tenant: Symbol) -> Option<&Calendar> {
        if self.0.is_empty() {
            return None;
        }
        self.0.get(&tenant).map(|zone| zone.calendar.as_ref())
    }
}

impl fmt::Debug for Zones {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.0.iter().map(|(tenant, zone)| (tenant, &zone.name))).finish()
    }
}

#[cfg(test)]
mod tests;
