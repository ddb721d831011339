//! `bidstream check`: what `run`, or an import by the job file, would refuse, found without asking any broker and without touching the lake.

use std::path::PathBuf;
use std::process::ExitCode;

use bidstream::ingest::source::file::report::printable;
use bidstream::ingest::source::kafka::KafkaConfig;
use bidstream::job::{Job, Source};
use bidstream::lake::Lake;
use bidstream::sql::steps;

use crate::run::{exit_code, plan};
use crate::tables::finish;

/// The exit codes of `check`, as its help prints them.
pub const EXIT_CODES: &str = "\
Checked are the file and its values, the settings of the Kafka client, the names of topics, mappings, certificates and the
key of ids, and that the lake, where there is one, was made with the same settings. No broker is asked. A step of a funnel that names
what the lake has never seen is warned of, with the names that there are.

Exit codes:
  0  `run` would start; or the file names no source, and `import --job` would take it
  2  the job file, or a file that it names, is wrong
  3  the lake has another format, or was made with other settings";

/// Check a job file.
#[derive(clap::Args)]
pub struct Check {
    /// The job file.
    job: PathBuf,
}

impl Check {
    /// Checks the job file; the answer is the process's exit code.
    pub fn run(self) -> ExitCode {
        match self.execute() {
            Ok(said) => {
                println!("{}: ok. {said}", self.job.display());
                ExitCode::SUCCESS
            }
            Err(error) => {
                eprintln!("error: {error:#}");
                ExitCode::from(exit_code(&error))
            }
        }
    }

    fn execute(&self) -> anyhow::Result<String> {
        let job = Job::read(&self.job)?;
        if let Some(source) = &job.source {
            KafkaConfig::read(&source.kafka)?;
        }
        let plan = plan(&job, false)?;
        let lake = match Lake::exists(&job.lake) {
            true => {
                Lake::read(&job.lake)?.check(&plan.settings)?;
                for warning in finish(steps::unmatched(&job.lake, &job.views.funnels, &job.id_hasher()?))?? {
                    eprintln!("warning: {}", printable(&warning));
                }
                "goes on with"
            }
            false => "makes",
        };
        let lake = format!("{lake} the lake {}", job.lake.display());
        let lateness = plan.settings.lateness();
        let Some(Source { kafka }) = &job.source else {
            return Ok(format!("It names no source, so it is for `import --job` alone; {lake}."));
        };
        let topics: Vec<&str> = kafka.topics.keys().map(String::as_str).collect();
        Ok(format!(
            "Reads {} at {}, with {lateness} allowed lateness; {lake} and commits every {} with {} worker(s).",
            topics.join(", "),
            kafka.brokers,
            job.commit_every,
            job.workers,
        ))
    }
}
