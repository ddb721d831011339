//! Targets: the installs and conversions that touches are matched to, and the opens with which devices come back. About one event in fifty. Each copy has one row in
//! memory, which all steps share.

use std::sync::Arc;

use differential_dataflow::VecCollection;
use operators::{Expires, reduce};
use schemas::event::Accepted;
use schemas::{DeviceId, EventId, EventTime, EventType, JoinKey, Micros, PayloadHash, Subject, Symbol, Tick, UserId};
use serde::{Deserialize, Serialize};

use crate::attribution::identity::{Identity, split_identity};
use crate::attribution::indexes::TouchIndexes;
use crate::attribution::touches::Copied;
use crate::horizon::TargetKey;
use crate::moments::Moments;

/// One install, open or conversion. Ordered by payload hash first: of its copies the least stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct TargetRow {
    /// Hash of its bytes.
    pub payload_hash: PayloadHash,
    /// Whether it came later than a gate lets pass: see [`crate::moments`]. A copy that did not goes before one that did.
    pub late: bool,
    /// An install, an open or a conversion.
    pub event_type: EventType,
    /// Whether it is a further install of its person; false until [`crate::views::installs::reinstalls`] has told.
    pub reinstall: bool,
    /// Whether its device comes back with it: see [`crate::devices`].
    pub comes_back: bool,
    /// Account.
    pub tenant: Symbol,
    /// App.
    pub app: Symbol,
    /// When it happened.
    pub event_time: EventTime,
    /// Its event id.
    pub event_id: EventId,
    /// Its subject.
    pub subject: Subject,
    /// Its user, where known.
    pub user: UserId,
    /// Its device, where known.
    pub device: DeviceId,
    /// Its click id in its app, or none.
    pub click: JoinKey,
    /// Its fingerprint in its app, or none.
    pub fingerprint: JoinKey,
    /// Its country.
    pub country: Symbol,
    /// Name of a conversion.
    pub name: Symbol,
    /// Revenue of a conversion.
    pub revenue: Option<Micros>,
    /// Currency of the revenue.
    pub currency: Symbol,
}

impl TargetRow {
    /// The row of an accepted install or conversion.
    pub fn of(record: &Accepted, moments: &Moments) -> TargetRow {
        let event = &record.event;
        TargetRow {
            payload_hash: record.payload_hash,
            late: moments.is_late(event.event_type, event.event_time, record.arrival_ms),
            event_type: event.event_type,
            reinstall: false,
            comes_back: false,
            tenant: event.tenant,
            app: event.app,
            event_time: event.event_time,
            event_id: event.event_id,
            subject: event.subject,
            user: event.user,
            device: event.device,
            click: event.click_key().unwrap_or(JoinKey::NONE),
            fingerprint: event.fingerprint_key().unwrap_or(JoinKey::NONE),
            country: event.country,
            name: event.name,
            revenue: event.revenue,
            currency: event.currency,
        }
    }

    /// Its person in its app, or none.
    pub fn person(&self) -> JoinKey {
        JoinKey::person(self.app, self.device, self.user).unwrap_or(JoinKey::NONE)
    }

    /// What tells it from all other events; installs of a person follow each other in this order.
    pub fn identity(&self) -> Identity {
        (self.event_time, self.event_id, self.subject)
    }
}

/// A copy of a target, or what else has its identity.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
enum Fact {
    Copy(Arc<TargetRow>),
    Contender(PayloadHash),
}

/// Of each install and conversion the copy that stands, if it is one and was not withdrawn.
pub fn standing<'scope>(
    copies: VecCollection<'scope, Tick, (TargetKey, Arc<TargetRow>), isize>,
    touches: &TouchIndexes<'scope>,
) -> VecCollection<'scope, Tick, (TargetKey, Arc<TargetRow>), isize> {
    let keys =
        copies.clone().map(|(target, row)| (split_identity(row.identity()).0, Sought { target, row: row.identity() }));
    let contenders = touches.copies.ask(keys, "contenders of targets", |sought, copy| {
        let hash = match copy {
            Copied::Touch(row) => (row.identity() == sought.row).then_some(row.payload_hash),
            Copied::Contender(contender) => contender.of_event(sought.row),
        };
        hash.map(|hash| (sought.target, Fact::Contender(hash)))
    });
    let copies = copies.map(|(key, row)| (key, Fact::Copy(row)));
    reduce(copies.concat(contenders), "standing targets", |_, facts, output| {
        let mut least: Option<&Arc<TargetRow>> = None;
        let mut contender: Option<PayloadHash> = None;
        for (fact, _) in facts {
            match fact {
                Fact::Copy(row) => least = Some(least.map_or(row, |least| least.min(row))),
                Fact::Contender(hash) => contender = Some(contender.map_or(*hash, |contender| contender.min(*hash))),
            }
        }
        // The target's own hash is among the contenders (it is a contender to touches), so equal is no defeat.
        output.extend(
            least
                .filter(|row| contender.is_none_or(|contender| row.payload_hash <= contender))
                .map(|row| (Arc::clone(row), 1)),
        );
    })
}

/// A target whose contenders are sought.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Sought {
    target: TargetKey,
    row: Identity,
}

impl Expires<Tick> for Sought {
    fn expiry(&self) -> Tick {
        self.target.expiry()
    }
}
