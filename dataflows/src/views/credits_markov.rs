//! What did each channel earn of each conversion by its removal effect?
//!
//! Each distinct channel of a path earns in proportion to its removal effect of the day (UTC) of the conversion: `effects_of`. Where no
//! channel of the path has one (the first weeks of an app), all earn the same. Shares are cut off to millionths and micros, and what
//! is left over goes one unit each to the channels that come first in the path, so that they sum to a million and to the revenue.

use schemas::Symbol;
use schemas::symbols::NO_CHANNEL;

use crate::params::Params;
use crate::view::View;

const SQL: &str = "\
WITH conversions AS (
  SELECT *, CAST(coalesce(array_length(channels), 0) AS BIGINT) AS length, path_end / 86400000 * 86400000 AS of_day
  FROM paths
  WHERE outcome = 'conversion'
), walked AS (
  SELECT *, unnest(range(1, length + 1)) AS place FROM conversions WHERE length > 0
), runs AS (
  SELECT *, channels[place]['channel'] AS run_channel FROM walked
), earners AS (
  SELECT tenant, app, visitor, path_end, event_id, currency, revenue_micros, of_day, run_channel, min(place) AS place
  FROM runs
  GROUP BY tenant, app, visitor, path_end, event_id, currency, revenue_micros, of_day, run_channel
), weighed AS (
  SELECT earners.*, coalesce(effect_ppm, 0) AS effect, removal_effects.effects_of
  FROM earners LEFT JOIN removal_effects
    ON earners.tenant = removal_effects.tenant AND of_day = removal_effects.effects_of AND (earners.app IS NOT DISTINCT FROM removal_effects.app)
    AND (run_channel IS NOT DISTINCT FROM removal_effects.channel)
), totals AS (
  SELECT tenant, app, visitor, path_end, event_id, currency, revenue_micros, run_channel, place, effect, sum(effect) OVER path AS total, count(*) OVER path AS earners, max(effects_of) OVER path AS effects_of
  FROM weighed
  WINDOW path AS (PARTITION BY tenant, app, visitor, path_end, event_id)
), weights AS (
  SELECT *, CASE WHEN total > 0 THEN effect ELSE 1 END AS weight, CASE WHEN total > 0 THEN total ELSE earners END AS weights
  FROM totals
), parts AS (
  -- Exactly abs(revenue_micros) * weight / weights: the product might not fit 64 bits.
  SELECT *, 1000000 * weight / weights AS ppm,
    abs(revenue_micros) / weights * weight + abs(revenue_micros) % weights * weight / weights AS micros,
    row_number() OVER (PARTITION BY tenant, app, visitor, path_end, event_id ORDER BY weight = 0, place) AS turn
  FROM weights
), lefts AS (
  SELECT *, 1000000 - sum(ppm) OVER path AS ppm_left, abs(revenue_micros) - sum(micros) OVER path AS micros_left
  FROM parts
  WINDOW path AS (PARTITION BY tenant, app, visitor, path_end, event_id)
)
SELECT tenant, app, visitor, event_id, path_end AS event_time, place, run_channel AS channel, effects_of,
  ppm + CASE WHEN turn <= ppm_left THEN 1 ELSE 0 END AS credit_ppm,
  (micros + CASE WHEN turn <= micros_left THEN 1 ELSE 0 END) * CASE WHEN revenue_micros < 0 THEN -1 ELSE 1 END AS revenue_micros,
  currency
FROM lefts
UNION ALL
SELECT tenant, app, visitor, event_id, path_end, 1, {no_channel}, NULL, 1000000, revenue_micros, currency
FROM conversions
WHERE length = 0
";

/// `credits_markov`.
pub static CREDITS_MARKOV: View = View {
    name: "credits_markov",
    question: "What did each channel earn of each conversion by its removal effect?",
    key: &["tenant", "app", "visitor", "event_id", "event_time", "place"],
    read_by: &[&["tenant", "visitor"]],
    code: 1,
    reads: &["paths", "removal_effects"],
    sql: |_: &Params| SQL.replace("{no_channel}", &Symbol::of(NO_CHANNEL).0.to_string()),
    maintained: None,
};
