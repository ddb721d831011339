//! Which other ids are those of the person of an install, open or conversion?
//!
//! What links lead to from its device and user, of the `identify` events that had arrived by its moment and stood then: its event time and the allowed
//! lateness of its type; for what came later, without a gate, when the last record without one had come ([`crate::moments`]). So no
//! link that comes later changes it. `installs` and `credits` read it where `views.installs.identity` asks for it; no dataflow writes it.

use crate::params::Params;
use crate::view::View;

const SQL: &str = "\
WITH RECURSIVE said AS (
  SELECT tenant, subject, event_id, event_time, payload_hash, user_id, device_id, login_id, min(arrival) AS since
  FROM records LEFT ANTI JOIN voids USING (topic)
  WHERE verdict = 'ok' AND type = 'identify'
  GROUP BY tenant, subject, event_id, event_time, payload_hash, user_id, device_id, login_id
), withdrawn AS (
  SELECT tenant, subject, event_id, event_time, min(arrival) AS since
  FROM records LEFT ANTI JOIN voids USING (topic)
  WHERE verdict = 'ok' AND type = 'tombstone'
  GROUP BY tenant, subject, event_id, event_time
),
-- A copy stands from its arrival on, until one with a smaller payload hash arrives, or a tombstone.
stood AS (
  SELECT said.tenant, user_id, device_id, login_id, said.since, least(
      coalesce(withdrawn.since, 9223372036854775807),
      coalesce(min(said.since) OVER (
        PARTITION BY said.tenant, said.subject, said.event_id, said.event_time ORDER BY payload_hash
        ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
      ), 9223372036854775807)
    ) AS until
  FROM said LEFT JOIN withdrawn
    ON said.tenant = withdrawn.tenant AND said.subject = withdrawn.subject AND said.event_id = withdrawn.event_id
    AND said.event_time = withdrawn.event_time
), links AS (
  SELECT tenant, 'user' AS id_kind, user_id AS id, 'device' AS other_kind, device_id AS other_id, since, until FROM stood
  UNION ALL
  SELECT tenant, CASE WHEN user_id IS NULL THEN 'device' ELSE 'user' END AS id_kind, coalesce(user_id, device_id) AS id,
    'login' AS other_kind, login_id AS other_id, since, until
  FROM stood
), both_ways AS (
  SELECT tenant, id, other_kind, other_id, since, until FROM links
  UNION ALL SELECT tenant, other_id AS id, id_kind AS other_kind, id AS other_id, since, until FROM links
), pairs AS (
  SELECT * FROM both_ways WHERE id IS NOT NULL AND other_id IS NOT NULL AND since < until
),
-- Up to which arrival links count for it.
targets AS (
  SELECT tenant, subject, event_id, event_time, device_id, user_id,
    CASE WHEN lateness IS NULL THEN 9223372036854775807
      WHEN arrived - event_time > lateness THEN any_age_until ELSE event_time + lateness END AS moment
  FROM (
    SELECT events.tenant, events.subject, events.event_id, events.event_time, events.device_id, events.user_id, any_age_until,
      CASE events.type WHEN 'install' THEN lateness_of_installs WHEN 'open' THEN lateness_of_opens
        ELSE lateness_of_conversions END AS lateness, min(records.arrival) AS arrived
    FROM events JOIN records ON events.tenant = records.tenant AND events.subject = records.subject
        AND events.event_id = records.event_id AND events.event_time = records.event_time
        AND events.payload_hash = records.payload_hash
      LEFT ANTI JOIN voids ON records.topic = voids.topic
      CROSS JOIN as_of
    WHERE events.type IN ('install', 'open', 'conversion') AND records.verdict = 'ok'
    GROUP BY events.tenant, events.subject, events.event_id, events.event_time, events.device_id, events.user_id,
      events.type, any_age_until, lateness_of_installs, lateness_of_opens, lateness_of_conversions
  ) AS arrived
), own AS (
  SELECT tenant, subject, event_id, event_time, moment, 'device' AS id_kind, device_id AS id
  FROM targets WHERE device_id IS NOT NULL
  UNION ALL SELECT tenant, subject, event_id, event_time, moment, 'user' AS id_kind, user_id AS id
  FROM targets WHERE user_id IS NOT NULL
), linked AS (
  SELECT DISTINCT tenant, subject, event_id, event_time
  FROM own LEFT SEMI JOIN (SELECT DISTINCT tenant, id FROM pairs) AS ids USING (tenant, id)
), reached AS (
  SELECT tenant, subject, event_id, event_time, moment, id_kind, id
  FROM own LEFT SEMI JOIN linked USING (tenant, subject, event_id, event_time)
  UNION
  SELECT reached.tenant, subject, event_id, event_time, moment, other_kind AS id_kind, other_id AS id
  FROM reached JOIN pairs ON reached.tenant = pairs.tenant AND reached.id = pairs.id
  WHERE moment >= since AND moment < until
)
SELECT tenant, subject, event_id, event_time, id_kind, id
FROM (
  SELECT *, count(*) OVER (PARTITION BY tenant, subject, event_id, event_time) AS ids FROM reached
) AS counted
LEFT ANTI JOIN (SELECT tenant, subject, event_id, event_time, id FROM own) AS its_own
  USING (tenant, subject, event_id, event_time, id)
WHERE ids <= {large_above}
";

/// `attributed_ids`.
pub static ATTRIBUTED_IDS: View = View {
    name: "attributed_ids",
    question: "Which other ids are those of the person of an install, open or conversion?",
    key: &["tenant", "subject", "event_id", "event_time", "id"],
    read_by: &[&["tenant", "subject"], &["tenant", "event_id"], &["tenant", "id"]],
    code: 1,
    reads: &["records", "voids", "events", "as_of"],
    sql: |params: &Params| SQL.replace("{large_above}", &params.identity.large_above.to_string()),
    maintained: None,
};
