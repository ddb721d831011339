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
    /// The days of `frequency` that are sealed.
    frequency: VecCollection<'scope, Tick, FrequencyRow, isize>,
    /// What is kept of the visitors of this worker.
    records: Records<Subject, VisitorRecord>,
    /// How their sessions are read from that; none where no `sessions` are maintained.
    of_visitor: Option<Arc<OfVisitor>>,
    /// How `frequency_now` is read from it; none where no `frequency` is maintained.
    now: Option<Arc<Now>>,
}

impl<'scope> Visitors<'scope> {
    /// The view `sessions`.
    ///
    /// # Panics
    /// Where the job does not maintain it.
    pub fn sessions(self) -> Output<'scope> {
        let rows = self.of_visitor.expect("sessions are maintained by a job that has the view");
        sessions::output(self.sessions, OfRecords { records: self.records, section: |(chains, _)| chains, rows })
    }

    /// The view `frequency`.
    ///
    /// # Panics
    /// Where the job does not maintain it.
    pub fn frequency(self) -> Output<'scope> {
        let rows = self.now.expect("what visitors did is counted by a job that has the view");
        let of_records = OfRecords { records: self.records, section: |(_, (_, counts)): &VisitorRecord| counts, rows };
        Output::additions(self.frequency).with_records(FREQUENCY_NOW.name, of_records)
    }
}

/// What is kept of a visitor: a section of each view.
pub type VisitorRecord = (Chains, (Seen, Counts));

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
    let of_sessions = sessions.iter().flat_map(Sessions::types);
    let of_uniques = uniques.iter().flat_map(|_| Uniques::TYPES);
    let of_frequency = frequency.iter().flat_map(|_| Frequency::TYPES);
    let wanted: Vec<EventType> = of_sessions.chain(of_uniques).chain(of_frequency).collect();
    let visits = events.flat_map("visits", move |event| {
        let visitor = event.visitor().filter(|_| wanted.contains(&event.event_type))?;
        Some((visitor, VisitorInput::Event(VisitorEvent::of(event))))
    });
    let counted = counted.map(|(visitor, count)| (visitor, VisitorInput::Counted(count)));
    let of_visitor = sessions.as_ref().map(Sessions::of_visitor);
    let now = frequency.as_ref().map(|frequency| Arc::new(Now::new(frequency.names(), params.zones.clone())));
    let (made, records) =
        keyed_published(visits.concat(counted), "visitors", Both(sessions, Some(Both(uniques, frequency))));
    Visitors {
        sessions: made.clone().flat_map(|made| match made {
            Either::First(session) => Some(session),
            Either::Second(_) => None,
        }),
        uniques: made.clone().flat_map(|made| match made {
            Either::Second(Either::First(told)) => Some(told),
            _ => None,
        }),
        frequency: made.flat_map(|made| match made {
            Either::Second(Either::Second(sealed)) => Some(sealed),
            _ => None,
        }),
        records,
        of_visitor,
        now,
    }
}
