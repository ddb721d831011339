//! Steps of funnels that no event of a lake can be: they name what the lake has never seen.

use std::collections::BTreeMap;
use std::path::Path;

use arrow::array::RecordBatch;
use dataflows::funnels::{Funnel, symbols};
use schemas::Symbol;
use schemas::ids::IdHasher;

use super::format::cell;
use super::{Resources, Session, SqlError, open};

/// As many of the names that there are are told.
const NAMES_TOLD: usize = 20;

/// Warns of each name in these funnels that the lake has never seen, in whatever column, with those that the step's column has. Nothing
/// where that has none.
pub async fn unmatched(lake: &Path, funnels: &[Funnel], hasher: &IdHasher) -> Result<Vec<String>, SqlError> {
    if funnels.is_empty() {
        return Ok(Vec::new());
    }
    let session = open(lake, None, hasher, Resources::of_machine()?).await?;
    let (mut warnings, mut there) = (Vec::new(), BTreeMap::new());
    for (at, funnel) in funnels.iter().enumerate() {
        for (place, step) in funnel.steps.iter().enumerate() {
            for (column, names) in step.columns.all() {
                let is_unknown = |symbol: &Symbol| !session.names().contains_key(&symbol.0);
                for (name, _) in names.iter().zip(symbols(names)).filter(|(_, symbol)| is_unknown(symbol)) {
                    if !there.contains_key(column) {
                        there.insert(column, names_of(&session, column).await?);
                    }
                    if there[column].is_empty() {
                        continue;
                    }
                    warnings.push(format!(
                        "views.funnels[{at}].steps[{place}]: no event of the lake has the {column} {name:?}, which step {:?} of {:?} asks for; \
                         there are {}",
                        step.step, funnel.name, there[column]
                    ));
                }
            }
        }
    }
    Ok(warnings)
}

/// The names that a column has, the most frequent first.
async fn names_of(session: &Session, column: &str) -> Result<String, SqlError> {
    let query = format!(
        "SELECT {column} FROM events WHERE {column} IS NOT NULL GROUP BY {column} ORDER BY count(*) DESC, {column} LIMIT {}",
        NAMES_TOLD + 1
    );
    let batches = session.query(&query).await?.collect().await?;
    let rows = |batch: &RecordBatch| (0..batch.num_rows()).collect::<Vec<_>>();
    let mut names: Vec<String> =
        batches.iter().flat_map(|batch| rows(batch).into_iter().filter_map(|row| cell(batch.column(0), row))).collect();
    if names.len() > NAMES_TOLD {
        names.truncate(NAMES_TOLD);
        names.push("…".to_owned());
    }
    Ok(names.join(", "))
}
