//! Columns that come to a table: a build that writes columns which an older one did not.
//!
//! Every start compares the columns that it writes with those that the table's log names. What is missing is added by a
//! `metaData` action in the very commit that claims the epoch: no file with the columns can come before it, it is fenced
//! as the claim is, and a start that finds them does nothing. Older files stay as they are; readers take the absent columns
//! for null, so a column that comes must be one that may be null. Columns are never taken away and never change their type.
//!
//! A table may have columns that this build does not know: a newer one wrote them. This one must not write then, for its
//! rows would lack what the newer one counts on; reading is fine.

use deltalake_core::DeltaTable;
use deltalake_core::kernel::{Metadata, MetadataExt, StructField, StructType};

use super::error::LedgerError;
use super::log::TableLog;

/// Columns to be added, and what the log is to say of the table from then on.
pub(super) struct Widening {
    /// The columns.
    pub(super) fields: Vec<StructField>,
    /// The whole schema with them, as the log says it.
    pub(super) schema: String,
    /// The action.
    pub(super) metadata: Metadata,
}

/// The columns of `ours` that a table with the schema `held` lacks.
pub(super) fn lacking(table: &str, ours: &StructType, held: &str) -> Result<Vec<StructField>, LedgerError> {
    let held = parse(table, held)?;
    let unknown: Vec<_> = held.fields().map(StructField::name).filter(|name| ours.field(name).is_none()).collect();
    if !unknown.is_empty() {
        let columns = unknown.iter().map(|name| name.to_string()).collect();
        return Err(LedgerError::NewerColumns { table: table.to_owned(), columns });
    }
    let mut lacking = Vec::new();
    for field in ours.fields() {
        match held.field(field.name()) {
            None => lacking.push(field.clone()),
            Some(same) if same.data_type() == field.data_type() => {}
            Some(other) => {
                return Err(LedgerError::ColumnType {
                    table: table.to_owned(),
                    column: field.name().clone(),
                    found: other.data_type().to_string(),
                    ours: field.data_type().to_string(),
                });
            }
        }
    }
    Ok(lacking)
}

/// What has to be committed so that the table has all columns that this build writes; none where it has them.
///
/// # Panics
/// If a column that the table lacks may not be null: rows of older files have no value of it.
pub(super) async fn widening(log: &TableLog) -> Result<Option<Widening>, LedgerError> {
    let fields = log.lacking()?;
    if fields.is_empty() {
        return Ok(None);
    }
    assert!(fields.iter().all(StructField::is_nullable), "{}: a column comes that may not be null", log.name());
    let read = async {
        // Rare, so that a log need not keep what nothing else asks for.
        let mut table = DeltaTable::new(log.store());
        table.load_version(log.version()).await?;
        let held = table.snapshot()?.metadata().clone();
        let known = table.snapshot()?.schema();
        let wider = StructType::try_new(known.fields().cloned().chain(fields.iter().cloned()))?;
        Ok((serde_json::to_string(&wider)?, held.with_schema(&wider)?))
    };
    let (schema, metadata) = read.await.map_err(LedgerError::delta::<deltalake_core::DeltaTableError>(log.name()))?;
    Ok(Some(Widening { fields, schema, metadata }))
}

fn parse(table: &str, schema: &str) -> Result<StructType, LedgerError> {
    serde_json::from_str(schema).map_err(LedgerError::delta(table))
}
