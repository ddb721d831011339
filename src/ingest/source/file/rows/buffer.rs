//! Bytes of a file that are read and not used up yet, so that a row can be looked at as one piece.

use std::io::{self, Read};

/// How much is read at a time; the buffer grows for rows that are longer.
const READ_BYTES: usize = 1 << 18;

/// A window on a file.
pub(super) struct Buffer {
    input: Box<dyn Read + Send>,
    data: Vec<u8>,
    start: usize,
    end: usize,
    at_end: bool,
    /// Bytes and line breaks before the window.
    bytes: u64,
    lines: u64,
}

impl Buffer {
    pub(super) fn new(input: Box<dyn Read + Send>) -> Buffer {
        Buffer { input, data: vec![0; READ_BYTES], start: 0, end: 0, at_end: false, bytes: 0, lines: 0 }
    }

    /// What is read and not used up.
    pub(super) fn window(&self) -> &[u8] {
        &self.data[self.start..self.end]
    }

    /// Whether nothing comes after the window.
    pub(super) fn at_end(&self) -> bool {
        self.at_end
    }

    /// Makes the window longer, if anything is left.
    pub(super) fn fill(&mut self) -> io::Result<()> {
        if self.end == self.data.len() {
            if self.start > self.data.len() / 2 {
                self.data.copy_within(self.start..self.end, 0);
                (self.start, self.end) = (0, self.end - self.start);
            } else {
                self.data.resize(self.data.len() * 2, 0);
            }
        }
        let read = self.input.read(&mut self.data[self.end..])?;
        self.end += read;
        self.at_end = read == 0;
        Ok(())
    }

    /// Uses up the head of the window, with so many line breaks in it.
    pub(super) fn consume(&mut self, bytes: usize, lines: usize) {
        self.start += bytes;
        self.bytes += bytes as u64;
        self.lines += lines as u64;
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        }
    }

    /// Where a place in the window is, for people: line from 1, byte from 0.
    pub(super) fn place(&self, index: usize) -> String {
        let line = self.lines + breaks(&self.window()[..index]) as u64 + 1;
        format!("line {line} (byte {})", self.bytes + index as u64)
    }

    /// Says where reading broke off.
    pub(super) fn broken(&self, error: &io::Error) -> String {
        format!("breaks off on {}: {error}", self.place(self.window().len()))
    }
}

/// The line breaks in some bytes.
pub(super) fn breaks(bytes: &[u8]) -> usize {
    memchr::memchr_iter(b'\n', bytes).count()
}
