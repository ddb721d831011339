//! The indexes over touches that all paths share.

use differential_dataflow::VecCollection;
use operators::{Appends, Index, index};
use schemas::Tick;

use crate::attribution::hot::{CappedCopy, Marks, marks};
use crate::attribution::touches::{Copies, Entry, Heaps, Stored};

/// What is known of touches and withdrawals, shared by all paths.
#[derive(Clone)]
pub struct TouchIndexes<'scope> {
    /// Candidates by half the join key of a person or click.
    pub by_id: Index<'scope, Entry, Tick>,
    /// Candidates by half the join key of a fingerprint. Their window is shorter.
    pub by_fingerprint: Index<'scope, Entry, Tick>,
    /// All copies.
    pub copies: Copies<'scope>,
    /// Where fingerprints were hot.
    pub marks: Marks<'scope>,
}

/// Builds the indexes over all accepted touches, those that are capped, and all copies, whose rows are in the heaps.
pub fn touch_indexes<'scope>(
    by_id: Appends<'scope, Tick, (u64, Entry)>,
    by_fingerprint: Appends<'scope, Tick, (u64, Entry)>,
    copies: Appends<'scope, Tick, (u64, Stored)>,
    heaps: Heaps,
    capped: VecCollection<'scope, Tick, (u64, CappedCopy), isize>,
) -> TouchIndexes<'scope> {
    let (by_id, by_fingerprint) = (index(by_id, "touches by id"), index(by_fingerprint, "touches by fingerprint"));
    let copies = Copies { index: index(copies, "copies"), heaps };
    let marks = marks(capped, &copies);
    TouchIndexes { by_id, by_fingerprint, copies, marks }
}
