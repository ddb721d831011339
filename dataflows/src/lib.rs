//! The views: one file each, with its question, its SQL definition and its tests. `catalogue` lists them.
//!
//! No I/O, no clock, no randomness: a view at a cut is a function of the set of records accepted by it.

pub mod params;
