//! What a run has done so far, for the status line and for the metrics: counted once, told twice.

use std::iter;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use schemas::Tick;
use schemas::table::Verdict;

use crate::lake::CommitStats;
use crate::lake::PartitionId;
use crate::observe::telemetry::name;

/// Counts of a run, shared by its threads.
#[derive(Default)]
pub struct Status {
    records: [AtomicU64; Verdict::ALL.len()],
    rows_written: AtomicU64,
    freshness_ms: AtomicI64,
}

/// The counters of one partition's records, by verdict.
pub struct RecordCounters([metrics::Counter; Verdict::ALL.len()]);

impl RecordCounters {
    /// The counters of a partition: metrics are by topic.
    pub fn new(partition: &PartitionId) -> RecordCounters {
        let topic = partition.topic.to_string();
        let counter =
            |verdict: Verdict| metrics::counter!(name::RECORDS, "topic" => topic.clone(), "verdict" => verdict.name());
        RecordCounters(Verdict::ALL.map(counter))
    }
}

impl Status {
    /// Counts a record of a partition.
    pub fn record(&self, counters: &RecordCounters, verdict: Verdict) {
        counters.0[verdict as usize].increment(1);
        self.records[verdict as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a commit.
    pub fn commit(&self, cut: Tick, stats: &CommitStats, took: Duration) {
        metrics::histogram!(name::COMMIT_SECONDS).record(took);
        metrics::counter!(name::FILES_WRITTEN).increment(stats.files);
        metrics::gauge!(name::CUT).set(cut as f64);
        for (table, rows) in iter::once(("records", stats.records)).chain(stats.views.iter().copied()) {
            metrics::counter!(name::ROWS_WRITTEN, "table" => table).increment(rows);
            self.rows_written.fetch_add(rows, Ordering::Relaxed);
        }
    }

    /// Notes how long after its arrival the oldest of so many records could be read; it stands for all of them.
    pub fn freshness(&self, ms: i64, records: usize) {
        metrics::histogram!(name::FRESHNESS_SECONDS).record_many(ms as f64 / 1e3, records);
        self.freshness_ms.store(ms, Ordering::Relaxed);
    }

    /// Records of a verdict so far.
    pub fn records(&self, verdict: Verdict) -> u64 {
        self.records[verdict as usize].load(Ordering::Relaxed)
    }

    /// Records so far.
    pub fn records_all(&self) -> u64 {
        Verdict::ALL.into_iter().map(|verdict| self.records(verdict)).sum()
    }

    /// Rows written to tables so far.
    pub fn rows_written(&self) -> u64 {
        self.rows_written.load(Ordering::Relaxed)
    }

    /// How long after its arrival the last record could be read, ms.
    pub fn freshness_ms(&self) -> i64 {
        self.freshness_ms.load(Ordering::Relaxed)
    }
}
