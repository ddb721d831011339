//! Checkpoints of a table's log: what it says at a version, in one file, so that an open does not read every entry.

use std::collections::BTreeMap;

use arrow::array::{Array, ArrayRef, AsArray, StructArray};
use arrow::datatypes::Int64Type;
use bytes::Bytes;
use deltalake_core::logstore::LogStoreRef;
use deltalake_core::{DeltaTable, DeltaTableError, checkpoints};
use object_store::path::Path as StorePath;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde::Deserialize;
use serde_json::Value;

use super::entry::DataFile;
use crate::lake::failpoint;

/// What `_last_checkpoint` says.
#[derive(Deserialize)]
pub(super) struct CheckpointHint {
    /// The last version that the checkpoint holds.
    pub(super) version: u64,
    parts: Option<u32>,
}

impl CheckpointHint {
    /// The checkpoint's files.
    pub(super) fn files(&self) -> Vec<StorePath> {
        let version = self.version;
        // The form with sidecars needs a table feature that our tables do not have.
        let names = match self.parts {
            None => vec![format!("{version:020}.checkpoint.parquet")],
            Some(parts) => {
                (1..=parts).map(|part| format!("{version:020}.checkpoint.{part:010}.{parts:010}.parquet")).collect()
            }
        };
        names.into_iter().map(|name| StorePath::from_iter(["_delta_log", &name])).collect()
    }
}

/// What matters here of one of its files.
#[derive(Default)]
pub(super) struct Part {
    /// App ids and their versions.
    pub(super) txns: Vec<(String, i64)>,
    /// The table's schema, where this file holds it.
    pub(super) schema: Option<String>,
    /// The table's files.
    pub(super) files: Vec<DataFile>,
}

/// Reads a file of a checkpoint.
pub(super) fn read(file: Bytes) -> Result<Part, DeltaTableError> {
    let reader = ParquetRecordBatchReaderBuilder::try_new(file)?;
    let columns = ProjectionMask::columns(reader.parquet_schema(), ["txn", "add", "metaData"]);
    let mut part = Part::default();
    for batch in reader.with_projection(columns).build()? {
        let batch = batch?;
        let action = |name: &str| batch.column_by_name(name).and_then(|column| column.as_struct_opt());
        if let Some(txns) = action("txn") {
            let (app_ids, versions) = (text(txns, "appId")?, long(txns, "version")?);
            part.txns.extend(present(txns).map(|row| (app_ids(row), versions(row))));
        }
        if let Some(metadata) = action("metaData") {
            let schemas = text(metadata, "schemaString")?;
            part.schema = present(metadata).map(schemas).last().or(part.schema);
        }
        if let Some(adds) = action("add") {
            read_files(adds, &mut part.files)?;
        }
    }
    Ok(part)
}

fn read_files(adds: &StructArray, files: &mut Vec<DataFile>) -> Result<(), DeltaTableError> {
    let (paths, sizes, stats) = (text(adds, "path")?, long(adds, "size")?, text(adds, "stats")?);
    let values = field(adds, "partitionValues")?.as_map_opt().ok_or_else(|| strange("partitionValues"))?;
    let vectors = adds.column_by_name("deletionVector");
    for row in present(adds) {
        let entries = values.value(row);
        let (keys, texts) = (entries.column(0).as_string_opt::<i32>(), entries.column(1).as_string_opt::<i32>());
        let (keys, texts) = keys.zip(texts).ok_or_else(|| strange("partitionValues"))?;
        let pairs = keys.iter().zip(texts.iter());
        let partition_values: BTreeMap<_, _> =
            pairs.filter_map(|(key, text)| Some((key?.to_owned(), text.map(str::to_owned)))).collect();
        files.push(DataFile {
            path: paths(row),
            size: sizes(row),
            partition_values,
            stats: Some(stats(row)).filter(|stats| !stats.is_empty()),
            deletion_vector: vectors.filter(|vectors| vectors.is_valid(row)).map(|_| Value::Bool(true)),
        });
    }
    Ok(())
}

fn present(actions: &StructArray) -> impl Iterator<Item = usize> {
    (0..actions.len()).filter(|row| actions.is_valid(*row))
}

fn field<'a>(action: &'a StructArray, name: &str) -> Result<&'a ArrayRef, DeltaTableError> {
    action.column_by_name(name).ok_or_else(|| strange(name))
}

/// A text column by row; null is empty.
fn text(action: &StructArray, name: &str) -> Result<impl Fn(usize) -> String + use<>, DeltaTableError> {
    let column = field(action, name)?.as_string_opt::<i32>().ok_or_else(|| strange(name))?.clone();
    Ok(move |row| if column.is_valid(row) { column.value(row).to_owned() } else { String::new() })
}

fn long(action: &StructArray, name: &str) -> Result<impl Fn(usize) -> i64 + use<>, DeltaTableError> {
    let column = field(action, name)?.as_primitive_opt::<Int64Type>().ok_or_else(|| strange(name))?.clone();
    Ok(move |row| column.value(row))
}

fn strange(column: &str) -> DeltaTableError {
    DeltaTableError::Generic(format!("column {column} of a checkpoint is not as Delta defines it"))
}

/// Writes a checkpoint of a version, on a handle of its own.
pub(super) async fn write(store: LogStoreRef, version: u64) -> Result<(), DeltaTableError> {
    failpoint::hit("checkpoint", "before")?;
    let mut table = DeltaTable::new(store);
    table.load_version(version).await?;
    checkpoints::create_checkpoint(&table, None).await?;
    Ok(failpoint::hit("checkpoint", "after")?)
}
