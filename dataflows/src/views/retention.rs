//! Which share of a cohort is still there at each age, and what has it brought until then?
//!
//! `cohorts` as curves. Revenue is by currency: the row without one tells of the users alone where all revenue has a currency. An age at
//! which nobody was there and nothing was brought has no row; what was brought until then is that of the age before.

use crate::view::View;

const SQL: &str = "\
WITH sized AS (
  SELECT cohorts.*,
    sum(users) OVER (PARTITION BY {cohort}) AS size,
    sum(active_users) OVER (PARTITION BY {cohort}, age) AS active
  FROM cohorts
)
SELECT {cohort}, age, currency, size AS users, active AS active_users,
  CASE WHEN size > 0 THEN active * 1000000 / size END AS retention_ppm, revenue_micros,
  sum(revenue_micros) OVER (PARTITION BY {cohort}, currency ORDER BY age) AS ltv_micros,
  CASE WHEN size > 0 THEN sum(revenue_micros) OVER (PARTITION BY {cohort}, currency ORDER BY age) / size END AS ltv_per_user_micros
FROM sized
";

/// What tells a cohort from others.
const COHORT: &str =
    "milestone, cohort_period, age_unit, tenant, app, grouping, campaign, source, channel, country, cohort_start";

/// `retention`.
pub static RETENTION: View = View {
    name: "retention",
    question: "Which share of a cohort is still there at each age, and what has it brought until then?",
    key: &[
        "milestone", "cohort_period", "age_unit", "tenant", "app", "grouping", "campaign", "source", "channel", "country",
        "cohort_start", "age", "currency",
    ],
    read_by: &[&["tenant", "milestone"]],
    code: 1,
    reads: &["cohorts"],
    sql: |_| SQL.replace("{cohort}", COHORT),
    maintained: None,
};
