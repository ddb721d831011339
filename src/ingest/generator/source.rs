//! The generator as a source: what `bidstream demo` reads when there is no broker.

use schemas::Tick;
use schemas::wire::Encoding;

use super::Generator;
use crate::clock::Clock;
use crate::ingest::source::{About, Arrived, PartitionId, Payload, Progress, Resume, Source, SourceError};

/// The topic of generated records. Kafka allows no colon in a name, so it is nobody else's.
pub const TOPIC: &str = "generator:";

/// What a run generates.
#[derive(Clone, Debug)]
pub struct GeneratorPlan {
    /// Seed of the traffic.
    pub seed: u64,
    /// People.
    pub users: u64,
    /// Records of history, over all workers, made at full speed with arrivals up to now.
    pub history_events: u64,
    /// How far back the history begins, at most: ms.
    pub history_ms: i64,
    /// After the history, records a second over all workers; none ends the source there.
    pub live_per_second: Option<f64>,
}

/// Generates the records of one worker's partition.
pub struct GeneratorSource {
    generator: Generator,
    partition: [PartitionId; 1],
    clock: Clock,
    offset: u64,
    /// Offset of the first record of this run, and of the first live one.
    history: std::ops::Range<u64>,
    history_ms: std::ops::Range<i64>,
    /// Records a second of this worker, and when they began.
    live: Option<(f64, Option<i64>)>,
    arrival_ms: i64,
}

impl GeneratorSource {
    /// The partition of a worker; it goes on where the ledger stands. Arrivals never fall below the `committed` cut.
    pub fn new(
        plan: &GeneratorPlan,
        (worker, workers): (usize, usize),
        resumes: &[Resume],
        committed: Tick,
        clock: Clock,
    ) -> GeneratorSource {
        let id = PartitionId { topic: TOPIC.into(), partition: worker as i32 };
        let resume = resumes.iter().find(|resume| resume.partition == id);
        let offset = resume.map_or(0, |resume| resume.offset.max(0) as u64);
        let events = plan.history_events / workers as u64;
        let end_ms = clock.now_ms();
        let earliest_ms = resume.map_or(0, |resume| resume.arrival_ms).max(committed as i64);
        let start_ms = (end_ms - plan.history_ms).max(earliest_ms);
        GeneratorSource {
            generator: Generator::new(plan.seed, worker as u64, plan.users),
            partition: [id],
            clock,
            offset,
            history: offset..offset + events,
            history_ms: start_ms..end_ms.max(start_ms),
            live: plan.live_per_second.map(|rate| (rate / workers as f64, None)),
            arrival_ms: start_ms,
        }
    }

    /// When the next record arrives; none if it is not due.
    fn next_arrival_ms(&mut self) -> Option<i64> {
        if self.offset < self.history.end {
            let (made, all) = (self.offset - self.history.start, self.history.end - self.history.start);
            let span_ms = self.history_ms.end - self.history_ms.start;
            return Some(self.history_ms.start + (span_ms as i128 * made as i128 / all.max(1) as i128) as i64);
        }
        let (rate, began_ms) = self.live.as_mut()?;
        let now_ms = self.clock.now_ms();
        let began_ms = *began_ms.get_or_insert(now_ms);
        let due = ((now_ms - began_ms) as f64 / 1e3 * *rate) as u64;
        (self.offset - self.history.end < due).then_some(now_ms)
    }
}

impl Source for GeneratorSource {
    fn poll(
        &mut self,
        _frontier: Tick,
        records_max: usize,
        each: &mut dyn FnMut(Arrived<'_>),
    ) -> Result<Progress, SourceError> {
        let mut records = 0;
        while records < records_max {
            let Some(arrival_ms) = self.next_arrival_ms() else { break };
            self.arrival_ms = self.arrival_ms.max(arrival_ms);
            let bytes = self.generator.record(self.offset, self.arrival_ms).encode(Encoding::Protobuf);
            each(Arrived {
                partition: 0,
                offset: self.offset as i64,
                arrival_ms: self.arrival_ms,
                payload: Payload::Bytes {
                    bytes: &bytes,
                    start: 0,
                    encoding: Encoding::Protobuf,
                    about: About::default(),
                },
            });
            self.offset += 1;
            records += 1;
        }
        let at_end = self.offset >= self.history.end;
        if at_end && records < records_max {
            // Nothing more of the past will come: the clock leads.
            self.arrival_ms = self.arrival_ms.max(self.clock.now_ms());
        }
        let tick = u64::try_from(self.arrival_ms).unwrap_or(0);
        Ok(Progress { tick, records, at_end, finished: at_end && self.live.is_none() })
    }

    fn partitions(&self) -> &[PartitionId] {
        &self.partition
    }

    fn position(&self, _partition: usize) -> i64 {
        self.offset as i64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drain(source: &mut GeneratorSource) -> Vec<(i64, i64)> {
        let mut seen = Vec::new();
        loop {
            let each = &mut |arrived: Arrived<'_>| seen.push((arrived.offset, arrived.arrival_ms));
            let progress = source.poll(0, 100, each).unwrap();
            assert!(seen.last().is_none_or(|(_, arrival_ms)| *arrival_ms as u64 <= progress.tick));
            if progress.finished || progress.records == 0 {
                return seen;
            }
        }
    }

    #[test]
    fn history_goes_on_where_the_ledger_stands_and_then_live() {
        let clock = Clock::manual(1_000_000);
        let mut plan =
            GeneratorPlan { seed: 1, users: 10, history_events: 500, history_ms: 50_000, live_per_second: None };
        let resumes = |offset, arrival_ms| {
            [Resume { partition: PartitionId { topic: TOPIC.into(), partition: 1 }, offset, arrival_ms }]
        };
        let mut source = GeneratorSource::new(&plan, (1, 2), &resumes(30, 990_000), 995_000, clock.clone());
        let seen = drain(&mut source);
        assert_eq!((seen.len(), seen[0], seen[249].0), (250, (30, 995_000), 279));
        assert!(seen.windows(2).all(|pair| pair[0].1 <= pair[1].1));
        plan.live_per_second = Some(20.0);
        let mut source = GeneratorSource::new(&plan, (1, 2), &resumes(280, 999_980), 999_980, clock.clone());
        assert_eq!(drain(&mut source).len(), 250);
        assert_eq!(drain(&mut source), []);
        clock.set(1_001_000);
        assert_eq!(drain(&mut source).len(), 10, "ten a second for one of two workers");
    }
}
