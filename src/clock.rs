//! The clock of a process: the only place that asks the system for the time.
//!
//! Views never see it. Sources use it for records that carry no arrival of their own and to move the tick of a
//! partition that has nothing more to read; tests replace it.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Tells the time in milliseconds since the Unix epoch, UTC. All workers of a process share one.
#[derive(Clone)]
pub struct Clock(Arc<Kind>);

enum Kind {
    System { origin: Instant, origin_ms: i64, floor_ms: AtomicI64 },
    Manual(AtomicI64),
}

impl Clock {
    /// The system's clock. It never goes back: where the system's time falls behind what was already told, it goes on
    /// at the pace of the monotonic clock.
    pub fn system() -> Clock {
        Clock(Arc::new(Kind::System { origin: Instant::now(), origin_ms: wall_ms(), floor_ms: AtomicI64::new(0) }))
    }

    /// A clock that stands until it is set.
    pub fn manual(now_ms: i64) -> Clock {
        Clock(Arc::new(Kind::Manual(AtomicI64::new(now_ms))))
    }

    /// The time now; never less than any answer before.
    pub fn now_ms(&self) -> i64 {
        match &*self.0 {
            Kind::Manual(now) => now.load(Ordering::SeqCst),
            Kind::System { origin, origin_ms, floor_ms } => {
                // The greater of both paces: a clock set back leaves the monotonic one in charge, one set forward
                // (after a suspend, say) is followed.
                let monotonic_ms = origin_ms + origin.elapsed().as_millis() as i64;
                let now_ms = wall_ms().max(monotonic_ms);
                floor_ms.fetch_max(now_ms, Ordering::SeqCst).max(now_ms)
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

fn wall_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
}
