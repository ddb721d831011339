//! The files that a lake holds, and how a person names one of them: by a path, by the name under which it was imported, or
//! by the first digits of its id.

use std::collections::BTreeSet;
use std::path::Path;

use super::super::SourceError;
use super::input::Input;
use crate::lake::imports::{Import, Imports};

/// How the topic of a file begins.
const PREFIX: &str = "file:";
/// The fewest digits of an id that name a file.
const ID_DIGITS_MIN: usize = 4;
/// Digits of an id that messages show.
const ID_DIGITS_SHOWN: usize = 12;
/// As many imports as a message lists.
const LISTED_MAX: usize = 20;

/// The topic of a file's content as it is imported first.
fn first_topic(content: &[u8; 32]) -> String {
    let hex: String = content.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{PREFIX}{hex}")
}

/// The topic under which a file is imported: that of its content, with a number where the ones before are void.
pub fn topic(input: &Input, voids: &BTreeSet<String>) -> String {
    let first = first_topic(input.content());
    let again = (2..).map(|time| format!("{first}@{time}"));
    std::iter::once(first.clone()).chain(again).find(|topic| !voids.contains(topic)).expect("numbers do not end")
}

/// The topic of the content's first import.
fn content_of(topic: &str) -> &str {
    topic.split_once('@').map_or(topic, |(content, _)| content)
}

/// Whether an import counts no more.
fn is_void(imports: &Imports, topic: &str) -> bool {
    imports.voids.contains(topic) || imports.files.get(topic).is_some_and(|import| import.void_ms.is_some())
}

/// Whether an import was declared void, but readers still see the views that count it.
pub fn is_pending(imports: &Imports, topic: &str) -> bool {
    is_void(imports, topic) && !imports.voids.contains(topic)
}

/// The imports of other files that count and were left off midway.
pub fn in_part<'a>(imports: &'a Imports, input: &Input) -> impl Iterator<Item = (&'a String, &'a Import)> {
    let content = first_topic(input.content());
    living(imports).filter(move |(topic, import)| import.is_in_part() && content_of(topic) != content)
}

/// The topics of a lake that count no more.
pub fn voids(imports: &Imports) -> BTreeSet<String> {
    imports.files.keys().filter(|topic| is_void(imports, topic)).chain(&imports.voids).cloned().collect()
}

/// The imports that count.
fn living(imports: &Imports) -> impl Iterator<Item = (&String, &Import)> {
    imports.files.iter().filter(|(topic, _)| !is_void(imports, topic))
}

/// The import that counts of this very content.
fn of_content<'a>(imports: &'a Imports, input: &Input) -> Option<(&'a String, &'a Import)> {
    let content = first_topic(input.content());
    living(imports).find(|(topic, _)| content_of(topic) == content)
}

/// The topics of other files that were imported under the name of this one and count.
pub fn namesakes(imports: &Imports, input: &Input) -> Vec<String> {
    let (name, content) = (input.name(), first_topic(input.content()));
    let same =
        living(imports).filter(|(topic, import)| import.files.contains_key(&name) && content_of(topic) != content);
    same.map(|(topic, _)| topic.clone()).collect()
}

/// Whether the lake holds files other than this one that count.
pub fn has_others(imports: &Imports, input: &Input) -> bool {
    let content = first_topic(input.content());
    living(imports).any(|(topic, _)| content_of(topic) != content)
}

/// Refuses a file that was imported by another mapping and still counts.
pub fn check(imports: &Imports, input: &Input, identity: &str) -> Result<(), SourceError> {
    match of_content(imports, input) {
        Some((_, import)) if import.mapping.as_ref().is_some_and(|known| known != identity) => {
            Err(by_another_mapping(input))
        }
        _ => Ok(()),
    }
}

pub(super) fn by_another_mapping(input: &Input) -> SourceError {
    SourceError::Refused(format!(
        "{}: is in this lake already, imported by another mapping, and its rows would count twice: go on with the mapping \
         of the first import, or undo that one by --replace",
        input.path().display()
    ))
}

/// The imports that a file stands for once it is imported with `--replace`: of its content by another mapping, and under
/// its name with other content.
pub fn replaced(imports: &Imports, input: &Input, identity: &str) -> Vec<String> {
    let mut replaced = namesakes(imports, input);
    let own = of_content(imports, input).filter(|(_, import)| import.mapping.as_deref() != Some(identity));
    replaced.extend(own.map(|(topic, _)| topic.clone()));
    replaced
}

/// Whether a topic is an import of this very content.
pub fn is_content(topic: &str, input: &Input) -> bool {
    content_of(topic) == first_topic(input.content())
}

/// Whether a topic is this very file by this very mapping.
pub fn is_the_same(imports: &Imports, topic: &str, input: &Input, identity: &str) -> bool {
    let import = imports.files.get(topic);
    is_content(topic, input) && import.is_some_and(|import| import.mapping.as_deref() == Some(identity))
}

/// An import as messages name it: its file names and the head of its id.
pub fn shown(imports: &Imports, topic: &str) -> String {
    let id = id(topic);
    match imports.files.get(topic).and_then(Import::names) {
        Some(names) => format!("{names} ({id})"),
        None => id,
    }
}

/// How a person names an import that counts: by its file name, where no other has it, else by the head of its id.
pub fn handle(imports: &Imports, topic: &str) -> String {
    let named = imports.files.get(topic).and_then(|import| import.files.keys().next());
    let alone = |name: &&String| living(imports).filter(|(_, import)| import.files.contains_key(*name)).count() == 1;
    named.filter(alone).cloned().unwrap_or_else(|| id(topic))
}

/// The head of an import's id.
fn id(topic: &str) -> String {
    let id = topic.strip_prefix(PREFIX).unwrap_or(topic);
    let (content, time) = id.split_at(id.find('@').unwrap_or(id.len()));
    format!("{}{time}", &content[..content.len().min(ID_DIGITS_SHOWN)])
}

/// Why no import is meant by what a person wrote.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotFound {
    /// The lake holds nothing of that name.
    #[error("{what:?} is no import of this lake; {}", listed(.holds))]
    Unknown {
        /// What was written.
        what: String,
        /// The imports that count.
        holds: Vec<String>,
    },
    /// Several are meant.
    #[error("{what:?} names several imports: write the id of one, as it stands in brackets; {}", listed(.which))]
    Several {
        /// What was written.
        what: String,
        /// Those that are meant.
        which: Vec<String>,
    },
    /// It was declared void before.
    #[error("{shown} is void already")]
    Void {
        /// Its topic.
        topic: String,
        /// How messages name it.
        shown: String,
    },
}

fn listed(names: &[String]) -> String {
    match names.len() {
        0 => "no file counts in it".to_owned(),
        all if all > LISTED_MAX => {
            format!("there are {}, and {} more", names[..LISTED_MAX].join(", "), all - LISTED_MAX)
        }
        _ => format!("there are {}", names.join(", ")),
    }
}

/// The import that a person names: the path of a file by its content, else a file name, else the first digits of an id.
/// One that counts is meant before one that is void, but for a void that has not taken effect: what was interrupted goes on.
pub fn find(imports: &Imports, what: &str) -> Result<String, NotFound> {
    let path = Path::new(what);
    // A file that cannot be read may still be meant by its name.
    let content = Input::read(path).ok().map(|input| first_topic(input.content()));
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
    let id = what.strip_prefix(PREFIX).unwrap_or(what);
    let by_content = |topic: &str, _: &Import| content.as_deref() == Some(content_of(topic));
    let by_name = |_: &str, import: &Import| name.as_ref().is_some_and(|name| import.files.contains_key(name));
    let by_id = |topic: &str, _: &Import| {
        let own = topic.strip_prefix(PREFIX).unwrap_or(topic);
        let (head, time) = id.split_once('@').map_or((id, None), |(head, time)| (head, Some(time)));
        let of_time = time.is_none_or(|time| own.split_once('@').is_some_and(|(_, own)| own == time));
        head.len() >= ID_DIGITS_MIN && own.starts_with(head) && of_time
    };
    let ways: [&dyn Fn(&str, &Import) -> bool; 3] = [&by_content, &by_name, &by_id];
    let void = |topic: &String| NotFound::Void { topic: topic.clone(), shown: shown(imports, topic) };
    let mut void_before = None;
    for way in ways {
        let found: Vec<&String> =
            imports.files.iter().filter(|(topic, import)| way(topic, import)).map(|(topic, _)| topic).collect();
        if let Some(topic) = found.iter().find(|topic| is_pending(imports, topic)) {
            return Err(void(topic));
        }
        let counting: Vec<&String> = found.iter().copied().filter(|topic| !is_void(imports, topic)).collect();
        match &counting[..] {
            [] => void_before = void_before.or(found.last().copied()),
            [topic] => return Ok((*topic).clone()),
            several => {
                let which = several.iter().map(|topic| shown(imports, topic)).collect();
                return Err(NotFound::Several { what: what.to_owned(), which });
            }
        }
    }
    if let Some(topic) = void_before {
        return Err(void(topic));
    }
    let holds = living(imports).map(|(topic, _)| shown(imports, topic)).collect();
    Err(NotFound::Unknown { what: what.to_owned(), holds })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn import(name: &str, mapping: &str, void: bool) -> Import {
        let files = [(name.to_owned(), 10)].into();
        Import { mapping: Some(mapping.to_owned()), files, void_ms: void.then_some(1), ..Import::default() }
    }

    fn held(imports: &[(&str, Import)]) -> Imports {
        let files = imports.iter().map(|(topic, import)| ((*topic).to_owned(), import.clone())).collect();
        let voids = imports.iter().filter(|(_, import)| import.void_ms.is_some());
        Imports { files, voids: voids.map(|(topic, _)| (*topic).to_owned()).collect() }
    }

    #[test]
    fn a_person_names_an_import_by_its_name_or_its_id() {
        let imports = held(&[
            ("file:aaaa1", import("day1.csv", "m", true)),
            ("file:aaaa1@2", import("day1.csv", "m", false)),
            ("file:aaaa2", import("day2.csv", "m", true)),
            ("file:bbbb1", import("same.csv", "m", false)),
            ("file:bbbb2", import("same.csv", "m", false)),
        ]);
        assert_eq!(find(&imports, "elsewhere/day1.csv"), Ok("file:aaaa1@2".to_owned()));
        assert_eq!(find(&imports, "file:aaaa1@2"), Ok("file:aaaa1@2".to_owned()));
        assert_eq!(find(&imports, "bbbb2"), Ok("file:bbbb2".to_owned()));
        let void = find(&imports, "day2.csv").unwrap_err().to_string();
        assert_eq!(void, "day2.csv (aaaa2) is void already");
        let several = find(&imports, "same.csv").unwrap_err();
        assert!(several.to_string().ends_with("there are same.csv (bbbb1), same.csv (bbbb2)"), "{several}");
        assert!(matches!(find(&imports, "bbbb"), Err(NotFound::Several { .. })));
        let unknown = find(&imports, "bbb").unwrap_err().to_string();
        assert!(unknown.starts_with("\"bbb\" is no import of this lake; there are day1.csv (aaaa1@2), "), "{unknown}");
    }

    #[test]
    fn one_that_counts_is_meant_before_one_that_is_void_unless_the_void_is_to_be_completed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.csv");
        std::fs::write(&path, "content").unwrap();
        let own = first_topic(Input::read(&path).unwrap().content());
        let path = path.to_str().unwrap();
        let mut imports = held(&[(&own, import("a.csv", "m", true)), ("file:1", import("a.csv", "m", false))]);
        assert_eq!(find(&imports, path), Ok("file:1".to_owned()), "by its name, for that of its content is void");
        imports.voids.clear();
        assert!(matches!(find(&imports, path), Err(NotFound::Void { topic, .. }) if topic == own));
        imports = held(&[(&own, import("a.csv", "m", true)), ("file:1", import("b.csv", "m", false))]);
        assert!(matches!(find(&imports, path), Err(NotFound::Void { topic, .. }) if topic == own));
    }

    #[test]
    fn a_file_stands_for_what_its_name_or_its_content_held_before() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.csv");
        std::fs::write(&path, "content").unwrap();
        let input = Input::read(&path).unwrap();
        let own = first_topic(input.content());
        let again = format!("{own}@2");
        let mut imports = held(&[
            (&own, import("a.csv", "m", true)),
            (&again, import("b.csv", "m", false)),
            ("file:1", import("a.csv", "m", false)),
            ("file:2", import("a.csv", "m", true)),
            ("file:3", import("c.csv", "m", false)),
        ]);
        assert_eq!(find(&imports, path.to_str().unwrap()), Ok(again.clone()));
        assert_eq!(topic(&input, &voids(&imports)), again);
        assert_eq!(replaced(&imports, &input, "m"), ["file:1"]);
        assert_eq!(replaced(&imports, &input, "n"), ["file:1", again.as_str()]);
        assert!(check(&imports, &input, "m").is_ok() && check(&imports, &input, "n").is_err());
        assert!(has_others(&imports, &input));
        imports.files.retain(|topic, _| content_of(topic) == own);
        assert!(!has_others(&imports, &input));
        imports.files.get_mut(&again).unwrap().void_ms = Some(1);
        assert_eq!(topic(&input, &voids(&imports)), format!("{own}@3"));
        assert!(check(&imports, &input, "n").is_ok());
    }
}
