//! The table of a view as `bidstream build` makes it, beside whoever writes the lake.
//!
//! A build claims no epoch and commits nothing to `records`. It reads `records` as of one version of its log, whose cut *N* it
//! goes by: later records are not there for it. What it makes of a view goes to files in the directory of the view's table,
//! `<lake>/<view>/<hash>/built-….parquet`, and one commit at the end adds them all, with *N* as the table's last cut: the very
//! commit that a start makes of a view that is fresh. Before it nobody sees the files; after it the next start finds a table
//! that is behind, replays what it lacks and has `lake.json` name it.
//!
//! What keeps others apart:
//! * Two builds of a view: a lock of a file in the table's directory, which the system releases however a build ends. Files with
//!   that name that the log does not hold are what a build left that did not end; the next one removes them.
//! * A start that makes the same table: its claim is in the table's log. A build does not begin beside a run that does so, and does
//!   not commit where a start has claimed the table since. A run whose fresh table got its state from elsewhere ends rather
//!   than adding its own to it ([`LedgerError::MadeMeanwhile`]).
//! * Housekeeping: it keeps the tables that `lake.json` names, and this one is not named yet. Files of `records` that it replaces stay
//!   for the job's retention.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use dataflows::horizon::Retention;
use dataflows::needs::Needed;
use dataflows::params::Params;
use dataflows::view::{Form, Maintained, View};
use dataflows::views;
use deltalake_core::kernel::Add;
use deltalake_core::{DeltaTableError, ObjectStoreError};
use object_store::ObjectStoreExt;
use object_store::path::Path as StorePath;
use schemas::Tick;
use schemas::table::RecordRow;

use super::compact::{ANEW, FILE_ROWS_MAX, SINCE};
use super::directory::{Lake, LakeSettings, Lock};
use super::error::LedgerError;
use super::file::{BATCH_ROWS_MAX, encode};
use super::load::{self, LoadCounts, Step, Wanted};
use super::log::{CUT, EPOCH, Put, TableLog};
use super::sink::{Sink, prepare_whole, was_left};
use super::summed::summed;
use super::voids;
use super::writer::{OVERTAKEN_MAX, Writer};

/// The file in a table's directory that is locked while the table is built.
const BUILDING: &str = ".build";
/// How the files of a build are named.
const BUILT: &str = "built";
/// Rows of changes that wait to be added up before they are written. What comes and goes within them is never written.
const PENDING_ROWS_MAX: usize = 1 << 18;

const _: () = assert!(FILE_ROWS_MAX as usize >= BATCH_ROWS_MAX);

/// The records of a lake as of one version of their log, and what views are to be made of them.
pub struct History {
    /// With all views that the parameters define, whether or not a job maintains them.
    lake: Lake,
    params: Params,
    records: TableLog,
    cut: Tick,
    voids: BTreeSet<String>,
}

/// The table of a view that is to be built.
pub enum Found {
    /// It holds everything up to this cut: nothing is to be done.
    There(Tick),
    /// It is to be built.
    Building(Box<Building>),
}

impl History {
    /// Looks at a lake as it is now. Views are defined by these parameters, or by those of the lake.
    pub async fn open(path: &Path, params: Option<Params>) -> Result<History, LedgerError> {
        let lake = Lake::read(path)?;
        let nothing = || LedgerError::NoRecords { lake: path.to_owned() };
        let records = TableLog::look(&lake, "records").await?.ok_or_else(nothing)?;
        let cut = records.cut().ok_or_else(nothing)?;
        // As a start that is next will leave them out.
        let voids: BTreeSet<String> = lake.voids.iter().cloned().chain(voids(&records)).collect();
        let params = params.unwrap_or_else(|| lake.settings.views.clone());
        let lake = lake.with_views(&Params { only: Vec::new(), ..params.clone() }, voids.clone());
        Ok(History { lake, params, records, cut, voids })
    }

    /// *N*: the cut that it ends with.
    pub fn cut(&self) -> Tick {
        self.cut
    }

    /// Up to which cut records came without a gate; none where all passed one.
    pub fn any_age(&self) -> Option<Tick> {
        load::any_age(&self.records)
    }

    /// How the lake was made.
    pub fn settings(&self) -> &LakeSettings {
        &self.lake.settings
    }

    /// Reads all accepted records but those of void topics: those that enter on a day before those of later ones, a batch at a time
    /// with its step. With a retention none enters later after it happened than that says.
    pub async fn load(
        &self,
        retention: Option<Retention>,
        counts: &Arc<LoadCounts>,
        mut each: impl FnMut(Step, Vec<RecordRow>),
    ) -> Result<(), LedgerError> {
        let needed = retention.map(|retention| (self.cut, Needed::all(retention)));
        let wanted = Wanted { committed: self.cut, needed, any_age: load::any_age(&self.records) };
        let loaded = load::records(&self.records, &wanted, counts, |step, mut rows| {
            if !self.voids.is_empty() {
                rows.retain(|row| !self.voids.contains(&*row.topic));
            }
            if !rows.is_empty() {
                each(step, rows);
            }
        });
        loaded.await.map_err(|error| match error {
            LedgerError::Delta { source, .. } if gone(&source).is_some() => {
                LedgerError::FileGone { file: gone(&source).expect("it was just seen") }
            }
            error => error,
        })
    }

    /// Finds the table of a view there, or prepares to build it.
    pub async fn claim(&self, view: &'static View, maintained: &Maintained) -> Result<Found, LedgerError> {
        let name = view.name;
        if let Some(cut) = self.held(name, TableLog::look(&self.lake, name).await?.as_ref()) {
            return Ok(Found::There(cut));
        }
        let dir = self.lake.table(name);
        std::fs::create_dir_all(&dir).map_err(LedgerError::io(&dir))?;
        let writer = Writer::here();
        let mut lock = Lock::try_at(dir.join(BUILDING), &writer)?;
        if !lock.is_held() {
            return Err(LedgerError::BeingBuilt { view: name.to_owned(), holder: lock.holder()? });
        }
        let schema = (maintained.schema)();
        let mut log = TableLog::open(&self.lake, name, &schema, None).await?;
        log.name_files(BUILT);
        if let Some(cut) = self.held(name, Some(&log)) {
            // Another build has ended just now.
            lock.remove()?;
            return Ok(Found::There(cut));
        }
        let epoch = log.txn(EPOCH);
        if epoch.is_some() && epoch >= self.records.txn(EPOCH) && Lock::is_taken(&self.lake.path)? {
            lock.remove()?;
            return Err(LedgerError::BeingMade { view: name.to_owned() });
        }
        let leftovers = remove_leftovers(&dir, &log)?;
        Ok(Found::Building(Box::new(Building {
            view: name,
            form: maintained.form,
            schema,
            epoch,
            held: log.cut(),
            log,
            lock,
            writer,
            cut: self.cut,
            leftovers,
            pending: Vec::new(),
            pending_rows: 0,
            files: Vec::new(),
            rows: 0,
            dir,
        })))
    }

    /// The views that a job with these parameters maintains and whose tables its next start would make anew.
    pub async fn lacking(&self) -> Result<Vec<&'static str>, LedgerError> {
        let mut lacking = Vec::new();
        for (view, _) in views::maintained_by(&self.params) {
            let log = TableLog::look(&self.lake, view.name).await?;
            if self.held(view.name, log.as_ref()).is_none() {
                lacking.push(view.name);
            }
        }
        Ok(lacking)
    }

    /// The cut up to which a start would find that a view's table holds everything; none where it would make it anew.
    fn held(&self, view: &str, log: Option<&TableLog>) -> Option<Tick> {
        let own = log?.cut().unwrap_or(0);
        let said = self.records.txn(&Sink::done_id(view, &self.lake.views[view])).unwrap_or(0) as Tick;
        let held = own.max(said);
        // One that goes beyond what is read here was built or named meanwhile.
        (held > 0 && !was_left(&self.lake, view, held, self.cut)).then_some(held)
    }
}

/// The file that an error says is not there.
fn gone(error: &DeltaTableError) -> Option<String> {
    match error {
        DeltaTableError::ObjectStore { source: ObjectStoreError::NotFound { path, .. } } => Some(path.clone()),
        _ => None,
    }
}

/// Removes the files of builds that did not end; how many there were.
fn remove_leftovers(dir: &Path, log: &TableLog) -> Result<u64, LedgerError> {
    let held: BTreeSet<&str> = log.files().map(|file| file.path.as_str()).collect();
    let mut removed = 0;
    for entry in std::fs::read_dir(dir).map_err(LedgerError::io(dir))? {
        let entry = entry.map_err(LedgerError::io(dir))?;
        let name = entry.file_name();
        let is_left = name.to_str().is_some_and(|name| name.starts_with(&format!("{BUILT}-")) && !held.contains(name));
        if is_left {
            std::fs::remove_file(entry.path()).map_err(LedgerError::io(&entry.path()))?;
            removed += 1;
        }
    }
    Ok(removed)
}

/// The table of a view that is being built. Its lock is held as long as this is there.
pub struct Building {
    view: &'static str,
    form: Form,
    schema: SchemaRef,
    /// What the table's log said when the build began: the last epoch that claimed it, and its last cut.
    epoch: Option<i64>,
    held: Option<Tick>,
    log: TableLog,
    lock: Lock,
    writer: Writer,
    cut: Tick,
    leftovers: u64,
    /// Changes that wait to be added up.
    pending: Vec<RecordBatch>,
    pending_rows: usize,
    /// What was written.
    files: Vec<Add>,
    rows: u64,
    dir: PathBuf,
}

/// A table that was built.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Built {
    /// The view.
    pub view: &'static str,
    /// Where its table is.
    pub dir: PathBuf,
    /// Rows that were written.
    pub rows: u64,
    /// The files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl Building {
    /// The view.
    pub fn view(&self) -> &'static str {
        self.view
    }

    /// Files of builds that did not end, which were removed.
    pub fn leftovers(&self) -> u64 {
        self.leftovers
    }

    /// Takes changes in, all of which stand at *N*. So many wait to be added up; what is left of them then is written.
    pub async fn add(&mut self, batches: impl Iterator<Item = RecordBatch>) -> Result<(), LedgerError> {
        for batch in batches {
            self.pending_rows += batch.num_rows();
            self.pending.push(batch);
            if self.pending_rows >= PENDING_ROWS_MAX {
                self.add_up()?;
                // What comes and goes with time hardly grows: it waits for what takes it back.
                if self.pending_rows > PENDING_ROWS_MAX / 2 {
                    self.write().await?;
                }
            }
        }
        Ok(())
    }

    /// Commits all of it. It is done, or nothing of it is there.
    pub async fn commit(mut self) -> Result<Built, LedgerError> {
        self.add_up()?;
        self.write().await?;
        let txns =
            [(CUT, self.cut), (SINCE, self.cut), (ANEW, self.cut)].map(|(app_id, cut)| (app_id.to_owned(), cut as i64));
        let txns = BTreeMap::from(txns);
        for _ in 0..OVERTAKEN_MAX {
            if (self.log.txn(EPOCH), self.log.cut()) != (self.epoch, self.held) {
                let table = self.view.to_owned();
                self.give_up().await;
                return Err(LedgerError::MadeMeanwhile { table });
            }
            let commit = prepare_whole(&self.log, &self.writer, self.files.clone(), txns.clone());
            if self.log.put(&commit).await? == Put::Done {
                let bytes = self.files.iter().map(|file| file.size as u64).sum();
                let Building { view, dir, rows, files, lock, .. } = self;
                lock.remove()?;
                return Ok(Built { view, dir, rows, files: files.len() as u64, bytes });
            }
        }
        Err(LedgerError::overtaken(self.view))
    }

    /// Removes what was written, as far as that can be done now: the next build removes the rest.
    pub async fn give_up(self) {
        for file in &self.files {
            if let Err(error) = self.log.objects().delete(&StorePath::from(file.path.as_str())).await {
                tracing::warn!(view = self.view, file = file.path, %error, "cannot remove a file of a build that was given up");
            }
        }
        if let Err(error) = self.lock.remove() {
            tracing::warn!(view = self.view, %error, "cannot remove the lock of a build that was given up");
        }
    }

    fn add_up(&mut self) -> Result<(), LedgerError> {
        let pending = std::mem::take(&mut self.pending);
        let (pending, _) = summed(&pending, &self.schema, self.form, self.cut)
            .map_err(|error| LedgerError::delta(self.view)(error))?;
        self.pending_rows = pending.iter().map(RecordBatch::num_rows).sum();
        self.pending = pending;
        Ok(())
    }

    async fn write(&mut self) -> Result<(), LedgerError> {
        self.pending_rows = 0;
        let pending = std::mem::take(&mut self.pending);
        for batches in pending.chunks(FILE_ROWS_MAX as usize / BATCH_ROWS_MAX) {
            let file = encode(batches.iter().cloned()).map_err(LedgerError::delta(self.view))?;
            if let Some(file) = file {
                self.rows += file.rows();
                self.files.push(self.log.upload(&file, None).await?);
            }
        }
        Ok(())
    }
}
