//! Records by key that one thread changes in place and every thread reads, as of a tick.
//!
//! What changes with most events is not worth an immutable batch: a record is changed where it lies, under the lock of its shard, and
//! where somebody reads, the record as it was before a tick is kept until readers have passed that tick.
//!
//! **Reads.** A shard has the records as they are, the copies of them as they were, by the tick that changed them, and `since`. Let
//! *r*(*k*, *t*) be the record of key *k* after all changes at ticks up to *t*. A read at *t* ≥ `since` gives *r*(*k*, *t*): the
//! oldest copy of *k* that was made by a tick after *t*, or else the record as it is. A read at *t* < `since` is refused
//! ([`TooOld`]): whoever reads takes the present tick and begins again.
//!
//! **Why that is right.** Whoever changes a record at a tick either keeps a copy, or raises `since` to that tick; copies go in the
//! order of ticks, and `since` is raised to the tick of each that goes. All of this happens under the shard's lock. So how long copies
//! are kept decides how often a read is refused, never what it gives.
//!
//! **How long copies are kept.** Until the tick that readers see ([`Records::let_go`]) has passed the tick that made them; at most as
//! many in a shard as it has records, so where that tick stands still, memory does not grow. A large record is not copied: with each
//! tick that changes it a copy would cost more than the change. Copies are made only while somebody
//! reads: whoever does not publish, or has no readers, pays a comparison a visit. The first reads after a pause may be refused, where
//! what they ask for has just changed.
//!
//! **Who waits.** A reader holds the lock of one shard while it copies what it needs of one record; who changes records holds it for
//! one visit. Neither waits longer, unless the other loses its processor meanwhile.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasherDefault, Hash, Hasher};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard};

/// Shards of the records of a worker: many, so that readers and the worker seldom meet, and each grows by itself, so no step has to
/// move all records. But few enough for what is to be read of each to stay in a processor's cache.
const SHARDS: usize = 4096;
/// For how many ticks after a read copies are kept for others: a minute, where ticks are milliseconds.
const WANTED_TICKS: u64 = 60_000;
/// Shards whose copies are let go at a time, whether or not anything changes in them.
const TIDIED: usize = 8;
/// Copies that a shard may have beyond the number of its records.
const SPARE_COPIES: usize = 16;
/// The most bytes of a record that is copied.
pub(crate) const COPIED_BYTES_MAX: usize = 1 << 16;
/// The timer that is not set.
const UNSET: u64 = u64::MAX;

/// Readers have passed the tick that was to be read at, and so have the copies that were kept for it: read at the present tick.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooOld;

impl std::fmt::Display for TooOld {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("what was published at this tick has changed since, and is kept no more: read at the present tick")
    }
}

impl std::error::Error for TooOld {}

/// A hash that is there already.
#[derive(Default)]
struct AsItIs(u64);

impl Hasher for AsItIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _: &[u8]) {
        unreachable!("only hashes are hashed");
    }

    fn write_u64(&mut self, hash: u64) {
        // The shard and the worker were chosen by its low bits.
        self.0 = hash.rotate_left(20);
    }
}

/// A key and its hash.
#[derive(Clone, PartialEq, Eq)]
struct Hashed<K>(u64, K);

impl<K> Hash for Hashed<K> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.0);
    }
}

/// The record of a key.
pub(crate) struct Slot<R> {
    /// The record.
    pub(crate) record: R,
    /// When the timer of the record is set to.
    set_to: u64,
    /// What it was set to before it was set to an earlier tick.
    then: u64,
    /// The last tick that a copy was made for.
    copied_at: u64,
}

impl<R> Slot<R> {
    /// A record whose timer is not set.
    fn new(copied_at: u64) -> Slot<R>
    where
        R: Default,
    {
        Slot { record: R::default(), set_to: UNSET, then: UNSET, copied_at }
    }

    /// Whether the timer is set to a tick: of whoever changes records alone.
    pub(crate) fn is_set_to(&self, tick: u64) -> bool {
        self.set_to == tick
    }

    /// Notes that the timer goes off.
    pub(crate) fn goes_off(&mut self) {
        self.set_to = UNSET;
    }

    /// Has the timer go off at a tick, or earlier; whether that has to be noted among the timers. What it was set to before stays among
    /// them, and counts again once the earlier tick is over: where each change has something done at once, all but the first find it
    /// there.
    pub(crate) fn set(&mut self, due: u64, now: u64) -> bool {
        if self.set_to <= due && self.set_to != UNSET {
            return false;
        }
        if self.set_to != UNSET {
            self.then = self.set_to;
        } else if now < self.then && self.then <= due {
            self.set_to = std::mem::replace(&mut self.then, UNSET);
            return false;
        }
        self.set_to = due;
        true
    }
}

/// A record as it was before a tick changed it; none where there was none.
struct Copied<K, R> {
    changed_at: u64,
    key: Hashed<K>,
    before: Option<R>,
}

struct Shard<K, R> {
    slots: HashMap<Hashed<K>, Slot<R>, BuildHasherDefault<AsItIs>>,
    /// In the order of the ticks that made them.
    copies: VecDeque<Copied<K, R>>,
    since: u64,
}

impl<K, R> Shard<K, R> {
    /// Lets go of what reads at a tick and later do not need.
    fn let_go(&mut self, readers_at: u64) {
        while let Some(oldest) = self.copies.front().filter(|oldest| oldest.changed_at <= readers_at) {
            self.since = self.since.max(oldest.changed_at);
            self.copies.pop_front();
        }
        // A tick that changed all records, as a midnight does, leaves room that no other needs.
        if self.copies.is_empty() && self.copies.capacity() > 4 * SPARE_COPIES {
            self.copies.shrink_to(SPARE_COPIES);
        }
    }

    fn copy(&mut self, copy: Copied<K, R>) {
        if self.copies.len() > self.slots.len() + SPARE_COPIES
            && let Some(oldest) = self.copies.pop_front()
        {
            // All that this tick has changed goes with it, or a read might take for its own what a later tick left.
            self.let_go(oldest.changed_at);
            self.since = self.since.max(oldest.changed_at);
        }
        self.copies.push_back(copy);
    }
}

struct Table<K, R> {
    shards: Box<[Mutex<Shard<K, R>>]>,
    /// The first tick that is not complete.
    upper: AtomicU64,
    /// The tick that readers see, as far as whoever changes records was told.
    readers_at: AtomicU64,
    /// The last tick at which somebody read.
    wanted_at: AtomicU64,
    records: AtomicUsize,
}

/// Records by key. Clones are the same records.
pub struct Records<K, R>(Arc<Table<K, R>>);

impl<K, R> Clone for Records<K, R> {
    fn clone(&self) -> Records<K, R> {
        Records(Arc::clone(&self.0))
    }
}

impl<K: Clone + Eq, R> Records<K, R> {
    /// None yet.
    pub(crate) fn new() -> Records<K, R> {
        let shard = || Mutex::new(Shard { slots: HashMap::default(), copies: VecDeque::new(), since: 0 });
        Records(Arc::new(Table {
            shards: (0..SHARDS).map(|_| shard()).collect(),
            upper: AtomicU64::new(0),
            readers_at: AtomicU64::new(0),
            wanted_at: AtomicU64::new(0),
            records: AtomicUsize::new(0),
        }))
    }

    fn shard(&self, hash: u64) -> MutexGuard<'_, Shard<K, R>> {
        self.0.shards[(hash >> 8) as usize % SHARDS].lock().expect("no panic while locked")
    }

    /// The last tick that is complete; none before the first, the maximum once nothing follows.
    pub(crate) fn complete(&self) -> Option<u64> {
        match self.0.upper.load(Relaxed) {
            u64::MAX => Some(u64::MAX),
            upper => upper.checked_sub(1),
        }
    }

    /// The number of records.
    pub(crate) fn len(&self) -> usize {
        self.0.records.load(Relaxed)
    }

    /// Readers see this tick from now on: what was kept for earlier ones may go.
    pub(crate) fn let_go(&self, readers_at: u64) {
        self.0.readers_at.fetch_max(readers_at, Relaxed);
    }

    /// What `read` makes of the record of a key as it was after all changes up to a tick that is complete; none where there was none.
    /// Whoever changes records waits meanwhile, so `read` copies what it needs, and no more.
    ///
    /// # Errors
    /// Where readers have passed that tick.
    pub(crate) fn read<X>(&self, hash: u64, key: &K, at: u64, read: impl FnOnce(&R) -> X) -> Result<Option<X>, TooOld> {
        if self.0.wanted_at.load(Relaxed) < at {
            self.0.wanted_at.store(at, Relaxed);
        }
        let shard = self.shard(hash);
        if at < shard.since {
            return Err(TooOld);
        }
        let of_key = |copied: &&Copied<K, R>| copied.changed_at > at && copied.key.0 == hash && copied.key.1 == *key;
        let record = match shard.copies.iter().find(of_key) {
            Some(copied) => copied.before.as_ref(),
            None => shard.slots.get(&Hashed(hash, key.clone())).map(|slot| &slot.record),
        };
        Ok(record.map(read))
    }

    /// Whoever changes the records, as it is at a moment.
    pub(crate) fn writer(&self) -> Writer<'_, K, R> {
        let Table { upper, readers_at, wanted_at, .. } = &*self.0;
        let (wanted_at, readers_at) = (wanted_at.load(Relaxed), readers_at.load(Relaxed));
        let copies = wanted_at > 0 && upper.load(Relaxed) <= wanted_at.saturating_add(WANTED_TICKS);
        Writer { records: self, readers_at, copies }
    }
}

/// Changes records. There is one at a time.
pub(crate) struct Writer<'a, K, R> {
    records: &'a Records<K, R>,
    readers_at: u64,
    /// Whether somebody reads, so that copies are to be kept.
    copies: bool,
}

impl<K: Clone + Eq, R: Clone + Default> Writer<'_, K, R> {
    /// Brings the records of keys into the processor's cache: it waits for many at a time, not for one after the other.
    pub(crate) fn fetch(&self, keys: impl Iterator<Item = (u64, K)>) {
        for (hash, key) in keys {
            let shard = self.records.shard(hash);
            let slot = shard.slots.get(&Hashed(hash, key));
            std::hint::black_box(slot.is_some_and(|slot| slot.set_to == UNSET));
        }
    }

    /// Changes the record of a key at a tick, which is not before that of the last change. It goes where `visit` says that it is empty.
    /// `bytes` says about how large a record is.
    pub(crate) fn visit<L>(
        &self,
        (hash, key): (u64, &K),
        now: u64,
        logic: &mut L,
        bytes: impl FnOnce(&L, &R) -> usize,
        visit: impl FnOnce(&mut L, &mut Slot<R>) -> IsEmpty,
    ) {
        let mut shard = self.records.shard(hash);
        let shard = &mut *shard;
        if self.copies {
            shard.let_go(self.readers_at);
        } else {
            shard.copies.clear();
            shard.since = now;
        }
        let (mut copy, mut is_large) = (None, false);
        let slot = match shard.slots.entry(Hashed(hash, key.clone())) {
            Entry::Occupied(found) => {
                let slot = found.into_mut();
                if self.copies && slot.copied_at < now {
                    slot.copied_at = now;
                    is_large = bytes(logic, &slot.record) > COPIED_BYTES_MAX;
                    copy = (!is_large).then(|| Some(slot.record.clone()));
                }
                slot
            }
            Entry::Vacant(vacant) => {
                copy = self.copies.then_some(None);
                self.records.0.records.fetch_add(1, Relaxed);
                vacant.insert(Slot::new(now))
            }
        };
        if visit(logic, slot).0 {
            shard.slots.remove(&Hashed(hash, key.clone()));
            self.records.0.records.fetch_sub(1, Relaxed);
        }
        if is_large {
            shard.copies.clear();
            shard.since = now;
        }
        if let Some(before) = copy {
            shard.copy(Copied { changed_at: now, key: Hashed(hash, key.clone()), before });
        }
    }

    /// All changes before a tick are done.
    pub(crate) fn complete(&self, upper: u64) {
        self.records.0.upper.store(upper, Relaxed);
    }

    /// Lets go of copies in some shards, the next ones at the next call: also where nothing changes any more.
    pub(crate) fn tidy(&self, next: &mut usize) {
        // Nothing is published.
        if self.readers_at == 0 {
            return;
        }
        for _ in 0..TIDIED {
            *next = (*next + 1) % SHARDS;
            self.records.0.shards[*next].lock().expect("no panic while locked").let_go(self.readers_at);
        }
    }
}

/// Whether nothing need be kept of a key.
pub(crate) struct IsEmpty(pub(crate) bool);

#[cfg(test)]
mod tests {
    use super::*;

    /// Adds to the number of a key at a tick; nothing is kept of zero.
    fn add(records: &Records<u64, i64>, key: u64, more: i64, now: u64) {
        let writer = records.writer();
        // As large as its number says.
        let bytes = |(): &(), number: &i64| *number as usize;
        writer.visit((key, &key), now, &mut (), bytes, |(), slot| {
            slot.record += more;
            IsEmpty(slot.record == 0)
        });
        writer.complete(now + 1);
    }

    fn read(records: &Records<u64, i64>, key: u64, at: u64) -> Result<Option<i64>, TooOld> {
        records.read(key, &key, at, |number| *number)
    }

    fn copies(records: &Records<u64, i64>, key: u64) -> usize {
        records.shard(key).copies.len()
    }

    #[test]
    fn records_come_change_and_go_at_their_ticks() {
        let records = Records::new();
        add(&records, 7, 1, 1);
        assert_eq!(read(&records, 7, 1), Ok(Some(1)));
        // From here on copies are kept. At one tick it changes, goes and comes again.
        add(&records, 7, 2, 5);
        for more in [-3, 4] {
            add(&records, 7, more, 8);
        }
        add(&records, 7, -4, 9);
        assert_eq!(
            [1, 4, 5, 7, 8, 9, 20].map(|at| read(&records, 7, at).unwrap()),
            [Some(1), Some(1), Some(3), Some(3), Some(4), None, None]
        );
        assert_eq!(read(&records, 7, 0), Err(TooOld), "nobody had read before the first");
        assert_eq!(records.len(), 0);
        // One each of ticks 5 and 9, and two of 8, where it had gone and came. Once readers see 8, what was before it may go; it goes with the next change, or when the shards are tidied.
        records.let_go(8);
        assert_eq!(copies(&records, 7), 4);
        let mut next = 0;
        (0..SHARDS / TIDIED).for_each(|_| records.writer().tidy(&mut next));
        assert_eq!(copies(&records, 7), 1);
        assert_eq!((read(&records, 7, 7), read(&records, 7, 8)), (Err(TooOld), Ok(Some(4))));
    }

    #[test]
    fn copies_are_bounded_where_readers_stand_still_and_none_are_made_where_nobody_reads() {
        let records = Records::new();
        (1..100).for_each(|tick| add(&records, 7, 1, tick));
        assert_eq!(copies(&records, 7), 0);
        assert_eq!(read(&records, 7, 98), Err(TooOld), "it has changed since");
        assert_eq!(read(&records, 7, 99), Ok(Some(99)));
        (100..1_000).for_each(|tick| add(&records, 7, 1, tick));
        assert!(copies(&records, 7) <= SPARE_COPIES + 2);
        assert_eq!(read(&records, 7, 99), Err(TooOld));
        assert_eq!([990, 998, 999].map(|tick| read(&records, 7, tick)), [990, 998, 999].map(|is| Ok(Some(is))));
        // Long after the last read no more copies are made.
        add(&records, 7, 1, 1_000 + 2 * WANTED_TICKS);
        add(&records, 7, 1, 1_001 + 2 * WANTED_TICKS);
        assert_eq!(copies(&records, 7), 0);
        assert_eq!(read(&records, 7, 1_000 + 2 * WANTED_TICKS), Err(TooOld));
    }

    #[test]
    fn a_large_record_is_not_copied() {
        let (records, large) = (Records::new(), COPIED_BYTES_MAX as i64 + 1);
        add(&records, 7, large, 1);
        assert_eq!(read(&records, 7, 1), Ok(Some(large)));
        (2..1_000).for_each(|tick| add(&records, 7, 1, tick));
        assert_eq!(copies(&records, 7), 0);
        assert_eq!((read(&records, 7, 998), read(&records, 7, 999)), (Err(TooOld), Ok(Some(large + 998))));
        // Once it is small again it is copied.
        [1_000, 1_001].into_iter().zip([-large, 1]).for_each(|(tick, more)| add(&records, 7, more, tick));
        assert_eq!([1_000, 1_001].map(|at| read(&records, 7, at)), [998, 999].map(|is| Ok(Some(is))));
        assert_eq!(read(&records, 7, 999), Err(TooOld));
    }
}
