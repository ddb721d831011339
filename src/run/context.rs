//! What the threads of a run share, and the bounds that they keep.

use std::sync::Arc;
use std::time::Duration;

use dataflows::horizon::Bounds;
use dataflows::params::Params;
use schemas::decode::Decoder;

use crate::clock::Clock;
use crate::ingest::gate::Gate;
use crate::ingest::source::{Source, SourceError};
use crate::observe::telemetry::Health;
use crate::reads::live::Live;
use crate::run::agreement::RunError;
use crate::run::cuts::Cuts;
use crate::run::recovery::Recovered;
use crate::run::status::Status;

/// Sampling interval of gauges and readiness.
pub const GAUGES_EVERY: Duration = Duration::from_secs(1);
/// How long a worker or its reader sleeps when nothing comes.
pub const IDLE: Duration = Duration::from_millis(1);

/// What every worker of a run shares.
pub struct Shared {
    /// Parameters of the views.
    pub params: Params,
    /// What bounds the state of the dataflow.
    pub bounds: Bounds,
    /// The gate's rule.
    pub gate: Gate,
    /// The process's clock.
    pub clock: Clock,
    /// When a cut is due, and what all workers agree on.
    pub cuts: Arc<Cuts>,
    /// What was done so far.
    pub status: Arc<Status>,
    /// Whether the process is ready.
    pub health: Health,
    /// Where views are published.
    pub live: Arc<Live>,
    /// Records of earlier runs.
    pub recovered: Recovered,
    /// Makes a worker's decoder.
    pub decoder: Box<dyn Fn() -> Decoder + Send + Sync>,
    /// Makes a worker's source: called on its reader's thread, after recovery.
    pub source: SourceMaker,
}

/// Makes the source of one worker out of so many.
pub type SourceMaker = Box<dyn Fn(usize, usize) -> Result<Box<dyn Source>, SourceError> + Send + Sync>;

/// Ends the run when a worker or its reader unwinds, so that the others do not wait for it for ever.
pub struct PanicGuard<'a>(&'a Cuts);

impl<'a> PanicGuard<'a> {
    /// Ends the run when it is dropped.
    pub fn new(cuts: &'a Cuts) -> PanicGuard<'a> {
        PanicGuard(cuts)
    }

    /// All went well.
    pub fn disarm(self) {
        std::mem::forget(self);
    }
}

impl Drop for PanicGuard<'_> {
    fn drop(&mut self) {
        self.0.fail(RunError::Panicked);
    }
}
