//! Which visitors were seen with one address and agent in the same hours?
//!
//! A visitor is the user of an event, else its device; the address and agent are its fingerprint; the hours are those of UTC. Of an hour in
//! which a fingerprint had more than [`IDS_MAX`] visitors nothing is told. Empty where `views.identity.likely` is not given.
//!
//! **State.** See [`crate::sightings`].

use schemas::{EventTime, LinkedId, Symbol, columns};

use crate::inputs::Inputs;
use crate::links::Link;
use crate::local_time;
use crate::needs::Needs;
use crate::params::Params;
use crate::sightings::{IDS_MAX, SharedHours};
use crate::view::{Maintained, Output, View};

const SQL: &str = "\
WITH seen AS (
  SELECT DISTINCT tenant, fingerprint, event_time - event_time % 3600000 AS hour,
    CASE WHEN user_id IS NULL THEN 'device' ELSE 'user' END AS id_kind, coalesce(user_id, device_id) AS id
  FROM events
  WHERE {wanted} AND type <> 'cost' AND fingerprint IS NOT NULL AND coalesce(user_id, device_id) IS NOT NULL
), counted AS (
  SELECT *, count(*) OVER (PARTITION BY tenant, fingerprint, hour) AS ids FROM seen
), few AS (
  SELECT * FROM counted WHERE ids BETWEEN 2 AND {ids_max}
), dated AS (
  SELECT few.*, {day} AS day
  FROM {zoned}
)
SELECT one.tenant, one.id_kind, one.id, other.id_kind AS other_kind, other.id AS other_id, one.day,
  sum(1000 / (one.ids - 1)) AS chance_thousandths, count(*) AS hours
FROM dated AS one
JOIN dated AS other
  ON other.tenant = one.tenant AND other.fingerprint = one.fingerprint AND other.hour = one.hour AND other.id > one.id
GROUP BY one.tenant, one.id_kind, one.id, other.id_kind, other.id, one.day
";

/// `shared_hours`.
pub static SHARED_HOURS: View = View {
    name: "shared_hours",
    question: "Which visitors were seen with one address and agent in the same hours?",
    key: &["tenant", "id_kind", "id", "other_kind", "other_id", "day"],
    read_by: &[&["tenant", "id"], &["tenant", "other_id"]],
    code: 1,
    reads: &["events", "zone_spans"],
    sql,
    // An hour that can change is loaded from its beginning, as all is loaded with its hour.
    maintained: Some(Maintained::sums::<Link, 2>(|_, retention| Needs::until_final(retention))),
};

fn sql(params: &Params) -> String {
    let texts = [
        ("{wanted}", params.identity.likely.is_some().to_string()),
        ("{ids_max}", IDS_MAX.to_string()),
        ("{day}", local_time::day("hour")),
        ("{zoned}", local_time::with_spans("few", "hour")),
    ];
    texts.iter().fold(SQL.to_owned(), |sql, (name, text)| sql.replace(name, text))
}

columns! {
    SharedHours, |row| {
        tenant: Symbol = row.key.tenant,
        /// what the id is: user or device
        id_kind: &'static str = row.key.id_kind.name(),
        /// user or device, hashed
        id: LinkedId = row.key.id,
        /// what the other id is: user or device
        other_kind: &'static str = row.key.other_kind.name(),
        /// a user or device that was seen with the same address and agent, hashed; greater than the other
        other_id: LinkedId = row.key.other_id,
        day: EventTime = row.key.day,
        /// the sum over hours of the chance that another visitor of the hour, drawn by lot, is this one, in thousandths
        chance_thousandths: i64 = row.sums[0],
        /// number of hours of the day in which both were
        hours: i64 = row.sums[1],
    }
}

/// Builds it.
pub fn build<'scope>(inputs: &mut Inputs<'scope>) -> Output<'scope> {
    Output::additions(inputs.shared_hours())
}
