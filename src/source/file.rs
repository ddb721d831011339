//! Records from a file: CSV and JSONL (also gzipped) or Parquet, each row mapped to events.
//!
//! A file is a topic, `file:` and the SHA-256 of its content, with one partition. Importing it twice is therefore
//! resuming at its end. The topic's id is the mapping's identity: under another mapping the same offsets would mean other
//! events, so that is refused. There are two ways to arrive ([`Arrival`]):
//! * *import*: the file is read in its order; all arrives at the moment of import, which a resumed import keeps. Offset =
//!   row · entries of the mapping + entry. Memory: one row, and what `first_of` has seen.
//! * *event time*: the file is read twice, its text kept in memory, and handed over in the order of event time (ties: row,
//!   then entry). Offset = rank in that order. A row without a time arrives with the one before it in the file.
//!
//! A row that cannot be read is handed over with the reason, once, as its entry 0. Rows that no entry wants are passed.

mod rows;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use schemas::units::TIME_MS_MAX;
use schemas::{PayloadHash, Tick};
use sha2::{Digest, Sha256};

use self::rows::{Layout, Rows};
use super::{Arrived, PartitionId, Payload, Progress, Resume, Source, SourceError};
use crate::clock::Clock;
use crate::mapping::{Arrival, Cells, Mapped, Mapping, RowId, Seen};

/// The most text that is kept in memory to replay a file in the order of event time: 4 GiB.
pub const REPLAY_BYTES_MAX: usize = 4 << 30;
/// While the last arrival is further ahead of the frontier than this, a replay waits.
const AHEAD_MS_MAX: i64 = 60_000;

/// Reads one file.
pub struct FileSource {
    path: String,
    mapping: Mapping,
    partitions: Vec<PartitionId>,
    content: [u8; 32],
    layout: Layout,
    order: Order,
    /// The next offset to hand over.
    position: i64,
    arrival_ms: i64,
    clock: Clock,
    finished: bool,
    // Reused for every row.
    text: Vec<u8>,
    cells: Cells,
    mapped: Mapped,
    found_out: Vec<String>,
}

enum Order {
    /// As the file has them.
    File { rows: Rows, next_row: u64, seen: Seen },
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

impl FileSource {
    /// Checks that a file can be read and has the columns that the mapping names; reads no more than its head.
    pub fn check(path: &Path, mapping: &Mapping) -> Result<(), SourceError> {
        Rows::open(path, mapping).map(|_| ())
    }

    /// The topic that a file is. Reads all of it.
    pub fn topic(path: &Path) -> Result<String, SourceError> {
        Ok(topic(&content_hash(path)?))
    }

    /// Opens a file. It goes on where the `resumes` say for this very content, wherever the file lies now; a new import
    /// begins at the clock's time. `topic_ids` (by topic) tell by which mapping it was imported before.
    pub fn open(
        path: &Path,
        mapping: Mapping,
        resumes: &[Resume],
        topic_ids: &BTreeMap<String, String>,
        clock: Clock,
    ) -> Result<FileSource, SourceError> {
        let name = path.display().to_string();
        let content = content_hash(path)?;
        let partition = PartitionId { topic: topic(&content).into(), partition: 0 };
        if topic_ids.get(&*partition.topic).is_some_and(|identity| *identity != mapping.identity) {
            let error = "is in this lake already, imported by another mapping, and its rows would count twice: import it \
                         into another lake, or go on with the mapping of the first import";
            return Err(SourceError::File { path: name, error: error.to_owned() });
        }
        let resume = resumes.iter().find(|resume| resume.partition == partition);
        let (rows, layout) = Rows::open(path, &mapping)?;
        let mut source = FileSource {
            path: name,
            partitions: vec![partition],
            content,
            layout,
            found_out: rows.notes().to_vec(),
            order: Order::File { rows, next_row: 0, seen: Seen::default() },
            position: resume.map_or(0, |resume| resume.offset),
            arrival_ms: resume.map_or_else(|| clock.now_ms(), |resume| resume.arrival_ms),
            clock,
            finished: false,
            text: Vec::new(),
            cells: Cells::default(),
            mapped: Mapped::default(),
            mapping,
        };
        if source.mapping.arrival == Arrival::EventTime {
            source.arrival_ms = resume.map_or(0, |resume| resume.arrival_ms);
            let replay = source.replay()?;
            source.finished = source.position >= replay.events.len() as i64;
            source.order = Order::EventTime(replay);
        }
        Ok(source)
    }

    /// The path that was opened.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// What was found out about the file that the mapping does not say, for people.
    pub fn found_out(&self) -> &[String] {
        &self.found_out
    }

    /// Reads the whole file and sorts its events by time.
    fn replay(&mut self) -> Result<Replay, SourceError> {
        let Order::File { rows, seen, .. } = &mut self.order else { unreachable!("a file is sorted once") };
        let mut replay = Replay { text: Vec::new(), ends: Vec::new(), events: Vec::new() };
        // Events without a time of their own take the last one; those before the first time take the first.
        let mut last_ms = None;
        let mut timeless = 0;
        loop {
            if !rows.next(&mut replay.text)? {
                break;
            }
            if replay.text.len() > REPLAY_BYTES_MAX {
                let error = format!(
                    "has more than {REPLAY_BYTES_MAX} bytes of text, which `arrival: event_time` would keep in memory: \
                     split it by time, or use `arrival: import`"
                );
                return Err(SourceError::File { path: self.path.clone(), error });
            }
            let row = replay.ends.len() as u64;
            replay.ends.push(replay.text.len());
            let mut add = |entry: u32, time_ms: Option<i64>| {
                if let (Some(time_ms), None) = (time_ms, last_ms) {
                    replay.events[..timeless].iter_mut().for_each(|event| event.0 = time_ms);
                }
                timeless += usize::from(time_ms.is_none() && last_ms.is_none());
                last_ms = time_ms.or(last_ms);
                replay.events.push((last_ms.unwrap_or(0), row, entry));
            };
            match rows.cells(&mut self.cells) {
                Err(_) => add(0, None),
                Ok(false) => {}
                Ok(true) => {
                    let cells = &self.cells;
                    let firsts = self.mapping.firsts(seen, cells);
                    let id = RowId { content: &self.content, row };
                    self.mapping.apply(id, cells, firsts, &mut self.mapped, |entry, mapped| {
                        let time_ms = mapped.ok().and_then(|mapped| mapped.event.event_time);
                        add(entry as u32, time_ms.map(|time_ms| time_ms.clamp(0, TIME_MS_MAX)));
                    });
                }
            }
        }
        replay.events.sort_unstable();
        Ok(replay)
    }

    /// Hands over the next rows in the order of the file.
    fn poll_file(&mut self, records_max: usize, each: &mut dyn FnMut(Arrived<'_>)) -> Result<usize, SourceError> {
        let Order::File { rows, next_row, seen } = &mut self.order else {
            unreachable!("read in the order of the file")
        };
        let entries = self.mapping.entries() as i64;
        let mut records = 0;
        for _ in 0..records_max {
            if records >= records_max {
                break;
            }
            self.text.clear();
            if !rows.next(&mut self.text)? {
                self.finished = true;
                break;
            }
            let row = *next_row;
            *next_row += 1;
            let (position, arrival_ms) = (self.position, self.arrival_ms);
            let mut hand_over = |entry: usize, mapped: Result<&Mapped, &str>, text: &mut Vec<u8>| {
                let offset = row as i64 * entries + entry as i64;
                if offset >= position {
                    each(Arrived { partition: 0, offset, arrival_ms, payload: payload(mapped, entry, text) });
                    records += 1;
                }
            };
            match rows.cells(&mut self.cells) {
                Err(reason) => hand_over(0, Err(&reason), &mut self.text),
                Ok(false) => {}
                Ok(true) => {
                    let cells = &self.cells;
                    let firsts = self.mapping.firsts(seen, cells);
                    let id = RowId { content: &self.content, row };
                    self.mapping.apply(id, cells, firsts, &mut self.mapped, |entry, mapped| {
                        hand_over(entry, mapped, &mut self.text);
                    });
                }
            }
            self.position = self.position.max((row + 1) as i64 * entries);
        }
        Ok(records)
    }

    /// Hands over the next events in the order of event time.
    fn poll_replay(&mut self, frontier: Tick, records_max: usize, each: &mut dyn FnMut(Arrived<'_>)) -> usize {
        let Order::EventTime(replay) = &self.order else { unreachable!("read in the order of event time") };
        let frontier_ms = i64::try_from(frontier).unwrap_or(i64::MAX);
        let mut records = 0;
        while records < records_max {
            let Some(&(time_ms, row, entry)) = replay.events.get(self.position as usize) else {
                self.finished = true;
                break;
            };
            if self.arrival_ms.min(self.clock.now_ms()) > frontier_ms.saturating_add(AHEAD_MS_MAX) {
                break;
            }
            self.arrival_ms = self.arrival_ms.max(time_ms);
            let start = row.checked_sub(1).map_or(0, |before| replay.ends[before as usize]);
            self.text.clear();
            self.text.extend_from_slice(&replay.text[start..replay.ends[row as usize]]);
            let made = self.layout.read(&self.text, &mut self.cells).and_then(|_| {
                let id = RowId { content: &self.content, row };
                self.mapping.event(entry as usize, id, &self.cells, &mut self.mapped)
            });
            let mapped = made.as_ref().map(|()| &self.mapped).map_err(String::as_str);
            let payload = payload(mapped, entry as usize, &mut self.text);
            each(Arrived { partition: 0, offset: self.position, arrival_ms: self.arrival_ms, payload });
            self.position += 1;
            records += 1;
        }
        records
    }
}

impl Source for FileSource {
    fn poll(
        &mut self,
        frontier: Tick,
        records_max: usize,
        each: &mut dyn FnMut(Arrived<'_>),
    ) -> Result<Progress, SourceError> {
        let records = match &self.order {
            _ if self.finished => 0,
            Order::File { .. } => self.poll_file(records_max, each)?,
            Order::EventTime(_) => self.poll_replay(frontier, records_max, each),
        };
        let now_ms = self.clock.now_ms();
        let tick_ms = match &self.order {
            // The moment of import is what is stored; the tick goes on with the clock, so that a long import commits.
            Order::File { .. } => now_ms.max(self.arrival_ms),
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
}

/// A row's payload. Its hash covers the row's text and the entry, which is appended for that and stays out of `raw`.
fn payload<'a>(mapped: Result<&'a Mapped, &'a str>, entry: usize, text: &'a mut Vec<u8>) -> Payload<'a> {
    let row = text.len();
    text.extend_from_slice(&(entry as u32).to_be_bytes());
    let hash = PayloadHash::of(text);
    text.truncate(row);
    let faults = mapped.map_or(&[][..], |mapped| &mapped.faults);
    Payload::Row { event: mapped.map(|mapped| &mapped.event), hash, raw: text, faults }
}

fn topic(content: &[u8; 32]) -> String {
    let hex: String = content.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("file:{hex}")
}

fn content_hash(path: &Path) -> Result<[u8; 32], SourceError> {
    let failed =
        |error: std::io::Error| SourceError::File { path: path.display().to_string(), error: error.to_string() };
    let mut file = File::open(path).map_err(failed)?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        match file.read(&mut buffer).map_err(failed)? {
            0 => return Ok(hash.finalize().into()),
            read => hash.update(&buffer[..read]),
        }
    }
}
