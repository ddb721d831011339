//! Cohorts, case by case: who is in which, and at what age.

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type};
use dataflows::views;
use schemas::table::Verdict;
use schemas::{EventType, Symbol};

use crate::events::{DAY, EPOCH_MS, Ev, HOUR, click, conversion, event, install};
use crate::golden_installs::params;
use crate::oracle;
use crate::stream::stream;
use crate::tables::{self, ByTenant};

/// 2023-11-15, a Wednesday.
const MIDNIGHT: i64 = 1_700_006_400_000 - EPOCH_MS;

/// Cells of a grouping: milestone, first day of the cohort in days from the Wednesday, age, currency: users, active users, revenue.
fn cells(cohorts: &RecordBatch, tenant: i64, grouping: &str) -> Vec<String> {
    let text = |name: &str, row| cohorts[name].as_string::<i32>().value(row).to_owned();
    let long = |name: &str, row| {
        cast(&cohorts[name], &DataType::Int64).expect("a number").as_primitive::<Int64Type>().value(row)
    };
    let cell = |row| {
        let day = (long("cohort_start", row) - EPOCH_MS - MIDNIGHT) / DAY;
        let money = if cohorts["currency"].is_valid(row) { " in euros" } else { "" };
        let counts = ["users", "active_users", "revenue_micros"].map(|name| long(name, row));
        let (milestone, unit, age) = (text("milestone", row), text("age_unit", row), long("age", row));
        let [users, active, revenue] = counts;
        (milestone.clone(), age, money, format!("{milestone} {day}, {unit} {age}{money}: {users} {active} {revenue}"))
    };
    let of_case = |row: &usize| long("tenant", *row) == tenant && text("grouping", *row) == grouping;
    let mut cells: Vec<_> = (0..cohorts.num_rows()).filter(of_case).map(cell).collect();
    cells.sort();
    cells.into_iter().map(|(.., cell)| cell).collect()
}

#[test]
fn visitors_count_by_their_first() {
    let at = |day: i64, hour: i64| MIDNIGHT + day * DAY + hour * HOUR;
    let opens = |day: i64, hour: i64| event(EventType::Open, at(day, hour)).user(1).id(100 + day as u32);
    let moved = install(at(0, 1)).user(1).id(1);
    let cases: [(&[Ev], &str, &[&str]); 3] = [
        (
            &[
                install(at(0, 23)).user(1),
                opens(1, 0),
                conversion(at(3, 4)).user(1).revenue(100),
                // A refund: nobody is there for it.
                conversion(at(5, 4)).user(1).revenue(-30).id(9),
                opens(180, 1),
                opens(181, 1),
            ],
            "tenant",
            &[
                "event -2, week 0: 1 1 0",
                "event -2, week 0 in euros: 0 0 100",
                "event -2, week 1 in euros: 0 0 -30",
                "event -2, week 26: 0 1 0",
                "install 0, day 0: 1 1 0",
                "install 0, day 1: 0 1 0",
                "install 0, day 3: 0 1 0",
                "install 0, day 3 in euros: 0 0 100",
                "install 0, day 5 in euros: 0 0 -30",
                "install 0, day 180: 0 1 0",
                "purchase -14, month 0: 1 1 0",
                "purchase -14, month 0 in euros: 0 0 70",
                "purchase -14, month 6: 0 1 0",
            ],
        ),
        // A first install that is withdrawn: the second was none before.
        (
            &[moved.clone(), install(at(2, 1)).user(1).id(2), opens(4, 1), moved.withdrawn()],
            "tenant",
            &["event -2, week 0: 1 1 0", "install 2, day 0: 1 1 0", "install 2, day 2: 0 1 0"],
        ),
        // Away for more than 400 days: new again. What comes after 400 days is of the same life.
        (
            &[click(at(0, 0)).user(1), install(at(0, 1)).user(1), opens(400, 1), opens(801, 1)],
            "source",
            &["install 0, day 0: 1 1 0"],
        ),
    ];
    let mut records = Vec::new();
    for (case, (events, ..)) in cases.iter().enumerate() {
        records.extend(events.iter().map(|event| event.accepted(case as u32 + 1)));
    }
    let for_sql: Vec<_> = records.iter().map(|record| (*record, Verdict::Ok)).collect();
    let sql = oracle::sql(&for_sql, &params()).views;
    let forwards: Vec<_> =
        records.iter().enumerate().map(|(place, record)| (*record, 1_000 + 10 * place as u64)).collect();
    let streamed = stream(&forwards, &params(), 1, &[true]).views;
    let mut found = Vec::new();
    for (case, (_, grouping, expected)) in cases.iter().enumerate() {
        let tenant = case as i64 + 1;
        let is: Vec<String> = sql["cohorts"].iter().flat_map(|batch| cells(batch, tenant, grouping)).collect();
        if is != *expected {
            found.push(format!("case {case}: {is:#?}"));
        }
        for (view, maintained) in views::maintained().filter(|(view, _)| ["firsts", "cohorts"].contains(&view.name)) {
            let [written, defined] = [&streamed[view.name], &sql[view.name]].map(|rows| ByTenant::of(rows));
            let written = tables::written(maintained, &written, Symbol(tenant), u64::MAX);
            assert_eq!(written, tables::defined(maintained, &defined, Symbol(tenant)), "{} of case {case}", view.name);
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
    let of_third = |row: &usize, firsts: &RecordBatch| firsts["tenant"].as_primitive::<Int64Type>().value(*row) == 3;
    let lives: usize =
        sql["firsts"].iter().map(|firsts| (0..firsts.num_rows()).filter(|row| of_third(row, firsts)).count()).sum();
    assert_eq!(lives, 3, "an install, and an event of each of two lives");
}
