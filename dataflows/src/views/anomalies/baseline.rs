//! What a metric of a group is expected to be in an hour: the median of the same hours of the weeks before, and how far they lie
//! from it.

use schemas::units::{DAY_MS, HOUR_MS};
use schemas::{EventTime, Symbol, Zones};

use super::JUDGED_AFTER_MS;

/// The weeks before an hour whose hours are its samples.
pub(super) const WEEKS: i64 = 4;
/// With fewer samples nothing is expected.
pub(super) const SAMPLES_MIN: usize = 8;
/// A group lives in an hour from the first one on, of so long before it, in which it had anything.
pub(super) const WINDOW_MS: i64 = (WEEKS * 7 + 1) * DAY_MS;

/// How much earlier than an hour its samples begin by the local clock.
pub(super) fn before() -> impl Iterator<Item = i64> {
    (1..=WEEKS).flat_map(|week| [-1, 0, 1].map(|beside| week * 7 * DAY_MS + beside * HOUR_MS))
}

/// The hours that an hour of a tenant is compared with, where hours are final so long after they are over: those that were when it
/// was judged. So no later event changes what is expected.
pub(super) fn samples(zones: &Zones, tenant: Symbol, hour: EventTime, final_after_ms: i64) -> impl Iterator<Item = EventTime> {
    let judged_at = zones.hour_end(tenant, hour).0 + JUDGED_AFTER_MS;
    let local = zones.local(tenant, hour);
    let times = before().flat_map(move |before| zones.when_local(tenant, EventTime(local.0 - before)));
    times.filter(move |sample| {
        let is_hour = zones.hour(tenant, *sample) == *sample;
        is_hour && zones.hour_end(tenant, *sample).0 + final_after_ms <= judged_at
    })
}

/// What is expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Baseline {
    pub(super) median: i64,
    pub(super) mad: i64,
    pub(super) samples: i64,
}

/// The one in the middle, or between the two in the middle; halves are dropped.
fn median(values: &mut [i64]) -> i64 {
    values.sort_unstable();
    let (low, high) = (values[(values.len() - 1) / 2], values[values.len() / 2]);
    (low.checked_add(high).expect("amounts of an hour fit 62 bits")) / 2
}

impl Baseline {
    /// Of as many samples as are enough, where a MAD is at least so much, and so many percent of the median.
    pub(super) fn of(mut samples: Vec<i64>, floor: i64, floor_percent: i64) -> Option<Baseline> {
        if samples.len() < SAMPLES_MIN {
            return None;
        }
        let of = samples.len() as i64;
        let median = self::median(&mut samples);
        samples.iter_mut().for_each(|sample| *sample = (*sample - median).abs());
        let of_median = i128::from(median.abs()) * i128::from(floor_percent) / 100;
        let mad = self::median(&mut samples).max(floor).max(of_median as i64);
        Some(Baseline { median, mad, samples: of })
    }

    /// How far an hour is from it, in thousandths of a deviation: 0.6745 MADs are one of normally distributed values. Of counts,
    /// `scale` makes up for what whole numbers drop.
    pub(super) fn score(&self, measured: i64, scale: i64) -> i64 {
        let (from_median, mad) = (i128::from(measured - self.median), i128::from(self.mad));
        let (from_median, mad) = (from_median * i128::from(scale), mad * i128::from(scale));
        (from_median / (mad * 2 / 1349)) as i64
    }
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;

    use super::*;

    fn time(text: &str) -> EventTime {
        EventTime(DateTime::parse_from_rfc3339(text).unwrap().timestamp_millis())
    }

    fn samples_of(zone: &str, hour: &str, final_after_ms: i64) -> Vec<String> {
        let tenant = Symbol(1);
        let zones = Zones::new([(tenant, zone)]).unwrap();
        let text = |time: EventTime| DateTime::from_timestamp_millis(time.0).unwrap().format("%m-%dT%H:%M").to_string();
        samples(&zones, tenant, time(hour), final_after_ms).map(text).collect()
    }

    #[test]
    fn samples_are_the_same_hours_of_the_week_by_the_clock() {
        let of_utc = samples_of("UTC", "2026-04-01T08:00:00Z", 3 * DAY_MS);
        assert_eq!(of_utc[..4], ["03-25T09:00", "03-25T08:00", "03-25T07:00", "03-18T09:00"]);
        assert_eq!((of_utc.len(), of_utc[11].as_str()), (12, "03-04T07:00"));
        // 10:00 on the clock in each week, though it goes forward on 29 March.
        let of_berlin = samples_of("Europe/Berlin", "2026-04-01T08:00:00Z", 3 * DAY_MS);
        assert_eq!(of_berlin[..4], ["03-25T10:00", "03-25T09:00", "03-25T08:00", "03-18T10:00"]);
        // 02:00 is skipped on 29 March, so of 02:00 on 5 April there is one sample fewer; what comes twice is two samples.
        assert_eq!(samples_of("Europe/Berlin", "2026-04-05T00:00:00Z", 0).len(), 11);
        assert_eq!(samples_of("Europe/Berlin", "2026-11-01T01:00:00Z", 0).len(), 13);
        // The clock goes back by half an hour at 02:00: the half hour from 01:30 is like no hour before it.
        assert_eq!(samples_of("Australia/Lord_Howe", "2026-04-04T15:00:00Z", 0), Vec::<String>::new());
    }

    #[test]
    fn samples_are_final_when_an_hour_is_judged() {
        let hour = "2026-04-01T08:00:00Z";
        let samples = |final_after_ms: i64| samples_of("UTC", hour, final_after_ms).len();
        // The last sample is over 7 days less an hour before the hour is; ten minutes later the hour is judged.
        let last = 7 * DAY_MS - HOUR_MS + JUDGED_AFTER_MS;
        assert_eq!((samples(last), samples(last + 1)), (12, 11));
        assert_eq!((samples(8 * DAY_MS), samples(15 * DAY_MS)), (9, 6));
    }

    #[test]
    fn halves_are_dropped() {
        let of = |samples: &[i64], floor, percent| {
            let Baseline { median, mad, samples } = Baseline::of(samples.to_vec(), floor, percent).unwrap();
            (median, mad, samples)
        };
        assert_eq!(Baseline::of(vec![1; 7], 1, 0), None);
        // Around 4.5: the distances from 4 are 4 3 2 1 0 1 2 3 4 5, of which 2 and 3 lie in the middle.
        assert_eq!(of(&[9, 8, 7, 6, 5, 4, 3, 2, 1, 0], 1, 0), (4, 2, 10));
        assert_eq!(of(&[-9, -8, -7, -6, -5, -4, -3, -2, -1, 0], 1, 0), (-4, 2, 10));
        assert_eq!(of(&[100; 9], 1, 5), (100, 5, 9));
        assert_eq!(of(&[100; 9], 7, 5), (100, 7, 9));
        let baseline = Baseline { median: 100, mad: 10, samples: 12 };
        assert_eq!([100, 152, 151, 48].map(|measured| baseline.score(measured, 1_000_000)), [0, 3_507, 3_440, -3_507]);
    }
}
