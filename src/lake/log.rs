//! One table's Delta log, held at a version: what the last commits said of themselves, and the next commit.
//!
//! A commit of ours is put at exactly the version after the held one, and only if nothing is there (a hard link on a
//! directory, a conditional put on an object store). So what was checked on the held version holds for the commit;
//! delta-rs's own retry, which would rebase it on whatever came between, is not used. When the put fails, the log is
//! read on: each commit carries an id of its own, so one whose answer was lost is recognised.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use arrow::datatypes::Schema;
use bytes::Bytes;
use deltalake_core::kernel::transaction::{CommitData, TransactionError};
use deltalake_core::kernel::{Action, Add, Remove, StructField, StructType, Transaction};
use deltalake_core::logstore::{CommitOrBytes, LogStoreRef};
use deltalake_core::operations::create::CreateBuilder;
use deltalake_core::protocol::{DeltaOperation, SaveMode};
use deltalake_core::{DeltaTableError, ObjectStore, ObjectStoreError};
use object_store::ObjectStoreExt;
use object_store::path::Path as StorePath;
use schemas::Tick;
use serde_json::Value;
use uuid::Uuid;

use super::checkpoint::{self, CheckpointHint};
use super::columns::{self, Widening};
use super::directory::Lake;
use super::entry::{DataFile, Line};
use super::error::LedgerError;
use super::file::Encoded;
use super::finished;
use super::retries::{RetryPolicy, pause};
#[cfg(test)]
use super::simulation;
use super::throttle::Throttle;
use super::writer::{OVERTAKEN_MAX, Writer};
use crate::lake::failpoint;

/// The app id under which a log carries the writer's epoch.
pub(super) const EPOCH: &str = "bidstream/epoch";
/// The app id under which a log carries its last cut.
pub(crate) const CUT: &str = "bidstream/cut";

/// Log entries between two checkpoints: an open reads at most about this many of them.
const CHECKPOINT_COMMITS: u64 = 100;
/// A table's log as of a version.
pub(super) struct TableLog {
    name: String,
    store: LogStoreRef,
    retry_after: Duration,
    retries: RetryPolicy,
    throttle: Throttle,
    /// How the names of its files begin.
    prefix: &'static str,
    /// The version of the next commit.
    next: u64,
    txns: BTreeMap<String, i64>,
    /// The columns that this build writes.
    columns: StructType,
    /// The table's schema, as its log says it.
    schema: String,
    /// The files of the table by their paths in the log.
    files: BTreeMap<String, DataFile>,
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
    adds: Vec<Add>,
    removes: Vec<String>,
    /// The table's schema from here on, where it changes.
    schema: Option<String>,
    writer: Writer,
}

impl TableLog {
    /// Opens a table of a lake at its latest version; makes it where there is none. A table with columns that this build
    /// does not know is refused: who opens a log is to write.
    pub(super) async fn open(
        lake: &Lake,
        name: &str,
        schema: &Schema,
        partitioned_by: Option<&str>,
    ) -> Result<TableLog, LedgerError> {
        let store = lake.log_store(name)?;
        let columns = columns::kernel(name, schema)?;
        if !store.is_delta_table_location().await.map_err(LedgerError::delta(name))? {
            let create = CreateBuilder::new()
                .with_log_store(store.clone())
                .with_table_name(name)
                .with_columns(columns.fields().cloned())
                .with_partition_columns(partitioned_by)
                // Another process that takes over at the same moment may have made it: that is as good.
                .with_save_mode(SaveMode::Ignore);
            create.await.map_err(LedgerError::delta(name))?;
        }
        let mut log = TableLog::unread(lake, name, store, columns);
        log.read_from_checkpoint().await?;
        log.lacking()?;
        Ok(log)
    }

    /// Opens a table of a lake to see what its log says, and not to write; none where there is none.
    pub(super) async fn look(lake: &Lake, name: &str) -> Result<Option<TableLog>, LedgerError> {
        if !lake.table(name).join("_delta_log").is_dir() {
            return Ok(None);
        }
        let columns = StructType::new_unchecked([]);
        let mut log = TableLog::unread(lake, name, lake.log_store(name)?, columns);
        log.read_from_checkpoint().await?;
        Ok(Some(log))
    }

    fn unread(lake: &Lake, name: &str, store: LogStoreRef, columns: StructType) -> TableLog {
        TableLog {
            name: name.to_owned(),
            store,
            retry_after: lake.storage.retry_after,
            retries: RetryPolicy::default(),
            throttle: Throttle::default(),
            prefix: "part",
            next: 0,
            txns: BTreeMap::new(),
            columns,
            schema: String::new(),
            files: BTreeMap::new(),
            claimant: None,
            seen: Vec::new(),
            checkpointing: None,
        }
    }

    /// Has the log bear a failing store in another way.
    pub(super) fn retry_by(&mut self, retries: &RetryPolicy) {
        self.retries = retries.clone();
    }

    /// Has the table's files be written at another throttle.
    pub(super) fn throttle_by(&mut self, throttle: &Throttle) {
        self.throttle = throttle.clone();
    }

    /// Has the names of the table's files begin so, that whoever writes them can tell them from others'.
    pub(super) fn name_files(&mut self, prefix: &'static str) {
        self.prefix = prefix;
    }

    /// The throttle at which its files are written.
    pub(super) fn throttle(&self) -> Throttle {
        self.throttle.clone()
    }

    /// The table's name, for messages.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// The version that is held.
    pub(super) fn version(&self) -> u64 {
        self.next - 1
    }

    /// The table's schema, as its log says it.
    pub(super) fn schema(&self) -> &str {
        &self.schema
    }

    /// Columns that this build writes and the table does not have yet.
    pub(super) fn lacking(&self) -> Result<Vec<StructField>, LedgerError> {
        columns::lacking(&self.name, &self.columns, &self.schema)
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

    /// The table's files.
    pub(super) fn files(&self) -> impl Iterator<Item = &DataFile> {
        self.files.values()
    }

    /// Whether a file is part of the table.
    pub(super) fn holds(&self, file: &DataFile) -> bool {
        self.files.contains_key(&file.path)
    }

    /// All app ids that start with `prefix`, without it, and their versions.
    pub(super) fn txns_under<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = (&'a str, i64)> {
        let from = self.txns.range(prefix.to_owned()..);
        from.map_while(move |(app_id, version)| Some((app_id.strip_prefix(prefix)?, *version)))
    }

    /// Checks that no one has claimed the table after `ours`.
    pub(super) fn check_epoch(&self, ours: i64) -> Result<(), LedgerError> {
        #[cfg(test)]
        if simulation::planted(simulation::Bug::UnseenFence) {
            return Ok(());
        }
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
                    self.retries.succeeded();
                    return Ok(add);
                }
                Err(error) if self.retries.retry(&self.name, "upload", attempt, &error) => pause(&mut wait).await,
                Err(error) => return Err(LedgerError::delta(&self.name)(error)),
            }
        }
        unreachable!("the last attempt returns")
    }

    async fn try_upload(&self, file: &Encoded, partition: Option<(&str, &str)>) -> Result<Add, DeltaTableError> {
        failpoint::hit(&self.name, "upload.before")?;
        self.check_there().await?;
        let add = file.upload(&self.objects(), self.prefix, partition).await?;
        self.check_there().await?;
        failpoint::hit(&self.name, "upload.after")?;
        Ok(add)
    }

    /// Fails where the log is gone: what an unmounted or moved store leaves behind takes in anything, and keeps it from the table.
    async fn check_there(&self) -> Result<(), DeltaTableError> {
        let Some(last) = self.next.checked_sub(1) else { return Ok(()) };
        // A log that others took far ahead may have lost the entry; then it has a checkpoint.
        let checkpoint = StorePath::from("_delta_log/_last_checkpoint");
        if self.store.read_commit_entry(last).await?.is_some() || self.objects().head(&checkpoint).await.is_ok() {
            return Ok(());
        }
        Err(DeltaTableError::generic("its log is not where it was: is the store unmounted, or was the lake moved?"))
    }

    /// Makes a commit ready that adds files and moves app ids.
    pub(super) fn prepare(&self, writer: &Writer, adds: Vec<Add>, txns: BTreeMap<String, i64>) -> Prepared {
        let operation = DeltaOperation::Write { mode: SaveMode::Append, partition_by: None, predicate: None };
        self.prepare_rewrite(writer, operation, adds, Vec::new(), txns)
    }

    /// Makes a commit ready that moves app ids, and adds the columns that the table lacks.
    pub(super) fn prepare_claim(
        &self,
        writer: &Writer,
        txns: BTreeMap<String, i64>,
        widening: Option<Widening>,
    ) -> Prepared {
        let Some(Widening { fields, schema, metadata }) = widening else {
            return self.prepare(writer, Vec::new(), txns);
        };
        let operation = DeltaOperation::AddColumn { fields };
        let prepared = self.prepare_actions(writer, operation, vec![Action::Metadata(metadata)], txns);
        Prepared { schema: Some(schema), ..prepared }
    }

    /// Makes a commit ready that also removes files.
    pub(super) fn prepare_rewrite(
        &self,
        writer: &Writer,
        operation: DeltaOperation,
        adds: Vec<Add>,
        removes: Vec<Remove>,
        txns: BTreeMap<String, i64>,
    ) -> Prepared {
        let removed = removes.iter().map(|remove| remove.path.clone()).collect();
        let removes = removes.into_iter().map(Action::Remove);
        let actions = removes.chain(adds.iter().cloned().map(Action::Add)).collect();
        Prepared { adds, removes: removed, ..self.prepare_actions(writer, operation, actions, txns) }
    }

    fn prepare_actions(
        &self,
        writer: &Writer,
        operation: DeltaOperation,
        actions: Vec<Action>,
        txns: BTreeMap<String, i64>,
    ) -> Prepared {
        let id = Uuid::new_v4().to_string();
        let metadata = HashMap::from([
            ("bidstreamCommit".to_owned(), Value::from(id.clone())),
            ("bidstreamWriter".to_owned(), serde_json::to_value(writer).expect("a writer is plain data")),
        ]);
        let txns: Vec<_> = txns.into_iter().map(|(app_id, version)| Transaction::new(app_id, version)).collect();
        let data = CommitData::new(actions, operation, metadata, txns.clone());
        let bytes = data.get_bytes().expect("actions are plain data");
        Prepared { id, bytes, txns, adds: Vec::new(), removes: Vec::new(), schema: None, writer: writer.clone() }
    }

    /// Puts a commit at the version after the held one; temporary trouble is retried.
    pub(super) async fn put(&mut self, commit: &Prepared) -> Result<Put, LedgerError> {
        self.seen.clear();
        let held = self.next;
        let mut wait = self.retry_after;
        for attempt in 1.. {
            match self.try_put(commit).await {
                Ok(put) => {
                    self.retries.succeeded();
                    return Ok(put);
                }
                Err(error) if self.retries.retry(&self.name, "commit", attempt, &error) => pause(&mut wait).await,
                Err(error) => return Err(error),
            }
            // The put may have been done and its answer lost; and what others did must be seen by the caller. A reading
            // that broke off may have come past either.
            let read = self.catch_up().await;
            if self.seen.contains(&commit.id) {
                return Ok(Put::Done);
            }
            if self.next != held {
                return Ok(Put::Overtaken);
            }
            if let Err(error) = read {
                tracing::warn!(table = self.name, attempt, %error, "cannot read the log");
            }
        }
        unreachable!("the last attempt returns")
    }

    async fn try_put(&mut self, commit: &Prepared) -> Result<Put, LedgerError> {
        let version = self.next;
        let bytes = CommitOrBytes::LogBytes(commit.bytes.clone());
        failpoint::hit(&self.name, "put.before").map_err(LedgerError::delta(&self.name))?;
        self.check_there().await.map_err(LedgerError::delta(&self.name))?;
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
        if let Some(schema) = &commit.schema {
            self.schema.clone_from(schema);
        }
        for path in &commit.removes {
            self.files.remove(path);
        }
        self.files.extend(commit.adds.iter().map(|add| (add.path.clone(), DataFile::of(add))));
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
        let (mut txns, mut adds, mut removes, mut info) = (Vec::new(), Vec::new(), Vec::new(), None);
        for line in serde_json::Deserializer::from_slice(entry).into_iter::<Line>() {
            let line = line.map_err(|error| self.unreadable(error))?;
            txns.extend(line.txn);
            adds.extend(line.add);
            removes.extend(line.remove);
            if let Some(metadata) = line.metadata {
                self.schema = metadata.schema;
            }
            info = line.commit_info.or(info);
        }
        if let Some(info) = info {
            #[cfg(test)]
            let info = super::entry::Info {
                commit: info.commit.filter(|_| !simulation::planted(simulation::Bug::ForgottenAnswer)),
                ..info
            };
            self.seen.extend(info.commit);
            if txns.iter().any(|txn| txn.app_id == EPOCH) {
                self.claimant = info.writer;
            }
        }
        self.txns.extend(txns.into_iter().map(|txn| (txn.app_id, txn.version)));
        for removed in removes {
            self.files.remove(&removed.path);
        }
        self.files.extend(adds.into_iter().map(|file| (file.path.clone(), file)));
        Ok(())
    }

    /// Reads the whole log anew; after an error, what was held is still held.
    async fn read_from_checkpoint(&mut self) -> Result<(), LedgerError> {
        let (txns, files) = (std::mem::take(&mut self.txns), std::mem::take(&mut self.files));
        let schema = std::mem::take(&mut self.schema);
        let (claimant, next, seen) = (self.claimant.take(), std::mem::take(&mut self.next), self.seen.len());
        let mut read = self.read_all().await;
        // The log may be shortened meanwhile: then its entries seem to end where they were removed.
        for _ in 0..OVERTAKEN_MAX {
            match read {
                Ok(Some(checkpoint)) if checkpoint >= self.next => read = self.read_all().await,
                _ => break,
            }
        }
        if read.is_err() {
            (self.txns, self.files, self.claimant, self.next) = (txns, files, claimant, next);
            self.schema = schema;
            self.seen.truncate(seen);
        }
        read.map(drop)
    }

    /// Reads the last checkpoint, and the entries after that. Answers the version of what is the last checkpoint then.
    async fn read_all(&mut self) -> Result<Option<u64>, LedgerError> {
        (self.next, self.claimant) = (0, None);
        self.txns.clear();
        self.files.clear();
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
        self.read_entries().await?;
        Ok(self.last_checkpoint().await?.map(|hint| hint.version))
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
        let part = checkpoint::read(bytes).map_err(LedgerError::delta(&self.name))?;
        self.txns.extend(part.txns);
        self.schema = part.schema.unwrap_or_else(|| std::mem::take(&mut self.schema));
        self.files.extend(part.files.into_iter().map(|file| (file.path.clone(), file)));
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
            if let Err(error) = checkpoint::write(store, version).await {
                tracing::warn!(table = name, version, %error, "cannot write a checkpoint of the log");
            }
        }));
    }

    /// Writes a checkpoint of the held version if the last one is so many versions behind.
    pub(super) async fn checkpoint_after(&self, versions: u64) -> Result<(), LedgerError> {
        let last = self.last_checkpoint().await?.map_or(0, |hint| hint.version);
        if self.version() < last + versions {
            return Ok(());
        }
        checkpoint::write(self.store(), self.version()).await.map_err(LedgerError::delta(&self.name))
    }

    /// Waits for a checkpoint that is being written.
    pub(super) async fn settle(self) {
        if let Some(task) = self.checkpointing {
            finished(task.await);
        }
    }
}
