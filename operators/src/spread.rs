//! Places of keys that are spread evenly, as hashes are: where one stands among others follows from the key itself.
//!
//! [`places`] guesses the places of many keys at once and corrects each guess by what it finds there, so that it waits for
//! memory a few times for all of them together. Where keys are not spread evenly the guesses are of no use, and a search
//! goes on from them in steps that double: the places are the same.

/// Keys that are looked for at a time.
pub(crate) const BLOCK: usize = 64;
/// How often a guess is corrected by proportion before the search goes step by step: after two corrections it is off by
/// some ten places among millions of keys.
const CORRECTIONS: usize = 2;

/// A key that begins with 64 bits which look random.
pub trait UniformKey: Ord {
    /// These bits; they order as the keys do.
    fn prefix(&self) -> u64;
}

impl UniformKey for u64 {
    #[inline(always)]
    fn prefix(&self) -> u64 {
        *self
    }
}

impl<T: Ord> UniformKey for (u64, T) {
    #[inline(always)]
    fn prefix(&self) -> u64 {
        self.0
    }
}

/// Where each of the keys stands, or would stand, among others; both are in order. Each loop reads memory at places that do
/// not depend on each other, so the processor waits for them together.
pub(crate) fn places<K: UniformKey>(sought: &[K], among: &[K]) -> [usize; BLOCK] {
    let mut places = [0; BLOCK];
    let share = |prefix: u64| ((u128::from(prefix) * among.len() as u128) >> 64) as usize;
    for (place, key) in places.iter_mut().zip(sought) {
        *place = share(key.prefix());
    }
    for _ in 0..CORRECTIONS {
        for (place, key) in places.iter_mut().zip(sought) {
            let (there, wanted) = (among[*place].prefix(), key.prefix());
            *place = if wanted >= there {
                (*place + share(wanted - there)).min(among.len() - 1)
            } else {
                place.saturating_sub(share(there - wanted))
            };
        }
    }
    for (place, key) in places.iter_mut().zip(sought) {
        *place = settle(among, key, *place);
    }
    places
}

/// The first place at or after which `among` is not less than `key`, by steps that double from a guess.
fn settle<K: Ord>(among: &[K], key: &K, guess: usize) -> usize {
    let mut step = 1;
    if among[guess] < *key {
        let mut less = guess;
        while less + step < among.len() && among[less + step] < *key {
            less += step;
            step *= 2;
        }
        let end = among.len().min(less + step);
        less + 1 + among[less + 1..end].partition_point(|other| other < key)
    } else {
        let mut not_less = guess;
        while step <= not_less && among[not_less - step] >= *key {
            not_less -= step;
            step *= 2;
        }
        let start = (not_less + 1).saturating_sub(step);
        start + among[start..not_less].partition_point(|other| other < key)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_place_is_found_from_any_guess(
            mut among in prop::collection::vec(0..500u64, 1..300),
            key in 0..510u64,
            guess in any::<prop::sample::Index>(),
        ) {
            among.sort_unstable();
            let place = among.partition_point(|other| *other < key);
            prop_assert_eq!(settle(&among, &key, guess.index(among.len())), place);
            prop_assert_eq!(places(&[key], &among)[0], place);
        }
    }
}
