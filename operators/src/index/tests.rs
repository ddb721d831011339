//! Found is what a join finds; contested is what shares a key.

use std::sync::{Arc, Mutex};

use differential_dataflow::consolidation::consolidate_updates;
use differential_dataflow::input::InputSession;
use proptest::prelude::*;
use serde::{Deserialize, Serialize};
use timely::Config;
use timely::dataflow::operators::probe::Handle;

use super::*;
use crate::appends::AppendInput;
use crate::segments::SEGMENT_ROWS;

/// A row or question that tells its key and expires.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
struct Datum {
    key: u64,
    value: u8,
    until: u64,
}

impl Expires<u64> for Datum {
    fn expiry(&self) -> u64 {
        self.until
    }
}

/// What refuses keys that differ, and pairs of which one comes when the other has expired.
fn pair(question: &Datum, row: &Datum) -> Option<(Datum, Datum)> {
    let (came, asked) = (row.until - LIFE, question.until - LIFE);
    (question.key == row.key && came.max(asked) < question.until.min(row.until)).then_some((*question, *row))
}

/// How long a datum can be found.
const LIFE: u64 = 100;

/// Whether it is a row, key, value, how late in its tick, difference if it is a question.
type Update = (bool, u64, u8, u64, isize);
type Answers = Vec<((Datum, Datum), u64, isize)>;

/// What is found here, and by differential's join, and how many rows were left.
fn answers(ticks: Vec<Vec<Update>>, workers: usize) -> ([Answers; 2], usize) {
    let found = Arc::new(Mutex::new([Vec::new(), Vec::new()]));
    let (all, ticks) = (Arc::clone(&found), Arc::new(ticks));
    let guards = timely::execute(Config::process(workers), move |worker| {
        let (mut questions, probe) = (InputSession::new(), Handle::new());
        let (mut input, size) = worker.dataflow::<u64, _, _>(|scope| {
            let ((input, rows), questions) = (AppendInput::new(scope), questions.to_collection(scope));
            let index = index(rows.clone(), "rows");
            let rows = rows.into_collection();
            let here = find(questions.clone(), &index, "here", pair);
            let there =
                questions.arrange_by_key().join_core(rows.arrange_by_key(), |_, question, row| pair(question, row));
            let (one, other) = (Arc::clone(&all), Arc::clone(&all));
            here.inspect(move |answer| one.lock().unwrap()[0].push(*answer)).probe_with(&probe);
            there.inspect(move |answer| other.lock().unwrap()[1].push(*answer)).probe_with(&probe);
            (input, index.size())
        });
        for (tick, updates) in (0..).map(|tick| 10 * tick).zip(&*ticks) {
            for (number, (is_row, key, value, late, diff)) in updates.iter().enumerate() {
                // Some come for later ticks.
                let time = tick + late;
                let datum = Datum { key: *key, value: *value, until: time + LIFE };
                match number % worker.peers() == worker.index() {
                    true if *is_row => input.push((*key, datum), time),
                    true => questions.update_at((*key, datum), time, *diff),
                    false => {}
                }
            }
            input.advance_to(tick + 10);
            questions.advance_to(tick + 10);
            // Not always at once.
            if tick % 30 == 0 || updates.len().is_multiple_of(2) {
                input.flush();
                worker.step();
                questions.flush();
                worker.step_while(|| probe.less_than(&(tick + 10)));
            }
        }
        drop((input, questions));
        worker.step_while(|| !probe.done());
        size.rows()
    });
    let left = guards.expect("workers start").join().into_iter().map(|rows| rows.unwrap()).sum();
    let mut found = std::mem::take(&mut *found.lock().unwrap());
    found.iter_mut().for_each(consolidate_updates);
    (found, left)
}

fn updates(keys: u64, ticks: usize) -> impl Strategy<Value = Vec<Vec<Update>>> {
    let diff = prop_oneof![3 => Just(1isize), 1 => Just(-1), 1 => Just(2)];
    let late = prop_oneof![3 => 0..10u64, 1 => 0..60u64];
    let update = (any::<bool>(), (0..keys).prop_map(|key| key << 40 | key), 0..3u8, late, diff);
    prop::collection::vec(prop::collection::vec(update, 0..80), 1..ticks)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn what_is_found_is_a_join(ticks in updates(40, 30), workers in 1..4usize) {
        let ([here, there], _) = answers(ticks, workers);
        prop_assert_eq!(here, there);
    }

    #[test]
    fn keys_with_many_rows_are_found_as_well(ticks in updates(2, 6), workers in 1..3usize) {
        let ([here, there], _) = answers(ticks, workers);
        prop_assert_eq!(here, there);
    }
}

#[test]
fn copies_that_ask_alike_ask_once_a_step() {
    const COPIES: usize = 3_000;
    let datum = |value| Datum { key: 1, value, until: 1_000 };
    let (asked, mut answers) = timely::execute_directly(move |worker| {
        let (asked, answers) = (Rc::new(RefCell::new(0)), Rc::new(RefCell::new(Vec::new())));
        let (count, found) = (Rc::clone(&asked), Rc::clone(&answers));
        let (mut questions, probe) = (InputSession::new(), Handle::new());
        let mut input = worker.dataflow::<u64, _, _>(|scope| {
            let (input, rows) = AppendInput::new(scope);
            let index = index(rows, "rows");
            let questions = questions.to_collection(scope);
            // Two that ask of one index.
            let here = find(questions.clone(), &index, "here", move |_: &Datum, row: &Datum| {
                *count.borrow_mut() += 1;
                Some(row.value)
            });
            here.inspect(move |answer| found.borrow_mut().push(*answer)).probe_with(&probe);
            find(questions, &index, "there", |_: &Datum, _: &Datum| None::<u8>).probe_with(&probe);
            input
        });
        (0..COPIES).for_each(|_| questions.update((1, datum(7)), 1isize));
        (0..3).for_each(|value| input.push((1, datum(value)), 0));
        // No rows come any more, but questions do.
        drop(input);
        questions.advance_to(1);
        questions.flush();
        worker.step_while(|| probe.less_than(&1));
        questions.update((1, datum(8)), -1);
        questions.advance_to(2);
        questions.flush();
        worker.step_while(|| probe.less_than(&2));
        (asked.take(), answers.take())
    });
    assert_eq!(asked, 6);
    answers.sort();
    let expected = (0..3).flat_map(|value| [(value, 0, COPIES as isize), (value, 1, -1)]);
    assert_eq!(answers, expected.collect::<Vec<_>>());
}

#[test]
fn expired_rows_leave_and_results_stay() {
    const A_TICK: u64 = 40;
    let ticks =
        (0..500).map(|tick| (0..A_TICK).map(|number| (number % 8 > 0, tick * 7 + number * 3, 0, 0, 1)).collect());
    let ([here, there], left) = answers(ticks.collect(), 1);
    assert!(!here.is_empty());
    assert_eq!(here, there);
    let live = (LIFE / 10 * A_TICK) as usize;
    assert!(left < 2 * live, "{left} of {live} rows");
}

/// A question that tells when it expires, and of which one can see how many there are.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Seen(u64, Arc<u8>);

impl Expires<u64> for Seen {
    fn expiry(&self) -> u64 {
        self.0
    }
}

#[test]
fn questions_leave_when_they_have_expired() {
    const TICKS: u64 = 20;
    let kept = timely::execute_directly(move |worker| {
        let mut questions = InputSession::new();
        let (mut input, probe) = worker.dataflow::<u64, _, _>(|scope| {
            let (input, rows) = AppendInput::new(scope);
            let index = index(rows, "rows");
            let questions = questions.to_collection(scope);
            (input, find(questions, &index, "answers", |_: &Seen, row: &Datum| Some(row.value)).probe().0)
        });
        let (question, mut kept) = (Arc::new(0), Vec::new());
        for tick in 0..TICKS {
            for number in 0..SEGMENT_ROWS as u64 {
                // Equal ones of a step would be asked once.
                questions.update((tick << 32 | number, Seen(tick + 3, Arc::clone(&question))), 1isize);
            }
            input.push((tick, Datum { key: tick, value: 0, until: tick + 1 }), tick);
            input.advance_to(tick + 1);
            questions.advance_to(tick + 1);
            input.flush();
            questions.flush();
            worker.step_while(|| probe.less_than(&(tick + 1)));
            kept.push(Arc::strong_count(&question) / SEGMENT_ROWS);
        }
        kept
    });
    // A segment for each tick of which the questions have not expired.
    assert!(kept.iter().skip(1).all(|segments| *segments == 2), "{kept:?}");
}

/// Schedule I of the review.
#[test]
fn a_question_that_is_asked_and_taken_back_again_and_again_is_kept_a_few_times() {
    const FLIPS: u64 = 10_000;
    let datum = |key, value| Datum { key, value, until: u64::MAX };
    let (rows, met) = (Postings::<Datum, u64>::new(), Cell::new(0));
    let answer = |question: &Datum, row: &Datum| {
        met.set(met.get() + 1);
        pair(question, row)
    };
    let mut asking = Asking { asked: Postings::new(), known: 0, answer };
    let (reader, mut found) = (asking.asked.reader(), Vec::new());
    let mut send = |_, time: u64, diff| found.push((time, diff));
    // Another of the key stands all the time.
    asking.step(vec![((1, datum(1, 0)), 0, 1)], &rows, &[], &mut send);
    for time in 1..=FLIPS {
        let diff = if time % 2 == 1 { 1 } else { -1 };
        let new_rows = [(hash(1), datum(1, 7), time)];
        asking.step(vec![((1, datum(1, 1)), time, diff)], &rows, &new_rows, &mut send);
        asking.asked.advance_and_move(reader, &time, |asked| asked.hash);
        assert!(asking.asked.len() <= 4 * SEGMENT_ROWS, "{} questions after {time} flips", asking.asked.len());
        assert!(asking.asked.list(hash(1)).count() <= 2);
    }
    assert!(met.get() <= 3 * FLIPS, "{} meetings", met.get());
    // At an even time the row meets the question, and what takes it back.
    for (time, mut expected) in [(FLIPS - 1, vec![1, 1]), (FLIPS, vec![1, 1, -1])] {
        let mut diffs: Vec<isize> = found.iter().filter(|(at, _)| *at == time).map(|(_, diff)| *diff).collect();
        diffs.sort_unstable();
        expected.sort_unstable();
        assert_eq!(diffs, expected);
    }
}

#[test]
#[should_panic(expected = "rows: 1 updates")]
#[cfg(debug_assertions)]
fn a_row_that_comes_when_it_has_expired_is_found() {
    timely::execute_directly(|worker| {
        let mut input = worker.dataflow::<u64, _, _>(|scope| {
            let (input, rows) = AppendInput::new(scope);
            index(rows, "rows");
            input
        });
        input.push((1, Datum { key: 1, value: 0, until: 4 }), 3);
        input.push((1, Datum { key: 1, value: 0, until: 4 }), 4);
        drop(input);
        while worker.step() {}
    });
}

/// What is contested of rows that come at these ticks, and of each its time; the key is a row's own.
fn contested_of(ticks: Vec<Vec<(u64, u8, u64)>>, workers: usize) -> Vec<(Datum, u64)> {
    let found = Arc::new(Mutex::new(Vec::new()));
    let (all, ticks) = (Arc::clone(&found), Arc::new(ticks));
    let guards = timely::execute(Config::process(workers), move |worker| {
        let (probe, all) = (Handle::new(), Arc::clone(&all));
        let mut input = worker.dataflow::<u64, _, _>(|scope| {
            let (input, rows) = AppendInput::new(scope);
            let contested = index(rows, "rows").contested();
            contested.inspect(move |change| all.lock().unwrap().push(*change)).probe_with(&probe);
            input
        });
        for (tick, updates) in (0..).map(|tick| 10 * tick).zip(&*ticks) {
            for (number, (key, value, late)) in updates.iter().enumerate() {
                if number % worker.peers() == worker.index() {
                    let datum = Datum { key: *key, value: *value, until: u64::MAX };
                    input.push((*key, datum), tick + late);
                }
            }
            input.advance_to(tick + 10);
            input.flush();
            while probe.less_than(&(tick + 10)) {
                worker.step();
            }
        }
    });
    drop(guards.expect("workers start").join());
    let mut found: Vec<_> = found.lock().unwrap().iter().map(|(row, time, diff)| ((*row, *time), *diff)).collect();
    assert!(found.iter().all(|(_, diff)| *diff == 1), "none is taken back");
    found.sort_unstable();
    found.into_iter().map(|(row, _)| row).collect()
}

proptest! {
    #[test]
    fn contested_rows_are_those_that_share_a_key_each_once_as_soon_as_two_are_there(
        ticks in prop::collection::vec(prop::collection::vec((0..40u64, any::<u8>(), 0..25u64), 0..12), 1..10),
        workers in 1..3usize,
    ) {
        let mut of_key = std::collections::BTreeMap::<u64, Vec<(u64, Datum)>>::new();
        for (tick, updates) in (0..).map(|tick| 10 * tick).zip(&ticks) {
            for (key, value, late) in updates {
                let datum = Datum { key: *key, value: *value, until: u64::MAX };
                of_key.entry(*key).or_default().push((tick + late, datum));
            }
        }
        let mut rows: Vec<(Datum, u64)> = Vec::new();
        for mut of_key in of_key.into_values().filter(|rows| rows.len() > 1) {
            of_key.sort_unstable();
            let second = of_key[1].0;
            rows.extend(of_key.into_iter().map(|(time, row)| (row, time.max(second))));
        }
        rows.sort_unstable();
        let found = contested_of(ticks, workers);
        // The first may come with any of the rows that were taken in with the second, so it is asked which rows there are, and that at
        // each time all that are there of a key are told, where it has several.
        let mut of_found: Vec<Datum> = found.iter().map(|(row, _)| *row).collect();
        let mut of_rows: Vec<Datum> = rows.iter().map(|(row, _)| *row).collect();
        of_found.sort_unstable();
        of_rows.sort_unstable();
        prop_assert_eq!(of_found, of_rows);
        for key in 0..40 {
            let times = |rows: &[(Datum, u64)]| {
                let mut times: Vec<u64> = rows.iter().filter(|(row, _)| row.key == key).map(|(_, time)| *time).collect();
                times.sort_unstable();
                times
            };
            prop_assert!(times(&found).iter().zip(times(&rows)).all(|(is, must)| *is <= must), "told too late: {found:?}");
        }
    }
}

#[test]
fn rows_of_two_keys_that_share_a_list_are_contested_once() {
    let mut lists = std::collections::HashMap::new();
    let (one, other) = (0..u64::MAX)
        .find_map(|key| lists.insert(list_of(hash(key)), key).map(|before| (before, key)))
        .expect("there are fewer lists than keys");
    let rows = |values: std::ops::Range<u8>| values.map(|value| (if value % 2 == 0 { one } else { other }, value, 0));
    // All in one step, and in steps of which each has a further row of both keys.
    for step in [6, 2] {
        let steps = (0..6).step_by(step).map(|first| rows(first..first + step as u8).collect());
        let found = contested_of(steps.collect(), 1);
        let mut values: Vec<u8> = found.iter().map(|(row, _)| row.value).collect();
        values.sort_unstable();
        assert_eq!(values, [0, 1, 2, 3, 4, 5]);
    }
}

#[test]
fn a_row_is_contested_once_though_one_that_came_since_has_gone() {
    let (mut found, rows_left) = timely::execute_directly(|worker| {
        let (probe, found) = (Handle::new(), Rc::new(RefCell::new(Vec::new())));
        let all = Rc::clone(&found);
        let (mut input, size) = worker.dataflow::<u64, _, _>(|scope| {
            let (input, rows) = AppendInput::new(scope);
            let index: Index<Datum, _> = index(rows, "rows");
            let contested = index.contested();
            contested.inspect(move |(row, time, _)| all.borrow_mut().push((row.value, *time))).probe_with(&probe);
            (input, index.size())
        });
        for tick in 0..20 {
            // A segment of rows of which the first has a key that comes again; those of the second expire soon.
            let (value, until) = if tick == 1 { (1, 5) } else { (tick as u8, 1_000) };
            if [0, 1, 15].contains(&tick) {
                (0..SEGMENT_ROWS as u64).for_each(|row| {
                    let key = if row == 0 { 7 } else { (tick << 32) + 100 + row };
                    input.push((key, Datum { key, value, until }), tick);
                });
            }
            input.advance_to(tick + 1);
            input.flush();
            worker.step_while(|| probe.less_than(&(tick + 1)));
        }
        (found.take(), size.rows())
    });
    assert_eq!(rows_left, 2 * SEGMENT_ROWS, "the second segment has gone");
    found.sort_unstable();
    assert_eq!(found, [(0, 1), (1, 1), (15, 15)]);
}
