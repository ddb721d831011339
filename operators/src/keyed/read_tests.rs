//! Records that are read while they change, against recomputation.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use differential_dataflow::input::InputSession;
use proptest::prelude::*;
use timely::dataflow::ProbeHandle;
use timely::dataflow::operators::Probe;

use super::*;
use crate::publish::{Hub, RecordsView, Snapshot};
use crate::records::TooOld;

const KEYS: u64 = 24;
const WINDOW: Tick = 10;

/// The events of a key within the last ticks.
struct Window;

/// What is kept, and at which tick it last changed.
type Kept = (Vec<Tick>, Tick);
type View = RecordsView<u64, Kept, ()>;

impl Keyed for Window {
    type Key = u64;
    type Event = Tick;
    type Record = Kept;
    type Output = ();

    fn on_event(
        &mut self,
        _: u64,
        (events, changed): &mut Kept,
        event: &Tick,
        diff: isize,
        now: Tick,
        _: &mut impl FnMut((), isize),
    ) {
        events.extend(std::iter::repeat_n(*event, diff as usize));
        events.sort_unstable();
        *changed = now;
    }

    fn on_timer(&mut self, _: u64, (events, changed): &mut Kept, now: Tick, _: &mut impl FnMut((), isize)) {
        events.retain(|event| event + WINDOW > now);
        *changed = now;
    }

    fn due(&self, (events, _): &Kept) -> Option<Tick> {
        events.first().map(|event| event + WINDOW)
    }

    fn is_empty(&self, (events, _): &Kept) -> bool {
        events.is_empty()
    }
}

/// The events of each tick, by key.
type Script = Vec<Vec<u64>>;

/// The record of a key at a tick, from the script.
fn recomputed(script: &Script, key: u64, at: Tick) -> Option<Kept> {
    let of_tick = |tick: Tick| script.get(tick as usize).into_iter().flatten().filter(|of| **of == key).count();
    let within = (at + 1).saturating_sub(WINDOW)..=at;
    let events: Vec<Tick> = within.flat_map(|tick| std::iter::repeat_n(tick, of_tick(tick))).collect();
    let changes = |tick: &Tick| of_tick(*tick) > 0 || tick.checked_sub(WINDOW).is_some_and(|tick| of_tick(tick) > 0);
    let changed = (0..=at).rev().find(changes)?;
    (!events.is_empty()).then_some((events, changed))
}

/// How a record is read from a snapshot.
type ReadBy = fn(&Snapshot, View, u64) -> Result<Option<Kept>, TooOld>;

fn as_published(snapshot: &Snapshot, view: View, key: u64) -> Result<Option<Kept>, TooOld> {
    snapshot.record(view, &key, |_, record| record.clone())
}

/// All keys that a snapshot is asked for, or that it is too old.
fn read_all(snapshot: &Snapshot, view: View, read: ReadBy) -> Result<Vec<Option<Kept>>, TooOld> {
    (0..KEYS).map(|key| read(snapshot, view, key)).collect()
}

/// Plays a script on one worker that takes in so many ticks at a time and publishes where it says so; after each step the last
/// snapshots are read. Says what was read otherwise than it was, and how many reads were refused.
fn play(script: &Script, steps: &[(Tick, bool)], hold: usize, read: ReadBy) -> (Vec<String>, usize) {
    let (script, steps) = (script.clone(), steps.to_vec());
    timely::execute_directly(move |worker| {
        let hub = Hub::new(1);
        let mut publisher = hub.publisher(0);
        let (mut input, probe) = (InputSession::new(), ProbeHandle::new());
        let view: View = worker.dataflow::<Tick, _, _>(|scope| {
            let (made, records) = keyed_published(input.to_collection(scope), "windows", Window);
            made.inner.probe_with(&probe);
            publisher.register_records("windows", records, Arc::new(()))
        });
        let (mut held, mut wrong, mut refused): (Vec<Snapshot>, Vec<String>, usize) = (Vec::new(), Vec::new(), 0);
        let mut from: Tick = 0;
        for (ticks, publish) in steps {
            for tick in from..from + ticks {
                input.advance_to(tick);
                let events = script.get(tick as usize).into_iter().flatten();
                events.for_each(|key| input.update((*key, tick), 1));
            }
            from += ticks;
            input.advance_to(from);
            input.flush();
            worker.step_while(|| probe.less_than(&from));
            if publish {
                publisher.publish();
                held.extend(hub.snapshot());
                held.drain(..held.len().saturating_sub(hold));
            }
            for snapshot in &held {
                let at = snapshot.tick();
                match read_all(snapshot, view, read) {
                    Err(TooOld) => refused += 1,
                    Ok(found) => {
                        for (key, found) in (0..).zip(found) {
                            let is = recomputed(&script, key, at);
                            if found != is {
                                wrong.push(format!("key {key} at {at} of {from}: {found:?}, not {is:?}"));
                            }
                        }
                    }
                }
            }
        }
        (wrong, refused)
    })
}

fn scripts() -> impl Strategy<Value = Script> {
    prop::collection::vec(prop::collection::vec(0..KEYS, 0..8), 30..60)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_read_is_as_of_its_tick_or_refused(
        script in scripts(),
        steps in prop::collection::vec((1..7u64, any::<bool>()), 8..20),
        hold in 1..4usize,
    ) {
        let (wrong, _) = play(&script, &steps, hold, as_published);
        prop_assert!(wrong.is_empty(), "{wrong:?}");
    }
}

/// Events of many keys at each tick.
fn busy(ticks: u64) -> Script {
    (0..ticks).map(|tick| (0..12).map(|at| (tick * 7 + at * at * 5) % KEYS).collect()).collect()
}

#[test]
fn what_readers_see_is_never_refused_once_somebody_reads() {
    // Several ticks are applied that are not published, also such that only timers change.
    let steps: Vec<(Tick, bool)> = (0..20).map(|step| (3, step % 3 == 0)).collect();
    assert_eq!(play(&busy(50), &steps, 1, as_published), (Vec::new(), 0));
    // Others are held for longer than what is kept for them.
    let (wrong, refused) = play(&busy(50), &steps, 4, as_published);
    assert!(wrong.is_empty() && refused > 0, "{refused}: {wrong:?}");
}

#[test]
fn a_read_of_the_record_as_it_is_is_found() {
    fn as_it_is(snapshot: &Snapshot, view: View, key: u64) -> Result<Option<Kept>, TooOld> {
        snapshot.record_as_it_is(view, &key, |_, record| record.clone())
    }
    let steps: Vec<(Tick, bool)> = (0..20).map(|step| (3, step % 3 == 0)).collect();
    assert!(!play(&busy(50), &steps, 1, as_it_is).0.is_empty());
}

/// Plays a script on some workers, each at its own pace, with readers beside. Returns how often each reader read, and how often it was
/// refused.
fn race(script: &Script, workers: usize, readers: usize) -> Vec<(usize, usize)> {
    let (hub, done) = (Hub::new(workers), Arc::new(AtomicBool::new(false)));
    let read = |seed: usize| {
        let (hub, done, script) = (hub.clone(), Arc::clone(&done), script.clone());
        std::thread::spawn(move || {
            let (mut reads, mut refused, mut last, mut ended) = (0, 0, 0, false);
            let mut keys = seed as u64;
            while !ended {
                ended = done.load(Ordering::SeqCst);
                let Some(snapshot) = hub.snapshot() else { continue };
                let view: View = hub.records("windows").expect("it is published");
                let at = snapshot.tick();
                assert!(at >= last, "the tick never goes back");
                last = at;
                let of = |at: u64| (keys * 31 + at * 7) % KEYS;
                let found: Result<Vec<_>, TooOld> = (0..8).map(|at| as_published(&snapshot, view, of(at))).collect();
                match found {
                    Ok(found) => {
                        let is: Vec<_> = (0..8).map(|key| recomputed(&script, of(key), at)).collect();
                        assert_eq!(found, is, "keys of one tick, {at}");
                        reads += 1;
                    }
                    Err(TooOld) => refused += 1,
                }
                keys += 1;
            }
            (reads, refused)
        })
    };
    let readers: Vec<_> = (1..=readers).map(read).collect();
    let (on_worker, played) = (hub.clone(), script.clone());
    let failed = Arc::new(Mutex::new(None));
    let guards = timely::execute(timely::Config::process(workers), move |worker| {
        let mut publisher = on_worker.publisher(worker.index());
        let (mut input, probe) = (InputSession::new(), ProbeHandle::new());
        worker.dataflow::<Tick, _, _>(|scope| {
            let (made, records) = keyed_published(input.to_collection(scope), "windows", Window);
            made.inner.probe_with(&probe);
            publisher.register_records("windows", records, Arc::new(()));
        });
        let index = worker.index() as u64;
        for (tick, keys) in (0..).zip(&played) {
            input.advance_to(tick);
            for key in keys.iter().skip(worker.index()).step_by(worker.peers()) {
                input.update((*key, tick), 1);
            }
            input.flush();
            // So that readers read often, also where one worker has all the work.
            std::thread::sleep(std::time::Duration::from_micros(100));
            // Each steps and publishes at ticks of its own, a few ahead of the others.
            if (tick + index).is_multiple_of(2 + index) {
                worker.step();
            }
            if tick % (1 + index * 2) == 0 {
                publisher.publish();
            }
            while tick > 6 && probe.less_than(&(tick - 6)) {
                worker.step();
                if tick % 2 == 0 {
                    publisher.publish();
                }
            }
        }
        let end = played.len() as Tick;
        input.advance_to(end);
        input.flush();
        while publisher.publish() != Some(end - 1) {
            worker.step();
        }
    });
    for worker in guards.expect("workers start").join() {
        if let Err(error) = worker {
            *failed.lock().expect("no holder panics") = Some(error);
        }
    }
    done.store(true, Ordering::SeqCst);
    let seen = readers.into_iter().map(|reader| reader.join().expect("every read is as of its tick")).collect();
    assert_eq!(failed.lock().expect("no holder panics").take(), None);
    seen
}

#[test]
fn readers_see_all_keys_at_one_tick_while_workers_go_on() {
    let script = busy(500);
    for workers in [1, 2, 3] {
        for (reads, refused) in race(&script, workers, 2) {
            assert!(reads > 0, "{workers} workers: {reads} reads, {refused} refused");
        }
    }
}
