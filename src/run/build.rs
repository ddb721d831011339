//! `bidstream build`: tables of views that a job does not have yet, made beside it from all that was recorded.
//!
//! A start that makes a view anew reads all records for all views, and holds what the new table gets until it commits. A build reads
//! them for the new views alone, the days in order, in steps, as a start does; what the views say after a day is handed over and
//! written. So what is in memory is the state that their windows need, a step of records, and changes that wait to be added up. The rest
//! is [`crate::lake::build`]'s.
//!
//! Three threads beside the workers: one that reads, one that writes, and whoever called, which tells how far it is.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use dataflows::changes::{CutChanges, Cutover};
use dataflows::horizon::Bounds;
use dataflows::params::Params;
use dataflows::view::{Maintained, View};
use dataflows::views;
use futures::future::{Either, select};
use schemas::Tick;
use schemas::table::RecordRow;
use schemas::units::DAY_MS;
use serde::Serialize;
use timely::dataflow::ProbeHandle;

use super::agreement::RunError;
use super::context::{IDLE, PanicGuard};
use super::cuts::Cuts;
use super::recovery::{Days, so_far};
use crate::ingest::gate::Gate;
use crate::lake::build::{Building, Found, History};
use crate::lake::{LedgerError, LoadCounts, Step};

/// Batches of records that may wait for a worker, and parts of changes that may wait to be written.
const WAITING_MAX: usize = 4;
/// Records that a worker takes in of one day before it hands over what follows from them.
const HANDED_OVER_RECORDS: usize = 1 << 19;
/// How often it is looked whether all is read.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// What to build.
pub struct BuildPlan {
    /// The lake.
    pub lake: PathBuf,
    /// The parameters of the views; none: those of the lake.
    pub params: Option<Params>,
    /// The views, in the order of the catalogue: each that a dataflow maintains.
    pub views: Vec<(&'static View, &'static Maintained)>,
    /// Worker threads.
    pub workers: usize,
    /// How often to tell how far it is.
    pub tell_every: Duration,
}

/// What was built.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// *N*: the cut up to which records were read.
    pub cut: Tick,
    /// The records that were looked at, of every verdict; 0 where all tables were there.
    pub records: u64,
    /// How long it took.
    pub seconds: f64,
    /// View by view.
    pub views: Vec<ViewReport>,
    /// Views of the job whose tables its next start would make anew, from all records.
    pub lacking: Vec<&'static str>,
}

/// What became of one view.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ViewReport {
    /// The view.
    pub view: &'static str,
    /// Whether it was built.
    pub outcome: Outcome,
    /// The cut up to which its table holds everything.
    pub cut: Tick,
    /// Rows that were written.
    pub rows: u64,
    /// Their files.
    pub files: u64,
    /// The bytes of these.
    pub bytes: u64,
    /// Files of builds that did not end, which were removed.
    pub leftovers: u64,
}

/// What became of a view.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Its table was there: nothing was done.
    There,
    /// Its table was built.
    Built,
}

impl Report {
    /// The report for people.
    pub fn text(&self) -> String {
        let mut text = String::new();
        for ViewReport { view, outcome, cut, rows, bytes, .. } in &self.views {
            let until = crate::clock::rfc3339(*cut as i64);
            let _ = match outcome {
                Outcome::There => writeln!(text, "{view} is there: its table holds all up to {until}"),
                Outcome::Built => {
                    writeln!(
                        text,
                        "{view} is built: {rows} rows, {:.1} MB; it holds all up to {until}",
                        *bytes as f64 / 1e6
                    )
                }
            };
        }
        let built = self.views.iter().any(|view| view.outcome == Outcome::Built);
        if built {
            let per_second = self.records as f64 / self.seconds.max(1e-3);
            let _ = writeln!(
                text,
                "{} records in {:.1} s, {per_second:.0} a second; the next start of a job with these views goes on from there, and \
                 queries read the tables then",
                self.records, self.seconds
            );
        }
        if !self.lacking.is_empty() {
            let _ = writeln!(
                text,
                "not there yet: {}; a start makes them from all records, unless they are built first",
                self.lacking.join(", ")
            );
        }
        text
    }
}

/// Builds what is not there. `tell` is told how far it is.
pub fn build(plan: &BuildPlan, mut tell: impl FnMut(&str)) -> Result<Report, RunError> {
    let started = Instant::now();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("bidstream-io")
        .enable_all()
        .build()
        .expect("a thread can be started");
    let history = Arc::new(runtime.block_on(History::open(&plan.lake, plan.params.clone()))?);
    let mut report = Report { cut: history.cut(), records: 0, seconds: 0.0, views: Vec::new(), lacking: Vec::new() };
    let mut building = Vec::new();
    for (view, maintained) in &plan.views {
        match runtime.block_on(history.claim(view, maintained))? {
            Found::There(cut) => report.views.push(ViewReport {
                view: view.name,
                outcome: Outcome::There,
                cut,
                rows: 0,
                files: 0,
                bytes: 0,
                leftovers: 0,
            }),
            Found::Building(table) => {
                let (name, left) = (table.view(), table.leftovers());
                if left > 0 {
                    tell(&format!("{name}: removed {left} files of a build that did not end; it begins anew"));
                }
                building.push(*table);
            }
        }
    }
    if !building.is_empty() {
        let (tables, records) = make(plan, &history, building, &runtime, &mut tell)?;
        report.records = records;
        for table in tables {
            let leftovers = table.leftovers();
            let built = runtime.block_on(table.commit())?;
            report.views.push(ViewReport {
                view: built.view,
                outcome: Outcome::Built,
                cut: report.cut,
                rows: built.rows,
                files: built.files,
                bytes: built.bytes,
                leftovers,
            });
        }
    }
    report.lacking = runtime.block_on(history.lacking())?;
    report.seconds = started.elapsed().as_secs_f64();
    Ok(report)
}

/// What the threads of a build share.
struct Shared {
    params: Params,
    bounds: Bounds,
    /// *N*.
    cut: Tick,
    records: Mutex<Receiver<(Step, Vec<RecordRow>)>>,
    /// Which thread failed, and how.
    cuts: Cuts,
}

/// The changes of one of the views, by its place among them.
type Handed = (usize, Arc<dyn CutChanges>);

/// Has the tables written, all but their commits. They come back with the number of records that were read.
fn make(
    plan: &BuildPlan,
    history: &Arc<History>,
    tables: Vec<Building>,
    runtime: &tokio::runtime::Runtime,
    tell: &mut dyn FnMut(&str),
) -> Result<(Vec<Building>, u64), RunError> {
    let started = Instant::now();
    let settings = history.settings();
    let (to_workers, records) = sync_channel(WAITING_MAX);
    let (handed, changes) = sync_channel(WAITING_MAX * plan.workers);
    let shared = Arc::new(Shared {
        // Each view is made of what it reads, whether or not there are tables of that.
        params: Params { only: tables.iter().map(|table| table.view().to_owned()).collect(), ..settings.views.clone() },
        bounds: Bounds {
            final_after_ms: settings.sealing().final_after_ms,
            retention: Gate::of(&settings.lateness()).retention(settings.lateness_bound_ms + DAY_MS),
            sealed_before: 0,
            installs_before: None,
            links_before: None,
            moments: settings.moments(history.any_age()),
        },
        cut: history.cut(),
        records: Mutex::new(records),
        cuts: Cuts::new(plan.workers, Duration::ZERO, history.cut()),
    });
    let views = views::maintained_by(&shared.params).map(|(view, _)| view.name);
    assert!(views.eq(tables.iter().map(Building::view)), "views are built in the order of the catalogue");
    let counts = Arc::<LoadCounts>::default();
    let reader = {
        let (history, shared, counts, runtime) =
            (Arc::clone(history), Arc::clone(&shared), Arc::clone(&counts), runtime.handle().clone());
        thread("bidstream-read", move || {
            let guard = PanicGuard::new(&shared.cuts);
            let failed = async {
                while !shared.cuts.has_failed() {
                    tokio::time::sleep(LOOK_EVERY).await;
                }
            };
            let read = history.load(shared.bounds.retention, &counts, |step, rows| drop(to_workers.send((step, rows))));
            if let Either::Right((Err(error), _)) = runtime.block_on(select(pin!(failed), pin!(read))) {
                shared.cuts.fail(error.into());
            }
            guard.disarm();
        })
    };
    let writer = {
        let (shared, runtime) = (Arc::clone(&shared), runtime.handle().clone());
        thread("bidstream-write", move || {
            let guard = PanicGuard::new(&shared.cuts);
            let (tables, failed) = runtime.block_on(write(tables, &changes));
            guard.disarm();
            if let Some(error) = failed {
                shared.cuts.fail(error.into());
            }
            tables
        })
    };
    let workers = timely::execute(timely::Config::process(plan.workers), {
        let shared = Arc::clone(&shared);
        move |worker| work(worker, &shared, &handed)
    });
    let mut told = Instant::now();
    while !reader.is_finished() {
        std::thread::sleep(LOOK_EVERY);
        if shared.cuts.has_failed()
            && let Ok(records) = shared.records.try_lock()
        {
            // A worker that panicked takes nothing more, and the reader must not wait for it.
            records.try_iter().for_each(drop);
        }
        if told.elapsed() >= plan.tell_every {
            told = Instant::now();
            let counts = [&counts.read, &counts.of].map(|count| count.load(Ordering::Relaxed));
            tell(&so_far("records are being read", counts, started.elapsed()));
        }
    }
    let mut panicked = reader.join().is_err();
    if started.elapsed() >= plan.tell_every {
        tell("all records are read; the views take in the last of them");
    }
    // Their end is that of the writer's input.
    let workers = workers.expect("threads can be started").join();
    panicked |= workers.into_iter().any(|result| result.is_err());
    let tables = writer.join();
    match (shared.cuts.take_failure(), tables) {
        (None, Ok(tables)) if !panicked => Ok((tables, counts.read.load(Ordering::Relaxed))),
        (failure, tables) => {
            for table in tables.into_iter().flatten() {
                runtime.block_on(table.give_up());
            }
            Err(failure.unwrap_or(RunError::Panicked))
        }
    }
}

fn thread<T: Send + 'static>(name: &str, work: impl FnOnce() -> T + Send + 'static) -> std::thread::JoinHandle<T> {
    std::thread::Builder::new().name(name.to_owned()).spawn(work).expect("a thread can be started")
}

/// Writes changes until there are no more, or it fails.
async fn write(mut tables: Vec<Building>, changes: &Receiver<Handed>) -> (Vec<Building>, Option<LedgerError>) {
    // Blocking is right: this thread has nothing else to do.
    while let Ok((view, changes)) = changes.recv() {
        if let Err(error) = tables[view].add(changes.after(0)).await {
            return (tables, Some(error));
        }
    }
    (tables, None)
}

/// One worker: takes records in, day by day, and hands over what follows.
fn work(worker: &mut timely::worker::Worker, shared: &Shared, handed: &SyncSender<Handed>) {
    let guard = PanicGuard::new(&shared.cuts);
    let probe = ProbeHandle::new();
    let cutover = Cutover { replay_from: shared.cut, snapshot_at: Some(shared.cut) };
    let (mut feed, mut backlogs) = worker.dataflow(|scope| {
        let (feed, outputs) = views::build(scope, &shared.params, shared.bounds);
        let backlogs: Vec<_> = outputs.into_iter().map(|output| output.attach_unread(&probe, cutover)).collect();
        (feed, backlogs)
    });
    let mut hand_over = || {
        for (view, backlog) in backlogs.iter_mut().enumerate().filter(|(_, backlog)| backlog.bytes() > 0) {
            // The writer is gone only after a failure.
            let _gone = handed.send((view, backlog.take_through(shared.cut)));
        }
    };
    let (mut batch, mut days) = (feed.batch(), Days::up_to(shared.cut));
    let (mut last_day, mut since_handed) = (None, 0);
    let next = || shared.records.lock().expect("no panic while locked").recv();
    while let Ok((step, rows)) = next() {
        if shared.cuts.has_failed() {
            // Whoever reads is to come to its end.
            continue;
        }
        if last_day != Some(step.day) || since_handed >= HANDED_OVER_RECORDS {
            hand_over();
            (last_day, since_handed) = (Some(step.day), 0);
        }
        since_handed += rows.len();
        days.take(&mut feed, &mut batch, step, rows);
        worker.step();
        while !shared.cuts.has_failed() && days.wait_for(&probe) {
            worker.step_or_park(Some(IDLE));
        }
    }
    // All that comes by time alone before the cut, too.
    feed.advance_to(shared.cut);
    feed.flush();
    while !shared.cuts.has_failed() && probe.less_than(&shared.cut) {
        worker.step_or_park(Some(IDLE));
        hand_over();
    }
    hand_over();
    drop(feed);
    for dataflow in worker.installed_dataflows() {
        worker.drop_dataflow(dataflow);
    }
    guard.disarm();
}
