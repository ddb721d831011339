//! Reading the lake's tables back at a start: files of the held version, decoded beside the consumer, never all in
//! memory.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch};
use arrow::datatypes::{DataType, Field, Int64Type, Schema};
use arrow::error::ArrowError;
use arrow::temporal_conversions::date32_to_datetime;
use chrono::NaiveDate;
use dataflows::links::Link;
use dataflows::needs::Needed;
use dataflows::sealing::SealedDays;
use dataflows::sightings::SharedHours;
use dataflows::stored;
use dataflows::views::activity::ACTIVITY;
use dataflows::views::firsts::FIRSTS;
use dataflows::views::frequency::FREQUENCY;
use dataflows::views::identity_links::IDENTITY_LINKS;
use dataflows::views::installs::{INSTALLS, InstallRow};
use dataflows::views::shared_hours::SHARED_HOURS;
use dataflows::visitor_event::{ActiveDay, OfVisitor, VisitorInput};
use deltalake_core::DeltaTableError;
use futures::{StreamExt, TryStreamExt, stream};
use object_store::ObjectStoreExt;
use object_store::path::Path as StorePath;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ArrowPredicateFn, ArrowReaderOptions, ParquetRecordBatchReaderBuilder, RowFilter};
use schemas::symbols::Name;
use schemas::table::{RecordRow, Verdict, records_rows, symbols_rows};
use schemas::units::DAY_MS;
use schemas::{EventTime, EventType, Subject, Symbol, Tick};
use serde_json::Value;
use tokio::sync::mpsc;

use super::entry::DataFile;
use super::error::LedgerError;
use super::log::TableLog;
use super::{ANY_AGE, finished};
use crate::lake::failpoint;

/// The partition column of `records`: the day of arrival, UTC.
pub(super) const ARRIVAL_DATE: &str = "arrival_date";
/// Columns of `records` from which nothing in memory follows.
const UNREAD_COLUMNS: [&str; 7] = ["raw", "reason", "referrer", "faults", "unknown_fields", "key", "headers"];

/// Files that are decoded at a time; each is wholly in memory meanwhile.
const FILES_AT_A_TIME: usize = 2;
/// Rows of a batch, and batches that may wait for the consumer.
const BATCH_ROWS: usize = 1 << 14;
const BATCHES_MAX: usize = 4;

/// How far a load has come. Records of every verdict are counted, as files say how many they hold of all.
#[derive(Debug, Default)]
pub struct LoadCounts {
    /// Records that the lake holds.
    pub held: AtomicU64,
    /// Records of the files that are read.
    pub of: AtomicU64,
    /// Those of them that were looked at.
    pub read: AtomicU64,
    /// Those of these that were wanted.
    pub loaded: AtomicU64,
}

/// The table schema of `records`: the columns of its files and the partition column.
pub(super) fn with_arrival_date(files: &Schema) -> Schema {
    let date = Arc::new(Field::new(ARRIVAL_DATE, DataType::Date32, false));
    Schema::new(files.fields().iter().cloned().chain([date]).collect::<Vec<_>>())
}

/// A day since 1970 as Delta writes it.
pub(super) fn date(day: i64) -> String {
    let day = i32::try_from(day).ok().and_then(date32_to_datetime);
    day.map_or_else(|| "1970-01-01".to_owned(), |day| day.date().to_string())
}

/// Which accepted records are read back: all up to a cut, or of those up to an earlier one no more than what is needed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// *N*: the last cut.
    pub committed: Tick,
    /// *m*, and what is needed of the records up to it.
    pub needed: Option<(Tick, Needed)>,
    /// The last cut of records that passed no gate; none where all did.
    pub any_age: Option<Tick>,
}

impl Wanted {
    /// All of them.
    pub(super) const ALL: Wanted = Wanted { committed: Tick::MAX, needed: None, any_age: None };

    fn has(&self, cut: Tick, event_type: Option<EventType>, event_time: EventTime) -> bool {
        let is_needed = |needed: &Needed| event_type.is_none_or(|of| needed.has(of, event_time));
        cut <= self.committed
            && self.needed.as_ref().is_none_or(|(load_to, needed)| cut > *load_to || is_needed(needed))
    }

    fn may_be_of_any_age(&self, cut: Tick) -> bool {
        self.any_age.is_some_and(|until| cut <= until)
    }

    /// The day as of whose end a record enters, in days since 1970.
    fn day(&self, row: &RecordRow) -> i64 {
        // Late ones that a gate has seen are not among the accepted.
        let needed = self.needed.as_ref().filter(|_| self.may_be_of_any_age(row.cut));
        match needed.zip(row.event.as_ref()) {
            Some(((_, needed), event)) => needed.day(event.event_type, event.event_time, row.arrival_ms),
            None => row.arrival_ms.div_euclid(DAY_MS),
        }
    }

    /// The first day on which a record of a file may enter; none where none is wanted.
    fn first_day(&self, file: &DataFile) -> Option<i64> {
        let stats = stats(file);
        let bound = |which: &str, column: &str| stats[which][column].as_i64();
        let date = file.partition_values.get(ARRIVAL_DATE).and_then(Option::as_deref).unwrap_or_default();
        let day = NaiveDate::parse_from_str(date, "%Y-%m-%d").map_or(0, |date| i64::from(date.to_epoch_days()));
        if bound("minValues", "_cut").is_some_and(|least| least as Tick > self.committed) {
            return None;
        }
        let Some((load_to, needed)) = &self.needed else { return Some(day) };
        if bound("maxValues", "_cut").is_none_or(|most| most as Tick > *load_to) {
            // What is replayed is read on its day, whenever it happened.
        } else if bound("maxValues", "event_time").is_some_and(|latest| latest < needed.earliest().0) {
            return None;
        }
        let earliest = EventTime(bound("minValues", "event_time").unwrap_or(i64::MIN));
        let least = bound("minValues", "_cut").map_or(0, |least| least as Tick);
        if !self.may_be_of_any_age(least) || !needed.may_be_late(earliest, (day + 1) * DAY_MS) {
            return Some(day);
        }
        Some(earliest.max(needed.earliest()).0.div_euclid(DAY_MS).min(day))
    }
}

/// Up to which cut records entered however long ago they happened.
pub(super) fn any_age(records: &TableLog) -> Option<Tick> {
    any_age_unnoted(records).or_else(|| records.txn(ANY_AGE).map(|cut| cut as Tick))
}

/// The same where a release noted that there were some, and not until which cut: the last.
pub(super) fn any_age_unnoted(records: &TableLog) -> Option<Tick> {
    records.cut().filter(|_| records.txn(ANY_AGE) == Some(1))
}

/// Records that waited and are handed on together.
const WAITING_ROWS: usize = 1 << 13;

/// When records enter: those of a step at once, after those of the steps before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Step {
    /// The day, in days since 1970.
    pub day: i64,
    /// Which of the steps of that day.
    pub number: u64,
}

/// Records that make a step. More cost more a record, as what they sort and visit fits no cache, and hold more memory.
const STEP_ROWS: u64 = 1 << 17;

/// Takes the files of a day apart into steps, in the order of their cuts. A file holds conversions before impressions: if it came in
/// two steps, what follows from its conversions would be made twice.
fn steps(mut files: Vec<(Tick, u64, StorePath)>) -> Vec<Vec<StorePath>> {
    files.sort_by_key(|(cut, ..)| *cut);
    let (mut steps, mut rows) = (Vec::<Vec<StorePath>>::new(), STEP_ROWS);
    for (_, held, path) in files {
        if rows >= STEP_ROWS {
            steps.push(Vec::new());
            rows = 0;
        }
        rows += held;
        steps.last_mut().expect("the first begins one").push(path);
    }
    steps
}

/// Reads the accepted records that are wanted, those that enter on a day before those of later ones: each batch with its step.
/// What a file holds of days after its first waits in memory: a few days of a file that follows time, of an
/// import in another order all that is needed of it.
pub(super) async fn records(
    log: &TableLog,
    wanted: &Wanted,
    counts: &Arc<LoadCounts>,
    mut each: impl FnMut(Step, Vec<RecordRow>),
) -> Result<(), LedgerError> {
    let mut files: BTreeMap<i64, Vec<(Tick, u64, StorePath)>> = BTreeMap::new();
    for file in log.files() {
        let held = stats(file)["numRecords"].as_u64().unwrap_or(0);
        counts.held.fetch_add(held, Ordering::Relaxed);
        if let Some(day) = wanted.first_day(file) {
            counts.of.fetch_add(held, Ordering::Relaxed);
            let cut = stats(file)["minValues"]["_cut"].as_u64().unwrap_or(0);
            let path = file.location().map_err(LedgerError::delta(log.name()))?;
            files.entry(day).or_default().push((cut, held, path));
        }
    }
    let (of_keep, read_so_far) = (wanted.clone(), Arc::clone(counts));
    let keep = Keep {
        columns: &["verdict", "_cut", "type", "event_time"],
        rows: Arc::new(move |batch| {
            read_so_far.read.fetch_add(batch.num_rows() as u64, Ordering::Relaxed);
            let text = |name| Ok::<_, ArrowError>(required(batch, name)?.as_string::<i32>());
            let long = |name| Ok::<_, ArrowError>(required(batch, name)?.as_primitive::<Int64Type>());
            let (verdicts, types, cuts, times) = (text("verdict")?, text("type")?, long("_cut")?, long("event_time")?);
            let is_kept = |row| {
                let of = types.is_valid(row).then(|| EventType::from_name(types.value(row))).flatten();
                verdicts.value(row) == Verdict::Ok.name()
                    && of_keep.has(cuts.value(row) as Tick, of, EventTime(times.value(row)))
            };
            Ok((0..batch.num_rows()).map(|row| Some(is_kept(row))).collect())
        }),
    };
    let decode = |batch: &RecordBatch| records_rows(batch).map_err(|error| DeltaTableError::Generic(error.to_string()));
    let mut waiting: BTreeMap<i64, Vec<RecordRow>> = BTreeMap::new();
    while let Some(day) = files.keys().next().into_iter().chain(waiting.keys().next()).min().copied() {
        let mut step = Step { day, number: 0 };
        for of_step in steps(files.remove(&day).unwrap_or_default()) {
            let mut deal = |mut rows: Vec<RecordRow>| {
                counts.loaded.fetch_add(rows.len() as u64, Ordering::Relaxed);
                for row in rows.extract_if(.., |row| wanted.day(row) != day) {
                    waiting.entry(wanted.day(&row)).or_default().push(row);
                }
                each(step, rows);
            };
            read(log, of_step, &UNREAD_COLUMNS, Some(keep.clone()), decode, &mut deal).await?;
            step.number += 1;
        }
        let mut rest = waiting.remove(&day).unwrap_or_default();
        rest.sort_by_key(|row| row.event.as_ref().map(|event| event.event_time));
        let (mut rest, mut rows) = (rest.into_iter(), 0);
        while rest.len() > 0 {
            let now: Vec<RecordRow> = rest.by_ref().take(WAITING_ROWS).collect();
            rows += now.len() as u64;
            each(step, now);
            if rows >= STEP_ROWS {
                (step.number, rows) = (step.number + 1, 0);
            }
        }
    }
    Ok(())
}

/// What a start takes from views' own tables, as it is final: the same at any cut since, also where housekeeping has summed it up.
pub enum Final {
    /// Changes of `installs`.
    Installs(Vec<(InstallRow, isize)>),
    /// Of `frequency`, `activity` and `firsts`, what visitors did on days that are sealed.
    Visitors(Vec<OfVisitor>),
    /// Of `identity_links`, those of days that are final, and how often each was said or taken back.
    Links(Vec<(Link, isize)>),
    /// Of `shared_hours`, those of days that are final.
    SharedHours(Vec<SharedHours>),
}

/// Reads what is final of what is needed, from the tables that there are.
pub(super) async fn finals<'a>(
    table: impl Fn(&str) -> Option<&'a TableLog>,
    needed: &Needed,
    mut each: impl FnMut(Final),
) -> Result<(), LedgerError> {
    if let Some((log, times)) = table(INSTALLS.name).zip(needed.final_installs.as_ref()) {
        installs(log, times, |installs| each(Final::Installs(installs))).await?;
    }
    if let Some((log, sealed)) = table(FREQUENCY.name).zip(needed.sealed.clone()) {
        let counts = move |batch: &RecordBatch| {
            let counts = stored::day_counts(batch)?.into_iter();
            let counts = counts.filter(|(visitor, count)| sealed.has(count.tenant, *visitor, count.day));
            Ok(counts.map(|(visitor, count)| (visitor, VisitorInput::Counted(count), 1)).collect())
        };
        of_visitors(log, &["day"], needed.sealed.as_ref(), counts, &mut each).await?;
    }
    if let Some((log, sealed)) = table(ACTIVITY.name).zip(needed.lives.clone()) {
        let days = move |batch: &RecordBatch| {
            let days = stored::active_days(batch)?.into_iter();
            let is_sealed = |of: &Subject, active: &ActiveDay| sealed.has(active.tenant, *of, active.day);
            Ok(days.filter(|(of, input, _)| input.day().is_some_and(|active| is_sealed(of, active))).collect())
        };
        of_visitors(log, &["day"], needed.lives.as_ref(), days, &mut each).await?;
    }
    if let Some((log, sealed)) = table(FIRSTS.name).zip(needed.lives.clone()) {
        let firsts = move |batch: &RecordBatch| {
            let firsts = stored::firsts(batch)?.into_iter();
            let firsts = firsts.filter(|(visitor, first, _)| sealed.has_time(first.tenant, *visitor, first.time));
            Ok(firsts.map(|(visitor, first, diff)| (visitor, VisitorInput::First(first), diff)).collect())
        };
        // A life may have begun at any time.
        of_visitors(log, &["event_time"], None, firsts, &mut each).await?;
    }
    if let Some((log, before)) = table(IDENTITY_LINKS.name).zip(needed.links_before) {
        let (files, keep) = of_times(log, &["day"], EventTime(i64::MIN)..before)?;
        let decode = |batch: &RecordBatch| Ok(stored::links(batch)?);
        read(log, files, &[], Some(keep), decode, &mut |links| each(Final::Links(links))).await?;
    }
    if let Some((log, before)) = table(SHARED_HOURS.name).zip(needed.links_before) {
        let (files, keep) = of_times(log, &["day"], EventTime(i64::MIN)..before)?;
        let decode = |batch: &RecordBatch| Ok(stored::shared_hours(batch)?);
        read(log, files, &[], Some(keep), decode, &mut |hours| each(Final::SharedHours(hours))).await?;
    }
    Ok(())
}

/// The files that may hold rows of these times, and which rows are of them, by a column of times.
fn of_times(
    log: &TableLog,
    column: &'static [&'static str; 1],
    times: Range<EventTime>,
) -> Result<(Vec<StorePath>, Keep), LedgerError> {
    let mut files = Vec::new();
    for file in log.files() {
        let stats = stats(file);
        let bound = |which: &str| stats[which][column[0]].as_i64();
        let may_hold = bound("maxValues").is_none_or(|latest| latest >= times.start.0)
            && bound("minValues").is_none_or(|earliest| earliest < times.end.0);
        if may_hold {
            files.push(file.location().map_err(LedgerError::delta(log.name()))?);
        }
    }
    let rows = move |batch: &RecordBatch| {
        let happened = required(batch, column[0])?.as_primitive::<Int64Type>();
        Ok(happened.values().iter().map(|time| Some(times.contains(&EventTime(*time)))).collect())
    };
    Ok((files, Keep { columns: column, rows: Arc::new(rows) }))
}

/// Reads what a table says of visitors, by a column of times, on days that are sealed; where these are not given, of all times.
async fn of_visitors(
    log: &TableLog,
    column: &'static [&'static str; 1],
    days: Option<&SealedDays>,
    decode: impl Fn(&RecordBatch) -> Result<Vec<OfVisitor>, DeltaTableError> + Clone + Send + 'static,
    mut each: impl FnMut(Final),
) -> Result<(), LedgerError> {
    let since = days.map_or(EventTime(i64::MIN), |days| days.since);
    let (files, keep) = of_times(log, column, since..EventTime(i64::MAX))?;
    read(log, files, &[], Some(keep), decode, &mut |changes| each(Final::Visitors(changes))).await
}

/// Reads the changes of `installs` of these times.
async fn installs(
    log: &TableLog,
    times: &Range<EventTime>,
    mut each: impl FnMut(Vec<(InstallRow, isize)>),
) -> Result<(), LedgerError> {
    let (files, keep) = of_times(log, &["event_time"], times.clone())?;
    let decode = |batch: &RecordBatch| {
        let rows = stored::installs(batch)?;
        let diffs = required(batch, "_diff")?.as_primitive::<Int64Type>();
        Ok(rows.into_iter().zip(diffs.values().iter().map(|diff| *diff as isize)).collect())
    };
    read(log, files, &[], Some(keep), decode, &mut each).await
}

/// Those of some tenants that have records, of whatever verdict.
pub(super) async fn tenants(log: &TableLog, wanted: BTreeSet<Symbol>) -> Result<BTreeSet<Symbol>, LedgerError> {
    let files =
        log.files().map(DataFile::location).collect::<Result<_, _>>().map_err(LedgerError::delta(log.name()))?;
    let keep = Keep {
        columns: &["tenant"],
        rows: Arc::new(move |batch| {
            let tenants = required(batch, "tenant")?.as_primitive::<Int64Type>();
            Ok(tenants
                .iter()
                .map(|tenant| Some(tenant.is_some_and(|tenant| wanted.contains(&Symbol(tenant)))))
                .collect())
        }),
    };
    let decode = |batch: &RecordBatch| {
        let tenants = required(batch, "tenant")?.as_primitive::<Int64Type>();
        let found: BTreeSet<Symbol> = tenants.iter().flatten().map(Symbol).collect();
        Ok(found.into_iter().collect())
    };
    let mut found = BTreeSet::new();
    read(log, files, &UNREAD_COLUMNS, Some(keep), decode, &mut |tenants| found.extend(tenants)).await?;
    Ok(found)
}

/// Reads all names.
pub(super) async fn symbols(log: &TableLog, mut each: impl FnMut(Name)) -> Result<(), LedgerError> {
    let decode = |batch: &RecordBatch| symbols_rows(batch).map_err(|error| DeltaTableError::Generic(error.to_string()));
    let files =
        log.files().map(DataFile::location).collect::<Result<_, _>>().map_err(LedgerError::delta(log.name()))?;
    read(log, files, &[], None, decode, &mut |names| names.into_iter().for_each(&mut each)).await
}

fn required<'a>(batch: &'a RecordBatch, column: &str) -> Result<&'a ArrayRef, ArrowError> {
    let missing = || ArrowError::SchemaError(format!("a file without column {column}"));
    batch.column_by_name(column).ok_or_else(missing)
}

/// Which rows of a file are decoded, by a few of its columns.
#[derive(Clone)]
struct Keep {
    columns: &'static [&'static str],
    rows: Arc<dyn Fn(&RecordBatch) -> Result<BooleanArray, ArrowError> + Send + Sync>,
}

/// A file's statistics; null where it has none.
fn stats(file: &DataFile) -> Value {
    file.stats.as_deref().and_then(|stats| serde_json::from_str(stats).ok()).unwrap_or(Value::Null)
}

/// Reads files of a table, a few at a time.
async fn read<T: Send + 'static>(
    log: &TableLog,
    files: Vec<StorePath>,
    without: &'static [&'static str],
    keep: Option<Keep>,
    decode: impl Fn(&RecordBatch) -> Result<Vec<T>, DeltaTableError> + Clone + Send + 'static,
    each: &mut impl FnMut(Vec<T>),
) -> Result<(), LedgerError> {
    let objects = log.objects();
    let (sender, mut receiver) = mpsc::channel(BATCHES_MAX);
    let decoding = stream::iter(files)
        .map(move |path| {
            let (objects, keep, decode, sender) = (Arc::clone(&objects), keep.clone(), decode.clone(), sender.clone());
            async move {
                failpoint::hit("recovery", "file")?;
                let bytes = objects.get(&path).await?.bytes().await?;
                let decoding = tokio::task::spawn_blocking(move || {
                    // Other clients that compact may embed other Arrow types, as string views: the file's own types are
                    // the same always.
                    let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
                    let mut reader = ParquetRecordBatchReaderBuilder::try_new_with_options(bytes, options)?;
                    let columns = reader.schema().fields().iter().map(|field| field.name().clone());
                    let columns: Vec<_> = columns.filter(|name| !without.contains(&name.as_str())).collect();
                    let mask = ProjectionMask::columns(reader.parquet_schema(), columns.iter().map(String::as_str));
                    if let Some(keep) = keep {
                        let read = ProjectionMask::columns(reader.parquet_schema(), keep.columns.iter().copied());
                        let predicate = ArrowPredicateFn::new(read, move |batch| (keep.rows)(&batch));
                        reader = reader.with_row_filter(RowFilter::new(vec![Box::new(predicate)]));
                    }
                    reader = reader.with_batch_size(BATCH_ROWS).with_projection(mask);
                    for batch in reader.build()? {
                        let rows = decode(&batch?)?;
                        if !rows.is_empty() && sender.blocking_send(rows).is_err() {
                            break;
                        }
                    }
                    Ok::<_, DeltaTableError>(())
                });
                finished(decoding.await)
            }
        })
        .buffer_unordered(FILES_AT_A_TIME)
        .try_collect::<Vec<()>>();
    let consuming = async {
        while let Some(rows) = receiver.recv().await {
            each(rows);
        }
        Ok(())
    };
    futures::try_join!(decoding, consuming).map(|_| ()).map_err(LedgerError::delta(log.name()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_has_whole_files_in_the_order_of_cuts() {
        let files =
            [(7, STEP_ROWS - 1, "d"), (1, 5, "a"), (5, STEP_ROWS * 3, "c"), (1, STEP_ROWS - 5, "b"), (9, 1, "e")];
        let taken = steps(files.map(|(cut, rows, path)| (cut, rows, StorePath::from(path))).into());
        let names = |of: &[&str]| of.iter().map(|path| StorePath::from(*path)).collect::<Vec<_>>();
        assert_eq!(taken, [names(&["a", "b"]), names(&["c"]), names(&["d", "e"])]);
        assert!(steps(Vec::new()).is_empty());
    }
}
