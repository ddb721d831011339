//! `bidstream`: the one binary. Each subcommand is wiring: it reads its arguments, calls the library and prints.

mod build;
mod check;
mod demo;
mod explain;
mod import;
mod maintain;
mod plot;
mod produce;
mod run;
mod service;
mod tables;

use std::path::PathBuf;
use std::process::ExitCode;

use bidstream::job::ConfigError;
use bidstream::observe::telemetry::LogFormat;
use clap::{Parser, Subcommand};
use mimalloc::MiMalloc;

/// Large batches come and go, and rows are freed on other threads than made them (`docs/decisions/0011-where-the-time-went.md`).
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// The ad event stream in, decisions out: exact attribution from Kafka to Delta tables and SQL.
#[derive(Parser)]
#[command(name = "bidstream", version, arg_required_else_help = true, after_help = EXAMPLES)]
struct Cli {
    /// How log lines are written to standard error; BIDSTREAM_LOG sets what is logged (as `info`, `bidstream=debug`).
    #[arg(long, global = true, value_enum, default_value_t = LogFormat::Human)]
    log_format: LogFormat,
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Examples:
  bidstream demo                                        see it work; needs no broker
  bidstream run jobs/attribution.yaml                   the main job, until SIGTERM
  bidstream import clicks.csv --mapping clicks.yaml --lake ./lake
  bidstream sql --lake ./lake \"SELECT channel, sum(credit_ppm) FROM credits WHERE model = 'last' GROUP BY 1\"
  bidstream audit --lake ./lake --all                   recompute every view by its SQL and compare";

#[derive(Subcommand)]
enum Command {
    /// Generate plausible traffic, attribute it, and answer five questions. Run again on its lake, it goes on.
    Demo(demo::Demo),
    /// Run a job until SIGTERM or SIGINT; then drain, commit and exit 0.
    #[command(after_help = run::EXIT_CODES)]
    Run(run::Run),
    /// Check a job file and say what it means.
    #[command(after_help = check::EXIT_CODES)]
    Check(check::Check),
    /// Import a CSV, JSONL or Parquet file by a mapping, into a lake or through Kafka.
    Import(import::Import),
    /// Produce generated events to a Kafka topic.
    Generate(produce::Generate),
    /// Query a lake with SQL: one query, a file, or a prompt.
    Sql(tables::Sql),
    /// Draw a chart of a lake: retention, LTV, funnels, paths, metrics with their anomalies, credit.
    Plot(plot::Plot),
    /// Read the rows of a view by key, as those of a visitor: with raw ids.
    Get(tables::Get),
    /// Explain a row: which touches could have been credited, which was, and why each other was not.
    Explain(explain::Explain),
    /// Recompute views by their SQL definition and print every difference. Exit 0: none; 1: some; 2: error.
    Audit(tables::Audit),
    /// Make tables of views that a lake does not have yet, beside the job that goes on; the next start goes on from there.
    Build(build::Build),
    /// Keep house in a lake: merge small files, sum old changes, shorten logs, remove what no table names.
    Maintain(maintain::Maintain),
    /// After restoring a copy of `records`: remove what the views' tables hold beyond it. Stop the job first.
    Repair(maintain::Repair),
    /// List the views, or show one: question, columns, parameters, SQL; with --lake, what that lake runs.
    Describe(tables::Describe),
}

/// The secret of the id hashes, for the subcommands that make ids.
#[derive(clap::Args)]
struct IdKey {
    /// File with the secret of the id hashes; else the variable BIDSTREAM_ID_KEY, else the documented demo key.
    #[arg(long, value_name = "FILE")]
    id_key_file: Option<PathBuf>,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    if let Err(error) = bidstream::observe::telemetry::init_logs(cli.log_format) {
        eprintln!("error: {error}");
        return ExitCode::from(run::EXIT_USAGE);
    }
    if let Err(error) = bidstream::lake::failpoint::arm() {
        eprintln!("error: {error}");
        return ExitCode::from(run::EXIT_USAGE);
    }
    if let Err(error) = bidstream::clock::shift() {
        eprintln!("error: {error}");
        return ExitCode::from(run::EXIT_USAGE);
    }
    let done = match cli.command {
        Command::Demo(demo) => demo.run(),
        Command::Run(run) => return run.run(),
        Command::Check(check) => return check.run(),
        Command::Import(import) => return import.run(),
        Command::Generate(generate) => generate.run(),
        Command::Sql(sql) => sql.run(),
        Command::Plot(plot) => plot.run(),
        Command::Get(get) => get.run(),
        Command::Explain(explain) => explain.run(),
        Command::Audit(audit) => return audit.run(),
        Command::Build(build) => return build.run(),
        Command::Maintain(maintain) => maintain.run(),
        Command::Repair(repair) => repair.run(),
        Command::Describe(describe) => describe.run(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            match (tables::interrupted(&error), error.is::<ConfigError>()) {
                (Some(code), _) => ExitCode::from(code),
                (None, true) => ExitCode::from(run::EXIT_USAGE),
                (None, false) => ExitCode::FAILURE,
            }
        }
    }
}
