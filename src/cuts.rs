//! Cuts: the ticks at which results become durable, and how the workers of a process agree on them.
//!
//! Worker 0 announces a cut once the frontier of all workers has reached it; every worker and its reader then close
//! their part (its changes and its records up to the cut, and where its partitions stood); the committer writes the parts as
//! one commit.
//! One commit is under way at a time. Workers never wait for it: they go on reading until [`WAITING_BYTES_MAX`] or
//! [`COMMIT_MS_MAX`] says that the store has fallen behind.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use dataflows::changes::CutChanges;
use dataflows::grid::{CUT_MS, cut_of};
use schemas::Tick;
use schemas::symbols::Symbols;

use crate::intake::Rows;
use crate::ledger::{Ledger, LedgerError, Part};
use crate::source::{PartitionId, SourceError};
use crate::status::Status;

/// A commit is due early when so much waits for it.
pub const WAITING_BYTES_HINT: usize = 64 << 20;
/// Reading stops when so much waits for a commit. Room for some seconds of stamps while a backlog is read, which cannot be cut
/// more finely than [`CUT_MS`], so that one commit overlaps with reading.
pub const WAITING_BYTES_MAX: usize = 768 << 20;
/// Reading stops when a commit has been under way for so long.
pub const COMMIT_MS_MAX: u64 = 60_000;
/// When no record has come for so long, a commit takes nothing from anybody.
const QUIET: Duration = Duration::from_millis(50);

const _: () = assert!(WAITING_BYTES_HINT < WAITING_BYTES_MAX);

/// Why a run ended before its sources did.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A source cannot go on.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The ledger cannot go on, or another run has taken over.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// A bug: a worker panicked. Its message is in the log.
    #[error("a worker panicked; its message is in the log above")]
    Panicked,
}

/// What the workers of a process share about cuts.
pub struct Cuts {
    workers: usize,
    commit_every: Duration,
    /// The cut that every worker has closed or is to close.
    announced: AtomicU64,
    /// The last cut that is durable.
    committed: AtomicU64,
    /// When the commit under way was announced, or the last one ended.
    since: Mutex<Instant>,
    waiting_bytes: AtomicUsize,
    /// When records came last, or waited for the dataflow.
    busy: Mutex<Instant>,
    moved: AtomicBool,
    stop: AtomicBool,
    left: AtomicBool,
    /// The last tick of each worker that has stopped reading.
    last_ticks: Mutex<Vec<Option<Tick>>>,
    finished: Mutex<Vec<bool>>,
    failure: Mutex<Option<RunError>>,
    failed: AtomicBool,
}

impl Cuts {
    /// Nothing announced yet; `committed` is the ledger's last cut.
    pub fn new(workers: usize, commit_every: Duration, committed: Tick) -> Cuts {
        Cuts {
            workers,
            commit_every,
            announced: AtomicU64::new(committed),
            committed: AtomicU64::new(committed),
            since: Mutex::new(Instant::now()),
            waiting_bytes: AtomicUsize::new(0),
            busy: Mutex::new(Instant::now()),
            moved: AtomicBool::new(false),
            stop: AtomicBool::new(false),
            left: AtomicBool::new(false),
            last_ticks: Mutex::new(vec![None; workers]),
            finished: Mutex::new(vec![false; workers]),
            failure: Mutex::new(None),
            failed: AtomicBool::new(false),
        }
    }

    /// Asks all workers to stop reading, to commit what they have and to leave.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::SeqCst);
    }

    /// Whether workers are to stop reading.
    pub fn stopping(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }

    /// Ends the run at once; nothing more is committed. The first failure is the one that is reported.
    pub fn fail(&self, error: RunError) {
        self.failure.lock().expect("no panic while locked").get_or_insert(error);
        self.failed.store(true, Ordering::SeqCst);
    }

    /// A worker leaves without a part in a last cut: it was told to stop before it had read anything.
    pub fn leave(&self) {
        self.left.store(true, Ordering::SeqCst);
    }

    /// Whether a worker has left, so that there is no last cut.
    pub fn left(&self) -> bool {
        self.left.load(Ordering::SeqCst)
    }

    /// Whether the run has failed.
    pub fn has_failed(&self) -> bool {
        self.failed.load(Ordering::SeqCst)
    }

    /// The first failure, once.
    pub fn take_failure(&self) -> Option<RunError> {
        self.failure.lock().expect("no panic while locked").take()
    }

    /// The last cut that is durable.
    pub fn committed(&self) -> Tick {
        self.committed.load(Ordering::SeqCst)
    }

    /// The last cut that was announced.
    pub fn announced(&self) -> Tick {
        self.announced.load(Ordering::SeqCst)
    }

    /// Whether a commit is under way.
    pub fn committing(&self) -> bool {
        self.announced() > self.committed()
    }

    /// Counts records that wait for a commit.
    pub fn wait_for(&self, bytes: usize) {
        self.waiting_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Says that records come, or wait for the dataflow.
    pub fn busy(&self) {
        *self.busy.lock().expect("no panic while locked") = Instant::now();
    }

    /// Bytes of records that wait for a commit.
    pub fn waiting_bytes(&self) -> usize {
        self.waiting_bytes.load(Ordering::Relaxed)
    }

    /// Says that a position moved without a record.
    pub fn moved(&self) {
        self.moved.store(true, Ordering::Relaxed);
    }

    /// Whether so much waits for a commit that partitions must not be read far ahead of the others: only when the slowest
    /// comes on can a cut be complete.
    pub fn crowded(&self) -> bool {
        self.waiting_bytes() >= WAITING_BYTES_MAX
    }

    /// Whether reading must wait for the store.
    pub fn full(&self) -> bool {
        let bytes = self.waiting_bytes();
        self.committing() && bytes > 0 && (bytes >= WAITING_BYTES_MAX || self.since().elapsed() > millis(COMMIT_MS_MAX))
    }

    /// Whether what is committed now is to be written as fast as it can: twice as much waits as one commit should hold, nothing
    /// comes that it could delay, or the run is about to end.
    pub fn hurried(&self) -> bool {
        let crowded = self.waiting_bytes() >= 2 * WAITING_BYTES_HINT;
        let quiet = self.busy.lock().expect("no panic while locked").elapsed() >= QUIET;
        crowded || quiet || self.stopping() || self.has_failed()
    }

    /// Worker 0 calls this often, with the frontier of all workers: announces the next cut when one is due.
    pub fn announce_if_due(&self, frontier: Tick) {
        let cut = frontier / CUT_MS * CUT_MS;
        let due = self.since().elapsed() >= self.commit_every || self.waiting_bytes() >= WAITING_BYTES_HINT;
        if self.has_work() && due && !self.committing() && cut > self.announced() {
            self.announce(cut);
        }
    }

    /// Hands a part of an announced cut to the committer.
    pub fn hand(&self, parts: &Sender<Closed>, closed: Closed) {
        if parts.send(closed).is_err() {
            // It leaves only after a failure, which is kept if it was told, or when it panics.
            self.fail(RunError::Panicked);
        }
    }

    /// Announces a cut that the frontier has reached.
    pub fn announce(&self, cut: Tick) {
        self.moved.store(false, Ordering::Relaxed);
        *self.since.lock().expect("no panic while locked") = Instant::now();
        self.announced.store(cut, Ordering::SeqCst);
    }

    /// A worker's source has nothing more to give. When all have said so, the run stops.
    pub fn finish(&self, worker: usize) {
        let mut finished = self.finished.lock().expect("no panic while locked");
        finished[worker] = true;
        if finished.iter().all(|finished| *finished) {
            self.stop();
        }
    }

    /// Whether all sources have given what they have. A run that was told to stop before is not complete.
    pub fn finished(&self) -> bool {
        self.finished.lock().expect("no panic while locked").iter().all(|finished| *finished)
    }

    /// A worker has stopped reading at a tick. Answers the last cut of the run once all workers have: the one that holds
    /// the tick of the slowest. What the others read beyond it stays unread as far as the ledger knows; were it the
    /// fastest's, the slowest's backlog would count as read past and be late for ever.
    pub fn stopped(&self, worker: usize, tick: Tick) -> Option<Tick> {
        let mut ticks = self.last_ticks.lock().expect("no panic while locked");
        ticks[worker] = Some(tick);
        let last = ticks.iter().copied().collect::<Option<Vec<Tick>>>()?.into_iter().min()?;
        Some(cut_of(last).max(self.announced()))
    }

    /// Whether anything waits for a commit: records, a moved position, changes that a sink lacks.
    pub fn has_work(&self) -> bool {
        self.waiting_bytes() > 0 || self.moved.load(Ordering::Relaxed)
    }

    fn since(&self) -> Instant {
        *self.since.lock().expect("no panic while locked")
    }

    fn committed_now(&self, cut: Tick, bytes: usize) {
        self.waiting_bytes.fetch_sub(bytes, Ordering::Relaxed);
        *self.since.lock().expect("no panic while locked") = Instant::now();
        self.committed.store(cut, Ordering::SeqCst);
    }
}

/// Half of a worker's part of a commit. What becomes of each field is in [`Part`].
pub struct Closed {
    /// The worker's number.
    pub worker: usize,
    /// Which half.
    pub half: Half,
}

/// What a worker and its reader hand over of a cut.
pub enum Half {
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
    /// The worker's: of each maintained view what makes its changes.
    Changes(Vec<Arc<dyn CutChanges>>),
}

impl Half {
    /// Adds it to its part, and tells the bytes that were counted for those of `records`.
    fn add_to(self, part: &mut Part) -> usize {
        match self {
            Half::Records { rows, positions, topic_ids, notes } => {
                let (rows, bytes) = rows.named();
                (part.rows, part.positions, part.topic_ids, part.notes) = (rows, positions, topic_ids, notes);
                bytes
            }
            Half::Changes(changes) => {
                part.changes = changes;
                0
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
    closed: Receiver<Closed>,
    symbols: Arc<Symbols>,
    status: Arc<Status>,
) {
    loop {
        let mut parts: Vec<Part> = (0..cuts.workers).map(|worker| Part { worker, ..Part::default() }).collect();
        let (mut bytes, mut halves) = (0, 0);
        while halves < 2 * cuts.workers {
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
            bytes += closed.half.add_to(&mut parts[closed.worker]);
            halves += 1;
        }
        let cut = cuts.announced();
        let started = Instant::now();
        // Names of records beyond the cut may be among these; the set of names only grows, so they do no harm.
        match ledger.commit(cut, parts, symbols.take_unsaved()).await {
            Ok(stats) => {
                status.commit(cut, &stats, started.elapsed());
                cuts.committed_now(cut, bytes);
            }
            Err(error) => return cuts.fail(error.into()),
        }
    }
}

/// A channel from the workers and their readers to [`commit_parts`]: at most one half of each is under way, so it is
/// bounded by use.
pub fn parts() -> (Sender<Closed>, Receiver<Closed>) {
    std::sync::mpsc::channel()
}

fn millis(ms: u64) -> Duration {
    Duration::from_millis(ms)
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
        let (later, long_ago) = (Instant::now() + 10_000 * QUIET, Instant::now().checked_sub(QUIET));
        *cuts.busy.lock().unwrap() = long_ago.expect("the machine is up for longer");
        assert!(cuts.hurried(), "nothing comes");
        *cuts.busy.lock().unwrap() = later;
        assert!(!cuts.hurried());
        cuts.wait_for(2 * WAITING_BYTES_HINT);
        assert!(cuts.hurried(), "much waits");
        cuts.committed_now(1_000, 2 * WAITING_BYTES_HINT);
        assert!(!cuts.hurried());
        cuts.stop();
        assert!(cuts.hurried(), "the run ends");
    }

    #[test]
    fn the_last_cut_holds_the_slowest_workers_last_tick() {
        let cuts = Cuts::new(2, Duration::ZERO, 0);
        assert_eq!(cuts.stopped(0, 1_990), None);
        assert_eq!(cuts.stopped(1, 502_010), Some(2_000), "the backlog of the slowest is not passed over");
        cuts.announce(3_000);
        assert_eq!(cuts.stopped(0, 1_990), Some(3_000), "but what was announced is committed");
    }
}
