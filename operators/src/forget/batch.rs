//! Batches whose merges drop the rows that have expired.

use std::cmp::Ordering;
use std::marker::PhantomData;
use std::ops::Deref;

use differential_dataflow::difference::IsZero;
use differential_dataflow::lattice::Lattice;
use differential_dataflow::trace::implementations::ord_neu::OrdValBatch;
use differential_dataflow::trace::implementations::ord_neu::layers::{Upds, UpdsBuilder, Vals};
use differential_dataflow::trace::implementations::ord_neu::val_batch::OrdValStorage;
use differential_dataflow::trace::implementations::{BatchContainer, Update};
use differential_dataflow::trace::{Batch, BatchReader, Builder, Description, Merger, Navigable};
use timely::order::{PartialOrder, TotalOrder};
use timely::progress::{Antichain, frontier::AntichainRef};

use super::Horizon;
use crate::offsets::Rows;
use crate::shared::{Shared, SharedCursor};

/// The most rows of a batch whose expiries are kept beside it: 2 KiB a batch, and an estimate to about 3 %.
pub(super) const SAMPLE_MAX: usize = 256;

/// The updates that a builder takes at a time.
type Chunk<U> = Vec<((<U as Update>::Key, <U as Update>::Val), <U as Update>::Time, <U as Update>::Diff)>;

/// Differential's batch, merged so that expired rows go.
pub struct ForgettingBatch<U: Update, H> {
    rows: OrdValBatch<Rows<U>>,
    /// The expiries of a sample of its rows, in order.
    pub(super) expiries: Vec<U::Time>,
    horizon: PhantomData<fn() -> H>,
}

impl<U, H> ForgettingBatch<U, H>
where
    U: Update,
    H: Horizon<U::Key, U::Val, U::Time>,
{
    fn new(rows: OrdValBatch<Rows<U>>) -> Self {
        let expiries = sample::<U, H>(&rows.storage);
        ForgettingBatch { rows, expiries, horizon: PhantomData }
    }
}

/// The expiry of one row in each of as many equal parts, in order.
fn sample<U: Update, H: Horizon<U::Key, U::Val, U::Time>>(rows: &OrdValStorage<Rows<U>>) -> Vec<U::Time> {
    let mut expiries = Vec::new();
    let vals = &rows.vals;
    let step = vals.vals.len().div_ceil(SAMPLE_MAX).max(1);
    let mut key = 0;
    for start in (0..vals.vals.len()).step_by(step) {
        // As if at random within the part: keys often have the same number of rows, in the order of time.
        let index = start + mix(start as u64) as usize % step;
        let Some(val) = vals.vals.get(index) else { break };
        key += vals.offs.advance(key + 1, vals.offs.len(), |end| end <= index);
        expiries.push(H::expiry(&rows.keys[key], val));
    }
    expiries.sort();
    expiries
}

/// Steele, Lea and Flood's SplitMix64 (OOPSLA 2014).
fn mix(seed: u64) -> u64 {
    let mixed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

impl<U: Update, H> Deref for ForgettingBatch<U, H> {
    type Target = OrdValBatch<Rows<U>>;

    fn deref(&self) -> &Self::Target {
        &self.rows
    }
}

impl<U: Update, H> BatchReader for ForgettingBatch<U, H> {
    type Time = U::Time;

    fn len(&self) -> usize {
        self.rows.len()
    }

    fn description(&self) -> &Description<U::Time> {
        self.rows.description()
    }
}

impl<U: Update + 'static, H: 'static> Navigable for ForgettingBatch<U, H> {
    type Cursor = SharedCursor<<OrdValBatch<Rows<U>> as Navigable>::Cursor, Self>;

    fn cursor(&self) -> Self::Cursor {
        SharedCursor::new(self.rows.cursor())
    }
}

impl<U, H> Batch for ForgettingBatch<U, H>
where
    U: Update<Time: TotalOrder>,
    H: Horizon<U::Key, U::Val, U::Time>,
{
    type Merger = ForgettingMerger<U, H>;

    fn empty(lower: Antichain<U::Time>, upper: Antichain<U::Time>) -> Self {
        ForgettingBatch::new(OrdValBatch::empty(lower, upper))
    }
}

/// Rows of a batch under construction, in order.
struct Rising<U: Update> {
    rows: OrdValStorage<Rows<U>>,
    /// The updates of a row that has several, to be consolidated.
    staging: UpdsBuilder<Vec<U::Time>, Vec<U::Diff>>,
    /// Updates, also those that are told by the one before.
    updates: usize,
}

impl<U: Update> Rising<U> {
    fn new(rows: OrdValStorage<Rows<U>>) -> Self {
        Rising { rows, staging: UpdsBuilder::default(), updates: 0 }
    }

    /// The only update of the next value. Most rows have one.
    #[inline(always)]
    fn only(&mut self, time: U::Time, diff: U::Diff) {
        let Upds { offs, times, diffs } = &mut self.rows.upds;
        self.updates += 1;
        // An empty list stands for the last update again.
        if times.last() != Some(&time) || diffs.last() != Some(&diff) {
            times.push(time);
            diffs.push(diff);
        }
        offs.push(times.len());
    }

    /// The staged updates of the next value; whether any are left.
    fn several(&mut self) -> bool {
        let before = self.staging.total();
        let left = self.staging.seal(&mut self.rows.upds);
        self.updates += self.staging.total() - before;
        left
    }

    /// The values pushed since the last key are those of this one, if there are any.
    #[inline(always)]
    fn seal_key(&mut self, key: &U::Key) {
        let vals = &mut self.rows.vals;
        if vals.vals.len() > vals.offs.at(vals.offs.len() - 1) {
            self.rows.keys.push(key.clone());
            vals.offs.push(vals.vals.len());
        }
    }

    fn done(self, description: Description<U::Time>) -> OrdValBatch<Rows<U>> {
        OrdValBatch { storage: self.rows, description, updates: self.updates }
    }
}

/// Builds a batch that forgets.
pub struct ForgettingBuilder<U: Update, H>(Rising<U>, PhantomData<fn() -> H>);

impl<U, H> Builder for ForgettingBuilder<U, H>
where
    U: Update,
    H: Horizon<U::Key, U::Val, U::Time>,
{
    type Input = Chunk<U>;
    type Time = U::Time;
    type Output = ForgettingBatch<U, H>;

    fn with_capacity(keys: usize, vals: usize, upds: usize) -> Self {
        let (vals, upds) = (Vals::with_capacity(keys, vals), Upds::with_capacity(vals, upds));
        ForgettingBuilder(Rising::new(OrdValStorage { keys: Vec::with_capacity(keys), vals, upds }), PhantomData)
    }

    /// Takes rows in order. No row and no key may go on in the next chunk.
    fn push(&mut self, chunk: &mut Self::Input) {
        let rising = &mut self.0;
        let mut updates = chunk.drain(..).peekable();
        while let Some(((key, val), time, diff)) = updates.next() {
            let same_row = |next: &((U::Key, U::Val), U::Time, U::Diff)| next.0.0 == key && next.0.1 == val;
            if updates.peek().is_some_and(same_row) {
                rising.staging.push(time, diff);
                while let Some((_, time, diff)) = updates.next_if(same_row) {
                    rising.staging.push(time, diff);
                }
                if rising.several() {
                    rising.rows.vals.vals.push(val);
                }
            } else if !diff.is_zero() {
                rising.only(time, diff);
                rising.rows.vals.vals.push(val);
            }
            if updates.peek().is_none_or(|next| next.0.0 != key) {
                rising.seal_key(&key);
            }
        }
    }

    fn done(self, description: Description<U::Time>) -> Self::Output {
        ForgettingBatch::new(self.0.done(description))
    }

    fn seal(chain: &mut Vec<Self::Input>, description: Description<U::Time>) -> Self::Output {
        let mut all = match chain.len() {
            1 => chain.remove(0),
            _ => chain.drain(..).flatten().collect(),
        };
        let mut builder = Self::with_capacity(all.len(), all.len(), all.len());
        builder.push(&mut all);
        builder.done(description)
    }
}

/// Merges two batches into one without the rows that have expired at its `since`.
///
/// Differential's merger with a predicate; that one cannot be extended from outside. Fuel counts the updates scanned.
pub struct ForgettingMerger<U: Update, H> {
    /// The next key of each source.
    next: (usize, usize),
    kept: Rising<U>,
    /// The only element of `since`. None: the trace is closed and about to go.
    since: Option<U::Time>,
    description: Description<U::Time>,
    horizon: PhantomData<fn() -> H>,
}

impl<U, H> Merger<ForgettingBatch<U, H>> for ForgettingMerger<U, H>
where
    U: Update<Time: TotalOrder>,
    H: Horizon<U::Key, U::Val, U::Time>,
{
    fn new(source1: &ForgettingBatch<U, H>, source2: &ForgettingBatch<U, H>, since: AntichainRef<U::Time>) -> Self {
        assert_eq!(source1.upper(), source2.lower(), "merged batches are neighbours");
        let since = source1.description().since().join(source2.description().since()).join(&since.to_owned());
        let (rows1, rows2) = (&source1.rows.storage, &source2.rows.storage);
        ForgettingMerger {
            next: (0, 0),
            kept: Rising::new(OrdValStorage {
                keys: BatchContainer::merge_capacity(&rows1.keys, &rows2.keys),
                vals: Vals::merge_capacity(&rows1.vals, &rows2.vals),
                upds: Upds::merge_capacity(&rows1.upds, &rows2.upds),
            }),
            since: since.as_option().cloned(),
            description: Description::new(source1.lower().clone(), source2.upper().clone(), since),
            horizon: PhantomData,
        }
    }

    fn work(&mut self, source1: &ForgettingBatch<U, H>, source2: &ForgettingBatch<U, H>, fuel: &mut isize) {
        let (rows1, rows2) = (&source1.rows.storage, &source2.rows.storage);
        let mut scanned = 0;
        while scanned < *fuel {
            let (key1, key2) = (rows1.keys.get(self.next.0), rows2.keys.get(self.next.1));
            let Some((order, key)) = smaller(key1, key2) else { break };
            scanned += match order {
                Ordering::Less => self.keep_vals(key, rows1, rows1.vals.bounds(self.next.0)),
                Ordering::Greater => self.keep_vals(key, rows2, rows2.vals.bounds(self.next.1)),
                Ordering::Equal => {
                    let bounds = (rows1.vals.bounds(self.next.0), rows2.vals.bounds(self.next.1));
                    self.merge_vals(key, (rows1, bounds.0), (rows2, bounds.1))
                }
            } as isize;
            self.next.0 += usize::from(order.is_le());
            self.next.1 += usize::from(order.is_ge());
            self.kept.seal_key(key);
        }
        *fuel -= scanned;
    }

    fn done(mut self) -> ForgettingBatch<U, H> {
        let OrdValStorage { keys, vals, upds } = &mut self.kept.rows;
        if vals.vals.len() < vals.vals.capacity() / 2 {
            // Or the memory of what was forgotten would stay.
            keys.shrink_to_fit();
            vals.offs.shrink_to_fit();
            vals.vals.shrink_to_fit();
            upds.offs.shrink_to_fit();
            upds.times.shrink_to_fit();
            upds.diffs.shrink_to_fit();
        }
        ForgettingBatch::new(self.kept.done(self.description))
    }
}

/// The smaller of two heads, and how they compare; one that has run out is the larger.
fn smaller<'a, D: Ord>(head1: Option<&'a D>, head2: Option<&'a D>) -> Option<(Ordering, &'a D)> {
    match (head1, head2) {
        (Some(head1), Some(head2)) => Some((head1.cmp(head2), head1.min(head2))),
        (Some(head1), None) => Some((Ordering::Less, head1)),
        (None, Some(head2)) => Some((Ordering::Greater, head2)),
        (None, None) => None,
    }
}

impl<U, H> ForgettingMerger<U, H>
where
    U: Update<Time: TotalOrder>,
    H: Horizon<U::Key, U::Val, U::Time>,
{
    /// Whether a row has expired.
    #[inline(always)]
    fn expired(&self, key: &U::Key, val: &U::Val) -> bool {
        self.since.as_ref().is_some_and(|since| H::expiry(key, val).less_equal(since))
    }

    /// Keeps the values of a key that one source alone has; returns the updates scanned.
    #[inline(always)]
    fn keep_vals(&mut self, key: &U::Key, rows: &OrdValStorage<Rows<U>>, (start, end): (usize, usize)) -> usize {
        let mut scanned = 0;
        for index in start..end {
            scanned += self.keep(key, rows, index);
        }
        scanned
    }

    /// Keeps a row that one source alone has; returns the updates scanned.
    #[inline(always)]
    fn keep(&mut self, key: &U::Key, rows: &OrdValStorage<Rows<U>>, index: usize) -> usize {
        let (start, end) = rows.upds.bounds(index);
        let val = rows.vals.get_abs(index);
        if self.expired(key, val) {
            // It goes.
        } else if end - start == 1 {
            let (time, diff) = rows.upds.get_abs(start);
            self.kept.only(self.advanced(time), diff.clone());
            self.kept.rows.vals.vals.push(val.clone());
        } else {
            self.stage(rows, (start, end));
            if self.kept.several() {
                self.kept.rows.vals.vals.push(val.clone());
            }
        }
        end - start
    }

    /// Merges the values of a key that both sources have; returns the updates scanned.
    fn merge_vals(
        &mut self,
        key: &U::Key,
        (rows1, (mut at1, end1)): (&OrdValStorage<Rows<U>>, (usize, usize)),
        (rows2, (mut at2, end2)): (&OrdValStorage<Rows<U>>, (usize, usize)),
    ) -> usize {
        let mut scanned = 0;
        loop {
            let val1 = (at1 < end1).then(|| rows1.vals.get_abs(at1));
            let val2 = (at2 < end2).then(|| rows2.vals.get_abs(at2));
            let Some((order, val)) = smaller(val1, val2) else { break };
            scanned += match order {
                Ordering::Less => self.keep(key, rows1, at1),
                Ordering::Greater => self.keep(key, rows2, at2),
                Ordering::Equal => {
                    let (updates1, updates2) = (rows1.upds.bounds(at1), rows2.upds.bounds(at2));
                    if !self.expired(key, val) {
                        self.stage(rows1, updates1);
                        self.stage(rows2, updates2);
                        if self.kept.several() {
                            self.kept.rows.vals.vals.push(val.clone());
                        }
                    }
                    updates1.1 - updates1.0 + updates2.1 - updates2.0
                }
            };
            at1 += usize::from(order.is_le());
            at2 += usize::from(order.is_ge());
        }
        scanned
    }

    /// Stages updates of a row.
    fn stage(&mut self, rows: &OrdValStorage<Rows<U>>, (start, end): (usize, usize)) {
        for update in start..end {
            let (time, diff) = rows.upds.get_abs(update);
            let time = self.advanced(time);
            self.kept.staging.push(time, diff.clone());
        }
    }

    /// A time as readers from `since` on see it.
    #[inline(always)]
    fn advanced(&self, time: &U::Time) -> U::Time {
        match &self.since {
            Some(since) if time.less_equal(since) => since.clone(),
            _ => time.clone(),
        }
    }
}

/// A batch that can tell how much of it has expired.
pub trait Forgets: Batch {
    /// About how many of its updates belong to rows that have expired at `since`.
    fn expired(&self, since: &Self::Time) -> usize;
}

impl<U, H> Forgets for ForgettingBatch<U, H>
where
    U: Update<Time: TotalOrder>,
    H: Horizon<U::Key, U::Val, U::Time>,
{
    fn expired(&self, since: &U::Time) -> usize {
        let expired = self.expiries.partition_point(|expiry| expiry.less_equal(since));
        self.len() * expired / self.expiries.len().max(1)
    }
}

impl<B: Forgets> Forgets for Shared<B> {
    fn expired(&self, since: &B::Time) -> usize {
        self.deref().expired(since)
    }
}
