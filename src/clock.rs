//! The clock of a process: the only place that asks the system for the time.
//!
//! Views never see it. Sources use it for records that carry no arrival of their own and to move the tick of a
//! partition that has nothing more to read; tests replace it.
//!
//! A whole process is given a wrong clock by the variable `BIDSTREAM_CLOCK_OFFSET_MS` alone, read once at the start of
//! `bidstream`: so many milliseconds are added to the system's time, `-3600000` is an hour behind. The stamps of brokers
//! and of files are not touched.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use chrono::{DateTime, SecondsFormat};

/// The variable that makes the clock of a process wrong on purpose.
pub const OFFSET_VARIABLE: &str = "BIDSTREAM_CLOCK_OFFSET_MS";

static OFFSET_MS: AtomicI64 = AtomicI64::new(0);

/// A value of [`OFFSET_VARIABLE`] that is no offset.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{OFFSET_VARIABLE}: {0:?} is no number of milliseconds, as -3600000")]
pub struct BadOffset(String);

/// Shifts the clock by what [`OFFSET_VARIABLE`] says; to be called once, at the start of the process.
pub fn shift() -> Result<(), BadOffset> {
    let Ok(text) = std::env::var(OFFSET_VARIABLE) else { return Ok(()) };
    let offset_ms = text.parse().map_err(|_| BadOffset(text))?;
    tracing::warn!(offset_ms, "the clock of this process is wrong on purpose");
    OFFSET_MS.store(offset_ms, Ordering::SeqCst);
    Ok(())
}

/// Milliseconds since the Unix epoch as RFC 3339.
pub fn rfc3339(ms: i64) -> String {
    DateTime::from_timestamp_millis(ms)
        .map_or_else(|| ms.to_string(), |at| at.to_rfc3339_opts(SecondsFormat::Millis, true))
}

/// Tells the time in milliseconds since the Unix epoch, UTC. All workers of a process share one.
#[derive(Clone)]
pub struct Clock(Arc<Kind>);

enum Kind {
    System { origin: Instant, origin_ms: i64, lead: Lead },
    Manual(AtomicI64),
}

impl Clock {
    /// The system's clock. It never goes back: where the system's time falls behind what was already told, it goes on
    /// at the throttle of the monotonic clock.
    pub fn system() -> Clock {
        Clock(Arc::new(Kind::System { origin: Instant::now(), origin_ms: wall_ms(), lead: Lead::default() }))
    }

    /// A clock that stands until it is set.
    pub fn manual(now_ms: i64) -> Clock {
        Clock(Arc::new(Kind::Manual(AtomicI64::new(now_ms))))
    }

    /// The time now; never less than any answer before.
    pub fn now_ms(&self) -> i64 {
        match &*self.0 {
            Kind::Manual(now) => now.load(Ordering::SeqCst),
            Kind::System { origin, origin_ms, lead } => {
                lead.now_ms(origin_ms + origin.elapsed().as_millis() as i64, wall_ms())
            }
        }
    }

    /// Sets a manual clock; a system clock takes no orders.
    ///
    /// # Panics
    /// On a system clock.
    pub fn set(&self, now_ms: i64) {
        match &*self.0 {
            Kind::Manual(now) => now.store(now_ms, Ordering::SeqCst),
            Kind::System { .. } => panic!("only a manual clock can be set"),
        }
    }
}

/// How far the system's time has ever been ahead of the monotonic clock. One that is set forward (after a suspend, say) is
/// followed; one that is set back leaves the monotonic clock in charge, from where it was: were the time to stand until the
/// system's has come as far, no cut would be complete for as long.
#[derive(Default)]
struct Lead(AtomicI64);

impl Lead {
    fn now_ms(&self, monotonic_ms: i64, wall_ms: i64) -> i64 {
        let lead_ms = wall_ms - monotonic_ms;
        monotonic_ms + self.0.fetch_max(lead_ms, Ordering::SeqCst).max(lead_ms)
    }
}

fn wall_ms() -> i64 {
    let wall_ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64);
    wall_ms + OFFSET_MS.load(Ordering::Relaxed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_set_forward_is_followed_and_one_that_is_set_back_goes_on_from_where_it_was() {
        const HOUR_MS: i64 = 3_600_000;
        let lead = Lead::default();
        assert_eq!(lead.now_ms(1_000, 1_000), 1_000);
        assert_eq!(lead.now_ms(2_000, 2_000 - HOUR_MS), 2_000, "set back an hour");
        assert_eq!(lead.now_ms(3_000, 3_000 - HOUR_MS), 3_000);
        assert_eq!(lead.now_ms(4_000, 4_000), 4_000, "and corrected");
        assert_eq!(lead.now_ms(5_000, 5_000 + HOUR_MS), 5_000 + HOUR_MS, "set forward an hour");
        assert_eq!(lead.now_ms(6_000, 6_000), 6_000 + HOUR_MS, "corrected: it does not stand for an hour");
        assert_eq!(lead.now_ms(7_000, 7_000), 7_000 + HOUR_MS);
    }

    #[test]
    fn the_clock_of_the_system_never_goes_back() {
        let clock = Clock::system();
        let told: Vec<i64> = (0..1_000).map(|_| clock.now_ms()).collect();
        assert!(told.is_sorted());
        assert!((clock.now_ms() - wall_ms()).abs() < 1_000);
    }
}
