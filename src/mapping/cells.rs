//! The cells of a row that a mapping names, reused from row to row.

/// One row, reduced to [`Mapping::columns`](super::Mapping::columns), in their order; an absent or empty cell is none.
#[derive(Clone, Debug, Default)]
pub struct Cells {
    text: String,
    /// Where each cell ends.
    ends: Vec<usize>,
}

impl Cells {
    /// Forgets the row.
    pub fn clear(&mut self) {
        self.text.clear();
        self.ends.clear();
    }

    /// Adds the next cell. Blanks around it do not count.
    pub fn push(&mut self, cell: &str) {
        // Most cells have none, and telling so by their ends is cheaper than looking for all that Unicode calls a blank.
        let plain = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_graphic);
        let bare = plain(cell.as_bytes().first()) && plain(cell.as_bytes().last());
        self.text.push_str(if bare { cell } else { cell.trim() });
        self.ends.push(self.text.len());
    }

    /// A cell; none where it is empty.
    pub fn get(&self, index: usize) -> Option<&str> {
        let start = index.checked_sub(1).map_or(0, |before| self.ends[before]);
        Some(&self.text[start..self.ends[index]]).filter(|text| !text.is_empty())
    }
}
