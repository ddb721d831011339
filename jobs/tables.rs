//! `bidstream sql`, `get`, `audit` and `describe`: what analysts use.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use bidstream::job::lake_directory;
use bidstream::lake::{Lake, LedgerError};
use bidstream::reads::remote::RemoteGet;
use bidstream::sql::plot::Chart;
use bidstream::{job, reads, sql};
use dataflows::params::Params;
use schemas::ids::IdHasher;

use crate::IdKey;

/// Query a lake.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  bidstream sql --lake ./lake \"SELECT * FROM installs LIMIT 5\"
  bidstream sql --lake ./lake --format csv --file report.sql > report.csv
  bidstream sql --lake ./lake --as-of 2026-11-01T12:00:00Z \"SELECT count(*) FROM credits\"
  bidstream sql --lake ./lake --plot clicks.svg \"SELECT hour, channel, sum(clicks) FROM metrics_hourly GROUP BY 1, 2 ORDER BY 1\"
  bidstream sql --lake ./lake                 a prompt; \\? lists its commands
Tables: events, superseded, late_events, dead_letters, field_faults, unknown_fields, contested_events, imports, zones, costs,
installs, credits, metrics_hourly, metrics_daily, metrics_sliding, anomalies, forecasts, uniques, sessions, frequency,
frequency_now, activity, firsts, cohorts, retention, funnel_steps, funnels, paths, path_counts, credits_shapley,
credits_markov, removal_effects, identity, identity_links, attributed_ids, shared_hours, likely_links, records, symbols; what each cut wrote of a view that has
a table is in costs_changes and so on; the schema `raw` has the same with symbols and times as the integers that the files hold.")]
pub struct Sql {
    /// Directory of the lake.
    #[arg(long, value_parser = lake_directory)]
    lake: PathBuf,
    /// The query; without one, --file, standard input or a prompt.
    query: Option<String>,
    /// Read the statements from a file.
    #[arg(long, conflicts_with = "query")]
    file: Option<PathBuf>,
    /// Show the tables as they were at a cut: ms since the epoch or RFC 3339.
    #[arg(long, value_name = "CUT")]
    as_of: Option<String>,
    /// How to print.
    #[arg(long, value_enum, default_value_t = sql::Format::Table)]
    format: sql::Format,
    /// The memory that queries may take, as 512MiB or 4GiB; what does not fit goes to a temporary directory. Half of what is
    /// available by default, and at least 512MiB.
    #[arg(long, value_name = "SIZE")]
    memory: Option<sql::Memory>,
    /// Also draw the rows of the one statement into this file, .svg or .png: lines where the first column is a time or a number, else
    /// bars. A text as the second column names the series; else each number is one.
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,
    /// What to draw.
    #[arg(long, value_enum, requires = "plot")]
    chart: Option<Chart>,
    #[command(flatten)]
    id_key: IdKey,
}

/// Read a view by key.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  bidstream get sessions --lake ./lake tenant=acme visitor=user:alice
  bidstream get installs --lake ./lake tenant=acme device_id=ab12-cd34
  bidstream get metrics_sliding --lake ./lake tenant=acme grouping=campaign campaign=spring --format json
  bidstream get sessions --url http://127.0.0.1:9464 tenant=acme visitor=user:alice
A value is what producers send: an id is hashed as they were. user_id, device_id, click_id and event_id say whose it is; a
visitor or subject is user:…, device:… or click:…; the 32 hexadecimal digits that tables show do, too. `column=` reads what is null.
`bidstream describe VIEW` says by which columns it is read; further columns narrow what is found.")]
pub struct Get {
    /// The view.
    view: String,
    /// What to read it by.
    #[arg(value_name = "COLUMN=VALUE", required = true)]
    keys: Vec<String>,
    /// Directory of the lake.
    #[arg(long, value_parser = lake_directory, required_unless_present = "url")]
    lake: Option<PathBuf>,
    /// Read from a running job instead, by its `http` address: what it has in memory, at one tick.
    #[arg(long, value_parser = address, conflicts_with_all = ["lake", "as_of", "memory"])]
    url: Option<url::Url>,
    /// With --url: what is durable, also what has become final and left the memory.
    #[arg(long = "final", requires = "url")]
    finals: bool,
    /// The most rows to print.
    #[arg(long, default_value = "100")]
    limit: NonZeroUsize,
    /// Show the view as it was at a cut: ms since the epoch or RFC 3339.
    #[arg(long, value_name = "CUT")]
    as_of: Option<String>,
    /// How to print. JSON is an object with view, cut, rows, and whether there are more.
    #[arg(long, value_enum, default_value_t = sql::Format::Table)]
    format: sql::Format,
    /// The memory that it may take, as 512MiB or 4GiB. Half of what is available by default, and at least 512MiB.
    #[arg(long, value_name = "SIZE")]
    memory: Option<sql::Memory>,
    #[command(flatten)]
    id_key: IdKey,
}

/// Audit views.
#[derive(clap::Args)]
pub struct Audit {
    /// Directory of the lake.
    #[arg(long, value_parser = lake_directory)]
    lake: PathBuf,
    /// The views; none means all.
    views: Vec<String>,
    /// All views.
    #[arg(long, conflicts_with = "views")]
    all: bool,
    /// How to print.
    #[arg(long, value_enum, default_value_t = sql::Format::Table)]
    format: sql::Format,
    /// The memory that its queries may take, as 512MiB or 4GiB. Half of what is available by default, and at least 512MiB.
    #[arg(long, value_name = "SIZE")]
    memory: Option<sql::Memory>,
}

/// Describe views, or a lake.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  bidstream describe                          the views and the questions that they answer
  bidstream describe credits                  one view: columns, parameters, SQL; of another table, as records: columns
  bidstream describe --lake ./lake            what this lake runs: parameters, views, voids, columns
  bidstream describe --lake ./lake credits    one view with the parameters of this lake")]
pub struct Describe {
    /// Directory of a lake, to describe what it runs; without it the views have their defaults.
    #[arg(long, value_parser = lake_directory)]
    lake: Option<PathBuf>,
    /// The view; none lists all.
    view: Option<String>,
    /// How to print.
    #[arg(long, value_enum, default_value_t = sql::Format::Table)]
    format: sql::Format,
}

impl Sql {
    /// Runs the query, the file, standard input, or a prompt.
    pub fn run(self) -> anyhow::Result<()> {
        let hasher = job::id_hasher(self.id_key.id_key_file.as_deref())?;
        let Sql { lake, query, file, as_of, format, memory, plot, chart, .. } = self;
        let memory = memory.unwrap_or_else(sql::Memory::of_machine);
        finish(sql::run(sql::SqlOptions { lake, query, file, as_of, format, memory, plot, chart }, &hasher))??;
        Ok(())
    }
}

/// The address of a job; its `http` has no scheme.
fn address(text: &str) -> Result<url::Url, url::ParseError> {
    if text.contains("://") { url::Url::parse(text) } else { url::Url::parse(&format!("http://{text}")) }
}

impl Get {
    /// Reads and prints.
    pub fn run(self) -> anyhow::Result<()> {
        let Get { lake, url, finals, view, keys, limit, as_of, format, memory, id_key } = self;
        let limit = limit.get();
        if let Some(url) = url {
            let get = RemoteGet { url, view, keys, limit, finals, format };
            finish(reads::remote::run(&get, std::io::stdout().lock()))??;
            return Ok(());
        }
        let hasher = job::id_hasher(id_key.id_key_file.as_deref())?;
        let lake = lake.expect("a lake or a URL is given");
        let memory = memory.unwrap_or_else(sql::Memory::of_machine);
        let options = sql::get::GetOptions { lake, view, keys, limit, as_of, format, memory };
        finish(sql::get::run(&options, &hasher, std::io::stdout().lock()))??;
        Ok(())
    }
}

impl Audit {
    /// Audits; the answer is the process's exit code.
    pub fn run(self) -> ExitCode {
        let Audit { lake, views, format, memory, .. } = self;
        let memory = memory.unwrap_or_else(sql::Memory::of_machine);
        let options = sql::audit::AuditOptions { lake, views, format, memory };
        match finish(sql::audit::run(&options, std::io::stdout().lock())).and_then(|clean| Ok(clean?)) {
            Ok(true) => ExitCode::SUCCESS,
            Ok(false) => ExitCode::from(1),
            Err(error) => {
                eprintln!("error: {error:#}");
                ExitCode::from(interrupted(&error).unwrap_or(2))
            }
        }
    }
}

impl Describe {
    /// Describes.
    pub fn run(self) -> anyhow::Result<()> {
        let (runtime, out) = (runtime()?, std::io::stdout().lock());
        match (&self.lake, self.view.as_deref()) {
            (Some(lake), None) => runtime.block_on(sql::describe_lake::run(lake, self.format, out))?,
            (lake, view) => {
                let params = lake.as_deref().map(|lake| Ok::<_, LedgerError>(Lake::read(lake)?.settings.views));
                let params = params.transpose()?.unwrap_or_else(Params::default);
                runtime.block_on(sql::describe::run(view, &params, self.format, out))?;
            }
        }
        Ok(())
    }
}

/// Prints one query as a table.
pub fn query(lake: &Path, query: &str, hasher: &IdHasher) -> anyhow::Result<()> {
    let options = sql::SqlOptions {
        lake: lake.to_owned(),
        query: Some(query.to_owned()),
        file: None,
        as_of: None,
        format: sql::Format::Table,
        memory: sql::Memory::of_machine(),
        plot: None,
        chart: None,
    };
    finish(sql::run(options, hasher))??;
    Ok(())
}

/// The exit code of what a signal ended: 130 for Ctrl-C.
pub fn interrupted(error: &anyhow::Error) -> Option<u8> {
    error.downcast_ref().and_then(sql::exit_code)
}

/// Does the work without waiting for what a cancelled query may still be at.
pub fn finish<T>(work: impl Future<Output = T>) -> anyhow::Result<T> {
    let runtime = runtime()?;
    let done = runtime.block_on(work);
    runtime.shutdown_background();
    Ok(done)
}

fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread().enable_all().build()?)
}
