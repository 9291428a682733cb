//! All the state of one core: connections, sessions, tasks and logical units joined.
//!
//! A [`Shard`] is a pure state machine. The reactor tells it what happened (`handle_*`) and
//! carries out the [`Action`]s that it pushes; payload bytes never pass through it, only the
//! names of the buffers that hold them.

mod action;
mod backend;
mod command;
mod connection;
mod data_out;
mod directory;
mod full_feature;
mod jobs;
mod lease;
mod logical_unit;
mod login_phase;
mod management;
mod message;
mod nexus;
mod operation;
mod registry;
mod respond;
mod session;
mod shard;
mod steps;
mod straight;
mod streams;
mod task;
mod teardown;
#[cfg(test)]
mod tests;
mod wait;

pub use action::{Action, Actions, IoResult, Placement, Sample, SendData};
pub use directory::SessionInfo;
pub use message::{HandedOver, Message};
pub use operation::{OpId, Operation};
pub use shard::{Entropy, Shard, ShardOptions};
