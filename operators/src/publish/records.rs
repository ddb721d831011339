//! Keyed records among what is published: read where they are changed, at the tick of all views.

use std::any::TypeId;
use std::marker::PhantomData;
use std::sync::Arc;

use differential_dataflow::hashable::Hashable;

use super::{Hub, Publisher, ShardView, Snapshot, Trace};
use crate::records::{Records, TooOld};

/// Names published records by `K`, read with the help of an `A`. Good for the [`Hub`] that gave it.
pub struct RecordsView<K, R, A> {
    index: usize,
    of: PhantomData<fn() -> (K, R, A)>,
}

impl<K, R, A> Clone for RecordsView<K, R, A> {
    fn clone(&self) -> RecordsView<K, R, A> {
        *self
    }
}

impl<K, R, A> Copy for RecordsView<K, R, A> {}

/// What a worker has published of records, and what it takes to read them.
struct Readable<K, R, A>(Records<K, R>, Arc<A>);

/// The same, at its worker.
struct Registered<K, R, A>(Arc<Readable<K, R, A>>);

impl<K, R, A> RecordsView<K, R, A>
where
    K: Clone + Eq + Send + Sync + 'static,
    R: Send + 'static,
    A: Send + Sync + 'static,
{
    fn of(self, shard: &ShardView) -> &Readable<K, R, A> {
        shard.content.downcast_ref().expect("a view is used with its own hub")
    }
}

impl Hub {
    /// The records of a name and type, if a worker has registered them.
    pub fn records<K: 'static, R: 'static, A: 'static>(&self, name: &str) -> Option<RecordsView<K, R, A>> {
        Some(RecordsView { index: self.index(name, TypeId::of::<Readable<K, R, A>>())?, of: PhantomData })
    }
}

impl Publisher {
    /// Adds the records of this worker, which readers read with the help of `aside`: what it takes to make sense of a record of this
    /// worker. The same rules hold as for [`Publisher::register`].
    pub fn register_records<K, R, A>(
        &mut self,
        name: &str,
        records: Records<K, R>,
        aside: Arc<A>,
    ) -> RecordsView<K, R, A>
    where
        K: Clone + Eq + Send + Sync + 'static,
        R: Send + 'static,
        A: Send + Sync + 'static,
    {
        let registered = Registered(Arc::new(Readable(records, aside)));
        let index = self.add(name, TypeId::of::<Readable<K, R, A>>(), Box::new(registered));
        RecordsView { index, of: PhantomData }
    }
}

impl<K, R, A> Trace for Registered<K, R, A>
where
    K: Clone + Eq + Send + Sync + 'static,
    R: Send + 'static,
    A: Send + Sync + 'static,
{
    fn complete(&mut self) -> Option<u64> {
        self.0.0.complete()
    }

    fn shard_view(&mut self) -> ShardView {
        // How far back it goes is asked of it with each read.
        let (content, complete) = (Arc::clone(&self.0) as _, self.0.0.complete());
        ShardView { content, updates: self.0.0.len(), since: 0, complete }
    }

    fn compact(&mut self, since: Option<u64>) {
        if let Some(since) = since {
            self.0.0.let_go(since);
        }
    }
}

impl Snapshot {
    /// What `read` makes of the record of a key at this tick; none where there is none. The worker waits meanwhile if it needs the
    /// same shard: `read` copies what it needs, and no more.
    ///
    /// # Errors
    /// Where readers have passed this tick long enough for the record to be known no more: take another snapshot and begin again, with
    /// all that is to be read at one tick.
    ///
    /// # Panics
    /// Where the view is another hub's.
    pub fn record<K, R, A, X>(
        &self,
        view: RecordsView<K, R, A>,
        key: &K,
        read: impl FnOnce(&Arc<A>, &R) -> X,
    ) -> Result<Option<X>, TooOld>
    where
        K: Hashable<Output: Into<u64>> + Clone + Eq + Send + Sync + 'static,
        R: Send + 'static,
        A: Send + Sync + 'static,
    {
        let Readable(records, aside) = view.of(self.shard_of(view.index, key));
        records.read(key.hashed().into(), key, self.tick, |record| read(aside, record))
    }

    /// A fault: the record as it is, whatever the tick.
    #[cfg(test)]
    pub(crate) fn record_as_it_is<K, R, A, X>(
        &self,
        view: RecordsView<K, R, A>,
        key: &K,
        read: impl FnOnce(&Arc<A>, &R) -> X,
    ) -> Result<Option<X>, TooOld>
    where
        K: Hashable<Output: Into<u64>> + Clone + Eq + Send + Sync + 'static,
        R: Send + 'static,
        A: Send + Sync + 'static,
    {
        let Readable(records, aside) = view.of(self.shard_of(view.index, key));
        records.read(key.hashed().into(), key, u64::MAX, |record| read(aside, record))
    }
}
