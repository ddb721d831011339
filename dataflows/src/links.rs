//! Links between the ids of a person, as `identify` events say them.
//!
//! An event links its user, else its device, with each other id that it has of device and login: two links at most, and what they
//! connect is what all pairs of these ids would. A click id tells of a click and links nobody.

use schemas::{EventTime, EventType, IdKind, LinkedId, Symbol, Zones};
use serde::{Deserialize, Serialize};

use crate::event_row::EventRow;

/// That two ids belong to one person, as events of a day say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Link {
    /// Account.
    pub tenant: Symbol,
    /// The user, else the device.
    pub id: LinkedId,
    /// What that is.
    pub id_kind: IdKind,
    /// The device or login that it is linked with.
    pub other_id: LinkedId,
    /// What that is.
    pub other_kind: IdKind,
    /// When the day of the tenant's time zone began.
    pub day: EventTime,
}

/// An id within its tenant. Those of a tenant order as their hashes do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Node {
    /// Account.
    pub tenant: Symbol,
    /// The id.
    pub id: LinkedId,
    /// What it is.
    pub kind: IdKind,
}

impl Link {
    /// What it links.
    pub fn nodes(&self) -> (Node, Node) {
        let Link { tenant, id, id_kind, other_id, other_kind, .. } = *self;
        (Node { tenant, id, kind: id_kind }, Node { tenant, id: other_id, kind: other_kind })
    }

    /// The links that an event says.
    pub fn of(event: &EventRow, zones: &Zones) -> impl Iterator<Item = Link> + use<> {
        let visitor = event.visitor().filter(|_| event.event_type == EventType::Identify);
        let links = visitor.map(|visitor| {
            // The hash of a user is never that of a device.
            let id_kind = if visitor.0 == event.device.0 { IdKind::Device } else { IdKind::User };
            let day = zones.day(event.tenant, event.event_time).begins;
            let link = move |other_kind, other_id| Link {
                tenant: event.tenant,
                id: LinkedId(visitor.0),
                id_kind,
                other_id: LinkedId(other_id),
                other_kind,
                day,
            };
            let device = event.device.some().filter(|_| id_kind == IdKind::User);
            let device = device.map(|device| link(IdKind::Device, device.0));
            let login = event.of_type.login().map(|login| link(IdKind::Login, login.0));
            device.into_iter().chain(login)
        });
        links.into_iter().flatten()
    }
}
