//! The rule against the plain form: over random changelogs, random statements give the same with it and without.

use std::sync::Arc;

use arrow::array::{Array, Int32Array, Int64Array, RecordBatch, StringArray};
use arrow::util::pretty::pretty_format_batches;
use dataflows::view::Form;
use datafusion::execution::SessionStateBuilder;
use datafusion::prelude::{SessionContext, ident, lit};
use proptest::prelude::*;

use crate::sql::catalog::readable;
use crate::sql::checked_sum::checked_sum;
use crate::sql::current::{STANDING, current_rows};
use crate::sql::functions::{Names, symbol_name_function};
use crate::sql::rules::rules;

const START_MS: i64 = 1_767_225_600_000;
const CUTS: i64 = 4;

/// What a row holds besides its key.
#[derive(Clone, Debug, PartialEq)]
struct Row {
    campaign: Option<i64>,
    model: &'static str,
    event_time: i64,
    revenue_micros: Option<i64>,
    credit_ppm: i64,
    version: Option<i32>,
}

/// A change: the key, the row, the cut and the difference.
type Change = (i64, Row, i64, i64);

fn row() -> impl Strategy<Value = Row> {
    // Few values, so that groups lose all their rows.
    let campaign = prop::option::of(1..3_i64);
    let model = prop::sample::select(vec!["first", "last"]);
    // As far from 0 as amounts may be.
    let extremes = prop::sample::select(vec![-(1 << 53), 1 << 53, -1, 0, 1]);
    let revenue = prop::option::of(prop_oneof![4 => -1_000_000..1_000_000_i64, 1 => extremes]);
    (campaign, model, 0..3_i64, revenue, 0..=1_000_000_i64, prop::option::of(-5..5_i32)).prop_map(
        |(campaign, model, day, revenue_micros, credit_ppm, version)| Row {
            campaign,
            model,
            event_time: START_MS + day * 50_000_000,
            revenue_micros,
            credit_ppm,
            version,
        },
    )
}

/// Of up to twelve keys what each has after each cut: a row or none.
fn changelog() -> impl Strategy<Value = Vec<Change>> {
    let states = prop::collection::vec(prop::option::weighted(0.6, row()), usize::try_from(CUTS).unwrap());
    prop::collection::vec(states, 0..12).prop_map(|keys| {
        let mut changes = Vec::new();
        for (key, states) in (0..).zip(keys) {
            let mut before: Option<Row> = None;
            for (cut, after) in (1..).zip(states) {
                if before != after {
                    changes.extend(before.map(|row| (key, row, cut, -1)));
                    changes.extend(after.clone().map(|row| (key, row, cut, 1)));
                }
                before = after;
            }
        }
        changes
    })
}

fn batch(changes: &[Change]) -> RecordBatch {
    let long =
        |of: fn(&Change) -> Option<i64>| Arc::new(changes.iter().map(of).collect::<Int64Array>()) as Arc<dyn Array>;
    let models = changes.iter().map(|change| Some(change.1.model)).collect::<StringArray>();
    RecordBatch::try_from_iter_with_nullable([
        ("offset", long(|change| Some(change.0)), false),
        ("campaign", long(|change| change.1.campaign), true),
        ("model", Arc::new(models), false),
        ("event_time", long(|change| Some(change.1.event_time)), false),
        ("revenue_micros", long(|change| change.1.revenue_micros), true),
        ("credit_ppm", long(|change| Some(change.1.credit_ppm)), false),
        ("version", Arc::new(changes.iter().map(|change| change.1.version).collect::<Int32Array>()), true),
        ("_cut", long(|change| Some(change.2)), false),
        ("_diff", long(|change| Some(change.3)), false),
    ])
    .unwrap()
}

/// The view `credits` of a changelog at a cut, as people see it; with the rules of a lake or without.
async fn context(changes: &[Change], cut: i64, with_rules: bool) -> SessionContext {
    let names: Arc<Names> = Arc::new([(1, "spring".into()), (2, "autumn".into())].into());
    let mut state = SessionStateBuilder::new().with_default_features();
    if with_rules {
        state = state.with_optimizer_rules(rules(&names));
    }
    let context = SessionContext::new_with_state(state.build());
    context.register_udf(symbol_name_function(&names));
    context.register_udaf(checked_sum().as_ref().clone());
    let rows = context.read_batch(batch(changes)).unwrap().filter(ident("_cut").lt_eq(lit(cut))).unwrap();
    context.register_table("credits_changes", rows.into_view()).unwrap();
    let current = current_rows(&context, "credits", Form::Rows).await.unwrap().into_view();
    context.register_table("raw_credits", current).unwrap();
    let shown = readable(context.table("raw_credits").await.unwrap(), &names).unwrap();
    context.register_table("credits", shown.into_view()).unwrap();
    context
}

/// The rows of a statement as text, in an order of their own.
async fn rows(context: &SessionContext, statement: &str) -> Vec<String> {
    let batches = context.sql(statement).await.unwrap().collect().await.unwrap();
    let mut lines: Vec<String> =
        pretty_format_batches(&batches).unwrap().to_string().lines().map(str::to_owned).collect();
    lines.sort_unstable();
    lines
}

async fn is_rewritten(statement: &str) -> bool {
    let plan = context(&[], CUTS, true).await.sql(statement).await.unwrap().into_optimized_plan().unwrap();
    !plan.display_indent().to_string().contains(STANDING)
}

const AGGREGATES: &[&str] = &[
    "count(*)",
    "count(revenue_micros)",
    "count(campaign)",
    "sum(revenue_micros)",
    "sum(credit_ppm)",
    "sum(version)",
    "avg(credit_ppm)",
    "avg(version)",
    "sum(CASE WHEN model = 'last' THEN credit_ppm END)",
    "sum(CASE WHEN model = 'last' THEN 1 ELSE 0 END)",
    "sum(credit_ppm * 3 - 1)",
    "sum(credit_ppm / 7)",
    "sum(revenue_micros) FILTER (WHERE campaign = 'spring')",
    "count(*) FILTER (WHERE version > 0)",
    "avg(credit_ppm) FILTER (WHERE model = 'first')",
    "sum(credit_ppm) / 1e6",
    "count(version IS NULL)",
];
const GROUPS: &[&str] = &[
    "campaign",
    "model",
    "version",
    "date_trunc('day', event_time)",
    "CAST(event_time AS DATE)",
    "campaign = 'spring'",
    "coalesce(campaign, 'none')",
    "credit_ppm % 2",
];
const FILTERS: &[&str] = &[
    "model = 'last'",
    "campaign = 'spring'",
    "campaign <> 'spring' OR version IS NULL",
    "revenue_micros > 0",
    "event_time >= '2026-01-01T12:00:00Z'",
    "campaign IN ('spring', 'nobody')",
    "campaign = 'nobody'",
    "NOT (version BETWEEN -2 AND 2)",
    "model LIKE 'f%'",
];
/// Aggregates that are not weighted, alone or beside others.
const LEFT: &[&str] = &[
    "max(credit_ppm)",
    "count(DISTINCT campaign)",
    "sum(DISTINCT credit_ppm)",
    "sum(credit_ppm / 1e6)",
    "sum(credit_ppm / version)",
    "avg(credit_ppm / 1e6)",
    "array_agg(model ORDER BY model)",
    "sum(credit_ppm * random())",
];

#[tokio::test]
async fn what_is_sure_is_rewritten_and_nothing_else() {
    for aggregate in AGGREGATES {
        assert!(is_rewritten(&format!("SELECT {aggregate} FROM credits")).await, "{aggregate}");
    }
    for group in GROUPS {
        assert!(is_rewritten(&format!("SELECT {group}, count(*) FROM credits GROUP BY 1")).await, "{group}");
    }
    for filter in FILTERS {
        assert!(is_rewritten(&format!("SELECT count(*) FROM credits WHERE {filter}")).await, "{filter}");
    }
    for aggregate in LEFT {
        assert!(!is_rewritten(&format!("SELECT count(*), {aggregate} FROM credits")).await, "{aggregate}");
    }
    for statement in [
        "SELECT campaign, count(*) FROM credits GROUP BY ROLLUP (campaign)",
        "SELECT count(*) FROM (SELECT * FROM credits LIMIT 3)",
        "SELECT count(*) FROM (SELECT DISTINCT campaign FROM credits)",
        "SELECT count(*) FROM credits WHERE campaign IN (SELECT campaign FROM credits WHERE version > 1)",
        "SELECT count(*) FROM credits WHERE 100 / version > 1",
        "SELECT count(*) FROM credits WHERE random() < 0.5",
    ] {
        assert!(!is_rewritten(statement).await, "{statement}");
    }
    for statement in [
        "SELECT campaign, sum(n) FROM (SELECT campaign, credit_ppm + 1 AS n FROM credits WHERE model = 'last') GROUP BY campaign",
        "WITH c AS (SELECT *, upper(model) AS upper FROM credits) SELECT upper, count(*) AS n FROM c x GROUP BY upper HAVING n > 1",
        "SELECT 1 + count(*) FROM credits HAVING sum(credit_ppm) > 3",
        "SELECT campaign FROM credits GROUP BY campaign",
    ] {
        assert!(is_rewritten(statement).await, "{statement}");
    }
}

#[tokio::test]
async fn sums_of_differences_that_people_write_are_left_alone() {
    // Rows that came and went between two cuts sum below zero.
    let row = Row { campaign: None, model: "last", event_time: 0, revenue_micros: None, credit_ppm: 1, version: None };
    let changes = [(0, row.clone(), 1, 1), (0, row, 2, -1)];
    let between =
        "SELECT count(*) FROM (SELECT \"offset\", campaign, model, event_time, revenue_micros, credit_ppm, version,
        sum(_diff) AS _diff FROM credits_changes WHERE _cut > 1 GROUP BY 1, 2, 3, 4, 5, 6, 7) WHERE _diff > 0";
    let context = context(&changes, CUTS, true).await;
    assert!(rows(&context, between).await.iter().any(|line| line.trim_matches(['|', ' ']) == "0"));
}

/// A statement of some aggregates, groups and filters.
fn statement() -> impl Strategy<Value = String> {
    let aggregates = prop::sample::subsequence(AGGREGATES, 1..4);
    let left = prop::option::weighted(0.1, prop::sample::select(&LEFT[..3]));
    let groups = prop::sample::subsequence(GROUPS, 0..3);
    let filters = prop::sample::subsequence(FILTERS, 0..3);
    let having = prop::option::weighted(0.2, Just(" HAVING count(*) < 3"));
    (aggregates, left, groups, filters, having).prop_map(|(aggregates, left, groups, filters, having)| {
        let columns: Vec<&str> = groups.iter().chain(&aggregates).copied().chain(left).collect();
        let filters = if filters.is_empty() { String::new() } else { format!(" WHERE ({})", filters.join(") AND (")) };
        let by: Vec<String> = (1..=groups.len()).map(|place| place.to_string()).collect();
        let by = if by.is_empty() { String::new() } else { format!(" GROUP BY {}", by.join(", ")) };
        format!("SELECT {} FROM credits{filters}{by}{}", columns.join(", "), having.unwrap_or_default())
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn weighted_aggregates_are_those_of_the_rows(
        changes in changelog(), statements in prop::collection::vec(statement(), 4), cut in 0..=CUTS,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (with, without) = (context(&changes, cut, true).await, context(&changes, cut, false).await);
            for statement in statements {
                assert_eq!(rows(&with, &statement).await, rows(&without, &statement).await, "{statement}");
            }
        });
    }
}
