//! Links of people that come and go: their components alone, and the view `identity` from events to what is published.

use std::time::{Duration, Instant};

use dataflows::changes::Cutover;
use dataflows::horizon::Bounds;
use dataflows::params::Params;
use dataflows::views;
use dataflows::views::identity::IDENTITY;
use dataflows::views::identity_links::IDENTITY_LINKS;
use differential_dataflow::input::InputSession;
use operators::{Hub, components};
use schemas::event::Accepted;
use schemas::{DeviceId, Event, EventId, EventTime, EventType, Id, PayloadHash, Symbol, Tick, UserId};
use timely::dataflow::ProbeHandle;
use timely::worker::Worker;

use crate::machine::thread_cpu;
use crate::runs::Measured;

/// What comes and goes.
#[derive(Clone, Copy, Debug)]
pub struct LinkTraffic {
    /// Changes: nine links in ten come, one goes.
    pub changes: u64,
    /// Users, each with a few devices of its own.
    pub users: u64,
    /// Nodes of one component that is there from the beginning; an eighth of what comes and goes is within it or beside it. 0 for none.
    pub giant: u64,
    /// Changes in each tick.
    pub tick_changes: u64,
}

/// A link of a user and a device that comes, or goes.
#[derive(Clone, Copy, Debug)]
struct Change {
    user: u64,
    device: u64,
    /// The number of the event that says so.
    event: u64,
    goes: bool,
}

/// More than a worker that is fed this way has links at a time.
const GIANT: u64 = 1 << 40;
/// What happens in a tick takes so many ms.
const TICK_MS: u64 = 10;
const BEGINS: Tick = 1_700_000_000_000;

/// A word that looks random (the finisher of SplitMix64).
fn mix(word: u64) -> u64 {
    let word = word.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

impl LinkTraffic {
    /// The links of the large component, a tree, and then what comes and goes.
    fn made(self) -> (Vec<Change>, Vec<Change>) {
        let half = self.giant / 2;
        let of_giant = (1..self.giant).map(|node| {
            // Users and devices take turns; each is linked with an earlier one of the other kind.
            let earlier = mix(node) % node.div_ceil(2);
            let (user, device) = if node % 2 == 0 { (node / 2, earlier) } else { (earlier, node / 2) };
            Change { user: GIANT + user, device: GIANT + device, event: node, goes: false }
        });
        let of_giant: Vec<Change> = of_giant.collect();
        let mut standing = of_giant.clone();
        let mut changes = Vec::with_capacity(self.changes as usize);
        for number in 0..self.changes {
            let draw = |what: u64, of: u64| mix(number * 8 + what) % of;
            if draw(0, 10) == 0 && !standing.is_empty() {
                let gone = standing.swap_remove(draw(1, standing.len() as u64) as usize);
                changes.push(Change { goes: true, ..gone });
                continue;
            }
            let (user, device) = match (half > 0 && draw(2, 8) == 0, draw(3, 2) == 0) {
                (true, true) => (GIANT + draw(4, half), GIANT + draw(5, half)),
                (true, false) => (GIANT + draw(4, half), 2 * GIANT + number),
                (false, _) => {
                    let user = draw(4, self.users);
                    // One in twenty is shared with a neighbour.
                    (user, user * 3 + draw(5, 3) + 3 * u64::from(draw(6, 20) == 0))
                }
            };
            let come = Change { user, device, event: self.giant + number, goes: false };
            standing.push(come);
            changes.push(come);
        }
        (of_giant, changes)
    }
}

/// A node as it is in an id: two words that look random.
fn node(kind: u64, number: u64) -> (u64, u64) {
    (mix(number * 2 + kind), mix(!(number * 2 + kind)))
}

fn id(kind: u64, number: u64) -> Id {
    let (hi, lo) = node(kind, number);
    Id::from_bytes(((u128::from(hi) << 64) | u128::from(lo)).to_be_bytes())
}

impl Change {
    /// The `identify` event that says the link, or what withdraws it.
    fn record(&self) -> Accepted {
        let (user, device) = (UserId(id(0, self.user)), DeviceId(id(1, self.device)));
        let event = Event {
            event_type: if self.goes { EventType::Tombstone } else { EventType::Identify },
            tenant: Symbol(1),
            event_id: EventId(id(2, self.event)),
            event_time: EventTime(BEGINS as i64),
            subject: Event::subject_of(user, device, Default::default()),
            user,
            device,
            ..Event::default()
        };
        Accepted { event, payload_hash: PayloadHash(id(3 + u64::from(self.goes), self.event)), ..Accepted::default() }
    }
}

/// The components alone, and the view from events to what is published, one after the other.
pub fn links(traffic: LinkTraffic) -> [Measured; 2] {
    [run(traffic, "components", of_components), run(traffic, "identity", of_view)]
}

type Feed = Box<dyn FnMut(&mut Worker, &[Change], Tick)>;

fn run(traffic: LinkTraffic, lane: &'static str, lane_of: fn(&mut Worker) -> Feed) -> Measured {
    timely::execute_directly(move |worker| {
        let mut feed = lane_of(worker);
        let (of_giant, changes) = traffic.made();
        feed(worker, &of_giant, BEGINS);
        let mut ticks = Vec::new();
        let cpu = thread_cpu();
        for (number, changes) in changes.chunks(traffic.tick_changes as usize).enumerate() {
            let start = Instant::now();
            feed(worker, changes, BEGINS + (number as Tick + 1) * TICK_MS);
            ticks.push(start.elapsed());
        }
        let cpu = thread_cpu() - cpu;
        let (tick_events, events, total) = (traffic.tick_changes, traffic.changes, ticks.iter().sum::<Duration>());
        Measured { lane, workers: 1, tick_events, events, ticks, total, cpu }
    })
}

fn of_components(worker: &mut Worker) -> Feed {
    let (mut input, probe) = (InputSession::<Tick, _, isize>::new(), ProbeHandle::new());
    worker.dataflow::<Tick, _, _>(|scope| {
        let large_above = Params::default().identity.large_above as usize;
        components(input.to_collection(scope), "components", large_above, |_| 0).probe_with(&probe);
    });
    Box::new(move |worker, changes, tick| {
        input.advance_to(tick);
        for Change { user, device, goes, .. } in changes {
            input.update((node(0, *user), node(1, *device)), if *goes { -1 } else { 1 });
        }
        input.advance_to(tick + 1);
        input.flush();
        worker.step_while(|| probe.less_equal(&tick));
    })
}

fn of_view(worker: &mut Worker) -> Feed {
    let only = [IDENTITY_LINKS.name, IDENTITY.name].map(str::to_owned).to_vec();
    let params = Params { only, ..Params::default() };
    let (hub, probe) = (Hub::new(1), ProbeHandle::new());
    let mut publisher = hub.publisher(worker.index());
    let (mut feed, mut backlogs) = worker.dataflow::<Tick, _, _>(|scope| {
        let (feed, outputs) = views::build(scope, &params, Bounds::default());
        let cutover = Cutover { replay_from: 0, snapshot_at: None };
        let attach = |output: dataflows::view::Output<'_>| output.attach(&mut publisher, &probe, cutover);
        (feed, outputs.into_iter().map(attach).collect::<Vec<_>>())
    });
    let mut batch = feed.batch();
    Box::new(move |worker, changes, tick| {
        changes.iter().for_each(|change| batch.push(&change.record(), tick));
        feed.advance_to(tick);
        feed.take(&mut batch);
        feed.advance_to(tick + 1);
        feed.flush();
        worker.step_while(|| probe.less_equal(&tick));
        publisher.publish();
        backlogs.iter_mut().for_each(|backlog| drop(backlog.take_through(Tick::MAX)));
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_measured_with_a_large_component_and_without() {
        for giant in [0, 200] {
            let traffic = LinkTraffic { changes: 2_000, users: 300, giant, tick_changes: 100 };
            let (of_giant, changes) = traffic.made();
            assert_eq!((of_giant.len(), changes.len()), (giant.max(1) as usize - 1, 2_000));
            assert!(changes.iter().filter(|change| change.goes).count() > 150);
            for measured in links(traffic) {
                assert_eq!(measured.ticks.len(), 20);
            }
        }
    }
}
