//! What a run prints: one line a measurement, one a verdict, as text or JSON.

use std::time::Duration;

use serde::Serialize;

use crate::machine::Setting;
use crate::runs::Measured;

/// The results of one command.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Where it ran.
    pub setting: Setting,
    /// What was measured.
    pub measurements: Vec<Measurement>,
    /// What that says.
    pub verdicts: Vec<Verdict>,
}

/// One measurement.
#[derive(Clone, Debug, Serialize)]
pub struct Measurement {
    /// What ran.
    pub lane: String,
    /// On how many workers.
    pub workers: usize,
    /// Events in each tick.
    pub tick_events: u64,
    /// Events in all.
    pub events: u64,
    /// Events per second.
    pub events_per_s: f64,
    /// Events per second that the workers spent on a processor: what an idle machine would do, or near it.
    pub events_per_cpu_s: f64,
    /// Tick latencies, ms.
    pub p50_ms: f64,
    /// 99 % of ticks are at most this long, ms.
    pub p99_ms: f64,
    /// 99.9 % of ticks are at most this long, ms.
    pub p999_ms: f64,
    /// The longest tick, ms.
    pub max_ms: f64,
}

/// A figure beside its floor and goal.
#[derive(Clone, Debug, Serialize)]
pub struct Verdict {
    /// What was asked.
    pub what: String,
    /// The figure.
    pub value: f64,
    /// Its unit.
    pub unit: &'static str,
    /// Worse than this fails.
    pub floor: f64,
    /// What we are after.
    pub goal: f64,
    /// `goal`, `floor` (reached, below the goal) or `fail`.
    pub verdict: &'static str,
}

impl Verdict {
    /// Judges a figure; whether more or less is better follows from floor and goal.
    pub fn of(what: impl Into<String>, value: f64, unit: &'static str, floor: f64, goal: f64) -> Verdict {
        let reaches = |bound: f64| if goal > floor { value >= bound } else { value <= bound };
        let verdict = match (reaches(goal), reaches(floor)) {
            (true, _) => "goal",
            (false, true) => "floor",
            (false, false) => "fail",
        };
        Verdict { what: what.into(), value, unit, floor, goal, verdict }
    }
}

impl Measurement {
    /// The figures of a run.
    pub fn of(measured: &Measured) -> Measurement {
        Measurement {
            lane: measured.lane.to_owned(),
            workers: measured.workers,
            tick_events: measured.tick_events,
            events: measured.events,
            events_per_s: measured.events_per_s().round(),
            events_per_cpu_s: measured.events_per_cpu_s().round(),
            p50_ms: ms(measured.tick_latency(0.5)),
            p99_ms: ms(measured.tick_latency(0.99)),
            p999_ms: ms(measured.tick_latency(0.999)),
            max_ms: ms(measured.tick_latency(1.0)),
        }
    }
}

/// A duration in ms, to the microsecond.
pub fn ms(duration: Duration) -> f64 {
    duration.as_micros() as f64 / 1e3
}

impl Report {
    /// As a person reads it.
    pub fn print(&self) {
        let Setting { commit, processor, processors, memory_gib, release, load, memory_ns_per_byte } = &self.setting;
        let build = if *release { "release" } else { "DEBUG BUILD, NO RESULT" };
        println!("commit {commit}, {build}; {processors} × {processor}, {memory_gib} GiB; load at start {load}");
        if let Some([first, again]) = memory_ns_per_byte {
            println!("memory is taken at {first:.2} ns a byte, at {again:.2} what was just given back");
        }
        println!(
            "{:<18}{:>8}{:>8}{:>12}{:>12}{:>14}{:>10}{:>10}{:>10}{:>10}",
            "lane", "workers", "tick", "events", "events/s", "events/cpu s", "p50 ms", "p99 ms", "p99.9 ms", "max ms"
        );
        for row in &self.measurements {
            let Measurement { lane, workers, tick_events, events, events_per_s, events_per_cpu_s, .. } = row;
            let Measurement { p50_ms, p99_ms, p999_ms, max_ms, .. } = row;
            println!(
                "{lane:<18}{workers:>8}{tick_events:>8}{events:>12}{events_per_s:>12}{events_per_cpu_s:>14}\
                 {p50_ms:>10.2}{p99_ms:>10.2}{p999_ms:>10.2}{max_ms:>10.2}"
            );
        }
        for Verdict { what, value, unit, floor, goal, verdict } in &self.verdicts {
            println!("{what}: {value:.2} {unit} (floor {floor}, goal {goal}): {verdict}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdicts_know_which_way_is_better() {
        let verdict = |value, floor, goal| Verdict::of("", value, "", floor, goal).verdict;
        assert_eq!(
            [verdict(61.0, 20.0, 60.0), verdict(20.0, 20.0, 60.0), verdict(19.0, 20.0, 60.0)],
            ["goal", "floor", "fail"]
        );
        assert_eq!(
            [verdict(20.0, 100.0, 20.0), verdict(21.0, 100.0, 20.0), verdict(101.0, 100.0, 20.0)],
            ["goal", "floor", "fail"]
        );
    }
}
