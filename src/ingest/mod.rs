//! How records come in: sources of them, the traffic that is generated, and the gate that gives each its verdict.

pub mod gate;
pub mod generator;
pub mod source;
