//! Runs targets in turns under the same load, and prints how they compare.
//!
//! Every target is pinned to one core and the load generator to another. In each round each
//! workload runs against each target in turn, while the others are stopped, so that a busy
//! machine disturbs all alike; what is told are the medians of the rounds.

mod comparison;
pub(crate) mod daemon;
mod disk;
mod plot;
mod results;
mod run;
mod scale;
mod table;
pub(crate) mod targets;
mod workload;

pub use run::{Options, run};
