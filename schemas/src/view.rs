//! The rows of the attribution views, as the dataflow makes them and the tables store them.

use serde::{Deserialize, Serialize};

use crate::event::EventType;
use crate::ids::{DeviceId, EventId, EventKey, Subject, UserId};
use crate::symbols::Symbol;
use crate::units::{EventTime, Micros};

/// How a touch was matched. The order is the order of trust; tables hold the [`Method::name`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[repr(u8)]
pub enum Method {
    /// The same device or the same user.
    Person = 1,
    /// The same click id.
    ClickId = 2,
    /// The same address, system and model: probabilistic.
    Fingerprint = 3,
    /// No touch.
    Organic = 4,
}

impl Method {
    /// All methods.
    pub const ALL: [Method; 4] = [Method::Person, Method::ClickId, Method::Fingerprint, Method::Organic];

    /// The method of a name.
    pub fn from_name(name: &str) -> Option<Method> {
        Method::ALL.into_iter().find(|method| method.name() == name)
    }

    /// The name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Method::Person => "person",
            Method::ClickId => "click_id",
            Method::Fingerprint => "fingerprint",
            Method::Organic => "organic",
        }
    }
}

/// A touch on a path, with the best method that reached it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PathTouch {
    /// When the touch happened.
    pub event_time: EventTime,
    /// Its event id.
    pub event_id: EventId,
    /// Its subject.
    pub subject: Subject,
    /// Impression or click.
    pub event_type: EventType,
    /// How it was matched.
    pub method: Method,
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
}

/// One row of `installs`: unique by (tenant, subject, event id, event time) of the install.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct InstallRow {
    /// Account.
    pub tenant: Symbol,
    /// App.
    pub app: Symbol,
    /// The install's event id.
    pub event_id: EventId,
    /// The install's subject.
    pub subject: Subject,
    /// When it was installed.
    pub event_time: EventTime,
    /// The install's user.
    pub user: UserId,
    /// The install's device.
    pub device: DeviceId,
    /// Whether the same device or user had the app within the attribution lifetime before.
    pub reinstall: bool,
    /// How the winner was matched.
    pub method: Method,
    /// 1 / confidence: the number of distinct candidates of a fingerprint match, else 1.
    pub candidates: i64,
    /// The winning touch; none for an organic install.
    pub touch: Option<PathTouch>,
    /// Click-to-install time: install − winner, ms; none for an organic install.
    pub ctit_ms: Option<i64>,
    /// The path that this install freezes, oldest first, at most [`PATH_TOUCHES_MAX`]; empty for a reinstall.
    pub path: Vec<PathTouch>,
    /// Number of eligible touches that the path leaves out, all after its first.
    pub path_dropped: i64,
}

/// The most touches that a path keeps: its first, and the latest.
pub const PATH_TOUCHES_MAX: usize = 128;

/// The models of credit, all computed at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[repr(u8)]
pub enum Model {
    /// All to the first touch.
    First = 1,
    /// All to the last touch.
    Last = 2,
    /// All to the last touch whose channel is not direct; else to the last.
    LastNonDirect = 3,
    /// The same to each.
    Linear = 4,
    /// Halved with each half-life before the install or conversion.
    TimeDecay = 5,
    /// 40 % to the first and last each, the rest between (U-shaped).
    Position = 6,
}

impl Model {
    /// All models.
    pub const ALL: [Model; 6] =
        [Model::First, Model::Last, Model::LastNonDirect, Model::Linear, Model::TimeDecay, Model::Position];

    /// The model of a name.
    pub fn from_name(name: &str) -> Option<Model> {
        Model::ALL.into_iter().find(|model| model.name() == name)
    }

    /// The name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Model::First => "first",
            Model::Last => "last",
            Model::LastNonDirect => "last_non_direct",
            Model::Linear => "linear",
            Model::TimeDecay => "time_decay",
            Model::Position => "position",
        }
    }
}

/// One row of `credits`: what one touch earned of one conversion under one model.
/// Unique by (conversion, model, touch).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct CreditRow {
    /// Account.
    pub tenant: Symbol,
    /// App.
    pub app: Symbol,
    /// The conversion's event id.
    pub event_id: EventId,
    /// The conversion's subject.
    pub subject: Subject,
    /// When it converted.
    pub event_time: EventTime,
    /// The conversion's name.
    pub name: Symbol,
    /// The model of credit.
    pub model: Model,
    /// The touch; none where nothing led to the conversion (its channel then prints as `(none)`).
    pub touch: Option<PathTouch>,
    /// The install whose frozen path this follows; none where the conversion has a path of its own.
    pub install: Option<InstallRef>,
    /// Share of the conversion in millionths; sums to 1,000,000 per conversion and model.
    pub credit_ppm: i64,
    /// Share of the revenue; sums to the revenue. None where the conversion has none.
    pub revenue: Option<Micros>,
    /// Currency of the revenue.
    pub currency: Symbol,
    /// Number of eligible touches that the path leaves out, all after its first.
    pub path_dropped: i64,
}

/// Names an install: its tenant is the row's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct InstallRef {
    /// When it was installed.
    pub event_time: EventTime,
    /// Its event id.
    pub event_id: EventId,
    /// Its subject.
    pub subject: Subject,
}

impl InstallRow {
    /// The identity of the install.
    pub fn key(&self) -> EventKey {
        EventKey::of(self.tenant, self.subject, self.event_id, self.event_time)
    }
}

impl CreditRow {
    /// The identity of the conversion.
    pub fn key(&self) -> EventKey {
        EventKey::of(self.tenant, self.subject, self.event_id, self.event_time)
    }
}
