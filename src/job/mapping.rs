//! Mappings: how the rows of a file become events.
//!
//! ```yaml
//! format: csv                      # or jsonl, parquet
//! tenant: shop
//! app: web                         # may be left out, or set per entry from a column
//! event_time: { column: timestamp, format: "%Y-%m-%d %H:%M:%S" }
//! arrival: import                  # or event_time: history is replayed as if live
//! emit:                            # every entry whose `when` holds emits one event for the row
//!   - { type: click, when: { first_of: session_id }, set: { user: user_id, channel: acquisition_channel } }
//!   - { type: conversion, when: { event: [purchase] }, set: { user: user_id, name: event } }
//! ```
//! * A time is a column, its format (`iso8601`, `epoch_ms`, a strftime pattern, …) and a zone for texts that name no offset.
//!   An entry may have an `event_time` of its own. An event time that cannot be (before `earliest`) is an error of the unit.
//! * `when`: all of its keys must hold. Without `when` every row emits.
//! * `set`: a field of the event ([`fields`]) from a column (`user: user_id`); from several joined by `|`
//!   (`device: [ip, device, os]`; absent where one of them is); a constant (`{ const: purchase }`); a number, an amount or the
//!   product of columns, in the notation that the mapping says; a time.
//!
//! All keys are in `docs/reference/mappings.md`, which is made from [`mod@reference`]. An empty cell is an absent field. Amounts
//! are decimals and never pass through a float; what has more than six decimals is rounded and counted as a fault. The event
//! id is a hash of the file's content, the row and the entry, unless `set` gives `event_id`. An entry that can make no valid
//! event is refused when the mapping is read ([`needs`]). A cell that no field can take ([`Flaw`]) costs the event that one field,
//! unless the event needs it or a condition looks at it. A mistake is one [`ConfigError`].

mod amount;
mod cells;
mod fields;
mod json;
mod layout;
mod needs;
pub mod reference;
mod spec;
mod time;
mod topic;

use std::collections::HashSet;
use std::path::Path;

use encoding_rs::Encoding;
use prost::Message;
use schemas::decimal::Notation;
use schemas::fault::Fault;
use schemas::{EventType, wire};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

pub use crate::job::ConfigError;
use crate::job::located::{self, Outline};
use amount::Unread;
pub use cells::{Cells, Flaw};
use fields::Setter;
pub use fields::{Kind, fields};
pub use json::{JsonColumns, json_text};
pub use layout::{Csv, Header, Quote};
use time::{Bounds, Time};

/// The most `first_of` columns of a mapping: their answers for a row are bits of a word.
pub const FIRST_OF_MAX: usize = 64;

/// As many columns of a file are shown where one is not found.
const SHOWN_MAX: usize = 100;

/// A fault: an amount had more decimals than micros have.
pub const ROUNDED: &str = "rounded to micros";
/// A fault: a number that the event does without is none that is whole.
pub const NO_WHOLE_NUMBER: &str = "no whole number";
/// A fault: a time that the event does without cannot be read.
pub const NO_TIME: &str = "no time";

/// The kinds of file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FileFormat {
    /// Lines of fields, also packed.
    Csv,
    /// JSON objects, one a line, one after another or in an array; also packed. `a.b` names a member of an inner object.
    Jsonl,
    /// Apache Parquet.
    Parquet,
}

/// When the rows of a file arrive.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Arrival {
    /// All at the moment of import: nothing is late.
    #[default]
    Import,
    /// Each when it happened: history is replayed as if live, in the order of event time.
    EventTime,
}

/// A mapping, checked.
#[derive(Clone, Debug)]
pub struct Mapping {
    /// Hash of what it says: two mappings with the same identity make the same events.
    pub identity: String,
    /// Kind of file.
    pub format: FileFormat,
    /// When the rows arrive.
    pub arrival: Arrival,
    /// How the text of the file is encoded; found out where it is not said.
    pub encoding: Option<&'static Encoding>,
    /// How its lines are made up, where it is CSV.
    pub csv: Csv,
    tenant: String,
    app: String,
    entries: Vec<Entry>,
    columns: Vec<Column>,
    first_of: Vec<usize>,
    bounds: Bounds,
    outline: Outline,
}

/// A column that a mapping names, and where it does so first.
#[derive(Clone, Debug)]
struct Column {
    name: String,
    field: String,
}

/// One entry of `emit`; columns are indexes into [`Mapping::columns`].
#[derive(Clone, Debug)]
struct Entry {
    event_type: EventType,
    when: Condition,
    event_time: Time,
    set: Vec<Set>,
}

/// What sets a field.
#[derive(Clone, Debug)]
struct Set {
    field: &'static str,
    setter: Setter,
    /// Whether the event cannot do without a value that can be read ([`needs::is_strict`]).
    strict: bool,
    value: Value,
}

/// Holds when all of its tests do.
#[derive(Clone, Debug, Default)]
struct Condition(Vec<Test>);

#[derive(Clone, Debug)]
enum Test {
    /// A column, and its bit of the row's `firsts`.
    First(usize, u32),
    In(usize, Vec<String>),
    Present(usize),
    Not(Condition),
}

/// Where the text of a field comes from, and how it is read.
#[derive(Clone, Debug)]
enum Value {
    /// Text as it stands: of one column, or of several joined.
    Text(Vec<usize>),
    /// A constant text.
    Const(String),
    /// A constant number.
    ConstNumber(i64),
    /// An amount: the product of columns.
    Amount { columns: Vec<usize>, unit: Unit, notation: Notation },
    /// A whole number: the product of columns.
    Whole { columns: Vec<usize>, notation: Notation },
    /// A time.
    Time(Time),
}

/// What an amount counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Unit {
    #[default]
    Micros,
    Units,
}

/// What an entry makes of a row, reused from row to row.
#[derive(Clone, Debug, Default)]
pub struct Mapped {
    /// The event.
    pub event: wire::Event,
    /// What was wrong with fields that it does without, and amounts that were rounded.
    pub faults: Vec<Fault>,
}

/// Which row of which file, for its event ids.
#[derive(Clone, Copy, Debug)]
pub struct RowId<'a> {
    /// SHA-256 of the file's content.
    pub content: &'a [u8; 32],
    /// Number of the row, from 0.
    pub row: u64,
}

impl RowId<'_> {
    /// Writes the event id of an entry: 32 hexadecimal digits.
    fn write_event_id(&self, entry: usize, to: &mut String) {
        let hash = Sha256::new_with_prefix(self.content).chain_update(self.row.to_be_bytes());
        let hash = hash.chain_update((entry as u32).to_be_bytes()).finalize();
        let digit = |number: u8| char::from(b"0123456789abcdef"[usize::from(number)]);
        to.extend(hash[..16].iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]));
    }
}

/// The values of the `first_of` columns seen so far in a file: 16 bytes (and the set's overhead, about as much) for
/// each distinct one.
#[derive(Clone, Debug, Default)]
pub struct Seen(Vec<HashSet<[u8; 16]>>);

impl Mapping {
    /// Reads and checks a mapping file.
    pub fn read(path: &Path) -> Result<Mapping, ConfigError> {
        Mapping::parse(path, &located::read_text(path)?)
    }

    /// Reads and checks the text of a mapping file; `path` is named in errors.
    pub fn parse(path: &Path, text: &str) -> Result<Mapping, ConfigError> {
        spec::parse(path, text)
    }

    /// The columns that the mapping names.
    pub fn columns(&self) -> impl ExactSizeIterator<Item = &str> {
        self.columns.iter().map(|column| column.name.as_str())
    }

    /// The number of entries of `emit`: a row has that many offsets.
    pub fn entries(&self) -> usize {
        self.entries.len()
    }

    /// Finds the columns in the header of a file; one that is not there is an error.
    pub fn positions(&self, header: &[String]) -> Result<Vec<usize>, ConfigError> {
        let position = |column: &Column| {
            header.iter().position(|name| *name == column.name).ok_or_else(|| {
                // What a file has in its first line may be anything: it must not reach a terminal as it is.
                let has: Vec<String> =
                    header.iter().take(SHOWN_MAX).map(|name| name.escape_debug().to_string()).collect();
                let more = if header.len() > SHOWN_MAX { ", …" } else { "" };
                let message = format!("the file has no column {:?}; it has {}{more}", column.name, has.join(", "));
                self.outline.error(&column.field, message)
            })
        };
        self.columns.iter().map(position).collect()
    }

    /// Says which `first_of` columns have their value for the first time in this row. To be called once for every row,
    /// in the order of the file.
    pub fn firsts(&self, seen: &mut Seen, cells: &Cells) -> u64 {
        seen.0.resize_with(self.first_of.len(), HashSet::new);
        let mut firsts = 0;
        for (bit, (column, seen)) in self.first_of.iter().zip(&mut seen.0).enumerate() {
            // A row that no condition can be decided by is first of nothing.
            let is_read = cells.flaws().iter().all(|(flawed, flaw)| flawed != column || !flaw.is_undecidable());
            if let Some(text) = cells.get(*column).filter(|_| is_read) {
                let hash: [u8; 32] = Sha256::digest(text).into();
                let key = hash[..16].try_into().expect("16 bytes");
                firsts |= u64::from(seen.insert(key)) << bit;
            }
        }
        firsts
    }

    /// Hands over what each entry makes whose `when` holds, or why it cannot; that no `when` can be decided, once. `firsts` is the answer of
    /// [`Mapping::firsts`]; `mapped` is only a place that is used again and again.
    pub fn apply(
        &self,
        id: RowId<'_>,
        cells: &Cells,
        firsts: u64,
        mapped: &mut Mapped,
        mut each: impl FnMut(usize, Result<&Mapped, &str>),
    ) {
        let (flawed, mut told) = (!cells.flaws().is_empty(), false);
        for (index, entry) in self.entries.iter().enumerate() {
            let undecided = flawed && entry.when.flaw(cells).is_some();
            let is_wanted = if undecided { !told } else { entry.when.holds(cells, firsts) };
            told |= undecided;
            if is_wanted {
                match self.event(index, id, cells, mapped) {
                    Ok(()) => each(index, Ok(mapped)),
                    Err(reason) => each(index, Err(&reason)),
                }
            }
        }
    }

    /// Makes the event of an entry from a row, whether its `when` holds or not; or says why it cannot be made.
    pub fn event(&self, index: usize, id: RowId<'_>, cells: &Cells, mapped: &mut Mapped) -> Result<(), String> {
        let entry = &self.entries[index];
        let Mapped { event, faults } = mapped;
        // Clearing keeps the capacity of the texts.
        event.clear();
        faults.clear();
        event.r#type = entry.event_type as i32;
        event.tenant.push_str(&self.tenant);
        event.app.push_str(&self.app);
        let flawed = !cells.flaws().is_empty();
        if flawed && let Some((column, flaw)) = entry.when.flaw(cells).or_else(|| entry.event_time.flaw(cells)) {
            return Err(self.refuse(&[column], flaw.reason()));
        }
        event.event_time = self.time(&entry.event_time, cells)?;
        if event.event_time.is_none() {
            return Err(format!("column {}: is empty, but tells the event time", self.name(entry.event_time.column)));
        }
        for Set { field, setter, strict, value } in &entry.set {
            if flawed && let Some((column, flaw)) = value.flaw(cells) {
                if *strict {
                    return Err(self.refuse(&[column], flaw.reason()));
                }
                faults.push(flaw.fault(field));
                // Of a member that is there twice, the last value stands.
                if flaw != Flaw::Twice {
                    if let Setter::Text(set) = setter {
                        set(event).clear();
                    }
                    continue;
                }
            }
            let fault = |reason: &'static str| Fault { field, reason, value: None };
            let is_cost = |field: &str| entry.event_type == EventType::Cost && field == "cost_micros";
            match (setter, value) {
                (Setter::Text(set), Value::Text(columns)) => {
                    let text = set(event);
                    text.clear();
                    write_joined(columns, cells, text);
                }
                (Setter::Text(set), Value::Const(text)) => set(event).clone_from(text),
                (Setter::Number(set), Value::ConstNumber(number)) => *set(event) = Some(*number),
                (Setter::Number(set), Value::Amount { columns, unit, notation }) => {
                    let amount = match self.product(columns, notation, cells) {
                        Ok(Some(amount)) => Some(amount),
                        Ok(None) if is_cost(field) => return Err(self.empty_cost(columns, cells)),
                        Ok(None) => None,
                        Err(Unread { placeholder: Some(_), column, .. }) if is_cost(field) => {
                            return Err(self.empty_cost(&[column], cells));
                        }
                        Err(Unread { placeholder: Some(placeholder), .. }) => {
                            faults.push(Fault::placeholder(field, &placeholder));
                            None
                        }
                        Err(Unread { column, reason, .. }) => return Err(self.refuse(&[column], &reason)),
                    };
                    let micros = amount.map(|amount| match unit {
                        Unit::Units => amount.to_micros(),
                        Unit::Micros => amount.whole_micros(),
                    });
                    let micros = micros.transpose().map_err(|reason| self.refuse(columns, &reason))?;
                    if micros.is_some_and(|(_, rounded)| rounded) {
                        faults.push(fault(ROUNDED));
                    }
                    *set(event) = micros.map(|(micros, _)| micros);
                }
                (Setter::Number(set), Value::Whole { columns, notation }) => {
                    let whole = self.product(columns, notation, cells).and_then(|number| {
                        number
                            .map(|number| number.scaled(0))
                            .transpose()
                            .map_err(|reason| Unread::of(columns[0], reason))
                    });
                    *set(event) = match whole {
                        Ok(whole) => whole,
                        Err(Unread { column, reason, .. }) if *strict => return Err(self.refuse(&[column], &reason)),
                        Err(Unread { placeholder: Some(placeholder), .. }) => {
                            faults.push(Fault::placeholder(field, &placeholder));
                            None
                        }
                        Err(Unread { placeholder: None, .. }) => {
                            faults.push(fault(NO_WHOLE_NUMBER));
                            None
                        }
                    };
                }
                (Setter::Number(set), Value::Time(time)) => {
                    *set(event) = self.time(time, cells).unwrap_or_else(|_| {
                        faults.push(fault(NO_TIME));
                        None
                    });
                }
                (Setter::Text(_) | Setter::Number(_), _) => unreachable!("a mapping is checked when it is read"),
            }
        }
        if flawed && let Some((column, flaw)) = needs::lacking(entry, event, cells) {
            return Err(self.refuse(&[column], flaw.reason()));
        }
        if event.event_id.is_empty() {
            id.write_event_id(index, &mut event.event_id);
        }
        Ok(())
    }

    fn name(&self, column: usize) -> &str {
        &self.columns[column].name
    }

    /// A reason with the columns that it is about.
    fn refuse(&self, columns: &[usize], reason: &str) -> String {
        let names: Vec<&str> = columns.iter().map(|column| self.name(*column)).collect();
        format!("column {}: {reason}", names.join(" × "))
    }

    fn time(&self, time: &Time, cells: &Cells) -> Result<Option<i64>, String> {
        let Some(text) = cells.get(time.column) else { return Ok(None) };
        time.read(text, cells, &self.bounds).map(Some).map_err(|(column, reason)| self.refuse(&[column], &reason))
    }
}

impl Value {
    /// What is wrong with the first of its columns that cannot be taken as it is.
    fn flaw(&self, cells: &Cells) -> Option<(usize, Flaw)> {
        let columns = match self {
            Value::Text(columns) | Value::Amount { columns, .. } | Value::Whole { columns, .. } => columns,
            Value::Const(_) | Value::ConstNumber(_) => return None,
            Value::Time(time) => return time.flaw(cells),
        };
        // Where one is there twice and another cannot be read at all, the field is absent.
        let flaws = cells.flaws().iter().filter(|(column, _)| columns.contains(column));
        flaws.min_by_key(|(_, flaw)| *flaw == Flaw::Twice).copied()
    }
}

impl Condition {
    fn holds(&self, cells: &Cells, firsts: u64) -> bool {
        self.0.iter().all(|test| match test {
            Test::First(_, bit) => firsts >> bit & 1 == 1,
            Test::In(column, values) => {
                let cell = cells.get(*column).unwrap_or_default();
                values.iter().any(|value| value == cell)
            }
            Test::Present(column) => cells.get(*column).is_some(),
            Test::Not(condition) => !condition.holds(cells, firsts),
        })
    }

    /// The cell by which it cannot be decided: conditions tell what a row is, so nothing is guessed.
    fn flaw(&self, cells: &Cells) -> Option<(usize, Flaw)> {
        let undecidable = |column: usize| {
            cells.flaws().iter().find(|(flawed, flaw)| *flawed == column && flaw.is_undecidable()).copied()
        };
        self.0.iter().find_map(|test| match test {
            Test::First(column, _) | Test::In(column, _) | Test::Present(column) => undecidable(*column),
            Test::Not(condition) => condition.flaw(cells),
        })
    }
}

/// Writes the text of one column; of several joined by `|`, with `\` before each `|` or `\` of theirs, so that different
/// cells never join to the same text. Nothing where one of them is absent.
fn write_joined(columns: &[usize], cells: &Cells, text: &mut String) {
    if let [column] = columns {
        return text.push_str(cells.get(*column).unwrap_or_default());
    }
    for (index, column) in columns.iter().enumerate() {
        let Some(cell) = cells.get(*column) else { return text.clear() };
        if index > 0 {
            text.push('|');
        }
        for character in cell.chars() {
            if matches!(character, '|' | '\\') {
                text.push('\\');
            }
            text.push(character);
        }
    }
}

#[cfg(test)]
mod tests;
