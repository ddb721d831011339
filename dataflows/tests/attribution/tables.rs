//! Any maintained view as Arrow rows, so that a test can compare what a dataflow writes of it with what its SQL gives.

use std::collections::BTreeMap;

use arrow::array::{Array, AsArray, BooleanArray, RecordBatch, UInt32Array};
use arrow::compute::{cast, concat_batches, filter_record_batch, take_record_batch};
use arrow::datatypes::{DataType, Field, Int64Type};
use arrow::row::{RowConverter, SortField};
use dataflows::view::{Form, Maintained};
use schemas::{Symbol, Tick};

/// What tells a row from others, printed as bytes, and its sums: how often it is there, or what is added up.
pub(crate) type Table = BTreeMap<Vec<u8>, Vec<i64>>;

/// Rows by their tenant.
pub(crate) struct ByTenant(BTreeMap<i64, RecordBatch>);

impl ByTenant {
    pub(crate) fn of(batches: &[RecordBatch]) -> ByTenant {
        let Some(first) = batches.first() else { return ByTenant(BTreeMap::new()) };
        let all = concat_batches(&first.schema(), batches).expect("one schema");
        let mut rows: BTreeMap<i64, Vec<u32>> = BTreeMap::new();
        for (row, tenant) in all["tenant"].as_primitive::<Int64Type>().values().iter().enumerate() {
            rows.entry(*tenant).or_default().push(row as u32);
        }
        let take = |rows: Vec<u32>| take_record_batch(&all, &UInt32Array::from(rows)).expect("rows of it");
        ByTenant(rows.into_iter().map(|(tenant, rows)| (tenant, take(rows))).collect())
    }

    fn rows(&self, tenant: Symbol) -> &[RecordBatch] {
        self.0.get(&tenant.0).map_or(&[], std::slice::from_ref)
    }
}

/// What a tenant has of a view after what was written up to a cut.
pub(crate) fn written(view: &Maintained, changes: &ByTenant, tenant: Symbol, cut: Tick) -> Table {
    let measures = match view.form {
        Form::Rows => vec!["_diff"],
        Form::Sums(_) => measures(view),
    };
    let up_to = |batch: &RecordBatch| {
        let cuts = batch["_cut"].as_primitive::<Int64Type>();
        let kept = BooleanArray::from_unary(cuts, |at| at as Tick <= cut);
        filter_record_batch(batch, &kept).expect("one length")
    };
    let changes: Vec<_> = changes.rows(tenant).iter().map(up_to).collect();
    let mut table = summed(view, &changes, &measures);
    if view.form == Form::Rows {
        let others: Vec<_> = table.iter().filter(|(_, times)| times[0] != 1).collect();
        assert!(others.is_empty(), "every row is there once at {cut}: {others:?}");
    } else {
        // Whose count is zero is not there, whatever its sums.
        table.retain(|_, sums| sums.last() != Some(&0));
    }
    table
}

/// What its SQL gives a tenant.
pub(crate) fn defined(view: &Maintained, rows: &ByTenant, tenant: Symbol) -> Table {
    let rows = rows.rows(tenant);
    match view.form {
        Form::Rows => {
            let mut table = summed(view, rows, &[]);
            table.values_mut().for_each(|times| times.push(1));
            table
        }
        Form::Sums(_) => summed(view, rows, &measures(view)),
    }
}

fn measures(view: &Maintained) -> Vec<&'static str> {
    let Form::Sums(measures) = view.form else { return Vec::new() };
    view.columns[view.columns.len() - measures..].iter().map(|column| column.name).collect()
}

fn summed(view: &Maintained, batches: &[RecordBatch], sums: &[&str]) -> Table {
    let schema = (view.schema)();
    let is_key = |field: &&std::sync::Arc<Field>| {
        !field.name().starts_with('_') && field.name() != "tenant" && !measures(view).contains(&field.name().as_str())
    };
    let key: Vec<_> = schema.fields().iter().filter(is_key).collect();
    let fields = key.iter().map(|field| SortField::new(field.data_type().clone())).collect();
    let converter = RowConverter::new(fields).expect("keys can be compared");
    let mut table = Table::new();
    for batch in batches {
        let columns: Vec<_> =
            key.iter().map(|field| cast(&batch[field.name().as_str()], field.data_type()).expect("its type")).collect();
        let rows = converter.convert_columns(&columns).expect("columns of a key");
        let long = |name: &str| cast(&batch[name], &DataType::Int64).expect("a number");
        let added: Vec<_> = sums.iter().map(|name| long(name)).collect();
        for (row, key) in rows.iter().enumerate() {
            let sums = table.entry(key.as_ref().to_vec()).or_insert_with(|| vec![0; added.len()]);
            for (sum, added) in sums.iter_mut().zip(&added) {
                assert!(added.is_valid(row));
                *sum += added.as_primitive::<Int64Type>().value(row);
            }
        }
    }
    table.retain(|_, sums| sums.is_empty() || sums.iter().any(|sum| *sum != 0));
    table
}
