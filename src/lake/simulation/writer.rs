//! One run of the job, reduced to its ledger: claims the lake, loads, replays, reads on and commits.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use arrow::array::RecordBatch;
use dataflows::changes::{CutChanges, Sum};
use dataflows::views::costs::CostRow;
use dataflows::views::credits::CreditRow;
use dataflows::views::installs::InstallRow;
use dataflows::views::metrics_hourly::{MetricsKey, MetricsRow};
use differential_dataflow::consolidation::consolidate_updates;
use schemas::event::{Capped, Event, EventType};
use schemas::ids::{EventId, Id, PayloadHash, Subject};
use schemas::symbols::{Name, Symbols};
use schemas::table::{Columns, RecordRow, Verdict};
use schemas::units::EventTime;
use schemas::view::{Method, Model as CreditModel};
use schemas::{Symbol, Tick};

use super::dice::Dice;
use super::model::Row;
use super::view::{Entry, SINKS, Script, Step, View};
use super::{CUT_MS, TOPIC, World};
use crate::lake::PartitionId;
use crate::lake::tests::AtHand;
use crate::lake::{Lake, Ledger, LedgerError, Part, Wanted, Writer};

/// Runs until everything is read and committed, or the ledger says that it cannot go on.
pub(super) async fn write(
    world: Rc<RefCell<World>>,
    lake: Lake,
    script: Rc<Script>,
    number: u32,
    mut dice: Dice,
) -> Result<(), LedgerError> {
    let writer = Writer { id: number.to_string(), host: "simulation".to_owned(), pid: number };
    let symbols = Symbols::new();
    let (mut ledger, state) = Ledger::claim(lake, None, writer, &[], &symbols).await?;
    world.borrow_mut().check(|model| model.opened(&state, |name| symbols.name(Symbol::of(name)).is_some()));
    let committed = state.committed.unwrap_or(0);
    // What a load must give is known, so most of them are spared: they take more time than all else.
    let mut loaded = world.borrow().model.must_load(state.epoch);
    if dice.one_in(4) {
        let mut found = Vec::new();
        ledger
            .load(&Wanted { committed, needed: None, any_age: None }, &Arc::default(), |_, rows| {
                found.extend(rows.iter().map(row_of))
            })
            .await?;
        world.borrow_mut().check(|model| model.loaded(state.epoch, found));
    }
    loaded.sort();

    let mut job = Job { script, view: View::default(), workers: dice.from(1, 2), offsets: BTreeMap::new() };
    job.offsets = state.resumes.iter().map(|resume| (resume.partition.partition, resume.offset)).collect();
    // What all sinks hold is loaded as one step; the rest is replayed cut by cut.
    let (held, replayed) = loaded.split_at(loaded.partition_point(|row| row.cut <= state.load_to));
    job.view.step(held);
    let mut parts = job.parts();
    job.change(replayed, &mut parts);
    world.borrow_mut().replayed += u32::from(!replayed.is_empty());

    let (mut last, mut lagging, mut names) = (committed, state.load_to < committed, 0);
    while lagging || job.behind() > 0 {
        let cut = last + CUT_MS * dice.from(1, 3);
        let rows = job.read(last, cut, &mut dice, &mut parts);
        let accepted: Vec<_> = rows.iter().filter(|row| row.accepted).cloned().collect();
        job.change(&accepted, &mut parts);
        let mut new = Vec::new();
        if dice.one_in(5) {
            names += 1;
            new.push(format!("writer {number} name {names}"));
        }
        let named = new.iter().map(|name| Name::of(name)).collect();
        let made =
            std::mem::replace(&mut parts, job.parts()).into_iter().map(|part| part.made(ledger.lake())).collect();
        ledger.commit(cut, made, named).await?;
        world.borrow_mut().check(|model| model.reported(cut, rows, new));
        (last, lagging) = (cut, false);
    }
    Ok(())
}

struct Job {
    script: Rc<Script>,
    view: View,
    workers: u64,
    offsets: BTreeMap<i32, i64>,
}

impl Job {
    fn parts(&self) -> Vec<Changing> {
        let part = |worker| Changing { part: Part { worker, ..Part::default() }, changes: Default::default() };
        (0..self.workers as usize).map(part).collect()
    }

    fn worker(&self, partition: i64) -> usize {
        partition as usize % self.workers as usize
    }

    /// Offsets that are not read yet.
    fn behind(&self) -> usize {
        let read: i64 = self.offsets.values().sum();
        self.script.iter().map(Vec::len).sum::<usize>() - read as usize
    }

    /// Reads on, for cuts in (`last`, `cut`]; the records.
    fn read(&mut self, last: Tick, cut: Tick, dice: &mut Dice, parts: &mut [Changing]) -> Vec<Row> {
        let mut rows = Vec::new();
        for (partition, entries) in self.script.iter().enumerate() {
            let at = self.offsets.get(&(partition as i32)).copied().unwrap_or(0);
            let to = entries.len().min(at as usize + dice.from(0, 6) as usize);
            let mut row_cut = last + CUT_MS;
            for (offset, entry) in entries.iter().enumerate().take(to).skip(at as usize) {
                if *entry == Entry::Aborted {
                    continue;
                }
                row_cut = cut.min(row_cut + CUT_MS * dice.from(0, 1));
                let accepted = *entry == Entry::Record;
                rows.push(Row { cut: row_cut, partition: partition as i32, offset: offset as i64, accepted });
            }
            self.offsets.insert(partition as i32, to as i64);
            let id = PartitionId { topic: TOPIC.into(), partition: partition as i32 };
            parts[self.worker(partition as i64)].part.positions.push((id, to as i64));
        }
        for row in &rows {
            parts[self.worker(i64::from(row.partition))].part.rows.push(vec![record(row)].into());
        }
        rows.sort();
        rows
    }

    /// Adds the views' changes by accepted rows, which are sorted by cut.
    fn change(&mut self, rows: &[Row], parts: &mut [Changing]) {
        for rows in rows.chunk_by(|a, b| a.cut == b.cut) {
            let cut = rows[0].cut;
            let changes = self.view.step(rows);
            for (worker, part) in parts.iter_mut().enumerate() {
                for ((waiting, (sink, _)), changes) in part.changes.iter_mut().zip(SINKS).zip(&changes) {
                    let of_worker: Vec<_> = changes.iter().filter(|(key, ..)| self.worker(*key) == worker).collect();
                    if !of_worker.is_empty() {
                        waiting.push((cut, batch(sink, &of_worker, cut)));
                    }
                }
            }
        }
    }
}

/// A part that is being made.
struct Changing {
    part: Part,
    /// Of each of [`SINKS`].
    changes: [Vec<(Tick, RecordBatch)>; SINKS.len()],
}

impl Changing {
    /// The part with the changes of the lake's views.
    fn made(self, lake: &Lake) -> Part {
        let of_lake = self.changes.into_iter().zip(SINKS).filter(|(_, (sink, _))| lake.views.contains_key(*sink));
        let changes = of_lake.map(|(changes, _)| Arc::new(AtHand(changes)) as Arc<dyn CutChanges>).collect();
        Part { changes, ..self.part }
    }
}

/// Changes of a view of one cut, in the columns of its table.
fn batch(sink: &str, changes: &[&Step], cut: Tick) -> RecordBatch {
    let key = |(key, ..): &&&Step| *key;
    match sink {
        "installs" => InstallRow::changes(&consolidated(changes, cut, install)),
        "credits" => CreditRow::changes(&consolidated(changes, cut, credit)),
        "costs" => CostRow::changes(&consolidated(changes, cut, cost)),
        _ => {
            let sums: Vec<_> = changes.iter().map(|change| (metrics(key(&change)), cut)).collect();
            MetricsRow::additions(&sums)
        }
    }
}

/// What comes and goes within a cut is not written.
fn consolidated<R: Ord>(changes: &[&Step], cut: Tick, row: fn(i64, i64) -> R) -> Vec<(R, Tick, i64)> {
    let mut rows = changes.iter().map(|(key, value, diff)| (row(*key, *value), cut, *diff)).collect();
    consolidate_updates(&mut rows);
    rows
}

fn row_of(row: &RecordRow) -> Row {
    let accepted = row.verdict == Verdict::Ok;
    Row { cut: row.cut, partition: row.partition, offset: row.offset, accepted }
}

fn id(number: i64) -> Id {
    Id::from_bytes((number as u128).to_be_bytes())
}

fn record(row: &Row) -> RecordRow {
    let key = id(i64::from(row.partition) * 1_000 + row.offset + 1);
    RecordRow {
        verdict: if row.accepted { Verdict::Ok } else { Verdict::Late },
        reason: None,
        topic: TOPIC.into(),
        partition: row.partition,
        offset: row.offset,
        arrival_ms: row.cut as i64 - 1,
        cut: row.cut,
        payload_hash: PayloadHash(key),
        event: Some(Event {
            event_type: EventType::Click,
            tenant: Symbol(7),
            event_id: EventId(key),
            event_time: EventTime(row.offset),
            subject: Subject(key),
            ..Event::default()
        }),
        capped: Capped::default(),
        items: None,
        raw: None,
        extras: None,
    }
}

fn install(key: i64, value: i64) -> InstallRow {
    InstallRow {
        tenant: Symbol(7),
        app: Symbol::NONE,
        event_id: EventId(id(key)),
        subject: Subject::NONE,
        event_time: EventTime(value),
        user: Default::default(),
        device: Default::default(),
        country: Symbol::NONE,
        event_type: EventType::Install,
        reattribution: false,
        comes_back: false,
        reinstall: false,
        method: Method::Organic,
        candidates: 1,
        touch: None,
        ctit_ms: None,
        path: Vec::new(),
        path_dropped: 0,
    }
}

fn credit(key: i64, value: i64) -> CreditRow {
    CreditRow {
        tenant: Symbol(7),
        app: Symbol::NONE,
        event_id: EventId(id(key)),
        subject: Subject::NONE,
        event_time: EventTime(value),
        name: Symbol::NONE,
        model: CreditModel::Last,
        touch: None,
        install: None,
        credit_ppm: 1_000_000,
        revenue: None,
        currency: Symbol::NONE,
        path_dropped: 0,
    }
}

fn cost(key: i64, value: i64) -> CostRow {
    CostRow {
        tenant: Symbol(7),
        source: Symbol::NONE,
        campaign: Symbol::NONE,
        ad_group: Symbol::NONE,
        hour: EventTime(value),
        currency: Symbol::NONE,
        cost: None,
        version: Some(key),
    }
}

/// One record of a key.
fn metrics(key: i64) -> MetricsRow {
    let key = MetricsKey { tenant: Symbol(7), name: Symbol(key), ..MetricsKey::default() };
    Sum { key, sums: [1, 0, 0, 0, 0, 0, 1] }
}
