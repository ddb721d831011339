//! Reads of a view of rows by what it is read by, among very many, beside going through all of them.

use std::time::{Duration, Instant};

use dataflows::changes::Cutover;
use dataflows::horizon::Bounds;
use dataflows::inputs::Inputs;
use dataflows::live::{Equal, Value};
use dataflows::params::Params;
use dataflows::views::credits;
use operators::Hub;
use schemas::Tick;
use schemas::event::Accepted;
use timely::dataflow::ProbeHandle;

use crate::events::Traffic;
use crate::machine::thread_cpu;
use crate::runs::Measured;

/// What reading took.
#[derive(Clone, Debug)]
pub struct RowReads {
    /// The time of each read of one subject's rows of `credits`.
    pub reads: Measured,
    /// The time to go through all that is published of `credits`.
    pub through_all: Duration,
    /// The updates that each published arrangement holds.
    pub sizes: Vec<(String, usize)>,
}

/// Credits the conversions among these events and then reads the rows of so many subjects, one after the other.
pub fn row_reads(traffic: Traffic, tick_events: u64, reads: u64) -> RowReads {
    timely::execute_directly(move |worker| {
        let (hub, probe, params) = (Hub::new(1), ProbeHandle::new(), Params::default());
        let mut publisher = hub.publisher(0);
        let (mut feed, (mut backlog, live)) = worker.dataflow::<Tick, _, _>(|scope| {
            let (feed, mut inputs) = Inputs::new(scope, &params, Bounds::default());
            let cutover = Cutover { replay_from: 0, snapshot_at: None };
            let credited = inputs.attribution().credited;
            (feed, credits::output(credited, &params).attach_live(&mut publisher, &probe, cutover))
        });
        let (_, live) = live.expect("credits are rows");
        let mut batch = feed.batch();
        for first in (0..traffic.events).step_by(tick_events as usize) {
            let tick = traffic.tick(first);
            (first..(first + tick_events).min(traffic.events)).for_each(|at| batch.push(&traffic.event(at), tick));
            feed.take(&mut batch);
            feed.advance_to(tick + 1);
            feed.flush();
            worker.step_while(|| probe.less_equal(&tick));
            publisher.publish();
            drop(backlog.take_through(Tick::MAX));
        }
        let read = |equals: &[Equal]| {
            let (start, mut found) = (Instant::now(), 0);
            let snapshot = hub.snapshot().expect("it is published");
            let visited = live.visit(snapshot, equals, &mut |rows| {
                found += rows.num_rows();
                true
            });
            visited.expect("what is arranged is never too old");
            (start.elapsed(), found)
        };
        let equals = |at: u64| {
            let Accepted { event, .. } = traffic.event(at * 7_919 % traffic.events);
            let subject = Value::Bytes(event.subject.0.to_bytes().to_vec());
            [("tenant".to_owned(), Value::Long(event.tenant.0)), ("subject".to_owned(), subject)]
        };
        let cpu = thread_cpu();
        let ticks: Vec<Duration> = (0..reads).map(|at| read(&equals(at)).0).collect();
        let (cpu, total) = (thread_cpu() - cpu, ticks.iter().sum());
        let reads = Measured { lane: "rows of a key", workers: 1, tick_events: 1, events: reads, ticks, total, cpu };
        RowReads { reads, through_all: read(&[]).0, sizes: hub.sizes(&hub.snapshot().expect("it is published")) }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_read() {
        let traffic = Traffic { events: 4_000, users: 400, targets_per_mille: 500, in_one_go: 1, heavy_per_mille: 0 };
        let read = row_reads(traffic, 500, 100);
        assert_eq!(read.reads.ticks.len(), 100);
        assert!(read.sizes.iter().all(|(_, updates)| *updates > 100), "{:?}", read.sizes);
    }
}
