//! What a visitor did, as the views of visitors need it of an event.

use schemas::{EventId, EventTime, EventType, Micros, Subject, Symbol};
use serde::{Deserialize, Serialize};

use crate::cohort::Milestone;
use crate::event_row::EventRow;

/// What comes to the record of a visitor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum VisitorInput {
    /// An event, or that it goes.
    Event(VisitorEvent),
    /// An install that is no reinstall, with the touch that won it, or that it goes.
    Installed(First),
    /// At a start: a row of `frequency`.
    Counted(DayCount),
    /// At a start: a row of `activity`.
    Active(ActiveDay),
    /// At a start: a row of `activity` of a device; it comes to the record of that.
    OfDevice(ActiveDay),
    /// At a start: a row of `firsts`.
    First(First),
}

impl VisitorInput {
    /// The day, of a row of `activity`.
    pub fn day(&self) -> Option<&ActiveDay> {
        match self {
            VisitorInput::Active(day) | VisitorInput::OfDevice(day) => Some(day),
            _ => None,
        }
    }
}

/// A day on which a visitor or a device was there, that is sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ActiveDay {
    /// Account.
    pub tenant: Symbol,
    /// App.
    pub app: Symbol,
    /// When the day began.
    pub day: EventTime,
}

/// Something that a visitor did first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct First {
    /// Account.
    pub tenant: Symbol,
    /// App.
    pub app: Symbol,
    /// What.
    pub milestone: Milestone,
    /// When.
    pub time: EventTime,
    /// The id of the event.
    pub id: EventId,
    /// What led to it.
    pub led: Led,
}

/// What led to something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Led {
    /// Campaign.
    pub campaign: Symbol,
    /// Publisher or traffic source.
    pub source: Symbol,
    /// Marketing channel.
    pub channel: Symbol,
    /// Country.
    pub country: Symbol,
}

/// Something that comes to the record of a visitor, or goes.
pub type OfVisitor = (Subject, VisitorInput, isize);

/// How often a visitor saw or clicked a campaign or channel on a day that is sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct DayCount {
    /// Account.
    pub tenant: Symbol,
    /// The campaign; none where it is counted by channel.
    pub campaign: Symbol,
    /// The channel; none where it is counted by campaign.
    pub channel: Symbol,
    /// An impression or a click.
    pub kind: EventType,
    /// When the day began.
    pub day: EventTime,
    /// How often, or what is added to that.
    pub events: i64,
}

/// An event of a visitor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct VisitorEvent {
    /// When.
    pub time: EventTime,
    /// Its id.
    pub id: EventId,
    /// Account.
    pub tenant: Symbol,
    /// App.
    pub app: Symbol,
    /// What.
    pub event_type: EventType,
    /// Campaign.
    pub campaign: Symbol,
    /// Publisher or traffic source.
    pub source: Symbol,
    /// Marketing channel.
    pub channel: Symbol,
    /// Country.
    pub country: Symbol,
    /// Currency of the revenue.
    pub currency: Symbol,
    /// Revenue of a conversion.
    pub revenue: Option<Micros>,
    /// Of which steps of the job's funnels it is one: a bit each.
    pub steps: u64,
}

impl VisitorEvent {
    /// Of an event that has a visitor, and is one of these steps.
    pub fn of(event: &EventRow, steps: u64) -> VisitorEvent {
        let EventRow { tenant, app, event_time, event_id, event_type, campaign, source, channel, country, .. } = *event;
        let converts = event_type == EventType::Conversion;
        VisitorEvent {
            time: event_time,
            id: event_id,
            tenant,
            app,
            event_type,
            campaign,
            source,
            channel,
            country,
            currency: if converts { event.currency } else { Symbol::NONE },
            revenue: event.amount.filter(|_| converts),
            steps,
        }
    }
}
