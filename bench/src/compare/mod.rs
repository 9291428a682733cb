//! Runs targets in turn under the same load, and prints how they compare.
//!
//! Every target is pinned to one core and the load generator to another. In each round each
//! workload runs against each target in turn, while the others are stopped, so that other work on
//! the machine disturbs all of them alike. Ratios are taken within a round; medians over the
//! rounds are reported.

mod comparison;
mod contestant;
mod curves;
pub(crate) mod daemon;
mod disk;
mod loads;
mod machine;
mod options;
mod plot;
mod results;
mod run;
mod sanity;
mod scale;
mod table;
pub(crate) mod targets;
mod verdict;
mod workload;

pub use options::Options;
pub use run::{Conclusion, run};
