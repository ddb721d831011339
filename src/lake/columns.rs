//! The columns of a table as its log says them, beside those that this build writes.

use arrow::datatypes::Schema;
use arrow::error::ArrowError;
use deltalake_core::kernel::engine::arrow_conversion::TryIntoKernel;
use deltalake_core::kernel::{Metadata, StructField, StructType};

use super::error::LedgerError;

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

/// A schema of ours in Delta's terms.
pub(super) fn kernel(table: &str, schema: &Schema) -> Result<StructType, LedgerError> {
    schema.try_into_kernel().map_err(|error: ArrowError| LedgerError::delta(table)(error))
}

pub(super) fn parse(table: &str, schema: &str) -> Result<StructType, LedgerError> {
    serde_json::from_str(schema).map_err(LedgerError::delta(table))
}
