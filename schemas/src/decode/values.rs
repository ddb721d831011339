//! JSON values as fields of events: what a number, text or time in JSON means, however people write it.
//!
//! * *Numbers stand for texts*, with their digits as written: `7` is `"7"`. A float that is whole reads as the whole number
//!   (`7.0` is `"7"`, as data frames turn whole columns into floats), up to 15 digits: beyond, floats lose digits and two
//!   people could become one.
//! * *Times* are numbers, or texts of digits, of seconds, milliseconds, microseconds or nanoseconds since 1970 by their
//!   size ([`epoch_ms`]), or ISO 8601 texts.
//! * *Amounts* are decimals and never pass through a float.

use std::borrow::Cow;

use crate::decimal::Decimal;
use crate::times::TimeFormat;
use crate::units::TIME_MS_MAX;

/// 2000-01-01, in ms since the Unix epoch. No event is older: a time before it is one in another unit.
pub const TIME_MS_MIN: i64 = 946_684_800_000;
/// Whole floats below it have all their digits.
const FLOAT_EXACT_MAX: i64 = 1_000_000_000_000_000;

/// A value of JSON that is no text, where one was needed.
pub(super) type Found = &'static str;

/// The text that a JSON value stands for; none for `null`.
pub(super) fn text(raw: &str) -> Result<Option<Cow<'_, str>>, Found> {
    match raw.as_bytes().first() {
        Some(b'"') => {
            let inner = &raw[1..raw.len() - 1];
            if !inner.contains('\\') {
                return Ok(Some(Cow::Borrowed(inner)));
            }
            serde_json::from_str(raw)
                .map(|text| Some(Cow::Owned(text)))
                .map_err(|_| "a text with half a surrogate pair")
        }
        Some(b'n') => Ok(None),
        Some(b't' | b'f') => Err("a boolean"),
        Some(b'[') => Err("an array"),
        Some(b'{') => Err("an object"),
        _ => number(raw).map(Some),
    }
}

/// The text that a JSON number stands for.
fn number(raw: &str) -> Result<Cow<'_, str>, Found> {
    if !raw.contains(['.', 'e', 'E']) {
        return Ok(Cow::Borrowed(if raw == "-0" { "0" } else { raw }));
    }
    match Decimal::parse(raw).map(|decimal| decimal.scaled(0)) {
        Ok(Ok(whole)) if whole.abs() < FLOAT_EXACT_MAX => Ok(Cow::Owned(whole.to_string())),
        Ok(Ok(_)) => Err("a float of more than 15 digits, which may have lost some"),
        _ => Ok(Cow::Borrowed(raw)),
    }
}

/// The time that a JSON value stands for, in ms since the Unix epoch; none for `null` and blank texts.
pub(super) fn time(raw: &str) -> Result<Option<i64>, String> {
    let is_number = !raw.starts_with('"');
    let text = if is_number && !raw.starts_with(['n', 't', 'f', '[', '{']) {
        Cow::Borrowed(raw)
    } else {
        match text(raw).map_err(|found| format!("is {found}: write a number or an ISO 8601 text"))? {
            Some(text) => text,
            None => return Ok(None),
        }
    };
    let text = text.trim();
    if text.is_empty() {
        return Ok(None);
    }
    // Eight digits and fewer are dates (20260301) or counters, no times since 1970 that any unit makes believable.
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    let numeric = digits.len() > 8 && digits.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    if is_number || numeric {
        return epoch_ms(text).map(Some);
    }
    let iso = || TimeFormat::parse("rfc3339").and_then(|format| format.read(text));
    iso().map(Some).map_err(|_| {
        let text = super::quoted(text);
        format!("{text:?} is no time: write ISO 8601, as 2026-03-01T10:00:00Z, or a number of milliseconds since 1970")
    })
}

/// The milliseconds since the Unix epoch of a number since then, whose size tells its unit. The ranges of the units never
/// meet, for times from 2000 on:
///
/// | unit | from | to |
/// |---|---|---|
/// | s | 946684800 (2000) | 253402300799 (9999) |
/// | ms | 946684800000 (2000) | 253402300799999 (9999) |
/// | µs | 946684800000000 (2000) | 253402300799999999 (9999) |
/// | ns | 946684800000000000 (2000) | 9223372036854775807 (2262) |
pub fn epoch_ms(text: &str) -> Result<i64, String> {
    let number = Decimal::parse(text).map_err(|_| format!("{:?} is no number", super::quoted(text)))?;
    let whole = number.scaled_down(0).ok_or_else(|| format!("{text} is beyond 64 bits"))?;
    for (digits, power) in [(3, -3), (0, 0), (-3, 3), (-6, 6)] {
        let bound = |ms: i64| if power < 0 { Some(ms / 1_000) } else { ms.checked_mul(10i64.pow(power as u32)) };
        let (from, to) = (bound(TIME_MS_MIN), bound(TIME_MS_MAX));
        if from.is_some_and(|from| whole >= from) && to.is_none_or(|to| whole <= to) {
            return number.scaled_down(digits).ok_or_else(|| format!("{text} is beyond 64 bits"));
        }
    }
    Err(format!("{text} is no time from 2000 on in s, ms, µs or ns since 1970"))
}

/// What a time before 2000 may be in another unit.
pub(super) fn unit_hint(time: i64) -> &'static str {
    if (TIME_MS_MIN / 1_000..=TIME_MS_MAX / 1_000).contains(&time) {
        "it looks like seconds (epoch_s), and milliseconds (epoch_ms) are needed"
    } else {
        "times are milliseconds since 1970, and no event is that old"
    }
}

/// The whole number that a JSON value stands for, also a text or a whole float; none for `null` and blank texts. One that
/// an `i64` cannot hold becomes the nearest, which is out of range.
pub(super) fn whole(raw: &str) -> Result<Option<i64>, ()> {
    if let Ok(number) = raw.parse() {
        return Ok(Some(number));
    }
    let Some(text) = text(raw).map_err(drop)? else { return Ok(None) };
    let text = text.trim();
    if text.is_empty() {
        return Ok(None);
    }
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    if digits.len() > 18 && digits.bytes().all(|byte| byte.is_ascii_digit()) && text.parse::<i64>().is_err() {
        return Ok(Some(if text.starts_with('-') { i64::MIN } else { i64::MAX }));
    }
    Decimal::parse(text).and_then(|number| number.scaled(0)).map(Some).map_err(drop)
}

/// The amount that a JSON value stands for, a number or a text; none for `null` and blank texts.
pub(super) fn amount(raw: &str) -> Result<Option<Decimal>, String> {
    let text = if raw.starts_with(|first: char| first.is_ascii_digit() || first == '-') {
        Cow::Borrowed(raw)
    } else {
        match text(raw).map_err(|found| format!("is {found}: write a number"))? {
            Some(text) => text,
            None => return Ok(None),
        }
    };
    match text.trim() {
        "" => Ok(None),
        text => {
            Decimal::parse(text).map(Some).map_err(|_| format!("{:?} is no number, as -12.50", super::quoted(text)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stand_for_texts_with_their_digits() {
        let read = |raw: &str| text(raw).map(|text| text.map(Cow::into_owned));
        for (raw, expected) in [
            ("7", "7"),
            ("\"7\"", "7"),
            ("007e0", "7"),
            ("7.0", "7"),
            ("1e3", "1000"),
            ("-0", "0"),
            ("1.5", "1.5"),
            ("18446744073709551616", "18446744073709551616"),
            ("123456789012345678901234567890", "123456789012345678901234567890"),
            ("\"a\\u0062\"", "ab"),
            ("\"\"", ""),
        ] {
            assert_eq!(read(raw), Ok(Some(expected.to_owned())), "{raw}");
        }
        assert_eq!(read("null"), Ok(None));
        for raw in ["true", "false", "[1]", "{}", "1.2345678901234568e18", "\"\\ud800\""] {
            assert!(read(raw).is_err(), "{raw}");
        }
    }

    #[test]
    fn times_tell_their_unit_by_their_size() {
        const T: i64 = 1_772_359_200_123;
        for raw in [
            "1772359200123",
            "1772359200.123",
            "1.772359200123e9",
            "1772359200123456",
            "1772359200123456789",
            "\"1772359200123\"",
            "\" 1772359200.123 \"",
            "\"2026-03-01T10:00:00.123Z\"",
            "\"2026-03-01 11:00:00.123+01:00\"",
        ] {
            assert_eq!(time(raw), Ok(Some(T)), "{raw}");
        }
        assert_eq!(time("946684800"), Ok(Some(TIME_MS_MIN)));
        assert_eq!(time("253402300799"), Ok(Some(TIME_MS_MAX - 999)));
        assert_eq!(time("253402300799999"), Ok(Some(TIME_MS_MAX)));
        assert_eq!(time("9223372036854775807"), Ok(Some(9_223_372_036_854)));
        for raw in ["null", "\"\"", "\" \""] {
            assert_eq!(time(raw), Ok(None), "{raw}");
        }
        for raw in [
            "0",
            "5",
            "-1772359200",
            "946684799",
            "253402300800",
            "946684799999",
            "1e30",
            "true",
            "[1]",
            "\"soon\"",
            "\"10:00\"",
        ] {
            assert!(time(raw).is_err(), "{raw} is {:?}", time(raw));
        }
    }

    #[test]
    fn whole_numbers_and_amounts_come_as_texts_too() {
        for (raw, expected) in [
            ("2", Some(2)),
            ("2.0", Some(2)),
            ("\"2\"", Some(2)),
            ("\" -2.0 \"", Some(-2)),
            ("null", None),
            ("\"\"", None),
            ("18446744073709551615", Some(i64::MAX)),
        ] {
            assert_eq!(whole(raw), Ok(expected), "{raw}");
        }
        for raw in ["2.5", "\"two\"", "true", "[2]", "{}"] {
            assert_eq!(whole(raw), Err(()), "{raw}");
        }
        let micros = |raw: &str| amount(raw).map(|amount| amount.map(|amount| amount.to_micros().unwrap()));
        assert_eq!(micros("12.5"), Ok(Some((12_500_000, false))));
        assert_eq!(micros("\"12.50\""), Ok(Some((12_500_000, false))));
        assert_eq!(micros("59.970000000000006"), Ok(Some((59_970_000, true))));
        assert_eq!(micros("1e-7"), Ok(Some((0, true))));
        assert_eq!(micros("\"\""), Ok(None));
        for raw in ["\"12,50\"", "\"NaN\"", "true", "[1]", "\"EUR 5\""] {
            assert!(micros(raw).is_err(), "{raw}");
        }
    }
}
