//! How many records a worker takes in before a step of the dataflow: as many as it gets through in some 20 ms, whatever views there are.
//!
//! A larger step costs less for each record, but all that waits behind it waits longer: reads of the present tick, announced cuts, other
//! workers. What the views say does not depend on it.

use std::time::Duration;

/// How long a step should take.
const STEP_TIME: Duration = Duration::from_millis(20);
/// A smaller step would cost more for itself than for its records.
const RECORDS_MIN: usize = 1_024;
/// The most, however fast it goes.
pub const STEP_RECORDS_MAX: usize = 32_768;

/// How many records go into the next step.
pub struct StepSize(usize);

impl StepSize {
    /// Before anything is known.
    pub fn new() -> StepSize {
        StepSize(4 * RECORDS_MIN)
    }

    /// The number of records, after which it takes no more.
    pub fn records(&self) -> usize {
        self.0
    }

    /// Notes how long a step of so many records took. One that was slow for another reason halves the next one at most.
    pub fn took(&mut self, records: usize, elapsed: Duration) {
        if records < RECORDS_MIN {
            return;
        }
        let fits = records as f64 * STEP_TIME.as_secs_f64() / elapsed.as_secs_f64().max(1e-6);
        let near = (fits as usize).clamp(self.0 / 2, self.0 * 2);
        self.0 = near.clamp(RECORDS_MIN, STEP_RECORDS_MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The size that a view of so many records a millisecond ends with.
    fn settles(records_per_ms: u32) -> usize {
        let mut size = StepSize::new();
        for _ in 0..20 {
            size.took(size.records(), Duration::from_micros(size.records() as u64 * 1_000 / u64::from(records_per_ms)));
        }
        size.records()
    }

    #[test]
    fn a_step_takes_as_long_as_it_should_whatever_a_record_costs() {
        for per_ms in [100, 250, 1_000] {
            assert!(settles(per_ms).abs_diff(per_ms as usize * 20) < per_ms as usize, "{per_ms} a millisecond");
        }
        assert_eq!((settles(1), settles(100_000)), (RECORDS_MIN, STEP_RECORDS_MAX));
    }

    #[test]
    fn one_slow_step_is_no_reason_for_small_ones() {
        let mut size = StepSize::new();
        size.took(4_096, Duration::from_secs(2));
        assert_eq!(size.records(), 2_048);
        size.took(10, Duration::from_secs(2));
        assert_eq!(size.records(), 2_048);
    }
}
