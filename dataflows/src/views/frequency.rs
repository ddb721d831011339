//! How often did a visitor see and click each campaign and channel, day by day?
//!
//! A day of a visitor is *sealed* once it is final: no impression or click of it can be accepted any more. Only then is its count
//! written, so a start reads counts of sealed days from the table instead of their events. Not all days
//! of all visitors are sealed at one tick: each visitor's is some part of a quarter of an hour after the day is final, by its id.
//!
//! **State.** Of each visitor counts by hour of the days that are not sealed, and by day of those after that as long as a window of the
//! calendar reaches back to them: 12 bytes each. What comes for a sealed day after all (in a run that lets records of any age in)
//! is added to its row.

use std::collections::HashMap;
use std::sync::{Arc, RwLock};

use foldhash::fast::FixedState;
use operators::{Expires, Keyed};
use schemas::units::{DAY_MS, HOUR_MS, MINUTE_MS};
use schemas::zones::Day;
use schemas::{EventTime, EventType, Subject, Symbol, Tick, Zones, columns};
use serde::{Deserialize, Serialize};

use crate::changes::Sum;
use crate::horizon::{Bounds, Horizons, Retention};
use crate::local_time;
use crate::needs::Needs;
use crate::params::Params;
use crate::sealing::Sealing;
use crate::view::{Maintained, View};
use crate::visitor_event::{DayCount, VisitorEvent, VisitorInput};

const COUNTED_SQL: &str = "\
WITH touches AS (
  SELECT tenant, coalesce(user_id, device_id) AS visitor, campaign, channel, type AS kind, {hour} AS hour, {date} AS date,
    unnest(make_array('campaign', 'channel')) AS grouping
  FROM {events}
  WHERE type IN ('impression', 'click') AND coalesce(user_id, device_id) IS NOT NULL
), grouped AS (
  SELECT tenant, visitor, grouping, CASE WHEN grouping = 'campaign' THEN campaign END AS campaign,
    CASE WHEN grouping = 'channel' THEN channel END AS channel, kind, hour, date, substr(encode(visitor, 'hex'), 1, 3) AS hash
  FROM touches
), counted AS (
  -- So many times 220 ms as the first three digits of its id say.
  SELECT grouped.*, {begins} AS day, {begins} + {length} AS ends,
    (strpos('0123456789abcdef', substr(hash, 1, 1)) * 256 + strpos('0123456789abcdef', substr(hash, 2, 1)) * 16
      + strpos('0123456789abcdef', substr(hash, 3, 1)) - 273) * 220 AS stagger
  FROM {dated}
  WHERE campaign IS NOT NULL OR channel IS NOT NULL
)";

/// Impressions and clicks as they are counted, in SQL: `counted`, with how long after it is final a visitor's day is sealed.
pub(super) fn counted_sql() -> String {
    let texts = [
        ("{hour}", local_time::hour("event_time")),
        ("{date}", local_time::date("event_time")),
        ("{events}", local_time::with_spans("events", "event_time")),
        ("{begins}", local_time::begins("date")),
        ("{length}", local_time::LENGTH_MS.to_owned()),
        ("{dated}", local_time::with_days("grouped", "date")),
    ];
    texts.iter().fold(COUNTED_SQL.to_owned(), |sql, (name, text)| sql.replace(name, text))
}

const SQL: &str = "\
SELECT tenant, visitor, grouping, campaign, channel, kind, day, count(*) AS events
FROM counted
WHERE ends + stagger < (SELECT final_before FROM as_of)
GROUP BY tenant, visitor, grouping, campaign, channel, kind, day
";

/// `frequency`.
pub static FREQUENCY: View = View {
    name: "frequency",
    question: "How often did a visitor see and click each campaign and channel, by day, once the day is final?",
    key: &["tenant", "visitor", "grouping", "campaign", "channel", "kind", "day"],
    read_by: &[&["tenant", "visitor"]],
    code: 1,
    reads: &["events", "as_of", "zone_spans", "zone_days"],
    sql: |_| format!("{} {SQL}", counted_sql()),
    maintained: Some(Maintained::sums::<FrequencyKey, 1>(needs)),
};

/// Days that are not sealed, with the hours by which the day of a record may lie in the day after; and what is sealed for as long as
/// a month reaches back.
fn needs(_: &Params, retention: Retention) -> Needs {
    Needs { sealed_ms: KEPT_MS + DAY_MS, ..Needs::until_final(retention).and_events(DAY_MS + HOUR_MS) }
}

/// How long after its beginning a day is kept: a month that has not ended began no earlier.
const KEPT_MS: i64 = 32 * DAY_MS;

/// What is counted of a visitor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Series {
    /// Account.
    pub tenant: Symbol,
    /// The campaign; none where it is counted by channel.
    pub campaign: Symbol,
    /// The channel; none where it is counted by campaign.
    pub channel: Symbol,
    /// An impression or a click.
    pub kind: EventType,
}

impl Series {
    /// What it is counted by.
    pub(super) fn grouping(&self) -> &'static str {
        if self.campaign == Symbol::NONE { "channel" } else { "campaign" }
    }

    /// What an impression or click counts for.
    fn of(event: &VisitorEvent) -> impl Iterator<Item = Series> {
        let VisitorEvent { tenant, event_type: kind, .. } = *event;
        let by_campaign = Series { tenant, campaign: event.campaign, channel: Symbol::NONE, kind };
        let by_channel = Series { tenant, campaign: Symbol::NONE, channel: event.channel, kind };
        [by_campaign, by_channel].into_iter().filter(|of| of.campaign != Symbol::NONE || of.channel != Symbol::NONE)
    }
}

/// What days are unique by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct FrequencyKey {
    visitor: Subject,
    series: Series,
    day: EventTime,
}

/// One row of `frequency`.
pub type FrequencyRow = Sum<FrequencyKey, 1>;

columns! {
    FrequencyRow, |row| {
        tenant: Symbol = row.key.series.tenant,
        /// user, else device
        visitor: Subject = row.key.visitor,
        /// what the row is grouped by, as campaign or campaign+source; tenant: all of it
        grouping: &'static str = row.key.series.grouping(),
        campaign: Option<Symbol> = row.key.series.campaign.some(),
        channel: Option<Symbol> = row.key.series.channel.some(),
        /// impression or click
        kind: &'static str = row.key.series.kind.name(),
        /// when the day began
        day: EventTime = row.key.day,
        /// number of impressions or clicks
        events: i64 = row.sums[0],
    }
}

/// How often something was in an hour or a day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Tile {
    /// The place of the series.
    series: u32,
    /// When it began, in half minutes since 1970: no zone's hour begins between them. The highest bit tells days from hours.
    starts: u32,
    /// More than 0, but while a start takes in the rows of a day: what one of them took away may come before what it was taken from.
    count: i32,
}

/// What is counted as a tile holds it.
fn count_of(count: i64) -> i32 {
    i32::try_from(count).expect("no visitor does so much in a day")
}

const IS_DAY: u32 = 1 << 31;

impl Tile {
    /// The beginning of an hour or a day; none where it has no place: before 1970 or after 4011.
    fn starts(time: EventTime) -> Option<u32> {
        u32::try_from(time.0.div_euclid(MINUTE_MS / 2)).ok().filter(|starts| starts & IS_DAY == 0)
    }

    fn place(&self) -> (u32, u32) {
        (self.series, self.starts)
    }

    fn is_day(&self) -> bool {
        self.starts & IS_DAY != 0
    }

    fn time(&self) -> EventTime {
        EventTime(i64::from(self.starts & !IS_DAY) * MINUTE_MS / 2)
    }
}

/// What is kept of a visitor.
#[derive(Clone, Default)]
pub struct Counts {
    /// In order of series and time, hours before days; none counts nothing.
    tiles: Vec<Tile>,
    /// When a day is to be sealed or to be dropped, at the earliest.
    due: Tick,
}

impl Counts {
    /// How often each series was, by hour and, on days that are sealed, by day: its place, when that began, how often.
    pub(super) fn all(&self) -> impl Iterator<Item = (usize, EventTime, i64)> {
        self.tiles.iter().map(|tile| (tile.series as usize, tile.time(), i64::from(tile.count)))
    }

    /// Adds to a tile, which goes when it counts nothing.
    fn add(&mut self, series: u32, starts: u32, more: i64) {
        match self.tiles.binary_search_by_key(&(series, starts), Tile::place) {
            Ok(at) => {
                self.tiles[at].count = count_of(i64::from(self.tiles[at].count) + more);
                if self.tiles[at].count == 0 {
                    self.tiles.remove(at);
                }
            }
            Err(at) => {
                if self.tiles.len() == self.tiles.capacity() {
                    // Most visitors have few: doubling would leave half of it unused.
                    self.tiles.reserve_exact(4 + at / 4);
                }
                self.tiles.insert(at, Tile { series, starts, count: count_of(more) });
            }
        }
    }
}

/// The series that tiles of a worker have the places of, for readers.
pub type SeriesNames = RwLock<Vec<Series>>;

/// The section of `frequency` in the records of visitors.
pub struct Frequency {
    sealing: Sealing,
    sealed_before: Tick,
    zones: Zones,
    horizons: Horizons,
    /// The series that were met, and their places: tiles have these.
    series: Vec<Series>,
    places: HashMap<Series, u32, FixedState>,
    /// The same series.
    names: Arc<SeriesNames>,
}

impl Frequency {
    /// The types of events that count.
    pub const TYPES: [EventType; 2] = [EventType::Impression, EventType::Click];

    /// Within these bounds.
    pub fn new(bounds: Bounds, zones: Zones, horizons: Horizons) -> Frequency {
        let Bounds { final_after_ms, sealed_before, .. } = bounds;
        let (sealing, (series, places, names)) = (Sealing { final_after_ms }, Default::default());
        Frequency { sealing, sealed_before, zones, horizons, series, places, names }
    }

    /// The series that are met.
    pub fn names(&self) -> Arc<SeriesNames> {
        Arc::clone(&self.names)
    }

    fn place(&mut self, series: Series) -> u32 {
        let next = u32::try_from(self.series.len()).expect("fewer campaigns and channels than bits tell apart");
        let place = *self.places.entry(series).or_insert(next);
        if place == next {
            self.series.push(series);
            self.names.write().expect("no panic while locked").push(series);
        }
        place
    }

    /// The day of a tile.
    fn day(&self, tile: &Tile) -> Day {
        self.zones.day(self.series[tile.series as usize].tenant, tile.time())
    }

    /// When nothing changes a sealed day any more, and no window reaches back to it.
    fn drops(&self, day: Day) -> Tick {
        self.horizons.target(day.ends).expiry().max((day.begins.0 + KEPT_MS).max(0) as Tick)
    }

    /// When something has to be done about a tile.
    fn tile_due(&self, visitor: Subject, tile: &Tile) -> Tick {
        let day = self.day(tile);
        if tile.is_day() { self.drops(day) } else { self.sealing.at(visitor, day.ends) }
    }

    /// Adds to what is counted of an hour, or of a day that is sealed, by its beginning.
    fn count(&mut self, visitor: Subject, counts: &mut Counts, series: u32, (begins, is_day): (EventTime, bool), more: i64) {
        let Some(starts) = Tile::starts(begins) else { return };
        let starts = if is_day { starts | IS_DAY } else { starts };
        let due = self.tile_due(visitor, &Tile { series, starts, count: 0 });
        counts.due = if counts.tiles.is_empty() { due } else { counts.due.min(due) };
        counts.add(series, starts, more);
    }

    fn row(&self, visitor: Subject, series: u32, day: Day, events: i64) -> FrequencyRow {
        Sum { key: FrequencyKey { visitor, series: self.series[series as usize], day: day.begins }, sums: [events] }
    }
}

impl Keyed for Frequency {
    type Key = Subject;
    type Event = VisitorInput;
    type Record = Counts;
    type Output = FrequencyRow;

    fn on_event(
        &mut self,
        visitor: Subject,
        counts: &mut Counts,
        input: &VisitorInput,
        diff: isize,
        now: Tick,
        out: &mut impl FnMut(FrequencyRow, isize),
    ) {
        let event = match input {
            VisitorInput::Event(event) if event.event_type.is_touch() => event,
            VisitorInput::Counted(DayCount { tenant, campaign, channel, kind, day, events }) => {
                let series = Series { tenant: *tenant, campaign: *campaign, channel: *channel, kind: *kind };
                let series = self.place(series);
                return self.count(visitor, counts, series, (*day, true), events * diff as i64);
            }
            _ => return,
        };
        let day = self.zones.day(event.tenant, event.time);
        let seals = self.sealing.at(visitor, day.ends);
        if seals < self.sealed_before || Tile::starts(day.begins).is_none() {
            return;
        }
        for series in Series::of(event) {
            let series = self.place(series);
            if seals <= now {
                self.count(visitor, counts, series, (day.begins, true), diff as i64);
                out(self.row(visitor, series, day, diff as i64), 1);
            } else {
                let hour = self.zones.hour(event.tenant, event.time);
                self.count(visitor, counts, series, (hour, false), diff as i64);
            }
        }
    }

    fn on_timer(&mut self, visitor: Subject, counts: &mut Counts, now: Tick, out: &mut impl FnMut(FrequencyRow, isize)) {
        if counts.due > now {
            return;
        }
        let is_due = |tile: &Tile| self.tile_due(visitor, tile) <= now;
        let due: Vec<Tile> = counts.tiles.extract_if(.., |tile| is_due(tile)).filter(|tile| !tile.is_day()).collect();
        let day = |tile: &Tile| (tile.series, self.day(tile).number);
        for hours in due.chunk_by(|one, other| day(one) == day(other)) {
            let (series, day) = (hours[0].series, self.day(&hours[0]));
            let events = hours.iter().map(|hour| i64::from(hour.count)).sum();
            out(self.row(visitor, series, day, events), 1);
            let starts = Tile::starts(day.begins).expect("it began after 1970");
            if self.drops(day) > now {
                counts.add(series, starts | IS_DAY, events);
            }
        }
        counts.due = counts.tiles.iter().map(|tile| self.tile_due(visitor, tile)).min().unwrap_or(0);
    }

    fn due(&self, counts: &Counts) -> Option<Tick> {
        (!counts.tiles.is_empty()).then_some(counts.due)
    }

    fn is_empty(&self, counts: &Counts) -> bool {
        counts.tiles.is_empty()
    }

    fn bytes(&self, counts: &Counts) -> usize {
        size_of_val(&*counts.tiles)
    }
}
