//! Partitions, and where they stand.

use std::sync::Arc;

/// Names a partition of a topic; a file is a topic with one partition.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PartitionId {
    /// Topic, or `file:` and the hash of the file's content.
    pub topic: Arc<str>,
    /// Number within the topic.
    pub partition: i32,
}

/// Where to go on with a partition, as the ledger recorded it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resume {
    /// The partition.
    pub partition: PartitionId,
    /// The next offset to read.
    pub offset: i64,
    /// The arrival of the last record before it: a later one arrives no earlier.
    pub arrival_ms: i64,
}
