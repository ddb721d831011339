//! Reads of what is published of a view while its dataflow runs, on any thread.
//!
//! A view whose rows follow from what is kept of a key is read from the record of that key ([`KeyRows`]). Any other view of rows is
//! arranged by a key of its dataflow, which need not be what people read it by; so its keys are arranged by that, too, and a read
//! looks up those that it finds there. Either is published by the worker that has it, and a read asks that worker's share alone. What
//! has expired is not shown, whether or not it was forgotten: it is final, and in the view's table.

mod arranged;
mod kept;
mod read_by;

use arrow::array::{Array, AsArray, BooleanArray, RecordBatch};
use arrow::compute::{and, filter_record_batch};
use arrow::datatypes::{DataType, Int64Type, SchemaRef};
use operators::TooOld;
use operators::publish::Snapshot;
use schemas::Id;

pub(crate) use arranged::Arranged;
pub(crate) use kept::Kept;
pub use kept::KeyRows;
pub(crate) use read_by::keys;

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

/// The id that a column is to have.
pub(crate) fn id_of(equals: &[Equal], column: &str) -> Option<Id> {
    equals.iter().find_map(|(name, value)| match value {
        Value::Bytes(id) if name == column => Some(Id::from_bytes(id.as_slice().try_into().ok()?)),
        _ => None,
    })
}

/// What is published of a view of rows.
pub trait LiveRows: Send + Sync {
    /// The columns of the rows: those of the view's table, and what is read in memory alone.
    fn schema(&self) -> SchemaRef;

    /// Whether rows with these values, if there are any, are in memory unless they are final. Where they are not, none is no answer.
    fn answers(&self, _: &[Equal]) -> bool {
        true
    }

    /// Visits the rows at a snapshot whose columns have these values, in no order, until the visitor has had enough. It is asked now
    /// and then also where there are none.
    ///
    /// # Errors
    /// Where the snapshot is too old for what is asked: take another and begin again.
    fn visit(
        &self,
        snapshot: Snapshot,
        equals: &[Equal],
        visit: &mut dyn FnMut(RecordBatch) -> bool,
    ) -> Result<(), TooOld>;
}

/// The rows of a batch whose columns have these values.
fn matching(rows: &RecordBatch, equals: &[Equal]) -> RecordBatch {
    let has = |(name, value): &Equal| match rows.column_by_name(name) {
        Some(column) => equal(column, value),
        None => BooleanArray::from(vec![false; rows.num_rows()]),
    };
    let kept = equals.iter().map(has).reduce(|kept, has| and(&kept, &has).expect("one length"));
    kept.map_or_else(|| rows.clone(), |kept| filter_record_batch(rows, &kept).expect("one length"))
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
