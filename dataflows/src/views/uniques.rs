//! How many visitors were there, by hour, by day, and in the 7 and 30 days that end with each day?
//!
//! A log of sums: a visitor counts once in each hour and day of a group. A window of days has a row for each day that it can end with,
//! once that day is over: a visitor counts in those of the days in which it was there and of the 6 (29) days after them. Its record
//! says only where it begins and ceases to count, and the record of a group adds that up ([`Ends`]): a night costs an addition a group.
//!
//! Hours and days are of the tenant's time zone. Windows are counted in dates: one that the zone skipped is none that a window ends with.

use std::cmp::Ordering;
use std::collections::{BTreeMap, HashMap};

use differential_dataflow::VecCollection;
use foldhash::fast::FixedState;
use operators::{Expires, Keyed, keyed};
use schemas::units::{DAY_MS, HOUR_MS, MINUTE_MS};
use schemas::zones::{Day, HOURS_OF_DAY_MAX, Hour};
use schemas::{EventTime, EventType, Subject, Symbol, Tick, Zones, columns};
use serde::{Deserialize, Serialize};

use crate::changes::Sum;
use crate::groupings::{GROUP_COLUMNS, GROUPED_COLUMNS, Group, Grouping};
use crate::horizon::Horizons;
use crate::local_time;
use crate::needs::Needs;
use crate::params::{Params, UniquesParams};
use crate::view::{Maintained, Output, View};
use crate::visitor_event::{VisitorEvent, VisitorInput};

const SQL: &str = "\
WITH groupings AS (
  {groupings}
), dated AS (
  SELECT tenant, campaign, source, channel, country, type, coalesce(user_id, device_id) AS visitor,
    {hour} AS hour, {date} AS date
  FROM {zoned}
  WHERE type NOT IN ('cost', 'identify') AND coalesce(user_id, device_id) IS NOT NULL
    -- What is dated after 2089 is a mistake.
    AND event_time < {until}
), grouped AS (
  -- Other events have a campaign by chance: that tells of nobody that it was seen.
  SELECT {grouped}, type, visitor, hour, date
  FROM dated CROSS JOIN groupings
  WHERE type IN ('impression', 'click') OR NOT by_campaign
), seen AS (
  SELECT DISTINCT {group}, visitor, hour, date,
    unnest(CASE WHEN type IN ('impression', 'click') THEN make_array('any', type) ELSE make_array('any') END) AS kind
  FROM grouped
), days AS (
  SELECT DISTINCT {group}, visitor, kind, date FROM seen
), returning AS (
  SELECT *, (lead(date) OVER (PARTITION BY {group}, visitor, kind ORDER BY date) - date) / 86400000 AS next FROM days
), spans AS (
  -- A day counts in the windows that end with it and after it, up to the visitor's next day, which counts in those that follow.
  SELECT {group}, kind, length, date, least(length, coalesce(next, length)) AS ends, count(*) AS visitors
  FROM returning CROSS JOIN (SELECT 7 AS length UNION ALL SELECT 30) AS windows
  GROUP BY {group}, kind, length, date, ends
), ended AS (
  SELECT {group}, kind, length, date + unnest(range(0, ends)) * 86400000 AS date, visitors FROM spans
), counted AS (
  SELECT {group}, kind, 'day' AS period, date, count(*) AS visitors FROM days GROUP BY {group}, kind, date
  UNION ALL
  SELECT {group}, kind, concat(length, 'd'), date, sum(visitors) FROM ended GROUP BY {group}, kind, length, date
), begun AS (
  SELECT counted.*, {begins} AS begins, {length} AS length_ms
  FROM {dated}
)
SELECT {group}, kind, 'hour' AS period, hour AS bucket, count(*) AS visitors FROM seen GROUP BY {group}, kind, hour
UNION ALL
-- A day that a window can end with is told a quarter of an hour after it is over.
SELECT {group}, kind, period, begins, visitors FROM begun
WHERE period = 'day' OR length_ms > 0 AND begins + length_ms + 900000 < (SELECT cut FROM as_of)
";

/// Events from then on do not count: 2^20 hours after 1970.
const UNTIL_MS: i64 = HOUR_MS << 20;

/// How long after a day the windows that end with it are told.
const TOLD_AFTER_MS: i64 = 15 * MINUTE_MS;

/// `uniques`.
pub static UNIQUES: View = View {
    name: "uniques",
    question: "How many visitors were there each hour and day, and in the 7 and 30 days up to each day?",
    key: &["grouping", "tenant", "campaign", "source", "channel", "country", "kind", "period", "bucket"],
    read_by: &[&["tenant", "grouping"]],
    code: 1,
    reads: &["events", "as_of", "zone_spans", "zone_days"],
    sql,
    maintained: Some(Maintained::sums::<UniquesKey, 1>(|_, retention| Needs::until_final(retention).and_events(32 * DAY_MS))),
};

fn sql(params: &Params) -> String {
    let groupings = Grouping::table(&params.uniques.groupings);
    let texts = [
        ("{groupings}", groupings),
        ("{grouped}", GROUPED_COLUMNS.to_owned()),
        ("{group}", GROUP_COLUMNS.to_owned()),
        ("{hour}", local_time::hour("event_time")),
        ("{date}", local_time::date("event_time")),
        ("{zoned}", local_time::with_spans("events", "event_time")),
        ("{begins}", local_time::begins("date")),
        ("{length}", local_time::LENGTH_MS.to_owned()),
        ("{dated}", local_time::with_days("counted", "date")),
        ("{until}", UNTIL_MS.to_string()),
    ];
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
        /// when the hour or day of the tenant's time zone began, or the last day of 7d or 30d
        bucket: EventTime = row.key.bucket,
        /// number of visitors
        visitors: i64 = row.sums[0],
    }
}

/// What the visitors of a worker add to a group, by kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Told {
    /// So many visitors in the hour that began then.
    Hour(Group, EventTime, ByKind),
    /// So many in the day of a number, and so many more in each window that ends with that day or a later one.
    Day(Group, i64, ByKind, Windows),
}

type ByKind = [i64; KINDS];
type Windows = [ByKind; WINDOWS.len()];
const KINDS: usize = Kind::ALL.len();

/// What a visitor did in an hour in a group: where, when, what, and how often, from the highest bits to the lowest. So the tiles of
/// a group lie together, in the order of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Tile(u64);

const GROUP_BITS: u32 = 24;
const DAY_BITS: u32 = 16;
const HOUR_OF_DAY_BITS: u32 = 6;
const HOUR_BITS: u32 = DAY_BITS + HOUR_OF_DAY_BITS;
const KIND_BITS: u32 = 2;
const COUNT_BITS: u32 = 64 - GROUP_BITS - HOUR_BITS - KIND_BITS;
const COUNT_MAX: u64 = (1 << COUNT_BITS) - 1;

const _: () = assert!(HOURS_OF_DAY_MAX <= 1 << HOUR_OF_DAY_BITS && UNTIL_MS / DAY_MS + 2 < 1 << DAY_BITS);

/// An hour of a tenant: the number of its day, and its place in that.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct HourOfDay(u64);

impl HourOfDay {
    fn of(hour: Hour) -> HourOfDay {
        HourOfDay((hour.day as u64) << HOUR_OF_DAY_BITS | hour.of_day as u64)
    }

    fn day(self) -> i64 {
        (self.0 >> HOUR_OF_DAY_BITS) as i64
    }
}

impl Tile {
    /// One that counts nothing yet.
    fn new(group: u32, hour: HourOfDay, kind: u64) -> Tile {
        debug_assert!(hour.0 < 1 << HOUR_BITS);
        Tile((((u64::from(group) << HOUR_BITS) | hour.0) << KIND_BITS | kind) << COUNT_BITS)
    }

    fn group(self) -> u64 {
        self.0 >> (64 - GROUP_BITS)
    }

    fn hour(self) -> HourOfDay {
        HourOfDay(self.0 >> (KIND_BITS + COUNT_BITS) & ((1 << HOUR_BITS) - 1))
    }

    fn kind(self) -> u64 {
        self.0 >> COUNT_BITS & ((1 << KIND_BITS) - 1)
    }

    fn is_of(self, kind: Kind) -> bool {
        kind == Kind::Any || self.kind() == kind as u64
    }

    /// The same with its count changed; none where nothing is left. Whose count is full stays: nobody does that much in an hour and
    /// has all of it withdrawn.
    fn plus(self, diff: isize) -> Option<Tile> {
        let count = self.0 & COUNT_MAX;
        if count == COUNT_MAX {
            return Some(self);
        }
        let count = count.checked_add_signed(diff as i64).expect("what goes had come").min(COUNT_MAX);
        (count > 0).then_some(Tile(self.0 & !COUNT_MAX | count))
    }
}

/// What is kept of a visitor.
#[derive(Clone, Default)]
pub struct Seen {
    /// In order.
    tiles: Vec<Tile>,
    /// When a tile may go, at the earliest.
    due: Tick,
}

/// The section of `uniques` in the records of visitors.
pub struct Uniques {
    groupings: Vec<Grouping>,
    zones: Zones,
    horizons: Horizons,
    /// The groups that were met, and their places: tiles have these.
    groups: Vec<Group>,
    places: HashMap<Group, u32, FixedState>,
    /// What visitors add to groups, by group and hour or day, until the tick ends.
    hours: HashMap<(u32, EventTime), ByKind, FixedState>,
    days: HashMap<(u32, i64), (ByKind, Windows), FixedState>,
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
    pub fn new(params: &UniquesParams, zones: Zones, horizons: Horizons) -> Uniques {
        Uniques {
            groupings: params.groupings.clone(),
            zones,
            horizons,
            groups: Vec::new(),
            places: HashMap::default(),
            hours: HashMap::default(),
            days: HashMap::default(),
        }
    }

    fn place(&mut self, group: Group) -> u32 {
        let next = self.groups.len() as u32;
        let place = *self.places.entry(group).or_insert(next);
        if place == next {
            assert!(next < 1 << GROUP_BITS, "uniques has more than 16 million groups: choose coarser groupings");
            self.groups.push(group);
        }
        place
    }

    /// When what a visitor did in an hour tells nothing any more: no event comes or goes within the longest window of it.
    fn final_at(&self, tile: Tile) -> Tick {
        let tenant = self.groups[tile.group() as usize].tenant;
        self.horizons.target(self.zones.day_of_number(tenant, tile.hour().day() + 31).begins).expiry()
    }

    /// Takes in that an event of an hour came to, or went from, a group of a visitor.
    fn count(&mut self, seen: &mut Seen, group: u32, event: &VisitorEvent, hour: Hour, diff: isize) {
        let kind = match event.event_type {
            EventType::Impression => Kind::Impression,
            EventType::Click => Kind::Click,
            _ => Kind::Any,
        };
        let tile = Tile::new(group, HourOfDay::of(hour), kind as u64);
        let at = seen.tiles.partition_point(|other| other.0 | COUNT_MAX < tile.0);
        let held = seen.tiles.get(at).copied().filter(|held| held.0 & !COUNT_MAX == tile.0);
        match (held, held.unwrap_or(tile).plus(diff)) {
            (Some(_), Some(more)) => seen.tiles[at] = more,
            (Some(_), None) => {
                seen.tiles.remove(at);
                self.tell(seen, group, hour, kind, -1);
            }
            (None, Some(first)) => {
                self.tell(seen, group, hour, kind, 1);
                let due = self.final_at(tile);
                seen.due = if seen.tiles.is_empty() { due } else { seen.due.min(due) };
                if seen.tiles.len() == seen.tiles.capacity() {
                    // Most visitors have few: doubling would leave half of it unused.
                    seen.tiles.reserve_exact(4 + at / 4);
                }
                seen.tiles.insert(at, first);
            }
            (None, None) => unreachable!("what comes counts"),
        }
    }

    /// Tells what follows of that a visitor did something of a kind in an hour, or does so no longer; of its tiles but that.
    fn tell(&mut self, seen: &Seen, group: u32, Hour { begins, day, of_day }: Hour, kind: Kind, diff: i64) {
        let hour = HourOfDay::of(Hour { begins, day, of_day });
        let from = seen.tiles.partition_point(|tile| tile.group() < u64::from(group));
        let tiles = seen.tiles[from..].iter().take_while(|tile| tile.group() == u64::from(group));
        let kinds = if kind == Kind::Any { &[Kind::Any][..] } else { &[Kind::Any, kind] };
        for kind in kinds {
            let (mut same_hour, mut same_day, mut before, mut after) = (false, false, None, None);
            for other in tiles.clone().filter(|tile| tile.is_of(*kind)) {
                same_hour |= other.hour() == hour;
                let other_day = other.hour().day();
                match other_day.cmp(&day) {
                    Ordering::Less => before = Some(other_day),
                    Ordering::Equal => same_day = true,
                    Ordering::Greater => after = after.or(Some(other_day)),
                }
            }
            let kind = *kind as usize;
            if !same_hour {
                self.hours.entry((group, begins)).or_default()[kind] += diff;
            }
            if !same_day {
                self.tell_day(group, day, kind, (before, after), diff);
            }
        }
    }

    /// Tells that a visitor was there on a day, or was not, and what it adds to windows beside the days before and after it on
    /// which it was there.
    fn tell_day(&mut self, group: u32, day: i64, kind: usize, (before, after): (Option<i64>, Option<i64>), diff: i64) {
        self.days.entry((group, day)).or_default().0[kind] += diff;
        for (window, (_, days)) in WINDOWS.into_iter().enumerate() {
            // The windows in which it counts by this day alone.
            let from = before.map_or(day, |before| day.max(before + days));
            let to = after.map_or(day + days, |after| after.min(day + days));
            if from < to {
                self.days.entry((group, from)).or_default().1[window][kind] += diff;
                self.days.entry((group, to)).or_default().1[window][kind] -= diff;
            }
        }
    }
}

impl Keyed for Uniques {
    type Key = Subject;
    type Event = VisitorInput;
    type Record = Seen;
    type Output = Told;

    fn on_event(
        &mut self,
        _: Subject,
        seen: &mut Seen,
        input: &VisitorInput,
        diff: isize,
        _: Tick,
        _: &mut impl FnMut(Told, isize),
    ) {
        let VisitorInput::Event(event) = input else { return };
        if !Uniques::TYPES.contains(&event.event_type) || event.time.0 >= UNTIL_MS {
            return;
        }
        let hour = self.zones.hour_of_day(event.tenant, event.time);
        let dimensions = [event.campaign, event.source, event.channel, event.country];
        for at in 0..self.groupings.len() {
            let grouping = self.groupings[at];
            if event.event_type.is_touch() || !grouping.has_campaign() {
                let group = self.place(grouping.group(event.tenant, dimensions));
                self.count(seen, group, event, hour, diff);
            }
        }
    }

    fn on_timer(&mut self, _: Subject, seen: &mut Seen, now: Tick, _: &mut impl FnMut(Told, isize)) {
        if seen.due <= now {
            seen.tiles.retain(|tile| self.final_at(*tile) > now);
            seen.due = seen.tiles.iter().map(|tile| self.final_at(*tile)).min().unwrap_or(0);
        }
    }

    fn end_of_tick(&mut self, out: &mut impl FnMut(Told, isize)) {
        for ((group, hour), visitors) in self.hours.drain().filter(|(_, visitors)| *visitors != ByKind::default()) {
            out(Told::Hour(self.groups[group as usize], hour, visitors), 1);
        }
        for ((group, day), told) in self.days.drain().filter(|(_, told)| *told != Default::default()) {
            out(Told::Day(self.groups[group as usize], day, told.0, told.1), 1);
        }
    }

    fn due(&self, seen: &Seen) -> Option<Tick> {
        (!seen.tiles.is_empty()).then_some(seen.due)
    }

    fn is_empty(&self, seen: &Seen) -> bool {
        seen.tiles.is_empty()
    }

    fn bytes(&self, seen: &Seen) -> usize {
        size_of_val(&*seen.tiles)
    }
}

/// Adds up how many visitors count in the windows that end with each day.
struct DayEnds {
    zones: Zones,
}

/// The windows of a group.
#[derive(Clone, Default)]
struct Ends {
    /// What was told: that many visitors for the day before `next`.
    visitors: Windows,
    /// The day that is told next.
    next: Option<i64>,
    /// When that is.
    due: Tick,
    /// How many more count from a day on that was told already, and was told otherwise.
    late: BTreeMap<i64, Windows>,
    /// How many more count from a day on, of the days to come.
    coming: BTreeMap<i64, Windows>,
}

fn add(visitors: &mut Windows, more: &Windows, times: i64) {
    for (visitors, more) in visitors.as_flattened_mut().iter_mut().zip(more.as_flattened()) {
        *visitors += more * times;
    }
}

fn told_at(day: Day) -> Tick {
    (day.ends.0 + TOLD_AFTER_MS).max(0) as Tick
}

impl DayEnds {
    fn day(&self, group: Group, number: i64) -> Day {
        self.zones.day_of_number(group.tenant, number)
    }

    /// The first day that is not told at a tick.
    fn untold(&self, group: Group, now: Tick) -> i64 {
        self.zones.day(group.tenant, EventTime(now as i64 - TOLD_AFTER_MS)).number
    }
}

/// The rows that say how many visitors count in the windows of a day. A date that a zone skipped has none.
fn tell(group: Group, day: Day, visitors: &Windows, out: &mut impl FnMut(UniquesRow, isize)) {
    if day.begins == day.ends {
        return;
    }
    for ((period, _), by_kind) in WINDOWS.into_iter().zip(visitors) {
        rows(group, period, day.begins, *by_kind).for_each(|row| out(row, 1));
    }
}

fn rows(group: Group, period: Period, bucket: EventTime, visitors: ByKind) -> impl Iterator<Item = UniquesRow> {
    let of_kind = move |(kind, visitors)| {
        let key = UniquesKey { series: Series { group, kind, period }, bucket };
        (visitors != 0).then_some(Sum { key, sums: [visitors] })
    };
    Kind::ALL.into_iter().zip(visitors).filter_map(of_kind)
}

impl Keyed for DayEnds {
    type Key = Group;
    type Event = (i64, Windows);
    type Record = Ends;
    type Output = UniquesRow;

    fn on_event(
        &mut self,
        group: Group,
        ends: &mut Ends,
        (day, more): &(i64, Windows),
        diff: isize,
        now: Tick,
        _: &mut impl FnMut(UniquesRow, isize),
    ) {
        let next = *ends.next.get_or_insert_with(|| self.untold(group, now));
        let days = if *day < next { &mut ends.late } else { &mut ends.coming };
        let visitors = days.entry(*day).or_default();
        add(visitors, more, diff as i64);
        if *visitors == Windows::default() {
            days.remove(day);
        }
    }

    fn on_timer(&mut self, group: Group, ends: &mut Ends, now: Tick, out: &mut impl FnMut(UniquesRow, isize)) {
        let Some(next) = &mut ends.next else { return };
        let mut more = Windows::default();
        let mut late = std::mem::take(&mut ends.late).into_iter().peekable();
        while let Some((from, diff)) = late.next() {
            add(&mut more, &diff, 1);
            let to = late.peek().map_or(*next, |(to, _)| *to);
            (from..to).filter(|_| more != Windows::default()).for_each(|day| tell(group, self.day(group, day), &more, out));
        }
        add(&mut ends.visitors, &more, 1);
        let mut day = self.day(group, *next);
        while told_at(day) <= now {
            if let Some(more) = ends.coming.remove(next) {
                add(&mut ends.visitors, &more, 1);
            }
            tell(group, day, &ends.visitors, out);
            *next += 1;
            day = self.day(group, *next);
        }
        ends.due = told_at(day);
    }

    fn due(&self, ends: &Ends) -> Option<Tick> {
        // What was told otherwise is told at once.
        if ends.late.is_empty() { ends.next.map(|_| ends.due) } else { Some(0) }
    }

    fn is_empty(&self, ends: &Ends) -> bool {
        ends.visitors == Windows::default() && ends.late.is_empty() && ends.coming.is_empty()
    }
}

/// The view, as it follows from what visitors add to groups.
pub fn output<'scope>(told: VecCollection<'scope, Tick, Told, isize>, zones: Zones) -> Output<'scope> {
    let of_days = zones.clone();
    let counts = told.clone().flat_map(move |told| {
        let (group, period, begins, visitors) = match told {
            Told::Hour(group, hour, visitors) => (group, Period::Hour, hour, visitors),
            Told::Day(group, day, visitors, _) => {
                (group, Period::Day, of_days.day_of_number(group.tenant, day).begins, visitors)
            }
        };
        rows(group, period, begins, visitors)
    });
    let windows = told.flat_map(|told| match told {
        Told::Day(group, day, _, windows) if windows != Windows::default() => Some((group, (day, windows))),
        _ => None,
    });
    Output::additions(counts.concat(keyed(windows, "uniques of days", DayEnds { zones })))
}
