//! `SELECT … FROM credits LIMIT 10`: a few of the rows that stand, without making all of them.
//!
//! Which rows of a changelog stand is known only when all changes of each are summed. But those of one row have one time: so some
//! changes are read, as many as a limit of the scan lets through; then all changes of their times, which leaves out other files
//! and row groups; and if the rows that stand among these are as many as were asked for, they are the answer. If not, the
//! statement is carried out as it is. Without an order any rows are right, and rows of chosen times are whole rows, so the answer
//! is one that the statement itself could have given.
//!
//! Only for a statement that is a filter and a projection of one view's rows with a `LIMIT` and no order.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::AsArray;
use arrow::datatypes::{DataType, Int64Type};
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::logical_expr::{Aggregate, ExprSchemable, FetchType, LogicalPlan, LogicalPlanBuilder, SkipType};
use datafusion::prelude::{DataFrame, Expr, SessionContext, cast, ident, lit};
use schemas::table::Kind;

use super::SqlError;
use super::columns::column;
use super::current::STANDING;

/// The largest limit for which it is tried: a longer answer is wanted whole.
const ROWS_MAX: usize = 1_000;
/// So many changes are read for each row that is wanted: most changes of a view are rows that stand.
const CHANGES_PER_ROW: usize = 4;

/// The answer, where the statement is of the form and the changes of a few times have rows enough.
pub async fn first_rows(context: &SessionContext, plan: &LogicalPlan) -> Result<Option<DataFrame>, SqlError> {
    let LogicalPlan::Limit(limit) = plan else { return Ok(None) };
    let (FetchType::Literal(Some(wanted)), SkipType::Literal(0)) = (limit.get_fetch_type()?, limit.get_skip_type()?)
    else {
        return Ok(None);
    };
    let Some((filtered, rows)) = rows_of_view(&limit.input).filter(|_| (1..=ROWS_MAX).contains(&wanted)) else {
        return Ok(None);
    };
    let Some(time) = time_of(rows) else { return Ok(None) };
    let state = || context.state();

    let changes = on_changes(filtered.clone(), |rows| came(&rows))?;
    if !changes.schema().has_column_with_unqualified_name(&time) {
        return Ok(None);
    }
    let some = DataFrame::new(state(), changes).select(vec![cast(ident(&time), DataType::Int64).alias(&time)])?;
    let mut times = BTreeSet::new();
    for batch in some.limit(0, Some(CHANGES_PER_ROW * wanted))?.collect().await? {
        times.extend(batch.column(0).as_primitive::<Int64Type>().iter().flatten());
    }
    let (Some(first), Some(last)) = (times.first().copied(), times.last().copied()) else { return Ok(None) };
    let among = ident(&time).in_list(times.into_iter().map(lit).collect(), false);
    let chosen = ident(&time).between(lit(first), lit(last)).and(among);
    let whole = on_changes(plan.clone(), |rows| {
        let changes = LogicalPlanBuilder::from(Arc::unwrap_or_clone(rows.input)).filter(chosen.clone())?.build()?;
        let summed = Aggregate::try_new(Arc::new(changes), rows.group_expr, rows.aggr_expr)?;
        Ok(LogicalPlan::Aggregate(summed))
    })?;
    let batches = DataFrame::new(state(), whole).collect().await?;
    let found: usize = batches.iter().map(|batch| batch.num_rows()).sum();
    Ok(if found == wanted { Some(context.read_batches(batches)?) } else { None })
}

/// The aggregate that makes a view's rows, and the plan up to the last filter on them, where there is no more than that.
fn rows_of_view(plan: &LogicalPlan) -> Option<(&LogicalPlan, &Aggregate)> {
    match plan {
        LogicalPlan::SubqueryAlias(alias) => rows_of_view(&alias.input),
        LogicalPlan::Projection(projection) => rows_of_view(&projection.input),
        LogicalPlan::Filter(filter) => match &*filter.input {
            LogicalPlan::Aggregate(rows) if is_standing(rows) => Some((plan, rows)),
            input => rows_of_view(input).map(|(_, rows)| (plan, rows)),
        },
        _ => None,
    }
}

fn is_standing(rows: &Aggregate) -> bool {
    matches!(rows.aggr_expr.as_slice(), [Expr::Alias(sum)] if sum.name == STANDING)
}

/// The column of a row that says when it was: that of its changes too.
fn time_of(rows: &Aggregate) -> Option<String> {
    rows.group_expr.iter().find_map(|expr| match expr {
        Expr::Column(of) if column(&of.name).is_some_and(|column| column.kind == Kind::Time) => {
            (expr.get_type(rows.input.schema()).ok()? == DataType::Int64).then(|| of.name.clone())
        }
        _ => None,
    })
}

/// The changes that brought rows, in the form of rows.
fn came(rows: &Aggregate) -> Result<LogicalPlan, datafusion::error::DataFusionError> {
    let mut columns = rows.group_expr.clone();
    columns.push(ident("_diff").alias(STANDING));
    LogicalPlanBuilder::from(rows.input.clone()).project(columns)?.build()
}

/// The plan with another in place of the aggregate that makes a view's rows.
fn on_changes(
    plan: LogicalPlan,
    with: impl Fn(Aggregate) -> Result<LogicalPlan, datafusion::error::DataFusionError>,
) -> Result<LogicalPlan, SqlError> {
    let replaced = plan.transform_down(|part| match part {
        LogicalPlan::Aggregate(rows) if is_standing(&rows) => Ok(Transformed::complete(with(rows)?)),
        part => Ok(Transformed::no(part)),
    });
    Ok(replaced.data()?)
}
