//! Runs the dataflow over records at given ticks and keeps every change.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use arrow::array::RecordBatch;
use dataflows::attribution::weights::Weights;
use dataflows::changes::Cutover;
use dataflows::feed::Feed;
use dataflows::grid::{CUT_MS, cut_of};
use dataflows::horizon::{Bounds, Retention};
use dataflows::inputs::Inputs;
use dataflows::moments::Moments;
use dataflows::needs::Needed;
use dataflows::params::Params;
use dataflows::sealing::Sealing;
use dataflows::stored;
use dataflows::views;
use dataflows::views::credits::CreditRow;
use dataflows::views::installs::InstallRow;
use dataflows::visitor_event::{ActiveDay, OfVisitor, VisitorInput};
use operators::Hub;
use schemas::event::Accepted;
use schemas::units::DAY_MS as DAY;
use schemas::{EventTime, EventType, Subject, Symbol, Tick};
use timely::dataflow::ProbeHandle;
use timely::worker::Worker;

use crate::events::EPOCH_MS;

/// What the dataflow said, change by change.
#[derive(Default)]
pub(crate) struct Changes {
    pub(crate) installs: Vec<(InstallRow, Tick, isize)>,
    pub(crate) credits: Vec<(CreditRow, Tick, isize)>,
    /// Of each view of the catalogue what is written.
    pub(crate) views: BTreeMap<&'static str, Vec<RecordBatch>>,
}

/// The rows as of a tick: each exactly once.
pub(crate) fn rows_at<R: Ord + Clone + std::fmt::Debug>(changes: &[(R, Tick, isize)], tick: Tick) -> Vec<R> {
    let mut sums: BTreeMap<&R, isize> = BTreeMap::new();
    for (row, _, diff) in changes.iter().filter(|(_, time, _)| *time <= tick) {
        *sums.entry(row).or_default() += diff;
    }
    sums.retain(|_, sum| *sum != 0);
    assert!(sums.values().all(|sum| *sum == 1), "every row is there once: {sums:?}");
    sums.into_keys().cloned().collect()
}

/// A dataflow from its start to its end. A record at a tick is durable by the next cut, a multiple of [`CUT`].
#[derive(Clone, Debug)]
pub(crate) struct Life {
    pub(crate) workers: usize,
    /// *m*: what the cuts up to it accepted is loaded as one step, of which nothing is written.
    pub(crate) load_to: Tick,
    /// *N*: what the cuts from *m* up to it accepted is replayed, cut by cut.
    pub(crate) committed: Tick,
    /// Mixes the records up, those of a tick as those that are loaded.
    pub(crate) order: u64,
    /// Where it ends: the last cut of which the changes were written, and that of which the records were. It sees more
    /// than them, and computes on without its being written. None where it goes on until all is done.
    pub(crate) end: Option<(Tick, Tick)>,
}

/// The grid of cuts.
pub(crate) const CUT: Tick = CUT_MS;

/// When days are final: where nothing is said of how late a record may be, too.
pub(crate) const SEALING: Sealing = Sealing { final_after_ms: 3 * DAY };

/// As of when links count: for what came within two days those that had come by then, for what came later all.
pub(crate) const MOMENTS: Moments =
    Moments { lateness_ms: Some([2 * DAY; EventType::ALL.len()]), any_age_until: (EPOCH_MS + 1_000 * DAY) as Tick };

impl Life {
    /// The first, of a job without a history, which never ends.
    pub(crate) fn first(workers: usize) -> Life {
        Life { workers, load_to: 0, committed: 0, order: 0, end: None }
    }

    /// When a record that came at `tick` enters.
    fn entry(&self, tick: Tick) -> Tick {
        let cut = (tick / CUT + 1) * CUT;
        if cut <= self.committed { cut.max(self.load_to) - 1 } else { tick }
    }

    /// Whether a record that came at `tick` comes before the end.
    fn sees(&self, tick: Tick) -> bool {
        self.end.is_none_or(|(_, committed)| tick <= committed)
    }
}

/// Feeds the records, each at its tick, dealt out to the workers in turn. `pauses` says after which ticks a worker
/// waits for the dataflow to catch up (cyclically); elsewhere ticks run into each other.
pub(crate) fn stream(records: &[(Accepted, Tick)], params: &Params, workers: usize, pauses: &[bool]) -> Changes {
    stream_within(records, params, None, workers, pauses)
}

/// As [`stream`], where no record comes later than `retention` after it happened.
pub(crate) fn stream_within(
    records: &[(Accepted, Tick)],
    params: &Params,
    retention: Option<Retention>,
    workers: usize,
    pauses: &[bool],
) -> Changes {
    let within = retention.map(|retention| (retention, Load::Needed));
    live(records, params, within, &Life::first(workers), &Changes::default(), pauses)
}

/// What several dataflows wrote of the same records, one after the other.
#[derive(Default)]
pub(crate) struct History {
    /// What was written.
    pub(crate) written: Changes,
    /// What each dataflow but the first computed of the records that it loaded, and the cut *m* of these.
    pub(crate) loaded: Vec<(Changes, Tick)>,
}

/// Runs one dataflow after the other, each from what the ones before it made durable.
pub(crate) fn history(records: &[(Accepted, Tick)], params: &Params, lives: &[Life], pauses: &[bool]) -> History {
    history_within(records, params, None, lives, pauses)
}

/// What a dataflow loads of what the ones before it wrote.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Load {
    /// What its views need.
    Needed,
    /// A fault: no rows of `installs`.
    WithoutFinalInstalls,
    /// A fault: no touches before the installs that are not final.
    WithoutTouchesBefore,
    /// A fault: neither days of visitors nor what they did first.
    WithoutLives,
    /// A fault: no links of days that are final.
    WithoutFinalLinks,
    /// A fault: no hours that ids shared on days that are final.
    WithoutFinalHours,
    /// A fault: nothing of the first two weeks.
    WithoutFirstWeeks,
}

/// As [`history`], where no record comes later than a retention after it happened: then a dataflow loads what its views need alone.
pub(crate) fn history_within(
    records: &[(Accepted, Tick)],
    params: &Params,
    within: Option<(Retention, Load)>,
    lives: &[Life],
    pauses: &[bool],
) -> History {
    let mut history = History::default();
    for life in lives {
        let Changes { mut installs, mut credits, views } =
            live(records, params, within, life, &history.written, pauses);
        let end = life.end.map_or(Tick::MAX, |(written, _)| written);
        if life.load_to > 0 {
            let installs = installs.extract_if(.., |(_, tick, _)| *tick < life.load_to).collect();
            let credits = credits.extract_if(.., |(_, tick, _)| *tick < life.load_to).collect();
            history.loaded.push((Changes { installs, credits, views: BTreeMap::new() }, life.load_to));
        }
        for (view, changes) in views {
            history.written.views.entry(view).or_default().extend(changes);
        }
        history.written.installs.extend(installs.into_iter().filter(|(_, tick, _)| *tick < end));
        history.written.credits.extend(credits.into_iter().filter(|(_, tick, _)| *tick < end));
    }
    history
}

/// What tables say of visitors on days that were sealed by the cut that is loaded.
pub(crate) fn of_visitors(written: &BTreeMap<&'static str, Vec<RecordBatch>>, needed: &Needed) -> Vec<OfVisitor> {
    let table = |view| written.get(view).into_iter().flatten();
    let mut all = Vec::new();
    if let Some(sealed) = &needed.sealed {
        let counts = table("frequency").flat_map(|batch| stored::day_counts(batch).expect("it was written so"));
        let counts = counts.filter(|(visitor, count)| sealed.has(count.tenant, *visitor, count.day));
        all.extend(counts.map(|(visitor, count)| (visitor, VisitorInput::Counted(count), 1)));
    }
    if let Some(sealed) = &needed.lives {
        let days = table("activity").flat_map(|batch| stored::active_days(batch).expect("it was written so"));
        let is_sealed = |of: &Subject, active: &ActiveDay| sealed.has(active.tenant, *of, active.day);
        all.extend(days.filter(|(of, input, _)| input.day().is_some_and(|active| is_sealed(of, active))));
        let firsts = table("firsts").flat_map(|batch| stored::firsts(batch).expect("it was written so"));
        let firsts = firsts.filter(|(visitor, first, _)| sealed.has_time(first.tenant, *visitor, first.time));
        all.extend(firsts.map(|(visitor, first, diff)| (visitor, VisitorInput::First(first), diff)));
    }
    all
}

/// All that one dataflow says, where the ones before it have written such changes.
fn live(
    records: &[(Accepted, Tick)],
    params: &Params,
    within: Option<(Retention, Load)>,
    life: &Life,
    written: &Changes,
    pauses: &[bool],
) -> Changes {
    let (retention, load) = within.unzip();
    let needed =
        retention.filter(|_| life.load_to > 0).map(|retention| views::needed(params, retention, SEALING, life.load_to));
    let needed = needed.map(|needed| match (load, &needed.final_installs) {
        (Some(Load::WithoutTouchesBefore), Some(finals)) => Needed { events_since: finals.end, ..needed },
        (Some(Load::WithoutFirstWeeks), _) => {
            // Attribution has more loaded than the weeks that hours are compared with.
            let first = records.iter().map(|(record, _)| record.event.event_time.0).min().unwrap_or(0);
            Needed { events_since: EventTime(needed.events_since.0.max(first + 14 * DAY)), ..needed }
        }
        _ => needed,
    });
    let is_needed = |(record, tick): &&(Accepted, Tick)| {
        *tick >= life.load_to
            || needed.as_ref().is_none_or(|needed| needed.has(record.event.event_type, record.event.event_time))
    };
    // What is to be forgotten is loaded day by day, in a few steps at its end.
    let end_of_day = |tick: Tick| tick / DAY as Tick * DAY as Tick + DAY as Tick - 1 - tick / CUT % 3;
    let loaded = |tick: Tick| if needed.is_some() { end_of_day(tick) } else { tick };
    let mut records: Vec<(Accepted, Tick)> = records
        .iter()
        .filter(|(_, tick)| life.sees(*tick))
        .filter(is_needed)
        .map(|(record, tick)| match life.entry(*tick) {
            entry if entry < life.load_to => (*record, loaded(*tick).min(entry)),
            entry => (*record, entry),
        })
        .collect();
    let since = needed.as_ref().map_or(0, |needed| needed.events_since.0.max(0) as Tick);
    let mut of_visitors = needed.as_ref().map_or(Vec::new(), |needed| of_visitors(&written.views, needed));
    if load == Some(Load::WithoutLives) {
        of_visitors.retain(|(_, input, _)| matches!(input, VisitorInput::Counted(_)));
    }
    let sealed_before = needed.as_ref().map_or(0, Needed::sealed_before);
    let links_before = needed.as_ref().and_then(|needed| needed.links_before);
    let links = written.views.get("identity_links").into_iter().flatten();
    let links: Vec<_> = links
        .flat_map(|batch| stored::links(batch).expect("it was written so"))
        .filter(|(link, _)| {
            load != Some(Load::WithoutFinalLinks) && links_before.is_some_and(|before| link.day < before)
        })
        .collect();
    let hours = written.views.get("shared_hours").into_iter().flatten();
    let hours: Vec<_> = hours
        .flat_map(|batch| stored::shared_hours(batch).expect("it was written so"))
        .filter(|hours| {
            load != Some(Load::WithoutFinalHours) && links_before.is_some_and(|before| hours.key.day < before)
        })
        .collect();
    let finals = needed.and_then(|needed| needed.final_installs);
    let installs_before = finals.as_ref().map(|times| times.end);
    let final_after_ms = SEALING.final_after_ms;
    let bounds = Bounds { final_after_ms, retention, sealed_before, installs_before, links_before, moments: MOMENTS };
    let written = written.installs.iter().filter(|(_, tick, _)| *tick < life.load_to);
    let final_installs: Vec<(InstallRow, isize)> = written
        .filter(|_| load != Some(Load::WithoutFinalInstalls))
        .filter(|(row, ..)| finals.as_ref().is_some_and(|times| times.contains(&row.event_time)))
        .map(|(row, _, diff)| (row.clone(), *diff))
        .collect();
    if life.order > 0 {
        let mut place = life.order;
        records.sort_by_cached_key(|_| {
            // Knuth's MMIX generator.
            place = place.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            place >> 32
        });
    }
    let mut ticks: Vec<Tick> = records.iter().map(|(_, tick)| *tick).collect();
    ticks.sort_unstable();
    ticks.dedup();
    let (life, pauses, params) = (life.clone(), pauses.to_vec(), params.clone());
    let changes = Arc::new(Mutex::new(Changes::default()));
    let (collected, hub) = (changes.clone(), Hub::new(life.workers));
    let guards = timely::execute(timely::Config::process(life.workers), move |worker| {
        let (installs, credits) = (collected.clone(), collected.clone());
        let (probe, mut publisher) = (ProbeHandle::new(), hub.publisher(worker.index()));
        let (mut feed, mut backlogs) = worker.dataflow::<Tick, _, _>(|scope| {
            let (feed, mut inputs) = Inputs::new(scope, &params, bounds);
            let attribution = inputs.attribution();
            let rows = attribution.installs.clone().as_collection(|_, row| InstallRow {
                country: Symbol::NONE,
                comes_back: false,
                ..(**row).clone()
            });
            rows.inspect(move |change| installs.lock().expect("no panic").installs.push(change.clone()))
                .probe_with(&probe);
            let weights = Weights::of(&params.credits);
            let rows = attribution.credited.clone().flat_map_ref(move |_, credited| credited.rows(&weights));
            rows.inspect(move |change| credits.lock().expect("no panic").credits.push(*change)).probe_with(&probe);
            let cutover = Cutover { replay_from: life.load_to, snapshot_at: None };
            let backlogs: Vec<_> = views::outputs(&mut inputs)
                .into_iter()
                .map(|(view, output)| (view.name, output.attach(&mut publisher, &probe, cutover)))
                .collect();
            (feed, backlogs)
        });
        let mut write = |cut: Tick| {
            for (view, backlog) in &mut backlogs {
                let changes: Vec<_> = backlog.take_through(cut).after(0).collect();
                collected.lock().expect("no panic").views.entry(*view).or_default().extend(changes);
            }
        };
        let wait = |worker: &mut Worker, feed: &mut Feed, tick: Tick| {
            feed.advance_to(tick);
            feed.flush();
            while probe.less_than(&tick) {
                worker.step();
            }
        };
        if life.load_to > 0 && retention.is_some() {
            feed.advance_to(since.min(ticks.first().map_or(0, |first| first - 1)));
        }
        feed.load_visitors(of_visitors.iter().skip(worker.index()).step_by(worker.peers()).copied());
        feed.load_shared_hours(hours.iter().skip(worker.index()).step_by(worker.peers()).copied());
        feed.load_links(links.iter().skip(worker.index()).step_by(worker.peers()).copied());
        feed.load_installs(final_installs.iter().skip(worker.index()).step_by(worker.peers()).cloned());
        // Where nothing comes later, or nothing later is written.
        let end = life.end.map_or(ticks.last().map_or(CUT, |tick| cut_of(*tick)), |(written, _)| written);
        let mut batch = feed.batch();
        for (turn, tick) in ticks.iter().enumerate() {
            feed.advance_to(*tick);
            let ours = records.iter().skip(worker.index()).step_by(worker.peers());
            for (record, _) in ours.filter(|(_, at)| at == tick) {
                batch.push(record, *tick);
            }
            feed.take(&mut batch);
            feed.flush();
            worker.step();
            if pauses[turn % pauses.len()] {
                wait(worker, &mut feed, tick + 1);
                publisher.publish();
                write((*tick / CUT * CUT).min(end));
            }
        }
        feed.advance_to(end.max(feed.tick()));
        feed.flush();
        worker.step_while(|| probe.less_than(&end));
        write(end);
        if let Some((written, _)) = life.end {
            let tick = written.max(feed.tick());
            wait(worker, &mut feed, tick);
            drop(feed);
            for dataflow in worker.installed_dataflows() {
                worker.drop_dataflow(dataflow);
            }
        }
    });
    for worker in guards.expect("the workers start").join() {
        worker.expect("no worker panics");
    }
    Arc::into_inner(changes).expect("all workers ended").into_inner().expect("no panic")
}
