//! How eagerly files are written. By itself a ledger writes as fast as it can. A run has time until the next commit is due,
//! and what it writes takes the processors and their caches from its workers: so it rests after every batch for as long
//! as that took, unless it is eager.

use std::sync::Arc;
use std::time::Duration;

/// The longest rest: a batch may seem to take long because the process was stopped.
const REST_MAX: Duration = Duration::from_millis(100);

/// Whether to rest between batches. All clones are one.
#[derive(Clone, Default)]
pub struct Throttle(Option<Arc<dyn Fn() -> bool + Send + Sync>>);

impl Throttle {
    /// Rests unless it is eager; the default never rests.
    pub fn gentle(eager: impl Fn() -> bool + Send + Sync + 'static) -> Throttle {
        Throttle(Some(Arc::new(eager)))
    }

    /// Rests from work that took so long.
    pub(super) fn rest(&self, worked: Duration) {
        let due = self.due(worked);
        if !due.is_zero() {
            std::thread::sleep(due);
        }
    }

    fn due(&self, worked: Duration) -> Duration {
        match &self.0 {
            Some(eager) if !eager() => worked.min(REST_MAX),
            _ => Duration::ZERO,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_gentle_pace_rests_while_nothing_hurries_it_and_never_long() {
        let (short, hour) = (Duration::from_millis(5), Duration::from_secs(3_600));
        let gentle = Throttle::gentle(|| false);
        assert_eq!([short, hour].map(|worked| gentle.due(worked)), [short, REST_MAX]);
        for throttle in [Throttle::default(), Throttle::gentle(|| true)] {
            assert_eq!(throttle.due(short), Duration::ZERO);
        }
    }
}
