//! The text of a mapping file, as serde reads it, and its translation into a [`Mapping`] with columns as indexes.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use schemas::EventType;
use schemas::decimal::Notation;
use schemas::decode::NAME_BYTES_MAX;
use schemas::times::{TimeFormat, Zone};
use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, Deserializer, MapAccess, SeqAccess, Visitor};
use sha2::{Digest, Sha256};

use super::fields::{Kind, SETTERS};
use super::layout::{CsvText, encoding};
use super::time::{Bounds, Time, ZoneOf};
use super::{Arrival, Column, Condition, Entry, FIRST_OF_MAX, FileFormat, Mapping, Set, Test, Unit, Value, needs};
use crate::job::located::{self, ConfigError, Outline};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MappingText {
    format: FileFormat,
    tenant: String,
    #[serde(default)]
    app: String,
    event_time: TimeText,
    time_zone: Option<String>,
    earliest: Option<String>,
    decimal: Option<String>,
    thousands: Option<String>,
    strip: Option<Vec<String>>,
    #[serde(default)]
    arrival: Arrival,
    encoding: Option<String>,
    csv: Option<CsvText>,
    emit: Vec<EntryText>,
}

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct TimeText {
    column: String,
    format: Option<String>,
    zone: Option<ZoneText>,
}

/// A zone by name, or the column that names it.
#[derive(Clone, Deserialize)]
#[serde(untagged)]
enum ZoneText {
    Name(String),
    Column(ZoneColumn),
}

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct ZoneColumn {
    column: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EntryText {
    #[serde(rename = "type")]
    event_type: EventType,
    #[serde(default)]
    when: ConditionText,
    #[serde(default)]
    set: BTreeMap<String, ValueText>,
    event_time: Option<TimeText>,
}

#[derive(Default)]
struct ConditionText(Vec<TestText>);

enum TestText {
    FirstOf(String),
    Present(String),
    Not(ConditionText),
    In(String, Vec<String>),
}

impl<'de> Deserialize<'de> for ConditionText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<ConditionText, D::Error> {
        deserializer.deserialize_map(ConditionVisitor)
    }
}

struct ConditionVisitor;

impl<'de> Visitor<'de> for ConditionVisitor {
    type Value = ConditionText;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("conditions: { COLUMN: [values], first_of: COLUMN, present: COLUMN, not: {…} }")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<ConditionText, A::Error> {
        let mut tests = Vec::new();
        while let Some(key) = entries.next_key::<String>()? {
            tests.push(match key.as_str() {
                "first_of" => TestText::FirstOf(entries.next_value()?),
                "present" => TestText::Present(entries.next_value()?),
                "not" => TestText::Not(entries.next_value()?),
                _ => TestText::In(key, entries.next_value()?),
            });
        }
        Ok(ConditionText(tests))
    }
}

enum ValueText {
    Column(String),
    Columns(Vec<String>),
    Detailed(Detailed),
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Detailed {
    column: Option<String>,
    product: Option<Vec<String>>,
    r#const: Option<String>,
    unit: Option<Unit>,
    decimal: Option<String>,
    thousands: Option<String>,
    strip: Option<Vec<String>>,
    format: Option<String>,
    zone: Option<ZoneText>,
}

impl<'de> Deserialize<'de> for ValueText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<ValueText, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = ValueText;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "a column, a list of columns, or { const: VALUE }, { column: COLUMN, … }, { product: [columns], … }",
        )
    }

    fn visit_str<E: de::Error>(self, column: &str) -> Result<ValueText, E> {
        Ok(ValueText::Column(column.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<ValueText, A::Error> {
        let mut columns = Vec::new();
        while let Some(column) = items.next_element()? {
            columns.push(column);
        }
        Ok(ValueText::Columns(columns))
    }

    fn visit_map<A: MapAccess<'de>>(self, entries: A) -> Result<ValueText, A::Error> {
        Detailed::deserialize(MapAccessDeserializer::new(entries)).map(ValueText::Detailed)
    }
}

/// Reads and checks the text of a mapping.
pub(super) fn parse(path: &Path, text: &str) -> Result<Mapping, ConfigError> {
    let (parsed, outline) = located::from_text::<MappingText>(path, text)?;
    // What it says, not how: comments, order of fields and spaces are free.
    let (said, _) = located::from_text::<serde_json::Value>(path, text)?;
    let identity = Sha256::digest(said.to_string()).iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    Checker { outline, columns: Vec::new(), first_of: Vec::new(), common: Common::default() }.mapping(parsed, identity)
}

struct Checker {
    outline: Outline,
    columns: Vec<Column>,
    first_of: Vec<usize>,
    common: Common,
}

/// What holds where a value says nothing of its own.
#[derive(Default)]
struct Common {
    format: Option<FileFormat>,
    zone: Option<Zone>,
    decimal: Option<String>,
    thousands: Option<String>,
    strip: Option<Vec<String>>,
}

impl Checker {
    fn mapping(mut self, text: MappingText, identity: String) -> Result<Mapping, ConfigError> {
        if text.tenant.trim().is_empty() {
            return Err(self.outline.error("tenant", "is empty: write the account that the events belong to"));
        }
        if text.tenant.trim().len() > NAME_BYTES_MAX {
            return Err(self
                .outline
                .error("tenant", format!("is longer than {NAME_BYTES_MAX} bytes: write a shorter one")));
        }
        if text.emit.is_empty() {
            return Err(self.outline.error("emit", "has no entry: write at least one, as { type: click, set: {…} }"));
        }
        let zone = text.time_zone.as_deref().map(Zone::parse).transpose();
        let MappingText { decimal, thousands, strip, .. } = text;
        self.common = Common {
            format: Some(text.format),
            zone: zone.map_err(|message| self.outline.error("time_zone", message))?,
            decimal,
            thousands,
            strip,
        };
        self.notation("", [None, None], None)?;
        let earliest_ms = match &text.earliest {
            Some(text) => TimeFormat::Iso8601.read(text).map_err(|message| self.outline.error("earliest", message))?,
            None => Bounds::EARLIEST_MS_DEFAULT,
        };
        if text.csv.is_some() && text.format != FileFormat::Csv {
            return Err(self.outline.error("csv", "means nothing here: it is for `format: csv`"));
        }
        if text.encoding.is_some() && text.format == FileFormat::Parquet {
            return Err(self.outline.error("encoding", "means nothing here: it is for `format: csv` and `jsonl`"));
        }
        let encoding = text.encoding.as_deref().map(encoding).transpose();
        let encoding = encoding.map_err(|message| self.outline.error("encoding", message))?;
        let csv = text.csv.unwrap_or_default().checked().map_err(|(key, message)| self.outline.error(key, message))?;
        // Entries that have a time of their own may leave the common one unused, so it is read only where it is needed.
        let mut entries = Vec::with_capacity(text.emit.len());
        for (index, entry) in text.emit.into_iter().enumerate() {
            entries.push(self.entry(&format!("emit[{index}]"), entry, &text.event_time)?);
        }
        if self.first_of.len() > FIRST_OF_MAX {
            let message = format!("names {} columns in `first_of`: at most {FIRST_OF_MAX} may be", self.first_of.len());
            return Err(self.outline.error("emit", message));
        }
        Ok(Mapping {
            identity,
            format: text.format,
            arrival: text.arrival,
            encoding,
            csv,
            tenant: text.tenant,
            app: text.app,
            entries,
            columns: self.columns,
            first_of: self.first_of,
            bounds: Bounds { earliest_ms },
            outline: self.outline,
        })
    }

    fn entry(&mut self, field: &str, entry: EntryText, common: &TimeText) -> Result<Entry, ConfigError> {
        let event_time = match &entry.event_time {
            Some(own) => self.time(&format!("{field}.event_time"), own)?,
            None => self.time("event_time", common)?,
        };
        let when = self.condition(&format!("{field}.when"), entry.when)?;
        let mut set = Vec::with_capacity(entry.set.len());
        for (name, value) in entry.set {
            let field = format!("{field}.set.{name}");
            let Some((known, kind, setter)) = SETTERS.iter().find(|(known, _, _)| *known == name) else {
                let names: Vec<&str> = super::fields().map(|(name, _)| name).collect();
                let message = format!("is no field of an event; write one of {}", names.join(", "));
                return Err(self.outline.error(&field, message));
            };
            let value = self.value(&field, *kind, value)?;
            let strict = needs::is_strict(entry.event_type, known);
            set.push(Set { field: known, setter: *setter, strict, value });
        }
        needs::check_constants(entry.event_type, &set)
            .map_err(|(name, message)| self.outline.error(&format!("{field}.set.{name}.const"), message))?;
        needs::check(entry.event_type, &set).map_err(|message| self.outline.error(&format!("{field}.set"), message))?;
        Ok(Entry { event_type: entry.event_type, when, event_time, set })
    }

    fn condition(&mut self, field: &str, text: ConditionText) -> Result<Condition, ConfigError> {
        let mut tests = Vec::with_capacity(text.0.len());
        for test in text.0 {
            tests.push(match test {
                TestText::FirstOf(name) => {
                    let column = self.column(&format!("{field}.first_of"), name)?;
                    let known = self.first_of.iter().position(|known| *known == column);
                    let bit = known.unwrap_or_else(|| {
                        self.first_of.push(column);
                        self.first_of.len() - 1
                    });
                    Test::First(column, bit as u32)
                }
                TestText::Present(name) => Test::Present(self.column(&format!("{field}.present"), name)?),
                TestText::Not(inner) => Test::Not(self.condition(&format!("{field}.not"), inner)?),
                TestText::In(name, values) => {
                    let field = format!("{field}.{name}");
                    if values.is_empty() {
                        let message = "has no value, so that it never holds: write at least one, as [purchase]";
                        return Err(self.outline.error(&field, message));
                    }
                    // Blanks around cells do not count either.
                    Test::In(self.column(&field, name)?, values.iter().map(|value| value.trim().to_owned()).collect())
                }
            });
        }
        Ok(Condition(tests))
    }

    fn value(&mut self, field: &str, kind: Kind, text: ValueText) -> Result<Value, ConfigError> {
        let detailed = match text {
            ValueText::Column(name) => Detailed::of_column(name),
            ValueText::Columns(names) if kind == Kind::Text => {
                let columns = names.into_iter().map(|name| self.column(field, name)).collect::<Result<Vec<_>, _>>()?;
                if columns.is_empty() {
                    return Err(self.outline.error(field, "has no column: write at least one"));
                }
                return Ok(Value::Text(columns));
            }
            ValueText::Columns(_) => {
                return Err(self.outline.error(field, "is a number, which is no list of columns: write one column"));
            }
            ValueText::Detailed(detailed) => detailed,
        };
        let Detailed { column, product, r#const, unit, decimal, thousands, strip, format, zone } = detailed;
        let number = matches!(kind, Kind::Amount | Kind::Whole);
        let meaningless = [
            ("unit", unit.is_some() && kind != Kind::Amount, "amounts (revenue_micros, cost_micros)"),
            ("decimal", decimal.is_some() && !number, "numbers"),
            ("thousands", thousands.is_some() && !number, "numbers"),
            ("strip", strip.is_some() && !number, "numbers"),
            ("product", product.is_some() && !number, "numbers"),
            ("format", format.is_some() && kind != Kind::Time, "times (install_begin_time)"),
            ("zone", zone.is_some() && kind != Kind::Time, "times (install_begin_time)"),
        ];
        if let Some((key, _, what)) = meaningless.into_iter().find(|(_, is, _)| *is) {
            return Err(self.outline.error(&format!("{field}.{key}"), format!("means nothing here: it is for {what}")));
        }
        let plain = unit.is_none() && format.is_none();
        let unit = unit.unwrap_or_default();
        let notation = self.notation(field, [decimal, thousands], strip)?;
        let of_columns = |columns| match kind {
            Kind::Whole => Value::Whole { columns, notation: notation.clone() },
            _ => Value::Amount { columns, unit, notation: notation.clone() },
        };
        match (column, product, r#const) {
            (Some(column), None, None) if kind == Kind::Time => {
                Ok(Value::Time(self.time(field, &TimeText { column, format, zone })?))
            }
            (Some(name), None, None) => {
                let own = if plain { field.to_owned() } else { format!("{field}.column") };
                let columns = vec![self.column(&own, name)?];
                Ok(if kind == Kind::Text { Value::Text(columns) } else { of_columns(columns) })
            }
            (None, Some(names), None) if !names.is_empty() => {
                let field = format!("{field}.product");
                let columns = names.into_iter().map(|name| self.column(&field, name)).collect::<Result<Vec<_>, _>>()?;
                Ok(of_columns(columns))
            }
            (None, None, Some(text)) => {
                let number = match kind {
                    Kind::Text => return Ok(Value::Const(text)),
                    Kind::Whole => notation.parse(&text).and_then(|number| number.scaled(0)),
                    // Here nothing is rounded: whoever writes a constant can write what is meant.
                    Kind::Amount => {
                        let digits = if unit == Unit::Units { 6 } else { 0 };
                        notation.parse(&text).and_then(|number| number.scaled(digits))
                    }
                    Kind::Time => self.format(field, format.as_deref())?.read(&text),
                };
                let at = format!("{field}.const");
                number.map(Value::ConstNumber).map_err(|message| self.outline.error(&at, message))
            }
            _ => Err(self.outline.error(field, "needs exactly one of column, product, const")),
        }
    }

    /// How numbers are written: what a value says, or else the mapping.
    fn notation(
        &self,
        field: &str,
        [decimal, thousands]: [Option<String>; 2],
        strip: Option<Vec<String>>,
    ) -> Result<Notation, ConfigError> {
        let common = &self.common;
        let decimal = decimal.as_deref().or(common.decimal.as_deref());
        let thousands = thousands.as_deref().or(common.thousands.as_deref());
        let strip = strip.or_else(|| common.strip.clone()).unwrap_or_default();
        Notation::new(decimal, thousands, strip).map_err(|message| self.outline.error(field, message))
    }

    fn format(&self, field: &str, format: Option<&str>) -> Result<TimeFormat, ConfigError> {
        match format {
            Some(format) => {
                TimeFormat::parse(format).map_err(|message| self.outline.error(&format!("{field}.format"), message))
            }
            // Times of a Parquet file have a type of their own, and come as ISO 8601.
            None if self.common.format == Some(FileFormat::Parquet) => Ok(TimeFormat::Iso8601),
            None => {
                let message = "is a time and needs its format, as { column: COLUMN, format: iso8601 }";
                Err(self.outline.error(field, message))
            }
        }
    }

    fn time(&mut self, field: &str, text: &TimeText) -> Result<Time, ConfigError> {
        let format = self.format(field, text.format.as_deref())?;
        let at = format!("{field}.zone");
        if text.zone.is_some() && format.is_epoch() {
            let message = format!("means nothing here: a time in the format {format} is the same in every zone");
            return Err(self.outline.error(&at, message));
        }
        let column = self.column(&format!("{field}.column"), text.column.clone())?;
        let zone = match &text.zone {
            None => ZoneOf::Fixed(self.common.zone.unwrap_or(Zone::UTC)),
            Some(ZoneText::Name(name)) => {
                ZoneOf::Fixed(Zone::parse(name).map_err(|message| self.outline.error(&at, message))?)
            }
            Some(ZoneText::Column(ZoneColumn { column })) => {
                ZoneOf::Column(self.column(&at, column.clone())?, self.common.zone.unwrap_or(Zone::UTC))
            }
        };
        Ok(Time { column, format, zone })
    }

    fn column(&mut self, field: &str, name: String) -> Result<usize, ConfigError> {
        if name.is_empty() {
            return Err(self.outline.error(field, "is empty: write the name of a column"));
        }
        let known = self.columns.iter().position(|column| column.name == name);
        Ok(known.unwrap_or_else(|| {
            self.columns.push(Column { name, field: field.to_owned() });
            self.columns.len() - 1
        }))
    }
}

impl Detailed {
    fn of_column(name: String) -> Detailed {
        Detailed { column: Some(name), ..Detailed::default() }
    }
}
