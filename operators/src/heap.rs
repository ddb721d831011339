//! Rows kept once, in the order in which they came, and found by their number.
//!
//! As a database does it: the rows of a table lie in a *heap*, where they never move, and small indexes hold their
//! numbers. An arrangement moves a row whenever batches merge, and holds a merge's inputs beside its result; that is
//! the price of order, which a payload that is only ever looked up by its number need not pay.
//!
//! **Semantics.** A row is pushed on the worker that it enters at and never changes. [`look_up`] sends each question to
//! the worker that has the row and answers it at its own time: the answers are those of a join with all rows ever
//! pushed, but for rows that have expired at the time of the question, which may be gone. So the reader sees to it that
//! no question to an expired row matters, as with [`crate::forget`]. A number is given away only after the row is
//! there, so none is missed.
//!
//! **State.** A segment of rows goes once all of them have expired by all look-ups of its worker: the rows that have not
//! expired, those that share a segment with one, and the last segment. A push costs a copy, a look-up two pointers.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use differential_dataflow::{AsCollection, ExchangeData, VecCollection};
use serde::{Deserialize, Serialize};
use timely::dataflow::channels::pact::Exchange;
use timely::dataflow::operators::Operator;
use timely::progress::Timestamp;

use crate::Expires;

/// Rows of a segment: what is allocated, and forgotten, at a time.
const SEGMENT_ROWS: usize = 1 << SEGMENT_BITS;
const SEGMENT_BITS: u32 = if cfg!(test) { 5 } else { 12 };
/// The bits of a [`RowId`] that number the rows of a worker; the others number the worker.
const NUMBER_BITS: u32 = 48;

/// Where a row is, at an alignment of 4 bytes so that small index entries stay small.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RowId([u32; 2]);

impl RowId {
    fn new(worker: usize, number: u64) -> RowId {
        let id = (worker as u64) << NUMBER_BITS | number;
        RowId([(id >> 32) as u32, id as u32])
    }

    fn id(self) -> u64 {
        u64::from(self.0[0]) << 32 | u64::from(self.0[1])
    }

    fn worker(self) -> u64 {
        self.id() >> NUMBER_BITS
    }

    fn number(self) -> u64 {
        self.id() & ((1 << NUMBER_BITS) - 1)
    }
}

/// The rows of one worker. Clones are the same heap.
pub struct Heap<R, T>(Rc<RefCell<Segments<R, T>>>);

impl<R, T> Clone for Heap<R, T> {
    fn clone(&self) -> Self {
        Heap(Rc::clone(&self.0))
    }
}

struct Segments<R, T> {
    worker: usize,
    /// The number of the first row of the first segment; a multiple of a segment's rows.
    first: u64,
    segments: VecDeque<Segment<R, T>>,
    /// The time from which each look-up asks.
    readers: Vec<T>,
    /// The earliest time at which a full segment goes.
    next_expiry: Option<T>,
}

struct Segment<R, T> {
    /// None once it has been forgotten.
    rows: Vec<R>,
    /// When the last of its rows expires; none where one never does.
    expiry: Option<T>,
}

impl<R, T> Segments<R, T> {
    fn get(&self, number: u64) -> Option<&R> {
        let index = number.checked_sub(self.first)? as usize;
        self.segments.get(index >> SEGMENT_BITS)?.rows.get(index % SEGMENT_ROWS)
    }
}

impl<R: Expires<T> + Clone, T: Timestamp + Ord> Heap<R, T> {
    /// An empty heap for the worker of this index.
    pub fn new(worker: usize) -> Self {
        assert!((worker as u64) < 1 << (u64::BITS - NUMBER_BITS), "a worker's index fits its bits");
        let segments = VecDeque::new();
        Heap(Rc::new(RefCell::new(Segments { worker, first: 0, segments, readers: Vec::new(), next_expiry: None })))
    }

    /// Keeps a row and tells where.
    pub fn push(&self, row: R) -> RowId {
        let mut heap = self.0.borrow_mut();
        let heap = &mut *heap;
        let expiry = row.expiry();
        // A segment that was forgotten is empty; its numbers are not given again.
        if heap.segments.back().is_none_or(|last| last.rows.len() == SEGMENT_ROWS || last.rows.is_empty()) {
            let rows = Vec::with_capacity(SEGMENT_ROWS);
            heap.segments.push_back(Segment { rows, expiry: Some(T::minimum()) });
        }
        let last = heap.segments.back_mut().expect("just made");
        last.expiry = last.expiry.take().zip(expiry).map(|(last, row)| last.max(row));
        last.rows.push(row);
        let filled = last.rows.len();
        if filled == SEGMENT_ROWS {
            heap.next_expiry = earlier(heap.next_expiry.take(), last.expiry.clone());
        }
        let before = (heap.segments.len() - 1) << SEGMENT_BITS;
        RowId::new(heap.worker, heap.first + (before + filled - 1) as u64)
    }

    /// The rows that it holds.
    pub fn len(&self) -> usize {
        self.0.borrow().segments.iter().map(|segment| segment.rows.len()).sum()
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A further look-up, which may ask at any time.
    fn reader(&self) -> usize {
        let mut heap = self.0.borrow_mut();
        heap.readers.push(T::minimum());
        heap.readers.len() - 1
    }

    /// Promises that a look-up will ask at no time before `since`, and forgets what no look-up can ask for.
    fn advance(&self, reader: usize, since: &T) {
        let mut heap = self.0.borrow_mut();
        let heap = &mut *heap;
        heap.readers[reader].clone_from(since);
        let Some(since) = heap.readers.iter().min() else { return };
        if heap.next_expiry.as_ref().is_none_or(|expiry| expiry > since) {
            return;
        }
        heap.next_expiry = None;
        for segment in heap.segments.iter_mut().filter(|segment| segment.rows.len() == SEGMENT_ROWS) {
            match &segment.expiry {
                Some(expiry) if expiry <= since => segment.rows = Vec::new(),
                expiry => heap.next_expiry = earlier(heap.next_expiry.take(), expiry.clone()),
            }
        }
        while heap.segments.front().is_some_and(|first| first.rows.is_empty()) {
            heap.segments.pop_front();
            heap.first += SEGMENT_ROWS as u64;
        }
    }
}

/// The earlier of two times; none is never.
fn earlier<T: Ord>(one: Option<T>, other: Option<T>) -> Option<T> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

/// Answers questions to rows by their number: what `answer` makes of a question and its row, if anything.
pub fn look_up<'scope, T, R, Q, A>(
    questions: VecCollection<'scope, T, (RowId, Q), isize>,
    heap: &Heap<R, T>,
    name: &str,
    mut answer: impl FnMut(Q, &R) -> Option<A> + 'static,
) -> VecCollection<'scope, T, A, isize>
where
    T: Timestamp + Ord,
    R: Expires<T> + Clone + 'static,
    Q: ExchangeData,
    A: Clone + 'static,
{
    let (heap, reader) = (heap.clone(), heap.reader());
    let to_worker = Exchange::new(|((row, _), _, _): &((RowId, Q), T, isize)| row.worker());
    let answers = questions.inner.unary_frontier(to_worker, name, move |_, _| {
        move |(input, frontier), output| {
            input.for_each(|capability, questions| {
                let segments = heap.0.borrow();
                let answers = questions.drain(..).filter_map(|((row, question), time, diff)| {
                    let answer = answer(question, segments.get(row.number())?)?;
                    Some((answer, time, diff))
                });
                output.session(&capability).give_iterator(answers);
            });
            if let Some(since) = frontier.frontier().first() {
                heap.advance(reader, since);
            }
        }
    });
    answers.as_collection()
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use differential_dataflow::input::InputSession;
    use timely::Config;
    use timely::dataflow::operators::probe::Handle;

    use super::*;

    /// How long a row can be found.
    const LIFE: u64 = 50;

    /// A row: when it came, and which of its tick it is.
    #[derive(Clone, Copy, Debug, PartialEq)]
    struct Row(u64, u64);

    impl Expires<u64> for Row {
        fn expiry(&self) -> Option<u64> {
            Some(self.0 + LIFE)
        }
    }

    #[test]
    fn any_worker_finds_every_row_until_it_expires_and_then_it_goes() {
        const TICKS: u64 = 300;
        const A_TICK: u64 = 20;
        let pushed: Arc<Mutex<Vec<(RowId, Row)>>> = Arc::default();
        let answers: Arc<Mutex<Vec<(Row, u64, isize)>>> = Arc::default();
        let (all, found) = (Arc::clone(&pushed), Arc::clone(&answers));
        let guards = timely::execute(Config::process(2), move |worker| {
            let (index, found) = (worker.index() as u64, Arc::clone(&found));
            let heap = Heap::<Row, u64>::new(worker.index());
            let (mut questions, probe) = (InputSession::new(), Handle::new());
            worker.dataflow(|scope| {
                let questions = questions.to_collection(scope);
                look_up(questions, &heap, "rows", |row, found: &Row| Some((row, *found)))
                    .inspect(move |((asked, row), tick, diff)| {
                        assert_eq!(asked, &(row.0, row.1));
                        found.lock().unwrap().push((*row, *tick, *diff));
                    })
                    .probe_with(&probe);
            });
            let mut most = 0;
            for tick in 0..TICKS {
                for number in 0..A_TICK {
                    let row = Row(tick, 2 * number + index);
                    all.lock().unwrap().push((heap.push(row), row));
                }
                // Rows of both workers, some of them about to expire.
                let rows = all.lock().unwrap();
                let live = rows.iter().rev().take_while(|(_, row)| row.0 + LIFE > tick + 1);
                for (id, row) in live.step_by(31).filter(|(_, row)| row.0 <= tick) {
                    questions.update((*id, (row.0, row.1)), 1isize);
                }
                drop(rows);
                questions.advance_to(tick + 1);
                questions.flush();
                while probe.less_than(&(tick + 1)) {
                    worker.step();
                }
                most = most.max(heap.len());
            }
            (most, heap.len())
        });
        for (most, last) in guards.expect("workers start").join().into_iter().map(|counts| counts.unwrap()) {
            let live = ((LIFE - 1) * A_TICK) as usize;
            assert!(most < live + 3 * SEGMENT_ROWS && last >= live, "{most}, then {last}, of {live} live rows");
        }
        let answers = answers.lock().unwrap();
        assert!(answers.len() as u64 > TICKS * LIFE, "{}", answers.len());
        assert!(answers.iter().all(|(_, _, diff)| *diff == 1));
    }

    #[test]
    fn no_number_is_given_twice() {
        let heap = Heap::<Row, u64>::new(0);
        let reader = heap.reader();
        let mut numbers: Vec<u64> = Vec::new();
        let mut push = |tick| numbers.push(heap.push(Row(tick, 0)).number());
        // The first segment outlives the second.
        push(1_000);
        (1..2 * SEGMENT_ROWS).for_each(|_| push(0));
        heap.advance(reader, &LIFE);
        assert_eq!(heap.len(), SEGMENT_ROWS);
        push(1_001);
        assert!(numbers.is_sorted_by(|one, next| one < next), "{numbers:?}");
        assert_eq!(heap.0.borrow().get(*numbers.last().unwrap()), Some(&Row(1_001, 0)));
    }

    #[test]
    fn a_row_that_never_expires_stays() {
        #[derive(Clone)]
        struct Eternal;
        impl Expires<u64> for Eternal {
            fn expiry(&self) -> Option<u64> {
                None
            }
        }
        let heap = Heap::<Eternal, u64>::new(0);
        let reader = heap.reader();
        let first = heap.push(Eternal);
        for _ in 0..3 * SEGMENT_ROWS {
            heap.push(Eternal);
        }
        heap.advance(reader, &u64::MAX);
        assert_eq!(heap.len(), 3 * SEGMENT_ROWS + 1);
        assert!(heap.0.borrow().get(first.number()).is_some());
    }
}
