//! Arrangements whose batches other threads may read.
//!
//! Differential's spines hold `Rc` batches. A batch never changes once it is built, so an `Arc` is all that another
//! thread needs: [`Shared`] wraps it, and [`SharedBuilder`], [`SharedMerger`] and [`SharedCursor`] forward to the
//! inner type as differential's own implementations for `Rc` do. Spines, joins and reductions take the result as
//! any other trace; a count of an `Arc` is touched per batch, never per row.

use std::marker::PhantomData;
use std::ops::Deref;
use std::sync::Arc;

use differential_dataflow::difference::{Abelian, Semigroup};
use differential_dataflow::hashable::Hashable;
use differential_dataflow::lattice::Lattice;
use differential_dataflow::operators::arrange::{Arranged, TraceAgent};
use differential_dataflow::trace::cursor::{BatchCursor, BatchDiff, BatchVal};
use differential_dataflow::trace::implementations::Vector;
use differential_dataflow::trace::implementations::ord_neu::{OrdValBatch, OrdValBatcher, OrdValBuilder};
use differential_dataflow::trace::implementations::spine_fueled::Spine;
use differential_dataflow::trace::{Batch, BatchReader, Builder, Cursor, Description, Merger, Navigable, TraceReader};
use differential_dataflow::{ExchangeData, VecCollection};
use timely::progress::{Antichain, Timestamp, frontier::AntichainRef};

/// A batch of `(K, V)` rows that any thread may read.
pub type SharedValBatch<K, V, T, R> = Shared<OrdValBatch<Vector<((K, V), T, R)>>>;
/// A trace of such batches.
pub type SharedValSpine<K, V, T, R> = Spine<SharedValBatch<K, V, T, R>>;
/// Sorts what goes into it.
pub type SharedValBatcher<K, V, T, R> = OrdValBatcher<K, V, T, R>;
/// Builds its batches.
pub type SharedValBuilder<K, V, T, R> = SharedBuilder<OrdValBuilder<Vector<((K, V), T, R)>, Vec<((K, V), T, R)>>>;

/// Arranges `(key, value)` rows so that other threads may read them.
pub fn arrange_shared<'scope, T, K, V, R>(
    collection: VecCollection<'scope, T, (K, V), R>,
    name: &str,
) -> Arranged<'scope, TraceAgent<SharedValSpine<K, V, T, R>>>
where
    T: Timestamp + Lattice,
    K: ExchangeData + Hashable,
    V: ExchangeData,
    R: ExchangeData + Semigroup,
{
    use differential_dataflow::operators::arrange::Arrange;
    collection.arrange_named::<SharedValBatcher<_, _, _, _>, SharedValBuilder<_, _, _, _>, _>(name)
}

/// Reduces an arrangement to one whose output other threads may read: differential's `reduce_abelian`, with the
/// output trace chosen.
///
/// `logic` gets the key, its accumulated values in order, and the output to fill. It must not yield a value for a key
/// without input.
pub fn reduce_shared<'scope, Tr, K, V, R, L>(
    input: Arranged<'scope, Tr>,
    name: &str,
    logic: L,
) -> Arranged<'scope, TraceAgent<SharedValSpine<K, V, Tr::Time, R>>>
where
    Tr: TraceReader<Batch: Navigable> + 'static,
    BatchCursor<Tr>: Cursor<Time = Tr::Time, KeyContainer = Vec<K>>,
    for<'a> BatchCursor<Tr>: Cursor<Key<'a> = &'a K>,
    K: ExchangeData,
    V: ExchangeData,
    R: ExchangeData + Abelian,
    L: FnMut(&K, &[(BatchVal<'_, Tr>, BatchDiff<Tr>)], &mut Vec<(V, R)>) + 'static,
{
    input.reduce_abelian::<L, SharedValBuilder<K, V, Tr::Time, R>, SharedValSpine<K, V, Tr::Time, R>, Vec<K>, _>(
        name,
        logic,
        |chunk, key, updates| {
            chunk.clear();
            chunk.extend(updates.drain(..).map(|(val, time, diff)| ((key.clone(), val), time, diff)));
        },
    )
}

/// An immutable batch that threads share.
#[derive(Debug)]
pub struct Shared<B>(Arc<B>);

impl<B> Shared<B> {
    /// Shares a batch.
    pub fn new(batch: B) -> Shared<B> {
        Shared(Arc::new(batch))
    }
}

impl<B> Clone for Shared<B> {
    fn clone(&self) -> Shared<B> {
        Shared(Arc::clone(&self.0))
    }
}

impl<B> Deref for Shared<B> {
    type Target = B;

    fn deref(&self) -> &B {
        &self.0
    }
}

impl<B: BatchReader> BatchReader for Shared<B> {
    type Time = B::Time;

    fn len(&self) -> usize {
        self.0.len()
    }

    fn description(&self) -> &Description<B::Time> {
        self.0.description()
    }
}

impl<B: Navigable + 'static> Navigable for Shared<B> {
    type Cursor = SharedCursor<B::Cursor, Shared<B>>;

    fn cursor(&self) -> Self::Cursor {
        SharedCursor::new(self.0.cursor())
    }
}

impl<B: Batch> Batch for Shared<B> {
    type Merger = SharedMerger<B>;

    fn empty(lower: Antichain<B::Time>, upper: Antichain<B::Time>) -> Self {
        Shared::new(B::empty(lower, upper))
    }
}

/// Builds a batch and shares it.
pub struct SharedBuilder<B>(B);

impl<B: Builder> Builder for SharedBuilder<B> {
    type Input = B::Input;
    type Time = B::Time;
    type Output = Shared<B::Output>;

    fn with_capacity(keys: usize, vals: usize, upds: usize) -> Self {
        SharedBuilder(B::with_capacity(keys, vals, upds))
    }

    fn push(&mut self, chunk: &mut B::Input) {
        self.0.push(chunk)
    }

    fn done(self, description: Description<B::Time>) -> Self::Output {
        Shared::new(self.0.done(description))
    }

    fn seal(chain: &mut Vec<B::Input>, description: Description<B::Time>) -> Self::Output {
        Shared::new(B::seal(chain, description))
    }
}

/// Merges two shared batches into one.
pub struct SharedMerger<B: Batch>(B::Merger);

impl<B: Batch> Merger<Shared<B>> for SharedMerger<B> {
    fn new(source1: &Shared<B>, source2: &Shared<B>, since: AntichainRef<B::Time>) -> Self {
        SharedMerger(source1.0.begin_merge(&source2.0, since))
    }

    fn work(&mut self, source1: &Shared<B>, source2: &Shared<B>, fuel: &mut isize) {
        self.0.work(&source1.0, &source2.0, fuel)
    }

    fn done(self) -> Shared<B> {
        Shared::new(self.0.done())
    }
}

/// Walks a batch through `S`, which holds it.
pub struct SharedCursor<C, S>(C, PhantomData<fn() -> S>);

impl<C: Cursor<Storage: 'static>, S: Deref<Target = C::Storage>> SharedCursor<C, S> {
    pub(crate) fn new(cursor: C) -> SharedCursor<C, S> {
        SharedCursor(cursor, PhantomData)
    }
}

impl<C: Cursor<Storage: 'static>, S: Deref<Target = C::Storage>> Cursor for SharedCursor<C, S> {
    type Storage = S;

    type Key<'a> = C::Key<'a>;
    type ValOwn = C::ValOwn;
    type Val<'a> = C::Val<'a>;
    type Time = C::Time;
    type TimeGat<'a> = C::TimeGat<'a>;
    type Diff = C::Diff;
    type DiffGat<'a> = C::DiffGat<'a>;
    type KeyContainer = C::KeyContainer;
    type ValContainer = C::ValContainer;
    type TimeContainer = C::TimeContainer;
    type DiffContainer = C::DiffContainer;

    #[inline]
    fn key_valid(&self, storage: &Self::Storage) -> bool {
        self.0.key_valid(storage)
    }

    #[inline]
    fn val_valid(&self, storage: &Self::Storage) -> bool {
        self.0.val_valid(storage)
    }

    #[inline]
    fn key<'a>(&self, storage: &'a Self::Storage) -> Self::Key<'a> {
        self.0.key(storage)
    }

    #[inline]
    fn val<'a>(&self, storage: &'a Self::Storage) -> Self::Val<'a> {
        self.0.val(storage)
    }

    #[inline]
    fn get_key<'a>(&self, storage: &'a Self::Storage) -> Option<Self::Key<'a>> {
        self.0.get_key(storage)
    }

    #[inline]
    fn get_val<'a>(&self, storage: &'a Self::Storage) -> Option<Self::Val<'a>> {
        self.0.get_val(storage)
    }

    #[inline]
    fn map_times<L: FnMut(Self::TimeGat<'_>, Self::DiffGat<'_>)>(&mut self, storage: &Self::Storage, logic: L) {
        self.0.map_times(storage, logic)
    }

    #[inline]
    fn step_key(&mut self, storage: &Self::Storage) {
        self.0.step_key(storage)
    }

    #[inline]
    fn seek_key(&mut self, storage: &Self::Storage, key: Self::Key<'_>) {
        self.0.seek_key(storage, key)
    }

    #[inline]
    fn step_val(&mut self, storage: &Self::Storage) {
        self.0.step_val(storage)
    }

    #[inline]
    fn seek_val(&mut self, storage: &Self::Storage, val: Self::Val<'_>) {
        self.0.seek_val(storage, val)
    }

    #[inline]
    fn rewind_keys(&mut self, storage: &Self::Storage) {
        self.0.rewind_keys(storage)
    }

    #[inline]
    fn rewind_vals(&mut self, storage: &Self::Storage) {
        self.0.rewind_vals(storage)
    }
}
