//! The gate: one verdict per record at the entrance, from the record and its arrival alone, so that the gate, too, is
//! SQL. And the rule that bounds hot keys, which is a function of the partition alone, so that replay agrees with it.

use dataflows::horizon::Retention;
use schemas::units::{DAY_MS, HOUR_MS};
use schemas::{Capped, Event, EventTime, EventType, JoinKey};

use crate::job::Lateness;

/// An event dated this far ahead of its arrival is dead.
pub const FUTURE_MS_MAX: i64 = DAY_MS;

/// The first so many touches of a join key in an event hour and arrival hour of a partition are candidates.
pub const HOT_KEY_TOUCHES: u16 = 64;

/// What the gate decides about a readable event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Passage {
    /// Accepted.
    Ok,
    /// Later than the allowed lateness.
    Late,
    /// Not believable; the reason goes with it.
    Dead(String),
}

/// The rule of the gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gate {
    /// How late an event of each type may be; `None` lets everything in.
    allowed_ms: Option<[i64; EventType::ALL.len()]>,
}

impl Gate {
    /// Nothing is too late.
    pub const OPEN: Gate = Gate { allowed_ms: None };

    /// The gate of a lake.
    pub fn of(lateness: &Lateness) -> Gate {
        let bounded = *lateness != Lateness::Unbounded;
        Gate { allowed_ms: bounded.then(|| EventType::ALL.map(|of| lateness.of(of).expect("it is bounded"))) }
    }

    /// How long after it happened a record may pass, with so much more.
    pub fn retention(&self, more_ms: i64) -> Option<Retention> {
        let longest = |of_costs: bool| {
            let of = EventType::ALL.iter().zip(self.allowed_ms?);
            // A tombstone withdraws either.
            let is_of = |of: EventType| of == EventType::Tombstone || (of == EventType::Cost) == of_costs;
            of.filter(|(of, _)| is_of(**of)).map(|(_, ms)| ms + more_ms).max()
        };
        Some(Retention { ms: longest(false)?, cost_ms: longest(true)? })
    }

    /// The verdict on an event that arrived at `arrival_ms`.
    pub fn passage(&self, event_type: EventType, event_time: EventTime, arrival_ms: i64) -> Passage {
        let lateness_ms = arrival_ms.saturating_sub(event_time.0);
        if lateness_ms < -FUTURE_MS_MAX {
            let ahead_ms = lateness_ms.saturating_neg();
            return Passage::Dead(format!(
                "event_time {} is {ahead_ms} ms after the record's arrival; at most {FUTURE_MS_MAX} ms are allowed",
                event_time.0
            ));
        }
        match self.allowed_ms {
            Some(allowed_ms) if lateness_ms > allowed_ms[event_type as usize - 1] => Passage::Late,
            _ => Passage::Ok,
        }
    }
}

/// The counters of one partition: how often each join key was touched in an event hour, within one arrival hour.
///
/// The user of a touch that has a device too is counted by itself, beside touches that have a user alone: whom the person's
/// bit caps does not depend on it.
///
/// The rule: per join key, event hour and arrival hour, the first [`HOT_KEY_TOUCHES`] accepted touches in offset order
/// (copies count) are candidates; later ones are capped by that key. Counters are dropped when the arrival hour ends.
#[derive(Default)]
pub struct HotKeys {
    arrival_hour: i64,
    /// By the highest bits of a slot: a table of millions takes long to grow, and meanwhile nothing is read.
    touches: Vec<Counters>,
}

/// Tables of counters of a partition.
const TABLES: usize = 1 << TABLE_BITS;
const TABLE_BITS: u32 = 7;

impl HotKeys {
    /// Counts an accepted event and says by which keys it is capped. Only touches count.
    pub fn count(&mut self, event: &Event, arrival_ms: i64) -> Capped {
        if !event.event_type.is_touch() {
            return Capped::default();
        }
        let arrival_hour = arrival_ms.div_euclid(HOUR_MS);
        if arrival_hour != self.arrival_hour {
            self.arrival_hour = arrival_hour;
            self.touches.clear();
        }
        self.touches.resize_with(TABLES, Counters::default);
        let event_hour = event.event_time.0.div_euclid(HOUR_MS);
        let keys = [
            (event.person_key(), Capped::PERSON),
            (event.user_key().filter(|_| !event.device.is_none()), Capped::USER),
            (event.click_key(), Capped::CLICK),
            (event.fingerprint_key(), Capped::FINGERPRINT),
        ];
        let sought = keys.map(|(key, bit)| {
            let slot = slot(key?, bit, event_hour);
            let table = (slot >> (u64::BITS - TABLE_BITS)) as usize;
            self.touches[table].make_room(keys.len());
            Some((table, slot, bit))
        });
        let sought = sought.map(|sought| sought.map(|(table, slot, bit)| (table, self.touches[table].seek(slot), bit)));
        let mut capped = Capped::default();
        for (table, sought, bit) in sought.into_iter().flatten() {
            let counter = self.touches[table].counter(sought);
            if *counter & COUNT >= u64::from(HOT_KEY_TOUCHES) {
                capped.0 |= bit.0;
            } else {
                *counter += 1;
            }
        }
        capped
    }
}

/// Counters by slot, each in one word: the slot, which tells its key and hour apart, and below it the count. A table of
/// millions of them is looked up three or four times a record, so what counts is how much memory that touches, and that the
/// processor waits for all of them together. A counter stands at the next free place after where its slot says; at least
/// half of the places are free, that is zero, for what is counted was counted once.
#[derive(Default)]
struct Counters {
    words: Vec<u64>,
    len: usize,
}

/// The bits of a counter that count.
const COUNT: u64 = 0x7f;
const _: () = assert!((HOT_KEY_TOUCHES as u64) < COUNT);
/// Places of the smallest table; a table has a power of two.
const PLACES_MIN: usize = 64;

/// A slot, where it is looked for first, and what was there.
#[derive(Clone, Copy)]
struct Sought {
    slot: u64,
    place: usize,
    word: u64,
}

impl Counters {
    /// Makes room for so many more.
    fn make_room(&mut self, more: usize) {
        if 2 * (self.len + more) <= self.words.len() {
            return;
        }
        let words = vec![0; (2 * self.words.len()).max(PLACES_MIN)];
        for word in std::mem::replace(&mut self.words, words).into_iter().filter(|word| *word != 0) {
            let place = self.find(word & !COUNT, self.place(word & !COUNT));
            self.words[place] = word;
        }
    }

    /// A slot's lowest bits are all zero.
    fn place(&self, slot: u64) -> usize {
        (slot >> COUNT.count_ones()) as usize & (self.words.len() - 1)
    }

    fn seek(&self, slot: u64) -> Sought {
        let place = self.place(slot);
        Sought { slot, place, word: self.words[place] }
    }

    /// The counter of a slot, new where there was none. The caller counts.
    fn counter(&mut self, Sought { slot, place, word }: Sought) -> &mut u64 {
        let place = if word != 0 && word & !COUNT == slot { place } else { self.find(slot, place) };
        if self.words[place] == 0 {
            self.words[place] = slot;
            self.len += 1;
        }
        &mut self.words[place]
    }

    /// Where a slot is, or is to be.
    fn find(&self, slot: u64, mut place: usize) -> usize {
        while self.words[place] != 0 && self.words[place] & !COUNT != slot {
            place = (place + 1) & (self.words.len() - 1);
        }
        place
    }
}

/// 57 bits of a join key and hour: keys are uniform hashes already. Two keys that meet here (1 in 2^57) share a count.
fn slot(key: JoinKey, bit: Capped, event_hour: i64) -> u64 {
    let of_user = if bit == Capped::USER { 0xd6e8_feb8_6659_fd93 } else { 0 };
    (key.0.route() ^ of_user ^ (event_hour as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15)) & !COUNT
}

#[cfg(test)]
mod tests {
    use dataflows::params::Span;
    use schemas::ids::{IdHasher, IdKind};
    use schemas::{ClickId, DeviceId, UserId};

    use super::*;

    #[test]
    fn verdicts_at_their_edges() {
        let by_type = [(EventType::Cost, Span(35 * DAY_MS)), (EventType::Open, Span(DAY_MS))].into();
        let gate = Gate::of(&Lateness::Within { default: Span(3 * DAY_MS), by_type });
        assert_eq!(gate.retention(1), Some(Retention { ms: 3 * DAY_MS + 1, cost_ms: 35 * DAY_MS + 1 }));
        let sooner = Lateness::Within { default: Span(7 * DAY_MS), by_type: [(EventType::Cost, Span(DAY_MS))].into() };
        let both = Gate::of(&sooner).retention(0);
        assert_eq!(both, Some((7 * DAY_MS).into()), "a tombstone of seven days withdraws a cost");
        let arrival_ms = 100 * DAY_MS;
        for (of, days) in [(EventType::Cost, 35), (EventType::Open, 1), (EventType::Tombstone, 3)] {
            let passage = |late_ms| gate.passage(of, EventTime(arrival_ms - days * DAY_MS - late_ms), arrival_ms);
            assert_eq!([passage(0), passage(1)], [Passage::Ok, Passage::Late], "{of:?}");
        }
        let passage = |gate: Gate, event_time, arrival_ms| gate.passage(EventType::Click, event_time, arrival_ms);
        assert_eq!(passage(gate, EventTime(arrival_ms - 3 * DAY_MS), arrival_ms), Passage::Ok);
        assert_eq!(passage(gate, EventTime(arrival_ms - 3 * DAY_MS - 1), arrival_ms), Passage::Late);
        assert_eq!(passage(gate, EventTime(arrival_ms + DAY_MS), arrival_ms), Passage::Ok);
        assert!(matches!(passage(gate, EventTime(arrival_ms + DAY_MS + 1), arrival_ms), Passage::Dead(_)));
        assert!(matches!(passage(gate, EventTime(i64::MAX), 0), Passage::Dead(_)));
        assert_eq!(Gate::OPEN.retention(1), None);
        assert_eq!(passage(Gate::OPEN, EventTime(i64::MIN), arrival_ms), Passage::Ok);
    }

    fn click(device: u8, event_time: i64) -> Event {
        let id = |kind, byte: u8| IdHasher::new(b"test").hash(kind, "t", &[byte]);
        Event {
            event_type: EventType::Click,
            event_time: EventTime(event_time),
            device: DeviceId(id(IdKind::Device, device)),
            click: ClickId(id(IdKind::Click, 1)),
            ..Event::default()
        }
    }

    #[test]
    fn the_first_touches_of_a_key_are_candidates_each_hour_anew() {
        let mut keys = HotKeys::default();
        for n in 0..HOT_KEY_TOUCHES {
            assert_eq!(keys.count(&click(1, 5), i64::from(n)), Capped::default());
        }
        assert_eq!(keys.count(&click(1, 5), 100), Capped(Capped::PERSON.0 | Capped::CLICK.0));
        assert_eq!(keys.count(&click(2, 5), 100), Capped::CLICK, "another device, the same click id");
        assert_eq!(keys.count(&click(1, HOUR_MS), 100), Capped::default(), "another event hour");
        assert_eq!(keys.count(&click(1, 5), HOUR_MS), Capped::default(), "another arrival hour");
        let conversion = Event { event_type: EventType::Conversion, ..click(3, 5) };
        for _ in 0..200 {
            assert_eq!(keys.count(&conversion, HOUR_MS), Capped::default(), "only touches count");
        }
    }

    #[test]
    fn a_user_of_many_devices_has_a_bound_of_its_own() {
        let mut keys = HotKeys::default();
        let user = UserId(IdHasher::new(b"test").hash(IdKind::User, "t", b"u"));
        let on = |device: u8| Event { user, click: ClickId::NONE, ..click(device, 5) };
        let alone = Event { user, event_type: EventType::Click, event_time: EventTime(5), ..Event::default() };
        for n in 0..HOT_KEY_TOUCHES {
            assert_eq!(keys.count(&on(n as u8), 0), Capped::default());
            assert_eq!(keys.count(&alone, 0), Capped::default(), "touches of the user alone are counted apart");
        }
        assert_eq!(keys.count(&on(200), 0), Capped::USER);
        assert_eq!(keys.count(&alone, 0), Capped::PERSON);
        for _ in 1..HOT_KEY_TOUCHES {
            keys.count(&on(200), 0);
        }
        assert_eq!(keys.count(&on(200), 0), Capped(Capped::PERSON.0 | Capped::USER.0));
        assert_eq!(keys.count(&Event { user: UserId::NONE, ..on(200) }, 0), Capped::PERSON, "no user, no bit of one");
    }

    #[test]
    fn counters_are_those_of_a_map_however_many_there_are() {
        let (mut counters, mut map) = (Counters::default(), std::collections::HashMap::<u64, u64>::new());
        let mut word = 1u64;
        for turn in 0..20_000u64 {
            word = word.wrapping_mul(0xd129_0f0d_9d2a_4c35).wrapping_add(turn);
            // Few enough that many come again, all of which are looked for in one place first; one is zero.
            let slot = (word % 5_000) << 50 & !COUNT;
            counters.make_room(1);
            let counter = counters.counter(counters.seek(slot));
            *counter += u64::from(*counter & COUNT < COUNT);
            let expected = map.entry(slot).or_default();
            *expected = (*expected + 1).min(COUNT);
            assert_eq!(*counter, slot | *expected);
        }
        assert_eq!(counters.len, map.len());
    }
}
