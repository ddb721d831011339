//! The views: one file each, with its question, its SQL definition, its rows and its dataflow. `views` lists them, `view` says
//! what the rest of the house knows of one, `inputs` what one may read.
//!
//! No I/O, no clock, no randomness: a view at a cut is a function of the set of records accepted by it.

pub mod attribution;
pub mod changes;
pub mod cohort;
pub mod devices;
pub mod event_row;
pub mod feed;
pub mod funnels;
pub mod grid;
mod group_metrics;
pub mod groupings;
pub mod horizon;
pub mod inputs;
pub mod links;
pub mod live;
pub mod lives;
pub mod local_time;
pub mod moments;
pub mod needs;
mod overflow;
pub mod params;
mod places;
pub mod sealing;
pub mod sightings;
pub mod span;
mod sql_text;
pub mod standing;
pub mod stored;
mod thousandths;
pub mod view;
pub mod views;
pub mod visitor_event;
pub mod visitors;
