//! Batches whose merges drop the rows that have expired.

use std::cmp::Ordering;
use std::marker::PhantomData;
use std::ops::Deref;

use differential_dataflow::lattice::Lattice;
use differential_dataflow::trace::implementations::ord_neu::layers::{Upds, UpdsBuilder, Vals};
use differential_dataflow::trace::implementations::ord_neu::val_batch::OrdValStorage;
use differential_dataflow::trace::implementations::ord_neu::{OrdValBatch, OrdValBuilder};
use differential_dataflow::trace::implementations::{BatchContainer, Update, Vector};
use differential_dataflow::trace::{Batch, BatchReader, Builder, Description, Merger, Navigable};
use timely::order::{PartialOrder, TotalOrder};
use timely::progress::{Antichain, frontier::AntichainRef};

use super::Horizon;
use crate::shared::{Shared, SharedCursor};

/// The most rows of a batch whose expiries are kept beside it: 2 KiB a batch, and an estimate to about 3 %.
pub(super) const SAMPLE_MAX: usize = 256;

/// The updates that a builder takes at a time.
type Chunk<U> = Vec<((<U as Update>::Key, <U as Update>::Val), <U as Update>::Time, <U as Update>::Diff)>;

/// Differential's batch, merged so that expired rows go.
pub struct ForgettingBatch<U: Update, H> {
    rows: OrdValBatch<Vector<U>>,
    pub(super) expiries: Expiries<U::Time>,
    horizon: PhantomData<fn() -> H>,
}

/// The expiries of a sample of rows.
pub(super) struct Expiries<T> {
    /// How many rows were looked at.
    pub(super) sampled: usize,
    /// The expiries of those that have one, in order.
    sorted: Vec<T>,
}

impl<U, H> ForgettingBatch<U, H>
where
    U: Update,
    H: Horizon<U::Key, U::Val, U::Time>,
{
    fn new(rows: OrdValBatch<Vector<U>>) -> Self {
        let expiries = Expiries::sample::<U, H>(&rows.storage);
        ForgettingBatch { rows, expiries, horizon: PhantomData }
    }
}

impl<T: Ord> Expiries<T> {
    /// Looks at one row in each of as many equal parts.
    fn sample<U, H>(rows: &OrdValStorage<Vector<U>>) -> Expiries<T>
    where
        U: Update<Time = T>,
        H: Horizon<U::Key, U::Val, T>,
    {
        let (mut sampled, mut sorted) = (0, Vec::new());
        let vals = &rows.vals;
        let step = vals.vals.len().div_ceil(SAMPLE_MAX).max(1);
        let mut key = 0;
        for start in (0..vals.vals.len()).step_by(step) {
            // As if at random within the part: keys often have the same number of rows, in the order of time.
            let index = start + mix(start as u64) as usize % step;
            let Some(val) = vals.vals.get(index) else { break };
            key += vals.offs.advance(key + 1, vals.offs.len(), |end| end <= index);
            sampled += 1;
            sorted.extend(H::expiry(&rows.keys[key], val));
        }
        sorted.sort();
        Expiries { sampled, sorted }
    }
}

/// Steele, Lea and Flood's SplitMix64 (OOPSLA 2014).
fn mix(seed: u64) -> u64 {
    let mixed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

impl<U: Update, H> Deref for ForgettingBatch<U, H> {
    type Target = OrdValBatch<Vector<U>>;

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
    type Cursor = SharedCursor<<OrdValBatch<Vector<U>> as Navigable>::Cursor, Self>;

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

/// Builds a batch that forgets.
pub struct ForgettingBuilder<U: Update, H>(OrdValBuilder<Vector<U>, Chunk<U>>, PhantomData<fn() -> H>);

impl<U, H> Builder for ForgettingBuilder<U, H>
where
    U: Update,
    H: Horizon<U::Key, U::Val, U::Time>,
{
    type Input = Chunk<U>;
    type Time = U::Time;
    type Output = ForgettingBatch<U, H>;

    fn with_capacity(keys: usize, vals: usize, upds: usize) -> Self {
        ForgettingBuilder(OrdValBuilder::with_capacity(keys, vals, upds), PhantomData)
    }

    fn push(&mut self, chunk: &mut Self::Input) {
        self.0.push(chunk)
    }

    fn done(self, description: Description<U::Time>) -> Self::Output {
        ForgettingBatch::new(self.0.done(description))
    }

    fn seal(chain: &mut Vec<Self::Input>, description: Description<U::Time>) -> Self::Output {
        ForgettingBatch::new(OrdValBuilder::seal(chain, description))
    }
}

/// Merges two batches into one without the rows that have expired at its `since`.
///
/// Differential's merger with a predicate; that one cannot be extended from outside. Fuel counts the updates scanned.
pub struct ForgettingMerger<U: Update, H> {
    /// The next key of each source.
    next: (usize, usize),
    kept: OrdValStorage<Vector<U>>,
    /// The updates of the row at hand.
    staging: UpdsBuilder<Vec<U::Time>, Vec<U::Diff>>,
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
            kept: OrdValStorage {
                keys: BatchContainer::merge_capacity(&rows1.keys, &rows2.keys),
                vals: Vals::merge_capacity(&rows1.vals, &rows2.vals),
                upds: Upds::merge_capacity(&rows1.upds, &rows2.upds),
            },
            staging: UpdsBuilder::default(),
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
            let (mut vals1, mut vals2) = ((0, 0), (0, 0));
            if order.is_le() {
                vals1 = rows1.vals.bounds(self.next.0);
                self.next.0 += 1;
            }
            if order.is_ge() {
                vals2 = rows2.vals.bounds(self.next.1);
                self.next.1 += 1;
            }
            scanned += self.merge_vals(key, (rows1, vals1), (rows2, vals2)) as isize;
        }
        *fuel -= scanned;
    }

    fn done(mut self) -> ForgettingBatch<U, H> {
        let (kept, reserved) = (self.kept.vals.vals.len(), self.kept.vals.vals.capacity());
        if kept < reserved / 2 {
            // Or the memory of what was forgotten would stay.
            self.kept.keys.shrink_to_fit();
            self.kept.vals.offs.smol.shrink_to_fit();
            self.kept.vals.vals.shrink_to_fit();
            self.kept.upds.offs.smol.shrink_to_fit();
            self.kept.upds.times.shrink_to_fit();
            self.kept.upds.diffs.shrink_to_fit();
        }
        let (storage, description, updates) = (self.kept, self.description, self.staging.total());
        ForgettingBatch::new(OrdValBatch { storage, description, updates })
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
    /// Merges the values of a key, given where they are in each source; returns the updates scanned.
    fn merge_vals(
        &mut self,
        key: &U::Key,
        (rows1, (mut at1, end1)): (&OrdValStorage<Vector<U>>, (usize, usize)),
        (rows2, (mut at2, end2)): (&OrdValStorage<Vector<U>>, (usize, usize)),
    ) -> usize {
        let kept_before = self.kept.vals.vals.len();
        let mut scanned = 0;
        loop {
            let val1 = (at1 < end1).then(|| rows1.vals.get_abs(at1));
            let val2 = (at2 < end2).then(|| rows2.vals.get_abs(at2));
            let Some((order, val)) = smaller(val1, val2) else { break };
            // No `since`: the trace is closed and about to go.
            let since = self.description.since().as_option();
            let expired = since.zip(H::expiry(key, val)).is_some_and(|(since, expiry)| expiry.less_equal(since));
            if order.is_le() {
                scanned += self.stage(rows1, at1, expired);
                at1 += 1;
            }
            if order.is_ge() {
                scanned += self.stage(rows2, at2, expired);
                at2 += 1;
            }
            if !expired && self.staging.seal(&mut self.kept.upds) {
                self.kept.vals.vals.push(val.clone());
            }
        }
        if self.kept.vals.vals.len() > kept_before {
            self.kept.keys.push(key.clone());
            self.kept.vals.offs.push(self.kept.vals.vals.len());
        }
        scanned
    }

    /// Stages the updates of a row, unless it has expired; returns how many they are.
    fn stage(&mut self, rows: &OrdValStorage<Vector<U>>, index: usize, expired: bool) -> usize {
        let (start, end) = rows.upds.bounds(index);
        if !expired {
            for update in start..end {
                let (time, diff) = rows.upds.get_abs(update);
                let mut time = time.clone();
                time.advance_by(self.description.since().borrow());
                self.staging.push(time, diff.clone());
            }
        }
        end - start
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
        let expired = self.expiries.sorted.partition_point(|expiry| expiry.less_equal(since));
        self.len() * expired / self.expiries.sampled.max(1)
    }
}

impl<B: Forgets> Forgets for Shared<B> {
    fn expired(&self, since: &B::Time) -> usize {
        self.deref().expired(since)
    }
}
