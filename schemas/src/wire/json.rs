//! How JSON spells the fields of an event: `null` is absent, a type is a name, a time a number or a text.

use std::fmt;

use chrono::DateTime;
use serde::de::{Deserialize, Deserializer, Error, Visitor};

use super::ItemLine;

/// Stands for a type with a name that is none, until the decoder reports the name. No Protobuf enum has it.
pub(crate) const UNKNOWN_TYPE: i32 = i32::MIN;

/// `type`: the name of an event type.
pub(super) mod kind {
    use std::borrow::Cow;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::UNKNOWN_TYPE;
    use crate::event::EventType;

    pub(crate) fn serialize<S: Serializer>(number: &i32, to: S) -> Result<S::Ok, S::Error> {
        EventType::from_number(*number).map(EventType::name).serialize(to)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<i32, D::Error> {
        #[derive(Deserialize)]
        struct Name<'a>(#[serde(borrow)] Cow<'a, str>);
        Ok(match Option::<Name<'_>>::deserialize(from)? {
            None => 0,
            Some(Name(name)) => EventType::from_name(&name).map_or(UNKNOWN_TYPE, |kind| kind as i32),
        })
    }
}

pub(super) fn text<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    Option::deserialize(from).map(Option::unwrap_or_default)
}

pub(super) fn list<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<ItemLine>, D::Error> {
    Option::deserialize(from).map(Option::unwrap_or_default)
}

/// A whole number. One that an `i64` cannot hold becomes the nearest: the decoder then finds it out of range.
pub(super) fn whole<'de, D: Deserializer<'de>>(from: D) -> Result<Option<i64>, D::Error> {
    from.deserialize_any(Number { texts: false })
}

/// A whole number of milliseconds, or an RFC 3339 text.
pub(super) fn time<'de, D: Deserializer<'de>>(from: D) -> Result<Option<i64>, D::Error> {
    from.deserialize_any(Number { texts: true })
}

struct Number {
    texts: bool,
}

impl<'de> Visitor<'de> for Number {
    type Value = Option<i64>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.texts { "epoch milliseconds or an RFC 3339 time" } else { "a whole number" })
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Option<i64>, E> {
        Ok(Some(value))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Option<i64>, E> {
        Ok(Some(value.try_into().unwrap_or(i64::MAX)))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Option<i64>, E> {
        // `as` takes what is too large to the nearest `i64`.
        if value.fract() == 0.0 {
            Ok(Some(value as i64))
        } else {
            Err(E::invalid_type(serde::de::Unexpected::Float(value), &self))
        }
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Option<i64>, E> {
        let time = if self.texts { parse_time_ms(text) } else { None };
        time.map(Some).ok_or_else(|| E::invalid_value(serde::de::Unexpected::Str(text), &self))
    }

    fn visit_unit<E: Error>(self) -> Result<Option<i64>, E> {
        Ok(None)
    }
}

/// The milliseconds since the Unix epoch of an RFC 3339 text; one without an offset is UTC. What is finer than a
/// millisecond is cut off.
pub fn parse_time_ms(text: &str) -> Option<i64> {
    let text = text.trim();
    let time = DateTime::parse_from_rfc3339(text).or_else(|_| DateTime::parse_from_rfc3339(&format!("{text}Z")));
    time.ok().map(|time| time.timestamp_millis())
}

#[cfg(test)]
mod tests {
    use super::super::{Event, EventType, to_json};
    use super::*;

    fn event(json: &str) -> Event {
        serde_json::from_str(json).unwrap_or_else(|error| panic!("{json}: {error}"))
    }

    #[test]
    fn times_are_milliseconds_or_rfc_3339() {
        let time = |value: &str| event(&format!(r#"{{"event_time":{value}}}"#)).event_time;
        assert_eq!(time("1767225600123"), Some(1_767_225_600_123));
        assert_eq!(time("1.767225600123e12"), Some(1_767_225_600_123));
        assert_eq!(time(r#""2026-01-01T00:00:00.123Z""#), Some(1_767_225_600_123));
        assert_eq!(time(r#""2026-01-01 02:00:00.1239+02:00""#), Some(1_767_225_600_123));
        assert_eq!(time(r#""2026-01-01T00:00:00""#), Some(1_767_225_600_000));
        assert_eq!(time("null"), None);
        let wrong = serde_json::from_str::<Event>(r#"{"event_time":"yesterday"}"#).unwrap_err().to_string();
        assert!(wrong.contains("yesterday") && wrong.contains("RFC 3339"), "{wrong}");
    }

    #[test]
    fn types_are_names_and_numbers_are_whole() {
        assert_eq!(event(r#"{"type":"click"}"#).r#type(), EventType::Click);
        assert_eq!(event(r#"{"type":"cl\u0069ck"}"#).r#type(), EventType::Click);
        assert_eq!(event(r#"{"type":"swipe"}"#).r#type, UNKNOWN_TYPE);
        assert_eq!(event(r#"{"revenue_micros":1e30}"#).revenue_micros, Some(i64::MAX));
        assert_eq!(event(r#"{"revenue_micros":18446744073709551615}"#).revenue_micros, Some(i64::MAX));
        assert!(serde_json::from_str::<Event>(r#"{"revenue_micros":1.5}"#).is_err());
        assert!(serde_json::from_str::<Event>(r#"{"revenue_micros":"1"}"#).is_err());
    }

    #[test]
    fn what_is_absent_is_left_out_and_what_is_unknown_is_ignored() {
        assert_eq!(event(r#"{"user":null,"items":null,"colour":{"a":[1]}}"#), Event::default());
        let event = Event { r#type: 2, user: "u".into(), event_time: Some(5), ..Event::default() };
        assert_eq!(to_json(&event), br#"{"type":"click","event_time":5,"user":"u"}"#);
    }
}
