//! `dataflow BENCHMARK`: measures one row of the table in `README.md` and prints figures and verdict.

use std::time::Duration;

use benchmarks::events::Traffic;
use benchmarks::keyed_reads::keyed_reads;
use benchmarks::lanes::Views;
use benchmarks::links::{LinkTraffic, links};
use benchmarks::machine::Setting;
use benchmarks::profile::Spent;
use benchmarks::report::{Measurement, Report, Verdict, ms};
use benchmarks::row_reads::row_reads;
use benchmarks::runs::{self, Measured};
use clap::{Parser, Subcommand, ValueEnum};
use dataflows::params::PersonRule;
use mimalloc::MiMalloc;

/// As in `bidstream`.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// Candidates per join key, event hour and arrival hour that the gate lets through.
const HOT_KEY_TOUCHES: u64 = 64;

#[derive(Parser)]
#[command(about = "Measures the dataflow, fed from memory")]
struct Arguments {
    #[command(subcommand)]
    benchmark: Benchmark,
    /// Number of events.
    #[arg(long, global = true, default_value_t = 5_000_000)]
    events: u64,
    /// Number of users.
    #[arg(long, global = true, default_value_t = 1_000_000)]
    users: u64,
    /// Targets (installs and conversions) among a thousand events.
    #[arg(long, global = true, default_value_t = 20)]
    targets_per_mille: u64,
    /// How to print.
    #[arg(long, global = true, value_enum, default_value_t = Format::Text)]
    format: Format,
}

#[derive(Subcommand)]
enum Benchmark {
    /// Ours against a bare join and reduce on the same events, taking turns in one worker.
    Compare {
        /// Events in each tick.
        #[arg(long, value_delimiter = ',', default_values_t = [1_000, 3_500, 10_000])]
        tick_events: Vec<u64>,
    },
    /// Ours with two workers against one.
    Scale {
        /// Events in each tick.
        #[arg(long, default_value_t = 10_000)]
        tick_events: u64,
        /// How often each is run; the ratio is of the best.
        #[arg(long, default_value_t = 4)]
        rounds: usize,
    },
    /// Ours by both rules for who is one person, taking turns in one worker.
    Persons {
        /// Events in each tick.
        #[arg(long, default_value_t = 3_500)]
        tick_events: u64,
    },
    /// Ours: attribution alone, with the standing events, and all views, taking turns in one worker.
    Views {
        /// Events in each tick.
        #[arg(long, default_value_t = 3_500)]
        tick_events: u64,
    },
    /// Ours: with the standing events, and with the views of visitors beside them; then the memory that those take.
    Visitors {
        /// Events in each tick.
        #[arg(long, default_value_t = 3_500)]
        tick_events: u64,
        /// Events that a user has in one go.
        #[arg(long, default_value_t = 8)]
        in_one_go: u64,
        /// Events among a thousand that are one visitor's.
        #[arg(long, default_value_t = 0)]
        heavy_per_mille: u64,
    },
    /// Links of people, of which one in ten changes goes, alone and with one large component: their components, and the view of them.
    Links {
        /// Nodes of the large component.
        #[arg(long, default_value_t = 80_000)]
        giant: u64,
        /// Changes in each tick.
        #[arg(long, default_value_t = 3_500)]
        tick_events: u64,
    },
    /// Peak resident memory of ours per live touch.
    Memory {
        /// As the rule of release 0.1.0 has it, by which a device hides its user.
        #[arg(long)]
        device_else_user: bool,
        /// Events in each tick.
        #[arg(long, default_value_t = 3_500)]
        tick_events: u64,
    },
    /// A device with a million touches, then a conversion: the longest tick.
    Hot {
        /// Touches of the device.
        #[arg(long, default_value_t = 1_000_000)]
        touches: u64,
        /// Touches in each tick.
        #[arg(long, default_value_t = 1_000)]
        tick_events: u64,
    },
    /// Where the time goes, operator by operator.
    Profile {
        /// Events in each tick.
        #[arg(long, default_value_t = 4_096)]
        tick_events: u64,
        /// Events that a user has in one go.
        #[arg(long, default_value_t = 1)]
        in_one_go: u64,
        /// What is maintained.
        #[arg(long, value_enum, default_value_t = Views::Attribution)]
        views: Views,
    },
    /// Records of 8 keys at one tick on another thread, in an open loop, while records are visited.
    KeyedRead {
        /// Keys that have a record.
        #[arg(long, default_value_t = 1_000_000)]
        keys: u64,
        /// Visits per second.
        #[arg(long, default_value_t = 200_000)]
        updates_per_s: u64,
        /// How long.
        #[arg(long, default_value_t = 10)]
        seconds: u64,
    },
    /// Rows of a key of `credits` among all of them, and going through all (`--targets-per-mille 1000` makes most events rows).
    RowRead {
        /// Events in each tick.
        #[arg(long, default_value_t = 10_000)]
        tick_events: u64,
        /// How many keys are read.
        #[arg(long, default_value_t = 20_000)]
        reads: u64,
    },
    /// Lookups on another thread while the arrangement is updated.
    Read {
        /// Keys of the arrangement.
        #[arg(long, default_value_t = 5_000_000)]
        keys: u64,
        /// Updates per second.
        #[arg(long, default_value_t = 400_000)]
        updates_per_s: u64,
        /// How long.
        #[arg(long, default_value_t = 10)]
        seconds: u64,
    },
}

#[derive(Clone, Copy, ValueEnum)]
enum Format {
    Text,
    Json,
}

fn main() {
    let Arguments { benchmark, events, users, targets_per_mille, format } = Arguments::parse();
    let traffic = Traffic { events, users, targets_per_mille, in_one_go: 1, heavy_per_mille: 0 };
    let mut report = Report { setting: Setting::now().with_memory(), measurements: Vec::new(), verdicts: Vec::new() };
    match benchmark {
        Benchmark::Compare { tick_events } => tick_events.iter().for_each(|tick| compare(&mut report, traffic, *tick)),
        Benchmark::Scale { tick_events, rounds } => scale(&mut report, traffic, tick_events, rounds),
        Benchmark::Persons { tick_events } => persons(&mut report, traffic, tick_events),
        Benchmark::Views { tick_events } => views(&mut report, traffic, tick_events),
        Benchmark::Visitors { tick_events, in_one_go, heavy_per_mille } => {
            visitors(&mut report, Traffic { in_one_go, heavy_per_mille, ..traffic }, tick_events);
        }
        Benchmark::Links { giant, tick_events } => {
            for giant in [0, giant] {
                let links = LinkTraffic { changes: events, users, giant, tick_changes: tick_events };
                of_links(&mut report, links);
            }
        }
        Benchmark::Memory { device_else_user, tick_events } => {
            let person = if device_else_user { PersonRule::DeviceElseUser } else { PersonRule::DeviceOrUser };
            memory(&mut report, traffic, tick_events, person);
        }
        Benchmark::Hot { touches, tick_events } => hot(&mut report, touches, tick_events),
        Benchmark::Profile { tick_events, in_one_go, views } => {
            return profile(Traffic { in_one_go, ..traffic }, tick_events, views, format);
        }
        Benchmark::KeyedRead { keys, updates_per_s, seconds } => {
            keyed_read(&mut report, keys, updates_per_s, seconds);
        }
        Benchmark::RowRead { tick_events, reads } => row_read(&mut report, traffic, tick_events, reads),
        Benchmark::Read { keys, updates_per_s, seconds } => read(&mut report, keys, updates_per_s, seconds),
    }
    match format {
        Format::Text => report.print(),
        Format::Json => println!("{}", serde_json::to_string_pretty(&report).expect("figures are finite")),
    }
}

fn profile(traffic: Traffic, tick_events: u64, views: Views, format: Format) {
    let spent = benchmarks::profile::profile(traffic, tick_events, views);
    if let Format::Json = format {
        return println!("{}", serde_json::to_string_pretty(&spent).expect("times are numbers"));
    }
    let total: Duration = spent.iter().map(|spent| spent.time).sum();
    println!("{:>10}{:>8}{:>10}{:>10}  operator", "ms", "%", "calls", "ns/event");
    for Spent { operator, time, calls } in spent {
        let share = 100.0 * time.as_secs_f64() / total.as_secs_f64();
        let each = time.as_nanos() as u64 / traffic.events;
        println!("{:>10.1}{share:>8.1}{calls:>10}{each:>10}  {operator}", ms(time));
    }
}

fn compare(report: &mut Report, traffic: Traffic, tick_events: u64) {
    let measured = runs::compare(traffic, tick_events);
    let ratio = |rate: fn(&Measured) -> f64| 100.0 * rate(&measured[1]) / rate(&measured[0]);
    report.measurements.extend(measured.iter().map(Measurement::of));
    for (by, ratio) in [("time", ratio(Measured::events_per_s)), ("processor time", ratio(Measured::events_per_cpu_s))]
    {
        let what = format!("attribution against bare join+reduce by {by}, ticks of {tick_events}");
        report.verdicts.push(Verdict::of(what, ratio, "%", 20.0, 60.0));
    }
}

fn scale(report: &mut Report, traffic: Traffic, tick_events: u64, rounds: usize) {
    let mut best = [0f64; 2];
    for _ in 0..rounds {
        for workers in [1, 2] {
            let measured = runs::scale(traffic, tick_events, workers);
            best[workers - 1] = best[workers - 1].max(measured.events_per_s());
            report.measurements.push(Measurement::of(&measured));
        }
    }
    report.verdicts.push(Verdict::of("two workers against one", best[1] / best[0], "×", 1.5, 1.8));
}

fn persons(report: &mut Report, traffic: Traffic, tick_events: u64) {
    let measured = runs::persons(traffic, tick_events);
    let [old, new] = measured.each_ref().map(Measured::events_per_cpu_s);
    report.measurements.extend(measured.iter().map(Measurement::of));
    let what = format!("by device or user against device else user by processor time, ticks of {tick_events}");
    report.verdicts.push(Verdict::of(what, new / old, "×", 0.9, 1.0));
}

fn views(report: &mut Report, traffic: Traffic, tick_events: u64) {
    let measured = runs::views(traffic, tick_events);
    let [alone, with_events, all] = measured.each_ref().map(|lane| 1e9 / lane.events_per_cpu_s());
    report.measurements.extend(measured.iter().map(Measurement::of));
    let what = format!("standing events added, processor time, ticks of {tick_events}");
    report.verdicts.push(Verdict::of(what, with_events - alone, "ns/event", 100.0, 20.0));
    let what = format!("all other views added, processor time, ticks of {tick_events}");
    report.verdicts.push(Verdict::of(what, all - with_events, "ns/event", 80.0, 35.0));
}

fn visitors(report: &mut Report, traffic: Traffic, tick_events: u64) {
    // First: what the other leaves behind would be taken for free.
    let [of_some, of_all] =
        runs::visitors_bytes(traffic, tick_events).map(|bytes| bytes as f64 / traffic.visitors() as f64);
    let measured = runs::visitors(traffic, tick_events);
    let [with_events, some, all, read] = measured.each_ref().map(|lane| 1e9 / lane.events_per_cpu_s());
    report.measurements.extend(measured.iter().map(Measurement::of));
    let goes = traffic.in_one_go;
    let how = format!("{goes} events in one go, processor time, ticks of {tick_events}");
    let what = format!("sessions, uniques and frequency added, {how}");
    report.verdicts.push(Verdict::of(what, some - with_events, "ns/event", 400.0, 200.0));
    let what = format!("the other views of visitors beside them, {how}");
    report.verdicts.push(Verdict::of(what, all - some, "ns/event", 400.0, 200.0));
    let what = "what it adds that somebody reads what is kept of visitors";
    report.verdicts.push(Verdict::of(what, read - all, "ns/event", 200.0, 100.0));
    report.verdicts.push(Verdict::of("memory of sessions, uniques and frequency", of_some, "B/visitor", 500.0, 300.0));
    report.verdicts.push(Verdict::of("memory of all views of visitors", of_all, "B/visitor", 1_200.0, 700.0));
    if traffic.heavy_per_mille > 0 {
        let what = format!("a visitor with {} of a thousand events: longest tick", traffic.heavy_per_mille);
        report.verdicts.push(Verdict::of(what, ms(measured[2].tick_latency(1.0)), "ms", 50.0, 10.0));
    }
}

fn of_links(report: &mut Report, traffic: LinkTraffic) {
    for measured in links(traffic) {
        report.measurements.push(Measurement::of(&measured));
        let what = format!("{}, one component of {} nodes, by processor time", measured.lane, traffic.giant);
        report.verdicts.push(Verdict::of(what, measured.events_per_cpu_s(), "links/s", 400_000.0, 1_000_000.0));
    }
}

fn memory(report: &mut Report, traffic: Traffic, tick_events: u64, person: PersonRule) {
    let memory = runs::memory(traffic, tick_events, person);
    report.measurements.push(Measurement::of(&memory.measured));
    let per_touch = |bytes: u64| bytes.saturating_sub(memory.before.now_bytes) as f64 / memory.touches as f64;
    let what = format!("peak resident memory, {} live touches", memory.touches);
    report.verdicts.push(Verdict::of(what, per_touch(memory.after.peak_bytes), "B/touch", 400.0, 160.0));
    let what = "resident memory after the last tick (for reading beside the peak)";
    report.verdicts.push(Verdict::of(what, per_touch(memory.after.now_bytes), "B/touch", 400.0, 160.0));
}

fn hot(report: &mut Report, touches: u64, tick_events: u64) {
    for (how, candidates_per_hour) in [("capped as the gate does", Some(HOT_KEY_TOUCHES)), ("without capping", None)] {
        let (measured, conversion) = runs::hot(touches, tick_events, candidates_per_hour);
        report.measurements.push(Measurement::of(&measured));
        let longest = conversion.max(measured.tick_latency(1.0));
        let what = format!("hot device {how}: longest tick (the conversion's took {:.2} ms)", ms(conversion));
        report.verdicts.push(Verdict::of(what, ms(longest), "ms", 100.0, 20.0));
    }
}

fn keyed_read(report: &mut Report, keys: u64, updates_per_s: u64, seconds: u64) {
    let read = keyed_reads(keys, updates_per_s, Duration::from_secs(seconds));
    report.measurements.extend([&read.reads, &read.wakes, &read.ticks].map(Measurement::of));
    for (share, floor, goal) in [(0.5, 20.0, 5.0), (0.99, 20.0, 5.0), (0.999, 200.0, 20.0)] {
        let latency = read.reads.tick_latency(share).as_nanos() as f64 / 1e3;
        let what = format!("a snapshot and {} records, {}% of reads within", runs::LOOKUPS, share * 100.0);
        report.verdicts.push(Verdict::of(what, latency, "µs", floor, goal));
    }
    let visit = 1e9 / read.ticks.events_per_cpu_s();
    let what = format!("a visit, fed and published ({} reads began again)", read.again);
    report.verdicts.push(Verdict::of(what, visit, "ns", 400.0, 200.0));
}

fn row_read(report: &mut Report, traffic: Traffic, tick_events: u64, reads: u64) {
    let read = row_reads(traffic, tick_events, reads);
    report.measurements.push(Measurement::of(&read.reads));
    let sizes: Vec<String> = read.sizes.iter().map(|(name, updates)| format!("{updates} {name}")).collect();
    let sizes = sizes.join(", ");
    let through_all = ms(read.through_all);
    for share in [0.5, 0.99] {
        let latency = read.reads.tick_latency(share).as_nanos() as f64 / 1e3;
        let what = format!("rows of a key, {}% of reads within (all {through_all} ms; {sizes})", share * 100.0);
        report.verdicts.push(Verdict::of(what, latency, "µs", 100.0, 20.0));
    }
}

fn read(report: &mut Report, keys: u64, updates_per_s: u64, seconds: u64) {
    let read = runs::read(keys, updates_per_s, Duration::from_secs(seconds));
    report.measurements.extend([&read.reads, &read.ticks].map(Measurement::of));
    let p99 = read.reads.tick_latency(0.99);
    let snapshot_ns = read.snapshot.as_nanos();
    let what = format!("a snapshot and {} lookups, p99 (the snapshot alone takes {snapshot_ns} ns)", runs::LOOKUPS);
    report.verdicts.push(Verdict::of(what, p99.as_nanos() as f64 / 1e3, "µs", 100.0, 30.0));
}
