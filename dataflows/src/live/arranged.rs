//! Reads of a view from what is arranged of it.

use std::ops::ControlFlow;
use std::sync::Arc;

use arrow::array::{BooleanArray, RecordBatch};
use arrow::compute::and;
use arrow::datatypes::{Schema, SchemaRef};
use differential_dataflow::ExchangeData;
use operators::forget::SharedForgettingBatch;
use operators::publish::{Snapshot, View};
use operators::{ByKey, Expires, TooOld};
use schemas::Tick;
use schemas::table::Columns;

use super::{Equal, LiveRows, equal};
use crate::changes::ToRows;

/// Rows that are looked at together, and what is passed before the visitor is asked again.
const CHUNK: usize = 1 << 10;

/// What is arranged of a view by `K`, and how rows follow from a value.
pub(crate) struct Arranged<K: ExchangeData, V: ExchangeData, R> {
    pub(crate) view: View<Batch<K, V>>,
    pub(crate) rows: Arc<R>,
}

/// The batches of what is arranged.
type Batch<K, V> = SharedForgettingBatch<K, V, Tick, isize, ByKey>;

impl<K, V, R> LiveRows for Arranged<K, V, R>
where
    K: ExchangeData + Expires<Tick> + Send + Sync,
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
        let Arranged { view, rows: to_rows } = self;
        let pinned = snapshot.pin(*view);
        // What is published of other views is not held by who goes through this one.
        drop(snapshot);
        let mut rows = Vec::new();
        let (mut passed, mut goes_on) = (0, true);
        pinned.for_each(|key, value, _| {
            if !key.expired(&pinned.tick()) {
                rows.extend(to_rows.rows(value));
            }
            passed += 1;
            if passed >= CHUNK || rows.len() >= CHUNK {
                goes_on = visit(matching(&rows, equals));
                passed = 0;
                rows.clear();
            }
            if goes_on { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        });
        if goes_on {
            visit(matching(&rows, equals));
        }
        Ok(())
    }
}

/// The rows whose columns have these values.
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
