//! What operators see: logs, metrics in the form of Prometheus, and whether the process is alive and ready.
//!
//! All metric names stand in [`name`], with their kind, labels and help in [`METRICS`]. Code that measures writes
//! `metrics::counter!(name::ROWS_WRITTEN, "table" => "records").increment(n)`; without [`install_metrics`] that is free.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tracing_subscriber::EnvFilter;

/// The names of all metrics. Units come last; `_total` marks counters.
pub mod name {
    /// Records by `topic` and `verdict` (`ok`, `late`, `dead`, `skipped`).
    pub const RECORDS: &str = "bidstream_records_total";
    /// Records without a value, by `topic`: each is a dead letter, too.
    pub const NULL_VALUES: &str = "bidstream_null_values_total";
    /// Offsets that the broker no longer had and that a person accepted as lost, by `topic`.
    pub const GAPS_ACCEPTED: &str = "bidstream_accepted_gap_offsets_total";
    /// Records between the position and the end, by `topic` and `partition`.
    pub const LAG: &str = "bidstream_partition_lag_records";
    /// Records that came too far behind the tick and were raised, by `worker`: a hanging transaction or a wrong clock.
    pub const RAISED: &str = "bidstream_raised_records_total";
    /// Time that a worker spent on one step, in which it takes in all that its reader has read.
    pub const TICK_SECONDS: &str = "bidstream_tick_seconds";
    /// The tick up to which all workers are done.
    pub const FRONTIER: &str = "bidstream_frontier_ms";
    /// Time from the arrival of a record until readers of the published arrangement see it.
    pub const FRESHNESS_SECONDS: &str = "bidstream_freshness_seconds";
    /// Updates held by a published arrangement, or keyed records, by `arrangement`.
    pub const ARRANGEMENT: &str = "bidstream_arrangement_updates";
    /// Time that a commit to all tables took.
    pub const COMMIT_SECONDS: &str = "bidstream_commit_seconds";
    /// Time that a commit kept a worker from its dataflow, or its reader from reading, by `worker` and `thread`: handing over
    /// what the commit holds.
    pub const CLOSE_SECONDS: &str = "bidstream_close_seconds";
    /// Commits that failed and were tried again, by `table`.
    pub const COMMIT_RETRIES: &str = "bidstream_commit_retries_total";
    /// The last durable cut.
    pub const CUT: &str = "bidstream_cut_ms";
    /// Files written to `records`.
    pub const FILES_WRITTEN: &str = "bidstream_files_written_total";
    /// Rows written, by `table`.
    pub const ROWS_WRITTEN: &str = "bidstream_rows_written_total";
    /// Memory of the records and changes that wait to become durable.
    pub const WAITING_BYTES: &str = "bidstream_waiting_bytes";
    /// Records of earlier runs that a start has to read.
    pub const RECOVERY_RECORDS: &str = "bidstream_recovery_records";
    /// Those of them that it has read.
    pub const RECOVERY_READ: &str = "bidstream_recovery_read_records";
    /// How far the tick up to which all workers are done is behind the clock.
    pub const FRONTIER_AGE: &str = "bidstream_frontier_age_ms";
    /// Updates that came when what they change had been forgotten, or might have been ([`operators::late_updates`]). More than 0
    /// is a fault: a view keeps something for too short a time, or a record entered that should have been late; results may be wrong.
    pub const LATE_UPDATES: &str = "bidstream_late_updates_total";
}

/// What a metric is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Durations in seconds, in the buckets of [`SECONDS_BUCKETS`].
    Seconds,
}

/// Every metric with its kind and help.
pub const METRICS: [(&str, Kind, &str); 20] = [
    (name::RECORDS, Kind::Counter, "Records by topic and verdict (ok, late, dead, skipped)."),
    (name::NULL_VALUES, Kind::Counter, "Records without a value (also dead letters), by topic."),
    (name::GAPS_ACCEPTED, Kind::Counter, "Offsets accepted as lost with --accept-gap, by topic."),
    (
        name::LAG,
        Kind::Gauge,
        "Records between position and end, by topic and partition; NaN while the broker does not tell.",
    ),
    (name::RAISED, Kind::Counter, "Records that came far behind the tick and were raised, by worker."),
    (name::TICK_SECONDS, Kind::Seconds, "Time that a worker spent on one step."),
    (name::FRONTIER, Kind::Gauge, "Tick up to which all workers are done, ms since the Unix epoch."),
    (name::FRESHNESS_SECONDS, Kind::Seconds, "Time from arrival until readers of the published arrangement see it."),
    (name::ARRANGEMENT, Kind::Gauge, "Updates held, by published arrangement; of keyed state, its records."),
    (name::COMMIT_SECONDS, Kind::Seconds, "Time that a commit to all tables took."),
    (
        name::CLOSE_SECONDS,
        Kind::Seconds,
        "Time that a commit kept a worker from its dataflow, or its reader from reading, by worker and thread.",
    ),
    (name::COMMIT_RETRIES, Kind::Counter, "Commits that failed and were tried again, by table."),
    (name::CUT, Kind::Gauge, "Last durable cut, ms since the Unix epoch."),
    (name::FILES_WRITTEN, Kind::Counter, "Files written to records."),
    (name::ROWS_WRITTEN, Kind::Counter, "Rows written, by table."),
    (name::WAITING_BYTES, Kind::Gauge, "Memory of the records and changes that wait to become durable."),
    (name::RECOVERY_RECORDS, Kind::Gauge, "Records of earlier runs that the start has to read."),
    (name::RECOVERY_READ, Kind::Gauge, "Records of earlier runs that the start has read."),
    (
        name::FRONTIER_AGE,
        Kind::Gauge,
        "How far the frontier is behind the clock, or for how long a source has not answered, ms: what came since is in no view yet.",
    ),
    (
        name::LATE_UPDATES,
        Kind::Counter,
        "Updates of what had expired in the dataflow; more than 0 is a fault, results may be wrong.",
    ),
];

/// Upper bounds of the buckets of durations, in seconds: from a fast tick to a commit that met trouble.
pub const SECONDS_BUCKETS: [f64; 15] =
    [0.001, 0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 60.0];

/// The variable that filters the log, as `debug` or `warn,bidstream::ledger=debug`; default: [`LOG_DEFAULT`].
pub const LOG_ENV: &str = "BIDSTREAM_LOG";
/// What is logged unless [`LOG_ENV`] says otherwise.
pub const LOG_DEFAULT: &str = "warn,bidstream=info";

/// How log lines are written (`--log-format`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// For people.
    #[default]
    Human,
    /// One JSON object a line.
    Json,
}

/// Why telemetry cannot start.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The log filter is not understood.
    #[error("{LOG_ENV}: {0}; write a level (error, warn, info, debug, trace) or target=level, with commas between")]
    Filter(String),
    /// Logs or metrics were set up before.
    #[error("telemetry is set up already: {0}")]
    Twice(String),
    /// The address cannot be listened on.
    #[error("http: {address} cannot be listened on: {error}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        error: std::io::Error,
    },
}

/// Starts logging to standard error, once a process.
pub fn init_logs(format: LogFormat) -> Result<(), TelemetryError> {
    let filter = std::env::var(LOG_ENV).unwrap_or_else(|_| LOG_DEFAULT.to_owned());
    let filter = EnvFilter::builder().parse(filter).map_err(|error| TelemetryError::Filter(error.to_string()))?;
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let lines = lines.with_ansi(std::io::stderr().is_terminal());
    let started = match format {
        LogFormat::Human => lines.try_init(),
        LogFormat::Json => lines.json().flatten_event(true).try_init(),
    };
    started.map_err(|error| TelemetryError::Twice(error.to_string()))
}

/// Starts collecting metrics, once a process; the handle renders them.
pub fn install_metrics() -> Result<PrometheusHandle, TelemetryError> {
    let mut builder = PrometheusBuilder::new();
    for (name, _, _) in METRICS.iter().filter(|(_, kind, _)| *kind == Kind::Seconds) {
        let matcher = Matcher::Full((*name).to_owned());
        builder = builder.set_buckets_for_metric(matcher, &SECONDS_BUCKETS).expect("there are buckets");
    }
    let handle = builder.install_recorder().map_err(|error| TelemetryError::Twice(error.to_string()))?;
    for (name, kind, help) in METRICS {
        match kind {
            Kind::Counter => metrics::describe_counter!(name, help),
            Kind::Gauge => metrics::describe_gauge!(name, help),
            Kind::Seconds => metrics::describe_histogram!(name, help),
        }
    }
    Ok(handle)
}

/// Notes how long a thread of a worker (`worker`, `reader`) was busy with handing over what a commit holds.
pub fn closed(worker: usize, thread: &'static str, took: Duration) {
    metrics::histogram!(name::CLOSE_SECONDS, "worker" => worker.to_string(), "thread" => thread).record(took);
}

/// Whether a process is ready, and if not, why: each part (the source, the ledger, …) says so for itself. Cheap to
/// clone; all clones are one.
#[derive(Clone, Default)]
pub struct Health(Arc<Mutex<BTreeMap<String, NotReady>>>);

/// Why a part is not ready, and since when.
struct NotReady {
    reason: String,
    since: Instant,
}

impl Health {
    /// Ready; call [`Health::not_ready`] for each part that must start first.
    pub fn new() -> Health {
        Health::default()
    }

    /// Says that a part is not ready, and why. The last reason of a part counts.
    pub fn not_ready(&self, part: &str, reason: impl Into<String>) {
        let mut parts = self.parts();
        let since = parts.get(part).map_or_else(Instant::now, |before| before.since);
        parts.insert(part.to_owned(), NotReady { reason: reason.into(), since });
    }

    /// Says that a part is ready.
    pub fn ready(&self, part: &str) {
        self.parts().remove(part);
    }

    /// The parts that are not ready, with their reasons; none when the process is ready.
    pub fn reasons(&self) -> BTreeMap<String, String> {
        self.parts().iter().map(|(part, not)| (part.clone(), not.reason.clone())).collect()
    }

    /// For how long some part of these names has not been ready; 0 where all are.
    pub fn not_ready_for(&self, names: &str) -> Duration {
        let parts = self.parts();
        let of_names = parts.iter().filter(|(part, _)| part.starts_with(names));
        of_names.map(|(_, not)| not.since.elapsed()).max().unwrap_or_default()
    }

    fn parts(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, NotReady>> {
        self.0.lock().expect("no panic while the lock is held")
    }
}

/// The HTTP server of `/metrics`, `/healthz` and `/readyz`. It stops when this is dropped.
pub struct Server {
    /// Where it listens: with port 0 asked, the port that the system chose.
    pub address: SocketAddr,
    tasks: [JoinHandle<()>; 2],
}

impl Drop for Server {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

/// How often the exporter folds what histograms gathered, so that it stays bounded when nobody asks for `/metrics`.
const UPKEEP_EVERY: Duration = Duration::from_secs(5);

/// Serves on a runtime: `/metrics`; `/healthz`, which answers 200 while the process runs; and `/readyz`, which answers
/// 200 when ready, else 503, and says why in JSON; and further routes.
pub fn serve(
    runtime: &Handle,
    address: SocketAddr,
    health: Health,
    metrics: PrometheusHandle,
    more: Router,
) -> Result<Server, TelemetryError> {
    let listen = || {
        let listener = TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        let _inside = runtime.enter();
        Ok((listener.local_addr()?, tokio::net::TcpListener::from_std(listener)?))
    };
    let (address, listener) = listen().map_err(|error| TelemetryError::Listen { address, error })?;
    let rendered = metrics.clone();
    let router = Router::new()
        .route(
            "/metrics",
            get(async move || ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], rendered.render())),
        )
        .route("/healthz", get(async || json(StatusCode::OK, r#"{"alive":true}"#.to_owned())))
        .route("/readyz", get(async move || readiness(&health)))
        .merge(more);
    let serving = runtime.spawn(async move {
        if let Err(error) = axum::serve(listener, router).await {
            tracing::error!(%error, "the HTTP server of metrics and health stopped");
        }
    });
    let upkeep = runtime.spawn(async move {
        let mut every = tokio::time::interval(UPKEEP_EVERY);
        loop {
            every.tick().await;
            metrics.run_upkeep();
        }
    });
    Ok(Server { address, tasks: [serving, upkeep] })
}

fn readiness(health: &Health) -> impl IntoResponse + use<> {
    let reasons = health.reasons();
    let status = if reasons.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    json(status, serde_json::json!({ "ready": reasons.is_empty(), "reasons": reasons }).to_string())
}

fn json(status: StatusCode, body: String) -> impl IntoResponse + use<> {
    (status, [(header::CONTENT_TYPE, "application/json")], body)
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use super::*;

    fn get(address: SocketAddr, path: &str) -> String {
        let mut stream = std::net::TcpStream::connect(address).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    #[test]
    fn metrics_health_and_readiness_are_served() {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let metrics = install_metrics().unwrap();
        let health = Health::new();
        health.not_ready("source", "127.0.0.1:9092 does not answer");
        let server =
            serve(runtime.handle(), "127.0.0.1:0".parse().unwrap(), health.clone(), metrics, Router::new()).unwrap();

        metrics::counter!(name::RECORDS, "topic" => "ads", "verdict" => "ok").increment(3);
        metrics::histogram!(name::TICK_SECONDS, "worker" => "0").record(0.004);
        let answer = get(server.address, "/metrics");
        assert!(answer.contains(r#"bidstream_records_total{topic="ads",verdict="ok"} 3"#), "{answer}");
        assert!(answer.contains(r#"bidstream_tick_seconds_bucket{worker="0",le="0.005"} 1"#), "{answer}");
        assert!(answer.contains("# HELP bidstream_tick_seconds Time that a worker spent on one step."), "{answer}");

        assert!(get(server.address, "/healthz").starts_with("HTTP/1.1 200"));
        let answer = get(server.address, "/readyz");
        assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
        assert!(
            answer.ends_with(r#"{"ready":false,"reasons":{"source":"127.0.0.1:9092 does not answer"}}"#),
            "{answer}"
        );
        std::thread::sleep(Duration::from_millis(2));
        health.not_ready("source", "it still does not");
        assert!(health.not_ready_for("sou") >= Duration::from_millis(2), "since it first said so");
        assert_eq!(health.not_ready_for("ledger"), Duration::ZERO);
        health.ready("source");
        assert_eq!(health.not_ready_for("source"), Duration::ZERO);
        assert!(get(server.address, "/readyz").starts_with("HTTP/1.1 200"));

        let taken =
            serve(runtime.handle(), server.address, health, install_metrics_again(), Router::new()).err().unwrap();
        assert!(taken.to_string().contains("cannot be listened on"), "{taken}");
    }

    fn install_metrics_again() -> PrometheusHandle {
        assert!(matches!(install_metrics(), Err(TelemetryError::Twice(_))));
        PrometheusBuilder::new().build_recorder().handle()
    }

    #[test]
    fn every_metric_has_one_name() {
        let names: std::collections::BTreeSet<&str> = METRICS.iter().map(|(name, _, _)| *name).collect();
        assert_eq!(names.len(), METRICS.len());
        for (name, kind, _) in METRICS {
            assert_eq!(name.ends_with("_total"), kind == Kind::Counter, "{name}");
            assert_eq!(name.ends_with("_seconds"), kind == Kind::Seconds, "{name}");
        }
    }
}
