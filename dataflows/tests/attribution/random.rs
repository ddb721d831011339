//! Random event sets in small key spaces: what the dataflow maintains is what the SQL says, at the end and at a tick
//! on the way, for any order, tick split and number of workers, and over restarts: a dataflow is thrown away and another
//! one, with other workers, goes on from what it made durable.
//!
//! Many scenarios share one run, each under a tenant of its own, so that the SQL is planned once for all of them.
//! What had arrived by the tick on the way is, to the SQL, one more tenant.

use std::collections::BTreeSet;
use std::sync::Mutex;

use arrow::array::{AsArray, BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::Int64Type;
use dataflows::grid::cut_of;
use dataflows::params::{LikelyParams, Params, PersonRule, Span, Thousandths};
use dataflows::views;
use dataflows::views::credits::CreditRow;
use dataflows::views::installs::InstallRow;
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::{Config, RngAlgorithm, TestError, TestRng, TestRunner};
use schemas::event::Accepted;
use schemas::table::Verdict;
use schemas::view::Method;
use schemas::{Capped, EventId, EventType, Symbol, Tick, Zones};

use crate::events::{DAY, Ev, HOUR, event};
use crate::funnels;
use crate::golden_installs::params;
use crate::oracle;
use crate::persons;
use crate::stream::{CUT, History, Life, MOMENTS, history, rows_at};
use crate::tables::{self, ByTenant};

/// Cases where `PROPTEST_CASES` says nothing; each runs up to [`SCENARIOS_MAX`] scenarios.
const CASES: u32 = 24;
const SCENARIOS_MAX: usize = 96;
const EVENTS_MAX: usize = 24;
/// The zones of scenarios, in turn.
const ZONES: [&str; 3] = ["UTC", "Asia/Kolkata", "Pacific/Chatham"];
/// The first tick; the others are a cut apart.
const START: Tick = 1_000;
const TICKS: u64 = 6;

#[derive(Clone, Debug)]
struct Arrival {
    what: What,
    tick: u64,
    late: bool,
    /// How long after it happened it arrived.
    after: i64,
}

#[derive(Clone, Debug)]
enum What {
    New(Ev),
    /// A copy of an earlier one, perhaps with differences; with another time it is another event.
    Copy(Index, Change),
    Withdrawal(Index),
}

#[derive(Clone, Debug)]
enum Change {
    None,
    Salt,
    Time(i64),
    Capped(u8),
    Device(u32),
    /// Another event of the same user.
    Elsewhere(i64, u32),
    /// A conversion of the same user and device, so much later.
    Buys(i64),
    Print(u32),
    App,
    Channel(&'static str),
    Kind(EventType),
    Revenue(Option<i64>),
}

#[derive(Clone, Debug)]
struct Scenario {
    arrivals: Vec<Arrival>,
    /// The tick on the way.
    glance: u64,
}

#[derive(Clone, Debug)]
struct Run {
    scenarios: Vec<Scenario>,
    workers: usize,
    pauses: Vec<bool>,
    restarts: Vec<Restart>,
    short_windows: bool,
    person: PersonRule,
    identity: bool,
}

/// How a dataflow ends and the next one begins.
#[derive(Clone, Debug)]
struct Restart {
    /// How many cuts were in every sink.
    written: u64,
    /// How many more the ledger held.
    replayed: u64,
    workers: usize,
    order: u64,
}

/// What is done wrong on purpose.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Plant {
    Nothing,
    /// The SQL's window of clicks is a millisecond shorter.
    ShortWindow,
    /// The SQL does not see that users were hot.
    UserBitLost,
    /// The SQL takes another rule for who is one person.
    OtherPersonRule,
    /// A conversion comes again under another id.
    CountedTwice,
    /// A restart writes what it loads.
    WrittenTwice,
    /// A log of sums forgets what is taken back.
    LostRetraction,
    /// The SQL takes one id more for a person.
    LargeLater,
    /// The SQL takes ids for one person's that were seen together on a day less.
    LikelySooner,
    /// The SQL knows a target by its own ids alone.
    OwnIdsAlone,
    /// The SQL counts links that arrive a day later than those that count for a target.
    LaterLinks,
    /// The SQL has devices come back some days later.
    BackLater,
}

fn channel() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["", "search", "social", "email", "direct", "(none)"])
}

fn capped() -> impl Strategy<Value = u8> {
    prop_oneof![7 => Just(0), 1 => Just(Capped::USER.0), 1 => 0u8..16]
}

fn revenue() -> impl Strategy<Value = Option<i64>> {
    prop_oneof![Just(None), Just(Some(0)), (-20i64..20).prop_map(Some), (-(1i64 << 53)..=1 << 53).prop_map(Some)]
}

/// Times whose differences lie on and beside the edges of the windows: touches an edge before something, the others
/// about the moment itself.
fn time(kind: EventType) -> impl Strategy<Value = i64> {
    let edges = match kind {
        EventType::Install => vec![0, 0, 0, 40 * DAY, 365 * DAY],
        EventType::Conversion => vec![0, 0, 0, -40 * DAY],
        EventType::Cost => vec![0, 0, HOUR],
        _ => vec![0, HOUR, 2 * HOUR, 6 * HOUR, DAY, 7 * DAY, 30 * DAY],
    };
    let later = prop_oneof![8 => Just(0), 1 => Just(40 * DAY), 1 => Just(365 * DAY)];
    let beside = prop_oneof![Just(0), Just(1), Just(-1), -HOUR..HOUR];
    (prop::sample::select(edges), later, beside).prop_map(|(edge, later, beside)| 400 * DAY + later - edge + beside)
}

fn kind() -> impl Strategy<Value = EventType> {
    prop_oneof![
        3 => Just(EventType::Impression),
        6 => Just(EventType::Click),
        3 => Just(EventType::Install),
        4 => Just(EventType::Conversion),
        3 => Just(EventType::Open),
        2 => Just(EventType::Identify),
        1 => Just(EventType::Cost),
    ]
}

fn new_event() -> impl Strategy<Value = Ev> {
    let key = || prop_oneof![Just(0), 1..3u32];
    // Most have device and user, all of which are shared.
    let person = || prop_oneof![1 => Just(0), 2 => 1..3u32];
    let keys = (person(), person(), key(), key(), 1..3u32);
    let app = prop_oneof![8 => Just("app"), 1 => Just("web"), 1 => Just("")];
    let kind = kind().prop_flat_map(|kind| (Just(kind), time(kind)));
    let names = (channel(), prop::sample::select(vec!["", "spring"]), prop::sample::select(vec!["", "DE", "FR"]));
    let name = prop::sample::select(vec!["", "cart", "buy"]);
    let cost = (-3i64..100, prop_oneof![Just(None), (0..3i64).prop_map(Some)]);
    (kind, 1..6u32, keys, app, (names, name), capped(), revenue(), cost).prop_map(
        |(
            (kind, at),
            id,
            (user, device, click, print, login),
            app,
            ((channel, campaign, country), name),
            capped,
            revenue,
            cost,
        )| Ev {
            id,
            user,
            device,
            click,
            print,
            login: if kind == EventType::Identify { login } else { 0 },
            app,
            channel,
            campaign,
            country,
            name,
            cost: (kind == EventType::Cost).then_some(cost),
            capped: if matches!(kind, EventType::Impression | EventType::Click) { capped } else { 0 },
            revenue: if kind == EventType::Conversion { revenue } else { None },
            ..event(kind, at)
        },
    )
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        3 => Just(Change::None),
        1 => Just(Change::Salt),
        1 => prop::sample::select(vec![1, -HOUR, 2 * HOUR, 7 * DAY, 40 * DAY]).prop_map(Change::Time),
        1 => capped().prop_map(Change::Capped),
        1 => (0..3u32).prop_map(Change::Device),
        6 => (prop::sample::select(vec![-HOUR, HOUR, 40 * DAY]), 1..3u32)
            .prop_map(|(later, device)| Change::Elsewhere(later, device)),
        4 => prop::sample::select(vec![2 * HOUR, 50 * DAY]).prop_map(Change::Buys),
        1 => (0..3u32).prop_map(Change::Print),
        1 => Just(Change::App),
        1 => channel().prop_map(Change::Channel),
        1 => kind().prop_map(Change::Kind),
        1 => revenue().prop_map(Change::Revenue),
    ]
}

fn arrival() -> impl Strategy<Value = Arrival> {
    let what = prop_oneof![
        12 => new_event().prop_map(What::New),
        4 => (any::<Index>(), change()).prop_map(|(of, change)| What::Copy(of, change)),
        2 => any::<Index>().prop_map(What::Withdrawal),
    ];
    // About the lateness up to which links count for a target, and how far others may lie from each other.
    let after = prop::sample::select(vec![0, 0, HOUR, 2 * DAY - 1, 2 * DAY, 2 * DAY + 1, 3 * DAY, 7 * DAY]);
    (what, 0..TICKS, prop::bool::weighted(0.04), after).prop_map(|(what, tick, late, after)| Arrival {
        what,
        tick,
        late,
        after,
    })
}

fn scenario() -> impl Strategy<Value = Scenario> {
    (prop::collection::vec(arrival(), 1..=EVENTS_MAX), 0..TICKS)
        .prop_map(|(arrivals, glance)| Scenario { arrivals, glance })
}

fn run() -> impl Strategy<Value = Run> {
    let scenarios = prop::collection::vec(scenario(), 1..=SCENARIOS_MAX);
    let pauses = prop::collection::vec(any::<bool>(), 1..4);
    let restart = (1..=TICKS, 0..3u64, 1..=4usize, any::<u64>())
        .prop_map(|(written, replayed, workers, order)| Restart { written, replayed, workers, order });
    let restarts = prop::collection::vec(restart, 0..3);
    let person = prop_oneof![2 => Just(PersonRule::DeviceOrUser), 1 => Just(PersonRule::DeviceElseUser)];
    (scenarios, 1..=4usize, pauses, restarts, any::<[bool; 2]>(), person).prop_map(
        |(scenarios, workers, pauses, mut restarts, [short_windows, identity], person)| {
            restarts.sort_by_key(|restart| restart.written);
            restarts.dedup_by_key(|restart| restart.written);
            Run { scenarios, workers, pauses, restarts, short_windows, person, identity }
        },
    )
}

impl Scenario {
    /// The records with their ticks, those that were too late marked so.
    fn records(&self, tenant: u32) -> Vec<(Accepted, Verdict, Tick)> {
        let mut events: Vec<Ev> = Vec::new();
        let mut records = Vec::new();
        for arrival in &self.arrivals {
            let event = match &arrival.what {
                What::New(event) => event.clone(),
                What::Copy(of, change) if !events.is_empty() => change.applied(of.get(&events).clone()),
                What::Withdrawal(of) if !events.is_empty() => of.get(&events).withdrawn(),
                What::Copy(..) | What::Withdrawal(_) => continue,
            };
            let verdict = if arrival.late { Verdict::Late } else { Verdict::Ok };
            let event = Ev { arrives: event.at + arrival.after, ..event };
            records.push((event.accepted(tenant), verdict, START + CUT * arrival.tick));
            if event.kind != EventType::Tombstone {
                events.push(event);
            }
        }
        records
    }
}

impl Change {
    fn applied(&self, event: Ev) -> Ev {
        match self {
            Change::None => event,
            Change::Salt => Ev { copy: event.copy + 1, ..event },
            Change::Time(later) => Ev { at: event.at + later, ..event },
            Change::Capped(capped) => Ev { capped: *capped, ..event },
            Change::Device(device) => Ev { device: *device, ..event },
            Change::Buys(later) => Ev {
                kind: EventType::Conversion,
                at: event.at + later,
                capped: 0,
                cost: None,
                revenue: Some(*later),
                ..event
            },
            Change::Elsewhere(later, device) => Ev { at: event.at + later, device: *device, ..event },
            Change::Print(print) => Ev { print: *print, ..event },
            Change::App => Ev { app: "web", ..event },
            Change::Channel(channel) => Ev { channel, ..event },
            Change::Kind(kind) => Ev { kind: *kind, ..event },
            Change::Revenue(revenue) => Ev { revenue: *revenue, ..event },
        }
    }
}

impl Run {
    fn params(&self) -> Params {
        let mut params = params();
        // Those that change with time have a test of their own.
        let compared = views::maintained().filter(|(view, _)| !oracle::by_time(view));
        params.only = compared.map(|(view, _)| view.name.to_owned()).collect();
        params.installs.person = self.person;
        params.installs.identity = self.identity;
        params.funnels = funnels::of_all_periods([0, 30 * DAY, 7 * DAY, DAY]);
        params.identity.large_above = 3;
        params.identity.likely = Some(LikelyParams { days: 2, score: Thousandths(500) });
        let zoned =
            (0..2 * self.scenarios.len()).map(|place| (Symbol(place as i64 + 2), ZONES[place / 2 % ZONES.len()]));
        params.zones = Zones::new(zoned).expect("zones of the database");
        if self.short_windows {
            params.installs.reattribution_after = Span(30 * DAY);
            params.installs.fingerprint_window = Span(6 * HOUR);
            params.installs.attribution_lifetime = Span(40 * DAY);
            params.credits.half_life = Span(36 * HOUR);
            params.credits.direct_channels = Vec::new();
        }
        params
    }

    fn lives(&self) -> Vec<Life> {
        let mut lives = vec![Life::first(self.workers)];
        for restart in &self.restarts {
            let last = lives.last_mut().expect("there is a first");
            let load_to = START + CUT * restart.written;
            let committed = last.committed.max(load_to + CUT * restart.replayed);
            last.end = Some((load_to, committed));
            lives.push(Life { workers: restart.workers, load_to, committed, order: restart.order, end: None });
        }
        lives
    }
}

/// Runs all scenarios both ways. Notes in `seen` what came up, so that the test can tell that it tested it.
fn check(run: &Run, plant: Plant, seen: &Mutex<BTreeSet<String>>) -> Result<(), TestCaseError> {
    let params = run.params();
    let mut streamed = Vec::new();
    let mut for_sql = Vec::new();
    for (place, scenario) in run.scenarios.iter().enumerate() {
        let (tenant, glanced) = (2 * place as u32 + 2, Symbol(2 * place as i64 + 3));
        for (mut record, verdict, tick) in scenario.records(tenant) {
            if verdict == Verdict::Ok {
                streamed.push((record, tick));
            }
            for_sql.push((record, verdict));
            if tick <= START + CUT * scenario.glance {
                record.event.tenant = glanced;
                for_sql.push((record, verdict));
            }
        }
    }
    let mut sql_params = params.clone();
    if plant == Plant::ShortWindow {
        sql_params.installs.click_window.default.0 -= 1;
    }
    if plant == Plant::LargeLater {
        sql_params.identity.large_above += 1;
    }
    if plant == Plant::LikelySooner {
        sql_params.identity.likely = Some(LikelyParams { days: 1, score: Thousandths(500) });
    }
    if plant == Plant::OwnIdsAlone {
        sql_params.installs.identity = false;
    }
    let mut moments = MOMENTS;
    if plant == Plant::LaterLinks {
        moments.lateness_ms = Some([3 * DAY; EventType::ALL.len()]);
    }
    if plant == Plant::BackLater {
        sql_params.installs.reattribution_after.0 += 15 * DAY;
    }
    if plant == Plant::OtherPersonRule {
        sql_params.installs.person = match run.person {
            PersonRule::DeviceOrUser => PersonRule::DeviceElseUser,
            PersonRule::DeviceElseUser => PersonRule::DeviceOrUser,
        };
    }
    if plant == Plant::UserBitLost {
        for_sql.iter_mut().for_each(|(record, _)| record.capped.0 &= !Capped::USER.0);
    }
    if plant == Plant::CountedTwice
        && let Some((mut record, tick)) =
            streamed.iter().find(|(record, _)| record.event.event_type == EventType::Conversion).copied()
    {
        record.event.event_id = EventId(record.payload_hash.0);
        streamed.push((record, tick));
    }
    let sql = oracle::sql_with(&for_sql, &sql_params, &moments);
    let History { written: mut changes, loaded } = history(&streamed, &params, &run.lives(), &run.pauses);

    for (of_load, load_to) in &loaded {
        let tick = load_to - 1;
        prop_assert_eq!(rows_at(&of_load.installs, tick), rows_at(&changes.installs, tick), "installs at {}", tick);
        prop_assert_eq!(rows_at(&of_load.credits, tick), rows_at(&changes.credits, tick), "credits at {}", tick);
        if changes.installs.iter().any(|(_, tick, diff)| tick >= load_to && *diff < 0) {
            seen.lock().expect("no panic").insert("revised after a restart".to_owned());
        }
    }
    if plant == Plant::WrittenTwice {
        for (of_load, _) in loaded {
            changes.installs.extend(of_load.installs);
            changes.credits.extend(of_load.credits);
        }
    }
    if plant == Plant::LostRetraction {
        let metrics = changes.views.get_mut("metrics_hourly").expect("it is maintained");
        metrics.iter_mut().for_each(|batch| *batch = without_retractions(batch));
    }

    // The SQL of `installs` gives null for no path; its rows are compared one by one. What changes with time is compared in `by_time.rs`.
    let others = views::maintained().filter(|(view, _)| view.name != "installs" && !oracle::by_time(view));
    let others: Vec<_> = others
        .map(|(view, maintained)| {
            (view.name, maintained, ByTenant::of(&changes.views[view.name]), ByTenant::of(&sql.views[view.name]))
        })
        .collect();
    for (place, scenario) in run.scenarios.iter().enumerate() {
        let (tenant, glanced) = (Symbol(2 * place as i64 + 2), Symbol(2 * place as i64 + 3));
        // A replay gives a record the last tick of its cut.
        for (tick, of_sql) in [(u64::MAX, tenant), (START + CUT * scenario.glance + CUT - 1, glanced)] {
            let installs: Vec<InstallRow> =
                rows_at(&changes.installs, tick).into_iter().filter(|row| row.tenant == tenant).collect();
            let expected: Vec<InstallRow> = sql.installs.iter().filter(|row| row.tenant == of_sql).cloned().collect();
            let expected: Vec<_> = expected.into_iter().map(|row| InstallRow { tenant, ..row }).collect();
            prop_assert_eq!(&installs, &expected, "installs of scenario {} at {}: {:#?}", place, tick, scenario);

            let credits: Vec<CreditRow> =
                rows_at(&changes.credits, tick).into_iter().filter(|row| row.tenant == tenant).collect();
            let expected = sql.credits.iter().filter(|row| row.tenant == of_sql);
            let expected: Vec<_> = expected.map(|row| CreditRow { tenant, ..*row }).collect();
            prop_assert_eq!(&credits, &expected, "credits of scenario {} at {}: {:#?}", place, tick, scenario);

            let cut = if tick == u64::MAX { tick } else { cut_of(tick) };
            for (name, maintained, changes, defined) in &others {
                let is = tables::written(maintained, changes, tenant, cut);
                let must = tables::defined(maintained, defined, of_sql);
                prop_assert_eq!(&is, &must, "{} of scenario {} at {}: {:#?}", name, place, tick, scenario);
                note_view(name, &is, seen);
            }
        }
    }
    note(&sql, &for_sql, run.person, seen);
    Ok(())
}

fn note_view(name: &str, table: &tables::Table, seen: &Mutex<BTreeSet<String>>) {
    if !table.is_empty() {
        seen.lock().expect("no panic").insert(format!("rows of {name}"));
    }
}

/// Sums that nothing was taken back from.
fn without_retractions(batch: &RecordBatch) -> RecordBatch {
    let rows = batch["rows"].as_primitive::<Int64Type>();
    filter_record_batch(batch, &BooleanArray::from_unary(rows, |rows| rows > 0)).expect("one length")
}

fn note(rows: &oracle::Rows, records: &[(Accepted, Verdict)], rule: PersonRule, seen: &Mutex<BTreeSet<String>>) {
    let mut seen = seen.lock().expect("no panic");
    if rows.views["likely_links"].iter().any(|links| links.num_rows() > 0) {
        seen.insert("likely link".to_owned());
    }
    for row in &rows.installs {
        if row.reattribution {
            seen.insert(format!("reattribution with {}", row.event_type.name()));
            continue;
        }
        let again = if row.reinstall { "again" } else { "first" };
        seen.insert(format!("{} {again}", row.method.name()));
    }
    for row in &rows.credits {
        let by = if row.install.is_some() { "governed" } else { "own" };
        let is_it = |install: &InstallRow| Some(install.event_id) == row.install.map(|install| install.event_id);
        if rows.installs.iter().any(|install| install.tenant == row.tenant && install.reattribution && is_it(install)) {
            seen.insert("governed by a reattribution".to_owned());
        }
        let earned = if row.touch.is_some() { "earned" } else { "unearned" };
        seen.insert(format!("{by} {earned}"));
        if row.credit_ppm < 1_000_000 && row.revenue.is_some_and(|revenue| revenue.0 < 0) {
            seen.insert("split refund".to_owned());
        }
    }
    seen.extend(persons::seen(rows, records, rule));
}

#[test]
fn streamed_is_sql() {
    let seen = Mutex::new(BTreeSet::new());
    let asked = std::env::var_os("PROPTEST_CASES").is_some();
    let cases = if asked { Config::default().cases } else { CASES };
    let max_shrink_iters = if asked { 2_000 } else { 100 };
    let config = Config { cases, source_file: Some(file!()), max_shrink_iters, ..Config::default() };
    // The same cases each time, so that what must come up does; who asks for a number of cases gets new ones.
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let mut runner = if asked { TestRunner::new(config) } else { TestRunner::new_with_rng(config, rng) };
    if let Err(error) = runner.run(&run(), |run| check(&run, Plant::Nothing, &seen)) {
        panic!("{error}");
    }
    if asked {
        return;
    }
    let seen = seen.into_inner().expect("no panic");
    let mut wanted = vec!["governed earned", "governed unearned", "own earned", "own unearned"];
    wanted.extend([
        "split refund",
        "revised after a restart",
        "rows of costs",
        "rows of metrics_hourly",
        "rows of identity",
        "rows of shared_hours",
        "likely link",
        "reattribution with install",
        "reattribution with open",
        "governed by a reattribution",
    ]);
    wanted.extend(persons::WANTED);
    let methods = [Method::Person, Method::ClickId, Method::Fingerprint, Method::Organic];
    let installs = methods.iter().flat_map(|method| ["first", "again"].map(|nth| format!("{} {nth}", method.name())));
    // A reinstall that only a fingerprint finds is too rare here to be counted on.
    let installs = installs.filter(|what| what != "fingerprint again");
    let missing: Vec<String> =
        wanted.into_iter().map(str::to_owned).chain(installs).filter(|what| !seen.contains(what)).collect();
    assert!(missing.is_empty(), "never came up, so was not tested: {missing:?}");
}

/// Shows that the comparison can fail: each of these is found within a few cases.
#[test]
fn what_is_planted_is_found() {
    for (plant, found) in [
        (Plant::ShortWindow, "of scenario"),
        (Plant::UserBitLost, "of scenario"),
        (Plant::OtherPersonRule, "of scenario"),
        (Plant::CountedTwice, "credits of scenario"),
        (Plant::WrittenTwice, "every row is there once"),
        (Plant::LostRetraction, "metrics_hourly of scenario"),
        (Plant::LargeLater, "of scenario"),
        (Plant::LikelySooner, "identity of scenario"),
        (Plant::OwnIdsAlone, "of scenario"),
        (Plant::LaterLinks, "of scenario"),
        (Plant::BackLater, "installs of scenario"),
    ] {
        let config = Config { cases: 48, failure_persistence: None, max_shrink_iters: 0, ..Config::default() };
        let mut runner = TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha));
        match runner.run(&run(), |run| check(&run, plant, &Mutex::default())) {
            Err(TestError::Fail(reason, _)) => assert!(reason.message().contains(found), "{plant:?}: {reason}"),
            other => panic!("{plant:?} was not found: {other:?}"),
        }
    }
}
