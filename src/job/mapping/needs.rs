//! What an event cannot do without. What an entry must set so that any row can become a valid event: what the decoder would
//! refuse for every row is refused here, when the mapping is read. And which fields of a row must be readable.

use schemas::decode::NAME_BYTES_MAX;
use schemas::placeholders::{SAME_CHARACTERS_MIN, placeholder};
use schemas::units::AMOUNT_MICROS_MAX;
use schemas::{EventType, wire};

use super::{Cells, Entry, Flaw, Set, Value};

/// Whether an event of a type is none where a field cannot be read: it identifies, dates or pays, or the type needs it.
pub(super) fn is_strict(event_type: EventType, field: &str) -> bool {
    match field {
        "event_id" | "tenant" | "revenue_micros" | "cost_micros" => true,
        "name" => matches!(event_type, EventType::Event | EventType::Conversion),
        "source" | "version" => event_type == EventType::Cost,
        _ => false,
    }
}

/// The cell that cannot be read, but without which the event is none: the currency of an amount, an id to link.
pub(super) fn lacking(entry: &Entry, event: &wire::Event, cells: &Cells) -> Option<(usize, Flaw)> {
    let pays = [event.revenue_micros, event.cost_micros].iter().flatten().any(|amount| *amount != 0);
    let ids = [&event.user, &event.device, &event.login].iter().filter(|id| !id.is_empty()).count();
    let is_lacking = |field: &str| match field {
        "currency" => pays,
        "user" | "device" | "login" => entry.event_type == EventType::Identify && ids < 2,
        _ => false,
    };
    entry.set.iter().filter(|set| is_lacking(set.field)).find_map(|set| set.value.flaw(cells))
}

/// Refuses constants with which every event would be a dead letter: the field, and why.
pub(super) fn check_constants(event_type: EventType, set: &[Set]) -> Result<(), (&'static str, String)> {
    for Set { field, value, .. } in set {
        let problem = match (*field, value) {
            (field, Value::ConstNumber(number)) if number.unsigned_abs() > AMOUNT_MICROS_MAX as u64 => {
                is_strict(event_type, field).then(|| format!("{number} is out of range: at most ±{AMOUNT_MICROS_MAX}"))
            }
            ("currency", Value::Const(text)) => {
                let text = text.trim();
                placeholder(text).map(|_| {
                    format!("{text:?} is a placeholder, no currency: write its code, as EUR, or the column that has it")
                })
            }
            ("event_id", Value::Const(text)) => {
                let text = text.trim();
                // Zeros are where counting begins.
                let is_none = |found: &str| found != "0" || text.len() >= SAME_CHARACTERS_MIN;
                placeholder(text)
                    .filter(|found| is_none(found))
                    .map(|_| format!("{text:?} is a placeholder, no id: name the column that has it, or leave it out"))
            }
            _ => None,
        };
        let too_long = match value {
            Value::Const(text) if matches!(*field, "currency" | "tenant") && text.trim().len() > NAME_BYTES_MAX => {
                Some(format!("is of {} bytes: at most {NAME_BYTES_MAX} may be", text.trim().len()))
            }
            _ => None,
        };
        if let Some(problem) = problem.or(too_long) {
            return Err((field, problem));
        }
    }
    Ok(())
}

/// Says what is missing.
pub(super) fn check(event_type: EventType, set: &[Set]) -> Result<(), String> {
    let kind = event_type.name();
    let value = |field: &str| set.iter().find(|set| set.field == field).map(|set| &set.value);
    let is_id = |field: &str| matches!(field, "user" | "device" | "login");
    let is_set = |field: &str| match value(field) {
        None => false,
        Some(Value::Const(text)) if is_id(field) => !text.trim().is_empty() && placeholder(text.trim()).is_none(),
        Some(Value::Const(text)) => !text.trim().is_empty(),
        Some(_) => true,
    };
    let needed: &[(&str, &str)] = match event_type {
        EventType::Event | EventType::Conversion => &[("name", "name: { const: purchase }")],
        EventType::Cost => &[
            ("source", "source: { const: google }"),
            ("cost_micros", "cost_micros: { column: COLUMN, unit: units }"),
            ("version", "version: { const: 1 }"),
        ],
        _ => &[],
    };
    if let Some((field, example)) = needed.iter().find(|(field, _)| !is_set(field)) {
        return Err(format!("sets no {field}, which every {kind} needs: add `{example}`, or the column that has it"));
    }
    if event_type == EventType::Identify && ["user", "device", "login"].iter().filter(|id| is_set(id)).count() < 2 {
        return Err("sets fewer than two of user, device and login, so that it links nothing: add another".to_owned());
    }
    for field in ["revenue_micros", "cost_micros"] {
        // Nothing costs the same in every currency.
        let pays = value(field).is_some_and(|value| !matches!(value, Value::ConstNumber(0)));
        if pays && !is_set("currency") {
            return Err(format!(
                "sets {field} without a currency: add `currency: {{ const: EUR }}`, or the column that has it"
            ));
        }
    }
    for field in ["event_id", "tenant"] {
        if value(field).is_some() && !is_set(field) {
            return Err(format!("sets {field} to nothing: leave it out"));
        }
    }
    Ok(())
}
