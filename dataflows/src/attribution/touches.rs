//! Touches in memory: their rows once, in a heap, and small indexes beside it, all over *raw* copies.
//!
//! Which copy of an event stands (the smallest payload hash, unless withdrawn) is decided where it is needed, for the
//! few touches that meet a target, so no deduplicated copy of the stream is kept. See
//! `docs/decisions/0001-attribution-indexes.md`.
//!
//! | index | key → value | one per |
//! |---|---|---|
//! | `touches by id` | half a device's, user's or click's join key → [`Entry`] | copy of a touch, and such a key by which it is not capped |
//! | `touches by fingerprint` | half a fingerprint's join key → [`Entry`] | copy of a touch by whose fingerprint it is not capped |
//! | `copies` | half of what tells events apart → [`Stored`] | copy of an event; tombstone |
//!
//! A touch with device and user has an entry under each (`docs/decisions/0018-device-or-user.md`); that it was found twice is
//! seen where its row is looked up.
//!
//! The rows themselves ([`TouchRow`], and [`Contender`] of all that is no touch) never move
//! (`docs/decisions/0011-where-the-time-went.md`). Records are never taken back, so neither index need be an arrangement
//! (`docs/decisions/0014-indexes-of-what-only-comes.md`). Where fingerprints were hot is in [`crate::attribution::hot`].
//!
//! Keys of 128 bits are found by some of the bits of one half and confirmed by the rest: of a join key ([`KeyCheck`](crate::attribution::touch_row::KeyCheck)) as of what tells
//! events apart ([`split_identity`]). Two that share those bits only meet; they are told apart before they count.
//!
//! Each row says until when it can be found (see [`crate::horizon`]); then it is forgotten.

use differential_dataflow::operators::arrange::{Arranged, TraceAgent};
use differential_dataflow::{ExchangeData, VecCollection};
use operators::forget::SharedForgettingSpine;
use operators::shared::SharedValSpine;
use operators::{Expires, Heap, Index, RowId, find, look_up};
use schemas::event::Accepted;
use schemas::view::Method;
use schemas::{Capped, EventTime, EventType, JoinKey, PayloadHash, Tick};
use serde::{Deserialize, Serialize};

use crate::attribution::identity::{Identity, MS_OF_MINUTE, split_cost_identity, split_identity};
use crate::attribution::touch_row::TouchRow;
use crate::event_row::{EventRow, OtherEvent, TouchRest};
use crate::horizon::{Horizons, Until};
use crate::params::PersonRule;

/// An arrangement by key that forgets rows as `H` says.
pub type Forgetting<'scope, K, V, H> = Arranged<'scope, TraceAgent<SharedForgettingSpine<K, V, Tick, isize, H>>>;
/// An arrangement by key whose batches other threads read.
pub type SharedByKey<'scope, K, V> = Arranged<'scope, TraceAgent<SharedValSpine<K, V, Tick, isize>>>;

/// The payload hash of a tombstone as a [`Contender`]: smaller than that of any copy, so it stands.
pub const WITHDRAWN: PayloadHash = PayloadHash::NONE;

/// A touch under one of its join keys, in 12 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Entry {
    /// Until when it can be found by that key, which also tells the minute in which it was.
    pub until: Until,
    touch: [u32; 2],
}

impl Entry {
    fn of(touch: u64, until: Until) -> Entry {
        Entry { until, touch: [(touch >> 32) as u32, touch as u32] }
    }

    /// The key of its copies in [`Copies`].
    pub fn touch(self) -> u64 {
        u64::from(self.touch[0]) << 32 | u64::from(self.touch[1])
    }

    /// Whether the touch happened within the longest window before a target that asks by this entry's method.
    pub fn may_precede(self, event_time: EventTime, method: Method, horizons: &Horizons) -> bool {
        horizons.may_precede(self.until, (self.touch() & MS_OF_MINUTE) as i64, event_time, method)
    }
}

impl Expires<Tick> for Entry {
    fn expiry(&self) -> Tick {
        self.until.expiry()
    }
}

/// Where the rows of a copy are, in 20 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Stored {
    /// Until when it can be found.
    pub until: Until,
    /// Where in [`Heaps`] what attribution needs of it is.
    pub row: RowId,
    /// Where the rest of its [`EventRow`] is, which leaves sooner; the same as `row` where no view reads events.
    pub event: RowId,
}

impl Expires<Tick> for Stored {
    fn expiry(&self) -> Tick {
        self.until.expiry()
    }
}

/// What shares the identity of a touch or target and is no touch: a copy of another type, or a tombstone; and what shares that of
/// a cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Contender {
    /// The second half of [`split_identity`].
    rest: u64,
    /// Its payload hash, or [`WITHDRAWN`].
    hash: PayloadHash,
    /// Until when a touch of its identity can be found.
    until: Until,
}

impl Contender {
    /// The key of its copies in [`Copies`], and the contender: of costs, or of all others.
    pub fn of(record: &Accepted, of_costs: bool, horizons: &Horizons) -> (u64, Contender) {
        let event = &record.event;
        let identity = (event.event_time, event.event_id, event.subject);
        let ((half, rest), until) = match of_costs {
            true => (split_cost_identity(identity), horizons.cost(event.event_time)),
            false => (split_identity(identity), horizons.touch(event.event_time)),
        };
        let hash = if event.event_type == EventType::Tombstone { WITHDRAWN } else { record.payload_hash };
        (half, Contender { rest, hash, until })
    }

    /// Its payload hash, where it is a contender of this event.
    pub fn of_event(self, identity: Identity) -> Option<PayloadHash> {
        (self.rest == split_identity(identity).1).then_some(self.hash)
    }
}

impl Expires<Tick> for Contender {
    fn expiry(&self) -> Tick {
        self.until.expiry()
    }
}

/// The entries of a touch: one under half of each join key by which this copy is a candidate, and whether that is a
/// fingerprint's.
pub fn entries(record: &Accepted, horizons: &Horizons, rule: PersonRule) -> impl Iterator<Item = (bool, (u64, Entry))> {
    let (event, capped, horizons) = (&record.event, record.capped, *horizons);
    let (touch, _) = split_identity((event.event_time, event.event_id, event.subject));
    // The first is that of its person, which its bit bounds; a user beside a device is the second.
    let mut of_person = rule.keys(event.app, event.device, event.user);
    let (person, user) = (of_person.next(), of_person.next().filter(|_| capped.leaves_user()));
    let by = move |key: Option<JoinKey>, is_capped: bool, method| {
        let key = key.filter(|_| !is_capped)?;
        let entry = Entry::of(touch, horizons.touch_by(event.event_time, method));
        Some((method == Method::Fingerprint, (key.0.route(), entry)))
    };
    [
        by(person, capped.has(Capped::PERSON), Method::Person),
        by(user, false, Method::Person),
        by(event.click_key(), capped.has(Capped::CLICK), Method::ClickId),
        by(event.fingerprint_key(), capped.has(Capped::FINGERPRINT), Method::Fingerprint),
    ]
    .into_iter()
    .flatten()
}

/// Finds which copy of a touch stands.
#[derive(Clone, Copy, Debug, Default)]
pub struct Dedup {
    touch: Option<TouchRow>,
    contender: Option<PayloadHash>,
}

impl Dedup {
    /// Takes in a copy. `capped` of the standing copy is what all copies with its hash share.
    pub fn copy(&mut self, row: &TouchRow) {
        match &mut self.touch {
            Some(touch) if touch.payload_hash == row.payload_hash => {
                let traits = touch.traits.capped_in_both(row.traits);
                *touch = TouchRow { traits, ..*touch };
            }
            Some(touch) if touch.payload_hash < row.payload_hash => {}
            _ => self.touch = Some(*row),
        }
    }

    /// Takes in a copy of the same identity that is no touch, or a tombstone as [`WITHDRAWN`].
    pub fn contender(&mut self, hash: PayloadHash) {
        self.contender = Some(self.contender.map_or(hash, |contender| contender.min(hash)));
    }

    /// The touch, if it is one and was not withdrawn.
    pub fn touch(&self) -> Option<TouchRow> {
        self.touch.filter(|touch| self.contender.is_none_or(|contender| touch.payload_hash < contender))
    }
}

/// The rows of the copies that entered at a worker. Clones are the same.
#[derive(Clone)]
pub struct Heaps {
    touches: Heap<TouchRow, Tick>,
    contenders: Heap<Contender, Tick>,
    touch_rests: Heap<TouchRest, Tick>,
    other_events: Heap<OtherEvent, Tick>,
}

/// The numbers of the heaps of a worker.
const TOUCHES: u8 = 0;
const CONTENDERS: u8 = 1;
const TOUCH_RESTS: u8 = 2;
const OTHER_EVENTS: u8 = 3;

impl Heaps {
    /// Empty ones, for the worker of this index.
    pub fn new(worker: usize) -> Heaps {
        Heaps {
            touches: Heap::new(worker, TOUCHES),
            contenders: Heap::new(worker, CONTENDERS),
            touch_rests: Heap::new(worker, TOUCH_RESTS),
            other_events: Heap::new(worker, OTHER_EVENTS),
        }
    }

    /// Keeps a copy of a touch, with what events have besides where a view reads them: its key and entry in [`Copies`].
    pub fn touch(&self, row: TouchRow, rest: Option<TouchRest>) -> (u64, Stored) {
        let (half, until, row) = (split_identity(row.identity()).0, row.until, self.touches.push(row));
        (half, Stored { until, row, event: rest.map_or(row, |rest| self.touch_rests.push(rest)) })
    }

    /// Keeps what is no touch, of the first of its [`split_identity`].
    pub fn contender(&self, (half, contender): (u64, Contender), event: Option<OtherEvent>) -> (u64, Stored) {
        let (until, row) = (contender.until, self.contenders.push(contender));
        (half, Stored { until, row, event: event.map_or(row, |event| self.other_events.push(event)) })
    }

    /// How many rows there are for attribution.
    pub fn rows(&self) -> usize {
        self.touches.len() + self.contenders.len()
    }
}

/// All copies by the first of their [`split_identity`].
#[derive(Clone)]
pub struct Copies<'scope> {
    /// Where their rows are.
    pub index: Index<'scope, Stored, Tick>,
    pub(super) heaps: Heaps,
}

/// What a copy is to those that share its identity.
#[derive(Clone, Copy, Debug)]
pub enum Copied<'a> {
    /// A copy of a touch.
    Touch(&'a TouchRow),
    /// Any other, or a tombstone.
    Contender(&'a Contender),
}

impl<'scope> Copies<'scope> {
    /// What `answer` makes of each question and each copy of its half identity. It must not trust that they share it. Which
    /// copies are still there where one of the two has expired must not matter: by acceptance none comes then
    /// ([`crate::horizon`]).
    pub fn ask<Q: ExchangeData + Expires<Tick>, A: Clone + 'static>(
        &self,
        questions: VecCollection<'scope, Tick, (u64, Q), isize>,
        name: &str,
        answer: impl Fn(Q, Copied<'_>) -> Option<A> + Clone + 'static,
    ) -> VecCollection<'scope, Tick, A, isize> {
        let found = find(questions, &self.index, name, |question: &Q, copy| Some((copy.row, question.clone())));
        let of = |heap| found.clone().filter(move |(row, _)| row.heap() == heap);
        let of_touches = answer.clone();
        let touches = look_up(of(TOUCHES), &self.heaps.touches, name, move |question, row| {
            of_touches(question, Copied::Touch(row))
        });
        let contenders = look_up(of(CONTENDERS), &self.heaps.contenders, name, move |question, row| {
            answer(question, Copied::Contender(row))
        });
        touches.concat(contenders)
    }

    /// Records that share their key with another, each once, from when the other came too; tombstones are among them, and
    /// some that are alone after all ([`Index::contested`]). With each whether it is contested among costs.
    pub fn contested(&self) -> VecCollection<'scope, Tick, (EventRow, bool), isize> {
        let of = |heap| self.index.contested().filter(move |copy| copy.row.heap() == heap);
        let touches = of(TOUCHES).map(|copy| (copy.row, copy.event));
        let touches = look_up(touches, &self.heaps.touches, "contested touches", |event, touch| Some((event, *touch)));
        let touches = look_up(touches, &self.heaps.touch_rests, "rests of contested touches", |touch, rest| {
            Some((EventRow::of_touch(&touch, rest), false))
        });
        let others = of(CONTENDERS).map(|copy| (copy.event, ()));
        let others = look_up(others, &self.heaps.other_events, "other contested events", |(), other| {
            Some((other.row, other.of_costs))
        });
        touches.concat(others)
    }
}

#[cfg(test)]
mod tests {
    use differential_dataflow::input::Input;
    use operators::AppendInput;
    use schemas::ids::Id;
    use schemas::units::{DAY_MS, HOUR_MS, MINUTE_MS};
    use schemas::{DeviceId, Event, EventId, Fingerprint, Subject};

    use super::*;
    use crate::attribution::indexes::touch_indexes;
    use crate::params::InstallsParams;

    #[test]
    fn a_stored_touch_stays_small() {
        // Memory per touch is decided here: a new field is a decision, not an accident.
        assert_eq!(size_of::<TouchRow>(), 128);
        assert_eq!(size_of::<Entry>(), 12);
        assert_eq!(size_of::<Stored>(), 20);
        assert_eq!(size_of::<TouchRest>(), 32);
        assert_eq!(size_of::<OtherEvent>(), 224);
        assert_eq!(size_of::<Contender>(), 32);
        assert_eq!(size_of::<crate::attribution::paths::Match>(), 128);
    }

    #[test]
    fn halves_tell_the_millisecond_and_whatever_they_leave_out_together() {
        let id = |hi: u64, lo: u64| Id::from_bytes((u128::from(hi) << 64 | u128::from(lo)).to_be_bytes());
        let at = |time: i64, event: Id| split_identity((EventTime(time), EventId(event), Subject::NONE));
        for time in [0, 59_999, 60_000, 1_793_491_259_999] {
            assert_eq!((at(time, id(7, 9)).0 & MS_OF_MINUTE) as i64, time % MINUTE_MS);
        }
        // What the first half leaves out for the millisecond, the second tells.
        let (one, other) = (at(5, id(7, 9)), at(5, id(7, 9 ^ 0x8001)));
        assert_eq!(one.0, other.0);
        assert_ne!(one.1, other.1);
        assert_ne!(at(5, id(7, 9)).1, at(5, id(8, 9)).1);
        assert_ne!(at(5, id(7, 9)), at(5 + MINUTE_MS, id(7, 9)));
    }

    #[test]
    fn touches_leave_when_nothing_can_find_them() {
        const DAYS: i64 = 60;
        const AN_HOUR: i64 = 20;
        let horizons = Horizons::of(&InstallsParams::default(), Some(DAY_MS.into()));
        let (by_id, by_print, copies, rows) = timely::execute_directly(move |worker| {
            let (mut by_id, mut by_print, mut copy_input, heaps, indexes) = worker.dataflow::<Tick, _, _>(|scope| {
                let (by_id_input, by_id) = AppendInput::new(scope);
                let (by_print_input, by_print) = AppendInput::new(scope);
                let (copy_input, copies) = AppendInput::new(scope);
                let (_, capped) = scope.new_collection();
                let heaps = Heaps::new(scope.index());
                let indexes = touch_indexes(by_id, by_print, copies, heaps.clone(), capped);
                let sizes = (indexes.by_id.size(), indexes.by_fingerprint.size(), indexes.copies.index.size());
                (by_id_input, by_print_input, copy_input, heaps, sizes)
            });
            for number in 0..DAYS * 24 * AN_HOUR {
                let event_time = EventTime(number * HOUR_MS / AN_HOUR);
                let device = DeviceId(Id::from_bytes(u128::to_be_bytes(number as u128 % 7 + 1)));
                let event_id = EventId(Id::from_bytes(u128::to_be_bytes(number as u128 + 1)));
                let fingerprint = Fingerprint(device.0);
                let event = Event {
                    event_type: EventType::Click,
                    event_time,
                    event_id,
                    device,
                    fingerprint,
                    ..Event::default()
                };
                let record = Accepted { event, ..Accepted::default() };
                let tick = event_time.0 as Tick;
                let rest = TouchRest::of(&EventRow::of(&record, &Default::default()), &horizons);
                copy_input.push(heaps.touch(TouchRow::of(&record, &horizons), Some(rest)), tick);
                for (of_fingerprint, entry) in entries(&record, &horizons, PersonRule::DeviceOrUser) {
                    let input = if of_fingerprint { &mut by_print } else { &mut by_id };
                    input.push(entry, tick);
                }
                if number % AN_HOUR == AN_HOUR - 1 {
                    let now = tick + 1;
                    for input in [&mut by_id, &mut by_print] {
                        input.advance_to(now);
                        input.flush();
                    }
                    copy_input.advance_to(now);
                    copy_input.flush();
                    worker.step();
                }
            }
            (indexes.0.rows(), indexes.1.rows(), indexes.2.rows(), heaps.rows())
        });
        // A click is live for its window of 7 days and a day of lateness.
        let live = (8 * 24 * AN_HOUR) as usize;
        for resident in [by_id, copies, rows] {
            assert!((live..3 * live).contains(&resident), "{resident} of {live}");
        }
        // By its fingerprint for a day of its window: the last rows stay until their segment is full.
        assert!((live / 4..live / 4 + 4_096).contains(&by_print), "{by_print} of {}", live / 4);
    }
}
