//! Where the rows of a batch begin, in at most 4 bytes each. Differential's list of offsets, but made to be inlined: every
//! search and every step of a merge reads some.

use differential_dataflow::trace::implementations::{BatchContainer, Update};

/// How the rows of a batch lie: as in differential's `Vector`, but for the offsets.
pub type Rows<U> =
    (Vec<<U as Update>::Key>, Vec<<U as Update>::Val>, Vec<<U as Update>::Time>, Vec<<U as Update>::Diff>, Offsets);

/// Offsets that do not decrease: in 4 bytes while they fit, then in 8; and in none where all that follow rise evenly, as they
/// do where each key has one value, or where all updates of a batch are of one time.
#[derive(Clone, Debug, Default)]
pub struct Offsets {
    small: Vec<u32>,
    large: Vec<u64>,
    /// What follows them.
    run: Run,
    /// How many there may be.
    expected: usize,
}

/// As many offsets, each a step more than the one before.
#[derive(Clone, Copy, Debug, Default)]
struct Run {
    first: usize,
    step: usize,
    len: usize,
}

/// Once so many offsets were kept because they did not rise evenly, all that follow are kept: to try again would cost more
/// than it saves.
const UNEVEN_MAX: usize = 8;

impl Offsets {
    /// Adds an offset, no less than the last.
    #[inline(always)]
    pub fn push(&mut self, offset: usize) {
        let Run { first, step, len } = &mut self.run;
        if *len > 1 && offset == *first + *step * *len {
            *len += 1;
        } else if *len == 0 && self.small.len() + self.large.len() > UNEVEN_MAX {
            self.keep(offset);
        } else {
            self.push_uneven(offset);
        }
    }

    fn push_uneven(&mut self, offset: usize) {
        match self.run.len {
            0 => self.run = Run { first: offset, step: 0, len: 1 },
            1 if offset - self.run.first <= 1 => self.run = Run { step: offset - self.run.first, len: 2, ..self.run },
            _ => {
                let Run { first, step, len } = std::mem::take(&mut self.run);
                let kept = self.small.len() + self.large.len();
                self.small.reserve_exact(if kept + len > UNEVEN_MAX {
                    self.expected.max(kept + len) - kept
                } else {
                    len
                });
                (0..len).for_each(|index| self.keep(first + step * index));
                self.push(offset);
            }
        }
    }

    #[inline(always)]
    fn keep(&mut self, offset: usize) {
        match u32::try_from(offset) {
            Ok(offset) => self.small.push(offset),
            Err(_) => self.large.push(offset as u64),
        }
    }

    /// The offset at an index.
    #[inline(always)]
    pub fn at(&self, index: usize) -> usize {
        match self.small.get(index) {
            Some(offset) => *offset as usize,
            None => self.at_beyond(index - self.small.len()),
        }
    }

    #[inline(always)]
    fn at_beyond(&self, index: usize) -> usize {
        match index.checked_sub(self.large.len()) {
            Some(index) => {
                assert!(index < self.run.len, "an offset beyond the last");
                self.run.first + self.run.step * index
            }
            None => self.large[index] as usize,
        }
    }

    /// Gives back memory that is not used.
    pub fn shrink_to_fit(&mut self) {
        self.small.shrink_to_fit();
        self.large.shrink_to_fit();
    }
}

impl BatchContainer for Offsets {
    type Owned = usize;
    type ReadItem<'a> = usize;

    #[inline(always)]
    fn into_owned<'a>(item: usize) -> usize {
        item
    }

    #[inline(always)]
    fn reborrow<'b, 'a: 'b>(item: usize) -> usize {
        item
    }

    #[inline(always)]
    fn push_ref(&mut self, item: usize) {
        self.push(item)
    }

    #[inline(always)]
    fn push_own(&mut self, item: &usize) {
        self.push(*item)
    }

    fn clear(&mut self) {
        self.small.clear();
        self.large.clear();
        self.run = Run::default();
    }

    fn with_capacity(size: usize) -> Self {
        // One more than lists: each begins where the one before ends.
        Offsets { expected: size + 1, ..Offsets::default() }
    }

    fn merge_capacity(one: &Self, other: &Self) -> Self {
        Self::with_capacity(one.len() + other.len())
    }

    #[inline(always)]
    fn index(&self, index: usize) -> usize {
        self.at(index)
    }

    #[inline(always)]
    fn len(&self) -> usize {
        self.small.len() + self.large.len() + self.run.len
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(pushed: &[usize]) -> Offsets {
        let mut offsets = Offsets::with_capacity(pushed.len());
        pushed.iter().for_each(|offset| offsets.push(*offset));
        assert_eq!((0..offsets.len()).map(|index| offsets.at(index)).collect::<Vec<_>>(), pushed);
        offsets
    }

    #[test]
    fn offsets_beyond_32_bits_are_kept() {
        check(&[0, 0, 7, u32::MAX as usize, u32::MAX as usize + 1, 1 << 40]);
        check(&[0, 9, 10, 12, 13, 15, 16, 18, 19, u32::MAX as usize - 1, u32::MAX as usize, 1 << 32, (1 << 32) + 1]);
    }

    #[test]
    fn offsets_that_rise_evenly_take_no_memory() {
        let each_one: Vec<usize> = (0..1_000).collect();
        let one_for_all: Vec<usize> = [0].into_iter().chain(std::iter::repeat_n(1, 999)).collect();
        for pushed in [each_one, one_for_all] {
            let offsets = check(&pushed);
            assert!(offsets.small.capacity() <= UNEVEN_MAX, "{}", offsets.small.capacity());
        }
        let uneven = check(&(0..1_000).map(|index| index * 3 / 2).collect::<Vec<_>>());
        assert_eq!(uneven.small.capacity(), 1_001, "what is not even is given its memory once");
    }

    proptest! {
        #[test]
        fn offsets_are_kept_however_they_rise(runs in prop::collection::vec((0..4usize, 0..20usize), 0..30)) {
            let steps = runs.into_iter().flat_map(|(step, len)| std::iter::repeat_n(step, len));
            let pushed: Vec<usize> = steps.scan(0, |last, step| { *last += step; Some(*last) }).collect();
            check(&pushed);
        }
    }
}
