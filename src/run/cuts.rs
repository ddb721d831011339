//! Cuts: the ticks at which results become durable.
//!
//! Worker 0 announces a cut once the frontier of all workers has reached it; every worker and its reader then close
//! their part (its changes and its records up to the cut, and where its partitions stood); the committer
//! ([`crate::run::committer`]) writes the parts as one commit. What all workers must agree on is an [`Agreement`]; here is when a
//! cut is due, and when reading must wait, which each process decides by what waits in its memory.
//!
//! One commit is under way at a time. Workers never wait for it: they go on reading until [`WAITING_BYTES_MAX`] or
//! [`COMMIT_MS_MAX`] says that the store has fallen behind.

use std::ops::Deref;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use dataflows::grid::CUT_MS;
use schemas::Tick;

use super::agreement::{Agreement, SharedMemory};

/// A commit is due early when so much waits for it.
pub const WAITING_BYTES_HINT: usize = 64 << 20;
/// Reading stops when so much waits for a commit. Room for some seconds of stamps while a backlog is read, which cannot be cut
/// more finely than [`CUT_MS`], so that one commit overlaps with reading.
pub const WAITING_BYTES_MAX: usize = 768 << 20;
/// Reading stops when a commit has been under way for so long.
pub const COMMIT_MS_MAX: u64 = 60_000;
/// Input idle for so long: the committer need not throttle itself.
const IDLE: Duration = Duration::from_millis(50);

const _: () = assert!(WAITING_BYTES_HINT < WAITING_BYTES_MAX);

/// What the workers of a process share about cuts: the agreement of all, and what waits here.
pub struct Cuts {
    agreement: Box<dyn Agreement>,
    /// Workers of the process.
    pub workers: usize,
    commit_every: Duration,
    /// When the commit under way was announced, or the last one ended.
    since: Mutex<Instant>,
    waiting_bytes: AtomicUsize,
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
            waiting_bytes: AtomicUsize::new(0),
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
        self.waiting_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Notes that records come, or wait for the dataflow.
    pub fn note_input(&self) {
        *self.last_input.lock().expect("no panic while locked") = Instant::now();
    }

    /// Bytes of records that wait for a commit.
    pub fn waiting_bytes(&self) -> usize {
        self.waiting_bytes.load(Ordering::Relaxed)
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
        let much = self.waiting_bytes() >= 2 * WAITING_BYTES_HINT;
        let idle = self.last_input.lock().expect("no panic while locked").elapsed() >= IDLE;
        much || idle || self.stopping() || self.has_failed()
    }

    /// Worker 0 calls this often, with the frontier of all workers: announces the next cut when one is due.
    pub fn announce_if_due(&self, frontier: Tick) {
        let cut = frontier / CUT_MS * CUT_MS;
        let due = self.since().elapsed() >= self.commit_every || self.waiting_bytes() >= WAITING_BYTES_HINT;
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

    /// The announced cut is durable, and so many bytes wait no more.
    pub(super) fn committed_now(&self, cut: Tick, bytes: usize) {
        self.waiting_bytes.fetch_sub(bytes, Ordering::Relaxed);
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
        cuts.committed_now(5_000, 10);
        assert_eq!((cuts.committed(), cuts.waiting_bytes()), (5_000, 0));
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
        cuts.committed_now(1_000, 2 * WAITING_BYTES_HINT);
        assert!(!cuts.flush_eagerly());
        cuts.stop();
        assert!(cuts.flush_eagerly(), "the run ends");
    }
}
