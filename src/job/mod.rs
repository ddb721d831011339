//! The job file: what to read, where to keep it, and the parameters of the views.
//!
//! ```yaml
//! lake: ./lake
//! source: { kafka: { brokers: 127.0.0.1:9092, topics: { ad-events: protobuf, site-events: json } } }
//! allowed_lateness: 3d
//! zones: { acme: Europe/Berlin, globex: Asia/Kolkata }
//! commit_every: 5s
//! views:
//!   installs: { click_window: { default: 7d, search: 30d }, view_window: 24h }
//!   credits: { half_life: 7d, direct_channels: [direct] }
//! http: 127.0.0.1:9464
//! ```
//! A mistake is one [`ConfigError`] that names file, line and field and says what may be written. Relative paths are
//! relative to the working directory of the process. Values may name variables of the environment ([`environment`]).

pub mod environment;
mod kafka;
pub mod kafka_client;
mod lateness;
pub mod located;
pub mod mapping;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use dataflows::params::{Params, Span};
use dataflows::views;
use schemas::decode::IdRules;
use schemas::ids::IdHasher;
use schemas::units::{DAY_MS, SECOND_MS};
use schemas::zones;
use serde::{Deserialize, Deserializer, Serialize};
use url::Url;

pub use kafka::{Framing, Kafka, Source, Topic, check_properties};
pub use kafka_client::{KAFKA_PROPERTIES_RESERVED, Wrong};
pub use lateness::{ALLOWED_LATENESS_RANGE, Lateness};
pub use located::ConfigError;
use located::Outline;

/// Time between commits where a job names none: 5 s.
pub const COMMIT_EVERY_DEFAULT: Span = Span(5 * SECOND_MS);
/// The shortest and longest time between commits. Shorter ones would be slower than a commit is, longer ones would make
/// readers of the tables wait and the buffer of rows that are not yet durable grow.
pub const COMMIT_EVERY_RANGE: (Span, Span) = (Span(100), Span(600 * SECOND_MS));
/// How long history and unnamed files of the lake are kept where a job does not say: 7 d.
pub const RETENTION_DEFAULT: Span = Span(7 * DAY_MS);
/// The shortest and longest retention. A shorter one could remove what is being uploaded or loaded.
pub const RETENTION_RANGE: (Span, Span) = (Span(60 * SECOND_MS), Span(365 * DAY_MS));
/// The most workers of one process.
pub const WORKERS_MAX: usize = 64;
/// The variable that holds the secret of the id hashes where a job names no file.
pub const ID_KEY_ENV: &str = "BIDSTREAM_ID_KEY";
/// The shortest secret that is taken, in bytes.
pub const ID_KEY_BYTES_MIN: usize = 16;
/// The secret of lakes that are made without one: known to everybody, so good for demos only.
pub const ID_KEY_DEMO: &str = "bidstream demo key: not a secret";

/// A job file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Job {
    /// Directory of the lake; made when it is missing. Also written as `file:///path`.
    #[serde(deserialize_with = "lake")]
    pub lake: PathBuf,
    /// Where records come from; only an import needs none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<Source>,
    /// How long after its event time a record may arrive and still count: 1s to 365d, for all types of events or by type, as
    /// `{ default: 3d, cost: 35d }`; or `unbounded`, then no record is late and nothing is ever forgotten. Fixed when the lake
    /// is made; default: the lake's own, of a new one 3d and 35d for costs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allowed_lateness: Option<Lateness>,
    /// The time zones of tenants, by their names in the IANA database, as `{ acme: Europe/Berlin }`: by them hours and days begin. A
    /// tenant that is not named has what the lake keeps of it, a new one UTC. A zone is set before a tenant's first record, and stays.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub zones: BTreeMap<String, String>,
    /// Time between commits to the lake: 100ms to 10m, default 5s.
    #[serde(default = "commit_every_default")]
    pub commit_every: Span,
    /// How far back time travel stays exact, and how long files that no table names any more are kept: 1m to 365d,
    /// default 7d; longer than the longest recovery or query.
    #[serde(default = "retention_default")]
    pub retention: Span,
    /// Parameters of the views, and with `only: [installs, credits]` which of them it maintains, with those from whose tables their
    /// state comes; default: all. Those that it leaves out are read by their SQL; without `contested_events` that is slow for `events` too.
    #[serde(default)]
    pub views: Params,
    /// Additions to the lists of texts that are no ids, and of parameters of a referrer that hold a click id; default: none.
    #[serde(default, skip_serializing_if = "IdRules::is_empty")]
    pub ids: IdRules,
    /// Address that serves `/metrics`, `/healthz`, `/readyz` and `/v1/views`, as `127.0.0.1:9464`; default: none is served.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "address")]
    pub http: Option<SocketAddr>,
    /// Number of worker threads, each with another that reads for it: 1 to 64, default 1.
    #[serde(default = "workers_default")]
    pub workers: usize,
    /// File that holds the secret of the id hashes, at least 16 bytes; default: the variable `BIDSTREAM_ID_KEY`, else
    /// the demo key. Another secret gives other ids: keep it as long as the lake.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id_key_file: Option<PathBuf>,
}

/// The directory of a lake, as it is written in a job file or after `--lake`: a path, or a `file:` URL of one.
pub fn lake_directory(text: &str) -> Result<PathBuf, String> {
    let scheme = text.split_once("://").map(|(scheme, _)| scheme);
    let scheme = scheme.filter(|scheme| {
        scheme.starts_with(|first: char| first.is_ascii_alphabetic())
            && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'.' | b'-'))
    });
    match scheme {
        None if text.trim().is_empty() => Err("is empty: write a directory, as ./lake".to_owned()),
        None => Ok(PathBuf::from(text)),
        Some(scheme) if scheme.eq_ignore_ascii_case("file") => {
            let path = Url::parse(text).ok().and_then(|url| url.to_file_path().ok());
            path.ok_or_else(|| {
                format!("{text:?} names no directory of this machine: write file:///path, or the path alone")
            })
        }
        Some(scheme) => Err(format!(
            "{text:?}: {scheme}:// is no local directory; object stores come later: write a directory, as ./lake"
        )),
    }
}

fn lake<'de, D: Deserializer<'de>>(deserializer: D) -> Result<PathBuf, D::Error> {
    lake_directory(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
}

fn commit_every_default() -> Span {
    COMMIT_EVERY_DEFAULT
}

fn retention_default() -> Span {
    RETENTION_DEFAULT
}

fn address<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<SocketAddr>, D::Error> {
    let text = String::deserialize(deserializer)?;
    let error = || serde::de::Error::custom(format!("{text:?} is no address: write ip:port, as 127.0.0.1:9464"));
    text.parse().map(Some).map_err(|_| error())
}

fn workers_default() -> usize {
    1
}

impl Job {
    /// Reads and checks a job file.
    pub fn read(path: &Path) -> Result<Job, ConfigError> {
        Job::parse(path, &located::read_text(path)?)
    }

    /// Reads and checks the text of a job file; `path` is named in errors.
    pub fn parse(path: &Path, text: &str) -> Result<Job, ConfigError> {
        Job::parse_with(path, text, &environment::of_process)
    }

    fn parse_with(path: &Path, text: &str, lookup: environment::Lookup<'_>) -> Result<Job, ConfigError> {
        let (mut job, outline) = located::from_text_with::<Job>(path, text, lookup)?;
        job.validate(&outline)?;
        job.views.complete();
        Ok(job)
    }

    /// What it reads; `path` is the job file's.
    pub fn kafka(&self, path: &Path) -> Result<&Kafka, ConfigError> {
        let missing = || ConfigError {
            file: path.to_owned(),
            line: Some(1),
            field: "source".to_owned(),
            message: "is missing: a job that runs says what it reads, as { kafka: { brokers: host:9092, topics: \
                      { ad-events: protobuf } } }"
                .to_owned(),
        };
        self.source.as_ref().map(|source| &source.kafka).ok_or_else(missing)
    }

    fn validate(&self, outline: &Outline) -> Result<(), ConfigError> {
        if self.lake.is_file() {
            return Err(outline.error("lake", format!("{} is a file: write a directory", self.lake.display())));
        }
        if let Some(source) = &self.source {
            source.kafka.validate(outline)?;
        }
        if let Some(Lateness::Within { default, by_type }) = &self.allowed_lateness {
            let error = |allowed| outline.error("allowed_lateness", format!("{allowed}, or `unbounded`"));
            within(*default, ALLOWED_LATENESS_RANGE).map_err(error)?;
            for (of, span) in by_type {
                let error = |allowed| outline.error("allowed_lateness", format!("of {}: {allowed}", of.name()));
                within(*span, ALLOWED_LATENESS_RANGE).map_err(error)?;
            }
        }
        for (tenant, zone) in &self.zones {
            let error = |message: &str| outline.error(&format!("zones.{tenant}"), message);
            if tenant.trim().is_empty() || tenant.trim() != tenant {
                return Err(error("is no name of a tenant: write it as events have it, without spaces around it"));
            }
            zones::check(zone).map_err(|message| error(&message))?;
        }
        within(self.commit_every, COMMIT_EVERY_RANGE).map_err(|allowed| outline.error("commit_every", allowed))?;
        within(self.retention, RETENTION_RANGE).map_err(|allowed| outline.error("retention", allowed))?;
        if !(1..=WORKERS_MAX).contains(&self.workers) {
            let message = format!("is {}: it may be 1 to {WORKERS_MAX}", self.workers);
            return Err(outline.error("workers", message));
        }
        self.ids.check().map_err(|message| {
            let (field, rest) = message.split_once(' ').expect("it begins with the field");
            outline.error(&format!("ids.{field}"), rest)
        })?;
        let known: Vec<&str> = views::maintained().map(|(view, _)| view.name).collect();
        if let Some(unknown) = self.views.only.iter().find(|name| !known.contains(&name.as_str())) {
            let message = format!("names {unknown:?}: a job can maintain {}", known.join(", "));
            return Err(outline.error("views.only", message));
        }
        // The views name their own fields first: `views.installs.view_window.default is 8d: it may be 1h to 7d`.
        self.views.validate().map_err(|message| {
            let (field, rest) = message.split_once(' ').unwrap_or(("views", &message));
            outline.error(field, rest)
        })
    }

    /// The hasher of ids: from `id_key_file`, else the environment, else the demo key.
    pub fn id_hasher(&self) -> Result<IdHasher, ConfigError> {
        id_hasher(self.id_key_file.as_deref())
    }
}

/// The hasher of ids with the secret of a file, else of [`ID_KEY_ENV`], else [`ID_KEY_DEMO`].
pub fn id_hasher(id_key_file: Option<&Path>) -> Result<IdHasher, ConfigError> {
    let (named, secret) = match id_key_file {
        Some(file) => (file.to_owned(), located::read_text(file)?.trim_end_matches(['\r', '\n']).to_owned()),
        None => match std::env::var(ID_KEY_ENV) {
            Ok(secret) => (PathBuf::from(ID_KEY_ENV), secret),
            // The lake that is made with it warns, once.
            Err(_) => return Ok(IdHasher::new(ID_KEY_DEMO.as_bytes())),
        },
    };
    if secret.len() < ID_KEY_BYTES_MIN {
        let message = format!("has {} bytes: a key for ids has at least {ID_KEY_BYTES_MIN}", secret.len());
        return Err(ConfigError::of_file(&named, message));
    }
    Ok(IdHasher::new(secret.as_bytes()))
}

fn within(span: Span, (low, high): (Span, Span)) -> Result<(), String> {
    if span < low || span > high {
        return Err(format!("is {span}: it may be {low} to {high}"));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
