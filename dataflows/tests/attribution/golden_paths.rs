//! Paths of channels by hand, and what their channels earn.

use std::collections::BTreeMap;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type};
use dataflows::params::Params;
use dataflows::views;
use schemas::event::Accepted;
use schemas::symbols::NO_CHANNEL;
use schemas::table::Verdict;
use schemas::{Symbol, Tick};

use crate::events::{DAY, EPOCH_MS, Ev, HOUR, click, conversion, view};
use crate::oracle;
use crate::stream::{CUT, stream};
use crate::tables::{self, ByTenant};

const CHANNELS: [&str; 5] = ["a", "b", "c", "search", NO_CHANNEL];

/// A click on a channel.
fn on(channel: &'static str, user: u32, at: i64) -> Ev {
    click(at).user(user).channel(channel).id((at % 1_000_000_007) as u32 + 1)
}

fn buys(user: u32, at: i64) -> Ev {
    conversion(at).user(user).id((at % 1_000_000_007) as u32 + 2_000_000_000)
}

struct Case {
    what: &'static str,
    events: Vec<Ev>,
    /// The paths, in the order of their ends.
    paths: &'static str,
    /// What each channel earns in all, in millionths, by sets and in order.
    earned: [&'static str; 2],
}

fn cases() -> Vec<Case> {
    let case = |what, events: Vec<Ev>, paths, earned| Case { what, events, paths, earned };
    let four_and_six = (1..=10).flat_map(|user| {
        let both = (user > 4).then(|| on("b", user, HOUR + 10));
        [on("a", user, HOUR)].into_iter().chain(both).chain([buys(user, 2 * HOUR)])
    });
    vec![
        case("nothing", vec![], "", [""; 2]),
        case("a touch is not over yet", vec![on("a", 1, 30 * DAY)], "", [""; 2]),
        case("a touch that is over", vec![on("a", 1, DAY)], "a: null", [""; 2]),
        case(
            "a conversion",
            vec![on("a", 1, DAY), on("b", 1, 2 * DAY), buys(1, 3 * DAY)],
            "a > b: conversion",
            ["a 500000, b 500000"; 2],
        ),
        case("a conversion of nothing", vec![buys(1, DAY)], ": conversion", ["(none) 1000000"; 2]),
        case("at one moment", vec![on("a", 1, DAY), buys(1, DAY)], "a: conversion", ["a 1000000"; 2]),
        case(
            "a touch after it",
            vec![buys(1, DAY), on("a", 1, DAY + 1)],
            ": conversion; a: null",
            ["(none) 1000000"; 2],
        ),
        case("30 days before", vec![on("a", 1, DAY), buys(1, 31 * DAY)], "a: conversion", ["a 1000000"; 2]),
        case(
            "longer before",
            vec![on("a", 1, DAY), buys(1, 31 * DAY + 1)],
            "a: null; : conversion",
            ["(none) 1000000"; 2],
        ),
        case(
            "what a conversion had is no other's",
            vec![on("a", 1, DAY), buys(1, 2 * DAY), on("b", 1, 3 * DAY), buys(1, 4 * DAY)],
            "a: conversion; b: conversion",
            ["a 1000000, b 1000000"; 2],
        ),
        case(
            "a touch that others follow reaches back no further",
            vec![on("a", 1, HOUR), on("b", 1, 20 * DAY), on("c", 1, 31 * DAY), buys(1, 32 * DAY)],
            "b > c: conversion",
            ["b 500000, c 500000"; 2],
        ),
        case(
            "a channel that comes back",
            vec![on("a", 1, DAY), on("a", 1, DAY + 1), on("b", 1, DAY + 2), on("a", 1, DAY + 3), buys(1, 2 * DAY)],
            "a > b > a: conversion",
            ["a 500000, b 500000", "a 666667, b 333333"],
        ),
        case("a touch without a channel", vec![view(DAY).user(1), on("a", 1, DAY + 1)], "? > a: null", [""; 2]),
        case(
            "another app",
            vec![on("a", 1, DAY).app("web"), buys(1, 2 * DAY)],
            "a: null; : conversion",
            ["(none) 1000000"; 2],
        ),
        case("nobody known", vec![click(DAY).channel("a"), conversion(2 * DAY)], "", [""; 2]),
        case(
            "what is withdrawn did not happen",
            vec![on("a", 1, DAY), on("b", 1, DAY + 1), on("b", 1, DAY + 1).withdrawn(), buys(1, 2 * DAY)],
            "a: conversion",
            ["a 1000000"; 2],
        ),
        case(
            "a conversion that is withdrawn leaves its touches to the next",
            vec![
                on("a", 1, DAY),
                buys(1, 2 * DAY),
                on("b", 1, 3 * DAY),
                buys(1, 4 * DAY),
                buys(1, 2 * DAY).withdrawn(),
            ],
            "a > b: conversion",
            ["a 500000, b 500000"; 2],
        ),
        case(
            "four by one channel, six by two",
            four_and_six.collect(),
            "a > b: conversion; a > b: conversion; a > b: conversion; a > b: conversion; a > b: conversion; \
             a > b: conversion; a: conversion; a: conversion; a: conversion; a: conversion",
            ["a 7000000, b 3000000"; 2],
        ),
    ]
}

/// When all is read: what was touched last 30 days and more before is over.
const READ_AT: i64 = 45 * DAY;

#[test]
fn paths_by_hand() {
    let params = Params { only: vec!["paths".to_owned()], ..Params::default() };
    let cases = cases();
    let tick = |at: i64| (EPOCH_MS + at) as Tick / CUT * CUT + CUT;
    let mut records: Vec<(Accepted, Tick)> = (2..)
        .zip(&cases)
        .flat_map(|(tenant, case)| case.events.iter().map(move |event| (event.accepted(tenant), tick(event.at))))
        .collect();
    records.sort_by_key(|(_, tick)| *tick);
    // So that time goes on.
    records.push((buys(1, READ_AT - DAY).accepted(1), tick(READ_AT)));
    let at = tick(READ_AT) + CUT;
    let for_sql: Vec<_> = records.iter().map(|(record, _)| (*record, Verdict::Ok)).collect();
    let of_sql = oracle::at(&for_sql, &params, at, &["credits_shapley", "path_counts"]);
    let (view, maintained) = views::maintained().find(|(view, _)| view.name == "paths").expect("a view");
    let at_once: Vec<_> = records.iter().map(|(record, _)| (*record, tick(READ_AT))).collect();
    let mut wrong = Vec::new();
    for (way, records, workers) in [("in order", &records, 1), ("at once", &at_once, 2)] {
        let changes = stream(records, &params, workers, &[true, false]);
        let (is, must) = (ByTenant::of(&changes.views[view.name]), ByTenant::of(&of_sql[view.name]));
        for (tenant, case) in (2..).zip(&cases) {
            if tables::written(maintained, &is, Symbol(tenant), at)
                != tables::defined(maintained, &must, Symbol(tenant))
            {
                wrong.push(format!("{}: streamed {way} otherwise than in SQL", case.what));
            }
        }
    }
    for (tenant, case) in (2..).zip(&cases) {
        let is = paths(&of_sql["paths"], tenant);
        if is != case.paths {
            wrong.push(format!("{}\n  expected {}\n  is       {is}", case.what, case.paths));
        }
        for (model, expected) in ["shapley", "shapley_ordered"].into_iter().zip(case.earned) {
            let is = earned(&of_sql["credits_shapley"], tenant, model);
            if is != expected {
                wrong.push(format!("{}, {model}\n  expected {expected}\n  is       {is}", case.what));
            }
        }
        let counted: i64 = rows(&of_sql["path_counts"], tenant)
            .map(|(batch, row)| long(batch, "conversions", row).unwrap_or(0) + long(batch, "nulls", row).unwrap_or(0))
            .sum();
        if counted != rows(&of_sql["paths"], tenant).count() as i64 {
            wrong.push(format!("{}: {counted} paths are counted", case.what));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn what_is_left_over_goes_to_the_first_and_all_sums_up() {
    let params = Params { only: vec!["paths".to_owned()], ..Params::default() };
    for revenue in [-7, 0, 100, (1 << 53) + 1] {
        let events = [on("a", 1, DAY), on("b", 1, DAY + 1), on("c", 1, DAY + 2), buys(1, 2 * DAY).revenue(revenue)];
        let accepted: Vec<_> = events.iter().map(|event| (event.accepted(2), Verdict::Ok)).collect();
        let credits = &oracle::at(&accepted, &params, CUT, &["credits_shapley"])["credits_shapley"];
        let mut shares: Vec<_> = rows(credits, 2)
            .filter(|(batch, row)| text(batch, "model", *row) == "shapley")
            .map(|(batch, row)| {
                ["place", "credit_ppm", "revenue_micros"].map(|column| long(batch, column, row).expect("a number"))
            })
            .collect();
        shares.sort_unstable();
        assert_eq!(shares.iter().map(|[_, ppm, _]| *ppm).collect::<Vec<_>>(), [333_334, 333_333, 333_333]);
        let third = revenue / 3;
        let left = revenue - 3 * third;
        let parts = [0, 1, 2].map(|place| third + if place < left.abs() { left.signum() } else { 0 });
        assert_eq!(shares.iter().map(|[.., part]| *part).collect::<Vec<_>>(), parts, "of {revenue}");
    }
}

fn rows(batches: &[RecordBatch], tenant: i64) -> impl Iterator<Item = (&RecordBatch, usize)> {
    let all = batches.iter().flat_map(|batch| (0..batch.num_rows()).map(move |row| (batch, row)));
    all.filter(move |(batch, row)| long(batch, "tenant", *row) == Some(tenant))
}

fn text(batch: &RecordBatch, column: &str, row: usize) -> String {
    cast(&batch[column], &DataType::Utf8).expect("a text").as_string::<i32>().value(row).to_owned()
}

fn long(batch: &RecordBatch, column: &str, row: usize) -> Option<i64> {
    let column = cast(&batch[column], &DataType::Int64).expect("a number");
    column.is_valid(row).then(|| column.as_primitive::<Int64Type>().value(row))
}

fn name(channel: Option<i64>) -> &'static str {
    CHANNELS.into_iter().find(|name| Some(Symbol::of(name).0) == channel).unwrap_or("?")
}

fn paths(batches: &[RecordBatch], tenant: i64) -> String {
    let path = |(batch, row): (&RecordBatch, usize)| {
        let channels = batch["channels"].as_list::<i32>().value(row);
        let channels = channels.as_struct().column(0).as_primitive::<Int64Type>().clone();
        let names: Vec<&str> = channels.iter().map(name).collect();
        let said = format!("{}: {}", names.join(" > "), text(batch, "outcome", row));
        (long(batch, "path_end", row), said)
    };
    let mut all: Vec<_> = rows(batches, tenant).map(path).collect();
    all.sort();
    all.into_iter().map(|(_, said)| said).collect::<Vec<_>>().join("; ")
}

fn earned(batches: &[RecordBatch], tenant: i64, model: &str) -> String {
    let mut sums: BTreeMap<&str, i64> = BTreeMap::new();
    for (batch, row) in rows(batches, tenant).filter(|(batch, row)| text(batch, "model", *row) == model) {
        *sums.entry(name(long(batch, "channel", row))).or_default() +=
            long(batch, "credit_ppm", row).expect("a number");
    }
    sums.into_iter().map(|(name, ppm)| format!("{name} {ppm}")).collect::<Vec<_>>().join(", ")
}
