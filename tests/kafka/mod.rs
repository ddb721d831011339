//! A real Kafka for tests, and the tests of the source and of whole jobs on it.

mod accept;
mod build;
mod by_time;
pub(crate) mod fixture;
mod jobs;
mod needs;
mod reads;
mod secure;
mod source;
mod values;
