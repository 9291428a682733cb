//! Connections on their way to another reactor.

use crate::buffers::Buffers;
use crate::initiator_link::InitiatorLink;
use crate::streams::Connection;
use iscsi::Deframer;
use shard::HandedOver;
use std::os::fd::OwnedFd;
use units::ReactorId;

/// A connection on its way to another reactor.
#[derive(Debug)]
pub(crate) struct Traveller {
    pub(crate) fd: OwnedFd,
    pub(crate) state: HandedOver,
    pub(crate) deframer: Deframer,
    /// Bytes received and not yet parsed.
    pub(crate) rest: Vec<u8>,
}

/// Where a connection goes.
#[derive(Debug)]
pub(crate) struct Destination {
    pub(crate) to: ReactorId,
    /// What that reactor's shard needs to go on.
    pub(crate) state: Box<HandedOver>,
}

/// Packs a connection that has nothing with the kernel, and names the reactor that gets it.
///
/// # Panics
/// When the shard has not said where it goes.
pub(crate) fn pack(
    fd: OwnedFd,
    connection: Connection<InitiatorLink>,
    buffers: &mut Buffers,
) -> (ReactorId, Traveller) {
    let Connection { mut stream, link } = connection;
    let Some(Destination { to, state }) = link.destination else {
        unreachable!("a connection departs when the shard has said where to")
    };
    let rest = stream.take_unparsed(buffers);
    (to, Traveller { fd, state: *state, deframer: link.deframer, rest })
}
