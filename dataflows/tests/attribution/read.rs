//! Rows of `installs` and `credits` from what their SQL gives, so that tests can look into them.

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type};
use dataflows::stored;
use dataflows::views::credits::CreditRow;
use dataflows::views::installs::InstallRow;
use schemas::symbols::NO_CHANNEL;
use schemas::view::{InstallRef, Method, Model, PathTouch};
use schemas::{EventId, EventTime, EventType, Id, Micros, Subject, Symbol};

/// One row of a batch or of a struct.
struct Row<'a> {
    columns: &'a dyn Fn(&str) -> ArrayRef,
    row: usize,
}

impl Row<'_> {
    fn long(&self, name: &str) -> Option<i64> {
        let column = cast(&(self.columns)(name), &DataType::Int64).expect("a number");
        column.is_valid(self.row).then(|| column.as_primitive::<Int64Type>().value(self.row))
    }

    fn symbol(&self, name: &str) -> Symbol {
        self.long(name).map_or(Symbol::NONE, Symbol)
    }

    fn id(&self, name: &str) -> Option<Id> {
        let column = (self.columns)(name);
        let bytes = |row| column.as_binary::<i32>().value(row).try_into().expect("16 bytes");
        column.is_valid(self.row).then(|| Id::from_bytes(bytes(self.row)))
    }

    fn text(&self, name: &str) -> Option<String> {
        let column = cast(&(self.columns)(name), &DataType::Utf8).expect("a text");
        column.is_valid(self.row).then(|| column.as_string::<i32>().value(self.row).to_owned())
    }

    fn method(&self) -> Option<Method> {
        self.text("method").map(|name| Method::from_name(&name).expect("a method"))
    }

    /// A touch whose columns have this prefix, but for its origin.
    fn touch(&self, prefix: &str, channel: Symbol) -> Option<PathTouch> {
        let column = |name: &str| format!("{prefix}{name}");
        Some(PathTouch {
            event_time: EventTime(self.long(&column("event_time"))?),
            event_id: EventId(self.id(&column("event_id"))?),
            subject: Subject(self.id(&column("subject")).expect("a touch has a subject")),
            event_type: EventType::from_name(&self.text(&column("type"))?).expect("a type"),
            method: self.method().expect("a touch was matched somehow"),
            channel,
            campaign: self.symbol("campaign"),
            ad_group: self.symbol("ad_group"),
            creative: self.symbol("creative"),
            source: self.symbol("source"),
        })
    }
}

/// Rows of `installs`. Their countries are no columns.
pub(crate) fn installs(batch: &RecordBatch) -> Vec<InstallRow> {
    stored::installs(batch).expect("it has the columns of the table")
}

fn model(name: &str) -> Model {
    Model::ALL.into_iter().find(|model| model.name() == name).expect("a model")
}

/// Rows of `credits`.
pub(crate) fn credits(batch: &RecordBatch) -> Vec<CreditRow> {
    let columns = |name: &str| batch[name].clone();
    let rows = (0..batch.num_rows()).map(|row| Row { columns: &columns, row });
    let credit = |row: Row<'_>| {
        let channel = row.symbol("channel");
        let touch = row.id("touch_event_id").and_then(|_| row.touch("touch_", channel));
        assert!(touch.is_some() || channel == Symbol::of(NO_CHANNEL), "no touch has the channel of none");
        let install = |event_id| InstallRef {
            event_time: EventTime(row.long("install_event_time").expect("a time")),
            event_id: EventId(event_id),
            subject: Subject(row.id("install_subject").expect("an id")),
        };
        CreditRow {
            tenant: row.symbol("tenant"),
            app: row.symbol("app"),
            event_id: EventId(row.id("event_id").expect("an id")),
            subject: Subject(row.id("subject").expect("an id")),
            event_time: EventTime(row.long("event_time").expect("a time")),
            name: row.symbol("name"),
            model: model(&row.text("model").expect("a model")),
            touch,
            install: row.id("install_event_id").map(install),
            credit_ppm: row.long("credit_ppm").expect("a share"),
            revenue: row.long("revenue_micros").map(Micros),
            currency: row.symbol("currency"),
            path_dropped: row.long("path_dropped").expect("a count"),
        }
    };
    rows.map(credit).collect()
}
