//! Text to times: how people write them, and what each way means in milliseconds since the Unix epoch.
//!
//! A text that names no offset is of a [`Zone`], UTC unless somebody says another. In a zone with daylight saving some
//! local times happen twice and some never. The rule: of two, the earlier instant is meant; one that never happens is
//! read as if the offset before the change still held (02:30 where the clock goes from 02:00 to 03:00 is 03:30).

mod iso;
#[cfg(test)]
mod tests;

use std::fmt::{self, Write as _};
use std::str::FromStr;

use chrono::format::{Item, Parsed, StrftimeItems};
use chrono::{DateTime, MappedLocalTime, NaiveDate, NaiveDateTime, NaiveTime, Offset, TimeDelta, TimeZone};
use chrono_tz::Tz;

use crate::decimal::Decimal;

/// How a text tells the time.
#[derive(Clone, Debug, PartialEq)]
pub enum TimeFormat {
    /// ISO 8601 and RFC 3339 as people write them: `2024-03-13T10:21:14.123+01:00`, `2024-03-13 10:21 UTC`,
    /// `20240313T102114Z`, `2024-03-13`; without an offset in the zone, without a time midnight.
    Iso8601,
    /// RFC 2822, as e-mail has it: `Wed, 13 Mar 2024 10:21:14 +0100`.
    Rfc2822,
    /// Time since the Unix epoch, in seconds, milliseconds, microseconds or nanoseconds by its magnitude: see
    /// [`epoch_digits`].
    Epoch,
    /// Seconds since the Unix epoch, decimals allowed.
    EpochSeconds,
    /// Milliseconds since the Unix epoch, decimals allowed.
    EpochMs,
    /// Microseconds since the Unix epoch, decimals allowed.
    EpochUs,
    /// Nanoseconds since the Unix epoch, decimals allowed.
    EpochNs,
    /// A strftime pattern, as `%Y-%m-%d %H:%M:%S`; without an offset in the zone, without a time midnight.
    Pattern {
        /// The pattern as written.
        text: String,
        /// The pattern, parsed.
        items: Vec<Item<'static>>,
    },
}

/// The zone of texts that name no offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Zone {
    /// So many seconds ahead of UTC.
    Fixed(i32),
    /// A zone of the IANA database, with its changes.
    Named(Tz),
}

impl Zone {
    /// UTC.
    pub const UTC: Zone = Zone::Fixed(0);

    /// Reads `UTC`, `Z`, an offset (`+01:00`) or the name of a zone in the IANA database (`Europe/Berlin`).
    pub fn parse(text: &str) -> Result<Zone, String> {
        let text = text.trim();
        if matches!(text, "UTC" | "Z" | "GMT") {
            return Ok(Zone::UTC);
        }
        if let Some(offset_s) = iso::offset(text.as_bytes()) {
            return Ok(Zone::Fixed(offset_s));
        }
        // Capitals alone are a name of old in the database (EST, MST), but mean several zones to people; Japan is one.
        let is_name = text.bytes().any(|byte| byte == b'/' || byte.is_ascii_lowercase());
        Tz::from_str(text).ok().filter(|_| is_name).map(Zone::Named).ok_or_else(|| {
            let abbreviation = (3..=5).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_uppercase());
            let why =
                if abbreviation { ", but an abbreviation, which changes with the season or means several" } else { "" };
            format!(
                "{text:?} is no time zone{why}: write a name of the IANA database, as Europe/Berlin, or an offset, as \
                 +01:00"
            )
        })
    }

    /// The instant of a local time, ms since the Unix epoch; `local_ms` is that of the same reading in UTC.
    fn instant(&self, local_ms: i64) -> Option<i64> {
        match self {
            Zone::Fixed(offset_s) => Some(local_ms - i64::from(*offset_s) * 1_000),
            Zone::Named(zone) => {
                let local = DateTime::from_timestamp_millis(local_ms)?.naive_utc();
                Some(local_ms - i64::from(offset_at(zone, local)) * 1_000)
            }
        }
    }
}

/// The offset of a local time, in seconds: of two the one that makes the earlier instant, of none the one before.
fn offset_at(zone: &Tz, local: NaiveDateTime) -> i32 {
    const STEP: TimeDelta = TimeDelta::minutes(15);
    let mut before = local;
    // The longest time that a zone ever skipped is a day, where it moved over the date line.
    for _ in 0..=100 {
        match zone.offset_from_local_datetime(&before) {
            MappedLocalTime::Single(offset) => return offset.fix().local_minus_utc(),
            // The greater offset makes the earlier instant.
            MappedLocalTime::Ambiguous(one, other) => {
                return one.fix().local_minus_utc().max(other.fix().local_minus_utc());
            }
            MappedLocalTime::None => before -= STEP,
        }
    }
    zone.offset_from_utc_datetime(&local).fix().local_minus_utc()
}

/// The decimal digits by which a time since the epoch is to be divided to be in seconds. Years from 1973 to 5138 fit
/// each range but the first, which has those from 1653 on.
pub fn epoch_digits(magnitude: Decimal) -> i32 {
    let at_least = |digits: i32| magnitude.scaled_down(-digits).is_some_and(|rest| !matches!(rest, -1..=0));
    match () {
        () if at_least(17) => 9,
        () if at_least(14) => 6,
        () if at_least(11) => 3,
        () => 0,
    }
}

impl TimeFormat {
    /// The formats of times since the epoch that name their unit.
    pub const EPOCHS: [TimeFormat; 4] =
        [TimeFormat::EpochSeconds, TimeFormat::EpochMs, TimeFormat::EpochUs, TimeFormat::EpochNs];

    /// Reads a name of a format ([`TimeFormat::NAMES`]) or a strftime pattern.
    pub fn parse(text: &str) -> Result<TimeFormat, String> {
        let wanted = || {
            let names: Vec<&str> = TimeFormat::NAMES.iter().map(|(name, _)| *name).collect();
            format!("write {} or a strftime pattern, as \"%Y-%m-%d %H:%M:%S\"", names.join(", "))
        };
        match text {
            // The name of 0.1.0.
            "iso8601" | "rfc3339" => Ok(TimeFormat::Iso8601),
            "rfc2822" => Ok(TimeFormat::Rfc2822),
            "epoch" => Ok(TimeFormat::Epoch),
            "epoch_s" => Ok(TimeFormat::EpochSeconds),
            "epoch_ms" => Ok(TimeFormat::EpochMs),
            "epoch_us" => Ok(TimeFormat::EpochUs),
            "epoch_ns" => Ok(TimeFormat::EpochNs),
            _ if !text.contains('%') => Err(format!("{text:?} is no format of time: {}", wanted())),
            _ => match StrftimeItems::new(text).parse_to_owned() {
                Ok(items) if !tells_day(&items) => Err(format!(
                    "{text:?} tells no whole time: a pattern needs the day with its year, as %Y-%m-%d, and an hour of \
                     %I needs %p"
                )),
                Ok(items) => Ok(TimeFormat::Pattern { text: text.to_owned(), items }),
                Err(_) => Err(format!("{text:?} is no strftime pattern: {}", wanted())),
            },
        }
    }

    /// The names of formats, and what each is.
    pub const NAMES: [(&'static str, &'static str); 7] = [
        ("iso8601", "ISO 8601 and RFC 3339 as people write them; `rfc3339` is the same"),
        ("rfc2822", "as in e-mail: `Wed, 13 Mar 2024 10:21:14 +0100`"),
        ("epoch", "since the Unix epoch, unit by magnitude: below 10^11 seconds, 10^14 ms, 10^17 µs, beyond ns"),
        ("epoch_s", "seconds since the Unix epoch, decimals allowed"),
        ("epoch_ms", "milliseconds since the Unix epoch"),
        ("epoch_us", "microseconds since the Unix epoch"),
        ("epoch_ns", "nanoseconds since the Unix epoch"),
    ];

    /// Whether it counts from the epoch, so that no zone matters.
    pub fn is_epoch(&self) -> bool {
        *self == TimeFormat::Epoch || TimeFormat::EPOCHS.contains(self)
    }

    /// The time that a text tells, ms since the Unix epoch; parts of a millisecond are dropped. UTC without an offset.
    pub fn read(&self, text: &str) -> Result<i64, String> {
        self.read_in(text, &Zone::UTC)
    }

    /// The time that a text tells, ms since the Unix epoch; parts of a millisecond are dropped. In the zone without an
    /// offset.
    pub fn read_in(&self, text: &str, zone: &Zone) -> Result<i64, String> {
        let text = text.trim();
        let epoch = |digits: Option<i32>| {
            let number = Decimal::parse(text).ok()?;
            number.scaled_down(3 - digits.unwrap_or_else(|| epoch_digits(number)))
        };
        let read = match self {
            TimeFormat::Iso8601 => iso::read(text.as_bytes()).and_then(|time| time.instant(zone)),
            TimeFormat::Rfc2822 => DateTime::parse_from_rfc2822(text).ok().map(|time| time.timestamp_millis()),
            TimeFormat::Epoch => epoch(None),
            TimeFormat::EpochSeconds => epoch(Some(0)),
            TimeFormat::EpochMs => epoch(Some(3)),
            TimeFormat::EpochUs => epoch(Some(6)),
            TimeFormat::EpochNs => epoch(Some(9)),
            TimeFormat::Pattern { items, .. } => read_pattern(text, items, zone),
        };
        read.ok_or_else(|| format!("{text:?} is no time in the format {self}{}", self.hint(text)))
    }

    /// What may help with a text that is none of this format.
    fn hint(&self, text: &str) -> &'static str {
        let digits = text.bytes().filter(u8::is_ascii_digit).count();
        let number = digits > 8 && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
        match self {
            TimeFormat::Iso8601 if number => ": a number is epoch_s, epoch_ms, epoch_us or epoch_ns",
            TimeFormat::Iso8601 if text.contains("-W") => ": weeks of a year are not read",
            TimeFormat::Iso8601 if is_no_day(text) => ": there is no such day",
            TimeFormat::Iso8601 if is_no_hour(text) => ": there is no such time of day",
            TimeFormat::Iso8601 if digits >= 4 && ends_with_abbreviation(text) => {
                ": an abbreviation of a zone means several: if all of the column are of one, pass over it by a pattern, as \
                 \"%Y-%m-%d %H:%M:%S %Z\", and name the zone, as time_zone: Europe/Berlin"
            }
            TimeFormat::Iso8601 if digits >= 4 && text.contains(|sign: char| sign.is_ascii_alphabetic()) => {
                ": other ways are a strftime pattern, as \"%d %b %Y %I:%M %p\""
            }
            TimeFormat::Iso8601 if digits >= 4 => ": if it is written another way, say so by a strftime pattern",
            format if format.is_epoch() && iso::read(text.as_bytes()).is_some() => ": it is iso8601",
            _ => "",
        }
    }
}

impl fmt::Display for TimeFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            TimeFormat::Iso8601 => "iso8601",
            TimeFormat::Rfc2822 => "rfc2822",
            TimeFormat::Epoch => "epoch",
            TimeFormat::EpochSeconds => "epoch_s",
            TimeFormat::EpochMs => "epoch_ms",
            TimeFormat::EpochUs => "epoch_us",
            TimeFormat::EpochNs => "epoch_ns",
            TimeFormat::Pattern { text, .. } => return write!(f, "{text:?}"),
        })
    }
}

/// A time for people: ISO 8601 in UTC, to the second.
pub fn show(time_ms: i64) -> String {
    match DateTime::from_timestamp_millis(time_ms) {
        Some(time) => time.format("%Y-%m-%dT%H:%M:%SZ").to_string(),
        None => format!("{time_ms} ms"),
    }
}

/// Whether a text begins with a day that is in no calendar, as 2026-02-29.
fn is_no_day(text: &str) -> bool {
    let shaped = |day: &&str| {
        day.bytes().enumerate().all(|(at, byte)| if matches!(at, 4 | 7) { byte == b'-' } else { byte.is_ascii_digit() })
    };
    text.get(..10).filter(shaped).is_some_and(|day| day.parse::<NaiveDate>().is_err())
}

/// Whether a text ends with what may be a zone's abbreviation, as `10:00 CET`.
fn ends_with_abbreviation(text: &str) -> bool {
    let before = text.trim_end_matches(|sign: char| sign.is_ascii_uppercase());
    let half_of_day = ["AM", "PM"].contains(&&text[before.len()..]);
    (2..=5).contains(&(text.len() - before.len()))
        && before.ends_with([' ', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9'])
        && !half_of_day
}

/// Whether a text has an hour, a minute or a second after its day that no day has, as T25:00.
fn is_no_hour(text: &str) -> bool {
    let Some(time) = text.get(10..).map(|rest| rest.trim_start_matches(['T', 't', ' '])) else { return false };
    let parts = time.split(':').map_while(|part| part.get(..2)?.parse::<u32>().ok());
    time.contains(':') && parts.zip([24, 59, 60]).any(|(part, most)| part > most)
}

/// Whether texts of a pattern tell an instant: one that it writes itself must be read again.
fn tells_day(items: &[Item<'static>]) -> bool {
    let mut text = String::new();
    let time = DateTime::UNIX_EPOCH + TimeDelta::days(12_345);
    // Some patterns can only be read.
    write!(text, "{}", time.format_with_items(items.iter())).is_err()
        || read_pattern(&text, items, &Zone::UTC).is_some()
}

fn read_pattern(text: &str, items: &[Item<'static>], zone: &Zone) -> Option<i64> {
    let mut parsed = Parsed::new();
    chrono::format::parse(&mut parsed, text, items.iter()).ok()?;
    if parsed.offset().is_some() {
        return parsed.to_datetime().ok().map(|time| time.timestamp_millis());
    }
    if let Some(epoch_s) = parsed.timestamp() {
        return epoch_s.checked_mul(1_000);
    }
    let time = match parsed.to_naive_datetime_with_offset(0) {
        Ok(time) => time,
        Err(_) if parsed.hour_mod_12().is_none() => parsed.to_naive_date().ok()?.and_time(NaiveTime::MIN),
        Err(_) => return None,
    };
    zone.instant(time.and_utc().timestamp_millis())
}
