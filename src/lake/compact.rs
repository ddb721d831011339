//! Compaction: the small files of a table become few large ones, beside a writer that goes on.
//!
//! Files of one partition are merged in the order of their cuts, up to [`FILE_ROWS_MAX`] rows each. Of two neighbours
//! that are left, one is large or both together would be: so a table has at most
//! `2 × rows / FILE_ROWS_MAX + 1` files per partition after it, and a changelog fewer rows. Records are sorted again by
//! type and event time, and have all columns that any of the merged files has. Rows of a changelog up to a cut *since* are summed and stand at *since* from then on: whoever
//! asks for an earlier cut must be refused, so the log says it (`bidstream/since`).
//!
//! The commit removes the old files and adds the new one, at exactly the version after the held one. A writer that comes
//! first is caught up with; a second compaction that comes first has removed the files, then this one is given up and
//! what it uploaded is left to a vacuum. It carries no epoch and no cut: to the ledger it is as if it had not been.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch, new_null_array};
use arrow::compute::{SortColumn, cast, concat_batches, lexsort_to_indices, partition, take_record_batch};
use arrow::datatypes::{FieldRef, Int64Type, Schema, SchemaRef};
use arrow::error::ArrowError;
use dataflows::views;
use deltalake_core::DeltaTableError;
use deltalake_core::kernel::{Add, Remove};
use deltalake_core::protocol::DeltaOperation;
use object_store::ObjectStoreExt;
use parquet::arrow::arrow_reader::{ArrowReaderOptions, ParquetRecordBatchReaderBuilder};
use schemas::Tick;
use schemas::table::records_schema;
use serde::Serialize;
use serde_json::Value;

use super::entry::DataFile;
use super::error::LedgerError;
use super::file::{BATCH_ROWS_MAX, Encoded, encode};
use super::finished;
use super::log::{Put, TableLog};
#[cfg(test)]
use super::simulation;
use super::summed::summed;
use super::writer::{OVERTAKEN_MAX, Writer};
use crate::clock::Clock;
use crate::lake::failpoint;

/// The app id under which a changelog's log says below which cut it is summed.
pub(crate) const SINCE: &str = "bidstream/since";

/// The app id under which it says as of which cut the view was made anew: what was read there before followed from another definition, or
/// from other records.
pub(crate) const ANEW: &str = "bidstream/anew";
/// The most rows of a file that compaction writes. All of them are in memory meanwhile.
pub(super) const FILE_ROWS_MAX: u64 = 1 << 17;

/// What a compaction did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Compacted {
    /// Files that were merged.
    pub files_read: u64,
    /// Files that were written instead.
    pub files_written: u64,
    /// Rows of the merged files.
    pub rows_read: u64,
    /// Rows that were written: fewer where changes were summed.
    pub rows_written: u64,
}

/// Compacts a table; changes of a view up to `since` are summed.
pub(super) async fn compact(
    log: &mut TableLog,
    writer: &Writer,
    since: Tick,
    rows_max: u64,
) -> Result<Compacted, LedgerError> {
    let mut done = Compacted::default();
    for files in groups(log, rows_max) {
        let one = merge(log, writer, since, &files).await?;
        done.files_read += one.files_read;
        done.files_written += one.files_written;
        done.rows_read += one.rows_read;
        done.rows_written += one.rows_written;
    }
    Ok(done)
}

/// The files to be merged with each other.
fn groups(log: &TableLog, rows_max: u64) -> Vec<Vec<DataFile>> {
    let mut partitions: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for file in log.files() {
        let stats: Value = file.stats.as_deref().and_then(|stats| serde_json::from_str(stats).ok()).unwrap_or_default();
        // A file that does not tell its rows is as good as a large one.
        if let Some(rows) = stats["numRecords"].as_u64().filter(|rows| *rows < rows_max / 2) {
            let cut = stats["minValues"]["_cut"].as_u64();
            partitions.entry(&file.partition_values).or_default().push((cut, rows, file));
        }
    }
    let mut groups = Vec::new();
    for mut files in partitions.into_values() {
        // Names are random: what is merged with what must not hang on them where that matters.
        files.sort_by_key(|(cut, rows, file)| (*cut, *rows, &file.path));
        let (mut group, mut group_rows) = (Vec::new(), 0);
        for (_, rows, file) in files {
            if group_rows + rows > rows_max {
                groups.push(std::mem::take(&mut group));
                group_rows = 0;
            }
            group_rows += rows;
            group.push(file.clone());
        }
        groups.push(group);
    }
    groups.retain(|group| group.len() > 1);
    groups
}

async fn merge(log: &mut TableLog, writer: &Writer, since: Tick, files: &[DataFile]) -> Result<Compacted, LedgerError> {
    let table = log.name().to_owned();
    failpoint::hit(&table, "compact.read").map_err(LedgerError::delta(&table))?;
    let mut batches = Vec::new();
    for file in files {
        batches.extend(read(log, file).await?);
    }
    let rows_read = batches.iter().map(|batch| batch.num_rows() as u64).sum();
    let since = since.max(log.txn(SINCE).unwrap_or(0) as Tick);
    let rewriting = {
        let table = table.clone();
        tokio::task::spawn_blocking(move || rewrite(&table, &batches, since))
    };
    let (encoded, summed) = finished(rewriting.await).map_err(LedgerError::delta(&table))?;
    let mut adds = Vec::new();
    if let Some(file) = &encoded {
        let partition = files[0].partition_values.iter().next();
        let partition = partition.and_then(|(column, value)| Some((column.as_str(), value.as_deref()?)));
        let add = log.upload(file, partition).await?;
        adds.push(Add { data_change: summed, ..add });
    }
    let txns = if summed { BTreeMap::from([(SINCE.to_owned(), since as i64)]) } else { BTreeMap::new() };
    let operation = DeltaOperation::Optimize { predicate: None, target_size: 0 };
    let removes = files.iter().map(|file| remove(file, summed)).collect();
    let commit = log.prepare_rewrite(writer, operation, adds, removes, txns);
    failpoint::hit(&table, "compact.put").map_err(LedgerError::delta(&table))?;
    for _ in 0..OVERTAKEN_MAX {
        // Only a repair takes a cut back.
        let overtaken = summed && log.cut().is_none_or(|cut| cut < since);
        let gone = !files.iter().all(|file| log.holds(file));
        #[cfg(test)]
        let gone = gone && !simulation::planted(simulation::Bug::StaleCompaction);
        if overtaken || gone {
            return Ok(Compacted::default());
        }
        if log.put(&commit).await? == Put::Done {
            let (files_written, rows_written) = encoded.map_or((0, 0), |file| (1, file.rows()));
            return Ok(Compacted { files_read: files.len() as u64, files_written, rows_read, rows_written });
        }
    }
    Err(LedgerError::overtaken(&table))
}

/// How a commit takes a file out of its table.
pub(super) fn remove(file: &DataFile, data_change: bool) -> Remove {
    Remove {
        path: file.path.clone(),
        data_change,
        deletion_timestamp: Some(Clock::system().now_ms()),
        extended_file_metadata: Some(true),
        partition_values: Some(file.partition_values.clone().into_iter().collect()),
        size: Some(file.size),
        tags: None,
        deletion_vector: None,
        base_row_id: None,
        default_row_commit_version: None,
    }
}

/// All rows of a file.
pub(super) async fn read(log: &TableLog, file: &DataFile) -> Result<Vec<RecordBatch>, LedgerError> {
    let reading = async {
        let bytes = log.objects().get(&file.location()?).await?.bytes().await?;
        let decoding = tokio::task::spawn_blocking(move || {
            let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
            let reader = ParquetRecordBatchReaderBuilder::try_new_with_options(bytes, options)?;
            let batches = reader.with_batch_size(BATCH_ROWS_MAX).build()?;
            Ok::<_, DeltaTableError>(batches.collect::<Result<Vec<_>, ArrowError>>()?)
        });
        finished(decoding.await)
    };
    reading.await.map_err(LedgerError::delta(log.name()))
}

/// The rows as one file, and whether any of them were summed.
fn rewrite(table: &str, batches: &[RecordBatch], since: Tick) -> Result<(Option<Encoded>, bool), DeltaTableError> {
    match views::view(table).and_then(|view| view.maintained.as_ref()) {
        Some(view) => {
            let (batches, summed) = summed(batches, &(view.schema)(), view.form, since)?;
            Ok((encode(batches)?, summed))
        }
        None if table == "records" => Ok((encode(sorted(batches)?)?, false)),
        None => Ok((encode(batches.iter().cloned())?, false)),
    }
}

/// Records by type and event time, in batches of one type.
fn sorted(batches: &[RecordBatch]) -> Result<Vec<RecordBatch>, ArrowError> {
    let (schema, batches) = widened(batches)?;
    let all = concat_batches(&schema, &batches)?;
    let by = ["type", "event_time"].map(|column| SortColumn { values: all[column].clone(), options: None });
    let all = take_record_batch(&all, &lexsort_to_indices(&by, None)?)?;
    let types = partition(&[all["type"].clone()])?.ranges();
    let chunks = types.into_iter().flat_map(|run| {
        let starts = run.clone().step_by(BATCH_ROWS_MAX);
        starts.map(move |start| (start, (run.end - start).min(BATCH_ROWS_MAX)))
    });
    Ok(chunks.map(|(start, rows)| all.slice(start, rows)).collect())
}

/// Records with the columns that any of them has, in one schema: a file that is older than a column is without it.
fn widened(batches: &[RecordBatch]) -> Result<(SchemaRef, Vec<RecordBatch>), ArrowError> {
    let found = |name: &str| batches.iter().find_map(|batch| batch.schema_ref().column_with_name(name));
    let ours = records_schema();
    let mut fields: Vec<FieldRef> =
        ours.fields().iter().filter(|field| found(field.name()).is_some()).cloned().collect();
    // A newer release may have added columns since this one opened the table: they are kept as they are.
    for field in batches.iter().flat_map(|batch| batch.schema_ref().fields()) {
        if fields.iter().all(|known| known.name() != field.name()) {
            fields.push(Arc::new(field.as_ref().clone().with_nullable(true)));
        }
    }
    let schema = Arc::new(Schema::new(fields));
    let widened = batches.iter().map(|batch| {
        let columns = schema.fields().iter().map(|field| match batch.column_by_name(field.name()) {
            // Lists have other names for their elements where another client wrote them.
            Some(column) => cast(column, field.data_type()),
            None => Ok(new_null_array(field.data_type(), batch.num_rows())),
        });
        RecordBatch::try_new(schema.clone(), columns.collect::<Result<_, _>>()?)
    });
    let widened = widened.collect::<Result<_, _>>()?;
    Ok((schema, widened))
}

/// The rows up to a cut, and how many are after it.
pub(super) fn up_to(batches: &[RecordBatch], cut: Tick) -> Result<(Vec<RecordBatch>, u64), ArrowError> {
    let (mut kept, mut dropped) = (Vec::new(), 0);
    for batch in batches {
        let cuts = batch["_cut"].as_primitive::<Int64Type>();
        let mask = cuts.iter().map(|at| Some(at.is_some_and(|at| at as Tick <= cut))).collect();
        let rows = arrow::compute::filter_record_batch(batch, &mask)?;
        dropped += (batch.num_rows() - rows.num_rows()) as u64;
        kept.push(rows);
    }
    Ok((kept, dropped))
}
