//! Rows of JSON: one object a line, or objects over several lines, one after another or in an array.
//!
//! By lines, a line that is no object is a bad row and the next is read. In the other forms the end of an object is found
//! by its braces, so that what is wrong between objects breaks off the file.

use schemas::decode::RECORD_BYTES_MAX;

use super::buffer::{Buffer, breaks};

/// How the objects of a file are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// One a line.
    Lines,
    /// One after another, each over as many lines as it likes.
    Objects,
    /// In one array.
    Array,
}

impl Form {
    /// Finds out the form by the head of a file; or says why it is none.
    pub(super) fn of(head: &[u8]) -> Result<Form, String> {
        let text = String::from_utf8_lossy(head);
        let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        let first = lines.next().unwrap_or_default();
        match first.bytes().next() {
            None | Some(b'{') => {}
            Some(b'[') => {
                let after = text.trim_start()[1..].trim_start();
                return match after.bytes().next() {
                    None | Some(b'{' | b']') => Ok(Form::Array),
                    _ => {
                        Err("is an array of values that are no objects: each must have the names of its members".into())
                    }
                };
            }
            _ => {
                return Err(
                    "does not begin with an object, as JSON does that a mapping can read: if it is CSV, write \
                            format: csv"
                        .into(),
                );
            }
        }
        let mut values = serde_json::Deserializer::from_str(first).into_iter::<serde::de::IgnoredAny>();
        let several = match values.next() {
            // A line that breaks off goes on in the next, unless an object begins there.
            Some(Err(error)) if error.is_eof() => lines.next().is_some_and(|line| !line.starts_with('{')),
            Some(Ok(_)) => first[values.byte_offset()..].trim_start().starts_with('{'),
            _ => false,
        };
        Ok(if several { Form::Objects } else { Form::Lines })
    }
}

/// Reads objects from a file.
pub(super) struct Objects {
    buffer: Buffer,
    form: Form,
    rows: u64,
    /// Whether the array has ended.
    closed: bool,
}

impl Objects {
    pub(super) fn new(buffer: Buffer, form: Form) -> Objects {
        Objects { buffer, form, rows: 0, closed: false }
    }

    /// Reads the text of the next row into `text`; false at the end. One longer than [`RECORD_BYTES_MAX`] is cut after one
    /// byte more.
    pub(super) fn next(&mut self, text: &mut Vec<u8>) -> Result<bool, String> {
        text.clear();
        let found = match self.form {
            Form::Lines => self.line(text)?,
            Form::Objects => self.skip_blanks()? && self.object(text)?,
            Form::Array => self.find_in_array()? && self.object(text)?,
        };
        self.rows += u64::from(found);
        Ok(found)
    }

    fn fill(&mut self) -> Result<(), String> {
        self.buffer.fill().map_err(|error| self.buffer.broken(&error))
    }

    fn take(&mut self, bytes: usize, text: &mut Vec<u8>) {
        let window = &self.buffer.window()[..bytes];
        let room = (RECORD_BYTES_MAX + 1).saturating_sub(text.len());
        text.extend_from_slice(&window[..bytes.min(room)]);
        let lines = breaks(window);
        self.buffer.consume(bytes, lines);
    }

    fn line(&mut self, text: &mut Vec<u8>) -> Result<bool, String> {
        let mut any = false;
        loop {
            let window = self.buffer.window();
            any |= !window.is_empty();
            if let Some(end) = memchr::memchr(b'\n', window) {
                self.take(end, text);
                self.buffer.consume(1, 1);
                break;
            }
            let bytes = window.len();
            self.take(bytes, text);
            if self.buffer.at_end() {
                break;
            }
            self.fill()?;
        }
        if text.last() == Some(&b'\r') {
            text.pop();
        }
        Ok(any)
    }

    /// The next byte that is no blank, without using it up.
    fn peek(&mut self) -> Result<Option<u8>, String> {
        loop {
            let window = self.buffer.window();
            let blanks = window.iter().take_while(|byte| byte.is_ascii_whitespace()).count();
            let (lines, next) = (breaks(&window[..blanks]), window.get(blanks).copied());
            self.buffer.consume(blanks, lines);
            if next.is_some() || self.buffer.at_end() {
                return Ok(next);
            }
            self.fill()?;
        }
    }

    fn skip_blanks(&mut self) -> Result<bool, String> {
        match self.peek()? {
            None => Ok(false),
            Some(b'{') => Ok(true),
            Some(byte) => Err(self.unexpected(Some(byte), "an object")),
        }
    }

    /// Goes to the next object of the array; false at its end.
    fn find_in_array(&mut self) -> Result<bool, String> {
        if !self.closed {
            let sign = if self.rows == 0 { b'[' } else { b',' };
            let next = self.peek()?;
            if next == Some(sign) {
                self.buffer.consume(1, 0);
                match self.peek()? {
                    Some(b'{') => return Ok(true),
                    // An empty array; after a comma there must be an object.
                    Some(b']') if self.rows == 0 => {}
                    other => return Err(self.unexpected(other, "an object")),
                }
            } else if next != Some(b']') {
                return Err(self.unexpected(next, "a comma or the end of the array"));
            }
            self.buffer.consume(1, 0);
            self.closed = true;
        }
        match self.peek()? {
            None => Ok(false),
            other => Err(self.unexpected(other, "nothing after the array")),
        }
    }

    /// Takes the object that begins the window.
    fn object(&mut self, text: &mut Vec<u8>) -> Result<bool, String> {
        let at = self.buffer.place(0);
        let (mut depth, mut in_text, mut escaped) = (0usize, false, false);
        loop {
            let mut end = None;
            for (index, byte) in self.buffer.window().iter().enumerate() {
                match byte {
                    _ if escaped => escaped = false,
                    b'\\' if in_text => escaped = true,
                    b'"' => in_text = !in_text,
                    b'{' | b'[' if !in_text => depth += 1,
                    b'}' | b']' if !in_text => depth -= 1,
                    _ => {}
                }
                if depth == 0 {
                    end = Some(index + 1);
                    break;
                }
            }
            let bytes = end.unwrap_or(self.buffer.window().len());
            self.take(bytes, text);
            if end.is_some() {
                return Ok(true);
            }
            if self.buffer.at_end() {
                return Err(format!("the object on {at}, row {}, does not end", self.rows + 1));
            }
            self.fill()?;
        }
    }

    fn unexpected(&self, found: Option<u8>, wanted: &str) -> String {
        let found = found.map_or("the end of the file".to_owned(), |byte| format!("{:?}", char::from(byte)));
        format!("{}, after row {}: found {found} where {wanted} should be", self.buffer.place(0), self.rows)
    }
}
