//! What is to be expected of each metric of a campaign in the next 24 hours and 7 days, and how far off such forecasts were?
//!
//! A seasonal median: of an hour to come, the median of the same hour of the week by the tenant's clock in the four weeks before, as
//! far as these are over; of a day, the sum of its hours. It needs no parameters, follows days of the week and changes of clocks, and one
//! odd week does not move it. The method is tried on the last 7 days: `error_ppm` is by how much its forecasts of them were off in
//! all, and four in five of them were off by no more than the interval says. So the interval is as wide as the last week was hard to tell.
//!
//! Metrics and groups are those of `anomalies` (`views.anomalies.groupings`); a group counts from its first hour of the weeks that are
//! looked at. Whole numbers: medians and quotients are cut off. SQL alone, as of the cut: nothing is stored.

use schemas::units::DAY_MS;

use crate::groupings::{GROUP_COLUMNS, GROUPED_COLUMNS, Grouping};
use crate::local_time;
use crate::params::Params;
use crate::view::View;

const SQL: &str = "\
WITH groupings AS (
  {groupings}
), grouped AS (
  SELECT {grouped}, currency, hour, impressions, clicks, installs, conversions, revenue_micros
  FROM metrics_hourly CROSS JOIN groupings
  WHERE hour >= (SELECT cut - {window} FROM as_of)
), hourly AS (
  -- Here 0 stands for none, so that rows are joined by equality.
  SELECT grouping, tenant, coalesce(campaign, 0) AS campaign, coalesce(source, 0) AS source, coalesce(channel, 0) AS channel,
    coalesce(country, 0) AS country, coalesce(currency, 0) AS currency, hour, sum(impressions) AS impressions, sum(clicks) AS clicks,
    sum(installs) AS installs, sum(conversions) AS conversions, sum(revenue_micros) AS revenue
  FROM grouped
  GROUP BY {group}, currency, hour
  HAVING sum(impressions + clicks + installs + conversions) > 0
), amounts AS (
  -- Amounts of money have a currency; impressions, clicks and installs have none.
  SELECT {group}, currency, hour, metric,
    CASE metric WHEN 'impressions' THEN impressions WHEN 'clicks' THEN clicks WHEN 'installs' THEN installs
      WHEN 'conversions' THEN conversions ELSE revenue END AS amount
  FROM (
    SELECT *, unnest(CASE WHEN currency = 0 THEN make_array('impressions', 'clicks', 'installs', 'conversions')
      ELSE make_array('conversions', 'revenue') END) AS metric
    FROM hourly
  )
), lives AS (
  -- In two parts: DataFusion 55 takes what one part is unique by for unique in all that is joined with it, and groups too little.
  SELECT {group}, currency, metric, min(hour) AS first_hour FROM amounts WHERE currency = 0 GROUP BY {group}, currency, metric
  UNION ALL
  SELECT {group}, currency, metric, min(hour) FROM amounts WHERE currency <> 0 GROUP BY {group}, currency, metric
), {hours_of_tenants}
), dated AS (
  SELECT *, local / 86400000 * 86400000 AS date, until + local - begins AS local_until,
    count(*) OVER (PARTITION BY whose, local / 86400000) AS hours_of_day,
    min(begins) OVER (PARTITION BY whose, local / 86400000) AS day
  FROM hours
), wanted AS (
  SELECT *, unnest(make_array({weeks})) AS before FROM dated WHERE begins >= until - 9 * 86400000
), pairs AS (
  SELECT wanted.*, samples.begins AS sample
  FROM wanted JOIN hours AS samples ON samples.whose = wanted.whose AND samples.local = wanted.local - before
  WHERE samples.ends <= wanted.until
), sampled AS (
  SELECT {lives}, lives.currency, lives.metric, begins, date, day, hours_of_day, until, local_until, ends, sample
  FROM lives JOIN pairs ON whose = lives.tenant AND sample >= first_hour
), expected AS (
  SELECT {sampled}, sampled.currency, sampled.metric, begins, date, day, hours_of_day, until, local_until, ends,
    CAST(median(coalesce(amount, 0)) AS BIGINT) AS expected, count(*) AS samples
  FROM sampled LEFT JOIN amounts ON {same} AND sample = hour
  GROUP BY {sampled}, sampled.currency, sampled.metric, begins, date, day, hours_of_day, until, local_until, ends
), measured AS (
  SELECT {expected}, expected.currency, expected.metric, begins, date, day, hours_of_day, until, local_until / 86400000 * 86400000 AS today,
    expected, samples, ends <= until AS is_over, coalesce(amount, 0) AS amount
  FROM expected LEFT JOIN amounts ON {same_hour} AND begins = hour
), spans_told AS (
  SELECT {group}, currency, metric, 'hour' AS horizon, begins, is_over, expected, amount, samples
  FROM measured
  WHERE begins >= until - 7 * 86400000 AND begins < until + 86400000
  UNION ALL
  SELECT {group}, currency, metric, 'day', day, date < today, sum(expected), sum(amount), min(samples)
  FROM measured
  WHERE date <> today AND date >= today - 7 * 86400000 AND date <= today + 7 * 86400000
  GROUP BY {group}, currency, metric, day, date < today, hours_of_day
  HAVING count(*) = hours_of_day
), tried AS (
  SELECT *, greatest(amount - expected, expected - amount) AS off FROM spans_told WHERE is_over
), ranked AS (
  SELECT *, row_number() OVER (PARTITION BY {group}, currency, metric, horizon ORDER BY off) AS rank,
    count(*) OVER (PARTITION BY {group}, currency, metric, horizon) AS tried
  FROM tried
), tests AS (
  SELECT {group}, currency, metric, horizon, tried, max(CASE WHEN rank = (tried * 4 + 4) / 5 THEN off END) AS width,
    CAST(sum(off) AS DOUBLE) / nullif(sum(greatest(amount, -amount)), 0) AS error
  FROM ranked
  GROUP BY {group}, currency, metric, horizon, tried
)
SELECT spans_told.grouping, spans_told.tenant, nullif(spans_told.campaign, 0) AS campaign, nullif(spans_told.source, 0) AS source,
  nullif(spans_told.channel, 0) AS channel, nullif(spans_told.country, 0) AS country, nullif(spans_told.currency, 0) AS currency,
  spans_told.metric, spans_told.horizon, begins, expected,
  CASE WHEN spans_told.metric = 'revenue' THEN expected - width ELSE greatest(expected - width, 0) END AS low,
  expected + width AS high, samples, tried, CAST(error * 1000000 AS BIGINT) AS error_ppm
FROM spans_told LEFT JOIN tests ON {same_test} AND spans_told.horizon = tests.horizon
WHERE NOT is_over AND samples >= 2
";

/// How far back hours are samples: the last of the days that are tried, and four weeks.
const WINDOW_MS: i64 = (9 + 28 + 1) * DAY_MS;
/// How far ahead hours are told: the rest of today, and seven days.
const BEYOND_MS: i64 = 9 * DAY_MS;

/// `forecasts`.
pub static FORECASTS: View = View {
    name: "forecasts",
    question: "What is to be expected of each metric in the next 24 hours and 7 days, and how far off were such forecasts?",
    key: &["grouping", "tenant", "campaign", "source", "channel", "country", "currency", "metric", "horizon", "begins"],
    read_by: &[&["tenant", "grouping"], &["tenant", "campaign"]],
    code: 1,
    reads: &["metrics_hourly", "as_of", "zone_spans"],
    sql,
    maintained: None,
};

fn sql(params: &Params) -> String {
    let columns = ["grouping", "tenant", "campaign", "source", "channel", "country"];
    let of = |table: &str| columns.map(|column| format!("{table}.{column}")).join(", ");
    let same = |one: &str, other: &str| {
        let columns = columns.iter().chain(&["currency", "metric"]);
        columns.map(|column| format!("{one}.{column} = {other}.{column}")).collect::<Vec<_>>().join(" AND ")
    };
    let weeks: Vec<String> = (1..=4).map(|week| (week * 7 * DAY_MS).to_string()).collect();
    let texts = [
        ("{hours_of_tenants}", local_time::hours_of_tenants("metrics_hourly", "cut - 1", [WINDOW_MS, BEYOND_MS])),
        ("{groupings}", Grouping::table(&params.anomalies.groupings)),
        ("{grouped}", GROUPED_COLUMNS.to_owned()),
        ("{group}", GROUP_COLUMNS.to_owned()),
        ("{window}", WINDOW_MS.to_string()),
        ("{weeks}", weeks.join(", ")),
        ("{lives}", of("lives")),
        ("{sampled}", of("sampled")),
        ("{expected}", of("expected")),
        ("{same}", same("sampled", "amounts")),
        ("{same_hour}", same("expected", "amounts")),
        ("{same_test}", same("spans_told", "tests")),
    ];
    texts.iter().fold(SQL.to_owned(), |sql, (name, text)| sql.replace(name, text))
}
