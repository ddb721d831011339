//! One function a benchmark: it feeds lanes, takes times, and returns what was measured.
//!
//! Events are made before the clock starts, a *segment* at a time; only feeding and stepping is timed. A tick is fed
//! when the one before it is out (a closed loop), so a tick's latency is the time that the dataflow needs for it.

use std::hint::black_box;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use dataflows::params::PersonRule;
use differential_dataflow::input::InputSession;
use operators::publish::ValView;
use operators::{Hub, arrange_shared};
use schemas::event::Accepted;
use timely::Config;
use timely::dataflow::ProbeHandle;
use timely::dataflow::operators::Probe;
use timely::worker::Worker;

use crate::events::{Traffic, hot_conversion, hot_touches};
use crate::lanes::{Lane, Views, attribution, bare, ours};
use crate::machine::{Resident, thread_cpu};

/// The fewest events made ahead of the clock, so that lanes take turns often but not at every tick.
const SEGMENT_EVENTS: u64 = 100_000;

/// What a lane did in a run.
#[derive(Clone, Debug)]
pub struct Measured {
    /// The lane.
    pub lane: &'static str,
    /// Workers that shared its events.
    pub workers: usize,
    /// Events in each tick.
    pub tick_events: u64,
    /// Events in all.
    pub events: u64,
    /// The time each tick took, at the first worker, in order.
    pub ticks: Vec<Duration>,
    /// Time for all events, without the making of them.
    pub total: Duration,
    /// Time that the workers spent on a processor for them, all together.
    pub cpu: Duration,
}

/// Runs the bare lane and ours on the same events in one worker, taking turns by segments.
pub fn compare(traffic: Traffic, tick_events: u64) -> [Measured; 2] {
    take_turns(traffic, tick_events, |worker| {
        [bare(worker), attribution(worker, &Hub::new(1), PersonRule::DeviceOrUser)]
    })
}

/// As [`compare`], our lane by the older rule for who is one person and by the newer.
pub fn persons(traffic: Traffic, tick_events: u64) -> [Measured; 2] {
    take_turns(traffic, tick_events, |worker| {
        [PersonRule::DeviceElseUser, PersonRule::DeviceOrUser].map(|person| attribution(worker, &Hub::new(1), person))
    })
}

/// As [`compare`], ours: attribution alone, with the standing events, and all views.
pub fn views(traffic: Traffic, tick_events: u64) -> [Measured; 3] {
    take_turns(traffic, tick_events, |worker| {
        let person = PersonRule::DeviceOrUser;
        [Views::Attribution, Views::WithEvents, Views::All].map(|views| ours(worker, &Hub::new(1), person, views))
    })
}

/// As [`compare`], ours: with the standing events, with the views of visitors beside them, and with somebody who reads what is kept.
pub fn visitors(traffic: Traffic, tick_events: u64) -> [Measured; 4] {
    take_turns(traffic, tick_events, |worker| {
        [Views::WithEvents, Views::SomeOfVisitors, Views::OfVisitors, Views::OfVisitorsRead]
            .map(|views| ours(worker, &Hub::new(1), PersonRule::DeviceOrUser, views))
    })
}

/// By how much some views of visitors, and all, make what is resident larger after these events: one lane after the other, all kept.
pub fn visitors_bytes(traffic: Traffic, tick_events: u64) -> [u64; 2] {
    timely::execute_directly(move |worker| {
        let (mut kept, mut grown) = (Vec::new(), Vec::new());
        for views in [Views::WithEvents, Views::SomeOfVisitors, Views::OfVisitors] {
            let before = Resident::now().now_bytes;
            let mut lane = ours(worker, &Hub::new(1), PersonRule::DeviceOrUser, views);
            for first in (0..traffic.events).step_by(tick_events as usize) {
                let numbers = first..(first + tick_events).min(traffic.events);
                let events: Vec<Accepted> = numbers.map(|number| traffic.event(number)).collect();
                lane.run(worker, &events, traffic.tick(first));
            }
            kept.push(lane);
            grown.push(Resident::now().now_bytes.saturating_sub(before));
        }
        [1, 2].map(|lane| grown[lane].saturating_sub(grown[0]))
    })
}

fn take_turns<const N: usize>(
    traffic: Traffic,
    tick_events: u64,
    lanes: impl FnOnce(&mut Worker) -> [Lane; N] + Send + Sync + 'static,
) -> [Measured; N] {
    timely::execute_directly(move |worker| {
        let mut lanes = lanes(worker);
        let mut measured = lanes.each_ref().map(|lane| Measured::new(lane, 1, tick_events, traffic.events));
        for (at, segment) in segments(traffic.events, tick_events).enumerate() {
            let events: Vec<Accepted> = segment.clone().map(|number| traffic.event(number)).collect();
            for turn in 0..lanes.len() {
                let which = (turn + at) % lanes.len();
                let (cpu, mut first) = (thread_cpu(), segment.start);
                for events in events.chunks(tick_events as usize) {
                    let start = Instant::now();
                    lanes[which].run(worker, events, traffic.tick(first));
                    measured[which].ticks.push(start.elapsed());
                    first += events.len() as u64;
                }
                measured[which].cpu += thread_cpu() - cpu;
            }
        }
        measured.map(Measured::summed)
    })
}

/// Runs our lane with some workers, each feeding its share of every tick.
pub fn scale(traffic: Traffic, tick_events: u64, workers: usize) -> Measured {
    let (hub, barrier, result) = (Hub::new(workers), Arc::new(Barrier::new(workers)), Arc::new(Mutex::new(vec![])));
    let collected = Arc::clone(&result);
    let guards = timely::execute(Config::process(workers), move |worker| {
        let mut lane = attribution(worker, &hub, PersonRule::DeviceOrUser);
        let mut measured = Measured::new(&lane, workers, tick_events, traffic.events);
        let mine = worker.index() as u64..;
        for segment in segments(traffic.events, tick_events) {
            let share = |tick: u64| {
                let end = (tick + tick_events).min(segment.end);
                (tick + mine.start..end).step_by(worker.peers()).map(|number| traffic.event(number)).collect::<Vec<_>>()
            };
            let ticks: Vec<_> = segment.clone().step_by(tick_events as usize).map(|tick| (tick, share(tick))).collect();
            barrier.wait();
            let (segment_start, cpu) = (Instant::now(), thread_cpu());
            for (tick, events) in ticks {
                let start = Instant::now();
                lane.run(worker, &events, traffic.tick(tick));
                measured.ticks.push(start.elapsed());
            }
            measured.cpu += thread_cpu() - cpu;
            barrier.wait();
            measured.total += segment_start.elapsed();
        }
        collected.lock().expect("no holder panics").push((worker.index(), measured));
    });
    drop(guards.expect("workers start").join());
    let mut all: Vec<(usize, Measured)> = std::mem::take(&mut *result.lock().expect("no holder panics"));
    all.sort_by_key(|(worker, _)| *worker);
    let cpu = all.iter().map(|(_, measured)| measured.cpu).sum();
    Measured { cpu, ..all.remove(0).1 }
}

/// What a day of touches takes in memory.
#[derive(Clone, Debug)]
pub struct Memory {
    /// Touches that are live at the end.
    pub touches: u64,
    /// Resident before the dataflow was built.
    pub before: Resident,
    /// Resident after the last tick: the peak, and then.
    pub after: Resident,
    /// The run itself.
    pub measured: Measured,
}

/// Fills our lane with events and reads how much of the process is resident. Events are made one tick at a time.
pub fn memory(traffic: Traffic, tick_events: u64, person: PersonRule) -> Memory {
    timely::execute_directly(move |worker| {
        let before = Resident::now();
        let mut lane = attribution(worker, &Hub::new(1), person);
        let mut measured = Measured::new(&lane, 1, tick_events, traffic.events);
        let mut touches = 0;
        let mut events = Vec::new();
        let cpu = thread_cpu();
        for first in (0..traffic.events).step_by(tick_events as usize) {
            events.clear();
            events.extend((first..(first + tick_events).min(traffic.events)).map(|number| traffic.event(number)));
            touches += events.iter().filter(|record| record.event.event_type.is_touch()).count() as u64;
            let start = Instant::now();
            lane.run(worker, &events, traffic.tick(first));
            measured.ticks.push(start.elapsed());
        }
        measured.cpu = thread_cpu() - cpu;
        Memory { touches, before, after: Resident::now(), measured: measured.summed() }
    })
}

/// Runs a device with many touches and then its conversion: the touches' ticks, and the conversion's.
pub fn hot(touches: u64, tick_events: u64, candidates_per_hour: Option<u64>) -> (Measured, Duration) {
    timely::execute_directly(move |worker| {
        let traffic = Traffic { events: touches, users: 1, targets_per_mille: 0, in_one_go: 1, heavy_per_mille: 0 };
        let mut lane = attribution(worker, &Hub::new(1), PersonRule::DeviceOrUser);
        let mut measured = Measured::new(&lane, 1, tick_events, touches);
        let mut made = hot_touches(touches, candidates_per_hour);
        let cpu = thread_cpu();
        for first in (0..touches).step_by(tick_events as usize) {
            let events: Vec<_> = made.by_ref().take(tick_events as usize).collect();
            let start = Instant::now();
            lane.run(worker, &events, traffic.tick(first));
            measured.ticks.push(start.elapsed());
        }
        measured.cpu = thread_cpu() - cpu;
        let conversion = [hot_conversion(touches)];
        let start = Instant::now();
        lane.run(worker, &conversion, traffic.tick(touches));
        (measured.summed(), start.elapsed())
    })
}

/// What a reader and the worker beside it saw of each other.
#[derive(Clone, Debug)]
pub struct Reads {
    /// The time of each read: a snapshot, and [`LOOKUPS`] keys from it.
    pub reads: Measured,
    /// The time of each tick of the worker.
    pub ticks: Measured,
    /// The time to take and drop a snapshot, on average, by the reader alone.
    pub snapshot: Duration,
}

/// Keys that a read looks up in its snapshot.
pub const LOOKUPS: u64 = 8;

/// Updates an arrangement of `keys` keys every 10 ms, `updates_per_s` in all, while another thread reads it.
pub fn read(keys: u64, updates_per_s: u64, duration: Duration) -> Reads {
    const TICK: Duration = Duration::from_millis(10);
    let tick_events = updates_per_s * TICK.as_millis() as u64 / 1_000;
    let hub = Hub::new(1);
    let done = Arc::new(AtomicBool::new(false));
    let reader = {
        let (hub, done) = (hub.clone(), Arc::clone(&done));
        thread::spawn(move || {
            let (mut reads, cpu) = (Vec::new(), thread_cpu());
            while hub.snapshot().is_none() {
                thread::sleep(TICK);
            }
            let view: ValView<u64, u64, i64> = hub.view("keys").expect("it is published");
            for read in 0.. {
                let start = Instant::now();
                let snapshot = hub.snapshot().expect("a tick never goes back");
                let found: usize = (0..LOOKUPS).map(|at| snapshot.get(view, &key(read, at, keys)).len()).sum();
                drop(snapshot);
                reads.push(start.elapsed());
                assert_eq!(found as u64, LOOKUPS, "each key has one value at every tick");
                if done.load(Ordering::Relaxed) {
                    break;
                }
                thread::sleep(Duration::from_micros(100));
            }
            let cpu = thread_cpu() - cpu;
            let (start, rounds) = (Instant::now(), 100_000);
            (0..rounds).for_each(|_| drop(black_box(hub.snapshot())));
            (reads, cpu, start.elapsed() / rounds)
        })
    };
    let (mut ticks, ticks_cpu) = timely::execute_directly(move |worker| {
        let mut publisher = hub.publisher(0);
        let (mut input, probe) = (InputSession::new(), ProbeHandle::new());
        worker.dataflow::<u64, _, _>(|scope| {
            let keys = arrange_shared(input.to_collection(scope), "Keys");
            keys.stream.probe_with(&probe);
            publisher.register("keys", keys.trace);
        });
        let mut values = vec![0; keys as usize];
        (0..keys).for_each(|key| input.update((key, 0), 1i64));
        let (mut ticks, start, cpu) = (Vec::new(), Instant::now(), thread_cpu());
        for tick in 0u64.. {
            let tick_start = Instant::now();
            input.advance_to(tick + 1);
            input.flush();
            while probe.less_equal(&tick) {
                worker.step();
            }
            publisher.publish();
            ticks.push(tick_start.elapsed());
            if start.elapsed() > duration {
                break;
            }
            for at in 0..tick_events / 2 {
                let key = key(tick, at, keys);
                let value: &mut u64 = &mut values[key as usize];
                input.update((key, *value), -1);
                *value += 1;
                input.update((key, *value), 1);
            }
            thread::sleep(TICK.saturating_sub(tick_start.elapsed()));
        }
        (ticks, thread_cpu() - cpu)
    });
    done.store(true, Ordering::Relaxed);
    let (reads, reads_cpu, snapshot) = reader.join().expect("every read succeeds");
    // The first tick loads the keys.
    ticks.remove(0);
    let measured = |lane, tick_events, ticks: Vec<Duration>, cpu| {
        let events = tick_events * ticks.len() as u64;
        Measured { lane, workers: 1, tick_events, events, ticks, total: Duration::ZERO, cpu }.summed()
    };
    let reads = measured("reads", LOOKUPS, reads, reads_cpu);
    Reads { reads, ticks: measured("ticks beside", tick_events, ticks, ticks_cpu), snapshot }
}

/// A key that looks random.
fn key(round: u64, at: u64, keys: u64) -> u64 {
    (round.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ at.wrapping_mul(0xd6e8_feb8_6659_fd93))
        .wrapping_mul(0xbf58_476d_1ce4_e5b9)
        % keys
}

fn segments(events: u64, tick_events: u64) -> impl Iterator<Item = std::ops::Range<u64>> {
    let length = SEGMENT_EVENTS.div_ceil(tick_events) * tick_events;
    (0..events).step_by(length as usize).map(move |first| first..(first + length).min(events))
}

impl Measured {
    fn new(lane: &Lane, workers: usize, tick_events: u64, events: u64) -> Measured {
        Measured {
            lane: lane.name,
            workers,
            tick_events,
            events,
            ticks: Vec::new(),
            total: Duration::ZERO,
            cpu: Duration::ZERO,
        }
    }

    fn summed(self) -> Measured {
        Measured { total: self.ticks.iter().sum(), ..self }
    }

    /// Events per second.
    pub fn events_per_s(&self) -> f64 {
        self.events as f64 / self.total.as_secs_f64()
    }

    /// Events per second on a processor.
    pub fn events_per_cpu_s(&self) -> f64 {
        self.events as f64 / self.cpu.max(Duration::from_millis(1)).as_secs_f64()
    }

    /// The tick latency that a share of the ticks does not exceed; 1 is the longest.
    pub fn tick_latency(&self, share: f64) -> Duration {
        let mut ticks = self.ticks.clone();
        ticks.sort_unstable();
        let rank = (ticks.len() as f64 * share).ceil() as usize;
        ticks[rank.clamp(1, ticks.len()) - 1]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRAFFIC: Traffic =
        Traffic { events: 4_000, users: 400, targets_per_mille: 20, in_one_go: 1, heavy_per_mille: 0 };

    #[test]
    fn every_benchmark_runs() {
        for measured in compare(TRAFFIC, 300).into_iter().chain(persons(TRAFFIC, 300)) {
            assert_eq!(measured.ticks.len(), 14);
        }
        assert_eq!(scale(TRAFFIC, 500, 2).ticks.len(), 8);
        assert_eq!(memory(TRAFFIC, 1_000, PersonRule::DeviceElseUser).measured.ticks.len(), 4);
        assert_eq!(hot(1_000, 100, Some(5)).0.ticks.len(), 10);
        assert!(!read(1_000, 10_000, Duration::from_millis(200)).reads.ticks.is_empty());
    }

    #[test]
    fn latencies_are_ranks() {
        let ticks = (1..=100).rev().map(Duration::from_millis).collect();
        let (total, cpu) = (Duration::ZERO, Duration::ZERO);
        let measured = Measured { lane: "", workers: 1, tick_events: 1, events: 100, ticks, total, cpu };
        let measured = measured.summed();
        assert_eq!(measured.total, Duration::from_millis(5_050));
        for (share, ms) in [(0.5, 50), (0.99, 99), (0.999, 100), (1.0, 100)] {
            assert_eq!(measured.tick_latency(share), Duration::from_millis(ms));
        }
    }
}
