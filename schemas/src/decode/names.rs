//! The names that a worker has seen, in front of the table that all share: no lock for a name seen before.
//!
//! A record has some fifteen names. Most are those of the record before (tenant, app, language), which is tried first. The
//! others are of tens of thousands that are in use, so to look one up is to wait for memory: the places of all of them are
//! read before any is compared, so that the processor waits for them together.

use std::collections::HashMap;
use std::hash::BuildHasher;
use std::sync::Arc;

use foldhash::fast::RandomState;

use super::{NAME_BYTES_MAX, Reason};
use crate::symbols::{Symbol, Symbols};

/// The names that a worker remembers beside the shared table; when there are more, it starts anew.
const REMEMBERED_MAX: usize = 65_536;
/// Places of an empty table; a table has a power of two.
const PLACES_MIN: usize = 1_024;

/// The names of one worker.
pub(super) struct Names {
    shared: Arc<Symbols>,
    /// By field, the short name that was looked up last.
    last: Vec<(Short, Symbol)>,
    short: ShortNames,
    long: HashMap<Box<str>, Symbol, RandomState>,
}

impl Names {
    /// None yet, in front of this table.
    pub(super) fn new(shared: Arc<Symbols>) -> Names {
        Names { shared, last: Vec::new(), short: ShortNames::new(), long: HashMap::default() }
    }

    /// How many there are.
    #[cfg(test)]
    pub(super) fn remembered(&self) -> usize {
        self.short.len + self.long.len()
    }

    /// The symbols of (field, name) pairs, always of the same fields, the tenant first. When one is refused, none is interned.
    pub(super) fn symbols<const N: usize>(&mut self, names: [(&'static str, &str); N]) -> Result<[Symbol; N], Reason> {
        self.last.resize(N, ([0; 3], Symbol::NONE));
        let mut symbols = [Symbol::NONE; N];
        let mut sought = [const { None }; N];
        for (at, (_, name)) in names.iter().enumerate().filter(|(_, (_, name))| !name.is_empty()) {
            let (last, symbol) = self.last[at];
            match short(name) {
                Some(short) if short == last => symbols[at] = symbol,
                Some(short) => sought[at] = Some(self.short.seek(short)),
                None => {}
            }
        }
        let mut new = Vec::new();
        for (at, (field, name)) in names.into_iter().enumerate() {
            if name.is_empty() || !symbols[at].is_none() {
                continue;
            }
            let known = match &sought[at] {
                Some(sought) => self.short.find(sought).inspect(|symbol| self.last[at] = (sought.name, *symbol)),
                None => self.long.get(name).copied(),
            };
            match known {
                Some(symbol) => symbols[at] = symbol,
                None if name.len() > NAME_BYTES_MAX => return Err(Reason::TooLong { field, bytes: name.len() }),
                None => new.push((at, name)),
            }
        }
        if !new.is_empty() {
            let interned = self.shared.intern_all(names[0].1, new.iter().map(|(at, name)| (names[*at].0, *name)))?;
            if self.short.len + self.long.len() + new.len() > REMEMBERED_MAX {
                self.short = ShortNames::new();
                self.long.clear();
            }
            for ((at, name), symbol) in new.into_iter().zip(interned) {
                symbols[at] = symbol;
                match short(name) {
                    Some(short) => self.short.insert(short, symbol),
                    None => {
                        self.long.insert(name.into(), symbol);
                    }
                };
            }
        }
        Ok(symbols)
    }
}

/// A name of at most 23 bytes, in words: its bytes, then zeros, then its length. Only the empty one is all zeros.
type Short = [u64; 3];

fn short(name: &str) -> Option<Short> {
    let bytes = name.as_bytes();
    if bytes.len() > 23 {
        return None;
    }
    let word = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
    let (whole, rest) = (bytes.len() / 8, bytes.len() % 8);
    let mut words = [0; 3];
    (0..whole).for_each(|at| words[at] = word(8 * at));
    if rest > 0 {
        words[whole] = match whole {
            0 => head(bytes),
            // The last eight bytes, without those that stand in the word before.
            _ => word(bytes.len() - 8) >> (8 * (8 - rest)),
        };
    }
    words[2] |= (bytes.len() as u64) << 56;
    Some(words)
}

/// One to seven bytes as a word: what is read twice is the same.
fn head(bytes: &[u8]) -> u64 {
    let at = |place: usize| u64::from(bytes[place]) << (8 * place);
    match bytes.len() {
        length @ 1..4 => at(0) | at(length / 2) | at(length - 1),
        length => {
            let half = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
            u64::from(half(0)) | u64::from(half(length - 4)) << (8 * (length - 4))
        }
    }
}

/// A table of short names: name and symbol in one place, the next free one after where its hash says. At least half of the
/// places are free.
struct ShortNames {
    hasher: RandomState,
    places: Vec<(Short, Symbol)>,
    len: usize,
}

/// Where a name is looked for first, and what is there.
struct Sought {
    name: Short,
    place: usize,
    found: (Short, Symbol),
}

impl ShortNames {
    fn new() -> ShortNames {
        ShortNames { hasher: RandomState::default(), places: vec![([0; 3], Symbol::NONE); PLACES_MIN], len: 0 }
    }

    fn place(&self, [first, second, third]: Short) -> usize {
        // Words are hashed faster one by one than as an array.
        self.hasher.hash_one((first, second, third)) as usize & (self.places.len() - 1)
    }

    fn seek(&self, name: Short) -> Sought {
        let place = self.place(name);
        Sought { name, place, found: self.places[place] }
    }

    fn find(&self, sought: &Sought) -> Option<Symbol> {
        let (mut place, mut found) = (sought.place, sought.found);
        while found.0 != sought.name {
            if found.0 == [0; 3] {
                return None;
            }
            place = (place + 1) & (self.places.len() - 1);
            found = self.places[place];
        }
        Some(found.1)
    }

    /// Adds a name, or does nothing where it is known.
    fn insert(&mut self, name: Short, symbol: Symbol) {
        if self.len >= self.places.len() / 2 {
            let places = vec![([0; 3], Symbol::NONE); 2 * self.places.len()];
            let before = std::mem::replace(&mut self.places, places);
            self.len = 0;
            before.into_iter().filter(|(name, _)| *name != [0; 3]).for_each(|(name, symbol)| self.insert(name, symbol));
        }
        let mut place = self.place(name);
        while self.places[place].0 != [0; 3] {
            if self.places[place].0 == name {
                return;
            }
            place = (place + 1) & (self.places.len() - 1);
        }
        self.places[place] = (name, symbol);
        self.len += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_name_is_its_bytes_and_length() {
        let text = "abcdefghijklmnopqrstuvwxyz";
        assert_eq!(short(""), Some([0; 3]));
        for length in 0..=23 {
            let mut bytes = [0u8; 24];
            bytes[..length].copy_from_slice(&text.as_bytes()[..length]);
            bytes[23] = length as u8;
            let words = short(&text[..length]).unwrap().map(u64::to_le_bytes);
            assert_eq!(words.as_flattened(), bytes, "{length}");
        }
        assert_eq!(short(&text[..24]), None);
        assert_ne!(short("a"), short("a\0"));
    }

    #[test]
    fn each_name_keeps_its_symbol_however_many_there_are() {
        let shared = Arc::new(Symbols::new());
        let mut names = Names::new(Arc::clone(&shared));
        // More than are remembered, short and long ones, and every one again.
        for _ in 0..2 {
            for number in 0..REMEMBERED_MAX + 1_000 {
                let (one, long) =
                    (format!("name {number}"), format!("a name of more than 23 bytes {}", number % 3_000));
                let symbols = names.symbols([("a", &one), ("b", ""), ("c", &long), ("d", &one)]).unwrap();
                let expected = [&one, "", &long, &one].map(Symbol::of);
                assert_eq!(symbols, expected);
            }
        }
        assert_eq!(shared.take_unsaved().len(), REMEMBERED_MAX + 1_000 + 3_000);
        assert!(names.short.len <= REMEMBERED_MAX && names.short.places.len() <= 4 * REMEMBERED_MAX);
    }
}
