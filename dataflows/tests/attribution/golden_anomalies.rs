//! What is told of a campaign's hours, by hand: 30 impressions in each of three hours a week, and then none for two hours.

use std::collections::BTreeSet;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::Int64Type;
use dataflows::params::Params;
use schemas::event::Accepted;
use schemas::{EventType, Tick};

use crate::events::{DAY, EPOCH_MS, Ev, HOUR, event};
use crate::stream::{CUT, stream};

/// 2023-11-15, in UTC.
const MIDNIGHT: i64 = 1_700_006_400_000;
const MINUTE: i64 = HOUR / 60;
const WEEK: i64 = 7 * DAY;

/// So many impressions of an hour, which come some time after it began.
fn impressions(records: &mut Vec<(Accepted, Tick)>, hour_ms: i64, number: i64, come_ms: i64) {
    for place in 0..number {
        let at = MIDNIGHT + hour_ms + place * MINUTE;
        let id = records.len() as u32 + 1;
        let shown = Ev { id, user: 1, campaign: "spring", ..event(EventType::Impression, at - EPOCH_MS) };
        records.push((shown.accepted(2), (MIDNIGHT + hour_ms + come_ms) as Tick));
    }
}

/// The rows at a cut so long after the midnight of the last week: hour, what it was, what was expected, and whether it is an alert.
fn told(changes: &[RecordBatch], ms: i64) -> Vec<String> {
    let mut rows: Vec<(String, i64)> = Vec::new();
    for batch in changes {
        let long = |name: &str, row: usize| batch[name].as_primitive::<Int64Type>().value(row);
        for row in (0..batch.num_rows()).filter(|row| long("_cut", *row) <= MIDNIGHT + 4 * WEEK + ms) {
            let text = |name: &str| batch[name].as_string::<i32>().value(row);
            let [measured, median, mad, samples, z] =
                ["measured", "median", "mad", "samples", "z_thousandths"].map(|name| long(name, row));
            let hour = (long("hour", row) - MIDNIGHT - 4 * WEEK) / HOUR;
            let alert = if batch["alert"].as_boolean().value(row) { ", alert" } else { "" };
            let told = format!(
                "{} of {hour}h {}: {measured} where {median} ± {mad} of {samples}, z {z}{alert}",
                text("metric"),
                text("direction")
            );
            assert!(batch["currency"].is_null(row), "impressions have no currency");
            rows.push((told, long("_diff", row)));
        }
    }
    let all: BTreeSet<String> = rows.iter().map(|(row, _)| row.clone()).collect();
    let times = |told: &String| rows.iter().filter(|(row, _)| row == told).map(|(_, diff)| diff).sum::<i64>();
    all.into_iter().filter(|told| times(told) != 0).collect()
}

#[test]
fn hours_are_judged_ten_minutes_after_they_are_over_and_corrected() {
    let mut records = Vec::new();
    for week in 0..4 {
        (9..12).for_each(|hour| impressions(&mut records, week * WEEK + hour * HOUR, 30, HOUR / 2));
    }
    // What happened at 9:00 and the minutes after is known at 12:30; at 10:00 nothing happened.
    impressions(&mut records, 4 * WEEK + 9 * HOUR, 30, 3 * HOUR + HOUR / 2);
    impressions(&mut records, 4 * WEEK + 11 * HOUR, 30, HOUR / 2);
    impressions(&mut records, 4 * WEEK + 14 * HOUR, 1, HOUR / 2);
    records.sort_by_key(|(_, tick)| *tick);
    let params = Params { only: vec!["anomalies".to_owned()], ..Params::default() };
    let changes = stream(&records, &params, 2, &[false, true]).views.remove("anomalies").expect("it is maintained");
    let told = |ms: i64| told(&changes, ms);
    let none: [&str; 0] = [];
    // The hour before the campaign's first is no sample.
    let nine = "impressions of 9h down: 0 where 30 ± 3 of 11, z -6746";
    assert_eq!(told(10 * HOUR + 10 * MINUTE), none);
    assert_eq!(told(10 * HOUR + 10 * MINUTE + CUT as i64), [nine]);
    let ten = "impressions of 10h down: 0 where 30 ± 3 of 12, z -6746";
    assert_eq!(told(11 * HOUR + 10 * MINUTE + CUT as i64), [format!("{ten}, alert"), nine.to_owned()]);
    // What was missing at 9:00 has come.
    assert_eq!(told(13 * HOUR), [ten]);
}
