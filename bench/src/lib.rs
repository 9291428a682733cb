//! Measures iSCSI targets: a load generator, the floor as a lower bound, and comparisons.
//!
//! * [`loadgen`] is an iSCSI initiator on io_uring that generates load and measures latency.
//! * [`floor`] is a server that moves the same bytes and does nothing else.
//! * [`instructions`] counts the instructions of one command.
//! * [`compare`] runs targets in turn under the same load and prints their ratios.
//! * [`plot`] draws the results.
//!
//! None of it is part of the product: polluxd depends on nothing here.

pub mod compare;
pub mod floor;
pub mod instructions;
pub mod loadgen;
pub mod plot;
pub mod process;
pub mod size;
