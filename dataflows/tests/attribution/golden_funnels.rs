//! Funnels by hand: what reaches a step and what does not, in which period, and the rows of `funnels`.

use std::collections::BTreeMap;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type};
use dataflows::funnels::{Dimension, Funnel, Per};
use dataflows::params::Params;
use dataflows::views;
use schemas::event::Accepted;
use schemas::table::Verdict;
use schemas::{EventType, Symbol, Tick, Zones};

use crate::events::{DAY, EPOCH_MS, Ev, HOUR, click, conversion, event};
use crate::funnels::{funnel, step};
use crate::oracle;
use crate::stream::{CUT, stream};
use crate::tables::{self, ByTenant};

const SECOND: i64 = 1_000;
const MINUTE: i64 = 60 * SECOND;
/// 2024-03-01T00:00:00Z, a Friday, after the epoch of events.
const MARCH: i64 = 1_709_251_200_000 - EPOCH_MS;

fn shop() -> Vec<Funnel> {
    let steps = || {
        vec![
            step("view", &[], &["view"]),
            step("cart", &[], &["cart", "basket"]),
            step("buy", &[EventType::Conversion], &[]),
        ]
    };
    vec![
        funnel("shop", steps(), HOUR, Per::All, Some(Dimension::Channel)),
        funnel("monthly", steps(), 2 * DAY, Per::Month, None),
        funnel("weekly", steps(), 2 * DAY, Per::Week, None),
        funnel("daily", steps(), HOUR, Per::Day, None),
        funnel("for ever", steps(), 0, Per::All, None),
        funnel(
            "it's twice",
            vec![step("one", &[EventType::Click], &[]), step("two", &[EventType::Click], &[])],
            DAY,
            Per::All,
            None,
        ),
    ]
}

fn named(name: &'static str, user: u32, at: i64) -> Ev {
    event(EventType::Event, MARCH + at).user(user).name(name).id(id(at))
}

fn view(user: u32, at: i64) -> Ev {
    named("view", user, at)
}

fn cart(user: u32, at: i64) -> Ev {
    named("cart", user, at)
}

fn buy(user: u32, at: i64) -> Ev {
    conversion(MARCH + at).user(user).id(id(at))
}

/// An id for each time; none is 0.
fn id(at: i64) -> u32 {
    (at + 7 * DAY) as u32
}

struct Case {
    what: &'static str,
    funnel: &'static str,
    events: Vec<Ev>,
    /// Of each period and breakdown the visitors of each step, after the first with the median of their seconds.
    expected: &'static str,
}

fn case(what: &'static str, funnel: &'static str, events: impl Into<Vec<Ev>>, expected: &'static str) -> Case {
    Case { what, funnel, events: events.into(), expected }
}

fn cases() -> Vec<Case> {
    let through = |user, at| [view(user, at), cart(user, at + 10 * SECOND), buy(user, at + MINUTE)];
    let day = |day: i64| day * DAY;
    vec![
        case("nothing", "for ever", [], ""),
        case("no first step", "for ever", [cart(1, 0), buy(1, MINUTE)], ""),
        case("a visitor without a name", "for ever", [view(0, 0)], ""),
        case("all of it", "for ever", through(1, 0), "1, 1 in 10, 1 in 60"),
        case(
            "a device is a visitor, too",
            "for ever",
            through(0, 0).map(|event| event.device(1)),
            "1, 1 in 10, 1 in 60",
        ),
        case(
            "devices of one user are one",
            "for ever",
            [view(1, 0).device(1), cart(1, 9_999).device(2)],
            "1, 1 in 9, 0",
        ),
        case("a step is passed over", "for ever", [view(1, 0), buy(1, MINUTE)], "1, 0, 0"),
        case("in another order", "for ever", [cart(1, 0), view(1, 10), buy(1, 20)], "1, 0, 0"),
        case("at one moment", "for ever", [view(1, 0), cart(1, 0).id(7)], "1, 0, 0"),
        case("a millisecond later", "for ever", [view(1, 0), cart(1, 1)], "1, 1 in 0, 0"),
        case("one event is not two steps", "it's twice", [click(MARCH).user(1)], "1, 0"),
        case("two events are", "it's twice", [click(MARCH).user(1), click(MARCH + MINUTE).user(1).id(1)], "1, 1 in 60"),
        case("touches have no names", "for ever", [view(1, 0), click(MARCH + 10).user(1).name("cart")], "1, 0, 0"),
        case("another name of a step", "for ever", [view(1, 0), named("basket", 1, 10)], "1, 1 in 0, 0"),
        case(
            "the last moment",
            "shop",
            [view(1, 0), cart(1, 10), buy(1, HOUR)],
            "tenant: 1, 1 in 0, 1 in 3600; channel: 1, 1 in 0, 1 in 3600",
        ),
        case(
            "a moment too late",
            "shop",
            [view(1, 0), cart(1, 10), buy(1, HOUR + 1)],
            "tenant: 1, 1 in 0, 0; channel: 1, 1 in 0, 0",
        ),
        case(
            "of two ways the shorter",
            "for ever",
            [view(1, 0), cart(1, MINUTE), view(1, 2 * MINUTE), cart(1, 3 * MINUTE + 999), buy(1, 5 * MINUTE)],
            "1, 1 in 60, 1 in 180",
        ),
        case(
            "one that began again has not gone on",
            "for ever",
            [view(1, 0), cart(1, 10), view(1, 20), buy(1, 30)],
            "1, 1 in 0, 1 in 0",
        ),
        case(
            "the median of two is between them, of whole seconds",
            "for ever",
            [view(1, 0), cart(1, 10 * SECOND), view(2, 1), cart(2, 15 * SECOND + 1)],
            "2, 2 in 12, 0",
        ),
        case(
            "who counts in two channels counts once",
            "shop",
            [view(1, 0).channel("search"), view(1, 10).channel("social"), cart(1, 20), view(2, 30).channel("social")],
            "tenant: 2, 1 in 0, 0; search: 1, 1 in 0, 0; social: 2, 1 in 0, 0",
        ),
        case(
            "within one hour each, twice",
            "daily",
            [through(1, 0), through(1, day(1))].concat(),
            "03-01: 1, 1 in 10, 1 in 60; 03-02: 1, 1 in 10, 1 in 60",
        ),
        case("over midnight", "daily", [view(1, day(1) - MINUTE), cart(1, day(1) + MINUTE)], "03-01: 1, 1 in 120, 0"),
        case(
            "each period by its own first step",
            "daily",
            [view(1, day(1) - MINUTE), view(1, day(1)), cart(1, day(1) + MINUTE)],
            "03-01: 1, 1 in 120, 0; 03-02: 1, 1 in 60, 0",
        ),
        case(
            "weeks begin with Mondays",
            "weekly",
            [view(1, day(2)), view(1, day(3) - 1), cart(1, day(3) + 999), view(2, day(3)), cart(2, day(3) + 10)],
            "02-26: 1, 1 in 1, 0; 03-04: 1, 1 in 0, 0",
        ),
        case(
            "months, and two days of one",
            "monthly",
            [view(1, day(-1)), view(1, day(-1) + HOUR), view(1, 0), view(1, day(3)), cart(1, day(3) + HOUR)],
            "02-01: 1, 0, 0; 03-01: 1, 1 in 3600, 0",
        ),
        case(
            "what is withdrawn did not happen",
            "for ever",
            [through(1, 0).to_vec(), vec![cart(1, 10 * SECOND).withdrawn()]].concat(),
            "1, 0, 0",
        ),
        case("a copy is no second event", "it's twice", [click(MARCH).user(1), click(MARCH).user(1).copy(1)], "1, 0"),
    ]
}

fn text(batch: &RecordBatch, column: &str, row: usize) -> String {
    cast(&batch[column], &DataType::Utf8).expect("a text").as_string::<i32>().value(row).to_owned()
}

fn long(batch: &RecordBatch, column: &str, row: usize) -> Option<i64> {
    let column = cast(&batch[column], &DataType::Int64).expect("a number");
    column.is_valid(row).then(|| column.as_primitive::<Int64Type>().value(row))
}

/// The rows of a tenant's funnel as cases write them.
fn written(funnels: &[RecordBatch], tenant: i64, funnel: &str, has_dimension: bool) -> String {
    let mut groups: BTreeMap<(Option<i64>, String, String), BTreeMap<i64, String>> = BTreeMap::new();
    for batch in funnels {
        assert_eq!(batch["median_seconds"].data_type(), &DataType::Int64, "whole seconds");
        for row in 0..batch.num_rows() {
            if long(batch, "tenant", row) != Some(tenant) || text(batch, "funnel", row) != funnel {
                continue;
            }
            let channel =
                ["search", "social"].into_iter().find(|name| Some(Symbol::of(name).0) == long(batch, "breakdown", row));
            let grouping = text(batch, "grouping", row);
            // The tenant as a whole comes first.
            let place = if grouping == "tenant" { String::new() } else { grouping.clone() };
            let key = (long(batch, "period_start", row), place, channel.map_or(grouping, str::to_owned));
            let seconds = long(batch, "median_seconds", row).map(|seconds| format!(" in {seconds}"));
            let step = long(batch, "step", row).expect("a number");
            let [visitors, entrants, previous] =
                ["visitors", "entrants", "previous"].map(|name| long(batch, name, row).expect("a number"));
            let steps = groups.entry(key).or_default();
            let said = format!("{visitors}{}", seconds.filter(|_| step > 1).unwrap_or_default());
            assert!(steps.insert(step, said).is_none(), "a step is there once");
            assert!(visitors <= previous && previous <= entrants, "{visitors} of {previous} of {entrants}");
        }
    }
    let group = |((period, _, of), steps): ((Option<i64>, String, String), BTreeMap<i64, String>)| {
        let steps: Vec<String> = steps.into_values().collect();
        let date =
            period.map(|at| chrono::DateTime::from_timestamp_millis(at).expect("a date").format("%m-%d: ").to_string());
        let of = if has_dimension { format!("{of}: ") } else { String::new() };
        format!("{}{of}{}", date.unwrap_or_default(), steps.join(", "))
    };
    groups.into_iter().map(group).collect::<Vec<_>>().join("; ")
}

#[test]
fn funnels_by_hand() {
    let params = Params { funnels: shop(), only: vec!["funnel_steps".to_owned()], ..Params::default() };
    params.validate().expect("they are funnels");
    let cases = cases();
    let (mut wrong, last) = (check(&params, &cases), cases.len());
    assert!(last > 20);
    // The days and weeks of Berlin begin an hour earlier.
    let zones = Zones::new([(Symbol(2), "Europe/Berlin")]).expect("a zone");
    let berlin = [case(
        "nothing but its zone",
        "weekly",
        [view(1, 3 * DAY - HOUR - 1), view(1, 3 * DAY - HOUR), cart(1, 3 * DAY)],
        "02-25: 1, 1 in 3600, 0; 03-03: 1, 1 in 3600, 0",
    )];
    wrong.extend(check(&Params { zones, ..params }, &berlin));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What is not as expected, in SQL or as it was streamed, in the order of the events or in the other.
fn check(params: &Params, cases: &[Case]) -> Vec<String> {
    let records: Vec<(Accepted, Tick)> = (2..)
        .zip(cases)
        .flat_map(|(tenant, case)| case.events.iter().map(move |event| event.accepted(tenant)))
        .zip(1..)
        .map(|(record, place)| (record, place * CUT))
        .collect();
    let last = records.len() as Tick * CUT;
    let for_sql: Vec<_> = records.iter().map(|(record, _)| (*record, Verdict::Ok)).collect();
    let of_sql = oracle::at(&for_sql, params, last + CUT, &["funnels"]);
    let (view, maintained) = views::maintained().find(|(view, _)| view.name == "funnel_steps").expect("a view");
    let backwards = records.iter().rev().map(|(record, tick)| (*record, last + CUT - tick)).collect();
    let at_once = records.iter().map(|(record, _)| (*record, CUT)).collect();
    let mut wrong = Vec::new();
    for (way, records, workers) in [("forwards", records, 1), ("backwards", backwards, 2), ("at once", at_once, 1)] {
        let changes = stream(&records, params, workers, &[true, false]);
        let (is, must) = (ByTenant::of(&changes.views[view.name]), ByTenant::of(&of_sql[view.name]));
        for (tenant, case) in (2..).zip(cases) {
            let is = tables::written(maintained, &is, Symbol(tenant), last + 2 * CUT);
            if is != tables::defined(maintained, &must, Symbol(tenant)) {
                wrong.push(format!("{}: streamed {way} otherwise than in SQL: {} rows", case.what, is.len()));
            }
        }
    }
    for (tenant, case) in (2..).zip(cases) {
        let funnel = params.funnels.iter().find(|funnel| funnel.name == case.funnel).expect("a funnel");
        let is = written(&of_sql["funnels"], tenant, case.funnel, funnel.by.is_some());
        if is != case.expected {
            wrong.push(format!("{}\n  expected {}\n  is       {is}", case.what, case.expected));
        }
    }
    wrong
}
