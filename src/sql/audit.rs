//! `bidstream audit`: is every stored row what its definition says, and nothing else?
//!
//! A view is computed again by its SQL definition from the `records` of the cut that all tables hold, and compared
//! with its table as a multiset of rows. A view that another view reads is computed again too, so that an error shows
//! in the table where it is and not in those after it. Besides, no row may stand less than zero times, no record may
//! be stored twice, and no symbol may have two names.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;

use arrow::datatypes::{Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use dataflows::params::Params;
use dataflows::view::{Form, View};
use dataflows::views;
use datafusion::catalog::MemTable;
use datafusion::prelude::{SessionContext, ident, lit};
use futures::TryStreamExt;
use schemas::Tick;
use schemas::ids::IdHasher;
use serde::Serialize;

use super::catalog::Session;
use super::current::{changes, current_rows};
use super::differences::{Difference, compare};
use super::format::{cell, rfc3339};
use super::interrupt::{self, unless_interrupted};
use super::{Format, Memory, Resources, SqlError, open};

/// What `bidstream audit` is asked to do.
#[derive(Clone, Debug)]
pub struct AuditOptions {
    /// The lake's directory.
    pub lake: PathBuf,
    /// The views to audit; all where there are none.
    pub views: Vec<String>,
    /// The form of the output: JSON is one object, any other form is text.
    pub format: Format,
    /// The memory that its queries may take.
    pub memory: Memory,
}

/// What an audit found.
#[derive(Debug, Serialize)]
pub struct Report {
    /// The cut at which everything was read, milliseconds since the Unix epoch.
    pub cut: Tick,
    /// The views that were audited.
    pub views: Vec<ViewReport>,
    /// What is wrong with the tables besides: one line each.
    pub findings: Vec<String>,
}

/// What an audit found in one view.
#[derive(Debug, Serialize)]
pub struct ViewReport {
    /// The view.
    pub view: String,
    /// Rows that the definition gives.
    pub expected_rows: u64,
    /// Rows that stand in the table.
    pub present_rows: u64,
    /// Where they differ.
    pub differences: Vec<Difference>,
}

impl Report {
    /// Whether nothing is wrong.
    pub fn is_clean(&self) -> bool {
        self.findings.is_empty() && self.views.iter().all(|view| view.differences.is_empty())
    }

    /// The report as text.
    pub fn text(&self) -> String {
        let mut text = format!("at cut {} ({})\n", self.cut, rfc3339(self.cut as i64));
        for view in &self.views {
            let differences = match view.differences.len() {
                0 => "no difference".to_owned(),
                1 => "1 difference".to_owned(),
                many => format!("{many} differences"),
            };
            let (expected, present) = (view.expected_rows, view.present_rows);
            let _ = writeln!(text, "{}: {expected} rows expected, {present} present: {differences}", view.view);
            view.differences.iter().for_each(|difference| text.push_str(&difference.text()));
        }
        self.findings.iter().for_each(|finding| {
            let _ = writeln!(text, "! {finding}");
        });
        text
    }
}

/// Audits the views, prints the report and tells whether it is clean.
pub async fn run(options: &AuditOptions, mut out: impl Write) -> Result<bool, SqlError> {
    // No id is made here, so the key does not matter.
    let session = open(&options.lake, None, &IdHasher::new(b""), Resources::new(options.memory)?).await?;
    let report = unless_interrupted(&interrupt::ANY, audit(&session, &options.views)).await?;
    match options.format {
        Format::Json => writeln!(out, "{}", serde_json::to_string(&report).expect("a report is plain data"))?,
        Format::Table | Format::Csv => write!(out, "{}", report.text())?,
    }
    Ok(report.is_clean())
}

/// Audits the named views, or all where none is named.
pub async fn audit(session: &Session, names: &[String]) -> Result<Report, SqlError> {
    let all = views::views();
    let stored = views::maintained().filter(|(view, _)| session.stores(view.name));
    let known: Vec<String> = stored.map(|(view, _)| view.name.to_owned()).collect();
    if let Some(name) = names.iter().find(|name| !known.contains(name)) {
        return Err(SqlError::NoView { name: name.clone(), known: known.clone() });
    }
    let named = |view: &View| names.is_empty() || names.iter().any(|name| name == view.name);
    let wanted = |view: &View| known.iter().any(|name| name == view.name) && named(view);
    let Some(last) = all.iter().rposition(|view| wanted(view)) else {
        return Ok(Report { cut: session.cut(), views: Vec::new(), findings: findings(session).await? });
    };

    // Definitions read each other by name: here each name is bound to what its own definition gave. The rows are kept,
    // because a definition that reads another one thrice would compute it thrice.
    let oracle = session.scratch().await?;
    let mut views = Vec::new();
    let read = reads_of(&all[..=last], wanted, session.params());
    for view in all[..=last].iter().filter(|view| wanted(view) || read.contains(view.name)) {
        let expected = recompute(&oracle, session.params(), view).await?;
        if let Some(maintained) = view.maintained.as_ref().filter(|_| wanted(view)) {
            views.push(differences(session, view, maintained.form, &expected).await?);
        }
    }
    Ok(Report { cut: session.cut(), views, findings: findings(session).await? })
}

/// The names that definitions of the wanted views read, also through others. Each reads only those before it, and by these
/// parameters perhaps not all that it may.
fn reads_of(all: &[&'static View], wanted: impl Fn(&View) -> bool, params: &Params) -> BTreeSet<&'static str> {
    all.iter().rev().fold(BTreeSet::new(), |mut read, view| {
        if wanted(view) || read.contains(view.name) {
            let sql = (view.sql)(params);
            read.extend(view.reads.iter().filter(|name| sql.contains(**name)));
        }
        read
    })
}

/// Computes a view by its definition and binds its name to the rows.
async fn recompute(oracle: &SessionContext, params: &Params, view: &View) -> Result<Vec<RecordBatch>, SqlError> {
    let definition = oracle.sql(&(view.sql)(params)).await?;
    let rows = definition.execute_stream().await?;
    let schema = rows.schema();
    let batches: Vec<RecordBatch> = rows.try_collect().await?;
    oracle.register_table(view.name, Arc::new(MemTable::try_new(schema, vec![batches.clone()])?))?;
    Ok(batches)
}

async fn differences(
    session: &Session,
    view: &View,
    form: Form,
    expected: &[RecordBatch],
) -> Result<ViewReport, SqlError> {
    let changes = session.raw().table(changes(view.name)).await?;
    let fields = changes.schema().fields().iter().filter(|field| !field.name().starts_with('_'));
    let columns: SchemaRef = Arc::new(Schema::new(fields.cloned().collect::<Vec<_>>()));
    let mut selected: Vec<_> = columns.fields().iter().map(|field| ident(field.name())).collect();
    let rows = match form {
        Form::Rows => {
            selected.push(ident("_diff"));
            changes.select(selected)?
        }
        // Each key that the sums show is there once.
        Form::Sums(_) => {
            selected.push(lit(1_i64).alias("_diff"));
            current_rows(session.raw(), view.name, form).await?.select(selected)?
        }
    };
    let stream = async || Ok(rows.clone().execute_stream().await?);
    let found = compare(expected, stream, &columns, view.key, session.names()).await?;
    Ok(ViewReport {
        view: view.name.to_owned(),
        expected_rows: found.expected_rows,
        present_rows: found.present_rows,
        differences: found.differences,
    })
}

/// What must hold of the tables themselves.
async fn findings(session: &Session) -> Result<Vec<String>, SqlError> {
    let twice = r#"
        SELECT "topic", "partition", "offset", count(*) FROM records
        GROUP BY "topic", "partition", "offset" HAVING count(*) > 1 ORDER BY 1, 2, 3"#;
    let two_names = r#"
        SELECT "symbol", array_agg(DISTINCT "name" ORDER BY "name") FROM symbols
        GROUP BY "symbol" HAVING count(DISTINCT "name") > 1 ORDER BY 1"#;
    let mut findings = Vec::new();
    for batch in session.raw().sql(twice).await?.collect().await? {
        findings.extend((0..batch.num_rows()).map(|row| {
            let value = |column: usize| cell(batch.column(column), row).unwrap_or_default();
            let (topic, partition, offset, times) = (value(0), value(1), value(2), value(3));
            format!("records holds {topic} partition {partition} offset {offset} {times} times")
        }));
    }
    for batch in session.raw().sql(two_names).await?.collect().await? {
        findings.extend((0..batch.num_rows()).map(|row| {
            let value = |column: usize| cell(batch.column(column), row).unwrap_or_default();
            format!("symbol {} has the names {}", value(0), value(1))
        }));
    }
    Ok(findings)
}
