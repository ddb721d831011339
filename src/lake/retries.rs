//! How a ledger bears a store that fails. By itself it gives up after a few attempts, as a start or a command should. In a
//! run it goes on trying until the store is back or the run is told to stop: what waits is bounded (`cuts`), nothing is
//! lost, and the trouble is there to see.

use std::fmt::Display;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::observe::telemetry::name;

/// Attempts of a ledger that gives up. The waits between them double from the lake's `retry_after`: 3 s in all.
const ATTEMPTS_MAX: u32 = 8;
/// The longest wait between two attempts.
const WAIT_MAX: Duration = Duration::from_secs(5);

/// Whether to go on trying, and what the trouble is. All clones are one.
#[derive(Clone, Debug, Default)]
pub struct RetryPolicy(Option<Arc<Shared>>);

#[derive(Debug, Default)]
struct Shared {
    ended: AtomicBool,
    trouble: Mutex<Option<String>>,
}

impl RetryPolicy {
    /// Goes on until [`RetryPolicy::end`]; the default gives up after a few attempts.
    pub fn endless() -> RetryPolicy {
        RetryPolicy(Some(Arc::default()))
    }

    /// From now on an attempt that fails is the last, but for the few that everybody makes.
    pub fn end(&self) {
        if let Some(shared) = &self.0 {
            shared.ended.store(true, Ordering::SeqCst);
        }
    }

    /// What the store fails with at present.
    pub fn trouble(&self) -> Option<String> {
        self.0.as_ref()?.trouble.lock().expect("no panic while locked").clone()
    }

    /// Notes that an attempt failed. Whether there is to be another.
    pub(super) fn retry(&self, table: &str, step: &str, attempt: u32, error: &dyn Display) -> bool {
        metrics::counter!(name::COMMIT_RETRIES, "table" => table.to_owned()).increment(1);
        let endless = self.0.as_ref().is_some_and(|shared| !shared.ended.load(Ordering::SeqCst));
        let again = endless || attempt < ATTEMPTS_MAX;
        if again {
            tracing::warn!(table, step, attempt, %error, "the store failed, trying again");
        }
        if let Some(shared) = &self.0 {
            let trouble = format!("{step} of {table} failed {attempt} times: {error}");
            *shared.trouble.lock().expect("no panic while locked") = Some(trouble);
        }
        again
    }

    /// Notes that the store works.
    pub(super) fn succeeded(&self) {
        if let Some(shared) = &self.0 {
            *shared.trouble.lock().expect("no panic while locked") = None;
        }
    }
}

/// Waits, and doubles the next wait. A lake without waits has no timer either.
pub(super) async fn pause(wait: &mut Duration) {
    if !wait.is_zero() {
        tokio::time::sleep(*wait).await;
    }
    *wait = (*wait * 2).min(WAIT_MAX);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_patient_until_it_ends_and_says_what_the_trouble_is() {
        let (command, run) = (RetryPolicy::default(), RetryPolicy::endless());
        assert!(command.retry("records", "upload", ATTEMPTS_MAX - 1, &"down"));
        assert!(!command.retry("records", "upload", ATTEMPTS_MAX, &"down"));
        assert!(run.retry("records", "upload", 1_000, &"disk full"));
        assert_eq!(run.trouble().unwrap(), "upload of records failed 1000 times: disk full");
        run.succeeded();
        assert_eq!(run.trouble(), None);
        run.end();
        assert!(!run.retry("records", "upload", 1_001, &"disk full"));
    }
}
