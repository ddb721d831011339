//! Changes of the maintained views, on their way from a worker to the committer.
//!
//! A worker keeps the batches that its dataflow makes, which threads share, and hands over those of a cut: pointers. The
//! committer makes rows of them. So what a commit takes of a worker's time does not depend on how much it commits, and
//! no row is made twice that only the last change before a cut can tell.

use std::ops::Range;

use dataflows::catalogue::{CreditedBatch, InstallBatch};
use dataflows::credits::Credited;
use dataflows::weights::Weights;
use differential_dataflow::consolidation::consolidate_updates;
use differential_dataflow::trace::{BatchReader, Cursor, Navigable};
use schemas::Tick;
use schemas::view::{CreditRow, InstallRow};

use crate::ledger::Change;
use crate::recovery::Lacking;

/// The changes of one view that wait for their cut.
pub struct Waiting<B> {
    lacking: Lacking,
    batches: Vec<(B, Range<Tick>)>,
}

impl<B: BatchReader<Time = Tick> + Clone> Waiting<B> {
    /// None yet, of a table that lacks these.
    pub fn new(lacking: Lacking) -> Waiting<B> {
        Waiting { lacking, batches: Vec::new() }
    }

    /// Keeps a batch, unless the table holds all of it.
    pub fn push(&mut self, batch: &B) {
        let from = batch.lower().as_option().copied().unwrap_or(Tick::MAX);
        let to = batch.upper().as_option().copied().unwrap_or(Tick::MAX);
        if !batch.is_empty() && self.lacking.cut(to.saturating_sub(1)).is_some() {
            self.batches.push((batch.clone(), from..to));
        }
    }

    /// Takes what came before a cut. All of that has come.
    pub fn take_through(&mut self, cut: Tick) -> Taken<B> {
        let mut taken = Vec::new();
        self.batches.retain_mut(|(batch, ticks)| {
            if ticks.start < cut {
                taken.push((batch.clone(), ticks.start..ticks.end.min(cut)));
            }
            ticks.start = ticks.start.max(cut);
            !ticks.is_empty()
        });
        Taken { lacking: self.lacking, batches: taken }
    }
}

/// The changes of one view up to a cut.
pub struct Taken<B> {
    lacking: Lacking,
    batches: Vec<(B, Range<Tick>)>,
}

impl<B> Taken<B>
where
    B: BatchReader<Time = Tick> + Navigable<Cursor: Cursor<Storage = B, Time = Tick, Diff = isize>>,
{
    /// Each value that came or went, its cut and how often, consolidated.
    fn values<'a, V: Ord>(&'a self) -> Vec<(&'a V, Tick, i64)>
    where
        B::Cursor: Cursor<Val<'a> = &'a V>,
    {
        let mut values = Vec::new();
        for (batch, ticks) in &self.batches {
            let mut cursor = batch.cursor();
            while cursor.key_valid(batch) {
                while let Some(value) = cursor.get_val(batch) {
                    cursor.map_times(batch, |tick, diff| {
                        let (tick, diff) = (B::Cursor::owned_time(tick), B::Cursor::owned_diff(diff));
                        if let Some(cut) = self.lacking.cut(tick).filter(|_| ticks.contains(&tick)) {
                            values.push((value, cut, diff as i64));
                        }
                    });
                    cursor.step_val(batch);
                }
                cursor.step_key(batch);
            }
        }
        consolidate_updates(&mut values);
        values
    }
}

impl Taken<InstallBatch> {
    /// The changes of `installs`, in order.
    pub fn rows(&self) -> Vec<Change<InstallRow>> {
        self.values().into_iter().map(|(row, cut, diff): (&InstallRow, _, _)| (row.clone(), cut, diff)).collect()
    }
}

impl Taken<CreditedBatch> {
    /// The changes of `credits`, in order. Where what earned a conversion changes, only the rows that it changes do.
    pub fn rows(&self, weights: &Weights) -> Vec<Change<CreditRow>> {
        let mut values: Vec<(&Credited, Tick, i64)> = self.values();
        values.sort_by_key(|(credited, _, _)| credited.conversion());
        let (mut rows, mut of_one) = (Vec::new(), Vec::new());
        for conversion in values.chunk_by(|(one, _, _), (other, _, _)| one.conversion() == other.conversion()) {
            for (credited, cut, diff) in conversion {
                of_one.extend(credited.rows(weights).into_iter().map(|row| (row, *cut, *diff)));
            }
            consolidate_updates(&mut of_one);
            rows.append(&mut of_one);
        }
        rows
    }
}
