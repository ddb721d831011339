//! Reads of what a run maintains, by key and at one tick.

pub mod live;
