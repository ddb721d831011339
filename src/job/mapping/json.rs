//! The members of a JSON object that a mapping names, as cells.
//!
//! Values are taken as written, so that no number passes through a float; only a whole number is written as one, so that the
//! ids `7.0` and `7` are the same person, as they are where JSON is decoded without a mapping. A name is a member's own name, or a path into
//! inner objects and lists: `a.b`, `a[0].b`, `a.0.b`. A member whose own name is `a.b` comes before the path.
//!
//! What is no text and no number ([`Flaw`]) concerns its own column alone: conditions compare it as it is written, and fields go
//! without it.

use std::borrow::Cow;
use std::fmt;

use schemas::decimal::Decimal;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::{Cells, Flaw, Mapping};

/// Where the columns of a mapping are in an object.
#[derive(Clone, Debug)]
pub struct JsonColumns {
    columns: Vec<Path>,
    /// Whether a name has letters beyond ASCII.
    any_beyond_ascii: bool,
}

#[derive(Clone, Debug)]
struct Path {
    name: String,
    /// The parts of the name, where it has several.
    steps: Vec<String>,
}

/// The text of a record. Where it is no UTF-8, what is none is replaced, and the text is owned.
pub fn json_text(bytes: &[u8]) -> Cow<'_, str> {
    match str::from_utf8(bytes) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => String::from_utf8_lossy(bytes),
    }
}

impl JsonColumns {
    /// The columns that a mapping names.
    pub fn of(mapping: &Mapping) -> JsonColumns {
        let path = |name: &str| {
            let steps = name.replace('[', ".").replace(']', "");
            Path { name: name.to_owned(), steps: steps.split('.').map(str::to_owned).collect() }
        };
        JsonColumns {
            columns: mapping.columns().map(path).collect(),
            any_beyond_ascii: mapping.columns().any(|name| !name.is_ascii()),
        }
    }

    /// Reads the cells of one object, or says why they cannot be. `text` is of [`json_text`].
    pub fn read(&self, text: Cow<'_, str>, cells: &mut Cells) -> Result<(), String> {
        cells.clear();
        let replaced = matches!(text, Cow::Owned(_));
        // A name that is broken may be one that is wanted.
        let members = if replaced && self.any_beyond_ascii { None } else { Some(self.members(&text)) };
        let members = match members {
            Some(Ok(members)) => members,
            Some(Err(error)) if !replaced => return Err(format!("malformed JSON: {error}")),
            _ => {
                let at = text.find(char::REPLACEMENT_CHARACTER).unwrap_or_default();
                return Err(format!("byte {at}: {}", Flaw::NoUtf8.reason()));
            }
        };
        for Path { name, steps } in &self.columns {
            let mut twice = false;
            let value = member(&members, name, &mut twice).or_else(|| {
                let outer = member(&members, &steps[0], &mut twice)?;
                inside(outer, &steps[1..], &mut twice)
            });
            let value = value.map(RawValue::get).filter(|value| *value != "null").unwrap_or_default();
            let (text, mut flaw) = plain(value);
            if replaced && value.contains(char::REPLACEMENT_CHARACTER) {
                flaw = Some(Flaw::NoUtf8);
            }
            let (text, flaw) = match (twice, flaw) {
                (true, Some(_)) => (Cow::Borrowed(""), Some(Flaw::Twice)),
                (true, None) => (text, Some(Flaw::Twice)),
                (false, flaw) => (text, flaw),
            };
            match flaw {
                None => cells.push(&text),
                Some(flaw) => cells.push_flawed(&text, flaw),
            }
        }
        Ok(())
    }

    fn members<'a>(&self, text: &'a str) -> Result<Members<'a>, serde_json::Error> {
        let mut from = serde_json::Deserializer::from_str(text);
        let wanted = |name: &str| self.columns.iter().any(|path| path.name == name || path.steps[0] == name);
        let members = Wanted { is: wanted, count: self.columns.len() }.deserialize(&mut from)?;
        from.end()?;
        Ok(members)
    }
}

/// The text of a value as it is written, and why it is none. A whole number has no decimals and no exponent.
fn plain(value: &str) -> (Cow<'_, str>, Option<Flaw>) {
    match value.as_bytes().first() {
        Some(b'"') => match serde_json::from_str::<Text<'_>>(value) {
            Ok(Text(text)) => (text, None),
            // All else was found when the object was read.
            Err(_) => (Cow::Borrowed(value), Some(Flaw::HalfSurrogate)),
        },
        Some(b'[') => (Cow::Borrowed(value), Some(Flaw::Array)),
        Some(b'{') => (Cow::Borrowed(value), Some(Flaw::Object)),
        Some(b't' | b'f') => (Cow::Borrowed(value), Some(Flaw::Boolean)),
        _ => {
            let whole = || Decimal::parse(value).and_then(|number| number.scaled(0)).ok();
            let whole = Some(value).filter(|value| value.contains(['.', 'e', 'E'])).and_then(|_| whole());
            (whole.map_or(Cow::Borrowed(value), |whole| Cow::Owned(whole.to_string())), None)
        }
    }
}

#[derive(serde::Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// Members of an object, each once: its last value, and whether it was there before with another.
type Members<'a> = Vec<(Cow<'a, str>, &'a RawValue, bool)>;

/// The value of a member. Says also whether there were two.
fn member<'a>(members: &Members<'a>, name: &str, twice: &mut bool) -> Option<&'a RawValue> {
    let (_, value, differs) = members.iter().find(|(known, _, _)| known == name)?;
    *twice |= differs;
    Some(value)
}

/// What is inside a value at a path. Says also whether a member on the way is there twice, with two values.
fn inside<'a>(value: &'a RawValue, steps: &[String], twice: &mut bool) -> Option<&'a RawValue> {
    let Some((step, rest)) = steps.split_first() else { return Some(value) };
    let inner = if value.get().starts_with('[') {
        let items: Vec<&RawValue> = serde_json::from_str(value.get()).ok()?;
        items.into_iter().nth(step.parse().ok()?)?
    } else {
        let mut from = serde_json::Deserializer::from_str(value.get());
        let members = Wanted { is: |name: &str| name == step, count: 1 }.deserialize(&mut from).ok()?;
        member(&members, step, twice)?
    };
    inside(inner, rest, twice)
}

/// Reads the members of an object whose names are wanted.
struct Wanted<F> {
    is: F,
    /// About how many there are.
    count: usize,
}

impl<'de, F: Fn(&str) -> bool> DeserializeSeed<'de> for Wanted<F> {
    type Value = Members<'de>;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Members<'de>, D::Error> {
        from.deserialize_map(self)
    }
}

impl<'de, F: Fn(&str) -> bool> Visitor<'de> for Wanted<F> {
    type Value = Members<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut from: A) -> Result<Members<'de>, A::Error> {
        let mut members = Members::with_capacity(self.count);
        while let Some(Text(key)) = from.next_key()? {
            if !(self.is)(&key) {
                from.next_value::<IgnoredAny>()?;
                continue;
            }
            let value: &RawValue = from.next_value()?;
            match members.iter_mut().find(|(known, _, _)| *known == key) {
                None => members.push((key, value, false)),
                Some((_, before, differs)) => {
                    *differs |= before.get() != value.get();
                    *before = value;
                }
            }
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
        JsonColumns::of(&mapping).read(Cow::Borrowed(text), &mut cells)?;
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
            (r#"{'a': 1}"#, "key must be a string"),
        ] {
            let error = one(bad).unwrap_err();
            assert!(error.starts_with("malformed JSON: ") && error.contains(reason), "{bad}: {error}");
        }
        // Of one that is there twice, the last.
        assert_eq!(one(r#"{"a": 1, "a": 2}"#).unwrap(), "2");
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
