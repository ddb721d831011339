//! Compares what a table holds with what it should hold, as multisets of rows, and names every difference.
//!
//! Rows are counted by a 128-bit hash of their bytes, so that only those that differ are kept; a second pass over both
//! sides picks these out. Rows with one key that are missing and present in another form are one *changed* row.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int32Array, ListArray, RecordBatch, UInt32Array};
use arrow::buffer::OffsetBuffer;
use arrow::compute::{cast, take, take_record_batch};
use arrow::datatypes::{DataType, Int64Type, Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::row::{RowConverter, SortField};
use datafusion::execution::SendableRecordBatchStream;
use futures::StreamExt;
use serde::Serialize;
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use super::SqlError;
use super::format::{json, object};
use super::functions::{Names, readable_batch};

/// One difference between a table and its definition.
#[derive(Debug, Serialize)]
#[serde(tag = "difference", rename_all = "snake_case")]
pub enum Difference {
    /// The definition gives a row that the table does not hold.
    Missing {
        /// The row.
        row: Box<RawValue>,
        /// How many times it is missing.
        times: i64,
    },
    /// The table holds a row that the definition does not give.
    Unexpected {
        /// The row.
        row: Box<RawValue>,
        /// How many times it is too many.
        times: i64,
    },
    /// The table holds a row with other values than the definition gives for its key.
    Changed {
        /// The key.
        key: Box<RawValue>,
        /// The columns that differ.
        columns: Vec<ChangedColumn>,
    },
    /// The changes of a row sum below zero.
    Negative {
        /// The row.
        row: Box<RawValue>,
        /// The sum.
        times: i64,
    },
}

/// One column of a changed row.
#[derive(Debug, Serialize)]
pub struct ChangedColumn {
    /// Its name.
    pub column: String,
    /// What the definition gives.
    pub expected: Box<RawValue>,
    /// What the table holds.
    pub present: Box<RawValue>,
}

impl Difference {
    /// The difference as one line (a changed row: one line for each column).
    pub fn text(&self) -> String {
        let times = |times: i64| if times == 1 { String::new() } else { format!(" ({times} times)") };
        match self {
            Difference::Missing { row, times: n } => format!("+ {row}{}\n", times(*n)),
            Difference::Unexpected { row, times: n } => format!("- {row}{}\n", times(*n)),
            Difference::Negative { row, times: n } => format!("! {row} stands {n} times\n"),
            Difference::Changed { key, columns } => {
                let lines = columns.iter().map(|changed| {
                    format!("    {}: expected {}, present {}\n", changed.column, changed.expected, changed.present)
                });
                format!("~ {key}\n") + &lines.collect::<String>()
            }
        }
    }
}

/// What a comparison found.
pub struct Comparison {
    /// Rows that should be there.
    pub expected_rows: u64,
    /// Rows that are there.
    pub present_rows: u64,
    /// Where they differ, by key.
    pub differences: Vec<Difference>,
}

type Hash = [u8; 16];

#[derive(Clone, Copy, Default)]
struct Count {
    expected: i64,
    present: i64,
}

impl Count {
    fn differs(self) -> bool {
        self.expected != self.present
    }
}

/// Counts and picks rows by their bytes.
struct Side {
    converter: RowConverter,
    columns: SchemaRef,
}

impl Side {
    fn new(columns: &SchemaRef) -> Result<Side, SqlError> {
        let fields = columns.fields().iter().map(|field| SortField::new(field.data_type().clone())).collect();
        Ok(Side { converter: RowConverter::new(fields)?, columns: columns.clone() })
    }

    /// The compared columns of a batch in the types of the table.
    fn project(&self, batch: &RecordBatch) -> Result<RecordBatch, SqlError> {
        let arrays = self.columns.fields().iter().map(|field| {
            let array = batch.column(batch.schema().index_of(field.name())?);
            let array =
                if array.data_type() == field.data_type() { array.clone() } else { cast(array, field.data_type())? };
            // SQL collects nothing into null, a table that allows no null holds an empty list.
            if field.is_nullable() { Ok(array) } else { empty_for_null(&array) }
        });
        let arrays = arrays.collect::<Result<Vec<ArrayRef>, _>>()?;
        // A definition may give null where the table allows none: that is a difference, not an error.
        let fields = self.columns.fields().iter().map(|field| field.as_ref().clone().with_nullable(true));
        let schema = Schema::new(fields.collect::<Vec<_>>());
        Ok(RecordBatch::try_new(Arc::new(schema), arrays)?)
    }

    fn hashes(&self, batch: &RecordBatch) -> Result<Vec<Hash>, SqlError> {
        let rows = self.converter.convert_columns(batch.columns())?;
        Ok(rows.iter().map(|row| Sha256::digest(row.as_ref())[..16].try_into().expect("it has 32 bytes")).collect())
    }
}

/// A column of lists with an empty one for each null.
fn empty_for_null(array: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    let DataType::List(item) = array.data_type() else { return Ok(array.clone()) };
    let lists = array.as_list::<i32>();
    if lists.null_count() == 0 {
        return Ok(array.clone());
    }
    let ranges = lists.offsets().windows(2).map(|pair| pair[0]..pair[1]);
    let kept: Vec<_> = ranges.enumerate().map(|(row, range)| if lists.is_null(row) { 0..0 } else { range }).collect();
    let offsets = OffsetBuffer::from_lengths(kept.iter().map(|range| range.len()));
    let values = take(lists.values(), &Int32Array::from_iter_values(kept.into_iter().flatten()), None)?;
    Ok(Arc::new(ListArray::try_new(item.clone(), offsets, values, None)?))
}

/// The rows of one side that differ, with their counts.
#[derive(Default)]
struct Picked {
    batches: Vec<(RecordBatch, Vec<Hash>)>,
}

impl Picked {
    /// Takes the rows whose hashes are wanted, each once.
    fn pick(
        &mut self,
        batch: &RecordBatch,
        hashes: &[Hash],
        wanted: &mut HashMap<Hash, Count>,
        is_wanted: impl Fn(&Count) -> bool,
    ) -> Result<(), SqlError> {
        let (mut rows, mut picked) = (Vec::new(), Vec::new());
        for (row, hash) in hashes.iter().enumerate() {
            if wanted.get(hash).is_some_and(&is_wanted) {
                rows.push(row as u32);
                picked.push(*hash);
                wanted.remove(hash);
            }
        }
        if !rows.is_empty() {
            self.batches.push((take_record_batch(batch, &UInt32Array::from(rows))?, picked));
        }
        Ok(())
    }
}

/// Compares the expected rows with the changes of a table. `changes` is read once, and a second time if rows differ;
/// its last column is `_diff`, the others are those of `columns`.
pub async fn compare(
    expected: &[RecordBatch],
    changes: impl AsyncFn() -> Result<SendableRecordBatchStream, SqlError>,
    columns: &SchemaRef,
    key: &[&str],
    names: &Names,
) -> Result<Comparison, SqlError> {
    let side = Side::new(columns)?;
    let mut counts: HashMap<Hash, Count> = HashMap::new();
    for batch in expected {
        for hash in side.hashes(&side.project(batch)?)? {
            counts.entry(hash).or_default().expected += 1;
        }
    }
    let mut stream = changes().await?;
    while let Some(batch) = stream.next().await.transpose()? {
        let diffs = batch.column(batch.num_columns() - 1).as_primitive::<Int64Type>();
        for (hash, diff) in side.hashes(&side.project(&batch)?)?.into_iter().zip(diffs.values()) {
            counts.entry(hash).or_default().present += diff;
        }
    }
    let expected_rows = counts.values().map(|count| count.expected as u64).sum();
    let present_rows = counts.values().map(|count| count.present.max(0) as u64).sum();
    counts.retain(|_, count| count.differs());
    if counts.is_empty() {
        return Ok(Comparison { expected_rows, present_rows, differences: Vec::new() });
    }

    let (mut missing, mut present) = (Picked::default(), Picked::default());
    let mut wanted = counts.clone();
    for batch in expected {
        let batch = side.project(batch)?;
        missing.pick(&batch, &side.hashes(&batch)?, &mut wanted, |count| count.expected > count.present.max(0))?;
    }
    let mut wanted = counts.clone();
    let mut stream = changes().await?;
    while let Some(batch) = stream.next().await.transpose()? {
        let batch = side.project(&batch)?;
        let unexpected = |count: &Count| count.present > count.expected || count.present < 0;
        present.pick(&batch, &side.hashes(&batch)?, &mut wanted, unexpected)?;
    }
    Ok(Comparison { expected_rows, present_rows, differences: pair(&missing, &present, &counts, key, names)? })
}

/// A row that differs, as people read it.
struct Row {
    batch: usize,
    row: usize,
    times: i64,
}

/// Pairs missing and unexpected rows by key.
fn pair(
    missing: &Picked,
    present: &Picked,
    counts: &HashMap<Hash, Count>,
    key: &[&str],
    names: &Names,
) -> Result<Vec<Difference>, SqlError> {
    let mut by_key: BTreeMap<Vec<u8>, (Vec<Row>, Vec<Row>)> = BTreeMap::new();
    let mut negative = Vec::new();
    for (is_missing, side) in [(true, missing), (false, present)] {
        for (index, (batch, hashes)) in side.batches.iter().enumerate() {
            let keys = key_columns(batch, key)?;
            let fields = keys.iter().map(|array| SortField::new(array.data_type().clone())).collect();
            let keys = RowConverter::new(fields)?.convert_columns(&keys)?;
            for (row, hash) in hashes.iter().enumerate() {
                let count = counts[hash];
                let found = |times| Row { batch: index, row, times };
                let entry = by_key.entry(keys.row(row).as_ref().to_vec());
                if is_missing {
                    entry.or_default().0.push(found(count.expected - count.present.max(0)));
                } else if count.present < 0 {
                    negative.push(found(count.present));
                } else {
                    entry.or_default().1.push(found(count.present - count.expected));
                }
            }
        }
    }
    let shown = |side: &Picked| {
        side.batches.iter().map(|(batch, _)| readable_batch(batch, names)).collect::<Result<Vec<_>, ArrowError>>()
    };
    let (missing_shown, present_shown) = (shown(missing)?, shown(present)?);

    let mut differences = Vec::new();
    for (missing_rows, present_rows) in by_key.into_values() {
        let (mut missing_rows, mut present_rows) = (missing_rows.into_iter(), present_rows.into_iter());
        loop {
            match (missing_rows.next(), present_rows.next()) {
                (Some(gone), Some(found)) => {
                    differences.push(changed(
                        (&missing_shown[gone.batch], gone.row),
                        (&present_shown[found.batch], found.row),
                        key,
                    ));
                    // Usually both stand once; what one side has more often is told of it alone.
                    let both = gone.times.min(found.times);
                    let row = whole(&missing_shown[gone.batch], gone.row);
                    differences
                        .extend((gone.times > both).then_some(Difference::Missing { row, times: gone.times - both }));
                    let row = whole(&present_shown[found.batch], found.row);
                    let more = found.times > both;
                    differences.extend(more.then_some(Difference::Unexpected { row, times: found.times - both }));
                }
                (Some(gone), None) => {
                    let row = whole(&missing_shown[gone.batch], gone.row);
                    differences.push(Difference::Missing { row, times: gone.times });
                }
                (None, Some(found)) => {
                    let row = whole(&present_shown[found.batch], found.row);
                    differences.push(Difference::Unexpected { row, times: found.times });
                }
                (None, None) => break,
            }
        }
    }
    differences.extend(negative.into_iter().map(|found| {
        let row = whole(&present_shown[found.batch], found.row);
        Difference::Negative { row, times: found.times }
    }));
    Ok(differences)
}

fn key_columns(batch: &RecordBatch, key: &[&str]) -> Result<Vec<ArrayRef>, SqlError> {
    let columns = key.iter().map(|name| Ok(batch.column(batch.schema().index_of(name)?).clone()));
    columns.collect()
}

fn changed(expected: (&RecordBatch, usize), present: (&RecordBatch, usize), key: &[&str]) -> Difference {
    let schema = expected.0.schema();
    let value = |(batch, row): (&RecordBatch, usize), column: usize| {
        let mut text = String::new();
        json(&mut text, batch.column(column), row);
        text
    };
    let columns = schema.fields().iter().enumerate().filter_map(|(index, field)| {
        let (expected, present) = (value(expected, index), value(present, index));
        let changed = || ChangedColumn {
            column: field.name().clone(),
            expected: raw(expected.clone()),
            present: raw(present.clone()),
        };
        (expected != present).then(changed)
    });
    let columns = columns.collect();
    let keys: Vec<(String, &ArrayRef)> =
        key.iter().filter_map(|name| Some(((*name).to_owned(), expected.0.column_by_name(name)?))).collect();
    let mut text = String::new();
    object(&mut text, keys.iter().map(|(name, array)| (name, *array)), expected.1);
    Difference::Changed { key: raw(text), columns }
}

fn whole(batch: &RecordBatch, row: usize) -> Box<RawValue> {
    let schema = batch.schema();
    let mut text = String::new();
    object(&mut text, schema.fields().iter().map(|field| field.name()).zip(batch.columns()), row);
    raw(text)
}

fn raw(text: String) -> Box<RawValue> {
    RawValue::from_string(text).expect("values print as JSON")
}
