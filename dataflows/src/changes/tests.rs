//! What is taken of a backlog is what came, once, by its cut.

use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use differential_dataflow::input::InputSession;
use operators::arrange_shared;
use operators::shared::SharedValBatch;
use proptest::prelude::*;
use schemas::columns;
use timely::dataflow::operators::{Inspect, Probe};

use super::*;
use crate::grid::CUT_MS;

const END: Tick = 10 * CUT_MS;

/// A row that is a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Number(u8);

columns! {
    Number, |row| {
        /// the number
        number: i64 = i64::from(row.0),
    }
}

/// Rows of values that are numbers.
struct Numbers;

impl ToRows<u8> for Numbers {
    type Row = Number;
    type Group = u8;

    fn group(&self, value: &u8) -> u8 {
        *value
    }

    fn rows(&self, value: &u8) -> Vec<Number> {
        vec![Number(*value)]
    }
}

/// A log that adds numbers up under one key.
type Total = Sum<(), 2>;

columns! {
    Total, |row| {
        /// the sum
        total: i64 = row.sums[0],
        /// how many numbers
        rows: i64 = row.sums[1],
    }
}

fn longs(batch: &RecordBatch, column: &str) -> Vec<i64> {
    batch[column].as_primitive::<Int64Type>().values().to_vec()
}

/// What is taken of both forms at each cut that is a multiple of `cuts`: numbers, cuts, differences; and totals and cuts.
type Taken = (Vec<(u8, Tick, i64)>, Vec<(i64, i64, Tick)>);

/// Updates of values at ticks, in batches of `batch_ms`.
fn taken(cutover: Cutover, updates: Vec<(Tick, u8, i64)>, batch_ms: Tick, cuts: Tick, done: Tick) -> Vec<Taken> {
    timely::execute_directly(move |worker| {
        let rows = Rc::new(RefCell::new(RowBacklog::<u8, SharedValBatch<u8, u8, Tick, isize>, _>::new(
            cutover,
            Arc::new(Numbers),
        )));
        let sums = Rc::new(RefCell::new(SumBacklog::<(), 2>::new(cutover)));
        let (mut input, pushed, added) = (InputSession::new(), Rc::clone(&rows), Rc::clone(&sums));
        let probe = worker.dataflow::<Tick, _, _>(|scope| {
            let values = input.to_collection(scope);
            values.inner.clone().inspect_batch(move |_, updates: &Vec<((u8, u8), Tick, isize)>| {
                let mut sums = added.borrow_mut();
                for ((_, value), tick, diff) in updates {
                    sums.add(*tick, *diff, || Some(Sum { key: (), sums: [i64::from(*value), 1] }));
                }
                sums.end_step();
            });
            arrange_shared(values, "values").stream.inspect(move |batch| pushed.borrow_mut().push(batch)).probe().0
        });
        let mut parts = Vec::new();
        for start in (0..END).step_by(batch_ms as usize) {
            let of_batch = updates.iter().filter(|(tick, _, _)| (start..start + batch_ms).contains(tick));
            of_batch.for_each(|(tick, value, diff)| input.update_at((*value, *value), *tick, *diff as isize));
            let end = (start + batch_ms).min(END);
            input.advance_to(end);
            input.flush();
            worker.step_while(|| probe.less_than(&end));
            for cut in (start / CUT_MS + 1..=end / CUT_MS).filter(|cut| cut % cuts == 0 || end == END) {
                let (mut rows, mut sums) = (Rc::clone(&rows), Rc::clone(&sums));
                let (rows, sums) = (rows.take_through(cut * CUT_MS), sums.take_through(cut * CUT_MS));
                let mut part = Taken::default();
                for batch in rows.after(done) {
                    let numbers = longs(&batch, "number").into_iter().map(|number| number as u8);
                    let cuts = longs(&batch, "_cut").into_iter().map(|cut| cut as Tick);
                    part.0.extend(numbers.zip(cuts).zip(longs(&batch, "_diff")).map(|((n, cut), diff)| (n, cut, diff)));
                }
                for batch in sums.after(done) {
                    let cuts = longs(&batch, "_cut").into_iter().map(|cut| cut as Tick);
                    let totals = longs(&batch, "total").into_iter().zip(longs(&batch, "rows"));
                    part.1.extend(totals.zip(cuts).map(|((total, rows), cut)| (total, rows, cut)));
                }
                parts.push(part);
            }
        }
        assert!(rows.borrow().batches.is_empty() && sums.borrow().waiting.is_empty(), "all is taken");
        parts
    })
}

proptest! {
    #[test]
    fn each_change_is_taken_once_by_its_cut(
        updates in prop::collection::vec((0..END, 0..4u8, prop_oneof![Just(1i64), Just(-1)]), 0..60),
        batch_ms in prop_oneof![Just(70), Just(1_000), Just(2_500), Just(10_000)],
        cuts in 1..4u64,
        replay_from in prop_oneof![Just(0), Just(3_000)],
        fresh in any::<bool>(),
        done in prop_oneof![Just(0), Just(4_000)],
    ) {
        let cutover = Cutover { replay_from, snapshot_at: fresh.then_some(5_000) };
        let parts = taken(cutover, updates.clone(), batch_ms, cuts, done);
        let mut expected: Vec<(u8, Tick, i64)> = updates
            .into_iter()
            .filter_map(|(tick, value, diff)| Some((value, cutover.cut(tick)?, diff)))
            .filter(|(_, cut, _)| *cut > done)
            .collect();
        consolidate_updates(&mut expected);
        if !fresh {
            // A part holds whole cuts, so each is consolidated by itself.
            let mut last = 0;
            for (part, _) in &parts {
                prop_assert!(part.iter().all(|(_, cut, _)| *cut > last));
                last = part.iter().map(|(_, cut, _)| *cut).max().unwrap_or(last);
            }
        }
        let (mut rows, mut sums): Taken = parts.into_iter().unzip::<_, _, Vec<_>, Vec<_>>().into_concat();
        consolidate_updates(&mut rows);
        prop_assert_eq!(rows, expected.clone());
        let mut totals = std::collections::BTreeMap::<Tick, (i64, i64)>::new();
        for (value, cut, diff) in expected {
            let total = totals.entry(cut).or_default();
            *total = (total.0 + i64::from(value) * diff, total.1 + diff);
        }
        if fresh {
            // Of the cut of the snapshot several parts may tell.
            let mut summed = std::collections::BTreeMap::<Tick, (i64, i64)>::new();
            for (total, rows, cut) in sums {
                let at = summed.entry(cut).or_default();
                *at = (at.0 + total, at.1 + rows);
            }
            sums = summed.into_iter().map(|(cut, (total, rows))| (total, rows, cut)).collect();
        }
        sums.retain(|(total, rows, _)| (*total, *rows) != (0, 0));
        let expected = totals.into_iter().map(|(cut, (total, rows))| (total, rows, cut));
        prop_assert_eq!(sums, expected.filter(|(total, rows, _)| (*total, *rows) != (0, 0)).collect::<Vec<_>>());
    }
}

/// Parts as one.
trait IntoConcat {
    fn into_concat(self) -> Taken;
}

impl IntoConcat for (Vec<Vec<(u8, Tick, i64)>>, Vec<Vec<(i64, i64, Tick)>>) {
    fn into_concat(self) -> Taken {
        (self.0.concat(), self.1.concat())
    }
}
