//! Changes of the maintained views, on their way from a worker to the committer.
//!
//! A worker keeps the batches that its dataflow makes, which threads share, and hands over those of a cut: pointers. They
//! become rows piece by piece while the file is written ([`Changes`]). So a worker's share of a commit is a pointer for each
//! batch, however many rows; what comes and goes between two cuts never becomes a row; and rows of `credits`, many times as
//! large as what they follow from, are never all in memory.

use std::iter;
use std::ops::Range;
use std::sync::Arc;

use dataflows::catalogue::{CreditedBatch, InstallBatch};
use dataflows::credits::Credited;
use dataflows::weights::Weights;
use differential_dataflow::consolidation::consolidate_updates;
use differential_dataflow::trace::{BatchReader, Cursor, Navigable};
use schemas::Tick;
use schemas::view::{CreditRow, InstallRow};

use crate::ledger::{BATCH_ROWS, Change, Changes};
use crate::recovery::Lacking;

/// The changes of one view that wait for their cut.
pub struct Waiting<B> {
    lacking: Lacking,
    batches: Vec<(B, Range<Tick>)>,
}

impl<B: BatchReader<Time = Tick> + Clone> Waiting<B> {
    /// None yet, of a table that lacks these.
    pub fn new(lacking: Lacking) -> Waiting<B> {
        Waiting { lacking, batches: Vec::new() }
    }

    /// Keeps a batch, unless the table holds all of it.
    pub fn push(&mut self, batch: &B) {
        let from = batch.lower().as_option().copied().unwrap_or(Tick::MAX);
        let to = batch.upper().as_option().copied().unwrap_or(Tick::MAX);
        if !batch.is_empty() && self.lacking.cut(to.saturating_sub(1)).is_some() {
            self.batches.push((batch.clone(), from..to));
        }
    }

    /// Takes what came before a cut. All of that has come.
    pub fn take_through(&mut self, cut: Tick) -> Taken<B> {
        let mut taken = Vec::new();
        self.batches.retain_mut(|(batch, ticks)| {
            if ticks.start < cut {
                taken.push((batch.clone(), ticks.start..ticks.end.min(cut)));
            }
            ticks.start = ticks.start.max(cut);
            !ticks.is_empty()
        });
        Taken { lacking: self.lacking, batches: taken }
    }
}

/// The changes of one view up to a cut.
pub struct Taken<B> {
    lacking: Lacking,
    batches: Vec<(B, Range<Tick>)>,
}

impl<B> Taken<B>
where
    B: BatchReader<Time = Tick> + Navigable<Cursor: Cursor<Storage = B, Time = Tick, Diff = isize>>,
{
    /// Each value that came or went in a cut after `done`, its cut and how often, consolidated.
    fn values<'a, V: Ord>(&'a self, done: Tick) -> Vec<(&'a V, Tick, i64)>
    where
        B::Cursor: Cursor<Val<'a> = &'a V>,
    {
        let mut values = Vec::new();
        for (batch, ticks) in &self.batches {
            let mut cursor = batch.cursor();
            while cursor.key_valid(batch) {
                while let Some(value) = cursor.get_val(batch) {
                    cursor.map_times(batch, |tick, diff| {
                        let (tick, diff) = (B::Cursor::owned_time(tick), B::Cursor::owned_diff(diff));
                        let cut = self.lacking.cut(tick).filter(|cut| ticks.contains(&tick) && *cut > done);
                        values.extend(cut.map(|cut| (value, cut, diff as i64)));
                    });
                    cursor.step_val(batch);
                }
                cursor.step_key(batch);
            }
        }
        consolidate_updates(&mut values);
        values
    }
}

impl Changes<InstallRow> for Taken<InstallBatch> {
    fn after(&self, done: Tick) -> Box<dyn Iterator<Item = Vec<Change<InstallRow>>> + '_> {
        let values = self.values(done).into_iter();
        Box::new(iter::once(
            values.map(|(row, cut, diff): (&Arc<InstallRow>, _, _)| ((**row).clone(), cut, diff)).collect(),
        ))
    }
}

/// The changes of `credits` up to a cut.
pub struct TakenCredits {
    taken: Taken<CreditedBatch>,
    weights: Weights,
}

impl Taken<CreditedBatch> {
    /// What they are under these weights.
    pub fn weighed(self, weights: Weights) -> TakenCredits {
        TakenCredits { taken: self, weights }
    }
}

impl Changes<CreditRow> for TakenCredits {
    /// Where what earned a conversion changes, only the rows that it changes do. A piece has about the rows of a batch of the
    /// file, and whole conversions.
    fn after(&self, done: Tick) -> Box<dyn Iterator<Item = Vec<Change<CreditRow>>> + '_> {
        let mut values: Vec<(&Arc<Credited>, Tick, i64)> = self.taken.values(done);
        values.sort_by_key(|(credited, _, _)| credited.conversion());
        let mut values = values.into_iter().peekable();
        Box::new(iter::from_fn(move || {
            let (mut rows, mut of_one) = (Vec::new(), Vec::new());
            while rows.len() < BATCH_ROWS
                && let Some((credited, cut, diff)) = values.next()
            {
                of_one.extend(credited.rows(&self.weights).into_iter().map(|row| (row, cut, diff)));
                if values.peek().is_none_or(|(next, _, _)| next.conversion() != credited.conversion()) {
                    consolidate_updates(&mut of_one);
                    rows.append(&mut of_one);
                }
            }
            (!rows.is_empty()).then_some(rows)
        }))
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::collections::BTreeSet;
    use std::rc::Rc;

    use dataflows::catalogue;
    use dataflows::params::Params;
    use differential_dataflow::input::InputSession;
    use operators::arrange_shared;
    use operators::shared::SharedValBatch;
    use proptest::prelude::*;
    use schemas::ids::Id;
    use schemas::{
        Accepted, ClickId, DeviceId, Event, EventId, EventTime, EventType, Micros, PayloadHash, Symbol, UserId,
    };
    use timely::dataflow::ProbeHandle;
    use timely::dataflow::operators::{Inspect, Probe};

    use super::*;
    use crate::cuts::{CUT_MS, cut_of};

    /// Updates of values at ticks, in batches of `batch_ms`, taken at every cut that is a multiple of `cuts`.
    fn taken(lacking: Lacking, updates: Vec<(Tick, u8, i64)>, batch_ms: Tick, cuts: Tick) -> Vec<Vec<(u8, Tick, i64)>> {
        const END: Tick = 10 * CUT_MS;
        timely::execute_directly(move |worker| {
            let waiting = Rc::new(RefCell::new(Waiting::<SharedValBatch<u8, u8, Tick, isize>>::new(lacking)));
            let (mut input, pushed) = (InputSession::new(), Rc::clone(&waiting));
            let probe = worker.dataflow::<Tick, _, _>(|scope| {
                let values = arrange_shared(input.to_collection(scope), "values");
                values.stream.inspect(move |batch| pushed.borrow_mut().push(batch)).probe().0
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
                    let part = waiting.borrow_mut().take_through(cut * CUT_MS);
                    parts.push(
                        part.values(0).into_iter().map(|(value, cut, diff): (&u8, _, _)| (*value, cut, diff)).collect(),
                    );
                }
            }
            assert!(waiting.borrow().batches.is_empty(), "all is taken");
            parts
        })
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
    fn rows_of_credits_come_in_pieces_of_whole_conversions() {
        const PEOPLE: u128 = 200;
        let params = Params::default();
        let weights = Weights::of(&params.credits);
        let (taken, mut expected) = timely::execute_directly(move |worker| {
            let waiting = Rc::new(RefCell::new(Waiting::new(Lacking { load_to: 0, fresh_at: None })));
            let all = Rc::new(RefCell::new(Vec::new()));
            let (pushed, seen, probe) = (Rc::clone(&waiting), Rc::clone(&all), ProbeHandle::new());
            let mut feed = worker.dataflow::<Tick, _, _>(|scope| {
                let (feed, outputs) = catalogue::build(scope, &params, None);
                let batches = &outputs.credited_by_key.stream;
                batches.clone().inspect(move |batch| pushed.borrow_mut().push(batch)).probe_with(&probe);
                let rows = outputs.credits().inspect(move |(row, tick, diff)| {
                    seen.borrow_mut().push((*row, cut_of(*tick), *diff as i64));
                });
                rows.probe_with(&probe);
                feed
            });
            let mut facts = feed.facts();
            // In the first cut each person's two touches and conversion; in the second, for half of them one touch more.
            for person in 0..PEOPLE {
                let number = person * 10;
                facts.push(&event(EventType::Click, person, number, 10), 5);
                facts.push(&event(EventType::Impression, person, number + 1, 20), 5);
                facts.push(&event(EventType::Conversion, person, number + 2, 30), 5);
                if person % 2 == 0 {
                    facts.push(&event(EventType::Click, person, number + 3, 25), CUT_MS + 5);
                }
            }
            feed.take(&mut facts);
            feed.advance_to(2 * CUT_MS);
            feed.flush();
            worker.step_while(|| probe.less_than(&(2 * CUT_MS)));
            let taken = waiting.borrow_mut().take_through(2 * CUT_MS);
            (taken, all.take())
        });
        consolidate_updates(&mut expected);
        let taken = taken.weighed(weights);
        for (done, cuts) in [(0, 2), (CUT_MS, 1)] {
            let pieces: Vec<_> = taken.after(done).collect();
            assert!(pieces.len() > 1 && pieces.iter().all(|piece| piece.len() < 2 * BATCH_ROWS), "{}", pieces.len());
            let conversions = |piece: &Vec<Change<CreditRow>>| -> BTreeSet<EventId> {
                piece.iter().map(|(row, ..)| row.event_id).collect()
            };
            let mut all = BTreeSet::new();
            assert!(pieces.iter().flat_map(conversions).all(|id| all.insert(id)), "no conversion is in two pieces");
            let mut rows = pieces.concat();
            consolidate_updates(&mut rows);
            let later: Vec<_> = expected.iter().filter(|(_, cut, _)| *cut > done).copied().collect();
            assert_eq!(rows, later);
            assert_eq!(rows.iter().map(|(_, cut, _)| *cut).collect::<BTreeSet<_>>().len(), cuts);
        }
    }

    proptest! {
        #[test]
        fn each_change_is_taken_once_by_its_cut(
            updates in prop::collection::vec((0..10 * CUT_MS, 0..4u8, prop_oneof![Just(1i64), Just(-1)]), 0..60),
            batch_ms in prop_oneof![Just(70), Just(1_000), Just(2_500), Just(10_000)],
            cuts in 1..4u64,
            load_to in prop_oneof![Just(0), Just(3_000)],
            fresh in any::<bool>(),
        ) {
            let lacking = Lacking { load_to, fresh_at: fresh.then_some(5_000) };
            let parts = taken(lacking, updates.clone(), batch_ms, cuts);
            let mut expected: Vec<(u8, Tick, i64)> = updates
                .into_iter()
                .filter(|(tick, _, _)| fresh || *tick >= load_to)
                .map(|(tick, value, diff)| (value, if fresh { cut_of(tick).max(5_000) } else { cut_of(tick) }, diff))
                .collect();
            consolidate_updates(&mut expected);
            if !fresh {
                // A part holds whole cuts, so each is consolidated by itself.
                let mut last = 0;
                for part in &parts {
                    prop_assert!(part.iter().all(|(_, cut, _)| *cut > last));
                    last = part.iter().map(|(_, cut, _)| *cut).max().unwrap_or(last);
                }
            }
            let mut all = parts.concat();
            consolidate_updates(&mut all);
            prop_assert_eq!(all, expected);
        }
    }
}
