//! `bidstream run`: the main job, from a job file.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use bidstream::clock::Clock;
use bidstream::ingest::gate::Gate;
use bidstream::ingest::source::kafka::{Accepted, KafkaConfig, KafkaSource, SharedTicks, Start};
use bidstream::ingest::source::{Source, SourceError};
use bidstream::job::{ConfigError, Job};
use bidstream::lake::{Lake, LakeSettings, LedgerError, State};
use bidstream::observe::telemetry;
use bidstream::run::agreement::RunError;
use bidstream::run::context::SourceMaker;
use bidstream::run::housekeeping::Housekeeping;
use bidstream::run::pipeline::{self, Plan};

use crate::service;

/// The exit code for mistakes in the job file or on the command line.
pub const EXIT_USAGE: u8 = 2;
/// The exit code where a restart goes on.
pub const EXIT_FAILED: u8 = 1;
/// The exit code where the lake, or what it holds, forbids it.
pub const EXIT_REFUSED: u8 = 3;
/// The exit code where the source cannot go on.
pub const EXIT_SOURCE: u8 = 4;
/// The exit code of a run that was overtaken.
pub const EXIT_FENCED: u8 = 5;

/// The exit codes of `run`, as its help prints them.
pub const EXIT_CODES: &str = "\
Exit codes:
  0  drained and committed after SIGTERM or SIGINT
  1  failed: the message says why; a restart goes on where the ledger stands
  2  the job file or the command line is wrong
  3  the lake is in use, has another format, or was made with other settings
  4  the source cannot go on: offsets are gone from the broker, or a topic was re-created; the message names the option
     that accepts what was lost (--accept-gap, --accept-new-topic)
  5  another run has taken the lake over";

/// Run a job.
#[derive(clap::Args)]
pub struct Run {
    /// The job file.
    job: PathBuf,
    /// Take the lake over from a run that holds it; that run then stops, naming this one.
    #[arg(long)]
    take_over: bool,
    /// After exit 4 as offsets of this topic are gone from the broker: accept that what was not read is lost, and go on at
    /// the broker's first offset. May be repeated.
    #[arg(long, value_name = "TOPIC")]
    accept_gap: Vec<String>,
    /// After exit 4 as this topic was re-created: read the new one from its beginning; in `records` it is TOPIC@2, the next
    /// one TOPIC@3. May be repeated.
    #[arg(long, value_name = "TOPIC")]
    accept_new_topic: Vec<String>,
}

impl Run {
    /// Runs the job; the answer is the process's exit code.
    pub fn run(self) -> ExitCode {
        let code = match self.execute() {
            Ok(()) => 0u8,
            Err(error) => {
                eprintln!("error: {error:#}");
                if let Some((option, topic)) = source_error(&error).and_then(SourceError::accept) {
                    eprintln!(
                        "to accept that and go on: bidstream run {} {option} {topic}   (docs/kafka.md, After exit 4)",
                        self.job.display()
                    );
                }
                exit_code(&error)
            }
        };
        ExitCode::from(code)
    }

    fn execute(&self) -> anyhow::Result<()> {
        let job = Job::read(&self.job)?;
        let mut kafka = KafkaConfig::read(job.kafka(&self.job)?)?;
        kafka.accepted = self.accepted(&kafka)?;
        let plan = plan(&job, self.take_over)?;
        let clock = plan.clock.clone();
        let http = match job.http {
            Some(address) => Some((address, telemetry::install_metrics()?)),
            None => None,
        };
        let retention = Duration::from_millis(job.retention.0 as u64);
        let run = pipeline::start(plan, move |state| sources(kafka, state, clock))?;
        let kept = Housekeeping::start(&run.cuts, job.lake, retention)?;
        let served = service::serve(&run, http)?;
        let cut = run.wait()?;
        drop((served, kept));
        tracing::info!(cut, "drained and committed");
        Ok(())
    }

    /// What the command line accepts as lost, which must be of topics that the job reads.
    fn accepted(&self, kafka: &KafkaConfig) -> Result<Accepted, ConfigError> {
        let of = |option: &str, topics: &[String]| -> Result<BTreeSet<String>, ConfigError> {
            let unknown = topics.iter().find(|topic| !kafka.topics.contains_key(*topic));
            match unknown {
                None => Ok(topics.iter().cloned().collect()),
                Some(topic) => {
                    let known: Vec<&str> = kafka.topics.keys().map(String::as_str).collect();
                    let message = format!("the job reads no topic {topic}; it reads {}", known.join(", "));
                    Err(ConfigError::of_file(Path::new(option), message))
                }
            }
        };
        Ok(Accepted {
            gaps: of("--accept-gap", &self.accept_gap)?,
            new_topics: of("--accept-new-topic", &self.accept_new_topic)?,
        })
    }
}

/// What a job runs; `check` makes it, too.
pub fn plan(job: &Job, take_over: bool) -> anyhow::Result<Plan> {
    let hasher = job.id_hasher()?;
    let lake = Lake::exists(&job.lake).then(|| Lake::read(&job.lake)).transpose()?;
    let lateness = Plan::lateness(job.allowed_lateness.as_ref(), lake.as_ref());
    Ok(Plan {
        lake: job.lake.clone(),
        gate: Gate::of(&lateness),
        settings: LakeSettings { zones: job.zones.clone(), ..Plan::settings(&lateness, job.views.clone(), &hasher) },
        replays: None,
        workers: job.workers,
        commit_every: Duration::from_millis(job.commit_every.0 as u64),
        take_over,
        void: Vec::new(),
        hasher,
        id_rules: job.ids.clone(),
        clock: Clock::system(),
    })
}

/// The Kafka sources of the workers, going on where the ledger stands, or where what was accepted lets them.
pub fn sources(kafka: KafkaConfig, state: &State, clock: Clock) -> SourceMaker {
    let committed = state.committed.unwrap_or(0);
    let start = Start::settle(&kafka, state, clock.now_ms());
    let ticks = Arc::new(SharedTicks::new(clock));
    Box::new(move |worker, workers| {
        let start = start.as_ref().map_err(|error| SourceError::Setup(error.to_string()))?;
        let source = KafkaSource::new(&kafka, worker, workers, start, committed, ticks.clone())?;
        Ok(Box::new(source) as Box<dyn Source>)
    })
}

fn source_error(error: &anyhow::Error) -> Option<&SourceError> {
    match error.downcast_ref::<RunError>() {
        Some(RunError::Source(error)) => Some(error),
        _ => None,
    }
}

/// The exit code that an error stands for.
pub fn exit_code(error: &anyhow::Error) -> u8 {
    if error.is::<ConfigError>() {
        return EXIT_USAGE;
    }
    if error.downcast_ref::<LedgerError>().is_some_and(LedgerError::is_refusal) {
        return EXIT_REFUSED;
    }
    match error.downcast_ref::<RunError>() {
        Some(RunError::Ledger(LedgerError::Fenced { .. })) => EXIT_FENCED,
        Some(RunError::Ledger(error)) if error.is_refusal() => EXIT_REFUSED,
        Some(RunError::Source(_)) => EXIT_SOURCE,
        _ => EXIT_FAILED,
    }
}
