//! The text of a mapping file, as serde reads it, and its translation into a [`Mapping`] with columns as indexes.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use schemas::EventType;
use schemas::decimal::Decimal;
use schemas::times::TimeFormat;
use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, Deserializer, MapAccess, SeqAccess, Visitor};
use sha2::{Digest, Sha256};

use super::fields::{Kind, SETTERS};
use super::{Arrival, Column, Condition, Entry, FIRST_OF_MAX, FileFormat, Mapping, Test, Value};
use crate::config::located::{self, ConfigError, Outline};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MappingText {
    format: FileFormat,
    tenant: String,
    #[serde(default)]
    app: String,
    event_time: TimeText,
    #[serde(default)]
    arrival: Arrival,
    emit: Vec<EntryText>,
}

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct TimeText {
    column: String,
    format: String,
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

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Detailed {
    column: Option<String>,
    product: Option<Vec<String>>,
    r#const: Option<String>,
    unit: Option<Unit>,
    format: Option<String>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Unit {
    Micros,
    Units,
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
    Checker { outline, columns: Vec::new(), first_of: Vec::new() }.mapping(parsed, identity)
}

struct Checker {
    outline: Outline,
    columns: Vec<Column>,
    first_of: Vec<usize>,
}

impl Checker {
    fn mapping(mut self, text: MappingText, identity: String) -> Result<Mapping, ConfigError> {
        if text.tenant.is_empty() {
            return Err(self.outline.error("tenant", "is empty: write the account that the events belong to"));
        }
        if text.emit.is_empty() {
            return Err(self.outline.error("emit", "has no entry: write at least one, as { type: click, set: {…} }"));
        }
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
            tenant: text.tenant,
            app: text.app,
            entries,
            columns: self.columns,
            first_of: self.first_of,
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
            let Some((_, kind, setter)) = SETTERS.iter().find(|(known, _, _)| *known == name) else {
                let names: Vec<&str> = super::fields().map(|(name, _)| name).collect();
                let message = format!("is no field of an event; write one of {}", names.join(", "));
                return Err(self.outline.error(&field, message));
            };
            set.push((*setter, self.value(&field, *kind, value)?));
        }
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
                    Test::First(bit as u32)
                }
                TestText::Present(name) => Test::Present(self.column(&format!("{field}.present"), name)?),
                TestText::Not(inner) => Test::Not(self.condition(&format!("{field}.not"), inner)?),
                TestText::In(name, values) => {
                    let field = format!("{field}.{name}");
                    if values.is_empty() {
                        let message = "has no value, so that it never holds: write at least one, as [purchase]";
                        return Err(self.outline.error(&field, message));
                    }
                    Test::In(self.column(&field, name)?, values)
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
        let Detailed { column, product, r#const, unit, format } = detailed;
        let refuse = |outline: &Outline, key: &str, what: &str| {
            Err(outline.error(&format!("{field}.{key}"), format!("means nothing here: it is for {what}")))
        };
        if unit.is_some() && kind != Kind::Amount {
            return refuse(&self.outline, "unit", "amounts (revenue_micros, cost_micros)");
        }
        if format.is_some() && kind != Kind::Time {
            return refuse(&self.outline, "format", "times (install_begin_time)");
        }
        if product.is_some() && !matches!(kind, Kind::Amount | Kind::Whole) {
            return refuse(&self.outline, "product", "numbers");
        }
        let digits = if matches!(unit, Some(Unit::Units)) { 6 } else { 0 };
        match (column, product, r#const) {
            (Some(name), None, None) => {
                let own = if format.is_some() || unit.is_some() { format!("{field}.column") } else { field.to_owned() };
                let column = self.column(&own, name)?;
                match kind {
                    Kind::Text => Ok(Value::Text(vec![column])),
                    Kind::Whole | Kind::Amount => Ok(Value::Number { columns: vec![column], digits }),
                    Kind::Time => Ok(Value::Time(column, self.format(field, format.as_deref())?)),
                }
            }
            (None, Some(names), None) if !names.is_empty() => {
                let field = format!("{field}.product");
                let columns = names.into_iter().map(|name| self.column(&field, name)).collect::<Result<Vec<_>, _>>()?;
                Ok(Value::Number { columns, digits })
            }
            (None, None, Some(text)) => {
                let at = format!("{field}.const");
                let number = match kind {
                    Kind::Text => return Ok(Value::Const(text)),
                    Kind::Whole | Kind::Amount => Decimal::parse(&text).and_then(|decimal| decimal.scaled(digits)),
                    Kind::Time => self.format(field, format.as_deref())?.read(&text),
                };
                number.map(Value::ConstNumber).map_err(|message| self.outline.error(&at, message))
            }
            _ => Err(self.outline.error(field, "needs exactly one of column, product, const")),
        }
    }

    fn format(&self, field: &str, format: Option<&str>) -> Result<TimeFormat, ConfigError> {
        let Some(format) = format else {
            let message = "is a time and needs its format, as { column: COLUMN, format: rfc3339 }";
            return Err(self.outline.error(field, message));
        };
        TimeFormat::parse(format).map_err(|message| self.outline.error(&format!("{field}.format"), message))
    }

    fn time(&mut self, field: &str, text: &TimeText) -> Result<(usize, TimeFormat), ConfigError> {
        let format = self.format(field, Some(&text.format))?;
        Ok((self.column(&format!("{field}.column"), text.column.clone())?, format))
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
        Detailed { column: Some(name), product: None, r#const: None, unit: None, format: None }
    }
}
