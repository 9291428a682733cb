//! One TCP connection: bytes on their way in both directions, and what the reactor of its
//! target side keeps for it.

use iscsi::digest::{DataDigest, header_digest};
use iscsi::{BHS_BYTES, Deframer, pad_bytes};
use shard::{HandedOver, Placement, SendData};
use std::collections::VecDeque;
use units::{BufId, BufSlice, ConnId, ReactorId};

/// Where the target side of a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// Not accepted yet.
    Knocking { seat: usize },
    /// A connection of a shard.
    At { seat: usize, conn: ConnId },
    /// The shard has let it go, but its last PDUs have not left.
    Leaving { seat: usize },
    /// On its way from one reactor to another.
    Moving { seat: usize },
    /// Closed.
    Gone,
}

/// What waits to be sent, or to be done when all before it has been sent.
#[derive(Debug)]
pub(crate) enum Queued {
    Close,
    Digests { header: bool, data: bool },
    HandOver { to: ReactorId, state: Box<HandedOver> },
    Pdu { header: [u8; BHS_BYTES], data: SendData, claim: u64, seen: Vec<u8> },
    Return(BufId),
}

/// A data segment that goes straight into a buffer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Filling {
    pub(crate) slice: BufSlice,
    pub(crate) done: u32,
    pub(crate) claim: u64,
}

/// One connection.
#[derive(Debug)]
pub(crate) struct Link {
    /// The initiator's session that it belongs to.
    pub(crate) session: usize,
    pub(crate) side: Side,
    /// Bytes on their way to the target.
    pub(crate) up: VecDeque<u8>,
    pub(crate) up_due: bool,
    /// Nothing more comes from the initiator.
    pub(crate) up_closed: bool,
    /// Bytes on their way to the initiator.
    pub(crate) down: VecDeque<u8>,
    pub(crate) down_due: bool,
    /// Nothing more comes from the target.
    pub(crate) down_closed: bool,
    /// Until when nothing moves.
    pub(crate) stalled_until: u64,
    pub(crate) deframer: Deframer,
    pub(crate) placement: Placement,
    pub(crate) filling: Option<Filling>,
    pub(crate) queue: VecDeque<Queued>,
    pub(crate) queue_due: bool,
    pub(crate) header_digests: bool,
    pub(crate) data_digests: bool,
}

impl Link {
    pub(crate) fn new(session: usize, seat: usize) -> Self {
        Self {
            session,
            side: Side::Knocking { seat },
            up: VecDeque::new(),
            up_due: false,
            up_closed: false,
            down: VecDeque::new(),
            down_due: false,
            down_closed: false,
            stalled_until: 0,
            deframer: Deframer::new(),
            placement: Placement::Discard,
            filling: None,
            queue: VecDeque::new(),
            queue_due: false,
            header_digests: false,
            data_digests: false,
        }
    }

    /// The seat whose reactor keeps the send queue.
    pub(crate) const fn seat(&self) -> Option<usize> {
        match self.side {
            Side::Knocking { seat }
            | Side::At { seat, .. }
            | Side::Leaving { seat }
            | Side::Moving { seat } => Some(seat),
            Side::Gone => None,
        }
    }
}

/// A PDU as it goes over the wire, but with a data digest that is wrong where `spoil` says so.
pub(crate) fn encode(
    header: &[u8; BHS_BYTES],
    data: &[u8],
    (header_digests, data_digests): (bool, bool),
    spoil: bool,
) -> Vec<u8> {
    let mut bytes = header.to_vec();
    if header_digests {
        bytes.extend_from_slice(&header_digest(header, &[]));
    }
    bytes.extend_from_slice(data);
    let pad = pad_bytes(crate::rng::word(data.len()));
    bytes.extend_from_slice(&[0; 3][..crate::rng::size(pad)]);
    if data_digests && !data.is_empty() {
        let mut digest = DataDigest::new();
        digest.update(data);
        digest.pad();
        let mut wire = digest.wire();
        wire[0] ^= u8::from(spoil);
        bytes.extend_from_slice(&wire);
    }
    bytes
}
