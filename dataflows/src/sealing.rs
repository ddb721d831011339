//! When is a day of a visitor sealed, that is: final, and written?
//!
//! A day is final once no record of it can be accepted any more. It is sealed a moment after that which depends on the visitor's id
//! alone, so that not all visitors' days are sealed at one tick and SQL can say when they are.

use schemas::{EventTime, Subject, Symbol, Tick, Zones};

/// When days are sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sealing {
    /// How long after it is over a day is final.
    pub final_after_ms: i64,
}

/// What the first digits of an id add to that, a step: all visitors are through in a quarter of an hour.
const STEP_MS: u64 = 220;
const DIGIT_BITS: u32 = 12;

impl Sealing {
    /// The tick at which the day of a visitor that ends then is sealed.
    pub fn at(self, visitor: Subject, ends: EventTime) -> Tick {
        let stagger_ms = (visitor.0.rest() >> (u64::BITS - DIGIT_BITS)) * STEP_MS;
        (ends.0 + self.final_after_ms + stagger_ms as i64).max(0) as Tick
    }
}

/// Days that were sealed by a cut and are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SealedDays {
    /// Those since then are.
    pub since: EventTime,
    /// The cut.
    pub before: Tick,
    /// The rule by which they were sealed.
    pub sealing: Sealing,
    /// Whose days they are.
    pub zones: Zones,
}

impl SealedDays {
    /// Whether the day of a visitor of a tenant that began then is one of them.
    pub fn has(&self, tenant: Symbol, visitor: Subject, day: EventTime) -> bool {
        day >= self.since && self.has_time(tenant, visitor, day)
    }

    /// Whether a time lies in a day that was sealed, however long ago.
    pub fn has_time(&self, tenant: Symbol, visitor: Subject, time: EventTime) -> bool {
        self.sealing.at(visitor, self.zones.day(tenant, time).ends) < self.before
    }
}
