//! `bidstream maintain` and `bidstream repair`: what keeps a lake in order.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::ensure;
use bidstream::job::RETENTION_DEFAULT;
use bidstream::job::lake_directory;
use bidstream::lake::maintain::{self, RETENTION_MIN};
use bidstream::lake::{Lake, repair};
use dataflows::params::Span;
use serde::Serialize;

/// Keep house in a lake.
#[derive(clap::Args)]
#[command(after_help = "\
A running job does this by itself. Merges small files, sums changes that are older than the retention (time travel is
exact after that), shortens the tables' logs and removes files that no table names.")]
pub struct Maintain {
    /// Directory of the lake.
    #[arg(long, value_parser = lake_directory)]
    lake: PathBuf,
    /// How far back time travel stays exact, and how long files that no table names any more are kept: at least 1m, and
    /// longer than the longest upload, load or query.
    #[arg(long, default_value_t = RETENTION_DEFAULT)]
    retention: Span,
    /// How to print.
    #[arg(long, value_enum, default_value_t = Form::Text)]
    format: Form,
}

/// Take views' tables back to the last cut of `records`.
#[derive(clap::Args)]
pub struct Repair {
    /// Directory of the lake.
    #[arg(long, value_parser = lake_directory)]
    lake: PathBuf,
    /// How to print.
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

impl Maintain {
    /// Keeps house and says what was done.
    pub fn run(self) -> anyhow::Result<()> {
        let retention = Duration::from_millis(self.retention.0.max(0) as u64);
        ensure!(retention >= RETENTION_MIN, "--retention is {}: at least 1m", self.retention);
        ensure_lake(&self.lake)?;
        let report = runtime()?.block_on(maintain::maintain(&self.lake, retention))?;
        print(self.format, &report, report.text())
    }
}

impl Repair {
    /// Repairs and says what was done.
    pub fn run(self) -> anyhow::Result<()> {
        ensure_lake(&self.lake)?;
        let repaired = runtime()?.block_on(repair::repair(&self.lake))?;
        print(self.format, &repaired, repaired.text())
    }
}

fn ensure_lake(path: &Path) -> anyhow::Result<()> {
    ensure!(Lake::exists(path), "{} is no lake: it has no lake.json", path.display());
    Ok(())
}

fn print(form: Form, report: &impl Serialize, text: String) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    match form {
        Form::Text => write!(out, "{text}")?,
        Form::Json => writeln!(out, "{}", serde_json::to_string(report)?)?,
    }
    Ok(())
}

fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?)
}
