//! ISO 8601 as people write it, read by hand: it is what most rows of most files have.
//!
//! `DATE[T| ]TIME[ ][OFFSET]`, where
//! * `DATE` is `2024-03-13` or `20240313`; weeks and days of a year are not read;
//! * `TIME` is `10:21`, `10:21:14`, `10:21:14.5`, `10:21:14,5`, or the same without colons; `24:00` is the next midnight,
//!   and a leap second (`:60`) the first of the next minute;
//! * `OFFSET` is `Z`, `UTC`, `GMT`, `+01`, `+0100` or `+01:00`, and may be followed by a name as `[Europe/Berlin]`, which
//!   says nothing more.

use super::Zone;
use crate::units::{DAY_MS, HOUR_MS, MINUTE_MS, SECOND_MS};

/// A time as written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Written {
    /// The reading, as if it were UTC: ms since the Unix epoch.
    local_ms: i64,
    /// Seconds ahead of UTC, where it is said.
    offset_s: Option<i32>,
}

impl Written {
    /// The instant, in the zone where no offset is written.
    pub(super) fn instant(self, zone: &Zone) -> Option<i64> {
        self.offset_s.map_or(*zone, Zone::Fixed).instant(self.local_ms)
    }
}

/// Reads a time without blanks around it.
pub(super) fn read(text: &[u8]) -> Option<Written> {
    let mut at = Cursor(text);
    let year = at.number(4)?;
    let extended = at.sign(b'-');
    let month = at.number(2)?;
    if extended && !at.sign(b'-') {
        return None;
    }
    let day = at.number(2)?;
    let midnight_ms = days(year, month, day)? * DAY_MS;
    if at.0.is_empty() {
        return Some(Written { local_ms: midnight_ms, offset_s: None });
    }
    if !at.sign(b'T') && !at.sign(b't') {
        at.blanks().then_some(())?;
    }
    if let Some(offset_s) = offset(at.0) {
        // A date of a zone: `2024-03-13Z`, `2024-03-13 UTC`.
        return Some(Written { local_ms: midnight_ms, offset_s: Some(offset_s) });
    }
    let hour = at.number(2)?;
    let extended = at.sign(b':');
    let minute = at.number(2)?;
    let seconds = if extended { at.sign(b':') } else { at.0.first().is_some_and(u8::is_ascii_digit) };
    let second = if seconds { at.number(2)? } else { 0 };
    let part_ms = if seconds && (at.sign(b'.') || at.sign(b',')) { at.part_ms()? } else { 0 };
    let within = hour < 24 && minute < 60 && second <= 60;
    if !within && (hour, minute, second, part_ms) != (24, 0, 0, 0) {
        return None;
    }
    let local_ms = midnight_ms + hour * HOUR_MS + minute * MINUTE_MS + second * SECOND_MS + part_ms;
    at.blanks();
    if at.0.is_empty() {
        return Some(Written { local_ms, offset_s: None });
    }
    let bracket = at.0.iter().position(|byte| *byte == b'[').filter(|_| at.0.ends_with(b"]"));
    let offset_s = offset(&at.0[..bracket.unwrap_or(at.0.len())])?;
    Some(Written { local_ms, offset_s: Some(offset_s) })
}

/// The seconds ahead of UTC that `Z`, `UTC`, `GMT`, `+01`, `+0100` or `+01:00` say.
pub(super) fn offset(text: &[u8]) -> Option<i32> {
    if [&b"Z"[..], b"UTC", b"GMT"].iter().any(|name| name.eq_ignore_ascii_case(text)) {
        return Some(0);
    }
    let mut at = Cursor(text);
    let ahead = at.sign(b'+');
    if !ahead && !at.sign(b'-') {
        return None;
    }
    let hours = at.number(2)?;
    at.sign(b':');
    let minutes = if at.0.is_empty() && !text.ends_with(b":") { 0 } else { at.number(2)? };
    let seconds = (hours * HOUR_MS + minutes * MINUTE_MS) / SECOND_MS;
    let within = at.0.is_empty() && hours < 24 && minutes < 60;
    within.then_some(if ahead { seconds } else { -seconds } as i32)
}

/// Days since the Unix epoch of a date of the Gregorian calendar.
fn days(year: i64, month: i64, day: i64) -> Option<i64> {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let length = match month {
        2 => 28 + i64::from(leap),
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => return None,
    };
    if !(1..=length).contains(&day) {
        return None;
    }
    // Years from March on, so that the day that leap years have more is the last: Hinnant's `days_from_civil`.
    let year = year - i64::from(month <= 2);
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    Some(era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468)
}

/// What is left to read.
struct Cursor<'a>(&'a [u8]);

impl Cursor<'_> {
    /// A number of exactly so many digits.
    fn number(&mut self, digits: usize) -> Option<i64> {
        let (head, rest) = self.0.split_at_checked(digits)?;
        let digit = |value: i64, byte: &u8| byte.is_ascii_digit().then(|| value * 10 + i64::from(byte - b'0'));
        let value = head.iter().try_fold(0, digit)?;
        self.0 = rest;
        Some(value)
    }

    fn sign(&mut self, sign: u8) -> bool {
        let is = self.0.first() == Some(&sign);
        self.0 = &self.0[usize::from(is)..];
        is
    }

    /// Passes blanks; whether there were any.
    fn blanks(&mut self) -> bool {
        let rest = self.0.trim_ascii_start();
        let any = rest.len() < self.0.len();
        self.0 = rest;
        any
    }

    /// The milliseconds of the decimals of a second; at least one digit, what is finer is dropped.
    fn part_ms(&mut self) -> Option<i64> {
        let digits = self.0.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let digit =
            |place: usize| self.0.get(place).filter(|_| place < digits).map_or(0, |byte| i64::from(byte - b'0'));
        let part_ms = digit(0) * 100 + digit(1) * 10 + digit(2);
        self.0 = &self.0[digits..];
        (digits > 0).then_some(part_ms)
    }
}
