//! What is told of a run: metrics, health, logs.

pub mod telemetry;
