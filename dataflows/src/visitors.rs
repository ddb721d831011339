//! What visitors did: the views of it in one record a visitor and one visit an event (`docs/decisions/0026-keyed-state.md`).
//!
//! Each view keeps a section of the record and says what its section makes of an event; what a visit costs is finding the record.
//! A job that leaves a view out keeps nothing for it.

use differential_dataflow::VecCollection;
use operators::{Both, Either, keyed};
use schemas::{EventType, Subject, Tick};

use crate::horizon::{Bounds, Horizons};
use crate::params::Params;
use crate::standing::Events;
use crate::views::frequency::{FREQUENCY, Frequency, FrequencyRow};
use crate::views::sessions::{SESSIONS, SessionKey, SessionRow, Sessions};
use crate::views::uniques::{Told, UNIQUES, Uniques};
use crate::visitor_event::{DayCount, VisitorEvent, VisitorInput};

/// What follows from what visitors did.
#[derive(Clone)]
pub struct Visitors<'scope> {
    /// The rows of `sessions`.
    pub sessions: VecCollection<'scope, Tick, (SessionKey, SessionRow), isize>,
    /// Where visitors begin and cease to count in `uniques`.
    pub uniques: VecCollection<'scope, Tick, Told, isize>,
    /// The days of `frequency` that are sealed.
    pub frequency: VecCollection<'scope, Tick, FrequencyRow, isize>,
}

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
    let uniques = params.maintains(UNIQUES.name).then(|| Uniques::new(&params.uniques, horizons));
    let frequency = params.maintains(FREQUENCY.name).then(|| Frequency::new(bounds, horizons));
    let of_sessions = sessions.iter().flat_map(Sessions::types);
    let of_uniques = uniques.iter().flat_map(|_| Uniques::TYPES);
    let of_frequency = frequency.iter().flat_map(|_| Frequency::TYPES);
    let wanted: Vec<EventType> = of_sessions.chain(of_uniques).chain(of_frequency).collect();
    let visits = events.flat_map("visits", move |event| {
        let visitor = event.visitor().filter(|_| wanted.contains(&event.event_type))?;
        Some((visitor, VisitorInput::Event(VisitorEvent::of(event))))
    });
    let counted = counted.map(|(visitor, count)| (visitor, VisitorInput::Counted(count)));
    let made = keyed(visits.concat(counted), "visitors", Both(sessions, Some(Both(uniques, frequency))));
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
    }
}
