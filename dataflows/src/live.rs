//! Reads of what is published of a view while its dataflow runs, on any thread.
//!
//! A view of rows is arranged by a key of its dataflow, which need not be what people read it by. So a read goes through all that is
//! published of the view and keeps the rows whose columns have the values that are asked for; it waits for nobody and makes nobody
//! wait. Of a row only the columns that are asked about are made before it is known to be wanted. What has expired is not shown,
//! whether or not its batch was merged: it is final, and in the view's table.

use std::ops::ControlFlow;
use std::sync::Arc;

use arrow::array::{Array, AsArray, BooleanArray, RecordBatch};
use arrow::compute::and;
use arrow::datatypes::{DataType, Int64Type};
use differential_dataflow::ExchangeData;
use operators::forget::SharedForgettingBatch;
use operators::publish::{Snapshot, View};
use operators::{ByKey, Expires};
use schemas::Tick;
use schemas::table::Columns;

use crate::changes::ToRows;

/// Rows that are looked at together, and what is passed before the visitor is asked again.
const CHUNK: usize = 1 << 10;

/// The value that a column is to have, as tables store it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// Null.
    Null,
    /// A number, a symbol or a time.
    Long(i64),
    /// An id.
    Bytes(Vec<u8>),
    /// A text.
    Text(String),
    /// Yes or no.
    Flag(bool),
}

/// A column and the value that it is to have.
pub type Equal = (String, Value);

/// What is published of a view of rows.
pub trait LiveRows: Send + Sync {
    /// Visits the rows at a snapshot whose columns have these values, in no order, until the visitor has had enough. It is asked now
    /// and then also where there are none.
    fn visit(&self, snapshot: &Snapshot, equals: &[Equal], visit: &mut dyn FnMut(RecordBatch) -> bool);
}

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
    fn visit(&self, snapshot: &Snapshot, equals: &[Equal], visit: &mut dyn FnMut(RecordBatch) -> bool) {
        let Arranged { view, rows: to_rows } = self;
        let mut rows = Vec::new();
        let (mut passed, mut goes_on) = (0, true);
        snapshot.for_each(*view, |key, value, _| {
            if !key.expired(&snapshot.tick()) {
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

fn equal(column: &dyn Array, value: &Value) -> BooleanArray {
    let has = |row: usize| match (value, column.data_type()) {
        (Value::Null, _) => column.is_null(row),
        _ if column.is_null(row) => false,
        (Value::Long(value), DataType::Int64) => column.as_primitive::<Int64Type>().value(row) == *value,
        (Value::Bytes(value), DataType::Binary) => column.as_binary::<i32>().value(row) == value.as_slice(),
        (Value::Text(value), DataType::Utf8) => column.as_string::<i32>().value(row) == value,
        (Value::Flag(value), DataType::Boolean) => column.as_boolean().value(row) == *value,
        _ => false,
    };
    (0..column.len()).map(|row| Some(has(row))).collect()
}
