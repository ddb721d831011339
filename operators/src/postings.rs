//! Rows by key: for each key a list, the latest row first.
//!
//! Rows are numbered in the order in which they came and lie one after the other (`crate::segments`); each knows how far back
//! the one before it of its key is. A hash table holds the number of the latest row of each key. So a new row is written
//! once, at the end, and one place of the table changes; nothing is sorted and nothing is merged.
//!
//! A place of the table is one word: the number of a row, and beside it enough of the key's hash to move it when the
//! table grows and to tell it from nearly all others. Two keys of 2³⁴ share a list: whoever reads it must tell them apart.
//! The table is split, so that no growth takes long.
//!
//! **State.** Rows until they expire (`crate::segments`), and a word for each key that had a row when its table was last
//! rebuilt: when it has grown full, and one by one as rows come.

use timely::progress::Timestamp;

use crate::Expires;
use crate::segments::{SEGMENT_ROWS, Segments};

/// Keys that are looked for, or rows that are added, at a time: the processor waits for their memory together.
pub(crate) const BLOCK: usize = 64;

/// The first bits of a hash tell the table.
const TABLE_BITS: u32 = if cfg!(test) { 1 } else { 10 };
/// The next bits are kept in its places.
const HASH_BITS: u32 = u64::BITS - NUMBER_BITS;
/// The last bits of a row's number that a place keeps. All that a table holds is looked at once in far fewer rows.
const NUMBER_BITS: u32 = 40;
const NUMBER: u64 = (1 << NUMBER_BITS) - 1;
const _: () = assert!((SEGMENT_ROWS as u64) << TABLE_BITS < NUMBER / 2);

/// Places of the smallest table.
const PLACES_MIN: usize = 16;

/// Rows by key.
pub(crate) struct Postings<V, T> {
    rows: Segments<Row<V>, T>,
    tables: Vec<Table>,
    /// The table that is rebuilt next.
    due: usize,
}

struct Row<V> {
    value: V,
    /// How many rows before it the one before of its key is; 0: it was the first, or no other was left.
    back: u32,
}

/// A hash whose first bits tell where it belongs and whose last are as good for choosing a worker.
#[inline(always)]
pub(crate) fn hash(key: u64) -> u64 {
    let mixed = (key ^ (key >> 32)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 29)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 32)
}

/// A block of hashes, of which there may be fewer.
pub(crate) fn hashes(all: impl Iterator<Item = u64>) -> [u64; BLOCK] {
    let mut hashes = [0; BLOCK];
    hashes.iter_mut().zip(all).for_each(|(place, hash)| *place = hash);
    hashes
}

/// Which table, and what its places keep of the hash: never zero.
#[inline(always)]
fn split(hash: u64) -> (usize, u64) {
    let table = hash >> (u64::BITS - TABLE_BITS);
    let kept = hash << TABLE_BITS >> NUMBER_BITS;
    (table as usize, kept.max(1))
}

impl<V: Expires<T>, T: Timestamp + Ord> Postings<V, T> {
    /// No rows.
    pub(crate) fn new() -> Self {
        let tables = std::iter::repeat_with(Table::default).take(1 << TABLE_BITS).collect();
        Postings { rows: Segments::starting_at(0), tables, due: 0 }
    }

    /// The number of the next row.
    pub(crate) fn next(&self) -> u64 {
        self.rows.next()
    }

    /// How many rows are kept.
    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    /// A further reader, which may ask at any time.
    pub(crate) fn reader(&mut self) -> usize {
        self.rows.reader()
    }

    /// Promises that a reader will ask at no time before `since`, and forgets what no reader can ask for.
    pub(crate) fn advance(&mut self, reader: usize, since: &T) {
        self.rows.advance(reader, since);
    }

    /// Adds a row for each of these hashes of keys, best at most [`BLOCK`] at a time.
    ///
    /// # Panics
    /// When 2³² rows are kept.
    pub(crate) fn extend(&mut self, hashes: &[u64], rows: impl Iterator<Item = V>) {
        self.extend_and_tell(hashes, rows, |_| ());
    }

    /// As [`Postings::extend`], and tells each hash whose list had a row already.
    pub(crate) fn extend_and_tell(&mut self, hashes: &[u64], rows: impl Iterator<Item = V>, mut tell: impl FnMut(u64)) {
        // Read, so that all come into the cache at once.
        let words = hashes.iter().map(|hash| split(*hash)).map(|(table, kept)| self.tables[table].first(kept));
        std::hint::black_box(words.fold(0, |all, word| all ^ word));
        let before = self.next();
        for (hash, value) in hashes.iter().zip(rows) {
            if !self.push(*hash, value, true) {
                tell(*hash);
            }
        }
        debug_assert_eq!(self.next() - before, hashes.len() as u64);
    }

    /// Has the list of a hash hold these rows alone. What it held is not found any more; it is forgotten as ever.
    ///
    /// # Panics
    /// As [`Postings::extend`].
    pub(crate) fn replace(&mut self, hash: u64, rows: impl Iterator<Item = V>) {
        for (at, value) in rows.enumerate() {
            self.push(hash, value, at > 0);
        }
    }

    /// The rows of a list, the latest first: the number, the value, and whether it was the first of its list.
    pub(crate) fn list(&self, hash: u64) -> impl Iterator<Item = (u64, &V, bool)> {
        let (table, kept) = split(hash);
        let (first, next) = (self.rows.first(), self.rows.next());
        let latest = number(self.tables[table].get(kept), next).filter(|latest| *latest >= first);
        let row = |number| Some((number, self.rows.get(number)?));
        let back = move |(number, row): &(u64, &Row<V>)| match row.back {
            0 => None,
            back => number.checked_sub(u64::from(back)),
        };
        std::iter::successors(latest.and_then(row), move |of| back(of).and_then(row))
            .map(|(number, row)| (number, &row.value, row.back == 0))
    }

    /// Adds a row to a list, or begins it with this one, and tells whether it does.
    fn push(&mut self, hash: u64, value: V, goes_on: bool) -> bool {
        let (table, kept) = split(hash);
        let (first, next) = (self.rows.first(), self.rows.next());
        if self.tables[table].is_full() {
            self.tables[table].rebuild(first, next);
        }
        let place = self.tables[table].place(kept);
        let latest = number(*place, next).filter(|latest| goes_on && *latest >= first);
        let back = latest.map_or(0, |latest| next - latest);
        let back = u32::try_from(back).expect("a worker keeps fewer than 2^32 rows at a place");
        *place = kept << NUMBER_BITS | next & NUMBER;
        let expiry = value.expiry();
        self.rows.push(Row { value, back }, expiry);
        if next.is_multiple_of(SEGMENT_ROWS as u64) {
            // No key is kept for long after its rows, and none until numbers repeat.
            self.tables[self.due].rebuild(first, next + 1);
            self.due = (self.due + 1) % self.tables.len();
        }
        back == 0
    }

    /// Of each of at most [`BLOCK`] hashes the rows with a number below `before`, the latest first: which hash, the number,
    /// the value.
    pub(crate) fn find<'a>(&'a self, hashes: &[u64], before: u64, mut found: impl FnMut(usize, u64, &'a V)) {
        let (first, next) = (self.rows.first(), self.rows.next());
        let mut places = [(0, 0, 0); BLOCK];
        for (place, hash) in places.iter_mut().zip(hashes) {
            let (table, kept) = split(*hash);
            *place = (table, kept, self.tables[table].first(kept));
        }
        // The lists that have not ended: which hash, and the number of its next row.
        let mut lists = [(0, 0); BLOCK];
        let mut left = 0;
        for (at, (table, kept, word)) in places.into_iter().enumerate().take(hashes.len()) {
            let word = if word == 0 || word >> NUMBER_BITS == kept { word } else { self.tables[table].get(kept) };
            if let Some(latest) = number(word, next).filter(|latest| *latest >= first) {
                lists[left] = (at, latest);
                left += 1;
            }
        }
        // Each round reads a row of each list, which do not depend on each other.
        while left > 0 {
            let mut still = 0;
            for list in 0..left {
                let (at, number) = lists[list];
                let Some(row) = self.rows.get(number) else { continue };
                if number < before {
                    found(at, number, &row.value);
                }
                if row.back > 0 {
                    lists[still] = (at, number - u64::from(row.back));
                    still += 1;
                }
            }
            left = still;
        }
    }
}

/// The number that a word keeps the last bits of, given the next that will be given; none of an empty place.
#[inline(always)]
fn number(word: u64, next: u64) -> Option<u64> {
    (word != 0).then(|| next.wrapping_sub(next.wrapping_sub(word) & NUMBER))
}

/// The latest row of each key, in the order of hashes but for those whose place was taken: they have the next free one.
#[derive(Default)]
struct Table {
    words: Vec<u64>,
    taken: usize,
}

impl Table {
    fn is_full(&self) -> bool {
        5 * self.taken >= 4 * self.words.len()
    }

    #[inline(always)]
    fn home(&self, kept: u64) -> usize {
        (kept as usize * self.words.len()) >> HASH_BITS
    }

    /// What is at the place where it is looked for first.
    #[inline(always)]
    fn first(&self, kept: u64) -> u64 {
        self.words.get(self.home(kept)).copied().unwrap_or(0)
    }

    /// Where it is or is to be. There is a free place.
    fn find(&self, kept: u64) -> usize {
        let mut place = self.home(kept);
        while self.words[place] != 0 && self.words[place] >> NUMBER_BITS != kept {
            place = if place + 1 < self.words.len() { place + 1 } else { 0 };
        }
        place
    }

    fn get(&self, kept: u64) -> u64 {
        if self.words.is_empty() { 0 } else { self.words[self.find(kept)] }
    }

    fn place(&mut self, kept: u64) -> &mut u64 {
        let place = self.find(kept);
        self.taken += usize::from(self.words[place] == 0);
        &mut self.words[place]
    }

    /// Keeps the keys that have rows, with room for as many more: what a smaller step leaves behind of memory is more than what
    /// it saves.
    fn rebuild(&mut self, first: u64, next: u64) {
        let lives = |word: &u64| number(*word, next).is_some_and(|latest| latest >= first);
        let live = self.words.iter().filter(|word| lives(word)).count();
        let places = PLACES_MIN.max(live * 5 / 2);
        if live == self.taken && !self.is_full() && self.words.len() <= 2 * places {
            return;
        }
        let words = std::mem::replace(&mut self.words, vec![0; places]);
        self.taken = live;
        for word in words.into_iter().filter(lives) {
            let place = self.find(word >> NUMBER_BITS);
            self.words[place] = word;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    /// A row that expires, and its key, as a few of the keys share a list.
    #[derive(Clone, Copy)]
    struct Until(u64, u64);

    impl Expires<u64> for Until {
        fn expiry(&self) -> Option<u64> {
            Some(self.0)
        }
    }

    fn found(postings: &Postings<Until, u64>, key: u64, before: u64) -> Vec<u64> {
        let mut numbers = Vec::new();
        postings.find(&[0, hash(key)], before, |at, number, row| {
            numbers.extend((at == 1 && row.1 == key).then_some(number))
        });
        numbers
    }

    #[test]
    fn lists_are_those_of_a_map_also_after_rows_have_gone() {
        const KEYS: u64 = 3_000;
        const LIFE: u64 = 20_000;
        let (mut postings, mut map) = (Postings::new(), HashMap::<u64, Vec<u64>>::new());
        let reader = postings.reader();
        let mut places = 0;
        for number in 0..200_000u64 {
            // New keys all the time, each of which comes again a while later.
            let key = number / 7 + hash(number) % KEYS;
            postings.extend(&[hash(key)], [Until(number + LIFE, key)].into_iter());
            map.entry(key).or_default().push(number);
            if number % 1_000 == 0 {
                postings.advance(reader, &number);
                let first = postings.rows.first();
                assert!(number.saturating_sub(first) < LIFE + 2 * SEGMENT_ROWS as u64);
                for key in (0..50).map(|back| (key + back * 61).saturating_sub(KEYS)) {
                    let all = map.get(&key).cloned().unwrap_or_default();
                    for before in [u64::MAX, number / 2 + first / 2] {
                        let expected: Vec<u64> =
                            all.iter().rev().copied().filter(|row| *row >= first && *row < before).collect();
                        assert_eq!(found(&postings, key, before), expected, "{key} before {before}");
                    }
                }
                places = places.max(postings.tables.iter().map(|table| table.words.len()).sum::<usize>());
            }
        }
        // Of 31,000 keys some 6,000 have rows at a time.
        assert!(places < 20_000, "{places} places");
    }

    #[test]
    fn numbers_are_known_by_their_last_bits() {
        for next in [5, NUMBER, NUMBER + 1, 3 * NUMBER + 17] {
            for back in [1, 3, 5] {
                let row = next - back;
                assert_eq!(number(7 << NUMBER_BITS | row & NUMBER, next), Some(row));
            }
        }
        assert_eq!(number(0, 9), None);
    }
}
