//! What is kept of an event: its row, and the parts of it that lie apart.

use operators::Expires;
use schemas::event::Accepted;
use schemas::{
    DeviceId, EventId, EventTime, EventType, JoinKey, LoginId, Micros, PayloadHash, Subject, Symbol, Tick, UserId,
};
use serde::{Deserialize, Serialize};

use crate::attribution::identity::Identity;
use crate::attribution::touch_row::TouchRow;
use crate::horizon::{Horizons, Until};
use crate::moments::Moments;

/// What views read of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct EventRow {
    /// Hash of its bytes; the least copy stands.
    pub payload_hash: PayloadHash,
    /// What happened.
    pub event_type: EventType,
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
    /// Whether its subject is a user or a device.
    pub has_visitor: bool,
    /// Its device; none of a touch.
    pub device: DeviceId,
    /// Campaign.
    pub campaign: Symbol,
    /// Ad group.
    pub ad_group: Symbol,
    /// Creative.
    pub creative: Symbol,
    /// Publisher or traffic source.
    pub source: Symbol,
    /// Marketing channel.
    pub channel: Symbol,
    /// Country.
    pub country: Symbol,
    /// Name of an event or conversion; none of a touch.
    pub name: Symbol,
    /// Currency of the amount; none of a touch.
    pub currency: Symbol,
    /// The media cost of a cost, the revenue of all else; none of a touch.
    pub amount: Option<Micros>,
    /// What events of its type alone have.
    pub of_type: OfType,
}

/// What events of one type alone have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum OfType {
    /// Nothing, or nothing that is known.
    Nothing,
    /// The version of a cost.
    Version(i64),
    /// The login of an `identify`.
    Login(LoginId),
    /// By what touches are found that led to an `open`, beside its device and user.
    Open {
        /// Its click id in its app, or none.
        click: JoinKey,
        /// Its fingerprint in its app, or none.
        fingerprint: JoinKey,
        /// Whether it came later than a gate lets pass: see [`crate::moments`].
        late: bool,
    },
}

impl OfType {
    fn of(record: &Accepted, moments: &Moments) -> OfType {
        let event = &record.event;
        match event.event_type {
            EventType::Cost => event.version.map_or(OfType::Nothing, OfType::Version),
            EventType::Identify => event.login.some().map_or(OfType::Nothing, OfType::Login),
            EventType::Open => OfType::Open {
                click: event.click_key().unwrap_or(JoinKey::NONE),
                fingerprint: event.fingerprint_key().unwrap_or(JoinKey::NONE),
                late: moments.is_late(event.event_type, event.event_time, record.arrival_ms),
            },
            _ => OfType::Nothing,
        }
    }

    /// The version of a cost.
    pub fn version(self) -> Option<i64> {
        if let OfType::Version(version) = self { Some(version) } else { None }
    }

    /// The login of an `identify`.
    pub fn login(self) -> Option<LoginId> {
        if let OfType::Login(login) = self { Some(login) } else { None }
    }
}

impl EventRow {
    /// The row of an accepted record.
    pub fn of(record: &Accepted, moments: &Moments) -> EventRow {
        let event = &record.event;
        let is_touch = event.event_type.is_touch();
        EventRow {
            payload_hash: record.payload_hash,
            event_type: event.event_type,
            tenant: event.tenant,
            app: event.app,
            event_time: event.event_time,
            event_id: event.event_id,
            subject: event.subject,
            has_visitor: !event.user.is_none() || !event.device.is_none(),
            device: if is_touch { DeviceId::NONE } else { event.device },
            campaign: event.campaign,
            ad_group: event.ad_group,
            creative: event.creative,
            source: event.source,
            channel: event.channel,
            country: event.country,
            name: if is_touch { Symbol::NONE } else { event.name },
            currency: if is_touch { Symbol::NONE } else { event.currency },
            amount: if event.event_type == EventType::Cost { event.cost } else { event.revenue }.filter(|_| !is_touch),
            of_type: OfType::of(record, moments),
        }
    }

    /// The row of a touch.
    pub(crate) fn of_touch(touch: &TouchRow, rest: &TouchRest) -> EventRow {
        EventRow {
            payload_hash: touch.payload_hash,
            event_type: touch.traits.event_type(),
            tenant: rest.tenant,
            app: rest.app,
            event_time: touch.event_time,
            event_id: touch.event_id,
            subject: touch.subject,
            has_visitor: touch.traits.has_user() || touch.traits.has_device(),
            device: DeviceId::NONE,
            campaign: touch.campaign,
            ad_group: touch.ad_group,
            creative: touch.creative,
            source: touch.source,
            channel: touch.channel,
            country: rest.country,
            name: Symbol::NONE,
            currency: Symbol::NONE,
            amount: None,
            of_type: OfType::Nothing,
        }
    }

    /// Its user, else its device, where known.
    pub fn visitor(&self) -> Option<Subject> {
        self.has_visitor.then_some(self.subject)
    }

    /// Its user, where known, of one that is no touch.
    pub fn user(&self) -> UserId {
        // Ids of another kind have other bits: where the subject is not the device it is the user.
        if self.has_visitor && self.subject.0 != self.device.0 { UserId(self.subject.0) } else { UserId::NONE }
    }

    /// What all copies of it share.
    pub fn identity(&self) -> Identity {
        (self.event_time, self.event_id, self.subject)
    }
}

/// What [`EventRow`] has of a touch and [`TouchRow`] has not.
#[derive(Clone, Copy, Debug)]
pub struct TouchRest {
    tenant: Symbol,
    app: Symbol,
    country: Symbol,
    until: Until,
}

impl TouchRest {
    /// Of a touch.
    pub fn of(event: &EventRow, horizons: &Horizons) -> TouchRest {
        let EventRow { tenant, app, country, .. } = *event;
        TouchRest { tenant, app, country, until: horizons.target(event.event_time) }
    }
}

impl Expires<Tick> for TouchRest {
    fn expiry(&self) -> Tick {
        self.until.expiry()
    }
}

/// An event that is no touch, or a tombstone.
#[derive(Clone, Copy, Debug)]
pub struct OtherEvent {
    /// Its row.
    pub row: EventRow,
    /// Whether it is a copy of costs, or withdraws one.
    pub of_costs: bool,
    until: Until,
}

impl OtherEvent {
    /// Of any event but a touch.
    pub fn of(row: &EventRow, of_costs: bool, horizons: &Horizons) -> OtherEvent {
        OtherEvent { row: *row, of_costs, until: until(row.event_time, of_costs, horizons) }
    }
}

impl Expires<Tick> for OtherEvent {
    fn expiry(&self) -> Tick {
        self.until.expiry()
    }
}

/// Until when a copy of an event can come.
pub(crate) fn until(event_time: EventTime, of_costs: bool, horizons: &Horizons) -> Until {
    if of_costs { horizons.cost(event_time) } else { horizons.target(event_time) }
}
