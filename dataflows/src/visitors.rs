//! What visitors did: the views of it in one record a visitor and one visit an event (`docs/decisions/0026-keyed-state.md`).
//!
//! Each view keeps a section of the record and says what its section makes of an event; what a visit costs is finding the record.
//! A job that leaves a view out keeps nothing for it.

use std::sync::Arc;

use differential_dataflow::VecCollection;
use operators::{Records, keyed_published, keyed_sections};
use schemas::{EventType, Subject, Symbol, Tick};

use crate::cohort::Milestone;
use crate::horizon::{Bounds, Horizons};
use crate::lives::{Lives, OfLives};
use crate::params::Params;
use crate::standing::Events;
use crate::view::{OfRecords, Output};
use crate::views::activity::{self, ACTIVITY, Activity, ActivityRow};
use crate::views::cohorts::{COHORTS, CohortRow};
use crate::views::credits::channel;
use crate::views::firsts::{FIRSTS, FirstRow};
use crate::views::frequency::{FREQUENCY, Frequency};
use crate::views::frequency_now::{FREQUENCY_NOW, Now};
use crate::views::funnel_steps::{self, FUNNEL_STEPS, Filters, FunnelSteps};
use crate::views::installs::InstallRow;
use crate::views::paths::{self, PATHS, Paths};
use crate::views::sessions::{self, OfVisitor, SESSIONS, Sessions};
use crate::views::uniques::{Told, UNIQUES, Uniques};
use crate::visitor_event::{First, Led, VisitorEvent, VisitorInput};

keyed_sections! {
    /// The views of visitors that a job maintains.
    OfVisitors of (Subject, VisitorInput) keep VisitorRecord, make VisitorChange in VisitorChanges {
        /// Steps of funnels.
        funnel_steps, FunnelStep: FunnelSteps;
        /// Paths to conversions.
        paths, Path: Paths;
        /// Sessions.
        sessions, Session: Sessions;
        /// Where visitors begin and cease to count in `uniques`.
        uniques, Unique: Uniques;
        /// What is counted of days.
        frequency, Count: Frequency;
        /// Days on which visitors are there.
        activity, Day: Activity;
        /// What visitors did first, and what cohorts add up of them.
        lives, Life: Lives;
    }
}

/// What follows from what visitors did.
#[derive(Clone)]
pub struct Visitors<'scope> {
    /// What changes.
    changes: VisitorChanges<'scope>,
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
        let of_records = OfRecords { records: self.records, section: |record: &VisitorRecord| &record.sessions, rows };
        sessions::output(self.changes.sessions, of_records)
    }

    /// The view `frequency`.
    ///
    /// # Panics
    /// Where the job does not maintain it.
    pub fn frequency(self) -> Output<'scope> {
        let rows = self.now.expect("what visitors did is counted by a job that has the view");
        let of_records = OfRecords { records: self.records, section: |record: &VisitorRecord| &record.frequency, rows };
        Output::additions(self.changes.frequency).with_records(FREQUENCY_NOW.name, of_records)
    }

    /// The view `funnel_steps`.
    pub fn funnel_steps(self, params: &Params) -> Output<'scope> {
        let (records, rows) = (self.records, self.funnels);
        let of_records = OfRecords { records, section: |record: &VisitorRecord| &record.funnel_steps, rows };
        funnel_steps::output(self.changes.funnel_steps, of_records, params)
    }

    /// The view `paths`.
    pub fn paths(self) -> Output<'scope> {
        let (records, rows) = (self.records, paths::of_visitor());
        let of_records = OfRecords { records, section: |record: &VisitorRecord| &record.paths, rows };
        paths::output(self.changes.paths, of_records)
    }

    /// Where visitors begin and cease to count in `uniques`.
    pub fn uniques(self) -> VecCollection<'scope, Tick, Told, isize> {
        self.changes.uniques
    }

    /// The days on which visitors are there.
    pub fn activity(self) -> VecCollection<'scope, Tick, ActivityRow, isize> {
        self.changes.activity
    }

    /// The rows of `firsts`.
    pub fn firsts(self) -> VecCollection<'scope, Tick, FirstRow, isize> {
        self.changes.lives.flat_map(|made| match made {
            OfLives::First(first) => Some(first),
            OfLives::Cell(_) => None,
        })
    }

    /// What is added to `cohorts`.
    pub fn cohorts(self) -> VecCollection<'scope, Tick, CohortRow, isize> {
        self.changes.lives.flat_map(|made| match made {
            OfLives::Cell(cell) => Some(cell),
            OfLives::First(_) => None,
        })
    }
}

/// Whether a job with these parameters needs the lives of visitors, and so installs.
pub fn has_lives(params: &Params) -> bool {
    [FIRSTS.name, COHORTS.name].iter().any(|view| params.maintains(view))
}

/// An install of a visitor that is neither a reinstall nor a reattribution.
pub fn of_install(install: &InstallRow) -> Option<(Subject, VisitorInput)> {
    let InstallRow { tenant, app, subject, event_time: time, event_id: id, user, device, country, touch, .. } = install;
    if install.reinstall || install.reattribution || (user.is_none() && device.is_none()) {
        return None;
    }
    let (campaign, source) = touch.map_or((Symbol::NONE, Symbol::NONE), |touch| (touch.campaign, touch.source));
    let led = Led { campaign, source, channel: channel(touch.as_ref()), country: *country };
    let first = First { tenant: *tenant, app: *app, milestone: Milestone::Install, time: *time, id: *id, led };
    Some((*subject, VisitorInput::Installed(first)))
}

/// Visits the visitors of these events and installs, for the views that a job with these parameters maintains. What is final, on days
/// that are sealed, is loaded.
pub fn visitors<'scope>(
    events: &Events<'scope>,
    finals: VecCollection<'scope, Tick, (Subject, VisitorInput), isize>,
    installed: Option<VecCollection<'scope, Tick, (Subject, VisitorInput), isize>>,
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
    let activity = params.maintains(ACTIVITY.name).then(|| Activity::new(params.zones.clone(), horizons));
    let lives = has_lives(params).then(|| Lives::new(params, bounds, horizons));
    let of_sessions = sessions.iter().flat_map(Sessions::types);
    let of_uniques = uniques.iter().flat_map(|_| Uniques::TYPES);
    let of_frequency = frequency.iter().flat_map(|_| Frequency::TYPES);
    let of_paths = paths.iter().flat_map(|_| Paths::TYPES);
    let of_activity = activity.iter().flat_map(|_| activity::TYPES).chain(lives.iter().flat_map(|_| Lives::TYPES));
    let of_others = of_uniques.chain(of_frequency).chain(of_activity).chain(of_paths);
    let wanted: Vec<EventType> = of_sessions.chain(of_others).collect();
    let visits = events.flat_map("visits", move |event| {
        let visitor = event.visitor()?;
        let steps = filters.steps(event);
        let is_wanted = steps != 0 || wanted.contains(&event.event_type);
        is_wanted.then(|| (visitor, VisitorInput::Event(VisitorEvent::of(event, steps))))
    });
    let inputs = visits.concatenate(installed.into_iter().chain([finals]));
    let of_visitor = sessions.as_ref().map(Sessions::of_visitor);
    let now = frequency.as_ref().map(|frequency| Arc::new(Now::new(frequency.names(), params.zones.clone())));
    let logic = OfVisitors { funnel_steps, paths, sessions, uniques, frequency, activity, lives };
    let (made, records) = keyed_published(inputs, "visitors", logic);
    Visitors { changes: VisitorChanges::of(made), records, of_visitor, now, funnels: FunnelSteps::of_visitor(params) }
}
