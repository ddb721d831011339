//! The paths of one visitor, read from what is kept of it: those that can change.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{Schema, SchemaRef};
use schemas::table::Columns;
use schemas::{Subject, Tick};

use super::{Journeys, PathRow};
use crate::live::{Equal, KeyRows, id_of};

/// Makes rows of what a worker keeps of a visitor.
pub struct OfVisitor;

impl KeyRows for OfVisitor {
    type Key = Subject;
    type Section = Journeys;

    fn schema() -> SchemaRef {
        Arc::new(Schema::new(PathRow::fields()))
    }

    fn key(equals: &[Equal]) -> Option<Subject> {
        id_of(equals, "visitor").map(Subject)
    }

    fn rows(&self, visitor: Subject, Journeys(apps): &Journeys, _: Tick) -> RecordBatch {
        // What is final has left the record by its timer, at that tick.
        let of_app = |of: &super::OfApp| {
            let row = |path: &super::Path| PathRow { tenant: of.tenant, app: of.app, visitor, path: path.clone() };
            of.told.iter().map(row).collect::<Vec<_>>()
        };
        let rows: Vec<PathRow> = apps.iter().flat_map(of_app).collect();
        PathRow::batch(rows.iter())
    }
}
