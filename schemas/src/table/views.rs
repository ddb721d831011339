//! `installs` and `credits`: the changes of the attribution views.

use std::sync::{Arc, LazyLock};

use arrow::array::{Array, AsArray, ListArray, RecordBatch, StructArray};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{Field, SchemaRef};

use super::columns::{Reader, TableError, Writer};
use crate::event::EventType;
use crate::ids::{DeviceId, EventId, Subject, UserId};
use crate::symbols::{NO_CHANNEL, Symbol};
use crate::units::{EventTime, Micros, Tick};
use crate::view::{CreditRow, InstallRef, InstallRow, Method, Model, PathTouch};

static INSTALLS: LazyLock<SchemaRef> = LazyLock::new(|| installs_batch(&[]).schema());
static CREDITS: LazyLock<SchemaRef> = LazyLock::new(|| credits_batch(&[]).schema());

/// The columns of `installs`.
pub fn installs_schema() -> SchemaRef {
    INSTALLS.clone()
}

/// The columns of `credits`.
pub fn credits_schema() -> SchemaRef {
    CREDITS.clone()
}

/// Changes of `installs`: (row, cut, diff).
pub fn installs_batch(changes: &[(InstallRow, Tick, i64)]) -> RecordBatch {
    let rows = changes.iter().map(|(row, ..)| row);
    let touches: Vec<Option<&PathTouch>> = rows.clone().map(|row| row.touch.as_ref()).collect();
    let mut out = Writer::default();
    out.symbol("tenant", rows.clone().map(|row| row.tenant));
    out.symbol_or_null("app", rows.clone().map(|row| row.app));
    out.id("event_id", rows.clone().map(|row| row.event_id.0));
    out.id("subject", rows.clone().map(|row| row.subject.0));
    out.long("event_time", rows.clone().map(|row| row.event_time.0));
    out.id_or_null("user_id", rows.clone().map(|row| row.user.some().map(|id| id.0)));
    out.id_or_null("device_id", rows.clone().map(|row| row.device.some().map(|id| id.0)));
    out.boolean("reinstall", rows.clone().map(|row| row.reinstall));
    out.text("method", rows.clone().map(|row| row.method.name()));
    out.long("candidates", rows.clone().map(|row| row.candidates));
    write_touches(&mut out, &touches);
    out.symbol_or_null("channel", touches.iter().map(|touch| touch.map_or(Symbol::NONE, |touch| touch.channel)));
    write_origin(&mut out, &touches);
    out.long_or_null("ctit_ms", rows.clone().map(|row| row.ctit_ms));
    out.push("path", false, Arc::new(write_paths(rows.clone().map(|row| row.path.as_slice()))));
    out.long("path_dropped", rows.map(|row| row.path_dropped));
    out.long("_cut", changes.iter().map(|(_, cut, _)| *cut as i64));
    out.long("_diff", changes.iter().map(|(.., diff)| *diff));
    out.finish()
}

/// Changes of `credits`: (row, cut, diff).
pub fn credits_batch(changes: &[(CreditRow, Tick, i64)]) -> RecordBatch {
    let no_channel = Symbol::of(NO_CHANNEL);
    let rows = changes.iter().map(|(row, ..)| row);
    let touches: Vec<Option<&PathTouch>> = rows.clone().map(|row| row.touch.as_ref()).collect();
    let installs = rows.clone().map(|row| row.install.as_ref());
    let mut out = Writer::default();
    out.symbol("tenant", rows.clone().map(|row| row.tenant));
    out.symbol_or_null("app", rows.clone().map(|row| row.app));
    out.id("event_id", rows.clone().map(|row| row.event_id.0));
    out.id("subject", rows.clone().map(|row| row.subject.0));
    out.long("event_time", rows.clone().map(|row| row.event_time.0));
    out.symbol_or_null("name", rows.clone().map(|row| row.name));
    out.text("model", rows.clone().map(|row| row.model.name()));
    write_touches(&mut out, &touches);
    out.text_or_null("method", touches.iter().map(|touch| touch.map(|touch| touch.method.name())));
    // A touch without a channel is null; no touch at all is a name that analysts can group by.
    out.symbol_or_null("channel", touches.iter().map(|touch| touch.map_or(no_channel, |touch| touch.channel)));
    write_origin(&mut out, &touches);
    out.id_or_null("install_event_id", installs.clone().map(|install| install.map(|install| install.event_id.0)));
    out.id_or_null("install_subject", installs.clone().map(|install| install.map(|install| install.subject.0)));
    out.long_or_null("install_event_time", installs.map(|install| install.map(|install| install.event_time.0)));
    out.long("credit_ppm", rows.clone().map(|row| row.credit_ppm));
    out.long_or_null("revenue_micros", rows.clone().map(|row| row.revenue.map(|micros| micros.0)));
    out.symbol_or_null("currency", rows.clone().map(|row| row.currency));
    out.long("path_dropped", rows.map(|row| row.path_dropped));
    out.long("_cut", changes.iter().map(|(_, cut, _)| *cut as i64));
    out.long("_diff", changes.iter().map(|(.., diff)| *diff));
    out.finish()
}

fn write_touches(out: &mut Writer, touches: &[Option<&PathTouch>]) {
    let touches = touches.iter();
    out.id_or_null("touch_event_id", touches.clone().map(|touch| touch.map(|touch| touch.event_id.0)));
    out.id_or_null("touch_subject", touches.clone().map(|touch| touch.map(|touch| touch.subject.0)));
    out.long_or_null("touch_event_time", touches.clone().map(|touch| touch.map(|touch| touch.event_time.0)));
    out.text_or_null("touch_type", touches.map(|touch| touch.map(|touch| touch.event_type.name())));
}

fn write_origin(out: &mut Writer, touches: &[Option<&PathTouch>]) {
    let mut symbol = |name: &str, of: fn(&PathTouch) -> Symbol| {
        out.symbol_or_null(name, touches.iter().map(|touch| touch.map_or(Symbol::NONE, of)));
    };
    symbol("campaign", |touch| touch.campaign);
    symbol("ad_group", |touch| touch.ad_group);
    symbol("creative", |touch| touch.creative);
    symbol("source", |touch| touch.source);
}

fn write_paths<'a>(paths: impl Iterator<Item = &'a [PathTouch]> + Clone) -> ListArray {
    let offsets = OffsetBuffer::from_lengths(paths.clone().map(<[PathTouch]>::len));
    let touches: Vec<&PathTouch> = paths.flatten().collect();
    let touches = touches.iter();
    let mut out = Writer::default();
    out.long("event_time", touches.clone().map(|touch| touch.event_time.0));
    out.id("event_id", touches.clone().map(|touch| touch.event_id.0));
    out.id("subject", touches.clone().map(|touch| touch.subject.0));
    out.text("type", touches.clone().map(|touch| touch.event_type.name()));
    out.text("method", touches.clone().map(|touch| touch.method.name()));
    out.symbol_or_null("channel", touches.clone().map(|touch| touch.channel));
    out.symbol_or_null("campaign", touches.clone().map(|touch| touch.campaign));
    out.symbol_or_null("ad_group", touches.clone().map(|touch| touch.ad_group));
    out.symbol_or_null("creative", touches.clone().map(|touch| touch.creative));
    out.symbol_or_null("source", touches.map(|touch| touch.source));
    let touches = StructArray::from(out.finish());
    // Delta calls a list's field `element` and so do we, or readers would have to convert each file.
    let element = Arc::new(Field::new("element", touches.data_type().clone(), false));
    ListArray::new(element, offsets, Arc::new(touches), None)
}

/// The changes in a batch of `installs`: (row, cut, diff). Results of a query without `_cut` and `_diff` read as cut 0
/// and diff 1.
pub fn installs_rows(batch: &RecordBatch) -> Result<Vec<(InstallRow, Tick, i64)>, TableError> {
    let reader = Reader::new(batch);
    for column in ["tenant", "event_id", "subject", "event_time", "reinstall", "method", "candidates", "path_dropped"] {
        reader.require(column, |_| true)?;
    }
    let touches = read_touches(&reader)?;
    let mut paths = read_paths(&reader)?.into_iter();
    let mut rows: Vec<(InstallRow, Tick, i64)> = touches
        .into_iter()
        .map(|touch| InstallRow {
            tenant: Symbol::NONE,
            app: Symbol::NONE,
            event_id: EventId::NONE,
            subject: Subject::NONE,
            event_time: EventTime(0),
            user: UserId::NONE,
            device: DeviceId::NONE,
            reinstall: false,
            method: touch.map_or(Method::Organic, |touch| touch.method),
            candidates: 0,
            touch,
            ctit_ms: None,
            path: paths.next().unwrap_or_default(),
            path_dropped: 0,
        })
        .map(|row| (row, 0, 1))
        .collect();
    reader.symbol("tenant", |row, value| rows[row].0.tenant = value)?;
    reader.symbol("app", |row, value| rows[row].0.app = value)?;
    reader.id("event_id", |row, value| rows[row].0.event_id = EventId(value))?;
    reader.id("subject", |row, value| rows[row].0.subject = Subject(value))?;
    reader.long("event_time", |row, value| rows[row].0.event_time = EventTime(value))?;
    reader.id("user_id", |row, value| rows[row].0.user = UserId(value))?;
    reader.id("device_id", |row, value| rows[row].0.device = DeviceId(value))?;
    reader.boolean("reinstall", |row, value| rows[row].0.reinstall = value)?;
    reader.named("method", Method::from_name, |row, value| rows[row].0.method = value)?;
    reader.long("candidates", |row, value| rows[row].0.candidates = value)?;
    reader.long("ctit_ms", |row, value| rows[row].0.ctit_ms = Some(value))?;
    reader.long("path_dropped", |row, value| rows[row].0.path_dropped = value)?;
    reader.long("_cut", |row, value| rows[row].1 = value as u64)?;
    reader.long("_diff", |row, value| rows[row].2 = value)?;
    Ok(rows)
}

/// The changes in a batch of `credits`: (row, cut, diff). Results of a query without `_cut` and `_diff` read as cut 0
/// and diff 1.
pub fn credits_rows(batch: &RecordBatch) -> Result<Vec<(CreditRow, Tick, i64)>, TableError> {
    let reader = Reader::new(batch);
    for column in ["tenant", "event_id", "subject", "event_time", "model", "credit_ppm", "path_dropped"] {
        reader.require(column, |_| true)?;
    }
    let mut installs = vec![None; batch.num_rows()];
    let nowhere = InstallRef { event_time: EventTime(0), event_id: EventId::NONE, subject: Subject::NONE };
    reader.long("install_event_time", |row, value| {
        installs[row] = Some(InstallRef { event_time: EventTime(value), ..nowhere });
    })?;
    for column in ["install_event_id", "install_subject"] {
        reader.require(column, |row| installs[row].is_some())?;
    }
    reader.id("install_event_id", |row, value| set(&mut installs[row], |install| install.event_id = EventId(value)))?;
    reader.id("install_subject", |row, value| set(&mut installs[row], |install| install.subject = Subject(value)))?;
    let mut rows: Vec<(CreditRow, Tick, i64)> = read_touches(&reader)?
        .into_iter()
        .zip(installs)
        .map(|(touch, install)| CreditRow {
            tenant: Symbol::NONE,
            app: Symbol::NONE,
            event_id: EventId::NONE,
            subject: Subject::NONE,
            event_time: EventTime(0),
            name: Symbol::NONE,
            model: Model::First,
            touch,
            install,
            credit_ppm: 0,
            revenue: None,
            currency: Symbol::NONE,
            path_dropped: 0,
        })
        .map(|row| (row, 0, 1))
        .collect();
    reader.symbol("tenant", |row, value| rows[row].0.tenant = value)?;
    reader.symbol("app", |row, value| rows[row].0.app = value)?;
    reader.id("event_id", |row, value| rows[row].0.event_id = EventId(value))?;
    reader.id("subject", |row, value| rows[row].0.subject = Subject(value))?;
    reader.long("event_time", |row, value| rows[row].0.event_time = EventTime(value))?;
    reader.symbol("name", |row, value| rows[row].0.name = value)?;
    reader.named("model", Model::from_name, |row, value| rows[row].0.model = value)?;
    reader.long("credit_ppm", |row, value| rows[row].0.credit_ppm = value)?;
    reader.long("revenue_micros", |row, value| rows[row].0.revenue = Some(Micros(value)))?;
    reader.symbol("currency", |row, value| rows[row].0.currency = value)?;
    reader.long("path_dropped", |row, value| rows[row].0.path_dropped = value)?;
    reader.long("_cut", |row, value| rows[row].1 = value as u64)?;
    reader.long("_diff", |row, value| rows[row].2 = value)?;
    Ok(rows)
}

/// The touch of each row: there is one where `touch_event_time` is not null.
fn read_touches(reader: &Reader<'_>) -> Result<Vec<Option<PathTouch>>, TableError> {
    let mut touches = vec![None; reader.rows()];
    reader.long("touch_event_time", |row, value| {
        touches[row] = Some(PathTouch { event_time: EventTime(value), ..blank_touch() });
    })?;
    for column in ["touch_event_id", "touch_subject", "touch_type", "method"] {
        reader.require(column, |row| touches[row].is_some())?;
    }
    let touch = |row: usize, change: &mut dyn FnMut(&mut PathTouch)| set(&mut touches[row], change);
    read_touch(reader, ["touch_event_id", "touch_subject", "touch_type"], touch)?;
    Ok(touches)
}

fn read_paths(reader: &Reader<'_>) -> Result<Vec<Vec<PathTouch>>, TableError> {
    let Some(list) = reader.list("path")? else { return Ok(Vec::new()) };
    let Some(values) = list.values().as_struct_opt().filter(|values| values.null_count() == 0) else {
        return Err(TableError::Value {
            column: "path".to_owned(),
            row: 0,
            value: "an element that is no touch".into(),
        });
    };
    let values = RecordBatch::from(values.clone());
    let reader = Reader::new(&values);
    for column in ["event_time", "event_id", "subject", "type", "method"] {
        reader.require(column, |_| true)?;
    }
    let mut touches = vec![blank_touch(); values.num_rows()];
    reader.long("event_time", |row, value| touches[row].event_time = EventTime(value))?;
    let touch = |row: usize, change: &mut dyn FnMut(&mut PathTouch)| change(&mut touches[row]);
    read_touch(&reader, ["event_id", "subject", "type"], touch)?;
    let offsets = list.value_offsets();
    let path = |row: usize| match list.is_null(row) {
        true => Vec::new(),
        false => touches[offsets[row] as usize..offsets[row + 1] as usize].to_vec(),
    };
    Ok((0..list.len()).map(path).collect())
}

/// Reads what is left of touches whose event time is known. Their ids and kind have other names in rows than in paths.
fn read_touch(
    reader: &Reader<'_>,
    [event_id, subject, kind]: [&str; 3],
    mut touch: impl FnMut(usize, &mut dyn FnMut(&mut PathTouch)),
) -> Result<(), TableError> {
    reader.id(event_id, |row, value| touch(row, &mut |touch| touch.event_id = EventId(value)))?;
    reader.id(subject, |row, value| touch(row, &mut |touch| touch.subject = Subject(value)))?;
    reader.named(kind, EventType::from_name, |row, value| touch(row, &mut |touch| touch.event_type = value))?;
    reader.named("method", Method::from_name, |row, value| touch(row, &mut |touch| touch.method = value))?;
    reader.symbol("channel", |row, value| touch(row, &mut |touch| touch.channel = value))?;
    reader.symbol("campaign", |row, value| touch(row, &mut |touch| touch.campaign = value))?;
    reader.symbol("ad_group", |row, value| touch(row, &mut |touch| touch.ad_group = value))?;
    reader.symbol("creative", |row, value| touch(row, &mut |touch| touch.creative = value))?;
    reader.symbol("source", |row, value| touch(row, &mut |touch| touch.source = value))
}

fn blank_touch() -> PathTouch {
    PathTouch {
        event_time: EventTime(0),
        event_id: EventId::NONE,
        subject: Subject::NONE,
        event_type: EventType::Impression,
        method: Method::Person,
        channel: Symbol::NONE,
        campaign: Symbol::NONE,
        ad_group: Symbol::NONE,
        creative: Symbol::NONE,
        source: Symbol::NONE,
    }
}

fn set<T>(value: &mut Option<T>, change: impl FnOnce(&mut T)) {
    if let Some(value) = value {
        change(value);
    }
}
