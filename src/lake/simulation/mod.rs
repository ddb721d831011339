//! Deterministic simulation of source, ledger and committer.
//!
//! The ledger's own code runs over a simulated object store. Each of its operations waits there until the scheduler
//! picks it, and ends as the scheduler says: done; refused; done, but the answer is lost; done, and the client dies
//! before it learns of it; or the client dies before. A client that is not picked for long is a zombie: it wakes up
//! when its successors have come far. A *schedule* is one history of such choices, made from a seed. Waits cost
//! nothing. The model follows every log entry and checks the invariants at each; when the schedule has had its share
//! of trouble, the store heals, all clients run to their end, and a last start must find everything.
//!
//! `BIDSTREAM_SIM_SCHEDULES=100000` runs more schedules; `BIDSTREAM_SIM_SEED=17` replays one and prints its trace.

mod dice;
mod keeper;
mod model;
mod store;
mod view;
mod writer;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::{Duration, Instant};

use object_store::memory::InMemory;
use schemas::Tick;
use schemas::symbols::Symbols;
use tokio::sync::mpsc;

use super::directory::Storage;
use super::tests::settings;
use super::{Lake, Ledger, LedgerError, Writer};
use dice::Dice;
use model::{Broken, HASH, Model};
use store::{Fate, Request, Shared, SimulatedStore};
use view::{Entry, Script};

/// The grid of cuts.
const CUT_MS: Tick = 1_000;
/// The topic.
const TOPIC: &str = "ads";
/// Schedules that a plain test run makes.
const SCHEDULES: u64 = 10_000;
/// Schedules over all views.
const SCHEDULES_OF_ALL: u64 = 200;
/// The views of the other schedules: one that often has nothing to say, one that takes back what it said, and a log of sums.
const VIEWS: [&str; 3] = ["costs", "installs", "metrics_hourly"];
/// Steps of a schedule after which the store heals, and after which it must have ended.
const STEPS_OF_TROUBLE: u32 = 120;
const STEPS_MAX: u32 = 5_000;
/// Writers that are alive at a time, fenced ones included.
const WRITERS_MAX: usize = 3;

/// A bug that a test plants in the ledger, to see that the simulation finds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bug {
    /// A writer does not look whether another has claimed the table since.
    UnseenFence,
    /// A sink writes again what it holds.
    MissingFilter,
    /// A commit whose answer was lost is neither known by its id nor by the cut.
    ForgottenAnswer,
    /// A compaction does not look whether its files are still there.
    StaleCompaction,
}

thread_local! {
    static PLANTED: Cell<Option<Bug>> = const { Cell::new(None) };
}

/// Whether this thread's ledger has the bug.
pub(super) fn planted(bug: Bug) -> bool {
    PLANTED.get() == Some(bug)
}

/// What all parts of a schedule share.
struct World {
    model: Model,
    shared: Arc<Shared>,
    broken: Option<Broken>,
    /// Starts that replayed something into a sink.
    replayed: u32,
}

impl World {
    /// Takes in what was added to the logs, then checks.
    fn check(&mut self, held: impl FnOnce(&mut Model) -> Result<(), Broken>) {
        let applied = std::mem::take(&mut *self.shared.applied.lock().expect("no panic while locked"));
        let mut result = applied.iter().try_for_each(|entry| self.model.apply(entry, &self.shared.objects));
        if result.is_ok() {
            result = held(&mut self.model);
        }
        if let (Err(broken), None) = (result, &self.broken) {
            self.broken = Some(broken);
        }
    }
}

/// How often what happens in a schedule: times in a thousand steps.
struct Trouble {
    refused: u64,
    lost: u64,
    crash: u64,
    successor: u64,
    /// Housekeeping starts beside the writers.
    keeper: u64,
    /// How often the scheduler stays with the newest writer.
    newest: u64,
}

/// What happened in some schedules.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    schedules: u64,
    steps: u64,
    starts: u64,
    lost: u64,
    crashes: u64,
    fenced: u64,
    failed: u64,
    replays: u64,
    kept: u64,
}

impl Counts {
    fn add(&mut self, other: Counts) {
        self.schedules += other.schedules;
        self.steps += other.steps;
        self.starts += other.starts;
        self.lost += other.lost;
        self.crashes += other.crashes;
        self.fenced += other.fenced;
        self.failed += other.failed;
        self.replays += other.replays;
        self.kept += other.kept;
    }
}

type Running = Pin<Box<dyn Future<Output = Result<(), LedgerError>>>>;

/// A client of the store: a writer, or housekeeping.
struct Client {
    name: String,
    writes: bool,
    future: Running,
    /// The operations that it waits for: several where it commits to several tables at once; none before its first step.
    waiting: Vec<Request>,
}

/// One history.
struct Schedule {
    dice: Dice,
    trouble: Trouble,
    world: Rc<RefCell<World>>,
    script: Rc<Script>,
    views: &'static [&'static str],
    clients: Vec<Client>,
    requests: (mpsc::UnboundedSender<Request>, mpsc::UnboundedReceiver<Request>),
    counts: Counts,
    trace: Option<Vec<String>>,
}

impl Schedule {
    fn new(seed: u64, template: &Template, trace: bool) -> Schedule {
        let mut dice = Dice::new(seed);
        let script: Script = (0..dice.from(1, 2)).map(|_| partition(&mut dice)).collect();
        // Schedules differ in kind, not only in detail: most of them lack some kind of trouble.
        let mut often = |most: u64| if dice.one_in(3) { 0 } else { dice.from(1, most) };
        let (refused, lost, crash, successor, keeper) = (often(80), often(120), often(30), often(40), often(40));
        let trouble = Trouble { refused, lost, crash, successor, keeper, newest: dice.from(500, 1_000) };
        let objects = template.objects.fork();
        let shared = Arc::new(Shared { objects, applied: Mutex::new(Vec::new()) });
        let mut model = Model::new(script.clone(), template.views);
        for entry in &template.entries {
            model.apply(entry, &shared.objects).expect("a new table is in order");
        }
        let world = World { model, shared, broken: None, replayed: 0 };
        Schedule {
            dice,
            trouble,
            world: Rc::new(RefCell::new(world)),
            script: Rc::new(script),
            views: template.views,
            clients: Vec::new(),
            requests: mpsc::unbounded_channel(),
            counts: Counts { schedules: 1, ..Counts::default() },
            trace: trace.then(Vec::new),
        }
    }

    /// Runs the whole history.
    async fn run(&mut self) -> Result<(), Broken> {
        let mut complete = false;
        while !complete && self.counts.steps < u64::from(STEPS_OF_TROUBLE) {
            if self.clients.is_empty()
                || (self.clients.len() < WRITERS_MAX && self.dice.permille(self.trouble.successor))
            {
                self.start();
            }
            if self.clients.len() <= WRITERS_MAX && self.dice.permille(self.trouble.keeper) {
                self.keep();
            }
            let newest = self.clients.len() - 1;
            let index = if self.dice.permille(self.trouble.newest) {
                newest
            } else {
                self.dice.from(0, newest as u64) as usize
            };
            complete = self.step(index, true).await?;
        }
        self.note(|| "the store heals".to_owned());
        while let Some(newest) = self.clients.len().checked_sub(1) {
            self.step(newest, false).await?;
        }
        // Whatever they left behind, a start goes on from there.
        self.start();
        while !self.clients.is_empty() {
            let done = self.step(0, false).await?;
            if self.clients.is_empty() && !done {
                return Err("alone on a sound store, a run failed".to_owned());
            }
        }
        let mut world = self.world.borrow_mut();
        world.check(|model| model.finished());
        self.counts.replays = u64::from(world.replayed);
        world.broken.take().map_or(Ok(()), Err)
    }

    fn client(&mut self, name: String, writes: bool, future: Running) {
        self.note(|| format!("{name} starts"));
        self.clients.push(Client { name, writes, future, waiting: Vec::new() });
    }

    fn lake(&self) -> Lake {
        lake(SimulatedStore::new(Arc::clone(&self.world.borrow().shared), self.requests.0.clone()), self.views)
    }

    fn keep(&mut self) {
        self.counts.kept += 1;
        let dice = Dice::new(self.dice.next());
        let future = Box::pin(keeper::keep(self.lake(), dice));
        self.client(format!("keeper {}", self.counts.kept), false, future);
    }

    fn start(&mut self) {
        self.counts.starts += 1;
        let number = self.counts.starts as u32;
        let dice = Dice::new(self.dice.next());
        let future = writer::write(Rc::clone(&self.world), self.lake(), Rc::clone(&self.script), number, dice);
        self.client(format!("writer {number}"), true, Box::pin(future));
    }

    /// Lets a client go on to its next operation; whether it ended with everything done.
    async fn step(&mut self, index: usize, trouble: bool) -> Result<bool, Broken> {
        self.counts.steps += 1;
        if self.counts.steps > u64::from(STEPS_MAX) {
            return Err(format!("no end after {STEPS_MAX} steps"));
        }
        let name = self.clients[index].name.clone();
        if let Some(last) = self.clients[index].waiting.len().checked_sub(1) {
            let one = if last == 0 { 0 } else { self.dice.from(0, last as u64) };
            let request = self.clients[index].waiting.remove(one as usize);
            let what = request.what.clone();
            if trouble && self.dice.permille(self.trouble.crash) {
                self.counts.crashes += 1;
                let done = request.writes && self.dice.one_in(2);
                self.note(|| format!("{name} dies {} {what}", if done { "after" } else { "before" }));
                let mut client = self.clients.remove(index);
                if done {
                    let _ = request.answer.send(Fate::DoneAndCrash);
                    // The operation is done at once; then the client waits for ever.
                    let _ = futures::poll!(&mut client.future);
                }
                self.world.borrow_mut().check(|_| Ok(()));
                return self.verdict(false);
            }
            let fate = match trouble {
                true if self.dice.permille(self.trouble.refused) => Fate::Refused,
                true if request.writes && self.dice.permille(self.trouble.lost) => Fate::Lost,
                _ => Fate::Done,
            };
            self.counts.lost += u64::from(fate == Fate::Lost);
            self.note(|| format!("{name}: {what}: {fate:?}"));
            let _ = request.answer.send(fate);
        }
        let client = &mut self.clients[index];
        // Only the client that is polled asks for anything.
        let ended = tokio::select! {
            biased;
            request = self.requests.1.recv() => {
                client.waiting.extend(request);
                None
            }
            ended = &mut client.future => Some(ended),
            () = std::future::ready(()), if !client.waiting.is_empty() => None,
        };
        client.waiting.extend(std::iter::from_fn(|| self.requests.1.try_recv().ok()));
        self.world.borrow_mut().check(|_| Ok(()));
        let Some(ended) = ended else { return self.verdict(false) };
        let writes = self.clients.remove(index).writes;
        match &ended {
            Err(error) if error.is_fenced() => self.counts.fenced += 1,
            Err(_) => self.counts.failed += 1,
            Ok(()) => {}
        }
        self.note(|| format!("{name} ends: {ended:?}"));
        self.verdict(writes && ended.is_ok())
    }

    fn verdict<T>(&self, value: T) -> Result<T, Broken> {
        self.world.borrow_mut().broken.take().map_or(Ok(value), Err)
    }

    fn note(&mut self, what: impl FnOnce() -> String) {
        if let Some(trace) = &mut self.trace {
            trace.push(what());
        }
    }
}

/// The offsets of a partition.
fn partition(dice: &mut Dice) -> Vec<Entry> {
    let entry = |dice: &mut Dice| match dice.from(0, 9) {
        0 => Entry::Aborted,
        1 => Entry::Late,
        _ => Entry::Record,
    };
    (0..dice.from(2, 10)).map(|_| entry(dice)).collect()
}

/// A lake in a simulated store.
fn lake(store: SimulatedStore, views: &[&str]) -> Lake {
    let storage = Storage { objects: Some(Arc::new(store)), retry_after: Duration::ZERO };
    let views: BTreeMap<String, String> = views.iter().map(|view| (view.to_string(), HASH.to_owned())).collect();
    Lake {
        path: PathBuf::from("simulated"),
        settings: settings(),
        named: views.clone(),
        views,
        voids: Default::default(),
        rebuilding: false,
        new_zones: BTreeSet::new(),
        storage,
    }
}

/// A lake whose tables are made and empty: making them is delta-rs's part, and slow.
struct Template {
    views: &'static [&'static str],
    objects: InMemory,
    entries: Vec<store::Applied>,
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().build().expect("a runtime can be made")
}

fn template(views: &'static [&'static str]) -> Template {
    let shared = Arc::new(Shared { objects: InMemory::new(), applied: Mutex::new(Vec::new()) });
    let (requests, mut waiting) = mpsc::unbounded_channel();
    runtime().block_on(async {
        let store = SimulatedStore::new(Arc::clone(&shared), requests);
        let symbols = Symbols::new();
        let claim = Ledger::claim(lake(store, views), None, Writer::here(), &[], &symbols);
        tokio::pin!(claim);
        // Until the first claim: only the tables are made then.
        while shared.applied.lock().expect("no panic while locked").len() < 2 + views.len() {
            tokio::select! {
                request = waiting.recv() => { let _ = request.expect("it is open").answer.send(Fate::Done); }
                _ = &mut claim => panic!("claimed before the tables were made"),
            }
        }
    });
    let entries = std::mem::take(&mut *shared.applied.lock().expect("no panic while locked"));
    Template { views, objects: shared.objects.fork(), entries }
}

/// Runs one schedule; what is wrong, if anything.
fn schedule(seed: u64, template: &Template, runtime: &tokio::runtime::Runtime) -> Result<Counts, Broken> {
    let mut schedule = Schedule::new(seed, template, false);
    caught(|| runtime.block_on(schedule.run())).map(|()| schedule.counts)
}

/// A panic of the ledger is a broken schedule too.
fn caught(run: impl FnOnce() -> Result<(), Broken>) -> Result<(), Broken> {
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(run));
    result.unwrap_or_else(|_| Err("the ledger panicked".to_owned()))
}

/// Runs a schedule again and writes down what happens.
fn replay(seed: u64, template: &Template) -> (Result<(), Broken>, String) {
    let mut schedule = Schedule::new(seed, template, true);
    let result = caught(|| runtime().block_on(schedule.run()));
    (result, schedule.trace.unwrap_or_default().join("\n"))
}

/// Runs schedules from seed 1 on all cores; the first that breaks ends it.
fn search(views: &'static [&'static str], schedules: u64, bug: Option<Bug>) -> Result<Counts, (u64, Broken)> {
    let (next, total) = (AtomicU64::new(1), Mutex::new(Ok(Counts::default())));
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                PLANTED.set(bug);
                let (template, runtime) = (template(views), runtime());
                loop {
                    let seed = next.fetch_add(1, Ordering::SeqCst);
                    if seed > schedules {
                        return;
                    }
                    let result = schedule(seed, &template, &runtime);
                    let mut total = total.lock().expect("no panic while locked");
                    match (result, total.as_mut()) {
                        (Ok(counts), Ok(sum)) => sum.add(counts),
                        (Err(broken), Ok(_)) => *total = Err((seed, broken)),
                        (_, Err(_)) => return,
                    }
                }
            });
        }
    });
    total.into_inner().expect("no thread panicked")
}

fn variable(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}: {text:?} is no number")))
}

#[test]
fn every_schedule_keeps_every_record_exactly_once() {
    if let Some(seed) = variable("BIDSTREAM_SIM_SEED") {
        let (result, trace) = replay(seed, &template(&VIEWS));
        println!("{trace}");
        return result.unwrap_or_else(|broken| panic!("seed {seed}: {broken}"));
    }
    let (schedules, started) = (variable("BIDSTREAM_SIM_SCHEDULES").unwrap_or(SCHEDULES), Instant::now());
    let counts = search(&VIEWS, schedules, None).unwrap_or_else(|(seed, broken)| {
        panic!(
            "seed {seed}: {broken}\nBIDSTREAM_SIM_SEED={seed} replays it; this is what happened:\n{}",
            replay(seed, &template(&VIEWS)).1
        )
    });
    println!("{counts:?} in {:.1?}", started.elapsed());
    assert_eq!(counts.schedules, schedules);
    // Without these the schedules would prove little.
    let wanted = schedules / 10;
    for (what, times) in [
        ("answers lost", counts.lost),
        ("writers crashed", counts.crashes),
        ("writers fenced", counts.fenced),
        ("replays into sinks", counts.replays),
        ("housekeeping", counts.kept),
    ] {
        assert!(times >= wanted, "{what}: only {times} times in {schedules} schedules");
    }
}

#[test]
fn schedules_over_all_views_are_in_order() {
    static ALL: LazyLock<Vec<&str>> = LazyLock::new(|| view::SINKS.iter().map(|(sink, _)| *sink).collect());
    let counts = search(&ALL, SCHEDULES_OF_ALL, None)
        .unwrap_or_else(|(seed, broken)| panic!("seed {seed}: {broken}\n{}", replay(seed, &template(&ALL)).1));
    assert_eq!(counts.schedules, SCHEDULES_OF_ALL);
}

#[test]
fn a_seed_replays_its_history() {
    let template = template(&VIEWS);
    for seed in 1..=40 {
        let (first, second) = (replay(seed, &template), replay(seed, &template));
        assert_eq!(first, second, "seed {seed}");
    }
}

#[test]
fn a_planted_bug_is_found_and_replayed() {
    for bug in [Bug::UnseenFence, Bug::MissingFilter, Bug::ForgottenAnswer, Bug::StaleCompaction] {
        let Err((seed, broken)) = search(&VIEWS, 2_000, Some(bug)) else { panic!("{bug:?} is not found") };
        println!("{bug:?}: found at seed {seed}: {broken}");
        PLANTED.set(Some(bug));
        let (replayed, _) = replay(seed, &template(&VIEWS));
        assert_eq!(replayed.unwrap_err(), broken, "seed {seed} replays another history");
        PLANTED.set(None);
        assert_eq!(replay(seed, &template(&VIEWS)).0, Ok(()), "without the bug, seed {seed} is in order");
    }
}
