//! The intake of a worker: what turns an arrived record into a row of `records` and, if accepted, into input of the
//! dataflow. Rows wait here for their cut.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use schemas::decode::{Decoded, Decoder};
use schemas::fault::Extras;
use schemas::table::{RecordRow, Verdict};
use schemas::{Accepted, Capped, PayloadHash, Tick};

use dataflows::feed::InputBatch;
use dataflows::grid::{GRID_MS, cut_of};

use crate::clock::Clock;
use crate::ingest::gate::{Gate, HotKeys, Passage};
use crate::ingest::source::{About, Arrived, PartitionId, Payload, Progress, Source, SourceError};
use crate::lake::pieces::{PIECE_ROWS, Piece, Pool};
use crate::observe::telemetry::{Health, name};
use crate::run::context::Shared;
use crate::run::cuts::Cuts;
use crate::run::status::{RecordCounters, Status};
use crate::run::step_size::STEP_RECORDS_MAX;

/// How the part of a process that reads is named, before the number of its worker.
pub(super) const SOURCES: &str = "source of worker";
/// Records that a poll may hand over: what a reader does between two looks at what was announced.
const POLL_RECORDS_MAX: usize = 4_096;
/// Records that may be inside the dataflow (entered, but not yet passed by the frontier) before reading waits for it.
/// Twice what a worker takes in at a time, so that the next is there when it is done.
const IN_FLIGHT_RECORDS_MAX: usize = 2 * STEP_RECORDS_MAX;

/// One worker's intake.
pub struct Intake<'a> {
    gate: Gate,
    clock: &'a Clock,
    cuts: &'a Cuts,
    status: &'a Status,
    decoder: Decoder,
    partitions: Vec<PartitionId>,
    /// By partition; a record may come before its partition's name does.
    hot_keys: Vec<HotKeys>,
    counters: Vec<RecordCounters>,
    /// By partition: its position in the last part that was closed.
    closed_at: Vec<i64>,
    /// How many notes of the source the last part that was closed had.
    notes_closed: usize,
    waiting: Waiting,
    nameless: Arc<str>,
    /// Nothing enters before it any more.
    tick: Tick,
    /// Records that entered and that the frontier has not passed.
    in_flight: usize,
    entered: VecDeque<(Tick, usize)>,
    /// Of the records that entered since they were last taken.
    arrivals: Arrivals,
    /// Verdicts of the poll under way, by partition.
    tally: Vec<(usize, Verdict)>,
}

impl<'a> Intake<'a> {
    /// An intake for a source, with the counters of hot keys that the ledger's last hour left.
    pub fn new(shared: &'a Shared, source: &dyn Source) -> Intake<'a> {
        let mut intake = Intake {
            gate: shared.gate,
            clock: &shared.clock,
            cuts: &shared.cuts,
            status: &shared.status,
            decoder: (shared.decoder)(),
            partitions: source.partitions().to_vec(),
            hot_keys: Vec::new(),
            counters: Vec::new(),
            closed_at: Vec::new(),
            notes_closed: 0,
            waiting: Waiting::default(),
            nameless: "".into(),
            tick: shared.recovered.committed,
            in_flight: 0,
            entered: VecDeque::new(),
            arrivals: Arrivals::default(),
            tally: Vec::new(),
        };
        intake.hot_keys = intake.partitions.iter().map(|id| shared.recovered.hot_keys(id)).collect();
        intake.closed_at = (0..intake.partitions.len()).map(|index| source.position(index)).collect();
        intake
    }

    /// Nothing enters before this tick any more.
    pub fn tick(&self) -> Tick {
        self.tick
    }

    /// The arrivals of what entered since the last call.
    pub fn take_arrivals(&mut self) -> Arrivals {
        std::mem::take(&mut self.arrivals)
    }

    /// Polls the source; what accepted records say is added to `batch`.
    pub fn poll(
        &mut self,
        source: &mut dyn Source,
        frontier: Tick,
        batch: &mut InputBatch,
    ) -> Result<Progress, SourceError> {
        let bytes_before = self.waiting.bytes;
        let now_ms = self.clock.now_ms();
        let progress = source.poll(frontier, POLL_RECORDS_MAX, &mut |arrived| self.take(arrived, now_ms, batch))?;
        // A source may find a partition during a poll.
        self.partitions.extend_from_slice(&source.partitions()[self.partitions.len()..]);
        self.counters.extend(self.partitions[self.counters.len()..].iter().map(RecordCounters::new));
        for (partition, verdict) in self.tally.drain(..) {
            self.status.record(&self.counters[partition], verdict);
        }
        let bytes = self.waiting.bytes - bytes_before;
        if bytes > 0 {
            self.cuts.wait_for(bytes);
        } else if progress.records == 0 && self.has_moved(source) {
            self.cuts.note_progress();
        }
        self.tick = self.tick.max(progress.tick / GRID_MS * GRID_MS);
        Ok(progress)
    }

    /// Takes in one record: decides on it, notes what it says when accepted, and keeps its row.
    fn take(&mut self, arrived: Arrived<'_>, now_ms: i64, batch: &mut InputBatch) {
        let Arrived { partition, offset, arrival_ms, payload } = arrived;
        let (payload_hash, decoded, raw, about, mapped) = match payload {
            Payload::Bytes { bytes, start, encoding, about } => {
                let decoded = self.decoder.decode(&bytes[start..], encoding).map_err(|reason| reason.to_string());
                (PayloadHash::of(bytes), decoded.map(Some), bytes, about, &[][..])
            }
            Payload::Mapped { event, bytes, about } => {
                let (decoded, faults) = match event {
                    Ok(Some(made)) => {
                        let decoded = self.decoder.validate(&made.event).map_err(|reason| reason.to_string());
                        (decoded.map(Some), &made.faults[..])
                    }
                    Ok(None) => (Ok(None), &[][..]),
                    Err(reason) => (Err(reason.to_owned()), &[][..]),
                };
                (PayloadHash::of(bytes), decoded, bytes, about, faults)
            }
            Payload::Row { event, hash, raw, faults } => {
                let decoded = match event {
                    Ok(event) => self.decoder.validate(event).map_err(|reason| reason.to_string()),
                    Err(reason) => Err(reason.to_owned()),
                };
                (hash, decoded.map(Some), raw, About::default(), faults)
            }
        };
        let (verdict, reason, decoded) = match decoded {
            Err(reason) => (Verdict::Dead, Some(reason), None),
            Ok(None) => (Verdict::Skipped, None, None),
            Ok(Some(decoded)) => {
                match self.gate.passage(decoded.event.event_type, decoded.event.event_time, arrival_ms) {
                    Passage::Ok => (Verdict::Ok, None, Some(decoded)),
                    Passage::Late => (Verdict::Late, None, Some(decoded)),
                    Passage::Dead(reason) => (Verdict::Dead, Some(reason), None),
                }
            }
        };
        // A stamp ahead of the clock enters as if it came now; the row keeps the stamp.
        let entry = u64::try_from(arrival_ms.min(now_ms)).unwrap_or(0) / GRID_MS * GRID_MS;
        let tick = entry.max(self.tick);
        let mut capped = Capped::default();
        if let (Some(Decoded { event, .. }), Verdict::Ok) = (decoded, verdict) {
            while self.hot_keys.len() <= partition {
                self.hot_keys.push(HotKeys::default());
            }
            capped = self.hot_keys[partition].count(event, arrival_ms);
            batch.push(&Accepted { event: *event, arrival_ms, payload_hash, capped }, tick);
            self.arrivals.note(tick, arrival_ms);
        }
        let extras = match (decoded, verdict) {
            (Some(decoded), _) => {
                let mut extras = decoded.extras.clone();
                extras.faults.extend_from_slice(mapped);
                extras
            }
            (None, Verdict::Dead) => {
                let headers = about.headers.and_then(|headers| headers()).map(String::into_boxed_str);
                Extras { key: about.key.map(Box::from), headers, ..Extras::default() }
            }
            (None, _) => Extras::default(),
        };
        self.waiting.push(RecordRow {
            verdict,
            reason: reason.map(String::into_boxed_str),
            topic: Arc::clone(&self.nameless),
            partition: partition as i32,
            offset,
            arrival_ms,
            cut: cut_of(tick),
            payload_hash,
            event: decoded.map(|decoded| decoded.event),
            capped,
            items: decoded.and_then(|decoded| decoded.items.clone()),
            raw: (verdict == Verdict::Dead).then(|| raw.into()),
            extras: (!extras.is_empty()).then(|| Box::new(extras)),
        });
        self.tally.push((partition, verdict));
        if verdict == Verdict::Ok {
            self.enter(tick);
        }
    }

    fn enter(&mut self, tick: Tick) {
        self.in_flight += 1;
        match self.entered.back_mut() {
            Some((last, records)) if *last >= tick => *records += 1,
            _ => self.entered.push_back((tick, 1)),
        }
    }

    /// Tells metrics and readiness how it stands with the source.
    pub fn tell(&self, source: &dyn Source, health: &Health, worker: usize) {
        let standing = source.standing();
        let part = format!("{SOURCES} {worker}");
        match standing.trouble {
            Some(trouble) => health.not_ready(&part, trouble),
            None => health.ready(&part),
        }
        metrics::counter!(name::RAISED, "worker" => worker.to_string()).absolute(standing.raised);
        for (id, lag) in self.partitions.iter().zip(standing.lag_records) {
            let (topic, partition) = (id.topic.to_string(), id.partition.to_string());
            // What is not known is not 0.
            let lag = lag.map_or(f64::NAN, |lag| lag as f64);
            metrics::gauge!(name::LAG, "topic" => topic, "partition" => partition).set(lag);
        }
    }

    /// Gives back memory that was not used since the last call.
    pub fn trim(&self) {
        self.waiting.pool.trim();
    }

    /// Forgets the records that the frontier has passed.
    pub fn passed(&mut self, frontier: Tick) {
        while let Some((_, records)) = self.entered.front().filter(|(tick, _)| *tick < frontier) {
            self.in_flight -= records;
            self.entered.pop_front();
        }
    }

    /// Whether reading must wait for the dataflow. Records that entered ahead of the input's own tick do not count:
    /// only reading on can bring the frontier to them.
    pub fn full(&self) -> bool {
        self.in_flight >= IN_FLIGHT_RECORDS_MAX && self.entered.front().is_some_and(|(tick, _)| *tick < self.tick)
    }

    /// The rows of all cuts up to this one.
    pub fn take_through(&mut self, cut: Tick) -> Rows {
        let chunks = self.waiting.take_through(cut);
        Rows { partitions: self.partitions.clone(), chunks }
    }

    /// Where each partition stands once the rows taken are durable: at its first row that still waits, else where the
    /// source is.
    pub fn positions(&mut self, source: &dyn Source) -> Vec<(PartitionId, i64)> {
        let sources = 0..self.partitions.len();
        let mut positions: Vec<i64> = sources.map(|partition| source.position(partition)).collect();
        // Rows wait in the order in which they came, so the first of a partition tells. Many may wait.
        let mut seen = vec![false; positions.len()];
        let mut unseen = positions.len();
        let mut rows = self.waiting.chunks.iter().flat_map(|chunk| chunk.rows.iter());
        while unseen > 0
            && let Some(row) = rows.next()
        {
            let partition = row.partition as usize;
            if !std::mem::replace(&mut seen[partition], true) {
                positions[partition] = row.offset.min(positions[partition]);
                unseen -= 1;
            }
        }
        self.closed_at.clone_from(&positions);
        self.notes_closed = source.notes().len();
        self.partitions.iter().cloned().zip(positions).collect()
    }

    fn has_moved(&self, source: &dyn Source) -> bool {
        (0..self.partitions.len()).any(|index| self.closed_at.get(index) != Some(&source.position(index)))
            || source.notes().len() > self.notes_closed
    }
}

/// The arrivals of records whose results are not yet published: by tick the oldest, and how many. Bounded by how far ahead of
/// the frontier a source may read.
#[derive(Default)]
pub struct Arrivals(BTreeMap<Tick, (i64, usize)>);

impl Arrivals {
    fn note(&mut self, tick: Tick, arrival_ms: i64) {
        self.add(tick, (arrival_ms, 1));
    }

    fn add(&mut self, tick: Tick, (arrival_ms, count): (i64, usize)) {
        let (oldest_ms, records) = self.0.entry(tick).or_insert((arrival_ms, 0));
        *oldest_ms = arrival_ms.min(*oldest_ms);
        *records += count;
    }

    /// Adds others.
    pub fn append(&mut self, others: Arrivals) {
        others.0.into_iter().for_each(|(tick, arrivals)| self.add(tick, arrivals));
    }

    /// Takes out those up to a tick: of each the oldest arrival, and how many.
    pub fn take_through(&mut self, tick: Tick, mut each: impl FnMut(i64, usize)) {
        while let Some(first) = self.0.first_entry().filter(|entry| *entry.key() <= tick) {
            let (oldest_ms, records) = first.remove();
            each(oldest_ms, records);
        }
    }
}

/// What a row counts against the bounds on waiting records: its size in memory.
fn waiting_bytes(row: &RecordRow) -> usize {
    size_of::<RecordRow>()
        + row.raw.as_ref().map_or(0, |raw| raw.len())
        + row.items.as_ref().map_or(0, |items| items.len())
        + row.reason.as_ref().map_or(0, |reason| reason.len())
        + row.extras.as_ref().map_or(0, |extras| extras.bytes())
}

/// Rows that wait for their cut, in chunks, so that closing a cut moves chunks and not rows: a row is large.
#[derive(Default)]
struct Waiting {
    chunks: Vec<Chunk>,
    pool: Pool,
    /// Bytes of all rows that ever waited.
    bytes: usize,
}

struct Chunk {
    cut_max: Tick,
    /// Their partition is its index yet.
    rows: Piece,
}

impl Waiting {
    fn push(&mut self, row: RecordRow) {
        self.bytes += waiting_bytes(&row);
        if self.chunks.last().is_none_or(|chunk| chunk.rows.len() >= PIECE_ROWS) {
            self.chunks.push(Chunk { cut_max: 0, rows: self.pool.piece() });
        }
        let chunk = self.chunks.last_mut().expect("just made");
        chunk.cut_max = chunk.cut_max.max(row.cut);
        chunk.rows.push(row);
    }

    fn take_through(&mut self, cut: Tick) -> Vec<Piece> {
        let mut taken = Vec::new();
        let mut early = self.pool.piece();
        for mut chunk in std::mem::take(&mut self.chunks) {
            if chunk.cut_max <= cut {
                taken.push(chunk.rows);
                continue;
            }
            // Together, for a piece is large however few rows it holds.
            early.extend(chunk.rows.extract_if(.., |row| row.cut <= cut));
            if early.len() >= PIECE_ROWS {
                taken.push(std::mem::replace(&mut early, self.pool.piece()));
            }
            self.chunks.push(chunk);
        }
        taken.extend((!early.is_empty()).then_some(early));
        taken
    }
}

/// Rows of a part, on their way to the committer.
pub struct Rows {
    partitions: Vec<PartitionId>,
    chunks: Vec<Piece>,
}

impl Rows {
    /// The rows with the names of their partitions, and the bytes that were counted for them. Off the reader's thread,
    /// as it touches every row.
    pub fn named(mut self) -> (Vec<Piece>, usize) {
        let mut bytes = 0;
        for row in self.chunks.iter_mut().flat_map(|piece| piece.iter_mut()) {
            bytes += waiting_bytes(row);
            let id = &self.partitions[row.partition as usize];
            row.topic = Arc::clone(&id.topic);
            row.partition = id.partition;
        }
        (self.chunks, bytes)
    }
}
