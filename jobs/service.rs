//! What every long run has around it: signals that stop it, the HTTP endpoints, and the word of whether it is ready.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bidstream::lake::RetryPolicy;
use bidstream::observe::telemetry::{self, Health, Server};
use bidstream::run::cuts::Cuts;
use bidstream::run::pipeline::Run;
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};

/// Serves a run; dropping it ends the endpoints.
pub struct Service {
    _server: Option<Server>,
    _runtime: Runtime,
}

/// How often readiness is looked at.
const READY_EVERY: Duration = Duration::from_millis(200);

/// Stops the run on SIGTERM or SIGINT, and serves `/metrics`, `/healthz`, `/readyz` and `/v1/views` where an address is given.
///
/// What the run counted before the first call of [`telemetry::install_metrics`] is not told, so that comes first.
pub fn serve(run: &Run, http: Option<(SocketAddr, PrometheusHandle)>) -> anyhow::Result<Service> {
    let cuts = Arc::clone(&run.cuts);
    let runtime = on_signal(move || cuts.stop())?;
    let server = match http {
        None => None,
        Some((address, metrics)) => {
            let server =
                telemetry::serve(runtime.handle(), address, run.health.clone(), metrics, run.reads.clone().router())?;
            tracing::info!(address = %server.address, "serving /metrics /healthz /readyz /v1/views");
            Some(server)
        }
    };
    runtime.spawn(watch(Arc::clone(&run.cuts), run.retries.clone(), run.health.clone()));
    Ok(Service { _server: server, _runtime: runtime })
}

/// Does something once on SIGTERM or SIGINT, as long as the runtime that is returned is kept.
pub fn on_signal(stop: impl FnOnce() + Send + 'static) -> anyhow::Result<Runtime> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    runtime.spawn(stop_on_signal(stop));
    Ok(runtime)
}

async fn stop_on_signal(stop: impl FnOnce() + Send) {
    let (Ok(mut terminate), Ok(mut interrupt)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        return tracing::error!("signals cannot be received: only SIGKILL will stop this process");
    };
    tokio::select! {
        _ = terminate.recv() => tracing::info!("SIGTERM: draining"),
        _ = interrupt.recv() => tracing::info!("SIGINT: draining"),
    }
    stop();
}

/// A store that fails or has fallen behind makes the process not ready. A run that is to stop does not wait for it.
async fn watch(cuts: Arc<Cuts>, retries: RetryPolicy, health: Health) {
    loop {
        let full = cuts
            .backpressure()
            .then_some("records wait for a commit: the store has fallen behind, reading has stopped");
        match retries.trouble().or(full.map(str::to_owned)) {
            Some(trouble) => health.not_ready("ledger", trouble),
            None => health.ready("ledger"),
        }
        if cuts.stopping() {
            retries.end();
        }
        tokio::time::sleep(READY_EVERY).await;
    }
}
