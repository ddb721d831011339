//! `bidstream import`: a file, by a mapping, into a lake or through Kafka; and the way back.

mod kafka;
mod lake;
mod undo;

use std::io::{IsTerminal, stderr};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use bidstream::clock::Clock;
use bidstream::ingest::source::SourceError;
use bidstream::ingest::source::file::imported::NotFound;
use bidstream::ingest::source::file::report::{Outcome, Report, printable};
use bidstream::ingest::source::file::survey::{Allowed, Survey};
use bidstream::ingest::source::file::{Input, survey};
use bidstream::job::mapping::Mapping;
use bidstream::job::{self, COMMIT_EVERY_DEFAULT, ConfigError, Job};
use bidstream::lake::imports::Imports;
use bidstream::lake::{Lake, LakeSettings, LedgerError};
use bidstream::run::agreement::RunError;
use bidstream::run::pipeline::Plan;
use schemas::decode::IdRules;
use schemas::ids::IdHasher;

use crate::IdKey;
use crate::produce::{EncodingName, Properties};
use crate::run::{EXIT_FAILED, EXIT_FENCED, EXIT_REFUSED, EXIT_SOURCE, EXIT_USAGE};

/// Import a file.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  bidstream import clicks.csv --mapping clicks.yaml --lake ./lake --dry-run
  bidstream import clicks.csv --mapping clicks.yaml --lake ./lake
  bidstream import clicks.csv --mapping better.yaml --lake ./lake --replace
  bidstream import clicks_grown.csv --mapping clicks.yaml --lake ./lake --replace clicks.csv
  bidstream import --undo clicks.csv --lake ./lake
  bidstream import clicks.csv --mapping clicks.yaml --job jobs/attribution.yaml
  bidstream import history.parquet --mapping history.yaml --brokers 127.0.0.1:9092 --topic site-events

The file is read whole first, and nothing is written where it breaks midway, changes meanwhile, or is refused for what it
holds. Then its rows enter, and the report says what became of them.

An import into a lake has no gate: however old a row is, it counts (a mapping with `arrival: event_time` is gated as live
traffic is). Interrupted, it goes on where it was; importing a file again adds nothing. A lake that reads Kafka takes
files through Kafka only.

Exit codes:
  0  imported, or nothing new; with --dry-run: it could be; with --undo: undone, or void already
  1  failed, or interrupted by SIGINT or SIGTERM before all was in the lake, or before an undo had taken effect: the message
     says why; the same command goes on where the ledger stands
  2  the command line, the mapping or the job file is wrong; --undo or --replace names no import
  3  refused, and nothing was written: no row matches the mapping (unless --allow-empty), more dead letters than
     --allow-dead says, the file is there by another mapping, or the lake is in use or was made with other settings (the
     lake in use is seen only by what writes, not by --dry-run)
  4  the file cannot be read, breaks midway, or changes while it is read
  5  another run has taken the lake over")]
pub struct Import {
    /// CSV, JSONL (both also compressed) or Parquet.
    #[arg(required_unless_present_any = ["undo", "replace"], conflicts_with = "undo")]
    file: Option<PathBuf>,
    /// How rows become events.
    #[arg(long, value_name = "M.yaml", required_unless_present = "undo")]
    mapping: Option<PathBuf>,
    /// Directory of the lake; made when it is missing. Default: that of --job.
    #[arg(long, conflicts_with = "brokers", value_parser = job::lake_directory)]
    lake: Option<PathBuf>,
    /// A job file: its lake, allowed lateness, time between commits, id key and `ids` are those of this import, and its
    /// parameters of views become those of the lake. Its `source` is not read.
    #[arg(long, value_name = "JOB.yaml", conflicts_with = "brokers")]
    job: Option<PathBuf>,
    /// Only read and check the file: the report, and the first events of each type as they would enter.
    #[arg(long, conflicts_with = "undo")]
    dry_run: bool,
    /// Declare an earlier import void: its path, file name, or the head of its id. Its records count no more.
    #[arg(long, value_name = "FILE|ID", conflicts_with = "brokers")]
    undo: Option<String>,
    /// Import, and declare void what the file stands for: FILE|ID, or where none is named what was imported under its
    /// file name, and its own content by another mapping.
    #[arg(long, value_name = "FILE|ID", num_args = 0..=1, conflicts_with_all = ["undo", "brokers"])]
    replace: Option<Option<String>>,
    /// The share of the rows wanted by the mapping that may be dead letters, 0 to 1; beyond it nothing is imported.
    #[arg(long, value_name = "SHARE", default_value = "0.5", value_parser = share)]
    allow_dead: f64,
    /// It is no error where no row matches the mapping, or the file has none.
    #[arg(long)]
    allow_empty: bool,
    /// How the report is written to standard output.
    #[arg(long, value_enum, default_value_t = ReportFormat::Human)]
    format: ReportFormat,
    /// Kafka's bootstrap servers: host:port, several with commas between.
    #[arg(long)]
    brokers: Option<String>,
    /// Topic of --brokers; made with stamps by the log where it is missing.
    #[arg(long, default_value = "ad-events")]
    topic: String,
    #[command(flatten)]
    properties: Properties,
    /// How events are encoded for --brokers.
    #[arg(long, value_enum, default_value_t = EncodingName::Protobuf)]
    encoding: EncodingName,
    /// Into a lake: where to serve /metrics, /healthz and /readyz, as 127.0.0.1:9464.
    #[arg(long, value_name = "ADDRESS", conflicts_with = "brokers")]
    http: Option<SocketAddr>,
    #[command(flatten)]
    id_key: IdKey,
}

/// How a report is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum ReportFormat {
    /// Some lines for people.
    Human,
    /// One object on one line.
    Json,
}

/// A mistake on the command line that clap does not see.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Usage(String);

/// Nothing was written, for what the file holds.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Refused(String);

/// It was told to stop before all was done.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Interrupted(String);

/// How often progress is told on a terminal, and elsewhere.
const TOLD_EVERY: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(5)];

impl Import {
    /// Imports the file; the answer is the process's exit code.
    pub fn run(self) -> ExitCode {
        match self.execute() {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("error: {}", printable(&format!("{error:#}")));
                ExitCode::from(exit_code(&error))
            }
        }
    }

    fn execute(mut self) -> anyhow::Result<()> {
        if self.file.is_none() && self.undo.is_none() {
            // `--replace FILE` reads as a replacement that names the file itself.
            self.file = self.replace.replace(None).flatten().map(PathBuf::from);
        }
        if let Some(brokers) = &self.brokers {
            return self.through_kafka(brokers);
        }
        match &self.undo {
            Some(what) => self.undo(what),
            None => self.to_lake(),
        }
    }

    fn file(&self) -> Result<&Path, Usage> {
        self.file.as_deref().ok_or_else(|| Usage("say which file to import: bidstream import FILE …".to_owned()))
    }

    fn mapping(&self) -> anyhow::Result<(&Path, Mapping)> {
        let path =
            self.mapping.as_deref().ok_or_else(|| Usage("say how rows become events: --mapping M.yaml".to_owned()))?;
        Ok((path, Mapping::read(path)?))
    }

    fn target(&self) -> anyhow::Result<Target> {
        let job = self.job.as_deref().map(Job::read).transpose()?;
        let path = self.lake.clone().or_else(|| Some(job.as_ref()?.lake.clone()));
        let hasher = match (&self.id_key.id_key_file, &job) {
            (None, Some(job)) => job.id_hasher()?,
            (file, _) => job::id_hasher(file.as_deref())?,
        };
        let lake = path.as_deref().filter(|path| Lake::exists(path)).map(Lake::read).transpose()?;
        let lateness = Plan::lateness(job.as_ref().and_then(|job| job.allowed_lateness.as_ref()), lake.as_ref());
        let of_lake = || lake.as_ref().map(|lake| lake.settings.views.clone());
        let views = job.as_ref().map(|job| job.views.clone()).or_else(of_lake).unwrap_or_default();
        let zones = job.as_ref().map(|job| job.zones.clone()).unwrap_or_default();
        let settings = LakeSettings { zones, ..Plan::settings(&lateness, views, &hasher) };
        let commit_every = job.as_ref().map_or(COMMIT_EVERY_DEFAULT, |job| job.commit_every);
        let id_rules = job.map(|job| job.ids).unwrap_or_default();
        let imports = match &lake {
            Some(lake) => waiting(Imports::read(lake))?,
            None => Imports::default(),
        };
        let commit_every = Duration::from_millis(commit_every.0 as u64);
        Ok(Target { path, lake, settings, commit_every, hasher, id_rules, imports })
    }

    /// The first pass, with words of progress.
    fn survey(
        &self,
        input: &Input,
        mapping: &Mapping,
        ids: (&IdHasher, &IdRules),
        others: bool,
    ) -> anyhow::Result<Survey> {
        let mut told = Told::new();
        let mut progress =
            |rows: u64| told.tell(|per_second| format!("{rows} rows checked so far, {per_second:.0} a second"), rows);
        Ok(survey(input, mapping, ids, &Clock::system(), others, &mut progress)?)
    }

    /// Prints the report of what is refused, where it is.
    fn accept(&self, report: &mut Report, found: &Survey) -> anyhow::Result<()> {
        for warning in &report.warnings {
            eprintln!("warning: {}", printable(warning));
        }
        let Some(refusal) = found.refusal(&Allowed { dead_share: self.allow_dead, empty: self.allow_empty }) else {
            return Ok(());
        };
        report.outcome = Outcome::Refused;
        self.print(report);
        Err(Refused(format!("{}: {refusal}", report.file)).into())
    }

    fn print(&self, report: &Report) {
        match self.format {
            ReportFormat::Human => println!("{report}"),
            ReportFormat::Json => println!("{}", report.json()),
        }
    }
}

/// The lake of an import, there or to be made, and the settings of the run.
struct Target {
    path: Option<PathBuf>,
    lake: Option<Lake>,
    settings: LakeSettings,
    commit_every: Duration,
    hasher: IdHasher,
    id_rules: IdRules,
    imports: Imports,
}

impl Target {
    fn path(&self) -> Result<PathBuf, Usage> {
        self.path
            .clone()
            .ok_or_else(|| Usage("say where to: --lake DIR, --job JOB.yaml or --brokers HOST:PORT".to_owned()))
    }
}

/// Words of progress on standard error, now and then.
struct Told {
    started: Instant,
    last: Instant,
    every: Duration,
}

impl Told {
    fn new() -> Told {
        let every = TOLD_EVERY[usize::from(!stderr().is_terminal())];
        Told { started: Instant::now(), last: Instant::now(), every }
    }

    /// Tells, where it is time to, how many are done and how many that is a second.
    fn tell(&mut self, words: impl FnOnce(f64) -> String, done: u64) {
        if self.last.elapsed() >= self.every {
            self.last = Instant::now();
            eprintln!("{}", words(done as f64 / self.started.elapsed().as_secs_f64()));
        }
    }
}

/// Waits for what is asked of a lake without a run.
fn waiting<T>(asked: impl Future<Output = Result<T, LedgerError>>) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    Ok(runtime.block_on(asked)?)
}

fn share(text: &str) -> Result<f64, String> {
    let share = text.parse::<f64>().ok().filter(|share| (0.0..=1.0).contains(share));
    share.ok_or_else(|| "write a share from 0 to 1, as 0.05".to_owned())
}

fn exit_code(error: &anyhow::Error) -> u8 {
    let source = |error: &SourceError| match error {
        SourceError::Setup(_) => EXIT_USAGE,
        SourceError::Refused(_) => EXIT_REFUSED,
        _ => EXIT_SOURCE,
    };
    let ledger = |error: &LedgerError| match error {
        LedgerError::Fenced { .. } => EXIT_FENCED,
        error if error.is_refusal() => EXIT_REFUSED,
        _ => EXIT_FAILED,
    };
    if error.is::<Refused>() {
        return EXIT_REFUSED;
    }
    if error.is::<ConfigError>() || error.is::<Usage>() || error.is::<NotFound>() {
        return EXIT_USAGE;
    }
    if let Some(error) = error.downcast_ref::<SourceError>() {
        return source(error);
    }
    if let Some(error) = error.downcast_ref::<LedgerError>() {
        return ledger(error);
    }
    match error.downcast_ref::<RunError>() {
        Some(RunError::Source(error)) => source(error),
        Some(RunError::Ledger(error)) => ledger(error),
        _ => EXIT_FAILED,
    }
}
