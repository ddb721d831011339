//! The ledger: exactly once, from one table.
//!
//! The Delta table `records` holds every consumed record, and its log says in the same commits where each partition
//! stood. Since the change of every view between two cuts is a function of the records between them, nothing else has
//! to be durable: what a crash left out of a view's table is computed again from `records`.
//!
//! A commit goes through three steps, and may be cut off after any of them:
//! 1. *Names*: new symbols go to `symbols`. Cut off here, the table knows names that no record uses yet. That does
//!    not change a result: verdicts are decided against the names known at the time and then stored, and every start
//!    loads all names before it reads anything.
//! 2. *Records*: one commit to `records` adds the files of (*last*, *n*] and moves the app ids below. It decides.
//! 3. *Sinks*: each view's table takes the changes of (*l*, *n*], where *l* is its own last cut, all of them at once; one
//!    without changes holds *n* by the commit to `records`. Cut off here, the next
//!    start finds *l* < *n*, loads what lies up to *m* (the least *l*), replays (*m*, *N*] from `records`, and hands the
//!    changes to the next commit, where each sink drops what it holds already.
//!
//! | app id in the log of `records` | version |
//! |---|---|
//! | `bidstream/epoch` | the writer's epoch: each start claims the next one, and who sees a later one leaves |
//! | `bidstream/cut` | *n*: everything up to it is durable |
//! | `bidstream/offset/<topic>/<partition>` | the next offset to read |
//! | `bidstream/arrival/<topic>/<partition>` | arrival of the last record before that: no later one arrives earlier |
//! | `bidstream/topic/<topic>/<topic id>` | 1: the topic's id at the broker |
//! | `bidstream/void/<topic>` | when the topic (an import) was declared void, so that its records count no more: ms since 1970 |
//! | `bidstream/zone/<tenant>=<zone>` | when the tenant was given its time zone: ms since 1970 |
//! | `bidstream/note/<name>` | a number under a name, as when a file of that name was imported |
//! | `bidstream/column/<name>` | when a later build added the column to the table: ms since 1970 |
//! | `bidstream/any-age` | 1: some records entered however long ago they happened, so that nothing can be forgotten |
//! | `bidstream/done/<view>/<hash>/delta` | the cut up to which the view's table holds everything |
//!
//! The other tables carry the epoch too, so that a writer that was overtaken is stopped at each of them.
//!
//! On a local directory all this withstands the kill of a process, not the loss of power: nothing is synced to disk.

pub mod about;
pub mod build;
mod checkpoint;
mod claims;
mod columns;
pub(crate) mod compact;
pub mod directory;
mod entry;
mod error;
pub mod failpoint;
mod file;
pub mod imports;
mod load;
pub(crate) mod log;
pub mod maintain;
mod part;
mod partition;
pub mod pieces;
pub mod repair;
mod retries;
#[cfg(test)]
mod simulation;
pub(crate) mod sink;
mod summed;
#[cfg(test)]
mod tests;
mod throttle;
mod widen;
mod writer;
pub mod zones;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::Path;
use std::sync::Arc;

use dataflows::changes::{BATCH_ROWS, CutChanges};
use dataflows::needs::Needed;
use dataflows::views;
use deltalake_core::DeltaTableError;
use futures::future::try_join_all;
use schemas::symbols::{Name, Symbols};
use schemas::table::{self, RecordRow};
use schemas::units::DAY_MS;
use schemas::{Symbol, Tick};

use claims::{claim, follow};
use directory::Lock;
pub use directory::{Lake, LakeSettings};
pub use error::LedgerError;
use file::{Encoded, encode, encode_runs};
pub use load::{Final, LoadCounts, Step, Wanted};
use log::{CUT, EPOCH, Put, TableLog};
pub use part::Part;
pub use partition::{PartitionId, Resume};
pub use retries::RetryPolicy;
use sink::Sink;
pub use throttle::Throttle;
use writer::OVERTAKEN_MAX;
pub use writer::Writer;

use crate::clock::Clock;
use crate::lake::pieces::Piece;

const OFFSET: &str = "bidstream/offset/";
const ARRIVAL: &str = "bidstream/arrival/";
const TOPIC: &str = "bidstream/topic/";
const VOID: &str = "bidstream/void/";
const COLUMN: &str = "bidstream/column/";
const NOTE: &str = "bidstream/note/";
pub(crate) const ANY_AGE: &str = "bidstream/any-age";

/// A lake that this process writes to.
pub struct Ledger {
    lake: Lake,
    /// None where the lake is no directory.
    lock: Option<Lock>,
    writer: Writer,
    epoch: i64,
    records: TableLog,
    symbols: TableLog,
    /// One of each view that the job maintains, in the catalogue's order.
    sinks: Vec<Sink>,
    /// The last durable cut.
    committed: Option<Tick>,
    /// Whether what it commits may be of any age.
    any_age: bool,
    /// The last cut of records of any age, where a release that did not note it left some.
    any_age_until: Option<Tick>,
    /// Symbols that the table holds.
    saved: HashSet<Symbol>,
}

/// What the ledger knows at a start, as of the commit that claimed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// The epoch of this start.
    pub epoch: i64,
    /// *N*: the last durable cut; none in a new lake.
    pub committed: Option<Tick>,
    /// *m*: every sink that is not fresh holds everything up to here. What lies in (*m*, *N*] is to be replayed into them.
    pub load_to: Tick,
    /// Of each view that the job maintains whether it is fresh: its table is new, and its first commit gives the whole state at *N*.
    pub fresh: Vec<bool>,
    /// Up to which cut records entered however long ago they happened; none where all passed a gate.
    pub any_age: Option<Tick>,
    /// Whether a commit is due though no record comes: a table lacks changes, or its view's name has yet to move to it.
    pub behind: bool,
    /// Where to go on with each partition.
    pub resumes: Vec<Resume>,
    /// The id of each topic, as the broker told it.
    pub topic_ids: BTreeMap<String, String>,
    /// What earlier runs noted with their commits: names and numbers, as the names of imported files.
    pub notes: BTreeMap<String, i64>,
    /// Topics that were declared void: their records count no more.
    pub voids: BTreeSet<String>,
}

/// What a commit wrote.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CommitStats {
    /// Rows of `records`.
    pub records: u64,
    /// Bytes of their files.
    pub bytes: u64,
    /// Number of their files.
    pub files: u64,
    /// Rows of the changes of each view that the job maintains.
    pub views: Vec<(&'static str, u64)>,
}

impl Ledger {
    /// Opens a lake for writing, or makes it: takes the lock (with `take_over`, goes on without it), claims the next
    /// epoch, which fences whoever wrote before, and loads all names into `symbols`.
    pub async fn open(
        path: &Path,
        settings: &LakeSettings,
        take_over: bool,
        void: &[String],
        symbols: &Symbols,
    ) -> Result<(Ledger, State), LedgerError> {
        let writer = Writer::here();
        let lock = Lock::take(path, &writer, take_over)?;
        let lake = Lake::read_or_make(path, settings)?;
        hit("open", "locked")?;
        Ledger::claim(lake, Some(lock), writer, void, symbols).await
    }

    /// Claims the tables of a lake.
    async fn claim(
        mut lake: Lake,
        lock: Option<Lock>,
        writer: Writer,
        void: &[String],
        symbols: &Symbols,
    ) -> Result<(Ledger, State), LedgerError> {
        let schema = load::with_arrival_date(&table::records_schema());
        let mut records = TableLog::open(&lake, "records", &schema, Some(load::ARRIVAL_DATE)).await?;
        let mut names = TableLog::open(&lake, "symbols", &table::symbols_schema(), None).await?;
        // Those of `lake.json` too, for `records` may be a restored copy: what is void stays void.
        let void: Vec<String> = void.iter().chain(&lake.voids).cloned().collect();
        lake.leave_out(void.iter().cloned().chain(voids(&records)).collect());
        let mut sinks = open_sinks(&lake).await?;
        // Above all tables, for `records` may be a restored copy.
        let logs = sinks.iter().map(|sink| &sink.log).chain([&names]);
        let above = logs.filter_map(|log| log.txn(EPOCH)).max().unwrap_or(0);
        let epoch = claim((&mut records, &mut names), &lake, &writer, above, &void).await?;
        lake.settle_zones(&records)?;
        hit("open", "claimed")?;
        let declared = voids(&records);
        if declared != lake.voids {
            // A start that was fenced by this one had declared others meanwhile.
            lake.leave_out(declared);
            sinks = open_sinks(&lake).await?;
        }
        // From here on nobody else commits to `records`: what it says now is what this start goes on from.
        let committed = records.cut();
        follow(&mut names, &writer, epoch).await?;
        hit("recovery", "symbols")?;
        let mut saved = HashSet::new();
        load::symbols(&names, |name| {
            saved.insert(name.symbol);
            symbols.load(name);
        })
        .await?;
        for sink in &mut sinks {
            follow(&mut sink.log, &writer, epoch).await?;
            sink.begin(&records, committed, &lake)?;
        }
        hit("open", "followed")?;
        let last = committed.unwrap_or(0);
        let held = sinks.iter().map(|sink| if sink.is_fresh() { last } else { sink.done() });
        let load_to = held.min().unwrap_or(last);
        let fresh: Vec<bool> = sinks.iter().map(Sink::is_fresh).collect();
        let any_age_until = load::any_age_unnoted(&records);
        let state = State {
            epoch,
            committed,
            load_to,
            behind: load_to < last || fresh.contains(&true) || lake.rebuilding,
            fresh,
            any_age: load::any_age(&records),
            resumes: resumes(&records),
            topic_ids: topic_ids(&records),
            notes: records.txns_under(NOTE).map(|(name, number)| (name.to_owned(), number)).collect(),
            voids: lake.voids.clone(),
        };
        tracing::info!(lake = %lake.path.display(), epoch, committed, load_to = state.load_to, %writer, "claimed the lake");
        let ledger = Ledger {
            lake,
            lock,
            writer,
            epoch,
            records,
            symbols: names,
            sinks,
            committed,
            any_age: false,
            any_age_until,
            saved,
        };
        Ok((ledger, state))
    }

    /// The lake.
    pub fn lake(&self) -> &Lake {
        &self.lake
    }

    /// The last durable cut.
    pub fn committed(&self) -> Option<Tick> {
        self.committed
    }

    /// Notes that what is committed from now on may be of any age.
    pub fn set_any_age(&mut self) {
        self.any_age = true;
    }

    /// Has the ledger bear a failing store in another way.
    pub fn retry_by(&mut self, retries: &RetryPolicy) {
        let logs = self.sinks.iter_mut().map(|sink| &mut sink.log);
        logs.chain([&mut self.records, &mut self.symbols]).for_each(|log| log.retry_by(retries));
    }

    /// Has the ledger write its files at another throttle.
    pub fn throttle_by(&mut self, throttle: &Throttle) {
        let logs = self.sinks.iter_mut().map(|sink| &mut sink.log);
        logs.chain([&mut self.records]).for_each(|log| log.throttle_by(throttle));
    }

    /// Checks that no other run has claimed the lake since: one without work would not notice otherwise.
    pub async fn check_ours(&mut self) -> Result<(), LedgerError> {
        if let Some(lock) = &mut self.lock {
            lock.hold(&self.writer)?;
        }
        self.records.catch_up().await?;
        self.records.check_epoch(self.epoch)
    }

    /// Makes everything up to `cut` durable: names first, then the records and where their partitions stood, then the
    /// changes of the views. Parts without records or changes are fine. After an error the ledger is to be dropped: a
    /// new start goes on from what is durable.
    ///
    /// # Panics
    /// If `cut` is not after the last one, or a record is not of the cuts between, or a change is of a later one.
    pub async fn commit(
        &mut self,
        cut: Tick,
        mut parts: Vec<Part>,
        names: Vec<Name>,
    ) -> Result<CommitStats, LedgerError> {
        assert!(self.committed.is_none_or(|last| cut > last), "cut {cut} is not after {:?}", self.committed);
        hit("commit", "begin")?;
        if let Some(lock) = &mut self.lock {
            lock.hold(&self.writer)?;
        }
        self.commit_names(cut, names).await?;
        let changes: Vec<_> = parts.iter_mut().map(|part| std::mem::take(&mut part.changes)).collect();
        let files = self.encode_changes(cut, &changes).await?;
        let mut stats = self.commit_records(cut, parts, &files).await?;
        stats.views = self.commit_changes(cut, files).await?;
        if self.lake.rebuilding {
            self.lake.name_views()?;
        }
        hit("commit", "end")?;
        Ok(stats)
    }

    async fn commit_names(&mut self, cut: Tick, mut names: Vec<Name>) -> Result<(), LedgerError> {
        names.retain(|name| self.saved.insert(name.symbol));
        let encoded = encode([table::symbols_batch(&names, cut)]).map_err(LedgerError::delta("symbols"))?;
        let Some(file) = encoded else { return Ok(()) };
        let add = self.symbols.upload(&file, None).await?;
        // No cut: one that a crash cut off here may be followed by an earlier one.
        let txns = BTreeMap::from([(EPOCH.to_owned(), self.epoch)]);
        let commit = self.symbols.prepare(&self.writer, vec![add], txns);
        for _ in 0..OVERTAKEN_MAX {
            self.symbols.check_epoch(self.epoch)?;
            if self.symbols.put(&commit).await? == Put::Done {
                return Ok(());
            }
        }
        Err(LedgerError::overtaken("symbols"))
    }

    async fn commit_records(
        &mut self,
        cut: Tick,
        parts: Vec<Part>,
        changes: &[Option<Encoded>],
    ) -> Result<CommitStats, LedgerError> {
        let txns = self.txns(cut, &parts, changes);
        let cuts = self.committed.map_or(0, |last| last + 1)..=cut;
        assert!(
            parts.iter().flat_map(|part| &part.rows).flat_map(|piece| piece.iter()).all(|row| cuts.contains(&row.cut)),
            "a record outside {cuts:?}"
        );
        let encode = |part: Part| {
            let throttle = self.records.throttle();
            tokio::task::spawn_blocking(move || encode_records(&part.rows, &throttle))
        };
        let encoding: Vec<_> = parts.into_iter().map(encode).collect();
        let mut adds = Vec::new();
        let mut stats = CommitStats::default();
        for task in encoding {
            let files = finished(task.await).map_err(LedgerError::delta("records"))?;
            for (date, file) in files {
                stats.records += file.rows();
                stats.bytes += file.bytes();
                stats.files += 1;
                adds.push(self.records.upload(&file, Some((load::ARRIVAL_DATE, &date))).await?);
            }
        }
        let commit = self.records.prepare(&self.writer, adds, txns);
        for _ in 0..OVERTAKEN_MAX {
            self.records.check_epoch(self.epoch)?;
            // In our own epoch only we move the cut.
            let found = self.records.cut();
            #[cfg(test)]
            let found = if simulation::planted(simulation::Bug::ForgottenAnswer) { self.committed } else { found };
            match found {
                last if last == self.committed => {}
                // The answer to an earlier put was lost.
                Some(found) if found == cut => {
                    self.committed = Some(cut);
                    return Ok(stats);
                }
                found => return Err(LedgerError::Diverged { found, ours: self.committed }),
            }
            if self.records.put(&commit).await? == Put::Done {
                self.committed = Some(cut);
                return Ok(stats);
            }
        }
        Err(LedgerError::overtaken("records"))
    }

    /// A file of the changes of each view, from what each worker has of them. One after the other: they would only take each
    /// other's processor.
    async fn encode_changes(
        &self,
        cut: Tick,
        of_workers: &[Vec<Arc<dyn CutChanges>>],
    ) -> Result<Vec<Option<Encoded>>, LedgerError> {
        let mut files = Vec::new();
        for (view, sink) in self.sinks.iter().enumerate() {
            let changes = of_workers.iter().filter_map(|changes| changes.get(view).cloned()).collect();
            files.push(sink.encode(cut, changes).await?);
        }
        Ok(files)
    }

    /// Commits the changes of all views at once; the rows written of each.
    async fn commit_changes(
        &mut self,
        cut: Tick,
        files: Vec<Option<Encoded>>,
    ) -> Result<Vec<(&'static str, u64)>, LedgerError> {
        let (writer, epoch) = (&self.writer, self.epoch);
        let commits = self.sinks.iter_mut().zip(files).map(|(sink, file)| async move {
            if sink.rides(file.as_ref()) {
                sink.rode(cut);
                return Ok((sink.view, 0));
            }
            Ok((sink.view, sink.commit(writer, epoch, cut, file).await?))
        });
        try_join_all(commits).await
    }

    /// The app ids that a commit to `records` moves.
    fn txns(&self, cut: Tick, parts: &[Part], changes: &[Option<Encoded>]) -> BTreeMap<String, i64> {
        let mut txns = BTreeMap::from([(EPOCH.to_owned(), self.epoch), (CUT.to_owned(), cut as i64)]);
        let any_age = if self.any_age { Some(cut) } else { self.any_age_until };
        txns.extend(any_age.map(|cut| (ANY_AGE.to_owned(), cut as i64)));
        for (sink, file) in self.sinks.iter().zip(changes).filter(|(sink, _)| !sink.is_fresh()) {
            let done = if sink.rides(file.as_ref()) { cut } else { sink.done() };
            txns.insert(sink.id(), done as i64);
        }
        for part in parts {
            for (id, offset) in &part.positions {
                txns.insert(under(OFFSET, id), *offset);
            }
            for (topic, id) in &part.topic_ids {
                txns.insert(format!("{TOPIC}{topic}/{id}"), 1);
            }
            for (name, number) in &part.notes {
                txns.insert(format!("{NOTE}{name}"), *number);
                if let Some((topic, _)) = imports::file(name) {
                    let imported = format!("{NOTE}{}", imports::imported(topic));
                    let known = self.records.txn(&imported);
                    txns.insert(imported, known.unwrap_or_else(|| Clock::system().now_ms()));
                }
            }
            // Rows of a partition come in runs, so names are made once a run.
            let same = |a: &RecordRow, b: &RecordRow| a.partition == b.partition && Arc::ptr_eq(&a.topic, &b.topic);
            for run in part.rows.iter().flat_map(|piece| piece.chunk_by(same)) {
                let id = PartitionId { topic: Arc::clone(&run[0].topic), partition: run[0].partition };
                let last = run.iter().map(|row| row.arrival_ms).max().expect("a run is not empty");
                let app_id = under(ARRIVAL, &id);
                let known = txns.get(&app_id).copied().or_else(|| self.records.txn(&app_id));
                txns.insert(app_id, known.map_or(last, |known| known.max(last)));
            }
        }
        txns.retain(|app_id, version| app_id == EPOCH || self.records.txn(app_id) != Some(*version));
        txns
    }

    /// Waits for what goes on beside the commits (a checkpoint of a log) and gives the lake up.
    pub async fn close(self) {
        for log in self.sinks.into_iter().map(|sink| sink.log).chain([self.records, self.symbols]) {
            log.settle().await;
        }
    }

    /// Reads accepted records: those that enter on a day before those of later ones, a batch at a time with its day since 1970.
    pub async fn load(
        &self,
        wanted: &Wanted,
        counts: &Arc<LoadCounts>,
        each: impl FnMut(Step, Vec<RecordRow>),
    ) -> Result<(), LedgerError> {
        hit("recovery", "begin")?;
        load::records(&self.records, wanted, counts, each).await?;
        hit("recovery", "end")
    }

    /// Reads from the tables of views what is final of what is needed, a batch at a time.
    pub async fn load_finals(&self, needed: &Needed, each: impl FnMut(Final)) -> Result<(), LedgerError> {
        let table = |view: &str| self.sinks.iter().find(|sink| sink.view == view).map(|sink| &sink.log);
        load::finals(table, needed, each).await
    }
}

/// Opens the tables of the maintained views.
async fn open_sinks(lake: &Lake) -> Result<Vec<Sink>, LedgerError> {
    let mut sinks = Vec::new();
    // Those that the job maintains; a lake of the simulation has but some of them.
    for (view, maintained) in views::maintained().filter(|(view, _)| lake.has(view.name)) {
        sinks.push(Sink::open(lake, view.name, &(maintained.schema)()).await?);
    }
    Ok(sinks)
}

/// The files of a worker's records, by arrival date: sorted by type and event time, and in batches of one type, so
/// that row groups prune.
fn encode_records(pieces: &[Piece], throttle: &Throttle) -> Result<Vec<(String, Encoded)>, DeltaTableError> {
    // Where each belongs, beside a reference: a row is large to move, and to look at for each comparison.
    let place = |row: &RecordRow| {
        let day = row.arrival_ms.div_euclid(DAY_MS);
        (day, row.event.as_ref().map(|event| event.event_type), row.event.as_ref().map(|event| event.event_time))
    };
    let mut rows: Vec<_> = pieces.iter().flat_map(|piece| piece.iter()).map(|row| (place(row), row)).collect();
    rows.sort_unstable_by_key(|(place, _)| *place);
    let files = rows.chunk_by(|((one, ..), _), ((other, ..), _)| one == other).map(|rows| {
        let runs = rows.chunk_by(|((_, one, _), _), ((_, other, _), _)| one == other);
        let batch = |rows: &[(_, &RecordRow)]| table::records_batch(rows.iter().map(|(_, row)| *row));
        let file = encode_runs(runs.map(|run| run.chunks(BATCH_ROWS).map(batch)), throttle)?;
        let ((day, ..), _) = rows[0];
        Ok(file.map(|file| (load::date(day), file)))
    });
    files.filter_map(Result::transpose).collect()
}

fn under(prefix: &str, id: &PartitionId) -> String {
    format!("{prefix}{}/{}", id.topic, id.partition)
}

fn resumes(records: &TableLog) -> Vec<Resume> {
    let offsets = records.txns_under(OFFSET).filter_map(|(name, offset)| {
        let (topic, partition) = name.rsplit_once('/')?;
        Some((PartitionId { topic: topic.into(), partition: partition.parse().ok()? }, offset))
    });
    let resume = |(partition, offset): (PartitionId, i64)| {
        let arrival_ms = records.txn(&under(ARRIVAL, &partition)).unwrap_or(0);
        Resume { partition, offset, arrival_ms }
    };
    offsets.map(resume).collect()
}

fn voids(records: &TableLog) -> BTreeSet<String> {
    records.txns_under(VOID).map(|(topic, _)| topic.to_owned()).collect()
}

fn topic_ids(records: &TableLog) -> BTreeMap<String, String> {
    // An id is base64 and may hold a slash; the name of a topic cannot.
    let known = records.txns_under(TOPIC).filter_map(|(name, _)| name.split_once('/'));
    known.map(|(topic, id)| (topic.to_owned(), id.to_owned())).collect()
}

/// A failpoint between the steps of the ledger, or of what follows it.
pub(crate) fn hit(what: &str, step: &str) -> Result<(), LedgerError> {
    failpoint::hit(what, step).map_err(LedgerError::delta(what))
}

/// What a blocking task returned; its panic goes on here.
fn finished<T>(joined: Result<T, tokio::task::JoinError>) -> T {
    match joined {
        Ok(value) => value,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(error) => panic!("a task was dropped: {error}"),
        },
    }
}
