//! Touches in memory: one store of the payload, small indexes beside it, all over *raw* copies.
//!
//! Which copy of an event stands (the smallest payload hash, unless withdrawn) is decided where it is needed, for the
//! few touches that meet a target, so no deduplicated copy of the stream is kept. See
//! `docs/decisions/0001-attribution-indexes.md`.
//!
//! | arrangement | key → value | one per |
//! |---|---|---|
//! | `touch index` | half a join key → [`Entry`] | copy and join key by which it is not capped |
//! | `touch store` | half an event key → [`TouchRow`] | copy |
//! | `rivals` | half an event key → [`Rival`] | copy that is no touch; tombstone (as the zero hash) |
//!
//! Where fingerprints were hot is in [`crate::hot`].
//!
//! Keys of 128 bits are found by one half ([`Id::route`](schemas::ids::Id::route)) and confirmed by the rest: of a join
//! key the row keeps the rest, of an event key the parts that it hashes. Two keys that share a half only meet; they are
//! told apart before they count.

use differential_dataflow::VecCollection;
use differential_dataflow::operators::arrange::{Arranged, TraceAgent};
use differential_dataflow::trace::implementations::ValSpine;
use operators::shared::SharedValSpine;
use schemas::event::Accepted;
use schemas::units::MINUTE_MS;
use schemas::view::{Method, PathTouch};
use schemas::{Capped, EventId, EventKey, EventTime, EventType, JoinKey, PayloadHash, Subject, Symbol, Tick};
use serde::{Deserialize, Serialize};

use crate::hot::{CappedCopy, Marks, marks};

/// An arrangement by key with ordinary batches.
pub type ByKey<'scope, K, V> = Arranged<'scope, TraceAgent<ValSpine<K, V, Tick, isize>>>;
/// An arrangement by key whose batches other threads read.
pub type SharedByKey<'scope, K, V> = Arranged<'scope, TraceAgent<SharedValSpine<K, V, Tick, isize>>>;

/// The payload hash that a tombstone enters [`TouchIndexes::rivals`] with: smaller than that of any copy, so it stands.
pub const WITHDRAWN: PayloadHash = PayloadHash::NONE;

/// What confirms a join key that half of it found: its other half, or 0 for an absent one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Rest(u64);

impl Rest {
    /// Of an absent key.
    pub const NONE: Rest = Rest(0);

    /// The rest of a join key.
    pub fn of(key: JoinKey) -> Rest {
        if key.is_none() { Rest::NONE } else { Rest(key.0.rest().max(1)) }
    }

    /// Whether the key is absent.
    pub fn is_none(self) -> bool {
        self == Rest::NONE
    }
}

/// What tells an event from all others of its tenant.
pub type Identity = (EventTime, EventId, Subject);

/// A touch under one of its join keys, in 12 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Entry {
    minute: u32,
    touch: [u32; 2],
}

impl Entry {
    fn of(key: EventKey, event_time: EventTime) -> Entry {
        let touch = key.0.route();
        Entry { minute: minute(event_time), touch: [(touch >> 32) as u32, touch as u32] }
    }

    /// The key of its copies in [`TouchIndexes::store`].
    pub fn touch(self) -> u64 {
        u64::from(self.touch[0]) << 32 | u64::from(self.touch[1])
    }

    /// Whether it may have happened at most `window_ms` before `event_time`. Exact to the minute; never wrongly false.
    pub fn may_precede(self, event_time: EventTime, window_ms: i64) -> bool {
        let age = i64::from(minute(event_time)) - i64::from(self.minute);
        (0..=window_ms / MINUTE_MS + 1).contains(&age)
    }
}

/// The minute of a time, kept within 32 bits: the years 1970 to 10136.
fn minute(time: EventTime) -> u32 {
    time.0.div_euclid(MINUTE_MS).clamp(0, i64::from(u32::MAX)) as u32
}

/// What shares the identity of a touch or target and is no touch: a copy of another type, or a tombstone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Rival {
    /// The rest of the event's key.
    rest: u64,
    /// Its payload hash, or [`WITHDRAWN`].
    hash: PayloadHash,
}

impl Rival {
    /// Under what to find it, and the rival.
    pub fn of(key: EventKey, hash: PayloadHash) -> (u64, Rival) {
        (key.0.route(), Rival { rest: key.0.rest(), hash })
    }

    /// Its payload hash, where it is a rival of this event.
    pub fn of_event(self, key: EventKey) -> Option<PayloadHash> {
        (self.rest == key.0.rest()).then_some(self.hash)
    }
}

/// One copy of an impression or click. Ordered by payload hash first: the least copy stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct TouchRow {
    /// Hash of its bytes; copies with the same hash are equal in all but `capped`.
    pub payload_hash: PayloadHash,
    /// When it happened.
    pub event_time: EventTime,
    /// Its event id.
    pub event_id: EventId,
    /// Its subject.
    pub subject: Subject,
    /// Its person in its app.
    pub person: Rest,
    /// Its click id in its app.
    pub click: Rest,
    /// Its fingerprint in its app.
    pub fingerprint: Rest,
    /// Marketing channel.
    pub channel: Symbol,
    /// Campaign.
    pub campaign: Symbol,
    /// Ad group.
    pub ad_group: Symbol,
    /// Creative.
    pub creative: Symbol,
    /// Publisher or traffic source.
    pub source: Symbol,
    /// Impression or click.
    pub event_type: EventType,
    /// Whether its person is a device.
    pub has_device: bool,
    /// The join keys by which this copy is no candidate.
    pub capped: Capped,
}

impl TouchRow {
    /// The row of an accepted impression or click.
    pub fn of(record: &Accepted) -> TouchRow {
        let event = &record.event;
        TouchRow {
            payload_hash: record.payload_hash,
            event_time: event.event_time,
            event_id: event.event_id,
            subject: event.subject,
            person: event.person_key().map_or(Rest::NONE, Rest::of),
            click: event.click_key().map_or(Rest::NONE, Rest::of),
            fingerprint: event.fingerprint_key().map_or(Rest::NONE, Rest::of),
            channel: event.channel,
            campaign: event.campaign,
            ad_group: event.ad_group,
            creative: event.creative,
            source: event.source,
            event_type: event.event_type,
            has_device: !event.device.is_none(),
            capped: record.capped,
        }
    }

    /// This touch as a path keeps it.
    pub fn on_path(&self, method: Method) -> PathTouch {
        PathTouch {
            event_time: self.event_time,
            event_id: self.event_id,
            subject: self.subject,
            event_type: self.event_type,
            method,
            channel: self.channel,
            campaign: self.campaign,
            ad_group: self.ad_group,
            creative: self.creative,
            source: self.source,
        }
    }

    /// What tells it from all other events.
    pub fn identity(&self) -> Identity {
        (self.event_time, self.event_id, self.subject)
    }
}

/// The entries of a touch: one under half of each join key by which this copy is a candidate.
pub fn entries(record: &Accepted) -> impl Iterator<Item = (u64, Entry)> {
    let (event, capped) = (&record.event, record.capped);
    let entry = Entry::of(event.key(), event.event_time);
    [
        (event.person_key(), Capped::PERSON),
        (event.click_key(), Capped::CLICK),
        (event.fingerprint_key(), Capped::FINGERPRINT),
    ]
    .into_iter()
    .filter(move |(_, bit)| !capped.has(*bit))
    .filter_map(move |(key, _)| Some((key?.0.route(), entry)))
}

/// Finds which copy of a touch stands.
#[derive(Clone, Copy, Debug, Default)]
pub struct Standing {
    touch: Option<TouchRow>,
    rival: Option<PayloadHash>,
}

impl Standing {
    /// Takes in a copy. `capped` of the standing copy is what all copies with its hash share.
    pub fn copy(&mut self, row: &TouchRow) {
        match &mut self.touch {
            Some(touch) if touch.payload_hash == row.payload_hash => {
                let capped = Capped(touch.capped.0 & row.capped.0);
                *touch = TouchRow { capped, ..*touch };
            }
            Some(touch) if touch.payload_hash < row.payload_hash => {}
            _ => self.touch = Some(*row),
        }
    }

    /// Takes in a copy of the same identity that is no touch, or a tombstone as [`WITHDRAWN`].
    pub fn rival(&mut self, hash: PayloadHash) {
        self.rival = Some(self.rival.map_or(hash, |rival| rival.min(hash)));
    }

    /// The touch, if it is one and was not withdrawn.
    pub fn touch(&self) -> Option<TouchRow> {
        self.touch.filter(|touch| self.rival.is_none_or(|rival| touch.payload_hash < rival))
    }
}

/// What is known of touches and withdrawals, shared by all paths.
#[derive(Clone)]
pub struct TouchIndexes<'scope> {
    /// Candidates by half a join key.
    pub index: ByKey<'scope, u64, Entry>,
    /// All copies by half an event key.
    pub store: ByKey<'scope, u64, TouchRow>,
    /// What else has the identity of an event, by half its key.
    pub rivals: ByKey<'scope, u64, Rival>,
    /// Where fingerprints were hot.
    pub marks: Marks<'scope>,
}

/// Builds the indexes over all accepted touches, those that are capped, and the payload hashes of everything else.
pub fn touch_indexes<'scope>(
    entries: VecCollection<'scope, Tick, (u64, Entry), isize>,
    rows: VecCollection<'scope, Tick, (u64, TouchRow), isize>,
    capped: VecCollection<'scope, Tick, (u64, CappedCopy), isize>,
    rivals: VecCollection<'scope, Tick, (u64, Rival), isize>,
) -> TouchIndexes<'scope> {
    let index = entries.arrange_by_key_named("touch index");
    let store = rows.arrange_by_key_named("touch store");
    let rivals = rivals.arrange_by_key_named("rivals");
    let marks = marks(capped, &store, &rivals);
    TouchIndexes { index, store, rivals, marks }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stored_touch_stays_small() {
        // Memory per touch is decided here: a new field is a decision, not an accident.
        assert_eq!(size_of::<TouchRow>(), 128);
        assert_eq!(size_of::<Entry>(), 12);
    }
}
