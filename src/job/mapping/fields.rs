//! The fields of an event that a mapping can set.

use schemas::wire::Event;

/// Where a field lives in the wire form of an event.
#[derive(Clone, Copy, Debug)]
pub(super) enum Setter {
    /// A text; empty is absent.
    Text(fn(&mut Event) -> &mut String),
    /// A number, amount or time.
    Number(fn(&mut Event) -> &mut Option<i64>),
}

/// What the text of a field must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Any text.
    Text,
    /// A whole number.
    Whole,
    /// An amount: micros, or units with at most six decimals (`unit: units`).
    Amount,
    /// A time, with its `format`.
    Time,
}

/// The fields that `set` can name, with what their texts must be. (`event_time` has a key of its own; item lines have
/// no place in a row.)
pub fn fields() -> impl Iterator<Item = (&'static str, Kind)> {
    SETTERS.iter().map(|(name, kind, _)| (*name, *kind))
}

macro_rules! text {
    ($field:ident) => {
        (stringify!($field), Kind::Text, Setter::Text(|event| &mut event.$field))
    };
}

macro_rules! number {
    ($field:ident, $kind:ident) => {
        (stringify!($field), Kind::$kind, Setter::Number(|event| &mut event.$field))
    };
}

pub(super) const SETTERS: [(&str, Kind, Setter); 29] = [
    text!(event_id),
    text!(tenant),
    text!(app),
    text!(user),
    text!(device),
    text!(click_id),
    text!(referrer),
    text!(login),
    text!(campaign),
    text!(ad_group),
    text!(creative),
    text!(source),
    text!(channel),
    text!(placement),
    text!(ip),
    text!(user_agent),
    text!(os),
    text!(os_version),
    text!(device_model),
    text!(language),
    text!(country),
    text!(name),
    text!(item),
    number!(quantity, Whole),
    number!(revenue_micros, Amount),
    number!(cost_micros, Amount),
    text!(currency),
    number!(version, Whole),
    number!(install_begin_time, Time),
];
