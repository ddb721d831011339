//! Generated traffic: plausible, seeded, and documented as such. Not a benchmark of reality.
//!
//! Record *i* is a function of the seed, *i* and its arrival, so a stream goes on from any offset. Journeys run in lanes:
//! record *i* is step *i / lanes mod 12* of the journey in lane *i mod lanes*. What is in the stream, by share of records:
//!
//! * journeys to an app (two thirds: touches, install, opens, events, purchases, refunds) and on the web (no install);
//!   people with one to three devices, opted-out devices, click ids, addresses and user agents;
//! * channels that differ by step, so that the models of credit differ: display and social begin, search and e-mail end;
//! * a cost row per channel now and then, with a version; identifies; tombstones of recent events;
//! * copies 1 %, late events 5 % (up to 2 days), 0.1 % beyond 3 days, malformed records 0.1 %;
//! * a bot that makes 1 % of all clicks with one device.

mod flat;
mod source;
mod story;

use std::collections::VecDeque;

use schemas::units::{DAY_MS, SECOND_MS};
use schemas::wire::{self, Encoding, EventType};

pub use source::{GeneratorPlan, GeneratorSource, TOPIC};

/// Seed where none is given.
pub const SEED_DEFAULT: u64 = 7;
/// People where no number is given.
pub const USERS_DEFAULT: u64 = 4_000;
/// Records that copies and tombstones are chosen from.
const RECENT: usize = 1_024;
/// Every so many records one is of this kind.
const COPY_EVERY: u64 = 100;
const LATE_EVERY: u64 = 20;
const TOO_LATE_EVERY: u64 = 1_000;
const MALFORMED_EVERY: u64 = 1_000;
const TOMBSTONE_EVERY: u64 = 2_000;
const COST_EVERY: u64 = 400;
/// A fifth of the records are clicks; the bot makes one in a hundred of them.
const BOT_EVERY: u64 = 500;

/// What a stream is made of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Traffic {
    /// Journeys, as described above.
    #[default]
    Journeys,
    /// An even load to measure with: 98 % touches, 2 % installs and conversions, each when it arrives.
    Flat,
}

/// A stream of records.
pub struct Generator {
    traffic: Traffic,
    seed: u64,
    stream: u64,
    users: u64,
    recent: VecDeque<wire::Event>,
}

/// A record: an event, or bytes that are none.
pub struct Generated {
    /// What the record is keyed by: its person.
    pub key: String,
    /// The event, or malformed bytes.
    pub value: Result<wire::Event, Vec<u8>>,
}

impl Generated {
    /// The record's value.
    pub fn encode(&self, encoding: Encoding) -> Vec<u8> {
        match &self.value {
            Ok(event) => encoding.encode(event),
            Err(bytes) => bytes.clone(),
        }
    }
}

impl Generator {
    /// One of several streams (partitions) with a seed; people are shared among the streams.
    pub fn new(seed: u64, stream: u64, users: u64) -> Generator {
        let recent = VecDeque::with_capacity(RECENT);
        Generator { traffic: Traffic::default(), seed, stream, users: users.max(1), recent }
    }

    /// The same with other traffic.
    pub fn with(self, traffic: Traffic) -> Generator {
        Generator { traffic, ..self }
    }

    /// Record `index` of the stream, which arrives at `arrival_ms`. Copies and tombstones refer to records that this
    /// generator made before.
    pub fn record(&mut self, index: u64, arrival_ms: i64) -> Generated {
        let mut dice = Dice::new(self.seed, self.stream, index);
        if self.traffic == Traffic::Flat {
            let event = flat::record(self.users, &mut dice);
            return of(self.named(event, index, arrival_ms));
        }
        if dice.one_in(MALFORMED_EVERY) {
            return Generated { key: String::new(), value: Err(malformed(&mut dice)) };
        }
        if dice.one_in(COPY_EVERY)
            && let Some(event) = self.pick(&mut dice)
        {
            return of(event);
        }
        if dice.one_in(TOMBSTONE_EVERY)
            && let Some(target) = self.pick(&mut dice)
        {
            return of(tombstone(&target));
        }
        let mut event_time = arrival_ms - lateness_ms(&mut dice);
        let event = if dice.one_in(COST_EVERY) {
            story::cost(&mut dice, index)
        } else if dice.one_in(BOT_EVERY) {
            story::bot_click(&mut dice)
        } else {
            story::step(self.seed ^ self.stream, index, self.users, &mut dice)
        };
        if event.r#type == EventType::Cost as i32 {
            event_time = whole_hour(event_time);
        }
        let event = self.named(event, index, event_time);
        if self.recent.len() == RECENT {
            self.recent.pop_front();
        }
        self.recent.push_back(event.clone());
        of(event)
    }

    fn named(&self, event: wire::Event, index: u64, event_time: i64) -> wire::Event {
        let event_id = format!("{:x}-{:x}-{index}", self.seed, self.stream);
        wire::Event { event_id, event_time: Some(event_time), ..event }
    }

    fn pick(&self, dice: &mut Dice) -> Option<wire::Event> {
        let recent = self.recent.len() as u64;
        (recent > 0).then(|| self.recent[dice.below(recent) as usize].clone())
    }
}

fn of(event: wire::Event) -> Generated {
    let key = [&event.user, &event.device, &event.click_id].into_iter().find(|id| !id.is_empty());
    Generated { key: key.cloned().unwrap_or_default(), value: Ok(event) }
}

fn whole_hour(time_ms: i64) -> i64 {
    time_ms - time_ms.rem_euclid(schemas::units::HOUR_MS)
}

fn lateness_ms(dice: &mut Dice) -> i64 {
    if dice.one_in(TOO_LATE_EVERY) {
        3 * DAY_MS + SECOND_MS + dice.below(7 * DAY_MS as u64) as i64
    } else if dice.one_in(LATE_EVERY) {
        60 * SECOND_MS + dice.below((2 * DAY_MS - 60 * SECOND_MS) as u64) as i64
    } else {
        dice.below(2 * SECOND_MS as u64) as i64
    }
}

fn tombstone(target: &wire::Event) -> wire::Event {
    wire::Event {
        r#type: EventType::Tombstone as i32,
        event_id: target.event_id.clone(),
        event_time: target.event_time,
        tenant: target.tenant.clone(),
        user: target.user.clone(),
        device: target.device.clone(),
        click_id: target.click_id.clone(),
        ..wire::Event::default()
    }
}

fn malformed(dice: &mut Dice) -> Vec<u8> {
    match dice.below(4) {
        0 => br#"{"type":"click","event_id":"#.to_vec(),
        1 => vec![0xff, 0xfe, 0x00, 0x80],
        2 => br#"{"type":"teleport","event_id":"x","event_time":1,"tenant":"acme"}"#.to_vec(),
        _ => wire::to_protobuf(&wire::Event { tenant: "acme".to_owned(), ..wire::Event::default() }),
    }
}

/// Random numbers that are a function of what they are made from.
struct Dice(u64);

impl Dice {
    fn new(seed: u64, stream: u64, index: u64) -> Dice {
        Dice(mix(seed ^ mix(stream ^ mix(index))))
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    fn of<'a>(&mut self, choices: &[&'a str]) -> &'a str {
        choices[self.below(choices.len() as u64) as usize]
    }
}

/// SplitMix64's finisher.
fn mix(mut word: u64) -> u64 {
    word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use schemas::decode::{Decoder, IdRules};
    use schemas::ids::IdHasher;
    use schemas::symbols::Symbols;

    use super::*;

    const START_MS: i64 = 1_700_000_000_000;

    fn records(from: u64, to: u64) -> Vec<Vec<u8>> {
        let mut generator = Generator::new(1, 0, 1_000);
        (from..to).map(|index| generator.record(index, START_MS + index as i64).encode(Encoding::Protobuf)).collect()
    }

    #[test]
    fn a_seed_repeats_and_goes_on_from_an_offset() {
        assert_eq!(records(0, 3_000), records(0, 3_000));
        let (whole, tail) = (records(0, 3_000), records(1_500, 3_000));
        let same = whole[1_500..].iter().zip(&tail).filter(|(a, b)| a == b).count();
        assert!(same > 1_450, "all but copies and tombstones of what came before the offset: {same}");
    }

    #[test]
    fn shares_are_as_documented_and_every_event_decodes() {
        let mut decoder = Decoder::new(IdHasher::new(b"test"), Arc::new(Symbols::new()), &IdRules::default());
        let (mut dead, mut late, mut types, mut ids) = (0, 0, BTreeMap::new(), BTreeMap::new());
        let (mut clicks, mut bot) = (0, 0);
        let mut generator = Generator::new(1, 0, 1_000);
        for index in 0..40_000 {
            let generated = generator.record(index, START_MS + index as i64 * 100);
            match decoder.decode(&generated.encode(Encoding::Json), Encoding::Json) {
                Err(reason) => {
                    assert!(generated.value.is_err(), "{reason}: {:?}", generated.value);
                    dead += 1;
                }
                Ok(decoded) => {
                    let event = decoded.event;
                    *types.entry(event.event_type).or_insert(0) += 1;
                    *ids.entry(event.key()).or_insert(0) += 1;
                    late += i32::from(START_MS + index as i64 * 100 - event.event_time.0 > 3_600_000);
                    if event.event_type == schemas::EventType::Click {
                        clicks += 1;
                        bot += i32::from(generated.value.is_ok_and(|event| event.device == story::BOT_DEVICE));
                    }
                }
            }
        }
        assert!((10..100).contains(&dead), "{dead}");
        assert!((1_500..2_800).contains(&late), "{late}");
        let copies: i32 = ids.values().map(|copies| copies - 1).sum();
        assert!((250..800).contains(&copies), "{copies}");
        assert!(bot * 200 > clicks && bot * 50 < clicks, "{bot} of {clicks} clicks");
        assert_eq!(types.len(), 9, "every type of event: {types:?}");
    }
}
