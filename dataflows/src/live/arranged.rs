//! Reads of a view from what is arranged of it: by what it is read by, or all of it.

use std::ops::ControlFlow;
use std::sync::Arc;

use arrow::array::{BooleanArray, RecordBatch};
use arrow::compute::and;
use arrow::datatypes::{Schema, SchemaRef};
use differential_dataflow::{ExchangeData, Hashable};
use operators::publish::{Pinned, Snapshot, View};
use operators::{Expires, TooOld};
use schemas::Tick;
use schemas::table::Columns;

use super::read_by::{Batch, Keys, Lists, asked};
use super::{Equal, LiveRows, equal};
use crate::changes::ToRows;

/// Rows that are looked at together, and what is passed before the visitor is asked again.
const CHUNK: usize = 1 << 10;

/// What is arranged of a view by `K`, its keys by what it is read by, and how rows follow from a value.
pub(crate) struct Arranged<K: ExchangeData, V: ExchangeData, R> {
    pub(crate) view: View<Batch<K, V>>,
    pub(crate) keys: View<Keys<K>>,
    pub(crate) read_by: Lists,
    pub(crate) rows: Arc<R>,
}

impl<K, V, R> LiveRows for Arranged<K, V, R>
where
    K: ExchangeData + Hashable<Output: Into<u64>> + Expires<Tick> + Send + Sync,
    V: ExchangeData + Send + Sync,
    R: ToRows<V>,
{
    fn schema(&self) -> SchemaRef {
        Arc::new(Schema::new(R::Row::fields()))
    }

    fn visit(
        &self,
        snapshot: Snapshot,
        equals: &[Equal],
        visit: &mut dyn FnMut(RecordBatch) -> bool,
    ) -> Result<(), TooOld> {
        let (rows, keys) = (snapshot.pin(self.view), snapshot.pin(self.keys));
        // What is published of other views is not held by who reads this one.
        drop(snapshot);
        let mut chunk = Chunk { rows: Vec::new(), passed: 0, equals, visit };
        // Of several ways to read, that by which the fewest keys are looked up.
        let ways = asked(self.read_by, equals).into_iter().map(|hash| keys.get(&hash));
        let goes_on = match ways.min_by_key(Vec::len) {
            Some(found) => self.look_up(&rows, found, &mut chunk),
            None => self.go_through(&rows, &mut chunk),
        };
        if goes_on {
            chunk.end();
        }
        Ok(())
    }
}

impl<K, V, R> Arranged<K, V, R>
where
    K: ExchangeData + Hashable<Output: Into<u64>> + Expires<Tick> + Send + Sync,
    V: ExchangeData + Send + Sync,
    R: ToRows<V>,
{
    /// Visits the rows of keys; says whether the visitor has not had enough.
    fn look_up(&self, pinned: &Pinned<Batch<K, V>>, keys: Vec<(K, isize)>, chunk: &mut Chunk<'_, R::Row>) -> bool {
        let live = keys.into_iter().filter(|(key, times)| *times > 0 && !key.expired(&pinned.tick()));
        for (key, _) in live {
            let values = pinned.get(&key);
            if !chunk.take(values.iter().flat_map(|(value, _)| self.rows.rows(value))) {
                return false;
            }
        }
        true
    }

    /// Visits all rows; says whether the visitor has not had enough.
    fn go_through(&self, pinned: &Pinned<Batch<K, V>>, chunk: &mut Chunk<'_, R::Row>) -> bool {
        let mut goes_on = true;
        pinned.for_each(|key, value, _| {
            let rows = (!key.expired(&pinned.tick())).then(|| self.rows.rows(value));
            goes_on = chunk.take(rows.into_iter().flatten());
            if goes_on { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        });
        goes_on
    }
}

/// Rows on their way to a visitor.
struct Chunk<'a, R> {
    rows: Vec<R>,
    passed: usize,
    equals: &'a [Equal],
    visit: &'a mut dyn FnMut(RecordBatch) -> bool,
}

impl<R: Columns> Chunk<'_, R> {
    /// Takes the rows of a value; says whether the visitor has not had enough.
    fn take(&mut self, rows: impl Iterator<Item = R>) -> bool {
        self.rows.extend(rows);
        self.passed += 1;
        self.passed < CHUNK && self.rows.len() < CHUNK || self.end()
    }

    fn end(&mut self) -> bool {
        let goes_on = (self.visit)(matching(&self.rows, self.equals));
        self.passed = 0;
        self.rows.clear();
        goes_on
    }
}

/// The rows whose columns have these values. Of a row only the columns that are asked about are made before it is known to be wanted.
fn matching<R: Columns>(rows: &[R], equals: &[Equal]) -> RecordBatch {
    let kept = equals.iter().fold(None, |kept: Option<BooleanArray>, (name, value)| {
        let column = R::column(name, rows.iter());
        let has = column.map_or_else(|| vec![false; rows.len()].into(), |column| equal(&column, value));
        Some(match kept {
            Some(kept) => and(&kept, &has).expect("one length"),
            None => has,
        })
    });
    let wanted = |row: &usize| kept.as_ref().is_none_or(|kept| kept.value(*row));
    let wanted: Vec<&R> = (0..rows.len()).filter(wanted).map(|row| &rows[row]).collect();
    R::batch(wanted.iter().copied())
}
