//! Updates that come too late: at the expiry of what they change, or after it.
//!
//! What forgets relies on a promise: that nothing changes from its expiry on ([`Expires`](crate::Expires)). Where the promise is
//! broken, an earlier output may never be taken back, as what it was made of may be gone, and nothing else tells of it. So
//! it is asserted where assertions are on, as in all tests; and counted everywhere, to be shown to whoever runs a release.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

static LATE_UPDATES: AtomicU64 = AtomicU64::new(0);

/// How many updates [`reduce`](crate::reduce()), [`index`](crate::index()) and [`find`](crate::find) have taken in this process at the
/// expiry of what they change, or after it. Not 0: results may be wrong, as an expiry is too early or an input breaks its promise.
pub fn late_updates() -> u64 {
    LATE_UPDATES.load(Relaxed)
}

/// Says how many of the updates that an operator has taken were late.
pub(crate) fn check(late: usize, operator: &str) {
    if late > 0 {
        count(&LATE_UPDATES, late);
        debug_assert!(false, "{operator}: {late} updates at or after the expiry of what they change");
    }
}

fn count(counter: &AtomicU64, late: usize) {
    counter.fetch_add(late as u64, Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn late_updates_are_counted() {
        let counter = AtomicU64::new(0);
        count(&counter, 2);
        count(&counter, 3);
        assert_eq!(counter.load(Relaxed), 5);
    }

    #[test]
    fn nothing_late_is_no_news() {
        check(0, "test");
    }

    #[test]
    #[should_panic(expected = "test: 2 updates")]
    #[cfg(debug_assertions)]
    fn late_updates_are_asserted() {
        check(2, "test");
    }
}
