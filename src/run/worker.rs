//! A worker: one thread that feeds its part of the dataflow with what its reader read, publishes what it knows and hands
//! over the changes of every cut. All workers run the same loop; worker 0 also announces the cuts.

use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::Instant;

use dataflows::changes::Backlog;
use dataflows::feed::Feed;
use dataflows::views;
use operators::publish::Publisher;
use schemas::Tick;
use timely::dataflow::ProbeHandle;

use crate::lake::Final;
use crate::lake::hit;
use crate::observe::telemetry::{self, name};
use crate::run::agreement::RunError;
use crate::run::committer::{self, CutPart, PartOf};
use crate::run::context::{GAUGES_EVERY, IDLE, PanicGuard, Shared};
use crate::run::intake::Arrivals;
use crate::run::intake::SOURCES;
use crate::run::reader::{Read, Reader};
use crate::run::recovery::{Days, Loaded, RECOVERY};
use crate::run::step_size::StepSize;

/// Runs one worker to the end of the run.
pub fn run(worker: &mut timely::worker::Worker, shared: &Arc<Shared>, parts: Sender<CutPart>) {
    let guard = PanicGuard::new(&shared.cuts);
    let probe = ProbeHandle::new();
    let (feed, publisher, backlogs) = worker.dataflow(|scope| {
        let (feed, outputs) = views::build(scope, &shared.params, shared.bounds);
        let mut publisher = shared.live.publisher(scope.index());
        let backlogs = outputs.into_iter().zip(&shared.recovered.cutovers).map(|(output, cutover)| {
            let (backlog, live) = output.attach_live(&mut publisher, &probe, *cutover);
            if let Some((view, rows)) = live {
                shared.live.note(view, rows);
            }
            backlog
        });
        let backlogs = backlogs.collect();
        (feed, publisher, backlogs)
    });
    let index = worker.index();
    let mut running = Running {
        worker: &mut *worker,
        shared,
        feed,
        publisher,
        probe,
        backlogs,
        waiting_bytes: 0,
        index,
        left_early: false,
    };
    match running.recover() {
        Ok(()) => running.read(&parts),
        Err(error) => shared.cuts.fail(error),
    }
    drop(running);
    // Everything up to the last cut is durable, or the run has failed: what is still inside is nobody's. Timely would
    // compute it to the end, and wait for ever for a worker that panicked.
    for dataflow in worker.installed_dataflows() {
        worker.drop_dataflow(dataflow);
    }
    guard.disarm();
}

struct Running<'a> {
    worker: &'a mut timely::worker::Worker,
    shared: &'a Arc<Shared>,
    feed: Feed,
    publisher: Publisher,
    probe: ProbeHandle<Tick>,
    /// Changes of the maintained views that wait for their cut.
    backlogs: Vec<Box<dyn Backlog>>,
    /// Their bytes, as all were told.
    waiting_bytes: usize,
    index: usize,
    /// Told to stop before recovery was done: then nothing was read and there is nothing to commit.
    left_early: bool,
}

impl Running<'_> {
    /// Loads what earlier runs recorded: up to *m* day by day, so that what a day leaves behind can be forgotten before the
    /// next, then cut by cut. Its changes up to *m* go nowhere; those after it are written where
    /// a sink lacks them.
    fn recover(&mut self) -> Result<(), RunError> {
        let load_to = self.shared.recovered.load_to;
        // Not long before: what moves with time would go through all that time.
        self.feed.advance_to(self.shared.recovered.since.min(load_to.max(1) - 1));
        let (mut batch, mut days) = (self.feed.batch(), Days::up_to(load_to));
        let leaving = || self.shared.cuts.has_failed() || self.shared.cuts.stopping();
        while let Some(loaded) = self.shared.recovered.next() {
            if leaving() {
                // All of it is durable already: leaving loses nothing.
                continue;
            }
            let (step, rows) = match loaded {
                Loaded::Records(step, rows) => (step, rows),
                Loaded::Final(rows) => {
                    match rows {
                        Final::Installs(installs) => self.feed.load_installs(installs),
                        Final::Visitors(changes) => self.feed.load_visitors(changes),
                        Final::Links(links) => self.feed.load_links(links),
                        Final::SharedHours(hours) => self.feed.load_shared_hours(hours),
                    }
                    continue;
                }
            };
            days.take(&mut self.feed, &mut batch, step, rows);
            self.worker.step();
            while !leaving() && days.wait_for(&self.probe) {
                self.worker.step_or_park(Some(IDLE));
            }
        }
        self.feed.advance_to(self.shared.recovered.committed);
        self.feed.flush();
        while !leaving() && self.probe.less_than(&self.shared.recovered.committed) {
            self.worker.step_or_park(Some(IDLE));
        }
        hit("recovery", "worker")?;
        self.left_early = leaving();
        if self.shared.recovered.behind {
            self.shared.cuts.note_progress();
        }
        self.publisher.publish();
        if self.shared.recovered.is_done(self.worker.peers()) {
            self.shared.health.ready(RECOVERY);
        }
        Ok(())
    }

    /// Takes in what its reader reads until that has read all there is, then commits what is left.
    fn read(&mut self, parts: &Sender<CutPart>) {
        let shared = self.shared;
        let cuts = &shared.cuts;
        if self.left_early {
            return cuts.abort();
        }
        let reader = Reader::start(shared, self.index, self.worker.peers(), self.feed.batch(), parts.clone());
        let mut unpublished = Arrivals::default();
        let mut closed = cuts.announced();
        let mut told: Option<Instant> = None;
        let mut step_size = StepSize::new();
        let mut ended = false;
        while !ended && !cuts.has_failed() {
            let mut records = 0;
            while records < step_size.records()
                && let Some(Read { mut batch, arrivals, tick, last }) = reader.next()
            {
                records += batch.records();
                self.feed.take(&mut batch);
                reader.give_back(batch);
                unpublished.append(arrivals);
                self.feed.advance_to(tick);
                ended = last;
            }
            self.feed.flush();
            let started = Instant::now();
            self.step(records == 0 && !ended);
            step_size.took(records, started.elapsed());
            reader.passed(self.frontier());
            if let Some(readable) = self.publisher.publish() {
                let now_ms = shared.clock.now_ms();
                unpublished.take_through(readable, |oldest_ms, records| {
                    shared.status.freshness(now_ms - oldest_ms, records);
                });
            }
            if self.count_waiting() > 0 {
                cuts.note_progress();
            }
            if self.index == 0 {
                cuts.announce_if_due(self.frontier());
                if told.is_none_or(|told| told.elapsed() >= GAUGES_EVERY) {
                    told = Some(Instant::now());
                    self.tell();
                }
            }
            self.close_if_announced(&mut closed, parts);
        }
        self.drain(closed, parts);
    }

    /// Brings all workers to one last cut and commits it.
    fn drain(&mut self, mut closed: Tick, parts: &Sender<CutPart>) {
        let cuts = &self.shared.cuts;
        let read_to = self.feed.tick();
        let mut last = None;
        // Where another worker has left early, what this one has read is read again by the next run.
        while !cuts.has_failed() && !cuts.aborted() {
            if last.is_none() {
                last = cuts.stopped(self.index, read_to);
                if let Some(last) = last {
                    // This worker may be further already.
                    self.feed.advance_to(last.max(self.feed.tick()));
                    self.feed.flush();
                }
            }
            self.step(true);
            self.publisher.publish();
            let complete = last.is_some_and(|last| !self.probe.less_than(&last));
            if let Some(last) = last.filter(|_| complete) {
                if self.index == 0 && !cuts.committing() && cuts.announced() < last {
                    cuts.announce(last);
                }
                if cuts.committed() >= last {
                    return;
                }
            }
            self.close_if_announced(&mut closed, parts);
        }
    }

    fn step(&mut self, idle: bool) {
        let started = Instant::now();
        let worked = if idle { self.worker.step_or_park(Some(IDLE)) } else { self.worker.step() };
        if worked && !idle {
            metrics::histogram!(name::TICK_SECONDS).record(started.elapsed());
        }
    }

    /// The tick up to which all workers are done, at most this worker's own.
    fn frontier(&self) -> Tick {
        self.probe.with_frontier(|frontier| frontier.first().copied().unwrap_or(self.feed.tick()))
    }

    /// Tells the metrics what cheap questions answer.
    fn tell(&self) {
        let frontier = self.frontier();
        metrics::gauge!(name::FRONTIER).set(frontier as f64);
        // The frontier goes on with the clock while a source is away, as what it has will arrive later; it is in no view all the same.
        let away_ms = self.shared.health.not_ready_for(SOURCES).as_millis() as i64;
        metrics::gauge!(name::FRONTIER_AGE).set((self.shared.clock.now_ms() - frontier as i64).max(away_ms) as f64);
        metrics::gauge!(name::WAITING_BYTES).set(self.shared.cuts.waiting_bytes() as f64);
        // Of the process, whoever tells it.
        metrics::counter!(name::LATE_UPDATES).absolute(operators::late_updates());
        for (arrangement, updates) in self.shared.live.sizes() {
            metrics::gauge!(name::ARRANGEMENT, "arrangement" => arrangement).set(updates as f64);
        }
    }

    /// Tells the bytes of the changes that wait.
    fn count_waiting(&mut self) -> usize {
        let now = self.bytes();
        let before = std::mem::replace(&mut self.waiting_bytes, now);
        self.shared.cuts.wait_for_changes(before, self.waiting_bytes);
        self.waiting_bytes
    }

    fn bytes(&self) -> usize {
        self.backlogs.iter().map(|backlog| backlog.bytes()).sum()
    }

    /// Hands over the changes up to an announced cut.
    fn close_if_announced(&mut self, closed: &mut Tick, parts: &Sender<CutPart>) {
        let announced = self.shared.cuts.announced();
        if announced <= *closed {
            return;
        }
        *closed = announced;
        let started = Instant::now();
        let before = self.count_waiting();
        let changes = self.backlogs.iter_mut().map(|backlog| backlog.take_through(announced)).collect();
        // What is handed over waits until it is durable.
        self.waiting_bytes = self.bytes();
        let of = PartOf::Changes { changes, bytes: before - self.waiting_bytes };
        committer::hand(&self.shared.cuts, parts, CutPart { worker: self.index, of });
        telemetry::closed(self.index, "worker", started.elapsed());
    }
}
