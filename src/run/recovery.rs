//! Recovery is a query: state is rebuilt from the same table that analysts read. The loader reads `records` once and
//! hands batches to whichever worker is free; on the way it rebuilds the counters of hot keys.

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use dataflows::changes::Cutover;
use dataflows::feed::{Feed, InputBatch};
use dataflows::needs::Needed;
use schemas::table::{RecordRow, Verdict};
use schemas::units::{DAY_MS, HOUR_MS};
use schemas::{Accepted, EventTime, Tick};
use timely::dataflow::ProbeHandle;

use crate::ingest::gate::HotKeys;
use crate::ingest::source::{PartitionId, Resume};
use crate::lake::{Final, Ledger, LedgerError, LoadCounts, State, Step, Wanted};
use crate::observe::telemetry::{Health, name};

/// The part of a process that is not ready before records of earlier runs are loaded.
pub const RECOVERY: &str = "recovery";

/// Batches that may wait for a worker.
const BATCHES_MAX: usize = 4;

/// What the workers of a run need of earlier runs.
pub struct Recovered {
    /// *m*: everything up to here is in every sink; what it makes of views is written nowhere.
    pub load_to: Tick,
    /// *N*: the last durable cut.
    pub committed: Tick,
    /// What the table of each maintained view lacks.
    pub cutovers: Vec<Cutover>,
    /// Whether a commit is due though no record comes.
    pub behind: bool,
    /// Installs before this time come from their table.
    pub installs_before: Option<EventTime>,
    /// Days of visitors that were sealed before this cut come from their table; 0 where none does.
    pub sealed_before: Tick,
    /// Links of days that began before this come from their table.
    pub links_before: Option<EventTime>,
    /// From where on events are loaded: what comes from tables enters then.
    pub since: Tick,
    batches: Mutex<Receiver<Loaded>>,
    hot_keys: Arc<Mutex<HashMap<PartitionId, HotKeys>>>,
    done: AtomicUsize,
}

/// What is loaded at a time.
pub enum Loaded {
    /// What is final, from the tables of views.
    Final(Final),
    /// Accepted records, and when they enter.
    Records(Step, Vec<RecordRow>),
}

/// Feeds [`Recovered`].
pub struct Loader {
    wanted: Wanted,
    voids: BTreeSet<String>,
    resumes: HashMap<PartitionId, Resume>,
    batches: SyncSender<Loaded>,
    hot_keys: Arc<Mutex<HashMap<PartitionId, HotKeys>>>,
}

/// A loader and what it feeds. What is needed of the time up to *m* is loaded, or all where that is not known.
pub fn loading(state: &State, needed: Option<Needed>) -> (Loader, Recovered) {
    let committed = state.committed.unwrap_or(0);
    let of_tables = needed.as_ref();
    let final_installs = of_tables.and_then(|needed| needed.final_installs.as_ref());
    let installs_before = final_installs.map(|times| times.end);
    let sealed_before = of_tables.map_or(0, Needed::sealed_before);
    let links_before = of_tables.and_then(|needed| needed.links_before);
    let since = of_tables.map_or(0, |needed| needed.events_since.0.max(0) as Tick);
    let needed = needed.map(|needed| (state.load_to, needed));
    let wanted = Wanted { committed, needed, any_age: state.any_age };
    let (sender, receiver) = sync_channel(BATCHES_MAX);
    let hot_keys = Arc::new(Mutex::new(HashMap::new()));
    let resumes = state.resumes.iter().map(|resume| (resume.partition.clone(), resume.clone())).collect();
    (
        Loader { wanted, voids: state.voids.clone(), resumes, batches: sender, hot_keys: Arc::clone(&hot_keys) },
        Recovered {
            load_to: state.load_to,
            committed,
            cutovers: state
                .fresh
                .iter()
                .map(|fresh| Cutover { replay_from: state.load_to, snapshot_at: fresh.then_some(committed) })
                .collect(),
            behind: state.behind,
            installs_before,
            sealed_before,
            links_before,
            since,
            batches: Mutex::new(receiver),
            hot_keys,
            done: AtomicUsize::new(0),
        },
    )
}

impl Loader {
    /// Reads the accepted records that are wanted, but those of void topics; the workers wait until it is done. How far it has come
    /// is told to the log, the metrics and whoever asks whether the process is ready.
    pub async fn load(self, ledger: &Ledger, health: &Health) -> Result<(), LedgerError> {
        let counts = Arc::default();
        let mut progress = Progress::new(&counts, health);
        // The workers are gone only after a failure, which ends the run.
        let send = |loaded| drop(self.batches.send(loaded));
        if let Some((_, needed)) = &self.wanted.needed {
            ledger.load_finals(needed, |rows| send(Loaded::Final(rows))).await?;
        }
        ledger
            .load(&self.wanted, &counts, |step, mut rows| {
                progress.tell_now_and_then();
                if !self.voids.is_empty() {
                    rows.retain(|row| !self.voids.contains(&*row.topic));
                }
                for row in &rows {
                    self.count(row);
                }
                if !rows.is_empty() {
                    send(Loaded::Records(step, rows));
                }
            })
            .await?;
        progress.read_all();
        Ok(())
    }

    /// Counters live for one arrival hour, and their count does not depend on order below the bound.
    fn count(&self, row: &RecordRow) {
        let Some(event) = row.event.as_ref().filter(|event| row.verdict == Verdict::Ok && event.event_type.is_touch())
        else {
            return;
        };
        let id = PartitionId { topic: Arc::clone(&row.topic), partition: row.partition };
        let last_ms = self.resumes.get(&id).map(|resume| resume.arrival_ms);
        if last_ms.is_some_and(|last_ms| last_ms.div_euclid(HOUR_MS) == row.arrival_ms.div_euclid(HOUR_MS)) {
            let mut hot_keys = self.hot_keys.lock().expect("no panic while locked");
            hot_keys.entry(id).or_default().count(event, row.arrival_ms);
        }
    }
}

/// Tells how far recovery has come.
struct Progress<'a> {
    counts: &'a LoadCounts,
    health: &'a Health,
    started: Instant,
    told: Option<Instant>,
    logged: Instant,
}

const TELL_EVERY: Duration = Duration::from_millis(500);
const LOG_EVERY: Duration = Duration::from_secs(10);

impl<'a> Progress<'a> {
    fn new(counts: &'a LoadCounts, health: &'a Health) -> Progress<'a> {
        let now = Instant::now();
        Progress { counts, health, started: now, told: None, logged: now }
    }

    fn counts(&self) -> [u64; 2] {
        [&self.counts.read, &self.counts.of].map(|count| count.load(Ordering::Relaxed))
    }

    fn tell_now_and_then(&mut self) {
        if self.told.is_some_and(|told| told.elapsed() < TELL_EVERY) {
            return;
        }
        self.told = Some(Instant::now());
        let said = so_far("records of earlier runs are being loaded", self.counts(), self.started.elapsed());
        self.tell(&said);
        if self.logged.elapsed() >= LOG_EVERY {
            self.logged = Instant::now();
            tracing::info!("{said}");
        }
    }

    fn read_all(&self) {
        let [read, _] = self.counts();
        self.tell(&format!("all {read} records of earlier runs are read; the views take in the last of them"));
        if read > 0 {
            let seconds = self.started.elapsed().as_secs_f64();
            let [records, of] = [&self.counts.loaded, &self.counts.held].map(|count| count.load(Ordering::Relaxed));
            tracing::info!(records, of, seconds, "records of earlier runs are loaded");
        }
    }

    fn tell(&self, said: &str) {
        self.health.not_ready(RECOVERY, said);
        let [read, of] = self.counts();
        metrics::gauge!(name::RECOVERY_RECORDS).set(of as f64);
        metrics::gauge!(name::RECOVERY_READ).set(read as f64);
    }
}

/// What is being done, how far it is, how fast, and when it is over at that rate.
pub(super) fn so_far(what: &str, [read, of]: [u64; 2], elapsed: Duration) -> String {
    let per_second = read as f64 / elapsed.as_secs_f64().max(1e-3);
    let mut said = format!("{what}: {read} of {of}");
    // Before anything was read nothing is known of the rate.
    if read > 0 {
        let seconds = of.saturating_sub(read) as f64 / per_second;
        said += &format!(", {per_second:.0} a second, done in about {seconds:.0} s");
    }
    said
}

/// Steps in which the records of a day enter, at most: what is beyond them enters with the last.
const STEPS_MAX: Tick = 10_000;

/// Days of accepted records on their way into the dataflow of a worker. They enter at the end of their day, or before `load_to` where
/// that is earlier, in steps a tick apart: nothing of a day enters after it. What comes of days before the feed's first tick enters with
/// that (costs, where they are needed for longer than all else). Those of cuts after `load_to` enter each in its own.
pub(super) struct Days {
    load_to: Tick,
    /// The step before that which is being filled.
    before: Option<Tick>,
}

impl Days {
    /// None yet.
    pub(super) fn up_to(load_to: Tick) -> Days {
        Days { load_to, before: None }
    }

    /// Takes in records of a step: of that of what came before, or of a later one.
    pub(super) fn take(&mut self, feed: &mut Feed, batch: &mut InputBatch, step: Step, rows: Vec<RecordRow>) {
        let load_to = self.load_to;
        let day_end = (step.day + 1) * DAY_MS;
        let last = (day_end.max(1) as Tick).min(load_to.max(1)) - 1;
        let tick = (last.saturating_sub(STEPS_MAX) + step.number).min(last).max(feed.tick());
        if tick > feed.tick() {
            self.before = Some(feed.tick());
        }
        feed.advance_to(tick);
        feed.flush();
        for row in rows {
            if let Some(event) = row.event {
                let RecordRow { arrival_ms, payload_hash, capped, .. } = row;
                let accepted = Accepted { event, arrival_ms, payload_hash, capped };
                batch.push(&accepted, if row.cut <= load_to { tick } else { row.cut - 1 });
            }
        }
        feed.take(batch);
    }

    /// Whether a dataflow that has come so far is to go on before it takes in more: what waits in it is one step beside the one that is being
    /// filled.
    pub(super) fn wait_for(&self, probe: &ProbeHandle<Tick>) -> bool {
        self.before.is_some_and(|step| probe.less_equal(&step))
    }
}

impl Recovered {
    /// The next batch: what is final before all records, and records of a day before those of later ones; none when all are loaded.
    pub fn next(&self) -> Option<Loaded> {
        self.batches.lock().expect("no panic while locked").recv().ok()
    }

    /// Notes that one more worker has recovered; whether all have.
    pub fn is_done(&self, workers: usize) -> bool {
        self.done.fetch_add(1, Ordering::SeqCst) + 1 == workers
    }

    /// The counters of a partition as the ledger left them. To be asked once.
    pub fn hot_keys(&self, partition: &PartitionId) -> HotKeys {
        self.hot_keys.lock().expect("no panic while locked").remove(partition).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_says_how_far_how_fast_and_until_when() {
        let (what, of) = ("records of earlier runs are being loaded", "records of earlier runs are being loaded: ");
        assert_eq!(so_far(what, [0, 900], Duration::from_secs(1)), format!("{of}0 of 900"));
        let said = so_far(what, [300, 900], Duration::from_secs(2));
        assert_eq!(said, format!("{of}300 of 900, 150 a second, done in about 4 s"));
        // Files may hold more than they say.
        let said = so_far(what, [900, 0], Duration::from_secs(3));
        assert_eq!(said, format!("{of}900 of 0, 300 a second, done in about 0 s"));
    }
}
