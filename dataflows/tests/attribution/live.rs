//! What is read by key from a running dataflow, at a tick: beside all of what is published, and beside the SQL.

use std::collections::BTreeMap;
use std::sync::{Arc, Barrier, Mutex};

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch};
use arrow::compute::{cast, filter_record_batch};
use arrow::datatypes::{DataType, Int64Type, Schema};
use arrow::row::{RowConverter, SortField};
use dataflows::changes::Cutover;
use dataflows::horizon::{Bounds, Retention};
use dataflows::inputs::Inputs;
use dataflows::live::{Equal, LiveRows, Value};
use dataflows::params::{Params, Span};
use dataflows::views;
use operators::Hub;
use operators::publish::Snapshot;
use schemas::event::Accepted;
use schemas::table::Verdict;
use schemas::{EventType, Tick};
use timely::dataflow::ProbeHandle;

use crate::events::{EPOCH_MS, Ev, HOUR, click, conversion, event, install, view};
use crate::funnels;
use crate::oracle;

const TENANT: u32 = 7;
const MINUTE: i64 = HOUR / 60;
/// A cut by which each session of the tests is closed.
const LONG_AFTER: Tick = 4_000_000_000_000;

fn params() -> Params {
    let mut params = Params { funnels: funnels::of_all_periods([10 * HOUR; 4]), ..Params::default() };
    params.paths.idle = Span(3 * HOUR);
    params
}

/// What is read at a tick by a function.
type Seen<X> = Vec<(Tick, X)>;
/// The published views and how they are read.
type Live = BTreeMap<&'static str, Arc<dyn LiveRows>>;

/// Feeds records at their ticks and has `read` read at each of these ticks, when all workers have published it.
fn at_ticks<X: Send + 'static>(
    records: &[(Accepted, Tick)],
    retention: Option<Retention>,
    workers: usize,
    ticks: &[Tick],
    read: impl Fn(&Snapshot, &Live) -> X + Send + Sync + 'static,
) -> Seen<X> {
    let (records, ticks) = (records.to_vec(), ticks.to_vec());
    let (hub, all, seen) = (Hub::new(workers), Barrier::new(workers), Arc::new(Mutex::new(Vec::new())));
    let collected = Arc::clone(&seen);
    let guards = timely::execute(timely::Config::process(workers), move |worker| {
        let (probe, mut publisher, mut live) = (ProbeHandle::new(), hub.publisher(worker.index()), Live::new());
        let (mut feed, _backlogs) = worker.dataflow::<Tick, _, _>(|scope| {
            let (feed, mut inputs) = Inputs::new(scope, &params(), Bounds { retention, ..Bounds::default() });
            let cutover = Cutover { replay_from: 0, snapshot_at: None };
            let outputs = views::outputs(&mut inputs).into_iter();
            let backlogs: Vec<_> = outputs
                .map(|(_, output)| {
                    let (backlog, rows) = output.attach_live(&mut publisher, &probe, cutover);
                    live.extend(rows);
                    backlog
                })
                .collect();
            (feed, backlogs)
        });
        let mut batch = feed.batch();
        let mut from = 0;
        for tick in &ticks {
            let ours = records.iter().skip(worker.index()).step_by(worker.peers());
            let mut due: Vec<_> = ours.filter(|(_, at)| (from..=*tick).contains(at)).collect();
            due.sort_by_key(|(_, at)| *at);
            for (record, at) in due {
                feed.advance_to(*at);
                batch.push(record, *at);
                feed.take(&mut batch);
            }
            from = tick + 1;
            feed.advance_to(from);
            feed.flush();
            while hub.snapshot().is_none_or(|snapshot| snapshot.tick() < *tick) {
                worker.step();
                publisher.publish();
            }
            all.wait();
            if worker.index() == 0 {
                let snapshot = hub.snapshot().expect("it was there");
                assert_eq!(snapshot.tick(), *tick);
                collected.lock().expect("no panic").push((*tick, read(&snapshot, &live)));
            }
            all.wait();
        }
        drop(feed);
        for dataflow in worker.installed_dataflows() {
            worker.drop_dataflow(dataflow);
        }
    });
    for worker in guards.expect("the workers start").join() {
        worker.expect("no worker panics");
    }
    Arc::into_inner(seen).expect("all workers ended").into_inner().expect("no panic")
}

/// The rows of a view that have these values.
fn rows(live: &Live, view: &str, snapshot: &Snapshot, equals: &[Equal]) -> Vec<RecordBatch> {
    let mut found = Vec::new();
    live[view]
        .visit(snapshot.clone(), equals, &mut |batch| {
            found.push(batch);
            true
        })
        .expect("nobody has passed this tick");
    found
}

/// Rows that can be compared, in order, of the columns that a schema has.
fn comparable(batches: &[RecordBatch], schema: &Schema) -> Vec<Vec<u8>> {
    let fields = schema.fields().iter().map(|field| SortField::new(field.data_type().clone())).collect();
    let converter = RowConverter::new(fields).expect("rows can be compared");
    let mut all = Vec::new();
    for batch in batches {
        let column = |field: &Arc<arrow::datatypes::Field>| cast(&batch[field.name().as_str()], field.data_type());
        let columns: Vec<ArrayRef> = schema.fields().iter().map(|field| column(field).expect("its type")).collect();
        let rows = converter.convert_columns(&columns).expect("columns of rows");
        all.extend(rows.iter().map(|row| row.as_ref().to_vec()));
    }
    all.sort();
    all
}

/// The value of a column in a row.
fn value(column: &dyn Array, row: usize) -> Value {
    match column.data_type() {
        _ if column.is_null(row) => Value::Null,
        DataType::Int64 => Value::Long(column.as_primitive::<Int64Type>().value(row)),
        DataType::Binary => Value::Bytes(column.as_binary::<i32>().value(row).to_vec()),
        DataType::Utf8 => Value::Text(column.as_string::<i32>().value(row).to_owned()),
        DataType::Boolean => Value::Flag(column.as_boolean().value(row)),
        other => panic!("nothing is read by a {other}"),
    }
}

/// Some days of a few visitors: late, withdrawn, long and short.
fn some_days() -> Vec<(Accepted, Tick)> {
    let mut number = 1u64;
    let mut random = |below: u64| {
        // Knuth's MMIX generator.
        number = number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (number >> 33) % below
    };
    let mut records = Vec::new();
    for id in 1..500u32 {
        let at = random(48) as i64 * HOUR + random(12) as i64 * 5 * MINUTE;
        let kind = [view, click, install, conversion][random(4) as usize];
        let (user, device) = (random(4) as u32, random(4) as u32);
        let happened = match random(8) {
            0 => Ev { cost: Some((5, None)), campaign: "spring", ..event(EventType::Cost, at) },
            _ => Ev { campaign: ["", "spring"][random(2) as usize], ..kind(at).user(user).device(device) },
        };
        let happened = Ev { channel: ["", "search", "social"][random(3) as usize], ..happened.id(id) };
        let happened = match id % 12 {
            0 => Ev { kind: EventType::Identify, cost: None, login: id % 4 + 1, ..happened },
            _ => happened,
        };
        let revenue = (happened.kind == EventType::Conversion && random(2) == 0).then_some(7);
        let happened = Ev { revenue, ..happened };
        let late = [0, 0, 0, 1, 10, 300][random(6) as usize] * MINUTE;
        let tick = (EPOCH_MS + at + late + MINUTE) as Tick;
        records.push((happened.accepted(TENANT), tick));
        if random(10) == 0 {
            records.push((happened.withdrawn().accepted(TENANT), tick + (random(120) as i64 * MINUTE) as Tick));
        }
        if random(10) == 0 {
            records.push((Ev { copy: 1, channel: "email", ..happened }.accepted(TENANT), tick + 7));
        }
    }
    records
}

fn hours(of: &[i64]) -> Vec<Tick> {
    of.iter().map(|hours| (EPOCH_MS + hours * HOUR) as Tick).collect()
}

#[test]
fn reading_by_key_is_finding_in_all_that_is_published() {
    let records = some_days();
    for workers in [1, 3] {
        let seen = at_ticks(&records, None, workers, &hours(&[6, 20, 61]), |snapshot, live| {
            let mut reads = BTreeMap::new();
            for view in views::views().iter().filter(|view| live.contains_key(view.name)) {
                let schema = live[view.name].schema();
                let everything = rows(live, view.name, snapshot, &[]);
                for batch in &everything {
                    for (list, row) in
                        view.read_by.iter().flat_map(|list| (0..batch.num_rows()).map(move |row| (list, row)))
                    {
                        let of = |name: &&str| ((*name).to_owned(), value(&batch[*name], row));
                        let equals: Vec<Equal> = list.iter().map(of).collect();
                        if equals.iter().any(|(_, value)| *value == Value::Null) {
                            continue;
                        }
                        let found = comparable(&rows(live, view.name, snapshot, &equals), &schema);
                        let all: Vec<RecordBatch> = everything
                            .iter()
                            .map(|batch| {
                                let has = |row| {
                                    Some(equals.iter().all(|(name, is)| value(&batch[name.as_str()], row) == *is))
                                };
                                let kept = (0..batch.num_rows()).map(has).collect::<BooleanArray>();
                                filter_record_batch(batch, &kept).expect("one length")
                            })
                            .collect();
                        assert_eq!(found, comparable(&all, &schema), "{} by {equals:?}", view.name);
                        *reads.entry((view.name, *list)).or_insert(0) += 1;
                    }
                }
            }
            // A value that no row has, and one of another list.
            let none =
                [("tenant".to_owned(), Value::Long(TENANT.into())), ("subject".to_owned(), Value::Bytes(vec![9; 16]))];
            for view in ["installs", "credits", "contested_events"] {
                assert_eq!(comparable(&rows(live, view, snapshot, &none), &live[view].schema()), Vec::<Vec<u8>>::new());
            }
            reads
        });
        let last = &seen.last().expect("it was read").1;
        for view in ["installs", "credits", "contested_events", "metrics_sliding", "identity"] {
            assert!(last.keys().any(|(of, _)| *of == view), "{view} was read: {last:?}");
        }
        assert!(last[&("installs", &["tenant", "device_id"][..])] > 10, "{last:?}");
    }
}

/// The sessions of all visitors as they are read, and as SQL has them: with those that are open.
fn sessions_by_sql(records: &[(Accepted, Tick)], tick: Tick, schema: &Schema) -> (Vec<Vec<u8>>, Vec<Vec<u8>>) {
    let accepted: Vec<(Accepted, Verdict)> =
        records.iter().filter(|(_, at)| *at <= tick).map(|(record, _)| (*record, Verdict::Ok)).collect();
    let at = |cut| {
        let rows = oracle::at(&accepted, &params(), cut, &["sessions"]).remove("sessions");
        comparable(&rows.expect("it is a view"), schema)
    };
    (at(tick + 1), at(LONG_AFTER))
}

/// The columns of the table alone.
fn of_table(schema: &Schema) -> Schema {
    Schema::new(schema.fields().iter().filter(|field| field.name() != "open").cloned().collect::<Vec<_>>())
}

/// The rows of all visitors that the tests have, and that have this value, too.
fn of_visitors(live: &Live, view: &str, snapshot: &Snapshot, has: Option<Equal>) -> Vec<Vec<u8>> {
    let schema = of_table(&live[view].schema());
    let visitors = (1..4u32).flat_map(|number| [click(0).user(number), click(0).device(number)]);
    let of = |visitor: Ev| {
        let id = visitor.accepted(TENANT).event.subject.0.to_bytes().to_vec();
        let of_visitor = [("tenant".to_owned(), Value::Long(TENANT.into())), ("visitor".to_owned(), Value::Bytes(id))];
        let equals: Vec<Equal> = of_visitor.into_iter().chain(has.clone()).collect();
        comparable(&rows(live, view, snapshot, &equals), &schema)
    };
    let mut all: Vec<Vec<u8>> = visitors.flat_map(of).collect();
    all.sort();
    all
}

/// The sessions of all visitors, open or not.
fn sessions(live: &Live, snapshot: &Snapshot, open: bool) -> Vec<Vec<u8>> {
    of_visitors(live, "sessions", snapshot, Some(("open".to_owned(), Value::Flag(open))))
}

#[test]
fn funnels_and_paths_of_a_visitor_are_those_of_the_table() {
    let (records, views) = (some_days(), ["funnel_steps", "paths"]);
    for workers in [1, 2] {
        let seen = at_ticks(&records, None, workers, &hours(&[5, 14, 47, 60]), move |snapshot, live| {
            views.map(|view| (of_visitors(live, view, snapshot, None), live[view].schema()))
        });
        for (tick, read) in seen {
            let accepted: Vec<(Accepted, Verdict)> =
                records.iter().filter(|(_, at)| *at <= tick).map(|(record, _)| (*record, Verdict::Ok)).collect();
            let of_sql = oracle::at(&accepted, &params(), tick + 1, &views);
            for (view, (is, schema)) in views.into_iter().zip(read) {
                assert!(is.len() > 5, "{view} at {tick}: {} rows", is.len());
                assert!(is == comparable(&of_sql[view], &schema), "{view} at {tick}, {workers} workers");
            }
        }
    }
}

#[test]
fn sessions_of_a_visitor_are_those_of_the_table_and_those_that_are_open() {
    let records = some_days();
    let ticks = hours(&[1, 5, 13, 14, 30, 47, 60]);
    for workers in [1, 2] {
        let seen = at_ticks(&records, None, workers, &ticks, |snapshot, live| {
            let schema = of_table(&live["sessions"].schema());
            (sessions(live, snapshot, false), sessions(live, snapshot, true), schema)
        });
        let mut were_open = 0;
        for (tick, (closed, open, schema)) in seen {
            let (of_table, all) = sessions_by_sql(&records, tick, &schema);
            assert_eq!(closed, of_table, "closed at {tick}, {workers} workers");
            let mut both = [closed, open.clone()].concat();
            both.sort();
            assert_eq!(both, all, "all at {tick}, {workers} workers");
            were_open += open.len();
        }
        assert!(were_open > 3, "some were open: {were_open}");
    }
}

#[test]
fn what_is_final_is_not_shown_though_it_may_be_there() {
    let retention = 3 * HOUR;
    // An install and a conversion whose rows change once, and somebody whose events move the traces on.
    let first = click(0).user(1).channel("search").id(1);
    let then = [
        (first.clone(), 0),
        (install(2 * MINUTE).user(1).id(2), 2 * MINUTE),
        (conversion(4 * MINUTE).user(1).revenue(9).id(3), 4 * MINUTE),
        // Late: what was attributed is attributed anew.
        (click(MINUTE).user(1).channel("social").id(4), 90 * MINUTE),
    ];
    let others = (0..200).map(|at| (click(at * 3 * MINUTE).user(3).id(1_000 + at as u32), at * 3 * MINUTE));
    let records: Vec<(Accepted, Tick)> =
        then.into_iter().chain(others).map(|(event, at)| (event.accepted(TENANT), (EPOCH_MS + at) as Tick)).collect();
    let ticks: Vec<Tick> = (1..60).map(|at| (EPOCH_MS + at * 10 * MINUTE) as Tick).collect();
    let seen = at_ticks(&records, Some(retention.into()), 1, &ticks, |snapshot, live| {
        let id = click(0).user(1).accepted(TENANT).event.subject.0.to_bytes().to_vec();
        ["installs", "credits", "sessions"].map(|view| {
            let column = if view == "sessions" { "visitor" } else { "subject" };
            let equals =
                [("tenant".to_owned(), Value::Long(TENANT.into())), (column.to_owned(), Value::Bytes(id.clone()))];
            let read: usize = rows(live, view, snapshot, &equals).iter().map(RecordBatch::num_rows).sum();
            read
        })
    });
    let reads: Vec<[usize; 3]> = seen.iter().map(|(_, rows)| *rows).collect();
    // Two touches are credited under six models: nine rows; one touch: six.
    assert!(
        reads[1..].iter().all(|[installs, ..]| *installs == 1),
        "an install speaks for its person for long: {reads:?}"
    );
    for (place, all) in [(1, vec![6, 9]), (2, vec![1, 1])] {
        let rows: Vec<usize> = reads.iter().map(|rows| rows[place]).collect();
        let shown = rows.iter().take_while(|rows| **rows > 0).count();
        let (shown, gone) = rows.split_at(shown);
        assert!(shown.len() >= 18 && gone.len() > 10, "{place}: shown for three hours at least, then gone: {rows:?}");
        assert!(shown.iter().all(|rows| all.contains(rows)), "{place}: never a part: {shown:?}");
        assert!(gone.iter().all(|rows| *rows == 0), "{place}: gone is gone: {gone:?}");
    }
}
