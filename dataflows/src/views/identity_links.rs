//! Which ids do `identify` events link, and how often each day? A log of sums: a withdrawn event takes back what it said.
//!
//! The view [`identity`](super::identity) follows from it. Links are never too old, so a start takes those of days that are final from this
//! view's table, and only the others from events.

use schemas::{EventTime, LinkedId, Symbol, columns};

use crate::changes::Sum;
use crate::inputs::Inputs;
use crate::links::Link;
use crate::local_time;
use crate::needs::Needs;
use crate::view::{Maintained, Output, View};

const SQL: &str = "\
-- The user, else the device, with each other id of the event.
WITH identified AS (
  SELECT tenant, user_id, device_id, login_id, {day} AS day
  FROM {zoned}
  WHERE type = 'identify'
), links AS (
  SELECT tenant, 'user' AS id_kind, user_id AS id, 'device' AS other_kind, device_id AS other_id, day FROM identified
  UNION ALL
  SELECT tenant, CASE WHEN user_id IS NULL THEN 'device' ELSE 'user' END, coalesce(user_id, device_id), 'login', login_id, day
  FROM identified
)
SELECT tenant, id_kind, id, other_kind, other_id, day, count(*) AS times
FROM links
WHERE id IS NOT NULL AND other_id IS NOT NULL
GROUP BY tenant, id_kind, id, other_kind, other_id, day
";

/// `identity_links`.
pub static IDENTITY_LINKS: View = View {
    name: "identity_links",
    question: "Which ids do identify events link, and how often each day?",
    key: &["tenant", "id_kind", "id", "other_kind", "other_id", "day"],
    read_by: &[&["tenant", "id"], &["tenant", "other_id"]],
    code: 1,
    reads: &["events", "zone_spans"],
    sql: |_| sql(),
    maintained: Some(Maintained::sums::<Link, 1>(|_, retention| Needs::until_final(retention))),
};

fn sql() -> String {
    let texts = [("{day}", local_time::day("event_time")), ("{zoned}", local_time::with_spans("events", "event_time"))];
    texts.iter().fold(SQL.to_owned(), |sql, (name, text)| sql.replace(name, text))
}

columns! {
    Sum<Link, 1>, |row| {
        tenant: Symbol = row.key.tenant,
        /// what the id is: user, device or login
        id_kind: &'static str = row.key.id_kind.name(),
        /// user, device or login, hashed: what identify events link
        id: LinkedId = row.key.id,
        /// what the other id is: device or login
        other_kind: &'static str = row.key.other_kind.name(),
        /// the device or login that the id is linked with, hashed
        other_id: LinkedId = row.key.other_id,
        day: EventTime = row.key.day,
        /// number of identify events of the day that say so
        times: i64 = row.sums[0],
    }
}

/// Builds it.
pub fn build<'scope>(inputs: &mut Inputs<'scope>) -> Output<'scope> {
    Output::additions(inputs.links().map(|link| Sum { key: link, sums: [1] }))
}
