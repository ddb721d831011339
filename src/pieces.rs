//! Pieces of rows on their way from a worker to the committer. A row is large and there are a hundred thousand a second: their
//! memory goes round, or the kernel would clear fresh pages for each.

use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex};

use schemas::table::RecordRow;

/// Rows of a piece: some two megabytes.
pub const PIECE_ROWS: usize = 4_096;
/// Pieces that are kept for later.
const KEPT_MAX: usize = 64;

/// Where the memory of pieces waits for the next. Clones are the same pool.
#[derive(Clone, Default)]
pub struct Pool(Arc<Mutex<Vec<Vec<RecordRow>>>>);

impl Pool {
    /// An empty piece.
    pub fn piece(&self) -> Piece {
        let kept = self.0.lock().expect("no panic while locked").pop();
        Piece { rows: kept.unwrap_or_else(|| Vec::with_capacity(PIECE_ROWS)), pool: Some(self.clone()) }
    }
}

/// Rows whose memory goes back where it came from.
pub struct Piece {
    rows: Vec<RecordRow>,
    pool: Option<Pool>,
}

impl From<Vec<RecordRow>> for Piece {
    fn from(rows: Vec<RecordRow>) -> Piece {
        Piece { rows, pool: None }
    }
}

impl Deref for Piece {
    type Target = Vec<RecordRow>;

    fn deref(&self) -> &Vec<RecordRow> {
        &self.rows
    }
}

impl DerefMut for Piece {
    fn deref_mut(&mut self) -> &mut Vec<RecordRow> {
        &mut self.rows
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        let Some(Pool(kept)) = &self.pool else { return };
        self.rows.clear();
        let mut kept = kept.lock().expect("no panic while locked");
        if kept.len() < KEPT_MAX {
            kept.push(std::mem::take(&mut self.rows));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_piece_is_some_two_megabytes() {
        let bytes = PIECE_ROWS * size_of::<RecordRow>();
        assert!((1_500_000..2_500_000).contains(&bytes), "{bytes}");
    }

    #[test]
    fn memory_goes_round() {
        let pool = Pool::default();
        let first = pool.piece();
        let memory = first.as_ptr();
        drop(first);
        let again = pool.piece();
        assert_eq!((again.as_ptr(), again.len()), (memory, 0));
        assert_ne!(pool.piece().as_ptr(), memory);
    }
}
