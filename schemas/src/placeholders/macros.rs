//! Macros that nobody expanded: `{gclid}`, `%%CLICK_ID%%`, several of them, and those within a text.
//!
//! Signs differ in how sure they are. Braces, doubled signs and percent signs stand around macros and little else. Single
//! signs stand in people's names too, so between those a name counts in capitals alone, as templates write it, or where
//! it is the name of a click parameter.

use super::MACRO_BYTES_MAX;
use crate::referrer::CLICK_PARAMETERS;

/// What is written around a name to make a macro of it: the sign before it and the sign after it.
pub(super) const SIGNS: [(char, char); 9] =
    [('{', '}'), ('[', ']'), ('(', ')'), ('<', '>'), ('%', '%'), ('#', '#'), ('@', '@'), ('$', '$'), ('|', '|')];
/// What may stand before the name within the signs: `<%= x %>`, `{{#x}}`, `{@x}`.
const INNER_SIGNS: [char; 12] = ['%', '=', '#', '@', '$', '!', '?', '*', '&', '/', '-', '^'];
/// As much of a text as is searched for macros.
const SEARCHED_BYTES_MAX: usize = 1_024;

/// Whether all of a text is a name between the signs of a macro.
pub(super) fn is_macro(text: &str) -> bool {
    if let Some(name) = text.strip_prefix("%e").and_then(|rest| rest.strip_suffix('!')) {
        return is_name(name);
    }
    if matches!(text.as_bytes(), [b'%', letter] if letter.is_ascii_alphabetic()) {
        return true;
    }
    if let Some(name) = text.strip_prefix("__").and_then(|rest| rest.strip_suffix("__")) {
        return is_name(name) && is_sure(name);
    }
    if let Some(name) = text.strip_prefix(['$', '%']) {
        // `$RCAnonymousID:…` and `$alice` are people.
        if name.len() > 1 && name.bytes().all(|byte| byte.is_ascii_alphabetic() || byte == b'_') && is_sure(name) {
            return true;
        }
    }
    if let Some((name, count)) = mirrored(text) {
        return is_name(name) && (count > 1 || text.starts_with('%') || is_sure(name));
    }
    // From the outside in: `${X}`, `*|X|*`, `{{x}}`, `<%= x %>`.
    let mut name = text.trim_start_matches(['$', '#', '%', '*', '@', '~', '^', '!']);
    let mut name_end = name.trim_end_matches(['*', '~', '^', '!']);
    let led = name.len() < text.len();
    let mut pairs = 0;
    while let Some((open, close)) = SIGNS.iter().find(|(open, _)| name_end.starts_with(*open)) {
        let Some(inner) = name_end[1..].strip_suffix(*close) else { break };
        if *open == '(' && !led && !is_parameter(inner) {
            return false;
        }
        name = inner.trim();
        name_end = name;
        pairs += 1;
    }
    let sure = led || pairs > 1;
    let position = text.starts_with('{') && name.len() == 1;
    let name = name_end.trim_matches(INNER_SIGNS).trim();
    pairs > 0 && is_name(name) && (sure || position || !is_number(name))
}

/// Whether a text is several macros with nothing but separators between, before and behind.
pub(super) fn is_made_of_macros(text: &str) -> bool {
    let separators = ['_', '-', '|', ':', '.', ',', ';', '/', '+', '&', '=', ' '];
    let mut rest = text.trim_matches(separators);
    let mut count = 0;
    while let Some(open) = rest.chars().next() {
        let Some((_, close)) = SIGNS.iter().find(|(sign, _)| *sign == open) else { return false };
        let signs = rest.len() - rest.trim_start_matches(open).len();
        let end = close.to_string().repeat(signs);
        let Some(at) = rest[signs..].find(&end) else { return false };
        let (one, behind) = rest.split_at(signs + at + end.len());
        if !is_macro(one) {
            return false;
        }
        count += 1;
        rest = behind.trim_start_matches(separators);
    }
    count > 1 || count == 1 && rest.len() < text.len()
}

/// Whether a text is a macro whose end is cut off: `{user`, `{{user.id|def`, `${cl`.
pub(super) fn is_cut_off(text: &str) -> bool {
    let template = ["{{", "${", "<%"].into_iter().find_map(|sign| text.strip_prefix(sign));
    if let Some(name) = template {
        return text.len() <= MACRO_BYTES_MAX && begins_well(name) && !name.contains(['{', '}', '>']);
    }
    let letter = |byte: u8| byte.is_ascii_alphabetic() || matches!(byte, b'_' | b'.');
    let named = |name: &str| name.len() > 1 && name.len() <= MACRO_BYTES_MAX && name.bytes().all(letter);
    match text.strip_prefix("%%") {
        Some(name) => named(name) && is_shouted(name),
        None => text.strip_prefix('{').is_some_and(named),
    }
}

/// The first macro with unmistakable signs within a text.
pub(super) fn held(text: &str) -> Option<&str> {
    let text = &text[..text.floor_char_boundary(SEARCHED_BYTES_MAX)];
    let starts = text.bytes().enumerate().filter(|(_, byte)| matches!(byte, b'{' | b'[' | b'%' | b'<'));
    starts.map(|(at, _)| at).find_map(|at| {
        let from = &text[at..];
        let from = &from[..from.floor_char_boundary(MACRO_BYTES_MAX)];
        let between = |open: &str, close: &str| {
            let inner = from.strip_prefix(open)?;
            Some(&inner[..inner.find(close)?])
        };
        let led = at > 0 && text.as_bytes()[at - 1] == b'$';
        let word = |inner: &str| {
            let name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.');
            inner.len() > 1 && begins_well(inner) && inner.bytes().all(name) && !is_number(inner)
        };
        let template =
            |inner: &&str| begins_well(inner) && !inner.contains(['{', '}']) && !is_number(inner) && !is_uuid(inner);
        let found = |inner: &str, signs: usize| &from[..inner.len() + signs];
        if let Some(inner) = between("{{", "}}").filter(template) {
            return Some(found(inner, 4));
        }
        if let Some(inner) = between("<%", "%>").filter(|inner| !inner.is_empty()) {
            return Some(found(inner, 4));
        }
        if let Some(inner) = between("%%", "%%").filter(|inner| word(inner) && is_shouted(inner)) {
            return Some(found(inner, 4));
        }
        if let Some(inner) = between("{", "}").filter(|inner| word(inner) || led && template(inner)) {
            return Some(found(inner, 2));
        }
        let capitals = |inner: &&str| word(inner) && is_shouted(inner) && (inner.contains('_') || is_parameter(inner));
        between("[", "]").filter(capitals).map(|inner| found(inner, 2))
    })
}

/// What is between the same signs at both ends, and how many there are: `%X%`, `##X##`, `$$X$$`, `@X@`, `|X|`, `!!X!!`.
fn mirrored(text: &str) -> Option<(&str, usize)> {
    let sign = text.chars().next().filter(|sign| matches!(sign, '%' | '#' | '@' | '$' | '|' | '~' | '!'))?;
    let inner = text.trim_start_matches(sign);
    let count = text.len() - inner.len();
    let name = inner.trim_end_matches(sign);
    (inner.len() - name.len() == count).then_some((name, count))
}

/// Whether a name is that of a macro even between single signs.
fn is_sure(name: &str) -> bool {
    is_shouted(name) || is_parameter(name)
}

/// Whether a name is written as constants are: capitals, and no small letter.
fn is_shouted(name: &str) -> bool {
    name.bytes().any(|byte| byte.is_ascii_uppercase()) && !name.bytes().any(|byte| byte.is_ascii_lowercase())
}

/// Whether this is the name of a click parameter.
fn is_parameter(name: &str) -> bool {
    CLICK_PARAMETERS.into_iter().any(|parameter| parameter.eq_ignore_ascii_case(name))
}

/// Whether this is no name but a number: digits, or hexadecimal with a digit among them.
fn is_number(name: &str) -> bool {
    let digit = name.bytes().any(|byte| byte.is_ascii_digit());
    digit && name.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-')
}

/// Whether what stands in a template begins with a name, whatever follows it.
fn begins_well(inner: &str) -> bool {
    let name = inner.trim_start().trim_start_matches(INNER_SIGNS).trim_start();
    name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
}

/// Whether this can be the name of a macro, and no id in brackets: a UUID may stand in them.
fn is_name(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-: ?=,+|/".contains(&byte);
    !text.is_empty() && text.len() <= MACRO_BYTES_MAX && text.bytes().all(inner) && !is_uuid(text)
}

fn is_uuid(text: &str) -> bool {
    let hexadecimal = text.bytes().filter(u8::is_ascii_hexdigit).count();
    hexadecimal == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-')
}
