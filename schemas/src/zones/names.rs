//! The names of zones.

use std::str::FromStr;

use chrono_tz::{IANA_TZDB_VERSION, TZ_VARIANTS, Tz};

/// How many similar names an error tells.
const SIMILAR: usize = 3;

/// The version of the IANA database, as `2025b`.
pub fn database() -> &'static str {
    IANA_TZDB_VERSION
}

/// Whether a text names a zone; an error says which names are near.
pub fn check(text: &str) -> Result<(), String> {
    parse(text).map(|_| ())
}

pub(super) fn parse(text: &str) -> Result<Tz, String> {
    Tz::from_str(text).ok().filter(|_| is_name(text)).ok_or_else(|| {
        let said = format!("{text:?} is no time zone of the IANA database ({})", database());
        match !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_uppercase()) {
            true => {
                format!("{said}: an abbreviation stands for several; write one by its place, as Europe/Berlin, or UTC")
            }
            false => format!("{said}: similar are {}", similar(text).join(", ")),
        }
    })
}

/// Whether a name of the database may be given. Capitals alone are one of old (EST, MST), but mean several zones to people.
fn is_name(text: &str) -> bool {
    text == "UTC" || text.bytes().any(|byte| byte == b'/' || byte.is_ascii_lowercase())
}

/// The names that are most like a text: as a whole, or by the place that they end with.
fn similar(text: &str) -> Vec<&'static str> {
    let wanted = text.to_ascii_lowercase();
    let place = |name: &str| name.rsplit('/').next().unwrap_or_default().to_owned();
    let mut names: Vec<_> = TZ_VARIANTS
        .iter()
        .map(|zone| zone.name())
        .filter(|name| is_name(name))
        .map(|name| {
            let known = name.to_ascii_lowercase();
            let by_place = distance(&place(&wanted), &place(&known));
            (distance(&wanted, &known).min(by_place), distance(&wanted, &known), name)
        })
        .collect();
    names.sort_unstable();
    names.into_iter().take(SIMILAR).map(|(.., name)| name).collect()
}

/// How many letters are to be put in, taken out or changed to make one text of another.
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (above, letter) in one.chars().enumerate() {
        let mut diagonal = above;
        row[0] = above + 1;
        for (column, known) in other.iter().enumerate() {
            let changed = diagonal + usize::from(letter != *known);
            diagonal = row[column + 1];
            row[column + 1] = changed.min(row[column] + 1).min(diagonal + 1);
        }
    }
    row[other.len()]
}
