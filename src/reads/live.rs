//! What other threads read while the dataflow runs: the views, published after every step, all at one tick.

use operators::{Hub, Publisher};
use schemas::Tick;

/// The published views of a run.
pub struct Live {
    hub: Hub,
}

impl Live {
    /// Nothing is published yet.
    pub fn new(workers: usize) -> Live {
        Live { hub: Hub::new(workers) }
    }

    /// Who publishes the views of a worker, after every step.
    pub fn publisher(&self, worker: usize) -> Publisher {
        self.hub.publisher(worker)
    }

    /// The tick that readers see now; none before all workers have published.
    pub fn tick(&self) -> Option<Tick> {
        self.hub.snapshot().map(|snapshot| snapshot.tick())
    }

    /// The number of updates that each published arrangement holds, over all workers.
    pub fn sizes(&self) -> Vec<(String, usize)> {
        self.hub.snapshot().map_or(Vec::new(), |snapshot| self.hub.sizes(&snapshot))
    }
}
