//! Steps of funnels that no event of a lake is.

use std::collections::BTreeMap;
use std::path::Path;

use arrow::array::RecordBatch;
use dataflows::funnels::{Funnel, Step};
use schemas::ids::IdHasher;

use super::format::cell;
use super::{Resources, Session, SqlError, open};

/// As many of the names that there are are told.
const NAMES_TOLD: usize = 20;

/// Warns of each step of these funnels that no event of the lake is: of what it asks for that no event has, with what there is; else that
/// no event has all of it. Nothing where the lake has no event of a visitor.
pub async fn unmatched(lake: &Path, funnels: &[Funnel], hasher: &IdHasher) -> Result<Vec<String>, SqlError> {
    if funnels.is_empty() {
        return Ok(Vec::new());
    }
    let session = open(lake, None, hasher, Resources::of_machine()?).await?;
    let (mut warnings, mut there) = (Vec::new(), BTreeMap::new());
    if !is_any(&session, &["true".to_owned()]).await? {
        return Ok(warnings);
    }
    for (at, funnel) in funnels.iter().enumerate() {
        for (place, step) in funnel.steps.iter().enumerate() {
            let asked = asked(step);
            let all: Vec<String> = asked.iter().map(|(.., condition)| condition.clone()).collect();
            if is_any(&session, &all).await? {
                continue;
            }
            let mut told = false;
            for (column, wanted, condition) in &asked {
                if is_any(&session, std::slice::from_ref(condition)).await? {
                    continue;
                }
                if !there.contains_key(column) {
                    there.insert(*column, names_of(&session, column).await?);
                }
                let there_are = if there[column].is_empty() { "none" } else { &there[column] };
                told = true;
                warnings.push(format!(
                    "views.funnels[{at}].steps[{place}]: no event of the lake has the {column} {wanted}, which step {:?} of {:?} asks for; \
                     there are {there_are}",
                    step.step, funnel.name
                ));
            }
            if !told {
                let all =
                    asked.iter().map(|(column, wanted, _)| format!("{column} {wanted}")).collect::<Vec<_>>().join(", ");
                warnings.push(format!(
                    "views.funnels[{at}].steps[{place}]: no event of the lake has all that step {:?} of {:?} asks for: {all}",
                    step.step, funnel.name
                ));
            }
        }
    }
    Ok(warnings)
}

/// What a step asks for: the column, the texts that it may be, and the condition.
fn asked(step: &Step) -> Vec<(&'static str, String, String)> {
    let types: Vec<String> = step.types.iter().map(|of| of.name().to_owned()).collect();
    let columns = step.columns.all().into_iter().map(|(column, names)| (column, names.to_vec()));
    let asked = std::iter::once(("type", types)).chain(columns).filter(|(_, names)| !names.is_empty());
    let each = |(column, names): (&'static str, Vec<String>)| {
        let quoted: Vec<String> = names.iter().map(|name| format!("'{}'", name.trim().replace('\'', "''"))).collect();
        let shown = names.iter().map(|name| format!("{name:?}")).collect::<Vec<_>>().join(" or ");
        (column, shown, format!("{column} IN ({})", quoted.join(", ")))
    };
    asked.map(each).collect()
}

/// Whether an event of a visitor meets all of these.
async fn is_any(session: &Session, conditions: &[String]) -> Result<bool, SqlError> {
    let visitors = "type <> 'cost' AND (user_id IS NOT NULL OR device_id IS NOT NULL)";
    let query = format!("SELECT 1 FROM events WHERE {visitors} AND {} LIMIT 1", conditions.join(" AND "));
    let found = session.query(&query).await?.collect().await?;
    Ok(found.iter().any(|rows| rows.num_rows() > 0))
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
