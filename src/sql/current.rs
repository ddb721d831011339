//! The current rows of a view: what its changes sum to.

use dataflows::view::Form;
use datafusion::prelude::{DataFrame, Expr, SessionContext, ident, lit};

use super::SqlError;
use super::checked_sum::checked_sum;

/// How often a row of a changelog stands. By this name the planner knows the sums that make current rows from those that people
/// write: only of these every column of a row is in the group, and no row is missing.
pub const STANDING: &str = "_standing";

/// The name of a view's changelog.
pub fn changes(view: &str) -> String {
    format!("{view}_changes")
}

/// The rows of a view that stand at the cut: those of a changelog whose differences sum above zero; of a log of sums the sums of
/// each key whose last, which counts what was summed, is not zero.
pub async fn current_rows(raw: &SessionContext, view: &str, form: Form) -> Result<DataFrame, SqlError> {
    let rows = raw.table(changes(view)).await?;
    let columns: Vec<Expr> = rows
        .schema()
        .fields()
        .iter()
        .filter(|field| !field.name().starts_with('_'))
        .map(|field| ident(field.name()))
        .collect();
    match form {
        Form::Rows => {
            let summed =
                rows.aggregate(columns.clone(), vec![checked_sum().call(vec![ident("_diff")]).alias(STANDING)])?;
            Ok(summed.filter(ident(STANDING).gt(lit(0_i64)))?.select(columns)?)
        }
        Form::Sums(measures) => {
            let (key, measures) = columns.split_at(columns.len() - measures);
            let names = measures.iter().map(|measure| measure.schema_name().to_string());
            let sums = measures
                .iter()
                .cloned()
                .zip(names)
                .map(|(measure, name)| checked_sum().call(vec![measure]).alias(name))
                .collect();
            let counted = measures.last().expect("a log of sums counts what it sums").clone().not_eq(lit(0));
            Ok(rows.aggregate(key.to_vec(), sums)?.filter(counted)?)
        }
    }
}
