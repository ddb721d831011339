//! How results print: an aligned table for people, CSV for tools, a JSON array of objects for programs.
//!
//! Everywhere: ids (binary values) are lower-case hex, times are RFC 3339 with milliseconds in UTC, lists and structs
//! are JSON. A null is an empty cell in a table and in CSV, and `null` in JSON. Only a table abbreviates long cells.
//!
//! Control characters that come from data never reach a terminal as such, where they would clear the screen or forge
//! lines: they are written as `\u{1b}`, always in tables, and in CSV on a terminal. JSON has escapes of its own for them. CSV
//! for files and other programs is left as the data is.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::io::{IsTerminal, Write};

use arrow::array::{Array, AsArray, RecordBatch, StructArray};
use arrow::datatypes::{
    DataType, Decimal128Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, SchemaRef, TimeUnit,
    TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType, UInt8Type,
    UInt16Type, UInt32Type, UInt64Type,
};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use chrono::{DateTime, SecondsFormat};

use super::SqlError;
pub use crate::clock::rfc3339;

/// The form of output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// Aligned columns, for people.
    #[default]
    Table,
    /// Comma-separated values with a header.
    Csv,
    /// One JSON array of objects.
    Json,
}

/// Rows of a table that are aligned together, so that a large result prints in bounded memory.
const ALIGNED_ROWS_MAX: usize = 10_000;

/// Characters of a cell in a table: a path of many touches would push all other columns off the screen. CSV and JSON
/// print everything.
const CELL_CHARS_MAX: usize = 80;

/// Prints the batches of one result as they come.
pub struct Writer<W: Write> {
    out: W,
    schema: SchemaRef,
    form: Form,
    /// Whether a terminal is to show it.
    terminal: bool,
    rows: usize,
}

enum Form {
    Table { waiting: Vec<Vec<String>> },
    Csv(Box<csv::Writer<Vec<u8>>>),
    Json,
}

/// Whether standard output is a terminal.
pub fn to_terminal() -> bool {
    std::io::stdout().is_terminal()
}

impl<W: Write> Writer<W> {
    /// Begins a result with these columns; `terminal` says whether one is to show it.
    pub fn new(mut out: W, schema: SchemaRef, format: Format, terminal: bool) -> Result<Writer<W>, SqlError> {
        let form = match format {
            Format::Table => Form::Table { waiting: Vec::new() },
            Format::Csv => {
                let mut csv = csv::Writer::from_writer(Vec::new());
                csv.write_record(schema.fields().iter().map(|field| shown(field.name(), terminal).into_owned()))?;
                Form::Csv(Box::new(csv))
            }
            Format::Json => {
                out.write_all(b"[")?;
                Form::Json
            }
        };
        Ok(Writer { out, schema, form, terminal, rows: 0 })
    }

    /// Prints the rows of a batch.
    pub fn batch(&mut self, batch: &RecordBatch) -> Result<(), SqlError> {
        for row in 0..batch.num_rows() {
            let cells = || batch.columns().iter().map(move |column| cell(column, row).unwrap_or_default());
            match &mut self.form {
                Form::Table { waiting } => {
                    waiting.push(cells().map(|cell| abbreviated(without_controls(&cell).into_owned())).collect());
                    if waiting.len() == ALIGNED_ROWS_MAX {
                        self.flush_table()?;
                    }
                }
                Form::Csv(csv) => csv.write_record(cells().map(|cell| shown(&cell, self.terminal).into_owned()))?,
                Form::Json => {
                    let mut line = String::from(if self.rows == 0 { "\n" } else { ",\n" });
                    object(&mut line, self.schema.fields().iter().map(|f| f.name()).zip(batch.columns()), row);
                    self.out.write_all(line.as_bytes())?;
                }
            }
            self.rows += 1;
        }
        if let Form::Csv(csv) = &mut self.form {
            csv.flush()?;
            let text = std::mem::replace(&mut **csv, csv::Writer::from_writer(Vec::new()));
            self.out.write_all(&text.into_inner().map_err(|failed| failed.into_error())?)?;
        }
        Ok(())
    }

    /// Ends the result; the number of rows that were printed.
    pub fn finish(mut self) -> Result<usize, SqlError> {
        match &self.form {
            Form::Table { waiting } => {
                if !waiting.is_empty() || self.rows == 0 {
                    self.flush_table()?;
                }
                writeln!(self.out, "({} row{})", self.rows, if self.rows == 1 { "" } else { "s" })?;
            }
            Form::Csv(_) => {
                // The header of a result without batches is still in the writer.
                let empty = RecordBatch::new_empty(self.schema.clone());
                self.batch(&empty)?;
            }
            Form::Json => self.out.write_all(if self.rows == 0 { b"]\n" } else { b"\n]\n" })?,
        }
        self.out.flush()?;
        Ok(self.rows)
    }

    fn flush_table(&mut self) -> Result<(), SqlError> {
        let Form::Table { waiting } = &mut self.form else { return Ok(()) };
        let rows = std::mem::take(waiting);
        let fields = self.schema.fields();
        let right: Vec<bool> = fields.iter().map(|field| field.data_type().is_numeric()).collect();
        let header: Vec<String> = fields.iter().map(|field| without_controls(field.name()).into_owned()).collect();
        self.out.write_all(aligned(&header, &rows, &right).as_bytes())?;
        Ok(())
    }
}

/// A text with its control characters (C0, DEL, C1) written out, as `\u{1b}`; also those that change the direction of
/// what follows on the screen.
pub fn without_controls(text: &str) -> Cow<'_, str> {
    let hidden = |char: char| {
        char.is_control() || matches!(char, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{2028}' | '\u{2029}')
    };
    if !text.contains(hidden) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 8);
    for char in text.chars() {
        match char {
            '\n' => escaped.push_str("\\n"),
            '\r' => escaped.push_str("\\r"),
            '\t' => escaped.push_str("\\t"),
            char if hidden(char) => escaped.extend(char.escape_unicode()),
            char => escaped.push(char),
        }
    }
    Cow::Owned(escaped)
}

fn shown(text: &str, terminal: bool) -> Cow<'_, str> {
    if terminal { without_controls(text) } else { Cow::Borrowed(text) }
}

fn abbreviated(cell: String) -> String {
    match cell.char_indices().nth(CELL_CHARS_MAX) {
        // The mark takes the place of the last character.
        Some(_) => cell.chars().take(CELL_CHARS_MAX - 1).chain(['…']).collect(),
        None => cell,
    }
}

/// Aligns rows under a header; `right` tells which columns stand at the right.
pub fn aligned(header: &[String], rows: &[Vec<String>], right: &[bool]) -> String {
    let mut widths: Vec<usize> = header.iter().map(|name| name.chars().count()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    let line = |text: &mut String, cells: &[String]| {
        let start = text.len();
        for ((cell, width), right) in cells.iter().zip(&widths).zip(right) {
            let separator = if text.len() == start { "" } else { "  " };
            let _ = if *right {
                write!(text, "{separator}{cell:>width$}")
            } else {
                write!(text, "{separator}{cell:<width$}")
            };
        }
        text.truncate(text.trim_end_matches(' ').len());
        text.push('\n');
    };
    line(&mut text, header);
    line(&mut text, &widths.iter().map(|width| "-".repeat(*width)).collect::<Vec<_>>());
    rows.iter().for_each(|row| line(&mut text, row));
    text
}

/// A value as the text of a cell; none where it is null.
pub fn cell(array: &dyn Array, row: usize) -> Option<String> {
    if array.is_null(row) {
        return None;
    }
    match scalar(array, row) {
        Some(Scalar::Text(text) | Scalar::Bare(text)) => Some(text),
        None => {
            let mut text = String::new();
            json(&mut text, array, row);
            Some(text)
        }
    }
}

/// Appends a value as JSON.
pub fn json(text: &mut String, array: &dyn Array, row: usize) {
    if array.is_null(row) {
        text.push_str("null");
        return;
    }
    match scalar(array, row) {
        Some(Scalar::Bare(bare)) => text.push_str(&bare),
        Some(Scalar::Text(plain)) => quoted(text, &plain),
        None => match array.data_type() {
            DataType::Struct(_) => structure(text, array.as_struct(), row),
            DataType::LargeList(_) => list(text, array.as_list::<i64>().value(row).as_ref()),
            _ => list(text, array.as_list::<i32>().value(row).as_ref()),
        },
    }
}

/// Appends the columns of one row as a JSON object, in their order.
pub fn object<'a, A: AsRef<dyn Array> + 'a>(
    text: &mut String,
    columns: impl Iterator<Item = (&'a String, &'a A)>,
    row: usize,
) {
    text.push('{');
    for (index, (name, column)) in columns.enumerate() {
        text.push_str(if index == 0 { "" } else { "," });
        quoted(text, name);
        text.push(':');
        json(text, column.as_ref(), row);
    }
    text.push('}');
}

fn structure(text: &mut String, array: &StructArray, row: usize) {
    object(text, array.fields().iter().map(|field| field.name()).zip(array.columns()), row);
}

fn list(text: &mut String, values: &dyn Array) {
    text.push('[');
    for row in 0..values.len() {
        text.push_str(if row == 0 { "" } else { "," });
        json(text, values, row);
    }
    text.push(']');
}

fn quoted(text: &mut String, plain: &str) {
    // Serialising a string cannot fail. It escapes C0; DEL and C1 move cursors as well.
    let json = serde_json::to_string(plain).unwrap_or_default();
    for char in json.chars() {
        match char {
            '\u{7f}'..='\u{9f}' => {
                let _ = write!(text, "\\u{:04x}", u32::from(char));
            }
            char => text.push(char),
        }
    }
}

/// A value that is no list or struct: JSON quotes `Text` and takes `Bare` as it is.
enum Scalar {
    Text(String),
    Bare(String),
}

fn scalar(array: &dyn Array, row: usize) -> Option<Scalar> {
    macro_rules! number {
        ($type:ty) => {
            Scalar::Bare(array.as_primitive::<$type>().value(row).to_string())
        };
    }
    macro_rules! float {
        ($type:ty) => {{
            let value = array.as_primitive::<$type>().value(row);
            // JSON knows no infinity and no NaN.
            if value.is_finite() { Scalar::Bare(value.to_string()) } else { Scalar::Text(value.to_string()) }
        }};
    }
    Some(match array.data_type() {
        DataType::List(_) | DataType::LargeList(_) | DataType::Struct(_) => return None,
        DataType::Boolean => Scalar::Bare(array.as_boolean().value(row).to_string()),
        DataType::Int8 => number!(Int8Type),
        DataType::Int16 => number!(Int16Type),
        DataType::Int32 => number!(Int32Type),
        DataType::Int64 => number!(Int64Type),
        DataType::UInt8 => number!(UInt8Type),
        DataType::UInt16 => number!(UInt16Type),
        DataType::UInt32 => number!(UInt32Type),
        DataType::UInt64 => number!(UInt64Type),
        DataType::Float32 => float!(Float32Type),
        DataType::Float64 => float!(Float64Type),
        DataType::Decimal128(_, scale) => {
            Scalar::Bare(<Decimal128Type as arrow::datatypes::DecimalType>::format_decimal(
                array.as_primitive::<Decimal128Type>().value(row),
                38,
                *scale,
            ))
        }
        DataType::Utf8 => Scalar::Text(array.as_string::<i32>().value(row).to_owned()),
        DataType::LargeUtf8 => Scalar::Text(array.as_string::<i64>().value(row).to_owned()),
        DataType::Utf8View => Scalar::Text(array.as_string_view().value(row).to_owned()),
        DataType::Binary => Scalar::Text(hex(array.as_binary::<i32>().value(row))),
        DataType::LargeBinary => Scalar::Text(hex(array.as_binary::<i64>().value(row))),
        DataType::BinaryView => Scalar::Text(hex(array.as_binary_view().value(row))),
        DataType::FixedSizeBinary(_) => Scalar::Text(hex(array.as_fixed_size_binary().value(row))),
        DataType::Timestamp(unit, _) => Scalar::Text(time(unit, array, row)),
        _ => {
            let options = FormatOptions::default();
            let formatter = ArrayFormatter::try_new(array, &options);
            Scalar::Text(formatter.map_or_else(|error| error.to_string(), |known| known.value(row).to_string()))
        }
    })
}

fn time(unit: &TimeUnit, array: &dyn Array, row: usize) -> String {
    let (value, at) = match unit {
        TimeUnit::Second => {
            let value = array.as_primitive::<TimestampSecondType>().value(row);
            (value, DateTime::from_timestamp(value, 0))
        }
        TimeUnit::Millisecond => {
            let value = array.as_primitive::<TimestampMillisecondType>().value(row);
            (value, DateTime::from_timestamp_millis(value))
        }
        TimeUnit::Microsecond => {
            let value = array.as_primitive::<TimestampMicrosecondType>().value(row);
            (value, DateTime::from_timestamp_micros(value))
        }
        TimeUnit::Nanosecond => {
            let value = array.as_primitive::<TimestampNanosecondType>().value(row);
            (value, Some(DateTime::from_timestamp_nanos(value)))
        }
    };
    // A time past the calendar's end prints as its number.
    at.map_or_else(|| value.to_string(), |at| at.to_rfc3339_opts(SecondsFormat::Millis, true))
}

/// Bytes as lower-case hex.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{
        ArrayRef, BinaryArray, Float64Array, Int64Array, ListArray, StringArray, StructArray, TimestampMillisecondArray,
    };
    use arrow::buffer::OffsetBuffer;
    use arrow::datatypes::{Field, Fields, Schema};

    use super::*;

    fn batch() -> RecordBatch {
        let ids: ArrayRef = Arc::new(BinaryArray::from_opt_vec(vec![Some(&[0u8, 171][..]), None]));
        let times: ArrayRef =
            Arc::new(TimestampMillisecondArray::from(vec![Some(1_700_000_000_123), None]).with_timezone("UTC"));
        let names: ArrayRef = Arc::new(StringArray::from(vec![Some("a \"b\", c"), None]));
        let sums: ArrayRef = Arc::new(Int64Array::from(vec![Some(-5), None]));
        let rates: ArrayRef = Arc::new(Float64Array::from(vec![Some(0.5), Some(f64::NAN)]));
        let inner = Fields::from(vec![Field::new("id", DataType::Binary, true)]);
        let touches: ArrayRef = Arc::new(StructArray::new(inner.clone(), vec![ids.clone()], None));
        let path: ArrayRef = Arc::new(ListArray::new(
            Arc::new(Field::new("item", DataType::Struct(inner), true)),
            OffsetBuffer::from_lengths([2, 0]),
            touches,
            None,
        ));
        let columns = [("id", ids), ("at", times), ("name", names), ("n", sums), ("rate", rates), ("path", path)];
        let fields: Vec<Field> =
            columns.iter().map(|(name, array)| Field::new(*name, array.data_type().clone(), true)).collect();
        let arrays = columns.into_iter().map(|(_, array)| array).collect();
        RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays).unwrap()
    }

    fn printed(batches: &[RecordBatch], format: Format) -> String {
        let mut out = Vec::new();
        let mut writer = Writer::new(&mut out, batch().schema(), format, false).unwrap();
        batches.iter().for_each(|batch| writer.batch(batch).unwrap());
        writer.finish().unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn table() {
        let expected = concat!(
            "id    at                        name       n  rate  path\n",
            "----  ------------------------  --------  --  ----  ---------------------------\n",
            "00ab  2023-11-14T22:13:20.123Z  a \"b\", c  -5   0.5  [{\"id\":\"00ab\"},{\"id\":null}]\n",
            "                                               NaN  []\n",
            "(2 rows)\n"
        );
        assert_eq!(printed(&[batch()], Format::Table), expected);
        assert!(printed(&[], Format::Table).ends_with("(0 rows)\n"));
        assert_eq!(abbreviated("é".repeat(80)), "é".repeat(80));
        assert_eq!(abbreviated("é".repeat(81)), "é".repeat(79) + "…");
    }

    #[test]
    fn csv() {
        let expected = concat!(
            "id,at,name,n,rate,path\n",
            "00ab,2023-11-14T22:13:20.123Z,\"a \"\"b\"\", c\",-5,0.5,\"[{\"\"id\"\":\"\"00ab\"\"},{\"\"id\"\":null}]\"\n",
            ",,,,NaN,[]\n"
        );
        assert_eq!(printed(&[batch()], Format::Csv), expected);
        assert_eq!(printed(&[], Format::Csv), "id,at,name,n,rate,path\n");
    }

    #[test]
    fn control_characters_do_not_reach_a_terminal() {
        let texts: ArrayRef = Arc::new(StringArray::from(vec!["c97\u{1b}[2J\u{7f}\u{9b}2J\r\nü\u{202e}"]));
        let rows = RecordBatch::try_from_iter([("a\u{1b}", texts)]).unwrap();
        let printed = |format, terminal| {
            let mut out = Vec::new();
            let mut writer = Writer::new(&mut out, rows.schema(), format, terminal).unwrap();
            writer.batch(&rows).unwrap();
            writer.finish().unwrap();
            String::from_utf8(out).unwrap()
        };
        let shown = r"c97\u{1b}[2J\u{7f}\u{9b}2J\r\nü\u{202e}";
        for terminal in [false, true] {
            let table = printed(Format::Table, terminal);
            assert_eq!(table.lines().nth(2), Some(shown));
            assert!(table.starts_with(r"a\u{1b}"), "{table}");
            let json = printed(Format::Json, terminal);
            assert!(!json.contains(|char: char| char.is_control() && char != '\n'), "{json:?}");
            let parsed: serde_json::Value = serde_json::from_str(&json).unwrap();
            assert_eq!(parsed[0]["a\u{1b}"], "c97\u{1b}[2J\u{7f}\u{9b}2J\r\nü\u{202e}");
        }
        assert_eq!(printed(Format::Csv, true), format!("{}\n{shown}\n", r"a\u{1b}"));
        let plain = printed(Format::Csv, false);
        assert_eq!(plain, "a\u{1b}\n\"c97\u{1b}[2J\u{7f}\u{9b}2J\r\nü\u{202e}\"\n", "for programs as it is");
    }

    #[test]
    fn json_is_an_array_of_objects() {
        let expected = concat!(
            "[\n",
            "{\"id\":\"00ab\",\"at\":\"2023-11-14T22:13:20.123Z\",\"name\":\"a \\\"b\\\", c\",\"n\":-5,\"rate\":0.5,",
            "\"path\":[{\"id\":\"00ab\"},{\"id\":null}]},\n",
            "{\"id\":null,\"at\":null,\"name\":null,\"n\":null,\"rate\":\"NaN\",\"path\":[]}\n",
            "]\n"
        );
        let printed_json = printed(&[batch()], Format::Json);
        assert_eq!(printed_json, expected);
        let parsed: Vec<serde_json::Value> = serde_json::from_str(&printed_json).unwrap();
        assert_eq!(parsed.len(), 2);
        assert_eq!(printed(&[], Format::Json), "[]\n");
    }
}
