//! PDUs that wait to be sent: a header, and perhaps a run of a payload buffer.

use iscsi::digest::{DataDigest, header_digest};
use iscsi::{BHS_BYTES, pad_bytes};
use std::collections::VecDeque;
use units::BufSlice;
use uring::{Driver, Gather};

/// One PDU.
#[derive(Clone, Copy, Debug)]
struct Outgoing {
    head: [u8; HEAD_BYTES_MAX],
    head_bytes: usize,
    data: Option<BufSlice>,
    digest: Option<[u8; 4]>,
}

/// The PDUs of one connection, in the order in which they leave.
#[derive(Debug)]
pub(crate) struct Queue {
    waiting: VecDeque<Outgoing>,
    header_digest: bool,
    data_digest: bool,
}

impl Queue {
    pub(crate) const fn new(header_digest: bool, data_digest: bool) -> Self {
        Self { waiting: VecDeque::new(), header_digest, data_digest }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Appends a PDU. Its data must be in the pool already.
    pub(crate) fn push(
        &mut self,
        driver: &Driver,
        header: &[u8; BHS_BYTES],
        data: Option<BufSlice>,
    ) {
        let mut head = [0; HEAD_BYTES_MAX];
        head[..BHS_BYTES].copy_from_slice(header);
        let mut head_bytes = BHS_BYTES;
        if self.header_digest {
            head[BHS_BYTES..].copy_from_slice(&header_digest(header, &[]));
            head_bytes = HEAD_BYTES_MAX;
        }
        let bytes = data.filter(|_| self.data_digest).and_then(|s| driver.pool().bytes(s));
        let digest = bytes.map(|bytes| {
            let mut sum = DataDigest::new();
            sum.update(bytes);
            sum.pad();
            sum.wire()
        });
        self.waiting.push_back(Outgoing { head, head_bytes, data, digest });
    }

    /// Moves to `gather` what fits, and returns how many PDUs that were.
    pub(crate) fn fill(&mut self, driver: &mut Driver, gather: &mut Gather) -> usize {
        let mut moved = 0;
        let mut pool = driver.pool_mut();
        while let Some(pdu) = self.waiting.front() {
            if moved == PDUS_PER_SEND_MAX {
                break;
            }
            let head = &pdu.head[..pdu.head_bytes];
            let mut fits = match pdu.data {
                None => gather.push_inline(head),
                // One piece for the header and the data behind it.
                Some(slice) if slice.offset == 0 => gather.push_framed(&mut pool, head, slice),
                Some(slice) => gather.push_inline(head) && gather.push_buffer(slice),
            };
            let pad = pad_bytes(pdu.data.map_or(0, |s| s.len)) as usize;
            fits &= gather.push_inline(&[0; 3][..pad]);
            if let Some(digest) = &pdu.digest {
                fits &= gather.push_inline(digest);
            }
            assert!(fits, "a send has room for {PDUS_PER_SEND_MAX} PDUs");
            self.waiting.pop_front();
            moved += 1;
        }
        moved
    }
}

/// A header and its digest.
const HEAD_BYTES_MAX: usize = BHS_BYTES + 4;

/// PDUs of one send. Each has at most three pieces and 60 copied bytes.
const PDUS_PER_SEND_MAX: usize = 300;

/// Pieces that a send must have room for.
pub(crate) const PIECES_PER_SEND: usize = 3 * PDUS_PER_SEND_MAX + 2;
