//! One table's Delta log, held at a version: what the last commits said of themselves, and the next commit.
//!
//! A commit of ours is put at exactly the version after the held one, and only if nothing is there (a hard link on a
//! directory, a conditional put on an object store). So what was checked on the held version holds for the commit;
//! delta-rs's own retry, which would rebase it on whatever came between, is not used. When the put fails, the log is
//! read on: each commit carries an id of its own, so one whose answer was lost is recognised.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{Array, Int64Array, StringArray, StructArray};
use arrow::datatypes::Schema;
use bytes::Bytes;
use deltalake_core::kernel::engine::arrow_conversion::TryIntoKernel;
use deltalake_core::kernel::transaction::{CommitData, TransactionError};
use deltalake_core::kernel::{Action, Add, StructType, Transaction};
use deltalake_core::logstore::{CommitOrBytes, LogStoreRef};
use deltalake_core::operations::create::CreateBuilder;
use deltalake_core::protocol::{DeltaOperation, SaveMode};
use deltalake_core::{DeltaTable, DeltaTableError, ObjectStore, ObjectStoreError, checkpoints};
use object_store::ObjectStoreExt;
use object_store::path::Path as StorePath;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use schemas::Tick;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use super::error::LedgerError;
use super::file::Encoded;
use super::finished;
use super::lake::Lake;
use super::patience::{Patience, pause};
use crate::failpoint;

/// The app id under which a log carries the writer's epoch.
pub(super) const EPOCH: &str = "bidstream/epoch";
/// The app id under which a log carries its last cut.
pub(crate) const CUT: &str = "bidstream/cut";

/// Log entries between two checkpoints: an open reads at most about this many of them.
const CHECKPOINT_COMMITS: u64 = 100;
/// How often a commit may find that others came first. Compaction comes now and then, never so often in a row.
pub(super) const OVERTAKEN_MAX: u32 = 20;

/// Who writes: a name of its own for each start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Writer {
    /// Unique to this start.
    pub id: String,
    /// Name of the host.
    pub host: String,
    /// Process id.
    pub pid: u32,
}

impl Writer {
    /// This process.
    pub(super) fn here() -> Writer {
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").map(|name| name.trim().to_owned());
        let host = host.or_else(|_| std::env::var("HOSTNAME")).unwrap_or_else(|_| "unknown host".to_owned());
        Writer { id: Uuid::new_v4().to_string(), host, pid: std::process::id() }
    }
}

impl fmt::Display for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "process {} on {} (writer {})", self.pid, self.host, self.id)
    }
}

/// A table's log as of a version.
pub(super) struct TableLog {
    name: String,
    store: LogStoreRef,
    retry_after: Duration,
    patience: Patience,
    /// The version of the next commit.
    next: u64,
    txns: BTreeMap<String, i64>,
    /// Who wrote the last commit that carries an epoch, as far as the log still holds it.
    claimant: Option<Writer>,
    /// Ids of the commits that were read while catching up; emptied when a commit is done.
    seen: Vec<String>,
    checkpointing: Option<tokio::task::JoinHandle<()>>,
}

/// What a put achieved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Put {
    /// The commit stands.
    Done,
    /// Others committed first; what they said is read. Check again.
    Overtaken,
}

/// A commit made ready. It keeps its id over all attempts.
pub(super) struct Prepared {
    id: String,
    bytes: Bytes,
    txns: Vec<Transaction>,
    writer: Writer,
}

/// The part of a log entry that matters here.
#[derive(Deserialize)]
struct Line {
    txn: Option<Transaction>,
    #[serde(rename = "commitInfo")]
    commit_info: Option<Info>,
}

#[derive(Deserialize)]
struct Info {
    #[serde(rename = "bidstreamCommit")]
    commit: Option<String>,
    #[serde(rename = "bidstreamWriter")]
    writer: Option<Writer>,
}

impl TableLog {
    /// Opens a table of a lake at its latest version; makes it where there is none.
    pub(super) async fn open(
        lake: &Lake,
        name: &str,
        schema: &Schema,
        partitioned_by: Option<&str>,
    ) -> Result<TableLog, LedgerError> {
        let store = lake.log_store(name)?;
        if !store.is_delta_table_location().await.map_err(LedgerError::delta(name))? {
            let columns: StructType = schema
                .try_into_kernel()
                .map_err(|error: arrow::error::ArrowError| LedgerError::delta::<_>(name)(error))?;
            let create = CreateBuilder::new()
                .with_log_store(store.clone())
                .with_table_name(name)
                .with_columns(columns.fields().cloned())
                .with_partition_columns(partitioned_by)
                // Another process that takes over at the same moment may have made it: that is as good.
                .with_save_mode(SaveMode::Ignore);
            create.await.map_err(LedgerError::delta(name))?;
        }
        let mut log = TableLog {
            name: name.to_owned(),
            store,
            retry_after: lake.storage.retry_after,
            patience: Patience::default(),
            next: 0,
            txns: BTreeMap::new(),
            claimant: None,
            seen: Vec::new(),
            checkpointing: None,
        };
        log.read_from_checkpoint().await?;
        Ok(log)
    }

    /// Has the log bear a failing store in another way.
    pub(super) fn bear(&mut self, patience: &Patience) {
        self.patience = patience.clone();
    }

    /// The table's name, for messages.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// The version that is held.
    pub(super) fn version(&self) -> u64 {
        self.next - 1
    }

    /// Where data files go.
    pub(super) fn objects(&self) -> Arc<dyn ObjectStore> {
        self.store.object_store(None)
    }

    /// The table's store, for a handle of its own.
    pub(super) fn store(&self) -> LogStoreRef {
        self.store.clone()
    }

    /// The last version that the log carries for an app id.
    pub(super) fn txn(&self, app_id: &str) -> Option<i64> {
        self.txns.get(app_id).copied()
    }

    /// The last cut that the log carries.
    pub(super) fn cut(&self) -> Option<Tick> {
        self.txn(CUT).map(|cut| cut as Tick)
    }

    /// All app ids that start with `prefix`, without it, and their versions.
    pub(super) fn txns_under<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = (&'a str, i64)> {
        let from = self.txns.range(prefix.to_owned()..);
        from.map_while(move |(app_id, version)| Some((app_id.strip_prefix(prefix)?, *version)))
    }

    /// Checks that no one has claimed the table after `ours`.
    pub(super) fn check_epoch(&self, ours: i64) -> Result<(), LedgerError> {
        match self.txn(EPOCH) {
            Some(theirs) if theirs > ours => {
                Err(LedgerError::Fenced { table: self.name.clone(), ours, theirs, by: self.claimant.clone() })
            }
            _ => Ok(()),
        }
    }

    /// Uploads a data file; temporary trouble is retried. What a failed attempt leaves is no part of the table.
    pub(super) async fn upload(&self, file: &Encoded, partition: Option<(&str, &str)>) -> Result<Add, LedgerError> {
        let mut wait = self.retry_after;
        for attempt in 1.. {
            match self.try_upload(file, partition).await {
                Ok(add) => {
                    self.patience.well();
                    return Ok(add);
                }
                Err(error) if self.patience.again(&self.name, "upload", attempt, &error) => pause(&mut wait).await,
                Err(error) => return Err(LedgerError::delta(&self.name)(error)),
            }
        }
        unreachable!("the last attempt returns")
    }

    async fn try_upload(&self, file: &Encoded, partition: Option<(&str, &str)>) -> Result<Add, DeltaTableError> {
        failpoint::hit(&self.name, "upload.before")?;
        let add = file.upload(&self.objects(), partition).await?;
        failpoint::hit(&self.name, "upload.after")?;
        Ok(add)
    }

    /// Makes a commit ready that adds files and moves app ids.
    pub(super) fn prepare(&self, writer: &Writer, adds: Vec<Add>, txns: BTreeMap<String, i64>) -> Prepared {
        let id = Uuid::new_v4().to_string();
        let operation = DeltaOperation::Write { mode: SaveMode::Append, partition_by: None, predicate: None };
        let metadata = HashMap::from([
            ("bidstreamCommit".to_owned(), Value::from(id.clone())),
            ("bidstreamWriter".to_owned(), serde_json::to_value(writer).expect("a writer is plain data")),
        ]);
        let txns: Vec<_> = txns.into_iter().map(|(app_id, version)| Transaction::new(app_id, version)).collect();
        let actions = adds.into_iter().map(Action::Add).collect();
        let data = CommitData::new(actions, operation, metadata, txns.clone());
        let bytes = data.get_bytes().expect("actions are plain data");
        Prepared { id, bytes, txns, writer: writer.clone() }
    }

    /// Puts a commit at the version after the held one; temporary trouble is retried.
    pub(super) async fn put(&mut self, commit: &Prepared) -> Result<Put, LedgerError> {
        self.seen.clear();
        let held = self.next;
        let mut wait = self.retry_after;
        for attempt in 1.. {
            match self.try_put(commit).await {
                Ok(put) => {
                    self.patience.well();
                    return Ok(put);
                }
                Err(error) if self.patience.again(&self.name, "commit", attempt, &error) => pause(&mut wait).await,
                Err(error) => return Err(error),
            }
            // The put may have been done and its answer lost; and what others did must be seen by the caller.
            match self.catch_up().await {
                Ok(()) if self.seen.contains(&commit.id) => return Ok(Put::Done),
                Ok(()) if self.next != held => return Ok(Put::Overtaken),
                Ok(()) => {}
                Err(error) => tracing::warn!(table = self.name, attempt, %error, "cannot read the log"),
            }
        }
        unreachable!("the last attempt returns")
    }

    async fn try_put(&mut self, commit: &Prepared) -> Result<Put, LedgerError> {
        let version = self.next;
        let bytes = CommitOrBytes::LogBytes(commit.bytes.clone());
        failpoint::hit(&self.name, "put.before").map_err(LedgerError::delta(&self.name))?;
        match self.store.write_commit_entry(version, bytes, Uuid::new_v4()).await {
            Ok(()) => failpoint::hit(&self.name, "put.after").map_err(LedgerError::delta(&self.name))?,
            Err(TransactionError::VersionAlreadyExists(_)) => {
                self.catch_up().await?;
                return Ok(if self.seen.contains(&commit.id) { Put::Done } else { Put::Overtaken });
            }
            Err(error) => return Err(LedgerError::delta(&self.name)(error)),
        }
        if self.last_checkpoint().await?.is_some_and(|hint| hint.version > version) {
            // The place was free only because the log is long past it and was cleaned there: no reader sees the entry.
            self.read_from_checkpoint().await?;
            return Ok(Put::Overtaken);
        }
        self.next += 1;
        self.txns.extend(commit.txns.iter().map(|txn| (txn.app_id.clone(), txn.version)));
        if commit.txns.iter().any(|txn| txn.app_id == EPOCH) {
            self.claimant = Some(commit.writer.clone());
        }
        self.checkpoint_now_and_then();
        Ok(Put::Done)
    }

    /// Reads the entries after the held version.
    pub(super) async fn catch_up(&mut self) -> Result<(), LedgerError> {
        if self.last_checkpoint().await?.is_some_and(|hint| hint.version >= self.next) {
            return self.read_from_checkpoint().await;
        }
        self.read_entries().await
    }

    async fn read_entries(&mut self) -> Result<(), LedgerError> {
        while let Some(bytes) = self.entry(self.next).await? {
            self.take_in(&bytes)?;
            self.next += 1;
        }
        Ok(())
    }

    async fn entry(&self, version: u64) -> Result<Option<Bytes>, LedgerError> {
        self.store.read_commit_entry(version).await.map_err(LedgerError::delta(&self.name))
    }

    fn take_in(&mut self, entry: &[u8]) -> Result<(), LedgerError> {
        let (mut txns, mut info) = (Vec::new(), None);
        for line in serde_json::Deserializer::from_slice(entry).into_iter::<Line>() {
            let line = line.map_err(|error| self.unreadable(error))?;
            txns.extend(line.txn);
            info = line.commit_info.or(info);
        }
        if let Some(info) = info {
            self.seen.extend(info.commit);
            if txns.iter().any(|txn| txn.app_id == EPOCH) {
                self.claimant = info.writer;
            }
        }
        self.txns.extend(txns.into_iter().map(|txn| (txn.app_id, txn.version)));
        Ok(())
    }

    /// Reads the whole log: its last checkpoint, and the entries after that.
    async fn read_from_checkpoint(&mut self) -> Result<(), LedgerError> {
        self.txns.clear();
        self.claimant = None;
        self.next = 0;
        if let Some(hint) = self.last_checkpoint().await? {
            for file in hint.files() {
                self.read_checkpoint(&file).await?;
            }
            // The checkpoint's own entry, where it is still there, says who wrote.
            if let Some(entry) = self.entry(hint.version).await? {
                self.take_in(&entry)?;
            }
            self.next = hint.version + 1;
        }
        self.read_entries().await
    }

    async fn last_checkpoint(&self) -> Result<Option<CheckpointHint>, LedgerError> {
        match self.read(&StorePath::from("_delta_log/_last_checkpoint")).await {
            Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(|error| self.unreadable(error)),
            Err(ObjectStoreError::NotFound { .. }) => Ok(None),
            Err(error) => Err(LedgerError::delta(&self.name)(error)),
        }
    }

    async fn read_checkpoint(&mut self, file: &StorePath) -> Result<(), LedgerError> {
        let bytes = self.read(file).await.map_err(LedgerError::delta(&self.name))?;
        let read = || -> Result<Vec<(String, i64)>, parquet::errors::ParquetError> {
            let reader = ParquetRecordBatchReaderBuilder::try_new(bytes)?;
            let txn = ProjectionMask::columns(reader.parquet_schema(), ["txn"]);
            let mut found = Vec::new();
            for batch in reader.with_projection(txn).build()? {
                let batch = batch?;
                let Some(txn) = batch.column_by_name("txn").and_then(|txn| txn.as_any().downcast_ref::<StructArray>())
                else {
                    continue;
                };
                let app_ids = txn.column_by_name("appId").and_then(|ids| ids.as_any().downcast_ref::<StringArray>());
                let versions = txn.column_by_name("version").and_then(|ids| ids.as_any().downcast_ref::<Int64Array>());
                let (Some(app_ids), Some(versions)) = (app_ids, versions) else {
                    return Err(parquet::errors::ParquetError::General("txn is not as Delta defines it".to_owned()));
                };
                let rows = (0..txn.len()).filter(|row| txn.is_valid(*row));
                found.extend(rows.map(|row| (app_ids.value(row).to_owned(), versions.value(row))));
            }
            Ok(found)
        };
        self.txns.extend(read().map_err(LedgerError::delta(&self.name))?);
        Ok(())
    }

    async fn read(&self, file: &StorePath) -> Result<Bytes, ObjectStoreError> {
        self.objects().get(file).await?.bytes().await
    }

    fn unreadable(&self, error: serde_json::Error) -> LedgerError {
        LedgerError::delta(&self.name)(DeltaTableError::Generic(format!("version {} of its log: {error}", self.next)))
    }

    /// Writes a checkpoint now and then, on a handle of its own and beside the commits; at most one at a time.
    fn checkpoint_now_and_then(&mut self) {
        let busy = self.checkpointing.as_ref().is_some_and(|task| !task.is_finished());
        if busy || !self.next.is_multiple_of(CHECKPOINT_COMMITS) {
            return;
        }
        let (name, store, version) = (self.name.clone(), self.store.clone(), self.next - 1);
        self.checkpointing = Some(tokio::spawn(async move {
            // Without it opens get slower and nothing else happens, so it is no reason to stop.
            if let Err(error) = checkpoint(store, version).await {
                tracing::warn!(table = name, version, %error, "cannot write a checkpoint of the log");
            }
        }));
    }

    /// Waits for a checkpoint that is being written.
    pub(super) async fn settle(self) {
        if let Some(task) = self.checkpointing {
            finished(task.await);
        }
    }
}

/// What `_last_checkpoint` says.
#[derive(Deserialize)]
struct CheckpointHint {
    version: u64,
    parts: Option<u32>,
}

impl CheckpointHint {
    fn files(&self) -> Vec<StorePath> {
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

async fn checkpoint(store: LogStoreRef, version: u64) -> Result<(), DeltaTableError> {
    failpoint::hit("checkpoint", "before")?;
    let mut table = DeltaTable::new(store);
    table.load_version(version).await?;
    checkpoints::create_checkpoint(&table, None).await?;
    Ok(failpoint::hit("checkpoint", "after")?)
}
