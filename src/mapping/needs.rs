//! What an entry must set so that any row can become a valid event. What the decoder would refuse for every row is
//! refused here, when the mapping is read.

use schemas::EventType;

use super::{Set, Value};

/// Says what is missing.
pub(super) fn check(event_type: EventType, set: &[Set]) -> Result<(), String> {
    let kind = event_type.name();
    let value = |field: &str| set.iter().find(|set| set.field == field).map(|set| &set.value);
    let is_set = |field: &str| match value(field) {
        None => false,
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
