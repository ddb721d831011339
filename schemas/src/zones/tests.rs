//! Zones against the database itself, at random times and around every change of every zone.

use std::collections::BTreeSet;

use chrono::{DateTime, NaiveDateTime, Offset, TimeZone};
use chrono_tz::{TZ_VARIANTS, Tz};
use proptest::prelude::*;

use super::*;
use crate::units::MINUTE_MS;

const TENANT: &str = "acme";

fn zones(zone: &str) -> Zones {
    Zones::new([(Symbol::of(TENANT), zone)]).unwrap()
}

fn ms(text: &str) -> i64 {
    DateTime::parse_from_rfc3339(text).unwrap().timestamp_millis()
}

fn utc(time: EventTime) -> String {
    DateTime::from_timestamp_millis(time.0).unwrap().format("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// The hour of a time and the day, as UTC.
fn at(zone: &str, time: &str) -> [String; 3] {
    let (zones, tenant, time) = (zones(zone), Symbol::of(TENANT), EventTime(ms(time)));
    let day = zones.day(tenant, time);
    [utc(zones.hour(tenant, time)), utc(day.begins), utc(day.ends)]
}

#[test]
fn hours_and_days_begin_by_local_time() {
    let cases = [
        // One that is UTC.
        ("UTC", "2026-03-29T01:30:00Z", ["2026-03-29T01:00:00Z", "2026-03-29T00:00:00Z", "2026-03-30T00:00:00Z"]),
        // The clock goes from 02:00 to 03:00: a day of 23 hours.
        (
            "Europe/Berlin",
            "2026-03-29T00:59:59Z",
            ["2026-03-29T00:00:00Z", "2026-03-28T23:00:00Z", "2026-03-29T22:00:00Z"],
        ),
        (
            "Europe/Berlin",
            "2026-03-29T01:00:00Z",
            ["2026-03-29T01:00:00Z", "2026-03-28T23:00:00Z", "2026-03-29T22:00:00Z"],
        ),
        // The database knows all the years that zones count in.
        (
            "Europe/Berlin",
            "2099-07-01T12:10:00Z",
            ["2099-07-01T12:00:00Z", "2099-06-30T22:00:00Z", "2099-07-01T22:00:00Z"],
        ),
        // It goes from 03:00 back to 02:00: the hour from 02:00 is two, and the day has 25.
        (
            "Europe/Berlin",
            "2026-10-25T00:30:00Z",
            ["2026-10-25T00:00:00Z", "2026-10-24T22:00:00Z", "2026-10-25T23:00:00Z"],
        ),
        (
            "Europe/Berlin",
            "2026-10-25T01:30:00Z",
            ["2026-10-25T01:00:00Z", "2026-10-24T22:00:00Z", "2026-10-25T23:00:00Z"],
        ),
        // Half past an hour of UTC, and a quarter.
        (
            "Asia/Kolkata",
            "2026-01-01T18:29:59Z",
            ["2026-01-01T17:30:00Z", "2025-12-31T18:30:00Z", "2026-01-01T18:30:00Z"],
        ),
        (
            "Asia/Kathmandu",
            "2026-01-01T18:15:00Z",
            ["2026-01-01T18:15:00Z", "2026-01-01T18:15:00Z", "2026-01-02T18:15:00Z"],
        ),
        // The clock goes back by half an hour, from 02:00 to 01:30: an hour of half an hour.
        (
            "Australia/Lord_Howe",
            "2026-04-04T15:10:00Z",
            ["2026-04-04T15:00:00Z", "2026-04-04T13:00:00Z", "2026-04-05T13:30:00Z"],
        ),
        // Midnight was skipped: the day begins at 01:00.
        (
            "America/Sao_Paulo",
            "2018-11-04T03:00:00Z",
            ["2018-11-04T03:00:00Z", "2018-11-04T03:00:00Z", "2018-11-05T02:00:00Z"],
        ),
        // Midnight came twice: the day began the first time.
        (
            "America/Havana",
            "2025-11-02T05:30:00Z",
            ["2025-11-02T05:00:00Z", "2025-11-02T04:00:00Z", "2025-11-03T05:00:00Z"],
        ),
        // A minute after midnight the clock went back to before it: the day that had begun goes on.
        (
            "America/St_Johns",
            "2010-11-07T02:40:00Z",
            ["2010-11-07T02:31:00Z", "2010-11-07T02:30:00Z", "2010-11-08T03:30:00Z"],
        ),
        // A date that never was.
        (
            "Pacific/Apia",
            "2011-12-30T10:00:00Z",
            ["2011-12-30T10:00:00Z", "2011-12-30T10:00:00Z", "2011-12-31T10:00:00Z"],
        ),
    ];
    for (zone, time, wanted) in cases {
        assert_eq!(at(zone, time), wanted, "{zone} {time}");
    }
    let (apia, tenant) = (zones("Pacific/Apia"), Symbol::of(TENANT));
    let after = apia.day(tenant, EventTime(ms("2011-12-30T10:00:00Z")));
    let skipped = apia.day_of_number(tenant, after.number - 1);
    assert_eq!((skipped.begins, skipped.ends), (after.begins, after.begins));
    assert_eq!(apia.day(Symbol::of("globex"), EventTime(DAY_MS + 1)).begins, EventTime(DAY_MS), "another has UTC");
}

#[test]
fn a_local_time_comes_once_or_twice_or_not_at_all() {
    let when = |zone: &str, shown: &str| -> Vec<String> {
        zones(zone).when_local(Symbol::of(TENANT), EventTime(ms(shown))).map(utc).collect()
    };
    let none: [&str; 0] = [];
    assert_eq!(when("UTC", "2026-03-29T02:30:00Z"), ["2026-03-29T02:30:00Z"]);
    assert_eq!(when("Europe/Berlin", "2026-03-29T02:30:00Z"), none);
    assert_eq!(when("Europe/Berlin", "2026-10-25T02:30:00Z"), ["2026-10-25T00:30:00Z", "2026-10-25T01:30:00Z"]);
    assert_eq!(when("Europe/Berlin", "2026-10-25T03:00:00Z"), ["2026-10-25T02:00:00Z"]);
    assert_eq!(when("Pacific/Apia", "2011-12-30T12:00:00Z"), none);
}

#[test]
fn an_unknown_zone_is_refused_with_names_that_are_near() {
    let error = |zone: &str| Zones::new([(Symbol::of(TENANT), zone)]).unwrap_err();
    for (zone, near) in
        [("Europe/Berln", "Europe/Berlin"), ("Kolkata", "Asia/Kolkata"), ("europe/berlin", "Europe/Berlin")]
    {
        let why = error(zone);
        assert!(why.starts_with(&format!("{zone:?} is no time zone")) && why.contains(near), "{why}");
    }
    for zone in ["", "CET", "+01:00", "EST5EDT", "Europe/", "xyz"] {
        error(zone);
    }
    assert_eq!((check("Japan"), check("UTC"), check("Etc/GMT+5")), (Ok(()), Ok(()), Ok(())));
}

fn local(zone: Tz, ms: i64) -> NaiveDateTime {
    let utc = DateTime::from_timestamp_millis(ms).unwrap().naive_utc();
    utc + zone.offset_from_utc_datetime(&utc).fix()
}

/// What must hold of the hour and the day of a time, by what the database says of local times around it.
fn check_at(zones: &Zones, zone: Tz, time: i64) {
    let tenant = Symbol::of(TENANT);
    let (name, hour, day) = (zone.name(), zones.hour(tenant, EventTime(time)), zones.day(tenant, EventTime(time)));
    let of_day = zones.hour_of_day(tenant, EventTime(time));
    let end = zones.hour_end(tenant, hour);
    assert_eq!((of_day.begins, of_day.day), (hour, day.number), "{name} {time}");
    assert!((hour.0..end.0).contains(&time) && end.0 - hour.0 <= HOUR_MS, "{name} {time}: {hour:?} {end:?}");
    assert!(day.begins <= hour && end <= day.ends, "{name} {time}: {hour:?} {end:?} not in {day:?}");
    assert_eq!(zones.hour(tenant, EventTime(end.0 - 1)), hour, "{name} {time}");
    assert_eq!(zones.hour(tenant, end), end, "{name} {time}");
    for edge in [day.begins.0, day.ends.0 - 1] {
        assert_eq!(zones.day(tenant, EventTime(edge)), day, "{name} {time}");
    }
    assert_eq!(zones.day_of_number(tenant, day.number), day);
    assert!((0..HOURS_OF_DAY_MAX).contains(&of_day.of_day));
    // Each time at which clocks show what they show now is found, this one among them.
    let shown = zones.local(tenant, EventTime(time));
    let times: Vec<EventTime> = zones.when_local(tenant, shown).collect();
    assert!(times.contains(&EventTime(time)), "{name} {time}: {shown:?} at {times:?}");
    assert!(times.iter().all(|time| zones.local(tenant, *time) == shown), "{name} {time}: {shown:?} at {times:?}");
    if !(ZONED_FROM_MS + 2 * DAY_MS..ZONED_UNTIL_MS - 2 * DAY_MS).contains(&time) {
        return;
    }
    assert_eq!(shown.0, local(zone, time).and_utc().timestamp_millis(), "{name} {time}");
    // One offset holds in an hour, whose local time begins on the hour, or where the offset changes.
    let (first, last) = (local(zone, hour.0), local(zone, end.0 - 1));
    assert_eq!((last - first).num_milliseconds(), end.0 - hour.0 - 1, "{name} {time}");
    let hours = |time: NaiveDateTime| time.and_utc().timestamp_millis().div_euclid(HOUR_MS);
    assert_eq!(hours(first), hours(local(zone, time)), "{name} {time}");
    let before = local(zone, hour.0 - 1);
    assert!(hours(before) != hours(first) || before > first, "{name} {time}: the hour had begun at {before}");
    // The date of the day came with it for the first time, and no later date in it.
    let number = |ms: i64| local(zone, ms).and_utc().timestamp_millis().div_euclid(DAY_MS);
    assert_eq!(number(day.begins.0), day.number, "{name} {time}");
    assert!(number(time) <= day.number && number(day.begins.0 - 1) < day.number, "{name} {time}");
    assert!(number(day.ends.0) > day.number, "{name} {time}");
    if number(time) < day.number {
        assert!(number(time) == day.number - 1 && time - day.begins.0 < 4 * HOUR_MS, "{name} {time}: {day:?}");
    }
    // A day but that of a change has as many hours as it is long.
    let before = (day.begins.0..time).step_by(MINUTE_MS as usize).map(|at| zones.hour(tenant, EventTime(at)));
    let before: BTreeSet<i64> = before.map(|hour| hour.0).filter(|begins| *begins < hour.0).collect();
    assert_eq!(of_day.of_day, before.len() as i64, "{name} {time}: {day:?}");
}

#[test]
fn around_every_change_of_every_zone() {
    let mut shapes = BTreeSet::new();
    for zone in TZ_VARIANTS {
        // Others are links to what was seen.
        let calendar = Calendar::of(zone);
        if !shapes.insert(format!("{calendar:?}")) {
            continue;
        }
        let zones = zones_of(zone, calendar);
        let spans = zones.calendar(Symbol::of(TENANT)).map(|calendar| calendar.spans.clone()).unwrap_or_default();
        let recent = |starts: i64| starts > ms("1987-01-01T00:00:00Z") && starts < ms("2027-01-01T00:00:00Z");
        for starts in spans.iter().map(|span| span.starts).filter(|starts| recent(*starts) || *starts < 3 * DAY_MS) {
            for beside in [-HOUR_MS, -1, 0, 59 * MINUTE_MS, HOUR_MS, 23 * HOUR_MS] {
                check_at(&zones, zone, (starts + beside).max(0));
            }
        }
    }
}

/// Of a name that is an abbreviation too.
fn zones_of(zone: Tz, calendar: Calendar) -> Zones {
    let zone = super::Zone { name: zone.name().to_owned(), calendar: Arc::new(calendar) };
    Zones(Arc::new([(Symbol::of(TENANT), zone)].into_iter().collect()))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn at_any_time_of_any_zone(
        zone in prop::sample::select(&TZ_VARIANTS[..]),
        times in prop::collection::vec(prop_oneof![3 => 0..ZONED_UNTIL_MS + 3 * DAY_MS, 1 => 0..4 * DAY_MS,
            1 => ZONED_UNTIL_MS - 2 * DAY_MS..ZONED_UNTIL_MS + 3 * DAY_MS], 1..12),
    ) {
        let zones = zones_of(zone, Calendar::of(zone));
        times.into_iter().for_each(|time| check_at(&zones, zone, time));
    }
}
