//! The parameters of the views, as a job file names them. Durations read `7d`, `24h`, `90m`, `30s`, `500ms`.

use std::collections::BTreeMap;
use std::fmt;

use schemas::units::{DAY_MS, HOUR_MS, MINUTE_MS};
use schemas::{DeviceId, EventType, JoinKey, Symbol, UserId, Zones};
use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::cohort::CohortsParams;
use crate::funnels::{self, Funnel};
use crate::groupings::{Grouping, check_groupings};
pub use crate::span::Span;
pub use crate::thousandths::Thousandths;

/// A window per channel: `7d`, or `{ default: 7d, search: 30d }`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Windows {
    /// The window of channels that are not named.
    pub default: Span,
    /// The window of a named channel.
    pub by_channel: BTreeMap<String, Span>,
}

impl Serialize for Windows {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let default = std::iter::once(("default", &self.default));
        serializer.collect_map(default.chain(self.by_channel.iter().map(|(channel, span)| (channel.as_str(), span))))
    }
}

impl<'de> Deserialize<'de> for Windows {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Windows, D::Error> {
        deserializer.deserialize_any(WindowsVisitor)
    }
}

/// By hand, because an untagged enum would lose where in a job file a mistake is.
struct WindowsVisitor;

impl<'de> Visitor<'de> for WindowsVisitor {
    type Value = Windows;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a duration, as 7d, or one per channel, as { default: 7d, search: 30d }")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Windows, E> {
        text.parse().map(Windows::all).map_err(E::custom)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Windows, A::Error> {
        let mut by_channel = BTreeMap::new();
        while let Some((channel, span)) = entries.next_entry::<String, Span>()? {
            by_channel.insert(channel, span);
        }
        let default = by_channel.remove("default").ok_or_else(|| de::Error::missing_field("default"))?;
        Ok(Windows { default, by_channel })
    }
}

impl Windows {
    /// The same window for every channel.
    pub fn all(default: Span) -> Windows {
        Windows { default, by_channel: BTreeMap::new() }
    }

    /// The window of each named channel by its symbol.
    pub fn by_symbol(&self) -> BTreeMap<Symbol, Span> {
        self.by_channel.iter().map(|(channel, span)| (Symbol::of(channel), *span)).collect()
    }
}

/// Who is one person: by which ids a touch, an install and a conversion of one app belong together.
///
/// The field is younger than the lakes of release 0.1.0: a job file without it asks for the first rule, the views of a lake whose
/// `lake.json` is without it were made by the second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PersonRule {
    /// The same device or the same user.
    #[default]
    DeviceOrUser,
    /// The same device; the same user where neither has a device.
    DeviceElseUser,
}

impl PersonRule {
    /// The keys of an event with these ids, at most two: its person's first, then its user's where it has a device too.
    pub fn keys(self, app: Symbol, device: DeviceId, user: UserId) -> impl Iterator<Item = JoinKey> {
        let person = JoinKey::person(app, device, user);
        let beside = match self {
            PersonRule::DeviceOrUser => JoinKey::user(app, user).filter(|_| !device.is_none()),
            PersonRule::DeviceElseUser => None,
        };
        person.into_iter().chain(beside)
    }
}

/// Parameters of `installs` (and of the paths that `credits` follows).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct InstallsParams {
    /// Who is one person: `device_or_user` or `device_else_user`.
    pub person: PersonRule,
    /// Whether the other ids that `identify` events link with those of an install or conversion are its person's, too.
    pub identity: bool,
    /// How long a click can be credited: 1 d to 90 d.
    pub click_window: Windows,
    /// How long an impression can be credited: 1 h to 7 d.
    pub view_window: Windows,
    /// How long a fingerprint can match: 1 h to 24 h.
    pub fingerprint_window: Span,
    /// How long an install speaks for its person: 1 d to 3650 d.
    pub attribution_lifetime: Span,
    /// After how many days without a device in an app its next install or open there is attributed anew: 1 d to 365 d.
    pub reattribution_after: Span,
}

impl Default for InstallsParams {
    fn default() -> InstallsParams {
        InstallsParams {
            person: PersonRule::DeviceOrUser,
            identity: false,
            click_window: Windows::all(Span(7 * DAY_MS)),
            view_window: Windows::all(Span(DAY_MS)),
            fingerprint_window: Span(DAY_MS),
            attribution_lifetime: Span(365 * DAY_MS),
            reattribution_after: Span(90 * DAY_MS),
        }
    }
}

/// Parameters of `credits`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CreditsParams {
    /// Time in which a touch loses half its weight under `time_decay`: whole hours, at least 36.
    pub half_life: Span,
    /// Channels that `last_non_direct` passes over.
    pub direct_channels: Vec<String>,
}

impl Default for CreditsParams {
    fn default() -> CreditsParams {
        CreditsParams { half_life: Span(7 * DAY_MS), direct_channels: vec!["direct".to_owned()] }
    }
}

/// Parameters of `sessions`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SessionsParams {
    /// The longest time between two events of a session: 1 m to 12 h.
    pub gap: Span,
    /// The types of events that sessions are made of.
    pub types: Vec<EventType>,
}

impl Default for SessionsParams {
    fn default() -> SessionsParams {
        let types = EventType::ALL.into_iter().filter(|of| *of != EventType::Identify && of.is_of_visitors());
        SessionsParams { gap: Span(30 * MINUTE_MS), types: types.collect() }
    }
}

/// Parameters of `paths`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PathsParams {
    /// How long a path goes on without a touch or conversion, and how far it reaches back: 1 h to 90 d.
    pub idle: Span,
}

impl Default for PathsParams {
    fn default() -> PathsParams {
        PathsParams { idle: Span(30 * DAY_MS) }
    }
}

/// Parameters of `uniques`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct UniquesParams {
    /// What visitors are counted by.
    pub groupings: Vec<Grouping>,
}

impl Default for UniquesParams {
    fn default() -> UniquesParams {
        UniquesParams { groupings: vec![Grouping::TENANT, Grouping::CAMPAIGN, Grouping::CHANNEL] }
    }
}

/// Parameters of `metrics_sliding`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SlidingParams {
    /// What metrics are summed by.
    pub groupings: Vec<Grouping>,
}

impl Default for SlidingParams {
    fn default() -> SlidingParams {
        let groupings = vec![Grouping::TENANT, Grouping::CAMPAIGN, Grouping::CAMPAIGN_SOURCE, Grouping::CHANNEL];
        SlidingParams { groupings }
    }
}

/// Parameters of `identity`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct IdentityParams {
    /// Of how many ids more than these are no person: 2 to 1000000.
    pub large_above: u32,
    /// When ids that were seen together are taken for those of one person, too; never, where it is not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub likely: Option<LikelyParams>,
}

/// When ids that were seen with one fingerprint in one hour belong to one person.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LikelyParams {
    /// On how many days they were, at least: 1 to 365.
    pub days: i64,
    /// How sure that is, at least, from 0 to 1: see `likely_links`.
    pub score: Thousandths,
}

impl Default for LikelyParams {
    fn default() -> LikelyParams {
        LikelyParams { days: 3, score: Thousandths(500) }
    }
}

/// Parameters of `anomalies`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AnomaliesParams {
    /// What metrics are summed by.
    pub groupings: Vec<Grouping>,
    /// How far from its median an hour is out of bounds, in deviations that are estimated from the MAD: 0.5 to 100.
    pub bound: Thousandths,
    /// So many hours out of bounds, one after the other on the same side, are an alert: 1 to 24.
    pub hours: i64,
    /// The least MAD of counts, in events: 1 to 1,000,000,000.
    pub floor_events: i64,
    /// The least MAD of amounts, in millionths of the currency: 1,000 to 1,000,000,000,000,000.
    pub floor_micros: i64,
    /// The least MAD in percent of the median: 0 to 100.
    pub floor_percent: i64,
}

impl Default for AnomaliesParams {
    fn default() -> AnomaliesParams {
        AnomaliesParams {
            groupings: vec![Grouping::CAMPAIGN],
            bound: Thousandths(3_500),
            hours: 2,
            floor_events: 3,
            floor_micros: 10_000_000,
            floor_percent: 5,
        }
    }
}

impl Default for IdentityParams {
    fn default() -> IdentityParams {
        IdentityParams { large_above: 1_000, likely: None }
    }
}

/// What `large_above` may be.
const LARGE_ABOVE: std::ops::RangeInclusive<u32> = 2..=1_000_000;

/// Views whose state a start takes from the tables of others, each after those that it takes it from.
const LOADED: [(&str, &[&str]); 7] = [
    ("installs", &["activity"]),
    ("credits", &["installs"]),
    ("metrics_hourly", &["installs"]),
    ("metrics_sliding", &["installs"]),
    ("anomalies", &["installs"]),
    ("firsts", &["installs"]),
    ("cohorts", &["firsts"]),
];

/// The parameters of all views.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Params {
    /// The views that a job maintains, beside those from whose tables their state comes; all where it names none. The others are read by
    /// their SQL.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub only: Vec<String>,
    /// A visitor that was not there for so long is a new one: 62 d to 3650 d.
    pub forget_after: Span,
    /// Parameters of `installs`.
    pub installs: InstallsParams,
    /// Parameters of `credits`.
    pub credits: CreditsParams,
    /// Parameters of `sessions`.
    pub sessions: SessionsParams,
    /// Parameters of `paths`.
    pub paths: PathsParams,
    /// Parameters of `uniques`.
    pub uniques: UniquesParams,
    /// Parameters of `metrics_sliding`.
    pub metrics_sliding: SlidingParams,
    /// Parameters of `anomalies`.
    pub anomalies: AnomaliesParams,
    /// The funnels of `funnel_steps` and `funnels`; none where it is empty.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub funnels: Vec<Funnel>,
    /// Parameters of `identity`.
    pub identity: IdentityParams,
    /// Parameters of `cohorts`.
    pub cohorts: CohortsParams,
    /// The time zones of tenants. No parameter that a job may change: the lake keeps them, and the SQL of views joins them as rows.
    #[serde(skip)]
    pub zones: Zones,
}

impl Default for Params {
    fn default() -> Params {
        let (zones, only, funnels, installs, credits, sessions, paths, uniques, metrics_sliding) = Default::default();
        let (anomalies, identity, cohorts, forget_after) =
            (Default::default(), Default::default(), Default::default(), Span(400 * DAY_MS));
        Params {
            zones,
            only,
            forget_after,
            installs,
            credits,
            sessions,
            paths,
            uniques,
            metrics_sliding,
            anomalies,
            identity,
            funnels,
            cohorts,
        }
    }
}

impl Params {
    /// Whether a job with these maintains the view.
    pub fn maintains(&self, view: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|name| name == view)
    }

    /// What the rows of a view are grouped by, as its column `grouping` has it; none where no job says that.
    pub fn groupings(&self, view: &str) -> Option<Vec<Grouping>> {
        let mut groupings = match view {
            "metrics_sliding" => self.metrics_sliding.groupings.clone(),
            "uniques" => self.uniques.groupings.clone(),
            "anomalies" | "forecasts" => self.anomalies.groupings.clone(),
            "cohorts" | "retention" => {
                self.cohorts.definitions.iter().flat_map(|cohort| cohort.groupings.clone()).collect()
            }
            _ => return None,
        };
        groupings.sort_unstable();
        groupings.dedup();
        Some(groupings)
    }

    /// Adds to the views that a job names those from whose tables their state comes.
    pub fn complete(&mut self) {
        let links = self.installs.identity.then_some(("installs", &["identity_links"][..]));
        let hours = self.identity.likely.map(|_| ("identity", &["shared_hours"][..]));
        for (view, of_tables) in LOADED.into_iter().rev().chain(links).chain(hours) {
            for of in of_tables {
                if self.maintains(view) && !self.maintains(of) {
                    self.only.push((*of).to_owned());
                }
            }
        }
    }

    /// Checks every range; the error names the field and what it may be.
    pub fn validate(&self) -> Result<(), String> {
        let installs = &self.installs;
        for (name, windows, low, high) in [
            ("click_window", &installs.click_window, Span(DAY_MS), Span(90 * DAY_MS)),
            ("view_window", &installs.view_window, Span(HOUR_MS), Span(7 * DAY_MS)),
        ] {
            within(&format!("views.installs.{name}.default"), windows.default, low, high)?;
            for (channel, span) in &windows.by_channel {
                within(&format!("views.installs.{name}.{channel}"), *span, low, high)?;
            }
        }
        within("views.forget_after", self.forget_after, Span(62 * DAY_MS), Span(3650 * DAY_MS))?;
        within("views.sessions.gap", self.sessions.gap, Span(MINUTE_MS), Span(12 * HOUR_MS))?;
        if self.sessions.types.is_empty() {
            return Err("views.sessions.types is empty: name types of events, as [click, open, conversion]".to_owned());
        }
        if let Some(of) = self.sessions.types.iter().find(|of| !of.is_of_visitors()) {
            return Err(format!("views.sessions.types has {}: no visitor does that", of.name()));
        }
        within("views.paths.idle", self.paths.idle, Span(HOUR_MS), Span(90 * DAY_MS))?;
        check_groupings("views.uniques.groupings", &self.uniques.groupings)?;
        check_groupings("views.metrics_sliding.groupings", &self.metrics_sliding.groupings)?;
        funnels::check(&self.funnels, self.forget_after)?;
        let anomalies = &self.anomalies;
        check_groupings("views.anomalies.groupings", &anomalies.groupings)?;
        within("views.anomalies.bound", anomalies.bound, Thousandths(500), Thousandths(100_000))?;
        within("views.anomalies.hours", anomalies.hours, 1, 24)?;
        within("views.anomalies.floor_events", anomalies.floor_events, 1, 1_000_000_000)?;
        within("views.anomalies.floor_micros", anomalies.floor_micros, 1_000, 1_000_000_000_000_000)?;
        within("views.anomalies.floor_percent", anomalies.floor_percent, 0, 100)?;
        let large_above = self.identity.large_above;
        if !LARGE_ABOVE.contains(&large_above) {
            let (low, high) = (LARGE_ABOVE.start(), LARGE_ABOVE.end());
            return Err(format!("views.identity.large_above is {large_above}: it may be {low} to {high}"));
        }
        if let Some(likely) = self.identity.likely {
            within("views.identity.likely.days", likely.days, 1, 365)?;
            within("views.identity.likely.score", likely.score, Thousandths(0), Thousandths(1_000))?;
        }
        self.cohorts.check()?;
        within("views.installs.fingerprint_window", installs.fingerprint_window, Span(HOUR_MS), Span(DAY_MS))?;
        let lifetime = installs.attribution_lifetime;
        within("views.installs.attribution_lifetime", lifetime, Span(DAY_MS), Span(3650 * DAY_MS))?;
        let after = installs.reattribution_after;
        within("views.installs.reattribution_after", after, Span(DAY_MS), Span(365 * DAY_MS))?;
        if after.0 % DAY_MS != 0 {
            return Err(format!("views.installs.reattribution_after is {after}: it may be whole days only, as 90d"));
        }
        if after >= self.forget_after {
            return Err(format!(
                "views.installs.reattribution_after is {after}: it must be less than views.forget_after, {}, after which a device is \
                 a new one",
                self.forget_after
            ));
        }
        let half_life = self.credits.half_life;
        within("views.credits.half_life", half_life, Span(36 * HOUR_MS), Span(365 * DAY_MS))?;
        if half_life.0 % HOUR_MS != 0 {
            return Err(format!("views.credits.half_life is {half_life}: it may be whole hours only, as 36h or 7d"));
        }
        Ok(())
    }
}

fn within<V: PartialOrd + fmt::Display>(field: &str, value: V, low: V, high: V) -> Result<(), String> {
    if value < low || value > high {
        return Err(format!("{field} is {value}: it may be {low} to {high}"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_checked_by_name() {
        let mut params = Params::default();
        assert_eq!(params.validate(), Ok(()));
        params.installs.click_window.by_channel.insert("search".to_owned(), Span(91 * DAY_MS));
        assert_eq!(params.validate().unwrap_err(), "views.installs.click_window.search is 91d: it may be 1d to 90d");
        params = Params::default();
        params.installs.view_window.default = Span(8 * DAY_MS);
        assert_eq!(params.validate().unwrap_err(), "views.installs.view_window.default is 8d: it may be 1h to 7d");
        params = Params::default();
        params.identity.large_above = 1;
        assert_eq!(params.validate().unwrap_err(), "views.identity.large_above is 1: it may be 2 to 1000000");
        params = Params::default();
        params.anomalies.bound = Thousandths(250);
        assert_eq!(params.validate().unwrap_err(), "views.anomalies.bound is 0.25: it may be 0.5 to 100");
        params = Params::default();
        params.anomalies.hours = 25;
        assert_eq!(params.validate().unwrap_err(), "views.anomalies.hours is 25: it may be 1 to 24");
    }
}
