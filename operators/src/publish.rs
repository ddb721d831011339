//! Hands arrangements to readers on other threads, all views at one tick.
//!
//! Each worker owns a [`Publisher`] with the traces of the views that are read, the same views in the same order on
//! every worker. After a step it publishes its *shard*: of each view the list of batches, their `since` and their
//! `upper`. A [`Hub`] holds the latest shards of all workers behind one pointer that is swapped atomically. A reader
//! takes a [`Snapshot`]: it never waits for a worker and never makes one wait.
//!
//! **The tick of a snapshot** is *t* = min(`upper`) − 1 over all shards and views: the last tick that every one of
//! them has complete. Updates later than *t* that a shard already holds are not counted. A snapshot is given out only
//! where `since` ≤ *t* in all of them.
//!
//! **Why that always holds once it did.** Shards are swapped one at a time under a lock among publishers, and uppers
//! only grow, so *t* only grows. A publisher lets its traces compact to the *t* of the pointer that it has just
//! swapped in; so no later pointer holds a `since` above its own *t*. A snapshot that is held keeps its batches, which
//! never change, so compaction goes on without regard to it: what a slow reader costs is memory, not progress.
//!
//! **Keyed records** are published beside arrangements, at the same tick, and are changed in place ([`crate::records`]): a snapshot does
//! not hold them, so a read of them may be refused once readers have passed its tick.
//!
//! **Who frees.** Every pointer that is replaced goes to the reaper, a thread that drops it once no reader has it.
//! A batch leaves a trace only while a pointer to it is published or with the reaper, so the last reference to a large
//! batch is never a reader's (nor a worker's), but for who goes through one view for long ([`Snapshot::pin`]).

use std::any::{Any, TypeId};
use std::marker::PhantomData;
use std::ops::ControlFlow;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use arc_swap::ArcSwap;
use differential_dataflow::consolidation::consolidate;
use differential_dataflow::difference::{IsZero, Semigroup};
use differential_dataflow::hashable::Hashable;
use differential_dataflow::trace::cursor::cursor_list;
use differential_dataflow::trace::{BatchReader, Cursor, Navigable, TraceReader};
use timely::progress::Antichain;

use crate::shared::SharedValBatch;

mod records;
#[cfg(test)]
mod tests;

pub use records::RecordsView;

/// The most replaced pointers that may wait for the reaper; a publisher that is further ahead waits for it.
const RETIRED_MAX: usize = 1024;
/// How often the reaper looks whether readers let go.
const REAP_INTERVAL: Duration = Duration::from_millis(10);

/// A batch that can be published: ticks are `u64`, and threads may share it.
pub trait Readable:
    BatchReader<Time = u64> + Navigable<Cursor: Cursor<Time = u64>> + Clone + Send + Sync + 'static
{
}

impl<B> Readable for B where
    B: BatchReader<Time = u64> + Navigable<Cursor: Cursor<Time = u64>> + Clone + Send + Sync + 'static
{
}

/// The key of a batch, as a lookup takes it: `&K` for the batches of [`crate::shared`].
pub type Key<'a, B> = <<B as Navigable>::Cursor as Cursor>::Key<'a>;
/// The value of a batch, as an iteration sees it: `&V`.
pub type Val<'a, B> = <<B as Navigable>::Cursor as Cursor>::Val<'a>;
/// The value of a batch, owned.
pub type ValOwn<B> = <<B as Navigable>::Cursor as Cursor>::ValOwn;
/// The difference of a batch.
pub type Diff<B> = <<B as Navigable>::Cursor as Cursor>::Diff;

/// Names a published view of `B` batches. Good for the [`Hub`] that gave it.
pub struct View<B> {
    index: usize,
    batch: PhantomData<fn() -> B>,
}

/// A view of keys with values.
pub type ValView<K, V, R> = View<SharedValBatch<K, V, u64, R>>;

impl<B> Clone for View<B> {
    fn clone(&self) -> View<B> {
        *self
    }
}

impl<B> Copy for View<B> {}

/// Where workers publish and readers take snapshots. Clones are the same hub.
///
/// ```
/// use differential_dataflow::input::InputSession;
/// use operators::publish::ValView;
/// use operators::{Hub, arrange_shared};
///
/// let hub = Hub::new(1);
/// let on_worker = hub.clone();
/// timely::execute_directly(move |worker| {
///     let mut publisher = on_worker.publisher(0);
///     let mut input = InputSession::new();
///     worker.dataflow::<u64, _, _>(|scope| {
///         let squares = arrange_shared(input.to_collection(scope), "Squares");
///         publisher.register("squares", squares.trace);
///     });
///     input.update((7u32, 49u32), 1i64);
///     input.advance_to(10);
///     input.flush();
///     while publisher.publish() != Some(9) {
///         worker.step();
///     }
/// });
/// let squares: ValView<u32, u32, i64> = hub.view("squares").unwrap();
/// let reader = std::thread::spawn(move || hub.snapshot().unwrap().get(squares, &7));
/// assert_eq!(reader.join().unwrap(), [(49, 1)]);
/// ```
#[derive(Clone)]
pub struct Hub(Arc<Inner>);

struct Inner {
    current: ArcSwap<Published>,
    /// Held for the swap alone; readers do not take it.
    publishing: Mutex<()>,
    /// Name and batch type of each view, in the order of registration.
    views: Mutex<Vec<(String, TypeId)>>,
    retired: SyncSender<Arc<Published>>,
}

/// What the pointer points to: the latest shard of each worker.
struct Published {
    /// The tick to read at; none while a shard is missing or not complete up to any common tick.
    tick: Option<u64>,
    shards: Vec<Option<Arc<Shard>>>,
}

/// What one worker has of each view, in the order of registration.
type Shard = Vec<ShardView>;

struct ShardView {
    /// A `Vec<B>`, or records and how they are read.
    content: Arc<dyn Any + Send + Sync>,
    updates: usize,
    since: u64,
    /// The last complete tick; none before the first, the maximum once the view is closed.
    complete: Option<u64>,
}

impl Published {
    fn new(shards: Vec<Option<Arc<Shard>>>) -> Published {
        Published { tick: common_tick(&shards), shards }
    }
}

fn common_tick(shards: &[Option<Arc<Shard>>]) -> Option<u64> {
    let mut tick = None;
    let mut since = 0;
    for shard in shards {
        for view in shard.as_deref()? {
            let complete = view.complete?;
            tick = Some(tick.map_or(complete, |tick: u64| tick.min(complete)));
            since = since.max(view.since);
        }
    }
    tick.filter(|tick| since <= *tick)
}

impl Hub {
    /// A hub for the shards of `workers` workers. Starts the reaper.
    pub fn new(workers: usize) -> Hub {
        assert!(workers > 0, "a hub needs a worker");
        let (retired, reaper) = sync_channel(RETIRED_MAX);
        thread::Builder::new().name("reaper".into()).spawn(|| reap(reaper)).expect("a thread for the reaper");
        let current = ArcSwap::from_pointee(Published::new(vec![None; workers]));
        let (publishing, views) = (Mutex::new(()), Mutex::new(Vec::new()));
        Hub(Arc::new(Inner { current, publishing, views, retired }))
    }

    /// The publisher of a worker, by its index. Each worker takes its own, once.
    pub fn publisher(&self, worker: usize) -> Publisher {
        assert!(worker < self.0.current.load().shards.len(), "worker {worker} is none of this hub's");
        Publisher { hub: self.clone(), worker, traces: Vec::new(), published: None }
    }

    /// The view of a name and type, if a worker has registered it.
    pub fn view<B: Readable>(&self, name: &str) -> Option<View<B>> {
        Some(View { index: self.index(name, TypeId::of::<B>())?, batch: PhantomData })
    }

    fn index(&self, name: &str, of: TypeId) -> Option<usize> {
        let views = self.0.views.lock().expect("no holder panics");
        views.iter().position(|view| view.0 == name && view.1 == of)
    }

    /// All views at one tick; none until every worker has published them complete up to a common tick.
    /// Does not wait.
    pub fn snapshot(&self) -> Option<Snapshot> {
        let published = self.0.current.load_full();
        published.tick.map(|tick| Snapshot { tick, published })
    }

    /// The number of updates that the batches of each view hold, by its name, in the order of registration.
    pub fn sizes(&self, snapshot: &Snapshot) -> Vec<(String, usize)> {
        let views = self.0.views.lock().expect("no holder panics");
        let updates = |index: usize| snapshot.published.shards.iter().flatten().map(|shard| shard[index].updates).sum();
        views.iter().enumerate().map(|(index, (name, _))| (name.clone(), updates(index))).collect()
    }

    /// Swaps the shard of a worker in; returns the tick that readers now see.
    fn swap(&self, worker: usize, shard: Shard) -> Option<u64> {
        let publishing = self.0.publishing.lock().expect("no holder panics");
        let mut shards = self.0.current.load().shards.clone();
        shards[worker] = Some(Arc::new(shard));
        let next = Published::new(shards);
        let tick = next.tick;
        let retired = self.0.current.swap(Arc::new(next));
        drop(publishing);
        self.0.retired.send(retired).expect("the reaper lives while a hub does");
        tick
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        let last = self.current.swap(Arc::new(Published::new(Vec::new())));
        // The reaper is there; were it not, this thread would free the batches, which is no error.
        let _ = self.retired.send(last);
    }
}

/// Frees what was replaced, once no reader has it. Ends when the hub is gone and the last snapshot dropped.
fn reap(retired: Receiver<Arc<Published>>) {
    let mut held: Vec<Arc<Published>> = Vec::new();
    let mut open = true;
    while open || !held.is_empty() {
        if !open {
            thread::sleep(REAP_INTERVAL);
        } else if held.is_empty() {
            match retired.recv() {
                Ok(published) => held.push(published),
                Err(_) => open = false,
            }
        } else {
            match retired.recv_timeout(REAP_INTERVAL) {
                Ok(published) => held.push(published),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => open = false,
            }
        }
        held.extend(retired.try_iter().take(RETIRED_MAX));
        held.retain(|published| Arc::strong_count(published) > 1);
    }
}

/// Publishes the views of one worker. Keeps their traces, and with them their batches, alive.
pub struct Publisher {
    hub: Hub,
    worker: usize,
    traces: Vec<Box<dyn Trace>>,
    /// How far each view was complete when last published.
    published: Option<Vec<Option<u64>>>,
}

impl Publisher {
    /// Adds a view. Every worker registers the same views in the same order, before it first publishes.
    ///
    /// # Panics
    /// On another order, another type under the name, and after the first [`Publisher::publish`].
    pub fn register<Tr>(&mut self, name: &str, trace: Tr) -> View<Tr::Batch>
    where
        Tr: TraceReader<Time = u64, Batch: Readable> + 'static,
    {
        View { index: self.add(name, TypeId::of::<Tr::Batch>(), Box::new(trace)), batch: PhantomData }
    }

    fn add(&mut self, name: &str, of: TypeId, trace: Box<dyn Trace>) -> usize {
        assert!(self.published.is_none(), "{name}: views are registered before anything is published");
        let index = self.traces.len();
        let view = (name.to_owned(), of);
        let mut views = self.hub.0.views.lock().expect("no holder panics");
        match views.get(index) {
            Some(registered) if *registered != view => {
                let first = registered.0.clone();
                drop(views);
                panic!("view {index} is {name} here and {first} at another worker");
            }
            Some(_) => {}
            None => views.push(view),
        }
        self.traces.push(trace);
        index
    }

    /// Publishes what the views hold now and lets them compact up to the tick that readers see, which it returns.
    /// Call it after every step; where no view has moved on it does nothing.
    pub fn publish(&mut self) -> Option<u64> {
        let complete: Vec<_> = self.traces.iter_mut().map(|trace| trace.complete()).collect();
        if self.published.as_ref() == Some(&complete) {
            return self.hub.0.current.load().tick;
        }
        let shard = self.traces.iter_mut().map(|trace| trace.shard_view()).collect();
        let tick = self.hub.swap(self.worker, shard);
        // Without a lock: this may finish a merge, however large.
        for trace in &mut self.traces {
            trace.compact(tick);
        }
        self.published = Some(complete);
        tick
    }
}

/// A trace with its batch type forgotten.
trait Trace {
    fn complete(&mut self) -> Option<u64>;
    fn shard_view(&mut self) -> ShardView;
    fn compact(&mut self, since: Option<u64>);
}

impl<Tr: TraceReader<Time = u64, Batch: Readable>> Trace for Tr {
    fn complete(&mut self) -> Option<u64> {
        let mut upper = Antichain::new();
        self.read_upper(&mut upper);
        // An empty upper: the view is closed, nothing will follow.
        upper.as_option().map_or(Some(u64::MAX), |upper| upper.checked_sub(1))
    }

    fn shard_view(&mut self) -> ShardView {
        let mut batches: Vec<Tr::Batch> = Vec::new();
        let mut since = 0;
        self.map_batches(|batch| {
            if !batch.is_empty() {
                since = since.max(batch.description().since().as_option().copied().unwrap_or(u64::MAX));
                batches.push(batch.clone());
            }
        });
        let updates = batches.iter().map(|batch| batch.len()).sum();
        ShardView { content: Arc::new(batches), updates, since, complete: self.complete() }
    }

    fn compact(&mut self, since: Option<u64>) {
        if let Some(since) = since {
            self.set_logical_compaction(Antichain::from_elem(since).borrow());
        }
        let mut upper = Antichain::new();
        self.read_upper(&mut upper);
        self.set_physical_compaction(upper.borrow());
    }
}

/// All published views at one tick. Cheap to clone and to hold, but while it is held so are its batches.
#[derive(Clone)]
pub struct Snapshot {
    tick: u64,
    published: Arc<Published>,
}

impl Snapshot {
    /// The tick: each view is as of the updates at ticks up to and including this one.
    /// `u64::MAX` once all views are closed.
    pub fn tick(&self) -> u64 {
        self.tick
    }

    /// The values of a key with their accumulated differences, zeros left out, in the order of the values. Of the worker that has
    /// the key alone: all that is published is distributed by its keys' hashes.
    ///
    /// # Panics
    /// Where the view is another hub's.
    pub fn get<B, K>(&self, view: View<B>, key: &K) -> Vec<(ValOwn<B>, Diff<B>)>
    where
        B: Readable + Navigable<Cursor: for<'a> Cursor<Key<'a> = &'a K>>,
        K: Hashable<Output: Into<u64>> + Ord,
    {
        get(batches::<B>(self.shard_of(view.index, key)), self.tick, key)
    }

    /// One view at this tick: whoever reads it for long lets go of the others by dropping the snapshot.
    ///
    /// # Panics
    /// Where the view is another hub's.
    pub fn pin<B: Readable>(&self, view: View<B>) -> Pinned<B> {
        let of_shard = |shard: &ShardView| {
            Arc::clone(&shard.content)
                .downcast::<Vec<B>>()
                .unwrap_or_else(|_| panic!("a view is used with its own hub"))
        };
        Pinned { tick: self.tick, shards: self.shards(view).map(of_shard).collect() }
    }

    /// Visits each key and value of a view, as [`Pinned::for_each`] does.
    ///
    /// # Panics
    /// Where the view is another hub's.
    pub fn for_each<B: Readable>(
        &self,
        view: View<B>,
        visit: impl FnMut(Key<'_, B>, Val<'_, B>, Diff<B>) -> ControlFlow<()>,
    ) {
        self.pin(view).for_each(visit);
    }

    /// The number of updates that a view's batches hold: its size in memory, not its number of rows.
    ///
    /// # Panics
    /// Where the view is another hub's.
    pub fn updates<B: Readable>(&self, view: View<B>) -> usize {
        self.shards(view).map(|shard| shard.updates).sum()
    }

    fn shards<B: Readable>(&self, view: View<B>) -> impl Iterator<Item = &ShardView> {
        self.published.shards.iter().flatten().map(move |shard| &shard[view.index])
    }

    /// What the worker has published that has a key.
    fn shard_of<K: Hashable<Output: Into<u64>>>(&self, index: usize, key: &K) -> &ShardView {
        let shards = &self.published.shards;
        let shard = shards[worker_of(key, shards.len())].as_ref();
        &shard.expect("a snapshot has the shards of all workers")[index]
    }
}

/// One view at one tick. While it is held so are its batches, but those of no other view; who drops it last frees those that have been
/// merged meanwhile.
pub struct Pinned<B> {
    tick: u64,
    shards: Vec<Arc<Vec<B>>>,
}

impl<B: Readable> Pinned<B> {
    /// The tick: the view is as of the updates at ticks up to and including this one.
    pub fn tick(&self) -> u64 {
        self.tick
    }

    /// The values of a key, as [`Snapshot::get`] gives them.
    pub fn get<K>(&self, key: &K) -> Vec<(ValOwn<B>, Diff<B>)>
    where
        B: Navigable<Cursor: for<'a> Cursor<Key<'a> = &'a K>>,
        K: Hashable<Output: Into<u64>> + Ord,
    {
        get::<B, K>(&self.shards[worker_of(key, self.shards.len())], self.tick, key)
    }

    /// Visits each key and value whose accumulated difference is not zero, worker by worker, in order within each, until the visitor
    /// has had enough.
    pub fn for_each(&self, mut visit: impl FnMut(Key<'_, B>, Val<'_, B>, Diff<B>) -> ControlFlow<()>) {
        for shard in &self.shards {
            let (mut cursor, storage) = cursor_list(shard.to_vec());
            while let Some(key) = cursor.get_key(&storage) {
                while let Some(val) = cursor.get_val(&storage) {
                    let diff = accumulate(&mut cursor, &storage, self.tick).filter(|diff| !diff.is_zero());
                    if diff.is_some_and(|diff| visit(key, val, diff).is_break()) {
                        return;
                    }
                    cursor.step_val(&storage);
                }
                cursor.step_key(&storage);
            }
        }
    }
}

fn batches<B: Readable>(shard: &ShardView) -> &[B] {
    shard.content.downcast_ref::<Vec<B>>().expect("a view is used with its own hub")
}

/// The worker that has a key: to which timely sends what is exchanged by the key's hash.
fn worker_of<K: Hashable<Output: Into<u64>>>(key: &K, workers: usize) -> usize {
    (key.hashed().into() % workers as u64) as usize
}

/// The values of a key at a tick with their accumulated differences.
fn get<B, K>(batches: &[B], tick: u64, key: &K) -> Vec<(ValOwn<B>, Diff<B>)>
where
    B: Readable + Navigable<Cursor: for<'a> Cursor<Key<'a> = &'a K>>,
    K: Ord,
{
    let mut found = Vec::new();
    for batch in batches {
        let mut cursor = batch.cursor();
        cursor.seek_key(batch, key);
        if cursor.get_key(batch) != Some(key) {
            continue;
        }
        while let Some(val) = cursor.get_val(batch) {
            if let Some(diff) = accumulate(&mut cursor, batch, tick) {
                found.push((B::Cursor::owned_val(val), diff));
            }
            cursor.step_val(batch);
        }
    }
    consolidate(&mut found);
    found
}

/// The sum of the differences of the cursor's key and value up to a tick; none where there are none.
fn accumulate<C: Cursor<Time = u64>>(cursor: &mut C, storage: &C::Storage, tick: u64) -> Option<C::Diff> {
    let mut sum: Option<C::Diff> = None;
    cursor.map_times(storage, |time, diff| {
        if C::owned_time(time) <= tick {
            let diff = C::owned_diff(diff);
            match &mut sum {
                Some(sum) => sum.plus_equals(&diff),
                None => sum = Some(diff),
            }
        }
    });
    sum
}
