//! Readers on other threads against recomputation, and who frees what.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};

use differential_dataflow::input::InputSession;
use proptest::prelude::*;
use timely::dataflow::ProbeHandle;
use timely::dataflow::operators::Probe;

use super::*;
use crate::shared::{arrange_shared, reduce_shared};

type Rows = ValView<u8, u8, i64>;
type Sums = ValView<u8, i64, i64>;
type Keys = ValView<u8, (), i64>;

/// The updates of each tick, in order.
type Script = Vec<Vec<(u8, u8, i64)>>;

/// What a reader saw.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Seen {
    tick: u64,
    rows: BTreeMap<(u8, u8), i64>,
    sums: BTreeMap<u8, i64>,
    keys: BTreeMap<u8, i64>,
}

impl Seen {
    fn of(snapshot: &Snapshot, rows: Rows, sums: Sums, keys: Keys) -> Seen {
        let mut seen =
            Seen { tick: snapshot.tick(), rows: BTreeMap::new(), sums: BTreeMap::new(), keys: BTreeMap::new() };
        snapshot.for_each(rows, |key, val, diff| {
            assert_eq!(seen.rows.insert((*key, *val), diff), None);
            ControlFlow::Continue(())
        });
        snapshot.for_each(sums, |key, sum, diff| {
            assert_eq!(diff, 1);
            assert_eq!(seen.sums.insert(*key, *sum), None);
            ControlFlow::Continue(())
        });
        snapshot.for_each(keys, |key, (), diff| {
            assert_eq!(seen.keys.insert(*key, diff), None);
            ControlFlow::Continue(())
        });
        let mut visits = 0;
        snapshot.for_each(rows, |_, _, _| {
            visits += 1;
            ControlFlow::Break(())
        });
        assert_eq!(visits, seen.rows.len().min(1), "a visitor who has had enough is left alone");
        for key in 0..=KEY_MAX {
            let found: Vec<_> =
                seen.rows.range((key, 0)..=(key, u8::MAX)).map(|((_, val), diff)| (*val, *diff)).collect();
            assert_eq!(snapshot.get(rows, &key), found, "lookup and iteration differ");
        }
        seen
    }

    /// The same from the script, by adding up.
    fn recomputed(script: &Script, tick: u64) -> Seen {
        let mut rows = BTreeMap::new();
        for (key, val, diff) in script.iter().take(tick.saturating_add(1) as usize).flatten() {
            *rows.entry((*key, *val)).or_default() += diff;
        }
        rows.retain(|_, diff| *diff != 0);
        let mut sums = BTreeMap::new();
        for ((key, _), diff) in &rows {
            *sums.entry(*key).or_default() += diff;
        }
        let keys = sums.iter().filter(|(_, sum)| **sum != 0).map(|(key, sum)| (*key, *sum)).collect();
        Seen { tick, rows, sums, keys }
    }
}

const KEY_MAX: u8 = 12;

/// Plays a script on some workers, publishing after every step, with a reader beside; returns all that was seen.
fn play(script: &Script, workers: usize, hold: usize) -> Vec<Seen> {
    let hub = Hub::new(workers);
    let done = Arc::new(AtomicBool::new(false));
    let reader = {
        let (hub, done) = (hub.clone(), Arc::clone(&done));
        thread::spawn(move || {
            let mut held: Vec<(Snapshot, Seen)> = Vec::new();
            let mut all = Vec::new();
            let mut last = false;
            while !last {
                last = done.load(Ordering::SeqCst);
                if let Some(snapshot) = hub.snapshot() {
                    let (rows, sums, keys) =
                        (hub.view("rows").unwrap(), hub.view("sums").unwrap(), hub.view("keys").unwrap());
                    let seen = Seen::of(&snapshot, rows, sums, keys);
                    all.push(seen.clone());
                    held.push((snapshot, seen));
                    if held.len() > hold {
                        let (snapshot, seen) = held.remove(0);
                        assert_eq!(Seen::of(&snapshot, rows, sums, keys), seen, "a held snapshot changed");
                    }
                }
            }
            all
        })
    };
    let (on_worker, played) = (hub.clone(), script.clone());
    let guards = timely::execute(timely::Config::process(workers), move |worker| {
        let mut publisher = on_worker.publisher(worker.index());
        let mut input = InputSession::new();
        let probe = ProbeHandle::new();
        worker.dataflow::<u64, _, _>(|scope| {
            let rows = input.to_collection(scope);
            let arranged = arrange_shared(rows.clone(), "Rows");
            publisher.register("rows", arranged.trace.clone());
            let sums = reduce_shared(arranged, "Sums", |_, rows, output: &mut Vec<(i64, i64)>| {
                output.push((rows.iter().map(|(_, diff)| diff).sum(), 1));
            });
            publisher.register("sums", sums.trace.clone());
            let keys = arrange_shared(rows.map(|(key, _)| (key, ())), "Keys");
            publisher.register("keys", keys.trace);
            sums.stream.probe_with(&probe);
        });
        for (tick, updates) in played.iter().enumerate() {
            for (at, (key, val, diff)) in updates.iter().enumerate() {
                if at % worker.peers() == worker.index() {
                    input.update((*key, *val), *diff);
                }
            }
            input.advance_to(tick as u64 + 1);
            input.flush();
            // Workers run up to three ticks ahead of each other.
            while tick > 3 && probe.less_than(&(tick as u64 - 3)) {
                worker.step();
                publisher.publish();
            }
        }
        while publisher.publish() != Some(played.len() as u64 - 1) {
            worker.step();
        }
    });
    drop(guards.unwrap().join());
    done.store(true, Ordering::SeqCst);
    reader.join().unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// Whatever the updates, their split into ticks and the number of workers: a snapshot is the sum up to its tick,
    /// in all views alike, also when it is read again later.
    #[test]
    fn snapshots_equal_recomputation(
        script in prop::collection::vec(
            prop::collection::vec((0..KEY_MAX, 0..5u8, -2..3i64), 0..20),
            1..60,
        ),
        workers in 1..4usize,
        hold in 0..8usize,
    ) {
        let seen = play(&script, workers, hold);
        prop_assert_eq!(seen.last().unwrap().tick, script.len() as u64 - 1);
        prop_assert!(seen.windows(2).all(|pair| pair[0].tick <= pair[1].tick), "a tick went back");
        for seen in seen {
            let expected = Seen::recomputed(&script, seen.tick);
            prop_assert_eq!(seen, expected);
        }
    }
}

/// A snapshot of the first tick stays what it was while rows come and go; what is newly published stays small.
#[test]
fn compaction_goes_on_while_a_snapshot_is_held() {
    let hub = Hub::new(1);
    let on_worker = hub.clone();
    timely::execute_directly(move |worker| {
        let hub = on_worker;
        let mut publisher = hub.publisher(0);
        let mut input = InputSession::new();
        let view = worker.dataflow::<u64, _, _>(|scope| {
            let rows = arrange_shared(input.to_collection(scope), "Rows");
            publisher.register("rows", rows.trace)
        });
        let mut first = None;
        for tick in 0..2_000u64 {
            for key in 0..100u64 {
                input.update((key, tick), 1i64);
                if tick > 0 {
                    input.update((key, tick - 1), -1);
                }
            }
            input.advance_to(tick + 1);
            input.flush();
            while publisher.publish() != Some(tick) {
                worker.step();
            }
            first.get_or_insert_with(|| hub.snapshot().unwrap());
        }
        let (first, last) = (first.unwrap(), hub.snapshot().unwrap());
        assert_eq!(first.get(view, &7), [(0, 1)]);
        assert_eq!(last.get(view, &7), [(1_999, 1)]);
        assert!(last.updates(view) < 2_000, "{} updates are left of 400,000", last.updates(view));
    });
}

#[test]
fn closed_views_are_complete() {
    let hub = Hub::new(1);
    let on_worker = hub.clone();
    timely::execute_directly(move |worker| {
        let mut publisher = on_worker.publisher(0);
        let mut input = InputSession::new();
        worker.dataflow::<u64, _, _>(|scope| {
            publisher.register("rows", arrange_shared(input.to_collection(scope), "Rows").trace);
        });
        assert_eq!(publisher.publish(), None, "nothing is complete yet");
        assert!(on_worker.snapshot().is_none());
        input.update_at((1u8, 2u8), u64::MAX - 1, 3i64);
        input.close();
        while publisher.publish() != Some(u64::MAX) {
            worker.step();
        }
    });
    let rows: Rows = hub.view("rows").unwrap();
    assert_eq!(hub.snapshot().unwrap().get(rows, &1), [(2, 3)]);
    assert!(hub.view::<SharedValBatch<u8, (), u64, i64>>("rows").is_none(), "another type");
    assert!(hub.view::<SharedValBatch<u8, u8, u64, i64>>("row").is_none(), "another name");
}

#[test]
#[should_panic(expected = "view 0 is columns here and rows at another worker")]
fn workers_must_agree_on_the_views() {
    let hub = Hub::new(2);
    timely::execute_directly(move |worker| {
        let mut input = InputSession::<u64, (u8, u8), i64>::new();
        worker.dataflow::<u64, _, _>(|scope| {
            let rows = arrange_shared(input.to_collection(scope), "Rows");
            hub.publisher(0).register("rows", rows.trace.clone());
            hub.publisher(1).register("columns", rows.trace);
        });
    });
}

/// Says on which thread it was dropped.
struct Witness(SyncSender<String>);

impl Drop for Witness {
    fn drop(&mut self) {
        let _ = self.0.send(thread::current().name().unwrap_or("unnamed").to_owned());
    }
}

fn witness(complete: u64) -> (Shard, Receiver<String>) {
    let (sender, dropped) = sync_channel(1);
    let batches = Arc::new(Mutex::new(Witness(sender)));
    (vec![ShardView { content: batches, updates: 0, since: 0, complete: Some(complete) }], dropped)
}

#[test]
fn the_reaper_frees_what_a_reader_held_last() {
    let hub = Hub::new(1);
    let (first, first_dropped) = witness(1);
    let (second, second_dropped) = witness(2);
    hub.swap(0, first);
    let snapshot = hub.snapshot().unwrap();
    hub.swap(0, second);
    thread::sleep(3 * REAP_INTERVAL);
    assert!(first_dropped.try_recv().is_err(), "freed under a reader");
    assert_eq!(snapshot.tick(), 1);
    drop(snapshot);
    let patience = Duration::from_secs(10);
    assert_eq!(first_dropped.recv_timeout(patience).unwrap(), "reaper");

    // The last pointer too, and it outlives the hub where a reader has it.
    let snapshot = hub.snapshot().unwrap();
    drop(hub);
    thread::sleep(3 * REAP_INTERVAL);
    assert!(second_dropped.try_recv().is_err(), "freed under a reader");
    drop(snapshot);
    assert_eq!(second_dropped.recv_timeout(patience).unwrap(), "reaper");
}

#[test]
fn a_scan_holds_what_is_published_of_its_view_alone() {
    let hub = Hub::new(1);
    let shard = |complete| {
        let (mut other, dropped) = witness(complete);
        let rows: Vec<SharedValBatch<u8, u8, u64, i64>> = Vec::new();
        other.insert(0, ShardView { content: Arc::new(rows), updates: 0, since: 0, complete: Some(complete) });
        (other, dropped)
    };
    let (first, other_dropped) = shard(1);
    hub.swap(0, first);
    let rows: Rows = View { index: 0, batch: PhantomData };
    let pinned = hub.snapshot().unwrap().pin(rows);
    hub.swap(0, shard(2).0);
    assert_eq!(other_dropped.recv_timeout(Duration::from_secs(10)).unwrap(), "reaper");
    assert_eq!(pinned.tick(), 1);
}

#[test]
fn a_shard_with_a_late_since_is_not_read() {
    let hub = Hub::new(2);
    let shard =
        |since, complete| vec![ShardView { content: Arc::new(()), updates: 0, since, complete: Some(complete) }];
    assert_eq!(hub.swap(0, shard(5, 9)), None, "a shard is missing");
    assert_eq!(hub.swap(1, shard(0, 4)), None, "worker 0 cannot tell what was at 4");
    assert_eq!(hub.swap(1, shard(0, 5)), Some(5));
    assert_eq!(hub.swap(1, shard(5, 20)), Some(9));
}
