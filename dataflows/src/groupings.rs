//! What counts are grouped by, as a job file declares it: `[tenant, campaign, campaign+source, channel]`.

use std::fmt;
use std::str::FromStr;

use schemas::Symbol;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// What a tenant's counts can be grouped by.
const DIMENSIONS: [&str; 4] = ["campaign", "source", "channel", "country"];

/// The names of all groupings: each stands where its bits say, the first dimension's bit is the lowest.
const NAMES: [&str; 1 << DIMENSIONS.len()] = [
    "tenant",
    "campaign",
    "source",
    "campaign+source",
    "channel",
    "campaign+channel",
    "source+channel",
    "campaign+source+channel",
    "country",
    "campaign+country",
    "source+country",
    "campaign+source+country",
    "channel+country",
    "campaign+channel+country",
    "source+channel+country",
    "campaign+source+channel+country",
];

/// A choice of dimensions; none is the tenant as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Grouping(u8);

impl Grouping {
    /// The tenant as a whole.
    pub const TENANT: Grouping = Grouping(0);
    /// By campaign.
    pub const CAMPAIGN: Grouping = Grouping(1);
    /// By campaign and source.
    pub const CAMPAIGN_SOURCE: Grouping = Grouping(3);
    /// By source.
    pub const SOURCE: Grouping = Grouping(2);
    /// By channel.
    pub const CHANNEL: Grouping = Grouping(4);
    /// By country.
    pub const COUNTRY: Grouping = Grouping(8);

    /// As job files and tables have it.
    pub fn name(self) -> &'static str {
        NAMES[self.0 as usize]
    }

    /// Whether it groups by campaign.
    pub fn has_campaign(self) -> bool {
        self.0 & 1 != 0
    }

    /// A row that says what it groups by, in SQL.
    fn row(self) -> String {
        let by = |(bit, name): (usize, &&str)| format!("{} AS by_{name}", self.0 >> bit & 1 != 0);
        let by: Vec<String> = DIMENSIONS.iter().enumerate().map(by).collect();
        format!("SELECT '{}' AS grouping, {}", self.name(), by.join(", "))
    }

    /// The rows of these groupings in SQL: what is joined with them has [`GROUPED_COLUMNS`].
    pub fn table(groupings: &[Grouping]) -> String {
        groupings.iter().map(|grouping| grouping.row()).collect::<Vec<_>>().join(" UNION ALL ")
    }

    /// The group of something that has these: campaign, source, channel, country.
    pub fn group(self, tenant: Symbol, dimensions: [Symbol; 4]) -> Group {
        let mut kept = dimensions;
        for (bit, dimension) in kept.iter_mut().enumerate() {
            if self.0 >> bit & 1 == 0 {
                *dimension = Symbol::NONE;
            }
        }
        let [campaign, source, channel, country] = kept;
        Group { grouping: self, tenant, campaign, source, channel, country }
    }
}

impl FromStr for Grouping {
    type Err = String;

    fn from_str(text: &str) -> Result<Grouping, String> {
        if text == NAMES[0] {
            return Ok(Grouping::TENANT);
        }
        let mut bits = 0;
        for name in text.split('+').map(str::trim) {
            let Some(bit) = DIMENSIONS.iter().position(|dimension| *dimension == name) else {
                let all = DIMENSIONS.join(", ");
                return Err(format!("{text:?} is no grouping: write tenant, or some of {all}, as campaign+source"));
            };
            bits |= 1 << bit;
        }
        Ok(Grouping(bits))
    }
}

impl fmt::Display for Grouping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Serialize for Grouping {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for Grouping {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Grouping, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// The most groupings of a view: each is counted with each event.
const GROUPINGS_MAX: usize = 8;

/// Checks a list of groupings; the error names the field and what it may be.
pub(crate) fn check_groupings(name: &str, groupings: &[Grouping]) -> Result<(), String> {
    if groupings.is_empty() || groupings.len() > GROUPINGS_MAX {
        return Err(format!("{name} has {}: it may have 1 to {GROUPINGS_MAX}", groupings.len()));
    }
    let twice = |(at, grouping): (usize, &Grouping)| groupings[..at].contains(grouping);
    match groupings.iter().enumerate().find(|pair| twice(*pair)) {
        Some((_, grouping)) => Err(format!("{name} has {grouping} twice: name each once")),
        None => Ok(()),
    }
}

/// A group of a grouping.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Group {
    /// What it is one of.
    pub grouping: Grouping,
    /// Account.
    pub tenant: Symbol,
    /// Campaign, if grouped by.
    pub campaign: Symbol,
    /// Publisher or traffic source, if grouped by.
    pub source: Symbol,
    /// Marketing channel, if grouped by.
    pub channel: Symbol,
    /// Country, if grouped by.
    pub country: Symbol,
}

/// The columns of a group, as SQL names them.
pub const GROUP_COLUMNS: &str = "grouping, tenant, campaign, source, channel, country";

/// The same of rows that are joined with groupings: what is not grouped by is null.
pub const GROUPED_COLUMNS: &str = "grouping, tenant, CASE WHEN by_campaign THEN campaign END AS campaign, \
    CASE WHEN by_source THEN source END AS source, CASE WHEN by_channel THEN channel END AS channel, \
    CASE WHEN by_country THEN country END AS country";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_and_written() {
        for (bits, name) in NAMES.iter().enumerate() {
            assert_eq!(name.parse(), Ok(Grouping(bits as u8)));
        }
        assert_eq!("source + campaign".parse(), Ok(Grouping::CAMPAIGN_SOURCE));
        let error = "campaigns".parse::<Grouping>().unwrap_err();
        assert_eq!(
            error,
            "\"campaigns\" is no grouping: write tenant, or some of campaign, source, channel, country, as campaign+source"
        );
    }
}
