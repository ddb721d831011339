//! Repair of a lake whose `records` were restored from a copy: views' tables that are ahead of it go back to its cut.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use deltalake_core::protocol::DeltaOperation;
use schemas::Tick;
use serde::Serialize;

use super::claims::{claim, follow};
use super::compact::{self, SINCE};
use super::directory::{Lake, Lock};
use super::error::LedgerError;
use super::file::encode;
use super::log::{CUT, EPOCH, Put, TableLog};
use super::writer::{OVERTAKEN_MAX, Writer};
use super::{directory, maintain};

/// What a repair did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Repaired {
    /// The last cut of `records`.
    pub cut: Tick,
    /// The tables that were ahead of it.
    pub tables: Vec<RepairedTable>,
}

/// A table that was ahead.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RepairedTable {
    /// The table.
    pub table: String,
    /// The cut that it held.
    pub from: Tick,
    /// Rows that were removed.
    pub rows_removed: u64,
}

impl Repaired {
    /// The report for people.
    pub fn text(&self) -> String {
        let mut text = String::new();
        for RepairedTable { table, from, rows_removed } in &self.tables {
            let _ = writeln!(text, "{table}: went back from cut {from} to {}; removed {rows_removed} rows", self.cut);
        }
        if self.tables.is_empty() {
            let _ = writeln!(text, "nothing to repair: no table is ahead of records, which end at cut {}", self.cut);
        }
        text
    }
}

/// Removes the rows of views' tables that are above the last cut of `records`. No writer may run: the repair holds the
/// lake's lock and claims the next epoch, so that one on another machine is fenced.
pub async fn repair(path: &Path) -> Result<Repaired, LedgerError> {
    let writer = Writer::here();
    let lake = Lake::read(path)?;
    let _lock = Lock::take(path, &writer, false)?;
    let mut records = maintain::open(&lake, "records").await?;
    let mut sinks = Vec::new();
    for table in directory::tables().filter(|table| lake.views.contains_key(*table)) {
        sinks.push(maintain::open(&lake, table).await?);
    }
    let above = sinks.iter().filter_map(|sink| sink.txn(EPOCH)).max().unwrap_or(0);
    let mut names = maintain::open(&lake, "symbols").await?;
    let epoch = claim((&mut records, &mut names), &lake, &writer, above, &[]).await?;
    let cut = records.cut().unwrap_or(0);
    let mut tables = Vec::new();
    for sink in &mut sinks {
        follow(sink, &writer, epoch).await?;
        let from = sink.cut().unwrap_or(0);
        if from > cut {
            let rows_removed = go_back(sink, &writer, epoch, cut).await?;
            tables.push(RepairedTable { table: sink.name().to_owned(), from, rows_removed });
        }
    }
    Ok(Repaired { cut, tables })
}

/// Takes a table back to a cut; the number of rows that are removed.
async fn go_back(log: &mut TableLog, writer: &Writer, epoch: i64, cut: Tick) -> Result<u64, LedgerError> {
    let table = log.name().to_owned();
    let since = log.txn(SINCE).unwrap_or(0) as Tick;
    if since > cut {
        return Err(LedgerError::Summed { table, since, cut });
    }
    for _ in 0..OVERTAKEN_MAX {
        log.check_epoch(epoch)?;
        let files: Vec<_> = log.files().cloned().collect();
        let (mut adds, mut removes, mut rows_removed) = (Vec::new(), Vec::new(), 0);
        for file in &files {
            let batches = compact::read(log, file).await?;
            let (kept, dropped) = compact::up_to(&batches, cut).map_err(|error| LedgerError::delta(&table)(error))?;
            if dropped > 0 {
                rows_removed += dropped;
                removes.push(compact::remove(file, true));
                if let Some(encoded) = encode(kept).map_err(LedgerError::delta(&table))? {
                    adds.push(log.upload(&encoded, None).await?);
                }
            }
        }
        let txns = BTreeMap::from([(EPOCH.to_owned(), epoch), (CUT.to_owned(), cut as i64)]);
        let operation = DeltaOperation::Delete { predicate: Some(format!("_cut > {cut}")) };
        let commit = log.prepare_rewrite(writer, operation, adds, removes, txns);
        if log.put(&commit).await? == Put::Done {
            return Ok(rows_removed);
        }
    }
    Err(LedgerError::overtaken(&table))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tempfile::TempDir;

    use super::super::tests::{T0, all, commit, install, open, open_error, part, settings, sql};
    use super::*;

    fn copy(from: &Path, to: &Path) {
        std::fs::create_dir_all(to).unwrap();
        for entry in std::fs::read_dir(from).unwrap().map(|entry| entry.unwrap()) {
            let to = to.join(entry.file_name());
            if entry.path().is_dir() {
                copy(&entry.path(), &to);
            } else {
                std::fs::copy(entry.path(), to).unwrap();
            }
        }
    }

    #[tokio::test]
    async fn after_a_restored_copy_of_records_the_views_go_back_and_the_job_goes_on() {
        let dir = TempDir::new().unwrap();
        let records = dir.path().join("records");
        let (mut ledger, _) = open(dir.path()).await;
        let at = |n: u64| T0 + n * 1_000;
        let with_install = |n: u64| {
            let mut part = part(at(n), n as i64..n as i64 + 1);
            part.changes = all(vec![install(n as i64, at(n), 1)]);
            part
        };
        for n in 1..=2 {
            commit(&mut ledger, at(n), with_install(n)).await.unwrap();
        }
        copy(&records, &dir.path().join("backup"));
        // Two starts later, so that the copy's epoch is behind as well.
        for n in 3..=4 {
            drop(ledger);
            (ledger, _) = open(dir.path()).await;
            commit(&mut ledger, at(n), with_install(n)).await.unwrap();
        }
        drop(ledger);
        // One file that holds rows of both sides.
        maintain::maintain(dir.path(), Duration::from_secs(3_600)).await.unwrap();
        std::fs::remove_dir_all(&records).unwrap();
        copy(&dir.path().join("backup"), &records);
        let error = open_error(dir.path(), &settings()).await;
        assert!(error.contains("bidstream repair"), "{error}");

        let repaired = repair(dir.path()).await.unwrap();
        assert_eq!(repaired.cut, at(2));
        let removed: Vec<_> = repaired.tables.iter().map(|table| (table.table.as_str(), table.rows_removed)).collect();
        assert_eq!(removed, [("installs", 2)]);
        assert!(
            repaired.text().contains("installs: went back from cut 1795219204000 to 1795219202000; removed 2 rows")
        );
        let (mut ledger, state) = open(dir.path()).await;
        assert_eq!((state.committed, state.load_to, state.resumes[0].offset), (Some(at(2)), at(2), 3));
        commit(&mut ledger, at(3), with_install(3)).await.unwrap();
        let query = "select event_time, _cut - 1795219200000 from t order by 1";
        assert_eq!(sql(&ledger, "installs", query).await, [["1", "1000"], ["2", "2000"], ["3", "3000"]]);
        drop(ledger);
        assert_eq!(repair(dir.path()).await.unwrap().tables, []);
    }
}
