//! What measures a target: load, the floor below which nothing can go, and their comparison.
//!
//! * [`loadgen`] is an iSCSI initiator on io_uring that makes load and measures latency.
//! * [`floor`] is a server that moves the same bytes and does nothing else.
//! * [`instructions`] counts what one command makes the processor execute.
//! * [`compare`] runs targets in turns under the same load and prints their ratios.
//! * [`plot`] draws what was measured.
//!
//! None of it is part of the product: the daemon depends on nothing here.

pub mod compare;
pub mod floor;
pub mod instructions;
pub mod loadgen;
pub mod plot;
pub mod process;
pub mod size;
