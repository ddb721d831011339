//! How many impressions, clicks, installs and conversions were there by hour and everything that reports group by, what did they
//! bring and what did they cost?
//!
//! A log of sums: a cut writes what it adds to each key, and readers add. So the view keeps no state, however many keys there are.
//! Impressions, clicks and costs count where they happened; an install counts at its own hour for the touch that won it, a
//! conversion at its own hour for the touch that has its `last` credit. Country is that of the event itself. Spend is known by
//! source, campaign and ad group: its rows have no other dimension, and it is never spread over those that do. Hours are of the
//! tenant's time zone.

use differential_dataflow::VecCollection;
use schemas::symbols::NO_CHANNEL;
use schemas::view::PathTouch;
use schemas::{EventTime, EventType, Micros, Symbol, Tick, Zones, columns};

use crate::changes::{Sum, each_change};
use crate::local_time;
use crate::views::costs::CostRow;
use crate::views::credits::{Credited, channel};
use crate::inputs::Inputs;
use crate::views::installs::InstallRow;
use crate::event_row::EventRow;
use crate::needs::Needs;
use crate::view::{Maintained, Output, View};

const SQL: &str = "\
WITH additions AS (
  SELECT tenant, CAST(NULL AS BIGINT) AS currency, app, campaign, ad_group, creative, source, channel, country,
    CAST(NULL AS BIGINT) AS name, event_time,
    CASE WHEN type = 'impression' THEN 1 ELSE 0 END AS impressions, CASE WHEN type = 'click' THEN 1 ELSE 0 END AS clicks,
    0 AS installs, 0 AS conversions, 0 AS revenue_micros, 0 AS spend_micros
  FROM events
  WHERE type IN ('impression', 'click')
  UNION ALL
  SELECT installs.tenant, NULL, installs.app, installs.campaign, installs.ad_group, installs.creative, installs.source,
    CASE WHEN method = 'organic' THEN {no_channel} ELSE installs.channel END, events.country, NULL,
    installs.event_time, 0, 0, 1, 0, 0, 0
  FROM installs JOIN events USING (tenant, subject, event_id, event_time)
  WHERE NOT reinstall AND installs.type = 'install' AND events.type = 'install'
  UNION ALL
  SELECT credits.tenant, credits.currency, credits.app, credits.campaign, credits.ad_group, credits.creative,
    credits.source, credits.channel, events.country, credits.name,
    credits.event_time, 0, 0, 0, 1, coalesce(credits.revenue_micros, 0), 0
  FROM credits JOIN events USING (tenant, subject, event_id, event_time)
  WHERE model = 'last' AND events.type = 'conversion'
  UNION ALL
  SELECT tenant, currency, NULL, campaign, ad_group, NULL, source, NULL, NULL, NULL, hour,
    0, 0, 0, 0, 0, coalesce(cost_micros, 0)
  FROM costs
), by_hour AS (
  SELECT additions.*, {hour} AS hour
  FROM {zoned}
)
SELECT tenant, currency, app, campaign, ad_group, creative, source, channel, country, name, hour,
  sum(impressions) AS impressions, sum(clicks) AS clicks, sum(installs) AS installs, sum(conversions) AS conversions,
  sum(revenue_micros) AS revenue_micros, sum(spend_micros) AS spend_micros, count(*) AS rows
FROM by_hour
GROUP BY tenant, currency, app, campaign, ad_group, creative, source, channel, country, name, hour
";

/// `metrics_hourly`.
pub static METRICS_HOURLY: View = View {
    name: "metrics_hourly",
    question: "How many impressions, clicks, installs and conversions were there each hour, what did they bring, what did they cost?",
    key: &[
        "tenant", "currency", "app", "campaign", "ad_group", "creative", "source", "channel", "country", "name", "hour",
    ],
    read_by: &[&["tenant", "campaign"], &["tenant", "hour"]],
    code: 1,
    reads: &["events", "installs", "credits", "costs", "zone_spans"],
    sql: |_| sql(),
    maintained: Some(Maintained::sums::<MetricsKey, MEASURES>(|_, retention| Needs::attributed_until_final(retention))),
};

fn sql() -> String {
    let texts = [
        ("{no_channel}", Symbol::of(NO_CHANNEL).0.to_string()),
        ("{hour}", local_time::hour("event_time")),
        ("{zoned}", local_time::with_spans("additions", "event_time")),
    ];
    texts.iter().fold(SQL.to_owned(), |sql, (name, text)| sql.replace(name, text))
}

/// The number of its measures.
pub const MEASURES: usize = 7;

/// One row of `metrics_hourly`: unique by its key.
pub type MetricsRow = Sum<MetricsKey, MEASURES>;

/// What metrics are grouped by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MetricsKey {
    /// Account.
    pub tenant: Symbol,
    /// Currency of revenue or spend.
    pub currency: Symbol,
    /// App.
    pub app: Symbol,
    /// Campaign.
    pub campaign: Symbol,
    /// Ad group.
    pub ad_group: Symbol,
    /// Creative.
    pub creative: Symbol,
    /// Publisher or traffic source.
    pub source: Symbol,
    /// Marketing channel.
    pub channel: Symbol,
    /// Country.
    pub country: Symbol,
    /// Name of a conversion.
    pub name: Symbol,
    /// When the hour began.
    pub hour: EventTime,
}

columns! {
    MetricsRow, |row| {
        tenant: Symbol = row.key.tenant,
        currency: Option<Symbol> = row.key.currency.some(),
        app: Option<Symbol> = row.key.app.some(),
        campaign: Option<Symbol> = row.key.campaign.some(),
        ad_group: Option<Symbol> = row.key.ad_group.some(),
        creative: Option<Symbol> = row.key.creative.some(),
        source: Option<Symbol> = row.key.source.some(),
        channel: Option<Symbol> = row.key.channel.some(),
        country: Option<Symbol> = row.key.country.some(),
        name: Option<Symbol> = row.key.name.some(),
        hour: EventTime = row.key.hour,
        /// advertisements shown
        impressions: i64 = row.sums[0],
        /// advertisements clicked
        clicks: i64 = row.sums[1],
        /// installs but reinstalls and reattributions, each for the touch that won it
        installs: i64 = row.sums[2],
        /// conversions, each for the touch that has its last credit
        conversions: i64 = row.sums[3],
        revenue_micros: Micros = Micros(row.sums[4]),
        /// media cost, in millionths of the currency
        spend_micros: Micros = Micros(row.sums[5]),
        /// number of events, installs, conversions and costs that the row sums
        rows: i64 = row.sums[6],
    }
}

/// What one addition brings.
#[derive(Default)]
struct Brings {
    impressions: i64,
    clicks: i64,
    installs: i64,
    conversions: i64,
    revenue: Option<Micros>,
    spend: Option<Micros>,
}

fn addition(key: MetricsKey, brings: Brings) -> MetricsRow {
    let Brings { impressions, clicks, installs, conversions, revenue, spend } = brings;
    let micros = |amount: Option<Micros>| amount.map_or(0, |micros| micros.0);
    Sum { key, sums: [impressions, clicks, installs, conversions, micros(revenue), micros(spend), 1] }
}

/// What an impression or click adds.
pub fn of_event(event: &EventRow, zones: &Zones) -> Option<MetricsRow> {
    let (impressions, clicks) = match event.event_type {
        EventType::Impression => (1, 0),
        EventType::Click => (0, 1),
        _ => return None,
    };
    let EventRow { tenant, app, campaign, ad_group, creative, source, channel, country, event_time, .. } = *event;
    let (currency, name, hour) = (Symbol::NONE, Symbol::NONE, zones.hour(tenant, event_time));
    let key = MetricsKey { tenant, currency, app, campaign, ad_group, creative, source, channel, country, name, hour };
    Some(addition(key, Brings { impressions, clicks, ..Brings::default() }))
}

/// The key of a target that a touch won.
fn won(touch: Option<&PathTouch>, [tenant, app, country, currency, name]: [Symbol; 5], hour: EventTime) -> MetricsKey {
    let of = |field: fn(&PathTouch) -> Symbol| touch.map_or(Symbol::NONE, field);
    MetricsKey {
        tenant,
        currency,
        app,
        campaign: of(|touch| touch.campaign),
        ad_group: of(|touch| touch.ad_group),
        creative: of(|touch| touch.creative),
        source: of(|touch| touch.source),
        channel: channel(touch),
        country,
        name,
        hour,
    }
}

fn of_install(install: &InstallRow, zones: &Zones) -> Option<MetricsRow> {
    if install.reinstall || install.reattribution {
        return None;
    }
    let InstallRow { tenant, app, country, event_time, .. } = *install;
    let names = [tenant, app, country, Symbol::NONE, Symbol::NONE];
    let key = won(install.touch.as_ref(), names, zones.hour(tenant, event_time));
    Some(addition(key, Brings { installs: 1, ..Brings::default() }))
}

fn of_conversion(credited: &Credited, zones: &Zones) -> MetricsRow {
    let conversion = credited.target();
    let names = [conversion.tenant, conversion.app, conversion.country, conversion.currency, conversion.name];
    let key = won(credited.last_touch(), names, zones.hour(conversion.tenant, conversion.event_time));
    addition(key, Brings { conversions: 1, revenue: conversion.revenue, ..Brings::default() })
}

fn of_cost(row: &CostRow) -> MetricsRow {
    let CostRow { tenant, source, campaign, ad_group, hour, currency, cost, .. } = *row;
    let none = Symbol::NONE;
    let key = MetricsKey {
        tenant,
        currency,
        app: none,
        campaign,
        ad_group,
        creative: none,
        source,
        channel: none,
        country: none,
        name: none,
        hour,
    };
    addition(key, Brings { spend: cost, ..Brings::default() })
}

/// What installs, conversions and costs add.
pub fn others<'scope>(inputs: &mut Inputs<'scope>) -> VecCollection<'scope, Tick, MetricsRow, isize> {
    let attribution = inputs.attribution();
    let (zones, also) = (inputs.params.zones.clone(), inputs.params.zones.clone());
    let installs = each_change(attribution.installs.stream, "metrics of installs", move |row| of_install(row, &zones));
    let conversions = each_change(attribution.credited.stream, "metrics of conversions", move |credited| {
        Some(of_conversion(credited, &also))
    });
    let spend = each_change(inputs.costs().stream, "metrics of costs", |row| Some(of_cost(row)));
    installs.concat(conversions).concat(spend)
}

/// Builds it.
pub fn build<'scope>(inputs: &mut Inputs<'scope>) -> Output<'scope> {
    let (others, zones) = (others(inputs), inputs.params.zones.clone());
    Output::sums(inputs.events(), move |event| of_event(event, &zones), others)
}
