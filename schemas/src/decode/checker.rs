//! The checks that an event in wire form must pass, and what becomes of it: ids are hashed, names interned.

use std::sync::Arc;

use super::names::Names;
use super::{Decoded, IdRules, NAME_BYTES_MAX, Reason};
use crate::address::first_public;
use crate::event::{Event, EventType};
use crate::fault::{CUT, Extras, Fault, OUT_OF_RANGE};
use crate::ids::{ClickId, DeviceId, Id, IdHasher, IdKind, IpHash, LoginId, UserId};
use crate::network::Network;
use crate::placeholders::{Placeholders, SAME_CHARACTERS_MIN};
use crate::referrer::Referrers;
use crate::symbols::{Symbol, Symbols};
use crate::units::{AMOUNT_MICROS_MAX, EventTime, Micros, TIME_MS_MAX};
use crate::user_agent::Agents;
use crate::wire;

/// Checks events. Its buffers are used again.
pub(super) struct Checker {
    hasher: IdHasher,
    placeholders: Placeholders,
    referrers: Referrers,
    pub(super) names: Names,
    agents: Agents,
    os: String,
    fingerprint: Vec<u8>,
    decoded: Decoded,
}

impl Checker {
    /// Remembers names in front of `symbols`.
    pub(super) fn new(hasher: IdHasher, symbols: Arc<Symbols>, rules: &IdRules) -> Checker {
        Checker {
            hasher,
            placeholders: Placeholders::with(&rules.placeholders),
            referrers: Referrers::with(&rules.click_parameters),
            names: Names::new(symbols),
            agents: Agents::default(),
            os: String::new(),
            fingerprint: Vec::new(),
            decoded: Decoded::default(),
        }
    }

    /// Begins a record: what its reader finds goes here, and stands beside what [`Checker::check`] finds.
    pub(super) fn begin(&mut self) -> &mut Extras {
        let Extras { faults, unknown_fields, referrer, key, headers } = &mut self.decoded.extras;
        faults.clear();
        unknown_fields.clear();
        (*referrer, *key, *headers) = (None, None, None);
        &mut self.decoded.extras
    }

    /// Checks an event, and hashes and interns what it names.
    pub(super) fn check(&mut self, wire: &wire::Event) -> Result<&Decoded, Reason> {
        let Checker { hasher, placeholders, referrers, names, agents, os, fingerprint, decoded } = self;
        let Extras { faults, referrer: kept, .. } = &mut decoded.extras;

        // 1. Check all that can be checked without the other records.
        let event_type = match wire.r#type {
            0 => return Err(Reason::Missing("type")),
            number => EventType::from_number(number).ok_or_else(|| Reason::UnknownType(number.to_string()))?,
        };
        let tenant = needed("tenant", &wire.tenant)?;
        if tenant.len() > NAME_BYTES_MAX {
            return Err(Reason::TooLong { field: "tenant", bytes: tenant.len() });
        }
        let event_id = needed("event_id", &wire.event_id)?;
        // Zeros are where counting begins (`0`, `0-0`), and an event is known by its time and subject as well.
        let counts = |placeholder: &str| placeholder == "0" && event_id.len() < SAME_CHARACTERS_MIN;
        if let Some(placeholder) = placeholders.find(event_id).filter(|placeholder| !counts(placeholder)) {
            return Err(Reason::Placeholder(placeholder.into_owned()));
        }
        let event_time = time("event_time", wire.event_time)?.ok_or(Reason::Missing("event_time"))?;
        let install_begin_time = time("install_begin_time", wire.install_begin_time.filter(|time| *time != 0));
        let install_begin_time = optional(install_begin_time, faults);
        let quantity = optional(whole("quantity", wire.quantity), faults);
        let revenue = whole("revenue_micros", wire.revenue_micros)?;
        let cost = whole("cost_micros", wire.cost_micros)?;
        let version = match whole("version", wire.version) {
            Err(reason) if event_type == EventType::Cost => return Err(reason),
            version => optional(version, faults),
        };
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
        let currency = wire.currency.trim();
        let currency = if placeholders.find(currency).is_some() { "" } else { currency };
        if [revenue, cost].iter().flatten().any(|amount| *amount != 0) {
            needed("currency", currency)?;
            if currency.len() > NAME_BYTES_MAX {
                return Err(Reason::TooLong { field: "currency", bytes: currency.len() });
            }
        }

        // 2. Hash the ids. What stands where one is missing is none.
        let mut id = |field: &'static str, raw: &'_ str| -> bool {
            let raw = raw.trim();
            if raw.is_empty() {
                return false;
            }
            match placeholders.find(raw) {
                Some(placeholder) => faults.push(Fault::placeholder(field, &placeholder)),
                None => return true,
            }
            false
        };
        let user = UserId(if id("user", &wire.user) {
            hasher.hash(IdKind::User, tenant, wire.user.trim().as_bytes())
        } else {
            Id::NONE
        });
        let device =
            if id("device", &wire.device) { hasher.named_device(tenant, &wire.device) } else { DeviceId::NONE };
        let login = LoginId(if id("login", &wire.login) {
            hasher.hash(IdKind::Login, tenant, wire.login.trim().as_bytes())
        } else {
            Id::NONE
        });
        let mut click = ClickId(if id("click_id", &wire.click_id) {
            hasher.hash(IdKind::Click, tenant, wire.click_id.trim().as_bytes())
        } else {
            Id::NONE
        });
        let ids = [user.is_none(), device.is_none(), login.is_none()].into_iter().filter(|none| !none).count();
        if event_type == EventType::Identify && ids < 2 {
            return Err(Reason::NothingToLink);
        }

        // 3. What the referrer tells stands in where the event does not tell it itself.
        let mut told = [wire.source.trim(), wire.channel.trim(), wire.campaign.trim()];
        if !wire.referrer.is_empty() {
            let found = referrers.read(&wire.referrer, placeholders, faults);
            if let Some(value) = found.click.as_deref().filter(|_| click.is_none()) {
                click = ClickId(hasher.hash(IdKind::Click, tenant, value));
            }
            let fields =
                ["source", "channel", "campaign"].into_iter().zip([&found.source, &found.medium, &found.campaign]);
            for (told, (field, utm)) in told.iter_mut().zip(fields).filter(|(told, _)| told.is_empty()) {
                match placeholders.find(utm) {
                    Some(placeholder) => faults.push(Fault::placeholder(field, &placeholder)),
                    None => *told = utm,
                }
            }
            *kept = (!found.kept.is_empty()).then(|| found.kept.as_str().into());
        }
        let [source, channel, campaign] = told;
        let address = first_public(&wire.ip).unwrap_or_else(|reason| {
            faults.push(Fault { field: "ip", reason, value: None });
            None
        });
        let ip = address.map_or(IpHash::NONE, |address| hasher.ip(tenant, address));
        let ip_net = address.map_or(Network::NONE, Network::of);
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

        // 4. Intern the names, all or none.
        let mut named = [
            ("tenant", tenant),
            ("app", wire.app.trim()),
            ("campaign", campaign),
            ("ad_group", wire.ad_group.trim()),
            ("creative", wire.creative.trim()),
            ("source", source),
            ("channel", channel),
            ("placement", wire.placement.trim()),
            ("os", os),
            ("os_version", os_version),
            ("device_model", device_model),
            ("language", wire.language.trim()),
            ("country", wire.country.trim()),
            ("name", wire.name.trim()),
            ("item", wire.item.trim()),
            ("currency", currency),
        ];
        let mut cut = Vec::new();
        if named.iter().any(|(_, name)| name.len() > NAME_BYTES_MAX) {
            cut.extend(named.iter().map(|(_, name)| cut_name(name)));
            for ((field, name), cut) in named.iter_mut().zip(&cut).filter(|((_, name), _)| name.len() > NAME_BYTES_MAX)
            {
                faults.push(Fault { field, reason: CUT, value: None });
                *name = cut;
            }
        }
        let names = names.symbols(named)?;
        let event_id = hasher.event(tenant, event_id);
        let [tenant, app, campaign, ad_group, creative, source, channel, placement, names @ ..] = names;
        let [os, os_version, device_model, language, country, name, item, currency] = names;

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
        decoded.items = items(&wire.items, &mut decoded.extras.faults);
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

/// What an optional field holds; a fault where it cannot hold it.
fn optional<T>(value: Result<Option<T>, Reason>, faults: &mut Vec<Fault>) -> Option<T> {
    value.unwrap_or_else(|reason| {
        if let Reason::OutOfRange { field, .. } = reason {
            faults.push(Fault { field, reason: OUT_OF_RANGE, value: None });
        }
        None
    })
}

/// A name that is too long, cut: what was cut off stands in it as a hash, so that two such names stay two.
fn cut_name(name: &str) -> String {
    if name.len() <= NAME_BYTES_MAX {
        return String::new();
    }
    let hash = format!("…{:016x}", Symbol::of(name).0);
    format!("{}{hash}", &name[..name.floor_char_boundary(NAME_BYTES_MAX - hash.len())])
}

/// Item lines as a JSON array, without the numbers that no reader can take in.
fn items(lines: &[wire::ItemLine], faults: &mut Vec<Fault>) -> Option<Box<str>> {
    if lines.is_empty() {
        return None;
    }
    let fits = |line: &wire::ItemLine| {
        [("items.quantity", line.quantity), ("items.amount_micros", line.amount_micros)]
            .map(|(field, value)| whole(field, value).is_ok())
    };
    let text = if lines.iter().all(|line| fits(line) == [true, true]) {
        serde_json::to_string(lines)
    } else {
        let lines: Vec<wire::ItemLine> = lines
            .iter()
            .map(|line| wire::ItemLine {
                item: line.item.clone(),
                quantity: optional(whole("items.quantity", line.quantity), faults),
                amount_micros: optional(whole("items.amount_micros", line.amount_micros), faults),
            })
            .collect();
        serde_json::to_string(&lines)
    };
    Some(text.expect("item lines have text keys and no fallible parts").into())
}
