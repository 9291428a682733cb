//! One pinned thread per core: the bounded turn, connection I/O, mailboxes, timers, statistics.
//!
//! A reactor carries out what its shard asks for and tells it what happened; it decides nothing
//! about the protocol. The control thread sees all reactors as one [`Node`].

mod backends;
mod buffers;
mod commands;
mod control_link;
mod events;
mod handover;
mod initiator_link;
mod listeners;
mod mailbox;
mod node;
mod reactor;
mod report;
pub mod stats;
mod streams;
mod sweeper;
mod token;

pub use backends::{HeldFile, Store};
pub use control_link::Alarm;
pub use events::{Events, IoFailures};
pub use node::{ClosedVolume, Node, NodeOptions, PollMode, StartError, default_layout};
pub use report::{ReactorReport, ReportRound};
pub use shard::SessionCaps;
/// What a daemon needs to open volumes and listening sockets, so that it need not know the ring.
pub use uring::{MemoryStore, Napi, ReserveDescriptor, affinity, file, limits, signals, socket};
