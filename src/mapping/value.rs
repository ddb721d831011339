//! Text to numbers and times, exactly: amounts are decimals and never pass through a float.

use std::fmt;

use chrono::format::{Item, Parsed, StrftimeItems};
use chrono::{DateTime, NaiveDate, NaiveDateTime, NaiveTime};

/// The most digits of a decimal: products of two fit an `i128`.
const DIGITS_MAX: usize = 19;

/// A decimal number: `mantissa · 10^-scale`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Decimal {
    mantissa: i128,
    scale: i32,
}

impl Decimal {
    /// Reads `12`, `-3.50`, `+.5`, `1e-7`; no separators of thousands, no currency signs.
    pub(super) fn parse(text: &str) -> Result<Decimal, String> {
        Decimal::read(text).ok_or_else(|| {
            format!("{text:?} is no number of at most {DIGITS_MAX} digits, as -12.50 (no separators of thousands)")
        })
    }

    fn read(text: &str) -> Option<Decimal> {
        let text = text.trim();
        let (number, exponent) = match text.split_once(['e', 'E']) {
            Some((number, exponent)) => (number, exponent.parse::<i32>().ok().filter(|e| e.abs() <= 64)?),
            None => (text, 0),
        };
        let (negative, number) = match number.as_bytes().first()? {
            b'-' => (true, &number[1..]),
            b'+' => (false, &number[1..]),
            _ => (false, number),
        };
        let (whole, part) = number.split_once('.').unwrap_or((number, ""));
        if whole.len() + part.len() == 0 || !whole.bytes().chain(part.bytes()).all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        // Zeros that say nothing do not count: 0.500000000000000000000 is a number like any other.
        let (whole, part) = (whole.trim_start_matches('0'), part.trim_end_matches('0'));
        if whole.len() + part.len() > DIGITS_MAX {
            return None;
        }
        let digits = whole.bytes().chain(part.bytes());
        let mantissa = digits.fold(0i128, |value, digit| value * 10 + i128::from(digit - b'0'));
        Some(Decimal { mantissa: if negative { -mantissa } else { mantissa }, scale: part.len() as i32 - exponent })
    }

    /// The product; none where it has too many digits.
    pub(super) fn times(self, other: Decimal) -> Option<Decimal> {
        let mantissa = self.mantissa.checked_mul(other.mantissa)?;
        Some(Decimal { mantissa, scale: self.scale + other.scale })
    }

    /// This times 10^`digits` where that is a whole `i64`.
    pub(super) fn scaled(self, digits: i32) -> Result<i64, String> {
        self.shifted(digits, true).ok_or_else(|| {
            let places = if digits > 0 { format!("with at most {digits} decimals") } else { "whole".to_owned() };
            format!("{self} is no number {places} and within 64 bits")
        })
    }

    /// This times 10^`digits`, rounded down.
    pub(super) fn scaled_down(self, digits: i32) -> Option<i64> {
        self.shifted(digits, false)
    }

    fn shifted(self, digits: i32, exact: bool) -> Option<i64> {
        if self.mantissa == 0 {
            return Some(0);
        }
        let shift = digits - self.scale;
        let power = 10i128.checked_pow(shift.unsigned_abs());
        let value = if shift >= 0 {
            self.mantissa.checked_mul(power?)?
        } else {
            // A power beyond i128 is greater than every mantissa.
            let power = power.unwrap_or(i128::MAX);
            if exact && self.mantissa % power != 0 {
                return None;
            }
            self.mantissa.div_euclid(power)
        };
        i64::try_from(value).ok()
    }
}

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.scale {
            0 => write!(f, "{}", self.mantissa),
            scale => write!(f, "{}e{}", self.mantissa, -scale),
        }
    }
}

/// How a column tells the time.
#[derive(Clone, Debug)]
pub(super) enum TimeFormat {
    /// `2024-03-13T10:21:14.123+01:00`, with `T` or a blank; without an offset UTC, without a time midnight.
    Rfc3339,
    /// Seconds since the Unix epoch, decimals allowed.
    EpochSeconds,
    /// Milliseconds since the Unix epoch.
    EpochMs,
    /// A strftime pattern, as `%Y-%m-%d %H:%M:%S`; without an offset UTC, without a time midnight.
    Pattern {
        /// The pattern as written.
        text: String,
        /// The pattern, parsed.
        items: Vec<Item<'static>>,
    },
}

impl TimeFormat {
    /// Reads `rfc3339`, `epoch_s`, `epoch_ms` or a strftime pattern.
    pub(super) fn parse(text: &str) -> Result<TimeFormat, String> {
        let wanted = "write rfc3339, epoch_s, epoch_ms or a strftime pattern, as \"%Y-%m-%d %H:%M:%S\"";
        match text {
            "rfc3339" => Ok(TimeFormat::Rfc3339),
            "epoch_s" => Ok(TimeFormat::EpochSeconds),
            "epoch_ms" => Ok(TimeFormat::EpochMs),
            _ if !text.contains('%') => Err(format!("{text:?} is no format of time: {wanted}")),
            _ => match StrftimeItems::new(text).parse_to_owned() {
                Ok(items) => Ok(TimeFormat::Pattern { text: text.to_owned(), items }),
                Err(_) => Err(format!("{text:?} is no strftime pattern: {wanted}")),
            },
        }
    }

    /// The time that a text tells, ms since the Unix epoch; parts of a millisecond are dropped.
    pub(super) fn read(&self, text: &str) -> Result<i64, String> {
        let text = text.trim();
        let read = match self {
            TimeFormat::Rfc3339 => read_rfc3339(text),
            TimeFormat::EpochSeconds => Decimal::read(text).and_then(|seconds| seconds.scaled_down(3)),
            TimeFormat::EpochMs => text.parse().ok(),
            TimeFormat::Pattern { items, .. } => read_pattern(text, items),
        };
        read.ok_or_else(|| format!("{text:?} is no time in the format {self}"))
    }
}

impl fmt::Display for TimeFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TimeFormat::Rfc3339 => f.write_str("rfc3339"),
            TimeFormat::EpochSeconds => f.write_str("epoch_s"),
            TimeFormat::EpochMs => f.write_str("epoch_ms"),
            TimeFormat::Pattern { text, .. } => write!(f, "{text:?}"),
        }
    }
}

fn read_rfc3339(text: &str) -> Option<i64> {
    if let Ok(time) = DateTime::parse_from_rfc3339(text) {
        return Some(time.timestamp_millis());
    }
    let without_offset = ["%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.f"];
    let time = without_offset.into_iter().find_map(|format| NaiveDateTime::parse_from_str(text, format).ok());
    let time = time.or_else(|| Some(NaiveDate::parse_from_str(text, "%Y-%m-%d").ok()?.and_time(NaiveTime::MIN)))?;
    Some(time.and_utc().timestamp_millis())
}

fn read_pattern(text: &str, items: &[Item<'static>]) -> Option<i64> {
    let mut parsed = Parsed::new();
    chrono::format::parse(&mut parsed, text, items.iter()).ok()?;
    if parsed.offset().is_some() {
        return parsed.to_datetime().ok().map(|time| time.timestamp_millis());
    }
    let time = match parsed.to_naive_datetime_with_offset(0) {
        Ok(time) => time,
        Err(_) if parsed.hour_mod_12().is_none() => parsed.to_naive_date().ok()?.and_time(NaiveTime::MIN),
        Err(_) => return None,
    };
    Some(time.and_utc().timestamp_millis())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_are_exact_or_refused() {
        let micros = |text: &str| Decimal::parse(text).and_then(|decimal| decimal.scaled(6));
        assert_eq!(micros("2.55"), Ok(2_550_000));
        assert_eq!(micros("-0.000001"), Ok(-1));
        assert_eq!(micros("+.5"), Ok(500_000));
        assert_eq!(micros("1e-6"), Ok(1));
        assert_eq!(micros("3E2"), Ok(300_000_000));
        assert_eq!(micros("0.50000000000000000000000"), Ok(500_000));
        assert_eq!(micros("9223372036854.775807"), Ok(i64::MAX));
        for text in ["", "-", ".", "1,000", "1.0000001", "9223372036854.775808", "0x10", "1e", "1e999", "£5", "1-"] {
            assert!(micros(text).is_err(), "{text:?} is {:?}", micros(text));
        }
        assert_eq!(
            micros("1.0000001").unwrap_err(),
            "10000001e-7 is no number with at most 6 decimals and within 64 bits"
        );
    }

    #[test]
    fn products_are_exact() {
        let product =
            |a: &str, b: &str| Decimal::parse(a).unwrap().times(Decimal::parse(b).unwrap()).unwrap().scaled(6);
        assert_eq!(product("2.55", "-12"), Ok(-30_600_000));
        assert_eq!(product("0.001", "0.001"), Ok(1));
        assert!(product("0.0001", "0.001").is_err());
    }

    #[test]
    fn times_are_read_in_every_format() {
        let read = |format: &str, text: &str| TimeFormat::parse(format).unwrap().read(text);
        const T: i64 = 1_710_325_274_000;
        assert_eq!(read("%Y-%m-%d %H:%M:%S", "2024-03-13 10:21:14"), Ok(T));
        assert_eq!(read("%Y-%m-%d %H:%M:%S%.f", "2024-03-13 10:21:14.5"), Ok(T + 500));
        assert_eq!(read("%d/%m/%Y %H:%M", "13/03/2024 10:21"), Ok(T - 14_000));
        assert_eq!(read("%d.%m.%Y", "13.03.2024"), Ok(T - T % 86_400_000));
        assert_eq!(read("%Y-%m-%d %H:%M:%S %z", "2024-03-13 11:21:14 +0100"), Ok(T));
        assert_eq!(read("rfc3339", "2024-03-13T11:21:14+01:00"), Ok(T));
        assert_eq!(read("rfc3339", "2024-03-13T10:21:14.123Z"), Ok(T + 123));
        assert_eq!(read("rfc3339", "2024-03-13T10:21:14"), Ok(T));
        assert_eq!(read("rfc3339", "2024-03-13 10:21:14.9999"), Ok(T + 999));
        assert_eq!(read("rfc3339", "2024-03-13"), Ok(T - T % 86_400_000));
        assert_eq!(read("epoch_s", "1710325274"), Ok(T));
        assert_eq!(read("epoch_s", "1710325274.1239"), Ok(T + 123));
        assert_eq!(read("epoch_ms", "1710325274001"), Ok(T + 1));
        assert_eq!(read("epoch_ms", "-1"), Ok(-1));
        for (format, text) in
            [("epoch_ms", "1.5"), ("epoch_s", "soon"), ("rfc3339", "13/03/2024"), ("%Y-%m-%d %H:%M", "2024-03-13")]
        {
            assert!(read(format, text).is_err(), "{format} {text}");
        }
        assert_eq!(read("%Y", "x").unwrap_err(), r#""x" is no time in the format "%Y""#);
    }

    #[test]
    fn formats_that_are_none_are_refused() {
        for text in ["iso", "%Q%", "%Y-%!"] {
            assert!(TimeFormat::parse(text).unwrap_err().contains("rfc3339, epoch_s, epoch_ms"), "{text}");
        }
    }
}
