//! What the ledger says of imported files, by the notes that came with their commits and by what was declared void.
//!
//! | note | number |
//! |---|---|
//! | `file/<topic>/<file name>` | rows that were read in the file of that name |
//! | `bytes/<topic>` | size of the file |
//! | `end/<topic>` | the offset at which the file ends: one that stands before it was imported in part |
//! | `imported/<topic>` | when its first commit was made: ms since 1970 |

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use schemas::table::RecordRow;

use super::directory::Lake;
use super::error::LedgerError;
use super::log::TableLog;
use super::{NOTE, OFFSET, VOID, load, topic_ids};

/// How the topic of a file begins; no topic of Kafka can.
const FILE_TOPIC: &str = "file:";
const FILE: &str = "file/";
const BYTES: &str = "bytes/";
const END: &str = "end/";
const IMPORTED: &str = "imported/";

/// The files that were imported into a lake.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Imports {
    /// By topic, all files and what else was declared void.
    pub files: BTreeMap<String, Import>,
    /// The topics that the views which readers see leave out.
    pub voids: BTreeSet<String>,
}

/// What is known of one import.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Import {
    /// The identity of its mapping.
    pub mapping: Option<String>,
    /// The names under which the file was imported, each with the rows that were read.
    pub files: BTreeMap<String, i64>,
    /// Its size.
    pub bytes: Option<i64>,
    /// The offset up to which its records are durable.
    pub position: Option<i64>,
    /// The offset at which it ends; earlier releases did not note it.
    pub end: Option<i64>,
    /// When it was imported, ms since the Unix epoch.
    pub imported_ms: Option<i64>,
    /// When it was declared void, ms since the Unix epoch; readers see it once their views are made without it.
    pub void_ms: Option<i64>,
}

impl Import {
    /// Its names with commas between; none where no note says them.
    pub fn names(&self) -> Option<String> {
        let names: Vec<&str> = self.files.keys().map(String::as_str).collect();
        (!names.is_empty()).then(|| names.join(", "))
    }

    /// The rows that were read in it.
    pub fn rows(&self) -> Option<i64> {
        self.files.values().copied().max()
    }

    /// Whether it was left off before the end of the file.
    pub fn is_in_part(&self) -> bool {
        self.end.is_some_and(|end| self.position.unwrap_or(0) < end)
    }

    /// The rows of which all is durable; of a file with blank lines, or replayed by event time, in proportion.
    pub fn durable_rows(&self) -> Option<i64> {
        let (rows, end, position) = (self.rows()?, self.end?, self.position.unwrap_or(0));
        if position >= end {
            return Some(rows);
        }
        Some((i128::from(rows) * i128::from(position) / i128::from(end)) as i64)
    }
}

impl Imports {
    /// Reads what the ledger of a lake says now.
    pub async fn read(lake: &Lake) -> Result<Imports, LedgerError> {
        let voids = lake.voids.clone();
        let Some(records) = TableLog::look(lake, "records").await? else {
            return Ok(Imports { files: BTreeMap::new(), voids });
        };
        let mut files: BTreeMap<String, Import> = BTreeMap::new();
        let offsets = records.txns_under(OFFSET).filter_map(|(name, offset)| Some((name.rsplit_once('/')?.0, offset)));
        for (topic, offset) in offsets.filter(|(topic, _)| topic.starts_with(FILE_TOPIC)) {
            files.entry(topic.to_owned()).or_default().position = Some(offset);
        }
        for (topic, id) in topic_ids(&records) {
            if topic.starts_with(FILE_TOPIC) {
                files.entry(topic).or_default().mapping = Some(id);
            }
        }
        for (note, number) in records.txns_under(NOTE) {
            if let Some((topic, name)) = file(note) {
                files.entry(topic.to_owned()).or_default().files.insert(name.to_owned(), number);
            } else if let Some(topic) = note.strip_prefix(BYTES) {
                files.entry(topic.to_owned()).or_default().bytes = Some(number);
            } else if let Some(topic) = note.strip_prefix(END) {
                files.entry(topic.to_owned()).or_default().end = Some(number);
            } else if let Some(topic) = note.strip_prefix(IMPORTED) {
                files.entry(topic.to_owned()).or_default().imported_ms = Some(number);
            }
        }
        for (topic, at_ms) in records.txns_under(VOID) {
            files.entry(topic.to_owned()).or_default().void_ms = Some(at_ms);
        }
        Ok(Imports { files, voids })
    }
}

/// Reads the accepted records of a lake, of imports that are void too, without claiming it.
pub async fn accepted(lake: &Lake, mut each: impl FnMut(&RecordRow)) -> Result<(), LedgerError> {
    match TableLog::look(lake, "records").await? {
        Some(records) => {
            load::records(&records, &load::Wanted::ALL, &Arc::default(), |_, rows| rows.iter().for_each(&mut each))
                .await
        }
        None => Ok(()),
    }
}

/// The topic and the file name of a note of a file.
pub(super) fn file(note: &str) -> Option<(&str, &str)> {
    // A topic holds no slash; the name of a file may.
    note.strip_prefix(FILE)?.split_once('/')
}

/// The note of when a topic was imported.
pub(super) fn imported(topic: &str) -> String {
    format!("{IMPORTED}{topic}")
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use schemas::symbols::Symbols;
    use tempfile::TempDir;

    use super::super::directory::{FORMAT, FORMAT_VOIDS};
    use super::super::tests::{T0, commit, open, part, settings};
    use super::super::{Ledger, Part, State};
    use super::*;
    use crate::lake::PartitionId;

    const TOPIC: &str = "file:0a";

    fn of_file(cut: schemas::Tick) -> Part {
        let mut part = part(cut, 0..10);
        let mut rows: Vec<_> = part.rows[0].iter().cloned().collect();
        rows.iter_mut().for_each(|row| row.topic = TOPIC.into());
        part.rows = vec![rows.into()];
        part.positions = vec![(PartitionId { topic: TOPIC.into(), partition: 0 }, 10)];
        part.topic_ids = BTreeMap::from([(TOPIC.to_owned(), "mapping".to_owned())]);
        let notes = [("file/file:0a/day/1.csv", 12), ("bytes/file:0a", 345), ("end/file:0a", 24)];
        part.notes = notes.map(|(name, number)| (name.to_owned(), number)).into();
        part
    }

    async fn undo(lake: &Path) -> (Ledger, State) {
        Ledger::open(lake, &settings(), false, &[TOPIC.to_owned()], &Symbols::new()).await.unwrap()
    }

    fn of(lake: &Path) -> Lake {
        Lake::read(lake).unwrap()
    }

    #[tokio::test]
    async fn notes_tell_of_imports_and_a_void_takes_effect_with_the_names_of_views() {
        let dir = TempDir::new().unwrap();
        let path = dir.path();
        let (mut ledger, _) = open(path).await;
        commit(&mut ledger, T0 + 1_000, of_file(T0 + 1_000)).await.unwrap();
        drop(ledger);
        let imports = Imports::read(&of(path)).await.unwrap();
        let import = &imports.files[TOPIC];
        assert_eq!((import.names().as_deref(), import.rows(), import.bytes), (Some("day/1.csv"), Some(12), Some(345)));
        assert!(import.imported_ms > Some(T0 as i64) && import.void_ms.is_none() && imports.voids.is_empty());
        assert!(import.is_in_part() && import.durable_rows() == Some(5), "10 of 24 offsets: {import:?}");
        let (was, mapping) = (of(path), import.mapping.clone());
        assert_eq!((was.format(), mapping.as_deref()), (FORMAT, Some("mapping")));

        // Declared and killed: nothing has changed for readers, and the next start knows.
        let (ledger, state) = undo(path).await;
        assert!(state.voids.contains(TOPIC) && !state.fresh.contains(&false) && state.behind, "{state:?}");
        drop(ledger);
        let imports = Imports::read(&of(path)).await.unwrap();
        let declared = imports.files[TOPIC].void_ms;
        assert!(declared.is_some() && imports.voids.is_empty(), "{imports:?}");
        assert_eq!((of(path).views, of(path).format()), (was.views.clone(), FORMAT));

        let (mut ledger, state) = open(path).await;
        assert!(state.voids.contains(TOPIC) && state.behind && state.load_to == T0 + 1_000, "{state:?}");
        commit(&mut ledger, T0 + 2_000, Part::default()).await.unwrap();
        drop(ledger);
        let now = of(path);
        assert!(now.voids.contains(TOPIC) && now.format() == FORMAT_VOIDS);
        assert!(now.views["installs"] != was.views["installs"] && now.views["credits"] != was.views["credits"]);

        // In effect: nothing is anew, and to declare it again changes nothing.
        let (ledger, state) = undo(path).await;
        assert!(state.voids.contains(TOPIC) && !state.behind, "{state:?}");
        drop(ledger);
        assert_eq!(Imports::read(&of(path)).await.unwrap().files[TOPIC].void_ms, declared);
    }

    #[tokio::test]
    async fn what_is_void_stays_void_when_records_are_restored_from_a_copy() {
        let dir = TempDir::new().unwrap();
        let (path, records, copy) = (dir.path(), dir.path().join("records"), dir.path().join("copy"));
        let (mut ledger, _) = open(path).await;
        commit(&mut ledger, T0 + 1_000, of_file(T0 + 1_000)).await.unwrap();
        drop(ledger);
        let status = std::process::Command::new("cp").arg("-r").args([&records, &copy]).status().unwrap();
        assert!(status.success());
        let (mut ledger, _) = undo(path).await;
        commit(&mut ledger, T0 + 2_000, Part::default()).await.unwrap();
        drop(ledger);
        std::fs::remove_dir_all(&records).unwrap();
        std::fs::rename(&copy, &records).unwrap();
        super::super::repair::repair(path).await.unwrap();
        let (_, state) = open(path).await;
        assert!(state.voids.contains(TOPIC), "{state:?}");
        assert!(Imports::read(&of(path)).await.unwrap().files[TOPIC].void_ms.is_some());
    }
}
