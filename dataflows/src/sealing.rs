//! When is a day of a visitor sealed, that is: final, and written?
//!
//! A day is final once no record of it can be accepted any more. It is sealed a moment after that which depends on the visitor's id
//! alone, so that not all visitors' days are sealed at one tick and SQL can say when they are.

use std::ops::Range;

use schemas::units::DAY_MS;
use schemas::{EventTime, Subject, Tick};

/// When the day of a time begins, and when it is over.
pub fn day_of(time: EventTime) -> Range<EventTime> {
    let start = time.0.div_euclid(DAY_MS) * DAY_MS;
    EventTime(start)..EventTime(start + DAY_MS)
}

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
    /// The tick at which the day of a visitor that is over at `end` is sealed.
    pub fn at(self, visitor: Subject, end: EventTime) -> Tick {
        let stagger_ms = (visitor.0.rest() >> (u64::BITS - DIGIT_BITS)) * STEP_MS;
        (end.0 + self.final_after_ms + stagger_ms as i64).max(0) as Tick
    }
}

/// Days that were sealed by a cut and are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SealedDays {
    /// Those since then are.
    pub since: EventTime,
    /// The cut.
    pub before: Tick,
    /// The rule by which they were sealed.
    pub sealing: Sealing,
}

impl SealedDays {
    /// Whether the day of a visitor that began then is one of them.
    pub fn has(&self, visitor: Subject, day: EventTime) -> bool {
        day >= self.since && self.sealing.at(visitor, day_of(day).end) < self.before
    }
}
