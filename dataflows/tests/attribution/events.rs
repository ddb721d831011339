//! Short ways to write events down.

use schemas::event::Accepted;
use schemas::units::{DAY_MS, HOUR_MS};
use schemas::{
    Capped, ClickId, DeviceId, Event, EventId, EventTime, EventType, Fingerprint, Id, LoginId, Micros, PayloadHash,
    Symbol, UserId,
};

pub(crate) const HOUR: i64 = HOUR_MS;
pub(crate) const DAY: i64 = DAY_MS;

/// Event times count from here: no whole day or hour, so that nothing rests on round numbers.
pub(crate) const EPOCH_MS: i64 = 1_700_000_123_456;

/// An event of a case, in small numbers; 0 is absent.
#[derive(Clone, Debug)]
pub(crate) struct Ev {
    pub(crate) kind: EventType,
    pub(crate) at: i64,
    pub(crate) id: u32,
    pub(crate) user: u32,
    pub(crate) device: u32,
    pub(crate) click: u32,
    pub(crate) print: u32,
    pub(crate) login: u32,
    pub(crate) app: &'static str,
    pub(crate) channel: &'static str,
    pub(crate) campaign: &'static str,
    pub(crate) country: &'static str,
    pub(crate) name: &'static str,
    pub(crate) revenue: Option<i64>,
    /// Amount and version of a cost.
    pub(crate) cost: Option<(i64, Option<i64>)>,
    pub(crate) capped: u8,
    /// Tells copies apart that differ in nothing else.
    pub(crate) copy: u32,
    /// When it arrived: as event times; not part of what it says. Long before all else where nothing is said.
    pub(crate) arrives: i64,
}

pub(crate) fn event(kind: EventType, at: i64) -> Ev {
    let id = 1_000_000 + kind as u32;
    Ev {
        kind,
        at,
        id,
        user: 0,
        device: 0,
        click: 0,
        print: 0,
        login: 0,
        app: "app",
        channel: "",
        campaign: "",
        country: "",
        name: "",
        revenue: None,
        cost: None,
        capped: 0,
        copy: 0,
        arrives: -EPOCH_MS,
    }
}

pub(crate) fn view(at: i64) -> Ev {
    event(EventType::Impression, at)
}

pub(crate) fn click(at: i64) -> Ev {
    event(EventType::Click, at)
}

pub(crate) fn install(at: i64) -> Ev {
    event(EventType::Install, at)
}

pub(crate) fn conversion(at: i64) -> Ev {
    event(EventType::Conversion, at)
}

macro_rules! setters {
    ($($name:ident: $type:ty),*) => {
        $(pub(crate) fn $name(self, $name: $type) -> Ev {
            Ev { $name, ..self }
        })*
    };
}

impl Ev {
    setters! { id: u32, user: u32, device: u32, click: u32, print: u32, app: &'static str, channel: &'static str,
    name: &'static str, capped: u8, copy: u32, login: u32, arrives: i64 }

    pub(crate) fn revenue(self, micros: i64) -> Ev {
        Ev { revenue: Some(micros), ..self }
    }

    /// The tombstone of this event.
    pub(crate) fn withdrawn(&self) -> Ev {
        Ev { kind: EventType::Tombstone, capped: 0, ..self.clone() }
    }

    /// The accepted record, with ids that meet no other tenant's and order like their numbers.
    pub(crate) fn accepted(&self, tenant: u32) -> Accepted {
        let id = |kind: u8, number: u32| {
            if number == 0 {
                return Id::NONE;
            }
            let mut bytes = [0; 16];
            // The first digits of a visitor say when its days are sealed.
            bytes[..2].copy_from_slice(&(tenant as u16).wrapping_mul(40_503).to_be_bytes());
            bytes[2..4].copy_from_slice(&(tenant as u16).to_be_bytes());
            bytes[4] = kind;
            bytes[12..].copy_from_slice(&number.to_be_bytes());
            Id::from_bytes(bytes)
        };
        let (user, device) = (UserId(id(1, self.user)), DeviceId(id(2, self.device)));
        let click = ClickId(id(3, self.click));
        let event = Event {
            event_type: self.kind,
            tenant: Symbol(i64::from(tenant)),
            app: Symbol::of(self.app),
            event_id: EventId(id(4, self.id)),
            event_time: EventTime(EPOCH_MS + self.at),
            subject: Event::subject_of(user, device, click),
            user,
            device,
            click,
            fingerprint: Fingerprint(id(5, self.print)),
            login: LoginId(id(6, self.login)),
            channel: Symbol::of(self.channel),
            campaign: Symbol::of(self.campaign),
            country: Symbol::of(self.country),
            name: Symbol::of(self.name),
            revenue: self.revenue.map(Micros),
            cost: self.cost.map(|(micros, _)| Micros(micros)),
            version: self.cost.and_then(|(_, version)| version),
            currency: if self.revenue.is_some() || self.cost.is_some() { Symbol::of("EUR") } else { Symbol::NONE },
            ..Event::default()
        };
        // Equal hashes mean equal contents, so all but `capped` and the arrival goes into it.
        let content = format!("{:?}", Ev { capped: 0, arrives: 0, ..self.clone() });
        let mut bytes: [u8; 16] = blake3::hash(content.as_bytes()).as_bytes()[..16].try_into().expect("16 bytes");
        bytes[0] = self.copy as u8 + 1;
        Accepted {
            event,
            arrival_ms: EPOCH_MS + self.arrives,
            payload_hash: PayloadHash(Id::from_bytes(bytes)),
            capped: Capped(self.capped),
        }
    }
}
