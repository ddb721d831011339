//! A sink of one view: its Delta table, which follows `records`.
//!
//! A sink has a last cut *l* of its own, its log's `bidstream/cut`. After `records` has committed *n* it commits the
//! consolidated change of each cut in (*l*, *n*], on the very version in which *l* was read, and moves *l* also where
//! nothing changed: readers show the cut that all tables hold, and could not tell such a sink from one that is behind.
//! The next commit to `records` says so too (`bidstream/done/<view>/<sink>`).

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::Schema;
use schemas::Tick;

use super::compact::SINCE;
use super::error::LedgerError;
use super::file::{BATCH_ROWS, encode_runs};
use super::finished;
use super::lake::Lake;
use super::log::{CUT, EPOCH, OVERTAKEN_MAX, Put, TableLog, Writer};
#[cfg(test)]
use super::simulation;

/// A change of a view: the row, the cut by which it came, and how often it was added.
pub type Change<R> = (R, Tick, i64);

/// Changes of a view that are made while they are written.
pub trait Changes<R>: Send + Sync {
    /// The consolidated changes of cuts after `done`, in pieces.
    fn after(&self, done: Tick) -> Box<dyn Iterator<Item = Vec<Change<R>>> + '_>;
}

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
    /// Where the table is new and `records` is not: *N*, the cut at which its first commit gives the whole state.
    fresh_at: Option<Tick>,
}

impl Sink {
    /// Opens the view's table.
    pub(super) async fn open(lake: &Lake, view: &'static str, schema: &Schema) -> Result<Sink, LedgerError> {
        let log = TableLog::open(lake, view, schema, None).await?;
        Ok(Sink { view, log, hash: lake.views[view].clone(), done: 0, fresh_at: None })
    }

    /// Takes up what `records` says of the sink, once no one else commits to either. `redefined`: the lake's views are
    /// being built anew.
    pub(super) fn begin(
        &mut self,
        records: &TableLog,
        committed: Option<Tick>,
        redefined: bool,
    ) -> Result<(), LedgerError> {
        let (sink_cut, records_cut) = (self.log.cut().unwrap_or(0), committed.unwrap_or(0));
        if sink_cut > records_cut {
            return Err(LedgerError::SinkAhead { table: self.view.to_owned(), sink_cut, records_cut });
        }
        self.done = records.txn(&self.id()).unwrap_or(0) as Tick;
        self.fresh_at = committed.filter(|_| redefined && self.done() == 0);
        Ok(())
    }

    /// The cut up to which it holds everything.
    pub(super) fn done(&self) -> Tick {
        self.done.max(self.log.cut().unwrap_or(0))
    }

    /// Whether its first commit gives the whole state: a view that is new in a lake with records.
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

    /// Commits the changes of (*l*, `cut`] and drops those that it holds already. Returns the number of rows written.
    ///
    /// # Panics
    /// If a change is of a later cut: its records are not durable.
    pub(super) async fn commit<R: 'static>(
        &mut self,
        writer: &Writer,
        epoch: i64,
        cut: Tick,
        changes: Vec<Arc<dyn Changes<R>>>,
        to_batch: fn(&[Change<R>]) -> RecordBatch,
    ) -> Result<u64, LedgerError> {
        for _ in 0..OVERTAKEN_MAX {
            self.log.check_epoch(epoch)?;
            let done = self.done();
            if done >= cut {
                return Ok(0);
            }
            #[cfg(test)]
            let done = if simulation::planted(simulation::Bug::MissingFilter) { 0 } else { done };
            let (view, pace, changes) = (self.view, self.log.pace(), changes.clone());
            let encoding = tokio::task::spawn_blocking(move || {
                let pieces = changes.iter().flat_map(|changes| changes.after(done));
                let batches = pieces.flat_map(|piece| {
                    assert!(piece.iter().all(|(_, at, _)| *at <= cut), "{view}: a change after cut {cut}");
                    piece.chunks(BATCH_ROWS).map(to_batch).collect::<Vec<_>>()
                });
                encode_runs([batches], &pace)
            });
            let (mut adds, mut rows) = (Vec::new(), 0);
            if let Some(file) = finished(encoding.await).map_err(LedgerError::delta(self.view))? {
                rows = file.rows();
                adds.push(self.log.upload(&file, None).await?);
            }
            let mut txns = BTreeMap::from([(EPOCH.to_owned(), epoch), (CUT.to_owned(), cut as i64)]);
            txns.extend(self.fresh_at.map(|since| (SINCE.to_owned(), since as i64)));
            let commit = self.log.prepare(writer, adds, txns);
            if self.log.put(&commit).await? == Put::Done {
                self.fresh_at = None;
                return Ok(rows);
            }
        }
        Err(LedgerError::overtaken(self.view))
    }
}
