//! Changes of the maintained views, on their way from a worker to whoever writes them.
//!
//! A worker keeps what its dataflow makes until a cut is announced ([`Backlog`]) and hands over what belongs to it
//! ([`CutChanges`]): of a view of rows the batches of its arrangement, which threads share; of a log of sums what was added. They
//! become Arrow rows piece by piece while the file is written. So a worker's share of a commit is a pointer for each batch, however
//! many rows; what comes and goes between two cuts never becomes a row; and rows that are many times as large as what they follow
//! from are never all in memory.

use std::cell::RefCell;
use std::fmt::Debug;
use std::hash::{BuildHasher, Hash};
use std::iter;
use std::marker::PhantomData;
use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;

use arrow::array::RecordBatch;
use differential_dataflow::consolidation::consolidate_updates;
use differential_dataflow::trace::{BatchReader, Cursor, Navigable};
use differential_dataflow::{AsCollection, Data, VecCollection};
use foldhash::fast::FixedState;
use schemas::Tick;
use schemas::table::Columns;
use timely::dataflow::Stream;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::generic::Operator;

use crate::grid::cut_of;
use crate::overflow::fits;

/// Rows of one batch, if they are to be made: a column is made of all of them before the next, so they should stay in a
/// processor's cache meanwhile.
pub const BATCH_ROWS: usize = 1 << 10;

/// Which changes of a view its table lacks.
#[derive(Clone, Copy, Debug)]
pub struct Cutover {
    /// *m*: everything before it is there.
    pub replay_from: Tick,
    /// *N*, where the table is new: its first commit is the whole state at this cut.
    pub snapshot_at: Option<Tick>,
}

impl Cutover {
    /// The cut by which a change that comes at `tick` is to be written; none where the table holds it.
    pub fn cut(self, tick: Tick) -> Option<Tick> {
        match self.snapshot_at {
            Some(committed) => Some(cut_of(tick).max(committed)),
            None => (tick >= self.replay_from).then(|| cut_of(tick)),
        }
    }
}

/// The changes of one view on one worker that wait for their cut.
pub trait Backlog {
    /// Takes what came before a cut. All of that has come.
    fn take_through(&mut self, cut: Tick) -> Arc<dyn CutChanges>;

    /// Memory of what waits, about; none where nothing does.
    fn bytes(&self) -> usize;
}

impl<B: Backlog> Backlog for Rc<RefCell<B>> {
    fn take_through(&mut self, cut: Tick) -> Arc<dyn CutChanges> {
        self.borrow_mut().take_through(cut)
    }

    fn bytes(&self) -> usize {
        self.borrow().bytes()
    }
}

/// The changes of one view on one worker up to a cut. They are made into rows while they are written.
pub trait CutChanges: Send + Sync {
    /// The consolidated changes of cuts after `done`, in batches of the columns of the view's changelog.
    fn after(&self, done: Tick) -> Box<dyn Iterator<Item = RecordBatch> + '_>;
}

/// How the values that a view arranges become rows of its table.
pub trait ToRows<V>: Send + Sync + 'static {
    /// A row of the table.
    type Row: Columns + Ord;
    /// Values of one group may have rows in common: they are made together, so that only rows that differ are written.
    type Group: Ord;

    /// The group of a value.
    fn group(&self, value: &V) -> Self::Group;

    /// The rows that follow from a value.
    fn rows(&self, value: &V) -> Vec<Self::Row>;

    /// Rows that have in the columns which the view is read by what its rows have: the value is found by them. Fewer may do.
    fn read_as(&self, value: &V) -> Vec<Self::Row> {
        self.rows(value)
    }
}

/// Where what is arranged are the rows.
pub(crate) struct AsArranged;

impl<R: Columns + Ord + Clone> ToRows<R> for AsArranged {
    type Row = R;
    type Group = R;

    fn group(&self, row: &R) -> R {
        row.clone()
    }

    fn rows(&self, row: &R) -> Vec<R> {
        vec![row.clone()]
    }
}

/// The changes of a view of rows that wait for their cut.
pub(crate) struct RowBacklog<V, B, R> {
    cutover: Cutover,
    batches: Vec<(B, Range<Tick>)>,
    rows: Arc<R>,
    value: PhantomData<fn() -> V>,
}

impl<V, B: BatchReader<Time = Tick> + Clone, R> RowBacklog<V, B, R> {
    /// None yet, of a table that lacks these.
    pub(crate) fn new(cutover: Cutover, rows: Arc<R>) -> Self {
        RowBacklog { cutover, batches: Vec::new(), rows, value: PhantomData }
    }

    /// Keeps a batch, unless the table holds all of it.
    pub(crate) fn push(&mut self, batch: &B) {
        let from = batch.lower().as_option().copied().unwrap_or(Tick::MAX);
        let to = batch.upper().as_option().copied().unwrap_or(Tick::MAX);
        if !batch.is_empty() && self.cutover.cut(to.saturating_sub(1)).is_some() {
            self.batches.push((batch.clone(), from..to));
        }
    }

    fn take(&mut self, cut: Tick) -> CutRows<V, B, R> {
        let mut taken = Vec::new();
        self.batches.retain_mut(|(batch, ticks)| {
            if ticks.start < cut {
                taken.push((batch.clone(), ticks.start..ticks.end.min(cut)));
            }
            ticks.start = ticks.start.max(cut);
            !ticks.is_empty()
        });
        CutRows { cutover: self.cutover, batches: taken, rows: Arc::clone(&self.rows), value: PhantomData }
    }
}

/// The changes of a view of rows up to a cut.
struct CutRows<V, B, R> {
    cutover: Cutover,
    batches: Vec<(B, Range<Tick>)>,
    rows: Arc<R>,
    value: PhantomData<fn() -> V>,
}

/// Batches of values that rows follow from.
pub(crate) trait Values<V>:
    BatchReader<Time = Tick>
    + Navigable<Cursor: for<'a> Cursor<Storage = Self, Time = Tick, Diff = isize, Val<'a> = &'a V>>
    + Clone
    + Send
    + Sync
    + 'static
{
}

impl<V, B> Values<V> for B where
    B: BatchReader<Time = Tick>
        + Navigable<Cursor: for<'a> Cursor<Storage = B, Time = Tick, Diff = isize, Val<'a> = &'a V>>
        + Clone
        + Send
        + Sync
        + 'static
{
}

/// Visits each value of a batch, its tick and difference.
pub(crate) fn each_value<'a, V: 'a, B: Values<V>>(batch: &'a B, mut visit: impl FnMut(&'a V, Tick, isize)) {
    let mut cursor = batch.cursor();
    while cursor.key_valid(batch) {
        while let Some(value) = cursor.get_val(batch) {
            cursor.map_times(batch, |tick, diff| {
                visit(value, B::Cursor::owned_time(tick), B::Cursor::owned_diff(diff));
            });
            cursor.step_val(batch);
        }
        cursor.step_key(batch);
    }
}

/// What `of_value` makes of each value that comes or goes in the batches of an arrangement.
pub(crate) fn each_change<'scope, V: 'static, B: Values<V>, D: Data>(
    batches: Stream<'scope, Tick, Vec<B>>,
    name: &str,
    of_value: impl Fn(&V) -> Option<D> + 'static,
) -> VecCollection<'scope, Tick, D, isize> {
    let changes = batches.unary(Pipeline, name, move |_, _| {
        move |input, output| {
            input.for_each(|capability, batches| {
                let mut session = output.session(&capability);
                for batch in batches.iter() {
                    each_value(batch, |value, tick, diff| {
                        if let Some(made) = of_value(value) {
                            session.give((made, tick, diff));
                        }
                    });
                }
            });
        }
    });
    changes.as_collection()
}

impl<V: Ord, B: Values<V>, R> CutRows<V, B, R> {
    /// Each value that came or went in a cut after `done`, its cut and how often, consolidated.
    fn values(&self, done: Tick) -> Vec<(&V, Tick, i64)> {
        let mut values = Vec::new();
        for (batch, ticks) in &self.batches {
            each_value(batch, |value, tick, diff| {
                let cut = self.cutover.cut(tick).filter(|cut| ticks.contains(&tick) && *cut > done);
                values.extend(cut.map(|cut| (value, cut, diff as i64)));
            });
        }
        consolidate_updates(&mut values);
        values
    }
}

impl<V: Ord + 'static, B: Values<V>, R: ToRows<V>> Backlog for RowBacklog<V, B, R> {
    fn take_through(&mut self, cut: Tick) -> Arc<dyn CutChanges> {
        Arc::new(self.take(cut))
    }

    fn bytes(&self) -> usize {
        self.batches.iter().map(|(batch, _)| batch.len() * size_of::<(V, Tick, isize)>()).sum()
    }
}

impl<V: Ord + 'static, B: Values<V>, R: ToRows<V>> CutChanges for CutRows<V, B, R> {
    /// A batch has about [`BATCH_ROWS`] rows, and whole groups.
    fn after(&self, done: Tick) -> Box<dyn Iterator<Item = RecordBatch> + '_> {
        let to_rows = &*self.rows;
        let mut values = self.values(done);
        values.sort_by_cached_key(|(value, _, _)| to_rows.group(value));
        let mut values = values.into_iter().peekable();
        Box::new(iter::from_fn(move || {
            let (mut rows, mut of_group) = (Vec::new(), Vec::new());
            while rows.len() < BATCH_ROWS
                && let Some((value, cut, diff)) = values.next()
            {
                of_group.extend(to_rows.rows(value).into_iter().map(|row| (row, cut, diff)));
                if values.peek().is_none_or(|(next, _, _)| to_rows.group(next) != to_rows.group(value)) {
                    consolidate_updates(&mut of_group);
                    rows.append(&mut of_group);
                }
            }
            (!rows.is_empty()).then(|| R::Row::changes(&rows))
        }))
    }
}

/// A row of a log of sums: what is added to a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sum<K, const N: usize> {
    /// What the sums are grouped by.
    pub key: K,
    /// What is added: one number a measure.
    pub sums: [i64; N],
}

/// What a log of sums is grouped by.
pub trait SumKey: Copy + Ord + Hash + Debug + Send + Sync + 'static {}

impl<K: Copy + Ord + Hash + Debug + Send + Sync + 'static> SumKey for K {}

/// What was added to a log of sums and waits for its cut.
pub(crate) struct SumBacklog<K, const N: usize> {
    cutover: Cutover,
    waiting: Vec<(Tick, Sum<K, N>)>,
    /// When so many wait, those of one cut and key are added up: a table that is new waits for all of history. Otherwise that is
    /// left to whoever writes them, for it costs more than all else.
    merge_at: usize,
}

/// The fewest that are worth it: more than commonly wait for a commit.
const MERGE_AT_MIN: usize = 1 << 20;

impl<K: SumKey, const N: usize> SumBacklog<K, N> {
    /// None yet, of a table that lacks these.
    pub(crate) fn new(cutover: Cutover) -> Self {
        SumBacklog { cutover, waiting: Vec::new(), merge_at: MERGE_AT_MIN }
    }

    /// Adds what is made at a tick, if anything, so many times. Nothing is made where the table holds it already.
    pub(crate) fn add(&mut self, tick: Tick, times: isize, make: impl FnOnce() -> Option<Sum<K, N>>) {
        if let Some(cut) = self.cutover.cut(tick)
            && let Some(Sum { key, sums }) = make()
        {
            self.waiting.push((cut, Sum { key, sums: sums.map(|sum| sum * times as i64) }));
        }
    }

    fn take(&mut self, cut: Tick) -> Vec<(Tick, Sum<K, N>)> {
        // Few have come since the cut: it is they that are moved.
        let later = self.waiting.extract_if(.., |(of, _)| *of > cut).collect();
        std::mem::replace(&mut self.waiting, later)
    }

    /// Ends a step.
    pub(crate) fn end_step(&mut self) {
        if self.waiting.len() >= self.merge_at {
            merge(&mut self.waiting);
            self.merge_at = MERGE_AT_MIN.max(2 * self.waiting.len());
        }
    }
}

/// Adds up what there is of each cut and key, in the order of cuts; what comes to nothing is left out.
///
/// Keys are large, so it is not them that are sorted but their hashes.
fn merge<K: SumKey, const N: usize>(additions: &mut Vec<(Tick, Sum<K, N>)>) {
    let hasher = FixedState::default();
    let place = |(at, (cut, sum)): (usize, &(Tick, Sum<K, N>))| (*cut, hasher.hash_one(sum.key), at as u32);
    let mut places: Vec<(Tick, u64, u32)> = additions.iter().enumerate().map(place).collect();
    places.sort_unstable();
    let mut merged: Vec<(Tick, Sum<K, N>)> = Vec::new();
    for same_hash in places.chunk_by(|(cut, hash, _), (of, other, _)| (cut, hash) == (of, other)) {
        let first = merged.len();
        for (cut, _, at) in same_hash {
            let (_, more) = additions[*at as usize];
            match merged[first..].iter_mut().find(|(_, sum)| sum.key == more.key) {
                Some((_, sum)) => plus(&mut sum.sums, &more.sums),
                None => merged.push((*cut, more)),
            }
        }
    }
    merged.retain(|(_, sum)| sum.sums != [0; N]);
    *additions = merged;
}

/// Adds sums.
///
/// # Panics
/// When one is too large for its column: a wrong number would be worse.
fn plus<const N: usize>(sums: &mut [i64; N], more: &[i64; N]) {
    for (sum, more) in sums.iter_mut().zip(more) {
        *sum = fits(sum.checked_add(*more), "what is added to a row");
    }
}

impl<K: SumKey, const N: usize> Backlog for SumBacklog<K, N>
where
    Sum<K, N>: Columns,
{
    fn take_through(&mut self, cut: Tick) -> Arc<dyn CutChanges> {
        Arc::new(CutSums(self.take(cut)))
    }

    fn bytes(&self) -> usize {
        size_of_val(&*self.waiting)
    }
}

/// Rows that came and went, are arranged nowhere, and wait for their cut: how often each did is a sum.
pub(crate) struct ChangeBacklog<R>(SumBacklog<R, 1>);

impl<R: SumKey> ChangeBacklog<R> {
    /// None yet, of a table that lacks these.
    pub(crate) fn new(cutover: Cutover) -> Self {
        ChangeBacklog(SumBacklog::new(cutover))
    }

    /// Adds the rows of a step.
    pub(crate) fn add(&mut self, rows: &[(R, Tick, isize)]) {
        rows.iter().for_each(|(row, tick, diff)| self.0.add(*tick, *diff, || Some(Sum { key: *row, sums: [1] })));
        self.0.end_step();
    }
}

impl<R: SumKey + Columns> Backlog for ChangeBacklog<R> {
    fn take_through(&mut self, cut: Tick) -> Arc<dyn CutChanges> {
        Arc::new(CutRowSums(self.0.take(cut)))
    }

    fn bytes(&self) -> usize {
        size_of_val(&*self.0.waiting)
    }
}

/// Rows that came and went up to a cut.
struct CutRowSums<R>(Vec<(Tick, Sum<R, 1>)>);

impl<R: SumKey + Columns> CutChanges for CutRowSums<R> {
    fn after(&self, done: Tick) -> Box<dyn Iterator<Item = RecordBatch> + '_> {
        let rows = merged_after(&self.0, done);
        let changes = rows.into_iter().map(|(cut, Sum { key, sums: [diff] })| (key, cut, diff)).collect();
        in_batches(changes, R::changes)
    }
}

/// What was added to a log of sums up to a cut.
struct CutSums<K, const N: usize>(Vec<(Tick, Sum<K, N>)>);

impl<K: SumKey, const N: usize> CutChanges for CutSums<K, N>
where
    Sum<K, N>: Columns,
{
    fn after(&self, done: Tick) -> Box<dyn Iterator<Item = RecordBatch> + '_> {
        in_batches(merged_after(&self.0, done).into_iter().map(|(cut, sum)| (sum, cut)).collect(), Sum::additions)
    }
}

/// What was added in cuts after `done`, added up.
fn merged_after<K: SumKey, const N: usize>(added: &[(Tick, Sum<K, N>)], done: Tick) -> Vec<(Tick, Sum<K, N>)> {
    let mut additions = added.iter().filter(|(cut, _)| *cut > done).copied().collect();
    merge(&mut additions);
    additions
}

/// Batches of about [`BATCH_ROWS`] of these, each made when it is asked for.
fn in_batches<'a, C: 'a>(all: Vec<C>, batch: fn(&[C]) -> RecordBatch) -> Box<dyn Iterator<Item = RecordBatch> + 'a> {
    let mut from = 0;
    Box::new(iter::from_fn(move || {
        let to = all.len().min(from + BATCH_ROWS);
        let made = (from < to).then(|| batch(&all[from..to]));
        from = to;
        made
    }))
}

#[cfg(test)]
mod tests;
