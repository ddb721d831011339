//! What is read of visitors while the dataflow runs, against the SQL of the view at that tick: `frequency_now`, over days that are sealed
//! and after a start that loads them from their table.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::Int64Type;
use dataflows::changes::Cutover;
use dataflows::horizon::{Bounds, Retention};
use dataflows::inputs::Inputs;
use dataflows::live::{LiveRows, Value};
use dataflows::params::Params;
use dataflows::visitor_event::{DayCount, VisitorInput};
use dataflows::{stored, views};
use operators::Hub;
use schemas::event::Accepted;
use schemas::table::Verdict;
use schemas::{EventType, Subject, Symbol, Tick, Zones};
use timely::dataflow::ProbeHandle;

use crate::events::{DAY, EPOCH_MS, Ev, HOUR, event};
use crate::oracle;
use crate::stream::{CUT, SEALING};

const VISITORS: u32 = 5;
/// No record comes later than this after it happened.
const LATENESS: i64 = 3 * DAY - HOUR;
const DAYS: i64 = 45;

/// Touches of a few visitors, some late, some ahead, some withdrawn, with the ticks at which they come.
fn records() -> Vec<(Accepted, Tick)> {
    let mut state = 7u64;
    let mut any = move |below: i64| {
        // Knuth's MMIX generator.
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 16) as i64 % below
    };
    let mut records = Vec::new();
    for id in 1..900u32 {
        let kind = if any(3) == 0 { EventType::Click } else { EventType::Impression };
        let (at, user) = (any(DAYS * DAY), any(i64::from(VISITORS)) as u32 + 1);
        let (campaign, channel) = (["", "spring", "autumn"][any(3) as usize], ["", "search"][any(2) as usize]);
        let touch = Ev { id, user, campaign, channel, ..event(kind, at) };
        let come = match any(4) {
            0 => at + any(LATENESS),
            1 => at - any(DAY / 2),
            _ => at + any(HOUR),
        };
        let tick = |at: i64| (EPOCH_MS + at) as Tick / 10 * 10;
        let tenant = user + 1;
        records.push((touch.accepted(tenant), tick(come)));
        if any(12) == 0 {
            records.push((touch.withdrawn().accepted(tenant), tick(come.max(at) + any(HOUR))));
        }
    }
    records.sort_by_key(|(_, tick)| *tick);
    records
}

/// Rows as texts but for those of a visitor's whole life.
fn rows(batches: &[RecordBatch]) -> BTreeSet<String> {
    let mut rows = BTreeSet::new();
    for batch in batches {
        for row in (0..batch.num_rows()).filter(|row| batch["period"].as_string::<i32>().value(*row) != "life") {
            let cells = batch.columns().iter().map(|column| format!("{:?}", column.slice(row, 1)));
            assert!(rows.insert(cells.collect()), "each row is there once");
        }
    }
    rows
}

fn value(batch: &RecordBatch, column: &str, row: usize) -> i64 {
    batch[column].as_primitive::<Int64Type>().value(row)
}

#[derive(Clone, Copy, PartialEq)]
enum Plant {
    Nothing,
    /// A start reads the events of days that were sealed again.
    SealedAgain,
    /// A start does not load the days that were sealed.
    NotLoaded,
}

#[test]
fn what_visitors_did_is_read_at_any_tick() {
    assert_eq!(differs(Plant::Nothing), None);
}

#[test]
fn what_is_planted_in_sealing_is_found() {
    for plant in [Plant::SealedAgain, Plant::NotLoaded] {
        let found = differs(plant).expect("it is found");
        assert!(found.contains("loaded to"), "{found}");
    }
}

/// Where what is read differs from the SQL.
fn differs(plant: Plant) -> Option<String> {
    let records = records();
    let zones = [(3, "Europe/Berlin"), (4, "Asia/Kolkata"), (5, "Pacific/Chatham")];
    let zones = Zones::new(zones.map(|(tenant, zone)| (Symbol(tenant), zone))).expect("zones");
    let params = Params { only: vec!["frequency".to_owned()], zones, ..Params::default() };
    let day = |day: i64| (EPOCH_MS + day * DAY) as Tick / CUT * CUT;
    let retention = Retention::from(3 * DAY);
    let (mut written, mut periods, mut loaded) = (Vec::new(), BTreeSet::new(), 0);
    let starts = [0, day(21) + 7 * HOUR as Tick];
    for (start, load_to) in starts.into_iter().enumerate() {
        let end = starts.get(start + 1).copied().unwrap_or(Tick::MAX);
        let retention = if start > 0 { Retention::from(4 * DAY) } else { retention };
        let needed = (start > 0).then(|| views::needed(&params, retention, SEALING, load_to));
        let since = needed.as_ref().map_or(0, |needed| needed.events_since.0 as Tick);
        let sealed = needed.as_ref().and_then(|needed| needed.sealed.clone());
        let counts: Vec<_> = written
            .iter()
            .flat_map(|batch| stored::day_counts(batch).expect("it was written so"))
            .filter(|(visitor, count)| {
                sealed.as_ref().is_some_and(|sealed| sealed.has(count.tenant, *visitor, count.day))
            })
            .collect();
        // Where something came to a sealed day, or was withdrawn, its row is the sum of several.
        let counts: Vec<_> = counts
            .into_iter()
            .flat_map(|(visitor, count)| [count.events + 2, -2].map(|events| (visitor, DayCount { events, ..count })))
            .map(|(visitor, count)| (visitor, VisitorInput::Counted(count), 1))
            .collect();
        loaded += counts.len();
        let counts = if plant == Plant::NotLoaded { Vec::new() } else { counts };
        let bounds = Bounds {
            final_after_ms: SEALING.final_after_ms,
            retention: Some(retention),
            sealed_before: sealed.filter(|_| plant != Plant::SealedAgain).map_or(0, |sealed| sealed.before),
            installs_before: None,
            links_before: None,
            ..Bounds::default()
        };
        let read: Vec<_> = records
            .iter()
            .filter(|(_, tick)| *tick < end)
            .filter(|(record, tick)| {
                let of = &record.event;
                *tick >= load_to || needed.as_ref().is_none_or(|needed| needed.has(of.event_type, of.event_time))
            })
            .map(|(record, tick)| {
                // What is loaded enters at the end of the day on which it came.
                let loaded = (tick / DAY as Tick * DAY as Tick + DAY as Tick).min(load_to.max(1)) - 1;
                (*record, if *tick < load_to { loaded.max(since) } else { *tick })
            })
            .collect();
        let (of_worker, hub) = (params.clone(), Hub::new(1));
        let changes = timely::execute_directly(move |worker| {
            let (probe, mut publisher) = (ProbeHandle::new(), hub.publisher(0));
            let (mut feed, mut attached) = worker.dataflow::<Tick, _, _>(|scope| {
                let (feed, mut inputs) = Inputs::new(scope, &of_worker, bounds);
                let cutover = Cutover { replay_from: load_to, snapshot_at: None };
                let outputs = views::outputs(&mut inputs).into_iter();
                let attached: Vec<_> =
                    outputs.map(|(_, output)| output.attach_live(&mut publisher, &probe, cutover)).collect();
                (feed, attached)
            });
            let (mut backlog, live) = attached.pop().expect("one view");
            let (view, live): (_, Arc<dyn LiveRows>) = live.expect("it is read live");
            assert_eq!(view, "frequency_now");
            feed.advance_to(since);
            feed.load_visitors(counts);
            let mut changes = Vec::new();
            // At other hours of each day.
            let step = 31 * HOUR as Tick + 780_010;
            let last = read.last().map_or(0, |(_, tick)| *tick);
            let mut glances = (0..).map(|n| load_to.max(day(1)) + n * step).take_while(|at| *at < end.min(last));
            let mut glance = glances.next();
            let mut batch = feed.batch();
            let mut seen = Vec::new();
            for (record, tick) in
                read.iter().map(Some).chain([None]).map(|of| of.map_or((None, Tick::MAX), |of| (Some(of.0), of.1)))
            {
                while let Some(at) = glance.filter(|at| *at < tick) {
                    feed.take(&mut batch);
                    feed.advance_to(feed.tick().max(at + 1));
                    feed.flush();
                    worker.step_while(|| probe.less_than(&(at + 1)));
                    publisher.publish();
                    changes.extend(backlog.take_through(at / CUT * CUT).after(0));
                    let snapshot = hub.snapshot().expect("all is published");
                    assert_eq!(snapshot.tick(), at);
                    let mut rows = Vec::new();
                    for visitor in visitors(&read) {
                        let equals = [("visitor".to_owned(), Value::Bytes(visitor.0.to_bytes().to_vec()))];
                        let visit = &mut |batch| {
                            rows.push(batch);
                            true
                        };
                        live.visit(hub.snapshot().expect("it is there"), &equals, visit).expect("it is the present");
                    }
                    seen.push((at, rows));
                    glance = glances.next();
                }
                let Some(record) = record else { break };
                feed.advance_to(feed.tick().max(tick));
                batch.push(&record, tick);
                feed.take(&mut batch);
                feed.flush();
                worker.step();
            }
            if end < Tick::MAX {
                feed.advance_to(end);
                feed.flush();
                worker.step_while(|| probe.less_than(&end));
                changes.extend(backlog.take_through(end).after(0));
            }
            (changes, seen)
        });
        let (changes, seen) = changes;
        written.extend(changes);
        assert!(seen.len() > 12, "{} glances after {load_to}, {} records", seen.len(), records.len());
        for (at, is) in seen {
            let accepted: Vec<_> =
                records.iter().filter(|(_, tick)| *tick <= at).map(|(record, _)| (*record, Verdict::Ok)).collect();
            let must = oracle::at(&accepted, &params, at + 1, &["frequency_now"]);
            let (is, must) = (rows(&is), rows(&must["frequency_now"]));
            if is != must {
                let (is, must) = (is.difference(&must).next(), must.difference(&is).next());
                return Some(format!("at {at}, loaded to {load_to}: {is:?}, not {must:?}"));
            }
            is.iter().for_each(|row| {
                periods.extend(
                    ["hour", "day", "week", "month"]
                        .into_iter()
                        .filter(|period| row.contains(&format!("\"{period}\""))),
                )
            });
        }
    }
    assert_eq!(periods.len(), 4, "not all periods came up: {periods:?}");
    assert!(loaded > 100, "only {loaded} counts were loaded");
    let day = |batch: &RecordBatch| (0..batch.num_rows()).map(|row| value(batch, "day", row)).max();
    assert!(
        written.iter().filter_map(day).max().is_some_and(|day| day > EPOCH_MS + 30 * DAY),
        "days are sealed to the end"
    );
    None
}

fn visitors(records: &[(Accepted, Tick)]) -> BTreeSet<Subject> {
    records.iter().map(|(record, _)| record.event.subject).collect()
}
