//! Records from a file: CSV and JSONL (also gzipped) or Parquet, each row mapped to events.
//!
//! A file is a topic, `file:` and the SHA-256 of its content, with one partition. Importing it twice is therefore
//! resuming at its end. The topic's id is the mapping's identity: under another mapping the same offsets would mean other
//! events, so that is refused. Once the topic was declared void, the same content is imported as `file:…@2`, then `@3`.
//!
//! A file is read whole before anything is written ([`survey()`]), and must not change until it is imported ([`Input`]).
//! There are two ways to arrive ([`Arrival`]):
//! * *import*: the file is read in its order; all arrives at the moment of import, which a resumed import keeps. Offset =
//!   row · entries of the mapping + entry. Memory: one row, and what `first_of` has seen.
//! * *event time*: the file is read twice, its text kept in memory, and handed over in the order of event time (ties: row,
//!   then entry). Offset = rank in that order. A row without a time arrives with the one before it in the file.
//!
//! A row that cannot be read is handed over with the reason, once, as its entry 0. Rows that no entry wants are passed.

pub mod imported;
mod input;
pub mod overlap;
pub mod report;
mod rows;
mod scan;
pub mod survey;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use schemas::Tick;
use schemas::units::{DAY_MS, TIME_MS_MAX};

pub use self::input::Input;
use self::scan::{Passed, Scan};
pub use self::survey::survey;
use super::{Arrived, PartitionId, Progress, Resume, Source, SourceError};
use crate::clock::Clock;
use crate::job::mapping::{Arrival, Mapping};
use crate::lake::State;

/// The most text that is kept in memory to replay a file in the order of event time: 4 GiB.
pub const REPLAY_BYTES_MAX: usize = 4 << 30;
/// While the last arrival is further ahead of the frontier than this, a replay waits. All that lies between is one step of
/// the dataflow, and a step costs about a millisecond however little is in it, so a minute (what a topic may be ahead) would
/// make months of sparse history slow. A day is what retention allows for one step, as recovery takes a day in at a time.
const AHEAD_MS_MAX: i64 = DAY_MS;

/// Reads one file.
pub struct FileSource {
    input: Input,
    mapping: Mapping,
    partitions: Vec<PartitionId>,
    scan: Scan,
    order: Order,
    /// The next offset to hand over.
    position: i64,
    arrival_ms: i64,
    clock: Clock,
    finished: bool,
    notes: BTreeMap<String, i64>,
}

enum Order {
    /// As the file has them.
    File,
    /// By event time.
    EventTime(Replay),
}

/// A file's text in memory, and its events in the order of event time.
struct Replay {
    text: Vec<u8>,
    /// Where each row's text ends.
    ends: Vec<usize>,
    /// Arrival, row, entry.
    events: Vec<(i64, u64, u32)>,
}

/// What the ledger knows of the files that it holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// Where to go on with each.
    pub resumes: Vec<Resume>,
    /// By which mapping each was imported.
    pub topic_ids: BTreeMap<String, String>,
    /// Those that were declared void.
    pub voids: BTreeSet<String>,
}

impl Known {
    /// What a start is told.
    pub fn of(state: &State) -> Known {
        let State { resumes, topic_ids, voids, .. } = state.clone();
        Known { resumes, topic_ids, voids }
    }
}

impl FileSource {
    /// Opens a file. It goes on where the ledger says for this very content, wherever the file lies now; a new import
    /// begins at the clock's time.
    pub fn open(input: &Input, mapping: Mapping, known: &Known, clock: Clock) -> Result<FileSource, SourceError> {
        let partition = PartitionId { topic: imported::topic(input, &known.voids).into(), partition: 0 };
        if known.topic_ids.get(&*partition.topic).is_some_and(|identity| *identity != mapping.identity) {
            return Err(imported::by_another_mapping(input));
        }
        let resume = known.resumes.iter().find(|resume| resume.partition == partition);
        // A commit that came before the first record says where the file stands, but of no arrival.
        let arrived_ms = resume.map(|resume| resume.arrival_ms).filter(|arrived_ms| *arrived_ms > 0);
        let mut source = FileSource {
            input: input.clone(),
            scan: Scan::open(input, &mapping)?,
            partitions: vec![partition],
            order: Order::File,
            position: resume.map_or(0, |resume| resume.offset),
            arrival_ms: arrived_ms.unwrap_or_else(|| clock.now_ms()),
            clock,
            finished: false,
            notes: BTreeMap::new(),
            mapping,
        };
        if source.mapping.arrival == Arrival::EventTime {
            source.arrival_ms = resume.map_or(0, |resume| resume.arrival_ms);
            let replay = source.replay()?;
            source.order = Order::EventTime(replay);
        }
        Ok(source)
    }

    /// Has the ledger note the file's name and size, the rows that were read in it, and where it ends: after `lines`, blank
    /// ones among them.
    pub fn note(mut self, rows: u64, lines: u64) -> FileSource {
        let end = match &self.order {
            Order::File => lines as i64 * self.mapping.entries() as i64,
            Order::EventTime(replay) => replay.events.len() as i64,
        };
        let topic = &self.partitions[0].topic;
        self.notes.insert(format!("file/{topic}/{}", self.input.name()), rows as i64);
        self.notes.insert(format!("bytes/{topic}"), self.input.bytes() as i64);
        self.notes.insert(format!("end/{topic}"), end);
        self
    }

    /// Reads the whole file and sorts its events by time.
    fn replay(&mut self) -> Result<Replay, SourceError> {
        let mut replay = Replay { text: Vec::new(), ends: Vec::new(), events: Vec::new() };
        // Events without a time of their own take the last one; those before the first time take the first.
        let mut last_ms = None;
        let mut timeless = 0;
        while self.scan.next(&self.input, &self.mapping, |made| {
            let time_ms = made.event.ok().and_then(|event| event.event_time);
            let time_ms = time_ms.map(|time_ms| time_ms.clamp(0, TIME_MS_MAX));
            if let (Some(time_ms), None) = (time_ms, last_ms) {
                replay.events[..timeless].iter_mut().for_each(|event| event.0 = time_ms);
            }
            timeless += usize::from(time_ms.is_none() && last_ms.is_none());
            last_ms = time_ms.or(last_ms);
            replay.events.push((last_ms.unwrap_or(0), made.row, made.entry as u32));
        })? != Passed::End
        {
            replay.text.extend_from_slice(self.scan.text());
            replay.ends.push(replay.text.len());
            if replay.text.len() > REPLAY_BYTES_MAX {
                let error = format!(
                    "has more than {REPLAY_BYTES_MAX} bytes of text, which `arrival: event_time` would keep in memory: \
                     split it by time, or use `arrival: import`"
                );
                return Err(SourceError::File { path: self.input.path().display().to_string(), error });
            }
        }
        replay.events.sort_unstable();
        Ok(replay)
    }

    /// Hands over the next rows in the order of the file.
    fn poll_file(&mut self, records_max: usize, each: &mut dyn FnMut(Arrived<'_>)) -> Result<usize, SourceError> {
        let entries = self.mapping.entries() as i64;
        let (position, arrival_ms) = (self.position, self.arrival_ms);
        let mut records = 0;
        for _ in 0..records_max {
            if records >= records_max {
                break;
            }
            let passed = self.scan.next(&self.input, &self.mapping, |mut made| {
                let offset = made.row as i64 * entries + made.entry as i64;
                if offset >= position {
                    each(Arrived { partition: 0, offset, arrival_ms, payload: made.payload() });
                    records += 1;
                }
            })?;
            match passed {
                Passed::Row(row) | Passed::Blank(row) => self.position = self.position.max((row + 1) as i64 * entries),
                Passed::End => {
                    self.finish()?;
                    break;
                }
            }
        }
        Ok(records)
    }

    /// Hands over the next events in the order of event time.
    fn poll_replay(
        &mut self,
        frontier: Tick,
        records_max: usize,
        each: &mut dyn FnMut(Arrived<'_>),
    ) -> Result<usize, SourceError> {
        let Order::EventTime(replay) = &self.order else { unreachable!("read in the order of event time") };
        let frontier_ms = i64::try_from(frontier).unwrap_or(i64::MAX);
        let mut records = 0;
        while records < records_max {
            let Some(&(time_ms, row, entry)) = replay.events.get(self.position as usize) else {
                self.finish()?;
                break;
            };
            if self.arrival_ms.min(self.clock.now_ms()) > frontier_ms.saturating_add(AHEAD_MS_MAX) {
                break;
            }
            self.arrival_ms = self.arrival_ms.max(time_ms);
            let start = row.checked_sub(1).map_or(0, |before| replay.ends[before as usize]);
            let text = &replay.text[start..replay.ends[row as usize]];
            let (offset, arrival_ms) = (self.position, self.arrival_ms);
            self.scan.retry(&self.input, &self.mapping, (row, entry as usize, text), |mut made| {
                each(Arrived { partition: 0, offset, arrival_ms, payload: made.payload() });
            });
            self.position += 1;
            records += 1;
        }
        Ok(records)
    }

    /// The end of the file: what was handed over was its content, or the run must not end well.
    fn finish(&mut self) -> Result<(), SourceError> {
        self.input.check_content()?;
        self.finished = true;
        Ok(())
    }
}

impl Source for FileSource {
    fn poll(
        &mut self,
        frontier: Tick,
        records_max: usize,
        each: &mut dyn FnMut(Arrived<'_>),
    ) -> Result<Progress, SourceError> {
        self.input.check()?;
        let records = match &self.order {
            _ if self.finished => 0,
            Order::File => self.poll_file(records_max, each)?,
            Order::EventTime(_) => self.poll_replay(frontier, records_max, each)?,
        };
        let now_ms = self.clock.now_ms();
        let tick_ms = match &self.order {
            // The moment of import is what is stored; the tick goes on with the clock, so that a long import commits.
            Order::File => now_ms.max(self.arrival_ms),
            // A time ahead of the clock counts as the clock.
            Order::EventTime(_) => now_ms.min(self.arrival_ms),
        };
        Ok(Progress { tick: tick_ms.max(0) as Tick, records, at_end: self.finished, finished: self.finished })
    }

    fn partitions(&self) -> &[PartitionId] {
        &self.partitions
    }

    fn position(&self, _partition: usize) -> i64 {
        self.position
    }

    fn topic_ids(&self) -> BTreeMap<String, String> {
        BTreeMap::from([(self.partitions[0].topic.to_string(), self.mapping.identity.clone())])
    }

    fn notes(&self) -> BTreeMap<String, i64> {
        self.notes.clone()
    }
}
