//! One pass over a file: its rows in their order, and what the entries of a mapping make of each. Every pass goes through
//! here, so that what is checked is what is imported.

use schemas::fault::Fault;
use schemas::{PayloadHash, wire};

use super::super::{Payload, SourceError};
use super::input::Input;
use super::rows::{Layout, Rows};
use crate::job::mapping::{Cells, Mapped, Mapping, RowId, Seen};

/// A pass under way.
pub(super) struct Scan {
    rows: Rows,
    layout: Layout,
    seen: Seen,
    next_row: u64,
    // Reused for every row.
    text: Vec<u8>,
    cells: Cells,
    mapped: Mapped,
}

/// What an entry of the mapping makes of a row.
pub(super) struct Made<'a> {
    /// The number of the row, from 0.
    pub row: u64,
    /// The entry; of a row that cannot be read, 0.
    pub entry: usize,
    /// The event, or the reason why there is none.
    pub event: Result<&'a wire::Event, &'a str>,
    /// What the mapping changed in the event's fields.
    pub faults: &'a [Fault],
    text: &'a mut Vec<u8>,
}

/// What a pass read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Passed {
    /// A row of this number. Its entries were handed over.
    Row(u64),
    /// A line without anything, which counts as no row.
    Blank(u64),
    /// The end.
    End,
}

impl<'a> Made<'a> {
    fn of(row: u64, entry: usize, mapped: Result<&'a Mapped, &'a str>, text: &'a mut Vec<u8>) -> Made<'a> {
        let faults = mapped.map_or(&[][..], |mapped| &mapped.faults);
        Made { row, entry, event: mapped.map(|mapped| &mapped.event), faults, text }
    }

    /// Its payload. The hash covers the row's text and the entry, which is appended for that and stays out of `raw`.
    pub fn payload(&mut self) -> Payload<'_> {
        let hash = self.hash();
        Payload::Row { event: self.event, hash, raw: self.text, faults: self.faults }
    }

    /// The hash of its payload.
    pub fn hash(&mut self) -> PayloadHash {
        let row = self.text.len();
        self.text.extend_from_slice(&(self.entry as u32).to_be_bytes());
        let hash = PayloadHash::of(self.text);
        self.text.truncate(row);
        hash
    }
}

impl Scan {
    /// Opens a file and finds the columns that the mapping names.
    pub fn open(input: &Input, mapping: &Mapping) -> Result<Scan, SourceError> {
        let (rows, layout) = Rows::open(input.path(), mapping)?;
        let (seen, text, cells, mapped) = (Seen::default(), Vec::new(), Cells::default(), Mapped::default());
        Ok(Scan { rows, layout, seen, next_row: 0, text, cells, mapped })
    }

    /// What was found out about the file that the mapping does not say, for people.
    pub fn notes(&self) -> &[String] {
        self.rows.notes()
    }

    /// Reads the next row and hands over what each entry makes of it.
    pub fn next(
        &mut self,
        input: &Input,
        mapping: &Mapping,
        mut each: impl FnMut(Made<'_>),
    ) -> Result<Passed, SourceError> {
        self.text.clear();
        if !self.rows.next(&mut self.text)? {
            return Ok(Passed::End);
        }
        let row = self.next_row;
        self.next_row += 1;
        let Scan { rows, cells, mapped, text, seen, .. } = self;
        match rows.cells(cells) {
            Err(reason) => each(Made::of(row, 0, Err(&reason), text)),
            Ok(false) => return Ok(Passed::Blank(row)),
            Ok(true) => {
                let firsts = mapping.firsts(seen, cells);
                mapping.apply(RowId { content: input.content(), row }, cells, firsts, mapped, |entry, mapped| {
                    each(Made::of(row, entry, mapped, text));
                });
            }
        }
        Ok(Passed::Row(row))
    }

    /// The text of the row that was read last.
    pub fn text(&self) -> &[u8] {
        &self.text
    }

    /// Hands over what an entry made of a row, from the row's text.
    pub fn retry(
        &mut self,
        input: &Input,
        mapping: &Mapping,
        (row, entry, text): (u64, usize, &[u8]),
        each: impl FnOnce(Made<'_>),
    ) {
        self.text.clear();
        self.text.extend_from_slice(text);
        let Scan { layout, cells, mapped, text, .. } = self;
        let id = RowId { content: input.content(), row };
        let made = layout.read(text, cells).and_then(|_| mapping.event(entry, id, cells, mapped));
        each(Made::of(row, entry, made.as_ref().map(|()| &*mapped).map_err(String::as_str), text));
    }
}
