//! `bidstream build`: tables of views that a lake does not have yet, beside the job.

use std::io::{IsTerminal, Write, stderr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use bidstream::job::{Job, WORKERS_MAX, lake_directory};
use bidstream::lake::{Lake, LedgerError};
use bidstream::run::agreement::RunError;
use bidstream::run::build::{BuildPlan, build};
use dataflows::view::{Maintained, View};
use dataflows::views;

use crate::run::{EXIT_FAILED, EXIT_USAGE, exit_code, plan};

/// Build tables of views.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  bidstream build sessions uniques --lake ./lake          with the parameters that the lake has
  bidstream build credits --job next.yaml                 with those of the next job file, whose lake it is
A start that finds a view without a table makes it from all records, for all views, before it reads on. A build makes the table
of that view alone, beside the job that goes on; the next start of a job with the view goes on from there, and queries
read the table then. So: build the views, then restart the job with the new job file or release.
A build that is stopped leaves nothing that counts: the same command begins anew.

Exit codes:
  0  built, or there already
  1  failed: the message says why; the same command begins anew
  2  the command line or the job file is wrong: no such view, or one that has no table
  3  refused: the view is being built, or made by the job that runs; or the lake has another format or other settings")]
pub struct Build {
    /// The views.
    #[arg(required = true)]
    views: Vec<String>,
    /// A job file: its lake, parameters of views and number of workers are those of this build.
    #[arg(long, value_name = "JOB.yaml", required_unless_present = "lake")]
    job: Option<PathBuf>,
    /// Directory of the lake. Default: that of --job.
    #[arg(long, value_parser = lake_directory)]
    lake: Option<PathBuf>,
    /// Worker threads: 1 to 64. Default: those of --job, else 1.
    #[arg(long)]
    workers: Option<usize>,
    /// How to print what was built.
    #[arg(long, value_enum, default_value_t = Form::Text)]
    format: Form,
}

/// The form of a report.
#[derive(Clone, Copy, clap::ValueEnum)]
enum Form {
    /// For people.
    Text,
    /// One JSON object.
    Json,
}

/// A mistake on the command line that clap does not see.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Usage(String);

/// How often progress is told on a terminal, and elsewhere.
const TOLD_EVERY: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(10)];

impl Build {
    /// Builds; the answer is the process's exit code.
    pub fn run(self) -> ExitCode {
        match self.execute() {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("error: {error:#}");
                ExitCode::from(code(&error))
            }
        }
    }

    fn execute(&self) -> anyhow::Result<()> {
        let views = views_of(&self.views)?;
        let job = self.job.as_deref().map(Job::read).transpose()?;
        let lake = self.lake.clone().or_else(|| Some(job.as_ref()?.lake.clone())).expect("a lake or a job is given");
        ensure_lake(&lake)?;
        if let Some(job) = &job {
            let job = Job { lake: lake.clone(), ..job.clone() };
            Lake::read(&lake)?.check(&plan(&job, false)?.settings)?;
        }
        let workers = self.workers.or(job.as_ref().map(|job| job.workers)).unwrap_or(1);
        if !(1..=WORKERS_MAX).contains(&workers) {
            return Err(Usage(format!("--workers is {workers}: it may be 1 to {WORKERS_MAX}")).into());
        }
        let plan = BuildPlan {
            lake,
            params: job.map(|job| job.views),
            views,
            workers,
            tell_every: TOLD_EVERY[usize::from(!stderr().is_terminal())],
        };
        let report = build(&plan, |said| eprintln!("{said}"))?;
        let mut out = std::io::stdout().lock();
        match self.format {
            Form::Text => write!(out, "{}", report.text())?,
            Form::Json => writeln!(out, "{}", serde_json::to_string(&report)?)?,
        }
        Ok(())
    }
}

/// The views of these names, in the order of the catalogue.
fn views_of(names: &[String]) -> Result<Vec<(&'static View, &'static Maintained)>, Usage> {
    let have_tables = || views::maintained().map(|(view, _)| view.name).collect::<Vec<_>>().join(", ");
    for name in names {
        match views::view(name) {
            None => return Err(Usage(format!("there is no view {name:?}; these have tables: {}", have_tables()))),
            Some(view) if view.maintained.is_none() => {
                return Err(Usage(format!(
                    "{name} has no table: it is SQL over {}; these have tables: {}",
                    view.reads.join(", "),
                    have_tables()
                )));
            }
            Some(_) => {}
        }
    }
    Ok(views::maintained().filter(|(view, _)| names.iter().any(|name| name == view.name)).collect())
}

fn ensure_lake(path: &Path) -> Result<(), Usage> {
    match Lake::exists(path) {
        true => Ok(()),
        false => Err(Usage(format!("{} is no lake: it has no lake.json", path.display()))),
    }
}

fn code(error: &anyhow::Error) -> u8 {
    match error.downcast_ref::<RunError>() {
        _ if error.is::<Usage>() => EXIT_USAGE,
        Some(RunError::Ledger(LedgerError::NoRecords { .. })) => EXIT_FAILED,
        _ => exit_code(error),
    }
}
