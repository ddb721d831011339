//! Where the rows of a batch begin, in 4 bytes each. Differential's list of offsets, but made to be inlined: every search and
//! every step of a merge reads some.

use differential_dataflow::trace::implementations::{BatchContainer, Update};

/// How the rows of a batch lie: as in differential's `Vector`, but for the offsets.
pub type Rows<U> =
    (Vec<<U as Update>::Key>, Vec<<U as Update>::Val>, Vec<<U as Update>::Time>, Vec<<U as Update>::Diff>, Offsets);

/// Offsets that do not decrease: in 4 bytes while they fit, then in 8.
#[derive(Clone, Debug, Default)]
pub struct Offsets {
    small: Vec<u32>,
    large: Vec<u64>,
}

impl Offsets {
    /// Adds an offset, no less than the last.
    #[inline(always)]
    pub fn push(&mut self, offset: usize) {
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
            None => self.large[index - self.small.len()] as usize,
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
    }

    fn with_capacity(size: usize) -> Self {
        // One more than lists: each begins where the one before ends.
        Offsets { small: Vec::with_capacity(size + 1), large: Vec::new() }
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
        self.small.len() + self.large.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_beyond_32_bits_are_kept() {
        let mut offsets = Offsets::with_capacity(0);
        let pushed = [0, 0, 7, u32::MAX as usize, u32::MAX as usize + 1, 1 << 40];
        pushed.iter().for_each(|offset| offsets.push(*offset));
        assert_eq!((0..offsets.len()).map(|index| offsets.at(index)).collect::<Vec<_>>(), pushed);
    }
}
