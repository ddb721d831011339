//! Forgetting changes no result: over many windows, with copies, withdrawals and capped keys that come as late as they
//! may, every change of every view is the same as where all is kept. Nor does it that a start reads no more than its views need.

use std::panic::catch_unwind;

use dataflows::horizon::Retention;
use dataflows::params::{LikelyParams, Params, Span, Thousandths, Windows};
use dataflows::views;
use schemas::event::Accepted;
use schemas::{EventType, Symbol, Tick};

use crate::events::{DAY, EPOCH_MS, Ev, HOUR, event};
use crate::golden_installs::params;
use crate::oracle;
use crate::stream::{CUT, Changes, Life, Load, SEALING, history_within, stream_within};
use crate::tables::{ByTenant, written};

const DAYS: i64 = 40;
const EVENTS: u64 = 2_500;
const RETENTION: i64 = 2 * DAY;
/// Costs may come much later.
const COST_RETENTION: i64 = 12 * DAY;

/// A word that looks random (the finisher of SplitMix64).
fn mix(word: u64) -> u64 {
    let word = word.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

fn short_windows() -> Params {
    let mut params = params();
    params.installs.click_window = Windows::all(Span(3 * DAY));
    params.installs.view_window = Windows::all(Span(DAY));
    params.installs.fingerprint_window = Span(6 * HOUR);
    params.installs.attribution_lifetime = Span(8 * DAY);
    params.installs.reattribution_after = Span(2 * DAY);
    params.installs.identity = true;
    params.identity.likely = Some(LikelyParams { days: 2, score: Thousandths(300) });
    params
}

/// An event of a number by one of so many people, and the ticks at which it comes.
fn arrivals(number: u64, people: u64) -> Vec<(Ev, Tick)> {
    let draw = |what: u64, of: u64| mix(number * 64 + what) % of;
    let kind = match draw(0, 20) {
        0..=7 => EventType::Impression,
        8..=14 => EventType::Click,
        15 | 16 => EventType::Install,
        17 | 18 => EventType::Conversion,
        _ if draw(32, 2) == 0 => EventType::Identify,
        _ => EventType::Open,
    };
    let at = (draw(1, DAYS as u64 * 24 * 60) as i64) * 60_000 + draw(2, 60_000) as i64;
    let key = |what, of: u64| if draw(what, 3) == 0 { 0 } else { draw(what + 1, of) as u32 + 1 };
    let capped = if kind.is_touch() && draw(3, 4) == 0 { draw(4, 8) as u8 } else { 0 };
    let first = Ev {
        id: number as u32 + 1,
        user: key(5, people),
        device: key(7, people),
        click: key(9, 40),
        print: key(11, 6),
        login: if kind == EventType::Identify { draw(33, people) as u32 + 1 } else { 0 },
        capped,
        ..event(kind, at)
    };
    // The grid of ticks is an hour, and nothing comes later than the retention.
    let tick = |what| {
        let delay = if draw(what, 4) == 0 { draw(what + 1, (RETENTION - HOUR) as u64) as i64 } else { 0 };
        ((EPOCH_MS + at + delay) / HOUR * HOUR + HOUR) as Tick
    };
    let mut arrivals = vec![(first.clone(), tick(13))];
    match draw(15, 12) {
        0 => arrivals.push((first.withdrawn(), tick(16))),
        1 => arrivals.push((Ev { copy: 1, ..first }, tick(18))),
        2 => arrivals.push((Ev { capped: 0, ..first }, tick(20))),
        3 => arrivals.push((Ev { copy: 1, print: 1, capped: 4, ..first }, tick(22))),
        _ => {}
    }
    // A cost of the same identity, which is no copy of the event, and a copy, a further version or a withdrawal of it.
    let late = |what| {
        let delay = draw(what, (COST_RETENTION - HOUR) as u64) as i64;
        ((EPOCH_MS + at + delay) / HOUR * HOUR + HOUR) as Tick
    };
    let cost = |copy, version| Ev {
        kind: EventType::Cost,
        capped: 0,
        copy,
        cost: Some((draw(25, 1_000) as i64, Some(version))),
        ..first.clone()
    };
    if draw(24, 4) == 0 {
        arrivals.push((cost(2, 1), late(26)));
        match draw(27, 4) {
            0 => arrivals.push((cost(3, 1), late(28))),
            1 => arrivals.push((Ev { id: first.id + 1_000_000, ..cost(2, 2) }, late(28))),
            2 => arrivals.push((first.withdrawn(), tick(29))),
            _ => {}
        }
    }
    arrivals
}

fn records(people: u64) -> Vec<(Accepted, Tick)> {
    let all = (0..EVENTS).flat_map(|number| arrivals(number, people));
    let arrived = |(event, tick): (Ev, Tick)| (event.arrives(tick as i64 - EPOCH_MS).accepted(2), tick);
    let mut records: Vec<_> = all.map(arrived).collect();
    records.sort_by_key(|(_, tick)| *tick);
    records
}

fn sorted(mut changes: Changes) -> Changes {
    changes.installs.sort();
    changes.credits.sort();
    differential_dataflow::consolidation::consolidate_updates(&mut changes.installs);
    differential_dataflow::consolidation::consolidate_updates(&mut changes.credits);
    changes
}

#[test]
fn forgetting_changes_no_result() {
    let records = records(12);
    let params = short_windows();
    let kept = sorted(stream_within(&records, &params, None, 1, &[true]));
    assert!(kept.credits.iter().any(|(row, _, _)| row.install.is_some()), "some conversions are governed");
    assert!(kept.installs.iter().any(|(_, _, diff)| *diff < 0), "some results are corrected");
    assert!(kept.installs.iter().any(|(row, _, _)| row.reattribution), "some devices come back");
    assert!(kept.views["shared_hours"].iter().any(|batch| batch.num_rows() > 0), "some share hours");
    assert!(kept.views["costs"].iter().any(|batch| batch.num_rows() > 0), "there are costs");
    let retention = Retention { ms: RETENTION, cost_ms: COST_RETENTION };
    let days: Vec<Tick> = (0..DAYS + 14).map(|day| (EPOCH_MS + day * DAY) as Tick).collect();
    for workers in [1, 2] {
        let forgotten = sorted(stream_within(&records, &params, Some(retention), workers, &[true]));
        assert_eq!(forgotten.installs.len(), kept.installs.len());
        assert!(forgotten.installs == kept.installs, "installs differ with {workers} workers");
        assert!(forgotten.credits == kept.credits, "credits differ with {workers} workers");
        for (view, maintained) in views::maintained() {
            let [forgotten, kept] = [&forgotten, &kept].map(|changes| ByTenant::of(&changes.views[view.name]));
            for day in &days {
                let [forgotten, kept] =
                    [&forgotten, &kept].map(|changes| written(maintained, changes, Symbol(2), *day));
                assert!(forgotten == kept, "{} differs at {day} with {workers} workers", view.name);
            }
        }
    }
}

/// Where views differ from those of a dataflow that never stopped when at these days one is thrown away and another begins.
fn differs_after(compared: &[&str], stops: &[i64], workers: usize, load: Load) -> Option<String> {
    // Few meet twice of many.
    let mut records = records(if load == Load::WithoutFinalHours { 8 } else { 50 });
    if load == Load::WithoutFinalHours {
        // So many say who is linked that it does not matter who is likely to be.
        records.retain(|(record, _)| record.event.event_type != EventType::Identify);
    }
    let mut params = short_windows();
    params.only = compared.iter().map(|view| (*view).to_owned()).collect();
    params.complete();
    // What came in a day is loaded at its end.
    let retention = Retention { ms: RETENTION + DAY, cost_ms: COST_RETENTION + DAY };
    let kept = stream_within(&records, &params, Some(retention), 1, &[true]);

    let day = |day: i64| (EPOCH_MS + day * DAY) as Tick / CUT * CUT;
    let end = day(DAYS + 14);
    let mut lives = vec![Life::first(workers)];
    for (turn, stop) in stops.iter().enumerate() {
        // Where more was recorded than written, it is replayed.
        let (load_to, committed) = (day(*stop), day(*stop) + turn as Tick * 12 * HOUR as Tick);
        lives.last_mut().expect("there is a first").end = Some((load_to, committed));
        lives.push(Life { workers: 1 + turn % 2, load_to, committed, order: 7, end: None });
    }
    lives.last_mut().expect("there is a last").end = Some((end, end));

    let (m, needed) = (day(stops[0]), views::needed(&params, retention, SEALING, day(stops[0])));
    let before = || records.iter().filter(|(_, tick)| *tick < m);
    let read = before().filter(|(record, _)| needed.has(record.event.event_type, record.event.event_time)).count();
    assert!(read * 10 < before().count() * 8, "{read} records are needed");
    let finals = needed.final_installs.expect("installs come from their table");
    let after = kept.credits.iter().filter(|(row, ..)| row.event_time.0 as Tick > m);
    let governs = after.filter_map(|(row, ..)| row.install).any(|install| finals.contains(&install.event_time));
    assert!(governs || load == Load::WithoutFinalHours);

    let restarted = history_within(&records, &params, Some((retention, load)), &lives, &[true]).written;
    for (view, maintained) in views::maintained_by(&params) {
        let [restarted, kept] = [&restarted, &kept].map(|changes| ByTenant::of(&changes.views[view.name]));
        for at in (0..DAYS + 14).map(day) {
            let [restarted, kept] = [&restarted, &kept].map(|changes| written(maintained, changes, Symbol(2), at));
            if restarted != kept {
                return Some(format!("{} differs at {at} after stops at {stops:?}", view.name));
            }
        }
    }
    None
}

#[test]
fn a_start_that_reads_what_is_needed_goes_on_as_one_that_never_stopped() {
    // The windows of those that change with time are longer than all this (`by_time.rs`).
    let all: Vec<_> =
        views::maintained().filter(|(view, _)| !oracle::by_time(view)).map(|(view, _)| view.name).collect();
    assert_eq!(differs_after(&all, &[29], 1, Load::Needed), None);
    assert_eq!(differs_after(&all, &[25, 31, 36], 2, Load::Needed), None);
    // What is contested is needed for longer than all else.
    let others: Vec<_> = all.into_iter().filter(|view| *view != "contested_events").collect();
    assert_eq!(differs_after(&others, &[14, 22, 31], 1, Load::Needed), None);
    assert_eq!(differs_after(&others, &[17], 2, Load::Needed), None);
}

#[test]
fn a_start_that_reads_too_little_is_found() {
    let (of_installs, of_links) = (["installs", "credits"], ["installs", "credits", "identity_links", "identity"]);
    let of_hours = ["installs", "identity_links", "shared_hours", "identity"];
    for (load, compared) in [
        (Load::WithoutFinalInstalls, &of_installs[..]),
        (Load::WithoutTouchesBefore, &of_installs),
        (Load::WithoutFinalLinks, &of_links),
        (Load::WithoutFinalHours, &of_hours),
        (Load::WithoutLives, &of_installs),
    ] {
        let found = catch_unwind(|| differs_after(compared, &[17], 1, load));
        // What is revised was another row than that which is written.
        let found = found.unwrap_or_else(|panic| panic.downcast_ref::<String>().cloned());
        let found = found.unwrap_or_default();
        assert!(found.contains(" differs at ") || found.starts_with("every row is there once"), "{load:?}: {found}");
    }
}
