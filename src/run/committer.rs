//! The committer: it takes the parts of an announced cut from the workers and their readers and has the ledger write them as one
//! commit. Parts are plain data: what a worker keeps of its state does not matter here.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use dataflows::changes::CutChanges;
use schemas::symbols::Symbols;

use super::agreement::RunError;
use super::cuts::{Cuts, Waiting};
use super::intake::Rows;
use super::status::Status;
use crate::lake::{Ledger, Part, PartitionId};

/// What a worker or its reader hands over of a cut. What becomes of each field is in [`Part`].
pub struct CutPart {
    /// The worker's number.
    pub worker: usize,
    /// Whose it is.
    pub of: PartOf,
}

/// Whose part of a cut, and what is in it.
pub enum PartOf {
    /// The reader's.
    Records {
        /// Its records.
        rows: Rows,
        /// Where its partitions stand.
        positions: Vec<(PartitionId, i64)>,
        /// Topics and their ids at the broker.
        topic_ids: BTreeMap<String, String>,
        /// What the ledger is to note.
        notes: BTreeMap<String, i64>,
    },
    /// The worker's.
    Changes {
        /// Of each maintained view what makes its changes.
        changes: Vec<Arc<dyn CutChanges>>,
        /// The bytes that were counted for them.
        bytes: usize,
    },
}

impl PartOf {
    /// Adds it to its part, and tells what was counted for it.
    fn add_to(self, part: &mut Part) -> Waiting {
        match self {
            PartOf::Records { rows, positions, topic_ids, notes } => {
                let (rows, bytes) = rows.named();
                (part.rows, part.positions, part.topic_ids, part.notes) = (rows, positions, topic_ids, notes);
                Waiting { records: bytes, changes: 0 }
            }
            PartOf::Changes { changes, bytes } => {
                part.changes = changes;
                Waiting { records: 0, changes: bytes }
            }
        }
    }
}

/// How often a committer without work looks whether another run has taken the lake over.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// Writes the parts of each announced cut as one commit, until the workers are gone or a commit fails.
pub async fn commit_parts(
    cuts: Arc<Cuts>,
    mut ledger: Ledger,
    closed: Receiver<CutPart>,
    symbols: Arc<Symbols>,
    status: Arc<Status>,
) {
    loop {
        let mut parts: Vec<Part> = (0..cuts.workers).map(|worker| Part { worker, ..Part::default() }).collect();
        let (mut waited, mut taken) = (Waiting::default(), 0);
        while taken < 2 * cuts.workers {
            // Blocking is right: this thread has nothing else to do.
            let closed = match closed.recv_timeout(LOOK_EVERY) {
                Ok(closed) => closed,
                Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) => match ledger.check_ours().await {
                    Err(error) if error.is_fenced() => return cuts.fail(error.into()),
                    // A store that is away is no trouble while there is nothing to commit.
                    _ => continue,
                },
            };
            waited += closed.of.add_to(&mut parts[closed.worker]);
            taken += 1;
        }
        let cut = cuts.announced();
        let started = Instant::now();
        // Names of records beyond the cut may be among these; the set of names only grows, so they do no harm.
        match ledger.commit(cut, parts, symbols.take_unsaved()).await {
            Ok(stats) => {
                status.commit(cut, &stats, started.elapsed());
                cuts.committed_now(cut, waited);
            }
            Err(error) => return cuts.fail(error.into()),
        }
    }
}

/// A channel from the workers and their readers to [`commit_parts`]: at most one part of each is under way, so it is
/// bounded by use.
pub fn parts() -> (Sender<CutPart>, Receiver<CutPart>) {
    std::sync::mpsc::channel()
}

/// Hands a part of an announced cut to the committer.
pub fn hand(cuts: &Cuts, parts: &Sender<CutPart>, part: CutPart) {
    if parts.send(part).is_err() {
        // It leaves only after a failure, which is kept if it was told, or when it panics.
        cuts.fail(RunError::Panicked);
    }
}
