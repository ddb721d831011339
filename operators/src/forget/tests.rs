//! Results against recomputation, whether merges run or not, and how many rows stay.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};

use differential_dataflow::input::InputSession;
use differential_dataflow::trace::{
    Batch, BatchReader, Builder, Cursor, Description, ExertionLogic, Merger, Navigable, TraceReader,
};
use proptest::prelude::*;
use timely::dataflow::operators::probe::Handle;
use timely::progress::Antichain;

use super::batch::SAMPLE_MAX;
use super::*;
use crate::publish::{Hub, View};
use crate::reduce;
use crate::shared::{SharedValSpine, arrange_shared};

/// How long after a cause an effect finds it.
const WINDOW: u64 = 8;
/// How long after its event time a record may come, or be withdrawn.
const LATENESS: u64 = 4;

/// A cause or an effect: its event time, its id, and when nothing can find it any more.
type Event = (u64, u8, u64);
/// The key of an effect's matches: join key, event time, id, expiry.
type Effect = (u8, u64, u8, u64);

impl Expires<u64> for Event {
    fn expiry(&self) -> u64 {
        self.2
    }
}

impl Expires<u64> for Effect {
    fn expiry(&self) -> u64 {
        self.3
    }
}

/// When an effect that comes within the lateness can no longer find the cause.
fn cause((event_time, id): (u64, u8)) -> Event {
    (event_time, id, event_time + WINDOW + LATENESS + 1)
}

/// When nothing that comes within the lateness can precede the effect.
fn effect((event_time, id): (u64, u8)) -> Event {
    (event_time, id, event_time + LATENESS + 1)
}

/// What comes at a tick: join key, whether an effect, event time and id, difference.
type Record = (u8, bool, (u64, u8), i64);
/// The records of each tick.
type Script = BTreeMap<u64, Vec<Record>>;
/// Of each effect its last cause and how many it has.
type Found = BTreeMap<(u8, u64, u8), ((u64, u8), i64)>;

/// When the traces merge.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Merging {
    /// Everything, after every step.
    Eager,
    /// As they see fit.
    Alone,
    /// Not at all, though `since` moves on.
    Held,
}

/// The results at each tick of a script: by the dataflow, its effects expiring `early` by so much.
fn streamed(script: &Script, merging: Merging, workers: usize, early: u64) -> BTreeMap<u64, Found> {
    let mut worker_config = timely::WorkerConfig::default();
    if merging == Merging::Eager {
        let all: ExertionLogic = Arc::new(|layers| {
            let batches: usize = layers.iter().map(|(_, count, _)| count).sum();
            (batches > 1).then_some(1 << 16)
        });
        worker_config.set("differential/default_exert_logic".to_owned(), all);
    }
    let config = timely::Config { communication: timely::CommunicationConfig::Process(workers), worker: worker_config };
    let (changes, received) = channel();
    let fed = script.clone();
    let guards = timely::execute(config, move |worker| {
        drive(worker, &fed, merging, early, changes.clone());
    });
    guards.expect("workers start").join().into_iter().for_each(|end| end.expect("no worker panics"));

    let changes: Vec<((Effect, ((u64, u8), i64)), u64, i64)> = received.try_iter().collect();
    let found = |tick: &u64| {
        let mut sums: BTreeMap<_, i64> = BTreeMap::new();
        for (((key, event_time, id, _), best), _, diff) in changes.iter().filter(|(_, at, _)| at <= tick) {
            *sums.entry(((*key, *event_time, *id), *best)).or_default() += diff;
        }
        let mut found = Found::new();
        for ((effect, best), sum) in sums.into_iter().filter(|(_, sum)| *sum != 0) {
            assert_eq!(sum, 1, "{effect:?} {best:?}");
            assert_eq!(found.insert(effect, best), None, "{effect:?} twice");
        }
        found
    };
    script.keys().map(|tick| (*tick, found(tick))).collect()
}

fn drive(
    worker: &mut timely::worker::Worker,
    script: &Script,
    merging: Merging,
    early: u64,
    changes: Sender<((Effect, ((u64, u8), i64)), u64, i64)>,
) {
    let (mut causes, mut effects) = (InputSession::new(), InputSession::new());
    let probe = Handle::new();
    let mut held: Vec<Box<dyn FnMut(u64)>> = worker.dataflow(|scope| {
        let causes = arrange_forgetting(causes.to_collection(scope), "Causes", ByVal);
        let effects = arrange_forgetting(effects.to_collection(scope), "Effects", ByVal);
        let holds = (hold(causes.trace.clone()), hold(effects.trace.clone()));
        let matches = causes.join_core(effects, move |key: &u8, cause: &Event, effect: &Event| {
            let elapsed = effect.0.checked_sub(cause.0);
            let matches = elapsed.is_some_and(|elapsed| elapsed <= WINDOW);
            // The arrangements alone forget too early.
            matches.then_some(((*key, effect.0, effect.1, effect.2 + early), (cause.0, cause.1)))
        });
        let best = reduce(matches, "Best", |_, causes, output| {
            let (last, _) = causes.last().expect("a key has input");
            output.push(((**last, causes.iter().map(|(_, count)| count).sum::<i64>()), 1i64));
        });
        best.inspect(move |change| changes.send(*change).expect("the test receives")).probe_with(&probe);
        if merging == Merging::Held { vec![holds.0, holds.1] } else { Vec::new() }
    });
    for (tick, records) in script {
        let share = records.iter().skip(worker.index()).step_by(worker.peers());
        causes.advance_to(*tick);
        effects.advance_to(*tick);
        for (key, is_effect, event, diff) in share {
            if *is_effect {
                let (event_time, id, expiry) = effect(*event);
                effects.update((*key, (event_time, id, expiry - early)), *diff);
            } else {
                causes.update((*key, cause(*event)), *diff);
            }
        }
        causes.advance_to(tick + 1);
        effects.advance_to(tick + 1);
        causes.flush();
        effects.flush();
        worker.step_while(|| probe.less_than(&(tick + 1)));
        held.iter_mut().for_each(|advance| advance(tick + 1));
    }
}

/// Keeps a trace from merging; what it returns moves its `since`.
fn hold<Tr: TraceReader<Time = u64> + 'static>(mut trace: Tr) -> Box<dyn FnMut(u64)> {
    Box::new(move |since| trace.set_logical_compaction(Antichain::from_elem(since).borrow()))
}

/// The same by adding up all records.
fn recomputed(script: &Script) -> BTreeMap<u64, Found> {
    let mut counts: BTreeMap<(u8, bool, (u64, u8)), i64> = BTreeMap::new();
    let mut results = BTreeMap::new();
    for (tick, records) in script {
        for (key, is_effect, event, diff) in records {
            *counts.entry((*key, *is_effect, *event)).or_default() += diff;
        }
        let mut found = Found::new();
        for ((key, _, event), count) in counts.iter().filter(|((_, is_effect, _), count)| *is_effect && **count > 0) {
            let causes: Vec<_> = counts
                .range((*key, false, (event.0.saturating_sub(WINDOW), 0))..=(*key, false, (event.0, u8::MAX)))
                .filter(|(_, count)| **count > 0)
                .collect();
            if let Some(((_, _, last), _)) = causes.as_slice().last() {
                let total: i64 = causes.iter().map(|(_, causes)| **causes * count).sum();
                found.insert((*key, event.0, event.1), (*last, total));
            }
        }
        results.insert(*tick, found);
    }
    results
}

/// Records within the lateness, some of them withdrawn within it, at growing ticks.
fn script() -> impl Strategy<Value = Script> {
    let record =
        (0..3u8, any::<bool>(), 0..=LATENESS, 0..3u8, prop::option::weighted(0.3, any::<prop::sample::Index>()));
    let step = (1..6u64, prop::collection::vec(record, 0..8));
    prop::collection::vec(step, 1..24).prop_map(|steps| {
        let mut script = Script::new();
        let mut present: Vec<(u8, bool, (u64, u8))> = Vec::new();
        let mut tick = LATENESS;
        for (wait, drawn) in steps {
            tick += wait;
            let records: &mut Vec<Record> = script.entry(tick).or_default();
            present.retain(|(_, _, event)| event.0 + LATENESS >= tick);
            for (key, is_effect, late, id, withdraw) in drawn {
                if let Some(index) = withdraw.filter(|_| !present.is_empty()) {
                    let (key, is_effect, event) = present.swap_remove(index.index(present.len()));
                    records.push((key, is_effect, event, -1));
                } else {
                    let event = (tick - late, id);
                    present.push((key, is_effect, event));
                    records.push((key, is_effect, event, 1));
                }
            }
        }
        script
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn results_do_not_depend_on_merges(script in script(), workers in 1..3usize) {
        let expected = recomputed(&script);
        for merging in [Merging::Eager, Merging::Alone, Merging::Held] {
            prop_assert_eq!(&streamed(&script, merging, workers, 0), &expected, "{:?}", merging);
        }
    }
}

/// Shows that the comparison above can fail: an expiry one tick before the promise is seen, but only where merges run.
#[test]
fn an_expiry_that_is_too_early_changes_results() {
    let latest_tick = 10 + LATENESS;
    let mut script = Script::from([(10, vec![(1, true, (10, 1), 1)])]);
    script.extend((11..latest_tick).map(|tick| (tick, vec![])));
    script.insert(latest_tick, vec![(1, false, (10, 2), 1)]);
    let expected = recomputed(&script);
    assert_eq!(expected[&latest_tick].len(), 1);
    assert_eq!(streamed(&script, Merging::Eager, 1, 0), expected);
    assert_eq!(streamed(&script, Merging::Held, 1, 1), expected);
    assert_ne!(streamed(&script, Merging::Eager, 1, 1), expected);
}

type Batch8 = ForgettingBatch<((u8, Event), u64, i64), ByVal>;

/// A batch of the ticks from `lower` to `upper`, of rows (key, expiry) at `lower`.
fn batch(lower: u64, upper: u64, rows: &[(u8, u64)]) -> Batch8 {
    let mut chunk: Vec<_> = rows.iter().map(|(key, expiry)| ((*key, (0, 0, *expiry)), lower, 1i64)).collect();
    chunk.sort();
    let (lower, upper) = (Antichain::from_elem(lower), Antichain::from_elem(upper));
    let since = Antichain::from_elem(0);
    ForgettingBuilder::seal(&mut vec![chunk], Description::new(lower, upper, since))
}

fn merged(source1: &Batch8, source2: &Batch8, since: u64) -> Batch8 {
    let mut merger = source1.begin_merge(source2, Antichain::from_elem(since).borrow());
    merger.work(source1, source2, &mut isize::MAX.clone());
    merger.done()
}

/// The rows of a batch, as [`batch`] takes them.
fn rows(batch: &Batch8) -> Vec<(u8, u64)> {
    let mut rows = Vec::new();
    let mut cursor = batch.cursor();
    while let Some(key) = cursor.get_key(batch) {
        while let Some(val) = cursor.get_val(batch) {
            rows.push((*key, val.2));
            cursor.step_val(batch);
        }
        cursor.step_key(batch);
    }
    rows
}

#[test]
fn a_merge_drops_what_has_expired() {
    // Both sources, one key in both, a tail of one source alone, a row that expires at the end of time.
    let older = batch(0, 10, &[(1, 20), (1, 30), (2, 20), (3, u64::MAX)]);
    let newer = batch(10, 20, &[(1, 20), (1, 31), (4, 20), (5, 19), (6, 21), (7, 20)]);
    let both = merged(&older, &newer, 20);
    assert_eq!(rows(&both), [(1, 30), (1, 31), (3, u64::MAX), (6, 21)]);
    assert_eq!(both.len(), 4);
    let description = (both.lower().clone(), both.upper().clone(), both.description().since().clone());
    assert_eq!(description, (Antichain::from_elem(0), Antichain::from_elem(20), Antichain::from_elem(20)));

    assert_eq!(rows(&merged(&older, &newer, 18)).len(), 9);
}

#[test]
fn a_merge_that_drops_everything_is_an_empty_batch() {
    let none = merged(&batch(0, 10, &[(1, 5), (2, 9)]), &batch(10, 20, &[(2, 12)]), 15);
    assert!(none.is_empty() && rows(&none).is_empty());
    assert_eq!((none.lower(), none.upper()), (&Antichain::from_elem(0), &Antichain::from_elem(20)));
    assert_eq!(none.expired(&100), 0);
    let next = batch(20, 30, &[(3, 40)]);
    assert_eq!(rows(&merged(&none, &next, 20)), [(3, 40)]);
    assert_eq!(rows(&merged(&batch(0, 0, &[]), &batch(0, 20, &[(3, 40)]), 20)), [(3, 40)]);
}

#[test]
fn fuel_counts_the_rows_that_are_scanned() {
    let expired: Vec<_> = (0..200).map(|key| (key, 1)).collect();
    let (older, newer) = (batch(0, 10, &expired), batch(10, 20, &[]));
    let mut merger = older.begin_merge(&newer, Antichain::from_elem(20).borrow());
    for _ in 0..4 {
        let mut fuel = 50;
        merger.work(&older, &newer, &mut fuel);
        assert_eq!(fuel, 0, "a merge is done when fuel is left");
    }
    let mut fuel = 50;
    merger.work(&older, &newer, &mut fuel);
    assert_eq!(fuel, 50);
    assert!(merger.done().is_empty());
}

#[test]
fn the_sample_tells_how_much_has_expired() {
    let rows: Vec<_> = (0..250).flat_map(|key| [10, 20, 30, u64::MAX].map(|expiry| (key, expiry))).collect();
    let batch = batch(0, 10, &rows);
    assert!(batch.expiries.len() <= SAMPLE_MAX);
    for (since, expired) in [(9, 0), (10, 250), (19, 250), (20, 500), (u64::MAX - 1, 750)] {
        assert!(batch.expired(&since).abs_diff(expired) <= 100, "{} of {expired} at {since}", batch.expired(&since));
    }
}

/// Arranges rows of a tick each, and tells what is resident after each tick, once nothing is left to do.
struct Bench<Tr: TraceReader<Time = u64>> {
    worker: timely::worker::Worker,
    input: InputSession<u64, (u32, Event), i64>,
    trace: Tr,
}

impl<Tr: TraceReader<Time = u64>> Bench<Tr> {
    /// Ends the tick; returns the resident rows.
    fn end_of(&mut self, tick: u64) -> usize {
        self.input.advance_to(tick + 1);
        self.input.flush();
        let now = Antichain::from_elem(tick + 1);
        // Enough for any merge of these tests to come to its end.
        for _ in 0..200 {
            self.worker.step();
            self.trace.set_logical_compaction(now.borrow());
            self.trace.set_physical_compaction(now.borrow());
        }
        assert_eq!(self.worker.activations().borrow().empty_for(), None, "the trace has come to rest");
        let mut resident = 0;
        self.trace.map_batches(|batch| resident += batch.len());
        resident
    }
}

fn forgetting(
    then: impl FnOnce(&mut Bench<TraceAgent<SharedForgettingSpine<u32, Event, u64, i64, ByVal>>>) + Send + Sync + 'static,
) {
    timely::execute_directly(move |worker| {
        let mut input = InputSession::new();
        let trace = worker.dataflow(|scope| arrange_forgetting(input.to_collection(scope), "Rows", ByVal).trace);
        then(&mut Bench { worker: worker.clone(), input, trace });
    });
}

const TICKS: u64 = 2_000;
const ROWS_PER_TICK: u64 = 20;
const HORIZON: u64 = 200;
const LIVE: usize = (ROWS_PER_TICK * HORIZON) as usize;

fn feed<Tr: TraceReader<Time = u64>>(bench: &mut Bench<Tr>) -> usize {
    let rows = (0..TICKS).map(|tick| {
        for row in 0..ROWS_PER_TICK {
            let key = (tick * ROWS_PER_TICK + row).wrapping_mul(0x9e37_79b9_7f4a_7c15) as u32;
            bench.input.update((key, (tick, 0, tick + HORIZON)), 1);
        }
        bench.end_of(tick)
    });
    rows.max().expect("there are ticks")
}

#[test]
fn an_endless_stream_keeps_twice_the_live_rows() {
    forgetting(|bench| {
        let peak = feed(bench);
        assert!((LIVE..=LIVE * 25 / 10).contains(&peak), "{peak} rows were held where {LIVE} are live");
    });
}

#[test]
fn an_ordinary_trace_keeps_all() {
    timely::execute_directly(|worker| {
        let mut input = InputSession::new();
        let trace: TraceAgent<SharedValSpine<_, _, _, _>> =
            worker.dataflow(|scope| arrange_shared(input.to_collection(scope), "Rows").trace);
        let peak = feed(&mut Bench { worker: worker.clone(), input, trace });
        assert_eq!(peak, (TICKS * ROWS_PER_TICK) as usize);
    });
}

/// A history that is loaded as one step, with nothing after it but time.
#[test]
fn an_idle_trace_forgets() {
    forgetting(|bench| {
        // Of 40,000 rows 1,000 do not expire before the end of time.
        let expiries = (0..40_000u32).map(|row| if row % 40 == 0 { u64::MAX } else { 1 + u64::from(row * 7 % 1_000) });
        let expiries: Vec<u64> = expiries.collect();
        for (row, expiry) in expiries.iter().enumerate() {
            bench.input.update((row as u32, (0, 0, *expiry)), 1);
        }
        for tick in 0..1_100 {
            let resident = bench.end_of(tick);
            let live = expiries.iter().filter(|expiry| **expiry > tick + 1).count();
            assert!((live..=live * 25 / 10).contains(&resident), "{resident} rows held, {live} live at {tick}");
        }
    });
}

#[test]
fn an_idle_trace_forgets_all() {
    forgetting(|bench| {
        (0..40_000).for_each(|row| bench.input.update((row, (0, 0, 10)), 1));
        assert_eq!(bench.end_of(8), 40_000);
        assert_eq!(bench.end_of(9), 0);
    });
}

/// What has expired, but may not be merged, is no reason to try again and again.
#[test]
fn a_trace_that_may_not_merge_comes_to_rest() {
    forgetting(|bench| {
        let held = bench.trace.clone();
        (0..10_000).for_each(|row| bench.input.update((row, (0, 0, 10)), 1));
        assert_eq!(bench.end_of(20), 10_000);
        drop(held);
        assert_eq!(bench.end_of(21), 0);
    });
}

/// A reader on another thread finds the rows that have not expired, and skips those that have.
#[test]
fn a_trace_that_forgets_is_published() {
    let hub = Hub::new(1);
    let on_worker = hub.clone();
    timely::execute_directly(move |worker| {
        let mut publisher = on_worker.publisher(0);
        let mut input = InputSession::new();
        worker.dataflow(|scope| {
            publisher.register("rows", arrange_forgetting(input.to_collection(scope), "Rows", ByVal).trace);
        });
        for tick in 0..100 {
            input.update((1u32, (tick, 0, tick + 10)), 1i64);
            input.advance_to(tick + 1);
            input.flush();
            while publisher.publish() != Some(tick) {
                worker.step();
            }
        }
    });
    type Rows = SharedForgettingBatch<u32, Event, u64, i64, ByVal>;
    let rows: View<Rows> = hub.view("rows").expect("it is registered");
    let reader = std::thread::spawn(move || {
        let snapshot = hub.snapshot().expect("it is published");
        assert_eq!(snapshot.tick(), 99);
        assert!(snapshot.updates(rows) < 30, "{} of 100 rows are held", snapshot.updates(rows));
        let found = snapshot.get(rows, &1).into_iter().map(|(row, _)| row);
        found.filter(|row| !row.expired(&snapshot.tick())).map(|row| row.0).collect::<Vec<_>>()
    });
    assert_eq!(reader.join().expect("the reader reads"), (90..100).collect::<Vec<_>>());
}
