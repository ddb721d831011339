//! What a lake is: how it was made, what its views are made by, and how far its tables are. For people; nothing is written.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use deltalake_core::kernel::StructType;
use schemas::Tick;
use schemas::table;

use super::directory::Lake;
use super::error::LedgerError;
use super::imports::Imports;
use super::log::TableLog;
use super::sink::Sink;
use super::{COLUMN, columns, load};

/// What a lake is.
#[derive(Clone, Debug)]
pub struct About {
    /// Its directory, settings and views.
    pub lake: Lake,
    /// The last cut of `records`; none where nothing was committed yet.
    pub cut: Option<Tick>,
    /// The last cut that each view's table holds.
    pub views: BTreeMap<String, Option<Tick>>,
    /// Columns that came to `records` after it was made, and when: ms since the Unix epoch.
    pub columns_added: BTreeMap<String, i64>,
    /// Columns that this build writes and `records` lacks: the next start that writes adds them.
    pub columns_lacking: Vec<String>,
    /// Why this build must not write the lake; none where it may.
    pub refused: Option<String>,
    /// The imports.
    pub imports: Imports,
}

/// Looks at a lake.
pub async fn about(path: &Path) -> Result<About, LedgerError> {
    let lake = Lake::read(path)?;
    let mut about = About {
        imports: Imports::read(&lake).await?,
        cut: None,
        views: BTreeMap::new(),
        columns_added: BTreeMap::new(),
        columns_lacking: Vec::new(),
        refused: None,
        lake,
    };
    let records = TableLog::look(&about.lake, "records").await?;
    for (view, hash) in &about.lake.views {
        let own = TableLog::look(&about.lake, view).await?.and_then(|log| log.cut());
        let said = records.as_ref().and_then(|records| records.txn(&Sink::done_id(view, hash)));
        about.views.insert(view.clone(), own.max(said.map(|cut| cut as Tick)));
    }
    if let Some(records) = records {
        about.cut = records.cut();
        about.columns_added = records.txns_under(COLUMN).map(|(column, at_ms)| (column.to_owned(), at_ms)).collect();
        let ours: StructType = columns::kernel("records", &load::with_arrival_date(&table::records_schema()))?;
        match columns::lacking("records", &ours, records.schema()) {
            Ok(lacking) => about.columns_lacking = lacking.iter().map(|field| field.name().clone()).collect(),
            Err(refused) => about.refused = Some(refused.to_string()),
        }
    }
    Ok(about)
}

/// The columns of `records` that some data files lack: they came after the table was made.
pub async fn columns_that_came(lake: &Lake) -> Result<BTreeSet<String>, LedgerError> {
    let Some(records) = TableLog::look(lake, "records").await? else { return Ok(BTreeSet::new()) };
    let ours: StructType = columns::kernel("records", &load::with_arrival_date(&table::records_schema()))?;
    let lacking = columns::lacking("records", &ours, records.schema()).unwrap_or_default();
    let added = records.txns_under(COLUMN).map(|(column, _)| column.to_owned());
    Ok(added.chain(lacking.iter().map(|field| field.name().clone())).collect())
}
