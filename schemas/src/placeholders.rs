//! Placeholders: texts that stand where an id is missing. One list for users, devices, click ids and logins alike, and
//! for click ids found in a referrer.
//!
//! Exports, tracking links and SDKs write *something* where they know nobody: a macro that no network expanded
//! (`{gclid}`), a word (`null`, `(not set)`), zeros. Taken for an id, such a text makes one person of all strangers who
//! share it. What is one is decided here, by the shape of the text alone; `docs/reference/ids.md` is printed from this
//! file ([`reference()`]).
//!
//! Almost every id that comes is none, so a usual id is ruled out by its first byte and its length, without a copy.

mod macros;

use std::borrow::Cow;
use std::fmt::Write;

/// As much of an unexpanded macro as a fault keeps.
pub const MACRO_BYTES_MAX: usize = 64;
/// From so many characters on, an id of one repeated character is none. Shorter ones may be people: user 7, user 22.
pub const SAME_CHARACTERS_MIN: usize = 16;

/// Words, whatever blanks, hyphens, underscores and signs are around and within them: `not set` is `(not set)`, `not_set`,
/// `NotSet` and `not%20set` as well. In the order of their first letter. Most are words that analytics products refuse as
/// ids, too.
const WORDS: [&str; 42] = [
    "absent",
    "anon",
    "anonymous",
    "blank",
    "deleted",
    "distinct id",
    "empty",
    "false",
    "guest",
    "hidden",
    "invalid",
    "limited",
    "missing",
    "n/a",
    "nan",
    "nil",
    "no id",
    "none",
    "not applicable",
    "not authenticated",
    "not available",
    "not found",
    "not provided",
    "not set",
    "null",
    "object object",
    "opted out",
    "opt out",
    "private",
    "redacted",
    "removed",
    "true",
    "unassigned",
    "unattributed",
    "unavailable",
    "undefined",
    "unidentified",
    "unknown",
    "unset",
    "unspecified",
    "untracked",
    "void",
];
/// The letters of a word by its first letter: bit n is set where a word has n.
const WORD_LENGTHS: [u32; 26] = word_lengths();

const fn word_lengths() -> [u32; 26] {
    let mut lengths = [0; 26];
    // The only one of those that many devices share that is all letters.
    lengths[(b'e' - b'a') as usize] = 1 << "emulator".len();
    let mut at = 0;
    while at < WORDS.len() {
        let word = WORDS[at].as_bytes();
        let (mut letters, mut byte) = (0, 0);
        while byte < word.len() {
            letters += word[byte].is_ascii_alphabetic() as u32;
            byte += 1;
        }
        lengths[(word[0] - b'a') as usize] |= 1 << letters;
        at += 1;
    }
    lengths
}

/// The longest text that may be a word: the longest of them with signs around and within it.
const WORD_BYTES_MAX: usize = 32;
/// Ids that many devices share: emulators, and what systems give out in place of the true one. Lower case.
const SHARED: [&str; 6] =
    ["02:00:00:00:00:00", "020000000000", "004999010640000", "9774d56d682e549c", "emulator", "lmy47d"];
/// Escapes of HTML, and what they stand for.
const HTML: [(&str, &str); 12] = [
    ("&lt;", "<"),
    ("&gt;", ">"),
    ("&quot;", "\""),
    ("&#39;", "'"),
    ("&#x27;", "'"),
    ("&#123;", "{"),
    ("&#125;", "}"),
    ("&#91;", "["),
    ("&#93;", "]"),
    ("&#37;", "%"),
    ("&#36;", "$"),
    ("&amp;", "&"),
];

/// The placeholders that a job file adds to the list: exact texts, in any case.
#[derive(Clone, Debug, Default)]
pub struct Placeholders {
    /// In lower case, sorted.
    own: Vec<Box<str>>,
}

impl Placeholders {
    /// The list with these texts in addition.
    pub fn with(own: &[String]) -> Placeholders {
        let mut own: Vec<Box<str>> = own.iter().map(|text| text.trim().to_lowercase().into()).collect();
        own.sort();
        Placeholders { own }
    }

    /// The placeholder that a text is, in a form that tells nothing of a person; none where it may be an id. Blanks
    /// around the text do not matter; a blank text is no placeholder, but absent.
    pub fn find<'a>(&'a self, text: &'a str) -> Option<Cow<'a, str>> {
        let text = text.trim();
        if !self.own.is_empty() {
            let lower = text.to_lowercase();
            if let Ok(at) = self.own.binary_search_by(|own| (**own).cmp(&lower)) {
                return Some(Cow::Borrowed(&*self.own[at]));
            }
        }
        placeholder(text)
    }
}

/// The placeholder that a text without blanks around it is, by the built-in list.
pub fn placeholder(text: &str) -> Option<Cow<'_, str>> {
    let bytes = text.as_bytes();
    let (first, last) = (*bytes.first()?, bytes[bytes.len() - 1]);
    if bytes.len() < SAME_CHARACTERS_MIN && bytes.iter().all(u8::is_ascii_alphabetic) {
        // A name or a currency: the list knows how long its words are.
        let lengths = WORD_LENGTHS[usize::from(first.to_ascii_lowercase() - b'a')];
        return if lengths >> bytes.len() & 1 == 0 { None } else { word(text).map(Cow::Borrowed) };
    }
    let marked = may_hold_macro(bytes);
    if !marked && first.is_ascii_alphanumeric() && last.is_ascii_alphanumeric() {
        if bytes.len() > SAME_CHARACTERS_MIN {
            // A usual id: long, no sign at its ends. It may still be made of one character, or a long word.
            let (second, third) = (bytes[1], bytes[2]);
            let may_be_same = first == second || second == third || first == third;
            if !may_be_same && (bytes.len() > WORD_BYTES_MAX || !first.is_ascii_alphabetic()) {
                return None;
            }
        }
        // Nor is a short one with a digit among its first two characters: no word has it, and what many devices share is
        // known by its first character.
        let leads = |byte: u8| byte.is_ascii_digit() && byte != b'0';
        let numbered =
            leads(first) && first != b'9' || first.is_ascii_alphabetic() && bytes.len() > 1 && leads(bytes[1]);
        if numbered && bytes.len() < SAME_CHARACTERS_MIN {
            return None;
        }
    }
    if let Some(same) = zeros_or_same(text) {
        return Some(Cow::Borrowed(same));
    }
    if let Some(word) = word(text) {
        return Some(Cow::Borrowed(word));
    }
    if !first.is_ascii_alphanumeric() {
        if text.chars().all(is_sign) {
            return Some(Cow::Borrowed("-"));
        }
        if text == "-1" || text == "\\N" {
            return Some(Cow::Owned(text.to_owned()));
        }
        if macros::is_macro(text) || macros::is_made_of_macros(text) || macros::is_cut_off(text) {
            return Some(Cow::Borrowed(head(text)));
        }
    }
    if let Some(held) = marked.then(|| macros::held(text)).flatten() {
        // What is around it may tell of a person.
        return Some(Cow::Borrowed(head(held)));
    }
    escaped(text)
}

/// Whether a text has one of the signs that macros within a text begin with, `{`, `[`, `%` and `<`; eight bytes at a time,
/// as every id is asked. A control character may pass for one.
fn may_hold_macro(bytes: &[u8]) -> bool {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    let signs = |eight: [u8; 8]| {
        // `[` and `{` differ in this bit alone, the other two have it.
        let eight = u64::from_ne_bytes(eight) | (ONES * 0x20);
        let has = |sign: u8| {
            let zero_where_same = eight ^ (ONES * u64::from(sign));
            zero_where_same.wrapping_sub(ONES) & !zero_where_same & (ONES * 0x80)
        };
        has(b'{') | has(b'%') | has(b'<') != 0
    };
    let (eights, rest) = bytes.as_chunks();
    match bytes.last_chunk() {
        Some(last) => eights.iter().any(|eight| signs(*eight)) || signs(*last),
        None => rest.iter().any(|byte| matches!(byte, b'{' | b'[' | b'%' | b'<')),
    }
}

/// Zeros, however they are grouped; or one character alone, in the shape of a UUID or from 16 on.
fn zeros_or_same(text: &str) -> Option<&'static str> {
    let is_group = |byte: &u8| matches!(byte, b'-' | b':' | b'{' | b'}' | b'[' | b']' | b'.' | b' ' | b'(' | b')');
    let mut rest = text.bytes().filter(|byte| !is_group(byte));
    let first = rest.next()?;
    if first == b'0' {
        let hexadecimal = text.len() > 2 && text.as_bytes()[1].eq_ignore_ascii_case(&b'x');
        let mut digits = rest.skip(usize::from(hexadecimal));
        return digits.all(|byte| byte == b'0').then_some("0");
    }
    if text.len() < SAME_CHARACTERS_MIN {
        return None;
    }
    let same = if first.is_ascii() {
        rest.try_fold(1, |count, byte| byte.eq_ignore_ascii_case(&first).then_some(count + 1))
    } else {
        let first = text.chars().next()?;
        text.chars().try_fold(0, |count, other| (other == first).then_some(count + 1))
    };
    (same? >= SAME_CHARACTERS_MIN).then_some("one character repeated")
}

/// The word of the list that a text is, whatever signs are around and within it.
fn word(text: &str) -> Option<&'static str> {
    if text.len() > WORD_BYTES_MAX || !text.is_ascii() {
        return None;
    }
    let shared = SHARED.iter().find(|shared| text.eq_ignore_ascii_case(shared));
    if shared.is_some() {
        return shared.copied();
    }
    let is_letter = |byte: &u8| !matches!(byte, b' ' | b'-' | b'_' | b'+' | b'/' | b'.') && !is_sign(char::from(*byte));
    let letters = || text.bytes().filter(is_letter).map(|byte| byte.to_ascii_lowercase());
    let first = letters().next()?;
    let from = WORDS.partition_point(|word| word.as_bytes()[0] < first);
    let candidates = WORDS[from..].iter().take_while(|word| word.as_bytes()[0] == first);
    let found = candidates.copied().find(|word| letters().eq(word.bytes().filter(u8::is_ascii_alphabetic)))?;
    // Signs within a word join what people write apart; they do not make `n.i.l` of a name's initials.
    let dotted = text.trim_matches(is_sign).contains('.');
    (!dotted).then_some(found)
}

/// The placeholder that a text is under an escape of URLs, HTML or quotes.
fn escaped(text: &str) -> Option<Cow<'_, str>> {
    if text.len() > 4 * MACRO_BYTES_MAX {
        return None;
    }
    let unescaped = if text.contains('%') {
        let decoded = String::from_utf8(percent_decoded(text)).ok()?;
        (decoded != text).then_some(decoded)
    } else {
        None
    };
    let unescaped = unescaped.or_else(|| {
        (text.contains('&') && text.contains(';'))
            .then(|| HTML.iter().fold(text.to_owned(), |text, (escape, sign)| text.replace(escape, sign)))
            .filter(|unescaped| unescaped != text)
    });
    let unescaped = unescaped.or_else(|| {
        let quotes = ['"', '\'', '`', '\\', '“', '”', '‘', '’', '«', '»'];
        let bare = text.trim_matches(quotes);
        (bare.len() < text.len()).then(|| bare.to_owned())
    })?;
    // Each round makes it shorter, so this ends.
    let found = placeholder(unescaped.trim())?;
    Some(Cow::Owned(found.into_owned()))
}

/// Whether a character says nothing by itself: signs of ASCII, dashes, dots and quotes.
fn is_sign(sign: char) -> bool {
    sign.is_ascii_punctuation() || sign == ' ' || matches!(sign, '\u{2010}'..='\u{2027}' | '«' | '»')
}

fn head(text: &str) -> &str {
    &text[..text.floor_char_boundary(MACRO_BYTES_MAX)]
}

/// The bytes of a text under the escapes of URLs; what is no escape stays.
pub(crate) fn percent_decoded(text: &str) -> Vec<u8> {
    let digit = |byte: Option<&u8>| byte.and_then(|byte| char::from(*byte).to_digit(16));
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        match (bytes[at], digit(bytes.get(at + 1)), digit(bytes.get(at + 2))) {
            (b'%', Some(high), Some(low)) => {
                decoded.push((high * 16 + low) as u8);
                at += 3;
            }
            (byte, ..) => {
                decoded.push(byte);
                at += 1;
            }
        }
    }
    decoded
}

/// The list as a section of `docs/reference/ids.md`.
pub fn reference() -> String {
    let mut text = String::new();
    let quoted = |words: &[&str]| words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ");
    let signs: Vec<String> = macros::SIGNS.iter().map(|(open, close)| format!("`{open}x{close}`")).collect();
    writeln!(text, "| kind | what counts as one |\n|---|---|").expect("a text takes in what is written to it");
    let signs = signs.join(", ").replace('|', "\\|");
    for (kind, what) in [
        (
            "macros",
            format!(
                "a name between {signs}, also doubled and nested (`{{{{x}}}}`, `%%X%%`, `${{X}}`, `<%= x %>`, `*\\|X\\|*`), several \
                 of them with separators between (`{{a}}_{{b}}`), or cut off (`{{user`); `%eX!`, `%n`; at most {MACRO_BYTES_MAX} \
                 bytes. `__X__`, `$X`, `%X`, and between two equal signs other than `%`, only in capitals or with the name of a \
                 click parameter (`$gclid`); `(x)` with such a name alone. `$alice`, `__bob__` and `(carol)` are people, and so \
                 are `[42]`, `{{9b2c}}` and UUIDs in brackets"
            ),
        ),
        (
            "macros in an id",
            format!(
                "`cid-{{gclid}}`: `{{name}}` of letters, digits, underscores and dots, `{{{{…}}}}`, `${{…}}`, `<%…%>`, `%%NAME%%`, and \
                 `[CLICK_ID]` in capitals with an underscore or as a click parameter: the text is the same for everybody. The fault keeps \
                 the macro alone, at most {MACRO_BYTES_MAX} bytes"
            ),
        ),
        (
            "words",
            format!(
                "{}; with any signs, blanks, hyphens and underscores around and between: `(not set)`, `N/A`, `opt-out`, `\"null\"`",
                quoted(&WORDS)
            ),
        ),
        ("zeros", "`0`, zeros in any number and grouping, `0.0`, `0x0`, the UUID of zeros; `-1`".to_owned()),
        (
            "one character",
            format!(
                "repeated {SAME_CHARACTERS_MIN} times or more, hyphens and braces aside, and so in the shape of a UUID; \
             users `7` and `22` are people"
            ),
        ),
        ("signs alone", "`-`, `--`, `?`, `*`, `{}`, `[]`, `—`; `\\N`".to_owned()),
        ("shared", format!("ids that many devices give: {}", quoted(&SHARED))),
    ] {
        writeln!(text, "| {kind} | {what} |").expect("a text takes in what is written to it");
    }
    text
}

#[cfg(test)]
mod tests;
