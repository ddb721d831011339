//! Reading the lake's tables back at a start: files of the held version, decoded beside the consumer, never all in
//! memory.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow::array::{AsArray, BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{DataType, Field, Int64Type, Schema};
use arrow::temporal_conversions::date32_to_datetime;
use deltalake_core::DeltaTableError;
use futures::{StreamExt, TryStreamExt, stream};
use object_store::ObjectStoreExt;
use object_store::path::Path as StorePath;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ArrowReaderOptions, ParquetRecordBatchReaderBuilder};
use schemas::Tick;
use schemas::symbols::Name;
use schemas::table::{RecordRow, Verdict, records_rows, symbols_rows};
use serde_json::Value;
use tokio::sync::mpsc;

use super::entry::DataFile;
use super::error::LedgerError;
use super::finished;
use super::log::TableLog;
use crate::lake::failpoint;

/// The partition column of `records`: the day of arrival, UTC.
pub(super) const ARRIVAL_DATE: &str = "arrival_date";
/// Columns of `records` from which nothing in memory follows.
const UNREAD_COLUMNS: [&str; 7] = ["raw", "reason", "referrer", "faults", "unknown_fields", "key", "headers"];

/// Files that are decoded at a time; each is wholly in memory meanwhile.
const FILES_AT_A_TIME: usize = 2;
/// Rows of a batch, and batches that may wait for the consumer.
const BATCH_ROWS: usize = 1 << 14;
const BATCHES_MAX: usize = 4;

/// How far a load has come. Records of every verdict are counted, as files say how many they hold of all.
#[derive(Debug, Default)]
pub struct LoadCounts {
    /// Records of the files that are read.
    pub of: AtomicU64,
    /// Those of them that were read.
    pub read: AtomicU64,
}

/// The table schema of `records`: the columns of its files and the partition column.
pub(super) fn with_arrival_date(files: &Schema) -> Schema {
    let date = Arc::new(Field::new(ARRIVAL_DATE, DataType::Date32, false));
    Schema::new(files.fields().iter().cloned().chain([date]).collect::<Vec<_>>())
}

/// A day since 1970 as Delta writes it.
pub(super) fn date(day: i64) -> String {
    let day = i32::try_from(day).ok().and_then(date32_to_datetime);
    day.map_or_else(|| "1970-01-01".to_owned(), |day| day.date().to_string())
}

/// Reads the accepted records of the cuts in (`from`, `to`]: those of each date of arrival before those of later ones,
/// and never two dates in one batch.
pub(super) async fn records(
    log: &TableLog,
    from: Tick,
    to: Tick,
    counts: &Arc<LoadCounts>,
    mut each: impl FnMut(Vec<RecordRow>),
) -> Result<(), LedgerError> {
    let may_hold = |stats: &Value| {
        let bound = |which: &str| stats[which]["_cut"].as_u64();
        bound("maxValues").is_none_or(|most| most > from) && bound("minValues").is_none_or(|least| least <= to)
    };
    let read_so_far = Arc::clone(counts);
    let decode = move |batch: &RecordBatch| {
        read_so_far.read.fetch_add(batch.num_rows() as u64, Ordering::Relaxed);
        let verdicts = required(batch, "verdict")?.as_string::<i32>();
        let cuts = required(batch, "_cut")?.as_primitive::<Int64Type>();
        let within = |cut: i64| (from + 1..=to).contains(&(cut as Tick));
        let rows = verdicts.iter().zip(cuts.values());
        let kept = rows.map(|(verdict, cut)| Some(verdict == Some(Verdict::Ok.name()) && within(*cut)));
        let kept: BooleanArray = kept.collect();
        let rows = records_rows(&filter_record_batch(batch, &kept)?);
        rows.map_err(|error| DeltaTableError::Generic(error.to_string()))
    };
    let mut by_date: BTreeMap<&str, Vec<StorePath>> = BTreeMap::new();
    for (file, stats) in log.files().map(|file| (file, stats(file))).filter(|(_, stats)| may_hold(stats)) {
        counts.of.fetch_add(stats["numRecords"].as_u64().unwrap_or(0), Ordering::Relaxed);
        let date = file.partition_values.get(ARRIVAL_DATE).and_then(Option::as_deref).unwrap_or_default();
        by_date.entry(date).or_default().push(file.location().map_err(LedgerError::delta(log.name()))?);
    }
    for files in by_date.into_values() {
        read(log, files, &UNREAD_COLUMNS, decode.clone(), &mut each).await?;
    }
    Ok(())
}

/// Reads all names.
pub(super) async fn symbols(log: &TableLog, mut each: impl FnMut(Name)) -> Result<(), LedgerError> {
    let decode = |batch: &RecordBatch| symbols_rows(batch).map_err(|error| DeltaTableError::Generic(error.to_string()));
    let files =
        log.files().map(DataFile::location).collect::<Result<_, _>>().map_err(LedgerError::delta(log.name()))?;
    read(log, files, &[], decode, &mut |names| names.into_iter().for_each(&mut each)).await
}

fn required<'a>(batch: &'a RecordBatch, column: &str) -> Result<&'a arrow::array::ArrayRef, DeltaTableError> {
    batch.column_by_name(column).ok_or_else(|| DeltaTableError::Generic(format!("a file without column {column}")))
}

/// A file's statistics; null where it has none.
fn stats(file: &DataFile) -> Value {
    file.stats.as_deref().and_then(|stats| serde_json::from_str(stats).ok()).unwrap_or(Value::Null)
}

/// Reads files of a table, a few at a time.
async fn read<T: Send + 'static>(
    log: &TableLog,
    files: Vec<StorePath>,
    without: &'static [&'static str],
    decode: impl Fn(&RecordBatch) -> Result<Vec<T>, DeltaTableError> + Clone + Send + 'static,
    each: &mut impl FnMut(Vec<T>),
) -> Result<(), LedgerError> {
    let objects = log.objects();
    let (sender, mut receiver) = mpsc::channel(BATCHES_MAX);
    let decoding = stream::iter(files)
        .map(move |path| {
            let (objects, decode, sender) = (Arc::clone(&objects), decode.clone(), sender.clone());
            async move {
                failpoint::hit("recovery", "file")?;
                let bytes = objects.get(&path).await?.bytes().await?;
                let decoding = tokio::task::spawn_blocking(move || {
                    // Other clients that compact may embed other Arrow types, as string views: the file's own types are
                    // the same always.
                    let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
                    let mut reader = ParquetRecordBatchReaderBuilder::try_new_with_options(bytes, options)?;
                    let columns = reader.schema().fields().iter().map(|field| field.name().clone());
                    let columns: Vec<_> = columns.filter(|name| !without.contains(&name.as_str())).collect();
                    let mask = ProjectionMask::columns(reader.parquet_schema(), columns.iter().map(String::as_str));
                    reader = reader.with_batch_size(BATCH_ROWS).with_projection(mask);
                    for batch in reader.build()? {
                        let rows = decode(&batch?)?;
                        if !rows.is_empty() && sender.blocking_send(rows).is_err() {
                            break;
                        }
                    }
                    Ok::<_, DeltaTableError>(())
                });
                finished(decoding.await)
            }
        })
        .buffer_unordered(FILES_AT_A_TIME)
        .try_collect::<Vec<()>>();
    let consuming = async {
        while let Some(rows) = receiver.recv().await {
            each(rows);
        }
        Ok(())
    };
    futures::try_join!(decoding, consuming).map(|_| ()).map_err(LedgerError::delta(log.name()))
}
