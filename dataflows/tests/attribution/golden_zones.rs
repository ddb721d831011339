//! Hours and days of tenants in several time zones, by hand: all their events come in one tick.

use std::collections::BTreeMap;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type};
use dataflows::params::Params;
use schemas::event::Accepted;
use schemas::table::Verdict;
use schemas::{EventType, Symbol, Tick, Zones};

use crate::events::{DAY, EPOCH_MS, Ev, HOUR, event};
use crate::oracle;
use crate::stream::{CUT, Life, history};

/// 2024-03-31, when the clock of Berlin goes from 02:00 to 03:00, which is at 01:00 UTC.
const FORWARD: i64 = 1_711_843_200_000;
/// 2023-10-29, when it goes from 03:00 back to 02:00, which is at 01:00 UTC.
const BACK: i64 = 1_698_537_600_000;

/// What a tenant of a zone did on a day of UTC, and what is to be told of it; times are written as from that day's midnight.
struct Case {
    zone: &'static str,
    midnight: i64,
    clicks: &'static [&'static str],
    /// When media cost a micro.
    cost: &'static str,
    hours: &'static str,
    days: &'static str,
    spent: &'static str,
}

const CASES: &[Case] = &[
    Case {
        zone: "UTC",
        midnight: FORWARD,
        clicks: &["00:59", "01:00", "18:29", "18:30", "23:59"],
        cost: "23:59",
        hours: "00:00 01:00 18:00 23:00",
        days: "00:00",
        spent: "00:00",
    },
    // 01:59 and then 03:00 on the clock; the day has 23 hours.
    Case {
        zone: "Europe/Berlin",
        midnight: FORWARD,
        clicks: &["-01:01", "-01:00", "00:59", "01:00", "21:59", "22:00"],
        cost: "21:59",
        hours: "-02:00 -01:00 00:00 01:00 21:00 22:00",
        days: "-25:00 -01:00 22:00",
        spent: "-01:00",
    },
    // 02:30 twice on the clock: two hours; the day has 25.
    Case {
        zone: "Europe/Berlin",
        midnight: BACK,
        clicks: &["-02:01", "-02:00", "00:30", "01:30", "22:59", "23:00"],
        cost: "22:59",
        hours: "-03:00 -02:00 00:00 01:00 22:00 23:00",
        days: "-26:00 -02:00 23:00",
        spent: "-02:00",
    },
    // Half past the hours of UTC. The cost is of a day as networks report it: at its local midnight.
    Case {
        zone: "Asia/Kolkata",
        midnight: FORWARD,
        clicks: &["18:29", "18:30", "19:29"],
        cost: "18:30",
        hours: "17:30 18:30",
        days: "-05:30 18:30",
        spent: "18:30",
    },
];

/// A time of day in milliseconds.
fn ms(time: &str) -> i64 {
    let (sign, time) = time.strip_prefix('-').map_or((1, time), |time| (-1, time));
    let (hours, minutes) = time.split_once(':').expect("hours and minutes");
    sign * (hours.parse::<i64>().expect("hours") * HOUR + minutes.parse::<i64>().expect("minutes") * (HOUR / 60))
}

fn told(ms: i64) -> String {
    let (sign, minutes) = (if ms < 0 { "-" } else { "" }, ms.abs() / (HOUR / 60));
    format!("{sign}{:02}:{:02}", minutes / 60, minutes % 60)
}

fn tenant(place: usize) -> Symbol {
    Symbol(place as i64 + 1)
}

fn records() -> Vec<(Accepted, Tick)> {
    let mut records = Vec::new();
    for (place, case) in CASES.iter().enumerate() {
        let at = |time: &str| case.midnight + ms(time) - EPOCH_MS;
        let clicks = case.clicks.iter().map(|time| event(EventType::Click, at(time)));
        let cost = Ev { cost: Some((1, None)), ..event(EventType::Cost, at(case.cost)) };
        let events = clicks.chain([cost]).enumerate();
        let events = events.map(|(id, event)| Ev { id: id as u32 + 1, user: 1, ..event });
        // All at once, after the last of them.
        records.extend(events.map(|event| (event.accepted(place as u32 + 1), (FORWARD + 2 * DAY) as Tick)));
    }
    records
}

/// When the rows of a tenant begin whose column says that, with what they count, as from a midnight.
fn begins(batches: &[RecordBatch], place: usize, (begin, count): (&str, &str), with: Option<(&str, &str)>) -> String {
    let mut sums: BTreeMap<i64, i64> = BTreeMap::new();
    for batch in batches {
        let long = |name: &str| cast(&batch[name], &DataType::Int64).expect("a number");
        let (tenants, begins, counts) = (long("tenant"), long(begin), long(count));
        for row in 0..batch.num_rows() {
            let value = |column: &dyn Array| column.as_primitive::<Int64Type>().value(row);
            let is_wanted = with.is_none_or(|(column, wanted)| batch[column].as_string::<i32>().value(row) == wanted);
            let of_all = batch.column_by_name("grouping").is_none_or(|of| of.as_string::<i32>().value(row) == "tenant");
            if value(&tenants) == tenant(place).0 && is_wanted && of_all {
                *sums.entry(value(&begins)).or_default() += value(&counts);
            }
        }
    }
    let begins = sums.into_iter().filter(|(_, sum)| *sum != 0).map(|(begin, _)| told(begin - CASES[place].midnight));
    begins.collect::<Vec<_>>().join(" ")
}

#[test]
fn hours_and_days_are_of_the_tenants_zone() {
    let zones = CASES.iter().enumerate().map(|(place, case)| (tenant(place), case.zone));
    let mut params = Params { zones: Zones::new(zones).expect("zones of the database"), ..Params::default() };
    params.only = ["costs", "metrics_hourly", "uniques"].map(str::to_owned).into();
    let (records, end) = (records(), (FORWARD + 3 * DAY) as Tick / CUT * CUT);
    let accepted: Vec<_> = records.iter().map(|(record, _)| (*record, Verdict::Ok)).collect();
    let of_sql = oracle::at(&accepted, &params, end, &["costs", "metrics_hourly", "metrics_daily", "uniques"]);
    let life = Life { end: Some((end, end)), ..Life::first(2) };
    let streamed = history(&records, &params, &[life], &[true]).written.views;
    for (place, case) in CASES.iter().enumerate() {
        for (way, views) in [("streamed", &streamed), ("in SQL", &of_sql)] {
            let of = |view: &str, columns, with| begins(&views[view], place, columns, with);
            let is = [
                of("uniques", ("bucket", "visitors"), Some(("period", "hour"))),
                of("metrics_hourly", ("hour", "clicks"), None),
                of("uniques", ("bucket", "visitors"), Some(("period", "day"))),
                of("metrics_hourly", ("hour", "spend_micros"), None),
            ];
            let cost = records.iter().map(|(record, _)| record.event);
            let cost = cost.filter(|event| event.tenant == tenant(place) && event.event_type == EventType::Cost);
            let spent = cost.map(|event| told(params.zones.hour(event.tenant, event.event_time).0 - case.midnight));
            let wanted = [case.hours, case.hours, case.days, &spent.collect::<String>()];
            assert_eq!(is, wanted, "{way}: {} on {}", case.zone, case.midnight);
        }
        let of_days = |count| begins(&of_sql["metrics_daily"], place, ("day", count), None);
        assert_eq!([of_days("clicks"), of_days("spend_micros")], [case.days, case.spent], "{}", case.zone);
    }
}
