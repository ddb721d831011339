//! How eagerly files are written. By itself a ledger writes as fast as it can. A run has time until the next commit is due,
//! and what it writes takes the processors and their caches from its workers: so it rests after every batch for as long
//! as that took, unless it is hurried.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// The longest rest: a batch may seem to take long because the process was stopped.
const REST_MAX: Duration = Duration::from_millis(100);

/// Whether to rest between batches. All clones are one.
#[derive(Clone, Default)]
pub struct Pace(Option<Arc<dyn Fn() -> bool + Send + Sync>>);

impl Pace {
    /// Rests unless it is hurried; the default never rests.
    pub fn gentle(hurried: impl Fn() -> bool + Send + Sync + 'static) -> Pace {
        Pace(Some(Arc::new(hurried)))
    }

    /// Rests from work that took so long.
    pub(super) fn rest(&self, worked: Duration) {
        if self.0.as_ref().is_some_and(|hurried| !hurried()) {
            std::thread::sleep(worked.min(REST_MAX));
        }
    }
}

impl fmt::Debug for Pace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Pace").field(&self.0.is_some()).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn only_a_gentle_pace_rests_and_only_while_nothing_hurries_it_and_never_long() {
        let rests = |pace: &Pace, worked| {
            let started = Instant::now();
            pace.rest(worked);
            started.elapsed()
        };
        let hour = Duration::from_secs(3_600);
        assert!(rests(&Pace::gentle(|| false), hour) >= REST_MAX);
        for pace in [Pace::default(), Pace::gentle(|| true)] {
            assert!(rests(&pace, hour) < hour);
        }
    }
}
