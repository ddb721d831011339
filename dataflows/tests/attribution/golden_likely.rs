//! Visitors that are likely to be one person, case by case: those that shared an address and agent in the same hours.

use arrow::array::{AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type};
use dataflows::params::{LikelyParams, Params, Thousandths};
use dataflows::views;
use schemas::table::Verdict;
use schemas::{EventType, Symbol};

use crate::events::{DAY, EPOCH_MS, Ev, HOUR, click, conversion, event};
use crate::golden_installs;
use crate::oracle;
use crate::stream::stream;
use crate::tables::{self, ByTenant};

/// 2023-11-15 at midnight UTC.
const MIDNIGHT: i64 = 1_700_006_400_000 - EPOCH_MS;

fn params() -> Params {
    let likely = Some(LikelyParams { days: 3, score: Thousandths(500) });
    let mut params = golden_installs::params();
    params.identity.likely = likely;
    params
}

/// A click by a user in an hour of a day.
fn was_there(user: u32, day: i64, hour: i64) -> Ev {
    let id = user * 1_000 + day as u32 * 24 + hour as u32;
    click(MIDNIGHT + day * DAY + hour * HOUR).user(user).print(1).id(id).copy(1)
}

/// Users that were there at noon on days.
fn at_noon(users: &[u32], days: std::ops::Range<i64>) -> Vec<Ev> {
    days.flat_map(|day| users.iter().map(move |user| was_there(*user, day, 12))).collect()
}

/// The likely links of a tenant: days, hours and score of each.
fn links(rows: &[RecordBatch], tenant: i64) -> Vec<String> {
    let of_batch = |rows: &RecordBatch| {
        let long =
            |name: &str| cast(&rows[name], &DataType::Int64).expect("a number").as_primitive::<Int64Type>().clone();
        let [tenants, days, hours, score] = ["tenant", "days", "hours_shared", "score_thousandths"].map(long);
        let of_tenant = (0..rows.num_rows()).filter(move |row| tenants.value(*row) == tenant);
        let said = of_tenant.map(|row| format!("{} d {} h {}", days.value(row), hours.value(row), score.value(row)));
        said.collect::<Vec<_>>()
    };
    let mut links: Vec<String> = rows.iter().flat_map(of_batch).collect();
    links.sort();
    links
}

#[test]
fn visitors_that_share_hours_are_likely_to_be_one() {
    let first = was_there(1, 0, 12);
    let less_a_day = |withdrawn: Ev| [at_noon(&[1, 2], 0..3), vec![withdrawn]].concat();
    let after_login = |day: i64| {
        let at = MIDNIGHT + day * DAY + 12 * HOUR;
        let known = conversion(at + 1).device(1).user(1).print(1).id(900 + day as u32);
        [event(EventType::Open, at).device(1).print(1).id(800 + day as u32), known]
    };
    let cases: [(&str, Vec<Ev>, &[&str]); 12] = [
        ("on three days", at_noon(&[1, 2], 0..3), &["3 d 3 h 1000"]),
        ("on two", at_noon(&[1, 2], 0..2), &[]),
        ("in three hours of a day", (0..3).flat_map(|hour| [1, 2].map(|user| was_there(user, 0, hour))).collect(), &[]),
        (
            "in the first and last minute of an hour",
            (0..3)
                .flat_map(|day| {
                    [was_there(1, day, 12), Ev { at: was_there(2, day, 13).at - 1, ..was_there(2, day, 12) }]
                })
                .collect(),
            &["3 d 3 h 1000"],
        ),
        ("in hours that follow", (0..3).flat_map(|day| [was_there(1, day, 12), was_there(2, day, 13)]).collect(), &[]),
        (
            "of other addresses or agents",
            (0..3).flat_map(|day| [was_there(1, day, 12), was_there(2, day, 12).print(2)]).collect(),
            &[],
        ),
        ("among three", at_noon(&[1, 2, 3], 0..3), &["3 d 3 h 500", "3 d 3 h 500", "3 d 3 h 500"]),
        ("among four", at_noon(&[1, 2, 3, 4], 0..3), &[]),
        (
            "among too many, and alone",
            [at_noon(&[1, 2, 3, 4, 5, 6, 7, 8, 9], 0..3), at_noon(&[1, 2], 3..6)].concat(),
            &["3 d 3 h 1000"],
        ),
        ("of which one was withdrawn", less_a_day(first.withdrawn()), &[]),
        ("of which a lesser copy was elsewhere", less_a_day(Ev { print: 2, copy: 0, ..first.clone() }), &[]),
        ("before and after a login", (0..3).flat_map(after_login).collect(), &["3 d 3 h 1000"]),
    ];
    let mut records = Vec::new();
    for (case, (_, events, _)) in cases.iter().enumerate() {
        records.extend(events.iter().map(|event| event.accepted(case as u32 + 1)));
    }
    let for_sql: Vec<_> = records.iter().map(|record| (*record, Verdict::Ok)).collect();
    let sql = oracle::sql(&for_sql, &params()).views;
    let forwards: Vec<_> =
        records.iter().enumerate().map(|(place, record)| (*record, 1_000 + 10 * place as u64)).collect();
    let backwards: Vec<_> = forwards.iter().map(|(record, tick)| (*record, 1_000_000 - tick)).collect();
    let streamed =
        [stream(&forwards, &params(), 1, &[true]).views, stream(&backwards, &params(), 2, &[true, false]).views];
    let mut found = Vec::new();
    for (case, (name, _, expected)) in cases.iter().enumerate() {
        let is = links(&sql["likely_links"], case as i64 + 1);
        if is != *expected {
            found.push(format!("{name}: {is:?}"));
        }
        for (view, maintained) in
            views::maintained().filter(|(view, _)| ["shared_hours", "identity"].contains(&view.name))
        {
            let tenant = Symbol(case as i64 + 1);
            let defined = tables::defined(maintained, &ByTenant::of(&sql[view.name]), tenant);
            if view.name == "identity" {
                assert_eq!(defined.is_empty(), expected.is_empty(), "{name}");
            }
            for streamed in &streamed {
                let written = tables::written(maintained, &ByTenant::of(&streamed[view.name]), tenant, u64::MAX);
                assert_eq!(written, defined, "{} {name}", view.name);
            }
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}
