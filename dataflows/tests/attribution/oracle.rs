//! The views by their SQL definitions, over the same records.

use std::sync::Arc;

use dataflows::catalogue::definition;
use dataflows::params::Params;
use datafusion::datasource::MemTable;
use datafusion::prelude::{SessionConfig, SessionContext};
use schemas::event::Accepted;
use schemas::table::{RecordRow, Verdict, credits_rows, installs_rows, records_batch};
use schemas::view::{CreditRow, InstallRow};

/// The rows of the maintained views over these records, in order.
pub(crate) struct Rows {
    pub(crate) installs: Vec<InstallRow>,
    pub(crate) credits: Vec<CreditRow>,
}

pub(crate) fn sql(records: &[(Accepted, Verdict)], params: &Params) -> Rows {
    let rows: Vec<RecordRow> = records
        .iter()
        .enumerate()
        .map(|(offset, (record, verdict))| RecordRow {
            verdict: *verdict,
            reason: None,
            topic: Arc::from("events"),
            partition: 0,
            offset: offset as i64,
            arrival_ms: 0,
            cut: 0,
            payload_hash: record.payload_hash,
            event: Some(record.event),
            capped: record.capped,
            items: None,
            raw: None,
            extras: None,
        })
        .collect();
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime starts");
    runtime.block_on(async {
        let context = SessionContext::new_with_config(SessionConfig::new().with_target_partitions(1));
        let records = records_batch(rows.iter());
        let table = MemTable::try_new(records.schema(), vec![vec![records]]).expect("one schema");
        context.register_table("records", Arc::new(table)).expect("a new name");
        // No import was undone.
        let nothing = context.sql("SELECT '' AS topic WHERE false").await.expect("a plain query");
        context.register_table("voids", nothing.into_view()).expect("a new name");
        let mut last = Vec::new();
        let mut installs = Vec::new();
        for view in ["events", "installs", "credits"] {
            let sql = (definition(view).expect("it is in the catalogue").sql)(params);
            let frame = context.sql(&sql).await.unwrap_or_else(|error| panic!("{view}: {error}\n{sql}"));
            let planned = Arc::new(frame.schema().as_arrow().clone());
            last = frame.collect().await.unwrap_or_else(|error| panic!("{view}: {error}\n{sql}"));
            // What comes may be stricter about nulls in lists than what was planned.
            let schema = last.first().map_or(planned, |batch| batch.schema());
            let table = MemTable::try_new(schema, vec![last.clone()]).expect("one schema");
            context.register_table(view, Arc::new(table)).expect("a new name");
            if view == "installs" {
                installs = last.clone();
            }
        }
        let installs = installs.iter().flat_map(|batch| installs_rows(batch).expect("rows of installs"));
        let credits = last.iter().flat_map(|batch| credits_rows(batch).expect("rows of credits"));
        let mut rows = Rows {
            installs: installs.map(|(row, _, _)| row).collect(),
            credits: credits.map(|(row, _, _)| row).collect(),
        };
        rows.installs.sort();
        rows.credits.sort();
        rows
    })
}
