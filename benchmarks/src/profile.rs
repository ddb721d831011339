//! Where the time of our lane goes, operator by operator, as timely logs when each runs.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

use dataflows::params::PersonRule;
use operators::Hub;
use schemas::event::Accepted;
use serde::Serialize;
use timely::logging::{StartStop, TimelyEvent, TimelyEventBuilder};

use crate::events::Traffic;
use crate::lanes::{Views, ours};

/// What an operator took.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Spent {
    /// Its name, and its number in the dataflow.
    pub operator: String,
    /// Time in it alone.
    pub time: Duration,
    /// How often it was called.
    pub calls: u64,
}

#[derive(Default)]
struct Log {
    operators: HashMap<usize, Spent>,
    /// Operators that run, each with when it began and what those within it took.
    running: Vec<(usize, Duration, Duration)>,
}

impl Log {
    fn note(&mut self, at: Duration, event: &TimelyEvent) {
        match event {
            TimelyEvent::Operates(operator) => {
                let path: Vec<String> = operator.addr.iter().map(usize::to_string).collect();
                self.operators.entry(operator.id).or_default().operator =
                    format!("{} {}", path.join("."), operator.name);
            }
            TimelyEvent::Schedule(schedule) if matches!(schedule.start_stop, StartStop::Start) => {
                self.running.push((schedule.id, at, Duration::ZERO));
            }
            TimelyEvent::Schedule(_) => {
                let Some((id, since, within)) = self.running.pop() else { return };
                let took = at.saturating_sub(since);
                let spent = self.operators.entry(id).or_default();
                spent.time += took.saturating_sub(within);
                spent.calls += 1;
                if let Some((_, _, within)) = self.running.last_mut() {
                    *within += took;
                }
            }
            _ => {}
        }
    }
}

/// Runs our lane in one worker; the operators by the time that they took, longest first.
pub fn profile(traffic: Traffic, tick_events: u64, views: Views) -> Vec<Spent> {
    let mut spent = timely::execute_directly(move |worker| {
        let log = Rc::new(RefCell::new(Log::default()));
        let noted = Rc::clone(&log);
        let mut registry = worker.log_register().expect("timely is built with logging");
        registry.insert::<TimelyEventBuilder, _>("timely", move |_, events| {
            let events = events.iter().flat_map(|events| events.iter());
            events.for_each(|(at, event)| noted.borrow_mut().note(*at, event));
        });
        drop(registry);
        let mut lane = ours(worker, &Hub::new(1), PersonRule::DeviceOrUser, views);
        let mut events: Vec<Accepted> = Vec::new();
        for first in (0..traffic.events).step_by(tick_events as usize) {
            events.clear();
            events.extend((first..(first + tick_events).min(traffic.events)).map(|number| traffic.event(number)));
            lane.run(worker, &events, traffic.tick(first));
        }
        let spent: Vec<Spent> = log.borrow().operators.values().cloned().collect();
        spent
    });
    spent.sort_by_key(|spent| std::cmp::Reverse(spent.time));
    spent
}
