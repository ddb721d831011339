//! `symbols`: the names behind symbols.

use std::sync::LazyLock;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;

use super::columns::{Reader, TableError, Writer};
use crate::symbols::Symbol;
use crate::units::Tick;

static SYMBOLS: LazyLock<SchemaRef> = LazyLock::new(|| symbols_batch(&[], 0).schema());

/// The columns of `symbols`.
pub fn symbols_schema() -> SchemaRef {
    SYMBOLS.clone()
}

/// Names that become durable with a cut.
pub fn symbols_batch(names: &[(Symbol, String)], cut: Tick) -> RecordBatch {
    let mut out = Writer::default();
    out.symbol("symbol", names.iter().map(|(symbol, _)| *symbol));
    out.text("name", names.iter().map(|(_, name)| name));
    out.long("_cut", names.iter().map(|_| cut as i64));
    out.finish()
}

/// The names in a batch of `symbols`.
pub fn symbols_rows(batch: &RecordBatch) -> Result<Vec<(Symbol, String)>, TableError> {
    let reader = Reader::new(batch);
    reader.require("symbol", |_| true)?;
    reader.require("name", |_| true)?;
    let mut rows = vec![(Symbol::NONE, String::new()); batch.num_rows()];
    reader.symbol("symbol", |row, value| rows[row].0 = value)?;
    reader.text("name", |row, value| rows[row].1 = value.to_owned())?;
    Ok(rows)
}
