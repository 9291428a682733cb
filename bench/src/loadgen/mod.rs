//! An iSCSI initiator that makes load: many commands in flight, one send for all that are ready,
//! and latency measured from the time at which a command was meant to start.

mod access;
mod blocks;
mod connection;
mod histogram;
mod idle;
mod incoming;
mod login;
mod options;
mod outgoing;
mod report;
mod runner;

pub use histogram::Summary;
pub use idle::{IdleReport, hold};
pub use options::{Options, Pattern, Payload};
pub use report::Report;
pub use runner::run;
