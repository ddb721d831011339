//! The views: one file each, with its question, its SQL definition, its rows and its dataflow. `catalogue` lists them, `view` says
//! what the rest of the house knows of one, `inputs` what one may read.
//!
//! No I/O, no clock, no randomness: a view at a cut is a function of the set of records accepted by it.

pub mod attribution;
pub mod catalogue;
pub mod changes;
pub mod costs;
pub mod credits;
pub mod feed;
pub mod grid;
pub mod horizon;
pub mod hot;
pub mod inputs;
pub mod installs;
mod ledger_views;
mod metrics_daily;
pub mod metrics_hourly;
pub mod params;
pub mod paths;
mod sql_text;
pub mod standing;
pub mod targets;
pub mod touch_row;
pub mod touches;
pub mod view;
pub mod weights;
