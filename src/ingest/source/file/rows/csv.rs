//! Rows of CSV: lines of fields with one sign between them, any of which may be quoted.
//!
//! It is read as RFC 4180 has it, and as most programs do where that is silent: a line ends with LF, CRLF or CR; an empty
//! line is no row; a quote counts only at the beginning of a field, doubled inside; blanks around a field are no part of
//! it. Where the header has a blank after every delimiter, a quote after such a blank opens a field too.
//!
//! An open quote that is never meant swallows rows in silence, so it is looked for. A quoted field is refused that goes on
//! to the end of the file or beyond the size of a row, that spans lines and is closed by a quote with more text behind it,
//! or whose lines look like rows of the file ([`Lines::has_swallowed`]), unless the mapping says that such cells are meant.

use schemas::decode::RECORD_BYTES_MAX;

use super::buffer::{Buffer, breaks};
use crate::job::mapping::Quote;

/// So many lines within a quoted field that look like rows of the file are taken for rows, if they are half of all.
const SWALLOWED_LINES_MIN: usize = 2;
/// So many are taken for rows, however many others are between.
const SWALLOWED_LINES_SURE: usize = 20;
/// From so many fields on, two lines that are torn where rows would be are enough.
const TORN_FIELDS_MIN: usize = 4;

/// The signs that lines are made of.
#[derive(Clone, Copy, Debug)]
pub(super) struct Signs {
    pub(super) delimiter: u8,
    pub(super) quote: Quote,
    pub(super) comment: Option<u8>,
    /// Whether a quote after blanks opens a field.
    pub(super) spaced: bool,
    /// Whether quoted fields may have lines that look like rows.
    pub(super) multiline: bool,
}

/// One row: its fields one after another, and where each ends.
#[derive(Debug, Default)]
pub(super) struct Record {
    pub(super) bytes: Vec<u8>,
    pub(super) ends: Vec<usize>,
    /// Whether it was cut, as it is larger than a row may be; it then has one field.
    pub(super) too_large: bool,
}

impl Record {
    pub(super) fn get(&self, index: usize) -> &[u8] {
        &self.bytes[index.checked_sub(1).map_or(0, |before| self.ends[before])..self.ends[index]]
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &[u8]> {
        (0..self.ends.len()).map(|index| self.get(index))
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
        self.too_large = false;
    }

    fn end(&mut self) {
        self.ends.push(self.bytes.len());
    }
}

/// What was found when looking for the end of a row.
enum Found {
    /// The row, of so many bytes.
    Row(usize),
    /// The window ends before the row does: outside quotes, or inside with the place of the opening one.
    More(Option<usize>),
    /// A quote at this place that cannot be meant.
    Stray(usize),
}

/// Reads records from a file.
pub(super) struct Lines {
    buffer: Buffer,
    signs: Signs,
    /// Fields of the header, to tell rows in a quoted field; none until it is known.
    fields: Option<usize>,
    rows: u64,
}

impl Lines {
    pub(super) fn new(buffer: Buffer, signs: Signs) -> Lines {
        Lines { buffer, signs, fields: None, rows: 0 }
    }

    /// Says how many fields a row has, and that the next one is the first.
    pub(super) fn expect(&mut self, fields: usize) {
        self.fields = Some(fields);
        self.rows = 0;
    }

    /// Reads the next row; false at the end.
    pub(super) fn next(&mut self, record: &mut Record) -> Result<bool, String> {
        loop {
            if !self.find_start()? {
                return Ok(false);
            }
            record.clear();
            let whole = self.buffer.at_end();
            match self.scan(record) {
                Found::Row(bytes) => {
                    let lines = breaks(&self.buffer.window()[..bytes]);
                    self.buffer.consume(bytes, lines);
                    self.rows += 1;
                    if record.bytes.len() > RECORD_BYTES_MAX {
                        cut(record);
                    }
                    return Ok(true);
                }
                Found::Stray(quote) => return Err(self.stray(quote)),
                Found::More(Some(quote)) if whole || self.buffer.window().len() > 2 * RECORD_BYTES_MAX => {
                    return Err(self.stray(quote));
                }
                Found::More(None) if self.buffer.window().len() > 2 * RECORD_BYTES_MAX => {
                    record.bytes.truncate(RECORD_BYTES_MAX + 1);
                    cut(record);
                    self.skip_line()?;
                    self.rows += 1;
                    return Ok(true);
                }
                Found::More(_) => self.fill()?,
            }
        }
    }

    /// Passes line breaks and comments; false at the end of the file.
    fn find_start(&mut self) -> Result<bool, String> {
        loop {
            let window = self.buffer.window();
            let Some(first) = window.first() else {
                if self.buffer.at_end() {
                    return Ok(false);
                }
                self.fill()?;
                continue;
            };
            match first {
                b'\n' => self.buffer.consume(1, 1),
                b'\r' => self.buffer.consume(1, 0),
                byte if self.signs.comment == Some(*byte) => self.skip_line()?,
                _ => return Ok(true),
            }
        }
    }

    /// Uses up everything to the end of the line.
    fn skip_line(&mut self) -> Result<(), String> {
        loop {
            let window = self.buffer.window();
            match memchr::memchr2(b'\n', b'\r', window) {
                Some(end) => {
                    let lines = usize::from(window[end] == b'\n');
                    self.buffer.consume(end + 1, lines);
                    return Ok(());
                }
                None => {
                    let bytes = window.len();
                    self.buffer.consume(bytes, 0);
                    if self.buffer.at_end() {
                        return Ok(());
                    }
                    self.fill()?;
                }
            }
        }
    }

    fn fill(&mut self) -> Result<(), String> {
        self.buffer.fill().map_err(|error| self.buffer.broken(&error))
    }

    /// Looks for the end of the row that begins the window.
    fn scan(&self, record: &mut Record) -> Found {
        let (window, delimiter) = (self.buffer.window(), self.signs.delimiter);
        let stop = match self.signs.quote {
            Quote(Some(quote)) => memchr::memchr3(b'\n', b'\r', quote, window),
            Quote(None) => memchr::memchr2(b'\n', b'\r', window),
        };
        let line = match stop {
            Some(stop) if self.signs.quote == Quote(Some(window[stop])) => return self.scan_quoted(record),
            Some(stop) => &window[..stop],
            None if self.buffer.at_end() => window,
            None => {
                record.bytes.extend_from_slice(&window[..window.len().min(RECORD_BYTES_MAX + 1)]);
                return Found::More(None);
            }
        };
        let mut start = 0;
        for end in memchr::memchr_iter(delimiter, line) {
            record.bytes.extend_from_slice(&line[start..end]);
            record.end();
            start = end + 1;
        }
        record.bytes.extend_from_slice(&line[start..]);
        record.end();
        Found::Row((line.len() + 1).min(window.len()))
    }

    /// The same for a row with quotes, sign by sign.
    fn scan_quoted(&self, record: &mut Record) -> Found {
        #[derive(Clone, Copy)]
        enum State {
            Start,
            Plain,
            Quoted,
            /// After a quote in a quoted field.
            Closing,
        }
        let Signs { delimiter, quote: Quote(quote), spaced, .. } = self.signs;
        let window = self.buffer.window();
        let mut state = State::Start;
        // Where the quote of the field stands, and where the field begins in the record.
        let (mut opened, mut begin) = (None, 0);
        for (index, byte) in window.iter().enumerate() {
            let is_quote = quote == Some(*byte);
            state = match state {
                State::Quoted if is_quote => State::Closing,
                State::Quoted => {
                    record.bytes.push(*byte);
                    State::Quoted
                }
                State::Closing if is_quote => {
                    record.bytes.push(*byte);
                    State::Quoted
                }
                State::Start if is_quote => {
                    record.bytes.truncate(begin);
                    opened = Some(index);
                    State::Quoted
                }
                _ if *byte == delimiter || matches!(byte, b'\n' | b'\r') => {
                    if let Some(opened) = opened.take().filter(|_| self.has_swallowed(record, begin)) {
                        return Found::Stray(opened);
                    }
                    record.end();
                    begin = record.bytes.len();
                    if *byte != delimiter {
                        return Found::Row(index + 1);
                    }
                    State::Start
                }
                State::Closing
                    if !byte.is_ascii_whitespace()
                        && memchr::memchr2(b'\n', b'\r', &record.bytes[begin..]).is_some() =>
                {
                    return Found::Stray(opened.unwrap_or(index));
                }
                State::Start if spaced && *byte == b' ' => {
                    record.bytes.push(*byte);
                    State::Start
                }
                State::Start | State::Plain | State::Closing => {
                    record.bytes.push(*byte);
                    State::Plain
                }
            };
        }
        if matches!(state, State::Quoted) || !self.buffer.at_end() {
            return Found::More(opened.filter(|_| matches!(state, State::Quoted)));
        }
        if let Some(opened) = opened.filter(|_| self.has_swallowed(record, begin)) {
            return Found::Stray(opened);
        }
        record.end();
        Found::Row(window.len())
    }

    /// Whether the lines of a quoted field, which begins in the record at `begin`, look like rows of the file.
    ///
    /// They do if two lines within it have as many fields as the header and are half of all, or if twenty have. Where
    /// fewer rows lie within, the torn ones tell: the first line has what its row lacks, the last has the fields before
    /// this one, and all between are rows. A delimiter with a blank behind it is taken for one of a sentence or an
    /// address, but in files that have such delimiters.
    fn has_swallowed(&self, record: &Record, begin: usize) -> bool {
        let field = &record.bytes[begin..];
        let Some(fields) = self.fields.filter(|fields| *fields >= 2 && !self.signs.multiline) else { return false };
        if memchr::memchr2(b'\n', b'\r', field).is_none() {
            return false;
        }
        let delimiters = |line: &[u8]| {
            let counts = |at: &usize| self.signs.spaced || line.get(at + 1) != Some(&b' ');
            memchr::memchr_iter(self.signs.delimiter, line).filter(counts).count()
        };
        let lines = field.split(|byte| matches!(byte, b'\n' | b'\r')).filter(|line| !line.trim_ascii().is_empty());
        let lines: Vec<usize> = lines.map(delimiters).collect();
        let [first, within @ .., last] = lines.as_slice() else { return false };
        let rows = within.iter().filter(|count| **count + 1 == fields).count();
        let before = record.ends.len();
        let torn = before + first + 1 == fields && *last == before && rows == within.len();
        rows >= SWALLOWED_LINES_SURE
            || (rows >= SWALLOWED_LINES_MIN && 2 * rows >= within.len())
            || (torn && (rows > 0 || fields >= TORN_FIELDS_MIN))
    }

    fn stray(&self, quote: usize) -> String {
        format!(
            "the quote on {}, in row {}, is not closed where a field would end, so that it swallows the rows after it: \
             close it, or write csv: {{ quote: none }} in the mapping if quotes are signs like any other in this file, or \
             csv: {{ multiline: true }} if cells of several lines that look like rows are meant",
            self.buffer.place(quote),
            self.rows + 1
        )
    }
}

/// Makes one field of what is kept of a row that is too large.
fn cut(record: &mut Record) {
    record.bytes.truncate(RECORD_BYTES_MAX + 1);
    record.ends.clear();
    record.end();
    record.too_large = true;
}
