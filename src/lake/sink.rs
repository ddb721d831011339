//! A sink of one view: its Delta table, which follows `records`.
//!
//! A sink has a last cut *l*: the greater of its own log's `bidstream/cut` and of what `records` says
//! (`bidstream/done/<view>/<hash>/delta`). After `records` has committed *n* it commits the consolidated change of each cut in
//! (*l*, *n*] and moves its own cut; the next commit to `records` says so too. Where nothing changed it has nothing to commit: the
//! very commit of `records` says that it holds *n*. So a view costs what it has to say.
//!
//! A sink is *fresh* where its table is new in a lake with records, or was left alone by the jobs of so long that to catch up would
//! cost more than to begin anew: its first commit gives the whole state at *N* and takes away what the table held. `bidstream
//! build` makes that first commit beside a job ([`super::build`]); then the next start finds the sink behind, and not fresh.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::AsArray;
use arrow::compute;
use arrow::datatypes::{Int64Type, Schema};
use dataflows::changes::CutChanges;
use deltalake_core::kernel::{Add, Remove};
use deltalake_core::protocol::{DeltaOperation, SaveMode};
use schemas::Tick;

use super::compact::{self, ANEW, SINCE};
use super::directory::Lake;
use super::error::LedgerError;
use super::file::{Encoded, encode_runs};
use super::finished;
use super::log::{CUT, EPOCH, Prepared, Put, TableLog};
#[cfg(test)]
use super::simulation;
use super::writer::{OVERTAKEN_MAX, Writer};

/// A view's Delta table as a sink.
pub(crate) struct Sink {
    /// The view.
    pub(super) view: &'static str,
    /// Its table's log.
    pub(super) log: TableLog,
    /// The hash of the view's definition, which names the table.
    hash: String,
    /// The cut up to which it holds everything: the greater of *l* and what `records` says.
    done: Tick,
    /// Where it is fresh: *N*, the cut at which its first commit gives the whole state.
    fresh_at: Option<Tick>,
    /// What the table's own log said of its last cut then.
    begun_at: Option<Tick>,
}

impl Sink {
    /// Opens the view's table.
    pub(super) async fn open(lake: &Lake, view: &'static str, schema: &Schema) -> Result<Sink, LedgerError> {
        let log = TableLog::open(lake, view, schema, None).await?;
        Ok(Sink { view, log, hash: lake.views[view].clone(), done: 0, fresh_at: None, begun_at: None })
    }

    /// Takes up what `records` says of the sink, once no one else commits to either.
    pub(super) fn begin(
        &mut self,
        records: &TableLog,
        committed: Option<Tick>,
        lake: &Lake,
    ) -> Result<(), LedgerError> {
        let (sink_cut, records_cut) = (self.log.cut().unwrap_or(0), committed.unwrap_or(0));
        // A table that readers do not see is begun anew instead.
        if sink_cut > records_cut && (committed.is_none() || lake.names(self.view)) {
            return Err(LedgerError::SinkAhead { table: self.view.to_owned(), sink_cut, records_cut });
        }
        self.done = records.txn(&self.id()).unwrap_or(0) as Tick;
        self.begun_at = self.log.cut();
        let held = self.done();
        let counts_as_none = |last| held == 0 || held > last || was_left(lake, self.view, held, last);
        self.fresh_at = committed.filter(|last| lake.rebuilding && counts_as_none(*last));
        Ok(())
    }

    /// The cut up to which it holds everything. One that is fresh holds nothing that counts.
    pub(super) fn done(&self) -> Tick {
        if self.is_fresh() { 0 } else { self.done.max(self.log.cut().unwrap_or(0)) }
    }

    /// Whether its first commit gives the whole state.
    pub(super) fn is_fresh(&self) -> bool {
        self.fresh_at.is_some()
    }

    /// The app id under which `records` says what this sink holds.
    pub(super) fn id(&self) -> String {
        Sink::done_id(self.view, &self.hash)
    }

    /// The app id under which `records` says what the sink of a view with this hash holds.
    pub(crate) fn done_id(view: &str, hash: &str) -> String {
        format!("bidstream/done/{view}/{hash}/delta")
    }

    /// Writes a file of the changes of (*l*, `cut`], without those that the table holds already; none where there are none.
    ///
    /// # Panics
    /// If a change is of a later cut: its records are not durable.
    pub(super) async fn encode(
        &self,
        cut: Tick,
        changes: Vec<Arc<dyn CutChanges>>,
    ) -> Result<Option<Encoded>, LedgerError> {
        let (view, done, throttle) = (self.view, self.done(), self.log.throttle());
        #[cfg(test)]
        let done = if simulation::planted(simulation::Bug::MissingFilter) { 0 } else { done };
        let encoding = tokio::task::spawn_blocking(move || {
            let batches = changes.iter().flat_map(|changes| changes.after(done));
            let batches = batches.inspect(|batch| {
                let last = compute::max(batch["_cut"].as_primitive::<Int64Type>());
                assert!(last <= Some(cut as i64), "{view}: a change after cut {cut}");
            });
            encode_runs([batches], &throttle)
        });
        finished(encoding.await).map_err(LedgerError::delta(self.view))
    }

    /// Whether it has nothing to commit of a cut: then the commit of `records` says that it holds the cut.
    pub(super) fn rides(&self, file: Option<&Encoded>) -> bool {
        file.is_none() && !self.is_fresh()
    }

    /// Takes note that `records` says that it holds a cut.
    pub(super) fn rode(&mut self, cut: Tick) {
        self.done = self.done.max(cut);
    }

    /// Commits the file of the changes of (*l*, `cut`], unless the table holds them already. Returns the number of rows
    /// written.
    pub(super) async fn commit(
        &mut self,
        writer: &Writer,
        epoch: i64,
        cut: Tick,
        file: Option<Encoded>,
    ) -> Result<u64, LedgerError> {
        let (mut adds, mut rows) = (Vec::new(), 0);
        for _ in 0..OVERTAKEN_MAX {
            self.log.check_epoch(epoch)?;
            if self.done() >= cut {
                return Ok(0);
            }
            if let Some(file) = file.as_ref().filter(|_| adds.is_empty()) {
                rows = file.rows();
                adds.push(self.log.upload(file, None).await?);
            }
            let mut txns = BTreeMap::from([(EPOCH.to_owned(), epoch), (CUT.to_owned(), cut as i64)]);
            let Some(since) = self.fresh_at else {
                let commit = self.log.prepare(writer, adds.clone(), txns);
                if self.log.put(&commit).await? == Put::Done {
                    return Ok(rows);
                }
                continue;
            };
            if self.log.cut() != self.begun_at {
                return Err(LedgerError::MadeMeanwhile { table: self.view.to_owned() });
            }
            txns.extend([SINCE, ANEW].map(|app_id| (app_id.to_owned(), since as i64)));
            let commit = prepare_whole(&self.log, writer, adds.clone(), txns);
            if self.log.put(&commit).await? == Put::Done {
                self.fresh_at = None;
                return Ok(rows);
            }
        }
        Err(LedgerError::overtaken(self.view))
    }
}

/// Whether a view that readers do not see was left alone for so long that it is made anew: longer than events change, as a start
/// replays cut by cut what a table lacks. What no event is too late for is all read by every start.
pub(super) fn was_left(lake: &Lake, view: &str, held: Tick, last: Tick) -> bool {
    let within_ms = lake.settings.changes_within_ms();
    !lake.names(view) && within_ms.is_some_and(|ms| last.saturating_sub(held) > ms as Tick)
}

/// Makes a commit ready that gives the whole state of a view in the place of what its table holds.
pub(super) fn prepare_whole(log: &TableLog, writer: &Writer, adds: Vec<Add>, txns: BTreeMap<String, i64>) -> Prepared {
    let removes: Vec<Remove> = log.files().map(|file| compact::remove(file, true)).collect();
    let mode = if removes.is_empty() { SaveMode::Append } else { SaveMode::Overwrite };
    let operation = DeltaOperation::Write { mode, partition_by: None, predicate: None };
    log.prepare_rewrite(writer, operation, adds, removes, txns)
}
