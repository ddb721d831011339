//! When the hours and days of one zone begin.
//!
//! Within a span all is arithmetic. Only the day on which a span begins is not, as it may have begun before: so a span knows when
//! that day began and when it ends. A zone has about two spans a year, found by a search of about eight steps.

use chrono::{DateTime, Offset, TimeZone};
use chrono_tz::Tz;

use super::{Day, Hour};
use crate::units::{DAY_MS, EventTime, HOUR_MS, SECOND_MS};

/// When zones begin to count, ms since the Unix epoch: on 2 January 1970, so that no local time lies before 1970.
pub const ZONED_FROM_MS: i64 = DAY_MS;
/// When zones cease to count, ms since the Unix epoch: with the year 2100, as the database says no more.
pub const ZONED_UNTIL_MS: i64 = 4_102_444_800_000;

/// No zone is further ahead of UTC or behind it.
const OFFSET_MAX_MS: i64 = 16 * HOUR_MS;

/// Changes of an offset lie further apart.
const SEARCH_MS: i64 = DAY_MS;

/// A time of one offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) starts: i64,
    pub(super) ends: i64,
    pub(super) offset_ms: i64,
    /// When the day began that it starts in.
    pub(super) first_day: i64,
    /// When that day ends, by this offset: perhaps after the span.
    pub(super) next_day: i64,
}

impl Span {
    fn local(&self, ms: i64) -> i64 {
        ms + self.offset_ms
    }

    /// The number of the day that it starts in.
    fn first_number(&self) -> i64 {
        self.local(self.next_day) / DAY_MS - 1
    }

    fn hour(&self, ms: i64) -> i64 {
        (ms - self.local(ms) % HOUR_MS).max(self.starts)
    }

    /// How many hours begin in it up to one time that do not up to another.
    fn hours(&self, from: i64, to: i64) -> i64 {
        self.local(to) / HOUR_MS - self.local(from) / HOUR_MS
    }
}

/// Days that follow each other and begin at one offset and have one length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Run {
    /// The first of their numbers, and the one after the last.
    pub(super) from: i64,
    pub(super) until: i64,
    /// How far their dates are ahead of when they begin.
    pub(super) offset_ms: i64,
    pub(super) length_ms: i64,
}

/// The spans and days of a zone. What lies before and after them has UTC.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Calendar {
    /// In order, without a gap; the last one is the rest of the day on which zones cease to count.
    pub(super) spans: Vec<Span>,
    /// The same of days.
    pub(super) runs: Vec<Run>,
}

pub(super) fn utc_hour(ms: i64) -> Hour {
    let begins = EventTime(ms - ms.rem_euclid(HOUR_MS));
    Hour { begins, day: ms.div_euclid(DAY_MS), of_day: ms.rem_euclid(DAY_MS) / HOUR_MS }
}

pub(super) fn utc_day(number: i64) -> Day {
    let begins = number * DAY_MS;
    Day { number, begins: EventTime(begins), ends: EventTime(begins + DAY_MS) }
}

impl Calendar {
    pub(super) fn of(zone: Tz) -> Calendar {
        Calendar::of_offsets(&offsets(zone))
    }

    /// Of the times at which offsets begin to hold, the last of them 0 for ever.
    fn of_offsets(offsets: &[(i64, i64)]) -> Calendar {
        let mut calendar = Calendar { spans: Vec::new(), runs: Vec::new() };
        // The day under way, and when it began: the one before zones count.
        let mut day = utc_day(ZONED_FROM_MS / DAY_MS - 1);
        for (place, (starts, offset_ms)) in offsets.iter().copied().enumerate() {
            let next = offsets.get(place + 1).map(|(next, _)| *next);
            let date = (starts + offset_ms) / DAY_MS;
            // Midnight is now, or was skipped, and perhaps whole days with it. Where the clock goes back over midnight, the day that
            // had begun goes on.
            while day.number < date {
                calendar.push(Day { ends: EventTime(starts), ..day });
                day = Day { number: day.number + 1, begins: EventTime(starts), ends: EventTime(starts) };
            }
            let next_day = (day.number + 1) * DAY_MS - offset_ms;
            let ends = next.unwrap_or(next_day);
            calendar.spans.push(Span { starts, ends, offset_ms, first_day: day.begins.0, next_day });
            if next.is_none() || next_day < ends {
                calendar.push(Day { ends: EventTime(next_day), ..day });
                let last = (ends - 1 + offset_ms) / DAY_MS;
                let whole = Run { from: day.number + 1, until: last, offset_ms, length_ms: DAY_MS };
                if whole.from < whole.until {
                    calendar.push_run(whole);
                }
                let begins = EventTime(last * DAY_MS - offset_ms);
                day = Day { number: last, begins, ends: begins };
            }
        }
        calendar
    }

    fn push(&mut self, day: Day) {
        let Day { number, begins, ends } = day;
        let (offset_ms, length_ms) = (number * DAY_MS - begins.0, ends.0 - begins.0);
        self.push_run(Run { from: number, until: number + 1, offset_ms, length_ms });
    }

    fn push_run(&mut self, run: Run) {
        match self.runs.last_mut() {
            Some(last) if (last.offset_ms, last.length_ms) == (run.offset_ms, run.length_ms) => last.until = run.until,
            _ => self.runs.push(run),
        }
    }

    /// Whether it is UTC all the time.
    pub(super) fn is_utc(&self) -> bool {
        self.spans.iter().all(|span| span.offset_ms == 0)
    }

    /// The place of the span that holds a time; none where UTC does.
    fn place(&self, ms: i64) -> Option<usize> {
        let after = self.spans.partition_point(|span| span.starts <= ms);
        after.checked_sub(1).filter(|place| ms < self.spans[*place].ends)
    }

    fn span(&self, ms: i64) -> Option<&Span> {
        self.place(ms).map(|place| &self.spans[place])
    }

    pub(super) fn hour(&self, ms: i64) -> i64 {
        self.span(ms).map_or(ms - ms.rem_euclid(HOUR_MS), |span| span.hour(ms))
    }

    pub(super) fn hour_end(&self, begins: i64) -> i64 {
        let Some(span) = self.span(begins) else { return begins + HOUR_MS };
        (begins - span.local(begins) % HOUR_MS + HOUR_MS).min(span.ends)
    }

    pub(super) fn offset_ms(&self, ms: i64) -> i64 {
        self.span(ms).map_or(0, |span| span.offset_ms)
    }

    /// The times that are `local` by the offset that holds then.
    pub(super) fn when_local(&self, local: i64) -> impl Iterator<Item = i64> {
        let first = self.spans.partition_point(|span| span.ends <= local - OFFSET_MAX_MS);
        let near = self.spans[first..].iter().take_while(move |span| span.starts <= local + OFFSET_MAX_MS);
        let zoned = near.filter_map(move |span| {
            let ms = local - span.offset_ms;
            (span.starts..span.ends).contains(&ms).then_some(ms)
        });
        self.span(local).is_none().then_some(local).into_iter().chain(zoned)
    }

    pub(super) fn day_number(&self, ms: i64) -> i64 {
        match self.span(ms) {
            None => ms.div_euclid(DAY_MS),
            Some(span) if ms < span.next_day => span.first_number(),
            Some(span) => span.local(ms) / DAY_MS,
        }
    }

    pub(super) fn hour_of_day(&self, ms: i64) -> Hour {
        let Some(place) = self.place(ms) else { return utc_hour(ms) };
        let span = &self.spans[place];
        let (begins, local) = (EventTime(span.hour(ms)), span.local(ms));
        if ms >= span.next_day {
            return Hour { begins, day: local / DAY_MS, of_day: local % DAY_MS / HOUR_MS };
        }
        // The hours of the day before this span, by the spans of it.
        let from = |span: &Span| span.starts.max(self.spans[place].first_day);
        let mut of_day = span.hours(from(span), ms);
        for before in self.spans[..place].iter().rev().take_while(|before| before.ends > span.first_day) {
            of_day += before.hours(from(before), before.ends - 1) + 1;
        }
        of_day += (ZONED_FROM_MS - span.first_day).max(0) / HOUR_MS;
        Hour { begins, day: span.first_number(), of_day }
    }

    pub(super) fn day(&self, number: i64) -> Day {
        let after = self.runs.partition_point(|run| run.from <= number);
        let run = after.checked_sub(1).map(|place| &self.runs[place]).filter(|run| number < run.until);
        let Some(run) = run else { return utc_day(number) };
        let begins = number * DAY_MS - run.offset_ms;
        Day { number, begins: EventTime(begins), ends: EventTime(begins + run.length_ms) }
    }
}

/// When each offset of a zone begins to hold, in order; UTC at the end.
fn offsets(zone: Tz) -> Vec<(i64, i64)> {
    let at = |ms: i64| {
        let utc = DateTime::from_timestamp_millis(ms).expect("zones count in years that have dates").naive_utc();
        i64::from(zone.offset_from_utc_datetime(&utc).fix().local_minus_utc()) * SECOND_MS
    };
    let (mut from, mut before) = (ZONED_FROM_MS, at(ZONED_FROM_MS));
    let mut offsets = vec![(from, before)];
    while from + SEARCH_MS < ZONED_UNTIL_MS {
        let to = from + SEARCH_MS;
        let after = at(to);
        if after != before {
            let (mut low, mut high) = (from, to);
            while high - low > 1 {
                let middle = low + (high - low) / 2;
                if at(middle) == before { low = middle } else { high = middle }
            }
            offsets.push((high, after));
        }
        (from, before) = (to, after);
    }
    offsets.push((ZONED_UNTIL_MS, 0));
    offsets
}
