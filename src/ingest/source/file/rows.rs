//! The rows of a file, one at a time: the cells that a mapping names, and the whole row as text.
//!
//! A row has one canonical text: the text of the JSON object, or the cells as a line of CSV ([`canonical`], of a Parquet
//! file too). What is kept of a bad row, what is hashed and what a replay reads again is that text; it is made only when
//! it is asked for.

mod buffer;
mod canonical;
mod csv;
mod input;
mod json;
mod open;
mod parquet;
#[cfg(test)]
mod tests;

use std::path::Path;

use schemas::decode::RECORD_BYTES_MAX;

use self::buffer::Buffer;
use self::csv::{Lines, Record};
use self::json::{Form, Objects};
use self::parquet::Batches;
use super::super::SourceError;
use crate::job::mapping::{Cells, Flaw, JsonColumns, Mapping, json_text};

/// Reads a file row by row.
pub(super) struct Rows {
    path: String,
    kind: Kind,
    layout: Layout,
    notes: Vec<String>,
}

enum Kind {
    Csv { lines: Lines, record: Record, waiting: bool },
    Json { objects: Objects, text: Vec<u8> },
    Parquet(Batches),
}

/// Where the columns of a mapping are in a row.
#[derive(Clone)]
pub(super) enum Layout {
    /// At positions of a line with so many fields.
    Csv(Positions),
    /// By name.
    Json(JsonColumns),
}

/// Where the columns of a mapping are among the fields of a line.
#[derive(Clone)]
pub(super) struct Positions {
    columns: Vec<usize>,
    fields: usize,
}

impl Rows {
    /// Opens a file and finds the columns that the mapping names.
    pub(super) fn open(path: &Path, mapping: &Mapping) -> Result<(Rows, Layout), SourceError> {
        let opened = open::open(path, mapping)?;
        let layout = opened.layout.clone();
        Ok((opened, layout))
    }

    /// Those of a file that holds nothing: none, whatever its format.
    fn none(path: String, mapping: &Mapping) -> Rows {
        let objects = Objects::new(Buffer::new(Box::new(std::io::empty())), Form::Lines);
        let (kind, layout) = (Kind::Json { objects, text: Vec::new() }, Layout::Json(JsonColumns::of(mapping)));
        Rows { path, kind, layout, notes: Vec::new() }
    }

    /// What was found out about the file that nobody said: what it is packed with, its encoding, its delimiter.
    pub(super) fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Goes to the next row; false at the end. An error is the end of reading: what comes after cannot be told.
    pub(super) fn advance(&mut self) -> Result<bool, SourceError> {
        let read = match &mut self.kind {
            Kind::Csv { waiting, .. } if *waiting => {
                *waiting = false;
                Ok(true)
            }
            Kind::Csv { lines, record, .. } => lines.next(record),
            Kind::Json { objects, text } => objects.next(text),
            Kind::Parquet(batches) => batches.next(),
        };
        read.map_err(|error| SourceError::File { path: self.path.clone(), error })
    }

    /// Appends the canonical text of the row to `text`. One larger than [`RECORD_BYTES_MAX`] is cut, one byte after.
    pub(super) fn write_text(&self, text: &mut Vec<u8>) {
        match &self.kind {
            Kind::Csv { record, .. } if record.too_large => text.extend_from_slice(&record.bytes),
            Kind::Csv { record, .. } => canonical::write(record.iter(), text),
            Kind::Json { text: row, .. } => text.extend_from_slice(row),
            Kind::Parquet(batches) => canonical::write(batches.cells(), text),
        }
    }

    /// Goes to the next row and appends its text; false at the end.
    pub(super) fn next(&mut self, text: &mut Vec<u8>) -> Result<bool, SourceError> {
        let any = self.advance()?;
        if any {
            self.write_text(text);
        }
        Ok(any)
    }

    /// Reads the cells of the row into `cells`, or says why they cannot be. False for an empty line, which is no row.
    pub(super) fn cells(&self, cells: &mut Cells) -> Result<bool, String> {
        cells.clear();
        match (&self.kind, &self.layout) {
            (Kind::Csv { record, .. }, Layout::Csv(positions)) => {
                if record.too_large {
                    return Err(too_large());
                }
                positions.read(record.ends.len(), |index| record.get(index), cells)
            }
            (Kind::Parquet(batches), Layout::Csv(positions)) => {
                positions.columns.iter().for_each(|position| cells.push(batches.cell(*position)));
                Ok(true)
            }
            (Kind::Json { text, .. }, layout) => layout.read(text, cells),
            (Kind::Csv { .. } | Kind::Parquet(_), Layout::Json(_)) => unreachable!("only JSON has its columns by name"),
        }
    }
}

impl Layout {
    /// Reads the cells of a row's canonical text into `cells`, as [`Rows::cells`] does.
    pub(super) fn read(&self, text: &[u8], cells: &mut Cells) -> Result<bool, String> {
        cells.clear();
        if text.len() > RECORD_BYTES_MAX {
            return Err(too_large());
        }
        match self {
            Layout::Csv(positions) => {
                let (mut bytes, mut ends) = (Vec::with_capacity(text.len()), Vec::with_capacity(positions.fields));
                canonical::read(text, &mut bytes, &mut ends);
                let cell = |index: usize| &bytes[index.checked_sub(1).map_or(0, |before| ends[before])..ends[index]];
                positions.read(ends.len(), cell, cells)
            }
            Layout::Json(columns) => {
                let text = json_text(text);
                if text.trim().is_empty() {
                    return Ok(false);
                }
                columns.read(text, cells).map(|()| true)
            }
        }
    }
}

impl Positions {
    fn read<'a>(&self, fields: usize, cell: impl Fn(usize) -> &'a [u8], cells: &mut Cells) -> Result<bool, String> {
        if fields != self.fields {
            return Err(format!("row has {fields} fields, the header {}", self.fields));
        }
        for position in &self.columns {
            let bytes = cell(*position);
            match str::from_utf8(bytes) {
                Ok(text) => cells.push(text),
                Err(_) => cells.push_flawed(&String::from_utf8_lossy(bytes), Flaw::NoUtf8),
            }
        }
        Ok(true)
    }
}

/// What helps with bytes that are no UTF-8.
const NAME_ENCODING: &str = "if the file has another encoding, name it in the mapping, as encoding: windows-1252";

fn too_large() -> String {
    format!("row is larger than {RECORD_BYTES_MAX} bytes")
}
