//! Rows of views as their tables hold them, read back: what is final of them is loaded and not made again.

use arrow::array::{Array, AsArray, BinaryArray, BooleanArray, Int64Array, ListArray, StringArray, StructArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type};
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;
use schemas::view::{Method, PathTouch};
use schemas::{DeviceId, EventId, EventTime, EventType, Id, IdKind, LinkedId, Subject, Symbol, UserId};

use crate::changes::Sum;
use crate::cohort::Milestone;
use crate::links::Link;
use crate::sightings::SharedHours;
use crate::views::installs::{InstallRow, REATTRIBUTION};
use crate::visitor_event::{ActiveDay, DayCount, First, Led, OfVisitor, VisitorInput};

/// The rows of a batch of `installs`. Their countries are no columns: they are none.
pub fn installs(batch: &RecordBatch) -> Result<Vec<InstallRow>, ArrowError> {
    let columns = Columns { array: batch.clone().into() };
    let [tenant, app, event_time, candidates] =
        ["tenant", "app", "event_time", "candidates"].map(|name| columns.longs(name));
    let (tenant, app, event_time, candidates) = (tenant?, app?, event_time?, candidates?);
    let (ctit_ms, path_dropped) = (columns.longs("ctit_ms")?, columns.longs("path_dropped")?);
    let (event_id, subject) = (columns.ids("event_id")?, columns.ids("subject")?);
    let (user, device) = (columns.ids("user_id")?, columns.ids("device_id")?);
    let (reinstall, method) = (columns.flags("reinstall")?, columns.texts("method")?);
    let (kind, event_type) = (columns.texts("type")?, columns.texts("event_type")?);
    let touches = Touches::of(&columns, "touch_")?;
    let paths = columns.list("path")?;
    let frozen = Touches::of(&Columns { array: paths.values().as_struct().clone() }, "")?;
    (0..batch.num_rows())
        .map(|row| {
            let path = match paths.is_valid(row) {
                true => paths.value_offsets()[row] as usize..paths.value_offsets()[row + 1] as usize,
                false => 0..0,
            };
            Ok(InstallRow {
                tenant: symbol(&tenant, row),
                app: symbol(&app, row),
                event_id: EventId(id(&event_id, row)?),
                subject: Subject(id(&subject, row)?),
                event_time: EventTime(event_time.value(row)),
                user: UserId(id(&user, row)?),
                device: DeviceId(id(&device, row)?),
                country: Symbol::NONE,
                event_type: named(&event_type, row, EventType::from_name)?,
                reattribution: kind.value(row) == REATTRIBUTION,
                comes_back: false,
                reinstall: reinstall.value(row),
                method: named(&method, row, Method::from_name)?,
                candidates: candidates.value(row),
                touch: touches.event_id.is_valid(row).then(|| touches.touch(row)).transpose()?,
                ctit_ms: ctit_ms.is_valid(row).then(|| ctit_ms.value(row)),
                path: path.map(|touch| frozen.touch(touch)).collect::<Result<_, _>>()?,
                path_dropped: path_dropped.value(row),
            })
        })
        .collect()
}

/// What the rows of a batch of `frequency` add, and to which visitors.
pub fn day_counts(batch: &RecordBatch) -> Result<Vec<(Subject, DayCount)>, ArrowError> {
    let columns = Columns { array: batch.clone().into() };
    let [tenant, campaign, channel, day, events] =
        ["tenant", "campaign", "channel", "day", "events"].map(|name| columns.longs(name));
    let (tenant, campaign, channel, day, events) = (tenant?, campaign?, channel?, day?, events?);
    let (visitor, kind) = (columns.ids("visitor")?, columns.texts("kind")?);
    let count = |row| {
        let count = DayCount {
            tenant: symbol(&tenant, row),
            campaign: symbol(&campaign, row),
            channel: symbol(&channel, row),
            kind: named(&kind, row, EventType::from_name)?,
            day: EventTime(day.value(row)),
            events: events.value(row),
        };
        Ok((Subject(id(&visitor, row)?), count))
    };
    (0..batch.num_rows()).map(count).collect()
}

/// Days on which visitors and devices were there, as a batch of changes of `activity` has them.
pub fn active_days(batch: &RecordBatch) -> Result<Vec<OfVisitor>, ArrowError> {
    let columns = Columns { array: batch.clone().into() };
    let [tenant, app, day, diff] = ["tenant", "app", "day", "_diff"].map(|name| columns.longs(name));
    let (tenant, app, day, diff) = (tenant?, app?, day?, diff?);
    let (visitor, device) = (columns.ids("visitor")?, columns.ids("device_id")?);
    let active = |row| {
        let day = ActiveDay { tenant: symbol(&tenant, row), app: symbol(&app, row), day: EventTime(day.value(row)) };
        let (whose, input) = match visitor.is_valid(row) {
            true => (&visitor, VisitorInput::Active(day)),
            false => (&device, VisitorInput::OfDevice(day)),
        };
        Ok((Subject(id(whose, row)?), input, diff.value(row) as isize))
    };
    (0..batch.num_rows()).map(active).collect()
}

/// What visitors did first, as a batch of changes of `firsts` has it.
pub fn firsts(batch: &RecordBatch) -> Result<Vec<(Subject, First, isize)>, ArrowError> {
    let columns = Columns { array: batch.clone().into() };
    let [tenant, app, time, diff] = ["tenant", "app", "event_time", "_diff"].map(|name| columns.longs(name));
    let (tenant, app, time, diff) = (tenant?, app?, time?, diff?);
    let [campaign, source, channel, country] =
        ["campaign", "source", "channel", "country"].map(|name| columns.longs(name));
    let (campaign, source, channel, country) = (campaign?, source?, channel?, country?);
    let (visitor, event_id, milestone) =
        (columns.ids("visitor")?, columns.ids("event_id")?, columns.texts("milestone")?);
    let first = |row| {
        let first = First {
            tenant: symbol(&tenant, row),
            app: symbol(&app, row),
            milestone: named(&milestone, row, Milestone::from_name)?,
            time: EventTime(time.value(row)),
            id: EventId(id(&event_id, row)?),
            led: Led {
                campaign: symbol(&campaign, row),
                source: symbol(&source, row),
                channel: symbol(&channel, row),
                country: symbol(&country, row),
            },
        };
        Ok((Subject(id(&visitor, row)?), first, diff.value(row) as isize))
    };
    (0..batch.num_rows()).map(first).collect()
}

/// The links of a batch of `identity_links`, and how often each was said or taken back.
pub fn links(batch: &RecordBatch) -> Result<Vec<(Link, isize)>, ArrowError> {
    let columns = Columns { array: batch.clone().into() };
    let times = columns.longs("times")?;
    each_link(&columns, |link, row| (link, times.value(row) as isize))
}

/// What a batch of `shared_hours` adds.
pub fn shared_hours(batch: &RecordBatch) -> Result<Vec<SharedHours>, ArrowError> {
    let columns = Columns { array: batch.clone().into() };
    let (hours, chances) = (columns.longs("hours")?, columns.longs("chance_thousandths")?);
    each_link(&columns, |key, row| Sum { key, sums: [chances.value(row), hours.value(row)] })
}

/// What is made of the link of each row.
fn each_link<T>(columns: &Columns, of: impl Fn(Link, usize) -> T) -> Result<Vec<T>, ArrowError> {
    let (tenant, day) = (columns.longs("tenant")?, columns.longs("day")?);
    let (ids, other_ids) = (columns.ids("id")?, columns.ids("other_id")?);
    let (id_kinds, other_kinds) = (columns.texts("id_kind")?, columns.texts("other_kind")?);
    let link = |row| {
        let link = Link {
            tenant: symbol(&tenant, row),
            id: LinkedId(id(&ids, row)?),
            id_kind: named(&id_kinds, row, IdKind::from_name)?,
            other_id: LinkedId(id(&other_ids, row)?),
            other_kind: named(&other_kinds, row, IdKind::from_name)?,
            day: EventTime(day.value(row)),
        };
        Ok(of(link, row))
    };
    (0..columns.array.len()).map(link).collect()
}

/// Columns of a batch or of a list's structs, whatever Arrow types a client has written them with.
struct Columns {
    array: StructArray,
}

impl Columns {
    fn column(&self, name: &str, of: &DataType) -> Result<arrow::array::ArrayRef, ArrowError> {
        let missing = || ArrowError::SchemaError(format!("a table without column {name}"));
        cast(self.array.column_by_name(name).ok_or_else(missing)?, of)
    }

    fn longs(&self, name: &str) -> Result<Int64Array, ArrowError> {
        Ok(self.column(name, &DataType::Int64)?.as_primitive::<Int64Type>().clone())
    }

    fn ids(&self, name: &str) -> Result<BinaryArray, ArrowError> {
        Ok(self.column(name, &DataType::Binary)?.as_binary().clone())
    }

    fn texts(&self, name: &str) -> Result<StringArray, ArrowError> {
        Ok(self.column(name, &DataType::Utf8)?.as_string().clone())
    }

    fn flags(&self, name: &str) -> Result<BooleanArray, ArrowError> {
        Ok(self.column(name, &DataType::Boolean)?.as_boolean().clone())
    }

    fn list(&self, name: &str) -> Result<ListArray, ArrowError> {
        let list = self.array.column_by_name(name).and_then(|list| list.as_list_opt::<i32>());
        list.cloned().ok_or_else(|| ArrowError::SchemaError(format!("a table without lists {name}")))
    }
}

/// The columns of touches.
struct Touches {
    event_time: Int64Array,
    event_id: BinaryArray,
    subject: BinaryArray,
    event_type: StringArray,
    method: StringArray,
    /// Channel, campaign, ad group, creative, source.
    names: [Int64Array; 5],
}

impl Touches {
    fn of(columns: &Columns, prefix: &str) -> Result<Touches, ArrowError> {
        let name = |name: &str| format!("{prefix}{name}");
        let [channel, campaign, ad_group, creative, source] =
            ["channel", "campaign", "ad_group", "creative", "source"].map(|name| columns.longs(name));
        Ok(Touches {
            event_time: columns.longs(&name("event_time"))?,
            event_id: columns.ids(&name("event_id"))?,
            subject: columns.ids(&name("subject"))?,
            event_type: columns.texts(&name("type"))?,
            method: columns.texts("method")?,
            names: [channel?, campaign?, ad_group?, creative?, source?],
        })
    }

    fn touch(&self, row: usize) -> Result<PathTouch, ArrowError> {
        let [channel, campaign, ad_group, creative, source] = self.names.each_ref().map(|name| symbol(name, row));
        Ok(PathTouch {
            event_time: EventTime(self.event_time.value(row)),
            event_id: EventId(id(&self.event_id, row)?),
            subject: Subject(id(&self.subject, row)?),
            event_type: named(&self.event_type, row, EventType::from_name)?,
            method: named(&self.method, row, Method::from_name)?,
            channel,
            campaign,
            ad_group,
            creative,
            source,
        })
    }
}

fn symbol(column: &Int64Array, row: usize) -> Symbol {
    if column.is_valid(row) { Symbol(column.value(row)) } else { Symbol::NONE }
}

fn id(column: &BinaryArray, row: usize) -> Result<Id, ArrowError> {
    if column.is_null(row) {
        return Ok(Id::NONE);
    }
    let bytes = column.value(row).try_into();
    bytes.map(Id::from_bytes).map_err(|_| ArrowError::ParseError("an id of other than 16 bytes".to_owned()))
}

fn named<V>(column: &StringArray, row: usize, parse: impl Fn(&str) -> Option<V>) -> Result<V, ArrowError> {
    let name = column.value(row);
    parse(name).ok_or_else(|| ArrowError::ParseError(format!("{name:?} is a value that this release does not know")))
}
