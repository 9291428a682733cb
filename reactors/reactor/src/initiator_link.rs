//! What makes a stream an iSCSI connection: where one PDU ends and the next begins, where data
//! segments go, digests.

use crate::backends::Volumes;
use crate::buffers::{Buffers, Parcel, Payload};
use crate::handover::Destination;
use crate::streams::{Connection, Pending, Stream};
use iscsi::digest::{DataDigest, header_digest};
use iscsi::{Deframer, Step};
use shard::wire::{Inbound, Run};
use shard::{Sample, SendData, Shard};
use units::{BufId, BufSlice, ConnId, Key};

/// The iSCSI side of one connection.
#[derive(Debug)]
pub(crate) struct InitiatorLink {
    pub(crate) id: ConnId,
    pub(crate) deframer: Deframer,
    pub(crate) inbound: Inbound,
    header_digest: bool,
    pub(crate) data_digest: bool,
    /// Where the connection goes when what is queued has left.
    pub(crate) destination: Option<Destination>,
}

/// What the next bytes of a connection turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// The end of a PDU.
    End { data_digest_ok: bool },
    /// The bytes cannot be cut into PDUs any more: `deframer.fault()`.
    Fault,
    /// A header: `deframer.header()`.
    Header,
    /// All bytes are taken.
    NeedMore,
    /// Payload that could not be put where the shard wants it.
    NoPlace,
}

/// A PDU to send, without padding and digests.
#[derive(Debug)]
pub(crate) struct Pdu<'a> {
    pub(crate) header: &'a [u8; 48],
    pub(crate) data: &'a SendData,
    pub(crate) sample: Option<&'a Sample>,
}

/// What a receive straight into a buffer has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Straight {
    /// The shard wants the buffer back.
    Owed(BufId),
    /// Its bytes, if any, are part of the data segment.
    Taken,
    /// The kernel writes the buffer still: the shard has lent it twice, and the bytes are
    /// anybody's.
    Unsound,
}

/// What is agreed at the end of a login.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Agreed {
    pub(crate) header_digest: bool,
    pub(crate) data_digest: bool,
    /// Data segments that the initiator sends may be this long, in bytes.
    pub(crate) max_data_segment_length: u32,
}

impl InitiatorLink {
    /// A connection in its login phase.
    pub(crate) fn new(id: ConnId) -> Self {
        Self {
            id,
            deframer: Deframer::new(),
            inbound: Inbound::default(),
            header_digest: false,
            data_digest: false,
            destination: None,
        }
    }

    /// From here on PDUs carry these digests, and data segments up to this length.
    pub(crate) const fn enter_full_feature_phase(&mut self, agreed: Agreed) {
        self.header_digest = agreed.header_digest;
        self.data_digest = agreed.data_digest;
        self.deframer.set_digests(agreed.header_digest, agreed.data_digest);
        self.deframer.set_max_data_segment_length(agreed.max_data_segment_length);
    }

    /// Takes bytes up to the next header or end of a PDU, and puts payload where it belongs.
    pub(crate) fn find(
        &mut self,
        stream: &mut Stream,
        buffers: &mut Buffers,
        shard: &mut Shard,
    ) -> Found {
        let Some(pending) = &mut stream.pending else { return Found::NeedMore };
        loop {
            let (bytes, at) = match pending {
                Pending::Buffer(buffer, at) => (buffers.ring.received(buffer), at),
                Pending::Bytes(bytes, at) => (bytes.as_slice(), at),
            };
            let mut input = bytes.get(*at..).unwrap_or_default();
            let step = self.deframer.step(&mut input);
            *at = bytes.len() - input.len();
            match step {
                Step::End { data_digest_ok } => return Found::End { data_digest_ok },
                Step::Fault => return Found::Fault,
                Step::Header => return Found::Header,
                Step::NeedMore => return Found::NeedMore,
                Step::Payload { len } => {
                    if !self.take_run(len, pending, buffers, shard) {
                        return Found::NoPlace;
                    }
                    if self.deframer.take_end() {
                        return Found::End { data_digest_ok: true };
                    }
                }
            }
        }
    }

    /// Puts the run of payload where it belongs that ends where the next step goes on. A function
    /// of its own, because most PDUs have none. False where that cannot be done.
    #[inline(never)]
    fn take_run(
        &mut self,
        len: usize,
        pending: &Pending,
        buffers: &mut Buffers,
        shard: &mut Shard,
    ) -> bool {
        let (Pending::Buffer(_, end) | Pending::Bytes(_, end)) = pending;
        let end = *end;
        // A run lies in one receive, which has less than 4 GiB.
        let len = u32::try_from(len).unwrap_or(u32::MAX);
        match self.inbound.run(len, matches!(pending, Pending::Buffer(..))) {
            Run::Drop => true,
            Run::Engine => {
                let run = &received(pending, buffers)[end - len as usize..end];
                shard.handle_segment(self.id, run);
                true
            }
            Run::Fill(slice) => fill(slice, pending, end, buffers),
            Run::Leave(slice) => leave(slice, pending, end, buffers),
            Run::Misfit => false,
        }
    }

    /// Where the rest of the present data segment can be received straight to, if that is worth a
    /// receive of its own.
    pub(crate) fn straight_place(&self) -> Option<BufSlice> {
        let left = self.deframer.payload_remaining();
        if left < STRAIGHT_RECEIVE_BYTES_MIN { None } else { self.inbound.rest(left) }
    }

    /// Bytes of the present data segment were received straight into its buffer.
    pub(crate) fn received_straight(
        &mut self,
        slice: BufSlice,
        stream: &mut Stream,
        buffers: &Buffers,
    ) -> Straight {
        if let Some(owed) = self.inbound.direct_ended(slice.len) {
            return Straight::Owed(owed);
        }
        if slice.len == 0 {
            return Straight::Taken;
        }
        // The receive has ended, so the kernel does not write the buffer any more.
        let Some(bytes) = buffers.received_into(slice) else { return Straight::Unsound };
        self.deframer.payload_received(bytes);
        // The end of the PDU may need no further byte.
        stream.pending = Some(Pending::Bytes(Vec::new(), 0));
        Straight::Taken
    }
}

impl Connection<InitiatorLink> {
    /// Queues a PDU. Padding and digests are added here. False where that could not be done:
    /// what the peer would get from here on makes no sense, so the connection must end.
    pub(crate) fn queue(
        &mut self,
        pdu: &Pdu<'_>,
        buffers: &mut Buffers,
        volumes: &Volumes,
    ) -> bool {
        let Self { stream, link } = self;
        let digested;
        let mut head: &[u8] = pdu.header;
        if link.header_digest {
            digested = with_digest(pdu.header);
            head = &digested;
        }
        let mut outlet = Outlet { stream, buffers, data_digest: link.data_digest };
        let whole = match pdu.data {
            SendData::None => outlet.parcel(head.len()).push_inline(head),
            SendData::Bytes(bytes) => {
                outlet.parcel(head.len()).push_inline(head) && outlet.queue_bytes(bytes)
            }
            SendData::Buffer { slice, .. } => outlet.queue_buffer(head, *slice, volumes),
        };
        stream.out.end_pdu(pdu.data, pdu.sample);
        whole
    }
}

/// Where a PDU is queued.
struct Outlet<'a> {
    stream: &'a mut Stream,
    buffers: &'a mut Buffers,
    data_digest: bool,
}

impl Outlet<'_> {
    /// The parcel that fills, with room for so many copied bytes and a buffer.
    #[inline]
    fn parcel(&mut self, inline: usize) -> &mut Parcel {
        let is_full = |parcel: &Parcel| parcel.is_full_for(inline + HEAD_BYTES_MAX);
        let ring = &mut self.buffers.ring;
        self.stream.out.batch(is_full, || ring.parcel())
    }

    fn queue_bytes(&mut self, bytes: &[u8]) -> bool {
        let mut whole = true;
        for chunk in bytes.chunks(INLINE_CHUNK_BYTES) {
            whole &= self.parcel(chunk.len()).push_inline(chunk);
        }
        let sum = self.data_digest.then(|| data_digest(bytes));
        whole && self.queue_tail(bytes.len(), sum)
    }

    /// False where the kernel writes to the buffer, so that it has no digest yet, or the bytes are
    /// not there.
    #[inline]
    fn queue_buffer(&mut self, head: &[u8], slice: BufSlice, volumes: &Volumes) -> bool {
        self.parcel(head.len());
        let must_copy = self.stream.out.must_copy(self.data_digest);
        let Some(sendable) = self.buffers.sendable(slice, must_copy, volumes) else {
            return false;
        };
        let mut sum = None;
        if self.data_digest {
            // The shard has handed the buffer over to be sent; the kernel does not write it.
            sum = self.buffers.bytes_of(sendable).map(data_digest);
            if sum.is_none() {
                return false;
            }
        }
        let Some(parcel) = self.stream.out.last() else { return false };
        self.buffers.push(parcel, head, sendable) && self.queue_tail(slice.len as usize, sum)
    }

    /// Padding and data digest of a data segment.
    #[inline]
    fn queue_tail(&mut self, len: usize, sum: Option<[u8; 4]>) -> bool {
        let pad = len.next_multiple_of(4) - len;
        if pad == 0 && sum.is_none() {
            return true;
        }
        let parcel = self.parcel(8);
        let padded = parcel.push_inline(&[0; 3][..pad]);
        // RFC 7143 11.2.4: an empty data segment has no digest.
        padded && sum.filter(|_| len > 0).is_none_or(|sum| parcel.push_inline(&sum))
    }
}

/// The bytes of a receive.
fn received<'a>(pending: &'a Pending, buffers: &'a Buffers) -> &'a [u8] {
    match pending {
        Pending::Buffer(buffer, _) => buffers.ring.received(buffer),
        Pending::Bytes(bytes, _) => bytes,
    }
}

/// Copies the run that ends at `end` to its buffer.
fn fill(slice: BufSlice, pending: &Pending, end: usize, buffers: &mut Buffers) -> bool {
    let start = end - slice.len as usize;
    let payload = match pending {
        Pending::Buffer(buffer, _) => {
            let Some(source) = u32::try_from(start).ok().and_then(|s| buffer.slice(s, slice.len))
            else {
                return false;
            };
            Payload::Received(source)
        }
        Pending::Bytes(bytes, _) => Payload::Bytes(&bytes[start..end]),
    };
    buffers.fill(slice, payload)
}

/// Leaves the data segment that ends at `end` where it is.
fn leave(slice: BufSlice, pending: &Pending, end: usize, buffers: &mut Buffers) -> bool {
    let Pending::Buffer(buffer, _) = pending else { return false };
    let source =
        u32::try_from(end - slice.len as usize).ok().and_then(|s| buffer.slice(s, slice.len));
    source.map(|source| buffers.leave(slice, source)).is_some()
}

/// A header with its digest.
fn with_digest(header: &[u8; 48]) -> [u8; HEAD_BYTES_MAX] {
    let mut head = [0; HEAD_BYTES_MAX];
    head[..48].copy_from_slice(header);
    head[48..].copy_from_slice(&header_digest(header, &[]));
    head
}

/// The digest of a whole data segment and its padding.
fn data_digest(bytes: &[u8]) -> [u8; 4] {
    let mut sum = DataDigest::new();
    sum.update(bytes);
    sum.pad();
    sum.wire()
}

/// A header and its digest.
const HEAD_BYTES_MAX: usize = 52;

/// Less than this is cheaper to copy than to ask the kernel for separately.
const STRAIGHT_RECEIVE_BYTES_MIN: u32 = 16 << 10;

/// Inline bytes are pushed in pieces of this size: a parcel holds 64 KiB of them.
const INLINE_CHUNK_BYTES: usize = 16 << 10;

/// The connection of each name that the shard gave.
#[derive(Debug, Default)]
pub(crate) struct Names {
    /// By the slot of the shard's table.
    slots: Vec<Option<(ConnId, Key)>>,
}

impl Names {
    #[inline]
    pub(crate) fn find(&self, conn: ConnId) -> Option<Key> {
        let (known, key) = (*self.slots.get(conn.0.index as usize)?)?;
        (known == conn).then_some(key)
    }

    pub(crate) fn insert(&mut self, conn: ConnId, key: Key) {
        let slot = conn.0.index as usize;
        if self.slots.len() <= slot {
            self.slots.resize(slot + 1, None);
        }
        self.slots[slot] = Some((conn, key));
    }

    pub(crate) fn remove(&mut self, conn: ConnId) -> Option<Key> {
        let key = self.find(conn)?;
        self.slots[conn.0.index as usize] = None;
        Some(key)
    }
}
