//! The cells of a row that a mapping names, reused from row to row, and what is wrong with some.

use schemas::fault::{Fault, GIVEN_TWICE, HALF_SURROGATE, NO_UTF8, WRONG_TYPE};

/// One row, reduced to [`Mapping::columns`](super::Mapping::columns), in their order; an absent or empty cell is none.
#[derive(Clone, Debug, Default)]
pub struct Cells {
    text: String,
    /// Where each cell ends.
    ends: Vec<usize>,
    /// The few cells that no field can take as they are.
    flaws: Vec<(usize, Flaw)>,
}

/// What is wrong with a cell. An event goes without the field, or, where it cannot, there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// Bytes that are no UTF-8.
    NoUtf8,
    /// A text of JSON with half a surrogate pair, which no text in UTF-8 can hold.
    HalfSurrogate,
    /// A member of a JSON object that is there twice, with two values. The last stands.
    Twice,
    /// An array of JSON.
    Array,
    /// An object of JSON.
    Object,
    /// `true` or `false` of JSON.
    Boolean,
}

impl Cells {
    /// Forgets the row.
    pub fn clear(&mut self) {
        self.text.clear();
        self.ends.clear();
        self.flaws.clear();
    }

    /// Adds the next cell. Blanks around it do not count.
    pub fn push(&mut self, cell: &str) {
        // Most cells have none, and telling so by their ends is cheaper than looking for all that Unicode calls a blank.
        let plain = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_graphic);
        let bare = plain(cell.as_bytes().first()) && plain(cell.as_bytes().last());
        self.text.push_str(if bare { cell } else { cell.trim() });
        self.ends.push(self.text.len());
    }

    /// Adds the next cell, with which something is wrong. Conditions see its text, fields do not.
    pub fn push_flawed(&mut self, cell: &str, flaw: Flaw) {
        self.flaws.push((self.ends.len(), flaw));
        self.push(cell);
    }

    /// A cell; none where it is empty.
    pub fn get(&self, index: usize) -> Option<&str> {
        let start = index.checked_sub(1).map_or(0, |before| self.ends[before]);
        Some(&self.text[start..self.ends[index]]).filter(|text| !text.is_empty())
    }

    /// The cells with which something is wrong, and what.
    pub fn flaws(&self) -> &[(usize, Flaw)] {
        &self.flaws
    }
}

impl Flaw {
    /// Whether no condition can be decided by such a cell. An array, an object and a boolean are what is written.
    pub fn is_undecidable(self) -> bool {
        matches!(self, Flaw::NoUtf8 | Flaw::HalfSurrogate | Flaw::Twice)
    }

    /// Why there is no event where the cell is needed, and what to do.
    pub fn reason(self) -> &'static str {
        match self {
            Flaw::NoUtf8 => {
                "invalid UTF-8: if the file has another encoding, name it in the mapping, as encoding: windows-1252"
            }
            Flaw::HalfSurrogate => "is a text with half a surrogate pair",
            Flaw::Twice => "is given twice, with two values",
            Flaw::Array => "is an array, where a text or a number is needed: name one of its items, as a[0]",
            Flaw::Object => "is an object, where a text or a number is needed: name one of its members, as a.b",
            Flaw::Boolean => "is a boolean, where a text or a number is needed",
        }
    }

    /// The fault of a field that the event goes without.
    pub(super) fn fault(self, field: &'static str) -> Fault {
        let (reason, value) = match self {
            Flaw::NoUtf8 => (NO_UTF8, None),
            Flaw::HalfSurrogate => (HALF_SURROGATE, None),
            Flaw::Twice => (GIVEN_TWICE, None),
            Flaw::Array => (WRONG_TYPE, Some("an array")),
            Flaw::Object => (WRONG_TYPE, Some("an object")),
            Flaw::Boolean => (WRONG_TYPE, Some("a boolean")),
        };
        Fault { field, reason, value: value.map(Box::from) }
    }
}
