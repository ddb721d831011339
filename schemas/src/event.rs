//! An event as the dataflow sees it: one fixed-size row, names as symbols, people as keyed hashes.

use serde::{Deserialize, Serialize};

use crate::ids::{
    ClickId, DeviceId, EventId, EventKey, Fingerprint, IpHash, JoinKey, LoginId, PayloadHash, Subject, UserId,
};
use crate::network::Network;
use crate::symbols::Symbol;
use crate::units::{EventTime, Micros};

/// The kinds of event. The numbers are those of the Protobuf encoding.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum EventType {
    /// An advertisement was shown.
    #[default]
    Impression = 1,
    /// An advertisement was clicked.
    Click = 2,
    /// An app was installed and opened for the first time.
    Install = 3,
    /// An app was opened.
    Open = 4,
    /// A named in-app or site event that is no conversion.
    Event = 5,
    /// A named conversion, with or without revenue.
    Conversion = 6,
    /// Links user, device and login.
    Identify = 7,
    /// Media cost of an hour; the largest version counts.
    Cost = 8,
    /// Withdraws the event with the same tenant, subject, event id and event time.
    Tombstone = 9,
}

impl EventType {
    /// All kinds.
    pub const ALL: [EventType; 9] = [
        EventType::Impression,
        EventType::Click,
        EventType::Install,
        EventType::Open,
        EventType::Event,
        EventType::Conversion,
        EventType::Identify,
        EventType::Cost,
        EventType::Tombstone,
    ];

    /// The name in JSON, mappings and tables.
    pub fn name(self) -> &'static str {
        match self {
            EventType::Impression => "impression",
            EventType::Click => "click",
            EventType::Install => "install",
            EventType::Open => "open",
            EventType::Event => "event",
            EventType::Conversion => "conversion",
            EventType::Identify => "identify",
            EventType::Cost => "cost",
            EventType::Tombstone => "tombstone",
        }
    }

    /// The kind of a name.
    pub fn from_name(name: &str) -> Option<EventType> {
        EventType::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// The kind of a Protobuf number.
    pub fn from_number(number: i32) -> Option<EventType> {
        EventType::ALL.into_iter().find(|kind| *kind as i32 == number)
    }

    /// Whether this is a *touch*: an impression or a click.
    pub fn is_touch(self) -> bool {
        matches!(self, EventType::Impression | EventType::Click)
    }

    /// Whether this is something that a visitor does.
    pub fn is_of_visitors(self) -> bool {
        !matches!(self, EventType::Cost | EventType::Tombstone)
    }
}

/// The join keys by which a touch is no candidate, because its key was hot where it arrived: a set of bits.
///
/// Rows of release 0.1.0 have no bit [`Capped::USER`]: there a user who is shared by many devices is not bounded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Capped(pub u8);

impl Capped {
    /// Capped by its person, that is its device, else its user. It is no candidate by its user either.
    pub const PERSON: Capped = Capped(1);
    /// Capped by its click id.
    pub const CLICK: Capped = Capped(2);
    /// Capped by its fingerprint.
    pub const FINGERPRINT: Capped = Capped(4);
    /// Capped by its user where it has a device too; one without a device has [`Capped::PERSON`] for that.
    pub const USER: Capped = Capped(8);
    /// All of them.
    pub const ALL: Capped = Capped(15);

    /// Whether all bits of `other` are set here.
    pub fn has(self, other: Capped) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether a touch is a candidate by its user: whichever of the two bits bounds it, and bounds its device.
    pub fn leaves_user(self) -> bool {
        self.0 & (Capped::PERSON.0 | Capped::USER.0) == 0
    }
}

/// One decoded event. Absent ids and symbols are their `NONE`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Event {
    /// What happened.
    pub event_type: EventType,
    /// The account that the event belongs to. Never absent.
    pub tenant: Symbol,
    /// The app or site, within the tenant.
    pub app: Symbol,
    /// The producer's event id. Never absent.
    pub event_id: EventId,
    /// When it happened (for a tombstone: when its target happened).
    pub event_time: EventTime,
    /// User, else device, else click id, else absent.
    pub subject: Subject,
    /// The user, where known.
    pub user: UserId,
    /// The device, where known: no placeholder.
    pub device: DeviceId,
    /// The click id, its own or the referrer's, where known.
    pub click: ClickId,
    /// The login of an `identify`.
    pub login: LoginId,
    /// Address, system and model, where all are known.
    pub fingerprint: Fingerprint,
    /// Marketing campaign.
    pub campaign: Symbol,
    /// Ad group within the campaign.
    pub ad_group: Symbol,
    /// Creative shown.
    pub creative: Symbol,
    /// Publisher or traffic source.
    pub source: Symbol,
    /// Marketing channel (search, social, email, …).
    pub channel: Symbol,
    /// Placement within the source.
    pub placement: Symbol,
    /// The address, hashed.
    pub ip: IpHash,
    /// The /24 (IPv4) or /48 (IPv6) of the address.
    pub ip_net: Network,
    /// Operating system, lower case.
    pub os: Symbol,
    /// Operating system version as sent.
    pub os_version: Symbol,
    /// Device model.
    pub device_model: Symbol,
    /// Language tag.
    pub language: Symbol,
    /// Country code.
    pub country: Symbol,
    /// Name of an event or conversion.
    pub name: Symbol,
    /// Item of an event or conversion.
    pub item: Symbol,
    /// Number of items.
    pub quantity: Option<i64>,
    /// Revenue of a conversion; negative for a refund.
    pub revenue: Option<Micros>,
    /// Media cost.
    pub cost: Option<Micros>,
    /// Currency of the amounts.
    pub currency: Symbol,
    /// Version of a cost row.
    pub version: Option<i64>,
    /// When the installation began, where the store tells.
    pub install_begin_time: Option<EventTime>,
}

/// An event that the gate accepted, with what the ledger knows of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Accepted {
    /// The decoded event.
    pub event: Event,
    /// When it arrived, milliseconds since 1970.
    pub arrival_ms: i64,
    /// The hash of its bytes; among copies that differ the smallest stands.
    pub payload_hash: PayloadHash,
    /// The join keys by which it is no candidate.
    pub capped: Capped,
}

impl Event {
    /// Whom an event with these ids is about.
    pub fn subject_of(user: UserId, device: DeviceId, click: ClickId) -> Subject {
        let id = user.some().map(|user| user.0).or(device.some().map(|device| device.0));
        Subject(id.unwrap_or(click.0))
    }

    /// The identity that all copies share.
    pub fn key(&self) -> EventKey {
        EventKey::of(self.tenant, self.subject, self.event_id, self.event_time)
    }

    /// The key of the event's person in its app.
    pub fn person_key(&self) -> Option<JoinKey> {
        JoinKey::person(self.app, self.device, self.user)
    }

    /// The key of the event's device in its app.
    pub fn device_key(&self) -> Option<JoinKey> {
        JoinKey::device(self.app, self.device)
    }

    /// The key of the event's user in its app.
    pub fn user_key(&self) -> Option<JoinKey> {
        JoinKey::user(self.app, self.user)
    }

    /// The key of the event's click id in its app.
    pub fn click_key(&self) -> Option<JoinKey> {
        JoinKey::click(self.app, self.click)
    }

    /// The key of the event's fingerprint in its app.
    pub fn fingerprint_key(&self) -> Option<JoinKey> {
        JoinKey::fingerprint(self.app, self.fingerprint)
    }
}
