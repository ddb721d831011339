//! How eagerly files are written. By itself a ledger writes as fast as it can. A run has time until the next commit is due,
//! and what it writes takes the processors and their caches from its workers: so it rests after every batch for as long
//! as that took, unless more waits than one commit should hold.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

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
            std::thread::sleep(worked);
        }
    }
}

impl fmt::Debug for Pace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Pace").field(&self.0.is_some()).finish()
    }
}
