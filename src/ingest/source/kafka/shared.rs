//! What the Kafka sources of one process share: the clock, the first arrival, and how far each worker's tick is.
//!
//! A worker whose partitions tell it nothing about the time needs the others: one that has no partition stays at the
//! job's tick, since a partition that falls to it later may be as far behind as those of the others; and one whose
//! partitions never had a record begins where the others found the first.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicI64, Ordering};

use crate::clock::Clock;

/// Says that there is none: a worker without partitions, no arrival yet.
const NONE: i64 = i64::MAX;

/// Shared by the sources of all workers of one run.
pub struct SharedTicks {
    clock: Clock,
    first_ms: AtomicI64,
    /// By worker. Zero until a worker knows its partitions, so that no other runs ahead of them.
    ticks_ms: OnceLock<Box<[AtomicI64]>>,
}

impl SharedTicks {
    /// For one run, on one clock.
    pub fn new(clock: Clock) -> SharedTicks {
        SharedTicks { clock, first_ms: AtomicI64::new(NONE), ticks_ms: OnceLock::new() }
    }

    pub(super) fn clock(&self) -> &Clock {
        &self.clock
    }

    /// A worker comes in, one of `workers`.
    pub(super) fn enter(&self, worker: usize, workers: usize) {
        assert!(worker < workers, "worker {worker} of {workers}");
        let ticks_ms = self.ticks_ms.get_or_init(|| (0..workers).map(|_| AtomicI64::new(0)).collect());
        assert_eq!(ticks_ms.len(), workers, "all workers of a run agree on their number");
    }

    /// The tick of a worker, none where it has no partition.
    pub(super) fn tell(&self, worker: usize, tick_ms: Option<i64>) {
        self.ticks_ms()[worker].store(tick_ms.unwrap_or(NONE), Ordering::Release);
    }

    /// How far the workers that have partitions are, none where no worker has any.
    pub(super) fn slowest_ms(&self) -> Option<i64> {
        let ticks_ms = self.ticks_ms().iter().map(|tick_ms| tick_ms.load(Ordering::Acquire));
        ticks_ms.min().filter(|&tick_ms| tick_ms != NONE)
    }

    /// A record arrived on a lake that has no cut yet.
    pub(super) fn arrived(&self, arrival_ms: i64) {
        if arrival_ms < self.first_ms.load(Ordering::Relaxed) {
            self.first_ms.fetch_min(arrival_ms, Ordering::Relaxed);
        }
    }

    /// The smallest arrival told, zero where there is none.
    pub(super) fn first_ms(&self) -> i64 {
        Some(self.first_ms.load(Ordering::Relaxed)).filter(|&first_ms| first_ms != NONE).unwrap_or(0)
    }

    fn ticks_ms(&self) -> &[AtomicI64] {
        self.ticks_ms.get().expect("whoever asks has entered")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_without_partitions_hold_no_one_and_unknown_ones_hold_all() {
        let shared = SharedTicks::new(Clock::manual(0));
        (0..3).for_each(|worker| shared.enter(worker, 3));
        shared.tell(1, None);
        shared.tell(2, Some(70));
        assert_eq!(shared.slowest_ms(), Some(0), "worker 0 does not know its partitions yet");
        shared.tell(0, Some(50));
        assert_eq!(shared.slowest_ms(), Some(50));
        shared.tell(0, None);
        assert_eq!(shared.slowest_ms(), Some(70));
        shared.tell(2, None);
        assert_eq!(shared.slowest_ms(), None);
    }

    #[test]
    fn the_first_arrival_is_the_smallest() {
        let shared = SharedTicks::new(Clock::manual(0));
        assert_eq!(shared.first_ms(), 0);
        [7, 5, 6].into_iter().for_each(|arrival_ms| shared.arrived(arrival_ms));
        assert_eq!(shared.first_ms(), 5);
    }
}
