//! The row of a touch in memory: all that paths and credits need of it, in 128 bytes.

use operators::Expires;
use schemas::event::Accepted;
use schemas::view::{Method, PathTouch};
use schemas::{Capped, EventId, EventTime, EventType, JoinKey, PayloadHash, Subject, Symbol, Tick, UserId};
use serde::{Deserialize, Serialize};

use crate::attribution::identity::Identity;
use crate::horizon::{Horizons, Until};

/// What confirms a join key that half of it found: a word that differs wherever either half does alone, or 0 for an
/// absent key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct KeyCheck(u64);

impl KeyCheck {
    /// Of an absent key.
    pub const NONE: KeyCheck = KeyCheck(0);

    /// The rest of a join key.
    pub fn of(key: JoinKey) -> KeyCheck {
        if key.is_none() {
            return KeyCheck::NONE;
        }
        KeyCheck((key.0.rest() ^ key.0.route().wrapping_mul(0x9e37_79b9_7f4a_7c15)).max(1))
    }

    /// Whether the key is absent.
    pub fn is_none(self) -> bool {
        self == KeyCheck::NONE
    }
}

/// One copy of an impression or click. Ordered by payload hash first: the least copy stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct TouchRow {
    /// Hash of its bytes; copies with the same hash are equal in all but `capped`.
    pub payload_hash: PayloadHash,
    /// When it happened.
    pub event_time: EventTime,
    /// Its event id.
    pub event_id: EventId,
    /// Its subject.
    pub subject: Subject,
    /// Its person in its app: its device, else its user.
    pub person: KeyCheck,
    /// Its click id in its app.
    pub click: KeyCheck,
    /// Its fingerprint in its app.
    pub fingerprint: KeyCheck,
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
    /// What fits into bits.
    pub traits: Traits,
    /// Until when it can be found.
    pub until: Until,
}

/// What a touch is and has, in four bytes. The type stays an enum: the values that it leaves free tell the variants of
/// [`crate::attribution::paths::Match`] apart, which is then no larger than a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Traits {
    event_type: EventType,
    /// Whether it has a device and a user, and above that the bits of [`Capped`].
    bits: u8,
    /// Some bits of a hash of its app.
    app: u16,
}

impl Traits {
    const DEVICE: u8 = 1;
    const USER: u8 = 2;
    const CAPPED: u32 = 2;

    fn of(record: &Accepted) -> Traits {
        let event = &record.event;
        let bit = |is: bool, bit| if is { bit } else { 0 };
        let has = bit(!event.device.is_none(), Self::DEVICE) | bit(!event.user.is_none(), Self::USER);
        let capped = (record.capped.0 & Capped::ALL.0) << Self::CAPPED;
        Traits { event_type: event.event_type, bits: has | capped, app: Self::app(event.app) }
    }

    fn app(app: Symbol) -> u16 {
        ((app.0 as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 48) as u16
    }

    /// Impression or click.
    pub fn event_type(self) -> EventType {
        self.event_type
    }

    /// Whether it has a device.
    pub fn has_device(self) -> bool {
        self.bits & Self::DEVICE > 0
    }

    /// Whether it has a user.
    pub fn has_user(self) -> bool {
        self.bits & Self::USER > 0
    }

    /// The join keys by which this copy is no candidate.
    pub fn capped(self) -> Capped {
        Capped(self.bits >> Self::CAPPED & Capped::ALL.0)
    }

    /// The same, capped by what both are.
    pub fn capped_in_both(self, other: Traits) -> Traits {
        let either = !(Capped::ALL.0 << Self::CAPPED);
        Traits { bits: self.bits & (other.bits | either), ..self }
    }
}

const _: () = assert!(Capped::ALL.0 < 1 << (u8::BITS - Traits::CAPPED));

impl Expires<Tick> for TouchRow {
    fn expiry(&self) -> Tick {
        self.until.expiry()
    }
}

impl TouchRow {
    /// The row of an accepted impression or click.
    pub fn of(record: &Accepted, horizons: &Horizons) -> TouchRow {
        let event = &record.event;
        TouchRow {
            payload_hash: record.payload_hash,
            event_time: event.event_time,
            event_id: event.event_id,
            subject: event.subject,
            person: event.person_key().map_or(KeyCheck::NONE, KeyCheck::of),
            click: event.click_key().map_or(KeyCheck::NONE, KeyCheck::of),
            fingerprint: event.fingerprint_key().map_or(KeyCheck::NONE, KeyCheck::of),
            channel: event.channel,
            campaign: event.campaign,
            ad_group: event.ad_group,
            creative: event.creative,
            source: event.source,
            traits: Traits::of(record),
            until: horizons.touch(event.event_time),
        }
    }

    /// This touch as a path keeps it.
    pub fn on_path(&self, method: Method) -> PathTouch {
        PathTouch {
            event_time: self.event_time,
            event_id: self.event_id,
            subject: self.subject,
            event_type: self.traits.event_type(),
            method,
            channel: self.channel,
            campaign: self.campaign,
            ad_group: self.ad_group,
            creative: self.creative,
            source: self.source,
        }
    }

    /// What tells it from all other events.
    pub fn identity(&self) -> Identity {
        (self.event_time, self.event_id, self.subject)
    }

    /// Whether it is of this user in this app. The user of an event with one is its subject. Where the touch has a device,
    /// `person` cannot confirm the app, so 16 bits of it do: that another app's touch of the user is taken for one of this
    /// takes copies of one event that name two apps, and these bits equal by chance.
    pub fn is_of_user(&self, app: Symbol, user: UserId) -> bool {
        if !self.traits.has_user() || user.is_none() {
            return false;
        }
        if !self.traits.has_device() {
            return Some(self.person) == JoinKey::user(app, user).map(KeyCheck::of);
        }
        self.subject.0 == user.0 && self.traits.app == Traits::app(app)
    }
}

#[cfg(test)]
mod tests {
    use schemas::ids::Id;
    use schemas::units::DAY_MS;
    use schemas::{DeviceId, Event};

    use super::*;
    use crate::params::InstallsParams;

    fn row(event_type: EventType, app: &str, device: u8, user: u8, capped: u8) -> TouchRow {
        let id = |number: u8| if number == 0 { Id::NONE } else { Id::from_bytes([number; 16]) };
        let (device, user) = (DeviceId(id(device)), UserId(id(user)));
        let subject = Event::subject_of(user, device, schemas::ClickId::NONE);
        let event = Event { event_type, app: Symbol::of(app), device, user, subject, ..Event::default() };
        let record = Accepted { event, capped: Capped(capped), ..Accepted::default() };
        TouchRow::of(&record, &Horizons::of(&InstallsParams::default(), Some(DAY_MS.into())))
    }

    #[test]
    fn traits_are_kept_apart() {
        for event_type in [EventType::Impression, EventType::Click] {
            for (device, user) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
                for capped in 0..=Capped::ALL.0 {
                    let traits = row(event_type, "app", device, user, capped).traits;
                    assert_eq!(traits.event_type(), event_type);
                    assert_eq!((traits.has_device(), traits.has_user()), (device > 0, user > 0));
                    assert_eq!(traits.capped(), Capped(capped));
                    let other = row(event_type, "app", device, user, 5).traits;
                    let both = row(event_type, "app", device, user, capped & 5).traits;
                    assert_eq!(traits.capped_in_both(other), both);
                }
            }
        }
    }

    #[test]
    fn a_touch_is_of_its_user_in_its_app() {
        let user = |number: u8| UserId(Id::from_bytes([number; 16]));
        for device in [0, 7] {
            let row = row(EventType::Click, "app", device, 1, 15);
            assert!(row.is_of_user(Symbol::of("app"), user(1)));
            assert!(!row.is_of_user(Symbol::of("app"), user(2)));
            assert!(!row.is_of_user(Symbol::of("app"), UserId::NONE));
            assert!(!row.is_of_user(Symbol::of("web"), user(1)) && !row.is_of_user(Symbol::NONE, user(1)));
        }
        let nameless = row(EventType::Click, "app", 1, 0, 0);
        assert!(!nameless.is_of_user(Symbol::of("app"), user(1)), "a device is no user, though its bytes be the same");
    }
}
