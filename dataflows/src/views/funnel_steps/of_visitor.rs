//! What one visitor reached in funnels, read from what is kept of it: by first steps of days that are not final.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{Schema, SchemaRef};
use schemas::table::Columns;
use schemas::{Subject, Tick};

use super::{FunnelStep, Names, StepRow, Steps};
use crate::live::{Equal, KeyRows, id_of};

/// Makes rows of what a worker keeps of a visitor.
pub struct OfVisitor {
    names: Names,
}

impl OfVisitor {
    pub(super) fn new(names: Names) -> OfVisitor {
        OfVisitor { names }
    }
}

impl KeyRows for OfVisitor {
    type Key = Subject;
    type Section = Steps;

    fn schema() -> SchemaRef {
        Arc::new(Schema::new(StepRow::fields()))
    }

    fn key(equals: &[Equal]) -> Option<Subject> {
        id_of(equals, "visitor").map(Subject)
    }

    fn rows(&self, visitor: Subject, Steps(steps): &Steps, _: Tick) -> RecordBatch {
        // What is final has left the record by its timer, at that tick.
        let rows: Vec<StepRow> = steps
            .iter()
            .flat_map(|one| one.told.iter().map(|reached| FunnelStep { tenant: one.tenant, visitor, reached: *reached }))
            .map(|step| self.names.row(step))
            .collect();
        StepRow::batch(rows.iter())
    }
}
