//! Forgetting changes no result: over many windows, with copies, withdrawals and capped keys that come as late as they
//! may, every change of every view is the same as where all is kept.

use dataflows::horizon::Retention;
use dataflows::params::{Params, Span, Windows};
use dataflows::views;
use schemas::{EventType, Symbol, Tick};

use crate::events::{DAY, EPOCH_MS, Ev, HOUR, event};
use crate::golden_installs::params;
use crate::stream::{Changes, stream_within};
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
    params
}

/// An event of a number, and the ticks at which it comes.
fn arrivals(number: u64) -> Vec<(Ev, Tick)> {
    let draw = |what: u64, of: u64| mix(number * 64 + what) % of;
    let kind = match draw(0, 20) {
        0..=7 => EventType::Impression,
        8..=14 => EventType::Click,
        15 | 16 => EventType::Install,
        17 | 18 => EventType::Conversion,
        _ => EventType::Open,
    };
    let at = (draw(1, DAYS as u64 * 24 * 60) as i64) * 60_000 + draw(2, 60_000) as i64;
    let key = |what, of: u64| if draw(what, 3) == 0 { 0 } else { draw(what + 1, of) as u32 + 1 };
    let capped = if kind.is_touch() && draw(3, 4) == 0 { draw(4, 8) as u8 } else { 0 };
    let first = Ev {
        id: number as u32 + 1,
        user: key(5, 12),
        device: key(7, 12),
        click: key(9, 40),
        print: key(11, 6),
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

fn sorted(mut changes: Changes) -> Changes {
    changes.installs.sort();
    changes.credits.sort();
    differential_dataflow::consolidation::consolidate_updates(&mut changes.installs);
    differential_dataflow::consolidation::consolidate_updates(&mut changes.credits);
    changes
}

#[test]
fn forgetting_changes_no_result() {
    let mut records: Vec<_> = (0..EVENTS).flat_map(arrivals).map(|(event, tick)| (event.accepted(2), tick)).collect();
    records.sort_by_key(|(_, tick)| *tick);
    let params = short_windows();
    let kept = sorted(stream_within(&records, &params, None, 1, &[true]));
    assert!(kept.credits.iter().any(|(row, _, _)| row.install.is_some()), "some conversions are governed");
    assert!(kept.installs.iter().any(|(_, _, diff)| *diff < 0), "some results are corrected");
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
