//! `${VAR}` in the values of a job file: what may be written, and the values of the variables that it names.
//!
//! | written | means |
//! |---|---|
//! | `${VAR}` | the value of the environment's variable; one that is not set is a mistake |
//! | `${VAR:-text}` | its value; the text where it is not set or empty |
//! | `$$` | a dollar sign |
//!
//! Any other dollar sign is a mistake: it would be a typing error that becomes part of a password or a path. Values
//! are put in after the YAML was read, so a variable can hold no YAML; keys are left alone. Between `{ }` of YAML, which
//! has braces of its own, a value with `${VAR}` is written in quotes.

use std::collections::HashMap;

/// Values of variables by their names.
pub type Variables = HashMap<String, String>;

/// Looks a variable up.
pub type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;

/// A variable of this process; one that is no UTF-8 counts as not set.
pub fn of_process(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// The text with the values of its variables, or what is wrong with it.
pub fn expand(text: &str, lookup: Lookup<'_>) -> Result<String, String> {
    let mut expanded = String::with_capacity(text.len());
    pieces(text, |piece| {
        match piece {
            Piece::Text(text) => expanded.push_str(text),
            Piece::Variable { name, default } => expanded.push_str(&value(name, default, lookup)?),
        }
        Ok(())
    })?;
    Ok(expanded)
}

/// Adds the variables of a text that are set to `variables`, or says what is wrong with the text.
pub(super) fn collect(text: &str, lookup: Lookup<'_>, variables: &mut Variables) -> Result<(), String> {
    pieces(text, |piece| {
        if let Piece::Variable { name, default } = piece {
            value(name, default, lookup)?;
            if let Some(value) = lookup(name) {
                variables.insert(name.to_owned(), value);
            }
        }
        Ok(())
    })
}

fn value(name: &str, default: Option<&str>, lookup: Lookup<'_>) -> Result<String, String> {
    match (lookup(name), default) {
        (Some(value), None) => Ok(value),
        (Some(value), Some(_)) if !value.is_empty() => Ok(value),
        (_, Some(default)) => Ok(default.to_owned()),
        (None, None) => Err(format!(
            "names the variable {name}, which is not set: set it, write ${{{name}:-default}}, or $$ for a dollar sign"
        )),
    }
}

enum Piece<'a> {
    Text(&'a str),
    Variable { name: &'a str, default: Option<&'a str> },
}

fn pieces<'a>(text: &'a str, mut each: impl FnMut(Piece<'a>) -> Result<(), String>) -> Result<(), String> {
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        each(Piece::Text(&rest[..at]))?;
        let after = &rest[at + 1..];
        if let Some(escaped) = after.strip_prefix('$') {
            each(Piece::Text("$"))?;
            rest = escaped;
            continue;
        }
        let inside = after.strip_prefix('{').and_then(|inside| inside.split_once('}'));
        let Some((inside, behind)) = inside else {
            return Err("has a lone $: write ${VAR} for a variable of the environment, or $$ for a dollar sign".into());
        };
        let (name, default) = match inside.split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (inside, None),
        };
        let starts_well = name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_');
        let named = starts_well && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        if !named || default.is_some_and(|default| default.contains(['$', '{'])) {
            return Err(format!(
                "has ${{{inside}}}, which names no variable: write ${{VAR}} or ${{VAR:-text}}, or $$ for a dollar sign"
            ));
        }
        each(Piece::Variable { name, default })?;
        rest = behind;
    }
    each(Piece::Text(rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expanded(text: &str) -> Result<String, String> {
        let lookup = |name: &str| match name {
            "HOST" => Some("kafka:9092".to_owned()),
            "EMPTY" => Some(String::new()),
            "TRICK" => Some("${HOST}: [$HOST]".to_owned()),
            _ => None,
        };
        // Both ways to look at a text agree on what is a mistake.
        let collected = collect(text, &lookup, &mut Variables::new());
        let expanded = expand(text, &lookup);
        assert_eq!(collected.err(), expanded.clone().err());
        expanded
    }

    #[test]
    fn variables_are_replaced_once() {
        for (text, expected) in [
            ("plain", "plain"),
            ("${HOST}", "kafka:9092"),
            ("a${HOST}b${HOST}", "akafka:9092bkafka:9092"),
            ("${EMPTY}", ""),
            ("${EMPTY:-x}", "x"),
            ("${NONE:-}", ""),
            ("${NONE:-a:-b}", "a:-b"),
            ("${HOST:-x}", "kafka:9092"),
            ("$$", "$"),
            ("$${HOST}", "${HOST}"),
            ("pa$$$$word", "pa$$word"),
            ("${TRICK}", "${HOST}: [$HOST]"),
        ] {
            assert_eq!(expanded(text).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_names_no_variable_is_refused() {
        for text in
            ["${NONE}", "$HOST", "a$", "$ ", "${", "${}", "${HOST", "${1A}", "${A-B}", "${A:?x}", "${A:-${HOST}}"]
        {
            assert!(expanded(text).is_err(), "{text}");
        }
        assert!(expanded("${NONE}").unwrap_err().contains("variable NONE, which is not set"));
    }
}
