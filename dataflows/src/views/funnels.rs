//! How many visitors reached each step of each funnel, of those that began in a period, and how fast?

use crate::funnels::Funnel;
use crate::local_time;
use crate::params::Params;
use crate::sql_text::quoted;
use crate::view::View;

const SQL: &str = "\
WITH defined AS (
  {defined}
), dated AS (
  SELECT funnel_steps.tenant, visitor, funnel_steps.funnel, per, dimension, breakdown, step, seconds, {date} AS date
  FROM {steps} JOIN defined ON funnel_steps.funnel = defined.funnel AND defined.number = 1
), periods AS (
  SELECT tenant, visitor, funnel, breakdown, step, seconds,
    unnest(CASE WHEN dimension IS NULL THEN make_array('tenant') ELSE make_array('tenant', dimension) END) AS grouping,
    CASE per
      WHEN 'day' THEN date
      -- The first day of 1970 was a Thursday; weeks begin with Mondays.
      WHEN 'week' THEN date - (date / 86400000 + 3) % 7 * 86400000
      WHEN 'month' THEN CAST(date_trunc('month', to_timestamp_millis(date)) AS BIGINT)
    END AS first_date
  FROM dated
), visitors AS (
  -- Whoever reached a step by several first steps of the period reached it once, as fast as by the best of them.
  SELECT tenant, funnel, first_date, grouping, CASE WHEN grouping <> 'tenant' THEN breakdown END AS breakdown, step, visitor,
    min(seconds) AS seconds
  FROM periods
  GROUP BY tenant, funnel, first_date, grouping, CASE WHEN grouping <> 'tenant' THEN breakdown END, step, visitor
), reached AS (
  SELECT tenant, funnel, first_date, grouping, breakdown, step, count(*) AS visitors, CAST(median(seconds) AS BIGINT) AS seconds
  FROM visitors
  GROUP BY tenant, funnel, first_date, grouping, breakdown, step
), counted AS (
  -- A step that nobody reached is there, too.
  SELECT * FROM reached
  UNION ALL
  SELECT tenant, reached.funnel, first_date, grouping, breakdown, number, 0, NULL
  FROM reached JOIN defined ON reached.funnel = defined.funnel
  WHERE step = 1 AND number > 1
), summed AS (
  SELECT tenant, funnel, first_date, grouping, breakdown, step, sum(visitors) AS visitors, max(seconds) AS median_seconds
  FROM counted
  GROUP BY tenant, funnel, first_date, grouping, breakdown, step
), conversions AS (
  SELECT *, first_value(visitors) OVER steps AS entrants,
    coalesce(lag(visitors) OVER steps, visitors) AS previous
  FROM summed
  WINDOW steps AS (PARTITION BY tenant, funnel, first_date, grouping, breakdown ORDER BY step)
), named AS (
  SELECT conversions.*, step_name
  FROM conversions JOIN defined ON conversions.funnel = defined.funnel AND conversions.step = defined.number
)
SELECT tenant, funnel, {begins} AS period_start, grouping, breakdown, step, step_name, visitors, entrants, previous,
  median_seconds
FROM {named}
";

/// Where no funnel is defined.
const NONE: &str = "\
SELECT tenant, funnel, day AS period_start, '' AS grouping, breakdown, step, '' AS step_name, step AS visitors,
  step AS entrants, step AS previous, step AS median_seconds
FROM funnel_steps WHERE FALSE
";

/// `funnels`.
pub static FUNNELS: View = View {
    name: "funnels",
    question: "How many visitors reached each step of each funnel, of those that began in a period, and how fast?",
    key: &["tenant", "funnel", "period_start", "grouping", "breakdown", "step"],
    read_by: &[&["tenant", "funnel"]],
    code: 1,
    reads: &["funnel_steps", "zone_spans", "zone_days"],
    sql,
    maintained: None,
};

fn sql(params: &Params) -> String {
    if params.funnels.is_empty() {
        return NONE.to_owned();
    }
    let defined: Vec<String> = params.funnels.iter().flat_map(rows).collect();
    let texts = [
        ("{date}", local_time::date("day")),
        ("{steps}", local_time::with_spans("funnel_steps", "day")),
        ("{begins}", local_time::begins("first_date")),
        ("{named}", local_time::with_days("named", "first_date")),
        // The last, as names may hold anything.
        ("{defined}", defined.join("\n  UNION ALL ")),
    ];
    texts.iter().fold(SQL.to_owned(), |sql, (name, text)| sql.replace(name, text))
}

/// A row for each step of a funnel.
fn rows(funnel: &Funnel) -> impl Iterator<Item = String> {
    let dimension = funnel.by.map_or("CAST(NULL AS VARCHAR)".to_owned(), |by| quoted(by.name()));
    funnel.steps.iter().zip(1..).map(move |(step, number)| {
        let (funnel_name, per, name) = (quoted(&funnel.name), quoted(funnel.per.name()), quoted(&step.step));
        format!("SELECT {funnel_name} AS funnel, {per} AS per, {dimension} AS dimension, {number} AS number, {name} AS step_name")
    })
}
