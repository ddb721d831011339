//! Reads of what a run maintains, by key and at one tick.

pub mod http;
pub mod live;
pub mod remote;
