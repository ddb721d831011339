//! From a record of a topic to what is handed over of it: a value that is no event is told apart here, with words of its own.
//!
//! * A *null value* is a tombstone of the topic: in a compacted topic it deletes what its key stood for. It is no event and no
//!   malformed one.
//! * *Framing*: what a schema registry's serializer puts before an event is skipped, and missed where it should be.
//! * Other people's JSON becomes an event by the topic's mapping.
//!
//! What is kept of a dead letter beside its value (key, headers) is bounded here.

use rdkafka::Message;
use rdkafka::message::{BorrowedMessage, Headers};
use schemas::wire::Encoding;
use serde_json::{Map, Value};

use super::config::Reading;
use super::mapped::Scratch;
use crate::ingest::source::{About, Payload};
use crate::job::Framing;
use crate::observe::telemetry::name;

/// Why a record without a value is a dead letter.
pub const NULL_VALUE: &str = "null value: in a compacted topic it deletes what its key stood for; it is no event";
/// So much is kept of a key, and of all headers of a record.
pub const ABOUT_BYTES_MAX: usize = 64 << 10;
/// A zero byte, and a schema's id.
const PREFIX_BYTES: usize = 5;
/// The deepest place of a message in a schema that is read.
const PLACE_DEPTH_MAX: u64 = 64;

/// Hands a record over.
pub(super) fn hand_over(
    record: &BorrowedMessage<'_>,
    reading: &Reading,
    scratch: &mut Scratch,
    each: impl FnOnce(Payload<'_>),
) {
    let headers = || record.headers().and_then(headers_json);
    let key = record.key().map(|key| &key[..key.len().min(ABOUT_BYTES_MAX)]);
    let about = About { key, headers: Some(&headers) };
    if record.payload().is_none() {
        metrics::counter!(name::NULL_VALUES, "topic" => record.topic().to_owned()).increment(1);
    }
    payload(record.payload(), about, reading, scratch, each);
}

fn payload(
    value: Option<&[u8]>,
    about: About<'_>,
    reading: &Reading,
    scratch: &mut Scratch,
    each: impl FnOnce(Payload<'_>),
) {
    let Some(bytes) = value else { return each(Payload::Mapped { event: Err(NULL_VALUE), bytes: &[], about }) };
    let start = match reading.framing {
        Framing::None => Ok(0),
        Framing::Confluent => event_start(bytes, reading.encoding),
    };
    match (start, &reading.mapping) {
        (Err(reason), _) => each(Payload::Mapped { event: Err(&reason), bytes, about }),
        (Ok(start), None) => each(Payload::Bytes { bytes, start, encoding: reading.encoding, about }),
        (Ok(start), Some(mapping)) => {
            let event = mapping.event(&bytes[start..], scratch);
            each(Payload::Mapped { event: event.as_ref().copied().map_err(String::as_str), bytes, about });
        }
    }
}

/// Where the event begins behind what a schema registry's serializer wrote.
fn event_start(bytes: &[u8], encoding: Encoding) -> Result<usize, String> {
    if bytes.first() != Some(&0) || bytes.len() < PREFIX_BYTES {
        let found = match bytes.first() {
            Some(byte) => format!("begins with byte 0x{byte:02x} and has {} bytes", bytes.len()),
            None => "is empty".to_owned(),
        };
        return Err(format!(
            "no schema-registry prefix: the topic is read with `framing: confluent`, and the value {found}"
        ));
    }
    if encoding == Encoding::Json {
        return Ok(PREFIX_BYTES);
    }
    // The place of the message in its schema: how many numbers, and the numbers; a zero alone stands for the first message.
    let broken = || "schema-registry prefix: the place of the message in its schema is cut off or too deep".to_owned();
    let (depth, mut at) = varint(bytes, PREFIX_BYTES).ok_or_else(broken)?;
    if depth > PLACE_DEPTH_MAX {
        return Err(broken());
    }
    for _ in 0..depth {
        (_, at) = varint(bytes, at).ok_or_else(broken)?;
    }
    Ok(at)
}

/// A number of variable length in zigzag form, without its sign; and where it ends.
fn varint(bytes: &[u8], mut at: usize) -> Option<(u64, usize)> {
    let (mut number, mut shift) = (0u64, 0);
    loop {
        let byte = *bytes.get(at)?;
        at += 1;
        number |= u64::from(byte & 0x7f).checked_shl(shift)?;
        if byte & 0x80 == 0 {
            return Some((number.div_ceil(2), at));
        }
        shift += 7;
        if shift > 63 {
            return None;
        }
    }
}

/// Headers as a JSON object: a text for each name, in the order of names; a list of texts where a name is repeated. Bytes
/// that are no UTF-8 are written as `hex:…`. What does not fit into [`ABOUT_BYTES_MAX`] is counted under `…`.
fn headers_json(headers: &impl Headers) -> Option<String> {
    if headers.count() == 0 {
        return None;
    }
    let mut object = Map::new();
    let (mut bytes, mut left_out) = (0, 0);
    for header in headers.iter() {
        let value = match header.value {
            None => Value::Null,
            Some(value) => Value::String(match std::str::from_utf8(value) {
                Ok(text) => text.to_owned(),
                Err(_) => value.iter().fold("hex:".to_owned(), |hex, byte| hex + &format!("{byte:02x}")),
            }),
        };
        let size = header.key.len() + value.as_str().map_or(0, str::len);
        if bytes + size > ABOUT_BYTES_MAX {
            left_out += 1;
            continue;
        }
        bytes += size;
        match object.get_mut(header.key) {
            None => drop(object.insert(header.key.to_owned(), value)),
            Some(Value::Array(values)) => values.push(value),
            Some(first) => *first = Value::Array(vec![first.take(), value]),
        }
    }
    if left_out > 0 {
        object.insert("…".to_owned(), Value::String(format!("{left_out} headers did not fit")));
    }
    Some(Value::Object(object).to_string())
}

#[cfg(test)]
mod tests {
    use rdkafka::message::{Header, OwnedHeaders};

    use super::*;

    fn framed(encoding: Encoding) -> Reading {
        Reading { framing: Framing::Confluent, ..Reading::from(encoding) }
    }

    /// Where the event begins, or why there is none.
    fn start(reading: &Reading, value: Option<&[u8]>) -> Result<usize, String> {
        let mut found = None;
        payload(value, About::default(), reading, &mut Scratch::default(), |payload| {
            found = Some(match payload {
                Payload::Bytes { start, bytes, .. } => {
                    assert_eq!(Some(bytes), value, "the whole value is hashed and kept");
                    Ok(start)
                }
                Payload::Mapped { event: Err(reason), .. } => Err(reason.to_owned()),
                _ => panic!("not as configured"),
            });
        });
        found.expect("each record is handed over once")
    }

    #[test]
    fn a_null_value_is_named() {
        assert_eq!(start(&Reading::from(Encoding::Json), None), Err(NULL_VALUE.to_owned()));
        assert_eq!(start(&framed(Encoding::Protobuf), None), Err(NULL_VALUE.to_owned()));
        assert_eq!(start(&Reading::from(Encoding::Json), Some(b"")), Ok(0), "an empty value is another thing");
    }

    #[test]
    fn what_a_registry_writes_is_skipped() {
        let json = framed(Encoding::Json);
        assert_eq!(start(&json, Some(b"\0\0\0\0\x07{}")), Ok(5));
        for value in [&b"{}"[..], b"\0\0\0\0", b"", b"\x01\0\0\0\0\0"] {
            let reason = start(&json, Some(value)).unwrap_err();
            assert!(reason.starts_with("no schema-registry prefix: "), "{reason}");
        }
        let protobuf = framed(Encoding::Protobuf);
        assert_eq!(start(&protobuf, Some(b"\0\0\0\0\x07\x00rest")), Ok(6), "the first message");
        assert_eq!(start(&protobuf, Some(b"\0\0\0\0\x07\x02\x06rest")), Ok(7), "[3]");
        assert_eq!(start(&protobuf, Some(b"\0\0\0\0\x07\x04\x00\x80\x02rest")), Ok(9), "[0, 128]");
        for value in
            [&b"\0\0\0\0\x07"[..], b"\0\0\0\0\x07\x04\x00", b"\0\0\0\0\x07\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"]
        {
            let reason = start(&protobuf, Some(value)).unwrap_err();
            assert!(reason.contains("cut off or too deep"), "{reason}");
        }
    }

    #[test]
    fn headers_become_one_object_of_bounded_size() {
        let header = |key, value| Header { key, value };
        assert_eq!(headers_json(&OwnedHeaders::new()), None);
        let headers = OwnedHeaders::new()
            .insert(header("source", Some(&b"shop"[..])))
            .insert(header("trace", Some(&[0xff, 0x00][..])))
            .insert(header("none", None))
            .insert(header("source", Some(&b"copy"[..])));
        let json = headers_json(&headers).unwrap();
        assert_eq!(json, r#"{"none":null,"source":["shop","copy"],"trace":"hex:ff00"}"#);
        let large = vec![b'x'; ABOUT_BYTES_MAX - 10];
        let headers = OwnedHeaders::new().insert(header("a", Some(&large[..]))).insert(header("b", Some(&large[..])));
        let json = headers_json(&headers).unwrap();
        assert!(
            json.len() < ABOUT_BYTES_MAX + 100 && json.ends_with(r#""…":"1 headers did not fit"}"#),
            "{}",
            json.len()
        );
    }
}
