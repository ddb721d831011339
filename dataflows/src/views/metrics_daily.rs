//! The same as `metrics_hourly`, by day of the tenant's time zone: hours lie in days.

use crate::local_time;
use crate::view::View;

/// `metrics_daily`.
pub static METRICS_DAILY: View = View {
    name: "metrics_daily",
    question: "How many impressions, clicks, installs and conversions were there each day, what did they bring, what did they cost?",
    key: &[
        "tenant", "currency", "app", "campaign", "ad_group", "creative", "source", "channel", "country", "name", "day",
    ],
    read_by: &[&["tenant", "campaign"], &["tenant", "day"]],
    code: 1,
    reads: &["metrics_hourly", "zone_spans"],
    sql: |_| {
        let by_day = SQL.replace("{day}", &local_time::day("hour"));
        by_day.replace("{zoned}", &local_time::with_spans("metrics_hourly", "hour"))
    },
    maintained: None,
};

const SQL: &str = "\
WITH by_day AS (
  SELECT metrics_hourly.*, {day} AS day
  FROM {zoned}
)
SELECT tenant, currency, app, campaign, ad_group, creative, source, channel, country, name, day,
  sum(impressions) AS impressions, sum(clicks) AS clicks, sum(installs) AS installs, sum(conversions) AS conversions,
  sum(revenue_micros) AS revenue_micros, sum(spend_micros) AS spend_micros, sum(rows) AS rows
FROM by_day
GROUP BY tenant, currency, app, campaign, ad_group, creative, source, channel, country, name, day
";
