//! Cuts: the ticks at which results become durable.
//!
//! Worker 0 announces a cut once the frontier of all workers has reached it; every worker and its reader then close
//! their part (its changes and its records up to the cut, and where its partitions stood); the committer
//! ([`crate::run::committer`]) writes the parts as one commit. What all workers must agree on is an [`Agreement`]; here is when a
//! cut is due, and when reading must wait, which each process decides by what waits in its memory.
//!
//! One commit is under way at a time. Workers never wait for it: they go on reading until [`WAITING_BYTES_MAX`] or
//! [`COMMIT_MS_MAX`] says that the store has fallen behind.

use std::ops::{AddAssign, Deref};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use dataflows::grid::CUT_MS;
use schemas::Tick;

use super::agreement::{Agreement, SharedMemory};

/// A commit is due early when so much of records waits for it.
pub const WAITING_BYTES_HINT: usize = 64 << 20;
/// Reading stops when so much waits for a commit. Room for some seconds of stamps while a backlog is read, which cannot be cut
/// more finely than [`CUT_MS`], so that one commit overlaps with reading.
pub const WAITING_BYTES_MAX: usize = 768 << 20;
/// Reading stops when a commit has been under way for so long.
pub const COMMIT_MS_MAX: u64 = 60_000;
/// Input idle for so long: the committer need not throttle itself.
const IDLE: Duration = Duration::from_millis(50);

const _: () = assert!(WAITING_BYTES_HINT < WAITING_BYTES_MAX);

/// Bytes in memory that wait for a commit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Waiting {
    /// Of records.
    pub records: usize,
    /// Of changes of views.
    pub changes: usize,
}

impl AddAssign for Waiting {
    fn add_assign(&mut self, more: Waiting) {
        self.records += more.records;
        self.changes += more.changes;
    }
}

/// What the workers of a process share about cuts: the agreement of all, and what waits here.
pub struct Cuts {
    agreement: Box<dyn Agreement>,
    /// Workers of the process.
    pub workers: usize,
    commit_every: Duration,
    /// When the commit under way was announced, or the last one ended.
    since: Mutex<Instant>,
    waiting_records: AtomicUsize,
    waiting_changes: AtomicUsize,
    /// When records came last, or waited for the dataflow.
    last_input: Mutex<Instant>,
    progressed: AtomicBool,
}

impl Deref for Cuts {
    type Target = dyn Agreement;

    fn deref(&self) -> &Self::Target {
        &*self.agreement
    }
}

impl Cuts {
    /// Nothing announced yet; `committed` is the ledger's last cut.
    pub fn new(workers: usize, commit_every: Duration, committed: Tick) -> Cuts {
        Cuts {
            agreement: Box::new(SharedMemory::new(workers, committed)),
            workers,
            commit_every,
            since: Mutex::new(Instant::now()),
            waiting_records: AtomicUsize::new(0),
            waiting_changes: AtomicUsize::new(0),
            last_input: Mutex::new(Instant::now()),
            progressed: AtomicBool::new(false),
        }
    }

    /// Whether a commit is under way.
    pub fn committing(&self) -> bool {
        self.announced() > self.committed()
    }

    /// Counts records that wait for a commit.
    pub fn wait_for(&self, bytes: usize) {
        self.waiting_records.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Counts changes of views that wait for a commit: so many more or, as changes cancel, fewer.
    pub fn wait_for_changes(&self, before: usize, after: usize) {
        self.waiting_changes.fetch_add(after.wrapping_sub(before), Ordering::Relaxed);
    }

    /// Notes that records come, or wait for the dataflow.
    pub fn note_input(&self) {
        *self.last_input.lock().expect("no panic while locked") = Instant::now();
    }

    /// Bytes of records and of changes that wait for a commit.
    pub fn waiting_bytes(&self) -> usize {
        let Waiting { records, changes } = self.waiting();
        records + changes
    }

    fn waiting(&self) -> Waiting {
        let bytes = |of: &AtomicUsize| of.load(Ordering::Relaxed);
        Waiting { records: bytes(&self.waiting_records), changes: bytes(&self.waiting_changes) }
    }

    /// Notes that a commit is due though no record comes: a partition's offset moved, or a view changed, perhaps by time alone.
    pub fn note_progress(&self) {
        self.progressed.store(true, Ordering::Relaxed);
    }

    /// Whether so much waits for a commit that partitions must not be read far ahead of the others: only when the slowest
    /// comes on can a cut be complete.
    pub fn memory_pressure(&self) -> bool {
        self.waiting_bytes() >= WAITING_BYTES_MAX
    }

    /// Whether reading must wait for the store.
    pub fn backpressure(&self) -> bool {
        let late = || self.since().elapsed() > Duration::from_millis(COMMIT_MS_MAX);
        self.committing() && self.waiting_bytes() > 0 && (self.memory_pressure() || late())
    }

    /// Whether what is committed now is to be written as fast as it can, without a throttle: twice as much waits as one commit
    /// should hold, nothing comes that it could delay, or the run is about to end.
    pub fn flush_eagerly(&self) -> bool {
        let much = self.waiting().records >= 2 * WAITING_BYTES_HINT;
        let idle = self.last_input.lock().expect("no panic while locked").elapsed() >= IDLE;
        much || idle || self.stopping() || self.has_failed()
    }

    /// Worker 0 calls this often, with the frontier of all workers: announces the next cut when one is due.
    pub fn announce_if_due(&self, frontier: Tick) {
        let cut = frontier / CUT_MS * CUT_MS;
        let much = self.waiting().records >= WAITING_BYTES_HINT || self.memory_pressure();
        let due = self.since().elapsed() >= self.commit_every || much;
        if self.has_work() && due && !self.committing() && cut > self.announced() {
            self.announce(cut);
        }
    }

    /// Announces a cut that the frontier has reached.
    pub fn announce(&self, cut: Tick) {
        self.progressed.store(false, Ordering::Relaxed);
        *self.since.lock().expect("no panic while locked") = Instant::now();
        self.agreement.announce(cut);
    }

    /// Whether anything waits for a commit: records, a moved offset, changes that a sink lacks.
    pub fn has_work(&self) -> bool {
        self.waiting_bytes() > 0 || self.progressed.load(Ordering::Relaxed)
    }

    fn since(&self) -> Instant {
        *self.since.lock().expect("no panic while locked")
    }

    /// The announced cut is durable, and so much waits no more.
    pub(super) fn committed_now(&self, cut: Tick, waited: Waiting) {
        self.waiting_records.fetch_sub(waited.records, Ordering::Relaxed);
        self.waiting_changes.fetch_sub(waited.changes, Ordering::Relaxed);
        *self.since.lock().expect("no panic while locked") = Instant::now();
        self.commit(cut);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_is_announced_when_due_and_complete_and_there_is_work() {
        let cuts = Cuts::new(2, Duration::ZERO, 3_000);
        cuts.announce_if_due(9_500);
        assert!(!cuts.committing(), "nothing waits");
        cuts.wait_for(10);
        cuts.announce_if_due(3_999);
        assert!(!cuts.committing(), "the next cut is not complete");
        cuts.announce_if_due(5_010);
        assert_eq!((cuts.announced(), cuts.committed()), (5_000, 3_000));
        cuts.announce_if_due(9_000);
        assert_eq!(cuts.announced(), 5_000, "one commit at a time");
        cuts.committed_now(5_000, Waiting { records: 10, changes: 0 });
        assert_eq!((cuts.committed(), cuts.waiting_bytes()), (5_000, 0));
    }

    #[test]
    fn changes_of_views_stop_reading_as_records_do() {
        let cuts = Cuts::new(1, Duration::from_secs(3_600), 0);
        cuts.wait_for_changes(0, WAITING_BYTES_MAX - 1);
        cuts.announce_if_due(1_000);
        assert!(!cuts.committing() && !cuts.memory_pressure(), "a commit that few records wait for is not due early");
        cuts.wait_for_changes(WAITING_BYTES_MAX - 1, WAITING_BYTES_MAX + 40);
        cuts.announce_if_due(999);
        assert!(!cuts.backpressure(), "only reading on brings a cut");
        cuts.announce_if_due(1_000);
        assert!(cuts.backpressure(), "nothing more is read until that is durable");
        cuts.wait_for_changes(WAITING_BYTES_MAX + 40, WAITING_BYTES_MAX + 10);
        cuts.committed_now(1_000, Waiting { records: 0, changes: WAITING_BYTES_MAX + 10 });
        assert_eq!(cuts.waiting_bytes(), 0);
    }

    #[test]
    fn a_commit_takes_its_time_while_records_come() {
        let cuts = Cuts::new(1, Duration::ZERO, 0);
        let (later, long_ago) = (Instant::now() + 10_000 * IDLE, Instant::now().checked_sub(IDLE));
        *cuts.last_input.lock().unwrap() = long_ago.expect("the machine is up for longer");
        assert!(cuts.flush_eagerly(), "nothing comes");
        *cuts.last_input.lock().unwrap() = later;
        assert!(!cuts.flush_eagerly());
        cuts.wait_for(2 * WAITING_BYTES_HINT);
        assert!(cuts.flush_eagerly(), "much waits");
        cuts.committed_now(1_000, Waiting { records: 2 * WAITING_BYTES_HINT, changes: 0 });
        assert!(!cuts.flush_eagerly());
        cuts.stop();
        assert!(cuts.flush_eagerly(), "the run ends");
    }
}
