//! The state directory: all persistent state of a node.
//!
//! ```text
//! lock                 locked while a daemon runs; holds its pid, for messages
//! catalog.toml         the configuration managed by perfctl, unused with --config
//! target-ports.toml    the relative target port identifier of each target
//! known/NAME           says that the volume was created, if its record is lost
//! secrets/TARGET.*     the CHAP secrets that were set with perfctl
//! volumes/NAME.toml    the record of a volume: identity, size and path
//! volumes/NAME.img     the data of a file volume without a path of its own
//! volumes/.ID.removal  a deletion in progress, to be finished after a crash
//! control.sock         the control socket
//! ```
//!
//! Every file except the lock is replaced atomically ([`durable`]): a reader sees either the old
//! or the new content, never a mix.

mod dir;
pub(crate) mod durable;
mod ports;
mod record;
mod removal;
mod wwid;

pub(crate) use dir::{CATALOG, StateDir, StateFault};
pub(crate) use ports::TargetPorts;
pub(crate) use record::{Record, RecordFault};
pub(crate) use removal::Removal;
pub(crate) use wwid::{new_uuid, new_wwid};
