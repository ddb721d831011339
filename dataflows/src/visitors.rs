//! What visitors did: the views of it in one record a visitor and one visit an event (`docs/decisions/0026-keyed-state.md`).
//!
//! Each view keeps a section of the record and says what its section makes of an event; what a visit costs is finding the record.
//! A job that leaves a view out keeps nothing for it.

use std::sync::Arc;

use differential_dataflow::VecCollection;
use operators::{Both, Either, Records, keyed_published};
use schemas::{EventType, Subject, Tick};

use crate::horizon::{Bounds, Horizons};
use crate::params::Params;
use crate::standing::Events;
use crate::view::{OfRecords, Output};
use crate::views::frequency::{Counts, FREQUENCY, Frequency, FrequencyRow};
use crate::views::frequency_now::{FREQUENCY_NOW, Now};
use crate::views::funnel_steps::{self, FUNNEL_STEPS, Filters, FunnelStep, FunnelSteps, StepKey, Steps};
use crate::views::paths::{self, Journeys, PATHS, PathKey, PathRow, Paths};
use crate::views::sessions::{self, Chains, OfVisitor, SESSIONS, SessionKey, SessionRow, Sessions};
use crate::views::uniques::{Seen, Told, UNIQUES, Uniques};
use crate::visitor_event::{DayCount, VisitorEvent, VisitorInput};

/// What follows from what visitors did.
#[derive(Clone)]
pub struct Visitors<'scope> {
    /// The rows of `sessions`.
    sessions: VecCollection<'scope, Tick, (SessionKey, SessionRow), isize>,
    /// Where visitors begin and cease to count in `uniques`.
    pub uniques: VecCollection<'scope, Tick, Told, isize>,
    /// The rows of `funnel_steps`.
    funnel_steps: VecCollection<'scope, Tick, (StepKey, FunnelStep), isize>,
    /// The rows of `paths`.
    paths: VecCollection<'scope, Tick, (PathKey, PathRow), isize>,
    /// The days of `frequency` that are sealed.
    frequency: VecCollection<'scope, Tick, FrequencyRow, isize>,
    /// What is kept of the visitors of this worker.
    records: Records<Subject, VisitorRecord>,
    /// How their sessions are read from that; none where no `sessions` are maintained.
    of_visitor: Option<Arc<OfVisitor>>,
    /// How `frequency_now` is read from it; none where no `frequency` is maintained.
    now: Option<Arc<Now>>,
    /// How `funnel_steps` are read from it.
    funnels: Arc<funnel_steps::OfVisitor>,
}

impl<'scope> Visitors<'scope> {
    /// The view `sessions`.
    ///
    /// # Panics
    /// Where the job does not maintain it.
    pub fn sessions(self) -> Output<'scope> {
        let rows = self.of_visitor.expect("sessions are maintained by a job that has the view");
        sessions::output(self.sessions, OfRecords { records: self.records, section: |(_, (chains, _))| chains, rows })
    }

    /// The view `frequency`.
    ///
    /// # Panics
    /// Where the job does not maintain it.
    pub fn frequency(self) -> Output<'scope> {
        let rows = self.now.expect("what visitors did is counted by a job that has the view");
        let of_records =
            OfRecords { records: self.records, section: |(_, (_, (_, counts))): &VisitorRecord| counts, rows };
        Output::additions(self.frequency).with_records(FREQUENCY_NOW.name, of_records)
    }

    /// The view `funnel_steps`.
    pub fn funnel_steps(self, params: &Params) -> Output<'scope> {
        let of_records = OfRecords { records: self.records, section: |((steps, _), _)| steps, rows: self.funnels };
        funnel_steps::output(self.funnel_steps, of_records, params)
    }

    /// The view `paths`.
    pub fn paths(self) -> Output<'scope> {
        let (records, rows) = (self.records, paths::of_visitor());
        paths::output(self.paths, OfRecords { records, section: |((_, journeys), _)| journeys, rows })
    }
}

/// What is kept of a visitor: a section of each view.
pub type VisitorRecord = ((Steps, Journeys), (Chains, (Seen, Counts)));

/// Visits the visitors of these events, for the views that a job with these parameters maintains. What was counted on days that are
/// sealed is loaded.
pub fn visitors<'scope>(
    events: &Events<'scope>,
    counted: VecCollection<'scope, Tick, (Subject, DayCount), isize>,
    params: &Params,
    bounds: Bounds,
    horizons: Horizons,
) -> Visitors<'scope> {
    let sessions = params.maintains(SESSIONS.name).then(|| Sessions::new(&params.sessions, horizons));
    let uniques = params.maintains(UNIQUES.name).then(|| Uniques::new(&params.uniques, params.zones.clone(), horizons));
    let frequency = params.maintains(FREQUENCY.name).then(|| Frequency::new(bounds, params.zones.clone(), horizons));
    let has_funnels = params.maintains(FUNNEL_STEPS.name) && !params.funnels.is_empty();
    let funnel_steps = has_funnels.then(|| FunnelSteps::new(params, horizons));
    let filters = Filters::new(if has_funnels { &params.funnels } else { &[] });
    let paths = params.maintains(PATHS.name).then(|| Paths::new(&params.paths, horizons));
    let of_sessions = sessions.iter().flat_map(Sessions::types);
    let of_uniques = uniques.iter().flat_map(|_| Uniques::TYPES);
    let of_frequency = frequency.iter().flat_map(|_| Frequency::TYPES);
    let of_paths = paths.iter().flat_map(|_| Paths::TYPES);
    let wanted: Vec<EventType> = of_sessions.chain(of_uniques).chain(of_frequency).chain(of_paths).collect();
    let visits = events.flat_map("visits", move |event| {
        let visitor = event.visitor()?;
        let steps = filters.steps(event);
        let is_wanted = steps != 0 || wanted.contains(&event.event_type);
        is_wanted.then(|| (visitor, VisitorInput::Event(VisitorEvent::of(event, steps))))
    });
    let counted = counted.map(|(visitor, count)| (visitor, VisitorInput::Counted(count)));
    let of_visitor = sessions.as_ref().map(Sessions::of_visitor);
    let now = frequency.as_ref().map(|frequency| Arc::new(Now::new(frequency.names(), params.zones.clone())));
    let ways = Both(funnel_steps, paths);
    let stays = Both(sessions, Some(Both(uniques, frequency)));
    let (made, records) = keyed_published(visits.concat(counted), "visitors", Both(Some(ways), Some(stays)));
    Visitors {
        funnel_steps: made.clone().flat_map(|made| match made {
            Either::First(Either::First(step)) => Some(step),
            _ => None,
        }),
        paths: made.clone().flat_map(|made| match made {
            Either::First(Either::Second(path)) => Some(path),
            _ => None,
        }),
        sessions: made.clone().flat_map(|made| match made {
            Either::Second(Either::First(session)) => Some(session),
            _ => None,
        }),
        uniques: made.clone().flat_map(|made| match made {
            Either::Second(Either::Second(Either::First(told))) => Some(told),
            _ => None,
        }),
        frequency: made.flat_map(|made| match made {
            Either::Second(Either::Second(Either::Second(sealed))) => Some(sealed),
            _ => None,
        }),
        records,
        of_visitor,
        now,
        funnels: FunnelSteps::of_visitor(params),
    }
}
