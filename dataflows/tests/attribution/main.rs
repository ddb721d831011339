//! Attribution, streamed and in SQL: hand-written cases for each rule, and random event sets on which both must agree
//! exactly, in any order, tick split and number of workers.

mod by_time;
mod events;
mod forgetting;
mod funnels;
mod golden;
mod golden_anomalies;
mod golden_cohorts;
mod golden_credits;
mod golden_funnels;
mod golden_identity;
mod golden_installs;
mod golden_likely;
mod golden_paths;
mod golden_persons;
mod golden_returns;
mod golden_zones;
mod live;
mod now;
mod oracle;
mod persons;
mod pieces;
mod random;
mod read;
mod stream;
mod tables;
