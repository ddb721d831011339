//! Touches in memory: one store of the payload, small indexes beside it, all over *raw* copies.
//!
//! Which copy of an event stands (the smallest payload hash, unless withdrawn) is decided where it is needed, for the
//! few touches that meet a target, so no deduplicated copy of the stream is kept. See
//! `docs/decisions/0001-attribution-indexes.md`.
//!
//! | arrangement | key → value | one per |
//! |---|---|---|
//! | `touch index` | join key → (event time, touch) | copy and join key by which it is not capped |
//! | `touch store` | touch → [`TouchRow`] | copy |
//! | `rivals` | event → payload hash | copy that is no touch; tombstone (as the zero hash) |
//! | `capped marks` | fingerprint key → [`Mark`] | first and last capped touch of an hour, type and channel |

use differential_dataflow::VecCollection;
use differential_dataflow::operators::arrange::{Arranged, TraceAgent};
use differential_dataflow::trace::implementations::ValSpine;
use operators::shared::SharedValSpine;
use schemas::event::Accepted;
use schemas::units::HOUR_MS;
use schemas::view::{Method, PathTouch};
use schemas::{Capped, EventId, EventKey, EventTime, EventType, JoinKey, PayloadHash, Subject, Symbol, Tick};
use serde::{Deserialize, Serialize};

/// An arrangement by key with ordinary batches.
pub type ByKey<'scope, K, V> = Arranged<'scope, TraceAgent<ValSpine<K, V, Tick, isize>>>;
/// An arrangement by key whose batches other threads read.
pub type SharedByKey<'scope, K, V> = Arranged<'scope, TraceAgent<SharedValSpine<K, V, Tick, isize>>>;

/// The payload hash that a tombstone enters [`TouchIndexes::rivals`] with: smaller than that of any copy, so it stands.
pub const WITHDRAWN: PayloadHash = PayloadHash::NONE;

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
    /// Its person in its app; [`JoinKey::NONE`] where unknown.
    pub person: JoinKey,
    /// Its click id in its app, or none.
    pub click: JoinKey,
    /// Its fingerprint in its app, or none.
    pub fingerprint: JoinKey,
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
            person: event.person_key().unwrap_or(JoinKey::NONE),
            click: event.click_key().unwrap_or(JoinKey::NONE),
            fingerprint: event.fingerprint_key().unwrap_or(JoinKey::NONE),
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

    fn index_keys(self) -> impl Iterator<Item = JoinKey> {
        [(self.person, Capped::PERSON), (self.click, Capped::CLICK), (self.fingerprint, Capped::FINGERPRINT)]
            .into_iter()
            .filter(move |(key, bit)| !key.is_none() && !self.capped.has(*bit))
            .map(|(key, _)| key)
    }
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

/// A time at which a touch that is capped by its fingerprint happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Mark {
    /// Impression or click.
    pub event_type: EventType,
    /// Marketing channel.
    pub channel: Symbol,
    /// When it happened.
    pub event_time: EventTime,
}

/// What is known of touches and withdrawals, shared by all paths.
#[derive(Clone)]
pub struct TouchIndexes<'scope> {
    /// Candidates by join key.
    pub index: ByKey<'scope, JoinKey, (EventTime, EventKey)>,
    /// All copies by identity.
    pub store: ByKey<'scope, EventKey, TouchRow>,
    /// What else has the identity of an event.
    pub rivals: ByKey<'scope, EventKey, PayloadHash>,
    /// Where fingerprints were hot.
    pub marks: ByKey<'scope, JoinKey, Mark>,
}

/// Builds the indexes over all accepted touches and over the payload hashes of everything else.
pub fn touch_indexes<'scope>(
    touches: VecCollection<'scope, Tick, (EventKey, TouchRow), isize>,
    rivals: VecCollection<'scope, Tick, (EventKey, PayloadHash), isize>,
) -> TouchIndexes<'scope> {
    let index = touches
        .clone()
        .flat_map(|(key, row)| row.index_keys().map(move |join_key| (join_key, (row.event_time, key))))
        .arrange_by_key_named("touch index");
    let store = touches.clone().arrange_by_key_named("touch store");
    let rivals = rivals.arrange_by_key_named("rivals");
    let marks = capped_marks(touches, &store, &rivals);
    TouchIndexes { index, store, rivals, marks }
}

/// One fact about a touch that a copy of it says is capped by its fingerprint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
enum Fact {
    Copy(TouchRow),
    Rival(PayloadHash),
}

/// For each fingerprint the capped touches, thinned to the first and last of each hour, type and channel.
///
/// Every window of a fingerprint is at least an hour, so if any capped touch lies in [t − w, t], then so does the first
/// or last of its hour: an hour that the window covers in full has both inside, of the hour of t (which begins after
/// t − w) the first is inside, of the hour of t − w the last. Thinning in three steps (second, minute, hour) keeps each
/// group small, so a bot costs little for each of its clicks.
fn capped_marks<'scope>(
    touches: VecCollection<'scope, Tick, (EventKey, TouchRow), isize>,
    store: &ByKey<'scope, EventKey, TouchRow>,
    rivals: &ByKey<'scope, EventKey, PayloadHash>,
) -> ByKey<'scope, JoinKey, Mark> {
    let capped = touches
        .filter(|(_, row)| row.capped.has(Capped::FINGERPRINT))
        .map(|(key, _)| (key, ()))
        .arrange_by_key_named("capped touches");
    let copies = capped.clone().join_core(store.clone(), |key, (), row| [(*key, Fact::Copy(*row))]);
    let rivals = capped.join_core(rivals.clone(), |key, (), hash| [(*key, Fact::Rival(*hash))]);
    let mut marks = copies
        .concat(rivals)
        .reduce_named("capped standing", |_, facts, output| {
            let mut standing = Standing::default();
            for (fact, _) in facts {
                match fact {
                    Fact::Copy(row) => standing.copy(row),
                    Fact::Rival(hash) => standing.rival(*hash),
                }
            }
            let touch = standing.touch().filter(|touch| touch.capped.has(Capped::FINGERPRINT));
            if let Some(touch) = touch.filter(|touch| !touch.fingerprint.is_none()) {
                let TouchRow { event_type, channel, event_time, .. } = touch;
                output.push(((touch.fingerprint, Mark { event_type, channel, event_time }), 1));
            }
        })
        .map(|(_, mark)| mark);
    for (name, unit_ms) in [("capped seconds", 1_000), ("capped minutes", 60_000), ("capped hours", HOUR_MS)] {
        marks = marks
            .map(move |(key, mark)| {
                ((key, mark.event_type, mark.channel, mark.event_time.0.div_euclid(unit_ms)), mark.event_time)
            })
            .reduce_named(name, |_, times, output| {
                let (first, last) = (*times[0].0, *times[times.len() - 1].0);
                output.push((first, 1));
                if last != first {
                    output.push((last, 1));
                }
            })
            .map(|((key, event_type, channel, _), event_time)| (key, Mark { event_type, channel, event_time }));
    }
    marks.arrange_by_key_named("capped marks")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stored_touch_stays_small() {
        // Memory per touch is decided here: a new field is a decision, not an accident.
        assert_eq!(size_of::<TouchRow>(), 152);
        assert_eq!(size_of::<(EventTime, EventKey)>(), 24);
    }
}
