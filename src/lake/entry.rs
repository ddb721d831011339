//! What an entry of a Delta log says, as far as it matters here.

use std::collections::BTreeMap;

use deltalake_core::DeltaTableError;
use deltalake_core::kernel::{Add, Transaction};
use object_store::path::Path as StorePath;
use serde::Deserialize;
use serde_json::Value;

use super::writer::Writer;

/// The part of a log entry that matters here.
#[derive(Deserialize)]
pub(super) struct Line {
    pub(super) txn: Option<Transaction>,
    pub(super) add: Option<DataFile>,
    pub(super) remove: Option<Removed>,
    #[serde(rename = "metaData")]
    pub(super) metadata: Option<TableSchema>,
    #[serde(rename = "commitInfo")]
    pub(super) commit_info: Option<Info>,
}

/// A file of a table, as its log adds it.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct DataFile {
    /// Where it is in the table, as a URL says it.
    pub(super) path: String,
    /// Its size in bytes.
    pub(super) size: i64,
    /// The values of its partition columns.
    pub(super) partition_values: BTreeMap<String, Option<String>>,
    /// Delta's statistics, as JSON.
    pub(super) stats: Option<String>,
    /// Where its deleted rows are listed. Our tables do not have the feature.
    pub(super) deletion_vector: Option<Value>,
}

/// A file that is no part of the table any more.
#[derive(Deserialize)]
pub(super) struct Removed {
    pub(super) path: String,
}

/// What the table is from here on.
#[derive(Deserialize)]
pub(super) struct TableSchema {
    #[serde(rename = "schemaString")]
    pub(super) schema: String,
}

/// What a commit of ours says of itself.
#[derive(Deserialize)]
pub(super) struct Info {
    #[serde(rename = "bidstreamCommit")]
    pub(super) commit: Option<String>,
    #[serde(rename = "bidstreamWriter")]
    pub(super) writer: Option<Writer>,
}

impl DataFile {
    /// The file that an action adds.
    pub(super) fn of(add: &Add) -> DataFile {
        DataFile {
            path: add.path.clone(),
            size: add.size,
            partition_values: add.partition_values.clone().into_iter().collect(),
            stats: add.stats.clone(),
            deletion_vector: None,
        }
    }

    /// Where it is in the table.
    pub(super) fn location(&self) -> Result<StorePath, DeltaTableError> {
        if self.deletion_vector.is_some() {
            return Err(DeltaTableError::Generic(format!(
                "{} has a deletion vector, which is not supported",
                self.path
            )));
        }
        StorePath::from_url_path(&self.path).map_err(|error| DeltaTableError::Generic(error.to_string()))
    }
}
