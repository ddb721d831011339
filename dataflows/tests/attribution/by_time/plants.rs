//! Faults that are planted, to see that they are found.

use std::sync::Arc;

use arrow::array::{AsArray, BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::Int64Type;

use super::WEEKS;
use crate::events::HOUR;

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Plant {
    Nothing,
    /// The SQL's gap is a millisecond longer.
    LongerGap,
    /// The SQL closes sessions a minute early.
    ClosedEarly,
    /// The SQL takes users and devices apart.
    OtherVisitors,
    /// The windows of seven days step twice.
    SteppedTwice,
    /// An hour that the clock repeats is told as the one before it.
    RepeatedAsOne,
    /// The SQL takes all zones for UTC.
    NoZones,
    /// The SQL gives visitors a millisecond more for a funnel.
    LongerFunnel,
    /// The SQL has paths go on for a millisecond more.
    LongerPath,
    /// A day stays whose last event is withdrawn.
    DayStays,
    /// A visitor that leaves a cohort, or was there no more, still counts in it.
    StaysInCohort,
    /// The SQL takes visitors that were away for long for the same.
    NeverNew,
    /// A start does not load what visitors did first, nor when they were there.
    LivesNotLoaded,
    /// The SQL makes an alert of one hour.
    AlertAtOnce,
    /// A start reads too little for what hours are compared with.
    FewerWeeks,
}

impl Plant {
    /// The views that are compared: those that tell of it; none where those of the run are.
    pub(super) fn views(self) -> &'static [&'static str] {
        match self {
            Plant::Nothing => &[],
            Plant::LongerGap | Plant::ClosedEarly => &["sessions"],
            Plant::LongerFunnel => &["funnel_steps"],
            Plant::LongerPath => &["paths"],
            Plant::OtherVisitors | Plant::SteppedTwice | Plant::RepeatedAsOne | Plant::NoZones => &["uniques"],
            Plant::DayStays => &["activity"],
            Plant::StaysInCohort | Plant::NeverNew | Plant::LivesNotLoaded => &["activity", "firsts", "cohorts"],
            Plant::AlertAtOnce | Plant::FewerWeeks => &["anomalies"],
        }
    }
}

pub(super) fn diffs(batch: &RecordBatch) -> &[i64] {
    batch.column_by_name("_diff").map_or(&[], |diffs| diffs.as_primitive::<Int64Type>().values())
}

/// Rows that take nothing back.
pub(super) fn without_going(batch: &RecordBatch, column: &str) -> RecordBatch {
    let kept = BooleanArray::from_unary(batch[column].as_primitive::<Int64Type>(), |more| more >= 0);
    filter_record_batch(batch, &kept).expect("one length")
}

/// Whether some are taken back.
pub(super) fn takes_back(batches: &[RecordBatch], column: &str) -> bool {
    batches.iter().any(|batch| batch[column].as_primitive::<Int64Type>().values().iter().any(|more| *more < 0))
}

pub(super) fn of_period(uniques: &RecordBatch, period: &str) -> RecordBatch {
    let periods = uniques["period"].as_string::<i32>();
    let kept: BooleanArray = periods.iter().map(|is| Some(is == Some(period))).collect();
    filter_record_batch(uniques, &kept).expect("one length")
}

/// Rows of hours that begin when a clock changes as rows of the hour before it.
pub(super) fn as_one(uniques: &RecordBatch, week: usize) -> RecordBatch {
    let (schema, mut columns) = (uniques.schema(), uniques.columns().to_vec());
    let place = schema.index_of("bucket").expect("a column");
    let buckets = uniques["bucket"].as_primitive::<Int64Type>();
    let repeated = |bucket: i64| if WEEKS[week].1.contains(&bucket) { bucket - HOUR } else { bucket };
    columns[place] = Arc::new(buckets.unary::<_, Int64Type>(repeated));
    RecordBatch::try_new(schema, columns).expect("the same columns")
}
