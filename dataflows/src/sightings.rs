//! Which visitors were seen with one fingerprint in one hour, where a job wants to know (`views.identity.likely`).
//!
//! A fingerprint is an address, a system and a device model. Visitors that share one hour after hour are likely to be one: somebody who is
//! there before logging in and after, or with two accounts. Where many share one it is a network, of an office or a carrier, and says
//! nothing: [`IDS_MAX`].
//!
//! **State.** Each event of a visitor until it is final, and the visitors of each hour of a fingerprint as long.
//!
//! **Work.** A visitor that is new to an hour costs as much as the hour has visitors.

use differential_dataflow::VecCollection;
use operators::{Expires, reduce};
use schemas::event::Accepted;
use schemas::units::HOUR_MS;
use schemas::{EventTime, EventType, Fingerprint, IdKind, LinkedId, PayloadHash, Symbol, Tick, Zones};
use serde::{Deserialize, Serialize};

use crate::attribution::touches::WITHDRAWN;
use crate::changes::Sum;
use crate::horizon::{Horizons, Until};
use crate::links::Link;
use crate::standing::Contested;

/// An hour in which a fingerprint had more visitors than these says nothing of them.
pub const IDS_MAX: usize = 8;

/// That two ids shared hours of a day: the sum of their chances, in thousandths, and their number. The chance of an hour is that another
/// visitor of it, drawn by lot, is this one.
pub type SharedHours = Sum<Link, 2>;

/// A copy of an event that has a visitor, or a tombstone that may withdraw one. They order by their payload hashes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Sighting {
    /// Its payload hash, or [`WITHDRAWN`], which is less than any.
    hash: PayloadHash,
    seen: Option<Seen>,
}

/// That a visitor was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Seen {
    tenant: Symbol,
    fingerprint: Fingerprint,
    event_time: EventTime,
    visitor: Visitor,
}

/// A user, or a device whose user is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
struct Visitor {
    id: LinkedId,
    kind: IdKind,
}

impl Sighting {
    /// What a record says, by what tells its event from others; nothing where it has no visitor.
    pub fn of(record: &Accepted, horizons: &Horizons) -> Option<(Contested, Sighting)> {
        let event = &record.event;
        let (withdraws, of_cost) = (event.event_type == EventType::Tombstone, event.event_type == EventType::Cost);
        let user = event.user.some().map(|user| Visitor { id: LinkedId(user.0), kind: IdKind::User });
        let device = event.device.some().map(|device| Visitor { id: LinkedId(device.0), kind: IdKind::Device });
        let visitor = user.or(device).filter(|_| !of_cost)?;
        let seen = event.fingerprint.some().filter(|_| !withdraws).map(|fingerprint| Seen {
            tenant: event.tenant,
            fingerprint,
            event_time: event.event_time,
            visitor,
        });
        let hash = if withdraws { WITHDRAWN } else { record.payload_hash };
        let identity = (event.event_time, event.event_id, event.subject);
        Some((Contested::of(identity, event.event_time, horizons), Sighting { hash, seen }))
    }
}

/// An hour of a fingerprint, until no event of it can come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
struct Hour {
    tenant: Symbol,
    fingerprint: Fingerprint,
    begins: EventTime,
    until: Until,
}

impl Expires<Tick> for Hour {
    fn expiry(&self) -> Tick {
        self.until.expiry()
    }
}

/// That a visitor was there in an hour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
struct Stay {
    hour: Hour,
    visitor: Visitor,
}

impl Expires<Tick> for Stay {
    fn expiry(&self) -> Tick {
        self.hour.expiry()
    }
}

/// The hours that ids share, from the copies of events.
pub fn shared_hours<'scope>(
    sightings: VecCollection<'scope, Tick, (Contested, Sighting), isize>,
    zones: Zones,
    horizons: Horizons,
) -> VecCollection<'scope, Tick, SharedHours, isize> {
    let standing = reduce(sightings, "events of visitors", |_, copies, output| {
        let least = copies.first().map(|(least, _)| **least);
        output.extend(least.filter(|least| least.hash != WITHDRAWN).and_then(|least| least.seen).map(|seen| (seen, 1)));
    });
    let seen = standing.map(move |(_, Seen { tenant, fingerprint, event_time, visitor })| {
        let begins = EventTime(event_time.0.div_euclid(HOUR_MS) * HOUR_MS);
        let until = horizons.target(EventTime(begins.0 + HOUR_MS));
        (Stay { hour: Hour { tenant, fingerprint, begins, until }, visitor }, ())
    });
    // However often a visitor is there in an hour, it is told once: a busy address has many events.
    let there = reduce(seen, "visitors of an hour", |_, _, output| output.push(((), 1)));
    let there = there.map(|(Stay { hour, visitor }, ())| (hour, visitor));
    let shared = reduce(there, "visitors of a fingerprint", |_, visitors, output| {
        if visitors.len() > IDS_MAX {
            return;
        }
        for (at, (one, _)) in visitors.iter().enumerate() {
            let chance = 1_000 / (visitors.len() as i64 - 1).max(1);
            output.extend(visitors[at + 1..].iter().map(|(other, _)| ((**one, **other, chance), 1)));
        }
    });
    shared.map(move |(Hour { tenant, begins, .. }, (one, other, chance))| {
        let day = zones.day(tenant, begins).begins;
        let (id, id_kind, other_id, other_kind) = (one.id, one.kind, other.id, other.kind);
        Sum { key: Link { tenant, id, id_kind, other_id, other_kind, day }, sums: [chance, 1] }
    })
}
