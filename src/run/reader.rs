//! The reader of a worker: a thread that reads the worker's partitions, decides on each record, keeps its row until its cut
//! is committed, and hands what it says to the worker. So a worker is left to its dataflow, and takes in what came meanwhile, up to
//! what it gets through in a step ([`crate::run::step_size`]).
//!
//! What waits between them is bounded by the records that may be inside the dataflow ([`Intake::full`]), where a record counts
//! from when it was read until the frontier has passed it; of those ahead of the tick, by how far ahead a source may read and
//! by what may wait for a commit.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{JoinHandle, Thread};
use std::time::{Duration, Instant};

use dataflows::feed::InputBatch;
use dataflows::grid::CUT_MS;
use schemas::Tick;

use crate::ingest::source::Source;
use crate::observe::telemetry;
use crate::run::agreement::RunError;
use crate::run::committer::{self, CutPart, PartOf};
use crate::run::context::{GAUGES_EVERY, IDLE, PanicGuard, Shared};
use crate::run::intake::{Arrivals, Intake};

/// Sources read up to a minute of stamps ahead of the frontier; when memory is short they are told of a frontier so much
/// earlier. More than a grid step must be left, or the slowest partition would wait for itself.
const LEAD_MS_LESS: Tick = 59_000;
/// How often memory that was not used goes back.
const TRIM_EVERY: Duration = Duration::from_secs(15);
/// While nothing is read, the tick is handed over when it has moved so far, or after so long: each time all operators of all workers look
/// whether anything follows from that.
const IDLE_TICK: Duration = Duration::from_millis(10);
/// InputBatch of which the memory is kept for later; those that were used last are used first.
const SPARES_MAX: usize = 16;

/// What was read since the last.
pub struct Read {
    /// What the accepted records say.
    pub batch: InputBatch,
    /// When they arrived.
    pub arrivals: Arrivals,
    /// Nothing comes before this tick any more.
    pub tick: Tick,
    /// Whether it is the last.
    pub last: bool,
}

/// The worker's end of its reader.
pub struct Reader {
    reads: Receiver<Read>,
    used: Sender<InputBatch>,
    told: Arc<Told>,
    thread: Option<JoinHandle<()>>,
}

/// What a worker tells its reader.
struct Told {
    frontier: AtomicU64,
    done: AtomicBool,
}

impl Reader {
    /// Starts the reader of the calling worker.
    pub fn start(
        shared: &Arc<Shared>,
        worker: usize,
        workers: usize,
        batch: InputBatch,
        parts: Sender<CutPart>,
    ) -> Reader {
        let committed = shared.recovered.committed;
        let told = Arc::new(Told { frontier: AtomicU64::new(committed), done: AtomicBool::new(false) });
        let ((reads, read), (used, reused)) = (channel(), channel());
        let mut reading = Reading {
            shared: Arc::clone(shared),
            worker,
            workers,
            told: Arc::clone(&told),
            batch,
            spares: Vec::new(),
            reused,
            reads,
            consumer: std::thread::current(),
            handed: committed,
            handed_at: Instant::now(),
            closed: shared.cuts.announced(),
            parts,
        };
        let thread = std::thread::Builder::new().name(format!("bidstream-read-{worker}")).spawn(move || {
            let cuts = Arc::clone(&reading.shared.cuts);
            let guard = PanicGuard::new(&cuts);
            if let Err(error) = reading.run() {
                cuts.fail(error);
            }
            guard.disarm();
        });
        Reader { reads: read, used, told, thread: Some(thread.expect("a thread can be started")) }
    }

    /// What was read since, if anything. Does not wait.
    pub fn next(&self) -> Option<Read> {
        self.reads.try_recv().ok()
    }

    /// Gives the memory of a batch back.
    pub fn give_back(&self, batch: InputBatch) {
        // A reader that has left needs none.
        let _left = self.used.send(batch);
    }

    /// Tells how far all workers are.
    pub fn passed(&self, frontier: Tick) {
        self.told.frontier.store(frontier, Ordering::Release);
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.told.done.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            // Its guard has told of a panic.
            let _panicked = thread.join();
        }
    }
}

/// The reader's own end.
struct Reading {
    shared: Arc<Shared>,
    worker: usize,
    workers: usize,
    told: Arc<Told>,
    /// Those of the records since the last hand-over.
    batch: InputBatch,
    spares: Vec<InputBatch>,
    /// Memory that comes back.
    reused: Receiver<InputBatch>,
    reads: Sender<Read>,
    consumer: Thread,
    /// The tick that was handed over last, and when.
    handed: Tick,
    handed_at: Instant,
    /// The cut of which the records were handed to the committer last.
    closed: Tick,
    parts: Sender<CutPart>,
}

impl Reading {
    /// Reads until told to stop, and hands cuts over until the worker has left.
    fn run(&mut self) -> Result<(), RunError> {
        let shared = Arc::clone(&self.shared);
        let cuts = &shared.cuts;
        let mut source = (shared.source)(self.worker, self.workers)?;
        let mut intake = Intake::new(&shared, &*source);
        let mut asked: Option<Instant> = None;
        let mut trimmed = Instant::now();
        while !cuts.stopping() && !cuts.has_failed() && !self.left() {
            let frontier = self.told.frontier.load(Ordering::Acquire);
            intake.passed(frontier);
            let mut idle = true;
            // Where memory is short, nobody need read past what makes the next cut complete.
            let past = cuts.memory_pressure() && intake.tick() >= cuts.announced() + CUT_MS;
            if !past && !cuts.backpressure() && !intake.full() {
                let lead = if cuts.memory_pressure() { frontier.saturating_sub(LEAD_MS_LESS) } else { frontier };
                let progress = intake.poll(&mut *source, lead, &mut self.batch)?;
                idle = progress.records == 0;
                if progress.finished {
                    cuts.finish(self.worker);
                }
                self.hand_over(&mut intake, false);
            }
            if asked.is_none_or(|asked| asked.elapsed() >= GAUGES_EVERY) {
                asked = Some(Instant::now());
                intake.tell(&*source, &shared.health, self.worker);
            }
            if trimmed.elapsed() >= TRIM_EVERY {
                trimmed = Instant::now();
                intake.trim();
            }
            if !idle || intake.full() {
                cuts.note_input();
            }
            self.close_if_announced(&mut intake, &*source);
            if idle {
                std::thread::park_timeout(IDLE);
            }
        }
        self.hand_over(&mut intake, true);
        while !self.left() {
            self.close_if_announced(&mut intake, &*source);
            std::thread::park_timeout(IDLE);
        }
        Ok(())
    }

    /// Whether the worker has left, as it may in the midst of all when it panics.
    fn left(&self) -> bool {
        self.told.done.load(Ordering::Acquire)
    }

    /// Hands over what was read, if anything was or the tick has moved.
    fn hand_over(&mut self, intake: &mut Intake<'_>, last: bool) {
        let tick = intake.tick();
        let moved = tick != self.handed
            && (tick.saturating_sub(self.handed) >= IDLE_TICK.as_millis() as Tick
                || self.handed_at.elapsed() >= IDLE_TICK);
        if self.batch.records() == 0 && !moved && !last {
            return;
        }
        (self.handed, self.handed_at) = (tick, Instant::now());
        for batch in self.reused.try_iter() {
            if self.spares.len() < SPARES_MAX {
                self.spares.push(batch);
            }
        }
        let empty = self.spares.pop().unwrap_or_else(|| self.batch.like());
        let batch = std::mem::replace(&mut self.batch, empty);
        // A worker that has left wants nothing more.
        let _left = self.reads.send(Read { batch, arrivals: intake.take_arrivals(), tick, last });
        self.consumer.unpark();
    }

    /// Hands the records of an announced cut to the committer. All of them have come: the frontier reached the cut, so the
    /// tick did.
    fn close_if_announced(&mut self, intake: &mut Intake<'_>, source: &dyn Source) {
        let announced = self.shared.cuts.announced();
        if announced > self.closed {
            self.closed = announced;
            let started = Instant::now();
            let rows = intake.take_through(announced);
            let positions = intake.positions(source);
            let of = PartOf::Records { rows, positions, topic_ids: source.topic_ids(), notes: source.notes() };
            committer::hand(&self.shared.cuts, &self.parts, CutPart { worker: self.worker, of });
            telemetry::closed(self.worker, "reader", started.elapsed());
        }
    }
}
