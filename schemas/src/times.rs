//! Text to times: how people write them, and what each way means in milliseconds since the Unix epoch.

use std::fmt;

use chrono::format::{Item, Parsed, StrftimeItems};
use chrono::{DateTime, NaiveDate, NaiveDateTime, NaiveTime};

use crate::decimal::Decimal;

/// How a column tells the time.
#[derive(Clone, Debug)]
pub enum TimeFormat {
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
    pub fn parse(text: &str) -> Result<TimeFormat, String> {
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
    pub fn read(&self, text: &str) -> Result<i64, String> {
        let text = text.trim();
        let read = match self {
            TimeFormat::Rfc3339 => read_rfc3339(text),
            TimeFormat::EpochSeconds => Decimal::parse(text).ok().and_then(|seconds| seconds.scaled_down(3)),
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
