//! How far one partition lets the tick go: the rules of the clock, without any I/O.
//!
//! Let *L* be the arrival of the last record handed over. A later record arrives at *L* or after, so the tick may go to
//! *L*. It may go on to the clock while the partition is *followed*: it was read to an end-of-partition since this start,
//! its queue is empty, and its position has reached the high watermark that its leader told within the last
//! [`FRESH`]. The argument: a question put at *t* that is answered with high watermark *h* says that all offsets below
//! *h* were given out by then; with position ≥ *h* what is unread was appended after *t*. So the tick passes the stamp
//! of an unread record by at most [`FRESH`] and what a fetch takes. Nothing rests on that bound but freshness: a record
//! that the tick has passed enters at the tick and keeps its arrival. Only below tick − [`BEHIND_MS_MAX`] would rows
//! already be final; such an arrival is raised to that, and counted.

use std::time::{Duration, Instant};

use schemas::units::HOUR_MS;

use super::probe::Answer;

/// *B*: how far behind the tick a record may still arrive, and how far a silent partition lets the tick run.
pub const BEHIND_MS_MAX: i64 = HOUR_MS;

/// How old an answer about the high watermark may be.
pub(super) const FRESH: Duration = Duration::from_secs(3);

/// One partition's state.
#[derive(Debug)]
pub(super) struct Follow {
    /// The next offset to read.
    pub position: i64,
    /// Whether an end-of-partition was seen since this start.
    pub ended: bool,
    /// Whether the queue was empty when last polled.
    pub drained: bool,
    /// The bounds, as last told.
    pub answer: Option<Answer>,
    /// The arrival of the last record.
    last_ms: Option<i64>,
    /// Stands in for `last_ms` until there is a record: the tick when the partition joined.
    joined_ms: i64,
    /// The clock when the partition was last followed, zero where it never was: nothing below that is unread.
    followed_ms: i64,
    /// Whether the last record had no stamp of the log's.
    unstamped: bool,
    /// Since when nothing came though there should be more.
    quiet_since: Option<Instant>,
}

/// A record's arrival.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Arrival {
    /// When it arrived.
    pub ms: i64,
    /// Whether that was raised, because it came too far behind the tick.
    pub raised: bool,
}

impl Follow {
    /// A partition that goes on at `position`, after a record that arrived at `last_ms`, if any.
    pub(super) fn new(position: i64, last_ms: Option<i64>, joined_ms: i64) -> Follow {
        Follow {
            position,
            ended: false,
            drained: true,
            answer: None,
            last_ms,
            joined_ms,
            followed_ms: 0,
            unstamped: false,
            quiet_since: None,
        }
    }

    /// Takes note of a record and says when it arrived. `stamp_ms` is the log's stamp; a record without one arrives
    /// now. It does not arrive at the tick, which after a restart stands at the last cut until all partitions are followed:
    /// what is new would seem to come from the future.
    pub(super) fn arrive(&mut self, offset: i64, stamp_ms: Option<i64>, tick_ms: i64, now_ms: i64) -> Arrival {
        self.position = offset + 1;
        self.drained = false;
        self.quiet_since = None;
        self.unstamped = stamp_ms.is_none();
        let own_ms = stamp_ms.unwrap_or(now_ms.max(tick_ms));
        let in_order_ms = own_ms.max(self.last_ms.unwrap_or(0));
        let ms = in_order_ms.max(tick_ms - BEHIND_MS_MAX);
        self.last_ms = Some(ms);
        Arrival { ms, raised: ms > in_order_ms }
    }

    /// The last arrival; where there is none, when the partition joined. A stamp ahead of the clock counts as the clock.
    pub(super) fn last_ms(&self, now_ms: i64) -> i64 {
        self.last_ms.unwrap_or(self.joined_ms).min(now_ms)
    }

    /// Whether a record was handed over, now or by an earlier run.
    pub(super) fn has_read(&self) -> bool {
        self.last_ms.is_some()
    }

    /// Whether all that the log has was read, as far as anyone can tell.
    pub(super) fn followed(&self, now: Instant) -> bool {
        let at_end =
            |answer: &Answer| self.position >= answer.high && now.saturating_duration_since(answer.asked) <= FRESH;
        self.ended && self.drained && self.answer.as_ref().is_some_and(at_end)
    }

    /// How far this partition lets the tick go. One from which nothing comes for `quiet_max`, though it is not at its end,
    /// lets it run a bounded way on: an open transaction or a lost broker must not stop everything at once. That way
    /// begins where the partition was last followed, if that is later than its last record; where it has no record at all,
    /// at `first_ms`, the first arrival that any worker saw.
    pub(super) fn limit_ms(&mut self, now_ms: i64, now: Instant, quiet_max: Duration, first_ms: i64) -> i64 {
        if self.followed(now) {
            self.quiet_since = None;
            self.followed_ms = now_ms;
            return now_ms;
        }
        // Any tick suits a record without a stamp, so a partition of such records bounds none.
        if self.unstamped {
            return now_ms;
        }
        let last_ms = self.last_ms(now_ms);
        if !self.drained {
            self.quiet_since = None;
            return last_ms;
        }
        let since = *self.quiet_since.get_or_insert(now);
        if now.saturating_duration_since(since) < quiet_max {
            return last_ms;
        }
        let from_ms = self.last_ms.unwrap_or(self.joined_ms.max(first_ms)).max(self.followed_ms);
        now_ms.min(from_ms + BEHIND_MS_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW_MS: i64 = 1_000_000_000;
    const QUIET_MAX: Duration = Duration::from_secs(10);

    fn answer(asked: Instant, high: i64) -> Option<Answer> {
        Some(Answer { asked, low: 0, high })
    }

    /// A partition whose last record, at offset 9, arrived 5 s ago, and whose queue is empty.
    fn read_to_ten() -> Follow {
        let mut follow = Follow::new(9, None, 0);
        assert_eq!(follow.arrive(9, Some(NOW_MS - 5_000), 0, NOW_MS), Arrival { ms: NOW_MS - 5_000, raised: false });
        follow.drained = true;
        follow
    }

    #[test]
    fn follows_the_clock_only_at_its_end_and_only_while_answers_are_fresh() {
        let start = Instant::now();
        let mut follow = read_to_ten();
        follow.answer = answer(start, 10);
        assert_eq!(follow.limit_ms(NOW_MS, start, QUIET_MAX, 0), NOW_MS - 5_000, "no end-of-partition was seen");
        follow.ended = true;
        assert_eq!(follow.limit_ms(NOW_MS, start, QUIET_MAX, 0), NOW_MS);
        follow.drained = false;
        assert_eq!(follow.limit_ms(NOW_MS, start, QUIET_MAX, 0), NOW_MS - 5_000, "more waits in the queue");
        follow.drained = true;
        follow.answer = answer(start, 11);
        assert_eq!(follow.limit_ms(NOW_MS, start, QUIET_MAX, 0), NOW_MS - 5_000, "the log has more");
        follow.answer = answer(start, 10);
        assert_eq!(follow.limit_ms(NOW_MS, start + FRESH * 2, QUIET_MAX, 0), NOW_MS - 5_000, "the answer is old");
    }

    #[test]
    fn a_silent_partition_lets_the_tick_run_a_bounded_way() {
        let start = Instant::now();
        let later_ms = NOW_MS + 10 * HOUR_MS;
        let mut follow = read_to_ten();
        follow.answer = answer(start, 12);
        follow.ended = true;
        assert_eq!(follow.limit_ms(later_ms, start, QUIET_MAX, 0), NOW_MS - 5_000);
        assert_eq!(follow.limit_ms(later_ms, start + QUIET_MAX, QUIET_MAX, 0), NOW_MS - 5_000 + BEHIND_MS_MAX);
        assert_eq!(follow.limit_ms(NOW_MS, start + QUIET_MAX, QUIET_MAX, 0), NOW_MS, "never past the clock");
        // A record ends the silence.
        follow.arrive(10, Some(NOW_MS), 0, later_ms);
        follow.drained = true;
        assert_eq!(follow.limit_ms(later_ms, start + QUIET_MAX * 2, QUIET_MAX, 0), NOW_MS);
    }

    #[test]
    fn silence_after_the_end_counts_from_when_the_partition_was_last_followed() {
        let start = Instant::now();
        let followed_ms = NOW_MS + 10 * HOUR_MS;
        let mut follow = read_to_ten();
        follow.ended = true;
        follow.answer = answer(start, 10);
        assert_eq!(follow.limit_ms(followed_ms, start, QUIET_MAX, 0), followed_ms);
        // Its leader goes.
        let later_ms = followed_ms + 10 * HOUR_MS;
        let gone = start + FRESH * 2;
        follow.limit_ms(later_ms, gone, QUIET_MAX, 0);
        assert_eq!(follow.limit_ms(later_ms, gone + QUIET_MAX, QUIET_MAX, 0), followed_ms + BEHIND_MS_MAX);
    }

    #[test]
    fn silence_without_any_record_counts_from_the_first_arrival_of_others() {
        let start = Instant::now();
        let mut follow = Follow::new(0, None, 0);
        assert_eq!(follow.limit_ms(NOW_MS, start, QUIET_MAX, 500), 0);
        assert_eq!(follow.limit_ms(NOW_MS, start + QUIET_MAX, QUIET_MAX, 500), 500 + BEHIND_MS_MAX);
    }

    #[test]
    fn waiting_for_the_frontier_is_not_silence() {
        let start = Instant::now();
        let mut follow = read_to_ten();
        follow.drained = false;
        follow.limit_ms(NOW_MS, start, QUIET_MAX, 0);
        assert_eq!(follow.limit_ms(NOW_MS, start + QUIET_MAX * 2, QUIET_MAX, 0), NOW_MS - 5_000);
    }

    #[test]
    fn arrivals_never_fall_and_never_stay_far_behind_the_tick() {
        let mut follow = read_to_ten();
        assert_eq!(follow.arrive(10, Some(7), NOW_MS - 9_000, NOW_MS), Arrival { ms: NOW_MS - 5_000, raised: false });
        let tick_ms = NOW_MS + BEHIND_MS_MAX;
        assert_eq!(follow.arrive(11, Some(8), tick_ms, tick_ms), Arrival { ms: NOW_MS, raised: true });
        assert_eq!(follow.position, 12);
    }

    #[test]
    fn a_stamp_ahead_of_the_clock_counts_as_the_clock_for_the_tick_only() {
        let mut follow = Follow::new(0, None, 0);
        assert_eq!(follow.arrive(0, Some(NOW_MS + 9), 5, NOW_MS).ms, NOW_MS + 9);
        assert_eq!(follow.limit_ms(NOW_MS, Instant::now(), QUIET_MAX, 0), NOW_MS);
    }

    #[test]
    fn records_without_a_stamp_arrive_now_and_bound_none() {
        let mut follow = Follow::new(0, None, 0);
        assert_eq!(follow.arrive(0, None, 0, NOW_MS).ms, NOW_MS, "there is no tick yet");
        let mut follow = Follow::new(0, Some(5), 0);
        assert_eq!(follow.arrive(0, None, 70, NOW_MS).ms, NOW_MS, "the tick is that of a cut before a restart");
        assert_eq!(follow.arrive(1, None, NOW_MS + 9, NOW_MS).ms, NOW_MS + 9, "the clock is behind the tick");
        follow.drained = false;
        assert_eq!(follow.limit_ms(NOW_MS, Instant::now(), QUIET_MAX, 0), NOW_MS);
    }
}
