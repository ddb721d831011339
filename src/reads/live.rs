//! What other threads read while the dataflow runs: the views, published after every step, all at one tick.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use dataflows::live::LiveRows;
use operators::publish::Snapshot;
use operators::{Hub, Publisher};
use schemas::Tick;

/// The published views of a run.
pub struct Live {
    hub: Hub,
    /// How the rows of a view follow from what is published of it.
    rows: Mutex<BTreeMap<&'static str, Arc<dyn LiveRows>>>,
}

impl Live {
    /// Nothing is published yet.
    pub fn new(workers: usize) -> Live {
        Live { hub: Hub::new(workers), rows: Mutex::default() }
    }

    /// Who publishes the views of a worker, after every step.
    pub fn publisher(&self, worker: usize) -> Publisher {
        self.hub.publisher(worker)
    }

    /// Takes note of how the rows of a view are read. All workers publish the same.
    pub fn note(&self, view: &'static str, rows: Arc<dyn LiveRows>) {
        self.rows.lock().expect("no panic while locked").insert(view, rows);
    }

    /// How the rows of a view are read; none where it is not published as rows.
    pub fn rows(&self, view: &str) -> Option<Arc<dyn LiveRows>> {
        self.rows.lock().expect("no panic while locked").get(view).cloned()
    }

    /// All views at one tick; none before all workers have published.
    pub fn snapshot(&self) -> Option<Snapshot> {
        self.hub.snapshot()
    }

    /// The tick that readers see now; none before all workers have published.
    pub fn tick(&self) -> Option<Tick> {
        self.snapshot().map(|snapshot| snapshot.tick())
    }

    /// The number of updates that each published arrangement holds, over all workers.
    pub fn sizes(&self) -> Vec<(String, usize)> {
        self.snapshot().map_or(Vec::new(), |snapshot| self.hub.sizes(&snapshot))
    }
}
