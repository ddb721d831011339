//! Sorts what goes into an arrangement, once.
//!
//! Differential's batcher sorts small chunks as they come and merges them step by step. Here all that came for a batch is
//! sorted when it is sealed.

use std::collections::VecDeque;

use differential_dataflow::Data;
use differential_dataflow::consolidation::consolidate_updates;
use differential_dataflow::difference::Semigroup;
use differential_dataflow::logging::Logger;
use differential_dataflow::trace::{Batcher, Description};
use timely::container::{ContainerBuilder, PushInto};
use timely::order::TotalOrder;
use timely::progress::{Antichain, Timestamp, frontier::AntichainRef};

use crate::pending::{Pending, Updates};

/// Sorts and consolidates updates when a batch of them is complete.
pub struct SortingBatcher<D, T, R> {
    pending: Pending<D, T, R>,
    lower: Antichain<T>,
    /// The earliest time of what waits.
    frontier: Antichain<T>,
}

impl<D: Data, T: Timestamp + TotalOrder, R: Semigroup + 'static> PushInto<Updates<D, T, R>>
    for SortingBatcher<D, T, R>
{
    fn push_into(&mut self, updates: Updates<D, T, R>) {
        self.pending.push(updates);
    }
}

impl<D: Data, T: Timestamp + TotalOrder, R: Semigroup + 'static> Batcher for SortingBatcher<D, T, R> {
    type Time = T;
    type Output = Updates<D, T, R>;

    fn new(_: Option<Logger>, _: usize) -> Self {
        let lower = Antichain::from_elem(T::minimum());
        SortingBatcher { pending: Pending::default(), lower, frontier: Antichain::new() }
    }

    fn seal(&mut self, upper: Antichain<T>) -> (Vec<Self::Output>, Description<T>) {
        let mut updates = self.pending.take_together(upper.as_option());
        self.frontier = self.pending.first().cloned().into_iter().collect();
        consolidate_updates(&mut updates);
        let description = Description::new(self.lower.clone(), upper.clone(), Antichain::from_elem(T::minimum()));
        self.lower = upper;
        (Vec::from_iter((!updates.is_empty()).then_some(updates)), description)
    }

    fn frontier(&mut self) -> AntichainRef<'_, T> {
        self.frontier.borrow()
    }
}

/// Passes containers on as they come.
pub struct PassThrough<C> {
    waiting: VecDeque<C>,
    given: C,
}

impl<C: Default> Default for PassThrough<C> {
    fn default() -> Self {
        PassThrough { waiting: VecDeque::new(), given: C::default() }
    }
}

impl<C: Default> PushInto<&mut C> for PassThrough<C> {
    fn push_into(&mut self, container: &mut C) {
        self.waiting.push_back(std::mem::take(container));
    }
}

impl<C: timely::Container> ContainerBuilder for PassThrough<C> {
    type Container = C;

    fn extract(&mut self) -> Option<&mut C> {
        self.given = self.waiting.pop_front()?;
        Some(&mut self.given)
    }

    fn finish(&mut self) -> Option<&mut C> {
        self.extract()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn each_update_is_sealed_once_in_its_batch(
            mut containers in prop::collection::vec(prop::collection::vec((0..5u8, 0..40u64, -1..2isize), 0..20), 0..10),
            uppers in prop::collection::btree_set(1..45u64, 1..6),
        ) {
            let mut batcher = SortingBatcher::<u8, u64, isize>::new(None, 0);
            let (mut lower, mut all) = (0, Vec::new());
            for upper in uppers.into_iter().chain([50]) {
                // What comes now is not before the last seal; some of it is for later.
                let mut updates = containers.pop().unwrap_or_default();
                updates.retain(|(_, time, _)| *time >= lower);
                all.extend_from_slice(&updates);
                batcher.push_into(updates);
                let (sealed, description) = batcher.seal(Antichain::from_elem(upper));
                prop_assert_eq!((description.lower().elements(), description.upper().elements()), (&[lower][..], &[upper][..]));
                let mut expected = all.clone();
                expected.retain(|(_, time, _)| (lower..upper).contains(time));
                consolidate_updates(&mut expected);
                prop_assert_eq!(sealed.concat(), expected);
                let first = all.iter().map(|(_, time, _)| *time).filter(|time| *time >= upper).min();
                prop_assert_eq!(batcher.frontier().as_option().copied(), first);
                lower = upper;
            }
        }
    }
}
