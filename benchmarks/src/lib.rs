//! Benchmarks of the dataflow, fed from memory. `README.md` has the command of each row; results are in `results/`.

pub mod events;
pub mod keyed_reads;
pub mod lanes;
pub mod links;
pub mod machine;
pub mod profile;
pub mod report;
pub mod row_reads;
pub mod runs;
