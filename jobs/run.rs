//! `bidstream run` and `bidstream check`: the main job, from a job file.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use bidstream::clock::Clock;
use bidstream::config::{ConfigError, Job};
use bidstream::cuts::RunError;
use bidstream::gate::Gate;
use bidstream::housekeeping::Housekeeping;
use bidstream::ledger::{LedgerError, State};
use bidstream::pipeline::{self, Plan};
use bidstream::source::Source;
use bidstream::source::kafka::{KafkaConfig, KafkaSource, SharedTicks};
use bidstream::telemetry;
use bidstream::worker::SourceMaker;

use crate::service;

/// The exit code for mistakes in the job file or on the command line.
pub const EXIT_USAGE: u8 = 2;
const EXIT_FAILED: u8 = 1;
const EXIT_REFUSED: u8 = 3;
const EXIT_SOURCE: u8 = 4;
const EXIT_FENCED: u8 = 5;

/// The exit codes of `run`, as its help prints them.
pub const EXIT_CODES: &str = "\
Exit codes:
  0  drained and committed after SIGTERM or SIGINT
  1  failed: the message says why; a restart goes on where the ledger stands
  2  the job file or the command line is wrong
  3  the lake is in use, has another format, or was made with other settings
  4  the source cannot go on: offsets are gone from the broker, or a topic was re-created
  5  another run has taken the lake over";

/// Run a job.
#[derive(clap::Args)]
pub struct Run {
    /// The job file.
    job: PathBuf,
    /// Take the lake over from a run that holds it; that run then stops, naming this one.
    #[arg(long)]
    take_over: bool,
}

/// Check a job file.
#[derive(clap::Args)]
pub struct Check {
    /// The job file.
    job: PathBuf,
}

impl Run {
    /// Runs the job; the answer is the process's exit code.
    pub fn run(self) -> ExitCode {
        let code = match self.execute() {
            Ok(()) => 0u8,
            Err(error) => {
                eprintln!("error: {error:#}");
                exit_code(&error)
            }
        };
        ExitCode::from(code)
    }

    fn execute(self) -> anyhow::Result<()> {
        let job = Job::read(&self.job)?;
        let (plan, kafka) = (plan(&job, self.take_over)?, KafkaConfig::from(&job.source.kafka));
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
}

impl Check {
    /// Checks the job file.
    pub fn run(self) -> ExitCode {
        match Job::read(&self.job) {
            Ok(job) => {
                let topics: Vec<&str> = job.source.kafka.topics.keys().map(String::as_str).collect();
                println!(
                    "{}: ok. Reads {} at {}, with {} allowed lateness; writes {} every {} with {} worker(s).",
                    self.job.display(),
                    topics.join(", "),
                    job.source.kafka.brokers,
                    job.allowed_lateness,
                    job.lake.display(),
                    job.commit_every,
                    job.workers,
                );
                ExitCode::SUCCESS
            }
            Err(error) => {
                eprintln!("error: {error}");
                ExitCode::from(EXIT_USAGE)
            }
        }
    }
}

fn plan(job: &Job, take_over: bool) -> anyhow::Result<Plan> {
    let hasher = job.id_hasher()?;
    let allowed_lateness_ms = job.allowed_lateness.ms();
    Ok(Plan {
        lake: job.lake.clone(),
        settings: Plan::settings(allowed_lateness_ms, job.views.clone(), &hasher),
        gate: Gate { allowed_lateness_ms },
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

/// The Kafka sources of the workers, going on where the ledger stands.
pub fn sources(kafka: KafkaConfig, state: &State, clock: Clock) -> SourceMaker {
    let state = state.clone();
    let ticks = Arc::new(SharedTicks::new(clock));
    Box::new(move |worker, workers| {
        let committed = state.committed.unwrap_or(0);
        let (resumes, ids) = (&state.resumes, &state.topic_ids);
        let source = KafkaSource::new(&kafka, worker, workers, resumes, ids, committed, ticks.clone())?;
        Ok(Box::new(source) as Box<dyn Source>)
    })
}

fn exit_code(error: &anyhow::Error) -> u8 {
    if error.is::<ConfigError>() {
        return EXIT_USAGE;
    }
    match error.downcast_ref::<RunError>() {
        Some(RunError::Ledger(LedgerError::Fenced { .. })) => EXIT_FENCED,
        Some(RunError::Ledger(error)) if error.is_refusal() => EXIT_REFUSED,
        Some(RunError::Source(_)) => EXIT_SOURCE,
        _ => EXIT_FAILED,
    }
}
