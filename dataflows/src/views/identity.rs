//! Which ids belong to one person? Connected components of all links that stand, each named by its least id.
//!
//! A component follows from the links alone, not from the order in which they came: it is one where links lead from each of its ids to
//! each other, and falls apart when the last event that says a link is withdrawn. Its name is the least hash among its ids, so
//! nearly always that of the larger part where two become one, and of the part that stays where some ids leave: see [`mod@operators::components`].
//!
//! Where a job gives `views.identity.likely`, ids of `likely_links` count as linked, too, as long as they are there.
//!
//! A component of more than `large_above` ids is no person but a shared device, a test account, a fault of whoever sends: it is flagged
//! as `large`. How many ids each has is a question to SQL (`count(*)` by `component`); a column of it would have all rows of a component
//! written anew with each id that comes.
//!
//! **State.** All ids and links that stand, on the worker of their tenant; they do not expire. Of each pair that ever shared an hour, the
//! days on which it did.

use differential_dataflow::VecCollection;
use operators::{Member, components, reduce};
use schemas::units::DAY_MS;
use schemas::{IdKind, LinkedId, Symbol, Tick, columns};
use serde::{Deserialize, Serialize};

use crate::changes::Sum;
use crate::horizon::Retention;
use crate::inputs::Inputs;
use crate::links::Node;
use crate::needs::Needs;
use crate::params::{LikelyParams, Params};
use crate::sightings::SharedHours;
use crate::view::{Lasting, Maintained, Output, View};
use crate::views::identity_links::IDENTITY_LINKS;

const SQL: &str = "\
-- Each id that is the least of those within two links starts: of a component of many, as a device that all share, it is one or a few.
-- From there it reaches what is greater; the least that reaches an id is the least of its component.
WITH RECURSIVE links AS (
  SELECT tenant, id_kind, id, other_kind, other_id FROM identity_links{likely}
), pairs AS (
  SELECT DISTINCT tenant, id, other_id
  FROM (
    SELECT tenant, id, other_id FROM links
    UNION ALL SELECT tenant, other_id AS id, id AS other_id FROM links
    UNION ALL SELECT tenant, id, id AS other_id FROM links
    UNION ALL SELECT tenant, other_id AS id, other_id FROM links
  ) AS both_ways
), within_one AS (
  SELECT tenant, id, min(other_id) AS least FROM pairs GROUP BY tenant, id
), starts AS (
  SELECT pairs.tenant, pairs.id
  FROM pairs JOIN within_one ON within_one.tenant = pairs.tenant AND within_one.id = pairs.other_id
  GROUP BY pairs.tenant, pairs.id
  HAVING min(within_one.least) = pairs.id
), reached AS (
  SELECT tenant, id, id AS start FROM starts
  UNION
  SELECT pairs.tenant, pairs.other_id AS id, reached.start
  FROM reached JOIN pairs ON pairs.tenant = reached.tenant AND pairs.id = reached.id
  WHERE pairs.other_id > reached.start
), named AS (
  SELECT tenant, id, min(start) AS component FROM reached GROUP BY tenant, id
), ids AS (
  SELECT DISTINCT tenant, id_kind, id
  FROM (
    SELECT tenant, id_kind, id FROM links
    UNION ALL SELECT tenant, other_kind AS id_kind, other_id AS id FROM links
  ) AS ends
)
SELECT ids.tenant, ids.id_kind, ids.id, named.component,
  count(*) OVER (PARTITION BY ids.tenant, named.component) > {large_above} AS large
FROM ids JOIN named ON named.tenant = ids.tenant AND named.id = ids.id
";

/// `identity`.
pub static IDENTITY: View = View {
    name: "identity",
    question: "Which users, devices and logins belong to one person?",
    key: &["tenant", "id_kind", "id"],
    read_by: &[&["tenant", "id"], &["tenant", "component"]],
    code: 1,
    reads: &["identity_links", "likely_links"],
    sql,
    maintained: Some(Maintained::rows::<IdentityRow>(needs)),
};

/// What SQL reads beside what events say.
const LIKELY_SQL: &str = "
  UNION ALL SELECT tenant, id_kind, id, other_kind, other_id FROM likely_links";

fn sql(params: &Params) -> String {
    let likely = if params.identity.likely.is_some() { LIKELY_SQL } else { "" };
    SQL.replace("{likely}", likely).replace("{large_above}", &params.identity.large_above.to_string())
}

/// Links of days that may still change from events, of the others from their table; from events as well where a job does not maintain that.
fn needs(params: &Params, retention: Retention) -> Needs {
    // A day is final a retention after its end, at most 25 hours after it began.
    let links_ms = retention.ms + 2 * DAY_MS;
    match params.maintains(IDENTITY_LINKS.name) {
        true => Needs { links_ms, ..Needs::until_final(retention).and_events(2 * DAY_MS) },
        false => Needs { events_ms: i64::MAX, ..Needs::until_final(retention) },
    }
}

/// One row of `identity`: unique by its id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct IdentityRow {
    tenant: Symbol,
    id_kind: IdKind,
    id: LinkedId,
    component: LinkedId,
    large: bool,
}

columns! {
    IdentityRow, |row| {
        tenant: Symbol = row.tenant,
        id_kind: &'static str = row.id_kind.name(),
        id: LinkedId = row.id,
        /// the least id of those that belong to one person, which names them together
        component: LinkedId = row.component,
        /// whether more ids than views.identity.large_above are taken for one person
        large: bool = row.large,
    }
}

fn row(Member { node, component, large }: Member<Node>) -> (LinkedId, IdentityRow) {
    let Node { tenant, id, kind } = node;
    (id, IdentityRow { tenant, id_kind: kind, id, component: component.id, large })
}

/// Those who shared hours on enough days, with few others, as `likely_links` has it.
fn likely_pairs<'scope>(
    hours: VecCollection<'scope, Tick, SharedHours, isize>,
    likely: LikelyParams,
) -> VecCollection<'scope, Tick, (Node, Node), isize> {
    let of_pairs = hours.map(|Sum { key, sums }| (Lasting(key.nodes()), (key.day, sums)));
    let likely = reduce(of_pairs, "likely links", move |_, hours, output| {
        let [mut days, mut shared, mut chances] = [0; 3];
        for of_day in hours.chunk_by(|((one, _), _), ((other, _), _)| one == other) {
            let sum = |which: usize| of_day.iter().map(|((_, sums), times)| sums[which] * *times as i64).sum::<i64>();
            days += i64::from(sum(1) > 0);
            shared += sum(1);
            chances += sum(0);
        }
        if shared > 0 && days >= likely.days && chances >= likely.score.0 * shared {
            output.push(((), 1));
        }
    });
    likely.map(|(Lasting(nodes), ())| nodes)
}

/// Builds it.
pub fn build<'scope>(inputs: &mut Inputs<'scope>) -> Output<'scope> {
    let mut pairs = inputs.links_of_all_time().map(|link| link.nodes());
    if let Some(likely) = inputs.params.identity.likely {
        pairs = pairs.concat(likely_pairs(inputs.shared_hours_of_all_time(), likely));
    }
    let large_above = inputs.params.identity.large_above as usize;
    let members = components(pairs, "identity", large_above, |node| node.tenant.0 as u64);
    Output::rows_of_keys(&IDENTITY, members.map(row))
}
