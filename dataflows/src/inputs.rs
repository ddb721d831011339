//! What views may read in a dataflow: each is built once, when the first view asks for it.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

use differential_dataflow::VecCollection;
use differential_dataflow::input::InputSession;
use operators::AppendInput;
use schemas::{EventTime, Subject, Tick};
use timely::dataflow::{InputHandle, Scope, Stream};

use crate::attribution::indexes::{TouchIndexes, touch_indexes};
use crate::attribution::persons::{Said, Sources};
use crate::attribution::targets::TargetRow;
use crate::attribution::touches::Heaps;
use crate::attribution::{Attribution, attribution};
use crate::changes::each_change;
use crate::devices::{Devices, devices};
use crate::feed::{Feed, Rules};
use crate::horizon::{Bounds, Horizons, TargetKey};
use crate::links::Link;
use crate::params::Params;
use crate::sightings::{SharedHours, Sighting, shared_hours};
use crate::standing::{Contested, Events, Step, standing};
use crate::views::costs::{CostArrangement, costs};
use crate::views::installs::InstallRow;
use crate::visitor_event::VisitorInput;
use crate::visitors::{Visitors, has_lives, of_install, visitors};

/// What the views of a dataflow read.
pub struct Inputs<'scope> {
    /// Their parameters.
    pub params: Params,
    /// Until when what is known of an event can matter.
    pub horizons: Horizons,
    /// What bounds the state of the dataflow.
    pub bounds: Bounds,
    touches: TouchIndexes<'scope>,
    target_copies: VecCollection<'scope, Tick, (TargetKey, Arc<TargetRow>), isize>,
    /// What `identify` events say, and when that came; nothing where targets are known by their own ids alone.
    said: VecCollection<'scope, Tick, (Contested, Said), isize>,
    final_installs: VecCollection<'scope, Tick, (TargetKey, Arc<InstallRow>), isize>,
    /// What is final of visitors.
    finals_of_visitors: VecCollection<'scope, Tick, (Subject, VisitorInput), isize>,
    /// Links of days that are final.
    final_links: VecCollection<'scope, Tick, Link, isize>,
    /// Events of visitors with their fingerprints; nothing where nobody wants to know.
    sightings: VecCollection<'scope, Tick, (Contested, Sighting), isize>,
    /// Hours that ids shared on days that are final.
    final_hours: VecCollection<'scope, Tick, SharedHours, isize>,
    arrivals: Stream<'scope, Tick, Vec<Rc<Step>>>,
    /// Tells the feed that somebody reads events.
    with_events: Rc<Cell<bool>>,
    events: Option<Events<'scope>>,
    attribution: Option<Attribution<'scope>>,
    costs: Option<CostArrangement<'scope>>,
    visitors: Option<Visitors<'scope>>,
    devices: Option<Devices<'scope>>,
    links: Option<VecCollection<'scope, Tick, Link, isize>>,
    shared_hours: Option<VecCollection<'scope, Tick, SharedHours, isize>>,
}

impl<'scope> Inputs<'scope> {
    /// Builds what every dataflow has in a scope of a worker, and where records enter it.
    ///
    /// A record is accepted at a tick of at most its event time and its retention; by that state is forgotten. Without one
    /// records may come at any time, and all is kept.
    pub fn new(scope: Scope<'scope, Tick>, params: &Params, bounds: Bounds) -> (Feed, Inputs<'scope>) {
        let horizons = Horizons::of(&params.installs, bounds.retention);
        let (by_id_input, by_id) = AppendInput::new(scope);
        let (by_fingerprint_input, by_fingerprint) = AppendInput::new(scope);
        let (copy_input, copies) = AppendInput::new(scope);
        let (capped_input, capped) = AppendInput::new(scope);
        let (target_input, target_copies) = AppendInput::new(scope);
        let (said_input, said) = AppendInput::new(scope);
        let (sighting_input, sightings) = AppendInput::new(scope);
        let mut final_input = InputSession::new();
        let final_installs = final_input.to_collection(scope);
        let mut visitor_input = InputSession::new();
        let finals_of_visitors = visitor_input.to_collection(scope);
        let mut link_input = InputSession::new();
        let final_links = link_input.to_collection(scope);
        let mut hours_input = InputSession::new();
        let final_hours = hours_input.to_collection(scope);
        let heaps = Heaps::new(scope.index());
        let with_events = Rc::default();
        let mut arrival_input = InputHandle::new();
        let arrivals = arrival_input.to_stream(scope);
        let feed = Feed {
            arrivals: arrival_input,
            pool: Default::default(),
            with_events: Rc::clone(&with_events),
            by_id: by_id_input,
            by_fingerprint: by_fingerprint_input,
            copies: copy_input,
            capped: capped_input,
            targets: target_input,
            final_installs: final_input,
            finals_of_visitors: visitor_input,
            final_links: link_input,
            said: said_input,
            sightings: sighting_input,
            final_hours: hours_input,
            heaps: heaps.clone(),
            rules: Arc::new(Rules {
                horizons,
                person: params.installs.person,
                no_target_before: bounds.installs_before.unwrap_or(EventTime(i64::MIN)),
                moments: bounds.moments,
                identity: params.installs.identity.then(|| params.zones.clone()),
                sightings: params.identity.likely.is_some(),
            }),
        };
        let touches = touch_indexes(by_id, by_fingerprint, copies, heaps, capped.into_collection());
        let target_copies = target_copies.into_collection();
        let inputs = Inputs {
            params: params.clone(),
            horizons,
            bounds,
            touches,
            target_copies,
            said: said.into_collection(),
            final_installs,
            finals_of_visitors,
            final_links,
            sightings: sightings.into_collection(),
            final_hours,
            arrivals,
            with_events,
            events: None,
            attribution: None,
            costs: None,
            visitors: None,
            devices: None,
            links: None,
            shared_hours: None,
        };
        (feed, inputs)
    }

    /// The standing events.
    pub fn events(&mut self) -> Events<'scope> {
        self.with_events.set(true);
        let made =
            self.events.get_or_insert_with(|| standing(self.arrivals.clone(), &self.touches.copies, self.horizons));
        made.clone()
    }

    /// What follows from what devices did.
    pub fn devices(&mut self) -> Devices<'scope> {
        let (events, finals) = (self.events(), self.finals_of_visitors.clone());
        let made =
            self.devices.get_or_insert_with(|| devices(&events, finals, &self.params, self.bounds, self.horizons));
        made.clone()
    }

    /// What `installs` and `credits` are made of.
    pub fn attribution(&mut self) -> Attribution<'scope> {
        let returns = self.devices().returns;
        let made = self.attribution.get_or_insert_with(|| {
            let (targets, finals) = (self.target_copies.clone(), self.final_installs.clone());
            let persons = self
                .params
                .installs
                .identity
                .then(|| Sources { said: self.said.clone(), finals: self.final_links.clone() });
            attribution(targets, finals, returns, persons, &self.touches, &self.params, self.bounds)
        });
        made.clone()
    }

    /// `costs` by what they are unique by.
    pub fn costs(&mut self) -> CostArrangement<'scope> {
        let events = self.events();
        self.costs.get_or_insert_with(|| costs(&events, self.horizons, self.params.zones.clone())).clone()
    }

    /// What follows from what visitors did.
    pub fn visitors(&mut self) -> Visitors<'scope> {
        let events = self.events();
        if self.visitors.is_none() {
            let installed = has_lives(&self.params).then(|| {
                let installs = self.attribution().installs.stream;
                each_change(installs, "installs of visitors", |install: &Arc<InstallRow>| of_install(install))
            });
            let has_lives = has_lives(&self.params);
            let finals = self.finals_of_visitors.clone().filter(move |(_, input)| match input {
                VisitorInput::OfDevice(_) => false,
                VisitorInput::Active(_) | VisitorInput::First(_) => has_lives,
                _ => true,
            });
            self.visitors = Some(visitors(&events, finals, installed, &self.params, self.bounds, self.horizons));
        }
        self.visitors.clone().expect("it was made")
    }

    /// What links the ids of people, as the standing events say.
    pub fn links(&mut self) -> VecCollection<'scope, Tick, Link, isize> {
        let events = self.events();
        let zones = &self.params.zones;
        let made = self.links.get_or_insert_with(|| {
            let zones = zones.clone();
            events.flat_map("links", move |event| Link::of(event, &zones))
        });
        made.clone()
    }

    /// The same, and what earlier runs have written of days that are final.
    pub fn links_of_all_time(&mut self) -> VecCollection<'scope, Tick, Link, isize> {
        let before = self.bounds.links_before;
        let links = self.links().filter(move |link| before.is_none_or(|before| link.day >= before));
        links.concat(self.final_links.clone())
    }

    /// The hours that ids share, as the standing events say.
    pub fn shared_hours(&mut self) -> VecCollection<'scope, Tick, SharedHours, isize> {
        let (sightings, zones, horizons) = (&self.sightings, &self.params.zones, self.horizons);
        let made = self.shared_hours.get_or_insert_with(|| shared_hours(sightings.clone(), zones.clone(), horizons));
        made.clone()
    }

    /// The same, and what earlier runs have written of days that are final.
    pub fn shared_hours_of_all_time(&mut self) -> VecCollection<'scope, Tick, SharedHours, isize> {
        let before = self.bounds.links_before;
        let hours = self.shared_hours().filter(move |hours| before.is_none_or(|before| hours.key.day >= before));
        hours.concat(self.final_hours.clone())
    }
}
