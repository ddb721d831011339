//! Spans of time, as job files write them: `7d`, `24h`, `90m`, `30s`, `500ms`.

use std::fmt;
use std::str::FromStr;

use schemas::units::{DAY_MS, HOUR_MS};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A span of time in milliseconds, written with a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span(pub i64);

const UNITS: [(&str, i64); 5] = [("d", DAY_MS), ("h", HOUR_MS), ("m", 60_000), ("s", 1_000), ("ms", 1)];

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Span, String> {
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at(digits);
        let factor = UNITS.iter().find(|(name, _)| *name == unit).map(|(_, factor)| *factor);
        let ms = factor.and_then(|factor| number.parse::<i64>().ok()?.checked_mul(factor));
        ms.map(Span).ok_or_else(|| format!("{text:?} is no duration: write a whole number and d, h, m, s or ms, as 7d"))
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == 0 {
            return f.write_str("0s");
        }
        let (unit, factor) = UNITS.iter().find(|(_, factor)| self.0 % factor == 0).expect("every span is whole ms");
        write!(f, "{}{unit}", self.0 / factor)
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Span, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_read_as_they_print() {
        for text in ["7d", "36h", "90m", "30s", "1500ms"] {
            assert_eq!(text.parse::<Span>().unwrap().to_string(), text);
        }
        assert_eq!("24h".parse::<Span>().unwrap().to_string(), "1d");
        for text in ["", "7", "d", "7w", "-1d", "1.5h", "999999999999999d"] {
            assert!(text.parse::<Span>().is_err(), "{text}");
        }
    }
}
