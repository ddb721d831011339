//! Updates that wait until their times are complete, in the containers in which they came: what came for later is not
//! looked at again before that.

use timely::dataflow::operators::{Capability, InputCapability};
use timely::order::TotalOrder;
use timely::progress::Timestamp;
use timely::progress::frontier::MutableAntichain;

/// Updates as they travel.
pub type Updates<D, T, R> = Vec<(D, T, R)>;

/// Updates that wait.
pub(crate) struct Pending<D, T, R>(Vec<Waiting<D, T, R>>);

/// Updates with their first and last time.
struct Waiting<D, T, R> {
    first: T,
    last: T,
    updates: Updates<D, T, R>,
}

impl<D, T, R> Default for Pending<D, T, R> {
    fn default() -> Self {
        Pending(Vec::new())
    }
}

impl<D, T: Timestamp + TotalOrder, R> Pending<D, T, R> {
    /// Has updates wait.
    pub(crate) fn push(&mut self, updates: Updates<D, T, R>) {
        let times = || updates.iter().map(|(_, time, _)| time);
        if let (Some(first), Some(last)) = (times().min().cloned(), times().max().cloned()) {
            self.0.push(Waiting { first, last, updates });
        }
    }

    /// The earliest time of what waits.
    pub(crate) fn first(&self) -> Option<&T> {
        self.0.iter().map(|waiting| &waiting.first).min()
    }

    /// As [`Pending::take_before`], in one piece. Each of the pieces is freed at once: a step of a start
    /// is large.
    pub(crate) fn take_together(&mut self, upper: Option<&T>) -> Updates<D, T, R> {
        let mut taken = self.take_before(upper);
        match taken.len() {
            1 => taken.remove(0),
            _ => {
                let mut all = Vec::with_capacity(taken.iter().map(Vec::len).sum());
                taken.drain(..).for_each(|mut updates| all.append(&mut updates));
                all
            }
        }
    }

    /// Takes out what lies before `upper`; all where there is none.
    pub(crate) fn take_before(&mut self, upper: Option<&T>) -> Vec<Updates<D, T, R>> {
        let is_before = |time: &T| upper.is_none_or(|upper| time < upper);
        let mut taken = Vec::new();
        for mut waiting in std::mem::take(&mut self.0) {
            if is_before(&waiting.last) {
                taken.push(waiting.updates);
            } else if !is_before(&waiting.first) {
                self.0.push(waiting);
            } else {
                taken.push(waiting.updates.extract_if(.., |(_, time, _)| is_before(time)).collect());
                self.push(waiting.updates);
            }
        }
        taken
    }
}

/// Keeps what is waited with able to be sent.
pub(crate) struct Held<T: Timestamp>(pub(crate) Option<Capability<T>>);

impl<T: Timestamp + TotalOrder> Held<T> {
    /// Takes the capability of what came, where it is earlier.
    pub(crate) fn hold(&mut self, capability: &InputCapability<T>) {
        if self.0.as_ref().is_none_or(|held| held.time() > capability.time()) {
            self.0 = Some(capability.retain(0));
        }
    }

    /// Nothing will be sent before this time; nothing at all, where there is none.
    pub(crate) fn advance(&mut self, first: Option<&T>) {
        match (first, &mut self.0) {
            (Some(first), Some(held)) => held.downgrade(first),
            _ => self.0 = None,
        }
    }
}

/// The one time of a frontier; none where nothing comes any more.
pub(crate) fn first<T: Timestamp>(frontier: &MutableAntichain<T>) -> Option<T> {
    frontier.frontier().first().cloned()
}
