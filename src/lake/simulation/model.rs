//! What the simulated lake must hold, followed entry by entry as its logs grow.

use std::collections::BTreeMap;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{Int32Type, Int64Type};
use bytes::Bytes;
use futures::FutureExt;
use object_store::ObjectStoreExt;
use object_store::memory::InMemory;
use object_store::path::Path;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use schemas::Tick;
use serde_json::Value;

use super::store::Applied;
use super::view::{Entry, SINKS, Script, View};
use crate::lake::compact::SINCE;
use crate::lake::log::{CUT, EPOCH};
use crate::lake::sink::Sink;
use crate::lake::{OFFSET, State};

/// The directory of a view's table in its own.
pub(super) const HASH: &str = "v";

/// A record as `records` holds it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Row {
    pub(super) cut: Tick,
    pub(super) partition: i32,
    pub(super) offset: i64,
    pub(super) accepted: bool,
}

/// A change as a view's table holds it: key, value, cut; and the difference.
type ChangeKey = (i64, i64, Tick);

/// One table, as its log says.
#[derive(Default)]
struct Table {
    next: u64,
    txns: BTreeMap<String, i64>,
    records: BTreeMap<String, Vec<Row>>,
    changes: BTreeMap<String, Vec<(ChangeKey, i64)>>,
}

impl Table {
    fn txn(&self, app_id: &str) -> i64 {
        self.txns.get(app_id).copied().unwrap_or(0)
    }

    fn cut(&self) -> Tick {
        self.txn(CUT) as Tick
    }

    fn rows(&self) -> Vec<Row> {
        let mut rows: Vec<_> = self.records.values().flatten().cloned().collect();
        rows.sort();
        rows
    }

    /// The sum of the changes, as a table shows them that is summed up to a cut.
    fn summed(&self, since: Tick) -> BTreeMap<ChangeKey, i64> {
        sum(self.changes.values().flatten().copied(), since)
    }

    /// The cut up to which housekeeping has summed its changes.
    fn since(&self) -> Tick {
        self.txn(SINCE) as Tick
    }
}

fn sum(changes: impl IntoIterator<Item = (ChangeKey, i64)>, since: Tick) -> BTreeMap<ChangeKey, i64> {
    let mut summed = BTreeMap::new();
    for ((key, value, cut), diff) in changes {
        *summed.entry((key, value, cut.max(since))).or_insert(0) += diff;
    }
    summed.retain(|_, diff| *diff != 0);
    summed
}

/// What a claim found in `records`.
struct Claimed {
    cut: Tick,
    offsets: BTreeMap<i32, i64>,
    rows: Vec<Row>,
    /// Names of commits that had been reported as done.
    names: Vec<String>,
}

/// What the lake holds, and what it must.
pub(super) struct Model {
    script: Script,
    /// The views of the lake, of [`SINKS`].
    views: &'static [&'static str],
    tables: BTreeMap<String, Table>,
    claims: BTreeMap<i64, Claimed>,
    /// Rows that a commit was reported to hold.
    reported: Vec<Row>,
    names: Vec<String>,
}

/// What is wrong.
pub(super) type Broken = String;

macro_rules! ensure {
    ($held:expr, $($said:tt)+) => {
        if !$held {
            return Err(format!($($said)+));
        }
    };
}

impl Model {
    pub(super) fn new(script: Script, views: &'static [&'static str]) -> Model {
        let (tables, claims, reported) = Default::default();
        Model { script, views, tables, claims, reported, names: Vec::new() }
    }

    /// Takes in an entry of a table's log and checks what it says.
    pub(super) fn apply(&mut self, applied: &Applied, objects: &InMemory) -> Result<(), Broken> {
        let name = applied.table.as_str();
        let at = format!("{name} version {}", applied.version);
        let mut table = self.tables.remove(name).unwrap_or_default();
        if applied.version < table.next {
            // The place was free because the log was cleaned there; no reader looks before the checkpoint.
            self.tables.insert(name.to_owned(), table);
            return Ok(());
        }
        let entry = Parsed::of(&applied.entry);
        ensure!(applied.version == table.next, "{at}: the version after {} was to come", table.next);
        let (before_cut, before_epoch) = (table.cut(), table.txn(EPOCH));
        let (before_rows, before_changes, before_since) = (table.rows(), table.changes.clone(), table.since());
        let mut added = Vec::new();
        let mut added_cuts: Vec<Tick> = Vec::new();
        for path in &entry.removes {
            let was = table.records.remove(path).is_some() | table.changes.remove(path).is_some();
            ensure!(was || name == "symbols", "{at}: removes a file that is not there");
        }
        for path in &entry.adds {
            let sink = SINKS.iter().find(|(sink, _)| *sink == name);
            let file = if sink.is_some() { format!("{name}/{HASH}/{path}") } else { format!("{name}/{path}") };
            let file = read(objects, &file).map_err(|error| format!("{at}: {error}"))?;
            match name {
                "records" => {
                    let rows = records(&file);
                    added_cuts.extend(rows.iter().map(|row| row.cut));
                    added.extend(rows.iter().cloned());
                    table.records.insert(path.clone(), rows);
                }
                "symbols" => {}
                _ => {
                    let rows = changes(&file, &sink.expect("all other tables are views'").1);
                    added_cuts.extend(rows.iter().map(|((.., cut), _)| *cut));
                    table.changes.insert(path.clone(), rows);
                }
            }
        }
        table.next += 1;
        table.txns.extend(entry.txns.clone());
        let Some(epoch) = entry.txns.get(EPOCH).copied() else {
            // The table is made, or others keep house: nothing else may change.
            ensure!(table.cut() == before_cut, "{at}: moves the cut and carries no epoch");
            ensure!(table.rows() == before_rows, "{at}: housekeeping changed the records");
            let since = table.since();
            ensure!(
                table.summed(since) == sum(before_changes.into_values().flatten(), since),
                "{at}: housekeeping changed the view"
            );
            ensure!((before_since..=table.cut()).contains(&since) || since == 0, "{at}: sums up to {since}");
            self.tables.insert(name.to_owned(), table);
            return Ok(());
        };
        ensure!(epoch >= before_epoch, "{at}: epoch {epoch} commits after epoch {before_epoch} has claimed");
        let cut = entry.txns.get(CUT).map(|cut| *cut as Tick);
        ensure!(cut.is_none_or(|cut| cut > before_cut), "{at}: the cut goes from {before_cut} to {cut:?}");
        if name != "symbols" {
            let within = before_cut + 1..=cut.unwrap_or(before_cut);
            let outside = added_cuts.iter().find(|cut| !within.contains(cut));
            ensure!(outside.is_none(), "{at}: a row of cut {outside:?} in a commit of {within:?}");
        }
        self.tables.insert(name.to_owned(), table);
        if name == "records" {
            if cut.is_none() {
                ensure!(epoch > before_epoch, "{at}: claims epoch {epoch} again");
                self.claims.insert(epoch, self.claimed());
            }
            self.check_records(&at)?;
        } else {
            self.check_sinks(&at)?;
        }
        Ok(())
    }

    fn table(&self, name: &str) -> &Table {
        &self.tables[name]
    }

    fn claimed(&self) -> Claimed {
        let records = self.table("records");
        let offsets = (0..self.script.len() as i32).filter_map(|partition| {
            let offset = records.txns.get(&format!("{OFFSET}{}/{partition}", super::TOPIC))?;
            Some((partition, *offset))
        });
        Claimed { cut: records.cut(), offsets: offsets.collect(), rows: records.rows(), names: self.names.clone() }
    }

    /// Every record before its partition's offset is there once, and none after it.
    fn check_records(&self, at: &str) -> Result<(), Broken> {
        let claimed = self.claimed();
        let mut found = BTreeMap::new();
        for row in &claimed.rows {
            let twice = found.insert((row.partition, row.offset), row.cut);
            ensure!(twice.is_none(), "{at}: partition {} offset {} twice", row.partition, row.offset);
        }
        for (partition, entries) in self.script.iter().enumerate() {
            let next = claimed.offsets.get(&(partition as i32)).copied().unwrap_or(0);
            for (offset, entry) in entries.iter().enumerate() {
                let is = found.contains_key(&(partition as i32, offset as i64));
                let must = (offset as i64) < next && *entry != Entry::Aborted;
                ensure!(
                    is == must,
                    "{at}: partition {partition} offset {offset} of {next}: there {is}, expected {must}"
                );
            }
        }
        self.check_sinks(at)
    }

    /// The views of the lake.
    fn sinks(&self) -> impl Iterator<Item = (usize, &'static str)> {
        SINKS.iter().map(|(sink, _)| *sink).enumerate().filter(|(_, sink)| self.views.contains(sink))
    }

    /// The cut up to which a sink holds everything, by its own word or by that of `records`.
    fn held(&self, sink: &str) -> Tick {
        let said = self.table("records").txn(&Sink::done_id(sink, HASH)) as Tick;
        said.max(self.tables.get(sink).map_or(0, Table::cut))
    }

    /// A sink holds what the records up to its cut give, and is not ahead of them.
    fn check_sinks(&self, at: &str) -> Result<(), Broken> {
        let (Some(records), true) =
            (self.tables.get("records"), self.sinks().all(|(_, sink)| self.tables.contains_key(sink)))
        else {
            return Ok(());
        };
        for (index, sink) in self.sinks() {
            let (table, held) = (self.table(sink), self.held(sink));
            ensure!(held <= records.cut(), "{at}: {sink} is at {held}, records at {}", records.cut());
            let mut view = View::default();
            let rows = records.rows();
            let rows: Vec<_> = rows.into_iter().filter(|row| row.accepted && row.cut <= held).collect();
            let given = rows.chunk_by(|a, b| a.cut == b.cut).flat_map(|rows| {
                let changes = view.step(rows);
                changes[index].iter().map(|(key, value, diff)| ((*key, *value, rows[0].cut), *diff)).collect::<Vec<_>>()
            });
            let since = table.since();
            let (must, is) = (sum(given, since), table.summed(since));
            ensure!(must == is, "{at}: {sink} holds {is:?}, its records give {must:?}");
        }
        Ok(())
    }

    /// Checks what a start was told.
    pub(super) fn opened(&self, state: &State, names: impl Fn(&str) -> bool) -> Result<(), Broken> {
        let at = format!("epoch {}", state.epoch);
        let Some(claimed) = self.claims.get(&state.epoch) else { return Err(format!("{at} was never claimed")) };
        let offsets: BTreeMap<_, _> =
            state.resumes.iter().map(|resume| (resume.partition.partition, resume.offset)).collect();
        let committed = state.committed.unwrap_or(0);
        ensure!(committed == claimed.cut, "{at}: told cut {committed}, claimed at {}", claimed.cut);
        ensure!(offsets == claimed.offsets, "{at}: told {offsets:?}, claimed at {:?}", claimed.offsets);
        for (_, sink) in self.sinks() {
            let held = self.held(sink);
            ensure!(state.load_to <= held.min(committed), "{at}: load to {}, but {sink} holds {held}", state.load_to);
        }
        let lost = claimed.names.iter().find(|name| !names(name));
        ensure!(lost.is_none(), "{at}: name {lost:?} was committed and is not loaded");
        Ok(())
    }

    /// What a start must load: the accepted rows, sorted.
    pub(super) fn must_load(&self, epoch: i64) -> Vec<Row> {
        self.claims
            .get(&epoch)
            .map_or(Vec::new(), |found| found.rows.iter().filter(|row| row.accepted).cloned().collect())
    }

    /// Checks what a start loaded.
    pub(super) fn loaded(&self, epoch: i64, mut rows: Vec<Row>) -> Result<(), Broken> {
        rows.sort();
        let must = self.must_load(epoch);
        ensure!(rows == must, "epoch {epoch}: loaded {rows:?}, records held {must:?}");
        Ok(())
    }

    /// Checks that what a commit reported as done is there.
    pub(super) fn reported(&mut self, cut: Tick, rows: Vec<Row>, names: Vec<String>) -> Result<(), Broken> {
        let sinks = self.sinks().map(|(_, sink)| (sink, self.held(sink)));
        for (table, held) in sinks.chain([("records", self.table("records").cut())]) {
            ensure!(held >= cut, "cut {cut} is reported as done; {table} is at {held}");
        }
        self.reported.extend(rows);
        self.names.extend(names);
        self.stays()
    }

    fn stays(&self) -> Result<(), Broken> {
        let there = self.table("records").rows();
        let lost = self.reported.iter().find(|row| there.binary_search(row).is_err());
        ensure!(lost.is_none(), "{lost:?} was reported as durable and is gone");
        Ok(())
    }

    /// Checks the lake once everything was read and committed.
    pub(super) fn finished(&self) -> Result<(), Broken> {
        let claimed = self.claimed();
        for (partition, entries) in self.script.iter().enumerate() {
            let next = claimed.offsets.get(&(partition as i32)).copied().unwrap_or(0);
            ensure!(next == entries.len() as i64, "partition {partition} ends at {}, read to {next}", entries.len());
        }
        for (_, sink) in self.sinks() {
            let held = self.held(sink);
            ensure!(held == claimed.cut, "{sink} stays at {held}, records are at {}", claimed.cut);
        }
        self.check_records("at the end")?;
        self.stays()
    }
}

#[derive(Default)]
struct Parsed {
    adds: Vec<String>,
    removes: Vec<String>,
    txns: BTreeMap<String, i64>,
}

impl Parsed {
    fn of(entry: &[u8]) -> Parsed {
        let mut parsed = Parsed::default();
        for line in serde_json::Deserializer::from_slice(entry).into_iter::<Value>() {
            let line = line.expect("an entry is lines of JSON");
            let path = |action: &str| line[action]["path"].as_str().map(str::to_owned);
            parsed.adds.extend(path("add"));
            parsed.removes.extend(path("remove"));
            if let Some(app_id) = line["txn"]["appId"].as_str() {
                parsed.txns.insert(app_id.to_owned(), line["txn"]["version"].as_i64().expect("a version"));
            }
        }
        parsed
    }
}

/// A file of the store, which answers at once.
fn read(objects: &InMemory, path: &str) -> object_store::Result<Bytes> {
    let answer = async { objects.get(&Path::from(path)).await?.bytes().await };
    answer.now_or_never().expect("memory answers at once")
}

fn batches(file: &Bytes, columns: &[&str]) -> Vec<RecordBatch> {
    let reader = ParquetRecordBatchReaderBuilder::try_new(file.clone()).expect("a file of ours reads");
    let mask = ProjectionMask::columns(reader.parquet_schema(), columns.iter().copied());
    let reader = reader.with_projection(mask).build().expect("a file of ours reads");
    reader.map(|batch| batch.expect("a file of ours reads")).collect()
}

fn longs(batch: &RecordBatch, column: &str) -> Vec<i64> {
    batch[column].as_primitive::<Int64Type>().values().to_vec()
}

fn records(file: &Bytes) -> Vec<Row> {
    let read = batches(file, &["partition", "offset", "_cut", "verdict"]);
    let rows = read.iter().flat_map(|batch| {
        let partitions = batch["partition"].as_primitive::<Int32Type>().values().to_vec();
        let verdicts = batch["verdict"].as_string::<i32>();
        let accepted: Vec<_> = (0..verdicts.len()).map(|row| verdicts.value(row) == "ok").collect();
        let at = partitions.into_iter().zip(longs(batch, "offset"));
        at.zip(longs(batch, "_cut")).zip(accepted).collect::<Vec<_>>()
    });
    let row = |(((partition, offset), cut), accepted)| Row { cut: cut as Tick, partition, offset, accepted };
    rows.map(row).collect()
}

fn changes(file: &Bytes, [id, time, diff]: &[&str; 3]) -> Vec<(ChangeKey, i64)> {
    let read = batches(file, &[id, time, "_cut", diff]);
    let rows = read.iter().flat_map(|batch| {
        let last_half = |id: &[u8]| i64::from_be_bytes(id[8..].try_into().expect("an id has 16 bytes"));
        let ids: Vec<_> = match batch[*id].as_binary_opt::<i32>() {
            Some(ids) => (0..ids.len()).map(|row| last_half(ids.value(row))).collect(),
            None => longs(batch, id),
        };
        let cuts = longs(batch, "_cut").into_iter().map(|cut| cut as Tick);
        let keys = ids.into_iter().zip(longs(batch, time)).zip(cuts);
        keys.zip(longs(batch, diff)).map(|(((id, time), cut), diff)| ((id, time, cut), diff)).collect::<Vec<_>>()
    });
    rows.collect()
}
