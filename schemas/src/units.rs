//! Units: time in milliseconds, money in micros, always integers.

use serde::{Deserialize, Serialize};

/// The dataflow's time: milliseconds since the Unix epoch, UTC. It follows *arrival*, never a clock read by a view.
pub type Tick = u64;

/// When a thing happened: milliseconds since the Unix epoch, UTC. Data, not progress.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct EventTime(pub i64);

/// Millionths of the account currency. Sums never cross a currency.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Micros(pub i64);

/// Milliseconds in a second.
pub const SECOND_MS: i64 = 1_000;
/// Milliseconds in a minute.
pub const MINUTE_MS: i64 = 60 * SECOND_MS;
/// Milliseconds in an hour.
pub const HOUR_MS: i64 = 60 * MINUTE_MS;
/// Milliseconds in a day.
pub const DAY_MS: i64 = 24 * HOUR_MS;

/// The largest amount a record may carry, in micros: 2^53. A larger one is a dead letter, so that every reader that
/// keeps numbers as doubles (JavaScript, JSON) sees it exactly, and products with weights fit an `i128`.
pub const AMOUNT_MICROS_MAX: i64 = 1 << 53;

/// The latest time that a record may carry: the end of 9999, in ms since the Unix epoch.
pub const TIME_MS_MAX: i64 = 253_402_300_799_999;
