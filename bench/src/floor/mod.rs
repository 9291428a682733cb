//! The floor: a server that moves the bytes of an iSCSI target and does nothing else.
//!
//! It accepts every login, finds PDU boundaries and the few fields that say how many bytes go
//! which way, and checks nothing. Its rate is what the kernel's TCP allows on this machine: no
//! target can be faster, and the distance to it is the cost of a target. There are two of them,
//! see [`Source`]: one resends a cached buffer, the other reads and writes the same memory as a
//! target would.

mod link;
mod server;

pub use server::{Options, Receive, Source, run};
