//! Data files: rows as Parquet, and the statistics by which readers of the log pass a file over.

use std::collections::{BTreeMap, HashMap};
use std::io::Write;
use std::time::Instant;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::compute;
use arrow::datatypes::{DataType, Int64Type};
use deltalake_core::kernel::Add;
use deltalake_core::{DeltaTableError, ObjectStore};
use object_store::path::Path as StorePath;
use object_store::{ObjectStoreExt, PutPayload, PutPayloadMut};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;
use serde_json::{Value, json};
use uuid::Uuid;

use super::throttle::Throttle;
use crate::clock::Clock;

/// The most rows of one batch read, and of one row group: small enough that a reader of a file holds little.
pub(super) const BATCH_ROWS_MAX: usize = 1 << 16;
/// A row group is closed between two runs once it has this many rows; below it, pruning gains less than the
/// metadata of 50 columns costs.
const ROW_GROUP_ROWS_MIN: usize = 1 << 13;

/// Files with fewer rows are not compressed: a context for each of 50 columns costs more time than it saves bytes.
const COMPRESSED_ROWS_MIN: usize = 64;

/// Bytes of a block of a file in memory.
const BLOCK_BYTES: usize = 1 << 20;

/// Columns that queries and recovery select by.
const STATS_COLUMNS: [&str; 7] = ["_cut", "arrival", "event_time", "hour", "offset", "type", "verdict"];
/// Columns of hashes that hardly repeat, or not far apart: a dictionary of them is built for nothing. All have one length, so
/// lengths apart from bytes take no room, and the bytes alone do not look as if they could be compressed.
const HASH_COLUMNS: [&str; 10] = [
    "event_id",
    "payload_hash",
    "subject",
    "user_id",
    "device_id",
    "click_id",
    "fingerprint",
    "ip_hash",
    "touch_event_id",
    "touch_subject",
];
/// Columns of numbers that are near those before and after them.
const RISING_COLUMNS: [&str; 4] = ["offset", "arrival", "event_time", "touch_event_time"];

/// An encoded data file.
pub(super) struct Encoded {
    payload: PutPayload,
    rows: u64,
    stats: String,
}

/// Encodes batches of one schema as a Parquet file; none where there are no rows. Each is a run of its own.
pub(super) fn encode(batches: impl IntoIterator<Item = RecordBatch>) -> Result<Option<Encoded>, DeltaTableError> {
    encode_runs(batches.into_iter().map(|batch| [batch]), &Throttle::default())
}

/// Encodes runs of batches of one schema as a Parquet file; none where there are no rows. Row groups end between runs.
pub(super) fn encode_runs<R: IntoIterator<Item = RecordBatch>>(
    runs: impl IntoIterator<Item = R>,
    throttle: &Throttle,
) -> Result<Option<Encoded>, DeltaTableError> {
    // Each batch with its run.
    let batches =
        runs.into_iter().enumerate().flat_map(|(run, batches)| batches.into_iter().map(move |batch| (run, batch)));
    let mut batches = batches.filter(|(_, batch)| batch.num_rows() > 0);
    let (mut first, mut rows) = (Vec::new(), 0);
    while rows < COMPRESSED_ROWS_MIN {
        let Some((run, batch)) = batches.next() else { break };
        rows += batch.num_rows();
        first.push((run, batch));
    }
    let Some(schema) = first.first().map(|(_, batch)| batch.schema()) else { return Ok(None) };
    let file = Growing(PutPayloadMut::new().with_block_size(BLOCK_BYTES));
    let mut writer = ArrowWriter::try_new(file, schema, Some(properties(rows >= COMPRESSED_ROWS_MIN)?))?;
    let mut stats = Stats::default();
    let mut last_run = None;
    let mut started = Instant::now();
    for (run, batch) in first.into_iter().chain(batches) {
        if last_run != Some(run) && writer.in_progress_rows() >= ROW_GROUP_ROWS_MIN {
            writer.flush()?;
        }
        last_run = Some(run);
        stats.add(&batch);
        writer.write(&batch)?;
        throttle.rest(started.elapsed());
        started = Instant::now();
    }
    let rows = stats.rows;
    let Growing(payload) = writer.into_inner()?;
    Ok(Some(Encoded { payload: payload.freeze(), rows, stats: stats.json() }))
}

/// A file in blocks: one piece of memory would be moved whenever it is full, and be new each time.
struct Growing(PutPayloadMut);

impl Write for Growing {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn properties(compressed: bool) -> Result<WriterProperties, ParquetError> {
    let compression = if compressed { Compression::ZSTD(ZstdLevel::try_new(1)?) } else { Compression::UNCOMPRESSED };
    let mut properties = WriterProperties::builder()
        .set_compression(compression)
        .set_max_row_group_row_count(Some(BATCH_ROWS_MAX))
        .set_statistics_enabled(EnabledStatistics::Chunk);
    for column in STATS_COLUMNS {
        properties = properties.set_column_statistics_enabled(ColumnPath::from(column), EnabledStatistics::Page);
    }
    let hashes = HASH_COLUMNS.map(|column| (column, Encoding::DELTA_LENGTH_BYTE_ARRAY));
    for (column, encoding) in
        hashes.into_iter().chain(RISING_COLUMNS.map(|column| (column, Encoding::DELTA_BINARY_PACKED)))
    {
        let column = ColumnPath::from(column);
        properties =
            properties.set_column_dictionary_enabled(column.clone(), false).set_column_encoding(column, encoding);
    }
    Ok(properties.build())
}

impl Encoded {
    /// Number of rows.
    pub(super) fn rows(&self) -> u64 {
        self.rows
    }

    /// What the file holds.
    #[cfg(test)]
    pub(super) fn payload(&self) -> &PutPayload {
        &self.payload
    }

    /// Size of the file.
    pub(super) fn bytes(&self) -> u64 {
        self.payload.content_length() as u64
    }

    /// Uploads the file under a name that was never used, and says how a commit adds it. Until that commit it is no
    /// part of the table; where none comes, a full vacuum finds it.
    pub(super) async fn upload(
        &self,
        objects: &dyn ObjectStore,
        prefix: &str,
        partition: Option<(&str, &str)>,
    ) -> Result<Add, object_store::Error> {
        let name = format!("{prefix}-{}.parquet", Uuid::new_v4());
        let path = match partition {
            Some((column, value)) => StorePath::from_iter([format!("{column}={value}"), name]),
            None => StorePath::from(name),
        };
        objects.put(&path, self.payload.clone()).await?;
        Ok(Add {
            path: path.to_string(),
            partition_values: HashMap::from_iter(
                partition.map(|(column, value)| (column.to_owned(), Some(value.to_owned()))),
            ),
            size: self.payload.content_length() as i64,
            modification_time: Clock::system().now_ms(),
            data_change: true,
            stats: Some(self.stats.clone()),
            tags: None,
            deletion_vector: None,
            base_row_id: None,
            default_row_commit_version: None,
            clustering_provider: None,
        })
    }
}

/// The statistics of a file, as Delta's log wants them.
#[derive(Default)]
struct Stats {
    rows: u64,
    columns: BTreeMap<&'static str, ColumnStats>,
}

#[derive(Default)]
struct ColumnStats {
    nulls: u64,
    /// Least and greatest value that is not null.
    range: Option<(Bound, Bound)>,
}

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Bound {
    Int(i64),
    Text(String),
}

impl From<Bound> for Value {
    fn from(bound: Bound) -> Value {
        match bound {
            Bound::Int(value) => Value::from(value),
            Bound::Text(value) => Value::from(value),
        }
    }
}

impl Stats {
    fn add(&mut self, batch: &RecordBatch) {
        self.rows += batch.num_rows() as u64;
        for name in STATS_COLUMNS {
            let Some(column) = batch.column_by_name(name) else { continue };
            let stats = self.columns.entry(name).or_default();
            stats.nulls += column.null_count() as u64;
            if let Some((low, high)) = range(column) {
                stats.range = Some(match stats.range.take() {
                    Some((lowest, highest)) => (lowest.min(low), highest.max(high)),
                    None => (low, high),
                });
            }
        }
    }

    fn json(self) -> String {
        let (mut low, mut high, mut nulls) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        for (name, stats) in self.columns {
            nulls.insert(name, stats.nulls);
            if let Some((lowest, highest)) = stats.range {
                low.insert(name, Value::from(lowest));
                high.insert(name, Value::from(highest));
            }
        }
        json!({ "numRecords": self.rows, "minValues": low, "maxValues": high, "nullCount": nulls }).to_string()
    }
}

fn range(column: &dyn Array) -> Option<(Bound, Bound)> {
    match column.data_type() {
        DataType::Int64 => {
            let values = column.as_primitive::<Int64Type>();
            Some((Bound::Int(compute::min(values)?), Bound::Int(compute::max(values)?)))
        }
        DataType::Utf8 => {
            let values = column.as_string::<i32>();
            let text = |value: &str| Bound::Text(value.to_owned());
            Some((text(compute::min_string(values)?), text(compute::max_string(values)?)))
        }
        _ => None,
    }
}
