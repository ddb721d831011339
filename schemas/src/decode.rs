//! From a record's bytes to an [`Event`], or the reason why it is a dead letter.
//!
//! A function of the record and the hasher's key alone, with one exception: a name whose symbol stands for another
//! name already is refused ([`Symbols`] decides who came first). A record is checked whole before any of its names is
//! interned, so that dead ones leave no symbols behind. What needs the arrival (lateness, future dates) is the gate's.

mod names;
#[cfg(test)]
mod tests;

use std::net::IpAddr;
use std::sync::Arc;

use prost::Message;
use serde::Deserialize;

use self::names::Names;
use crate::event::{Event, EventType};
use crate::fault::Extras;
use crate::ids::{IdHasher, IpHash};
use crate::raw_ids::write_ip_net;
use crate::symbols::{Clash, Symbols};
use crate::units::{AMOUNT_MICROS_MAX, EventTime, Micros, TIME_MS_MAX};
use crate::user_agent::Agents;
use crate::wire::{self, Encoding, UNKNOWN_TYPE};

/// The largest record that is read: 1 MiB, as brokers take by default.
pub const RECORD_BYTES_MAX: usize = 1 << 20;
/// The longest name that becomes a symbol. All names are kept in memory.
pub const NAME_BYTES_MAX: usize = 1024;
/// As much of a text of the record as a reason quotes.
const QUOTED_BYTES_MAX: usize = 200;

/// Why a record is a dead letter.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// Longer than [`RECORD_BYTES_MAX`].
    #[error("record of {0} bytes is larger than {RECORD_BYTES_MAX}")]
    TooLarge(usize),
    /// JSON that is no UTF-8.
    #[error("invalid UTF-8 at byte {0}")]
    Utf8(usize),
    /// No JSON object, or a value of another type than its field; with the position.
    #[error("malformed JSON: {0}")]
    Json(String),
    /// No `bidstream.v1.Event`; with the field where it broke off.
    #[error("malformed Protobuf: {0}")]
    Protobuf(String),
    /// The event's type is none that exists.
    #[error("unknown event type {0}")]
    UnknownType(String),
    /// A field that an event of its type needs is absent.
    #[error("missing {0}")]
    Missing(&'static str),
    /// An `identify` with fewer than two ids links nothing.
    #[error("identify needs two of user, device and login")]
    NothingToLink,
    /// A number beyond ±2^53, or a time before 1970 or after 9999.
    #[error("{field} out of range: {value}")]
    OutOfRange {
        /// The field.
        field: &'static str,
        /// Its value, or the nearest that an `i64` holds.
        value: i64,
    },
    /// A name longer than [`NAME_BYTES_MAX`].
    #[error("{field} of {bytes} bytes is longer than {NAME_BYTES_MAX}")]
    TooLong {
        /// The field.
        field: &'static str,
        /// Its length.
        bytes: usize,
    },
    /// An address that is neither IPv4 nor IPv6.
    #[error("ip {0:?} is no address")]
    Address(String),
    /// The second name for a symbol.
    #[error(transparent)]
    Clash(#[from] Clash),
}

/// What a record says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Decoded {
    /// The event.
    pub event: Event,
    /// Its item lines, as a JSON array.
    pub items: Option<Box<str>>,
    /// The faults of its optional fields, and what else few records have.
    pub extras: Extras,
}

/// Decodes the records of one worker. It remembers names and user agents that it has seen, both bounded, and reuses
/// its buffers: a usual record allocates nothing. What it decoded last stays with it, as an event is large to move.
pub struct Decoder {
    wire: wire::Event,
    checker: Checker,
}

struct Checker {
    hasher: IdHasher,
    names: Names,
    agents: Agents,
    os: String,
    ip_net: String,
    fingerprint: Vec<u8>,
    decoded: Decoded,
}

impl Decoder {
    /// A decoder for one worker. All workers of a process share `symbols`.
    pub fn new(hasher: IdHasher, symbols: Arc<Symbols>) -> Decoder {
        let checker = Checker {
            hasher,
            names: Names::new(symbols),
            agents: Agents::default(),
            os: String::new(),
            ip_net: String::new(),
            fingerprint: Vec::new(),
            decoded: Decoded::default(),
        };
        Decoder { wire: wire::Event::default(), checker }
    }

    /// Decodes a record's value.
    pub fn decode(&mut self, bytes: &[u8], encoding: Encoding) -> Result<&Decoded, Reason> {
        if bytes.len() > RECORD_BYTES_MAX {
            return Err(Reason::TooLarge(bytes.len()));
        }
        match encoding {
            Encoding::Json => self.wire = from_json(bytes)?,
            Encoding::Protobuf => {
                // Clearing keeps the capacity of the texts.
                self.wire.clear();
                self.wire.merge(bytes).map_err(|error| Reason::Protobuf(quoted(&error.to_string())))?;
            }
        }
        self.checker.validate(&self.wire)
    }

    /// Checks an event that is in wire form already.
    pub fn validate(&mut self, event: &wire::Event) -> Result<&Decoded, Reason> {
        self.checker.validate(event)
    }
}

fn from_json(bytes: &[u8]) -> Result<wire::Event, Reason> {
    #[derive(Deserialize)]
    struct Kind {
        r#type: String,
    }
    let json = |error: serde_json::Error| Reason::Json(quoted(&error.to_string()));
    let text = std::str::from_utf8(bytes).map_err(|error| Reason::Utf8(error.valid_up_to()))?;
    if text.trim_start().starts_with('[') {
        // Serde would read an array as the fields in their order.
        return Err(Reason::Json("an array, not an object".to_owned()));
    }
    let event: wire::Event = serde_json::from_str(text).map_err(json)?;
    if event.r#type == UNKNOWN_TYPE {
        let kind: Kind = serde_json::from_str(text).map_err(json)?;
        return Err(Reason::UnknownType(format!("{:?}", quoted(&kind.r#type))));
    }
    Ok(event)
}

impl Checker {
    fn validate(&mut self, wire: &wire::Event) -> Result<&Decoded, Reason> {
        let Checker { hasher, names, agents, os, ip_net, fingerprint, decoded } = self;

        // 1. Check all that can be checked without the other records.
        let event_type = match wire.r#type {
            0 => return Err(Reason::Missing("type")),
            number => EventType::from_number(number).ok_or_else(|| Reason::UnknownType(number.to_string()))?,
        };
        let tenant = needed("tenant", &wire.tenant)?;
        needed("event_id", &wire.event_id)?;
        let event_time = time("event_time", wire.event_time)?.ok_or(Reason::Missing("event_time"))?;
        let install_begin_time = time("install_begin_time", wire.install_begin_time.filter(|time| *time != 0))?;
        let quantity = whole("quantity", wire.quantity)?;
        let revenue = whole("revenue_micros", wire.revenue_micros)?;
        let cost = whole("cost_micros", wire.cost_micros)?;
        let version = whole("version", wire.version)?;
        for line in &wire.items {
            whole("items.quantity", line.quantity)?;
            whole("items.amount_micros", line.amount_micros)?;
        }
        match event_type {
            EventType::Event | EventType::Conversion => {
                needed("name", &wire.name)?;
            }
            EventType::Cost => {
                needed("source", &wire.source)?;
                cost.ok_or(Reason::Missing("cost_micros"))?;
                version.ok_or(Reason::Missing("version"))?;
            }
            _ => {}
        }
        if revenue.is_some() || cost.is_some() {
            needed("currency", &wire.currency)?;
        }
        let address = address(&wire.ip)?;

        // 2. Hash the ids.
        let user = hasher.user(tenant, &wire.user);
        let device = hasher.device(tenant, &wire.device);
        let login = hasher.login(tenant, &wire.login);
        let ids = [user.is_none(), device.is_none(), login.is_none()].into_iter().filter(|none| !none).count();
        if event_type == EventType::Identify && ids < 2 {
            return Err(Reason::NothingToLink);
        }
        let click = hasher.click(tenant, &wire.click_id).some();
        let click = click.unwrap_or_else(|| hasher.referrer(tenant, &wire.referrer));
        ip_net.clear();
        let ip = address.map_or(IpHash::NONE, |address| {
            write_ip_net(ip_net, address);
            hasher.ip(tenant, address)
        });
        let [own_os, own_version, own_model] = [&wire.os, &wire.os_version, &wire.device_model].map(|text| text.trim());
        os.clear();
        os.push_str(own_os);
        os.make_ascii_lowercase();
        let mut system = [os.as_str(), own_version, own_model];
        if system.contains(&"") && !wire.user_agent.is_empty() {
            let parsed = agents.get(&wire.user_agent);
            for (own, parsed) in system.iter_mut().zip([&parsed.os, &parsed.os_version, &parsed.device_model]) {
                *own = if own.is_empty() { parsed } else { *own };
            }
        }
        let fingerprint = hasher.fingerprint(tenant, ip, system, fingerprint);
        let [os, os_version, device_model] = system;

        // 3. Intern the names, all or none.
        let names = names.symbols([
            ("tenant", tenant),
            ("app", wire.app.trim()),
            ("campaign", wire.campaign.trim()),
            ("ad_group", wire.ad_group.trim()),
            ("creative", wire.creative.trim()),
            ("source", wire.source.trim()),
            ("channel", wire.channel.trim()),
            ("placement", wire.placement.trim()),
            ("ip", ip_net),
            ("os", os),
            ("os_version", os_version),
            ("device_model", device_model),
            ("language", wire.language.trim()),
            ("country", wire.country.trim()),
            ("name", wire.name.trim()),
            ("item", wire.item.trim()),
            ("currency", wire.currency.trim()),
        ])?;
        let event_id = hasher.event(tenant, &wire.event_id);
        let [tenant, app, campaign, ad_group, creative, source, channel, placement, names @ ..] = names;
        let [ip_net, os, os_version, device_model, language, country, name, item, currency] = names;

        decoded.event = Event {
            event_type,
            tenant,
            app,
            event_id,
            event_time,
            subject: Event::subject_of(user, device, click),
            user,
            device,
            click,
            login,
            fingerprint,
            campaign,
            ad_group,
            creative,
            source,
            channel,
            placement,
            ip,
            ip_net,
            os,
            os_version,
            device_model,
            language,
            country,
            name,
            item,
            quantity,
            revenue: revenue.map(Micros),
            cost: cost.map(Micros),
            currency,
            version,
            install_begin_time,
        };
        decoded.extras = Extras::default();
        decoded.items = (!wire.items.is_empty()).then(|| {
            serde_json::to_string(&wire.items).expect("item lines have text keys and no fallible parts").into()
        });
        Ok(decoded)
    }
}

/// The text of a field without the blanks around it, which must not be all.
fn needed<'a>(field: &'static str, text: &'a str) -> Result<&'a str, Reason> {
    match text.trim() {
        "" => Err(Reason::Missing(field)),
        text => Ok(text),
    }
}

/// A number that every reader can take in, also one that keeps numbers as doubles.
fn whole(field: &'static str, value: Option<i64>) -> Result<Option<i64>, Reason> {
    match value {
        Some(value) if value.unsigned_abs() > AMOUNT_MICROS_MAX as u64 => Err(Reason::OutOfRange { field, value }),
        value => Ok(value),
    }
}

/// A time between 1970 and 9999: differences of such times never overflow.
fn time(field: &'static str, value: Option<i64>) -> Result<Option<EventTime>, Reason> {
    match value {
        Some(value) if !(0..=TIME_MS_MAX).contains(&value) => Err(Reason::OutOfRange { field, value }),
        value => Ok(value.map(EventTime)),
    }
}

fn address(text: &str) -> Result<Option<IpAddr>, Reason> {
    match text.trim() {
        "" => Ok(None),
        text => text.parse().map(Some).map_err(|_| Reason::Address(quoted(text))),
    }
}

/// The head of a text, for a reason.
fn quoted(text: &str) -> String {
    match text.floor_char_boundary(QUOTED_BYTES_MAX) {
        end if end < text.len() => format!("{}…", &text[..end]),
        _ => text.to_owned(),
    }
}
