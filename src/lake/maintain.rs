//! Housekeeping of a lake: few files, short logs, no orphans. It runs beside a writer, from the same process or another,
//! with handles of its own; whatever step it breaks off at, the lake is in order.
//!
//! For each table: [compaction](super::compact), a checkpoint of the log, removal of log entries that are older than
//! the retention and lie before a checkpoint, and removal of files that the table does not name and that are older than
//! the retention. So, with commits every *c* (no less than the grid of cuts, live), passes every *p*, *W* workers and
//! retention *R*, there are at most `2 × rows / 131072 + 1` files per table and date, and those that are not merged yet or
//! already replaced, which wait for the next pass, then for the retention, then for a pass: `(W / c + 1 / p) × (2 p + R)`.
//! Files of a log: `(1 / c + 2 / p) × (p + R)`, as a pass commits and writes a checkpoint, and about 20 more.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use dataflows::views;
use deltalake_core::operations::vacuum::VacuumMode;
use deltalake_core::{DeltaTable, DeltaTableError, checkpoints};
use schemas::{Tick, table};
use serde::Serialize;

use super::compact::{Compacted, FILE_ROWS_MAX, SINCE, compact};
use super::directory::{self, Lake};
use super::error::LedgerError;
use super::load;
use super::log::TableLog;
use super::sink::Sink;
use super::writer::Writer;
use crate::clock::Clock;
use crate::lake::failpoint;

/// The shortest retention that can be chosen: an upload or a load that takes longer could lose its files.
pub const RETENTION_MIN: Duration = Duration::from_secs(60);
/// Versions after which a pass writes a checkpoint.
const CHECKPOINT_VERSIONS: u64 = 10;
/// What housekeeping did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Time travel is exact from this cut on; 0 where nothing is summed yet.
    pub since: Tick,
    /// Table by table.
    pub tables: Vec<TableReport>,
}

/// What housekeeping did to one table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TableReport {
    /// The table.
    pub table: String,
    /// Its files before.
    pub files_before: u64,
    /// Its files after.
    pub files_after: u64,
    /// What was merged.
    #[serde(flatten)]
    pub compacted: Compacted,
    /// Entries and checkpoints that were removed from its log.
    pub log_files_removed: u64,
    /// Data files that were removed: replaced ones, and those that no commit ever named.
    pub files_removed: u64,
}

impl Report {
    /// The report for people.
    pub fn text(&self) -> String {
        let mut text = String::new();
        for table in &self.tables {
            let TableReport { compacted, .. } = table;
            let _ = writeln!(
                text,
                "{}: {} files, now {}; merged {} into {} ({} rows, now {}); removed {} old files and {} log files",
                table.table,
                table.files_before,
                table.files_after,
                compacted.files_read,
                compacted.files_written,
                compacted.rows_read,
                compacted.rows_written,
                table.files_removed,
                table.log_files_removed,
            );
        }
        if self.since > 0 {
            let since = crate::clock::rfc3339(self.since as i64);
            let _ = writeln!(text, "time travel is exact from cut {} ({since}) on", self.since);
        }
        text
    }
}

/// Keeps house in a lake.
pub async fn maintain(path: &Path, retention: Duration) -> Result<Report, LedgerError> {
    let lake = Lake::read(path)?;
    let wanted = since(&lake, retention).await?;
    let mut report = Report { since: 0, tables: Vec::new() };
    for name in directory::tables().filter(|name| lake.has(name)) {
        let mut log = open(&lake, name).await?;
        report.tables.push(table(&mut log, wanted, retention).await?);
        report.since = report.since.max(log.txn(SINCE).unwrap_or(0) as Tick);
        log.settle().await;
    }
    Ok(report)
}

/// Opens a table's log by name.
pub(super) async fn open(lake: &Lake, name: &str) -> Result<TableLog, LedgerError> {
    match name {
        "records" => {
            let schema = load::with_arrival_date(&table::records_schema());
            TableLog::open(lake, name, &schema, Some(load::ARRIVAL_DATE)).await
        }
        "symbols" => TableLog::open(lake, name, &table::symbols_schema(), None).await,
        view => {
            let maintained = views::view(view).and_then(|view| view.maintained.as_ref());
            TableLog::open(lake, view, &(maintained.expect("the catalogue has it").schema)(), None).await
        }
    }
}

/// The cut up to which changes may be summed: the retention before the last one that every view's table holds, by its own word
/// or by that of `records`.
async fn since(lake: &Lake, retention: Duration) -> Result<Tick, LedgerError> {
    let records = open(lake, "records").await?;
    let mut done = Tick::MAX;
    for view in directory::tables().filter(|name| lake.views.contains_key(*name)) {
        let said = records.txn(&Sink::done_id(view, &lake.views[view])).unwrap_or(0) as Tick;
        done = done.min(said.max(open(lake, view).await?.cut().unwrap_or(0)));
    }
    let since = done.saturating_sub(retention.as_millis() as Tick);
    Ok(since / lake.settings.cut_ms * lake.settings.cut_ms)
}

async fn table(log: &mut TableLog, since: Tick, retention: Duration) -> Result<TableReport, LedgerError> {
    let table = log.name().to_owned();
    let files_before = log.files().count() as u64;
    // A view that had nothing to say since holds later cuts than its table's own.
    let since = since.min(log.cut().unwrap_or(0));
    let compacted = compact(log, &Writer::here(), since, FILE_ROWS_MAX).await?;
    let files_after = log.files().count() as u64;
    failpoint::hit("compact", "end").map_err(LedgerError::delta(&table))?;
    log.checkpoint_after(CHECKPOINT_VERSIONS).await?;
    let before_ms = Clock::system().now_ms() - retention.as_millis() as i64;
    let log_files_removed = clean(log, before_ms).await.map_err(LedgerError::delta(&table))?;
    let files_removed = vacuum(log, retention).await.map_err(LedgerError::delta(&table))?;
    Ok(TableReport { table, files_before, files_after, compacted, log_files_removed, files_removed })
}

/// Removes what was written before a moment from a log, as far as a checkpoint stands for it.
pub(super) async fn clean(log: &TableLog, before_ms: i64) -> Result<u64, DeltaTableError> {
    failpoint::hit("clean", "before")?;
    let store = log.store();
    let removed = checkpoints::cleanup_expired_logs_for(log.version(), store.as_ref(), before_ms, None).await?;
    failpoint::hit("clean", "after")?;
    Ok(removed as u64)
}

/// Removes files that the table has not named for the retention.
async fn vacuum(log: &TableLog, retention: Duration) -> Result<u64, DeltaTableError> {
    failpoint::hit("vacuum", "before")?;
    let mut table = DeltaTable::new(log.store());
    table.load().await?;
    let retention = chrono::Duration::milliseconds(retention.as_millis() as i64);
    // Tables hold no setting of it: ours is the one that counts.
    let vacuum = table.vacuum().with_mode(VacuumMode::Full).with_enforce_retention_duration(false);
    let (_, removed) = vacuum.with_retention_period(retention).await?;
    failpoint::hit("vacuum", "after")?;
    Ok(removed.files_deleted.len() as u64)
}

#[cfg(test)]
mod tests {
    use schemas::symbols::Symbols;
    use tempfile::TempDir;

    use super::super::tests::{T0, all, commit, install, loaded, open as open_lake, part, settings, sql};
    use super::super::{Ledger, Part};
    use super::*;

    /// A commit of one record, and of an install that the next one takes back.
    fn busy(n: u64) -> (Tick, Part) {
        let cut = T0 + n * 1_000;
        let mut part = part(cut, n as i64..n as i64 + 1);
        let before = (n > 1).then(|| install(n as i64 - 1, cut, -1));
        part.changes = all(before.into_iter().chain([install(n as i64, cut, 1)]).collect());
        (cut, part)
    }

    fn parquet_files(lake: &Path) -> usize {
        let entries = std::fs::read_dir(lake).unwrap().map(|entry| entry.unwrap().path());
        let count = |path: std::path::PathBuf| match path.is_dir() {
            true if path.ends_with("_delta_log") => 0,
            true => parquet_files(&path),
            false => usize::from(path.extension().is_some_and(|kind| kind == "parquet")),
        };
        entries.map(count).sum()
    }

    #[tokio::test]
    async fn a_pass_keeps_what_a_lake_says_and_a_running_writer_goes_on() {
        let dir = TempDir::new().unwrap();
        let (mut ledger, _) = open_lake(dir.path()).await;
        for n in 1..=20 {
            let (cut, part) = busy(n);
            commit(&mut ledger, cut, part).await.unwrap();
        }
        let before = loaded(&ledger, 0, T0 + 20_000).await;
        let report = maintain(dir.path(), Duration::from_secs(5)).await.unwrap();
        assert_eq!(report.since, T0 + 15_000);
        let table = |name: &str| report.tables.iter().find(|table| table.table == name).unwrap();
        assert_eq!((table("records").files_before, table("records").files_after), (20, 1));
        // 39 changes; those up to the 15th cut sum to one row.
        let installs = table("installs");
        assert_eq!((installs.files_before, installs.files_after), (20, 1));
        assert_eq!((installs.compacted.rows_read, installs.compacted.rows_written), (39, 11));
        let text = report.text();
        assert!(text.contains("records: 20 files, now 1; merged 20 into 1 (20 rows, now 20); removed 0 old"), "{text}");

        // What is summed can no longer be told apart, and says so.
        let hasher = schemas::ids::IdHasher::new(b"");
        let resources = || crate::sql::Resources::of_machine().unwrap();
        let at = async |cut| {
            crate::sql::open(dir.path(), Some(cut), &hasher, resources()).await.map(|session| session.cut())
        };
        let early = at(T0 + 14_000).await.unwrap_err().to_string();
        assert!(early.starts_with("history before cut 1795219215000"), "{early}");
        assert_eq!(at(T0 + 15_000).await.unwrap(), T0 + 15_000);

        // The writer did not hear of it; nor does it change what is loaded.
        let (cut, part) = busy(21);
        commit(&mut ledger, cut, part).await.unwrap();
        let state = |ledger: &Ledger| (ledger.committed(), ledger.records.txn("bidstream/offset/ads/0"));
        let was = state(&ledger);
        ledger.close().await;
        let (ledger, found) = Ledger::open(dir.path(), &settings(), false, &[], &Symbols::new()).await.unwrap();
        assert_eq!((state(&ledger), found.load_to), (was, cut));
        assert_eq!(loaded(&ledger, 0, T0 + 20_000).await, before);
        let query = "select event_time, sum(_diff) from t group by 1 having sum(_diff) <> 0";
        assert_eq!(sql(&ledger, "installs", query).await, [["21", "1"]]);
        let query = "select min(_cut) - 1795219200000, max(_cut) - 1795219200000 from t";
        assert_eq!(sql(&ledger, "installs", query).await, [["15000", "21000"]]);
        // Sorted again: one row group of each type.
        assert_eq!(sql(&ledger, "records", "select count(*) from t where type = 'click'").await, [["10"]]);
    }

    #[tokio::test]
    async fn files_and_log_entries_stay_bounded() {
        let dir = TempDir::new().unwrap();
        let (mut ledger, _) = open_lake(dir.path()).await;
        let log = ledger.lake().table("records").join("_delta_log");
        let mut n = 0;
        for _ in 0..4 {
            for _ in 0..12 {
                n += 1;
                let (cut, part) = busy(n);
                commit(&mut ledger, cut, part).await.unwrap();
            }
            maintain(dir.path(), Duration::ZERO).await.unwrap();
            // One file a table that has any, whatever was committed before; the replaced ones are gone.
            assert_eq!(parquet_files(dir.path()), 2, "after {n} commits");
            let entries = std::fs::read_dir(&log).unwrap().count();
            assert!(entries <= 12, "{entries} files in the log of records after {n} commits");
        }
        drop(ledger);
        // Not before: what a ledger loads from is the version that it opened, and that has been removed.
        let (ledger, state) = open_lake(dir.path()).await;
        assert_eq!((state.committed, state.resumes[0].offset), (Some(T0 + n * 1_000), n as i64 + 1));
        assert_eq!(loaded(&ledger, 0, T0 + n * 1_000).await.len() as u64, n);
        assert_eq!(sql(&ledger, "installs", "select sum(_diff), count(*) from t").await, [["1", "1"]]);
    }
}
