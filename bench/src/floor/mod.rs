//! A server that moves the bytes of an iSCSI target and does nothing else.
//!
//! It answers every login, finds PDU boundaries and the few fields that say how many bytes go
//! which way, and checks nothing. What it reaches is what the kernel's TCP allows on this
//! machine: no target can be faster, and the distance to it is what a target costs.

mod link;
mod server;

pub use server::{Options, Receive, Source, run};
