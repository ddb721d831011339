//! A real Kafka for tests, and the tests of the source on it.

pub(crate) mod fixture;
mod source;
