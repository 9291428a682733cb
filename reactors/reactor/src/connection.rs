//! One connection: its bytes in and its bytes out.
//!
//! In: a single-shot receive into one of the ring's shared buffers, so that an idle connection
//! holds none. In the middle of a large data segment the rest is received straight into its
//! lent buffer. Out: PDUs gather in batches; one batch at a time is with the kernel, the next one
//! fills meanwhile.

use crate::in_place::Place;
use iscsi::digest::{DataDigest, header_digest};
use iscsi::{Deframer, pad_bytes};
use shard::{HandedOver, Placement, Sample, SendData};
use std::collections::VecDeque;
use units::{BufId, BufSlice, ConnId, ReactorId};
use uring::{Driver, Gather, RecvBuffer, SocketId};

/// What a connection is about to become.
#[derive(Debug)]
pub(crate) enum Fate {
    /// It stays open.
    Open,
    /// What is queued leaves, then it is closed. The shard has forgotten it.
    Draining,
    /// The ring closes it; completions may still come.
    Closed,
    /// What is queued leaves, then another reactor gets it.
    HandingOver { to: ReactorId, state: Box<HandedOver> },
}

/// Bytes that were received and not yet parsed.
#[derive(Debug)]
pub(crate) enum Pending {
    /// In a buffer of the ring, from this byte on.
    Buffer(RecvBuffer, usize),
    /// Brought along from another reactor, from this byte on.
    Bytes(Vec<u8>, usize),
}

/// One connection of the reactor.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) id: ConnId,
    pub(crate) socket: SocketId,
    pub(crate) deframer: Deframer,
    /// Where the data segment of the present PDU goes, and how much of it is there.
    pub(crate) placement: Placement,
    pub(crate) filled: u32,
    pub(crate) pending: Option<Pending>,
    pub(crate) fate: Fate,
    /// A receive straight into this buffer is with the kernel.
    pub(crate) receiving_into: Option<BufId>,
    /// The shard wants this buffer back when that receive has ended.
    pub(crate) return_after_receive: Option<BufId>,
    pub(crate) batches: VecDeque<Batch>,
    /// What the batch that is with the kernel means.
    pub(crate) sending: Option<Meaning>,
    /// Meanings to use again: their lists keep their room.
    spare: Vec<Meaning>,
    pub(crate) header_digest: bool,
    pub(crate) data_digest: bool,
    /// It is in the reactor's list of connections to look at.
    pub(crate) is_listed: bool,
}

/// PDUs that leave together.
#[derive(Debug)]
pub(crate) struct Batch {
    pub(crate) gather: Gather,
    pub(crate) meaning: Meaning,
}

/// What is to be done when a batch has left.
#[derive(Debug, Default)]
pub(crate) struct Meaning {
    /// Buffers that go back to the shard.
    pub(crate) returns: Vec<BufId>,
    /// What statistics learn, and of how many commands: those of one turn are often alike.
    pub(crate) samples: Vec<(Sample, u64)>,
    /// PDUs in the batch.
    pub(crate) pdus: u64,
}

impl Meaning {
    fn learn(&mut self, sample: Option<Sample>) {
        let Some(sample) = sample else { return };
        match self.samples.last_mut() {
            Some((last, count)) if *last == sample => *count += 1,
            Some(_) | None => self.samples.push((sample, 1)),
        }
    }
}

impl Connection {
    /// A connection in its login phase.
    pub(crate) fn new(id: ConnId, socket: SocketId) -> Self {
        Self {
            id,
            socket,
            deframer: Deframer::new(),
            placement: Placement::Discard,
            filled: 0,
            pending: None,
            fate: Fate::Open,
            receiving_into: None,
            return_after_receive: None,
            batches: VecDeque::new(),
            sending: None,
            spare: Vec::new(),
            header_digest: false,
            data_digest: false,
            is_listed: false,
        }
    }

    /// From here on PDUs carry these digests, and data segments up to this length.
    pub(crate) const fn enter_full_feature_phase(
        &mut self,
        header: bool,
        data: bool,
        max_data_segment_length: u32,
    ) {
        self.header_digest = header;
        self.data_digest = data;
        self.deframer.set_digests(header, data);
        self.deframer.set_max_data_segment_length(max_data_segment_length);
    }

    /// Whether so much waits to be sent that nothing more should be read.
    pub(crate) fn is_backed_up(&self) -> bool {
        self.batches.len() >= BATCHES_MAX
    }

    /// Whether nothing waits to be sent or is being sent.
    pub(crate) fn is_flushed(&self) -> bool {
        self.batches.is_empty() && self.sending.is_none()
    }

    /// Where the rest of the present data segment can be received straight to, if that is
    /// worth a receive of its own.
    pub(crate) fn direct_place(&self) -> Option<BufSlice> {
        let Placement::Buffer(slice) = self.placement else { return None };
        let left = self.deframer.payload_remaining();
        if left < DIRECT_RECEIVE_BYTES_MIN || self.filled + left != slice.len {
            return None;
        }
        Some(BufSlice { offset: slice.offset + self.filled, len: left, ..slice })
    }

    /// Queues a PDU. Padding and digests are added here. False where that could not be done:
    /// what the peer would get from here on makes no sense, so the connection must end.
    pub(crate) fn queue(
        &mut self,
        driver: &mut Driver,
        header: &[u8; 48],
        (data, place): (SendData, Option<Place<'_>>),
        sample: Option<Sample>,
    ) -> bool {
        let (head, head_len) = self.head(header);
        let head = &head[..head_len];
        let batch = self.open_batch(driver, head_len);
        batch.meaning.pdus += 1;
        let mut whole = true;
        let returned = match data {
            SendData::None => {
                batch.gather.push_inline(head);
                None
            }
            SendData::Bytes(bytes) => {
                batch.gather.push_inline(head);
                self.queue_bytes(driver, &bytes);
                None
            }
            SendData::Buffer { slice, last } => {
                whole = match place {
                    Some(place) => self.queue_in_place(driver, head, slice, place),
                    None => self.queue_buffer(driver, head, slice),
                };
                last.then_some(slice.buf)
            }
        };
        // To the batch that holds the end of the PDU, even if that has no room left: another one
        // might never leave.
        if let Some(batch) = self.batches.back_mut() {
            batch.meaning.returns.extend(returned);
            batch.meaning.learn(sample);
        }
        whole
    }

    /// Keeps the lists of a batch that has left for the next one.
    pub(crate) fn recycle(&mut self, mut meaning: Meaning) {
        meaning.returns.clear();
        meaning.samples.clear();
        meaning.pdus = 0;
        self.spare.push(meaning);
    }

    /// The header with its digest.
    fn head(&self, header: &[u8; 48]) -> ([u8; HEAD_BYTES_MAX], usize) {
        let mut head = [0; HEAD_BYTES_MAX];
        head[..48].copy_from_slice(header);
        if !self.header_digest {
            return (head, 48);
        }
        head[48..52].copy_from_slice(&header_digest(header, &[]));
        (head, 52)
    }

    fn queue_bytes(&mut self, driver: &mut Driver, bytes: &[u8]) {
        for chunk in bytes.chunks(INLINE_CHUNK_BYTES) {
            self.open_batch(driver, chunk.len()).gather.push_inline(chunk);
        }
        let sum = self.data_digest.then(|| data_digest(bytes));
        self.queue_tail(driver, u32::try_from(bytes.len()).unwrap_or(0), sum);
    }

    /// Whether bytes must be in their buffer before they are queued, and cannot stay in their
    /// volume: a digest must hold for them, or others wait to be sent. Another command may change
    /// them before the kernel has read them, and a slow peer must not get the bytes of much later.
    pub(crate) fn needs_copies(&self) -> bool {
        self.data_digest || self.sending.is_some() || self.batches.len() > 1
    }

    /// Queues bytes that are still in their volume, and leave from there. False where they are
    /// not there any more, or need a digest: that is made of a copy.
    fn queue_in_place(
        &mut self,
        driver: &mut Driver,
        head: &[u8],
        slice: BufSlice,
        place: Place<'_>,
    ) -> bool {
        let Some(store) = place.store.filter(|_| !self.data_digest) else { return false };
        let Some(batch) = self.batches.back_mut() else { return false };
        let whole = batch.gather.push_inline(head)
            && batch.gather.push_store(store, place.offset, slice.len);
        self.queue_tail(driver, slice.len, None);
        whole
    }

    /// False where the kernel writes to the buffer, so that it has no digest yet.
    fn queue_buffer(&mut self, driver: &mut Driver, head: &[u8], slice: BufSlice) -> bool {
        let sum = if self.data_digest {
            // The shard has handed the buffer over to be sent; the kernel does not write it.
            driver.pool().bytes(slice).map(data_digest)
        } else {
            None
        };
        let whole = sum.is_some() || !self.data_digest;
        let mut pool = driver.pool_mut();
        let Some(batch) = self.batches.back_mut() else { return false };
        if slice.offset == 0 {
            batch.gather.push_framed(&mut pool, head, slice);
        } else {
            batch.gather.push_inline(head);
            batch.gather.push_buffer(slice);
        }
        self.queue_tail(driver, slice.len, sum);
        whole
    }

    /// Padding and data digest of a data segment.
    fn queue_tail(&mut self, driver: &mut Driver, len: u32, sum: Option<[u8; 4]>) {
        let pad = pad_bytes(len) as usize;
        if pad == 0 && sum.is_none() {
            return;
        }
        let batch = self.open_batch(driver, 8);
        batch.gather.push_inline(&[0; 3][..pad]);
        if let Some(sum) = sum
            && len > 0
        {
            batch.gather.push_inline(&sum);
        }
    }

    /// The batch that fills, with room for so many copied bytes and a buffer.
    fn open_batch(&mut self, driver: &mut Driver, inline: usize) -> &mut Batch {
        if self.batches.back().is_none_or(|b| b.gather.is_full_for(inline + HEAD_BYTES_MAX)) {
            let meaning = self.spare.pop().unwrap_or_default();
            self.batches.push_back(Batch { gather: driver.gather(), meaning });
        }
        let last = self.batches.len() - 1;
        &mut self.batches[last]
    }
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
const DIRECT_RECEIVE_BYTES_MIN: u32 = 16 << 10;

/// Inline bytes are pushed in pieces of this size: a batch holds 64 KiB of them.
const INLINE_CHUNK_BYTES: usize = 16 << 10;

/// Batches of one connection that wait before nothing more is read from it. A full window of the
/// longest reads is as many; what fills more is an initiator that sends and does not read. A
/// batch of copied bytes takes some 80 KiB.
const BATCHES_MAX: usize = 16;
