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
//! A row in the midst of a list may be freed before earlier ones that are still needed. Then a *link* takes its place, from its number
//! to that of the next one that is, so that the list goes on.
//!
//! **State.** Rows until they expire or are superseded (`crate::segments`), and a word for each key that had a row when its table
//! was last rebuilt: when it has grown full, and one by one as rows come. At most about two links for each row that is kept, none as
//! long as rows expire in the order in which they came.

use std::collections::HashMap;

use timely::progress::Timestamp;

use crate::Expires;
use crate::segments::{Freed, SEGMENT_ROWS, Segments};

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
    rows: Segments<Posting<V>, T>,
    tables: Vec<Table>,
    /// The table that is rebuilt next.
    due: usize,
    /// The number of the row with which a list goes on, by that of a row that was freed or is [`FAR`] behind.
    links: HashMap<u64, u64>,
    /// When they are looked through for those that lead nowhere any more.
    links_max: usize,
}

struct Posting<V> {
    value: V,
    /// How many rows before it the one before of its key is; 0: it was the first, or no other was left.
    back: u32,
}

/// The row before is farther back than [`BACK_MAX`]: there is a link.
const FAR: u32 = u32::MAX;
/// The row is in no list any more.
const SUPERSEDED: u32 = u32::MAX - 1;
const BACK_MAX: u64 = if cfg!(test) { 4_000 } else { SUPERSEDED as u64 - 1 };

impl<V: Expires<T>, T: Timestamp + Ord> Expires<T> for Posting<V> {
    fn expiry(&self) -> T {
        if self.back == SUPERSEDED { T::minimum() } else { self.value.expiry() }
    }
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

/// Which list: which table, and what its places keep of the hash, never zero. Two hashes may have one list.
#[inline(always)]
pub(crate) fn list_of(hash: u64) -> (usize, u64) {
    let table = hash >> (u64::BITS - TABLE_BITS);
    let kept = hash << TABLE_BITS >> NUMBER_BITS;
    (table as usize, kept.max(1))
}

impl<V: Expires<T>, T: Timestamp + Ord> Postings<V, T> {
    /// No rows.
    pub(crate) fn new() -> Self {
        let tables = std::iter::repeat_with(Table::default).take(1 << TABLE_BITS).collect();
        // The number before the first is that of no row: a list that holds none has it.
        let rows = Segments::starting_at(SEGMENT_ROWS as u64);
        Postings { rows, tables, due: 0, links: HashMap::new(), links_max: SEGMENT_ROWS }
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
        let freed = self.rows.advance(reader, since, false);
        self.link_over(&freed);
    }

    /// As [`Postings::advance`], and gives rows new numbers as it sees fit; they say the hashes of their lists.
    pub(crate) fn advance_and_move(&mut self, reader: usize, since: &T, hash_of: impl Fn(&V) -> u64) {
        let freed = self.rows.advance(reader, since, true);
        self.link_over(&freed);
        let since = self.rows.since().cloned();
        for row in freed.into_iter().flat_map(|(_, rows)| rows) {
            if !since.as_ref().is_some_and(|since| row.expired(since)) {
                self.push(hash_of(&row.value), row.value);
            }
        }
    }

    /// Has lists go on over rows that were freed.
    fn link_over(&mut self, freed: &[Freed<Posting<V>>]) {
        for (first, rows) in freed {
            for (number, row) in (*first..).zip(rows) {
                let mut back = match row.back {
                    0 | SUPERSEDED => None,
                    FAR => self.links.remove(&number),
                    back => number.checked_sub(u64::from(back)),
                };
                // A link from a row that is freed as well is followed from here alone.
                while let Some(freed) = back.filter(|back| !self.rows.has(*back)) {
                    back = self.links.remove(&freed);
                }
                if let Some(kept) = back.and_then(|back| self.kept_before(back)) {
                    self.links.insert(number, kept);
                }
            }
        }
        if self.links.len() > self.links_max {
            self.drop_links();
            self.links_max = SEGMENT_ROWS.max(2 * self.links.len());
        }
    }

    /// Drops the links that lead nowhere any more.
    fn drop_links(&mut self) {
        let Postings { rows, links, .. } = self;
        let mut all: Vec<(u64, u64)> = links.drain().filter(|(from, _)| *from >= rows.first()).collect();
        // A link leads back: those that another may lead to come first.
        all.sort_unstable();
        for (from, to) in all {
            if links.contains_key(&to) || rows.get(to).is_some_and(|row| row.back != SUPERSEDED) {
                links.insert(from, to);
            }
        }
    }

    /// The first row of a list from this one on that is kept and has not expired.
    fn kept_before(&self, mut number: u64) -> Option<u64> {
        let since = self.rows.since()?;
        while number >= self.rows.first() {
            number = match self.rows.get(number) {
                Some(row) if !row.value.expired(since) => return Some(number),
                Some(row) => self.before(number, row)?,
                None => *self.links.get(&number)?,
            };
        }
        None
    }

    /// The number of the row before a row of a list.
    #[inline(always)]
    fn before(&self, number: u64, row: &Posting<V>) -> Option<u64> {
        match row.back {
            0 | SUPERSEDED => None,
            FAR => self.links.get(&number).copied(),
            back => number.checked_sub(u64::from(back)),
        }
    }

    /// Adds a row for each of these hashes of keys, best at most [`BLOCK`] at a time.
    ///
    /// # Panics
    /// When 2³⁹ rows have come after one that is kept.
    pub(crate) fn extend(&mut self, hashes: &[u64], rows: impl Iterator<Item = V>) {
        self.extend_and_tell(hashes, rows, |_| ());
    }

    /// As [`Postings::extend`], and tells each hash whose list had a row already.
    pub(crate) fn extend_and_tell(&mut self, hashes: &[u64], rows: impl Iterator<Item = V>, mut tell: impl FnMut(u64)) {
        // Read, so that all come into the cache at once.
        let words = hashes.iter().map(|hash| list_of(*hash)).map(|(table, kept)| self.tables[table].first(kept));
        std::hint::black_box(words.fold(0, |all, word| all ^ word));
        let before = self.next();
        for (hash, value) in hashes.iter().zip(rows) {
            if !self.push(*hash, value) {
                tell(*hash);
            }
        }
        debug_assert_eq!(self.next() - before, hashes.len() as u64);
    }

    /// Has the list of a hash hold what `consolidate` makes of its rows, where that is less than half as many. The rows that it held
    /// are superseded.
    ///
    /// # Panics
    /// As [`Postings::extend`].
    pub(crate) fn compact(&mut self, hash: u64, consolidate: impl FnOnce(Vec<V>) -> Vec<V>)
    where
        V: Clone,
    {
        let since = self.rows.since();
        let (mut numbers, mut rows) = (Vec::new(), Vec::new());
        for (number, value, _) in self.list(hash) {
            numbers.push(number);
            rows.extend((!since.is_some_and(|since| value.expired(since))).then(|| value.clone()));
        }
        let rows = consolidate(rows);
        if 2 * rows.len() >= numbers.len() {
            return;
        }
        for number in numbers {
            self.rows.get_mut(number).expect("it is in the list").back = SUPERSEDED;
        }
        let (table, kept) = list_of(hash);
        *self.tables[table].place(kept) = kept << NUMBER_BITS | (self.rows.first() - 1) & NUMBER;
        for value in rows {
            self.push(hash, value);
        }
    }

    /// The rows of a list, the latest first: the number, the value, and whether it was the first of its list and no other that came
    /// before those that are here has gone.
    pub(crate) fn list(&self, hash: u64) -> impl Iterator<Item = (u64, &V, bool)> {
        let (table, kept) = list_of(hash);
        let mut next = number(self.tables[table].get(kept), self.rows.next());
        let first = self.rows.first();
        std::iter::from_fn(move || {
            let mut follows_gap = false;
            loop {
                let number = next.filter(|number| *number >= first)?;
                if let Some(row) = self.rows.get(number) {
                    next = self.before(number, row);
                    return Some((number, &row.value, row.back == 0 && !follows_gap));
                }
                next = self.links.get(&number).copied();
                follows_gap = true;
            }
        })
    }

    /// Adds a row to a list, and tells whether it is the first.
    fn push(&mut self, hash: u64, value: V) -> bool {
        let Postings { rows, tables, due, links, .. } = self;
        let (table, kept) = list_of(hash);
        let next = rows.next();
        let lives = |number: u64| rows.has(number) || number >= rows.first() && links.contains_key(&number);
        if tables[table].is_full() {
            tables[table].rebuild(next, lives);
        }
        let place = tables[table].place(kept);
        let latest = number(*place, next).filter(|latest| lives(*latest));
        *place = kept << NUMBER_BITS | next & NUMBER;
        if next.is_multiple_of(SEGMENT_ROWS as u64) {
            assert!(next - rows.first() < NUMBER / 2, "fewer than 2^39 rows have come after one that is kept");
            // No key is kept for long after its rows, and none until numbers repeat.
            tables[*due].rebuild(next + 1, lives);
            *due = (*due + 1) % tables.len();
        }
        let back = match latest {
            None => 0,
            Some(latest) if next - latest <= BACK_MAX => (next - latest) as u32,
            Some(latest) => {
                links.insert(next, latest);
                FAR
            }
        };
        rows.push(Posting { value, back });
        back == 0
    }

    /// Of each of at most [`BLOCK`] hashes the rows with a number below `before`, the latest first: which hash, the number,
    /// the value.
    pub(crate) fn find<'a>(&'a self, hashes: &[u64], before: u64, mut found: impl FnMut(usize, u64, &'a V)) {
        let (first, next) = (self.rows.first(), self.rows.next());
        let mut places = [(0, 0, 0); BLOCK];
        for (place, hash) in places.iter_mut().zip(hashes) {
            let (table, kept) = list_of(*hash);
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
                let goes_on = match self.rows.get(number) {
                    Some(row) => {
                        if number < before {
                            found(at, number, &row.value);
                        }
                        self.before(number, row)
                    }
                    None => self.links.get(&number).copied(),
                };
                if let Some(number) = goes_on.filter(|number| *number >= first) {
                    lists[still] = (at, number);
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
    fn rebuild(&mut self, next: u64, lives: impl Fn(u64) -> bool) {
        let lives = |word: &u64| number(*word, next).is_some_and(&lives);
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
    use super::*;

    /// A row: when it expires, its key, as a few of the keys share a list, and what tells it from all others.
    #[derive(Clone, Copy)]
    struct Row(u64, u64, u64);

    impl Expires<u64> for Row {
        fn expiry(&self) -> u64 {
            self.0
        }
    }

    /// The rows of a key, the latest first.
    fn found(postings: &Postings<Row, u64>, key: u64, before: u64) -> Vec<u64> {
        let mut rows = Vec::new();
        postings.find(&[0, hash(key)], before, |at, _, row| rows.extend((at == 1 && row.1 == key).then_some(row.2)));
        let listed = postings.list(hash(key)).filter(|(number, row, _)| row.1 == key && *number < before);
        assert_eq!(listed.map(|(_, row, _)| row.2).collect::<Vec<_>>(), rows);
        rows
    }

    /// Keeps rows of new keys, each of which comes again a while later, that expire `life` after they came; where it is `compacting`,
    /// a few of a list alone are kept now and then. The most rows, places and links that were kept.
    fn compare_with_a_map(life: impl Fn(u64) -> u64, compacting: bool) -> [usize; 3] {
        const KEYS: u64 = 3_000;
        let (mut postings, mut map) = (Postings::new(), HashMap::<u64, Vec<Row>>::new());
        let reader = postings.reader();
        let mut most = [0; 3];
        for time in 0..200_000u64 {
            let key = time / 7 + hash(time) % KEYS;
            let row = Row(time + life(time), key, time);
            postings.extend(&[hash(key)], [row].into_iter());
            map.entry(key).or_default().push(row);
            if compacting && time % 3 == 0 {
                let in_list: Vec<u64> = postings.list(hash(key)).map(|(_, row, _)| row.1).collect();
                let (mut kept, mut next) = (Vec::new(), postings.next());
                postings.compact(hash(key), |rows| {
                    kept.extend(rows.into_iter().filter(|row| row.2 % 8 == 0));
                    kept.clone()
                });
                next += kept.len() as u64;
                let is_compacted = postings.next() == next && postings.list(hash(key)).count() == kept.len();
                if is_compacted {
                    in_list.iter().for_each(|key| drop(map.remove(key)));
                    kept.into_iter().for_each(|row| map.entry(row.1).or_default().push(row));
                }
            }
            if time % 1_000 == 0 {
                match compacting {
                    true => postings.advance_and_move(reader, &time, |row| hash(row.1)),
                    false => postings.advance(reader, &time),
                }
                let places = postings.tables.iter().map(|table| table.words.len()).sum();
                let now = [postings.len(), places, postings.links.len()];
                most = std::array::from_fn(|at| most[at].max(now[at]));
                for key in (0..50).map(|back| (key + back * 61).saturating_sub(KEYS)) {
                    let rows = map.get(&key).map_or(&[][..], Vec::as_slice);
                    let mut live: Vec<u64> = rows.iter().rev().filter(|row| row.0 > time).map(|row| row.2).collect();
                    let mut found = found(&postings, key, u64::MAX);
                    assert!(found.iter().all(|id| rows.iter().any(|row| row.2 == *id)), "{key} has others");
                    found.retain(|id| live.contains(id));
                    if compacting {
                        // Those that were moved come first.
                        found.sort_unstable();
                        live.sort_unstable();
                    }
                    assert_eq!(found, live, "{key}");
                }
            }
        }
        most
    }

    #[test]
    fn lists_are_those_of_a_map_also_after_rows_have_gone() {
        let [rows, places, links] = compare_with_a_map(|_| 20_000, false);
        // Of 31,000 keys some 6,000 have rows at a time.
        assert!(rows < 20_000 + 1_000 + 2 * SEGMENT_ROWS && places < 20_000, "{rows} rows, {places} places");
        assert_eq!(links > 0, 20_000 > BACK_MAX);
    }

    #[test]
    fn lists_go_on_where_rows_in_their_midst_have_gone() {
        // Rows that expire late lie together: now and then three segments in a row.
        let is_late = |time: u64| time / (3 * SEGMENT_ROWS as u64) % 16 == 5;
        let [rows, places, links] = compare_with_a_map(|time| if is_late(time) { 60_000 } else { 3_000 }, false);
        let live = 60_000 / 16 + 3_000;
        assert!(rows < 2 * live + 1_000 && places < 20_000, "{rows} rows of {live}, {places} places");
        assert!(links > 100 && links < 2 * rows, "{links} links");
    }

    #[test]
    fn a_compacted_list_holds_what_was_made_of_it() {
        let [rows, ..] = compare_with_a_map(|_| 20_000, true);
        assert!(rows > 0);
    }

    #[test]
    fn a_list_of_few_rows_takes_few_segments_however_often_it_is_compacted() {
        let mut postings = Postings::new();
        let reader = postings.reader();
        for time in 0..100 * SEGMENT_ROWS as u64 {
            postings.extend(&[hash(1)], [Row(u64::MAX, 1, time)].into_iter());
            postings.compact(hash(1), |rows| rows.into_iter().take(1).collect());
            postings.advance_and_move(reader, &1, |row| hash(row.1));
            assert!(postings.len() <= 4 * SEGMENT_ROWS, "{} rows", postings.len());
        }
        assert!(postings.list(hash(1)).count() <= 2);
        postings.compact(hash(1), |_| Vec::new());
        assert_eq!(postings.list(hash(1)).count(), 0);
        let mut joined = Vec::new();
        postings.extend_and_tell(&[hash(1)], [Row(u64::MAX, 1, 0)].into_iter(), |hash| joined.push(hash));
        assert_eq!(joined, [], "an empty list begins anew");
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
