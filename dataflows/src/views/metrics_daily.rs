//! The same as `metrics_hourly`, by day (UTC).

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
    reads: &["metrics_hourly"],
    sql: |_| SQL.to_owned(),
    maintained: None,
};

const SQL: &str = "\
SELECT tenant, currency, app, campaign, ad_group, creative, source, channel, country, name, hour - hour % 86400000 AS day,
  sum(impressions) AS impressions, sum(clicks) AS clicks, sum(installs) AS installs, sum(conversions) AS conversions,
  sum(revenue_micros) AS revenue_micros, sum(spend_micros) AS spend_micros, sum(rows) AS rows
FROM metrics_hourly
GROUP BY tenant, currency, app, campaign, ad_group, creative, source, channel, country, name, hour - hour % 86400000
";
