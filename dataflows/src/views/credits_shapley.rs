//! What did each channel earn of each conversion by its Shapley value?
//!
//! The Shapley value of a channel is what it adds to what all sets of channels are worth, where a set is worth the conversions whose
//! paths have no other channels. Each path then stands for itself: of a path's conversion each of its distinct channels earns the same.
//! The ordered value (Zhao, Mahboobi, Bagheri: *Shapley Value Methods for Attribution Modeling in Online Advertising*, 2018) asks for
//! each place of a path what the channel earns there: each of its runs earns the same, and a channel that comes back earns again.

use schemas::Symbol;
use schemas::symbols::NO_CHANNEL;

use crate::params::Params;
use crate::view::View;

const SQL: &str = "\
WITH conversions AS (
  SELECT *, CAST(coalesce(array_length(channels), 0) AS BIGINT) AS length FROM paths WHERE outcome = 'conversion'
), walked AS (
  SELECT *, unnest(range(1, length + 1)) AS place FROM conversions WHERE length > 0
), runs AS (
  SELECT *, channels[place]['channel'] AS channel FROM walked
), earners AS (
  SELECT tenant, app, visitor, path_end, event_id, currency, revenue_micros, 'shapley_ordered' AS model, place, channel
  FROM runs
  UNION ALL
  SELECT tenant, app, visitor, path_end, event_id, currency, revenue_micros, 'shapley', min(place), channel
  FROM runs
  GROUP BY tenant, app, visitor, path_end, event_id, currency, revenue_micros, channel
), turns AS (
  -- All weigh the same, so what is left over of a split goes one unit each to the first of them.
  SELECT *, row_number() OVER (PARTITION BY tenant, app, visitor, path_end, event_id, model ORDER BY place) AS turn,
    count(*) OVER (PARTITION BY tenant, app, visitor, path_end, event_id, model) AS earners
  FROM earners
)
SELECT tenant, app, visitor, event_id, path_end AS event_time, model, place, channel,
  1000000 / earners + CASE WHEN turn <= 1000000 % earners THEN 1 ELSE 0 END AS credit_ppm,
  (abs(revenue_micros) / earners + CASE WHEN turn <= abs(revenue_micros) % earners THEN 1 ELSE 0 END)
    * CASE WHEN revenue_micros < 0 THEN -1 ELSE 1 END AS revenue_micros,
  currency
FROM turns
UNION ALL
SELECT tenant, app, visitor, event_id, path_end, model, 1, {no_channel}, 1000000, revenue_micros, currency
FROM conversions CROSS JOIN (SELECT 'shapley' AS model UNION ALL SELECT 'shapley_ordered') AS models
WHERE length = 0
";

/// `credits_shapley`.
pub static CREDITS_SHAPLEY: View = View {
    name: "credits_shapley",
    question: "What did each channel earn of each conversion by its Shapley value, over sets of channels and in order?",
    key: &["tenant", "app", "visitor", "event_id", "event_time", "model", "place"],
    read_by: &[&["tenant", "visitor"]],
    code: 1,
    reads: &["paths"],
    sql: |_: &Params| SQL.replace("{no_channel}", &Symbol::of(NO_CHANNEL).0.to_string()),
    maintained: None,
};
