//! A mapping of the records of a topic, which come one by one and for ever: what it may not say, and which entry makes the event.

use super::{Arrival, Cells, ConfigError, FileFormat, Mapping};

impl Mapping {
    /// Checks that the mapping can be one of a topic's records.
    pub fn check_for_topic(&self) -> Result<(), ConfigError> {
        if self.format != FileFormat::Jsonl {
            let message = "is no format of a topic's records: a mapping of a topic reads JSON, write `format: jsonl`";
            return Err(self.outline.error("format", message));
        }
        if self.arrival != Arrival::Import {
            let message = "means nothing for a topic, whose records arrive when its log takes them in: leave it out";
            return Err(self.outline.error("arrival", message));
        }
        if self.encoding.is_some_and(|encoding| encoding != encoding_rs::UTF_8) {
            let message = "means nothing for a topic, whose JSON is read as UTF-8: leave it out";
            return Err(self.outline.error("encoding", message));
        }
        if let Some(column) = self.first_of.first() {
            let message = format!(
                "has `first_of: {}`, which looks for the first row of a file, and a topic has no end of rows: write \
                 another condition",
                self.columns[*column].name
            );
            return Err(self.outline.error("emit", message));
        }
        Ok(())
    }

    /// The first entry whose `when` holds, or cannot be decided: a record is at most one event.
    pub fn wanted_by(&self, cells: &Cells) -> Option<usize> {
        self.entries.iter().position(|entry| entry.when.flaw(cells).is_some() || entry.when.holds(cells, 0))
    }
}
