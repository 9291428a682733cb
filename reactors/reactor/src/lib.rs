//! One pinned thread per core: the bounded turn, connection I/O, mailboxes, timers, statistics.
//!
//! A reactor carries out what its shard asks for and tells it what happened; it decides nothing
//! about the protocol. The control thread sees all reactors as one [`Node`].

mod backend;
mod commands;
mod connection;
mod control_link;
mod departure;
mod execute;
mod in_place;
mod mailbox;
mod node;
mod reactor;
mod report;
pub mod stats;
mod token;
mod traffic;
mod unplaced;

pub use backend::Store;
pub use control_link::Alarm;
pub use node::{ClosedVolume, Node, NodeOptions, PollMode, StartError, default_layout};
pub use report::{ReactorReport, ReportRound};
/// What a daemon needs to open volumes and listening sockets, so that it need not know the ring.
pub use uring::{MemoryStore, Napi, affinity, file, limits, socket};
