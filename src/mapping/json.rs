//! The members of a JSON object that a mapping names, as cells.
//!
//! Values are taken as written, so that no number passes through a float; only a whole number is written as one, so that the
//! ids `7.0` and `7` are the same person, as they are where JSON is decoded without a mapping. A name is a member's own name, or a path into
//! inner objects and lists: `a.b`, `a[0].b`, `a.0.b`. A member whose own name is `a.b` comes before the path.

use std::borrow::Cow;
use std::fmt;

use schemas::decimal::Decimal;
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::{Cells, Mapping};

/// Where the columns of a mapping are in an object.
#[derive(Clone, Debug)]
pub struct JsonColumns {
    columns: Vec<Path>,
}

#[derive(Clone, Debug)]
struct Path {
    name: String,
    /// The parts of the name, where it has several.
    steps: Vec<String>,
}

impl JsonColumns {
    /// The columns that a mapping names.
    pub fn of(mapping: &Mapping) -> JsonColumns {
        let path = |name: &str| {
            let steps = name.replace('[', ".").replace(']', "");
            Path { name: name.to_owned(), steps: steps.split('.').map(str::to_owned).collect() }
        };
        JsonColumns { columns: mapping.columns().map(path).collect() }
    }

    /// Reads the cells of one object, or says why they cannot be.
    pub fn read(&self, text: &str, cells: &mut Cells) -> Result<(), String> {
        cells.clear();
        let malformed = |error: serde_json::Error| format!("malformed JSON: {error}");
        let mut from = serde_json::Deserializer::from_str(text);
        let members = Wanted(&self.columns).deserialize(&mut from).map_err(malformed)?;
        from.end().map_err(malformed)?;
        for Path { name, steps } in &self.columns {
            let whole = members.iter().find(|(key, _)| key == name);
            let value = match whole {
                Some((_, value)) => Some(*value),
                None => {
                    members.iter().find(|(key, _)| *key == steps[0]).and_then(|(_, value)| inside(value, &steps[1..]))
                }
            };
            match value.map(RawValue::get) {
                None | Some("null") => cells.push(""),
                Some(value) if value.starts_with('"') => {
                    let text: Cow<'_, str> = serde_json::from_str::<Text<'_>>(value).map_err(malformed)?.0;
                    cells.push(&text);
                }
                Some(value) => cells.push(&plain(value)),
            }
        }
        Ok(())
    }
}

/// A whole number without its decimals or exponent; anything else as written.
fn plain(value: &str) -> Cow<'_, str> {
    let number = value.starts_with(|first: char| first.is_ascii_digit() || first == '-');
    let whole = || Decimal::parse(value).and_then(|number| number.scaled(0)).ok();
    match Some(value).filter(|value| number && value.contains(['.', 'e', 'E'])).and_then(|_| whole()) {
        Some(whole) => Cow::Owned(whole.to_string()),
        None => Cow::Borrowed(value),
    }
}

#[derive(serde::Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// What is inside a value at a path.
fn inside<'a>(value: &'a RawValue, steps: &[String]) -> Option<&'a RawValue> {
    let Some((step, rest)) = steps.split_first() else { return Some(value) };
    let inner = if value.get().starts_with('[') {
        let items: Vec<&RawValue> = serde_json::from_str(value.get()).ok()?;
        items.into_iter().nth(step.parse().ok()?)?
    } else {
        let members: std::collections::HashMap<Cow<'_, str>, &RawValue> = serde_json::from_str(value.get()).ok()?;
        members.get(step.as_str()).copied()?
    };
    inside(inner, rest)
}

/// Members of an object.
type Members<'a> = Vec<(Cow<'a, str>, &'a RawValue)>;

/// Reads the members of an object that columns name or are inside of; one that is there twice is refused.
struct Wanted<'c>(&'c [Path]);

impl<'de> DeserializeSeed<'de> for Wanted<'_> {
    type Value = Members<'de>;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Members<'de>, D::Error> {
        from.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Wanted<'_> {
    type Value = Members<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut from: A) -> Result<Members<'de>, A::Error> {
        let mut members = Members::with_capacity(self.0.len());
        while let Some(Text(key)) = from.next_key()? {
            if !self.0.iter().any(|path| path.name == key || path.steps[0] == key) {
                from.next_value::<IgnoredAny>()?;
                continue;
            }
            if members.iter().any(|(known, _)| *known == key) {
                return Err(A::Error::custom(format!("member {key:?} is there twice")));
            }
            let value = from.next_value()?;
            members.push((key, value));
        }
        Ok(members)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cells(columns: &str, text: &str) -> Result<Vec<String>, String> {
        let mapping = format!(
            "{{format: jsonl, tenant: t, event_time: {{column: t, format: epoch}}, emit: [{{type: click, set: {{device: {columns}}}}}]}}"
        );
        let mapping = Mapping::parse(std::path::Path::new("m.yaml"), &mapping).unwrap();
        let mut cells = Cells::default();
        JsonColumns::of(&mapping).read(text, &mut cells)?;
        Ok((1..mapping.columns().len()).map(|index| cells.get(index).unwrap_or("-").to_owned()).collect())
    }

    #[test]
    fn members_are_taken_as_written() {
        let one = |text: &str| cells("[a]", text).map(|mut cells| cells.remove(0));
        assert_eq!(one(r#"{"a": 12345678901234567890.10, "b": {}}"#).unwrap(), "12345678901234567890.10");
        assert_eq!(one(r#"{"\u0061": "\u00e9 \" x"}"#).unwrap(), "é \" x");
        for (written, read) in
            [("7.0", "7"), ("7", "7"), ("1e2", "100"), ("-5.00", "-5"), ("7.5", "7.5"), ("\"7.0\"", "7.0")]
        {
            assert_eq!(one(&format!("{{\"a\": {written}}}")).unwrap(), read);
        }
        assert_eq!(one(r#"{"a": true}"#).unwrap(), "true");
        assert_eq!(one(r#"{"a": [1, "x"]}"#).unwrap(), r#"[1, "x"]"#);
        for absent in [r#"{"a": null}"#, r#"{"a": ""}"#, r#"{"a": "  "}"#, r#"{"b": 1}"#, "{}"] {
            assert_eq!(one(absent).unwrap(), "-", "{absent}");
        }
        for (bad, reason) in [
            ("[1]", "expected an object"),
            ("7", "expected an object"),
            (r#"{"a": 1"#, "EOF"),
            (r#"{"a": 1,}"#, "trailing comma"),
            (r#"{"a": 1} {"a": 2}"#, "trailing characters"),
            (r#"{"a": 1, "a": 2}"#, "\"a\" is there twice"),
            (r#"{'a': 1}"#, "key must be a string"),
        ] {
            let error = one(bad).unwrap_err();
            assert!(error.starts_with("malformed JSON: ") && error.contains(reason), "{bad}: {error}");
        }
        // Only members that a column names must be there once.
        assert_eq!(one(r#"{"b": 1, "b": 2, "a": 3}"#).unwrap(), "3");
    }

    #[test]
    fn paths_lead_into_objects_and_lists() {
        let text =
            r#"{"a": {"b": {"c": 1}, "x.y": 2, "0": "zero"}, "l": [{"b": "first"}, [5, 6]], "a.b": 7, "n": null}"#;
        assert_eq!(
            cells(r#"[a.b.c, "l[0].b", l.0.b, "l[1][1]", a.0]"#, text).unwrap(),
            ["1", "first", "first", "6", "zero"]
        );
        // Its own name first.
        assert_eq!(cells("[a.b]", text).unwrap(), ["7"]);
        assert_eq!(cells(r#"[a.z, "l[2].b", "l.b", n.b, z.b, a.b.c.d]"#, text).unwrap(), ["-"; 6]);
    }
}
