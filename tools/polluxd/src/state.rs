//! The state directory: all persistent state of a node.
//!
//! ```text
//! lock                 locked while a daemon runs; holds its pid, for messages
//! catalog.toml         the configuration managed by perfctl, unused with --config
//! target-ports.toml    the relative target port identifier of each target
//! known/NAME           says that the volume was created, if its record is lost
//! creating/NAME        says that the volume is being created, or was not created yet
//! reserve-N            allocated space for deletions while the file system is full
//! secrets/TARGET.*     the CHAP secrets that were set with perfctl
//! volumes/NAME.toml    the record of a volume: identity, size and path
//! volumes/NAME.img     the data of a file volume without a path of its own
//! volumes/.ID.removal  a deletion in progress, to be finished after a crash
//! control.sock         the control socket
//! ```
//!
//! Every file except the lock is replaced atomically ([`durable`]): a reader sees either the old
//! or the new content, never a mix.

mod creation;
mod dir;
pub(crate) mod durable;
mod file_id;
mod ports;
mod record;
mod removal;
mod reserve;
mod wwid;

pub(crate) use creation::Creation;
pub(crate) use dir::{CATALOG, StateDir, StateFault};
pub(crate) use file_id::FileId;
pub(crate) use ports::{PortsFile, TargetPorts};
pub(crate) use record::{Record, RecordFault};
pub(crate) use removal::Removal;
pub(crate) use reserve::Space;
pub(crate) use wwid::{hex, new_uuid, new_wwid};
