//! Reads YAML so that every mistake names file, line and field: the text is read twice, once into the typed value and
//! once into an [`Outline`] that knows where each field stands, so types stay plain serde types. In between variables of
//! the environment are put in, where the file may name some ([`environment`]).

use std::fmt;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::{DeserializeOwned, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{PropertySyntax, Spanned};

use super::environment::{self, Lookup, Variables};

/// The one mistake of a job or mapping file that is reported: where it is and what to write instead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct ConfigError {
    /// The file.
    pub file: PathBuf,
    /// Line of the mistake, from 1; none where the whole file is meant.
    pub line: Option<u64>,
    /// Path of the field, as `views.installs.click_window.search`; empty where the whole file is meant.
    pub field: String,
    /// What is wrong and what may be written.
    pub message: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        if !self.field.is_empty() {
            write!(f, ": {}", self.field)?;
        }
        write!(f, ": {}", self.message)
    }
}

impl ConfigError {
    /// A mistake of the file as a whole (it cannot be read, say).
    pub fn of_file(file: &Path, message: impl fmt::Display) -> ConfigError {
        ConfigError { file: file.to_owned(), line: None, field: String::new(), message: message.to_string() }
    }
}

/// Where each field of a file stands.
#[derive(Clone, Debug)]
pub struct Outline {
    file: PathBuf,
    /// Path, first line of its key (or list item), and where its value begins; in the order of the file.
    places: Vec<Place>,
}

#[derive(Clone, Debug)]
struct Place {
    field: String,
    key: (u64, u64),
    value: (u64, u64),
    /// The value as it is written, where it is a text.
    text: Option<String>,
}

impl Outline {
    /// An error at a field; at the nearest field around it where it is not written (a default, say).
    pub fn error(&self, field: &str, message: impl fmt::Display) -> ConfigError {
        let mut around = field;
        let line = loop {
            if let Some(place) = self.places.iter().find(|place| place.field == around) {
                break Some(place.key.0);
            }
            if around.is_empty() {
                break None;
            }
            around = parent(around);
        };
        ConfigError { file: self.file.clone(), line, field: field.to_owned(), message: message.to_string() }
    }

    /// The innermost field that begins at or last before a place.
    fn field_at(&self, at: (u64, u64)) -> &str {
        self.place_at(at).map_or("", |place| &place.field)
    }

    fn place_at(&self, at: (u64, u64)) -> Option<&Place> {
        let exact = self.places.iter().rfind(|place| place.key == at || place.value == at);
        let before = || self.places.iter().rfind(|place| place.key <= at);
        exact.or_else(before)
    }
}

/// Reads a file.
pub fn read_text(file: &Path) -> Result<String, ConfigError> {
    std::fs::read_to_string(file).map_err(|error| ConfigError::of_file(file, format!("cannot be read: {error}")))
}

/// Reads a YAML text as `T`; `file` is named in errors.
pub fn from_text<T: DeserializeOwned>(file: &Path, text: &str) -> Result<(T, Outline), ConfigError> {
    let (outline, _) = outline(file, text)?;
    let options = serde_saphyr::options! { with_snippet: false };
    let value = serde_saphyr::from_str_with_options::<T>(text, options).map_err(|error| located(&outline, &error))?;
    Ok((value, outline))
}

/// Reads a YAML text whose values may name variables ([`environment`]).
pub fn from_text_with<T: DeserializeOwned>(
    file: &Path,
    text: &str,
    lookup: Lookup<'_>,
) -> Result<(T, Outline), ConfigError> {
    let (outline, root) = outline(file, text)?;
    let mut variables = Variables::new();
    root.variables("", &outline, lookup, &mut variables)?;
    // This way of the library's reads all that was let through above as we do, and puts no value where a key is.
    let options = serde_saphyr::options! { with_snippet: false, property_syntax: PropertySyntax::DockerCompose };
    let value = serde_saphyr::from_str_with_options::<T>(text, options.with_properties(variables))
        .map_err(|error| located(&outline, &error))?;
    Ok((value, outline))
}

/// Where the fields of a text stand, and the text as a tree. One that is no YAML at all fails here, with its place.
fn outline(file: &Path, text: &str) -> Result<(Outline, Node), ConfigError> {
    let mut outline = Outline { file: file.to_owned(), places: Vec::new() };
    let options = serde_saphyr::options! { with_snippet: false };
    let root = serde_saphyr::from_str_with_options::<Node>(text, options).map_err(|error| located(&outline, &error))?;
    root.places("", &mut outline.places);
    Ok((outline, root))
}

/// Says in our words where the library found a mistake and what it is.
fn located(outline: &Outline, error: &serde_saphyr::Error) -> ConfigError {
    let at = error.location().map(|location| (location.line(), location.column())).filter(|at| at.0 > 0);
    let mut message = error.without_snippet().to_string();
    if let Some((line, column)) = at {
        // The place leads our message; the library repeats it at the end of its own.
        message = message.replace(&format!(" at line {line}, column {column}"), "");
    }
    for (theirs, ours) in WORDS {
        message = message.replace(theirs, ours);
    }
    // In a file that names a variable the library hides each name that is none of those that may be written. As it stands
    // in the file it tells no secret.
    let written = at.and_then(|at| outline.place_at(at)?.text.as_deref());
    message = message.replace(HIDDEN, &written.map_or("value".to_owned(), |written| format!("value `{written}`")));
    let error = |line, field, message| ConfigError { file: outline.file.clone(), line, field, message };
    let Some(at) = at else { return error(None, String::new(), message) };
    let Some(name) = message.strip_prefix("missing field `").and_then(|rest| rest.split('`').next()) else {
        return error(Some(at.0), outline.field_at(at).to_owned(), message);
    };
    // The library points at the value around what is missing, or at the last thing that it read in there.
    let whole = outline.places.iter().find(|place| place.value == at).map(|place| place.field.as_str());
    let around = whole.unwrap_or_else(|| parent(outline.field_at(at)));
    let line = outline.places.iter().find(|place| place.field == around).map_or(1, |place| place.key.0);
    error(Some(line), join(around, name), "is missing".to_owned())
}

/// What the library says in place of a name where any value of the file may come from a variable.
const HIDDEN: &str = "variant `an interpolated variant`";

/// What the library says in terms of its own, and what a person would.
const WORDS: [(&str, &str); 4] = [
    (", set DuplicateKeyPolicy in Options if acceptable", ""),
    ("expected string scalar", "expected a text"),
    ("expected sequence start", "expected a list, as [a, b]"),
    ("expected mapping start", "expected fields, as { name: value }"),
];

/// The path around a path.
fn parent(field: &str) -> &str {
    field.rfind(['.', '[']).map_or("", |end| &field[..end])
}

fn join(around: &str, name: &str) -> String {
    if around.is_empty() { name.to_owned() } else { format!("{around}.{name}") }
}

/// Any YAML, of which only the places and the texts matter.
enum Node {
    Scalar,
    Text(String),
    List(Vec<Spanned<Node>>),
    Map(Vec<(Spanned<String>, Spanned<Node>)>),
}

impl Node {
    fn text(&self) -> Option<String> {
        if let Node::Text(text) = self { Some(text.clone()) } else { None }
    }

    fn places(&self, field: &str, places: &mut Vec<Place>) {
        let at = |location: serde_saphyr::Location| (location.line(), location.column());
        match self {
            Node::Scalar | Node::Text(_) => {}
            Node::List(items) => {
                for (index, item) in items.iter().enumerate() {
                    let field = format!("{field}[{index}]");
                    let place = at(item.referenced);
                    places.push(Place { field: field.clone(), key: place, value: place, text: item.value.text() });
                    item.value.places(&field, places);
                }
            }
            Node::Map(entries) => {
                for (key, value) in entries {
                    let field = join(field, &key.value);
                    let (key, place) = (at(key.referenced), at(value.referenced));
                    places.push(Place { field: field.clone(), key, value: place, text: value.value.text() });
                    value.value.places(&field, places);
                }
            }
        }
    }

    /// The variables that the texts name and that are set.
    fn variables(
        &self,
        field: &str,
        outline: &Outline,
        lookup: Lookup<'_>,
        variables: &mut Variables,
    ) -> Result<(), ConfigError> {
        match self {
            Node::Scalar => Ok(()),
            Node::Text(text) => {
                environment::collect(text, lookup, variables).map_err(|message| outline.error(field, message))
            }
            Node::List(items) => items.iter().enumerate().try_for_each(|(index, item)| {
                item.value.variables(&format!("{field}[{index}]"), outline, lookup, variables)
            }),
            Node::Map(entries) => entries.iter().try_for_each(|(key, value)| {
                value.value.variables(&join(field, &key.value), outline, lookup, variables)
            }),
        }
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Node, D::Error> {
        deserializer.deserialize_any(NodeVisitor)
    }
}

struct NodeVisitor;

macro_rules! scalars {
    ($($visit:ident: $kind:ty),*) => {$(
        fn $visit<E>(self, _: $kind) -> Result<Node, E> {
            Ok(Node::Scalar)
        }
    )*};
}

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("YAML")
    }

    scalars!(visit_bool: bool, visit_i64: i64, visit_u64: u64, visit_i128: i128, visit_u128: u128, visit_f64: f64,
        visit_bytes: &[u8]);

    fn visit_str<E>(self, text: &str) -> Result<Node, E> {
        Ok(Node::Text(text.to_owned()))
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Scalar)
    }

    fn visit_none<E>(self) -> Result<Node, E> {
        Ok(Node::Scalar)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        IgnoredAny::deserialize(deserializer).map(|_| Node::Scalar)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Node, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Node::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Node, A::Error> {
        let mut map = Vec::new();
        while let Some(entry) = entries.next_entry()? {
            map.push(entry);
        }
        Ok(Node::Map(map))
    }
}
