//! The fields of an event: their names, what they mean, and how strict they are. The decoder of JSON reads by this table, and
//! `docs/reference/events.md` and `docs/reference/ids.md` are printed from it and its neighbours.

use std::fmt::Write;

use crate::decode::{IdRules, NAME_BYTES_MAX, RECORD_BYTES_MAX};
use crate::referrer::{DEPTH_MAX, KEPT_BYTES_MAX};
use crate::symbols::NAMES_MAX;
use crate::wire::Event;
use crate::{placeholders, referrer};

/// One field.
pub struct Field {
    /// Its name in JSON, mappings and Protobuf.
    pub name: &'static str,
    /// Whether a value that cannot be read makes the record a dead letter. Otherwise the field is absent, with a fault.
    pub strict: bool,
    /// The types of event that need it.
    pub needed: &'static str,
    /// What it means, with its unit.
    pub what: &'static str,
    /// Where it lives in the wire form.
    pub(crate) slot: Slot,
}

/// Where a field lives in the wire form of an event, and what it holds.
#[derive(Clone, Copy)]
pub(crate) enum Slot {
    Type,
    Text(fn(&mut Event) -> &mut String),
    Time(fn(&mut Event) -> &mut Option<i64>),
    Whole(fn(&mut Event) -> &mut Option<i64>),
    Micros(fn(&mut Event) -> &mut Option<i64>),
    /// Units of a currency, of the amount in micros.
    Units(fn(&mut Event) -> &mut Option<i64>),
    Items,
}

/// The number of fields.
pub(crate) const FIELDS_COUNT: usize = 34;

macro_rules! field {
    ($name:ident, $kind:ident, $strict:literal, $needed:literal, $what:literal) => {
        field!($name, $kind of $name, $strict, $needed, $what)
    };
    ($name:ident, $kind:ident of $slot:ident, $strict:literal, $needed:literal, $what:literal) => {
        Field {
            name: stringify!($name),
            strict: $strict,
            needed: $needed,
            what: $what,
            slot: Slot::$kind(|event| &mut event.$slot),
        }
    };
}

/// All fields that JSON can give.
pub static FIELDS: [Field; FIELDS_COUNT] = [
    Field {
        name: "type",
        strict: true,
        needed: "all",
        what: "what happened: the name of a type, in any case",
        slot: Slot::Type,
    },
    field!(event_id, Text, true, "all", "the producer's id of the event: copies of it have the same"),
    field!(event_time, Time, true, "all", "when it happened, from 2000 on"),
    field!(tenant, Text, true, "all", "the account"),
    field!(app, Text, false, "", "app or site, within the account"),
    field!(user, Text, false, "identify (two of three)", "the producer's own id of the user"),
    field!(device, Text, false, "identify (two of three)", "the device: advertising id (IDFA, GAID) or own id"),
    field!(click_id, Text, false, "", "the click id that the ad network or the tracking link gave"),
    field!(referrer, Text, false, "", "the referrer: a click id in it counts where `click_id` is absent"),
    field!(
        login,
        Text,
        false,
        "identify (two of three)",
        "the account name or e-mail address that an `identify` links"
    ),
    field!(campaign, Text, false, "", "marketing campaign; else the referrer's `utm_campaign`"),
    field!(ad_group, Text, false, "", "ad group within the campaign"),
    field!(creative, Text, false, "", "creative shown"),
    field!(source, Text, false, "cost", "publisher or traffic source; else the referrer's `utm_source`"),
    field!(channel, Text, false, "", "marketing channel (search, social, email, …); else the referrer's `utm_medium`"),
    field!(placement, Text, false, "", "placement within the source"),
    field!(
        ip,
        Text,
        false,
        "",
        "the address, or a list of proxies: the first public one counts. Kept as a keyed hash and as its /24 or /48"
    ),
    field!(
        user_agent,
        Text,
        false,
        "",
        "stands in for `os`, `os_version` and `device_model` where they are absent. Not kept"
    ),
    field!(os, Text, false, "", "operating system"),
    field!(os_version, Text, false, "", "version of the operating system"),
    field!(device_model, Text, false, "", "device model"),
    field!(language, Text, false, "", "language tag"),
    field!(country, Text, false, "", "country code"),
    field!(name, Text, false, "event, conversion", "name of the event or conversion"),
    field!(item, Text, false, "", "item that it is about"),
    field!(quantity, Whole, false, "", "number of items"),
    Field {
        name: "items",
        strict: false,
        needed: "",
        what: "item lines of a conversion: `item`, `quantity`, `amount_micros`",
        slot: Slot::Items,
    },
    field!(revenue_micros, Micros, true, "", "revenue in millionths of the currency; negative for a refund"),
    field!(cost_micros, Micros, true, "cost", "media cost in millionths of the currency"),
    field!(revenue, Units of revenue_micros, true, "", "revenue in units of the currency, where `revenue_micros` is absent"),
    field!(cost, Units of cost_micros, true, "", "media cost in units of the currency, where `cost_micros` is absent"),
    field!(currency, Text, false, "an amount that is not 0", "currency of the amounts"),
    field!(version, Whole, false, "cost", "version of a cost: the largest counts"),
    field!(install_begin_time, Time, false, "", "when the installation began, where the store tells; 0 is not known"),
];

/// `docs/reference/events.md`.
pub fn events() -> String {
    let mut out = String::from(
        "# Fields of events\n\nPrinted from `schemas/src/reference.rs`; a test compares.\n\nA field that is absent, `null` or blank is \
         absent. *Strict*: a value that cannot be read makes the record a dead letter, with its reason. Any other field is then \
         absent or cut, the event counts, and the fault is in the column `faults` of `records`, by field and reason.\n\n",
    );
    line(&mut out, "| field | JSON | Protobuf | mapping | needed by | strict | what it is |");
    line(&mut out, "|---|---|---|---|---|---|---|");
    for field in &FIELDS {
        let (json, protobuf, mapping) = match field.slot {
            Slot::Type => ("text", "`EventType`", "`type` of the entry"),
            Slot::Text(_) => ("text or number", "`string`", "text"),
            Slot::Time(_) if field.strict => ("ISO 8601 or number", "`int64`, ms", "key `event_time`"),
            Slot::Time(_) => ("ISO 8601 or number", "`int64`, ms", "time, with its `format`"),
            Slot::Whole(_) => ("whole number, also as text", "`int64`", "whole number"),
            Slot::Micros(_) => ("whole number, also as text", "`int64`", "amount, with its `unit`"),
            Slot::Units(_) => ("decimal number, also as text", "—", "—"),
            Slot::Items => ("array of objects", "`repeated ItemLine`", "—"),
        };
        let strict = if field.strict { "yes" } else { "" };
        line(
            &mut out,
            &format!(
                "| `{}` | {json} | {protobuf} | {mapping} | {} | {strict} | {} |",
                field.name, field.needed, field.what
            ),
        );
    }
    let notes = [
        "`currency` is needed by an amount other than 0 alone, and a cost's `version` must be in range: both are strict there.".to_owned(),
        format!("Names longer than {NAME_BYTES_MAX} bytes are cut, and end in a hash of the whole, so that two of them stay two; tenant, and \
                 currency of an amount, must be shorter. Records are at most {RECORD_BYTES_MAX} bytes."),
        format!("A tenant may bring {NAMES_MAX} names in a field, and there may be as many tenants: a record with one more is a dead letter. \
                 What is new with each record is an id, no name."),
        "Numbers beyond ±2^53 are out of range.".to_owned(),
        "A `tombstone` withdraws for good the event that has the same `tenant`, `event_id` and `event_time` and is about the same: `user`, \
         else `device`, else `click_id`, else nobody. It may come before the event or after it, within the allowed lateness."
            .to_owned(),
    ];
    line(&mut out, "\n## Every encoding");
    notes.iter().for_each(|note| line(&mut out, &format!("* {note}")));
    out.push_str(JSON);
    out.push_str(ADDRESSES);
    out
}

const JSON: &str = "
## JSON
* One object a record, in UTF-8, with or without a byte order mark. Fields that no event has are ignored; up to 16 of their names
  are kept in `unknown_fields`.
* *Ids and names* are texts, or numbers with their digits as written: `7` is `\"7\"`. A whole float reads without its fraction
  (`7.0` is `\"7\"`) up to 15 digits; longer floats may have lost digits and are refused. Booleans, arrays and objects are refused.
* *Types* are names in any case, with or without blanks around: `Click`, `CLICK`, `EVENT_TYPE_CLICK`.
* *Times* are ISO 8601 texts (without an offset: UTC), or seconds, milliseconds, microseconds or nanoseconds since 1970 as a number
  or a text. The size tells the unit: from 2000 to 9999 seconds are 946684800 to 253402300799, milliseconds a thousand times as
  many, and so on (nanoseconds to 2262). The ranges do not meet; what is in none is refused.
* *Amounts* never pass through a float. `revenue` and `cost` are units: more than six decimals are rounded half to even, with a
  fault. `revenue_micros` and `cost_micros` are whole, but for the noise of floats, and stand where both are given; a fault says
  where they disagree.
* *A field given twice* with one value is given once. With two values a strict field makes the record a dead letter; of any other
  the last stands, with a fault.

## Protobuf
`bidstream.v1.Event` of `schemas/proto/bidstream.proto`. `event_time` is in milliseconds: one before 2000 is refused, and the reason
says whether it looks like seconds.
";

const ADDRESSES: &str = "
## Addresses
`ip` may be an address, with port, brackets, zone or quotes; a list as in `X-Forwarded-For`; or the header `Forwarded`. The first
public address counts. IPv4 within IPv6 (`::ffff:`, `64:ff9b::`) is the IPv4 address; zeros before numbers are padding.
Absent, with a fault: `not public` (private, loopback, link-local, carrier-grade NAT, multicast, reserved), `masked`
(`203.0.113.xxx`, `203.0.113.0`, a network), `placeholder` (`unknown`, `-`), `no address`. Release 0.1.0 took a private address for one
of a household: strangers behind equal networks shared fingerprints. Ranges for documentation and benchmarks count as public.
";

/// `docs/reference/ids.md`.
pub fn ids() -> String {
    // Said here once, so that renaming a field of the rules does not leave the page behind.
    let IdRules { placeholders: _, click_parameters: _ } = IdRules::default();
    format!(
        "# Ids, placeholders and referrers

Printed from `schemas/src/placeholders.rs` and `schemas/src/referrer.rs`; a test compares.

## Placeholders
Texts that stand where an id is missing. They are no users, devices, click ids or logins: the id is absent, the event counts, and a fault
with field, reason `placeholder` and the text is kept. As an `event_id` such a text makes the record a dead letter (but for
short zeros as `0` and `0-0`, as counting begins there). What counts is the whole text, in any case of letters, also quoted, percent-encoded or escaped for HTML.

{}
A job adds exact texts, in any case: `ids: {{ placeholders: [test-user] }}`.

## Devices
A UUID in any case, with or without hyphens, in braces, brackets or parentheses, is one id: lower case with hyphens, the form whose
hashes lakes of 0.1.0 hold. Users, click ids and logins are compared as sent, without blanks around.

## Referrers
A referrer matches by a click id in it, and by nothing else. Read are addresses, query strings with or without `?`, and fragments, also
percent-encoded as a whole; `&amp;` and `;` separate too. The value of a parameter is looked into, {DEPTH_MAX} deep, only where it carries a whole
referrer or address (`referrer=utm_source%3Dx%26gclid%3Dy`): {}.
So a search (`q=gclid%3Dy`) and `utm_content=gclid%3Dy` match nobody. Click ids are the values of these parameters, believed in this order:

{}
then those of the job: `ids: {{ click_parameters: [clickref] }}`. A blank or a placeholder is passed over. An explicit `click_id` wins
over the referrer's. Ids are matched by value: `gclid=X` meets `click_id` X; a `+` in a click id
is one (`gclid=a+b` is `a+b`), in a `utm_` parameter it is a blank. (`af_click_lookback` is a window, and no id.)

Where `source`, `channel` or `campaign` is absent, `utm_source`, `utm_medium` or `utm_campaign` stands in, unless it is a placeholder:
Google Play's `utm_source=google-play&utm_medium=organic` is of the channel `organic`, `(not set)` is of none.

The column `referrer` of `records` keeps scheme, host and path of a page, the `utm_` parameters of a query string, or plain words; no click
id, no other parameter, no name of a person, and no more than {KEPT_BYTES_MAX} bytes.

## Lakes of 0.1.0
Their rows keep the ids that they were stored with, and so do views of them: a placeholder there is a person, and a device without
hyphens is another one. Import the data anew to have it read by these rules.
",
        placeholders::reference(),
        referrer::carriers(),
        referrer::reference(),
    )
}

fn line(out: &mut String, text: &str) {
    writeln!(out, "{text}").expect("a text takes in what is written to it");
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An event with every field given.
    fn full() -> Event {
        let mut event = Event { r#type: 2, items: vec![crate::wire::ItemLine::default()], ..Event::default() };
        for field in &FIELDS {
            match field.slot {
                Slot::Text(slot) => slot(&mut event).push('x'),
                Slot::Time(slot) | Slot::Whole(slot) | Slot::Micros(slot) => *slot(&mut event) = Some(1),
                Slot::Type | Slot::Units(_) | Slot::Items => {}
            }
        }
        event
    }

    #[test]
    fn every_field_of_the_wire_form_is_listed() {
        let json: serde_json::Value = serde_json::from_slice(&crate::wire::to_json(&full())).unwrap();
        let mut named: Vec<&str> =
            FIELDS.iter().filter(|field| !matches!(field.slot, Slot::Units(_))).map(|field| field.name).collect();
        named.sort();
        let mut written: Vec<&str> = json.as_object().unwrap().keys().map(String::as_str).collect();
        written.sort();
        assert_eq!(written, named);
        // None was left at its default, which JSON leaves out; and the event type knows no other field.
        let proto = include_str!("../proto/bidstream.proto");
        let message = proto.split("message Event {").nth(1).unwrap().split("\n}").next().unwrap();
        assert_eq!(message.matches(" = ").count(), named.len());
    }

    #[test]
    fn the_pages_of_the_docs_are_what_the_code_prints() {
        for (page, text) in [("events.md", events()), ("ids.md", ids())] {
            let path = format!("{}/../docs/reference/{page}", env!("CARGO_MANIFEST_DIR"));
            if std::env::var_os("BLESS").is_some() {
                std::fs::write(&path, &text).unwrap();
            }
            let found = std::fs::read_to_string(&path).unwrap_or_default();
            assert!(found == text, "{page} is not what the code prints: run the test with BLESS=1");
        }
    }
}
