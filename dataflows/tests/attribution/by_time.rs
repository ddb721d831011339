//! The views that change with time, by their dataflow and by their SQL, at many cuts: events that come late, twice, changed or
//! withdrawn, sessions that last for days, windows that move on, over restarts and where state is forgotten; by tenants of several
//! time zones, in weeks in which some of these change their clocks.

use std::collections::BTreeSet;
use std::sync::Mutex;

use dataflows::cohort::{Cohort, Milestone, Unit};
use dataflows::groupings::Grouping;
use dataflows::horizon::Retention;
use dataflows::params::{AnomaliesParams, Params, Span, Thousandths};
use dataflows::views;
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::{Config, RngAlgorithm, TestError, TestRng, TestRunner};
use schemas::event::Accepted;
use schemas::table::Verdict;
use schemas::{EventType, Symbol, Tick, UserId, Zones};

use crate::events::{DAY, EPOCH_MS, Ev, HOUR, event};
use crate::funnels;
use crate::golden_installs::params;
use crate::oracle;
use crate::stream::{CUT, Life, Load, history, history_within, stream_within};
use crate::tables::{self, ByTenant};

mod notes;
mod plants;

use plants::{Plant, as_one, diffs, of_period, takes_back, without_going};

const CASES: u32 = 15;
const MINUTE: i64 = HOUR / 60;
/// The zones of scenarios; the first is none.
const ZONES: [&str; 6] =
    ["", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Pacific/Chatham", "Australia/Lord_Howe"];
/// Midnights of UTC from which runs begin, and within a week of them changes of clocks, in ms since 1970.
const WEEKS: [(i64, &[i64]); 4] = [
    // 2024-03-30: Berlin forward on the 31st, Chatham and Lord Howe (by half an hour) back on 6 April.
    (1_711_756_800_000, &[1_711_846_800_000, 1_712_412_000_000, 1_712_415_600_000]),
    // 2023-10-28: Berlin back on the 29th.
    (1_698_451_200_000, &[1_698_541_200_000]),
    // 2023-11-01: New York back on the 5th.
    (1_698_796_800_000, &[1_699_164_000_000]),
    // 2024-09-29, after Chatham's: Lord Howe forward on 5 October.
    (1_727_568_000_000, &[1_728_142_200_000]),
];
/// The zones whose clocks these changes are of.
const CHANGED: [&[&str]; 4] = [
    &["Europe/Berlin", "Pacific/Chatham", "Australia/Lord_Howe"],
    &["Europe/Berlin"],
    &["America/New_York"],
    &["Australia/Lord_Howe"],
];
/// No record comes later than this after it happened.
const RETENTION: i64 = 3 * DAY;
const DAYS: i64 = 7;
/// After so many days, when a start needs none of what came first any more, some come again.
const AGAIN: i64 = DAYS + 33;
/// After so many days no window has anything.
const END_DAYS: i64 = AGAIN + 3 + 36;
/// The views, in families: a run has those of one, as a step costs what all of its dataflow cost. `random.rs` runs all together.
const FAMILIES: [&[&str]; 3] = [
    &["sessions", "uniques", "metrics_sliding", "frequency"],
    &["activity", "firsts", "cohorts", "funnel_steps", "paths"],
    &["anomalies", "identity_links", "identity"],
];
/// So many scenarios of visitors go with campaigns.
const VISITORS_OF_CAMPAIGNS: usize = 5;
/// Weeks that a campaign lasts.
const WEEKS_OF_CAMPAIGN: i64 = 6;

#[derive(Clone, Debug)]
struct Arrival {
    what: What,
    /// How long after it happened it comes.
    delay: i64,
}

#[derive(Clone, Debug)]
struct Scenario {
    zone: &'static str,
    arrivals: Vec<Arrival>,
}

#[derive(Clone, Debug)]
enum What {
    New(Ev),
    Copy(Index, u32),
    Withdrawal(Index),
}

#[derive(Clone, Debug)]
struct Run {
    /// The place of its week.
    week: usize,
    /// Of visitors, then of campaigns.
    scenarios: Vec<Scenario>,
    /// How many are of campaigns.
    campaigns: usize,
    /// The place of its family of views.
    family: usize,
    gap: i64,
    /// How long a visitor is away until it is a new one.
    forget_after: i64,
    workers: usize,
    pauses: Vec<bool>,
    /// Milliseconds after the start: the cuts at which all is compared.
    glances: Vec<i64>,
    /// The cut *m* of a restart in minutes after the start, and how many hours of cuts were durable beyond it.
    restart: Option<(i64, i64, usize, u64)>,
}

fn new_event(week: usize) -> impl Strategy<Value = Ev> {
    let kinds = prop::sample::select(vec![
        EventType::Impression,
        EventType::Click,
        EventType::Open,
        EventType::Event,
        EventType::Conversion,
        EventType::Conversion,
        EventType::Install,
        EventType::Identify,
    ]);
    let beside = prop_oneof![4 => Just(0), 1 => Just(1), 1 => Just(-1), 2 => 0..HOUR];
    let steps = prop_oneof![3 => Just(HOUR / 2), 1 => Just(12 * HOUR), 1 => Just(6 * HOUR)];
    let day = prop_oneof![3 => 0..DAYS, 1 => AGAIN..AGAIN + 3];
    let (begins, changes) = WEEKS[week];
    let any_time = (day, 0..48i64, steps).prop_map(move |(day, step, of)| begins + day * DAY + step * of % DAY);
    let at_change = (prop::sample::select(changes), -9..9i64).prop_map(|(change, step)| change + step * HOUR / 4);
    let time = (prop_oneof![3 => any_time, 2 => at_change], beside).prop_map(|(time, beside)| time + beside - EPOCH_MS);
    let channels = prop::sample::select(vec!["", "", "search", "social"]);
    let campaigns = prop::sample::select(vec!["", "spring"]);
    let who = prop::sample::select(vec![(0, 0), (1, 0), (1, 1), (0, 1), (1, 2)]);
    let app = prop_oneof![5 => Just("app"), 1 => Just("")];
    let named = (app, prop::sample::select(vec!["", "cart", "buy"]));
    (kinds, time, 1..200u32, who, channels, campaigns, named, -5i64..100).prop_map(
        |(kind, at, id, (user, device), channel, campaign, (app, name), revenue)| Ev {
            id,
            user,
            device,
            login: if kind == EventType::Identify { id % 4 } else { 0 },
            channel,
            campaign,
            app,
            name,
            revenue: (kind == EventType::Conversion && revenue != 0).then_some(revenue),
            ..event(kind, at)
        },
    )
}

fn arrival(week: usize) -> impl Strategy<Value = Arrival> {
    let what = prop_oneof![
        14 => new_event(week).prop_map(What::New),
        2 => (any::<Index>(), 0..3u32).prop_map(|(of, copy)| What::Copy(of, copy)),
        2 => any::<Index>().prop_map(What::Withdrawal),
    ];
    let delay = prop_oneof![4 => 0..MINUTE, 2 => 0..2 * HOUR, 2 => 0..RETENTION - HOUR];
    (what, delay).prop_map(|(what, delay)| Arrival { what, delay })
}

/// A campaign that has something in three hours of each week, in some weeks much or nothing: what is expected of an hour follows from
/// the weeks before it.
fn campaign(week: usize) -> impl Strategy<Value = Scenario> {
    let (begins, changes) = WEEKS[week];
    let any_hour =
        (0..DAYS * 24, prop::sample::select(&ZONES[..])).prop_map(move |(hour, zone)| (begins + hour * HOUR, zone));
    // Where the clock changes, so that hours of later weeks are compared with what it skips or repeats.
    let at_change = (0..changes.len(), -3..3i64)
        .prop_map(move |(change, beside)| (changes[change] + beside * HOUR, CHANGED[week][change]));
    let of_hour = prop_oneof![4 => Just(3usize), 1 => Just(0), 1 => Just(9)];
    let hours = prop::collection::vec((of_hour, 0..2usize, 0..2usize), WEEKS_OF_CAMPAIGN as usize);
    let kinds = prop::sample::select(vec![EventType::Impression, EventType::Impression, EventType::Conversion]);
    let delays = prop::collection::vec(prop_oneof![4 => 0..MINUTE, 2 => 0..2 * HOUR, 2 => 0..RETENTION - HOUR], 16);
    let others = prop::collection::vec((any::<Index>(), any::<Index>(), any::<bool>(), 0..RETENTION - HOUR), 0..6);
    (prop_oneof![1 => any_hour, 2 => at_change], hours, kinds, delays, others).prop_map(
        move |((first, zone), hours, kind, delays, others)| {
            let mut arrivals = Vec::new();
            for (week, (much, before, after)) in hours.into_iter().enumerate() {
                for (beside, number) in [much.saturating_sub(before), much, much + after].into_iter().enumerate() {
                    for place in 0..number {
                        let id = arrivals.len() as u32 + 1;
                        let at = first + week as i64 * 7 * DAY + beside as i64 * HOUR + place as i64 * 6 * MINUTE;
                        let revenue = (kind == EventType::Conversion && !id.is_multiple_of(4)).then_some(2_000);
                        let event = Ev { id, user: 1, campaign: "autumn", revenue, ..event(kind, at - EPOCH_MS) };
                        let delay = delays[arrivals.len() % delays.len()];
                        arrivals.push(Arrival { what: What::New(event), delay });
                    }
                }
            }
            for (place, of, is_copy, delay) in others {
                let what = if is_copy { What::Copy(of, 1) } else { What::Withdrawal(of) };
                let place = if arrivals.is_empty() { 0 } else { place.index(arrivals.len()) };
                arrivals.insert(place, Arrival { what, delay });
            }
            Scenario { zone, arrivals }
        },
    )
}

fn run() -> impl Strategy<Value = Run> {
    (0..WEEKS.len()).prop_flat_map(run_of_week)
}

fn run_of_week(week: usize) -> impl Strategy<Value = Run> {
    let scenario = (prop::sample::select(&ZONES[..]), prop::collection::vec(arrival(week), 1..60))
        .prop_map(|(zone, arrivals)| Scenario { zone, arrivals });
    // Days of visitors are sealed in the first quarter of an hour of a day.
    let hours = prop_oneof![
        1..DAYS * 24,
        AGAIN * 24..(AGAIN + 4) * 24,
        (1..12i64).prop_map(|day| day * 24),
        28 * 24..AGAIN * 24,
    ];
    let restarted = (hours, prop::sample::select(vec![0, 3, 7, 11])).prop_map(|(hour, beside)| hour * 60 + beside);
    let restart = prop::option::weighted(0.75, (restarted, 0..30i64, 1..=3usize, any::<u64>()));
    let days = prop_oneof![3 => 0..DAYS + 4, 2 => AGAIN..AGAIN + 6, 2 => 21..AGAIN, 1 => DAYS..END_DAYS];
    let hours = (
        prop_oneof![1 => Just(0), 2 => 0..48i64],
        prop::sample::select(vec![
            0,
            1_000,
            MINUTE,
            MINUTE + 1_000,
            7 * MINUTE,
            10 * MINUTE,
            15 * MINUTE,
            15 * MINUTE + 1_000,
        ]),
    );
    let glance = (days, hours).prop_map(|(day, (step, beside))| day * DAY + step * HOUR / 2 + beside + 1_000);
    let glances = prop::collection::vec(glance, 3);
    let forget_after = prop::sample::select(vec![400 * DAY, 20 * DAY, 3 * DAY]);
    let gap = prop_oneof![2 => Just(HOUR / 2), 1 => Just(12 * HOUR), 1 => Just(6 * HOUR)];
    (
        prop::collection::vec(scenario, 1..24),
        prop::collection::vec(campaign(week), 1..5),
        (gap, forget_after, 0..FAMILIES.len()),
        1..=3usize,
        prop::collection::vec(any::<bool>(), 1..4),
        glances,
        restart,
    )
        .prop_map(
            move |(mut scenarios, campaigns, (gap, forget_after, family), workers, pauses, glances, restart)| Run {
                week,
                scenarios: {
                    scenarios.push(lasting(week));
                    scenarios.extend(campaigns.iter().cloned());
                    scenarios
                },
                campaigns: campaigns.len(),
                family,
                gap,
                forget_after,
                workers,
                pauses,
                glances,
                restart,
            },
        )
}

/// A visitor that does not rest for 27 hours, whatever the gap: by chance that seldom comes up.
fn lasting(week: usize) -> Scenario {
    let begins = WEEKS[week].0 - EPOCH_MS + HOUR / 2;
    let of = |n: i64| Ev {
        id: n as u32 + 1,
        user: 1,
        channel: "search",
        ..event(EventType::Open, begins + n * 25 * MINUTE)
    };
    let arrival = |n| Arrival { what: What::New(of(n)), delay: n % 7 * MINUTE };
    Scenario { zone: "", arrivals: (0..65).map(arrival).collect() }
}

/// The tenant of a scenario.
fn tenant(place: usize) -> Symbol {
    Symbol(place as i64 + 2)
}

impl Run {
    /// The cut so many milliseconds after the start.
    fn cut(&self, ms: i64) -> Tick {
        (WEEKS[self.week].0 + ms) as Tick / CUT * CUT
    }

    /// Records and their ticks, in the order of these: of campaigns, where these are of interest, and of visitors.
    fn records(&self, views: &[&str]) -> Vec<(Accepted, Tick)> {
        let mut records = Vec::new();
        let of_campaigns = views.contains(&"anomalies");
        let visitors = self.scenarios.len() - self.campaigns;
        for (place, scenario) in self.scenarios.iter().enumerate() {
            let is_campaign = place >= visitors;
            if is_campaign && !of_campaigns || !is_campaign && of_campaigns && place >= VISITORS_OF_CAMPAIGNS {
                continue;
            }
            let mut events: Vec<Ev> = Vec::new();
            for Arrival { what, delay } in &scenario.arrivals {
                let event = match what {
                    What::New(event) => event.clone(),
                    What::Copy(of, copy) if !events.is_empty() => Ev { copy: *copy, ..of.get(&events).clone() },
                    What::Withdrawal(of) if !events.is_empty() => of.get(&events).withdrawn(),
                    What::Copy(..) | What::Withdrawal(_) => continue,
                };
                let mut record = event.accepted(place as u32 + 2);
                if event.revenue.is_some() && event.id % 3 == 0 {
                    record.event.currency = Symbol::of("USD");
                }
                records.push((record, (EPOCH_MS + event.at + delay) as Tick / 10 * 10 + 10));
                if event.kind != EventType::Tombstone {
                    events.push(event);
                }
            }
        }
        records.sort_by_key(|(_, tick)| *tick);
        records
    }

    fn params(&self, views: &[&str]) -> Params {
        let mut params = params();
        params.sessions.gap = Span(self.gap);
        params.paths.idle = Span(2 * self.gap);
        params.funnels = funnels::of_all_periods([2 * DAY, DAY, 12 * HOUR, HOUR]);
        params.forget_after = Span(self.forget_after);
        let by_day = Cohort {
            first: Milestone::Event,
            period: Unit::Week,
            age: Some(Unit::Day),
            groupings: vec![Grouping::CHANNEL],
        };
        params.cohorts.definitions.push(by_day);
        let bounds =
            AnomaliesParams { bound: Thousandths(1_000), floor_events: 1, floor_micros: 2_000, ..params.anomalies };
        params.anomalies = bounds;
        // With a table of installs a start need not read what they were made of.
        let zoned = self.scenarios.iter().enumerate().filter(|(_, scenario)| !scenario.zone.is_empty());
        params.zones = Zones::new(zoned.map(|(place, scenario)| (tenant(place), scenario.zone))).expect("zones");
        params.only = views.iter().chain([&"installs"]).map(|view| (*view).to_owned()).collect();
        params.complete();
        params
    }
}

fn check(run: &Run, plant: Plant, seen: &Mutex<BTreeSet<&'static str>>) -> Result<(), TestCaseError> {
    let compared = if plant == Plant::Nothing { FAMILIES[run.family] } else { plant.views() };
    let (records, params, end) = (run.records(compared), run.params(compared), run.cut(END_DAYS * DAY));
    let mut last = Life { end: Some((end, end)), ..Life::first(run.workers) };
    let mut lives = Vec::new();
    if let Some((minutes, beyond, workers, order)) = run.restart {
        let (load_to, committed) = (run.cut(minutes * MINUTE), run.cut(minutes * MINUTE + beyond * HOUR));
        lives.push(Life { end: Some((load_to, committed)), ..last });
        last = Life { workers, load_to, committed, order, end: Some((end, end)) };
    }
    lives.push(last);
    let retention = Retention { ms: RETENTION, cost_ms: RETENTION };
    let mut restarted = history(&records, &params, &lives, &run.pauses).written.views;
    if plant == Plant::SteppedTwice
        && let Some(batches) = restarted.get_mut("uniques")
    {
        let steps: Vec<_> = batches.iter().map(|batch| of_period(batch, "7d")).collect();
        batches.extend(steps);
    }
    if plant == Plant::RepeatedAsOne
        && let Some(batches) = restarted.get_mut("uniques")
    {
        batches.iter_mut().for_each(|batch| *batch = as_one(batch, run.week));
    }
    for (of, view, column) in [
        (Plant::DayStays, "activity", "_diff"),
        (Plant::StaysInCohort, "cohorts", "users"),
        (Plant::StaysInCohort, "cohorts", "active_users"),
    ] {
        if plant == of
            && let Some(batches) = restarted.get_mut(view)
        {
            batches.iter_mut().for_each(|batch| *batch = without_going(batch, column));
        }
    }
    // What came in a day is loaded at its end.
    let of_loads = Retention { ms: RETENTION + DAY, cost_ms: RETENTION + DAY };
    let load = match plant {
        Plant::LivesNotLoaded => Load::WithoutLives,
        Plant::FewerWeeks => Load::WithoutFirstWeeks,
        _ => Load::Needed,
    };
    let forgets = plant == Plant::Nothing || load != Load::Needed;
    let needed = run
        .restart
        .filter(|_| forgets)
        .map(|_| history_within(&records, &params, Some((of_loads, load)), &lives, &run.pauses).written.views);
    let forgetful = (forgets && needed.is_none())
        .then(|| stream_within(&records, &params, Some(retention), run.workers, &run.pauses).views);
    let mut sql_params = params.clone();
    if plant == Plant::NoZones {
        sql_params.zones = Zones::default();
    }
    if plant == Plant::NeverNew {
        sql_params.forget_after = Span(400 * DAY);
    }
    if plant == Plant::LongerGap {
        sql_params.sessions.gap.0 += 1;
    }
    if plant == Plant::LongerPath {
        sql_params.paths.idle.0 += 1;
    }
    if plant == Plant::LongerFunnel {
        sql_params.funnels = funnels::of_all_periods([2 * DAY + 1, DAY + 1, 12 * HOUR + 1, HOUR + 1]);
    }
    if plant == Plant::AlertAtOnce {
        sql_params.anomalies.hours = 1;
    }
    notes::note_corrections(restarted.get("anomalies").map_or(&[], Vec::as_slice), seen)?;
    if restarted.values().flatten().any(|batch| diffs(batch).contains(&-1)) {
        seen.lock().expect("no panic").insert("a row goes");
    }
    let of = |view, column| restarted.get(view).is_some_and(|batches| takes_back(batches, column));
    for (what, is_there) in [
        ("a day goes", of("activity", "_diff")),
        ("a first goes", of("firsts", "_diff")),
        ("a user leaves a cohort", of("cohorts", "users")),
        ("a user was not there after all", of("cohorts", "active_users")),
        ("a cohort is given back money", of("cohorts", "revenue_micros")),
    ] {
        if is_there {
            seen.lock().expect("no panic").insert(what);
        }
    }
    // Where state is forgotten the run ends with its last record.
    let last_cut = records.last().map_or(0, |(_, tick)| tick / CUT * CUT);
    for at in run.glances.iter().map(|ms| run.cut(*ms)) {
        let mut accepted: Vec<_> =
            records.iter().filter(|(_, tick)| *tick < at).map(|(record, _)| (*record, Verdict::Ok)).collect();
        if plant == Plant::OtherVisitors {
            accepted.iter_mut().for_each(|(record, _)| record.event.user = UserId::NONE);
        }
        let as_of = if plant == Plant::ClosedEarly { at + MINUTE as Tick } else { at };
        let of_sql = oracle::at(&accepted, &sql_params, as_of, compared);
        let of_view = |view| of_sql.get(view).into_iter().flatten();
        of_view("sessions").for_each(|batch| notes::note_sessions(batch, seen));
        of_view("firsts").for_each(|batch| notes::note_lives(batch, seen));
        of_view("uniques").for_each(|batch| notes::note_hours(batch, run, seen));
        of_view("anomalies").for_each(|batch| notes::note_anomalies(batch, seen));
        for (view, maintained) in views::maintained().filter(|(view, _)| compared.contains(&view.name)) {
            let of_sql = ByTenant::of(&of_sql[view.name]);
            let needed = needed.iter().map(|needed| ("restarted from what is needed", needed));
            let forgetful = forgetful.iter().map(|forgetful| ("forgetful", forgetful));
            for (what, changes) in [("restarted", &restarted)].into_iter().chain(forgetful).chain(needed) {
                if what == "forgetful" && at > last_cut {
                    continue;
                }
                let changes = ByTenant::of(changes.get(view.name).map_or(&[][..], Vec::as_slice));
                for (place, scenario) in run.scenarios.iter().enumerate() {
                    let is = tables::written(maintained, &changes, tenant(place), at);
                    let must = tables::defined(maintained, &of_sql, tenant(place));
                    if is == must && !must.is_empty() {
                        seen.lock().expect("no panic").insert(view.name);
                    }
                    let name = view.name;
                    prop_assert_eq!(is, must, "{}: {} of scenario {} at {}: {:?}", what, name, place, at, scenario);
                }
            }
        }
    }
    Ok(())
}

#[test]
fn what_changes_with_time_is_its_sql() {
    let seen = Mutex::new(BTreeSet::new());
    let asked = std::env::var_os("PROPTEST_CASES").is_some();
    let cases = if asked { Config::default().cases } else { CASES };
    let config = Config { cases, source_file: Some(file!()), max_shrink_iters: 60, ..Config::default() };
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let mut runner = if asked { TestRunner::new(config) } else { TestRunner::new_with_rng(config, rng) };
    runner.run(&run(), |run| check(&run, Plant::Nothing, &seen)).unwrap_or_else(|error| panic!("{error}"));
    let seen = seen.into_inner().expect("no panic");
    let of_zones = ["a short day", "a long day", "an hour twice", "an hour that begins within one of UTC"];
    let of_lives = [
        "a day goes",
        "a first goes",
        "a user leaves a cohort",
        "a user was not there after all",
        "a cohort is given back money",
        "an install is the first",
        "a purchase is the first",
        "an event is the first",
        "a visitor is new again",
    ];
    let of_anomalies = [
        "less than expected",
        "more than expected",
        "more than nothing",
        "fewer samples",
        "twelve samples",
        "more samples",
        "an alert",
        "an anomaly of revenue",
        "an hour was corrected",
    ];
    let wanted = ["a row goes", "a session of more than a day", "a session from midnight", "two currencies"]
        .into_iter()
        .chain(of_zones)
        .chain(of_lives)
        .chain(of_anomalies)
        .chain(FAMILIES.concat());
    let missing: Vec<_> = wanted.filter(|what| !seen.contains(what)).collect();
    assert!(missing.is_empty(), "never came up, so was not tested: {missing:?}");
}

#[test]
fn what_is_planted_in_time_is_found() {
    for plant in [
        Plant::LongerGap,
        Plant::ClosedEarly,
        Plant::OtherVisitors,
        Plant::SteppedTwice,
        Plant::RepeatedAsOne,
        Plant::NoZones,
        Plant::LongerFunnel,
        Plant::LongerPath,
        Plant::DayStays,
        Plant::StaysInCohort,
        Plant::NeverNew,
        Plant::LivesNotLoaded,
        Plant::AlertAtOnce,
        Plant::FewerWeeks,
    ] {
        let config = Config { cases: 96, failure_persistence: None, max_shrink_iters: 0, ..Config::default() };
        let mut runner = TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha));
        match runner.run(&run(), |run| check(&run, plant, &Mutex::default())) {
            Err(TestError::Fail(reason, _)) => assert!(reason.message().contains(" of scenario "), "{reason}"),
            other => panic!("{plant:?} was not found: {other:?}"),
        }
    }
}
