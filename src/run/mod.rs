//! A run: its threads, how they agree on cuts and commit them, recovery before and housekeeping beside.

pub mod agreement;
pub mod build;
pub mod committer;
pub mod context;
pub mod cuts;
pub mod housekeeping;
pub mod intake;
pub mod pipeline;
pub mod reader;
pub mod recovery;
pub mod status;
mod step_size;
pub mod worker;
