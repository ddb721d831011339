//! A run of the main job: claims the lake, recovers, starts the workers and the committer, and waits for their end.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use dataflows::grid::CUT_MS;
use dataflows::horizon::{Bounds, Retention};
use dataflows::params::Params;
use dataflows::views;
use schemas::Tick;
use schemas::decode::{Decoder, IdRules};
use schemas::ids::IdHasher;
use schemas::symbols::{NO_CHANNEL, Symbols};
use schemas::units::{DAY_MS, HOUR_MS};

use crate::clock::Clock;
use crate::ingest::gate::{Gate, HOT_KEY_TOUCHES};
use crate::job::Lateness;
use crate::lake::directory::id_key_check;
use crate::lake::{Lake, LakeSettings, Ledger, RetryPolicy, State, Throttle};
use crate::observe::telemetry::Health;
use crate::reads::http::Reads;
use crate::reads::live::Live;
use crate::run::agreement::RunError;
use crate::run::committer;
use crate::run::cuts::Cuts;
use crate::run::recovery::{self, RECOVERY};
use crate::run::status::Status;
use crate::run::{
    context::{Shared, SourceMaker},
    worker,
};

/// What to run.
pub struct Plan {
    /// Directory of the lake; made when absent.
    pub lake: PathBuf,
    /// What the lake is made with, or must have been made with.
    pub settings: LakeSettings,
    /// Whether records pass a gate: an import whose arrival is the moment of import has none.
    pub gate: Gate,
    /// The topic of a file that is replayed. In a lake that holds others its records may enter long after they happened.
    pub replays: Option<String>,
    /// Worker threads.
    pub workers: usize,
    /// The throttle of commits.
    pub commit_every: Duration,
    /// Whether to take the lake over from a run that holds it.
    pub take_over: bool,
    /// Topics to declare void with the claim of the lake: earlier imports that are to count no more.
    pub void: Vec<String>,
    /// Makes ids.
    pub hasher: IdHasher,
    /// What the job adds to the rules of ids.
    pub id_rules: IdRules,
    /// The process's clock.
    pub clock: Clock,
}

impl Plan {
    /// The settings of a lake for a job with these, which gives no tenant a zone.
    pub fn settings(lateness: &Lateness, views: Params, hasher: &IdHasher) -> LakeSettings {
        let settings = LakeSettings {
            allowed_lateness_ms: None,
            lateness_by_type_ms: BTreeMap::new(),
            lateness_bound_ms: HOUR_MS,
            cut_ms: CUT_MS,
            hot_key_touches: u32::from(HOT_KEY_TOUCHES),
            id_key_check: id_key_check(hasher),
            zones: BTreeMap::new(),
            views,
        };
        settings.with_lateness(lateness)
    }

    /// How late a record may be: what a job says; else what the lake was made with; else the default.
    pub fn lateness(job: Option<&Lateness>, lake: Option<&Lake>) -> Lateness {
        let of_lake = || lake.map(|lake| lake.settings.lateness());
        job.cloned().or_else(of_lake).unwrap_or_default()
    }
}

/// A run under way.
pub struct Run {
    /// Progress, and the way to stop it.
    pub cuts: Arc<Cuts>,
    /// Reads of the published views and of the lake.
    pub reads: Reads,
    /// What was done so far.
    pub status: Arc<Status>,
    /// Whether it is ready: each part says for itself.
    pub health: Health,
    /// How it bears a store that fails.
    pub retries: RetryPolicy,
    workers: Option<timely::communication::WorkerGuards<()>>,
    committer: Option<JoinHandle<()>>,
}

/// How long after it happened a record may enter the dataflow: by then state is forgotten. Recovery loads a day at
/// its end, so a day is added to what the gate and the sources allow. None where a record may be of any age: without a gate, or of
/// a file whose arrivals lie before what the lake holds of others.
fn retention(plan: &Plan, state: &State) -> Option<Retention> {
    // Void topics are among them: their records are not loaded, but the lake's ticks have passed their arrivals.
    let among_others = |topic: &String| state.resumes.iter().any(|resume| *resume.partition.topic != **topic);
    if plan.replays.as_ref().is_some_and(among_others) {
        return None;
    }
    plan.gate.retention(plan.settings.lateness_bound_ms + DAY_MS)
}

/// Whether some of what a start loads entered however long ago it had happened, and is to be seen as it was: not once every table
/// holds all of it, as an import without a gate is a phase that is then over; but by a view that is made anew.
fn loads_any_age(state: &State) -> bool {
    state.any_age.is_some_and(|until| until > state.load_to || state.fresh.contains(&true))
}

/// Whether links that came without a gate may have come after the moment of a target that is not final: the table of links tells not when
/// one came.
fn links_came_late(params: &Params, retention: Retention, state: &State) -> bool {
    let since = state.load_to.saturating_sub(2 * retention.ms as Tick);
    params.installs.identity && state.any_age.is_some_and(|until| until > since)
}

/// Starts a run. `source` is told what the ledger knows and makes the sources of the workers.
pub fn start(plan: Plan, source: impl FnOnce(&State) -> SourceMaker) -> Result<Run, RunError> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("bidstream-io")
        .enable_all()
        .build()
        .expect("a thread can be started");
    let symbols = Arc::new(Symbols::new());
    let opened = Ledger::open(&plan.lake, &plan.settings, plan.take_over, &plan.void, &symbols);
    let (mut ledger, state) = runtime.block_on(opened)?;
    // With the zones that the lake keeps.
    let params = ledger.lake().settings.views.clone();
    let retries = RetryPolicy::endless();
    ledger.retry_by(&retries);
    let accepts = retention(&plan, &state);
    if accepts.is_none() {
        ledger.set_any_age();
    }
    let retention = accepts.filter(|_| !loads_any_age(&state));
    let sealing = plan.settings.sealing();
    // A view that is made anew needs all there is.
    let needed = retention
        .filter(|retention| !state.fresh.contains(&true) && !links_came_late(&params, *retention, &state))
        .map(|retention| views::needed(&params, retention, sealing, state.load_to));
    // Views name it, whether or not a producer does.
    symbols.intern(NO_CHANNEL).expect("names of a lake that it loaded do not clash with a constant of ours");
    let committed = state.committed.unwrap_or(0);
    let cuts = Arc::new(Cuts::new(plan.workers, plan.commit_every, committed));
    ledger.throttle_by(&Throttle::gentle({
        let cuts = Arc::clone(&cuts);
        move || cuts.flush_eagerly()
    }));
    let live = Arc::new(Live::new(plan.workers));
    let reads = Reads {
        live: Arc::clone(&live),
        params: Arc::new(params.clone()),
        symbols: Arc::clone(&symbols),
        hasher: plan.hasher.clone(),
        lake: plan.lake.clone(),
    };
    let status = Arc::new(Status::default());
    let health = Health::new();
    health.not_ready(RECOVERY, "records of earlier runs are being loaded");
    let (loader, recovered) = recovery::loading(&state, needed);
    let (parts, closed) = committer::parts();
    let shared = Arc::new(Shared {
        params,
        bounds: Bounds {
            final_after_ms: sealing.final_after_ms,
            retention,
            sealed_before: recovered.sealed_before,
            installs_before: recovered.installs_before,
            links_before: recovered.links_before,
            moments: plan.settings.moments(if accepts.is_some() { state.any_age } else { Some(Tick::MAX) }),
        },
        gate: plan.gate,
        clock: plan.clock,
        cuts: Arc::clone(&cuts),
        live: Arc::clone(&live),
        status: Arc::clone(&status),
        health: health.clone(),
        recovered,
        decoder: {
            let (hasher, symbols, rules) = (plan.hasher, Arc::clone(&symbols), plan.id_rules);
            Box::new(move || Decoder::new(hasher.clone(), Arc::clone(&symbols), &rules))
        },
        source: source(&state),
    });
    let committer = {
        let (cuts, status, health) = (Arc::clone(&cuts), Arc::clone(&status), health.clone());
        std::thread::Builder::new().name("bidstream-commit".to_owned()).spawn(move || {
            let _guard = PanicGuard(Arc::clone(&cuts));
            runtime.block_on(async {
                match loader.load(&ledger, &health).await {
                    Ok(()) => committer::commit_parts(cuts, ledger, closed, symbols, status).await,
                    Err(error) => cuts.fail(error.into()),
                }
            });
        })
    };
    let workers = timely::execute(timely::Config::process(plan.workers), move |worker| {
        worker::run(worker, &shared, parts.clone());
    });
    Ok(Run {
        cuts,
        reads,
        status,
        health,
        retries,
        workers: Some(workers.expect("threads can be started")),
        committer: Some(committer.expect("a thread can be started")),
    })
}

impl Run {
    /// Whether the workers have left.
    pub fn is_over(&self) -> bool {
        self.committer.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Waits for the end of the run: its last durable cut, or why it ended early.
    pub fn wait(mut self) -> Result<Tick, RunError> {
        let panicked = self.join();
        match self.cuts.take_failure() {
            Some(error) => Err(error),
            None if panicked => Err(RunError::Panicked),
            None => Ok(self.cuts.committed()),
        }
    }

    fn join(&mut self) -> bool {
        let mut panicked = false;
        if let Some(workers) = self.workers.take() {
            panicked |= workers.join().into_iter().any(|result| result.is_err());
        }
        if let Some(committer) = self.committer.take() {
            panicked |= committer.join().is_err();
        }
        panicked
    }
}

/// A run that nobody waits for is stopped: it drains and commits.
impl Drop for Run {
    fn drop(&mut self) {
        self.cuts.stop();
        self.join();
    }
}

/// Ends the run when the committer unwinds, so that the workers do not wait for it for ever.
struct PanicGuard(Arc<Cuts>);

impl Drop for PanicGuard {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.fail(RunError::Panicked);
        }
    }
}
