//! What workers contribute to a commit.

use std::collections::BTreeMap;
use std::sync::Arc;

use dataflows::changes::CutChanges;

use super::partition::PartitionId;
use super::pieces::Piece;

/// What one worker contributes to a commit.
#[derive(Default)]
pub struct Part {
    /// The worker's number.
    pub worker: usize,
    /// Records since the last commit, in as many pieces as they came in.
    pub rows: Vec<Piece>,
    /// Partitions and the next offset to read.
    pub positions: Vec<(PartitionId, i64)>,
    /// Topics and their ids at the broker.
    pub topic_ids: BTreeMap<String, String>,
    /// Names and numbers to note in the ledger.
    pub notes: BTreeMap<String, i64>,
    /// Changes of each view that the job maintains, in the catalogue's order; none at all where none of them changed.
    pub changes: Vec<Arc<dyn CutChanges>>,
}
