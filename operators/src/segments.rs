//! Rows in the order in which they came, found by their number, until nothing can find them.
//!
//! They lie in segments that never move: what was pushed is not copied again. A segment goes once each of its rows has expired for
//! all readers or was superseded, wherever it lies. So rows stay a little longer than they must: those that share a segment with
//! one that is still needed, and the last, until its segment is full. What a freed segment leaves behind until all before it are
//! freed as well is its place, 40 bytes.
//!
//! Whenever time goes on the first segment is looked at, one of the others, and two more for each that was begun since: so each is
//! looked at in the time in which half as many come, and those that are needed no more are never more than the others. A look is a comparison; only where rows were
//! superseded is it asked of each row, once, whether it is needed still.

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
    /// How many of its rows were superseded.
    superseded: u32,
    /// So many of its first rows are known to be expired or superseded.
    gone: u32,
}

impl<R: Expires<T>, T: Timestamp + Ord> Segment<R, T> {
    /// Whether none of its rows can be found at `since` or later, and none will be added.
    fn is_gone(&mut self, since: &T) -> bool {
        if self.rows.len() < SEGMENT_ROWS {
            return false;
        }
        if self.superseded > 0 && self.expiry > *since {
            let rest = &self.rows[self.gone as usize..];
            self.gone += rest.iter().take_while(|row| row.expired(since)).count() as u32;
            return self.gone as usize == SEGMENT_ROWS;
        }
        self.expiry <= *since
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
            self.segments.push_back(Segment { rows, expiry: expiry.clone(), superseded: 0, gone: 0 });
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

    /// Changes a row that is kept into one that has expired.
    pub(crate) fn supersede(&mut self, number: u64, change: impl FnOnce(&mut R)) {
        let index = (number - self.first) as usize;
        let segment = &mut self.segments[index / SEGMENT_ROWS];
        change(&mut segment.rows[index % SEGMENT_ROWS]);
        segment.superseded += 1;
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
    /// segments, in order; without those before which there is no other.
    pub(crate) fn advance(&mut self, reader: usize, since: &T) -> Vec<Freed<R>> {
        self.readers[reader].clone_from(since);
        let Some(since) = self.readers.iter().min() else { return Vec::new() };
        while self.segments.front_mut().is_some_and(|first| first.is_gone(since)) {
            self.segments.pop_front();
            self.first += SEGMENT_ROWS as u64;
            while self.segments.pop_front_if(|segment| segment.rows.is_empty()).is_some() {
                self.first += SEGMENT_ROWS as u64;
                self.freed -= 1;
            }
        }
        let mut freed = Vec::new();
        for _ in 0..self.to_look_at.len().min(self.looks + 1) {
            let Some(number) = self.to_look_at.pop_front() else { break };
            let Some(before) = number.checked_sub(self.first) else { continue };
            let index = before as usize / SEGMENT_ROWS;
            // The first was looked at.
            if index > 0 && self.segments[index].is_gone(since) {
                freed.push((number, std::mem::take(&mut self.segments[index].rows)));
                self.whole_from = self.whole_from.max(number + SEGMENT_ROWS as u64);
                self.freed += 1;
            } else {
                self.to_look_at.push_back(number);
            }
        }
        self.looks = 0;
        self.whole_from = self.whole_from.max(self.first);
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
        segments.advance(readers[0], &100);
        segments.advance(readers[1], &9);
        assert_eq!((segments.first(), segments.len() as u64), (2 * ROWS, 3 * ROWS));
        segments.advance(readers[1], &10);
        assert_eq!((segments.first(), segments.next(), segments.len()), (5 * ROWS, 5 * ROWS, 0));
        assert_eq!(segments.push((7, 200)), 5 * ROWS);
        assert_eq!(segments.get(5 * ROWS), Some(&(7, 200)));
        assert!([0, 2 * ROWS, 5 * ROWS - 1, 5 * ROWS + 1].iter().all(|number| segments.get(*number).is_none()));
        segments.advance(readers[1], &300);
        segments.advance(readers[0], &300);
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
            segments.advance(reader, &number);
            let live = LIFE.min(number);
            assert!(segments.len() as u64 <= 2 * live + 3 * ROWS, "{} rows at {number}", segments.len());
            assert_eq!(segments.get(3).is_some(), (3..150 * ROWS).contains(&number));
        }
        assert_eq!(segments.first(), (200 - 10) * ROWS, "what was freed leaves no place behind");
        assert_eq!(segments.freed, 0);
    }

    #[test]
    fn a_segment_of_rows_that_are_superseded_or_expired_goes() {
        // Every third row expires soon, the others never.
        let mut segments = segments(0, (0..3 * ROWS).map(|number| if number % 3 == 0 { 10 } else { u64::MAX }));
        let reader = segments.reader();
        for number in (ROWS..2 * ROWS).rev().filter(|number| number % 3 > 0) {
            segments.advance(reader, &9);
            assert_eq!(kept(&segments).len() as u64, 3 * ROWS);
            segments.supersede(number, |row| row.1 = 0);
        }
        segments.advance(reader, &9);
        assert_eq!(segments.len() as u64, 3 * ROWS, "those that expire soon have not");
        let freed =
            [segments.advance(reader, &10), segments.advance(reader, &10), segments.advance(reader, &10)].concat();
        assert_eq!(freed.iter().map(|(number, rows)| (*number, rows.len() as u64)).collect::<Vec<_>>(), [(ROWS, ROWS)]);
        assert_eq!(kept(&segments), (0..ROWS).chain(2 * ROWS..3 * ROWS).collect::<Vec<_>>());
        assert_eq!((segments.whole_from, segments.freed), (2 * ROWS, 1));
        // The first goes, and with it the place of the second.
        (0..ROWS).for_each(|number| segments.supersede(number, |row| row.1 = 0));
        segments.advance(reader, &11);
        assert_eq!((segments.first(), segments.next(), segments.freed), (2 * ROWS, 3 * ROWS, 0));
    }

    #[test]
    fn the_last_segment_may_go_when_it_is_full() {
        let mut segments = segments(0, (0..2 * ROWS).map(|number| if number < ROWS { 20 } else { 10 }));
        let reader = segments.reader();
        (0..2).for_each(|_| drop(segments.advance(reader, &10)));
        assert_eq!((segments.len() as u64, segments.next()), (ROWS, 2 * ROWS));
        assert_eq!(segments.push((0, 30)), 2 * ROWS);
        assert_eq!((segments.len() as u64, segments.next()), (ROWS + 1, 2 * ROWS + 1));
    }
}
