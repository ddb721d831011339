//! A lake whose tenant has a time zone, as readers see it.

use dataflows::views;

use super::*;

async fn zoned() -> TempDir {
    let zones = [("shop".to_owned(), "Asia/Kolkata".to_owned())].into();
    lake_with(&LakeSettings { zones, ..settings() }, records()).await
}

#[tokio::test]
async fn hours_and_days_are_the_tenants_own() {
    let lake = zoned().await;
    let session = at(&lake, None).await;
    let asked = "SELECT tenant, zone, offset_ms FROM zones WHERE starts < '2026-01-01' AND ends > '2026-01-01'";
    assert_eq!(printed(&session, asked).await, "tenant,zone,offset_ms\nshop,Asia/Kolkata,19800000\n");
    // Midnight of UTC is 05:30 there.
    let hours = printed(&session, "SELECT DISTINCT hour FROM metrics_hourly").await;
    assert_eq!(hours, "hour\n2025-12-31T23:30:00.000Z\n");
    let days = printed(&session, "SELECT DISTINCT day FROM metrics_daily").await;
    assert_eq!(days, "day\n2025-12-31T18:30:00.000Z\n");
    let days = printed(&session, "SELECT DISTINCT bucket FROM uniques WHERE period = 'day'").await;
    assert_eq!(days, "bucket\n2025-12-31T18:30:00.000Z\n");
    let report = audit(&session, &[]).await.unwrap();
    assert!(report.is_clean(), "{}", report.text());
}

#[tokio::test]
async fn zones_are_joined_by_a_hash_and_where_there_are_none_not_at_all() {
    let definition = (views::view("costs").unwrap().sql)(&Params::default());
    let plan = async |lake: &TempDir| {
        let session = at(lake, None).await;
        let planned = session.raw().sql(&definition).await.unwrap().create_physical_plan().await.unwrap();
        datafusion::physical_plan::displayable(planned.as_ref()).indent(true).to_string()
    };
    let with = plan(&zoned().await).await;
    let by = ["HashJoinExec", "of_tenant@", "half_year@"];
    assert!(with.lines().any(|line| by.iter().all(|part| line.contains(part))), "{with}");
    let without = plan(&super::lake().await).await;
    assert!(!without.contains("of_tenant"), "{without}");
}
