//! What is compared: a *lane* is a dataflow with its input and probe. Several run in one worker, fed in turns.

use std::sync::Arc;

use dataflows::changes::Cutover;
use dataflows::horizon::Bounds;
use dataflows::inputs::Inputs;
use dataflows::live::{LiveRows, Value};
use dataflows::params::{Params, PersonRule};
use dataflows::view::Output;
use dataflows::views::{self, uniques};
use differential_dataflow::input::InputSession;
use operators::{Hub, Publisher};
use schemas::event::Accepted;
use schemas::view::{Method, PathTouch};
use schemas::{EventKey, EventTime, JoinKey, Tick};
use timely::dataflow::ProbeHandle;
use timely::dataflow::operators::Probe;
use timely::worker::Worker;

/// The diff of the bare lane.
type Diff = isize;

/// A dataflow under measurement.
pub struct Lane {
    /// Its name in the results.
    pub name: &'static str,
    /// Takes events in at a tick, then promises that none will come up to and including it.
    feed: Box<dyn FnMut(&[Accepted], Tick)>,
    /// Called after every step.
    after_step: Box<dyn FnMut()>,
    probe: ProbeHandle<Tick>,
}

impl Lane {
    /// Feeds events and steps the worker until everything they cause is out.
    pub fn run(&mut self, worker: &mut Worker, events: &[Accepted], tick: Tick) {
        (self.feed)(events, tick);
        while self.probe.less_equal(&tick) {
            worker.step();
        }
        (self.after_step)();
    }
}

/// The bare lane: touches and conversions as fixed rows, joined by person, and per conversion the last touch.
///
/// One index, one join, one reduction: no windows, no copies, no withdrawals, no paths, no credit. Its rows are those
/// that the attribution dataflow keeps of a touch on a path ([`PathTouch`]).
pub fn bare(worker: &mut Worker) -> Lane {
    let mut touches = InputSession::<Tick, (JoinKey, PathTouch), Diff>::new();
    let mut targets = InputSession::<Tick, (JoinKey, (EventTime, EventKey)), Diff>::new();
    let probe = ProbeHandle::new();
    worker.dataflow::<Tick, _, _>(|scope| {
        let touches = touches.to_collection(scope).arrange_by_key_named("bare touches");
        let targets = targets.to_collection(scope).arrange_by_key_named("bare targets");
        touches
            .join_core(targets, |_, touch, (time, key)| (touch.event_time <= *time).then_some((*key, *touch)))
            .reduce_named("bare last touch", |_, touches, output| output.push((*touches[touches.len() - 1].0, 1)))
            .inner
            .probe_with(&probe);
    });
    let feed = move |events: &[Accepted], tick| {
        for Accepted { event, .. } in events {
            let person = event.person_key().expect("every event has a user");
            if event.event_type.is_touch() {
                let touch = PathTouch {
                    event_time: event.event_time,
                    event_id: event.event_id,
                    subject: event.subject,
                    event_type: event.event_type,
                    method: Method::Person,
                    channel: event.channel,
                    campaign: event.campaign,
                    ad_group: event.ad_group,
                    creative: event.creative,
                    source: event.source,
                };
                touches.update_at((person, touch), tick, 1);
            } else {
                targets.update_at((person, (event.event_time, event.key())), tick, 1);
            }
        }
        touches.advance_to(tick + 1);
        targets.advance_to(tick + 1);
        touches.flush();
        targets.flush();
    };
    Lane { name: "bare join+reduce", feed: Box::new(feed), after_step: Box::new(|| {}), probe }
}

/// What a lane of ours maintains.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Views {
    /// Attribution, its outputs published after every tick.
    Attribution,
    /// Besides, the standing events, read by nobody.
    WithEvents,
    /// Besides, of the views of visitors `sessions`, `uniques` and `frequency`.
    SomeOfVisitors,
    /// Besides, the views of visitors.
    OfVisitors,
    /// The same, while somebody reads what is kept of visitors.
    OfVisitorsRead,
    /// All views of the catalogue; what is to be written is taken at every tick, and dropped.
    All,
}

/// Our lane of attribution alone.
pub fn attribution(worker: &mut Worker, hub: &Hub, person: PersonRule) -> Lane {
    ours(worker, hub, person, Views::Attribution)
}

/// Our lane: with the default parameters but for who is one person.
pub fn ours(worker: &mut Worker, hub: &Hub, person: PersonRule, views: Views) -> Lane {
    let mut params = Params::default();
    params.installs.person = person;
    if views == Views::SomeOfVisitors {
        params.only = ["sessions", "uniques", "frequency"].map(str::to_owned).into();
    }
    let mut publisher: Publisher = hub.publisher(worker.index());
    let probe = ProbeHandle::new();
    let mut live: Option<Arc<dyn LiveRows>> = None;
    let (mut input, mut backlogs) = worker.dataflow::<Tick, _, _>(|scope| {
        let (input, mut inputs) = Inputs::new(scope, &params, Bounds::default());
        let (mut backlogs, cutover) = (Vec::new(), Cutover { replay_from: 0, snapshot_at: None });
        if views == Views::All {
            for (_, output) in views::outputs(&mut inputs) {
                backlogs.push(output.attach(&mut publisher, &probe, cutover));
            }
            return (input, backlogs);
        }
        let attribution = inputs.attribution();
        attribution.installs.stream.probe_with(&probe);
        attribution.credited.stream.probe_with(&probe);
        publisher.register("installs", attribution.installs.trace);
        publisher.register("credits", attribution.credited.trace);
        if views != Views::Attribution {
            let events = inputs.events();
            events.arrivals.probe_with(&probe);
            events.corrections.probe_with(&probe);
        }
        if matches!(views, Views::SomeOfVisitors | Views::OfVisitors | Views::OfVisitorsRead) {
            let visitors = inputs.visitors();
            let of = || visitors.clone();
            let mut outputs =
                vec![of().sessions(), uniques::output(of().uniques(), params.zones.clone()), of().frequency()];
            if views != Views::SomeOfVisitors {
                outputs.extend([
                    Output::changes(of().activity()),
                    Output::changes(of().firsts()),
                    Output::additions(of().cohorts()),
                    of().paths(),
                ]);
            }
            for output in outputs {
                let (backlog, rows) = output.attach_live(&mut publisher, &probe, cutover);
                backlogs.push(backlog);
                live = live.take().or(rows.map(|(_, rows)| rows));
            }
        }
        (input, backlogs)
    });
    let mut batch = input.batch();
    let feed = move |events: &[Accepted], tick| {
        events.iter().for_each(|event| batch.push(event, tick));
        input.take(&mut batch);
        input.advance_to(tick + 1);
        input.flush();
    };
    let hub = hub.clone();
    let visitor = [("visitor".to_owned(), Value::Bytes(vec![7; 16]))];
    let after_step = move || {
        publisher.publish();
        if let (Some(rows), Some(snapshot), Views::OfVisitorsRead) = (&live, hub.snapshot(), views) {
            rows.visit(snapshot, &visitor, &mut |_| true).expect("nothing has changed since");
        }
        backlogs.iter_mut().for_each(|backlog| drop(backlog.take_through(Tick::MAX)));
    };
    let name = match (views, person) {
        (Views::All, _) => "all views",
        (Views::SomeOfVisitors, _) => "sessions, uniques, frequency",
        (Views::OfVisitors, _) => "views of visitors",
        (Views::OfVisitorsRead, _) => "the same, read",
        (Views::WithEvents, _) => "with events",
        (Views::Attribution, PersonRule::DeviceOrUser) => "attribution",
        (Views::Attribution, PersonRule::DeviceElseUser) => "device else user",
    };
    Lane { name, feed: Box::new(feed), after_step: Box::new(after_step), probe }
}
