//! Sums the changes of a view up to a cut, in Arrow, whatever its columns are.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch, UInt32Array};
use arrow::compute::{cast, concat_batches, take_record_batch};
use arrow::datatypes::{Int64Type, SchemaRef};
use arrow::error::ArrowError;
use arrow::row::{RowConverter, SortField};
use dataflows::view::Form;
use schemas::Tick;

use super::file::BATCH_ROWS_MAX;

/// The changes with those up to `since` summed, which stand at `since` then, by cut; and whether there were any.
pub(super) fn summed(
    batches: &[RecordBatch],
    schema: &SchemaRef,
    form: Form,
    since: Tick,
) -> Result<(Vec<RecordBatch>, bool), ArrowError> {
    let batches = batches.iter().map(|batch| conform(batch, schema)).collect::<Result<Vec<_>, _>>()?;
    let all = concat_batches(schema, &batches)?;
    let (cut_at, since) = (schema.index_of("_cut")?, since as i64);
    let was_summed = longs(&all, cut_at).iter().any(|cut| *cut < since);
    let mut columns = all.columns().to_vec();
    columns[cut_at] =
        std::sync::Arc::new(longs(&all, cut_at).iter().map(|cut| (*cut).max(since)).collect::<Int64Array>());
    let all = RecordBatch::try_new(schema.clone(), columns)?;

    // What is added up, and what tells rows apart: all else.
    let measures = match form {
        Form::Rows => vec![schema.index_of("_diff")?],
        Form::Sums(measures) => (cut_at - measures..cut_at).collect(),
    };
    let key: Vec<usize> = (0..schema.fields().len()).filter(|column| !measures.contains(column)).collect();
    let fields = key.iter().map(|column| SortField::new(schema.field(*column).data_type().clone())).collect();
    let keys: Vec<ArrayRef> = key.iter().map(|column| all.column(*column).clone()).collect();
    let rows = RowConverter::new(fields)?.convert_columns(&keys)?;
    let mut places = HashMap::with_capacity(all.num_rows());
    let mut firsts: Vec<u32> = Vec::new();
    let mut sums: Vec<Vec<i64>> = vec![Vec::new(); measures.len()];
    for (number, row) in rows.iter().enumerate() {
        let place = match places.entry(row) {
            Entry::Occupied(place) => *place.get(),
            Entry::Vacant(place) => {
                firsts.push(number as u32);
                sums.iter_mut().for_each(|sums| sums.push(0));
                *place.insert(firsts.len() - 1)
            }
        };
        for (sums, measure) in sums.iter_mut().zip(&measures) {
            let more = longs(&all, *measure)[number];
            sums[place] = sums[place].checked_add(more).ok_or_else(|| {
                ArrowError::ComputeError(format!("a sum of {} does not fit 64 bits", schema.field(*measure).name()))
            })?;
        }
    }
    let mut kept: Vec<usize> = (0..firsts.len()).filter(|at| sums.iter().any(|sums| sums[*at] != 0)).collect();
    // By cut, so that row groups prune.
    kept.sort_by_key(|at| longs(&all, cut_at)[firsts[*at] as usize]);
    let first_of_each = take_record_batch(&all, &kept.iter().map(|at| firsts[*at]).collect::<UInt32Array>())?;
    let mut columns = first_of_each.columns().to_vec();
    for (sums, measure) in sums.iter().zip(&measures) {
        columns[*measure] = std::sync::Arc::new(kept.iter().map(|at| sums[*at]).collect::<Int64Array>());
    }
    let all = RecordBatch::try_new(schema.clone(), columns)?;
    let starts = (0..all.num_rows()).step_by(BATCH_ROWS_MAX);
    let batches = starts.map(|start| all.slice(start, BATCH_ROWS_MAX.min(all.num_rows() - start))).collect();
    Ok((batches, was_summed))
}

fn longs(batch: &RecordBatch, column: usize) -> &[i64] {
    batch.column(column).as_primitive::<Int64Type>().values()
}

/// A batch of a file in the columns of the view: a file that is older than a column is without it, and another client may have
/// given lists other names for their elements.
fn conform(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch, ArrowError> {
    let columns = schema.fields().iter().map(|field| match batch.column_by_name(field.name()) {
        Some(column) if column.data_type() == field.data_type() => Ok(column.clone()),
        Some(column) => cast(column, field.data_type()),
        None => Ok(arrow::array::new_null_array(field.data_type(), batch.num_rows())),
    });
    RecordBatch::try_new(schema.clone(), columns.collect::<Result<_, _>>()?)
}
