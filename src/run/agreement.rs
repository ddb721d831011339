//! How the workers agree on what is next: which cut, whether to stop, what failed. Today they share memory; workers of several
//! processes will tell each other by streams of the dataflow. Nothing but a run's own loop touches it: no view, no controller.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use dataflows::grid::cut_of;
use schemas::Tick;

use crate::ingest::source::SourceError;
use crate::lake::LedgerError;

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

/// What all workers of a run know of each other. Whatever one says, all see in the end.
pub trait Agreement: Send + Sync {
    /// The last cut that was announced: every worker has closed its part of it or is to close it.
    fn announced(&self) -> Tick;

    /// The last cut that is durable.
    fn committed(&self) -> Tick;

    /// Announces a cut that the frontier of all workers has reached.
    fn announce(&self, cut: Tick);

    /// Says that the announced cut is durable.
    fn commit(&self, cut: Tick);

    /// Asks all workers to stop reading, to commit what they have and to leave.
    fn stop(&self);

    /// Whether workers are to stop reading.
    fn stopping(&self) -> bool;

    /// A worker's source has nothing more to give. When all have said so, the run stops.
    fn finish(&self, worker: usize);

    /// Whether all sources have given what they have. A run that was told to stop before is not complete.
    fn finished(&self) -> bool;

    /// A worker has stopped reading at a tick. Answers the last cut of the run once all workers have: the one that holds
    /// the tick of the slowest. What the others read beyond it stays unread as far as the ledger knows; were it the
    /// fastest's, the slowest's backlog would count as read past and be late for ever.
    fn stopped(&self, worker: usize, tick: Tick) -> Option<Tick>;

    /// A worker leaves without a part in a last cut: it was told to stop before it had read anything.
    fn abort(&self);

    /// Whether a worker has left so, and there is no last cut.
    fn aborted(&self) -> bool;

    /// Ends the run at once; nothing more is committed. The first failure is the one that is reported.
    fn fail(&self, error: RunError);

    /// Whether the run has failed.
    fn has_failed(&self) -> bool;

    /// The first failure, once.
    fn take_failure(&self) -> Option<RunError>;
}

/// The workers of one process.
pub struct SharedMemory {
    announced: AtomicU64,
    committed: AtomicU64,
    stop: AtomicBool,
    aborted: AtomicBool,
    /// The last tick of each worker that has stopped reading.
    last_ticks: Mutex<Vec<Option<Tick>>>,
    finished: Mutex<Vec<bool>>,
    failure: Mutex<Option<RunError>>,
    failed: AtomicBool,
}

impl SharedMemory {
    /// Of so many workers; nothing is announced beyond the ledger's last cut.
    pub fn new(workers: usize, committed: Tick) -> SharedMemory {
        SharedMemory {
            announced: AtomicU64::new(committed),
            committed: AtomicU64::new(committed),
            stop: AtomicBool::new(false),
            aborted: AtomicBool::new(false),
            last_ticks: Mutex::new(vec![None; workers]),
            finished: Mutex::new(vec![false; workers]),
            failure: Mutex::new(None),
            failed: AtomicBool::new(false),
        }
    }
}

impl Agreement for SharedMemory {
    fn announced(&self) -> Tick {
        self.announced.load(Ordering::SeqCst)
    }

    fn committed(&self) -> Tick {
        self.committed.load(Ordering::SeqCst)
    }

    fn announce(&self, cut: Tick) {
        self.announced.store(cut, Ordering::SeqCst);
    }

    fn commit(&self, cut: Tick) {
        self.committed.store(cut, Ordering::SeqCst);
    }

    fn stop(&self) {
        self.stop.store(true, Ordering::SeqCst);
    }

    fn stopping(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }

    fn finish(&self, worker: usize) {
        let mut finished = self.finished.lock().expect("no panic while locked");
        finished[worker] = true;
        if finished.iter().all(|finished| *finished) {
            self.stop();
        }
    }

    fn finished(&self) -> bool {
        self.finished.lock().expect("no panic while locked").iter().all(|finished| *finished)
    }

    fn stopped(&self, worker: usize, tick: Tick) -> Option<Tick> {
        let mut ticks = self.last_ticks.lock().expect("no panic while locked");
        ticks[worker] = Some(tick);
        let last = ticks.iter().copied().collect::<Option<Vec<Tick>>>()?.into_iter().min()?;
        Some(cut_of(last).max(self.announced()))
    }

    fn abort(&self) {
        self.aborted.store(true, Ordering::SeqCst);
    }

    fn aborted(&self) -> bool {
        self.aborted.load(Ordering::SeqCst)
    }

    fn fail(&self, error: RunError) {
        self.failure.lock().expect("no panic while locked").get_or_insert(error);
        self.failed.store(true, Ordering::SeqCst);
    }

    fn has_failed(&self) -> bool {
        self.failed.load(Ordering::SeqCst)
    }

    fn take_failure(&self) -> Option<RunError> {
        self.failure.lock().expect("no panic while locked").take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_cut_holds_the_slowest_workers_last_tick() {
        let agreement = SharedMemory::new(2, 0);
        assert_eq!(agreement.stopped(0, 1_990), None);
        assert_eq!(agreement.stopped(1, 502_010), Some(2_000), "the backlog of the slowest is not passed over");
        agreement.announce(3_000);
        assert_eq!(agreement.stopped(0, 1_990), Some(3_000), "but what was announced is committed");
    }

    #[test]
    fn a_run_stops_when_all_sources_have_ended_and_keeps_its_first_failure() {
        let agreement = SharedMemory::new(2, 0);
        agreement.finish(1);
        assert!(!agreement.stopping() && !agreement.finished());
        agreement.finish(0);
        assert!(agreement.stopping() && agreement.finished());
        agreement.fail(RunError::Panicked);
        agreement.fail(RunError::Source(SourceError::Setup("later".to_owned())));
        assert!(agreement.has_failed() && matches!(agreement.take_failure(), Some(RunError::Panicked)));
    }
}
