//! What histories of time have in them, as their rows tell: a run that never had one of these proves little of it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type};
use proptest::prelude::*;
use schemas::{EventTime, Symbol};

use super::{Run, WEEKS};
use crate::events::{DAY, HOUR};

/// Notes hours on both sides of a change of the clock, and days that are shorter and longer than 24 hours.
pub(super) fn note_hours(uniques: &RecordBatch, run: &Run, seen: &Mutex<BTreeSet<&'static str>>) {
    let long = |name: &str| uniques[name].as_primitive::<Int64Type>().values().to_vec();
    let periods = uniques["period"].as_string::<i32>();
    let zones = run.params(&[]).zones;
    let mut hours = BTreeSet::new();
    for ((tenant, bucket), period) in long("tenant").into_iter().zip(long("bucket")).zip(periods) {
        let day = zones.day(Symbol(tenant), EventTime(bucket));
        let what = match (period, day.ends.0 - day.begins.0) {
            (Some("hour"), _) => {
                hours.insert((tenant, bucket));
                continue;
            }
            (_, length) if length < DAY => "a short day",
            (_, length) if length > DAY => "a long day",
            _ => continue,
        };
        seen.lock().expect("no panic").insert(what);
    }
    for (tenant, bucket) in &hours {
        let day = zones.day(Symbol(*tenant), EventTime(*bucket));
        let is_changed = WEEKS[run.week].1.contains(bucket) && day.ends.0 - day.begins.0 > DAY;
        if is_changed && hours.contains(&(*tenant, bucket - HOUR)) {
            seen.lock().expect("no panic").insert("an hour twice");
        }
        if bucket % HOUR != 0 {
            seen.lock().expect("no panic").insert("an hour that begins within one of UTC");
        }
    }
}

pub(super) fn note_lives(firsts: &RecordBatch, seen: &Mutex<BTreeSet<&'static str>>) {
    let (visitors, apps) = (firsts["visitor"].as_binary::<i32>(), firsts["app"].as_primitive::<Int64Type>());
    let milestones = firsts["milestone"].as_string::<i32>();
    let mut known = BTreeSet::new();
    for row in 0..firsts.num_rows() {
        let what = match milestones.value(row) {
            "install" => "an install is the first",
            "purchase" => "a purchase is the first",
            _ => "an event is the first",
        };
        let mut seen = seen.lock().expect("no panic");
        seen.insert(what);
        let app = apps.is_valid(row).then(|| apps.value(row));
        if !known.insert((visitors.value(row).to_vec(), app, what)) {
            seen.insert("a visitor is new again");
        }
    }
}

pub(super) fn note_anomalies(anomalies: &RecordBatch, seen: &Mutex<BTreeSet<&'static str>>) {
    let mut seen = seen.lock().expect("no panic");
    let long = |name: &str| anomalies[name].as_primitive::<Int64Type>().values().to_vec();
    let metrics = cast(&anomalies["metric"], &DataType::Utf8).expect("names");
    let (metrics, alerts) = (metrics.as_string::<i32>(), anomalies["alert"].as_boolean());
    for (row, ((z, median), samples)) in
        long("z_thousandths").into_iter().zip(long("median")).zip(long("samples")).enumerate()
    {
        seen.insert(match (z > 0, median > 0) {
            (false, _) => "less than expected",
            (true, true) => "more than expected",
            (true, false) => "more than nothing",
        });
        let of_samples = ["fewer samples", "twelve samples", "more samples"];
        seen.insert(of_samples[(samples - 11).clamp(0, 2) as usize]);
        if alerts.value(row) {
            seen.insert("an alert");
        }
        if metrics.value(row) == "revenue" {
            seen.insert("an anomaly of revenue");
        }
    }
}

/// What is expected of an hour is told once and for all; what it was may be corrected.
pub(super) fn note_corrections(
    anomalies: &[RecordBatch],
    seen: &Mutex<BTreeSet<&'static str>>,
) -> Result<(), TestCaseError> {
    let mut told = BTreeMap::new();
    for batch in anomalies {
        let long = |name: &str| batch[name].as_primitive::<Int64Type>();
        for row in 0..batch.num_rows() {
            let [tenant, campaign, currency, hour, median, mad, samples, measured] =
                ["tenant", "campaign", "currency", "hour", "median", "mad", "samples", "measured"]
                    .map(|name| long(name).is_valid(row).then(|| long(name).value(row)));
            let key = (tenant, campaign, currency, batch["metric"].as_string::<i32>().value(row).to_owned(), hour);
            let (expected, was) = told.entry(key.clone()).or_insert(((median, mad, samples), measured));
            prop_assert_eq!(*expected, (median, mad, samples), "what was expected of {:?}", key);
            if *was != measured {
                seen.lock().expect("no panic").insert("an hour was corrected");
            }
        }
    }
    Ok(())
}

pub(super) fn note_sessions(sessions: &RecordBatch, seen: &Mutex<BTreeSet<&'static str>>) {
    let mut seen = seen.lock().expect("no panic");
    let long = |name: &str| sessions[name].as_primitive::<Int64Type>().values().to_vec();
    for (start, end) in long("start_time").into_iter().zip(long("end_time")) {
        if end - start >= DAY {
            seen.insert("a session of more than a day");
        }
        if start % DAY == 0 {
            seen.insert("a session from midnight");
        }
    }
    let revenue = sessions["revenue"].as_list::<i32>();
    if (0..revenue.len()).any(|row| revenue.is_valid(row) && revenue.value(row).len() > 1) {
        seen.insert("two currencies");
    }
}
