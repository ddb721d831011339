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
//! * `format` of a time: a strftime pattern, `rfc3339`, `epoch_s` or `epoch_ms`; without an offset it is UTC. An entry
//!   may have an `event_time` of its own.
//! * `when`: all of its keys must hold. `COLUMN: [values]`: the column has one of the values. `first_of: COLUMN`: this
//!   is the first row of the file with this value of the column (an empty value is never first). `present: COLUMN`: it
//!   is not empty. `not: {…}`: what is inside does not hold. Without `when` every row emits.
//! * `set`: a field of the event ([`fields`]) from a column (`user: user_id`); from several joined by `|`
//!   (`device: [ip, device, os]`; absent where one of them is); a constant (`{ const: purchase }`); an amount
//!   (`revenue_micros: { column: price, unit: units }`, `unit: micros` is the default); the product of columns
//!   (`{ product: [price, quantity], unit: units }`); a time (`{ column: c, format: rfc3339 }`).
//!
//! An empty cell is an absent field; a float of a Parquet file that is whole reads without its `.0`. Amounts are
//! decimals and never pass through a float. The event id is a hash of the file's content, the row and the entry, unless
//! `set` gives `event_id`. A mistake is one [`ConfigError`].

mod fields;
mod spec;
mod topic;

use std::collections::HashSet;
use std::path::Path;

use schemas::decimal::Decimal;
use schemas::times::TimeFormat;
use schemas::{EventType, wire};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

pub use crate::config::ConfigError;
use crate::config::located::{self, Outline};
use fields::Setter;
pub use fields::{Kind, fields};

/// The most `first_of` columns of a mapping: their answers for a row are bits of a word.
pub const FIRST_OF_MAX: usize = 64;

/// The kinds of file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FileFormat {
    /// Comma-separated with a header, also gzipped.
    Csv,
    /// One JSON object a line, also gzipped. `a.b` names a member of an inner object.
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
    tenant: String,
    app: String,
    entries: Vec<Entry>,
    columns: Vec<Column>,
    first_of: Vec<usize>,
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
    event_time: (usize, TimeFormat),
    set: Vec<(Setter, Value)>,
}

/// Holds when all of its tests do.
#[derive(Clone, Debug, Default)]
struct Condition(Vec<Test>);

#[derive(Clone, Debug)]
enum Test {
    /// Bit of the row's `firsts`.
    First(u32),
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
    /// The product of columns times 10^digits.
    Number { columns: Vec<usize>, digits: i32 },
    /// A time.
    Time(usize, TimeFormat),
}

/// One row, reduced to [`Mapping::columns`]; an absent or empty cell is none.
pub type Cells<'a> = [Option<&'a str>];

/// Which row of which file, for its event ids.
#[derive(Clone, Copy, Debug)]
pub struct RowId<'a> {
    /// SHA-256 of the file's content.
    pub content: &'a [u8; 32],
    /// Number of the row, from 0.
    pub row: u64,
}

impl RowId<'_> {
    /// The event id of an entry: 32 hexadecimal digits.
    fn event_id(&self, entry: usize) -> String {
        let hash = Sha256::new_with_prefix(self.content).chain_update(self.row.to_be_bytes());
        let hash = hash.chain_update((entry as u32).to_be_bytes()).finalize();
        hash[..16].iter().map(|byte| format!("{byte:02x}")).collect()
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
                let message = format!("the file has no column {:?}; it has {}", column.name, header.join(", "));
                self.outline.error(&column.field, message)
            })
        };
        self.columns.iter().map(position).collect()
    }

    /// Says which `first_of` columns have their value for the first time in this row. To be called once for every row,
    /// in the order of the file.
    pub fn firsts(&self, seen: &mut Seen, cells: &Cells<'_>) -> u64 {
        seen.0.resize_with(self.first_of.len(), HashSet::new);
        let mut firsts = 0;
        for (bit, (column, seen)) in self.first_of.iter().zip(&mut seen.0).enumerate() {
            if let Some(text) = cells[*column] {
                let hash: [u8; 32] = Sha256::digest(text).into();
                let key = hash[..16].try_into().expect("16 bytes");
                firsts |= u64::from(seen.insert(key)) << bit;
            }
        }
        firsts
    }

    /// Hands over the event of each entry whose `when` holds, or why it cannot be made. `firsts` is the answer of
    /// [`Mapping::firsts`].
    pub fn apply(
        &self,
        id: RowId<'_>,
        cells: &Cells<'_>,
        firsts: u64,
        mut each: impl FnMut(usize, Result<&wire::Event, String>),
    ) {
        for (index, entry) in self.entries.iter().enumerate() {
            if entry.when.holds(cells, firsts) {
                match self.event(index, id, cells) {
                    Ok(event) => each(index, Ok(&event)),
                    Err(reason) => each(index, Err(reason)),
                }
            }
        }
    }

    /// The event that an entry makes of a row, whether its `when` holds or not; or why it cannot be made.
    pub fn event(&self, index: usize, id: RowId<'_>, cells: &Cells<'_>) -> Result<wire::Event, String> {
        let entry = &self.entries[index];
        let mut event = wire::Event {
            r#type: entry.event_type as i32,
            tenant: self.tenant.clone(),
            app: self.app.clone(),
            event_time: self.time(entry.event_time.0, &entry.event_time.1, cells)?,
            ..wire::Event::default()
        };
        if event.event_time.is_none() {
            return Err(format!(
                "column {}: is empty, but tells the event time",
                self.columns[entry.event_time.0].name
            ));
        }
        for (setter, value) in &entry.set {
            match (setter, value) {
                (Setter::Text(set), Value::Text(columns)) => *set(&mut event) = joined(columns, cells),
                (Setter::Text(set), Value::Const(text)) => set(&mut event).clone_from(text),
                (Setter::Number(set), Value::ConstNumber(number)) => *set(&mut event) = Some(*number),
                (Setter::Number(set), Value::Number { columns, digits }) => {
                    *set(&mut event) = self.number(columns, *digits, cells)?;
                }
                (Setter::Number(set), Value::Time(column, format)) => {
                    *set(&mut event) = self.time(*column, format, cells)?;
                }
                (Setter::Text(_) | Setter::Number(_), _) => unreachable!("a mapping is checked when it is read"),
            }
        }
        if event.event_id.is_empty() {
            event.event_id = id.event_id(index);
        }
        Ok(event)
    }

    fn time(&self, column: usize, format: &TimeFormat, cells: &Cells<'_>) -> Result<Option<i64>, String> {
        let read = |text| format.read(text).map_err(|error| format!("column {}: {error}", self.columns[column].name));
        cells[column].map(read).transpose()
    }

    /// The product of columns; none where one of them is empty.
    fn number(&self, columns: &[usize], digits: i32, cells: &Cells<'_>) -> Result<Option<i64>, String> {
        let mut product: Option<Decimal> = None;
        for column in columns {
            let Some(text) = cells[*column] else { return Ok(None) };
            let name = || &self.columns[*column].name;
            let factor = Decimal::parse(text).map_err(|error| format!("column {}: {error}", name()))?;
            product = Some(match product {
                None => factor,
                Some(product) => {
                    product.times(factor).ok_or_else(|| format!("column {}: the product is too large", name()))?
                }
            });
        }
        let names = || columns.iter().map(|column| self.columns[*column].name.as_str()).collect::<Vec<_>>().join(" × ");
        product.map(|value| value.scaled(digits)).transpose().map_err(|error| format!("column {}: {error}", names()))
    }
}

impl Condition {
    fn holds(&self, cells: &Cells<'_>, firsts: u64) -> bool {
        self.0.iter().all(|test| match test {
            Test::First(bit) => firsts >> bit & 1 == 1,
            Test::In(column, values) => values.iter().any(|value| value == cells[*column].unwrap_or_default()),
            Test::Present(column) => cells[*column].is_some(),
            Test::Not(condition) => !condition.holds(cells, firsts),
        })
    }
}

/// The text of one column; of several joined by `|`, with `\` before each `|` or `\` of theirs, so that different
/// cells never join to the same text. Absent where one of them is.
fn joined(columns: &[usize], cells: &Cells<'_>) -> String {
    if let [column] = columns {
        return cells[*column].unwrap_or_default().to_owned();
    }
    let mut text = String::new();
    for (index, column) in columns.iter().enumerate() {
        let Some(cell) = cells[*column] else { return String::new() };
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
    text
}

#[cfg(test)]
mod tests;
