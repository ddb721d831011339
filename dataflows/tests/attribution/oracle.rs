//! The views by their SQL definitions, over the same records.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::RecordBatch;
use dataflows::moments::Moments;
use dataflows::params::Params;
use dataflows::view::View;
use dataflows::views;
use dataflows::views::attributed_ids::ATTRIBUTED_IDS;
use dataflows::views::credits::CreditRow;
use dataflows::views::installs::InstallRow;
use dataflows::views::likely_links::LIKELY_LINKS;
use datafusion::datasource::MemTable;
use datafusion::prelude::{SessionConfig, SessionContext};
use schemas::Tick;
use schemas::event::Accepted;
use schemas::table::{RecordRow, Verdict, records_batch};

use crate::read;
use crate::stream::{MOMENTS, SEALING};

/// The rows of the maintained views over these records.
pub(crate) struct Rows {
    /// In order.
    pub(crate) installs: Vec<InstallRow>,
    /// In order.
    pub(crate) credits: Vec<CreditRow>,
    /// Of each view as they came, by its name.
    pub(crate) views: BTreeMap<&'static str, Vec<RecordBatch>>,
}

/// Views that are not maintained and that others read.
const READ: [&str; 2] = [ATTRIBUTED_IDS.name, LIKELY_LINKS.name];

/// Whether what a view says changes with time alone (`by_time.rs`).
pub(crate) fn by_time(view: &View) -> bool {
    view.reads.contains(&"as_of")
}

/// The rows of all maintained views but those.
pub(crate) fn sql(records: &[(Accepted, Verdict)], params: &Params) -> Rows {
    sql_with(records, params, &MOMENTS)
}

/// The same where links count as of these moments.
pub(crate) fn sql_with(records: &[(Accepted, Verdict)], params: &Params, moments: &Moments) -> Rows {
    let wanted = |view: &View| view.maintained.is_some() && !by_time(view) || READ.contains(&view.name);
    let views = definitions(records, params, (0, moments), wanted);
    let mut rows = Rows {
        installs: views["installs"].iter().flat_map(read::installs).collect(),
        credits: views["credits"].iter().flat_map(read::credits).collect(),
        views,
    };
    rows.installs.sort();
    rows.credits.sort();
    rows
}

/// The rows of these views as of a cut.
pub(crate) fn at(
    records: &[(Accepted, Verdict)],
    params: &Params,
    cut: Tick,
    names: &[&str],
) -> BTreeMap<&'static str, Vec<RecordBatch>> {
    let mut wanted: Vec<&str> = names.to_vec();
    // From the last to the first: each comes after those that it reads.
    for view in views::views().iter().rev() {
        if wanted.contains(&view.name) {
            wanted.extend(view.reads);
        }
    }
    definitions(records, params, (cut, &MOMENTS), |view| wanted.contains(&view.name))
}

fn definitions(
    records: &[(Accepted, Verdict)],
    params: &Params,
    (cut, moments): (Tick, &Moments),
    wanted: impl Fn(&View) -> bool,
) -> BTreeMap<&'static str, Vec<RecordBatch>> {
    let rows: Vec<RecordRow> = records
        .iter()
        .enumerate()
        .map(|(offset, (record, verdict))| RecordRow {
            verdict: *verdict,
            reason: None,
            topic: Arc::from("events"),
            partition: 0,
            offset: offset as i64,
            arrival_ms: record.arrival_ms,
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
        for (name, rows) in [("zone_spans", params.zones.spans()), ("zone_days", params.zones.days())] {
            let table = MemTable::try_new(rows.schema(), vec![vec![rows]]).expect("one schema");
            context.register_table(name, Arc::new(table)).expect("a new name");
        }
        let mut views = BTreeMap::new();
        let final_before = (cut as i64).saturating_sub(SEALING.final_after_ms);
        let moments = moments.columns_sql();
        let as_of_sql =
            format!("SELECT CAST({cut} AS BIGINT) AS cut, CAST({final_before} AS BIGINT) AS final_before, {moments}");
        let as_of = context.sql(&as_of_sql).await.expect("a plain query");
        context.register_table("as_of", as_of.into_view()).expect("a new name");
        // Large to plan, so it is where it is read alone.
        let is_read = |view: &View| view.name != ATTRIBUTED_IDS.name || params.installs.identity;
        for view in views::views().iter().filter(|view| view.name == "events" || wanted(view) && is_read(view)) {
            let (name, sql) = (view.name, (view.sql)(params));
            let frame = context.sql(&sql).await.unwrap_or_else(|error| panic!("{name}: {error}\n{sql}"));
            let planned = Arc::new(frame.schema().as_arrow().clone());
            let rows = frame.collect().await.unwrap_or_else(|error| panic!("{name}: {error}\n{sql}"));
            // What comes may be stricter about nulls in lists than what was planned.
            let schema = rows.first().map_or(planned, |batch| batch.schema());
            let table = MemTable::try_new(schema, vec![rows.clone()]).expect("one schema");
            context.register_table(name, Arc::new(table)).expect("a new name");
            views.insert(name, rows);
        }
        views
    })
}
