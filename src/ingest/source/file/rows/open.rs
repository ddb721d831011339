//! Opening a file: what is in it, where its columns are; what is not said by the mapping is found out where only one
//! answer is possible.

use std::fs::File;
use std::io::Cursor;
use std::path::Path;

use schemas::decimal::Decimal;
use schemas::times::TimeFormat;

use super::buffer::Buffer;
use super::csv::{Lines, Record, Signs};
use super::input::HEAD_BYTES;
use super::json::{Form, Objects};
use super::parquet::Batches;
use super::{Kind, Layout, NAME_ENCODING, Positions, Rows, input};
use crate::ingest::source::SourceError;
use crate::job::mapping::{ConfigError, FileFormat, Header, JsonColumns, Mapping};

/// The delimiters that are tried where a mapping names none.
const DELIMITERS: [u8; 4] = [b',', b';', b'\t', b'|'];

/// What cannot be opened: the file is at fault, or the mapping.
enum Fault {
    File(String),
    Mapping(ConfigError),
    /// It holds no row, nor anything else: that is for the import to judge.
    Empty,
}

impl From<String> for Fault {
    fn from(error: String) -> Fault {
        Fault::File(error)
    }
}

/// Opens a file by a mapping.
pub(super) fn open(path: &Path, mapping: &Mapping) -> Result<Rows, SourceError> {
    let name = path.display().to_string();
    match try_open(path, mapping) {
        Ok((kind, layout, notes)) => Ok(Rows { path: name, kind, layout, notes }),
        Err(Fault::Empty) => Ok(Rows::none(name, mapping)),
        Err(Fault::File(error)) => Err(SourceError::File { path: name, error }),
        Err(Fault::Mapping(error)) => Err(SourceError::Setup(error.to_string())),
    }
}

fn try_open(path: &Path, mapping: &Mapping) -> Result<(Kind, Layout, Vec<String>), Fault> {
    let mut file = File::open(path).map_err(|error| error.to_string())?;
    match mapping.format {
        FileFormat::Csv => open_csv(file, mapping),
        FileFormat::Jsonl => {
            let mut input = input::open(file, mapping.format, mapping.encoding)?.ok_or(Fault::Empty)?;
            let form = Form::of(&input.head)?;
            match form {
                Form::Lines => {}
                Form::Objects => input.notes.push("read as objects one after another".to_owned()),
                Form::Array => input.notes.push("read as an array of objects".to_owned()),
            }
            let objects = Objects::new(Buffer::new(input.text), form);
            Ok((Kind::Json { objects, text: Vec::new() }, Layout::Json(JsonColumns::of(mapping)), input.notes))
        }
        FileFormat::Parquet => {
            if !input::check_parquet(&mut file)? {
                return Err(Fault::Empty);
            }
            let (batches, header) = Batches::open(file, mapping)?;
            let layout = layout(mapping, &header)?;
            Ok((Kind::Parquet(batches), layout, Vec::new()))
        }
    }
}

/// Finds the columns of a mapping in a header.
fn layout(mapping: &Mapping, header: &[String]) -> Result<Layout, Fault> {
    let columns = mapping.positions(header).map_err(Fault::Mapping)?;
    Ok(Layout::Csv(Positions { columns, fields: header.len() }))
}

fn open_csv(file: File, mapping: &Mapping) -> Result<(Kind, Layout, Vec<String>), Fault> {
    let input::Input { text, head, mut notes } =
        input::open(file, mapping.format, mapping.encoding)?.ok_or(Fault::Empty)?;
    let csv = &mapping.csv;
    // Excel's own way to name the delimiter: a first line `sep=;`.
    let named = head.strip_prefix(b"sep=").and_then(|rest| Some((*rest.first()?, rest.get(1..)?)));
    let named = named.filter(|(_, rest)| rest.starts_with(b"\n") || rest.starts_with(b"\r\n")).map(|(sign, _)| sign);
    let candidates = match csv.delimiter.or(named) {
        Some(delimiter) => vec![delimiter],
        None => {
            DELIMITERS.into_iter().filter(|sign| csv.quote.0 != Some(*sign) && csv.comment != Some(*sign)).collect()
        }
    };
    let read = |delimiter: u8| -> Result<(Signs, Vec<String>), Fault> {
        let signs =
            Signs { delimiter, quote: csv.quote, comment: csv.comment, spaced: false, multiline: csv.multiline };
        let (signs, fields) = first_row(&head, signs, named.is_some())?;
        let names = match &csv.header {
            Header::Line => fields,
            Header::Numbers => (1..=fields.len()).map(|number| number.to_string()).collect(),
            Header::Names(names) if names.len() == fields.len() => names.clone(),
            Header::Names(names) => {
                let (has, said) = (fields.len(), names.len());
                return Err(format!(
                    "its first row has {has} fields, but `csv.header` of the mapping names {said} columns"
                )
                .into());
            }
        };
        Ok((signs, names))
    };
    let mut tried = candidates.iter().map(|delimiter| read(*delimiter)).collect::<Vec<_>>();
    let fits = |names: &[String]| mapping.columns().all(|column| names.iter().any(|name| name == column));
    let found = tried.iter().position(|read| read.as_ref().is_ok_and(|(_, names)| fits(names)));
    let Some(found) = found else {
        // Of those that do not fit, the one with the most columns is most likely what the file has.
        let columns = |read: &Result<(Signs, Vec<String>), Fault>| read.as_ref().map_or(0, |(_, names)| names.len());
        let likely = (0..tried.len()).rev().max_by_key(|index| columns(&tried[*index])).unwrap_or_default();
        let (_, names) = tried.swap_remove(likely)?;
        return Err(unfit(mapping, &names));
    };
    let (signs, names) = tried.swap_remove(found)?;
    if csv.delimiter.is_none() && signs.delimiter != b',' {
        notes.push(format!("fields are separated by {:?}", char::from(signs.delimiter)));
    }
    for column in mapping.columns() {
        if names.iter().filter(|name| *name == column).count() > 1 {
            let error =
                format!("has the column {column:?} twice, and which one is meant cannot be told: rename one of them");
            return Err(Fault::File(error));
        }
    }
    let layout = layout(mapping, &names)?;
    let mut lines = Lines::new(Buffer::new(text), signs);
    let mut record = Record::default();
    if named.is_some() {
        lines.next(&mut record)?;
    }
    lines.expect(names.len());
    let read = lines.next(&mut record)?;
    // Without a header, the first row is one like all others.
    let waiting = read && csv.header != Header::Line;
    if !waiting {
        lines.expect(names.len());
    }
    Ok((Kind::Csv { lines, record, waiting }, layout, notes))
}

/// The fields of the first row, without blanks around them, and the signs with what they tell.
fn first_row(head: &[u8], signs: Signs, named: bool) -> Result<(Signs, Vec<String>), Fault> {
    let row = |signs: Signs| -> Result<Record, Fault> {
        let mut lines = Lines::new(Buffer::new(Box::new(Cursor::new(head.to_vec()))), signs);
        let mut record = Record::default();
        if named {
            lines.next(&mut record)?;
        }
        match lines.next(&mut record)? {
            true => Ok(record),
            // Where the head is all, so are the blank lines and comments in it.
            false if head.len() < HEAD_BYTES => Err(Fault::Empty),
            false => Err(format!("has no row within its first {HEAD_BYTES} bytes").into()),
        }
    };
    let plain = row(signs)?;
    let spaced = plain.ends.len() > 1 && plain.iter().skip(1).all(|field| field.starts_with(b" "));
    let signs = Signs { spaced, ..signs };
    let record = if spaced { row(signs)? } else { plain };
    let text = |field: &[u8]| str::from_utf8(field).map(|text| text.trim().to_owned());
    let fields = record.iter().map(text).collect::<Result<Vec<String>, _>>();
    fields.map(|fields| (signs, fields)).map_err(|_| format!("the first row is no UTF-8: {NAME_ENCODING}").into())
}

/// Why a header has not the columns that a mapping names.
fn unfit(mapping: &Mapping, names: &[String]) -> Fault {
    let Err(mut error) = mapping.positions(names) else {
        return Fault::File("has not the columns that the mapping names".to_owned());
    };
    let is_data = |name: &String| Decimal::parse(name).is_ok() || TimeFormat::Iso8601.read(name).is_ok();
    if mapping.csv.header == Header::Line && names.iter().any(is_data) {
        error.message.push_str(
            "; that looks like a row: if the file has no header, write csv: { header: false } and name columns 1, 2, …, or \
             csv: { header: [names of all columns] }",
        );
    }
    Fault::Mapping(error)
}
