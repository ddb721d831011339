//! How queries over a lake are carried out: what is left out while files are read, and what is not made at all.

use schemas::Symbol;

use super::*;
use crate::sql::current::STANDING;
use crate::sql::first_rows::first_rows;

async fn plan(session: &Session, statement: &str) -> String {
    let plan = session.query(statement).await.unwrap().create_physical_plan().await.unwrap();
    datafusion::physical_plan::displayable(plan.as_ref()).indent(true).to_string()
}

/// The predicate by which a scan of the only table in the plan leaves out files, row groups and rows.
fn pruned_by(plan: &str) -> &str {
    let line = plan.lines().find(|line| line.contains("predicate=")).unwrap_or_else(|| panic!("no predicate: {plan}"));
    line.split_once("predicate=").unwrap().1
}

#[tokio::test]
async fn filters_of_people_reach_the_files_as_numbers() {
    let lake = lake().await;
    let session = at(&lake, None).await;
    let search = Symbol::of("search").0;
    for table in ["records", "credits", "installs", "credits_changes"] {
        let plan = plan(&session, &format!("SELECT * FROM {table} WHERE channel = 'search'")).await;
        assert!(pruned_by(&plan).contains(&search.to_string()) && !plan.contains("symbol_name(channel@0) ="), "{plan}");
        let plan = self::plan(
            &session,
            &format!(
                "SELECT campaign FROM {table} WHERE event_time >= '2026-01-01T00:00:50Z' AND event_time < '2026-02-01'"
            ),
        )
        .await;
        let start = (START_MS + 50_000).to_string();
        assert!(pruned_by(&plan).contains(&start), "{plan}");
        let nobody = self::plan(&session, &format!("SELECT * FROM {table} WHERE channel = 'nobody'")).await;
        assert!(nobody.starts_with("EmptyExec"), "{nobody}");
    }
}

#[tokio::test]
async fn filters_give_the_rows_that_they_gave_by_text() {
    let lake = lake().await;
    let session = at(&lake, None).await;
    for (filter, as_text) in [
        ("channel = 'search'", "concat(channel, '') = 'search'"),
        ("channel <> 'search'", "concat(channel, '') <> 'search' AND channel IS NOT NULL"),
        (
            "channel NOT IN ('search', 'nobody')",
            "concat(channel, '') NOT IN ('search', 'nobody') AND channel IS NOT NULL",
        ),
        ("channel = 'nobody'", "concat(channel, '') = 'nobody'"),
    ] {
        for table in ["records", "events", "credits", "installs", "late_events"] {
            let rows = async |filter: &str| {
                printed(&session, &format!("SELECT * FROM {table} WHERE {filter} ORDER BY 1, 2, 3, 4, 5, 6, 7")).await
            };
            assert_eq!(rows(filter).await, rows(as_text).await, "{table}: {filter}");
        }
    }
}

#[tokio::test]
async fn aggregates_of_current_rows_need_no_rows() {
    let lake = lake().await;
    let session = at(&lake, None).await;
    for view in ["credits", "installs"] {
        let plan = async |columns: &str| plan(&session, &format!("SELECT {columns} FROM {view}")).await;
        assert!(!plan("count(*)").await.contains(STANDING), "{view}");
        assert!(plan("count(*), max(tenant)").await.contains(STANDING), "{view}");
    }
    for cut in CUTS {
        let session = at(&lake, Some(cut)).await;
        for (weighted, of_rows) in [
            (
                "channel, count(*), sum(credit_ppm), avg(credit_ppm)",
                "channel, count(*), sum(credit_ppm), avg(credit_ppm), max(1)",
            ),
            ("channel, sum(revenue_micros), count(campaign)", "channel, sum(revenue_micros), count(campaign), max(1)"),
        ] {
            let statement = |columns: &str| {
                format!("SELECT {columns} FROM credits WHERE model <> 'first' GROUP BY channel ORDER BY 1")
            };
            assert!(!plan(&session, &statement(weighted)).await.contains(STANDING));
            assert!(plan(&session, &statement(of_rows)).await.contains(STANDING));
            let of_rows = printed(&session, &statement(of_rows)).await;
            let of_rows = of_rows.lines().map(|line| line.rsplit_once(',').unwrap().0).collect::<Vec<_>>();
            assert_eq!(printed(&session, &statement(weighted)).await.lines().collect::<Vec<_>>(), of_rows);
        }
    }
}

#[tokio::test]
async fn a_limit_gives_as_many_of_the_rows_as_there_are() {
    let lake = lake().await;
    for cut in CUTS {
        let session = at(&lake, Some(cut)).await;
        for of in [
            "credits",
            "credits WHERE channel = 'search'",
            "installs",
            "costs",
            "credits WHERE model = 'first' AND credit_ppm > 0",
        ] {
            let columns = "SELECT event_time, model, channel, credit_ppm, revenue_micros".replace(
                "model, channel, credit_ppm, revenue_micros",
                if of.starts_with("credits") { "model, channel, credit_ppm, revenue_micros" } else { "app" },
            );
            let columns = if of == "costs" { "SELECT *" } else { columns.as_str() };
            let all = printed(&session, &format!("{columns} FROM {of} ORDER BY 1")).await;
            let all: Vec<&str> = all.lines().skip(1).collect();
            for limit in [0, 1, 3, 20] {
                let some = printed(&session, &format!("{columns} FROM {of} LIMIT {limit}")).await;
                let mut left = all.clone();
                for row in some.lines().skip(1) {
                    let at = left.iter().position(|other| *other == row);
                    left.swap_remove(at.unwrap_or_else(|| panic!("{row} is no row of {of} at {cut}")));
                }
                assert_eq!(all.len() - left.len(), all.len().min(limit), "{of} at {cut}");
            }
        }
    }
}

#[tokio::test]
async fn a_limit_without_an_order_is_answered_from_the_changes_of_a_few_times() {
    let lake = lake().await;
    let session = at(&lake, None).await;
    for (statement, is_of_the_form) in [
        ("SELECT * FROM credits LIMIT 3", true),
        ("SELECT channel, credit_ppm / 1e6 FROM credits WHERE model = 'last' LIMIT 1", true),
        ("SELECT * FROM (SELECT * FROM installs) LIMIT 1", true),
        // More than there are.
        ("SELECT * FROM credits LIMIT 500", false),
        ("SELECT * FROM credits ORDER BY event_time LIMIT 3", false),
        ("SELECT * FROM credits LIMIT 3 OFFSET 1", false),
        ("SELECT model, count(*) FROM credits GROUP BY model LIMIT 3", false),
        ("SELECT DISTINCT model FROM credits LIMIT 3", false),
        ("SELECT * FROM records LIMIT 3", false),
        ("SELECT * FROM metrics_hourly LIMIT 1", false),
    ] {
        let asked = session.public().sql(statement).await.unwrap();
        let answered = first_rows(session.public(), asked.logical_plan()).await.unwrap();
        assert_eq!(answered.is_some(), is_of_the_form, "{statement}");
    }
}
