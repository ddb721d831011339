//! Rows that only ever come, found by key now and later.
//!
//! An arrangement sorts what comes and merges it again and again, so that any change of any row can be found at any time. Rows
//! that are never taken back and that are looked into by few need none of that: they lie where they came, in a list for
//! each key (`crate::postings`), written once. [`index`] makes one of a worker's share of the rows, [`find`] joins it with
//! questions; many may share one.
//!
//! **Semantics.** Those of a join: for each question and each row of its key what `answer` makes of them, at the later of their
//! times, with the question's difference. Two differences: keys are told apart by 34 bits of a hash, so `answer` may
//! see a pair whose keys differ, and must refuse it where that matters; and rows and questions that have expired
//! ([`Expires`]) at the time of the other may be gone, so `answer` must refuse such pairs, as a join of [`crate::forget`] must.
//!
//! That holds as rows of times before a frontier are taken in together, in one *step*, and [`find`] takes questions in
//! up to the same frontier: new questions look into the rows of earlier steps, whose times are all earlier; then the
//! rows of the step look into all questions, of which it knows the times of the new ones, the others are earlier.
//!
//! Equal questions of a step are asked once, with their differences summed: copies of what is looked for ask alike. After the step
//! in which a question is taken back it is dropped together with what it cancels, so however often one is asked and taken back,
//! later rows meet it once or not at all.
//!
//! A row or question that comes at its own expiry or later may find nothing any more: that none does is asserted, and they are counted
//! in a release ([`late_updates`](crate::late_updates)).
//!
//! **State.** Rows and questions until they have expired, and what shares a segment with one that has not (`crate::segments`): what
//! expires much sooner belongs in an index of its own. And those whose times are not complete. A step is answered at once, however many answers it has.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;

use differential_dataflow::consolidation::{consolidate, consolidate_updates};
use differential_dataflow::{AsCollection, Data, ExchangeData, VecCollection};
use timely::dataflow::Stream;
use timely::dataflow::channels::pact::{Exchange, Pipeline};
use timely::dataflow::operators::generic::Operator;
use timely::dataflow::operators::vec::Map;
use timely::order::TotalOrder;
use timely::progress::Timestamp;

use crate::appends::Appends;
use crate::pending::{Held, Pending, Updates, first};
use crate::postings::{BLOCK, Postings, hash, hashes, list_of};
use crate::{Expires, late};

/// A worker's share of the rows, and what comes.
pub struct Index<'scope, V, T: Timestamp> {
    rows: Rc<RefCell<Postings<V, T>>>,
    steps: Stream<'scope, T, Vec<Step<V, T>>>,
    /// Whether anybody wants to know what is contested.
    contested: Rc<Cell<bool>>,
}

impl<V: 'static, T: Timestamp> Clone for Index<'_, V, T> {
    fn clone(&self) -> Self {
        Index { rows: Rc::clone(&self.rows), steps: self.steps.clone(), contested: Rc::clone(&self.contested) }
    }
}

/// The number of rows that an index holds, wherever it is.
pub struct Size<V, T>(Rc<RefCell<Postings<V, T>>>);

impl<V: Expires<T>, T: Timestamp + Ord> Size<V, T> {
    /// The number of rows.
    pub fn rows(&self) -> usize {
        self.0.borrow().len()
    }
}

impl<'scope, V: Data + Expires<T>, T: Timestamp + Ord> Index<'scope, V, T> {
    /// The rows of keys that have several, each once: the first row of a key no later than its second, all others at their own
    /// times. Of two rows of a key both are here from the later of their times on.
    ///
    /// Most keys never have a second row, so that whoever must choose among the rows of a key can let all pass as they come and
    /// correct the choice for these. A step looks up the keys that it adds a row to, so lists should be short. Rows of keys that
    /// share a list may be among them, and rows that have expired may be missing.
    ///
    /// # Panics
    /// When rows have come already.
    pub fn contested(&self) -> VecCollection<'scope, T, V, isize> {
        assert_eq!(self.rows.borrow().len(), 0, "what is contested is asked for before any row comes");
        self.contested.set(true);
        let rows = self.steps.clone().flat_map(|step| {
            let rows = Rc::clone(&step.contested);
            (0..rows.len()).map(move |at| (rows[at].0.clone(), rows[at].1.clone(), 1))
        });
        rows.as_collection()
    }
}

impl<V: Expires<T>, T: Timestamp + Ord> Index<'_, V, T> {
    /// Tells how many rows this worker's share has.
    pub fn size(&self) -> Size<V, T> {
        Size(Rc::clone(&self.rows))
    }
}

/// Rows of times before `upper` and not before that of the step before, as they were numbered.
struct Step<V, T> {
    /// None: there are no later rows.
    upper: Option<T>,
    /// The hash of its key, the row, its time.
    rows: Rc<Vec<(u64, V, T)>>,
    /// The first and the last of their times.
    times: (T, T),
    /// The number of the next row.
    next: u64,
    /// What [`Index::contested`] says of it.
    contested: Rc<Vec<(V, T)>>,
}

impl<V, T: Clone> Clone for Step<V, T> {
    fn clone(&self) -> Self {
        let (rows, contested) = (Rc::clone(&self.rows), Rc::clone(&self.contested));
        Step { upper: self.upper.clone(), rows, times: self.times.clone(), next: self.next, contested }
    }
}

/// The earlier of two frontiers; none is never.
fn earlier<T: Ord + Clone>(one: &Option<T>, other: &Option<T>) -> Option<T> {
    one.iter().chain(other).min().cloned()
}

/// Indexes `(key, row)` pairs.
pub fn index<'scope, V, T>(rows: Appends<'scope, T, (u64, V)>, name: &str) -> Index<'scope, V, T>
where
    V: ExchangeData + Expires<T>,
    T: Timestamp + TotalOrder,
{
    let postings = Rc::new(RefCell::new(Postings::new()));
    let wanted = Rc::new(Cell::new(false));
    let is_wanted = Rc::clone(&wanted);
    let shared = Rc::clone(&postings);
    let reader = shared.borrow_mut().reader();
    let to_worker = Exchange::new(|((key, _), _, ()): &((u64, V), T, ())| hash(*key));
    let operator = name.to_owned();
    let steps = rows.0.inner.unary_frontier(to_worker, name, move |_, _| {
        let (mut pending, mut held) = (Pending::default(), Held(None));
        move |(input, frontier), output| {
            input.for_each(|capability, rows: &mut Updates<(u64, V), T, ()>| {
                held.hold(&capability);
                pending.push(std::mem::take(rows));
            });
            let upper = first(frontier);
            let mut ready = pending.take_before(upper.as_ref());
            let mut postings = shared.borrow_mut();
            if !ready.is_empty() {
                let mut rows = Vec::with_capacity(ready.iter().map(Vec::len).sum());
                let mut late = 0;
                for ((key, row), time, ()) in ready.drain(..).flatten() {
                    late += usize::from(row.expired(&time));
                    rows.push((hash(key), row, time));
                }
                late::check(late, &operator);
                let (from, mut joined) = (postings.next(), Vec::new());
                for block in rows.chunks(BLOCK) {
                    let hashes = hashes(block.iter().map(|(hash, ..)| *hash));
                    let new = block.iter().map(|(_, row, _)| row.clone());
                    if is_wanted.get() {
                        postings.extend_and_tell(&hashes[..block.len()], new, |hash| joined.push(hash));
                    } else {
                        postings.extend(&hashes[..block.len()], new);
                    }
                }
                let contested = Rc::new(contested(&postings, joined, &rows, from));
                let times = || rows.iter().map(|(.., time)| time);
                if let (Some(first), Some(last)) = (times().min().cloned(), times().max().cloned()) {
                    let (upper, next) = (upper.clone(), postings.next());
                    let step = Step { upper, rows: Rc::new(rows), times: (first, last), next, contested };
                    output.session(held.0.as_ref().expect("held with what waited")).give(step);
                }
            }
            held.advance(pending.first());
            if let Some(upper) = upper {
                postings.advance(reader, &upper);
            }
        }
    });
    Index { rows: postings, steps, contested: wanted }
}

/// What [`Index::contested`] says of the rows of a step, which have the numbers from `from` on, of which those of these hashes are not
/// the first of their lists.
fn contested<V: Data + Expires<T>, T: Timestamp + Ord>(
    postings: &Postings<V, T>,
    mut joined: Vec<u64>,
    rows: &[(u64, V, T)],
    from: u64,
) -> Vec<(V, T)> {
    // Two keys may share a list: it is told once.
    joined.sort_unstable_by_key(|hash| list_of(*hash));
    joined.dedup_by_key(|hash| list_of(*hash));
    let mut contested = Vec::new();
    for hash in joined {
        let time = |number: u64| number.checked_sub(from).map(|at| &rows[at as usize].2);
        let mut earlier = Vec::new();
        let mut soonest: Option<&T> = None;
        for (number, row, is_first) in postings.list(hash) {
            match time(number) {
                Some(time) => {
                    soonest = Some(soonest.map_or(time, |soonest| soonest.min(time)));
                    contested.push((row.clone(), time.clone()));
                }
                None => earlier.push((row, is_first)),
            }
        }
        // Every earlier row but the first of its list came as a further one, and was told then, with the first.
        if let ([(row, true)], Some(time)) = (&earlier[..], soonest) {
            contested.push(((*row).clone(), time.clone()));
        }
    }
    contested
}

/// A question, the hash of its key and its difference.
#[derive(Clone)]
struct Asked<Q> {
    hash: u64,
    question: Q,
    diff: isize,
}

/// What sums up to the same.
fn consolidated<Q: Ord>(asked: Vec<Asked<Q>>) -> Vec<Asked<Q>> {
    let mut asked: Vec<_> = asked.into_iter().map(|asked| ((asked.hash, asked.question), asked.diff)).collect();
    consolidate(&mut asked);
    asked.into_iter().map(|((hash, question), diff)| Asked { hash, question, diff }).collect()
}

impl<Q: Expires<T>, T: timely::order::PartialOrder> Expires<T> for Asked<Q> {
    fn expiry(&self) -> T {
        self.question.expiry()
    }
}

/// Answers `(key, question)` pairs: what `answer` makes of a question and each row of its key, of those that came before it
/// and those that come after.
pub fn find<'scope, Q, V, T, A>(
    questions: VecCollection<'scope, T, (u64, Q), isize>,
    index: &Index<'scope, V, T>,
    name: &str,
    answer: impl FnMut(&Q, &V) -> Option<A> + 'static,
) -> VecCollection<'scope, T, A, isize>
where
    Q: ExchangeData + Expires<T>,
    V: Data + Expires<T>,
    T: Timestamp + TotalOrder,
    A: Data,
{
    let rows = Rc::clone(&index.rows);
    let reader = rows.borrow_mut().reader();
    let to_worker = Exchange::new(|((key, _), _, _): &((u64, Q), T, isize)| hash(*key));
    let operator = name.to_owned();
    let answers = questions.inner.binary_frontier(index.steps.clone(), to_worker, Pipeline, name, move |_, _| {
        let (mut pending, mut held) = (Pending::default(), Held(None));
        let mut steps: VecDeque<Step<V, T>> = VecDeque::new();
        let mut asking = Asking { asked: Postings::new(), known: 0, answer };
        let asked_reader = asking.asked.reader();
        move |(questions, questions_frontier), (new, rows_frontier), output| {
            questions.for_each(|capability, questions: &mut Updates<(u64, Q), T, isize>| {
                held.hold(&capability);
                pending.push(std::mem::take(questions));
            });
            new.for_each(|capability, new: &mut Vec<Step<V, T>>| {
                held.hold(&capability);
                steps.append(&mut VecDeque::from(std::mem::take(new)));
            });
            let (asked_to, known_to) = (first(questions_frontier), first(rows_frontier));
            // Whether all questions before the rows of a step, or among them, are there.
            let is_asked = |step: &Step<V, T>| match (&asked_to, &step.upper) {
                (Some(asked_to), Some(upper)) => asked_to >= upper,
                (Some(asked_to), None) => *asked_to > step.times.1,
                (None, _) => true,
            };
            if let Some(capability) = &held.0 {
                let mut session = output.session(capability);
                let mut send = |answer: A, time: T, diff: isize| session.give((answer, time, diff));
                let rows = rows.borrow();
                while let Some(step) = steps.pop_front_if(|step| is_asked(step)) {
                    let new = pending.take_together(earlier(&step.upper, &asked_to).as_ref());
                    late::check(asking.step(new, &rows, &step.rows, &mut send), &operator);
                    asking.known = step.next;
                }
                if steps.is_empty() {
                    let new = pending.take_together(earlier(&asked_to, &known_to).as_ref());
                    late::check(asking.step(new, &rows, &[], &mut send), &operator);
                }
            }
            // What waits is sent at its time or later.
            let first_step = steps.front().map(|step| &step.times.0);
            held.advance(first_step.into_iter().chain(pending.first()).min());
            let to_come = earlier(&asked_to, &known_to);
            let since = held.0.as_ref().map(|held| held.time().clone()).into_iter().chain(to_come).min();
            if let Some(since) = since {
                rows.borrow_mut().advance(reader, &since);
                asking.asked.advance_and_move(asked_reader, &since, |asked| asked.hash);
            }
        }
    });
    answers.as_collection()
}

/// What was asked so far.
struct Asking<Q, T, L> {
    asked: Postings<Asked<Q>, T>,
    /// The rows below this number have looked into the questions.
    known: u64,
    answer: L,
}

impl<Q: ExchangeData + Expires<T>, T: Timestamp + TotalOrder, L> Asking<Q, T, L> {
    /// Takes in new questions, then new rows. How many of the questions had expired.
    fn step<V: Expires<T>, A>(
        &mut self,
        mut questions: Updates<(u64, Q), T, isize>,
        rows: &Postings<V, T>,
        new_rows: &[(u64, V, T)],
        send: &mut impl FnMut(A, T, isize),
    ) -> usize
    where
        L: FnMut(&Q, &V) -> Option<A>,
    {
        let first_new = self.asked.next();
        consolidate_updates(&mut questions);
        let late = questions.iter().filter(|((_, question), time, _)| question.expired(time)).count();
        for block in questions.chunks(BLOCK) {
            let hashes = hashes(block.iter().map(|((key, _), ..)| hash(*key)));
            rows.find(&hashes[..block.len()], self.known, |at, _, row| {
                let ((_, question), time, diff) = &block[at];
                if let Some(answer) = (self.answer)(question, row) {
                    send(answer, time.clone(), *diff);
                }
            });
            let asked = block.iter().zip(hashes);
            let asked =
                asked.map(|(((_, question), _, diff), hash)| Asked { hash, question: question.clone(), diff: *diff });
            self.asked.extend(&hashes[..block.len()], asked);
        }
        if self.asked.len() == 0 {
            return late;
        }
        for block in new_rows.chunks(BLOCK) {
            let hashes = hashes(block.iter().map(|(hash, ..)| *hash));
            self.asked.find(&hashes[..block.len()], u64::MAX, |at, number, Asked { question, diff, .. }| {
                let (_, row, time) = &block[at];
                if let Some(answer) = (self.answer)(question, row) {
                    let asked = number.checked_sub(first_new).map(|new| &questions[new as usize].1);
                    send(answer, time.max(asked.unwrap_or(time)).clone(), *diff);
                }
            });
        }
        // All that comes from now on is later than a question that was taken back, and than what it cancels.
        let taken_back = questions.iter().filter(|(.., diff)| *diff < 0);
        let mut taken_back: Vec<u64> = taken_back.map(|((key, _), ..)| hash(*key)).collect();
        taken_back.dedup();
        taken_back.into_iter().for_each(|hash| self.asked.compact(hash, consolidated));
        late
    }
}

#[cfg(test)]
mod tests;
