//! On which days was a visitor there, and a device?
//!
//! A visitor (user, else device) is present in an app on a day of the tenant's time zone on which it installs, opens, does or buys
//! something; so is the device, whoever uses it. That it was shown an advertisement or clicked one is no presence, and neither is a
//! refund, a conversion of negative revenue.
//!
//! A row comes with the first event of a day and goes when the last is withdrawn; a second event adds nothing. So it is written at
//! once: how many events a day has would be two rows an event.
//!
//! **State.** Of each visitor how many events a day has, for as long as it can change: 12 bytes a day. Of devices: [`crate::devices`].

use operators::{Expires, Keyed};
use schemas::units::{DAY_MS, HOUR_MS};
use schemas::{DeviceId, EventTime, EventType, Micros, Subject, Symbol, Tick, Zones, columns};

use crate::horizon::Horizons;
use crate::local_time;
use crate::needs::Needs;
use crate::places::Places;
use crate::view::{Maintained, View};
use crate::visitor_event::{VisitorEvent, VisitorInput};

const SQL: &str = "\
WITH done AS (
  SELECT tenant, app, coalesce(user_id, device_id) AS visitor, device_id, {day} AS day
  FROM {events}
  -- A refund is a conversion of negative revenue: for that nobody is there.
  WHERE type IN ('install', 'open', 'event') OR type = 'conversion' AND coalesce(revenue_micros, 0) >= 0
)
SELECT DISTINCT tenant, app, 'visitor' AS whose, visitor, CAST(NULL AS BYTEA) AS device_id, day
FROM done
WHERE visitor IS NOT NULL
UNION ALL
SELECT DISTINCT tenant, app, 'device', NULL, device_id, day
FROM done
WHERE device_id IS NOT NULL
";

/// `activity`.
pub static ACTIVITY: View = View {
    name: "activity",
    question: "On which days was a visitor there, and a device, by more than impressions and clicks?",
    key: &["tenant", "app", "whose", "visitor", "device_id", "day"],
    read_by: &[&["tenant", "visitor"], &["tenant", "device_id"]],
    code: 1,
    reads: &["events", "zone_spans"],
    sql: |_| {
        let sql = SQL.replace("{day}", &local_time::day("event_time"));
        sql.replace("{events}", &local_time::with_spans("events", "event_time"))
    },
    // All events of days of which some can change.
    maintained: Some(Maintained::rows::<ActivityRow>(|_, retention| {
        Needs::until_final(retention).and_events(DAY_MS + HOUR_MS)
    })),
};

/// Whose presence it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Whose {
    /// A visitor's.
    Visitor,
    /// A device's.
    Device,
}

/// One row of `activity`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ActivityRow {
    /// Account.
    pub tenant: Symbol,
    /// App.
    pub app: Symbol,
    /// Whose presence it is.
    pub whose: Whose,
    /// The visitor or device.
    pub id: Subject,
    /// When the day began.
    pub day: EventTime,
}

impl ActivityRow {
    fn visitor(&self) -> Option<Subject> {
        (self.whose == Whose::Visitor).then_some(self.id)
    }

    fn device(&self) -> Option<DeviceId> {
        (self.whose == Whose::Device).then_some(DeviceId(self.id.0))
    }
}

columns! {
    ActivityRow, |row| {
        tenant: Symbol = row.tenant,
        app: Option<Symbol> = row.app.some(),
        /// whose presence it is: visitor or device
        whose: &'static str = if row.whose == Whose::Visitor { "visitor" } else { "device" },
        visitor: Option<Subject> = row.visitor(),
        device_id: Option<DeviceId> = row.device(),
        day: EventTime = row.day,
    }
}

/// The types of events for which somebody is there.
pub const TYPES: [EventType; 4] = [EventType::Install, EventType::Open, EventType::Event, EventType::Conversion];

/// Whether somebody is there for an event of a type that brings such revenue.
pub fn is_presence(event_type: EventType, revenue: Option<Micros>) -> bool {
    TYPES.contains(&event_type) && (event_type != EventType::Conversion || revenue.is_none_or(|revenue| revenue.0 >= 0))
}

/// A day on which a visitor was there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Tile {
    /// The place of the app.
    app: u32,
    /// The number of the day.
    day: u32,
    /// How many events it has.
    events: u32,
}

/// What is kept of a visitor.
#[derive(Clone, Default)]
pub struct Days {
    /// In the order of apps and days; none without events.
    tiles: Vec<Tile>,
    /// When a tile may go, at the earliest.
    due: Tick,
}

/// Tells on which days visitors are there.
pub struct Activity {
    zones: Zones,
    horizons: Horizons,
    /// Tenants and apps.
    apps: Places<(Symbol, Symbol)>,
}

impl Activity {
    /// Where records are accepted as long as that says.
    pub fn new(zones: Zones, horizons: Horizons) -> Activity {
        Activity { zones, horizons, apps: Places::new() }
    }

    /// When nothing changes a day any more.
    fn final_at(&self, tile: &Tile) -> Tick {
        let (tenant, _) = self.apps.at(tile.app);
        self.horizons.target(self.zones.day_of_number(tenant, i64::from(tile.day)).ends).expiry()
    }

    /// Takes in that an event of a day came or went; whether the day is another than before.
    fn count(&self, days: &mut Days, tile: Tile, diff: isize) -> bool {
        let at = days.tiles.binary_search_by_key(&(tile.app, tile.day), |held| (held.app, held.day));
        match at {
            Ok(at) => {
                let events = i64::from(days.tiles[at].events) + diff as i64;
                days.tiles[at].events = u32::try_from(events).expect("what goes had come");
                if events == 0 {
                    days.tiles.remove(at);
                }
                events == 0
            }
            Err(at) => {
                let due = self.final_at(&tile);
                days.due = if days.tiles.is_empty() { due } else { days.due.min(due) };
                if days.tiles.len() == days.tiles.capacity() {
                    // Most are there on few days: doubling would leave half of it unused.
                    days.tiles.reserve_exact(1 + at / 4);
                }
                let events = u32::try_from(diff).expect("what goes had come");
                days.tiles.insert(at, Tile { events, ..tile });
                true
            }
        }
    }
}

impl Keyed for Activity {
    type Key = Subject;
    type Event = VisitorInput;
    type Record = Days;
    type Output = ActivityRow;

    fn on_event(
        &mut self,
        id: Subject,
        days: &mut Days,
        input: &VisitorInput,
        diff: isize,
        _: Tick,
        out: &mut impl FnMut(ActivityRow, isize),
    ) {
        let VisitorInput::Event(event) = input else { return };
        if !is_presence(event.event_type, event.revenue) {
            return;
        }
        let VisitorEvent { tenant, app, time, .. } = *event;
        let (place, day) = (self.apps.of((tenant, app)), self.zones.day(tenant, time));
        let number = u32::try_from(day.number).expect("an event is of the years 1970 to 9999");
        if self.count(days, Tile { app: place, day: number, events: 0 }, diff) {
            out(ActivityRow { tenant, app, whose: Whose::Visitor, id, day: day.begins }, diff.signum());
        }
    }

    fn on_timer(&mut self, _: Subject, days: &mut Days, now: Tick, _: &mut impl FnMut(ActivityRow, isize)) {
        if days.due <= now {
            days.tiles.retain(|tile| self.final_at(tile) > now);
            days.due = days.tiles.iter().map(|tile| self.final_at(tile)).min().unwrap_or(0);
        }
    }

    fn due(&self, days: &Days) -> Option<Tick> {
        (!days.tiles.is_empty()).then_some(days.due)
    }

    fn is_empty(&self, days: &Days) -> bool {
        days.tiles.is_empty()
    }

    fn bytes(&self, days: &Days) -> usize {
        size_of_val(&*days.tiles)
    }
}
