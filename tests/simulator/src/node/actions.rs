//! What shards want done, carried out.

use super::media::{InVolume, NewIo, Work};
use super::pool::Use;
use super::socket::Fate;
use super::{Node, NodeEvent};
use crate::clients::Command;
use crate::framing::Digests;
use crate::rng::size;
use crate::run::Run;
use crate::scene::Outside;
use iscsi::Bhs;
use shard::wire::Whereabouts;
use shard::{Action, Closing, IoResult, OpId, Placement, Sample, SendData};
use units::{BufId, BufSlice, ConnId, Serial32, VolumeId};
use volume::{BlockRequest, ByteRange};

/// An access of a shard to a medium.
struct Access {
    op: OpId,
    volume: VolumeId,
    request: BlockRequest,
}

/// A PDU of a shard.
struct Outgoing {
    header: [u8; 48],
    data: SendData,
    sample: Option<Sample>,
}

impl Node {
    pub(super) fn carry_out(&mut self, seat: usize, action: Action, out: &mut Outside) {
        match action {
            Action::Close { conn, closing } => self.close(seat, conn, closing, out),
            Action::Combine { op, by, first, second } => {
                self.combine(NewIo { seat, op, work: Work::Combine { by, first, second } }, out);
            }
            Action::EnterFullFeaturePhase {
                conn,
                header_digest,
                data_digest,
                max_data_segment_length,
            } => {
                let digests = Digests { header: header_digest, data: data_digest };
                if let Some(wire) = self.seats[seat].conns.get(&conn) {
                    let socket = self.sockets.get_mut(wire).expect("a connection has a socket");
                    socket.enter_full_feature_phase(digests, max_data_segment_length);
                }
            }
            Action::HandOver { conn, to, state } => {
                self.hand_over(seat, conn, Fate::HandingOver { to, state }, out);
            }
            Action::Io { op, volume, request } => {
                self.access(seat, Access { op, volume, request }, out);
            }
            Action::Place { conn, placement } => self.placed(seat, conn, placement, out),
            Action::Post { to, message } => {
                self.post(seat, Self::place_of(to), *message, &mut out.scene.run);
            }
            Action::Probe(conn) => self.probe(seat, conn, &mut out.scene.run),
            Action::Replicate { block, into } => self.replicate(seat, block, into, out),
            // The log, which nobody here reads.
            Action::Report(_) => {}
            Action::Return { conn, buf } => self.give_back(seat, conn, buf, out),
            Action::Send { conn, header, data, sample } => {
                self.send(seat, conn, Outgoing { header, data, sample }, out);
            }
            Action::ZeroFill(slice) => {
                self.overwrite(seat, slice, out);
                self.seats[seat].pool.bytes(slice).fill(0);
            }
        }
    }

    /// The shard lets a connection go: it is closed when all has left, or at once.
    fn close(&mut self, seat: usize, conn: ConnId, closing: Closing, out: &mut Outside) {
        let Some(wire) = self.seats[seat].conns.remove(&conn) else { return };
        self.stop_reading(wire, out);
        let socket = self.sockets.get_mut(&wire).expect("a connection has a socket");
        socket.conn = None;
        socket.fate = Fate::Draining;
        socket.inbound.end();
        if socket.direct.is_some() {
            let delay = out.scene.run.short_delay();
            self.after(delay, NodeEvent::DirectCancelled { wire }, &mut out.scene.run);
        }
        self.recycle_received(wire, &mut out.scene.run);
        if closing == Closing::Abandon {
            let delay = out.scene.run.short_delay();
            self.after(delay, NodeEvent::SendCancelled { wire }, &mut out.scene.run);
            self.drop_queued(wire, out);
        }
        self.schedule_leave(wire, &mut out.scene);
        // Nothing may wait to be sent.
        self.schedule_parse(wire, &mut out.scene.run);
    }

    /// The shard asks whether a connection moves bytes.
    fn probe(&mut self, seat: usize, conn: ConnId, run: &mut Run) {
        let delay = run.short_delay();
        self.after(delay, NodeEvent::Probed { seat, conn }, run);
    }

    /// The shard says where a data segment goes that it had no place for.
    fn placed(&mut self, seat: usize, conn: ConnId, placement: Placement, out: &mut Outside) {
        let Some(&wire) = self.seats[seat].conns.get(&conn) else {
            let run = &mut out.scene.run;
            return run.fail(|| format!("a place for {conn:?}, which is gone"));
        };
        let socket = self.sockets.get_mut(&wire).expect("a connection has a socket");
        if !socket.inbound.is_waiting() {
            out.scene.run.fail(|| format!("a place for {conn:?}, which does not wait"));
        }
        self.place(wire, placement, &mut out.scene.run);
        self.schedule_parse(wire, &mut out.scene.run);
    }

    fn hand_over(&mut self, seat: usize, conn: ConnId, fate: Fate, out: &mut Outside) {
        let Some(wire) = self.seats[seat].conns.remove(&conn) else { return };
        self.stop_reading(wire, out);
        let socket = self.sockets.get_mut(&wire).expect("a connection has a socket");
        socket.conn = None;
        socket.fate = fate;
        self.schedule_leave(wire, &mut out.scene);
        self.schedule_parse(wire, &mut out.scene.run);
    }

    /// A buffer that a connection fills goes back, once the kernel does not write it any more.
    fn give_back(&mut self, seat: usize, conn: ConnId, buf: BufId, out: &mut Outside) {
        let wire = self.seats[seat].conns.get(&conn);
        let socket = wire.and_then(|wire| self.sockets.get_mut(wire));
        let Some(socket) = socket.filter(|s| s.filling.is_some_and(|f| f.slice.buf == buf)) else {
            let run = &mut out.scene.run;
            return run.fail(|| format!("{buf:?} is to return, but {conn:?} does not fill it"));
        };
        if socket.inbound.give_back(buf) {
            socket.stop_filling(&mut self.seats[seat]);
            self.return_soon(seat, buf, &mut out.scene.run);
        }
    }

    fn access(&mut self, seat: usize, access: Access, out: &mut Outside) {
        let Access { op, volume, request } = access;
        let disk = volume.place();
        let in_memory = self.media.is_in_memory(disk);
        let run = &mut out.scene.run;
        if run.plan.volumes[disk].read_only && request.modifies() {
            run.fail(|| format!("{request:?} of volume {disk}, whose LUN allows no writes"));
        }
        let work = match request {
            BlockRequest::Flush => self.media.flush(disk),
            BlockRequest::MapQuery(ByteRange { offset, len }) => {
                Work::QueryMap { disk, offset, len }
            }
            BlockRequest::Read { offset, into, only_to_send: true } if in_memory => {
                let result = self.leave_in_volume(seat, into, InVolume { volume, offset }, out);
                return self.seats[seat].done.push_back((op, result));
            }
            BlockRequest::Read { offset, into, .. } => {
                self.overwrite(seat, into, out);
                Work::Read { disk, offset, into }
            }
            BlockRequest::Space { change, range: ByteRange { offset, len } } => {
                Work::Space { disk, change, offset, len }
            }
            BlockRequest::Write { offset, from, durable, last_use } => {
                let Some(bytes) = self.bytes_to_write(seat, from, last_use && in_memory, out)
                else {
                    return self.seats[seat].done.push_back((op, IoResult::Failed(EIO)));
                };
                let result = out.scene.ledger.check_write(disk, offset, &bytes);
                out.scene.run.check(result);
                Work::Write { disk, offset, from, durable, bytes }
            }
        };
        self.start(NewIo { seat, op, work }, out);
    }

    /// Bytes that are only sent stay in their memory volume.
    fn leave_in_volume(
        &mut self,
        seat: usize,
        into: BufSlice,
        at: InVolume,
        out: &mut Outside,
    ) -> IoResult {
        let InVolume { volume, offset } = at;
        let place = &mut self.seats[seat];
        place.check(into, Use::Writes, &mut out.scene.run);
        let first = place.contents.leave_in_volume(into, volume, offset);
        place.place(first, &self.sockets, &mut out.scene.run);
        let inside = self.media.contains(at, into.len);
        if inside { IoResult::Done } else { IoResult::Failed(EIO) }
    }

    /// The bytes that are to be written, from the receive buffer where a memory volume can take
    /// them from there.
    fn bytes_to_write(
        &mut self,
        seat: usize,
        from: BufSlice,
        uses_up: bool,
        out: &mut Outside,
    ) -> Option<Vec<u8>> {
        let place = &mut self.seats[seat];
        if uses_up && let Some(source) = place.contents.use_up(from) {
            let socket = self.sockets.get(&source.wire);
            let Some(bytes) = socket.and_then(|s| s.received(source.start, from.len)) else {
                out.scene.run.fail(|| format!("the receive buffer of {from:?} is gone"));
                return None;
            };
            // Nothing may read the buffer any more.
            let bytes = bytes.to_vec();
            place.pool.bytes(from).fill(USED_UP);
            return Some(bytes);
        }
        self.bytes_in_buffer(seat, from, out)
    }

    /// The bytes of a slice that an operation uses.
    fn bytes_in_buffer(
        &mut self,
        seat: usize,
        slice: BufSlice,
        out: &mut Outside,
    ) -> Option<Vec<u8>> {
        let place = &mut self.seats[seat];
        let located = place.contents.locate(slice);
        place.place(located.first, &self.sockets, &mut out.scene.run);
        match located.bytes {
            Whereabouts::Buffer => Some(place.pool.bytes(slice).to_vec()),
            Whereabouts::Spoiled => None,
            Whereabouts::Volume { volume, .. } => {
                let run = &mut out.scene.run;
                run.fail(|| format!("{slice:?} is used, but its bytes are in {volume:?}"));
                None
            }
        }
    }

    /// Bytes of a buffer are about to be written.
    fn overwrite(&mut self, seat: usize, slice: BufSlice, out: &mut Outside) {
        let place = &mut self.seats[seat];
        let first = place.contents.overwrite(slice.buf);
        place.place(first, &self.sockets, &mut out.scene.run);
        place.check(slice, Use::Writes, &mut out.scene.run);
    }

    fn start(&mut self, io: NewIo, out: &mut Outside) {
        let run = &mut out.scene.run;
        if let Some(result) = self.media.end_at_once(&io, &mut self.seats, run) {
            return self.seats[io.seat].done.push_back((io.op, result));
        }
        let started = self.media.start(io, &mut self.seats, run);
        self.after(started.half, NodeEvent::IoHalf { io: started.io }, run);
        self.after(started.end, NodeEvent::IoEnd { io: started.io }, run);
    }

    fn combine(&mut self, io: NewIo, out: &mut Outside) {
        let Work::Combine { first, second, .. } = io.work else { unreachable!("it is one") };
        let whole =
            [first, second].map(|slice| self.bytes_in_buffer(io.seat, slice, out).is_some());
        if whole == [true, true] {
            // What is made of the second buffer is its own from now on.
            self.overwrite(io.seat, second, out);
            self.start(io, out);
        } else {
            self.seats[io.seat].done.push_back((io.op, IoResult::Failed(EIO)));
        }
    }

    fn replicate(&mut self, seat: usize, block: BufSlice, into: BufSlice, out: &mut Outside) {
        let Some(block) = self.bytes_in_buffer(seat, block, out) else { return };
        self.overwrite(seat, into, out);
        let into = self.seats[seat].pool.bytes(into);
        if block.is_empty() || !into.len().is_multiple_of(block.len()) {
            let run = &mut out.scene.run;
            return run.fail(|| "a block is repeated to no whole number of blocks".into());
        }
        for part in into.chunks_exact_mut(block.len()) {
            part.copy_from_slice(&block);
        }
    }

    fn send(&mut self, seat: usize, conn: ConnId, pdu: Outgoing, out: &mut Outside) {
        let Some(&wire) = self.seats[seat].conns.get(&conn) else {
            let run = &mut out.scene.run;
            return run.fail(|| format!("a PDU is to be sent on {conn:?}, which is gone"));
        };
        let socket = self.sockets.get_mut(&wire).expect("a connection has a socket");
        let session = socket.session;
        self.inspect(session, &pdu, out);
        self.check_window(wire, &pdu.header, out);
        let Outgoing { header, data, sample } = pdu;
        let run = &mut out.scene.run;
        let socket = self.sockets.get_mut(&wire).expect("a connection has a socket");
        let mut at = Whereabouts::Buffer;
        socket.queue_head(&header, run);
        if let SendData::Buffer { slice, .. } = &data {
            let must_copy = socket.outbound.must_copy(socket.digests.data);
            let located = self.seats[seat].contents.locate(*slice);
            self.seats[seat].place(located.first, &self.sockets, run);
            at = located.bytes;
            if must_copy && let Whereabouts::Volume { volume, offset } = at {
                let bytes = self.media.bytes(InVolume { volume, offset }, slice.len, run);
                let result = self.seats[seat].pool.fill(*slice, &bytes);
                run.check(result);
                at = Whereabouts::Buffer;
            }
        }
        let socket = self.sockets.get_mut(&wire).expect("a connection has a socket");
        socket.queue_data(&data, at, &mut self.seats[seat], run);
        socket.end_pdu(&data, sample.as_ref());
        self.samples.queued += u64::from(sample.is_some());
        self.schedule_leave(wire, &mut out.scene);
    }

    /// The command window follows the buffers: it does not open while data of a command waits for
    /// one. The window does not know of immediate commands.
    fn check_window(&mut self, wire: usize, header: &[u8; 48], out: &mut Outside) {
        let socket = self.sockets.get_mut(&wire).expect("a connection has a socket");
        if !socket.inbound.is_waiting() {
            return;
        }
        let tag = socket.deframer.header().initiator_task_tag().0;
        let session = out.clients.session(socket.session);
        let is_over = |command: &Command| command.maybe_aborted || command.aborting;
        if session.wild || session.command(tag).is_none_or(|c| c.immediate || is_over(c)) {
            return;
        }
        let max = Serial32(u32::from_be_bytes([header[32], header[33], header[34], header[35]]));
        let held = *socket.held_max.get_or_insert(max);
        if max != held {
            let (from, to) = (held.0, max.0);
            out.scene.run.fail(|| {
                format!("the window opens from {from:x} to {to:x} while data of {tag:x} waits")
            });
        }
    }

    /// What must hold of a PDU that is about to be sent.
    fn inspect(&self, session: usize, pdu: &Outgoing, out: &mut Outside) {
        let bhs = &Bhs::new(pdu.header);
        let announced = size(bhs.data_segment_length());
        let len = match &pdu.data {
            SendData::None => 0,
            SendData::Bytes(bytes) => bytes.len(),
            SendData::Buffer { slice, .. } => size(slice.len),
        };
        out.scene.run.trace(|| {
            let tag = bhs.initiator_task_tag().0;
            format!("session {session} <= {:?} {tag:x} {announced}", bhs.opcode())
        });
        if len != announced {
            out.scene.run.fail(|| format!("{bhs:?} announces {announced} bytes and has {len}"));
        }
        out.check_sample(session, bhs, pdu.sample.as_ref());
        out.check_refusal(session, bhs, self.media.oldest_ns(out.scene.run.now));
        out.reset_is_answered(session, bhs);
        for op in out.ended_by(session, bhs) {
            // What is written back is of another command than the one that wrote it first.
            let is_own = |disk, sector| !out.scene.ledger.is_rewritten(disk, sector);
            if let Some(busy) = self.media.write_of(op, is_own) {
                out.scene.run.fail(|| {
                    format!("{:?} is sent while write {op} is under way: {busy}", bhs.opcode())
                });
            }
            out.scene.ledger.must_be_quiet(op);
        }
    }
}

/// What an operation fails with that cannot be carried out.
const EIO: i32 = 5;

/// What is in a buffer whose bytes were used up in the receive buffer.
const USED_UP: u8 = 0xdd;
