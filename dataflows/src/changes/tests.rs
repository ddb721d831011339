//! What is taken of a backlog is what came, once, by its cut.

use std::collections::BTreeSet;

use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use differential_dataflow::input::InputSession;
use operators::shared::SharedValBatch;
use operators::{Hub, arrange_shared};
use proptest::prelude::*;
use schemas::ids::Id;
use schemas::{
    Accepted, ClickId, DeviceId, Event, EventId, EventTime, EventType, Micros, PayloadHash, Symbol, UserId, columns,
};
use timely::dataflow::ProbeHandle;
use timely::dataflow::operators::{Inspect, Probe};

use super::*;
use crate::grid::CUT_MS;
use crate::horizon::Bounds;
use crate::inputs::Inputs;
use crate::params::Params;

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

/// An event of a person, at a second of the first minute.
fn event(event_type: EventType, person: u128, number: u128, second: i64) -> Accepted {
    let id = |number: u128| Id::from_bytes((number << 64 | number).to_be_bytes());
    let (user, event_id) = (UserId(id(person + 1)), EventId(id(number + 1)));
    let event = Event {
        event_type,
        tenant: Symbol(1),
        event_id,
        event_time: EventTime(second * 1_000),
        subject: Event::subject_of(user, DeviceId::NONE, ClickId::NONE),
        user,
        revenue: (event_type == EventType::Conversion).then_some(Micros(1_000_001)),
        ..Event::default()
    };
    Accepted { event, payload_hash: PayloadHash(event_id.0), ..Accepted::default() }
}

#[test]
fn rows_of_credits_come_in_pieces_of_whole_conversions_and_only_what_changed() {
    const PEOPLE: u128 = 200;
    let taken = timely::execute_directly(move |worker| {
        let (hub, probe) = (Hub::new(1), ProbeHandle::new());
        let (mut feed, mut backlog) = worker.dataflow::<Tick, _, _>(|scope| {
            let (feed, mut inputs) = Inputs::new(scope, &Params::default(), Bounds::default());
            let cutover = Cutover { replay_from: 0, snapshot_at: None };
            (
                feed,
                crate::views::credits::output(inputs.attribution().credited, &inputs.params).attach(
                    &mut hub.publisher(0),
                    &probe,
                    cutover,
                ),
            )
        });
        let mut batch = feed.batch();
        // In the first cut each person's two touches and conversion; in the second, for half of them one touch more.
        for person in 0..PEOPLE {
            let number = person * 10;
            batch.push(&event(EventType::Click, person, number, 10), 5);
            batch.push(&event(EventType::Impression, person, number + 1, 20), 5);
            batch.push(&event(EventType::Conversion, person, number + 2, 30), 5);
            if person % 2 == 0 {
                batch.push(&event(EventType::Click, person, number + 3, 25), CUT_MS + 5);
            }
        }
        feed.take(&mut batch);
        feed.advance_to(2 * CUT_MS);
        feed.flush();
        worker.step_while(|| probe.less_than(&(2 * CUT_MS)));
        backlog.take_through(2 * CUT_MS)
    });
    // Two touches earn 9 rows under six models, three earn 12; the first touch's whole credit stays as it is.
    let (first, second) = (PEOPLE as usize * 9, PEOPLE as usize / 2 * (8 + 11));
    for (done, rows) in [(0, first + second), (CUT_MS, second)] {
        let pieces: Vec<_> = taken.after(done).collect();
        assert!(pieces.len() > 1 && pieces.iter().all(|piece| piece.num_rows() < 2 * BATCH_ROWS), "{}", pieces.len());
        let conversions = |piece: &RecordBatch| -> BTreeSet<Vec<u8>> {
            piece["event_id"].as_binary::<i32>().iter().flatten().map(<[u8]>::to_vec).collect()
        };
        let mut all = BTreeSet::new();
        assert!(pieces.iter().flat_map(conversions).all(|id| all.insert(id)), "no conversion is in two pieces");
        assert_eq!(pieces.iter().map(RecordBatch::num_rows).sum::<usize>(), rows, "after {done}");
    }
}
