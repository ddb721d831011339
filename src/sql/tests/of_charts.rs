//! Charts that have names, over the lake of the tests.

use clap::ValueEnum;

use crate::sql::plot::{Metric, NamedChart};

use super::*;

#[tokio::test]
async fn every_chart_asks_what_its_views_have() {
    let lake = lake().await;
    let session = at(&lake, None).await;
    for chart in NamedChart::value_variants() {
        for metric in [Metric::Clicks, Metric::Revenue] {
            let sql = chart.sql(chart.condition(), metric);
            let rows = session.query(&sql).await.unwrap_or_else(|error| panic!("{chart:?}: {error}\n{sql}"));
            rows.collect().await.unwrap_or_else(|error| panic!("{chart:?}: {error}\n{sql}"));
        }
    }
}

#[tokio::test]
async fn revenue_has_a_line_for_each_currency() {
    let lake = lake().await;
    let session = at(&lake, None).await;
    let sql = NamedChart::Metric.sql("TRUE", Metric::Revenue);
    let of_series =
        format!("SELECT series, count(revenue) AS hours, sum(revenue) AS revenue FROM ({sql}) GROUP BY 1 ORDER BY 1");
    let expected = "series,hours,revenue\nanomalies USD,0,\nrevenue USD,1,18.000002\n";
    assert_eq!(printed(&session, &of_series).await, expected);
}
