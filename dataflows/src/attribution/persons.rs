//! Under which other ids the person of an install, open or conversion is known, where a job asks for it (`views.installs.identity`).
//!
//! The ids are those that links lead to from its device and user: of the `identify` events that had [arrived](crate::moments) by its
//! moment, and stood then. So a link that comes later changes nothing any more, and what is told follows from the arrivals that
//! the ledger holds, however records enter. What links lead to more than `views.identity.large_above` ids is no person: the target is known by its own ids then.
//!
//! Whether an `identify` event stood at a moment is decided by its copies and tombstones that had arrived by then: the least copy, unless
//! one withdraws it. Events of another type with the same identity do not count here.
//!
//! **State.** All links that stand, and what changed of late; `identify` events as long as copies of them can come; a target until it is final.

use std::sync::Arc;

use differential_dataflow::{AsCollection, VecCollection};
use operators::linked::{Limits, Question};
use operators::{Expires, linked_at, reduce};
use schemas::event::Accepted;
use schemas::{DeviceId, EventTime, EventType, IdKind, JoinKey, PayloadHash, Symbol, Tick, UserId, Zones};
use serde::{Deserialize, Serialize};
use timely::dataflow::operators::vec::Map;

use crate::attribution::targets::TargetRow;
use crate::attribution::touches::WITHDRAWN;
use crate::event_row::EventRow;
use crate::horizon::{Bounds, Horizons, TargetKey};
use crate::links::{Link, Node};
use crate::moments::{ENTERS_WITHIN_MS, Moments};
use crate::params::IdentityParams;
use crate::standing::Contested;

/// A copy of an `identify` event, or a tombstone that may withdraw one, with its arrival.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Said {
    arrival: Tick,
    /// Its payload hash, or [`WITHDRAWN`].
    hash: PayloadHash,
    links: [Option<Link>; 2],
}

impl Said {
    /// What a record says, by what tells its event from others; nothing where it is neither.
    pub fn of(record: &Accepted, horizons: &Horizons, zones: &Zones) -> Option<(Contested, Said)> {
        let withdraws = record.event.event_type == EventType::Tombstone;
        if !withdraws && record.event.event_type != EventType::Identify {
            return None;
        }
        let row = EventRow::of(record, &Moments::default());
        let mut links = Link::of(&row, zones);
        let said = Said {
            arrival: record.arrival_ms.max(0) as Tick,
            hash: if withdraws { WITHDRAWN } else { record.payload_hash },
            links: [links.next(), links.next()],
        };
        Some((Contested::of(row.identity(), row.event_time, horizons), said))
    }
}

/// Since when a link is said once more, or once less.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Turn {
    link: Link,
    since: Tick,
    times: isize,
}

/// From the copies of an event what links it says, since when.
fn turns(said: &[(&Said, isize)], turn: &mut impl FnMut(Turn)) {
    // They order by arrival.
    let mut stands: Option<&Said> = None;
    for at_once in said.chunk_by(|(one, _), (other, _)| one.arrival == other.arrival) {
        let came = at_once.iter().map(|(said, _)| *said).min_by_key(|said| said.hash).expect("a chunk is not empty");
        if stands.is_some_and(|stands| stands.hash <= came.hash) {
            continue;
        }
        for (of, times) in [(stands, -1), (Some(came), 1)] {
            let links = of.into_iter().flat_map(|said| said.links).flatten();
            links.for_each(|link| turn(Turn { link, since: came.arrival, times }));
        }
        stands = Some(came);
    }
}

/// Whose person is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Asker {
    /// The install, open or conversion.
    pub target: TargetKey,
    /// Its app.
    pub app: Symbol,
    /// When it happened.
    pub event_time: EventTime,
}

impl Expires<Tick> for Asker {
    fn expiry(&self) -> Tick {
        self.target.expiry()
    }
}

/// Another id of the person of a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum OtherId {
    /// A device.
    Device(DeviceId),
    /// A user.
    User(UserId),
}

impl OtherId {
    fn of(node: Node) -> Option<OtherId> {
        match node.kind {
            IdKind::Device => Some(OtherId::Device(DeviceId(node.id.0))),
            IdKind::User => Some(OtherId::User(UserId(node.id.0))),
            // No touch and no install has one.
            _ => None,
        }
    }

    /// By what touches and installs of it are found in an app.
    pub fn key(self, app: Symbol) -> JoinKey {
        let key = match self {
            OtherId::Device(device) => JoinKey::device(app, device),
            OtherId::User(user) => JoinKey::user(app, user),
        };
        key.expect("a node is some id")
    }
}

/// The other ids of the person of each target.
pub type OtherIds<'scope> = VecCollection<'scope, Tick, (Asker, OtherId), isize>;

/// What persons follow from.
pub struct Sources<'scope> {
    /// The copies of `identify` events, and tombstones.
    pub said: VecCollection<'scope, Tick, (Contested, Said), isize>,
    /// Links of days that are final, which stood at every moment that is asked for.
    pub finals: VecCollection<'scope, Tick, Link, isize>,
}

/// Finds them.
pub fn other_ids<'scope>(
    targets: VecCollection<'scope, Tick, (TargetKey, Arc<TargetRow>), isize>,
    sources: Sources<'scope>,
    identity: &IdentityParams,
    bounds: Bounds,
) -> OtherIds<'scope> {
    let Bounds { moments, links_before, retention, .. } = bounds;
    let turns = reduce(sources.said, "links as they came", |_, said, output| {
        turns(said, &mut |turn| output.push((turn, 1)));
    });
    let is_ours = move |link: &Link| links_before.is_none_or(|before| link.day >= before);
    let turns = turns.filter(move |(_, turn)| is_ours(&turn.link));
    let recent = turns.inner.map(|((_, turn), time, diff)| ((turn.link.nodes(), turn.since), time, diff * turn.times));
    let links = sources.finals.map(|link| (link.nodes(), 0)).concat(recent.as_collection());
    let questions = targets.flat_map(move |(target, row)| question(target, &row, &moments));
    let limits = Limits {
        large_above: identity.large_above as usize,
        within: if retention.is_some() { ENTERS_WITHIN_MS } else { Tick::MAX },
    };
    let nodes = linked_at(links, questions, "persons of targets", limits, |node: &Node| node.tenant.0 as u64);
    nodes.flat_map(|(asker, node)| OtherId::of(node).map(|id| (asker, id)))
}

/// What is asked of a target that has a device or user.
fn question(target: TargetKey, row: &TargetRow, moments: &Moments) -> Option<(Asker, Question<Node>)> {
    let node = |id, kind| Node { tenant: row.tenant, id: schemas::LinkedId(id), kind };
    let user = row.user.some().map(|user| node(user.0, IdKind::User));
    let device = row.device.some().map(|device| node(device.0, IdKind::Device));
    let mut nodes = user.into_iter().chain(device);
    let (first, beside) = (nodes.next()?, nodes.next());
    let moment = moments.of(row.event_type, row.event_time, row.late);
    let asker = Asker { target, app: row.app, event_time: row.event_time };
    Some((asker, Question { node: first, beside, moment }))
}
