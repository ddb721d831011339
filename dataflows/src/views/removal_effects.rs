//! Which share of conversions would be lost without a channel, by the paths of the month before?
//!
//! The Markov chain of channels: after each channel of a path comes the next, or its end (`removal_effects`, an aggregate function of
//! Bidstream's SQL: a system of linear equations is solved, which SQL cannot say). The effects of a day are those of the 30 days of
//! paths whose outcome was final when it began (UTC): nothing that comes later changes them. That is a function of the events, so they
//! need not be stored to stay as they were (`docs/decisions/0037-effects-of-final-paths.md`).

use crate::params::Params;
use crate::view::View;

const SQL: &str = "\
WITH known AS (
  -- From which day on it counts: an outcome is known at the conversion, or once the idle time is over, and final when no record
  -- can change it any more.
  SELECT tenant, app, outcome = 'conversion' AS converts, channels, CAST(array_length(channels) AS BIGINT) AS length,
    (CASE WHEN outcome = 'conversion' THEN path_end ELSE path_end + {idle} END + (SELECT cut - final_before FROM as_of) + 86399999)
      / 86400000 * 86400000 AS first_day
  FROM paths
  WHERE array_length(channels) > 0
), walked AS (
  SELECT *, unnest(range(0, length + 1)) AS place FROM known
), steps AS (
  SELECT tenant, app, first_day, converts, CASE WHEN place > 0 THEN coalesce(channels[place]['channel'], 0) END AS source,
    CASE WHEN place < length THEN coalesce(channels[place + 1]['channel'], 0) END AS target
  FROM walked
), counted AS (
  SELECT tenant, app, first_day, converts, source, target, count(*) AS times
  FROM steps
  WHERE first_day < (SELECT cut FROM as_of)
  GROUP BY tenant, app, first_day, converts, source, target
), days AS (
  SELECT *, unnest(generate_series(first_day, first_day + 29 * 86400000, 86400000)) AS day FROM counted
), solved AS (
  SELECT tenant, app, day, removal_effects(source, target, converts, times) AS effects
  FROM days
  WHERE day < (SELECT cut FROM as_of)
  GROUP BY tenant, app, day
), effects AS (
  SELECT tenant, app, day, unnest(effects) AS effect FROM solved
)
SELECT tenant, app, day AS effects_of, nullif(effect['channel'], 0) AS channel, effect['effect_ppm'] AS effect_ppm FROM effects
";

/// `removal_effects`.
pub static REMOVAL_EFFECTS: View = View {
    name: "removal_effects",
    question: "Which share of conversions would be lost without a channel, by the paths of the month before?",
    key: &["tenant", "app", "effects_of", "channel"],
    read_by: &[&["tenant", "effects_of"]],
    code: 1,
    reads: &["paths", "as_of"],
    sql: |params: &Params| SQL.replace("{idle}", &params.paths.idle.0.to_string()),
    maintained: None,
};
