//! Other people's JSON in a topic, made events by a mapping: the language of files, with these differences.
//!
//! * A record is one event at most, since it is one row of `records`: of the entries whose `when` holds, the first counts. A
//!   record that no entry wants is `skipped`.
//! * The event id is a hash of the record's value and the entry, unless `set` gives `event_id`: a record that a producer
//!   sends twice is one event. Two events that are the same to the last byte are one, too, so a mapping should name an id.
//! * A changed mapping counts from the next record on; what is stored stays as it is. The ledger notes when that was.

use std::path::Path;
use std::sync::Arc;

use schemas::decode::RECORD_BYTES_MAX;
use sha2::{Digest, Sha256};

use crate::job::ConfigError;
use crate::job::mapping::{self, Cells, JsonColumns, Mapping, RowId, json_text};

/// A mapping of a topic's records.
#[derive(Clone, Debug)]
pub struct Mapped {
    mapping: Arc<Mapping>,
    columns: Arc<JsonColumns>,
}

/// Memory that is used again for each record.
#[derive(Default)]
pub(super) struct Scratch {
    cells: Cells,
    made: mapping::Mapped,
}

impl Mapped {
    /// Reads and checks a mapping file.
    pub fn read(file: &Path) -> Result<Mapped, ConfigError> {
        Mapped::of(Mapping::read(file)?)
    }

    fn of(mapping: Mapping) -> Result<Mapped, ConfigError> {
        mapping.check_for_topic()?;
        let columns = Arc::new(JsonColumns::of(&mapping));
        Ok(Mapped { mapping: Arc::new(mapping), columns })
    }

    /// What tells it from another mapping.
    pub(super) fn identity(&self) -> &str {
        &self.mapping.identity
    }

    /// The event that it makes of a record's JSON; none where no entry wants it.
    pub(super) fn event<'a>(
        &self,
        json: &[u8],
        scratch: &'a mut Scratch,
    ) -> Result<Option<&'a mapping::Mapped>, String> {
        let Scratch { cells, made } = scratch;
        if json.len() > RECORD_BYTES_MAX {
            return Err(format!("record of {} bytes is larger than {RECORD_BYTES_MAX}", json.len()));
        }
        // Some producers write a byte order mark.
        let text = json_text(json.strip_prefix("\u{feff}".as_bytes()).unwrap_or(json));
        if text.trim().is_empty() {
            return Err("empty value: no JSON object".to_owned());
        }
        self.columns.read(text, cells)?;
        let Some(entry) = self.mapping.wanted_by(cells) else { return Ok(None) };
        let content = Sha256::digest(json).into();
        self.mapping.event(entry, RowId { content: &content, row: 0 }, cells, made)?;
        Ok(Some(made))
    }
}

#[cfg(test)]
mod tests {
    use schemas::wire;

    use super::*;

    const ORDERS: &str = r#"
format: jsonl
tenant: shop
event_time: { column: ts, format: epoch_ms }
emit:
  - { type: conversion, when: { kind: [order] }, set: { user: customer.id, name: { const: purchase }, revenue_micros: { column: total, unit: units }, currency: currency } }
  - { type: click, when: { present: customer.id }, set: { user: customer.id } }
"#;

    fn mapped(text: &str) -> Result<Mapped, ConfigError> {
        Mapped::of(Mapping::parse(Path::new("orders.yaml"), text)?)
    }

    fn event(json: &str) -> Result<Option<wire::Event>, String> {
        let mut scratch = Scratch::default();
        let made = mapped(ORDERS).unwrap().event(json.as_bytes(), &mut scratch)?.map(|made| made.event.clone());
        Ok(made)
    }

    #[test]
    fn the_first_entry_that_wants_a_record_makes_its_event() {
        let order =
            r#"{"ts": 1772000000000, "kind": "order", "customer": {"id": 7}, "total": "12.50", "currency": "EUR"}"#;
        let made = event(order).unwrap().unwrap();
        assert_eq!(
            (made.r#type(), &*made.user, made.revenue_micros),
            (wire::EventType::Conversion, "7", Some(12_500_000))
        );
        assert_eq!(event(order).unwrap().unwrap().event_id, made.event_id, "a copy of the record is the same event");
        let other = event(&order.replace("12.50", "12.51")).unwrap().unwrap();
        assert_ne!(other.event_id, made.event_id);
        let click = event(&order.replace("order", "view")).unwrap().unwrap();
        assert_eq!(click.r#type(), wire::EventType::Click);
        assert_ne!(click.event_id, made.event_id);
    }

    #[test]
    fn what_no_entry_wants_is_no_event_and_what_is_broken_says_why() {
        assert_eq!(event(r#"{"ts": 1, "kind": "ping"}"#), Ok(None));
        assert!(event(r#"{"kind": "order""#).unwrap_err().starts_with("malformed JSON"));
        assert!(event("").unwrap_err().starts_with("empty value"));
        assert_eq!(event(r#"{"kind": "order"}"#).unwrap_err(), "column ts: is empty, but tells the event time");
    }

    #[test]
    fn what_an_event_does_without_costs_the_field() {
        let mapped = mapped(ORDERS).unwrap();
        let mut scratch = Scratch::default();
        let json = b"{\"ts\": 1772000000000, \"kind\": \"order\", \"customer\": {\"id\": \"\xff\"}}";
        let made = mapped.event(json, &mut scratch).unwrap().unwrap();
        assert_eq!((&*made.event.user, made.faults[0].field), ("", "user"));
        // Whether there is a customer decides where there is no order, so that it must be readable.
        let twice = r#"{"ts": 1772000000000, "kind": "order", "customer": {"id": 7}, "customer": {"id": 8}}"#;
        assert_eq!(mapped.event(twice.as_bytes(), &mut scratch).unwrap().unwrap().event.user, "8");
        let error = mapped.event(twice.replace("order", "view").as_bytes(), &mut scratch).unwrap_err();
        assert_eq!(error, "column customer.id: is given twice, with two values");
    }

    #[test]
    fn what_only_files_have_is_refused() {
        for (from, to, expected) in [
            ("jsonl", "csv", "orders.yaml:2: format: is no format of a topic's records"),
            ("tenant:", "arrival: event_time\ntenant:", "orders.yaml:3: arrival: means nothing for a topic"),
            ("tenant:", "encoding: windows-1252\ntenant:", "orders.yaml:3: encoding: means nothing for a topic"),
            (
                "present: customer.id",
                "first_of: customer.id",
                "orders.yaml:5: emit: has `first_of: customer.id`, which looks for the first row",
            ),
        ] {
            let error = mapped(&ORDERS.replace(from, to)).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{error}");
        }
    }
}
