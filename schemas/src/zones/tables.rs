//! The zones of tenants as rows that SQL joins: by an equality of tenant and stretch of time, so that a join hashes, and a range
//! within the stretch, of which hardly any has more than three rows.
//!
//! Tenants without a zone have no rows: a left join gives them nulls, which stand for UTC.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};

use super::Zones;
use super::calendar::{Calendar, Run, Span};
use crate::symbols::Symbol;
use crate::units::DAY_MS;

/// Rows are joined by the tenant and a time divided by this: about half a year, so that each has one change of the offset or two.
pub const HALF_YEAR_MS: i64 = 1 << 34;

impl Zones {
    fn tenants(&self) -> impl Iterator<Item = (Symbol, &str, &Calendar)> {
        let mut tenants: Vec<_> =
            self.0.iter().map(|(tenant, zone)| (*tenant, zone.name.as_str(), zone.calendar.as_ref())).collect();
        tenants.sort_by_key(|(tenant, ..)| *tenant);
        tenants.into_iter()
    }

    /// A row a tenant, span of one offset, and half year in which that holds.
    ///
    /// | column | says |
    /// |---|---|
    /// | `of_tenant`, `zone` | whose it is |
    /// | `half_year` | a time of it divided by [`HALF_YEAR_MS`] |
    /// | `starts`, `ends` | the span: from, and before |
    /// | `offset_ms` | how far local time is ahead of UTC in it |
    /// | `first_day`, `next_day` | when the day began that the span starts in, and when it ends by the span's offset |
    pub fn spans(&self) -> RecordBatch {
        let rows: Vec<(Symbol, &str, i64, Span)> = self
            .tenants()
            .flat_map(|(tenant, zone, calendar)| {
                calendar.spans.iter().flat_map(move |span| {
                    let half_years = span.starts / HALF_YEAR_MS..=(span.ends - 1) / HALF_YEAR_MS;
                    half_years.map(move |half_year| (tenant, zone, half_year, *span))
                })
            })
            .collect();
        let long = |of: fn(&Span) -> i64| long(rows.iter().map(|(.., span)| of(span)));
        let zones: StringArray = rows.iter().map(|(_, zone, ..)| Some(*zone)).collect();
        batch([
            ("of_tenant", self::long(rows.iter().map(|(tenant, ..)| tenant.0))),
            ("zone", Arc::new(zones)),
            ("half_year", self::long(rows.iter().map(|(_, _, half_year, _)| *half_year))),
            ("starts", long(|span| span.starts)),
            ("ends", long(|span| span.ends)),
            ("offset_ms", long(|span| span.offset_ms)),
            ("first_day", long(|span| span.first_day)),
            ("next_day", long(|span| span.next_day)),
        ])
    }

    /// A row a tenant, run of days that are alike, and half year of their dates. A date is written as the UTC midnight of that
    /// date, in milliseconds.
    ///
    /// | column | says |
    /// |---|---|
    /// | `of_tenant` | whose they are |
    /// | `half_year` | a date of the run divided by [`HALF_YEAR_MS`] |
    /// | `from_date`, `to_date` | the first of their dates, and the last |
    /// | `offset_ms` | how far a date is ahead of when its day begins |
    /// | `length_ms` | how long each day is; 0 where the zone skipped it |
    pub fn days(&self) -> RecordBatch {
        let rows: Vec<(Symbol, i64, Run)> = self
            .tenants()
            .flat_map(|(tenant, _, calendar)| {
                calendar.runs.iter().flat_map(move |run| {
                    let half_years = run.from * DAY_MS / HALF_YEAR_MS..=(run.until - 1) * DAY_MS / HALF_YEAR_MS;
                    half_years.map(move |half_year| (tenant, half_year, *run))
                })
            })
            .collect();
        let long = |of: fn(&Run) -> i64| long(rows.iter().map(|(.., run)| of(run)));
        batch([
            ("of_tenant", self::long(rows.iter().map(|(tenant, ..)| tenant.0))),
            ("half_year", self::long(rows.iter().map(|(_, half_year, _)| *half_year))),
            ("from_date", long(|run| run.from * DAY_MS)),
            ("to_date", long(|run| (run.until - 1) * DAY_MS)),
            ("offset_ms", long(|run| run.offset_ms)),
            ("length_ms", long(|run| run.length_ms)),
        ])
    }
}

fn long(values: impl Iterator<Item = i64>) -> ArrayRef {
    Arc::new(Int64Array::from_iter_values(values))
}

fn batch<const N: usize>(columns: [(&str, ArrayRef); N]) -> RecordBatch {
    let columns = columns.map(|(name, values)| (name, values, false));
    RecordBatch::try_from_iter_with_nullable(columns).expect("columns of one length")
}
