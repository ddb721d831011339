//! Timers and events against recomputation.

use std::sync::{Arc, Mutex};

use differential_dataflow::input::InputSession;
use timely::dataflow::operators::probe::Handle;

use super::*;

/// How many events a key had within the last ten ticks.
struct Recent;

impl Keyed for Recent {
    type Key = u64;
    type Event = Tick;
    type Record = (Vec<Tick>, isize);
    type Output = (u64, isize);

    fn on_event(
        &mut self,
        key: u64,
        (events, told): &mut (Vec<Tick>, isize),
        event: &Tick,
        diff: isize,
        now: Tick,
        out: &mut impl FnMut((u64, isize), isize),
    ) {
        if diff > 0 {
            events.extend(std::iter::repeat_n(*event, diff as usize));
        } else {
            let at = events.iter().position(|came| came == event);
            events.remove(at.expect("it had come"));
        }
        self.tell(key, events, told, now, out);
    }

    fn on_timer(
        &mut self,
        key: u64,
        (events, told): &mut (Vec<Tick>, isize),
        now: Tick,
        out: &mut impl FnMut((u64, isize), isize),
    ) {
        events.retain(|event| event + 10 > now);
        self.tell(key, events, told, now, out);
    }

    fn due(&self, (events, _): &(Vec<Tick>, isize)) -> Option<Tick> {
        events.iter().min().map(|event| event + 10)
    }

    fn is_empty(&self, (events, _): &(Vec<Tick>, isize)) -> bool {
        events.is_empty()
    }
}

impl Recent {
    fn tell(&self, key: u64, events: &[Tick], told: &mut isize, now: Tick, out: &mut impl FnMut((u64, isize), isize)) {
        let count = events.iter().filter(|event| **event + 10 > now).count() as isize;
        if *told > 0 {
            out((key, *told), -1);
        }
        if count > 0 {
            out((key, count), 1);
        }
        *told = count;
    }
}

/// Events of a key at their own ticks, fed in steps of so many ticks.
fn changes(events: &[(u64, Tick)], step: Tick, workers: usize) -> Vec<((u64, isize), Tick, isize)> {
    let (events, made) = (events.to_vec(), Arc::new(Mutex::new(Vec::new())));
    let collected = Arc::clone(&made);
    timely::execute(timely::Config::process(workers), move |worker| {
        let (mut input, probe, collected) = (InputSession::new(), Handle::new(), Arc::clone(&collected));
        worker.dataflow(|scope| {
            let made = keyed(input.to_collection(scope), "recent", Recent);
            made.inspect(move |change| collected.lock().unwrap().push(*change)).probe_with(&probe);
        });
        for from in (0..100).step_by(step as usize) {
            for (key, tick) in events.iter().skip(worker.index()).step_by(worker.peers()) {
                if (from..from + step).contains(tick) {
                    input.update_at((*key, *tick), *tick, 1);
                }
            }
            input.advance_to(from + step);
            input.flush();
            worker.step_while(|| probe.less_than(&(from + step)));
        }
    })
    .unwrap()
    .join()
    .into_iter()
    .for_each(|worker| worker.unwrap());
    let mut made = made.lock().unwrap().clone();
    consolidate_updates(&mut made);
    made
}

#[test]
fn no_timer_goes_off_once_the_input_is_closed() {
    assert_eq!(changes(&[(7, 80), (7, 95)], 5, 1), [((7, 1), 80, 1), ((7, 1), 90, -1), ((7, 1), 95, 1)]);
}

#[test]
fn timers_go_off_at_their_own_ticks_however_the_frontier_moves() {
    let events: Vec<(u64, Tick)> = (0..300u64).map(|n| (n * n % 7, n * 37 % 80)).collect();
    let one_by_one = changes(&events, 1, 1);
    assert!(one_by_one.iter().any(|(_, tick, _)| *tick > 80), "windows end though nothing comes");
    for tick in 0..99 {
        for key in 0..7 {
            let within = events.iter().filter(|(of, at)| *of == key && *at <= tick && at + 10 > tick).count();
            let rows = one_by_one.iter().filter(|((of, _), at, _)| *of == key && *at <= tick);
            let told: isize = rows.map(|((_, count), _, diff)| count * diff).sum();
            assert_eq!(told, within as isize, "key {key} at {tick}");
        }
    }
    for (step, workers) in [(10, 1), (100, 1), (7, 2), (100, 3)] {
        assert!(changes(&events, step, workers) == one_by_one, "steps of {step}, {workers} workers");
    }
}

#[test]
fn a_timer_holds_nothing_back() {
    assert_eq!(changes(&[(1, 5)], 50, 2), [((1, 1), 5, 1), ((1, 1), 15, -1)]);
}

/// What is done at once with each event, and again at a far tick.
struct AtOnce;

impl Keyed for AtOnce {
    type Key = u64;
    type Event = Tick;
    type Record = Option<Tick>;
    type Output = ();

    fn on_event(
        &mut self,
        _: u64,
        due: &mut Option<Tick>,
        _: &Tick,
        _: isize,
        now: Tick,
        _: &mut impl FnMut((), isize),
    ) {
        *due = Some(now);
    }

    fn on_timer(&mut self, _: u64, due: &mut Option<Tick>, now: Tick, _: &mut impl FnMut((), isize)) {
        *due = due.filter(|due| *due > now).or(Some((now / 1_000 + 1) * 1_000));
    }

    fn due(&self, due: &Option<Tick>) -> Option<Tick> {
        *due
    }

    fn is_empty(&self, due: &Option<Tick>) -> bool {
        due.is_none()
    }
}

#[test]
fn a_timer_that_is_set_again_and_again_is_one() {
    let mut table = Table::<AtOnce> { records: Records::new(), timers: BTreeMap::new() };
    let mut most = 0;
    for now in 1..2_500 {
        let mut step = table.step();
        if now % 3 == 0 {
            step.take_in(&mut AtOnce, [((7, now), now, 1)].iter(), now, &mut |(), _| {});
        }
        while step.timers.contains_key(&now) {
            step.go_off(&mut AtOnce, now, &mut |(), _| {});
        }
        most = most.max(table.timers.values().map(Vec::len).sum());
        let due = table.records.read(7u64.hashed(), &7, now, |due| *due).expect("the present");
        assert!(due.is_none_or(|due| due.is_some_and(|due| table.timers.contains_key(&due))), "at {now}");
    }
    assert_eq!(most, 1);
}
