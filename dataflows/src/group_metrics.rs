//! The metrics of groups by hour: what comes to the record of a group (`metrics_sliding`, `anomalies`).

use differential_dataflow::VecCollection;
use schemas::{EventTime, Symbol, Tick};
use serde::{Deserialize, Serialize};

use crate::changes::Sum;
use crate::groupings::{Group, Grouping};
use crate::inputs::Inputs;
use crate::views::metrics_hourly::{self, MEASURES, MetricsRow};

/// What metrics are summed by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct GroupKey {
    /// The group.
    pub group: Group,
    /// Currency of revenue or spend.
    pub currency: Symbol,
}

/// The measures of `metrics_hourly`, in its order.
pub type Measures = [i64; MEASURES];

/// What an addition to the metrics adds to each group.
fn groups(groupings: &[Grouping], row: &MetricsRow, out: &mut dyn FnMut((GroupKey, EventTime), Measures)) {
    let Sum { key, sums } = row;
    for grouping in groupings {
        let group = grouping.group(key.tenant, [key.campaign, key.source, key.channel, key.country]);
        out((GroupKey { group, currency: key.currency }, key.hour), *sums);
    }
}

/// What is added to the hours of groups of these groupings. `name` is that of the operator.
pub fn additions<'scope>(
    inputs: &mut Inputs<'scope>,
    groupings: &[Grouping],
    name: &str,
) -> VecCollection<'scope, Tick, (GroupKey, (EventTime, Measures)), isize> {
    let (of_events, of_others) = (groupings.to_vec(), groupings.to_vec());
    let zones = inputs.params.zones.clone();
    let touches = inputs.events().sums(name, move |event, out| {
        if let Some(row) = metrics_hourly::of_event(event, &zones) {
            groups(&of_events, &row, out);
        }
    });
    let others = metrics_hourly::others(inputs).flat_map(move |row| {
        let mut made = Vec::new();
        groups(&of_others, &row, &mut |key, sums| made.push((key, sums)));
        made
    });
    touches.concat(others).map(|((key, hour), sums)| (key, (hour, sums)))
}
