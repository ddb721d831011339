//! Arbitrary rows go to Arrow and come back the same, whole or with columns left out.

use arrow::array::{ArrayRef, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::DataType;
use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::event::{Accepted, EventType};
use crate::ids::*;
use crate::network::Network;
use crate::symbols::{First, Name, Symbol};
use crate::units::{EventTime, Micros};

/// A row made of words, many of them zero: what they become shrinks as they do.
struct Words(std::vec::IntoIter<i64>);

impl Words {
    fn long(&mut self) -> i64 {
        self.0.next().unwrap_or(0)
    }
    fn maybe(&mut self) -> Option<i64> {
        let word = self.long();
        (word != 0).then_some(word)
    }
    fn pick<T: Copy, const N: usize>(&mut self, of: [T; N]) -> T {
        of[self.long().unsigned_abs() as usize % N]
    }
    fn symbol(&mut self) -> Symbol {
        Symbol(self.long())
    }
    fn id(&mut self) -> Id {
        let word = self.long() as u64;
        Id::from_bytes((u128::from(word) << 64 | u128::from(word.rotate_left(7))).to_be_bytes())
    }
    fn time(&mut self) -> EventTime {
        EventTime(self.long())
    }
    fn text(&mut self) -> Option<Box<str>> {
        self.maybe().map(|word| format!("{word} ü").into())
    }

    fn event(&mut self) -> Event {
        Event {
            event_type: self.pick(EventType::ALL),
            tenant: Symbol(self.long() | 1),
            app: self.symbol(),
            event_id: EventId(Id::from_bytes([7; 16])),
            event_time: self.time(),
            subject: Subject(self.id()),
            user: UserId(self.id()),
            device: DeviceId(self.id()),
            click: ClickId(self.id()),
            login: LoginId(self.id()),
            fingerprint: Fingerprint(self.id()),
            campaign: self.symbol(),
            ad_group: self.symbol(),
            creative: self.symbol(),
            source: self.symbol(),
            channel: self.symbol(),
            placement: self.symbol(),
            ip: IpHash(self.id()),
            ip_net: Network(self.symbol().0),
            os: self.symbol(),
            os_version: self.symbol(),
            device_model: self.symbol(),
            language: self.symbol(),
            country: self.symbol(),
            name: self.symbol(),
            item: self.symbol(),
            quantity: self.maybe(),
            revenue: self.maybe().map(Micros),
            cost: self.maybe().map(Micros),
            currency: self.symbol(),
            version: self.maybe(),
            install_begin_time: self.maybe().map(EventTime),
        }
    }

    fn record(&mut self) -> RecordRow {
        let verdict = self.pick(Verdict::ALL);
        RecordRow {
            verdict,
            reason: self.text(),
            topic: self.pick(["", "site-events", "ad-events"]).into(),
            partition: self.long() as i32,
            offset: self.long(),
            arrival_ms: self.long(),
            cut: self.long() as u64,
            payload_hash: PayloadHash(self.id()),
            event: verdict.has_event().then(|| self.event()),
            capped: Capped(self.long() as u8),
            items: self.text(),
            raw: self.maybe().map(|word| word.to_le_bytes().into()),
            extras: None,
        }
    }
}

fn rows<T: std::fmt::Debug>(make: fn(&mut Words) -> T) -> impl Strategy<Value = Vec<T>> {
    let word = prop_oneof![Just(0i64), Just(1i64), any::<i64>()];
    vec(vec(word, 80), 0..6)
        .prop_map(move |rows| rows.into_iter().map(|row| make(&mut Words(row.into_iter()))).collect())
}

/// The batch as DataFusion likes to read it: texts and bytes as views.
fn with_views(batch: &RecordBatch) -> RecordBatch {
    let column = |name: &str, array: &ArrayRef| {
        let wanted = match array.data_type() {
            DataType::Utf8 => DataType::Utf8View,
            DataType::Binary => DataType::BinaryView,
            other => other.clone(),
        };
        (name.to_owned(), cast(array, &wanted).expect("a view of the same values"))
    };
    let names = batch.schema();
    let columns = names.fields().iter().zip(batch.columns()).map(|(field, array)| column(field.name(), array));
    RecordBatch::try_from_iter(columns).expect("the same columns")
}

proptest! {
    #[test]
    fn records_come_back(rows in rows(Words::record)) {
        let batch = records_batch(rows.iter());
        prop_assert_eq!(batch.schema(), records_schema());
        prop_assert_eq!(&records_rows(&batch).unwrap(), &rows);
        prop_assert_eq!(&records_rows(&with_views(&batch)).unwrap(), &rows);
        prop_assert_eq!(&records_rows(&batch.slice(0, rows.len() / 2)).unwrap(), &rows[..rows.len() / 2]);
    }
}

fn without(batch: &RecordBatch, names: &[&str]) -> RecordBatch {
    let schema = batch.schema();
    let kept: Vec<usize> =
        (0..batch.num_columns()).filter(|i| !names.contains(&schema.field(*i).name().as_str())).collect();
    batch.project(&kept).expect("columns of the batch")
}

fn one_record() -> RecordRow {
    RecordRow { verdict: Verdict::Ok, event: Some(Event::default()), ..dead("broken", b"{") }
}

fn dead(reason: &str, raw: &[u8]) -> RecordRow {
    RecordRow {
        verdict: Verdict::Dead,
        reason: Some(reason.into()),
        topic: "ad-events".into(),
        partition: 3,
        offset: 9,
        arrival_ms: 1_000,
        cut: 2_000,
        payload_hash: PayloadHash::of(raw),
        event: None,
        capped: Capped::default(),
        items: None,
        raw: Some(raw.into()),
        extras: None,
    }
}

#[test]
fn columns_that_may_be_null_may_be_left_out() {
    let row = dead("broken", b"{");
    let batch = without(&records_batch([&row].into_iter()), &["raw", "reason", "type", "subject"]);
    assert_eq!(records_rows(&batch).unwrap(), [RecordRow { raw: None, reason: None, ..row }]);
}

#[test]
fn columns_that_a_row_needs_must_be_there() {
    let mut row = one_record();
    row.event = Some(Event { tenant: Symbol(1), event_id: EventId(Id::from_bytes([1; 16])), ..Event::default() });
    let batch = records_batch([&row].into_iter());
    assert_eq!(records_rows(&batch).unwrap(), [row]);
    let error = |batch: &RecordBatch| records_rows(batch).unwrap_err().to_string();
    assert_eq!(error(&without(&batch, &["subject"])), "column subject is missing");
    assert_eq!(error(&without(&batch, &["_cut"])), "column _cut is missing");
    assert_eq!(error(&records_batch([&one_record()].into_iter())), "column tenant, row 0: null");
}

#[test]
fn the_columns_are_those_of_the_documentation() {
    let names = |schema: &arrow::datatypes::Schema| {
        let field = |field: &std::sync::Arc<arrow::datatypes::Field>| match field.is_nullable() {
            true => format!("{}?", field.name()),
            false => field.name().clone(),
        };
        schema.fields().iter().map(field).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(
        names(&records_schema()),
        "verdict reason? topic partition offset arrival _cut payload_hash type? tenant? app? event_id? event_time? \
         subject? user_id? device_id? click_id? login_id? fingerprint? campaign? ad_group? creative? source? channel? \
         placement? ip_hash? ip_net? os? os_version? device_model? language? country? name? item? quantity? \
         revenue_micros? cost_micros? currency? version? install_begin_time? items? capped raw? referrer? faults? \
         unknown_fields? key? headers?"
    );
    assert_eq!(names(&symbols_schema()), "symbol name _cut tenant? field?");
}

#[test]
fn events_have_the_columns_of_records() {
    let accepted = Accepted { payload_hash: PayloadHash::of(b"a"), capped: Capped::CLICK, ..Accepted::default() };
    let batch = events_batch([&accepted].into_iter());
    let records = records_schema();
    assert_eq!(batch.schema(), events_schema());
    for field in events_schema().fields() {
        assert_eq!(records.field_with_name(field.name()).unwrap(), field.as_ref());
    }
}

#[test]
fn symbols_come_back() {
    let name = |name: &str, first| Name { symbol: Symbol::of(name), name: name.to_owned(), first };
    let names = vec![
        name("a", None),
        name("ü", Some(First { tenant: Symbol::of("a"), field: "app".into() })),
        name("t", Some(First { tenant: Symbol::NONE, field: "tenant".into() })),
    ];
    let batch = symbols_batch(&names, 7_000);
    assert_eq!(batch.schema(), symbols_schema());
    assert_eq!(symbols_rows(&batch).unwrap(), names);
    // As release 0.1.0 wrote them.
    let before = batch.project(&[0, 1, 2]).unwrap();
    assert!(symbols_rows(&before).unwrap().iter().all(|name| name.first.is_none()));
}

#[test]
fn a_name_that_no_row_has_is_an_error() {
    let batch = records_batch([&dead("broken", b"{")].into_iter());
    let mut columns: Vec<(String, ArrayRef)> =
        batch.schema().fields().iter().map(|field| field.name().clone()).zip(batch.columns().iter().cloned()).collect();
    columns[0].1 = std::sync::Arc::new(arrow::array::StringArray::from(vec!["fine"]));
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    assert_eq!(records_rows(&batch).unwrap_err().to_string(), "column verdict, row 0: unexpected value fine");
}
