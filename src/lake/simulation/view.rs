//! The simulation's source, and views that are simple enough to be right at a glance.

use std::collections::BTreeMap;

use super::model::Row;

/// One offset of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Entry {
    /// A record that the gate accepts.
    Record,
    /// A record that comes too late: stored, and no view sees it.
    Late,
    /// What an aborted transaction leaves: the position moves, nothing is read.
    Aborted,
}

/// The partitions of the topic, each from offset 0.
pub(super) type Script = Vec<Vec<Entry>>;

/// A change of a view: key, value, difference.
pub(super) type Step = (i64, i64, i64);

/// The tables of views that the simulation gives meanings of its own, and which columns of them it uses: two that tell a change
/// from others, and how often it is there. In the order of the catalogue.
pub(super) const SINKS: [(&str, [&str; 3]); 4] = [
    ("costs", ["version", "hour", "_diff"]),
    ("installs", ["event_id", "event_time", "_diff"]),
    ("credits", ["event_id", "event_time", "_diff"]),
    ("metrics_hourly", ["name", "hour", "rows"]),
];

/// The state of the views: `installs` counts the records of each partition (so it takes back what it said, and needs
/// what came before); `credits` has a row for each record with an even offset; `costs` one for every fifth offset, so that most
/// cuts do not change it; `metrics_hourly` adds up how many records each partition had.
#[derive(Clone, Default)]
pub(super) struct View {
    counts: BTreeMap<i32, i64>,
}

impl View {
    /// Takes in the accepted rows of one cut: the changes of each of [`SINKS`].
    pub(super) fn step(&mut self, rows: &[Row]) -> [Vec<Step>; SINKS.len()] {
        let [mut costs, mut installs, mut credits, mut metrics] = [const { Vec::new() }; SINKS.len()];
        for row in rows {
            let count = self.counts.entry(row.partition).or_default();
            let key = i64::from(row.partition);
            installs.extend((*count > 0).then_some((key, *count, -1)));
            *count += 1;
            installs.push((key, *count, 1));
            if row.offset % 2 == 0 {
                credits.push((key * 1_000 + row.offset, row.offset, 1));
            }
            if row.offset % 5 == 4 {
                costs.push((key, row.offset, 1));
            }
            metrics.push((key + 1, 0, 1));
        }
        [costs, installs, credits, metrics]
    }
}
