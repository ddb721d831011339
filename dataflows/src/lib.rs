//! The views: one file each, with its question, its SQL definition and its tests. `catalogue` lists them.
//!
//! No I/O, no clock, no randomness: a view at a cut is a function of the set of records accepted by it.

pub mod catalogue;
pub mod credits;
pub mod events;
pub mod feed;
pub mod horizon;
pub mod hot;
pub mod installs;
pub mod params;
pub mod paths;
pub mod targets;
pub mod touch_row;
pub mod touches;
pub mod weights;
