//! How late a record may be, for all types of events or by type.

use std::collections::BTreeMap;
use std::fmt;

use dataflows::params::Span;
use schemas::EventType;
use schemas::units::{DAY_MS, SECOND_MS};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Allowed lateness of a new lake where a job names none: 3 d, and 35 d for costs, which networks restate for weeks.
pub const ALLOWED_LATENESS_DEFAULT: (Span, Span) = (Span(3 * DAY_MS), Span(35 * DAY_MS));
/// The smallest and largest bounded allowed lateness.
pub const ALLOWED_LATENESS_RANGE: (Span, Span) = (Span(SECOND_MS), Span(365 * DAY_MS));

/// How late a record may be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lateness {
    /// At most this long.
    Within {
        /// Of all types of events but these.
        default: Span,
        /// Of these.
        by_type: BTreeMap<EventType, Span>,
    },
    /// However late.
    Unbounded,
}

impl Lateness {
    /// That of a type; none where records of it are never late.
    pub fn of(&self, event_type: EventType) -> Option<i64> {
        match self {
            Lateness::Within { default, by_type } => Some(by_type.get(&event_type).unwrap_or(default).0),
            Lateness::Unbounded => None,
        }
    }
}

impl fmt::Display for Lateness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Lateness::Within { default, by_type } => {
                default.fmt(f)?;
                by_type.iter().try_for_each(|(of, span)| write!(f, ", {} {span}", of.name()))
            }
            Lateness::Unbounded => f.write_str("unbounded"),
        }
    }
}

impl Default for Lateness {
    fn default() -> Lateness {
        let (default, of_costs) = ALLOWED_LATENESS_DEFAULT;
        Lateness::Within { default, by_type: [(EventType::Cost, of_costs)].into() }
    }
}

impl Serialize for Lateness {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Lateness::Unbounded => serializer.serialize_str("unbounded"),
            Lateness::Within { default, by_type } if by_type.is_empty() => serializer.collect_str(default),
            Lateness::Within { default, by_type } => {
                let by_type = by_type.iter().map(|(of, span)| (of.name(), span));
                serializer.collect_map([("default", default)].into_iter().chain(by_type))
            }
        }
    }
}

impl<'de> Deserialize<'de> for Lateness {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Lateness, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            ForAll(String),
            ByType(BTreeMap<String, String>),
        }
        let wrong = serde::de::Error::custom;
        let span = |text: &str| text.parse::<Span>().map_err(|error| wrong(format!("{error}; or `unbounded`")));
        let mut named = match Written::deserialize(deserializer)? {
            Written::ForAll(text) if text == "unbounded" => return Ok(Lateness::Unbounded),
            Written::ForAll(text) => return Ok(Lateness::Within { default: span(&text)?, by_type: BTreeMap::new() }),
            Written::ByType(named) => named,
        };
        let default = named.remove("default").map_or(Ok(ALLOWED_LATENESS_DEFAULT.0), |text| span(&text))?;
        let of = |name: String| {
            let known = || EventType::ALL.map(EventType::name).join(", ");
            EventType::from_name(&name).ok_or_else(|| wrong(format!("{name:?} is no type of events: {}", known())))
        };
        let by_type = named.into_iter().map(|(name, text)| Ok((of(name)?, span(&text)?))).collect::<Result<_, _>>()?;
        Ok(Lateness::Within { default, by_type })
    }
}
