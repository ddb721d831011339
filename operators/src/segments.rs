//! Rows in the order in which they came, found by their number, until nothing can find them.
//!
//! They lie in segments. One goes once each of its rows has expired for all readers, wherever it lies; and where its owner can
//! move rows, once no more than a quarter of them have not: those are handed back, to be pushed again. So rows stay a little longer
//! than they must: those that share a segment with what is needed, and the last, until its segment is full. What a freed
//! segment leaves behind until all before it are freed as well is its place, 32 bytes.
//!
//! Whenever time goes on the first segment is looked at, one of the others, and two more for each that was begun since: so each is
//! looked at in the time in which half as many come, and those that could go are never more than the others. A look is a
//! comparison, and where rows can be moved a reading of the rows for the two.

use std::collections::VecDeque;

use timely::progress::Timestamp;

use crate::Expires;

/// Rows of a segment: what is allocated, and forgotten, at a time. Less than a power of two by an eighth: an allocator that
/// keeps notes beside pieces of one size has room for as many more of them.
pub(crate) const SEGMENT_ROWS: usize = if cfg!(test) { 28 } else { 7 << 9 };

/// Numbered rows.
pub(crate) struct Segments<R, T> {
    /// The number of the first row of the first segment; a multiple of a segment's rows.
    first: u64,
    /// All but the last are full, or freed.
    segments: VecDeque<Segment<R, T>>,
    /// How many of them are freed. The first is not.
    freed: usize,
    /// No segment with a row from this number on was freed.
    whole_from: u64,
    /// The time from which each reader asks.
    readers: Vec<T>,
    /// The segments that are not freed, by the number of their first row, in the order in which they are looked at.
    to_look_at: VecDeque<u64>,
    /// How many are to be looked at as segments were begun.
    looks: usize,
}

/// A segment that has no rows is freed, as one is begun for a row.
struct Segment<R, T> {
    rows: Vec<R>,
    /// When the last of its rows expires.
    expiry: T,
}

/// A segment of which no more than so many rows are needed is freed where they can be moved: a row is pushed again as three go.
const MOVED_MAX: usize = SEGMENT_ROWS / 4;

impl<R: Expires<T>, T: Timestamp + Ord> Segment<R, T> {
    /// Whether none of its rows can be found at `since` or later, and none will be added.
    fn is_gone(&self, since: &T) -> bool {
        self.rows.len() == SEGMENT_ROWS && self.expiry <= *since
    }

    /// Whether so few can be found that they are to be moved.
    fn is_sparse(&self, since: &T) -> bool {
        let live = self.rows.iter().filter(|row| !row.expired(since));
        self.rows.len() == SEGMENT_ROWS && live.take(MOVED_MAX + 1).count() <= MOVED_MAX
    }
}

/// Rows of a segment that was freed, and the number of the first.
pub(crate) type Freed<R> = (u64, Vec<R>);

impl<R: Expires<T>, T: Timestamp + Ord> Segments<R, T> {
    /// No rows, the first of which will have this number: a multiple of [`SEGMENT_ROWS`].
    pub(crate) fn starting_at(first: u64) -> Self {
        assert!(first.is_multiple_of(SEGMENT_ROWS as u64));
        let (segments, readers, to_look_at) = Default::default();
        Segments { first, segments, freed: 0, whole_from: first, readers, to_look_at, looks: 0 }
    }

    /// Keeps a row until it expires; its number.
    #[inline]
    pub(crate) fn push(&mut self, row: R) -> u64 {
        let expiry = row.expiry();
        if self.segments.back().is_none_or(|last| last.rows.len() == SEGMENT_ROWS || last.rows.is_empty()) {
            self.to_look_at.push_back(self.next());
            let rows = Vec::with_capacity(SEGMENT_ROWS);
            self.segments.push_back(Segment { rows, expiry: expiry.clone() });
            self.looks += 2;
        }
        let before = ((self.segments.len() - 1) * SEGMENT_ROWS) as u64;
        let last = self.segments.back_mut().expect("just made");
        if last.expiry < expiry {
            last.expiry = expiry;
        }
        last.rows.push(row);
        self.first + before + last.rows.len() as u64 - 1
    }

    /// The row of a number, unless it has been forgotten.
    #[inline(always)]
    pub(crate) fn get(&self, number: u64) -> Option<&R> {
        let index = number.checked_sub(self.first)? as usize;
        self.segments.get(index / SEGMENT_ROWS)?.rows.get(index % SEGMENT_ROWS)
    }

    /// Whether a row is kept that has come.
    #[inline(always)]
    pub(crate) fn has(&self, number: u64) -> bool {
        number >= self.whole_from || self.get(number).is_some()
    }

    /// A row that is kept, to be changed into one that has expired.
    pub(crate) fn get_mut(&mut self, number: u64) -> Option<&mut R> {
        let index = number.checked_sub(self.first)? as usize;
        self.segments.get_mut(index / SEGMENT_ROWS)?.rows.get_mut(index % SEGMENT_ROWS)
    }

    /// The number of the first row that is kept, or of the next where none is.
    #[inline(always)]
    pub(crate) fn first(&self) -> u64 {
        self.first
    }

    /// The number of the next row.
    #[inline(always)]
    pub(crate) fn next(&self) -> u64 {
        match self.segments.back() {
            Some(last) if !last.rows.is_empty() => {
                self.first + ((self.segments.len() - 1) * SEGMENT_ROWS + last.rows.len()) as u64
            }
            _ => self.first + (self.segments.len() * SEGMENT_ROWS) as u64,
        }
    }

    /// How many rows are kept.
    pub(crate) fn len(&self) -> usize {
        (self.next() - self.first) as usize - self.freed * SEGMENT_ROWS
    }

    /// A further reader, which may ask at any time.
    pub(crate) fn reader(&mut self) -> usize {
        self.readers.push(T::minimum());
        self.readers.len() - 1
    }

    /// Promises that a reader will ask at no time before `since`, and forgets what no reader can ask for. The rows of freed
    /// segments, in order, without those before which there is no other; where rows `can_move` there may be some that are needed.
    pub(crate) fn advance(&mut self, reader: usize, since: &T, can_move: bool) -> Vec<Freed<R>> {
        self.readers[reader].clone_from(since);
        let Some(since) = self.readers.iter().min() else { return Vec::new() };
        let (mut first, mut freed) = (self.first, Vec::new());
        while self.segments.pop_front_if(|segment| segment.is_gone(since)).is_some() {
            first += SEGMENT_ROWS as u64;
            while self.segments.pop_front_if(|segment| segment.rows.is_empty()).is_some() {
                first += SEGMENT_ROWS as u64;
                self.freed -= 1;
            }
        }
        for look in 0..self.to_look_at.len().min(self.looks + 1) {
            let Some(number) = self.to_look_at.pop_front() else { break };
            let Some(before) = number.checked_sub(first) else { continue };
            let segment = &mut self.segments[before as usize / SEGMENT_ROWS];
            if segment.is_gone(since) || can_move && look < self.looks && segment.is_sparse(since) {
                freed.push((number, std::mem::take(&mut segment.rows)));
                self.whole_from = self.whole_from.max(number + SEGMENT_ROWS as u64);
                self.freed += 1;
            } else {
                self.to_look_at.push_back(number);
            }
        }
        while self.segments.pop_front_if(|segment| segment.rows.is_empty()).is_some() {
            first += SEGMENT_ROWS as u64;
            self.freed -= 1;
        }
        (self.first, self.looks) = (first, 0);
        self.whole_from = self.whole_from.max(first);
        freed.sort_unstable_by_key(|(number, _)| *number);
        freed
    }

    /// The time from which all readers ask.
    pub(crate) fn since(&self) -> Option<&T> {
        self.readers.iter().min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROWS: u64 = SEGMENT_ROWS as u64;

    /// A row that says when it expires.
    impl Expires<u64> for (u64, u64) {
        fn expiry(&self) -> u64 {
            self.1
        }
    }

    /// Rows that expire at these times, from a number on.
    fn segments(first: u64, expiries: impl IntoIterator<Item = u64>) -> Segments<(u64, u64), u64> {
        let mut segments = Segments::starting_at(first);
        for (number, expiry) in (first..).zip(expiries) {
            assert_eq!(segments.push((number, expiry)), number);
        }
        segments
    }

    /// The rows that are kept.
    fn kept(segments: &Segments<(u64, u64), u64>) -> Vec<u64> {
        let numbers = segments.first()..segments.next();
        let rows: Vec<u64> = numbers.filter_map(|number| segments.get(number)).map(|row| row.0).collect();
        assert!(rows.iter().all(|number| segments.has(*number)));
        assert_eq!(rows.len(), segments.len());
        rows
    }

    #[test]
    fn a_segment_goes_once_all_its_rows_have_expired_for_all_readers() {
        let mut segments = segments(2 * ROWS, (0..3 * ROWS).map(|_| 10));
        let readers = [segments.reader(), segments.reader()];
        segments.advance(readers[0], &100, false);
        segments.advance(readers[1], &9, false);
        assert_eq!((segments.first(), segments.len() as u64), (2 * ROWS, 3 * ROWS));
        segments.advance(readers[1], &10, false);
        assert_eq!((segments.first(), segments.next(), segments.len()), (5 * ROWS, 5 * ROWS, 0));
        assert_eq!(segments.push((7, 200)), 5 * ROWS);
        assert_eq!(segments.get(5 * ROWS), Some(&(7, 200)));
        assert!([0, 2 * ROWS, 5 * ROWS - 1, 5 * ROWS + 1].iter().all(|number| segments.get(*number).is_none()));
        segments.advance(readers[1], &300, false);
        segments.advance(readers[0], &300, false);
        assert_eq!(segments.len(), 1, "the last segment stays until it is full");
    }

    /// Schedule B of the review.
    #[test]
    fn a_row_that_expires_late_keeps_its_own_segment_alone() {
        const LIFE: u64 = 10 * ROWS;
        let mut segments = segments(0, []);
        let reader = segments.reader();
        for number in 0..200 * ROWS {
            let expiry = if number == 3 { 150 * ROWS } else { number + LIFE };
            assert_eq!(segments.push((number, expiry)), number);
            segments.advance(reader, &number, false);
            let live = LIFE.min(number);
            assert!(segments.len() as u64 <= 2 * live + 3 * ROWS, "{} rows at {number}", segments.len());
            assert_eq!(segments.get(3).is_some(), (3..150 * ROWS).contains(&number));
        }
        assert_eq!(segments.first(), (200 - 10) * ROWS, "what was freed leaves no place behind");
        assert_eq!(segments.freed, 0);
    }

    #[test]
    fn a_segment_of_which_few_rows_are_needed_goes_where_they_can_be_moved() {
        // Of the second segment a quarter expires late, of the first and the third one row more.
        let few = MOVED_MAX as u64;
        let expiries = [few + 1, few, few + 1].map(|late| {
            (0..ROWS).map(move |row| if row % (ROWS / few) == 0 || row < late - few + 1 { 100 } else { 10 })
        });
        let mut segments = segments(0, expiries.into_iter().flatten());
        let reader = segments.reader();
        assert!(segments.advance(reader, &9, true).is_empty());
        segments.looks = 3;
        assert!(segments.advance(reader, &10, false).is_empty());
        segments.looks = 3;
        let freed = segments.advance(reader, &10, true);
        assert_eq!(freed.iter().map(|(number, rows)| (*number, rows.len() as u64)).collect::<Vec<_>>(), [(ROWS, ROWS)]);
        assert_eq!(kept(&segments), (0..ROWS).chain(2 * ROWS..3 * ROWS).collect::<Vec<_>>());
        assert_eq!((segments.whole_from, segments.freed), (2 * ROWS, 1));
        // Of the first another row goes, and with it the place of the second.
        segments.get_mut(0).unwrap().1 = 0;
        segments.looks = 3;
        assert_eq!(segments.advance(reader, &10, true).len(), 1);
        assert_eq!((segments.first(), segments.next(), segments.freed), (2 * ROWS, 3 * ROWS, 0));
    }

    #[test]
    fn the_last_segment_may_go_when_it_is_full() {
        let mut segments = segments(0, (0..2 * ROWS).map(|number| if number < ROWS { 20 } else { 10 }));
        let reader = segments.reader();
        (0..2).for_each(|_| drop(segments.advance(reader, &10, false)));
        assert_eq!((segments.len() as u64, segments.next()), (ROWS, 2 * ROWS));
        assert_eq!(segments.push((0, 30)), 2 * ROWS);
        assert_eq!((segments.len() as u64, segments.next()), (ROWS + 1, 2 * ROWS + 1));
    }
}
