//! What the planner knows of a lake besides what it knows of tables: rules for queries over the `public` schema.
//!
//! Neither rule changes what a query gives. The audit reads the `raw` schema, to which they do not apply.

mod names;
mod weighted;

use std::sync::Arc;

use datafusion::optimizer::simplify_expressions::SimplifyExpressions;
use datafusion::optimizer::{Optimizer, OptimizerRule};

pub use names::NamesToSymbols;
pub use weighted::WeightedAggregates;

use super::functions::Names;

/// DataFusion's rules and those of a lake with these names.
pub fn rules(names: &Arc<Names>) -> Vec<Arc<dyn OptimizerRule + Send + Sync>> {
    let mut rules = Optimizer::new().rules;
    // While a view's rows still look as the catalogue makes them, but constants are computed.
    let simplified = rules.iter().position(|rule| rule.name() == "simplify_expressions").map_or(0, |rule| rule + 1);
    rules.insert(simplified, Arc::new(WeightedAggregates));
    // Where filters on what people see have become filters on what is stored, and before common parts of them are taken out.
    // Simplified again, a comparison of a time is one of its milliseconds.
    let pushed = rules.iter().position(|rule| rule.name() == "push_down_filter").map_or(rules.len(), |rule| rule + 1);
    rules.insert(pushed, Arc::new(SimplifyExpressions::new()));
    rules.insert(pushed, Arc::new(NamesToSymbols::new(names.clone())));
    rules
}
