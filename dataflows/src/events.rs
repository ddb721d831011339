//! The views that read the ledger: which records are events, which came too late, which could not be read, and what
//! did media cost? No dataflow maintains them: they are SQL over `records`.

/// `events`: of the accepted copies of each identity the one that stands, unless it was withdrawn.
pub const EVENTS_SQL: &str = "\
-- Copies share (tenant, subject, event_id, event_time); the one with the smallest payload hash stands. Copies with one
-- hash are one content; a join key is capped if it is in all of them. A tombstone carries the identity it withdraws.
WITH copies AS (
  SELECT *,
    row_number() OVER (
      PARTITION BY tenant, subject, event_id, event_time ORDER BY payload_hash, topic, \"partition\", \"offset\"
      ROWS UNBOUNDED PRECEDING
    ) AS place,
    bit_and(capped) OVER (PARTITION BY tenant, subject, event_id, event_time, payload_hash) AS capped_in_all
  FROM records
  WHERE verdict = 'ok' AND type <> 'tombstone'
),
withdrawn AS (
  SELECT DISTINCT tenant, subject, event_id, event_time FROM records WHERE verdict = 'ok' AND type = 'tombstone'
)
SELECT type, tenant, app, event_id, event_time, subject, user_id, device_id, click_id, login_id, fingerprint,
  campaign, ad_group, creative, source, channel, placement, ip_hash, ip_net, os, os_version, device_model, language,
  country, name, item, quantity, revenue_micros, cost_micros, currency, version, install_begin_time, items,
  capped_in_all AS capped, payload_hash, arrival, topic, \"partition\", \"offset\", _cut
FROM copies LEFT ANTI JOIN withdrawn USING (tenant, subject, event_id, event_time)
WHERE place = 1
";

/// `late_events`: what came after the allowed lateness.
pub const LATE_EVENTS_SQL: &str = "\
SELECT type, tenant, app, event_id, event_time, subject, user_id, device_id, click_id, login_id, fingerprint,
  campaign, ad_group, creative, source, channel, placement, ip_hash, ip_net, os, os_version, device_model, language,
  country, name, item, quantity, revenue_micros, cost_micros, currency, version, install_begin_time, items,
  payload_hash, arrival, arrival - event_time AS lateness_ms, topic, \"partition\", \"offset\", _cut
FROM records
WHERE verdict = 'late'
";

/// `dead_letters`: what could not be read, and why.
pub const DEAD_LETTERS_SQL: &str = "\
SELECT reason, raw, topic, \"partition\", \"offset\", arrival, payload_hash, _cut
FROM records
WHERE verdict = 'dead'
";

/// `costs`: media cost by hour, the largest version of each.
pub const COSTS_SQL: &str = "\
-- The largest (version, payload hash) counts, and its currency goes with it.
WITH versions AS (
  SELECT tenant, source, campaign, ad_group, event_time - event_time % 3600000 AS hour, currency, cost_micros, version,
    row_number() OVER (
      PARTITION BY tenant, source, campaign, ad_group, event_time - event_time % 3600000
      ORDER BY coalesce(version, 0) DESC, payload_hash DESC
    ) AS place
  FROM events
  WHERE type = 'cost'
)
SELECT tenant, source, campaign, ad_group, hour, currency, cost_micros, version
FROM versions
WHERE place = 1
";
