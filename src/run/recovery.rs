//! Recovery is a query: state is rebuilt from the same table that analysts read. The loader reads `records` once and
//! hands batches to whichever worker is free; on the way it rebuilds the counters of hot keys.

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};

use dataflows::changes::Cutover;
use schemas::Tick;
use schemas::table::{RecordRow, Verdict};
use schemas::units::HOUR_MS;

use crate::ingest::gate::HotKeys;
use crate::ingest::source::{PartitionId, Resume};
use crate::lake::{Ledger, LedgerError, State};

/// Batches that may wait for a worker.
const BATCHES_MAX: usize = 4;

/// What the workers of a run need of earlier runs.
pub struct Recovered {
    /// *m*: everything up to here is in every sink; it is loaded as one step.
    pub load_to: Tick,
    /// *N*: the last durable cut.
    pub committed: Tick,
    /// What the table of each maintained view lacks.
    pub cutovers: Vec<Cutover>,
    /// Whether a commit is due though no record comes.
    pub behind: bool,
    batches: Mutex<Receiver<Vec<RecordRow>>>,
    hot_keys: Arc<Mutex<HashMap<PartitionId, HotKeys>>>,
    done: AtomicUsize,
}

/// Feeds [`Recovered`].
pub struct Loader {
    committed: Tick,
    voids: BTreeSet<String>,
    resumes: HashMap<PartitionId, Resume>,
    batches: SyncSender<Vec<RecordRow>>,
    hot_keys: Arc<Mutex<HashMap<PartitionId, HotKeys>>>,
}

/// A loader and what it feeds.
pub fn loading(state: &State) -> (Loader, Recovered) {
    let committed = state.committed.unwrap_or(0);
    let (sender, receiver) = sync_channel(BATCHES_MAX);
    let hot_keys = Arc::new(Mutex::new(HashMap::new()));
    let resumes = state.resumes.iter().map(|resume| (resume.partition.clone(), resume.clone())).collect();
    (
        Loader { committed, voids: state.voids.clone(), resumes, batches: sender, hot_keys: Arc::clone(&hot_keys) },
        Recovered {
            load_to: state.load_to,
            committed,
            cutovers: state
                .fresh
                .iter()
                .map(|fresh| Cutover { replay_from: state.load_to, snapshot_at: fresh.then_some(committed) })
                .collect(),
            behind: state.behind,
            batches: Mutex::new(receiver),
            hot_keys,
            done: AtomicUsize::new(0),
        },
    )
}

impl Loader {
    /// Reads all accepted records but those of void topics; the workers wait until it is done.
    pub async fn load(self, ledger: &Ledger) -> Result<(), LedgerError> {
        ledger
            .load(0, self.committed, |mut rows| {
                if !self.voids.is_empty() {
                    rows.retain(|row| !self.voids.contains(&*row.topic));
                }
                for row in &rows {
                    self.count(row);
                }
                if !rows.is_empty() {
                    // The workers are gone only after a failure, which ends the run.
                    let _ = self.batches.send(rows);
                }
            })
            .await
    }

    /// Counters live for one arrival hour, and their count does not depend on order below the bound.
    fn count(&self, row: &RecordRow) {
        let Some(event) = row.event.as_ref().filter(|event| row.verdict == Verdict::Ok && event.event_type.is_touch())
        else {
            return;
        };
        let id = PartitionId { topic: Arc::clone(&row.topic), partition: row.partition };
        let last_ms = self.resumes.get(&id).map(|resume| resume.arrival_ms);
        if last_ms.is_some_and(|last_ms| last_ms.div_euclid(HOUR_MS) == row.arrival_ms.div_euclid(HOUR_MS)) {
            let mut hot_keys = self.hot_keys.lock().expect("no panic while locked");
            hot_keys.entry(id).or_default().count(event, row.arrival_ms);
        }
    }
}

impl Recovered {
    /// The next batch of accepted records, in no order; none when all are loaded.
    pub fn next(&self) -> Option<Vec<RecordRow>> {
        self.batches.lock().expect("no panic while locked").recv().ok()
    }

    /// Notes that one more worker has recovered; whether all have.
    pub fn is_done(&self, workers: usize) -> bool {
        self.done.fetch_add(1, Ordering::SeqCst) + 1 == workers
    }

    /// The counters of a partition as the ledger left them. To be asked once.
    pub fn hot_keys(&self, partition: &PartitionId) -> HotKeys {
        self.hot_keys.lock().expect("no panic while locked").remove(partition).unwrap_or_default()
    }
}
