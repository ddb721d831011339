//! How the SQL of a view says the hours and days of a tenant's local time ([`schemas::zones`]).
//!
//! Rows are joined by [`with_spans`], which gives each at most one row: by tenant and half year, an equality, and by the span of one
//! offset within it. The rows of zones come first, as DataFusion keeps the left side of a hash join in memory and lets the right one
//! pass. Of those columns [`hour`], [`day`] and [`date`] are made. A tenant without a zone has none: the nulls of the
//! outer join mean UTC (`greatest` passes over a null). Dates are written as the UTC midnight of the date, in milliseconds, so that
//! they can be counted with; [`with_days`] tells when the day of a date begins and how long it is.

use schemas::zones::HALF_YEAR_MS;

/// Rows that have a tenant, joined with the span of a time of theirs.
pub fn with_spans(rows: &str, time: &str) -> String {
    format!(
        "zone_spans RIGHT JOIN {rows} ON zone_spans.of_tenant = {rows}.tenant AND zone_spans.half_year = {time} / {HALF_YEAR_MS}\n    \
         AND {time} >= zone_spans.starts AND {time} < zone_spans.ends"
    )
}

/// When the hour of a time began.
pub fn hour(time: &str) -> String {
    format!("greatest({time} - ({time} + coalesce(zone_spans.offset_ms, 0)) % 3600000, zone_spans.starts)")
}

/// When the day of a time began.
pub fn day(time: &str) -> String {
    format!(
        "CASE WHEN {time} < zone_spans.next_day THEN zone_spans.first_day\n    \
         ELSE {time} - ({time} + coalesce(zone_spans.offset_ms, 0)) % 86400000 END"
    )
}

/// The date of a time.
pub fn date(time: &str) -> String {
    format!(
        "greatest(({time} + coalesce(zone_spans.offset_ms, 0)) / 86400000 * 86400000,\n    \
         zone_spans.next_day + zone_spans.offset_ms - 86400000)"
    )
}

/// Rows that have a tenant, joined with the days of a date of theirs.
pub fn with_days(rows: &str, date: &str) -> String {
    format!(
        "zone_days RIGHT JOIN {rows} ON zone_days.of_tenant = {rows}.tenant AND zone_days.half_year = {date} / {HALF_YEAR_MS}\n    \
         AND {date} >= zone_days.from_date AND {date} <= zone_days.to_date"
    )
}

/// When the day of a date begins.
pub fn begins(date: &str) -> String {
    format!("{date} - coalesce(zone_days.offset_ms, 0)")
}

/// How long the day of a date is; 0 where the zone skipped the date.
pub const LENGTH_MS: &str = "coalesce(zone_days.length_ms, 86400000)";
