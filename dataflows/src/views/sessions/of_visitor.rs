//! The sessions of one visitor, read from what is kept of it: those that are closed, and those that are open.

use std::sync::{Arc, RwLock};

use arrow::array::{BooleanArray, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use schemas::table::Columns;
use schemas::{Subject, Symbol, Tick};

use super::chain::{Chain, Chains, Ends, SessionRow, Visit};
use crate::live::{Equal, KeyRows, id_of};

/// The column that says whether a session is open. Rows of the table have none: they are closed.
const OPEN: &str = "open";

/// Makes rows of what a worker keeps of a visitor.
pub struct OfVisitor {
    ends: Ends,
    /// The channels and campaigns that visits of this worker have the places of.
    names: RwLock<Vec<(Symbol, Symbol)>>,
}

impl OfVisitor {
    pub(super) fn new(ends: Ends) -> OfVisitor {
        OfVisitor { ends, names: RwLock::default() }
    }

    /// Takes the next channel and campaign, before any visit has its place.
    pub(super) fn name(&self, name: (Symbol, Symbol)) {
        self.names.write().expect("no panic while locked").push(name);
    }
}

impl KeyRows for OfVisitor {
    type Key = Subject;
    type Section = Chains;

    fn schema() -> SchemaRef {
        let fields = SessionRow::fields().into_iter().chain([Field::new(OPEN, DataType::Boolean, false)]);
        Arc::new(Schema::new(fields.collect::<Vec<_>>()))
    }

    fn key(equals: &[Equal]) -> Option<Subject> {
        id_of(equals, "visitor").map(Subject)
    }

    fn rows(&self, visitor: Subject, Chains(chains): &Chains, now: Tick) -> RecordBatch {
        let names = self.names.read().expect("no panic while locked");
        let mut rows: Vec<(SessionRow, bool)> = Vec::new();
        for chain in chains {
            for visits in sessions(chain) {
                let row = chain.row(visitor, visits, |place| names[place as usize]);
                let Some(row) = row else { continue };
                let open = visits.last().is_some_and(|last| last.time >= chain.closed_to);
                // What is final is in the table alone, whether or not its timer has gone off.
                if open || !self.ends.is_final(row.end(), now) {
                    rows.push((row, open));
                }
            }
        }
        let mut arrays = SessionRow::arrays(rows.iter().map(|(row, _)| row));
        arrays.push(Arc::new(BooleanArray::from_iter(rows.iter().map(|(_, open)| Some(*open)))));
        RecordBatch::try_new(Self::schema(), arrays).expect("columns of one batch have one length")
    }
}

/// The visits of each session of a chain.
fn sessions(chain: &Chain) -> impl Iterator<Item = &[Visit]> {
    chain.visits.chunk_by(|one, other| chain.piece(one.time) == chain.piece(other.time))
}
