//! Runs the dataflow over records at given ticks and keeps every change.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use dataflows::catalogue::build;
use dataflows::params::Params;
use schemas::Tick;
use schemas::event::Accepted;
use schemas::view::{CreditRow, InstallRow};

/// What the dataflow said, change by change.
#[derive(Default)]
pub(crate) struct Changes {
    pub(crate) installs: Vec<(InstallRow, Tick, isize)>,
    pub(crate) credits: Vec<(CreditRow, Tick, isize)>,
}

/// The rows as of a tick: each exactly once.
pub(crate) fn rows_at<R: Ord + Clone + std::fmt::Debug>(changes: &[(R, Tick, isize)], tick: Tick) -> Vec<R> {
    let mut sums: BTreeMap<&R, isize> = BTreeMap::new();
    for (row, _, diff) in changes.iter().filter(|(_, time, _)| *time <= tick) {
        *sums.entry(row).or_default() += diff;
    }
    sums.retain(|_, sum| *sum != 0);
    assert!(sums.values().all(|sum| *sum == 1), "every row is there once: {sums:?}");
    sums.into_keys().cloned().collect()
}

/// As [`stream_within`], where records may come at any time.
pub(crate) fn stream(records: &[(Accepted, Tick)], params: &Params, workers: usize, pauses: &[bool]) -> Changes {
    stream_within(records, params, None, workers, pauses)
}

/// Feeds the records, each at its tick, dealt out to the workers in turn. `pauses` says after which ticks a worker
/// waits for the dataflow to catch up (cyclically); elsewhere ticks run into each other. No record comes later than
/// `retention_ms` after it happened.
pub(crate) fn stream_within(
    records: &[(Accepted, Tick)],
    params: &Params,
    retention_ms: Option<i64>,
    workers: usize,
    pauses: &[bool],
) -> Changes {
    let mut ticks: Vec<Tick> = records.iter().map(|(_, tick)| *tick).collect();
    ticks.sort_unstable();
    ticks.dedup();
    let (records, pauses, params) = (records.to_vec(), pauses.to_vec(), params.clone());
    let changes = Arc::new(Mutex::new(Changes::default()));
    let collected = changes.clone();
    let guards = timely::execute(timely::Config::process(workers), move |worker| {
        let (installs, credits) = (collected.clone(), collected.clone());
        let (mut feed, probe) = worker.dataflow::<Tick, _, _>(|scope| {
            let (feed, outputs) = build(scope, &params, retention_ms);
            let (probe, _) = outputs
                .installs
                .inspect(move |change| installs.lock().expect("no panic").installs.push(change.clone()))
                .probe();
            outputs
                .credits
                .inspect(move |change| credits.lock().expect("no panic").credits.push(*change))
                .probe_with(&probe);
            (feed, probe)
        });
        for (turn, tick) in ticks.iter().enumerate() {
            feed.advance_to(*tick);
            let ours = records.iter().skip(worker.index()).step_by(worker.peers());
            for (record, _) in ours.filter(|(_, at)| at == tick) {
                feed.push(record, *tick);
            }
            feed.flush();
            worker.step();
            if pauses[turn % pauses.len()] {
                feed.advance_to(tick + 1);
                feed.flush();
                while probe.less_than(&feed.tick()) {
                    worker.step();
                }
            }
        }
    });
    for worker in guards.expect("the workers start").join() {
        worker.expect("no worker panics");
    }
    Arc::into_inner(changes).expect("all workers ended").into_inner().expect("no panic")
}
