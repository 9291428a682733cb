//! The state directory: everything that must survive the daemon.
//!
//! ```text
//! lock                 held while a daemon runs; its pid, for messages
//! catalog.toml         the node's own configuration, where no --config file is the master
//! target-ports.toml    the relative target port identifier of each target
//! volumes/NAME.toml    what a volume is: its identity, size and place
//! volumes/NAME.img     the blocks of a file volume that has no path of its own
//! volumes/.ID.removal  a deletion that is under way, to be finished after a crash
//! control.sock         where perfctl connects
//! ```
//!
//! Every file but the lock is replaced as a whole ([`durable`]): a reader sees the old content
//! or the new one, never a part.

mod dir;
pub(crate) mod durable;
mod ports;
mod record;
mod removal;
mod wwid;

pub(crate) use dir::{StateDir, StateFault};
pub(crate) use ports::TargetPorts;
pub(crate) use record::{Record, RecordFault};
pub(crate) use removal::Removal;
pub(crate) use wwid::{new_uuid, new_wwid};
