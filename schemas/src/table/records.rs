//! `records`: every consumed record; and the columns of an event, which it shares with `events`.

use std::sync::{Arc, LazyLock};

use arrow::array::{ArrayBuilder, ListArray, ListBuilder, RecordBatch, StringBuilder, StructBuilder};
use arrow::datatypes::{DataType, Field, Fields, SchemaRef};

use super::columns::{Reader, TableError, Writer};
use super::{RecordRow, Verdict};
use crate::event::{Accepted, Capped, Event, EventType};
use crate::fault::Extras;
use crate::ids::{ClickId, DeviceId, EventId, Fingerprint, IpHash, LoginId, PayloadHash, Subject, UserId};
use crate::network::Network;
use crate::units::{EventTime, Micros};

static RECORDS: LazyLock<SchemaRef> = LazyLock::new(|| records_batch(std::iter::empty()).schema());
static EVENTS: LazyLock<SchemaRef> = LazyLock::new(|| events_batch(std::iter::empty()).schema());

/// The columns of a data file of `records`. The partition column `arrival_date` is not in the file.
pub fn records_schema() -> SchemaRef {
    RECORDS.clone()
}

/// Rows of `records`.
pub fn records_batch<'a>(rows: impl Iterator<Item = &'a RecordRow>) -> RecordBatch {
    let rows: Vec<&RecordRow> = rows.collect();
    let events: Vec<Option<&Event>> = rows.iter().map(|row| row.event.as_ref()).collect();
    let rows = rows.iter();
    let mut out = Writer::default();
    out.text("verdict", rows.clone().map(|row| row.verdict.name()));
    out.text_or_null("reason", rows.clone().map(|row| row.reason.as_deref()));
    out.text("topic", rows.clone().map(|row| &row.topic));
    out.int("partition", rows.clone().map(|row| row.partition));
    out.long("offset", rows.clone().map(|row| row.offset));
    out.long("arrival", rows.clone().map(|row| row.arrival_ms));
    out.long("_cut", rows.clone().map(|row| row.cut as i64));
    out.id("payload_hash", rows.clone().map(|row| row.payload_hash.0));
    write_events(&mut out, &events);
    out.text_or_null("items", rows.clone().map(|row| row.items.as_deref()));
    out.int("capped", rows.clone().map(|row| i32::from(row.capped.0)));
    out.bytes_or_null("raw", rows.clone().map(|row| row.raw.as_deref()));
    let extras = || rows.clone().map(|row| row.extras.as_deref());
    out.text_or_null("referrer", extras().map(|extras| extras?.referrer.as_deref()));
    out.push("faults", true, Arc::new(write_faults(extras())));
    out.push("unknown_fields", true, Arc::new(write_unknown_fields(extras())));
    out.bytes_or_null("key", extras().map(|extras| extras?.key.as_deref()));
    out.text_or_null("headers", extras().map(|extras| extras?.headers.as_deref()));
    out.finish()
}

/// The columns of accepted events alone: those of `records` from `payload_hash` on, without `items` and `raw`.
pub fn events_schema() -> SchemaRef {
    EVENTS.clone()
}

/// Accepted events, as the definitions of views read them.
pub fn events_batch<'a>(rows: impl Iterator<Item = &'a Accepted>) -> RecordBatch {
    let rows: Vec<&Accepted> = rows.collect();
    let events: Vec<Option<&Event>> = rows.iter().map(|row| Some(&row.event)).collect();
    let mut out = Writer::default();
    out.id("payload_hash", rows.iter().map(|row| row.payload_hash.0));
    write_events(&mut out, &events);
    out.int("capped", rows.iter().map(|row| i32::from(row.capped.0)));
    out.finish()
}

/// Field faults: a list of (field, reason, value); null where there are none.
fn write_faults<'a>(rows: impl Iterator<Item = Option<&'a Extras>>) -> ListArray {
    let texts = || StringBuilder::new();
    let fields = [("field", false), ("reason", false), ("value", true)];
    let fields = Fields::from_iter(fields.map(|(name, nullable)| Field::new(name, DataType::Utf8, nullable)));
    let columns: Vec<Box<dyn ArrayBuilder>> = vec![Box::new(texts()), Box::new(texts()), Box::new(texts())];
    let item = Field::new("element", DataType::Struct(fields.clone()), false);
    let mut lists = ListBuilder::new(StructBuilder::new(fields, columns)).with_field(item);
    for extras in rows {
        let faults = extras.map_or(&[][..], |extras| &extras.faults);
        for fault in faults {
            let structs = lists.values();
            let mut text = |at: usize, text: Option<&str>| {
                structs.field_builder::<StringBuilder>(at).expect("a column of texts").append_option(text);
            };
            text(0, Some(fault.field));
            text(1, Some(fault.reason));
            text(2, fault.value.as_deref());
            structs.append(true);
        }
        lists.append(!faults.is_empty());
    }
    lists.finish()
}

/// Names of unknown fields: a list; null where there are none.
fn write_unknown_fields<'a>(rows: impl Iterator<Item = Option<&'a Extras>>) -> ListArray {
    let mut lists = ListBuilder::new(StringBuilder::new()).with_field(Field::new("element", DataType::Utf8, false));
    for extras in rows {
        let names = extras.map_or(&[][..], |extras| &extras.unknown_fields);
        names.iter().for_each(|name| lists.values().append_value(name));
        lists.append(!names.is_empty());
    }
    lists.finish()
}

/// Appends the columns of events; all are null where there is none.
fn write_events(out: &mut Writer, events: &[Option<&Event>]) {
    macro_rules! each {
        ($event:ident => $value:expr) => {
            events.iter().map(|event| event.and_then(|$event| $value))
        };
    }
    macro_rules! symbol {
        ($name:literal, $field:ident) => {
            out.long_or_null($name, each!(event => event.$field.some().map(|symbol| symbol.0)))
        };
    }
    macro_rules! id {
        ($name:literal, $field:ident) => {
            out.id_or_null($name, each!(event => event.$field.some().map(|id| id.0)))
        };
    }
    out.text_or_null("type", each!(event => Some(event.event_type.name())));
    symbol!("tenant", tenant);
    symbol!("app", app);
    id!("event_id", event_id);
    out.long_or_null("event_time", each!(event => Some(event.event_time.0)));
    // An event without ids has the subject of 16 zero bytes: SQL can then compare subjects with `=`.
    out.id_or_null("subject", each!(event => Some(event.subject.0)));
    id!("user_id", user);
    id!("device_id", device);
    id!("click_id", click);
    id!("login_id", login);
    id!("fingerprint", fingerprint);
    symbol!("campaign", campaign);
    symbol!("ad_group", ad_group);
    symbol!("creative", creative);
    symbol!("source", source);
    symbol!("channel", channel);
    symbol!("placement", placement);
    id!("ip_hash", ip);
    out.long_or_null("ip_net", each!(event => event.ip_net.some().map(|network| network.0)));
    symbol!("os", os);
    symbol!("os_version", os_version);
    symbol!("device_model", device_model);
    symbol!("language", language);
    symbol!("country", country);
    symbol!("name", name);
    symbol!("item", item);
    out.long_or_null("quantity", each!(event => event.quantity));
    out.long_or_null("revenue_micros", each!(event => event.revenue.map(|micros| micros.0)));
    out.long_or_null("cost_micros", each!(event => event.cost.map(|micros| micros.0)));
    symbol!("currency", currency);
    out.long_or_null("version", each!(event => event.version));
    out.long_or_null("install_begin_time", each!(event => event.install_begin_time.map(|time| time.0)));
}

/// The rows of a batch of `records`. Columns that may be null may be missing and are then absent in the rows; the
/// event's `tenant`, `type`, `event_id`, `event_time` and `subject` are needed unless no row is an event.
pub fn records_rows(batch: &RecordBatch) -> Result<Vec<RecordRow>, TableError> {
    let reader = Reader::new(batch);
    let mut rows = vec![blank(); batch.num_rows()];
    for column in ["verdict", "topic", "partition", "offset", "arrival", "_cut", "payload_hash", "capped"] {
        reader.require(column, |_| true)?;
    }
    reader.named("verdict", Verdict::from_name, |row, value| rows[row].verdict = value)?;
    reader.text("reason", |row, value| rows[row].reason = Some(value.into()))?;
    let mut topic: Arc<str> = "".into();
    reader.text("topic", |row, value| {
        if *topic != *value {
            topic = value.into();
        }
        rows[row].topic = topic.clone();
    })?;
    reader.int("partition", |row, value| rows[row].partition = value)?;
    reader.long("offset", |row, value| rows[row].offset = value)?;
    reader.long("arrival", |row, value| rows[row].arrival_ms = value)?;
    reader.long("_cut", |row, value| rows[row].cut = value as u64)?;
    reader.id("payload_hash", |row, value| rows[row].payload_hash = PayloadHash(value))?;
    reader.text("items", |row, value| rows[row].items = Some(value.into()))?;
    reader.int("capped", |row, value| rows[row].capped = Capped(value as u8))?;
    reader.bytes("raw", |row, value| rows[row].raw = Some(value.into()))?;
    if rows.iter().any(|row| row.verdict.has_event()) {
        for column in ["type", "tenant", "event_id", "event_time", "subject"] {
            reader.require(column, |row| rows[row].verdict.has_event())?;
        }
        read_events(&reader, &mut rows)?;
    }
    Ok(rows)
}

fn blank() -> RecordRow {
    RecordRow {
        verdict: Verdict::Dead,
        reason: None,
        topic: "".into(),
        partition: 0,
        offset: 0,
        arrival_ms: 0,
        cut: 0,
        payload_hash: PayloadHash::NONE,
        event: None,
        capped: Capped::default(),
        items: None,
        raw: None,
        extras: None,
    }
}

fn read_events(reader: &Reader<'_>, rows: &mut [RecordRow]) -> Result<(), TableError> {
    for row in rows.iter_mut().filter(|row| row.verdict.has_event()) {
        row.event = Some(Event::default());
    }
    macro_rules! read {
        ($kind:ident $name:literal, |$event:ident, $value:ident| $set:expr) => {
            reader.$kind($name, |row, $value| {
                if let Some($event) = &mut rows[row].event {
                    $set
                }
            })?
        };
    }
    reader.named("type", EventType::from_name, |row, value| {
        if let Some(event) = &mut rows[row].event {
            event.event_type = value;
        }
    })?;
    read!(symbol "tenant", |event, value| event.tenant = value);
    read!(symbol "app", |event, value| event.app = value);
    read!(id "event_id", |event, value| event.event_id = EventId(value));
    read!(long "event_time", |event, value| event.event_time = EventTime(value));
    read!(id "subject", |event, value| event.subject = Subject(value));
    read!(id "user_id", |event, value| event.user = UserId(value));
    read!(id "device_id", |event, value| event.device = DeviceId(value));
    read!(id "click_id", |event, value| event.click = ClickId(value));
    read!(id "login_id", |event, value| event.login = LoginId(value));
    read!(id "fingerprint", |event, value| event.fingerprint = Fingerprint(value));
    read!(symbol "campaign", |event, value| event.campaign = value);
    read!(symbol "ad_group", |event, value| event.ad_group = value);
    read!(symbol "creative", |event, value| event.creative = value);
    read!(symbol "source", |event, value| event.source = value);
    read!(symbol "channel", |event, value| event.channel = value);
    read!(symbol "placement", |event, value| event.placement = value);
    read!(id "ip_hash", |event, value| event.ip = IpHash(value));
    read!(long "ip_net", |event, value| event.ip_net = Network(value));
    read!(symbol "os", |event, value| event.os = value);
    read!(symbol "os_version", |event, value| event.os_version = value);
    read!(symbol "device_model", |event, value| event.device_model = value);
    read!(symbol "language", |event, value| event.language = value);
    read!(symbol "country", |event, value| event.country = value);
    read!(symbol "name", |event, value| event.name = value);
    read!(symbol "item", |event, value| event.item = value);
    read!(long "quantity", |event, value| event.quantity = Some(value));
    read!(long "revenue_micros", |event, value| event.revenue = Some(Micros(value)));
    read!(long "cost_micros", |event, value| event.cost = Some(Micros(value)));
    read!(symbol "currency", |event, value| event.currency = value);
    read!(long "version", |event, value| event.version = Some(value));
    read!(long "install_begin_time", |event, value| event.install_begin_time = Some(EventTime(value)));
    Ok(())
}
