//! Charts that have names, over the lake of the tests.

use crate::sql::plot::{Metric, NamedChart};

use super::*;

#[tokio::test]
async fn every_chart_asks_what_its_views_have() {
    let lake = lake().await;
    let session = at(&lake, None).await;
    for chart in NamedChart::ALL {
        for metric in [Metric::Clicks, Metric::Revenue] {
            let sql = chart.sql(chart.condition(), metric);
            let rows = session.query(&sql).await.unwrap_or_else(|error| panic!("{chart:?}: {error}\n{sql}"));
            rows.collect().await.unwrap_or_else(|error| panic!("{chart:?}: {error}\n{sql}"));
        }
    }
}
