//! `symbols`: the names behind symbols.

use std::sync::LazyLock;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;

use super::columns::{Reader, TableError, Writer};
use crate::symbols::{First, Name, Symbol};
use crate::units::Tick;

static SYMBOLS: LazyLock<SchemaRef> = LazyLock::new(|| symbols_batch(&[], 0).schema());

/// The columns of `symbols`.
pub fn symbols_schema() -> SchemaRef {
    SYMBOLS.clone()
}

/// Names that become durable with a cut.
pub fn symbols_batch(names: &[Name], cut: Tick) -> RecordBatch {
    let mut out = Writer::default();
    out.symbol("symbol", names.iter().map(|name| name.symbol));
    out.text("name", names.iter().map(|name| &name.name));
    out.long("_cut", names.iter().map(|_| cut as i64));
    let first = || names.iter().map(|name| name.first.as_ref());
    out.long_or_null("tenant", first().map(|first| first?.tenant.some().map(|tenant| tenant.0)));
    out.text_or_null("field", first().map(|first| Some(&*first?.field)));
    out.finish()
}

/// The names in a batch of `symbols`.
pub fn symbols_rows(batch: &RecordBatch) -> Result<Vec<Name>, TableError> {
    let reader = Reader::new(batch);
    reader.require("symbol", |_| true)?;
    reader.require("name", |_| true)?;
    let mut rows = vec![Name { symbol: Symbol::NONE, name: String::new(), first: None }; batch.num_rows()];
    reader.symbol("symbol", |row, value| rows[row].symbol = value)?;
    reader.text("name", |row, value| rows[row].name = value.to_owned())?;
    let first = |field: &str| First { tenant: Symbol::NONE, field: field.into() };
    reader.text("field", |row, field| rows[row].first = Some(first(field)))?;
    reader.symbol("tenant", |row, tenant| rows[row].first.iter_mut().for_each(|first| first.tenant = tenant))?;
    Ok(rows)
}
