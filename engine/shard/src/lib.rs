//! All the state of one core: connections, sessions, tasks and logical units joined.
//!
//! A [`Shard`] is a pure state machine. The reactor tells it what happened (`handle_*`) and
//! carries out the [`Action`]s that it pushes; payload bytes never pass through it, only the
//! names of the buffers that hold them.

mod action;
mod combine;
mod event;
mod message;
mod operation;
mod session;
mod shard;
mod task;
#[cfg(test)]
mod tests;
mod turn;
mod unit;
mod wake;
pub mod wire;

pub use action::{Action, Actions, Closing, IoResult, Placement, Progress, Sample, SendData};
pub use combine::Combination;
pub use event::{CommandFault, Ending, Event, IoFailure, Refusal, SessionChange, SessionEvent};
pub use message::{HandedOver, Message};
pub use operation::{OpId, Operation};
pub use session::census::SessionCaps;
pub use session::directory::SessionInfo;
pub use shard::{Entropy, Shard, ShardOptions};
