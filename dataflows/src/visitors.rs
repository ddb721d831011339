//! What visitors did: the views of it in one record a visitor and one visit an event (`docs/decisions/0026-keyed-state.md`).
//!
//! Each view keeps a section of the record and says what its section makes of an event; what a visit costs is finding the record.
//! A job that leaves a view out keeps nothing for it.

use differential_dataflow::VecCollection;
use operators::{Both, Either, keyed};
use schemas::{EventType, Tick};

use crate::horizon::Horizons;
use crate::params::Params;
use crate::standing::Events;
use crate::views::sessions::{SESSIONS, SessionKey, SessionRow, Sessions};
use crate::views::uniques::{Told, UNIQUES, Uniques};
use crate::visitor_event::VisitorEvent;

/// What follows from what visitors did.
#[derive(Clone)]
pub struct Visitors<'scope> {
    /// The rows of `sessions`.
    pub sessions: VecCollection<'scope, Tick, (SessionKey, SessionRow), isize>,
    /// Where visitors begin and cease to count in `uniques`.
    pub uniques: VecCollection<'scope, Tick, Told, isize>,
}

/// Visits the visitors of these events, for the views that a job with these parameters maintains.
pub fn visitors<'scope>(events: &Events<'scope>, params: &Params, horizons: Horizons) -> Visitors<'scope> {
    let sessions = params.maintains(SESSIONS.name).then(|| Sessions::new(&params.sessions, horizons));
    let uniques = params.maintains(UNIQUES.name).then(|| Uniques::new(&params.uniques, params.zones.clone(), horizons));
    let of_sessions = sessions.iter().flat_map(Sessions::types);
    let of_uniques = uniques.iter().flat_map(|_| Uniques::TYPES);
    let wanted: Vec<EventType> = of_sessions.chain(of_uniques).collect();
    let visits = events.flat_map("visits", move |event| {
        let visitor = event.visitor().filter(|_| wanted.contains(&event.event_type))?;
        Some((visitor, VisitorEvent::of(event)))
    });
    let made = keyed(visits, "visitors", Both(sessions, uniques));
    let first = made.clone().flat_map(|made| match made {
        Either::First(session) => Some(session),
        Either::Second(_) => None,
    });
    let second = made.flat_map(|made| match made {
        Either::First(_) => None,
        Either::Second(told) => Some(told),
    });
    Visitors { sessions: first, uniques: second }
}
