//! `symbol_name(channel) = 'search'` becomes `channel = <symbol>`: files and row groups can be skipped by a column's numbers,
//! and numbers are compared faster than names are looked up.
//!
//! | filter on `symbol_name(x)` | becomes, with the symbols `S` of the names |
//! |---|---|
//! | `= 'n'`, `IN ('n', …)` | `x = s`, `x IN (S)`; without any symbol false |
//! | `<> 'n'`, `NOT IN ('n', …)` | `x <> s`, `x NOT IN (S)`; without any symbol `x IS NOT NULL` |
//! | `IS NULL`, `IS NOT NULL` | the same of `x` |
//! | `NOT IN (…, NULL)` of any column | false |
//!
//! Only parts of filters that are joined by `AND` and `OR`, where null is as good as false: the planner has moved each `NOT` into
//! its part before.
//!
//! `S` is all that `symbol_name` shows as the name: every symbol of that name, and what prints as `#` and hex digits because it
//! has none.

use std::collections::{BTreeSet, HashSet};
use std::fmt;
use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::tree_node::Transformed;
use datafusion::logical_expr::expr::{InList, ScalarFunction};
use datafusion::logical_expr::{BinaryExpr, LogicalPlan, Operator};
use datafusion::optimizer::{ApplyOrder, OptimizerConfig, OptimizerRule};
use datafusion::prelude::{Expr, lit};

use crate::sql::functions::{Names, SYMBOL_NAME};

/// The rule, with the names of a lake.
pub struct NamesToSymbols {
    names: Arc<Names>,
}

impl fmt::Debug for NamesToSymbols {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The names may be millions.
        f.write_str("NamesToSymbols")
    }
}

impl OptimizerRule for NamesToSymbols {
    fn name(&self) -> &str {
        "names_to_symbols"
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        Some(ApplyOrder::TopDown)
    }

    fn rewrite(&self, plan: LogicalPlan, _: &dyn OptimizerConfig) -> Result<Transformed<LogicalPlan>> {
        match plan {
            LogicalPlan::Filter(_) | LogicalPlan::TableScan(_) => plan.map_expressions(|expr| Ok(self.filter(expr))),
            other => Ok(Transformed::no(other)),
        }
    }
}

/// A comparison of a symbol with names.
struct Comparison {
    symbol: Expr,
    names: Vec<String>,
    negated: bool,
}

impl NamesToSymbols {
    /// The rule for a lake with these names.
    pub fn new(names: Arc<Names>) -> NamesToSymbols {
        NamesToSymbols { names }
    }

    /// Rewrites what passes a row when it is true, and not when it is false or null.
    fn filter(&self, expr: Expr) -> Transformed<Expr> {
        if let Expr::BinaryExpr(BinaryExpr { left, op: op @ (Operator::And | Operator::Or), right }) = expr {
            let (left, right) = (self.filter(*left), self.filter(*right));
            let changed = left.transformed || right.transformed;
            let both = BinaryExpr::new(Box::new(left.data), op, Box::new(right.data));
            return Transformed::new_transformed(Expr::BinaryExpr(both), changed);
        }
        let rewritten = match &expr {
            // Never true. The planner would take it together with other such lists of the column and overlook the null.
            Expr::InList(InList { list, negated: true, .. }) if list.iter().any(is_null) => Some(lit(false)),
            Expr::IsNull(of) => symbol(of).map(|symbol| symbol.clone().is_null()),
            Expr::IsNotNull(of) => symbol(of).map(|symbol| symbol.clone().is_not_null()),
            other => comparison(other).and_then(|comparison| self.compared(comparison)),
        };
        rewritten.map_or_else(|| Transformed::no(expr), Transformed::yes)
    }

    fn compared(&self, Comparison { symbol, names, negated }: Comparison) -> Option<Expr> {
        let symbols = self.symbols(&names);
        Some(match (symbols.as_slice(), negated) {
            ([], false) => lit(false),
            ([], true) => symbol.is_not_null(),
            ([one], false) => symbol.eq(lit(*one)),
            ([one], true) => symbol.not_eq(lit(*one)),
            // The planner takes two lists without a common value that a column is not in for true, of null too. It shall not
            // find so of symbols what it does not find of names.
            (many, true) if many.len() != names.len() || !self.are_told_apart(many) => return None,
            (many, negated) => symbol.in_list(many.iter().map(|one| lit(*one)).collect(), negated),
        })
    }

    /// Whether no two of the symbols are shown as the same name.
    fn are_told_apart(&self, symbols: &[i64]) -> bool {
        let shown = symbols.iter().map(|symbol| match self.names.get(symbol) {
            Some(name) => name.to_string(),
            None => format!("#{symbol:016x}"),
        });
        shown.collect::<HashSet<String>>().len() == symbols.len()
    }

    /// The symbols that are shown as one of the names.
    fn symbols(&self, names: &[String]) -> Vec<i64> {
        let wanted: HashSet<&str> = names.iter().map(String::as_str).collect();
        let named = self.names.iter().filter(|(_, name)| wanted.contains(&***name)).map(|(symbol, _)| *symbol);
        let unnamed = names.iter().filter_map(|name| {
            let symbol = u64::from_str_radix(name.strip_prefix('#')?, 16).ok()?.cast_signed();
            (format!("#{symbol:016x}") == *name && !self.names.contains_key(&symbol)).then_some(symbol)
        });
        named.chain(unnamed).collect::<BTreeSet<i64>>().into_iter().collect()
    }
}

fn comparison(expr: &Expr) -> Option<Comparison> {
    match expr {
        Expr::BinaryExpr(BinaryExpr { left, op: op @ (Operator::Eq | Operator::NotEq), right }) => {
            let (shown, name) = if symbol(left).is_some() { (left, right) } else { (right, left) };
            Some(Comparison {
                symbol: symbol(shown)?.clone(),
                names: vec![name_of(name)?],
                negated: *op == Operator::NotEq,
            })
        }
        Expr::InList(InList { expr, list, negated }) => Some(Comparison {
            symbol: symbol(expr)?.clone(),
            names: list.iter().map(name_of).collect::<Option<_>>()?,
            negated: *negated,
        }),
        _ => None,
    }
}

/// The symbol whose name the expression is.
fn symbol(expr: &Expr) -> Option<&Expr> {
    match expr {
        Expr::ScalarFunction(ScalarFunction { func, args }) if func.name() == SYMBOL_NAME => args.first(),
        _ => None,
    }
}

fn is_null(expr: &Expr) -> bool {
    matches!(expr, Expr::Literal(value, _) if value.is_null())
}

/// The text of a literal that is not null.
fn name_of(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Literal(value, _) => value.try_as_str().flatten().map(str::to_owned),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{Array, Int64Array, RecordBatch};
    use arrow::util::pretty::pretty_format_batches;
    use datafusion::execution::SessionStateBuilder;
    use datafusion::prelude::SessionContext;
    use proptest::prelude::*;

    use super::*;
    use crate::sql::catalog::readable;
    use crate::sql::functions::functions;
    use crate::sql::rules::rules;

    const START_MS: i64 = 1_767_225_600_000;

    /// Two symbols of one name, as a damaged lake may have, and some without a name.
    fn names() -> Arc<Names> {
        Arc::new(
            [(1, "search"), (2, "display"), (3, "search"), (-4, "it's"), (5, "#0000000000000007")]
                .map(|(s, n)| (s, n.into()))
                .into(),
        )
    }

    /// A table `events` of symbols and times, as people see it; with the rules or without.
    async fn context(with_rules: bool) -> SessionContext {
        let names = names();
        let channels = [Some(1), Some(2), None, Some(3), Some(-4), Some(7), Some(-8), Some(5)];
        let count = i64::try_from(channels.len() * 4).unwrap();
        let cycled = |by: i64| (0..count).map(move |row| channels[usize::try_from(row / by).unwrap() % channels.len()]);
        let times = (0..count).map(|row| (row % 5 != 0).then_some(START_MS + (row - 10) * 3_600_000));
        let batch = RecordBatch::try_from_iter_with_nullable([
            ("channel", Arc::new(cycled(1).collect::<Int64Array>()) as Arc<dyn Array>, true),
            ("campaign", Arc::new(cycled(4).collect::<Int64Array>()), true),
            ("event_time", Arc::new(times.collect::<Int64Array>()), true),
            ("offset", Arc::new((0..count).map(Some).collect::<Int64Array>()), false),
        ]);
        let mut state = SessionStateBuilder::new().with_default_features();
        if with_rules {
            state = state.with_optimizer_rules(rules(&names));
        }
        let context = SessionContext::new_with_state(state.build());
        let rows = context.read_batch(batch.unwrap()).unwrap();
        context.register_table("events", readable(rows, &names).unwrap().into_view()).unwrap();
        for function in functions(&schemas::ids::IdHasher::new(b""), &names) {
            context.register_udf(function);
        }
        context
    }

    async fn rows(context: &SessionContext, statement: &str) -> String {
        pretty_format_batches(&context.sql(statement).await.unwrap().collect().await.unwrap()).unwrap().to_string()
    }

    async fn plan(context: &SessionContext, filter: &str) -> String {
        let statement = format!("SELECT \"offset\" FROM events WHERE {filter}");
        context.sql(&statement).await.unwrap().into_optimized_plan().unwrap().display_indent().to_string()
    }

    #[tokio::test]
    async fn names_become_symbols() {
        let context = context(true).await;
        for (filter, becomes) in [
            ("channel = 'display'", "channel = Int64(2)"),
            ("'display' = channel", "channel = Int64(2)"),
            ("channel <> 'display'", "channel != Int64(2)"),
            ("channel = 'search'", "channel = Int64(1) OR ?table?.channel = Int64(3)"),
            ("channel IN ('display', 'nobody')", "channel = Int64(2)"),
            ("channel NOT IN ('display', 'it''s')", "channel != Int64(2) AND ?table?.channel != Int64(-4)"),
            ("channel = '#fffffffffffffff8'", "channel = Int64(-8)"),
            // A name that looks like a number, and the number that it looks like.
            ("channel = '#0000000000000007'", "channel = Int64(5) OR ?table?.channel = Int64(7)"),
            ("channel <> 'nobody'", "channel IS NOT NULL"),
            ("channel IS NULL", "channel IS NULL"),
        ] {
            let plan = plan(&context, filter).await;
            assert!(plan.contains(becomes) && !plan.contains(SYMBOL_NAME), "{filter}: {plan}");
        }
        for filter in ["channel = 'nobody'", "channel IN ('nobody', 'no one') AND campaign = 'search'"] {
            assert!(plan(&context, filter).await.starts_with("EmptyRelation"), "{filter}");
        }
        // The planner makes one of two lists, and leaves the null out, once nothing stands between them.
        let lists = ["'search', 'search', '#0000000000000007', 'search'", "'search', 'search', 'search', NULL"];
        let [one, other] = lists.map(|list| format!("campaign NOT IN ({list})"));
        let filter = format!("{one} OR ({other} OR channel = 'nobody')");
        let statement = format!("SELECT \"offset\" FROM events WHERE {filter} ORDER BY 1");
        assert_eq!(rows(&context, &statement).await, rows(&self::context(false).await, &statement).await);
    }

    #[tokio::test]
    async fn times_become_numbers() {
        let context = context(true).await;
        for filter in [
            "event_time >= '2026-01-01'",
            "event_time < '2026-01-01T10:00:00Z'",
            "event_time > TIMESTAMP '2026-01-01 10:00:00'",
            "event_time BETWEEN '2026-01-01' AND '2026-01-02'",
            "event_time >= DATE '2026-01-01'",
            "event_time >= now() - INTERVAL '1 hour'",
            "DATE '2026-01-01' <= event_time",
        ] {
            let plan = plan(&context, filter).await;
            assert!(plan.contains("event_time") && !plan.contains("CAST("), "{filter}: {plan}");
        }
    }

    /// Filters as people write them.
    fn filters() -> impl Strategy<Value = String> {
        let column = prop::sample::select(vec!["channel", "campaign"]);
        let name = prop::sample::select(vec![
            "'search'",
            "'display'",
            "'it''s'",
            "'nobody'",
            "''",
            "'#0000000000000007'",
            "'#fffffffffffffff8'",
            "'#08'",
        ]);
        let text = (column.clone(), prop::sample::select(vec!["=", "<>", "<", ">="]), name.clone(), any::<bool>())
            .prop_map(
                |(column, op, name, flip)| {
                    if flip { format!("{name} {op} {column}") } else { format!("{column} {op} {name}") }
                },
            );
        let list = (column.clone(), any::<bool>(), prop::collection::vec(name, 1..6), any::<bool>()).prop_map(
            |(column, not, names, null)| {
                let (not, null) = (if not { "NOT " } else { "" }, if null { ", NULL" } else { "" });
                format!("{column} {not}IN ({}{null})", names.join(", "))
            },
        );
        let other = prop::sample::select(vec![
            "channel IS NULL",
            "campaign IS NOT NULL",
            "channel = campaign",
            "channel LIKE 's%'",
            "channel = NULL",
            "event_time >= '2026-01-01'",
            "event_time < TIMESTAMP '2026-01-01 10:00:00'",
            "event_time > DATE '2026-01-01'",
            "event_time = '2025-12-31T20:00:00Z'",
            "event_time >= '2026-01-01T02:59:59.9995Z'",
        ])
        .prop_map(str::to_owned);
        prop_oneof![4 => text, 3 => list, 2 => other].prop_recursive(3, 12, 2, |inner| {
            prop_oneof![
                (inner.clone(), inner.clone()).prop_map(|(left, right)| format!("({left} AND {right})")),
                (inner.clone(), inner.clone()).prop_map(|(left, right)| format!("({left} OR {right})")),
                inner.clone().prop_map(|of| format!("(NOT {of})")),
                inner.prop_map(|of| format!("(({of}) IS NULL)")),
            ]
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(96))]
        #[test]
        fn a_filter_gives_the_same_rows_with_the_rule_and_without(filter in filters()) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let (with, without) = (context(true).await, context(false).await);
                for statement in [
                    format!("SELECT \"offset\" FROM events WHERE {filter} ORDER BY 1"),
                    format!("SELECT \"offset\", {filter} AS holds FROM events ORDER BY 1"),
                    format!("SELECT count(*) FILTER (WHERE {filter}) FROM events"),
                    format!("SELECT {filter} AS holds, count(*) FROM events GROUP BY {filter} ORDER BY 2, 1"),
                ] {
                    assert_eq!(rows(&with, &statement).await, rows(&without, &statement).await, "{statement}");
                }
            });
        }
    }
}
