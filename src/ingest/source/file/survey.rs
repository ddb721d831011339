//! The first pass over a file: everything that an import does but for writing it. What breaks midway breaks here, before
//! the lake is touched, and what it counts is told before anything enters.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use schemas::decode::{Decoder, IdRules};
use schemas::ids::IdHasher;
use schemas::symbols::Symbols;
use schemas::{EventType, wire};

use super::super::SourceError;
use super::input::Input;
use super::overlap::Sample;
use super::scan::{Passed, Scan};
use crate::clock::Clock;
use crate::ingest::gate::{Gate, Passage};
use crate::job::mapping::{Arrival, Mapping};

/// Events of each type that a survey keeps to be shown.
pub const SHOWN_EVENTS: usize = 5;
/// Reasons that are counted apart. They quote what the rows say, so there may be as many as rows.
const REASONS_MAX: usize = 1_000;
/// Rows between two words of progress.
const PROGRESS_ROWS: u64 = 4_096;

/// What the first pass over a file found.
#[derive(Debug, Default)]
pub struct Survey {
    /// Rows that were read; lines without anything are none.
    pub rows: u64,
    /// Rows and lines without anything.
    pub lines: u64,
    /// Rows that no entry of the mapping matched.
    pub unmatched_rows: u64,
    /// Rows of which at least one entry is a dead letter.
    pub dead_rows: u64,
    /// Events by type.
    pub events: BTreeMap<EventType, u64>,
    /// Dead letters by reason.
    pub dead: Reasons,
    /// Faults of optional fields, by field and reason.
    pub faults: BTreeMap<(String, String), Count>,
    /// When the first of the events happened, ms since the Unix epoch.
    pub first_ms: Option<i64>,
    /// When the last of them happened.
    pub last_ms: Option<i64>,
    /// The first events of each type, as they were mapped.
    pub shown: BTreeMap<EventType, Vec<wire::Event>>,
    /// What the reader found out about the file that the mapping does not say.
    pub notes: Vec<String>,
    /// What the events are known by, to find them in other files; kept where there are others.
    pub sample: Option<Sample>,
}

/// How many, and where the first is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// How many.
    pub count: u64,
    /// The number of the first row, from 1.
    pub first_row: u64,
}

impl Count {
    fn add(&mut self, row: u64) {
        self.first_row = if self.count == 0 { row + 1 } else { self.first_row };
        self.count += 1;
    }
}

/// Dead letters by reason. Reasons that differ only in what they quote, and in their numbers, are one.
#[derive(Debug, Default)]
pub struct Reasons {
    by_pattern: HashMap<String, (String, Count)>,
    others: Count,
}

impl Reasons {
    fn add(&mut self, reason: &str, row: u64) {
        let pattern = pattern(reason);
        if let Some((_, count)) = self.by_pattern.get_mut(&pattern) {
            return count.add(row);
        }
        if self.by_pattern.len() == REASONS_MAX {
            return self.others.add(row);
        }
        let (_, count) = self.by_pattern.entry(pattern).or_insert_with(|| (reason.to_owned(), Count::default()));
        count.add(row);
    }

    /// All of them together.
    pub fn total(&self) -> u64 {
        self.by_pattern.values().map(|(_, count)| count.count).sum::<u64>() + self.others.count
    }

    /// The reasons, the most frequent first: how each reads in its first row.
    pub fn most_frequent(&self) -> Vec<(&str, Count)> {
        let mut reasons: Vec<(&str, Count)> =
            self.by_pattern.values().map(|(reason, count)| (reason.as_str(), *count)).collect();
        reasons.extend((self.others.count > 0).then_some(("others", self.others)));
        reasons.sort_unstable_by_key(|(_, count)| (std::cmp::Reverse(count.count), count.first_row));
        reasons
    }
}

/// A reason without what it quotes and without its numbers.
fn pattern(reason: &str) -> String {
    let mut pattern = String::with_capacity(reason.len());
    let (mut quoted, mut escaped) = (false, false);
    for character in reason.chars() {
        match character {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => {
                quoted = !quoted;
                pattern.push('"');
            }
            _ if quoted => {}
            '0'..='9' if pattern.ends_with('0') => {}
            '0'..='9' => pattern.push('0'),
            other => pattern.push(other),
        }
    }
    pattern
}

/// Reads a file whole, maps and checks every row as an import will, and counts. `others` says whether the events are to be
/// sampled, to look for them in other files. `progress` is told the rows so far, now and then.
pub fn survey(
    input: &Input,
    mapping: &Mapping,
    (hasher, rules): (&IdHasher, &IdRules),
    clock: &Clock,
    others: bool,
    progress: &mut dyn FnMut(u64),
) -> Result<Survey, SourceError> {
    let mut scan = Scan::open(input, mapping)?;
    // Names of a file that may be refused must not reach those of the lake.
    let mut decoder = Decoder::new(hasher.clone(), Arc::new(Symbols::new()), rules);
    let mut found = Survey { notes: scan.notes().to_vec(), sample: others.then(Sample::default), ..Survey::default() };
    // Whatever is late is for the import to say; what is ahead of its arrival is dead in both.
    let (gate, now_ms) = (Gate::OPEN, clock.now_ms());
    loop {
        let (mut made_any, mut dead) = (false, false);
        let passed = scan.next(input, mapping, |mut made| {
            made_any = true;
            let row = made.row;
            let decoded = match made.event {
                Err(reason) => Err(reason.to_owned()),
                Ok(event) => decoder.validate(event).map_err(|reason| reason.to_string()),
            };
            let decoded = decoded.and_then(|decoded| {
                let event_time = decoded.event.event_time;
                let arrival_ms = if mapping.arrival == Arrival::Import { now_ms } else { event_time.0.max(now_ms) };
                match gate.passage(decoded.event.event_type, event_time, arrival_ms) {
                    Passage::Dead(reason) => Err(reason),
                    Passage::Ok | Passage::Late => Ok(decoded),
                }
            });
            match decoded {
                Err(reason) => {
                    dead = true;
                    found.dead.add(&reason, row);
                }
                Ok(decoded) => {
                    let event = &decoded.event;
                    *found.events.entry(event.event_type).or_default() += 1;
                    let time_ms = event.event_time.0;
                    found.first_ms = Some(found.first_ms.map_or(time_ms, |first_ms| first_ms.min(time_ms)));
                    found.last_ms = Some(found.last_ms.map_or(time_ms, |last_ms| last_ms.max(time_ms)));
                    for fault in decoded.extras.faults.iter().chain(made.faults) {
                        let key = (fault.field.to_owned(), fault.reason.to_owned());
                        found.faults.entry(key).or_default().add(row);
                    }
                    if let Some(sample) = &mut found.sample {
                        sample.add(made.hash(), event);
                    }
                    let shown = found.shown.entry(event.event_type).or_default();
                    if let (true, Ok(event)) = (shown.len() < SHOWN_EVENTS, made.event) {
                        shown.push(event.clone());
                    }
                }
            }
        })?;
        match passed {
            Passed::End => break,
            Passed::Blank(_) => {
                found.lines += 1;
                continue;
            }
            Passed::Row(_) => found.lines += 1,
        }
        found.rows += 1;
        found.unmatched_rows += u64::from(!made_any);
        found.dead_rows += u64::from(dead);
        if found.rows.is_multiple_of(PROGRESS_ROWS) {
            progress(found.rows);
        }
    }
    input.check()?;
    Ok(found)
}

/// How much of a file may be of no use before its import is refused.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Allowed {
    /// The share of the rows wanted by the mapping that may be dead letters, 0 to 1.
    pub dead_share: f64,
    /// Whether nothing at all may enter.
    pub empty: bool,
}

impl Survey {
    /// Events of all types.
    pub fn events_total(&self) -> u64 {
        self.events.values().sum()
    }

    /// Rows that an entry of the mapping wants, or that cannot be read.
    pub fn wanted_rows(&self) -> u64 {
        self.rows - self.unmatched_rows
    }

    /// Why a file with this is not imported, with the remedy; none where it may be.
    pub fn refusal(&self, allowed: &Allowed) -> Option<String> {
        let wanted = self.wanted_rows();
        if wanted == 0 && !allowed.empty {
            return Some(match self.rows {
                0 => "the file has no rows; with --allow-empty that is no error".to_owned(),
                rows => format!(
                    "no entry of the mapping matches any of the {rows} rows: compare its `when` with what the file says \
                     (with --allow-empty this is no error)"
                ),
            });
        }
        if self.dead_rows as f64 > allowed.dead_share * wanted as f64 {
            let (reason, count) =
                self.dead.most_frequent().first().map(|(reason, count)| (reason.to_string(), *count))?;
            return Some(format!(
                "{} of {wanted} rows would be dead letters, most often: {reason} (row {}); mend the mapping or the file, or \
                 allow it with --allow-dead {:.2}",
                self.dead_rows,
                count.first_row,
                // Rounded up, so that what is named is enough.
                (self.dead_rows as f64 / wanted as f64 * 100.0).ceil() / 100.0,
            ));
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_that_differ_in_what_they_quote_are_one() {
        let mut reasons = Reasons::default();
        reasons.add("column a: \"x\" is no time", 3);
        reasons.add("column a: \"y \\\" z\" is no time", 4);
        reasons.add("row has 3 fields, the header 12", 5);
        reasons.add("row has 11 fields, the header 12", 9);
        reasons.add("row has 11 fields, the header 12", 10);
        let most: Vec<_> =
            reasons.most_frequent().into_iter().map(|(text, at)| (text, at.count, at.first_row)).collect();
        assert_eq!(most, [("row has 3 fields, the header 12", 3, 6), ("column a: \"x\" is no time", 2, 4)]);
        for number in 0..2 * REASONS_MAX as u64 {
            reasons.add(&"x".repeat(number as usize + 1), number);
        }
        assert_eq!(reasons.by_pattern.len(), REASONS_MAX);
        assert_eq!(reasons.total(), 5 + 2 * REASONS_MAX as u64);
        assert_eq!(reasons.most_frequent()[0].0, "others");
    }

    #[test]
    fn a_file_is_refused_where_nothing_or_too_little_enters() {
        let allowed = Allowed { dead_share: 0.5, empty: false };
        let all = Allowed { dead_share: 1.0, empty: true };
        let mut found = Survey::default();
        assert!(found.refusal(&allowed).unwrap().starts_with("the file has no rows"));
        assert_eq!(found.refusal(&all), None);
        (found.rows, found.unmatched_rows) = (3, 3);
        assert!(found.refusal(&allowed).unwrap().starts_with("no entry of the mapping matches any of the 3 rows"));
        assert_eq!(found.refusal(&all), None);
        (found.rows, found.unmatched_rows, found.dead_rows) = (9, 3, 3);
        found.dead.add("of no use", 7);
        assert_eq!(found.refusal(&allowed), None, "half of those that are wanted");
        found.dead_rows = 4;
        let refusal = found.refusal(&allowed).unwrap();
        assert!(refusal.starts_with("4 of 6 rows would be dead letters, most often: of no use (row 8)"), "{refusal}");
        assert!(refusal.ends_with("--allow-dead 0.67"), "{refusal}");
        assert_eq!(found.refusal(&Allowed { dead_share: 0.67, empty: false }), None);
    }
}
