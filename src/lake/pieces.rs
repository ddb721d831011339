//! Pieces of rows on their way from a worker to the committer. A row is large and there are a hundred thousand a second: their
//! memory goes round, or the kernel would clear fresh pages for each.

use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, MutexGuard};

use schemas::table::RecordRow;

/// Rows of a piece: some two megabytes.
pub const PIECE_ROWS: usize = 4_096;

/// Where the memory of pieces waits for the next. Clones are the same pool.
#[derive(Clone, Default)]
pub struct Pool(Arc<Mutex<Kept>>);

#[derive(Default)]
struct Kept {
    pieces: Vec<Vec<RecordRow>>,
    /// The fewest that there were since the last [`Pool::trim`].
    fewest: usize,
}

impl Pool {
    /// An empty piece.
    pub fn piece(&self) -> Piece {
        let mut kept = self.kept();
        let rows = kept.pieces.pop();
        kept.fewest = kept.fewest.min(kept.pieces.len());
        Piece { rows: rows.unwrap_or_else(|| Vec::with_capacity(PIECE_ROWS)), pool: Some(self.clone()) }
    }

    /// Gives back half of the memory that was not asked for since the last call. Called every so often, that is several
    /// cuts, what is kept follows what is used, and is soon nothing where nothing comes.
    pub fn trim(&self) {
        let mut kept = self.kept();
        let left = kept.pieces.len() - kept.fewest.div_ceil(2);
        let spare = kept.pieces.split_off(left);
        kept.fewest = left;
        drop(kept);
        drop(spare);
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().expect("no panic while locked")
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
        let Some(pool) = &self.pool else { return };
        self.rows.clear();
        pool.kept().pieces.push(std::mem::take(&mut self.rows));
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

    #[test]
    fn what_is_not_asked_for_goes_step_by_step() {
        let pool = Pool::default();
        let kept = || pool.kept().pieces.len();
        drop((0..16).map(|_| pool.piece()).collect::<Vec<_>>());
        // All were in use until now.
        pool.trim();
        assert_eq!(kept(), 16);
        // Six are, then none.
        drop((0..6).map(|_| pool.piece()).collect::<Vec<_>>());
        let left = [(); 6].map(|()| {
            pool.trim();
            kept()
        });
        assert_eq!(left, [11, 5, 2, 1, 0, 0]);
    }
}
