//! How many visitors were there, by hour, by day, and in the 7 and 30 days that end with each day?
//!
//! A log of sums: a visitor counts once in each hour and day of a group in which it did anything, and one that comes twice in a day
//! adds nothing. A window of days has a row for each day that it can end with, once that day is over: a visitor counts in those of the
//! days in which it was there and of the 6 (29) days after them. Of that its record says only where it begins and ceases to count,
//! and the record of a group adds up ([`Ends`]): so the night costs an addition a group, however many visitors there are.

use std::collections::BTreeMap;

use differential_dataflow::VecCollection;
use operators::{Expires, Keyed, keyed};
use schemas::units::{DAY_MS, HOUR_MS, MINUTE_MS};
use schemas::{EventTime, EventType, Subject, Symbol, Tick, columns};
use serde::{Deserialize, Serialize};

use crate::changes::Sum;
use crate::groupings::{GROUP_COLUMNS, GROUPED_COLUMNS, Group, Grouping};
use crate::deed::Deed;
use crate::horizon::Horizons;
use crate::params::{Params, UniquesParams};
use crate::view::{Maintained, Output, View};
use crate::views::costs::hour;

const SQL: &str = "\
WITH groupings AS (
  {groupings}
), kinds AS (
  SELECT 'any' AS kind UNION ALL SELECT 'impression' UNION ALL SELECT 'click'
), grouped AS (
  -- Other events have a campaign by chance: that tells of nobody that it was seen.
  SELECT {grouped}, type, coalesce(user_id, device_id) AS visitor, event_time - event_time % 3600000 AS hour
  FROM events CROSS JOIN groupings
  WHERE type NOT IN ('cost', 'identify') AND coalesce(user_id, device_id) IS NOT NULL
    AND (type IN ('impression', 'click') OR NOT by_campaign)
), seen AS (
  SELECT DISTINCT {group}, visitor, kind, hour FROM grouped CROSS JOIN kinds WHERE kind = 'any' OR kind = type
), days AS (
  SELECT DISTINCT {group}, visitor, kind, hour - hour % 86400000 AS day FROM seen
), windows AS (
  SELECT '7d' AS period, unnest(range(0, 7)) AS later UNION ALL SELECT '30d', unnest(range(0, 30))
), ends AS (
  SELECT DISTINCT {group}, visitor, kind, period, day + later * 86400000 AS bucket FROM days CROSS JOIN windows
)
SELECT {group}, kind, 'hour' AS period, hour AS bucket, count(*) AS visitors FROM seen GROUP BY {group}, kind, hour
UNION ALL
SELECT {group}, kind, 'day', day, count(*) FROM days GROUP BY {group}, kind, day
UNION ALL
-- A day that a window can end with is told a quarter of an hour after it is over.
SELECT {group}, kind, period, bucket, count(*) FROM ends CROSS JOIN as_of WHERE bucket + 87300000 < cut
GROUP BY {group}, kind, period, bucket
";

/// How long after a day the windows that end with it are told.
const TOLD_AFTER_MS: i64 = 15 * MINUTE_MS;

/// `uniques`.
pub static UNIQUES: View = View {
    name: "uniques",
    question: "How many visitors were there each hour and day, and in the 7 and 30 days up to each day?",
    key: &["grouping", "tenant", "campaign", "source", "channel", "country", "kind", "period", "bucket"],
    code: 1,
    reads: &["events", "as_of"],
    sql,
    maintained: Some(Maintained::sums::<UniquesKey, 1>()),
};

fn sql(params: &Params) -> String {
    let groupings = Grouping::table(&params.uniques.groupings);
    let texts = [("{groupings}", &*groupings), ("{grouped}", GROUPED_COLUMNS), ("{group}", GROUP_COLUMNS)];
    texts.iter().fold(SQL.to_owned(), |sql, (name, text)| sql.replace(name, text))
}

/// What a visitor did in a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Kind {
    /// Anything.
    Any,
    /// It saw an advertisement.
    Impression,
    /// It clicked one.
    Click,
}

impl Kind {
    const ALL: [Kind; 3] = [Kind::Any, Kind::Impression, Kind::Click];

    fn name(self) -> &'static str {
        match self {
            Kind::Any => "any",
            Kind::Impression => "impression",
            Kind::Click => "click",
        }
    }
}

/// How long a visitor counts once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Period {
    /// In an hour.
    Hour,
    /// In a day.
    Day,
    /// In a day and the six before it.
    Days7,
    /// In a day and the 29 before it.
    Days30,
}

impl Period {
    fn name(self) -> &'static str {
        match self {
            Period::Hour => "hour",
            Period::Day => "day",
            Period::Days7 => "7d",
            Period::Days30 => "30d",
        }
    }
}

/// The windows of days, and how many they have.
const WINDOWS: [(Period, i64); 2] = [(Period::Days7, 7), (Period::Days30, 30)];

/// What visitors are counted by, but for the time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Series {
    group: Group,
    kind: Kind,
    period: Period,
}

/// What visitors are counted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UniquesKey {
    series: Series,
    bucket: EventTime,
}

/// One row of `uniques`.
pub type UniquesRow = Sum<UniquesKey, 1>;

columns! {
    UniquesRow, |row| {
        /// what the row is grouped by, as campaign+source; tenant: all of it
        grouping: &'static str = row.key.series.group.grouping.name(),
        tenant: Symbol = row.key.series.group.tenant,
        campaign: Option<Symbol> = row.key.series.group.campaign.some(),
        source: Option<Symbol> = row.key.series.group.source.some(),
        channel: Option<Symbol> = row.key.series.group.channel.some(),
        country: Option<Symbol> = row.key.series.group.country.some(),
        /// what they did: any, impression or click
        kind: &'static str = row.key.series.kind.name(),
        /// in how long a visitor counts once: hour, day, 7d or 30d
        period: &'static str = row.key.series.period.name(),
        /// when the hour or day began, or the last day of 7d or 30d
        bucket: EventTime = row.key.bucket,
        /// number of visitors
        visitors: i64 = row.sums[0],
    }
}

/// What the record of a visitor tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Told {
    /// It counts in this hour or day.
    Counts(UniquesKey),
    /// It counts in the windows that end with this day since 1970 and those after it.
    From(Series, i64),
}

/// What a visitor did in an hour, in one of its groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Tile {
    /// The place of the group.
    group: u16,
    /// Hours since 1970.
    hour: i32,
    /// How often, by kind.
    counts: [u32; 3],
}

/// What is kept of a visitor: its groups, and what it did in which hour, in order.
#[derive(Default)]
pub struct Seen {
    groups: Vec<Group>,
    tiles: Vec<Tile>,
    /// When a tile may go, at the earliest; 0 where there is none.
    due: Tick,
}

impl Seen {
    fn group(&mut self, group: Group) -> u16 {
        let at = self.groups.iter().position(|of| *of == group).unwrap_or_else(|| {
            self.groups.push(group);
            self.groups.len() - 1
        });
        u16::try_from(at).expect("a visitor has fewer groups than bits tell apart")
    }

    /// The tiles of a group.
    fn of(&self, group: u16) -> &[Tile] {
        let from = self.tiles.partition_point(|tile| tile.group < group);
        &self.tiles[from..][..self.tiles[from..].partition_point(|tile| tile.group == group)]
    }
}

/// The section of `uniques` in the records of visitors.
pub struct Uniques {
    groupings: Vec<Grouping>,
    horizons: Horizons,
}

fn day(hour: i32) -> i64 {
    i64::from(hour).div_euclid(24)
}

impl Uniques {
    /// The types of events that count.
    pub const TYPES: [EventType; 6] = [
        EventType::Impression,
        EventType::Click,
        EventType::Install,
        EventType::Open,
        EventType::Event,
        EventType::Conversion,
    ];

    /// With these parameters, where records are accepted as long as that says.
    pub fn new(params: &UniquesParams, horizons: Horizons) -> Uniques {
        Uniques { groupings: params.groupings.clone(), horizons }
    }

    /// When what a visitor did in an hour tells nothing any more: no event comes or goes within the longest window of it.
    fn final_at(&self, hour: i32) -> Tick {
        self.horizons.target(EventTime((day(hour) + 31) * DAY_MS)).expiry()
    }

    /// Takes in that an event came to, or went from, a group of a visitor.
    fn count(&self, seen: &mut Seen, group: Group, deed: &Deed, diff: isize, out: &mut impl FnMut(Told, isize)) {
        let place = seen.group(group);
        let hour_of = hour(deed.time);
        let hour = (hour_of.0 / HOUR_MS) as i32;
        let at = seen.tiles.partition_point(|tile| (tile.group, tile.hour) < (place, hour));
        if seen.tiles.get(at).is_none_or(|tile| (tile.group, tile.hour) != (place, hour)) {
            assert!(diff > 0, "what goes had come");
            seen.tiles.insert(at, Tile { group: place, hour, counts: [0; 3] });
            let due = self.final_at(hour);
            seen.due = if seen.due == 0 { due } else { seen.due.min(due) };
        }
        let before = seen.tiles[at].counts;
        for kind in Kind::ALL {
            let is_kind = match kind {
                Kind::Any => true,
                Kind::Impression => deed.event_type == EventType::Impression,
                Kind::Click => deed.event_type == EventType::Click,
            };
            if is_kind {
                let count = &mut seen.tiles[at].counts[kind as usize];
                *count = count.checked_add_signed(diff as i32).expect("events of an hour fit 32 bits, and none goes that had not come");
            }
        }
        let after = seen.tiles[at].counts;
        for kind in Kind::ALL {
            let (was, is) = (before[kind as usize] > 0, after[kind as usize] > 0);
            if was != is {
                let diff = if is { 1 } else { -1 };
                let series = |period| Series { group, kind, period };
                out(Told::Counts(UniquesKey { series: series(Period::Hour), bucket: hour_of }), diff);
                self.tell_day(seen.of(place), hour, kind, series, diff, out);
            }
        }
        if after[Kind::Any as usize] == 0 {
            seen.tiles.remove(at);
        }
    }

    /// Tells what follows for days of that a visitor was there in an hour and had not been, or had been and was not.
    fn tell_day(
        &self,
        tiles: &[Tile],
        hour: i32,
        kind: Kind,
        series: impl Fn(Period) -> Series,
        diff: isize,
        out: &mut impl FnMut(Told, isize),
    ) {
        let day_of = day(hour);
        let others = tiles.iter().filter(|tile| tile.hour != hour && tile.counts[kind as usize] > 0);
        let (mut before, mut after) = (None, None);
        for other in others.map(|tile| day(tile.hour)) {
            if other == day_of {
                return;
            } else if other < day_of {
                before = Some(other);
            } else if after.is_none() {
                after = Some(other);
            }
        }
        let bucket = EventTime(day_of * DAY_MS);
        out(Told::Counts(UniquesKey { series: series(Period::Day), bucket }), diff);
        for (period, days) in WINDOWS {
            // The windows in which it counts by this day alone.
            let from = before.map_or(day_of, |before| day_of.max(before + days));
            let to = after.map_or(day_of + days, |after| after.min(day_of + days));
            if from < to {
                out(Told::From(series(period), from), diff);
                out(Told::From(series(period), to), -diff);
            }
        }
    }
}

impl Keyed for Uniques {
    type Key = Subject;
    type Event = Deed;
    type Record = Seen;
    type Output = Told;

    fn on_event(
        &mut self,
        _: Subject,
        seen: &mut Seen,
        deed: &Deed,
        diff: isize,
        _: Tick,
        out: &mut impl FnMut(Told, isize),
    ) {
        if !Uniques::TYPES.contains(&deed.event_type) {
            return;
        }
        let dimensions = [deed.campaign, deed.source, deed.channel, deed.country];
        for grouping in self.groupings.iter().filter(|of| deed.event_type.is_touch() || !of.has_campaign()) {
            self.count(seen, grouping.group(deed.tenant, dimensions), deed, diff, out);
        }
    }

    fn on_timer(&mut self, _: Subject, seen: &mut Seen, now: Tick, _: &mut impl FnMut(Told, isize)) {
        if seen.due > now {
            return;
        }
        seen.tiles.retain(|tile| self.final_at(tile.hour) > now);
        seen.due = seen.tiles.iter().map(|tile| self.final_at(tile.hour)).min().unwrap_or(0);
        if seen.tiles.is_empty() {
            seen.groups = Vec::new();
        }
    }

    fn due(&self, seen: &Seen) -> Option<Tick> {
        (!seen.tiles.is_empty()).then_some(seen.due)
    }

    fn is_empty(&self, seen: &Seen) -> bool {
        seen.tiles.is_empty()
    }
}

/// Adds up how many visitors count in the windows that end with each day.
struct DayEnds;

/// The windows of one series.
#[derive(Default)]
struct Ends {
    /// What was told: that many visitors for the day before `next`.
    visitors: i64,
    /// The day that is told next.
    next: Option<i64>,
    /// How many more count from a day on that was told already, and was told otherwise.
    late: BTreeMap<i64, i64>,
    /// How many more count from a day on, of the days to come.
    coming: BTreeMap<i64, i64>,
}

fn told_at(day: i64) -> Tick {
    ((day + 1) * DAY_MS + TOLD_AFTER_MS).max(0) as Tick
}

/// The first day that is not told at a tick.
fn untold(now: Tick) -> i64 {
    (now as i64 - TOLD_AFTER_MS).div_euclid(DAY_MS)
}

impl Keyed for DayEnds {
    type Key = Series;
    type Event = i64;
    type Record = Ends;
    type Output = UniquesRow;

    fn on_event(
        &mut self,
        _: Series,
        ends: &mut Ends,
        day: &i64,
        diff: isize,
        now: Tick,
        _: &mut impl FnMut(UniquesRow, isize),
    ) {
        let next = *ends.next.get_or_insert(untold(now));
        let days = if *day < next { &mut ends.late } else { &mut ends.coming };
        let more = days.entry(*day).or_insert(0);
        *more += diff as i64;
        if *more == 0 {
            days.remove(day);
        }
    }

    fn on_timer(&mut self, series: Series, ends: &mut Ends, now: Tick, out: &mut impl FnMut(UniquesRow, isize)) {
        let mut tell = |day: i64, visitors: i64| {
            if visitors != 0 {
                let key = UniquesKey { series, bucket: EventTime(day * DAY_MS) };
                out(Sum { key, sums: [visitors] }, 1);
            }
        };
        let Some(next) = &mut ends.next else { return };
        let mut more = 0;
        let mut late = std::mem::take(&mut ends.late).into_iter().peekable();
        while let Some((from, diff)) = late.next() {
            more += diff;
            let to = late.peek().map_or(*next, |(to, _)| *to);
            (from..to).filter(|_| more != 0).for_each(|day| tell(day, more));
        }
        ends.visitors += more;
        while told_at(*next) <= now {
            ends.visitors += ends.coming.remove(next).unwrap_or(0);
            tell(*next, ends.visitors);
            *next += 1;
        }
    }

    fn due(&self, ends: &Ends) -> Option<Tick> {
        // What was told otherwise is told at once.
        if ends.late.is_empty() { ends.next.map(told_at) } else { Some(0) }
    }

    fn is_empty(&self, ends: &Ends) -> bool {
        ends.visitors == 0 && ends.late.is_empty() && ends.coming.is_empty()
    }
}

/// The view, as it follows from what the records of visitors tell.
pub fn output<'scope>(told: VecCollection<'scope, Tick, Told, isize>) -> Output<'scope> {
    let counts = told.clone().flat_map(|told| match told {
        Told::Counts(key) => Some(Sum { key, sums: [1] }),
        Told::From(..) => None,
    });
    let windows = told.flat_map(|told| match told {
        Told::Counts(_) => None,
        Told::From(series, day) => Some((series, day)),
    });
    Output::additions(counts.concat(keyed(windows, "uniques of days", DayEnds)))
}
