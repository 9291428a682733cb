//! The target's side of one connection, as its reactor and its kernel have it.

use super::media::{InVolume, Media};
use super::pool::Use;
use super::seat::Seat;
use crate::framing::{Digests, data_digest, head};
use crate::rng::{size, word};
use crate::run::Run;
use crate::scene::Scene;
use crate::wires::Wires;
use iscsi::{Deframer, pad_bytes};
use shard::wire::{Inbound, Meaning, Outbound, Whereabouts};
use shard::{HandedOver, Progress, Sample, SendData};
use std::collections::VecDeque;
use units::{BufSlice, ConnId, ReactorId, Serial32, limits};

/// What is to become of a connection.
#[derive(Debug)]
pub(super) enum Fate {
    /// It stays open.
    Open,
    /// What is queued leaves, then it is closed. The shard has forgotten it.
    Draining,
    /// What is queued leaves, then another reactor gets it.
    HandingOver { to: ReactorId, state: Box<HandedOver> },
    /// It is on its way to another reactor.
    Moving,
}

/// Bytes that were received and not yet parsed.
#[derive(Debug)]
pub(super) struct Received {
    pub(super) bytes: Vec<u8>,
    /// Up to here they have been parsed.
    pub(super) at: usize,
    /// They are in a receive buffer, which keeps them until they have all been parsed.
    pub(super) stays: bool,
}

/// A part of what a connection has to send.
#[derive(Debug)]
enum Chunk {
    /// Copied bytes.
    Inline(Vec<u8>),
    /// Bytes of a lent buffer, which must not change: these.
    Buffer { slice: BufSlice, claim: u64, seen: Vec<u8> },
    /// Bytes that were left in a memory volume.
    Volume { at: InVolume, len: u32 },
}

/// What leaves together.
#[derive(Debug, Default)]
pub(super) struct Batch {
    chunks: VecDeque<Chunk>,
    /// Chunks that it has room for.
    room: usize,
}

/// A data segment that is being received.
#[derive(Clone, Copy, Debug)]
pub(super) struct Filling {
    pub(super) slice: BufSlice,
    claim: u64,
}

/// A receive straight into a buffer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Direct {
    pub(super) slice: BufSlice,
}

/// What has happened to the batch that is with the kernel.
pub(super) enum Departure {
    /// Nothing, or a part of it has left.
    Pending,
    /// It has left.
    Left(Meaning),
}

/// The target's side of one connection.
#[derive(Debug)]
pub(super) struct Socket {
    pub(super) wire: usize,
    pub(super) session: usize,
    pub(super) seat: usize,
    /// The shard's name for it, while the shard knows it.
    pub(super) conn: Option<ConnId>,
    pub(super) fate: Fate,
    pub(super) deframer: Deframer,
    pub(super) inbound: Inbound,
    pub(super) outbound: Outbound<Batch>,
    pub(super) received: Option<Received>,
    pub(super) filling: Option<Filling>,
    pub(super) direct: Option<Direct>,
    /// The batch that is with the kernel.
    kernel: Option<Batch>,
    /// Batches begun and not yet taken by the kernel.
    waiting: usize,
    /// Bytes that have come.
    moved: u64,
    pub(super) leave_due: bool,
    /// Since when its peer takes nothing, in nanoseconds.
    stuck_since: Option<u64>,
    pub(super) parse_due: bool,
    /// MaxCmdSN of what was sent while data waits for a place.
    pub(super) held_max: Option<Serial32>,
    pub(super) digests: Digests,
}

impl Socket {
    /// A connection that a shard has just accepted.
    pub(super) fn new(wire: usize, session: usize, seat: usize, conn: ConnId) -> Self {
        Self {
            wire,
            session,
            seat,
            conn: Some(conn),
            fate: Fate::Open,
            deframer: Deframer::new(),
            inbound: Inbound::default(),
            outbound: Outbound::default(),
            received: None,
            filling: None,
            direct: None,
            kernel: None,
            waiting: 0,
            moved: 0,
            leave_due: false,
            stuck_since: None,
            parse_due: false,
            held_max: None,
            digests: Digests::default(),
        }
    }

    /// From here on PDUs carry these digests, and data segments have up to this length.
    pub(super) fn enter_full_feature_phase(&mut self, digests: Digests, segment_max: u32) {
        self.digests = digests;
        self.deframer.set_digests(digests.header, digests.data);
        self.deframer.set_max_data_segment_length(segment_max);
    }

    /// What it has moved: what has come, and what the peer has read.
    pub(super) fn progress(&self, wires: &Wires) -> Progress {
        let is_due = !self.outbound.is_flushed() || self.inbound.is_filling();
        Progress { bytes: self.moved + wires.bytes_read(self.wire), is_due }
    }

    /// Bytes have come in.
    pub(super) fn receive(&mut self, bytes: Vec<u8>) {
        self.moved += bytes.len() as u64;
        let received = match self.received.take() {
            // Bytes that were set aside, or came along from another reactor, are in order first.
            Some(mut aside) => {
                aside.bytes.drain(..aside.at);
                aside.bytes.extend(bytes);
                Received { at: 0, stays: false, ..aside }
            }
            None => Received { bytes, at: 0, stays: true },
        };
        self.received = Some(received);
    }

    /// Bytes of the receive buffer.
    pub(super) fn received(&self, start: usize, len: u32) -> Option<&[u8]> {
        self.received.as_ref().filter(|r| r.stays)?.bytes.get(start..start + size(len))
    }

    /// A data segment begins that fills a buffer.
    pub(super) fn begin_filling(&mut self, slice: BufSlice, seat: &mut Seat, run: &mut Run) {
        let claim = run.tick();
        let result = seat.pool.claim(slice, Use::Writes, claim);
        run.check(result);
        self.filling = Some(Filling { slice, claim });
    }

    /// The socket writes into no buffer any more.
    pub(super) fn stop_filling(&mut self, seat: &mut Seat) {
        if let Some(Filling { slice, claim }) = self.filling.take() {
            seat.pool.release(slice.buf, claim);
        }
    }

    /// Whether so much waits to be sent that nothing more is read.
    pub(super) fn is_backed_up(&self, run: &Run) -> bool {
        self.outbound.backlog() >= run.plan.batches_max
    }

    /// Whether nothing waits to be sent or is being sent.
    pub(super) fn is_flushed(&self) -> bool {
        self.outbound.is_flushed()
    }

    /// The batch that the next bytes go to: one with room, or the last one where they belong to
    /// what is in it.
    fn batch(&mut self, needs_room: bool, run: &Run) -> &mut Batch {
        let room = run.plan.batch_chunks;
        let waiting = &mut self.waiting;
        let new = || {
            *waiting += 1;
            Batch { chunks: VecDeque::new(), room }
        };
        self.outbound.batch(|batch| needs_room && batch.chunks.len() >= batch.room, new)
    }

    /// Queues the header of a PDU.
    pub(super) fn queue_head(&mut self, header: &[u8; 48], run: &Run) {
        let head = head(header, self.digests);
        self.batch(true, run).chunks.push_back(Chunk::Inline(head));
    }

    /// Queues the data segment of a PDU, if it has one: `at` says where the bytes of a lent buffer
    /// are.
    pub(super) fn queue_data(
        &mut self,
        data: &SendData,
        at: Whereabouts,
        seat: &mut Seat,
        run: &mut Run,
    ) {
        match data {
            SendData::None => {}
            SendData::Bytes(bytes) => {
                self.batch(true, run).chunks.push_back(Chunk::Inline(bytes.clone()));
                let sum = self.digests.data.then(|| data_digest(bytes));
                self.queue_tail(word(bytes.len()), sum, run);
            }
            SendData::Buffer { slice, .. } => match at {
                Whereabouts::Buffer => self.queue_buffer(*slice, seat, run),
                Whereabouts::Volume { volume, offset } => {
                    self.queue_in_place(InVolume { volume, offset }, slice.len, run);
                }
                Whereabouts::Spoiled => run.fail(|| format!("{slice:?} is spoiled")),
            },
        }
    }

    fn queue_buffer(&mut self, slice: BufSlice, seat: &mut Seat, run: &mut Run) {
        let claim = run.tick();
        let result = seat.pool.claim(slice, Use::Reads, claim);
        run.check(result);
        let seen = seat.pool.bytes(slice).to_vec();
        let sum = self.digests.data.then(|| data_digest(&seen));
        self.batch(false, run).chunks.push_back(Chunk::Buffer { slice, claim, seen });
        self.queue_tail(slice.len, sum, run);
    }

    fn queue_in_place(&mut self, at: InVolume, len: u32, run: &mut Run) {
        if self.kernel.is_some() || self.waiting > 1 {
            run.fail(|| format!("bytes left at {at:?} wait behind others, which may take long"));
        }
        if self.digests.data {
            run.fail(|| "bytes left in a volume have no data digest".into());
        }
        self.batch(false, run).chunks.push_back(Chunk::Volume { at, len });
        self.queue_tail(len, None, run);
    }

    /// Padding and data digest.
    fn queue_tail(&mut self, len: u32, sum: Option<[u8; 4]>, run: &Run) {
        let mut tail = vec![0; size(pad_bytes(len))];
        if len > 0 {
            tail.extend(sum.into_iter().flatten());
        }
        if !tail.is_empty() {
            self.batch(true, run).chunks.push_back(Chunk::Inline(tail));
        }
    }

    /// All of a PDU is queued.
    pub(super) fn end_pdu(&mut self, data: &SendData, sample: Option<&Sample>) {
        self.outbound.end_pdu(data, sample);
    }

    /// The kernel takes the next batch if it has none, and some of what it has leaves.
    pub(super) fn leave(&mut self, seat: &mut Seat, media: &Media, scene: &mut Scene) -> Departure {
        self.leave_due = false;
        self.stuck_since = None;
        if self.kernel.is_none() {
            let Some(batch) = self.outbound.take_next() else { return Departure::Pending };
            if scene.run.rng.chance(RING_IS_FULL) {
                self.outbound.refused(batch);
                return Departure::Pending;
            }
            self.waiting -= 1;
            self.kernel = Some(batch);
        }
        for _ in 0..scene.run.rng.between(1, 8) {
            let chunk = self.kernel.as_mut().and_then(|batch| batch.chunks.pop_front());
            let Some(chunk) = chunk else { break };
            let bytes = bytes_of(chunk, seat, media, &mut scene.run);
            scene.wires.send_down(self.wire, &bytes, &mut scene.run);
        }
        if self.kernel.as_ref().is_some_and(|batch| !batch.chunks.is_empty()) {
            return Departure::Pending;
        }
        self.kernel = None;
        Departure::Left(self.outbound.left())
    }

    /// The peer takes nothing now. Whether it has not for so long that the kernel gives the
    /// connection up.
    pub(super) fn waits_too_long(&mut self, now: u64) -> bool {
        let since = *self.stuck_since.get_or_insert(now);
        let most = match self.fate {
            Fate::Draining => limits::DRAIN_TIME_MAX,
            Fate::Open | Fate::HandingOver { .. } | Fate::Moving => limits::SEND_STALL_TIME_MAX,
        };
        u128::from(now - since) >= most.as_nanos()
    }

    /// Nothing more can be sent: what waits is dropped. The next of what it meant.
    pub(super) fn abandon(&mut self, seat: &mut Seat) -> Option<Meaning> {
        let (batch, meaning) = self.outbound.abandon()?;
        self.waiting -= 1;
        for chunk in batch.chunks {
            if let Chunk::Buffer { slice, claim, .. } = chunk {
                seat.pool.release(slice.buf, claim);
            }
        }
        Some(meaning)
    }

    /// The kernel lets go of its batch, some of which may have left. What it meant.
    pub(super) fn cancel_send(&mut self, seat: &mut Seat) -> Option<Meaning> {
        let batch = self.kernel.take()?;
        for chunk in batch.chunks {
            if let Chunk::Buffer { slice, claim, .. } = chunk {
                seat.pool.release(slice.buf, claim);
            }
        }
        Some(self.outbound.left())
    }

    pub(super) fn describe(&self) -> String {
        let Self { session, seat, fate, waiting, .. } = self;
        let kernel = self.kernel.is_some();
        format!("session {session} seat {seat} {fate:?}, {waiting} batches wait, sending {kernel}")
    }
}

/// The bytes of a chunk at the moment at which the kernel takes them.
fn bytes_of(chunk: Chunk, seat: &mut Seat, media: &Media, run: &mut Run) -> Vec<u8> {
    match chunk {
        Chunk::Inline(bytes) => bytes,
        Chunk::Buffer { slice, claim, seen } => {
            seat.pool.release(slice.buf, claim);
            if seat.pool.bytes(slice) != seen {
                run.fail(|| format!("{slice:?} has changed while it waited to be sent"));
            }
            seen
        }
        Chunk::Volume { at, len } => media.bytes(at, len, run),
    }
}

/// How often the ring takes no send, in a thousand.
const RING_IS_FULL: u64 = 20;
