//! Rows in the order in which they came, found by their number, until nothing can find them.
//!
//! They lie in segments that never move: what was pushed is not copied again. The first segment goes once all of its rows
//! have expired for all readers, then the next. So rows stay a little longer than they must, those that came after a
//! row that expires late among them.

use std::collections::VecDeque;

use timely::progress::Timestamp;

/// Rows of a segment: what is allocated, and forgotten, at a time. Less than a power of two by an eighth: an allocator that
/// keeps notes beside pieces of one size has room for as many more of them.
pub(crate) const SEGMENT_ROWS: usize = if cfg!(test) { 28 } else { 7 << 9 };

/// Numbered rows.
pub(crate) struct Segments<R, T> {
    /// The number of the first row of the first segment; a multiple of a segment's rows.
    first: u64,
    /// All but the last are full.
    segments: VecDeque<Segment<R, T>>,
    /// The time from which each reader asks.
    readers: Vec<T>,
}

struct Segment<R, T> {
    rows: Vec<R>,
    /// When the last of its rows expires; none where one never does.
    expiry: Option<T>,
}

impl<R, T: Timestamp + Ord> Segments<R, T> {
    /// No rows, the first of which will have this number: a multiple of [`SEGMENT_ROWS`].
    pub(crate) fn starting_at(first: u64) -> Self {
        assert!(first.is_multiple_of(SEGMENT_ROWS as u64));
        Segments { first, segments: VecDeque::new(), readers: Vec::new() }
    }

    /// Keeps a row until it expires, for ever where it has no expiry; its number.
    #[inline]
    pub(crate) fn push(&mut self, row: R, expiry: Option<T>) -> u64 {
        if self.segments.back().is_none_or(|last| last.rows.len() == SEGMENT_ROWS) {
            let rows = Vec::with_capacity(SEGMENT_ROWS);
            self.segments.push_back(Segment { rows, expiry: Some(T::minimum()) });
        }
        let before = ((self.segments.len() - 1) * SEGMENT_ROWS) as u64;
        let last = self.segments.back_mut().expect("just made");
        last.expiry = match (last.expiry.take(), expiry) {
            (Some(last), Some(row)) => Some(last.max(row)),
            _ => None,
        };
        last.rows.push(row);
        self.first + before + last.rows.len() as u64 - 1
    }

    /// The row of a number, unless it has been forgotten.
    #[inline(always)]
    pub(crate) fn get(&self, number: u64) -> Option<&R> {
        let index = number.checked_sub(self.first)? as usize;
        self.segments.get(index / SEGMENT_ROWS)?.rows.get(index % SEGMENT_ROWS)
    }

    /// The number of the first row that is kept, or of the next where none is.
    #[inline(always)]
    pub(crate) fn first(&self) -> u64 {
        self.first
    }

    /// The number of the next row.
    pub(crate) fn next(&self) -> u64 {
        self.first + self.len() as u64
    }

    /// How many rows are kept.
    pub(crate) fn len(&self) -> usize {
        self.segments.back().map_or(0, |last| (self.segments.len() - 1) * SEGMENT_ROWS + last.rows.len())
    }

    /// A further reader, which may ask at any time.
    pub(crate) fn reader(&mut self) -> usize {
        self.readers.push(T::minimum());
        self.readers.len() - 1
    }

    /// Promises that a reader will ask at no time before `since`, and forgets what no reader can ask for.
    pub(crate) fn advance(&mut self, reader: usize, since: &T) {
        self.readers[reader].clone_from(since);
        let Some(since) = self.readers.iter().min() else { return };
        let gone = |segment: &Segment<R, T>| {
            segment.rows.len() == SEGMENT_ROWS && segment.expiry.as_ref().is_some_and(|expiry| expiry <= since)
        };
        while self.segments.pop_front_if(|segment| gone(segment)).is_some() {
            self.first += SEGMENT_ROWS as u64;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_go_in_order_once_all_their_rows_have_expired_for_all_readers() {
        let rows = SEGMENT_ROWS as u64;
        let mut segments = Segments::starting_at(2 * rows);
        let readers = [segments.reader(), segments.reader()];
        // The first row outlives all of the second segment.
        for number in 0..3 * rows {
            let expiry = if number == 0 { 100 } else { 10 };
            assert_eq!(segments.push(number, Some(expiry)), 2 * rows + number);
        }
        segments.advance(readers[0], &100);
        segments.advance(readers[1], &99);
        assert_eq!((segments.first(), segments.len() as u64), (2 * rows, 3 * rows));
        segments.advance(readers[1], &100);
        assert_eq!((segments.first(), segments.next(), segments.len()), (5 * rows, 5 * rows, 0));
        assert_eq!(segments.push(7, Some(200)), 5 * rows);
        assert_eq!(segments.get(5 * rows), Some(&7));
        assert!([0, 2 * rows, 5 * rows - 1, 5 * rows + 1].iter().all(|number| segments.get(*number).is_none()));
        segments.advance(readers[1], &300);
        segments.advance(readers[0], &300);
        assert_eq!(segments.len(), 1, "the last segment stays until it is full");
    }

    #[test]
    fn a_row_that_never_expires_stays() {
        let mut segments = Segments::<(), u64>::starting_at(0);
        let reader = segments.reader();
        for _ in 0..3 * SEGMENT_ROWS {
            segments.push((), None);
        }
        segments.advance(reader, &u64::MAX);
        assert_eq!(segments.len(), 3 * SEGMENT_ROWS);
    }
}
