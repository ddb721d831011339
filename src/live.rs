//! What other threads read while the dataflow runs: the views, published after every step, all at one tick.
//!
//! `totals` is a view of its own: its differences are the counts, so that reading one is a look-up and no scan.

use std::collections::BTreeMap;

use dataflows::catalogue::{CreditedBatch, InstallBatch, Outputs};
use operators::shared::SharedKeyBatch;
use operators::{Hub, Publisher, arrange_keys_shared};
use schemas::Tick;
use schemas::view::{Method, Model};
use serde::{Deserialize, Serialize};

/// What `totals` counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Total {
    /// Rows of `installs` by method.
    Installs(Method),
    /// Rows of `credits` by model.
    Credits(Model),
}

/// The published views of a run.
pub struct Live {
    hub: Hub,
}

/// Counts at one tick.
pub struct Totals {
    /// Everything up to this tick is counted.
    pub tick: Tick,
    counts: BTreeMap<Total, isize>,
}

impl Live {
    /// Nothing is published yet.
    pub fn new(workers: usize) -> Live {
        Live { hub: Hub::new(workers) }
    }

    /// Registers the views of a worker. The worker publishes after every step.
    pub fn publish(&self, worker: usize, outputs: &Outputs<'_>) -> Publisher {
        let installs = outputs.installs_by_key.clone().as_collection(|_, row| Total::Installs(row.method));
        let credits = outputs.credits_by_model().map(Total::Credits);
        let mut publisher = self.hub.publisher(worker);
        publisher.register("totals", arrange_keys_shared(installs.concat(credits), "Totals").trace);
        publisher.register("installs", outputs.installs_by_key.trace.clone());
        publisher.register("credits", outputs.credited_by_key.trace.clone());
        publisher
    }

    /// The tick that readers see now; none before all workers have published.
    pub fn tick(&self) -> Option<Tick> {
        self.hub.snapshot().map(|snapshot| snapshot.tick())
    }

    /// The number of updates that each published arrangement holds, over all workers.
    pub fn sizes(&self) -> Vec<(&'static str, usize)> {
        let Some(snapshot) = self.hub.snapshot() else { return Vec::new() };
        let installs = self.hub.view::<InstallBatch>("installs");
        let credits = self.hub.view::<CreditedBatch>("credits");
        let installs = installs.map(|view| ("installs", snapshot.updates(view)));
        let credits = credits.map(|view| ("credits", snapshot.updates(view)));
        installs.into_iter().chain(credits).collect()
    }

    /// The counts as of the tick that readers see now.
    pub fn totals(&self) -> Option<Totals> {
        let snapshot = self.hub.snapshot()?;
        let view = self.hub.view::<SharedKeyBatch<Total, Tick, isize>>("totals")?;
        let mut counts = BTreeMap::new();
        snapshot.for_each(view, |total, (), count| *counts.entry(*total).or_default() += count);
        Some(Totals { tick: snapshot.tick(), counts })
    }
}

impl Totals {
    /// Installs, organic and matched.
    pub fn installs(&self) -> isize {
        self.counts.iter().filter(|(total, _)| matches!(total, Total::Installs(_))).map(|(_, count)| count).sum()
    }

    /// Rows of credit under all models.
    pub fn credits(&self) -> isize {
        self.counts.iter().filter(|(total, _)| matches!(total, Total::Credits(_))).map(|(_, count)| count).sum()
    }
}
