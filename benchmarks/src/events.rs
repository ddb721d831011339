//! The events that all benchmarks run on: a pure function of their number, so every run and lane sees the same.
//!
//! Users are drawn evenly. 98 % of events are touches (one in five a click), 2 % are targets (one in ten an install, the
//! rest conversions). 70 % of users have a device id, two users share a fingerprint, and 20 % of touches carry a
//! click id, as do 20 % of targets. All events of a run fit in one day, so no touch leaves its window while it runs.

use std::collections::HashSet;

use schemas::event::Accepted;
use schemas::ids::Id;
use schemas::units::{DAY_MS, HOUR_MS};
use schemas::{
    Capped, ClickId, DeviceId, Event, EventId, EventTime, EventType, Fingerprint, Micros, PayloadHash, Symbol, Tick,
    UserId,
};

/// 2026-11-01T00:00:00Z.
const START_MS: i64 = 1_793_491_200_000;

/// What to draw from.
#[derive(Clone, Copy, Debug)]
pub struct Traffic {
    /// Number of events in the run: they are spread evenly over a day.
    pub events: u64,
    /// Number of users.
    pub users: u64,
    /// Targets among a thousand events.
    pub targets_per_mille: u64,
    /// Events that a user has in one go; the events of so many goes are mixed.
    pub in_one_go: u64,
    /// Events among a thousand that are one user's, of which one in twenty comes up to an hour late.
    pub heavy_per_mille: u64,
}

/// The user that has so many.
const HEAVY_USER: u64 = 0;

/// The goes of how many users are under way at a time.
const GOES: u64 = 10_000;

impl Traffic {
    /// The event of a number.
    pub fn event(&self, number: u64) -> Accepted {
        let draw = mix(number);
        let user = self.user(number);
        let is_target = draw % 1000 < self.targets_per_mille;
        let kind = (draw >> 10) % 10;
        let event_type = match (is_target, kind) {
            (true, 0) => EventType::Install,
            (true, _) => EventType::Conversion,
            (false, 0 | 1) => EventType::Click,
            (false, _) => EventType::Impression,
        };
        let has_device = mix(user ^ 0xde) % 10 < 7;
        // A user's clicks within some two events of the user's share an id, so that targets can name one.
        let click_epoch = number / (2 * self.users);
        let has_click = kind < 2;
        let user_id = UserId(id(1, user));
        let device = if has_device { DeviceId(id(2, user)) } else { DeviceId::NONE };
        let click = if has_click { ClickId(id(3, mix(user) ^ click_epoch)) } else { ClickId::NONE };
        let symbol = |kind: u64, of: u64| Symbol((1 + kind * 1_000_000 + (draw >> 20) % of) as i64);
        let event = Event {
            event_type,
            tenant: Symbol(1),
            app: Symbol(2),
            event_id: EventId(id(4, number)),
            event_time: EventTime(self.time_ms(number) - self.late_ms(number)),
            subject: Event::subject_of(user_id, device, click),
            user: user_id,
            device,
            click,
            fingerprint: Fingerprint(id(5, user / 2)),
            channel: symbol(1, 6),
            campaign: symbol(2, 500),
            ad_group: symbol(3, 5_000),
            creative: symbol(4, 20_000),
            source: symbol(5, 300),
            name: if is_target { symbol(6, 4) } else { Symbol::NONE },
            revenue: (event_type == EventType::Conversion)
                .then(|| Micros(1_000_000 + (draw >> 30) as i64 % 90_000_000)),
            currency: if event_type == EventType::Conversion { Symbol(7) } else { Symbol::NONE },
            ..Event::default()
        };
        Accepted { event, payload_hash: PayloadHash(id(6, number)), ..Accepted::default() }
    }

    /// Whose event it is: of so many events of one go the same user's.
    fn user(&self, number: u64) -> u64 {
        if self.is_heavy(number) {
            return HEAVY_USER;
        }
        let go = if self.in_one_go == 1 { number } else { number / (GOES * self.in_one_go) * GOES + number % GOES };
        mix(mix(go) ^ 0x5eed) % self.users
    }

    fn is_heavy(&self, number: u64) -> bool {
        mix(number ^ 0x4ea7) % 1000 < self.heavy_per_mille
    }

    fn late_ms(&self, number: u64) -> i64 {
        let draw = mix(number ^ 0x1a7e);
        if self.is_heavy(number) && draw.is_multiple_of(20) { (draw >> 8) as i64 % HOUR_MS } else { 0 }
    }

    /// How many users have events.
    pub fn visitors(&self) -> u64 {
        let users: HashSet<u64> = (0..self.events).map(|number| self.user(number)).collect();
        users.len() as u64
    }

    /// The tick of an event: when it happens. Ticks of a run differ while it has fewer than 86 events a ms and tick.
    pub fn tick(&self, number: u64) -> Tick {
        self.time_ms(number) as Tick
    }

    fn time_ms(&self, number: u64) -> i64 {
        START_MS + (number as i128 * i128::from(DAY_MS) / i128::from(self.events)) as i64
    }
}

/// The touches of one device over a day, as the gate hands them on: of each hour the first `candidates_per_hour` are
/// candidates, later ones are capped by device and fingerprint (none where it is not given). Clicks carry no click id.
pub fn hot_touches(events: u64, candidates_per_hour: Option<u64>) -> impl Iterator<Item = Accepted> {
    let traffic = Traffic { events, users: 1, targets_per_mille: 0, in_one_go: 1, heavy_per_mille: 0 };
    let mut hour = (0, 0);
    (0..events).map(move |number| {
        let mut touch = hot(traffic.event(number));
        let event_hour = touch.event.event_time.0 / HOUR_MS;
        hour = if hour.0 == event_hour { (event_hour, hour.1 + 1) } else { (event_hour, 1) };
        if candidates_per_hour.is_some_and(|candidates| hour.1 > candidates) {
            touch.capped = Capped(Capped::PERSON.0 | Capped::FINGERPRINT.0);
        }
        touch
    })
}

/// A conversion of that device after all its touches.
pub fn hot_conversion(events: u64) -> Accepted {
    let traffic = Traffic { events, users: 1, targets_per_mille: 1000, in_one_go: 1, heavy_per_mille: 0 };
    let mut conversions = (events..).map(|number| hot(traffic.event(number)));
    conversions.find(|target| target.event.event_type == EventType::Conversion).expect("most targets are conversions")
}

fn hot(accepted: Accepted) -> Accepted {
    let event = Event { device: DeviceId(id(2, 0)), click: ClickId::NONE, ..accepted.event };
    let subject = Event::subject_of(event.user, event.device, event.click);
    Accepted { event: Event { subject, ..event }, ..accepted }
}

/// A word that looks random (the finisher of SplitMix64).
fn mix(word: u64) -> u64 {
    let word = word.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

fn id(kind: u64, number: u64) -> Id {
    let (hi, lo) = (mix(number.wrapping_mul(8) + kind), mix(!number.wrapping_mul(8) ^ kind));
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&hi.to_be_bytes());
    bytes[8..].copy_from_slice(&lo.to_be_bytes());
    Id::from_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mix_is_what_the_results_say() {
        let traffic =
            Traffic { events: 100_000, users: 10_000, targets_per_mille: 20, in_one_go: 1, heavy_per_mille: 0 };
        let events: Vec<_> = (0..traffic.events).map(|number| traffic.event(number).event).collect();
        let share = |which: &dyn Fn(&Event) -> bool| {
            (events.iter().filter(|event| which(event)).count() as f64 * 1_000.0 / events.len() as f64).round()
        };
        let near = |share: f64, expected: f64| assert!((share - expected).abs() <= 10.0, "{share} for {expected}");
        near(share(&|event| event.event_type.is_touch()), 980.0);
        near(share(&|event| event.event_type == EventType::Install), 2.0);
        near(share(&|event| !event.device.is_none()), 700.0);
        near(share(&|event| !event.click.is_none()), 200.0);
        near(share(&|event| !event.fingerprint.is_none()), 1_000.0);
        let mut keys: Vec<_> = events.iter().map(Event::key).collect();
        keys.sort_unstable();
        keys.dedup();
        assert_eq!(keys.len(), events.len(), "no two events share an identity");
    }
}
