//! The views that read the ledger: which records are events, which came too late, which could not be read, what was wrong
//! with fields, and what was imported? No dataflow maintains them: they are SQL over `records`. None of them counts what a void
//! topic holds: an import that was undone stays in `records`, and in nothing else.

use crate::view::View;

/// `events`.
pub static EVENTS: View = View {
    name: "events",
    question: "What happened: which accepted records stand, each event once and none that was withdrawn?",
    key: &["tenant", "subject", "event_id", "event_time", "type"],
    read_by: &[&["tenant", "user_id"], &["tenant", "device_id"], &["tenant", "subject"], &["tenant", "event_id"]],
    code: 1,
    reads: &["records", "voids"],
    sql: |_| EVENTS_SQL.to_owned(),
    maintained: None,
};

/// `superseded`.
pub static SUPERSEDED: View = View {
    name: "superseded",
    question: "Which accepted records do not stand: copies of others, and what a tombstone withdrew?",
    key: &["topic", "partition", "offset"],
    read_by: &[&["tenant", "subject"], &["tenant", "event_id"]],
    code: 1,
    reads: &["records", "voids"],
    sql: |_| SUPERSEDED_SQL.to_owned(),
    maintained: None,
};

/// `late_events`.
pub static LATE_EVENTS: View = View {
    name: "late_events",
    question: "What came after the allowed lateness?",
    key: &["topic", "partition", "offset"],
    read_by: &[&["tenant", "user_id"], &["tenant", "device_id"], &["tenant", "subject"], &["tenant", "event_id"]],
    code: 1,
    reads: &["records", "voids"],
    sql: |_| LATE_EVENTS_SQL.to_owned(),
    maintained: None,
};

/// `dead_letters`.
pub static DEAD_LETTERS: View = View {
    name: "dead_letters",
    question: "What could not be read, and why?",
    key: &["topic", "partition", "offset"],
    read_by: &[&["topic"]],
    code: 1,
    reads: &["records", "voids"],
    sql: |_| DEAD_LETTERS_SQL.to_owned(),
    maintained: None,
};

/// `field_faults`.
pub static FIELD_FAULTS: View = View {
    name: "field_faults",
    question: "Which optional fields were left out or cut because of what they held, and in how many records?",
    key: &["topic", "tenant", "field", "reason", "value"],
    read_by: &[&["topic"], &["tenant"]],
    code: 1,
    reads: &["records", "voids"],
    sql: |_| FIELD_FAULTS_SQL.to_owned(),
    maintained: None,
};

/// `unknown_fields`.
pub static UNKNOWN_FIELDS: View = View {
    name: "unknown_fields",
    question: "Which fields do records have that no event has?",
    key: &["topic", "field"],
    read_by: &[&["topic"]],
    code: 1,
    reads: &["records", "voids"],
    sql: |_| UNKNOWN_FIELDS_SQL.to_owned(),
    maintained: None,
};

/// `imports`.
pub static IMPORTS: View = View {
    name: "imports",
    question: "Which files were imported, what came of them, and which were undone?",
    key: &["topic"],
    read_by: &[&["topic"], &["file"]],
    code: 1,
    reads: &["records", "import_notes"],
    sql: |_| IMPORTS_SQL.to_owned(),
    maintained: None,
};

/// `zones`.
pub static ZONES: View = View {
    name: "zones",
    question: "Which time zone has each tenant that was given one, and how far is it ahead of UTC when?",
    key: &["tenant", "starts"],
    read_by: &[&["tenant"]],
    code: 1,
    reads: &["zone_spans"],
    sql: |_| ZONES_SQL.to_owned(),
    maintained: None,
};

/// The SQL of a view where it is known which events are contested, if it is simpler then: it compares the copies of these alone. It
/// wants a function `is_contested` of an event id that is true of them, and may be of others.
pub fn where_contested_are_known(view: &View) -> Option<String> {
    let contested = "FROM (SELECT * FROM records WHERE is_contested(event_id)) AS records";
    let among = |sql: &str| sql.replace("FROM records", contested);
    match view.name {
        "events" => {
            let (_, columns) = EVENTS_SQL.rsplit_once("SELECT ").expect("it selects rows at last");
            let (columns, _) = columns.split_once("FROM copies").expect("of copies");
            let columns = columns.replace("capped_in_all AS capped", "capped");
            Some(format!(
                "SELECT {columns} FROM records LEFT ANTI JOIN voids USING (topic)
                WHERE verdict = 'ok' AND type <> 'tombstone' AND NOT is_contested(event_id)
                UNION ALL SELECT * FROM ({})",
                among(EVENTS_SQL)
            ))
        }
        "superseded" => Some(among(SUPERSEDED_SQL)),
        _ => None,
    }
}

/// `events`: of the accepted copies of each identity the one that stands, unless it was withdrawn.
const EVENTS_SQL: &str = "\
-- Copies share (tenant, subject, event_id, event_time); the one with the smallest payload hash stands. Copies with one
-- hash are one content; a join key is capped if it is in all of them. A cost is a copy of costs alone, as it may come weeks
-- after all others. A tombstone carries the identity it withdraws. What
-- a void topic holds was undone: it neither stands nor withdraws.
WITH copies AS (
  SELECT *,
    row_number() OVER (
      PARTITION BY tenant, subject, event_id, event_time, type = 'cost' ORDER BY payload_hash, topic, \"partition\", \"offset\"
      ROWS UNBOUNDED PRECEDING
    ) AS place,
    bit_and(capped) OVER (PARTITION BY tenant, subject, event_id, event_time, type = 'cost', payload_hash) AS capped_in_all
  FROM records LEFT ANTI JOIN voids USING (topic)
  WHERE verdict = 'ok' AND type <> 'tombstone'
),
withdrawn AS (
  SELECT DISTINCT tenant, subject, event_id, event_time
  FROM records LEFT ANTI JOIN voids USING (topic)
  WHERE verdict = 'ok' AND type = 'tombstone'
)
SELECT type, tenant, app, event_id, event_time, subject, user_id, device_id, click_id, login_id, fingerprint,
  campaign, ad_group, creative, source, channel, placement, ip_hash, ip_net, os, os_version, device_model, language,
  country, name, item, quantity, revenue_micros, cost_micros, currency, version, install_begin_time, items,
  referrer, capped_in_all AS capped, payload_hash, arrival, topic, \"partition\", \"offset\", _cut
FROM copies LEFT ANTI JOIN withdrawn USING (tenant, subject, event_id, event_time)
WHERE place = 1
";

/// `superseded`: the accepted records that are no event.
const SUPERSEDED_SQL: &str = "\
WITH copies AS (
  SELECT *,
    row_number() OVER (
      PARTITION BY tenant, subject, event_id, event_time, type = 'cost' ORDER BY payload_hash, topic, \"partition\", \"offset\"
      ROWS UNBOUNDED PRECEDING
    ) AS place
  FROM records LEFT ANTI JOIN voids USING (topic)
  WHERE verdict = 'ok' AND type <> 'tombstone'
),
withdrawn AS (
  SELECT DISTINCT tenant, subject, event_id, event_time, TRUE AS is_withdrawn
  FROM records LEFT ANTI JOIN voids USING (topic)
  WHERE verdict = 'ok' AND type = 'tombstone'
)
SELECT topic, \"partition\", \"offset\", CASE WHEN is_withdrawn THEN 'withdrawn' ELSE 'copy' END AS reason,
  type, tenant, app, event_id, event_time, subject, payload_hash, arrival, _cut
FROM copies LEFT JOIN withdrawn USING (tenant, subject, event_id, event_time)
WHERE place > 1 OR is_withdrawn
";

/// `late_events`: what came after the allowed lateness.
const LATE_EVENTS_SQL: &str = "\
SELECT type, tenant, app, event_id, event_time, subject, user_id, device_id, click_id, login_id, fingerprint,
  campaign, ad_group, creative, source, channel, placement, ip_hash, ip_net, os, os_version, device_model, language,
  country, name, item, quantity, revenue_micros, cost_micros, currency, version, install_begin_time, items,
  payload_hash, arrival, arrival - event_time AS lateness_ms,
  CASE
    WHEN arrival - event_time >= 86400000
      THEN concat((arrival - event_time) / 86400000, 'd ', (arrival - event_time) % 86400000 / 3600000, 'h')
    WHEN arrival - event_time >= 3600000
      THEN concat((arrival - event_time) / 3600000, 'h ', (arrival - event_time) % 3600000 / 60000, 'm')
    ELSE concat((arrival - event_time) / 60000, 'm ', (arrival - event_time) % 60000 / 1000, 's')
  END AS lateness,
  topic, \"partition\", \"offset\", _cut
FROM records LEFT ANTI JOIN voids USING (topic)
WHERE verdict = 'late'
";

/// `dead_letters`: what could not be read, and why.
const DEAD_LETTERS_SQL: &str = "\
SELECT reason, raw, key, headers, topic, \"partition\", \"offset\", arrival, payload_hash, _cut
FROM records LEFT ANTI JOIN voids USING (topic)
WHERE verdict = 'dead'
";

/// `field_faults`: what was wrong with optional fields of events that count all the same.
const FIELD_FAULTS_SQL: &str = "\
WITH faulty AS (
  SELECT topic, tenant, arrival, unnest(faults) AS fault
  FROM records LEFT ANTI JOIN voids USING (topic)
  WHERE faults IS NOT NULL
)
SELECT topic, tenant, fault['field'] AS field, fault['reason'] AS reason, fault['value'] AS value,
  count(*) AS records, min(arrival) AS first_arrival, max(arrival) AS last_arrival
FROM faulty
GROUP BY topic, tenant, fault['field'], fault['reason'], fault['value']
";

/// `unknown_fields`: fields that records have and events do not.
const UNKNOWN_FIELDS_SQL: &str = "\
WITH named AS (
  SELECT topic, arrival, unnest(unknown_fields) AS field
  FROM records LEFT ANTI JOIN voids USING (topic)
  WHERE unknown_fields IS NOT NULL
)
SELECT topic, field, count(*) AS records, min(arrival) AS first_arrival, max(arrival) AS last_arrival
FROM named
GROUP BY topic, field
";

/// `imports`: the files that were imported, and those that were undone.
const ZONES_SQL: &str = "\
-- Definitions join the rows of zone_spans, which stand there once for each half year that they hold in.
SELECT DISTINCT of_tenant AS tenant, zone, starts, ends, offset_ms FROM zone_spans
";

const IMPORTS_SQL: &str = "\
-- Records of an import that was undone are still counted here, and nowhere else. An import by release 0.1.0 left no note
-- of its time: the arrival of its last record stands for it. At an earlier cut those are there that had begun by then.
WITH counts AS (
  SELECT topic, count(*) AS records,
    count(*) FILTER (WHERE verdict = 'ok') AS ok, count(*) FILTER (WHERE verdict = 'late') AS late,
    count(*) FILTER (WHERE verdict = 'dead') AS dead, max(arrival) AS last_arrival
  FROM records
  WHERE topic LIKE 'file:%'
  GROUP BY topic
)
SELECT topic, file, mapping, file_bytes, file_rows, coalesce(records, 0) AS records, coalesce(ok, 0) AS ok,
  coalesce(late, 0) AS late, coalesce(dead, 0) AS dead, coalesce(imported_at, last_arrival) AS imported_at, is_void,
  declared_at
FROM import_notes LEFT JOIN counts USING (topic)
WHERE was_noted OR records > 0
";
