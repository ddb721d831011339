//! The rows of a file, one at a time, as text; and the cells of a row that a mapping names.
//!
//! A row has one canonical text: the line of JSON, or the cells as a line of CSV (of a Parquet file too). What is kept
//! of a bad row, what is hashed and what is read again later is that text.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek};
use std::ops::Range;
use std::path::Path;

use arrow::array::RecordBatch;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use csv::ByteRecord;
use flate2::read::MultiGzDecoder;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};
use schemas::decode::RECORD_BYTES_MAX;
use serde_json::value::RawValue;

use super::super::SourceError;
use crate::mapping::{FileFormat, Mapping};

/// Rows of a Parquet file that are decoded at a time.
const BATCH_ROWS: usize = 1024;

/// Reads a file row by row.
pub(super) struct Rows {
    path: String,
    kind: Kind,
}

enum Kind {
    Csv { reader: csv::Reader<Box<dyn Read + Send>>, record: ByteRecord },
    Jsonl(Box<dyn BufRead + Send>),
    Parquet { batches: ParquetRecordBatchReader, batch: Option<RecordBatch>, next: usize },
}

/// Where the columns of a mapping are in a row.
#[derive(Debug)]
pub(in crate::source) enum Layout {
    /// At positions of a line with so many fields.
    Csv { positions: Vec<usize>, fields: usize },
    /// By name.
    Json { names: Vec<String> },
}

impl Rows {
    /// Opens a file and finds the columns that the mapping names.
    pub(super) fn open(path: &Path, mapping: &Mapping) -> Result<(Rows, Layout), SourceError> {
        let name = path.display().to_string();
        let failed = |error: &dyn std::fmt::Display| SourceError::File { path: name.clone(), error: error.to_string() };
        let file = File::open(path).map_err(|error| failed(&error))?;
        let (kind, header): (Kind, Option<Vec<String>>) = match mapping.format {
            FileFormat::Csv => {
                let input = decompressed(file).map_err(|error| failed(&error))?;
                // Rows of another length are dead letters, not the end of the import.
                let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(input);
                let header = reader.byte_headers().map_err(|error| failed(&error))?;
                let header = header.iter().map(|name| String::from_utf8_lossy(name).trim().to_owned()).collect();
                (Kind::Csv { reader, record: ByteRecord::new() }, Some(header))
            }
            FileFormat::Jsonl => {
                let input = decompressed(file).map_err(|error| failed(&error))?;
                (Kind::Jsonl(Box::new(BufReader::new(input))), None)
            }
            FileFormat::Parquet => {
                let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(|error| failed(&error))?;
                let header = builder.schema().fields().iter().map(|field| field.name().clone()).collect();
                let batches = builder.with_batch_size(BATCH_ROWS).build().map_err(|error| failed(&error))?;
                (Kind::Parquet { batches, batch: None, next: 0 }, Some(header))
            }
        };
        let layout = match &header {
            Some(header) => Layout::Csv {
                positions: mapping.positions(header).map_err(|error| SourceError::Setup(error.to_string()))?,
                fields: header.len(),
            },
            None => Layout::Json { names: mapping.columns().map(str::to_owned).collect() },
        };
        Ok((Rows { path: name, kind }, layout))
    }

    /// Appends the text of the next row to `text`; false at the end. A JSON line longer than [`RECORD_BYTES_MAX`] is
    /// cut after one byte more.
    pub(super) fn next(&mut self, text: &mut Vec<u8>) -> Result<bool, SourceError> {
        let read = match &mut self.kind {
            Kind::Csv { reader, record } => match reader.read_byte_record(record) {
                Ok(true) => csv_line(record.iter(), text).map(|()| true).map_err(|error| error.to_string()),
                Ok(false) => Ok(false),
                Err(error) => Err(error.to_string()),
            },
            Kind::Jsonl(input) => json_line(input, text).map_err(|error| error.to_string()),
            Kind::Parquet { batches, batch, next } => parquet_row(batches, batch, next, text),
        };
        read.map_err(|error| SourceError::File { path: self.path.clone(), error })
    }
}

/// A file's bytes, unpacked when they are gzipped.
fn decompressed(mut file: File) -> std::io::Result<Box<dyn Read + Send>> {
    let mut magic = Vec::new();
    file.by_ref().take(2).read_to_end(&mut magic)?;
    file.rewind()?;
    let file = BufReader::with_capacity(1 << 16, file);
    Ok(if magic == [0x1f, 0x8b] { Box::new(MultiGzDecoder::new(file)) } else { Box::new(file) })
}

fn csv_line<'a>(cells: impl Iterator<Item = &'a [u8]>, text: &mut Vec<u8>) -> csv::Result<()> {
    let mut writer = csv::WriterBuilder::new().flexible(true).from_writer(&mut *text);
    writer.write_record(cells)?;
    writer.flush()?;
    drop(writer);
    text.pop();
    Ok(())
}

fn json_line(input: &mut dyn BufRead, text: &mut Vec<u8>) -> std::io::Result<bool> {
    let start = text.len();
    let mut any = false;
    loop {
        let bytes = input.fill_buf()?;
        if bytes.is_empty() {
            break;
        }
        any = true;
        let (line, used, done) = match bytes.iter().position(|byte| *byte == b'\n') {
            Some(end) => (&bytes[..end], end + 1, true),
            None => (bytes, bytes.len(), false),
        };
        let room = (RECORD_BYTES_MAX + 1).saturating_sub(text.len() - start);
        text.extend_from_slice(&line[..line.len().min(room)]);
        input.consume(used);
        if done {
            break;
        }
    }
    if text.len() > start && text.last() == Some(&b'\r') {
        text.pop();
    }
    Ok(any)
}

fn parquet_row(
    batches: &mut ParquetRecordBatchReader,
    batch: &mut Option<RecordBatch>,
    next: &mut usize,
    text: &mut Vec<u8>,
) -> Result<bool, String> {
    while batch.as_ref().is_none_or(|batch| *next == batch.num_rows()) {
        match batches.next() {
            None => return Ok(false),
            Some(read) => (*batch, *next) = (Some(read.map_err(|error| error.to_string())?), 0),
        }
    }
    let columns = batch.as_ref().map_or(&[][..], RecordBatch::columns);
    let mut cells = Vec::with_capacity(columns.len());
    for column in columns {
        let options = FormatOptions::default();
        let formatter = ArrayFormatter::try_new(column, &options).map_err(|error| error.to_string())?;
        let mut cell = formatter.value(*next).try_to_string().map_err(|error| error.to_string())?;
        // Writers turn whole numbers with gaps into floats; an id 13085.0 is 13085.
        if column.data_type().is_floating() && cell.ends_with(".0") {
            cell.truncate(cell.len() - 2);
        }
        cells.push(cell);
    }
    *next += 1;
    csv_line(cells.iter().map(String::as_bytes), text).map(|()| true).map_err(|error| error.to_string())
}

/// The cells of a row that a mapping names, in its order.
#[derive(Default)]
pub(in crate::source) struct Cells {
    text: String,
    ranges: Vec<Option<Range<usize>>>,
}

impl Cells {
    /// The cells; an empty one is none.
    pub(in crate::source) fn get(&self) -> Vec<Option<&str>> {
        self.ranges.iter().map(|range| range.clone().map(|range| &self.text[range])).collect()
    }

    fn push(&mut self, cell: &str) {
        let start = self.text.len();
        self.text.push_str(cell);
        self.ranges.push((!cell.is_empty()).then_some(start..self.text.len()));
    }
}

impl Layout {
    /// Reads the cells of a row's text into `cells`, or says why they cannot be. False for an empty line, which is no
    /// row.
    pub(in crate::source) fn read(&self, text: &[u8], cells: &mut Cells) -> Result<bool, String> {
        cells.text.clear();
        cells.ranges.clear();
        if text.len() > RECORD_BYTES_MAX {
            return Err(format!("row is larger than {RECORD_BYTES_MAX} bytes"));
        }
        match self {
            Layout::Csv { positions, fields } => {
                let mut record = ByteRecord::new();
                let mut reader = csv::ReaderBuilder::new();
                let reader = reader.has_headers(false).flexible(true).buffer_capacity(text.len().max(1));
                reader.from_reader(text).read_byte_record(&mut record).map_err(|error| error.to_string())?;
                if record.len() != *fields {
                    return Err(format!("row has {} fields, the header {fields}", record.len()));
                }
                for position in positions {
                    let cell = std::str::from_utf8(&record[*position]);
                    cells.push(cell.map_err(|error| format!("field {}: invalid UTF-8: {error}", position + 1))?);
                }
            }
            Layout::Json { names } => {
                let text = std::str::from_utf8(text)
                    .map_err(|error| format!("invalid UTF-8 at byte {}", error.valid_up_to()))?;
                if text.trim().is_empty() {
                    return Ok(false);
                }
                let members = members(text).map_err(|error| format!("malformed JSON: {error}"))?;
                for name in names {
                    cells.push(&member(&members, name)?);
                }
            }
        }
        Ok(true)
    }
}

/// The members of a JSON object with their values as written, so that no number passes through a float.
type Members<'a> = BTreeMap<String, &'a RawValue>;

fn members(text: &str) -> Result<Members<'_>, serde_json::Error> {
    serde_json::from_str(text)
}

/// The text of a member: a string's content, a number as written, nothing for null. `a.b` looks inside `a`.
fn member(members_of: &Members<'_>, name: &str) -> Result<String, String> {
    if let Some(value) = members_of.get(name) {
        let value = value.get();
        return match value.as_bytes()[0] {
            b'"' => serde_json::from_str(value).map_err(|error| format!("member {name}: {error}")),
            b'n' => Ok(String::new()),
            _ => Ok(value.to_owned()),
        };
    }
    let inner = name.split_once('.').and_then(|(outer, rest)| Some((members_of.get(outer)?, rest)));
    match inner {
        Some((value, rest)) if value.get().starts_with('{') => {
            member(&members(value.get()).map_err(|error| format!("malformed JSON: {error}"))?, rest)
        }
        _ => Ok(String::new()),
    }
}
