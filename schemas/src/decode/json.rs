//! Events in JSON: one object a record, with the fields of [`crate::reference::FIELDS`] by name.
//!
//! The object is read once. The values of known fields stay text until all of them are there, so that what a field says
//! does not depend on the order in which fields come. Fields that no event has are ignored, and their names kept.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::{Reason, framed, quoted, values};
use crate::event::EventType;
use crate::fault::{DISAGREES, Extras, Fault, GIVEN_TWICE, ROUNDED, UNREADABLE, WRONG_TYPE};
use crate::reference::{FIELDS, FIELDS_COUNT, Slot};
use crate::wire::{Event, ItemLine};

/// The most names of unknown fields that are kept of a record.
const UNKNOWN_FIELDS_MAX: usize = 16;
/// As much of a name as is kept.
const UNKNOWN_FIELD_BYTES_MAX: usize = 64;
/// The most fields whose order is remembered from record to record.
const ORDER_MAX: usize = 64;

/// Reads events in JSON.
#[derive(Debug, Default)]
pub(super) struct JsonReader {
    /// By place in the record before: which field stood there. Producers keep an order, so it is tried first.
    order: Vec<u8>,
}

impl JsonReader {
    /// Reads an event into `event`, which is empty, and what else was found into `extras`.
    pub(super) fn read(&mut self, bytes: &[u8], event: &mut Event, extras: &mut Extras) -> Result<(), Reason> {
        let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
        let text = match std::str::from_utf8(bytes) {
            Ok(text) => text,
            Err(_) if is_utf16(bytes) => return Err(Reason::Utf16),
            Err(error) => return Err(framed(bytes).map_or(Reason::Utf8(error.valid_up_to()), Reason::Framed)),
        };
        if let Some(schema) = framed(bytes).filter(|_| !is_utf16(bytes)) {
            return Err(Reason::Framed(schema));
        }
        if is_utf16(bytes) {
            return Err(Reason::Utf16);
        }
        match text.trim_start().as_bytes().first() {
            // Serde would read an array as the fields in their order.
            Some(b'[') => return Err(Reason::Json("an array, not an object".to_owned())),
            Some(b'"') => return Err(Reason::Json("a text, not an object: is it encoded twice?".to_owned())),
            _ => {}
        }
        let mut from = serde_json::Deserializer::from_str(text);
        let object = Object { order: &mut self.order, unknown: &mut extras.unknown_fields };
        let (raw, twice) = from
            .deserialize_map(object)
            .and_then(|read| from.end().map(|()| read))
            .map_err(|error| Reason::Json(quoted(&error.to_string())))?;
        for (index, strict) in
            FIELDS.iter().map(|field| field.strict).enumerate().filter(|(index, _)| twice >> index & 1 == 1)
        {
            if strict {
                return Err(Reason::Twice(FIELDS[index].name));
            }
            extras.faults.push(Fault { field: FIELDS[index].name, reason: GIVEN_TWICE, value: None });
        }
        fill(&raw, event, extras)
    }
}

fn is_utf16(bytes: &[u8]) -> bool {
    matches!(bytes, [0xff, 0xfe, ..] | [0xfe, 0xff, ..] | [b'{' | b'[' | b' ', 0, ..] | [0, b'{' | b'[' | b' ', 0, ..])
}

/// By field, the text of its value.
type Raw<'a> = [Option<&'a str>; FIELDS_COUNT];

struct Object<'r> {
    order: &'r mut Vec<u8>,
    unknown: &'r mut Vec<Box<str>>,
}

impl<'de> Visitor<'de> for Object<'_> {
    /// The values, and a bit for each field that has two.
    type Value = (Raw<'de>, u64);

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with the fields of an event")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let (mut raw, mut twice, mut place): (Raw<'de>, u64, usize) = ([None; FIELDS_COUNT], 0, 0);
        loop {
            let guess = self.order.get(place).copied();
            match map.next_key_seed(Name { guess, unknown: self.unknown })? {
                None => return Ok((raw, twice)),
                Some(None) => {
                    map.next_value::<IgnoredAny>()?;
                }
                Some(Some(index)) => {
                    if place < ORDER_MAX {
                        self.order.resize(self.order.len().max(place + 1), 0);
                        self.order[place] = index as u8;
                    }
                    let value = map.next_value::<&'de RawValue>()?.get();
                    twice |= u64::from(raw[index].is_some_and(|before| before != value)) << index;
                    raw[index] = Some(value);
                }
            }
            place += 1;
        }
    }
}

/// The name of a field: which it is, or none of an event's.
struct Name<'r> {
    guess: Option<u8>,
    unknown: &'r mut Vec<Box<str>>,
}

impl<'de> DeserializeSeed<'de> for Name<'_> {
    type Value = Option<usize>;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Option<usize>, D::Error> {
        from.deserialize_str(self)
    }
}

impl Visitor<'_> for Name<'_> {
    type Value = Option<usize>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a field")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<Option<usize>, E> {
        if let Some(guess) = self.guess.map(usize::from).filter(|guess| FIELDS[*guess].name == name) {
            return Ok(Some(guess));
        }
        let known = FIELDS.iter().position(|field| field.name == name);
        if known.is_none() && self.unknown.len() < UNKNOWN_FIELDS_MAX {
            let name = &name[..name.floor_char_boundary(UNKNOWN_FIELD_BYTES_MAX)];
            if !self.unknown.iter().any(|other| **other == *name) {
                self.unknown.push(name.into());
            }
        }
        Ok(known)
    }
}

/// Reads the values of the fields.
fn fill(raw: &Raw<'_>, event: &mut Event, extras: &mut Extras) -> Result<(), Reason> {
    let given = FIELDS.iter().zip(raw).filter_map(|(field, raw)| Some((field, (*raw)?)));
    for (field, raw) in given {
        let name = field.name;
        let mut fault = |reason| extras.faults.push(Fault { field: name, reason, value: None });
        match field.slot {
            Slot::Type => event.r#type = event_type(raw)?,
            Slot::Text(slot) => match values::text(raw) {
                Ok(text) => slot(event).push_str(text.as_deref().unwrap_or_default()),
                Err(found) if field.strict => {
                    return Err(Reason::WrongType { field: name, found, wanted: "a text or a whole number" });
                }
                Err(_) => fault(WRONG_TYPE),
            },
            Slot::Time(slot) => match values::time(raw) {
                Ok(time) => *slot(event) = time,
                Err(problem) if field.strict => return Err(Reason::Time { field: name, problem }),
                // 0 is how stores say that they do not know.
                Err(_) if values::whole(raw) == Ok(Some(0)) => {}
                Err(_) => fault(UNREADABLE),
            },
            Slot::Whole(slot) => match values::whole(raw) {
                Ok(number) => *slot(event) = number,
                Err(()) => fault(UNREADABLE),
            },
            Slot::Micros(slot) => {
                let refused = |problem| Reason::Amount { field: name, problem };
                if let Some(amount) = values::amount(raw).map_err(refused)? {
                    // One that 64 bits do not hold becomes the nearest, which is out of range.
                    let (micros, rounded) = match (amount.to_micros(), values::whole(raw)) {
                        (Err(_), Ok(Some(nearest))) => (nearest, false),
                        _ => amount.whole_micros().map_err(|_| {
                            refused(format!("{raw} is no whole number of micros: for an amount in units there is the field without `_micros`"))
                        })?,
                    };
                    *slot(event) = Some(micros);
                    if rounded {
                        fault(ROUNDED);
                    }
                }
            }
            // After the amounts in micros, which stand.
            Slot::Units(slot) => {
                let refused = |problem| Reason::Amount { field: name, problem };
                if let Some(amount) = values::amount(raw).map_err(refused)? {
                    let (micros, rounded) = amount.to_micros().map_err(refused)?;
                    match *slot(event) {
                        None => {
                            *slot(event) = Some(micros);
                            if rounded {
                                fault(ROUNDED);
                            }
                        }
                        Some(stands) if stands != micros => fault(DISAGREES),
                        Some(_) => {}
                    }
                }
            }
            Slot::Items => items(raw, event, extras),
        }
    }
    Ok(())
}

/// The number of an event type by its name, in any case of letters, also as Protobuf's JSON spells it.
fn event_type(raw: &str) -> Result<i32, Reason> {
    let wanted = "the name of a type, as \"click\"";
    let text = values::text(raw).map_err(|found| Reason::WrongType { field: "type", found, wanted })?;
    let Some(text) = text else { return Ok(0) };
    if !raw.starts_with('"') {
        return Err(Reason::WrongType { field: "type", found: "a number", wanted });
    }
    let name = text.trim();
    if name.is_empty() {
        return Ok(0);
    }
    let name = name.get(..11).filter(|head| head.eq_ignore_ascii_case("event_type_")).map_or(name, |_| &name[11..]);
    let kind = EventType::ALL.into_iter().find(|kind| kind.name().eq_ignore_ascii_case(name));
    kind.map(|kind| kind as i32).ok_or_else(|| Reason::UnknownType(format!("{:?}", quoted(&text))))
}

/// The item lines. What is no line, or no value of one, is left out.
fn items(raw: &str, event: &mut Event, extras: &mut Extras) {
    let mut fault = |field, reason| extras.faults.push(Fault { field, reason, value: None });
    let lines = match serde_json::from_str::<Option<Vec<&RawValue>>>(raw) {
        Ok(lines) => lines.unwrap_or_default(),
        Err(_) => return fault("items", WRONG_TYPE),
    };
    for line in lines {
        let Ok(fields) = serde_json::from_str::<std::collections::BTreeMap<String, &RawValue>>(line.get()) else {
            fault("items", WRONG_TYPE);
            continue;
        };
        let mut item = ItemLine::default();
        for (name, raw) in fields {
            let raw = raw.get();
            match name.as_str() {
                "item" => match values::text(raw) {
                    Ok(text) => item.item.push_str(text.as_deref().unwrap_or_default()),
                    Err(_) => fault("items.item", WRONG_TYPE),
                },
                "quantity" => match values::whole(raw) {
                    Ok(number) => item.quantity = number,
                    Err(()) => fault("items.quantity", UNREADABLE),
                },
                "amount_micros" => match values::whole(raw) {
                    Ok(number) => item.amount_micros = number,
                    Err(()) => fault("items.amount_micros", UNREADABLE),
                },
                _ => {}
            }
        }
        event.items.push(item);
    }
}
