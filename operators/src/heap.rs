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
//! **State.** Rows that have not expired, and what shares a segment with one (`crate::segments`). A push costs a copy, a look-up
//! two pointers. A table whose rows never expire is an arrangement: differential's own, or [`crate::arrange_shared`].

use std::cell::RefCell;
use std::rc::Rc;

use differential_dataflow::{AsCollection, ExchangeData, VecCollection};
use serde::{Deserialize, Serialize};
use timely::dataflow::channels::pact::Exchange;
use timely::dataflow::operators::Operator;
use timely::progress::Timestamp;

use crate::Expires;
use crate::segments::Segments;

/// The bits of a [`RowId`] that number the rows of a heap.
const NUMBER_BITS: u32 = 48;
/// The bits above them that number the heaps of a worker; the others number the worker.
const HEAP_BITS: u32 = 4;

/// Where a row is, at an alignment of 4 bytes so that small index entries stay small.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RowId([u32; 2]);

impl RowId {
    fn new(worker: usize, heap: u8, number: u64) -> RowId {
        let id = ((worker as u64) << HEAP_BITS | u64::from(heap)) << NUMBER_BITS | number;
        RowId([(id >> 32) as u32, id as u32])
    }

    fn id(self) -> u64 {
        u64::from(self.0[0]) << 32 | u64::from(self.0[1])
    }

    fn worker(self) -> u64 {
        self.id() >> (NUMBER_BITS + HEAP_BITS)
    }

    /// The number of its heap among those of its worker.
    pub fn heap(self) -> u8 {
        (self.id() >> NUMBER_BITS) as u8 % (1 << HEAP_BITS)
    }

    fn number(self) -> u64 {
        self.id() & ((1 << NUMBER_BITS) - 1)
    }
}

/// Some of the rows of one worker. Clones are the same heap.
pub struct Heap<R, T>(Rc<RefCell<Numbered<R, T>>>);

impl<R, T> Clone for Heap<R, T> {
    fn clone(&self) -> Self {
        Heap(Rc::clone(&self.0))
    }
}

struct Numbered<R, T> {
    worker: usize,
    heap: u8,
    rows: Segments<R, T>,
}

impl<R: Expires<T> + Clone, T: Timestamp + Ord> Heap<R, T> {
    /// An empty heap for the worker of this index; `heap` tells it from the others of the worker.
    pub fn new(worker: usize, heap: u8) -> Self {
        assert!(worker < 1 << (u64::BITS - NUMBER_BITS - HEAP_BITS) && heap < 1 << HEAP_BITS, "numbers fit their bits");
        Heap(Rc::new(RefCell::new(Numbered { worker, heap, rows: Segments::starting_at(0) })))
    }

    /// Keeps a row and tells where.
    pub fn push(&self, row: R) -> RowId {
        let Numbered { worker, heap, rows } = &mut *self.0.borrow_mut();
        RowId::new(*worker, *heap, rows.push(row))
    }

    /// The rows that it holds.
    pub fn len(&self) -> usize {
        self.0.borrow().rows.len()
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Answers questions to rows of a heap by their number: what `answer` makes of a question and its row, if anything.
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
    let (heap, reader) = (heap.clone(), heap.0.borrow_mut().rows.reader());
    let to_worker = Exchange::new(|((row, _), _, _): &((RowId, Q), T, isize)| row.worker());
    let answers = questions.inner.unary_frontier(to_worker, name, move |_, _| {
        move |(input, frontier), output| {
            input.for_each(|capability, questions| {
                let heap = heap.0.borrow();
                let answers = questions.drain(..).filter_map(|((row, question), time, diff)| {
                    debug_assert_eq!(row.heap(), heap.heap);
                    let answer = answer(question, heap.rows.get(row.number())?)?;
                    Some((answer, time, diff))
                });
                output.session(&capability).give_iterator(answers);
            });
            if let Some(since) = frontier.frontier().first() {
                heap.0.borrow_mut().rows.advance(reader, since, false);
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
    use crate::segments::SEGMENT_ROWS;

    /// How long a row can be found.
    const LIFE: u64 = 50;

    /// A row: when it came, and which of its tick it is.
    #[derive(Clone, Copy, Debug, PartialEq)]
    struct Row(u64, u64);

    impl Expires<u64> for Row {
        fn expiry(&self) -> u64 {
            self.0 + LIFE
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
            let heap = Heap::<Row, u64>::new(worker.index(), 3);
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
}
