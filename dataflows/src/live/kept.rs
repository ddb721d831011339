//! Reads of a view from what is kept of a key: of one record, at its worker.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use differential_dataflow::{ExchangeData, Hashable};
use operators::publish::Snapshot;
use operators::{RecordsView, TooOld};
use schemas::Tick;

use super::{Equal, LiveRows, matching};

/// How the rows of a view follow from what is kept of a key: from its section of the record alone.
///
/// They are the rows of the view's table that can still change, and whatever else of the key is not in the table yet, as sessions that
/// are open: a column that the table lacks says which is which.
pub trait KeyRows: Send + Sync + 'static {
    /// What records are kept by.
    type Key: Copy;
    /// What a record has of this view. It is copied, and made into rows once the worker can go on.
    type Section: Clone;

    /// The columns of the rows: those of the table first.
    fn schema() -> SchemaRef;

    /// The key that has these values; none where they do not say which. The other values are compared with those of its rows.
    fn key(equals: &[Equal]) -> Option<Self::Key>;

    /// Whether rows with these values, if there are any, follow from a section. Where they do not, the lake is read.
    fn answers(_: &[Equal]) -> bool {
        true
    }

    /// The rows of a key at a tick, as tables store them. None of them is final.
    fn rows(&self, key: Self::Key, section: &Self::Section, now: Tick) -> RecordBatch;
}

/// What is published of records that have a section of a view, read with the help of each worker's `S`.
pub(crate) struct Kept<K, R, S: KeyRows> {
    pub(crate) view: RecordsView<K, R, S>,
    /// The section of a record.
    pub(crate) section: fn(&R) -> &S::Section,
}

impl<K, R, S> LiveRows for Kept<K, R, S>
where
    K: ExchangeData + Hashable<Output: Into<u64>> + Copy + Eq + Send + Sync,
    R: Send + 'static,
    S: KeyRows<Key = K>,
{
    fn schema(&self) -> SchemaRef {
        S::schema()
    }

    fn answers(&self, equals: &[Equal]) -> bool {
        S::answers(equals)
    }

    fn visit(
        &self,
        snapshot: Snapshot,
        equals: &[Equal],
        visit: &mut dyn FnMut(RecordBatch) -> bool,
    ) -> Result<(), TooOld> {
        let read = |rows: &Arc<S>, record: &R| (Arc::clone(rows), (self.section)(record).clone());
        let kept = match S::key(equals) {
            Some(key) => snapshot.record(self.view, &key, read)?.map(|kept| (key, kept)),
            None => None,
        };
        visit(match kept {
            Some((key, (rows, section))) => matching(&rows.rows(key, &section, snapshot.tick()), equals),
            None => RecordBatch::new_empty(S::schema()),
        });
        Ok(())
    }
}
