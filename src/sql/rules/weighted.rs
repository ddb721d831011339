//! Aggregates over a view's rows become weighted aggregates over its changes.
//!
//! The rows of a changelog are those whose differences sum to one: to know them, all changes are grouped by all columns. A sum
//! over the rows needs no rows: each change adds with its difference `w` as weight.
//!
//! | over the rows | over their changes |
//! |---|---|
//! | `count(*)` | `sum(w)` |
//! | `count(x)` | `sum(w)` where `x` is not null |
//! | `sum(x)` | `sum(x * w)`, null where `count(x)` is 0 |
//! | `avg(x)` | `sum(x * w) / count(x)`, null where `count(x)` is 0 |
//! | a group | a group whose `sum(w)` is above 0; without `GROUP BY` there is always one |
//!
//! Filters, projections and `FILTER` say the same of a row each time it comes or goes, so they are applied to the changes.
//!
//! It holds because a view has a row once or not at all, which the audit verifies. It is done where the result is surely the
//! same: integers but the least of 64 bits (sums are exact or an error; an average is divided once, from an exact sum), expressions that cannot fail for a row that
//! is gone, and no aggregate but those above. Anything else is left as it is, as a whole.

use arrow::datatypes::DataType;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema, Result, ScalarValue};
use datafusion::functions_aggregate::average::avg_udaf;
use datafusion::functions_aggregate::count::count_udaf;
use datafusion::logical_expr::expr::{AggregateFunction, AggregateFunctionParams};
use datafusion::logical_expr::{
    Aggregate, BinaryExpr, Cast, ExprSchemable, Filter, LogicalPlan, LogicalPlanBuilder, Operator, when,
};
use datafusion::optimizer::{ApplyOrder, OptimizerConfig, OptimizerRule};
use datafusion::prelude::{Expr, cast, coalesce, ident, lit};

use crate::sql::checked_sum::checked_sum;
use crate::sql::current::STANDING;
use crate::sql::functions::{READABLE, SYMBOL_NAME};

/// The difference of a change.
const WEIGHT: &str = "_weight";
/// Holds every 64-bit number; its sums are those of 128 bits.
const NUMBER: DataType = DataType::Decimal128(19, 0);

/// The rule.
#[derive(Debug)]
pub struct WeightedAggregates;

impl OptimizerRule for WeightedAggregates {
    fn name(&self) -> &str {
        "weighted_aggregates"
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        Some(ApplyOrder::TopDown)
    }

    fn rewrite(&self, plan: LogicalPlan, _: &dyn OptimizerConfig) -> Result<Transformed<LogicalPlan>> {
        if let LogicalPlan::Aggregate(aggregate) = &plan
            && let Some(weighted) = weighted(aggregate)?
        {
            return Ok(Transformed::yes(weighted));
        }
        Ok(Transformed::no(plan))
    }
}

/// The same aggregate over changes, where its input is the rows of a changelog and the result surely the same.
fn weighted(aggregate: &Aggregate) -> Result<Option<LogicalPlan>> {
    let Some(rows) = rows(&aggregate.input)? else { return Ok(None) };
    let mut sums = Sums { changes: rows.changes.schema().as_ref(), inputs: Vec::new(), sums: Vec::new() };
    sums.inputs.push(rows.weight.clone().alias(WEIGHT));
    let mut groups = Vec::new();
    for (index, group) in aggregate.group_expr.iter().enumerate() {
        let Some(group) = rows.of_changes(group, aggregate.input.schema())? else { return Ok(None) };
        groups.push(format!("_group_{index}"));
        sums.inputs.push(group.alias(&groups[index]));
    }
    let mut results: Vec<Expr> = groups.iter().map(ident).collect();
    for expr in &aggregate.aggr_expr {
        let Some(result) = sums.result(expr, &rows, aggregate.input.schema())? else { return Ok(None) };
        results.push(result);
    }
    let standing = sums.sum(ident(WEIGHT), None);
    let Sums { inputs, sums, .. } = sums;

    let mut plan = LogicalPlanBuilder::from(rows.changes);
    for filter in rows.filters {
        plan = plan.filter(filter)?;
    }
    plan = plan.project(inputs)?.aggregate(groups.iter().map(ident).collect::<Vec<_>>(), sums)?;
    if !groups.is_empty() {
        plan = plan.filter(standing.gt(lit(0_i64)))?;
    }
    let named = results.into_iter().zip(aggregate.schema.iter());
    let named = named.map(|(result, (of, field))| result.alias_qualified(of.cloned(), field.name()));
    Ok(Some(plan.project(named.collect::<Vec<_>>())?.build()?))
}

/// Rows of a changelog, and what a plan makes of them.
struct Rows {
    /// The changes whose rows they are.
    changes: LogicalPlan,
    /// The difference, a column of the changes.
    weight: Expr,
    /// What the columns are, in terms of the changes.
    columns: Vec<Expr>,
    /// What holds of the rows, in terms of the changes.
    filters: Vec<Expr>,
}

/// The rows that a plan gives, where it only filters and projects those of a changelog.
fn rows(plan: &LogicalPlan) -> Result<Option<Rows>> {
    match plan {
        LogicalPlan::SubqueryAlias(alias) => rows(&alias.input),
        LogicalPlan::Projection(projection) => {
            let Some(mut rows) = rows(&projection.input)? else { return Ok(None) };
            let columns = projection.expr.iter().map(|expr| rows.of_changes(expr, projection.input.schema()));
            let Some(columns) = columns.collect::<Result<Option<Vec<Expr>>>>()? else { return Ok(None) };
            rows.columns = columns;
            Ok(Some(rows))
        }
        LogicalPlan::Filter(filter) => {
            if let Some(rows) = standing(filter) {
                return Ok(Some(rows));
            }
            let Some(mut rows) = rows(&filter.input)? else { return Ok(None) };
            let Some(predicate) = rows.of_changes(&filter.predicate, filter.input.schema())? else { return Ok(None) };
            rows.filters.push(predicate);
            Ok(Some(rows))
        }
        _ => Ok(None),
    }
}

/// The rows that stand, as the catalogue says it: `GROUP BY` all columns, `sum(_diff) > 0`.
fn standing(filter: &Filter) -> Option<Rows> {
    let Expr::BinaryExpr(BinaryExpr { left, op: Operator::Gt, right }) = &filter.predicate else { return None };
    let zero = matches!(&**right, Expr::Literal(ScalarValue::Int64(Some(0)), _));
    let counted = matches!(&**left, Expr::Column(column) if column.name == STANDING);
    let LogicalPlan::Aggregate(Aggregate { input, group_expr, aggr_expr, .. }) = &*filter.input else { return None };
    let [Expr::Alias(sum)] = aggr_expr.as_slice() else { return None };
    let Expr::AggregateFunction(AggregateFunction { func, params }) = &*sum.expr else { return None };
    let ([weight @ Expr::Column(_)], true) = (params.args.as_slice(), *func == checked_sum()) else { return None };
    let columns = group_expr.iter().all(|expr| matches!(expr, Expr::Column(_)));
    let counts = weight.get_type(input.schema()).ok()? == DataType::Int64;
    (zero && counted && columns && counts && sum.name == STANDING).then(|| Rows {
        changes: input.as_ref().clone(),
        weight: weight.clone(),
        columns: group_expr.clone(),
        filters: Vec::new(),
    })
}

impl Rows {
    /// An expression over the rows in terms of the changes; none where it might fail, or say something else, for a row that is
    /// gone.
    fn of_changes(&self, expr: &Expr, schema: &DFSchema) -> Result<Option<Expr>> {
        let mut sure = true;
        expr.apply(|part| {
            sure &= is_sure(part, schema)?;
            Ok(if sure { TreeNodeRecursion::Continue } else { TreeNodeRecursion::Stop })
        })?;
        if !sure {
            return Ok(None);
        }
        let column = |column: &Column| {
            // The last column of the aggregate, the sum of differences, is no column of a row.
            Ok::<_, datafusion::error::DataFusionError>(self.columns.get(schema.index_of_column(column)?).cloned())
        };
        let mut known = true;
        let replaced = expr.clone().unalias_nested().data.transform(|part| match &part {
            Expr::Column(of) => match column(of)? {
                Some(expr) => Ok(Transformed::yes(expr)),
                None => {
                    known = false;
                    Ok(Transformed::no(part))
                }
            },
            _ => Ok(Transformed::no(part)),
        });
        let replaced = replaced.data()?;
        Ok(known.then_some(replaced))
    }
}

/// Whether an expression, its parts aside, has one value for each row and none for which it fails.
fn is_sure(expr: &Expr, schema: &DFSchema) -> Result<bool> {
    Ok(match expr {
        Expr::Column(_) | Expr::Literal(..) | Expr::Alias(_) | Expr::Not(_) | Expr::Case(_) => true,
        Expr::IsNull(_) | Expr::IsNotNull(_) | Expr::IsTrue(_) | Expr::IsFalse(_) | Expr::IsUnknown(_) => true,
        Expr::IsNotTrue(_) | Expr::IsNotFalse(_) | Expr::IsNotUnknown(_) => true,
        Expr::Between(_) | Expr::InList(_) | Expr::Like(_) => true,
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => {
            // A negative divisor overflows with the smallest number.
            let divisor = matches!(&**right, Expr::Literal(ScalarValue::Int64(Some(divisor)), _) if *divisor > 0);
            // Integers and floating-point numbers wrap or round; decimals, times and intervals overflow.
            let number = |expr: &Expr| {
                Ok::<_, datafusion::error::DataFusionError>(matches!(
                    expr.get_type(schema)?,
                    DataType::Int64 | DataType::Int32 | DataType::Int16 | DataType::Int8 | DataType::Float64
                ))
            };
            match op {
                Operator::Plus | Operator::Minus | Operator::Multiply => number(left)? && number(right)?,
                Operator::Divide | Operator::Modulo => number(left)? && (divisor || floats(right, schema)?),
                Operator::And | Operator::Or | Operator::StringConcat => true,
                Operator::Eq | Operator::NotEq | Operator::Lt | Operator::LtEq | Operator::Gt | Operator::GtEq => true,
                Operator::IsDistinctFrom | Operator::IsNotDistinctFrom => true,
                _ => false,
            }
        }
        Expr::Cast(Cast { expr, field }) => matches!(
            (expr.get_type(schema)?, field.data_type()),
            (
                DataType::Boolean | DataType::Int8 | DataType::Int16 | DataType::Int32,
                DataType::Int64 | DataType::Float64
            ) | (DataType::Int64, DataType::Int64 | DataType::Float64 | DataType::Timestamp(..) | DataType::Utf8)
                | (DataType::Utf8, DataType::Utf8)
                | (DataType::Timestamp(..), DataType::Date32)
        ),
        Expr::ScalarFunction(function) => SURE_FUNCTIONS.contains(&function.func.name()),
        _ => false,
    })
}

/// Functions that give one value and do not fail.
const SURE_FUNCTIONS: &[&str] =
    &[SYMBOL_NAME, READABLE, "coalesce", "nullif", "lower", "upper", "date_trunc", "date_part", "encode"];

fn floats(expr: &Expr, schema: &DFSchema) -> Result<bool> {
    Ok(expr.get_type(schema)? == DataType::Float64)
}

/// The weighted sums that results are made of.
struct Sums<'a> {
    changes: &'a DFSchema,
    /// What is computed of each change.
    inputs: Vec<Expr>,
    /// What is summed.
    sums: Vec<Expr>,
}

impl Sums<'_> {
    /// What an aggregate is in terms of weighted sums.
    fn result(&mut self, expr: &Expr, rows: &Rows, schema: &DFSchema) -> Result<Option<Expr>> {
        let Expr::AggregateFunction(AggregateFunction { func, params }) = expr.clone().unalias() else {
            return Ok(None);
        };
        let AggregateFunctionParams { args, distinct: false, filter, order_by, null_treatment: None } = params else {
            return Ok(None);
        };
        let ([argument], true) = (args.as_slice(), order_by.is_empty()) else { return Ok(None) };
        let filter = match filter {
            None => None,
            Some(filter) => match rows.of_changes(&filter, schema)? {
                Some(filter) => Some(self.input(filter)),
                None => return Ok(None),
            },
        };
        // An average of integers is one of their conversions: those are summed as they were.
        let argument = match argument {
            Expr::Cast(Cast { expr, field }) if func == avg_udaf() && *field.data_type() == DataType::Float64 => expr,
            other => other,
        };
        let Some(value) = rows.of_changes(argument, schema)? else { return Ok(None) };
        let (of, nullable) = (value.get_type(self.changes)?, value.nullable(self.changes)?);
        if func == count_udaf() {
            return Ok(Some(self.count(value, nullable, filter)?));
        }
        let small = matches!(of, DataType::Int32 | DataType::Int16 | DataType::Int8);
        let integer = of == DataType::Int64 || (small && func == avg_udaf());
        if !integer || !(func == checked_sum() || func == avg_udaf()) {
            return Ok(None);
        }
        let count = self.count(value.clone(), nullable, filter.clone())?;
        let value = self.input(value);
        let result = if func == checked_sum() {
            self.sum(value * ident(WEIGHT), filter)
        } else {
            let total = self.sum(cast(value, NUMBER) * cast(ident(WEIGHT), NUMBER), filter);
            cast(total, DataType::Float64) / cast(count.clone(), DataType::Float64)
        };
        Ok(Some(when(count.gt(lit(0_i64)), result).end()?))
    }

    /// How many rows have a value.
    fn count(&mut self, value: Expr, nullable: bool, filter: Option<Expr>) -> Result<Expr> {
        let weight = match nullable {
            true => when(self.input(value).is_not_null(), ident(WEIGHT)).otherwise(lit(0_i64))?,
            false => ident(WEIGHT),
        };
        Ok(coalesce(vec![self.sum(weight, filter), lit(0_i64)]))
    }

    /// A value of each change.
    fn input(&mut self, value: Expr) -> Expr {
        let known = self.inputs.iter().find_map(|input| match input {
            Expr::Alias(alias) if *alias.expr == value && alias.name.starts_with("_input") => Some(alias.name.clone()),
            _ => None,
        });
        ident(known.unwrap_or_else(|| {
            let name = format!("_input_{}", self.inputs.len());
            self.inputs.push(value.alias(&name));
            name
        }))
    }

    /// The sum of a value over changes.
    fn sum(&mut self, value: Expr, filter: Option<Expr>) -> Expr {
        let sum = AggregateFunction::new_udf(checked_sum(), vec![value], false, filter.map(Box::new), vec![], None);
        let sum = Expr::AggregateFunction(sum);
        let index = self.sums.iter().position(|known| known.clone().unalias() == sum).unwrap_or_else(|| {
            let name = format!("_sum_{}", self.sums.len());
            self.sums.push(sum.alias(name));
            self.sums.len() - 1
        });
        ident(format!("_sum_{index}"))
    }
}

#[cfg(test)]
#[path = "weighted_tests.rs"]
mod tests;
