//! What the rows of several views are made of: methods, touches of a path, models of credit.

use serde::{Deserialize, Serialize};

use crate::event::EventType;
use crate::ids::{EventId, Subject};
use crate::symbols::Symbol;
use crate::units::EventTime;

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

    /// The name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Method::Person => "person",
            Method::ClickId => "click_id",
            Method::Fingerprint => "fingerprint",
            Method::Organic => "organic",
        }
    }

    /// The method of a name.
    pub fn from_name(name: &str) -> Option<Method> {
        Method::ALL.into_iter().find(|method| method.name() == name)
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

crate::columns! {
    PathTouch, |touch| {
        event_time: EventTime = touch.event_time,
        event_id: EventId = touch.event_id,
        subject: Subject = touch.subject,
        r#type: EventType = touch.event_type,
        method: Method = touch.method,
        channel: Option<Symbol> = touch.channel.some(),
        campaign: Option<Symbol> = touch.campaign.some(),
        ad_group: Option<Symbol> = touch.ad_group.some(),
        creative: Option<Symbol> = touch.creative.some(),
        source: Option<Symbol> = touch.source.some(),
    }
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
