//! What an import says of itself, for people and, as JSON, for programs. Keys of the JSON stay; new ones may come.

use std::collections::BTreeMap;
use std::fmt::{self, Write};

use chrono::DateTime;
use schemas::wire;
use serde::Serialize;

use super::input::Input;
use super::survey::{Count, Survey};

/// Reasons and faults that people are shown; JSON has all.
const SHOWN_MAX: usize = 5;

/// The report of an import.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The file, as it was named.
    pub file: String,
    /// Its size.
    pub bytes: u64,
    /// Its topic in the ledger; none where it goes through Kafka.
    pub topic: Option<String>,
    /// The mapping, as it was named.
    pub mapping: String,
    /// What became of it.
    pub outcome: Outcome,
    /// Rows that were read.
    pub rows: u64,
    /// Rows that no entry of the mapping matched.
    pub unmatched_rows: u64,
    /// Rows of which at least one entry is a dead letter.
    pub dead_rows: u64,
    /// Events by type, those of a file that was refused among them.
    pub events: BTreeMap<&'static str, u64>,
    /// When the first event happened, RFC 3339.
    pub first_event: Option<String>,
    /// When the last one happened.
    pub last_event: Option<String>,
    /// Dead letters.
    pub dead_letters: u64,
    /// Their reasons, the most frequent first.
    pub reasons: Vec<ReasonCount>,
    /// Faults of optional fields, whose events count.
    pub field_faults: Vec<FaultCount>,
    /// What the reader found out about the file by itself.
    pub notes: Vec<String>,
    /// What a person should look at.
    pub warnings: Vec<String>,
    /// Imports that this one makes void.
    pub replaced: Vec<String>,
    /// Where it was interrupted: the rows that are durable, so that the same command goes on after them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub durable_rows: Option<u64>,
    /// What the lake took in; none where nothing was written.
    pub written: Option<Written>,
    /// Of a dry run: some events of each type.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub shown: BTreeMap<&'static str, Vec<wire::Event>>,
}

/// What became of an import.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It was only checked.
    DryRun,
    /// It was refused, and nothing was written.
    Refused,
    /// It is in the lake.
    Imported,
    /// There was nothing to import: it was there before, or no row is an event.
    NothingNew,
    /// It was told to stop before all was in the lake: the same command goes on.
    Interrupted,
    /// Its events are in the topic.
    Produced,
}

/// A reason of dead letters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ReasonCount {
    /// As it reads in the first row.
    pub reason: String,
    /// How many; others may quote other values.
    pub count: u64,
    /// The first row, from 1.
    pub first_row: u64,
}

/// A fault of a field.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FaultCount {
    /// The field.
    pub field: String,
    /// What was wrong.
    pub reason: String,
    /// How many.
    pub count: u64,
    /// The first row, from 1.
    pub first_row: u64,
}

/// What a lake took in, or a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Written {
    /// Events that count.
    pub accepted: u64,
    /// Events that came too late to count.
    pub late: u64,
    /// Dead letters.
    pub dead: u64,
    /// The cut from which on they can be read.
    pub cut: Option<u64>,
}

impl Report {
    /// The report of a first pass.
    pub fn of(input: &Input, mapping: &str, found: &Survey) -> Report {
        let time =
            |ms: Option<i64>| Some(DateTime::from_timestamp_millis(ms?)?.format("%Y-%m-%dT%H:%M:%S%.3fZ").to_string());
        let reason = |(reason, Count { count, first_row }): (&str, Count)| ReasonCount {
            reason: reason.to_owned(),
            count,
            first_row,
        };
        let fault = |((field, reason), Count { count, first_row }): (&(String, String), &Count)| FaultCount {
            field: field.clone(),
            reason: reason.clone(),
            count: *count,
            first_row: *first_row,
        };
        let mut field_faults: Vec<FaultCount> = found.faults.iter().map(fault).collect();
        field_faults.sort_by_key(|fault| std::cmp::Reverse(fault.count));
        Report {
            file: input.path().display().to_string(),
            bytes: input.bytes(),
            topic: None,
            mapping: mapping.to_owned(),
            outcome: Outcome::DryRun,
            rows: found.rows,
            unmatched_rows: found.unmatched_rows,
            dead_rows: found.dead_rows,
            events: found.events.iter().map(|(kind, count)| (kind.name(), *count)).collect(),
            first_event: time(found.first_ms),
            last_event: time(found.last_ms),
            dead_letters: found.dead.total(),
            reasons: found.dead.most_frequent().into_iter().map(reason).collect(),
            field_faults,
            notes: found.notes.clone(),
            warnings: Vec::new(),
            replaced: Vec::new(),
            durable_rows: None,
            written: None,
            shown: BTreeMap::new(),
        }
    }

    /// Shows some events of each type.
    pub fn show(&mut self, found: &Survey) {
        self.shown = found.shown.iter().map(|(kind, events)| (kind.name(), events.clone())).collect();
    }

    /// As one line of JSON.
    pub fn json(&self) -> String {
        serde_json::to_string(self).expect("a report has text keys and no fallible parts")
    }

    /// How far it came before it was interrupted.
    pub fn interruption(&self) -> String {
        let (durable, rows) = (self.durable_rows.unwrap_or_default(), self.rows);
        format!("interrupted after {durable} of {rows} rows were durable: the same command goes on")
    }

    fn summary(&self) -> String {
        let one = |(kind, count): (&&str, &u64)| format!("{kind} {count}");
        let by_type: Vec<String> = self.events.iter().map(one).collect();
        match (&self.first_event, &self.last_event) {
            (Some(first), Some(last)) => {
                format!("{} events: {}; from {first} to {last}", self.events.values().sum::<u64>(), by_type.join(", "))
            }
            _ => "no event".to_owned(),
        }
    }
}

/// For people, on several lines.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::new();
        writeln!(text, "{}: {} rows, {}", self.file, self.rows, self.summary())?;
        if self.unmatched_rows > 0 {
            writeln!(text, "  {} rows match no entry of {}", self.unmatched_rows, self.mapping)?;
        }
        if self.dead_letters > 0 {
            writeln!(text, "  {} dead letters, of {} rows:", self.dead_letters, self.dead_rows)?;
            for ReasonCount { reason, count, first_row } in self.reasons.iter().take(SHOWN_MAX) {
                writeln!(text, "    {count} × {reason} (first in row {first_row})")?;
            }
            more(&mut text, self.reasons.len(), "reasons")?;
        }
        if !self.field_faults.is_empty() {
            writeln!(text, "  fields that were left out, cut or rounded (their events count):")?;
            for FaultCount { field, reason, count, first_row } in self.field_faults.iter().take(SHOWN_MAX) {
                writeln!(text, "    {count} × {field}: {reason} (first in row {first_row})")?;
            }
            more(&mut text, self.field_faults.len(), "faults")?;
        }
        for note in &self.notes {
            writeln!(text, "  {note}")?;
        }
        for replaced in &self.replaced {
            let tense = match self.outcome {
                Outcome::Imported => "is void now",
                Outcome::Interrupted => "is declared void",
                _ => "would be void",
            };
            writeln!(text, "  replaces {replaced}, which {tense}")?;
        }
        for (kind, events) in &self.shown {
            writeln!(text, "  the first of type {kind}:")?;
            for event in events {
                writeln!(text, "    {}", String::from_utf8_lossy(&wire::to_json(event)))?;
            }
        }
        match (self.outcome, &self.written) {
            (Outcome::DryRun, _) => writeln!(text, "Dry run: nothing was written.")?,
            (Outcome::Refused, _) => writeln!(text, "Refused: nothing was written.")?,
            (Outcome::Interrupted, _) => writeln!(text, "{}.", self.interruption())?,
            (Outcome::NothingNew, _) if self.rows == 0 => {
                writeln!(text, "The file has no rows: nothing was imported.")?;
            }
            (Outcome::NothingNew, _) if self.unmatched_rows == self.rows => {
                writeln!(text, "No row matches the mapping: nothing was imported.")?;
            }
            (Outcome::NothingNew, _) => writeln!(text, "Nothing new: all of it was imported before.")?,
            (Outcome::Produced, Some(written)) => {
                writeln!(text, "{} records are in the topic.", written.accepted + written.dead)?;
            }
            (_, Some(Written { accepted, late, dead, cut })) => {
                write!(text, "{accepted} events, {late} late, {dead} dead letters")?;
                writeln!(text, "; durable at cut {}.", cut.unwrap_or_default())?;
            }
            (_, None) => {}
        }
        f.write_str(&printable(text.trim_end()))
    }
}

fn more(text: &mut String, all: usize, what: &str) -> fmt::Result {
    match all.checked_sub(SHOWN_MAX) {
        None | Some(0) => Ok(()),
        Some(more) => writeln!(text, "    and {more} more {what} (--format json has all)"),
    }
}

/// A text of a file must not command the terminal.
pub fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\n' => shown.push('\n'),
            control if control.is_control() => shown.extend(control.escape_default()),
            other => shown.push(other),
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_a_file_reaches_the_terminal_as_a_command() {
        assert_eq!(printable("a\u{1b}[2J\tb\u{9b}é\nc"), "a\\u{1b}[2J\\tb\\u{9b}é\nc");
    }
}
