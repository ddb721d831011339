//! Which events have more than one accepted record: copies, or a tombstone?
//!
//! Nearly none has. So `events` is read as a scan of `records`, but for those that are named here: of these alone the copies are
//! compared (`docs/decisions/0022-sql-that-does-not-take-the-machine.md`). Once contested, an event remains so: rows of this view
//! only come.

use operators::{ByKey, Expires, arrange_forgetting, reduce};
use schemas::{EventId, EventTime, Subject, Symbol, Tick, columns};
use serde::{Deserialize, Serialize};

use crate::changes::AsArranged;
use crate::horizon::Until;
use crate::inputs::Inputs;
use crate::event_row::EventRow;
use crate::needs::Needs;
use crate::view::{Maintained, Output, View};

const SQL: &str = "\
-- A cost is a copy of costs alone; a tombstone withdraws either.
SELECT tenant, subject, event_id, event_time
FROM records LEFT ANTI JOIN voids USING (topic)
WHERE verdict = 'ok'
GROUP BY tenant, subject, event_id, event_time
HAVING count(*) FILTER (WHERE type <> 'cost') > 1 OR count(*) FILTER (WHERE type IN ('cost', 'tombstone')) > 1
";

/// `contested_events`.
pub static CONTESTED_EVENTS: View = View {
    name: "contested_events",
    question: "Which events have more than one accepted record: copies, or a tombstone?",
    key: &["tenant", "subject", "event_id", "event_time"],
    read_by: &[&["tenant", "subject"], &["tenant", "event_id"]],
    code: 1,
    reads: &["records", "voids"],
    sql: |_| SQL.to_owned(),
    // A cost may come for an identity that an event made contested long before.
    maintained: Some(Maintained::rows::<ContestedEvent>(|_, retention| {
        Needs::until_final(retention).at_least(retention.ms.max(retention.cost_ms))
    })),
};

/// One row of `contested_events`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ContestedEvent {
    tenant: Symbol,
    subject: Subject,
    event_id: EventId,
    event_time: EventTime,
}

/// The identity of events, until none of it can come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
struct Shared {
    row: ContestedEvent,
    until: Until,
}

impl Expires<Tick> for Shared {
    fn expiry(&self) -> Tick {
        self.until.expiry()
    }
}

columns! {
    ContestedEvent, |row| {
        tenant: Symbol = row.tenant,
        subject: Subject = row.subject,
        event_id: EventId = row.event_id,
        event_time: EventTime = row.event_time,
    }
}

/// Builds it.
pub fn build<'scope>(inputs: &mut Inputs<'scope>) -> Output<'scope> {
    let several = reduce(inputs.events().contested, "events with several records", |_, records, output| {
        let count: isize = records.iter().map(|(_, times)| times).sum();
        if let (Some((record, _)), true) = (records.first(), count > 1) {
            let EventRow { tenant, subject, event_id, event_time, .. } = **record;
            output.push((ContestedEvent { tenant, subject, event_id, event_time }, 1));
        }
    });
    // A cost and another event may share an identity, and both have copies.
    let horizons = inputs.horizons;
    let shared = several.map(move |(_, row)| (Shared { row, until: horizons.latest(row.event_time) }, ()));
    let once = reduce(shared, "contested events once", |shared, _, output| output.push((shared.row, 1)));
    let name = CONTESTED_EVENTS.name;
    Output::rows(&CONTESTED_EVENTS, arrange_forgetting(once, name, ByKey), AsArranged)
}
