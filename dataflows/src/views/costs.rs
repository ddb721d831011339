//! What did media cost by hour, source, campaign and ad group? Networks restate costs: the largest version of each counts.
//!
//! The hour is that of the tenant's time zone, also as a part of the key: a cost that is reported for a local hour or day lies in it.

use differential_dataflow::VecCollection;
use operators::{ByKey, Expires, arrange_forgetting, reduce};
use schemas::units::HOUR_MS;
use schemas::{EventTime, EventType, Micros, PayloadHash, Symbol, Tick, Zones, columns};
use serde::{Deserialize, Serialize};

use crate::changes::AsArranged;
use crate::horizon::{Horizons, Until};
use crate::local_time;
use crate::standing::Events;
use crate::event_row::EventRow;
use crate::attribution::touches::Forgetting;
use crate::needs::Needs;
use crate::view::{Maintained, Output, View};

const SQL: &str = "\
-- The largest (version, payload hash) counts, and its currency goes with it.
WITH reported AS (
  SELECT tenant, source, campaign, ad_group, currency, cost_micros, version, payload_hash, {hour} AS hour
  FROM {zoned}
  WHERE type = 'cost'
), versions AS (
  SELECT *, row_number() OVER (
      PARTITION BY tenant, source, campaign, ad_group, hour ORDER BY coalesce(version, 0) DESC, payload_hash DESC
    ) AS place
  FROM reported
)
SELECT tenant, source, campaign, ad_group, hour, currency, cost_micros, version
FROM versions
WHERE place = 1
";

/// `costs`.
pub static COSTS: View = View {
    name: "costs",
    question: "What did media cost by hour, source, campaign and ad group?",
    key: &["tenant", "source", "campaign", "ad_group", "hour"],
    read_by: &[&["tenant", "campaign"], &["tenant", "source"]],
    code: 1,
    reads: &["events", "zone_spans"],
    sql: |_| sql(),
    maintained: Some(Maintained::rows::<CostRow>(|_, retention| Needs::until_final(retention))),
};

fn sql() -> String {
    let texts = [("{hour}", local_time::hour("event_time")), ("{zoned}", local_time::with_spans("events", "event_time"))];
    texts.iter().fold(SQL.to_owned(), |sql, (name, text)| sql.replace(name, text))
}

/// One row of `costs`: unique by tenant, source, campaign, ad group and hour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct CostRow {
    /// Account.
    pub tenant: Symbol,
    /// Publisher or traffic source.
    pub source: Symbol,
    /// Campaign.
    pub campaign: Symbol,
    /// Ad group.
    pub ad_group: Symbol,
    /// When the hour began.
    pub hour: EventTime,
    /// Currency of the cost.
    pub currency: Symbol,
    /// What it cost.
    pub cost: Option<Micros>,
    /// The version that counts.
    pub version: Option<i64>,
}

columns! {
    CostRow, |row| {
        tenant: Symbol = row.tenant,
        source: Option<Symbol> = row.source.some(),
        campaign: Option<Symbol> = row.campaign.some(),
        ad_group: Option<Symbol> = row.ad_group.some(),
        hour: EventTime = row.hour,
        currency: Option<Symbol> = row.currency.some(),
        cost_micros: Option<Micros> = row.cost,
        version: Option<i64> = row.version,
    }
}

/// What a cost is unique by, until no version of it can come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct CostKey {
    tenant: Symbol,
    source: Symbol,
    campaign: Symbol,
    ad_group: Symbol,
    hour: EventTime,
    until: Until,
}

impl Expires<Tick> for CostKey {
    fn expiry(&self) -> Tick {
        self.until.expiry()
    }
}

/// A version of a cost. The greatest counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
struct Version {
    number: i64,
    payload_hash: PayloadHash,
    row: CostRow,
}

fn version(event: &EventRow, horizons: &Horizons, zones: &Zones) -> (CostKey, Version) {
    let EventRow { tenant, source, campaign, ad_group, event_time, currency, amount, of_type, payload_hash, .. } = *event;
    let version = of_type.version();
    let hour = zones.hour(tenant, event_time);
    let until = horizons.cost(EventTime(hour.0.saturating_add(HOUR_MS)));
    let row = CostRow { tenant, source, campaign, ad_group, hour, currency, cost: amount, version };
    (
        CostKey { tenant, source, campaign, ad_group, hour, until },
        Version { number: version.unwrap_or(0), payload_hash, row },
    )
}

/// What is written of it.
pub fn output(costs: CostArrangement<'_>) -> Output<'_> {
    Output::rows(&COSTS, costs, AsArranged)
}

/// `costs` by what they are unique by: those of which a version may still come.
pub type CostArrangement<'scope> = Forgetting<'scope, CostKey, CostRow, ByKey>;

/// Builds the view over the standing events.
pub fn costs<'scope>(events: &Events<'scope>, horizons: Horizons, zones: Zones) -> CostArrangement<'scope> {
    let versions: VecCollection<'scope, Tick, _, isize> = events.flat_map("costs", move |event| {
        (event.event_type == EventType::Cost).then(|| version(event, &horizons, &zones))
    });
    let greatest = reduce(versions, "largest versions of costs", |_, versions, output| {
        output.extend(versions.last().map(|(version, _)| (version.row, 1)));
    });
    arrange_forgetting(greatest, "costs", ByKey)
}
