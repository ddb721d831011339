//! What a view of rows is read by, beside what it is arranged by: by the hash of the values that it is read by, the keys to look up.
//!
//! Rows of a view are few beside the events that they follow from, so their keys are arranged, as the rows are: a read finds them in
//! batches that do not change. Hashes may meet by chance, so a read compares the values of the rows that it finds.

use std::hash::{BuildHasher, Hasher};

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{DataType, Int64Type};
use differential_dataflow::trace::{BatchReader, Cursor, Navigable};
use differential_dataflow::{AsCollection, ExchangeData, VecCollection};
use foldhash::fast::FixedState;
use operators::forget::SharedForgettingBatch;
use operators::{ByKey, ByVal, Expires};
use schemas::Tick;
use schemas::table::Columns;
use timely::dataflow::Stream;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::generic::Operator;

use super::{Equal, Value};
use crate::changes::ToRows;

/// Values whose rows are made together.
const CHUNK: usize = 1 << 10;

/// The lists of columns that a view is read by.
pub(crate) type Lists = &'static [&'static [&'static str]];
/// The batches of what is arranged of a view.
pub(crate) type Batch<K, V> = SharedForgettingBatch<K, V, Tick, isize, ByKey>;
/// The batches of its keys by what it is read by.
pub(crate) type Keys<K> = SharedForgettingBatch<u64, K, Tick, isize, ByVal>;

/// The hashes of what rows can be read by, for each list whose columns all have a value.
pub(crate) fn asked(lists: Lists, equals: &[Equal]) -> Vec<u64> {
    let value = |name: &str| equals.iter().find(|(column, _)| column == name).map(|(_, value)| value);
    let of_list = |(place, list): (usize, &&[&str])| {
        let mut hasher = start(place);
        for name in *list {
            match value(name)? {
                Value::Null => return None,
                Value::Long(number) => hasher.write_i64(*number),
                Value::Bytes(bytes) => bytes_of(&mut hasher, bytes),
                Value::Text(text) => bytes_of(&mut hasher, text.as_bytes()),
                Value::Flag(flag) => hasher.write_u8(u8::from(*flag)),
            }
        }
        Some(hasher.finish())
    };
    lists.iter().enumerate().filter_map(of_list).collect()
}

/// The hashes of what each of some rows is read by, with the row's place.
fn of_rows<R: Columns>(lists: Lists, rows: &[R]) -> Vec<(usize, u64)> {
    let mut hashes = Vec::new();
    for (place, list) in lists.iter().enumerate() {
        let column = |name: &&str| R::column(name, rows.iter()).expect("a view is read by columns that it has");
        let columns: Vec<ArrayRef> = list.iter().map(column).collect();
        for row in (0..rows.len()).filter(|row| columns.iter().all(|column| column.is_valid(*row))) {
            let mut hasher = start(place);
            columns.iter().for_each(|column| value_of(&mut hasher, column, row));
            hashes.push((row, hasher.finish()));
        }
    }
    hashes
}

fn start(list: usize) -> impl Hasher {
    let mut hasher = FixedState::default().build_hasher();
    hasher.write_usize(list);
    hasher
}

fn bytes_of(hasher: &mut impl Hasher, bytes: &[u8]) {
    hasher.write_usize(bytes.len());
    hasher.write(bytes);
}

fn value_of(hasher: &mut impl Hasher, column: &dyn Array, row: usize) {
    match column.data_type() {
        DataType::Int64 => hasher.write_i64(column.as_primitive::<Int64Type>().value(row)),
        DataType::Binary => bytes_of(hasher, column.as_binary::<i32>().value(row)),
        DataType::Utf8 => bytes_of(hasher, column.as_string::<i32>().value(row).as_bytes()),
        DataType::Boolean => hasher.write_u8(u8::from(column.as_boolean().value(row))),
        other => unreachable!("no view is read by a column of {other}"),
    }
}

/// The keys of what is arranged of a view, by what its rows are read by.
pub(crate) fn keys<'scope, K, V, R>(
    batches: Stream<'scope, Tick, Vec<Batch<K, V>>>,
    name: &str,
    lists: Lists,
    to_rows: std::sync::Arc<R>,
) -> VecCollection<'scope, Tick, (u64, K), isize>
where
    K: ExchangeData + Expires<Tick>,
    V: ExchangeData,
    R: ToRows<V>,
{
    let made = batches.unary(Pipeline, name, move |_, _| {
        // Rows, and the change that each follows from.
        let (mut rows, mut changes) = (Vec::new(), Vec::new());
        move |input, output| {
            input.for_each(|capability, batches| {
                let mut session = output.session(&capability);
                let mut tell = |rows: &mut Vec<R::Row>, changes: &mut Vec<(K, Tick, isize)>| {
                    for (row, hash) in of_rows(lists, rows) {
                        let (key, tick, diff) = changes[row].clone();
                        session.give(((hash, key), tick, diff));
                    }
                    rows.clear();
                    changes.clear();
                };
                for batch in batches.iter() {
                    each(batch, |key, value, tick, diff| {
                        for row in to_rows.read_as(value) {
                            rows.push(row);
                            changes.push((key.clone(), tick, diff));
                        }
                        if rows.len() >= CHUNK {
                            tell(&mut rows, &mut changes);
                        }
                    });
                }
                tell(&mut rows, &mut changes);
            });
        }
    });
    made.as_collection()
}

/// Visits each key, value, tick and difference of a batch.
fn each<'a, K, V>(batch: &'a Batch<K, V>, mut visit: impl FnMut(&'a K, &'a V, Tick, isize))
where
    K: ExchangeData + Expires<Tick>,
    V: ExchangeData,
{
    if batch.is_empty() {
        return;
    }
    let mut cursor = batch.cursor();
    while let Some(key) = cursor.get_key(batch) {
        while let Some(value) = cursor.get_val(batch) {
            cursor.map_times(batch, |tick, diff| visit(key, value, *tick, *diff));
            cursor.step_val(batch);
        }
        cursor.step_key(batch);
    }
}
