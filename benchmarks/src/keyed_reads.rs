//! Reads of keyed records beside the worker that changes them.
//!
//! An open loop: reads are due at fixed moments, and one that has to wait for the read before it counts from when it was due. How late
//! the reader's thread wakes is the system's doing, and told apart.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use differential_dataflow::input::InputSession;
use operators::{Hub, Keyed, RecordsView, TooOld, keyed_published};
use timely::dataflow::ProbeHandle;
use timely::dataflow::operators::Probe;

use crate::machine::thread_cpu;
use crate::runs::{LOOKUPS, Measured};

/// How far ticks lie apart.
const TICK: Duration = Duration::from_millis(10);
/// How far the moments lie apart at which reads are due.
const READ_EVERY: Duration = Duration::from_micros(200);
/// Counts of a record: as many as a visitor of some campaigns has.
const COUNTS: u64 = 8;

/// Counts by key, each of one of a few kinds: a small record that is visited with each event.
struct Counts;

/// Kind and count in one number each, in order.
type Record = Vec<u64>;

impl Keyed for Counts {
    type Key = u64;
    type Event = u64;
    type Record = Record;
    type Output = ();

    fn on_event(
        &mut self,
        _: u64,
        counts: &mut Record,
        kind: &u64,
        diff: isize,
        _: u64,
        _: &mut impl FnMut((), isize),
    ) {
        match counts.binary_search_by_key(kind, |count| count >> 32) {
            Ok(at) => counts[at] = counts[at].wrapping_add_signed(diff as i64),
            // The first of a key counts each kind.
            Err(_) => *counts = (0..COUNTS).map(|kind| kind << 32 | 1).collect(),
        }
    }

    fn on_timer(&mut self, _: u64, _: &mut Record, _: u64, _: &mut impl FnMut((), isize)) {}

    fn due(&self, _: &Record) -> Option<u64> {
        None
    }

    fn is_empty(&self, counts: &Record) -> bool {
        counts.is_empty()
    }
}

/// What a reader and the worker beside it saw of each other.
#[derive(Clone, Debug)]
pub struct KeyedReads {
    /// The time of each read: a snapshot, and [`LOOKUPS`] records copied from it.
    pub reads: Measured,
    /// How late the reader's thread woke for a read.
    pub wakes: Measured,
    /// The time of each tick of the worker.
    pub ticks: Measured,
    /// Reads that began again, as readers had passed their tick.
    pub again: usize,
}

/// Visits `updates_per_s` of `keys` records every 10 ms while another thread reads some at a time.
pub fn keyed_reads(keys: u64, updates_per_s: u64, duration: Duration) -> KeyedReads {
    let tick_events = updates_per_s * TICK.as_millis() as u64 / 1_000;
    let hub = Hub::new(1);
    let done = Arc::new(AtomicBool::new(false));
    let reader = {
        let (hub, done) = (hub.clone(), Arc::clone(&done));
        thread::spawn(move || read(&hub, keys, &done))
    };
    let (ticks, ticks_cpu) = timely::execute_directly(move |worker| {
        let mut publisher = hub.publisher(0);
        let (mut input, probe) = (InputSession::new(), ProbeHandle::new());
        worker.dataflow::<u64, _, _>(|scope| {
            let (made, records) = keyed_published(input.to_collection(scope), "counts", Counts);
            made.inner.probe_with(&probe);
            publisher.register_records("counts", records, Arc::new(()));
        });
        (0..keys).for_each(|key| input.update((spread(key), 0), 1isize));
        let (mut ticks, mut start, mut cpu) = (Vec::new(), Instant::now(), thread_cpu());
        for tick in 1u64.. {
            let tick_start = Instant::now();
            input.advance_to(tick + 1);
            input.flush();
            while probe.less_equal(&tick) {
                worker.step();
            }
            publisher.publish();
            if tick == 1 {
                // It loads the records.
                (start, cpu) = (Instant::now(), thread_cpu());
            } else {
                ticks.push(tick_start.elapsed());
            }
            if start.elapsed() > duration {
                break;
            }
            for at in 0..tick_events {
                input.update((spread(random(tick, at) % keys), at % COUNTS), 1);
            }
            thread::sleep(TICK.saturating_sub(tick_start.elapsed()));
        }
        (ticks, thread_cpu() - cpu)
    });
    done.store(true, Ordering::Relaxed);
    let (reads, wakes, again, reads_cpu) = reader.join().expect("every read succeeds");
    let measured = |lane, tick_events, ticks: Vec<Duration>, cpu| {
        let (events, total) = (tick_events * ticks.len() as u64, ticks.iter().sum());
        Measured { lane, workers: 1, tick_events, events, ticks, total, cpu }
    };
    KeyedReads {
        reads: measured("reads of records", LOOKUPS, reads, reads_cpu),
        wakes: measured("waking for them", LOOKUPS, wakes, reads_cpu),
        ticks: measured("visits beside", tick_events, ticks, ticks_cpu),
        again,
    }
}

/// Reads until the worker is done: the time of each read, how late the thread woke, and how often it began again.
fn read(hub: &Hub, keys: u64, done: &AtomicBool) -> (Vec<Duration>, Vec<Duration>, usize, Duration) {
    while hub.snapshot().is_none() {
        thread::sleep(TICK);
    }
    let view: RecordsView<u64, Record, ()> = hub.records("counts").expect("it is published");
    let (mut reads, mut wakes, mut again, cpu) = (Vec::new(), Vec::new(), 0, thread_cpu());
    let mut due = Instant::now();
    for round in 0.. {
        let wait = due.saturating_duration_since(Instant::now());
        if !wait.is_zero() {
            thread::sleep(wait);
            wakes.push(due.elapsed());
        }
        let begins = if wait.is_zero() { due } else { Instant::now() };
        loop {
            let snapshot = hub.snapshot().expect("a tick never goes back");
            let copy = |at| snapshot.record(view, &spread(random(round, at) % keys), |_, record| record.clone());
            let found: Result<Vec<_>, TooOld> = (0..LOOKUPS).map(copy).collect();
            match found {
                Ok(found) => break assert!(found.iter().all(Option::is_some), "each key has a record at every tick"),
                Err(TooOld) => again += 1,
            }
        }
        reads.push(begins.elapsed());
        if done.load(Ordering::Relaxed) {
            break;
        }
        due += READ_EVERY;
    }
    (reads, wakes, again, thread_cpu() - cpu)
}

/// A number that looks random.
fn random(round: u64, at: u64) -> u64 {
    spread(round.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ at.wrapping_mul(0xd6e8_feb8_6659_fd93))
}

/// Another number for each number, spread evenly: keys are hashes in real life.
fn spread(number: u64) -> u64 {
    let mixed = (number ^ number >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ mixed >> 31
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readers_find_all_records() {
        let read = keyed_reads(1_000, 10_000, Duration::from_millis(300));
        assert!(read.reads.ticks.len() > 10 && !read.ticks.ticks.is_empty());
    }
}
