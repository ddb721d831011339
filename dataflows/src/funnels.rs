//! Funnels, as a job file defines them: ordered steps with a filter each, how long a visitor may take, and in how long one counts once.
//!
//! ```yaml
//! funnels:
//!   - name: checkout
//!     steps:
//!       - product_view                                   # events and conversions of this name
//!       - { step: cart, name: [add_to_cart, buy_now] }   # the same of several names, called otherwise
//!       - { step: bought, type: conversion, channel: web }
//!     max_time: 7d                                       # from the first step to the last; or `unlimited`
//!     per: month                                         # a visitor counts once a month of its first step; all, month, week or day
//!     by: channel                                        # broken down by that of the first step
//! ```

use std::fmt;

use schemas::{EventType, Symbol};
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer, StrDeserializer};
use serde::de::{self, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::span::Span;

/// The most steps of all funnels of a job together: those that an event is one of are bits of a word.
pub const STEPS_MAX: usize = 64;
/// The longest name of a funnel or step, in bytes.
const NAME_BYTES_MAX: usize = 100;
/// The shortest time that a visitor may be given, in milliseconds.
const MAX_TIME_MS_MIN: i64 = 1_000;

/// A funnel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Funnel {
    /// Its name.
    pub name: String,
    /// What a visitor does, one after the other: 2 or more steps.
    pub steps: Vec<Step>,
    /// How long the last step may come after the first.
    pub max_time: MaxTime,
    /// In how long a visitor counts once, by its first step.
    #[serde(default)]
    pub per: Per,
    /// What visitors are broken down by, at their first step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<Dimension>,
}

/// A step: events that have these.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Step {
    /// What it is called.
    pub step: String,
    /// Types of the event; any where it is empty, and so on.
    #[serde(rename = "type", skip_serializing_if = "Vec::is_empty")]
    pub types: Vec<EventType>,
    /// What columns may be, by column; all of them hold.
    #[serde(flatten)]
    pub columns: Columns,
}

/// What columns may be: texts each, none where any will do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Columns {
    /// Name of an event or conversion.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub name: Vec<String>,
    /// App.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub app: Vec<String>,
    /// Campaign.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub campaign: Vec<String>,
    /// Ad group.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ad_group: Vec<String>,
    /// Creative.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub creative: Vec<String>,
    /// Publisher or traffic source.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub source: Vec<String>,
    /// Marketing channel.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub channel: Vec<String>,
    /// Country.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub country: Vec<String>,
}

impl Columns {
    /// The columns in order, each with its name in SQL.
    pub fn all(&self) -> [(&'static str, &[String]); 8] {
        [
            ("name", &self.name),
            ("app", &self.app),
            ("campaign", &self.campaign),
            ("ad_group", &self.ad_group),
            ("creative", &self.creative),
            ("source", &self.source),
            ("channel", &self.channel),
            ("country", &self.country),
        ]
    }
}

/// The symbols of names, as they are trimmed where events are decoded.
pub fn symbols(names: &[String]) -> impl Iterator<Item = Symbol> {
    names.iter().map(|name| Symbol::of(name.trim()))
}

impl<'de> Deserialize<'de> for Step {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Step, D::Error> {
        deserializer.deserialize_any(StepVisitor)
    }
}

/// By hand, because an untagged enum would lose where in a job file a mistake is.
struct StepVisitor;

/// A step as it is written. Its fields are listed once more, as flattened ones would not refuse others.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    step: String,
    #[serde(default, rename = "type")]
    types: OneOrMore<EventType>,
    #[serde(default)]
    name: OneOrMore<String>,
    #[serde(default)]
    app: OneOrMore<String>,
    #[serde(default)]
    campaign: OneOrMore<String>,
    #[serde(default)]
    ad_group: OneOrMore<String>,
    #[serde(default)]
    creative: OneOrMore<String>,
    #[serde(default)]
    source: OneOrMore<String>,
    #[serde(default)]
    channel: OneOrMore<String>,
    #[serde(default)]
    country: OneOrMore<String>,
}

impl<'de> Visitor<'de> for StepVisitor {
    type Value = Step;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "the name of an event, as product_view, or a step, as { step: cart, type: event, name: [add, buy] }",
        )
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Step, E> {
        let columns = Columns { name: vec![text.to_owned()], ..Columns::default() };
        Ok(Step { step: text.to_owned(), types: Vec::new(), columns })
    }

    fn visit_map<A: MapAccess<'de>>(self, entries: A) -> Result<Step, A::Error> {
        let Written { step, types, name, app, campaign, ad_group, creative, source, channel, country } =
            Written::deserialize(MapAccessDeserializer::new(entries))?;
        let columns = Columns {
            name: name.0,
            app: app.0,
            campaign: campaign.0,
            ad_group: ad_group.0,
            creative: creative.0,
            source: source.0,
            channel: channel.0,
            country: country.0,
        };
        Ok(Step { step, types: types.0, columns })
    }
}

/// One value, or a list of them.
struct OneOrMore<V>(Vec<V>);

impl<V> Default for OneOrMore<V> {
    fn default() -> Self {
        OneOrMore(Vec::new())
    }
}

impl<'de, V: Deserialize<'de>> Deserialize<'de> for OneOrMore<V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either<V>(std::marker::PhantomData<V>);
        impl<'de, V: Deserialize<'de>> Visitor<'de> for Either<V> {
            type Value = OneOrMore<V>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text, or a list of texts; one that YAML takes for a number or for yes or no stands in quotes: \"NO\"")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
                Ok(OneOrMore(vec![V::deserialize(StrDeserializer::new(text))?]))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, values: A) -> Result<Self::Value, A::Error> {
                Vec::deserialize(SeqAccessDeserializer::new(values)).map(OneOrMore)
            }
        }
        deserializer.deserialize_any(Either(std::marker::PhantomData))
    }
}

/// How long the last step may come after the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MaxTime {
    /// So long.
    Within(Span),
    /// As long as a visitor is known: `views.forget_after`.
    Unlimited,
}

const UNLIMITED: &str = "unlimited";

impl MaxTime {
    /// In milliseconds, where a visitor is known for so long.
    pub fn ms(self, forget_after: Span) -> i64 {
        match self {
            MaxTime::Within(span) => span.0,
            MaxTime::Unlimited => forget_after.0,
        }
    }
}

impl Serialize for MaxTime {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            MaxTime::Within(span) => span.serialize(serializer),
            MaxTime::Unlimited => serializer.serialize_str(UNLIMITED),
        }
    }
}

impl<'de> Deserialize<'de> for MaxTime {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<MaxTime, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text == UNLIMITED {
            return Ok(MaxTime::Unlimited);
        }
        let span = text.parse().map_err(|error| de::Error::custom(format!("{error}; or `{UNLIMITED}`")));
        span.map(MaxTime::Within)
    }
}

/// In how long a visitor counts once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Per {
    /// Ever.
    #[default]
    All,
    /// In a month of the tenant's calendar.
    Month,
    /// In an ISO week of it.
    Week,
    /// In a day of it.
    Day,
}

impl Per {
    /// As job files and tables have it.
    pub fn name(self) -> &'static str {
        match self {
            Per::All => "all",
            Per::Month => "month",
            Per::Week => "week",
            Per::Day => "day",
        }
    }
}

/// What visitors can be broken down by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Dimension {
    /// App.
    App,
    /// Campaign.
    Campaign,
    /// Publisher or traffic source.
    Source,
    /// Marketing channel.
    Channel,
    /// Country.
    Country,
}

impl Dimension {
    /// As job files, tables and SQL have it.
    pub fn name(self) -> &'static str {
        match self {
            Dimension::App => "app",
            Dimension::Campaign => "campaign",
            Dimension::Source => "source",
            Dimension::Channel => "channel",
            Dimension::Country => "country",
        }
    }
}

/// Checks funnels; the error begins with the field.
pub fn check(funnels: &[Funnel], forget_after: Span) -> Result<(), String> {
    for (place, funnel) in funnels.iter().enumerate() {
        let field = format!("views.funnels[{place}]");
        check_name(&format!("{field}.name"), &funnel.name)?;
        if let Some(first) = funnels[..place].iter().position(|before| before.name == funnel.name) {
            let name = &funnel.name;
            return Err(format!("{field}.name is {name:?}, as that of views.funnels[{first}]: give each its own name"));
        }
        check_steps(&field, &funnel.steps)?;
        let ms = funnel.max_time.ms(forget_after);
        if !(MAX_TIME_MS_MIN..=forget_after.0).contains(&ms) {
            return Err(format!(
                "{field}.max_time is {}: it may be {} to {forget_after} (views.forget_after), or `{UNLIMITED}`, which is as long",
                Span(ms),
                Span(MAX_TIME_MS_MIN),
            ));
        }
    }
    let steps: usize = funnels.iter().map(|funnel| funnel.steps.len()).sum();
    if steps > STEPS_MAX {
        return Err(format!("views.funnels has {steps} steps in all: it may have {STEPS_MAX}"));
    }
    Ok(())
}

fn check_steps(funnel: &str, steps: &[Step]) -> Result<(), String> {
    if steps.len() < 2 {
        let has = steps.len();
        return Err(format!("{funnel}.steps has {has}: write 2 or more, as [product_view, add_to_cart, purchase]"));
    }
    for (place, step) in steps.iter().enumerate() {
        let field = format!("{funnel}.steps[{place}]");
        check_name(&format!("{field}.step"), &step.step)?;
        if let Some(first) = steps[..place].iter().position(|before| before.step == step.step) {
            let name = &step.step;
            return Err(format!("{field}.step is {name:?}, as that of {funnel}.steps[{first}]: call each otherwise"));
        }
        if let Some(of) = step.types.iter().find(|of| !of.is_of_visitors()) {
            return Err(format!("{field}.type has {}: no visitor does that", of.name()));
        }
        let columns = step.columns.all();
        if step.types.is_empty() && columns.iter().all(|(_, names)| names.is_empty()) {
            return Err(format!(
                "{field} is any event: say which by a type or a name, as {{ step: open, type: open }}"
            ));
        }
        if let Some((column, _)) = columns.iter().find(|(_, names)| names.iter().any(|name| name.trim().is_empty())) {
            return Err(format!("{field}.{column} has a name without letters: write those that events have"));
        }
        if !step.columns.name.is_empty() && step.types.iter().any(|of| of.is_touch()) {
            return Err(format!(
                "{field}.name is asked of impressions or clicks: only other events have names; leave out `name` or those types"
            ));
        }
    }
    Ok(())
}

fn check_name(field: &str, name: &str) -> Result<(), String> {
    if name.trim().is_empty() || name.trim() != name || name.len() > NAME_BYTES_MAX {
        return Err(format!(
            "{field} is {name:?}: write a name of up to {NAME_BYTES_MAX} bytes, without spaces around it"
        ));
    }
    Ok(())
}
