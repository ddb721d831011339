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

/// Hours of the tenants that rows with a `tenant` and an `hour` have, as the last of common table expressions, without the parenthesis
/// that ends it: `hours` has `whose`, when each `begins` and `ends`, what the clock showed then as if it were UTC (`local`), and when
/// the last hour was over at a time (`until`). They go from the first hour of a tenant to `beyond` after that, and where `before` is
/// not 0 from that long before it at most.
pub fn hours_of_tenants(rows: &str, time: &str, [before, beyond]: [i64; 2]) -> String {
    let since = if before == 0 { "since".to_owned() } else { format!("greatest(since, until - {before})") };
    let texts = [
        ("{rows}", rows.to_owned()),
        ("{at}", time.to_owned()),
        ("{half_year}", HALF_YEAR_MS.to_string()),
        ("{since}", since),
        ("{beyond}", beyond.to_string()),
        ("{hour}", hour("instant")),
        ("{zoned}", with_spans("instants", "instant")),
    ];
    texts.iter().fold(HOURS.to_owned(), |sql, (name, text)| sql.replace(name, text))
}

const HOURS: &str = "\
spans AS (
  SELECT *, (SELECT {at} FROM as_of) AS at FROM zone_spans
), ends AS (
  -- Of tenants with a zone: the end of the last hour that was over.
  SELECT of_tenant, greatest(at - (at + offset_ms) % 3600000, starts) AS zoned_until
  FROM spans
  WHERE half_year = at / {half_year} AND at >= starts AND at < ends
), tenants AS (
  SELECT tenant, since, coalesce(zoned_until, (SELECT ({at}) / 3600000 * 3600000 FROM as_of)) AS until
  FROM ends RIGHT JOIN (SELECT tenant, min(hour) AS since FROM {rows} GROUP BY tenant) AS firsts ON of_tenant = tenant
), instants AS (
  -- A time of each hour: an hour of less than 60 minutes begins or ends where the offset changes.
  SELECT tenant, until, unnest(generate_series({since}, until + {beyond} - 1, 3600000)) AS instant
  FROM tenants
  UNION ALL
  SELECT tenant, until, unnest(make_array(starts - 1, starts)) AS instant
  FROM zone_spans JOIN tenants ON of_tenant = tenant AND starts > {since} AND starts <= until + {beyond}
), begun AS (
  SELECT DISTINCT tenant AS whose, until, {hour} AS begins, coalesce(offset_ms, 0) AS offset_ms, zone_spans.ends AS changes
  FROM {zoned}
), hours AS (
  SELECT whose, until, begins, begins + offset_ms AS local, least(begins + 3600000 - (begins + offset_ms) % 3600000, changes) AS ends
  FROM begun
  WHERE begins < until + {beyond}";
