//! Whole-system tests, in one binary. Those that need a broker start a real Apache Kafka by `tests/kafka/kafka.sh`.

mod bounds;
mod build;
mod check;
mod endpoints;
mod exactly_once;
mod faults;
mod files;
mod imports;
mod kafka;
mod old_lakes;
mod oracles;
mod sql;
mod tidy;
mod voids;
