//! Do the events of a file count already, through another file?
//!
//! A file that grew, or that is a second export of the same period, is another file to the ledger, and rows without an
//! event id of their own would count twice. Two events are taken to be the same where their rows' text is, or where all that
//! they say is but for the id; they count twice where their ids differ. Of a large file a sample is looked for: those whose
//! time and subject hash to a number that ends in so many zero bits. With *n* events found in the sample the estimate is off
//! by about 1/√n.

use std::collections::{BTreeMap, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};

use schemas::table::RecordRow;
use schemas::{Event, EventId, PayloadHash};

/// Events that a sample keeps: about 8 MiB.
const SAMPLE_MAX: usize = 1 << 16;
/// An overlap is told from this share of a file's events on, in percent.
const TOLD_PERCENT: u64 = 1;

/// What a file's events are known by.
#[derive(Debug, Default)]
pub struct Sample {
    /// Bits that must be zero.
    bits: u32,
    /// By the hash of the payload, with the choosing hash and the id.
    by_payload: HashMap<PayloadHash, (u64, EventId)>,
    /// By the hash of all that it says.
    by_content: HashMap<u64, (u64, EventId)>,
    /// Events that were offered.
    events: u64,
}

impl Sample {
    /// Adds an event of the file.
    pub fn add(&mut self, payload: PayloadHash, event: &Event) {
        self.events += 1;
        let choice = choice(event);
        if !chosen(choice, self.bits) {
            return;
        }
        self.by_payload.insert(payload, (choice, event.event_id));
        self.by_content.insert(content(event), (choice, event.event_id));
        while self.by_payload.len() > SAMPLE_MAX {
            self.bits += 1;
            let bits = self.bits;
            self.by_payload.retain(|_, (choice, _)| chosen(*choice, bits));
            self.by_content.retain(|_, (choice, _)| chosen(*choice, bits));
        }
    }

    /// Whether an event of another file would count beside one of this file.
    fn repeats(&self, payload: PayloadHash, event: &Event) -> bool {
        let same = self.by_payload.get(&payload).or_else(|| self.by_content.get(&content(event)));
        same.is_some_and(|(_, id)| *id != event.event_id)
    }
}

/// How many of a file's events count already, by the topic of the other file.
#[derive(Debug)]
pub struct Overlap<'a> {
    sample: &'a Sample,
    found: BTreeMap<String, u64>,
}

impl<'a> Overlap<'a> {
    /// Nothing found yet.
    pub fn of(sample: &'a Sample) -> Overlap<'a> {
        Overlap { sample, found: BTreeMap::new() }
    }

    /// Looks at a record of another file.
    pub fn look_at(&mut self, row: &RecordRow) {
        if let Some(event) = &row.event
            && self.sample.repeats(row.payload_hash, event)
        {
            match self.found.get_mut(&*row.topic) {
                Some(found) => *found += 1,
                None => {
                    self.found.insert(row.topic.to_string(), 1);
                }
            }
        }
    }

    /// The topics that share enough of the file's events to be told, with about how many; the largest first.
    pub fn told(&self) -> Vec<Shared> {
        let events = self.sample.events;
        let shared = self.found.iter().map(|(topic, found)| Shared {
            topic: topic.clone(),
            events: (found << self.sample.bits).min(events),
            exact: self.sample.bits == 0,
        });
        let mut told: Vec<Shared> = shared.filter(|shared| shared.events * 100 >= events * TOLD_PERCENT).collect();
        told.sort_by_key(|shared| std::cmp::Reverse(shared.events));
        told
    }
}

/// What a file shares with another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shared {
    /// The topic of the other.
    pub topic: String,
    /// Events of this file that count already.
    pub events: u64,
    /// Whether that is counted, or estimated from a sample.
    pub exact: bool,
}

fn chosen(choice: u64, bits: u32) -> bool {
    choice & ((1 << bits) - 1) == 0
}

fn choice(event: &Event) -> u64 {
    let mut hash = DefaultHasher::new();
    (event.event_time, event.subject).hash(&mut hash);
    hash.finish()
}

fn content(event: &Event) -> u64 {
    let mut hash = DefaultHasher::new();
    (event.event_type, event.event_time, event.tenant, event.app, event.subject).hash(&mut hash);
    (event.device, event.click, event.login, event.ip, event.os, event.os_version, event.device_model).hash(&mut hash);
    (event.campaign, event.ad_group, event.creative, event.source, event.channel, event.placement).hash(&mut hash);
    (event.language, event.country, event.name, event.item, event.quantity, event.revenue).hash(&mut hash);
    (event.cost, event.currency, event.version, event.install_begin_time).hash(&mut hash);
    hash.finish()
}

#[cfg(test)]
mod tests {
    use schemas::table::Verdict;
    use schemas::{Capped, EventTime, EventType};

    use super::*;

    fn event(time_ms: i64, id: u8) -> Event {
        let mut bytes = [0; 16];
        bytes[0] = id;
        let id = EventId(schemas::ids::Id::from_bytes(bytes));
        Event { event_type: EventType::Click, event_time: EventTime(time_ms), event_id: id, ..Event::default() }
    }

    fn record(topic: &str, payload_hash: PayloadHash, event: Event) -> RecordRow {
        RecordRow {
            verdict: Verdict::Ok,
            reason: None,
            topic: topic.into(),
            partition: 0,
            offset: 0,
            arrival_ms: 0,
            cut: 1_000,
            payload_hash,
            event: Some(event),
            capped: Capped::default(),
            items: None,
            raw: None,
            extras: None,
        }
    }

    fn payload(number: i64) -> PayloadHash {
        PayloadHash::of(&number.to_be_bytes())
    }

    #[test]
    fn events_are_shared_by_text_or_by_what_they_say_unless_their_id_is_the_same() {
        let mut sample = Sample::default();
        (0..4).for_each(|time_ms| sample.add(payload(time_ms), &event(time_ms, 1)));
        let mut overlap = Overlap::of(&sample);
        // The same text that meant another time then, the same event in another text, a copy, and another event.
        overlap.look_at(&record("file:a", payload(0), event(77, 2)));
        overlap.look_at(&record("file:a", payload(91), event(1, 2)));
        overlap.look_at(&record("file:b", payload(2), event(2, 1)));
        overlap.look_at(&record("file:b", payload(92), event(92, 2)));
        assert_eq!(overlap.told(), [Shared { topic: "file:a".to_owned(), events: 2, exact: true }]);
    }

    #[test]
    fn a_large_file_is_sampled_and_a_small_overlap_is_not_told() {
        let mut sample = Sample::default();
        let events = 3 * SAMPLE_MAX as i64;
        (0..events).for_each(|time_ms| sample.add(payload(time_ms), &event(time_ms, 1)));
        assert!(sample.by_payload.len() <= SAMPLE_MAX && sample.bits > 0);
        let mut overlap = Overlap::of(&sample);
        for time_ms in 0..events / 3 {
            overlap.look_at(&record("file:third", payload(time_ms), event(time_ms, 2)));
        }
        for time_ms in 0..events / 1_000 {
            overlap.look_at(&record("file:little", payload(time_ms), event(time_ms, 2)));
        }
        let told = overlap.told();
        assert_eq!((told.len(), &*told[0].topic, told[0].exact), (1, "file:third", false));
        let error = told[0].events.abs_diff(events as u64 / 3);
        assert!(error < events as u64 / 100, "{} of {events}", told[0].events);
    }
}
