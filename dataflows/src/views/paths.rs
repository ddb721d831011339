//! By which channels did each visitor come to a conversion, or to none?
//!
//! The *path* of a conversion is the channels of the visitor's impressions and clicks in the app after its conversion before, within the
//! idle time (`views.paths.idle`, 30 d) before it; what follows on the same channel is one run. A path leads to nothing (outcome
//! `null`) where neither a touch nor a conversion follows a touch within the idle time: a row once the minute in which that is over
//! has ended. Its touches are those within the idle time up to its last. What comes late may still lengthen, end or join paths.
//!
//! **State.** Of each visitor and app its touches, 16 bytes each, its conversions, and the paths that were told, as long as any can
//! change: the idle time after its end and as long as records are accepted.

use std::sync::Arc;

use differential_dataflow::VecCollection;
use operators::{ByKey, Expires, Keyed, arrange_forgetting};
use schemas::units::{HOUR_MS, MINUTE_MS};
use schemas::{EventId, EventTime, EventType, Micros, Subject, Symbol, Tick, columns};
use serde::{Deserialize, Serialize};

use crate::changes::AsArranged;
use crate::horizon::{Horizons, Until};
use crate::needs::Needs;
use crate::params::PathsParams;
use crate::view::{Maintained, OfRecords, Output, View};
use crate::visitor_event::{VisitorEvent, VisitorInput};

mod of_visitor;

pub use of_visitor::OfVisitor;

/// The most runs of a path: the latest are kept.
const RUNS_MAX: usize = 128;

const SQL: &str = "\
WITH steps AS (
  SELECT tenant, app, coalesce(user_id, device_id) AS visitor, event_time, event_id, type = 'conversion' AS converts,
    coalesce(channel, 0) AS channel, revenue_micros, currency
  FROM events
  WHERE type IN ('impression', 'click', 'conversion') AND coalesce(user_id, device_id) IS NOT NULL
), journeys AS (
  -- A conversion ends the journey that the touches before it began.
  SELECT *, lead(event_time) OVER visitor AS next_time,
    coalesce(sum(CASE WHEN converts THEN 1 ELSE 0 END) OVER (
      PARTITION BY tenant, app, visitor ORDER BY event_time, converts, event_id
      ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
    ), 0) AS journey
  FROM steps
  WINDOW visitor AS (PARTITION BY tenant, app, visitor ORDER BY event_time, converts, event_id)
), ends AS (
  SELECT tenant, app, visitor, journey, event_time AS path_end, CASE WHEN converts THEN event_id END AS event_id,
    CASE WHEN converts THEN revenue_micros END AS revenue_micros, CASE WHEN converts THEN currency END AS currency
  FROM journeys
  WHERE converts OR coalesce(next_time - event_time > {idle}, TRUE)
    AND (event_time + {idle}) / 60000 * 60000 + 60000 < (SELECT cut FROM as_of)
), touches AS (
  SELECT ends.tenant, ends.app, ends.visitor, path_end, ends.event_id, event_time, channel,
    lag(channel) OVER path AS channel_before
  FROM ends JOIN journeys
    ON ends.tenant = journeys.tenant AND ends.visitor = journeys.visitor AND (ends.app IS NOT DISTINCT FROM journeys.app)
    AND ends.journey = journeys.journey AND NOT converts AND event_time <= path_end AND event_time >= path_end - {idle}
  WINDOW path AS (
    PARTITION BY ends.tenant, ends.app, ends.visitor, path_end, ends.event_id ORDER BY event_time, channel
  )
), runs AS (
  SELECT *, channel IS DISTINCT FROM channel_before AS begins,
    sum(CASE WHEN channel IS DISTINCT FROM channel_before THEN 1 ELSE 0 END) OVER (
      PARTITION BY tenant, app, visitor, path_end, event_id ORDER BY event_time DESC, channel DESC
      ROWS UNBOUNDED PRECEDING
    ) AS from_last
  FROM touches
), walked AS (
  SELECT tenant, app, visitor, path_end, event_id, count(*) AS path_touches,
    array_agg(named_struct('channel', nullif(channel, 0)) ORDER BY event_time, channel)
      FILTER (WHERE begins AND from_last <= {runs_max}) AS channels
  FROM runs
  GROUP BY tenant, app, visitor, path_end, event_id
)
SELECT ends.tenant, ends.app, ends.visitor, ends.path_end, CASE WHEN ends.event_id IS NULL THEN 'null' ELSE 'conversion' END AS outcome,
  ends.event_id, coalesce(channels, []) AS channels, coalesce(path_touches, 0) AS path_touches, ends.currency, ends.revenue_micros
FROM ends LEFT JOIN walked
  ON ends.tenant = walked.tenant AND ends.visitor = walked.visitor AND ends.path_end = walked.path_end
  AND (ends.app IS NOT DISTINCT FROM walked.app) AND (ends.event_id IS NOT DISTINCT FROM walked.event_id)
";

/// `paths`.
pub static PATHS: View = View {
    name: "paths",
    question: "By which channels did each visitor come to a conversion, or to none?",
    key: &["tenant", "app", "visitor", "path_end", "event_id"],
    read_by: &[&["tenant", "visitor"]],
    code: 1,
    reads: &["events", "as_of"],
    sql: |params| {
        let texts = [("{idle}", params.paths.idle.0.to_string()), ("{runs_max}", RUNS_MAX.to_string())];
        texts.iter().fold(SQL.to_owned(), |sql, (name, text)| sql.replace(name, text))
    },
    maintained: Some(Maintained::rows::<PathRow>(|params, retention| {
        // A path that can still change ended within the idle time before, and began within that before its end.
        Needs::until_final(retention).and_events(2 * params.paths.idle.0 + HOUR_MS)
    })),
};

/// A visitor, and until when a path of it can change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PathKey {
    visitor: Subject,
    until: Until,
}

impl Expires<Tick> for PathKey {
    fn expiry(&self) -> Tick {
        self.until.expiry()
    }
}

/// A conversion.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
struct Conversion {
    id: EventId,
    currency: Symbol,
    revenue: Option<Micros>,
}

/// Touches on one channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Run {
    channel: Symbol,
}

columns! {
    Run, |run| {
        channel: Option<Symbol> = run.channel.some(),
    }
}

/// A path.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
struct Path {
    end: EventTime,
    /// None where it led to nothing.
    conversion: Option<Conversion>,
    /// The latest of them, at most [`RUNS_MAX`].
    runs: Vec<Run>,
    touches: i64,
}

/// One row of `paths`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PathRow {
    tenant: Symbol,
    app: Symbol,
    visitor: Subject,
    path: Path,
}

columns! {
    PathRow, |row| {
        tenant: Symbol = row.tenant,
        app: Option<Symbol> = row.app.some(),
        /// user, else device
        visitor: Subject = row.visitor,
        /// when it converted, or touched an advertisement last
        path_end: EventTime = row.path.end,
        /// conversion, or null: none within the idle time
        outcome: &'static str = if row.path.conversion.is_some() { "conversion" } else { "null" },
        event_id: Option<EventId> = row.path.conversion.map(|of| of.id),
        /// channels of the touches, from first to last; those that follow on one channel are one; at most the latest 128
        channels: &[Run] = row.path.runs.as_slice(),
        /// number of touches of the path
        path_touches: i64 = row.path.touches,
        currency: Option<Symbol> = row.path.conversion.and_then(|of| of.currency.some()),
        revenue_micros: Option<Micros> = row.path.conversion.and_then(|of| of.revenue),
    }
}

/// What is kept of a visitor, by app.
#[derive(Clone, Default)]
pub struct Journeys(Vec<OfApp>);

/// What is kept of a visitor in an app.
#[derive(Clone)]
struct OfApp {
    tenant: Symbol,
    app: Symbol,
    /// When, and on which channel; in order.
    touches: Vec<(EventTime, Symbol)>,
    /// In order.
    conversions: Vec<(EventTime, Conversion)>,
    told: Vec<Path>,
    /// Whether what came or went in the tick that is under way may change what was told.
    changed: bool,
    /// When something is to be done, at the earliest.
    due: Tick,
}

/// The section of `paths` in the records of visitors.
pub struct Paths {
    idle_ms: i64,
    horizons: Horizons,
}

impl Paths {
    /// The types of events that paths are made of.
    pub const TYPES: [EventType; 3] = [EventType::Impression, EventType::Click, EventType::Conversion];

    /// With these parameters, where records are accepted as long as that says.
    pub fn new(params: &PathsParams, horizons: Horizons) -> Paths {
        Paths { idle_ms: params.idle.0, horizons }
    }

    fn before(&self, time: EventTime) -> EventTime {
        EventTime(time.0 - self.idle_ms)
    }

    fn after(&self, time: EventTime) -> EventTime {
        EventTime(time.0 + self.idle_ms)
    }

    /// When it is told that nothing followed a touch.
    fn ends(&self, touch: EventTime) -> Tick {
        ((self.after(touch).0.div_euclid(MINUTE_MS) + 1) * MINUTE_MS).max(0) as Tick
    }

    /// Until when a path that ended then can change.
    fn until(&self, end: EventTime) -> Until {
        self.horizons.target(self.after(end))
    }

    /// When no path that can change has what happened then.
    fn forgets(&self, time: EventTime) -> Tick {
        self.until(self.after(time)).expiry()
    }

    /// The path of touches that ended then: of those within the idle time before.
    fn path(&self, touches: &[(EventTime, Symbol)], end: EventTime, conversion: Option<Conversion>) -> Path {
        let touches = &touches[touches.partition_point(|(time, _)| *time < self.before(end))..];
        let runs = touches.chunk_by(|(_, one), (_, other)| one == other).map(|run| Run { channel: run[0].1 });
        let dropped = runs.clone().count().saturating_sub(RUNS_MAX);
        Path { end, conversion, runs: runs.skip(dropped).collect(), touches: touches.len() as i64 }
    }

    /// The paths of a visitor that can change, and when the next one leads to nothing.
    fn paths(&self, of: &OfApp, now: Tick) -> (Vec<Path>, Tick) {
        let (mut paths, mut due, mut begins) = (Vec::new(), Tick::MAX, 0);
        let conversions = of.conversions.iter().map(Some).chain([None]);
        for conversion in conversions {
            let ends = match conversion {
                Some((time, _)) => of.touches.partition_point(|(touched, _)| touched <= time),
                None => of.touches.len(),
            };
            let journey = &of.touches[begins..ends];
            for (place, (time, _)) in journey.iter().enumerate() {
                let next = journey.get(place + 1).map(|(time, _)| *time).or(conversion.map(|(time, _)| *time));
                if next.is_some_and(|next| next <= self.after(*time)) {
                    continue;
                }
                if self.ends(*time) > now {
                    due = due.min(self.ends(*time));
                } else if self.until(*time).expiry() > now {
                    paths.push(self.path(&journey[..=place], *time, None));
                }
            }
            if let Some((time, conversion)) = conversion
                && self.until(*time).expiry() > now
            {
                paths.push(self.path(journey, *time, Some(*conversion)));
            }
            begins = ends;
        }
        (paths, due)
    }

    /// Tells the paths anew where they differ, and forgets what is final.
    fn tell(&self, visitor: Subject, of: &mut OfApp, now: Tick, out: &mut impl FnMut((PathKey, PathRow), isize)) {
        of.changed = false;
        let (mut is, due) = self.paths(of, now);
        is.sort_unstable();
        let mut was = std::mem::take(&mut of.told);
        was.retain(|path| self.until(path.end).expiry() > now);
        was.sort_unstable();
        let mut say = |path: &Path, diff| {
            let key = PathKey { visitor, until: self.until(path.end) };
            out((key, PathRow { tenant: of.tenant, app: of.app, visitor, path: path.clone() }), diff);
        };
        was.iter().filter(|path| is.binary_search(path).is_err()).for_each(|path| say(path, -1));
        is.iter().filter(|path| was.binary_search(path).is_err()).for_each(|path| say(path, 1));
        of.told = is;
        let kept = |time: EventTime| self.forgets(time) > now;
        of.touches.drain(..of.touches.partition_point(|(time, _)| !kept(*time)));
        of.conversions.drain(..of.conversions.partition_point(|(time, _)| !kept(*time)));
        let first = of.touches.first().map(|(time, _)| *time);
        let first = first.into_iter().chain(of.conversions.first().map(|(time, _)| *time)).min();
        let told = of.told.iter().map(|path| self.until(path.end).expiry()).min();
        of.due = first.map(|time| self.forgets(time)).into_iter().chain(told).fold(due, Tick::min);
    }

    /// Takes in that a touch came or went.
    fn touch(&self, of: &mut OfApp, event: &VisitorEvent, diff: isize) {
        let touch = (event.time, event.channel);
        let at = of.touches.partition_point(|other| *other < touch);
        if diff > 0 {
            if of.touches.len() == of.touches.capacity() {
                // Most visitors have few: doubling would leave half of it unused.
                of.touches.reserve_exact(4 + at / 4);
            }
            of.touches.insert(at, touch);
        } else {
            assert_eq!(of.touches.get(at), Some(&touch), "what goes had come");
            of.touches.remove(at);
        }
        // It belongs to a conversion after it, or is near what had led to nothing; or what it followed leads to nothing now.
        of.changed |= diff < 0
            || of.conversions.last().is_some_and(|(time, _)| *time >= event.time)
            || of.told.iter().any(|path| path.conversion.is_none());
        of.due = of.due.min(self.ends(event.time));
    }

    /// Takes in that a conversion came or went.
    fn convert(of: &mut OfApp, event: &VisitorEvent, diff: isize) {
        let VisitorEvent { time, id, currency, revenue, .. } = *event;
        let conversion = (time, Conversion { id, currency, revenue });
        let at = of.conversions.partition_point(|other| *other < conversion);
        if diff > 0 {
            of.conversions.insert(at, conversion);
        } else {
            assert_eq!(of.conversions.get(at), Some(&conversion), "what goes had come");
            of.conversions.remove(at);
        }
        of.changed = true;
    }
}

impl OfApp {
    fn is_empty(&self) -> bool {
        self.touches.is_empty() && self.conversions.is_empty()
    }
}

impl Keyed for Paths {
    type Key = Subject;
    type Event = VisitorInput;
    type Record = Journeys;
    type Output = (PathKey, PathRow);

    fn on_event(
        &mut self,
        _: Subject,
        Journeys(apps): &mut Journeys,
        input: &VisitorInput,
        diff: isize,
        _: Tick,
        _: &mut impl FnMut((PathKey, PathRow), isize),
    ) {
        let VisitorInput::Event(event) = input else { return };
        if !Paths::TYPES.contains(&event.event_type) {
            return;
        }
        let VisitorEvent { tenant, app, .. } = *event;
        let at = apps.iter().position(|of| of.app == app && of.tenant == tenant).unwrap_or_else(|| {
            let (touches, conversions, told) = Default::default();
            apps.reserve_exact(1);
            apps.push(OfApp { tenant, app, touches, conversions, told, changed: false, due: Tick::MAX });
            apps.len() - 1
        });
        if event.event_type == EventType::Conversion {
            Paths::convert(&mut apps[at], event, diff);
        } else {
            self.touch(&mut apps[at], event, diff);
        }
    }

    fn after_events(
        &mut self,
        visitor: Subject,
        Journeys(apps): &mut Journeys,
        now: Tick,
        out: &mut impl FnMut((PathKey, PathRow), isize),
    ) {
        apps.iter_mut().filter(|of| of.changed).for_each(|of| self.tell(visitor, of, now, out));
        apps.retain(|of| !of.is_empty());
    }

    fn on_timer(
        &mut self,
        visitor: Subject,
        Journeys(apps): &mut Journeys,
        now: Tick,
        out: &mut impl FnMut((PathKey, PathRow), isize),
    ) {
        apps.iter_mut().filter(|of| of.due <= now).for_each(|of| self.tell(visitor, of, now, out));
        apps.retain(|of| !of.is_empty());
    }

    fn due(&self, Journeys(apps): &Journeys) -> Option<Tick> {
        apps.iter().map(|of| of.due).min()
    }

    fn is_empty(&self, Journeys(apps): &Journeys) -> bool {
        apps.is_empty()
    }

    fn bytes(&self, Journeys(apps): &Journeys) -> usize {
        let runs = |of: &OfApp| of.told.iter().map(|path| size_of_val(&*path.runs)).sum::<usize>();
        let lists = |of: &OfApp| size_of_val(&*of.touches) + size_of_val(&*of.conversions) + size_of_val(&*of.told);
        size_of_val(&**apps) + apps.iter().map(|of| lists(of) + runs(of)).sum::<usize>()
    }
}

/// The view, as its rows follow from what visitors did: read from what is kept of a visitor.
pub fn output<'scope, R: Send + 'static>(
    rows: VecCollection<'scope, Tick, (PathKey, PathRow), isize>,
    of_records: OfRecords<Subject, R, OfVisitor>,
) -> Output<'scope> {
    let name = PATHS.name;
    Output::rows_of_records(name, arrange_forgetting(rows, name, ByKey), AsArranged, of_records)
}

/// How the paths of a visitor are read from what is kept of it.
pub fn of_visitor() -> Arc<OfVisitor> {
    Arc::new(OfVisitor)
}
