//! Small numbers for values that come up again and again, so that what is kept of each visitor holds four bytes instead of a value.

use std::collections::HashMap;
use std::hash::Hash;

use foldhash::fast::FixedState;

/// Values that were met, and their places.
pub(crate) struct Places<V> {
    values: Vec<V>,
    places: HashMap<V, u32, FixedState>,
}

impl<V: Copy + Eq + Hash> Places<V> {
    /// None yet.
    pub(crate) fn new() -> Places<V> {
        Places { values: Vec::new(), places: HashMap::default() }
    }

    /// The place of a value, a new one where it was not met before.
    pub(crate) fn of(&mut self, value: V) -> u32 {
        let next = u32::try_from(self.values.len()).expect("fewer names than bits tell apart");
        let place = *self.places.entry(value).or_insert(next);
        if place == next {
            self.values.push(value);
        }
        place
    }

    /// The value of a place.
    pub(crate) fn at(&self, place: u32) -> V {
        self.values[place as usize]
    }
}
