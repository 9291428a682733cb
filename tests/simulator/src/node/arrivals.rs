//! Connections that come, the bytes that they bring, and connections that go.

use super::seat::Source;
use super::socket::{Direct, Fate, Socket};
use super::{Node, NodeEvent};
use crate::framing::Digests;
use crate::rng::{byte, size, word};
use crate::run::{Event, Run};
use crate::scene::Outside;
use iscsi::{Bhs, Piece};
use shard::wire::Run as Part;
use shard::{Actions, HandedOver, Placement, Shard};
use std::net::SocketAddr;
use units::ConnId;

/// What the next bytes of a connection turned out to be.
enum Found {
    NeedMore,
    Header(Bhs),
    /// `None` where a run was dropped or placed.
    Segment(Option<Vec<u8>>),
    End {
        data_digest_ok: bool,
    },
    Fault(iscsi::DeframeFault),
}

impl Node {
    /// A connection request arrives.
    pub(crate) fn knock(&mut self, wire: usize, out: &mut Outside) {
        let state = out.scene.wires.get(wire);
        let (seat, session) = (state.seat, state.session);
        if state.down_closed {
            // The power failed meanwhile.
            return;
        }
        let number = byte(out.clients.initiator_of(session));
        let peer = SocketAddr::from(([10, 0, 0, number], 40_000));
        let local = SocketAddr::from(([10, 0, 1, 1], 3260));
        match self.call(seat, out, |shard, now, _| shard.accept(now, peer, local)) {
            Some(conn) => {
                self.sockets.insert(wire, Socket::new(wire, session, seat, conn));
                self.seats[seat].conns.insert(conn, wire);
                out.scene.wires.set_reading(wire, true, &mut out.scene.run);
            }
            None => out.scene.wires.close_down(wire, &mut out.scene.run),
        }
    }

    /// Bytes arrive on a wire.
    pub(crate) fn bytes_up(&mut self, wire: usize, out: &mut Outside) {
        let Some(socket) = self.sockets.get_mut(&wire) else { return };
        let most = socket.direct.map_or(u32::MAX, |direct| direct.slice.len);
        let bytes = out.scene.wires.deliver_up(wire, size(most), &mut out.scene.run);
        if bytes.is_empty() {
            return;
        }
        match socket.direct.take() {
            Some(direct) => self.direct_ends(wire, direct, &bytes, out),
            None => socket.receive(bytes),
        }
        self.parse(wire, out);
    }

    /// A receive straight into a buffer has ended with some bytes.
    fn direct_ends(&mut self, wire: usize, direct: Direct, bytes: &[u8], out: &mut Outside) {
        let Some(socket) = self.sockets.get_mut(&wire) else { return };
        let seat = &mut self.seats[socket.seat];
        let here = units::BufSlice { len: word(bytes.len()), ..direct.slice };
        let result = seat.pool.fill(here, bytes);
        out.scene.run.check(result);
        socket.deframer.payload_received(bytes);
        let owed = socket.inbound.direct_ended(here.len);
        assert!(owed.is_none(), "the buffer of a connection that is open is not given back");
        // The end of the PDU may need no further byte.
        socket.receive(Vec::new());
    }

    /// The receive straight into a buffer of a connection that closes is cancelled.
    pub(super) fn direct_cancelled(&mut self, wire: usize, out: &mut Outside) {
        let Some(socket) = self.sockets.get_mut(&wire) else { return };
        if socket.direct.take().is_none() {
            return;
        }
        let seat = socket.seat;
        if let Some(buf) = socket.inbound.direct_ended(0) {
            socket.stop_filling(&mut self.seats[seat]);
            self.return_soon(seat, buf, &mut out.scene.run);
        }
        self.end_if_flushed(wire, out);
    }

    /// Takes what has been received apart, as far as it may go now.
    pub(super) fn parse(&mut self, wire: usize, out: &mut Outside) {
        if let Some(socket) = self.sockets.get_mut(&wire) {
            socket.parse_due = false;
        }
        loop {
            let Some(socket) = self.sockets.get_mut(&wire) else { return };
            let Some(conn) = socket.conn else { break };
            let seat = socket.seat;
            if socket.is_backed_up(&out.scene.run) || socket.inbound.is_waiting() {
                self.set_aside(wire, &mut out.scene.run);
                break;
            }
            if out.scene.run.rng.chance(TURN_ENDS) {
                // A data segment must not wait in the receive buffer: the next connection may
                // bring one of its own.
                self.place_unplaced(seat, &mut out.scene.run);
                self.schedule_parse(wire, &mut out.scene.run);
                break;
            }
            match self.next_piece(wire, &mut out.scene.run) {
                Found::NeedMore => {
                    self.recycle_received(wire, &mut out.scene.run);
                    self.may_receive_directly(wire, &mut out.scene.run);
                    break;
                }
                Found::Header(bhs) => self.header_arrives(wire, conn, &bhs, out),
                Found::Segment(None) => {}
                Found::Segment(Some(run)) => {
                    self.call(seat, out, |shard, _, _| shard.handle_segment(conn, &run));
                }
                Found::End { data_digest_ok } => {
                    self.end_arrives(wire, conn, data_digest_ok, out);
                }
                Found::Fault(fault) => {
                    out.scene.run.trace(|| format!("{conn:?}: {fault}"));
                    self.call(seat, out, |shard, now, actions| {
                        shard.handle_deframe_fault(now, conn, &fault, actions);
                    });
                    break;
                }
            }
        }
        self.end_if_flushed(wire, out);
    }

    /// Takes the next piece off what a connection has received, and puts payload where it
    /// belongs.
    fn next_piece(&mut self, wire: usize, run: &mut Run) -> Found {
        let Some(socket) = self.sockets.get_mut(&wire) else { return Found::NeedMore };
        let Some(received) = &mut socket.received else { return Found::NeedMore };
        let mut input = &received.bytes[received.at..];
        let found = socket.deframer.next(&mut input);
        let at = received.bytes.len() - input.len();
        received.at = at;
        let payload = match found {
            Ok(None) => return Found::NeedMore,
            Ok(Some(Piece::Header(bhs))) => return Found::Header(bhs),
            Ok(Some(Piece::End { data_digest_ok })) => return Found::End { data_digest_ok },
            Err(fault) => return Found::Fault(fault),
            Ok(Some(Piece::Payload(payload))) => payload,
        };
        let seat = socket.seat;
        match socket.inbound.run(word(payload.len()), received.stays) {
            Part::Drop => {}
            Part::Engine => return Found::Segment(Some(payload.to_vec())),
            Part::Fill(slice) => {
                let start = at - payload.len();
                let first = self.seats[seat].contents.overwrite(slice.buf);
                self.seats[seat].place(first, &self.sockets, run);
                let received = self.sockets[&wire].received.as_ref();
                let bytes = received.map_or(&[][..], |r| &r.bytes[start..at]);
                let result = self.seats[seat].pool.fill(slice, bytes);
                run.check(result);
            }
            Part::Leave(slice) => {
                let start = at - payload.len();
                let source = Source { wire, start };
                let first = self.seats[seat].contents.leave_in_receive_buffer(slice, source);
                self.seats[seat].place(first, &self.sockets, run);
            }
            Part::Misfit => run.fail(|| "more payload than a buffer has room for".into()),
        }
        Found::Segment(None)
    }

    fn header_arrives(&mut self, wire: usize, conn: ConnId, bhs: &Bhs, out: &mut Outside) {
        let socket = &self.sockets[&wire];
        let (seat, session) = (socket.seat, socket.session);
        out.scene.run.trace(|| {
            let tag = bhs.initiator_task_tag().0;
            let len = bhs.data_segment_length();
            format!("session {session} => seat {seat} {:?} {tag:x} {len}", bhs.opcode())
        });
        out.header_arrives(session, bhs);
        // The shard's first actions may say where a segment goes that waits.
        let now = units::Instant(out.scene.run.now);
        let call = |shard: &mut Shard, now, actions: &mut Actions| {
            shard.handle_header(now, conn, bhs, actions)
        };
        let placement = self.seats[seat].call(now, call);
        if placement == Placement::Wait {
            out.clients.session_mut(session).was_short = true;
        }
        self.place(wire, placement, &mut out.scene.run);
        self.call(seat, out, |_, _, _| ());
    }

    /// The data segment of a connection goes there.
    pub(super) fn place(&mut self, wire: usize, placement: Placement, run: &mut Run) {
        let Some(socket) = self.sockets.get_mut(&wire) else { return };
        socket.inbound.begin(placement);
        socket.held_max = None;
        let Placement::Buffer(slice) = placement else { return };
        let bhs = socket.deframer.header();
        if slice.len != bhs.data_segment_length() {
            run.fail(|| format!("{slice:?} is not as long as the data segment of {bhs:?}"));
        }
        socket.begin_filling(slice, &mut self.seats[socket.seat], run);
    }

    fn end_arrives(&mut self, wire: usize, conn: ConnId, data_digest_ok: bool, out: &mut Outside) {
        let Some(socket) = self.sockets.get_mut(&wire) else { return };
        let seat = socket.seat;
        socket.inbound.end();
        socket.stop_filling(&mut self.seats[seat]);
        self.call(seat, out, |shard, now, actions| {
            shard.handle_pdu_end(now, conn, data_digest_ok, actions);
        });
        self.place_unplaced(seat, &mut out.scene.run);
    }

    fn place_unplaced(&mut self, seat: usize, run: &mut Run) {
        let unplaced = self.seats[seat].contents.take_unplaced();
        self.seats[seat].place(unplaced, &self.sockets, run);
    }

    /// The receive buffer of a connection goes back to the ring.
    pub(super) fn recycle_received(&mut self, wire: usize, run: &mut Run) {
        let Some(socket) = self.sockets.get(&wire) else { return };
        self.place_unplaced(socket.seat, run);
        if let Some(socket) = self.sockets.get_mut(&wire) {
            socket.received = None;
        }
    }

    /// Nobody knows when a connection that is backed up is parsed again: its bytes wait in memory
    /// of their own.
    fn set_aside(&mut self, wire: usize, run: &mut Run) {
        let Some(socket) = self.sockets.get(&wire) else { return };
        self.place_unplaced(socket.seat, run);
        let socket = self.sockets.get_mut(&wire);
        if let Some(received) = socket.and_then(|s| s.received.as_mut()) {
            received.stays = false;
        }
    }

    /// The rest of a data segment may be received straight into its buffer.
    fn may_receive_directly(&mut self, wire: usize, run: &mut Run) {
        let Some(socket) = self.sockets.get_mut(&wire) else { return };
        let rest = socket.inbound.rest(socket.deframer.payload_remaining());
        if let Some(slice) = rest
            && socket.direct.is_none()
            && run.rng.chance(500)
        {
            let place = &mut self.seats[socket.seat];
            let first = place.contents.overwrite(slice.buf);
            socket.inbound.direct_begun(slice.buf);
            socket.direct = Some(Direct { slice });
            self.seats[self.sockets[&wire].seat].place(first, &self.sockets, run);
        }
    }

    pub(super) fn schedule_parse(&mut self, wire: usize, run: &mut Run) {
        let Some(socket) = self.sockets.get_mut(&wire) else { return };
        let waits = socket.received.is_some() && socket.conn.is_some();
        let ends = !matches!(socket.fate, Fate::Open | Fate::Moving);
        if !socket.parse_due && (waits || ends) {
            socket.parse_due = true;
            let delay = run.short_delay();
            self.after(delay, NodeEvent::Parse { wire }, run);
        }
    }

    /// The shard reads no more from the connection.
    pub(super) fn stop_reading(&mut self, wire: usize, out: &mut Outside) {
        out.scene.wires.set_reading(wire, false, &mut out.scene.run);
    }

    /// The initiator's side is gone, and the node notices.
    pub(crate) fn peer_closed(&mut self, wire: usize, out: &mut Outside) {
        let again = |out: &mut Outside| out.scene.run.after(100_000, Event::Closed { wire });
        let Some(socket) = self.sockets.get_mut(&wire) else {
            // It may not have been accepted yet.
            if !out.scene.wires.get(wire).down_closed {
                again(out);
            }
            return;
        };
        let seat = socket.seat;
        match (&socket.fate, socket.conn) {
            (Fate::Open, Some(conn)) => {
                if out.scene.wires.has_up(wire) || socket.received.is_some() {
                    return again(out);
                }
                self.call(seat, out, |shard, now, actions| {
                    shard.handle_closed(now, conn, actions);
                });
            }
            (Fate::Draining, _) => self.abandon(wire, out),
            // The other reactor will find out.
            (Fate::Open | Fate::HandingOver { .. } | Fate::Moving, _) => again(out),
        }
    }

    /// Nothing more can be sent on a connection: what is queued is dropped, and its buffers go
    /// back.
    fn abandon(&mut self, wire: usize, out: &mut Outside) {
        self.drop_queued(wire, out);
        self.end_if_flushed(wire, out);
    }

    /// The send of a connection that was closed at once is cancelled: a part of it may have left.
    pub(super) fn send_cancelled(&mut self, wire: usize, out: &mut Outside) {
        let Some(socket) = self.sockets.get_mut(&wire) else { return };
        let seat = socket.seat;
        if let Some(meaning) = socket.cancel_send(&mut self.seats[seat]) {
            self.samples.dropped += meaning.samples.iter().map(|(_, count)| count).sum::<u64>();
            for &buf in &meaning.returns {
                self.return_soon(seat, buf, &mut out.scene.run);
            }
        }
        self.end_if_flushed(wire, out);
    }

    /// What waits to be sent is dropped, and its buffers go back.
    pub(super) fn drop_queued(&mut self, wire: usize, out: &mut Outside) {
        let Some(socket) = self.sockets.get_mut(&wire) else { return };
        let seat = socket.seat;
        let mut returns = Vec::new();
        while let Some(meaning) = socket.abandon(&mut self.seats[seat]) {
            self.samples.dropped += meaning.samples.iter().map(|(_, count)| count).sum::<u64>();
            returns.extend(meaning.returns);
        }
        for buf in returns {
            self.return_soon(seat, buf, &mut out.scene.run);
        }
    }

    /// A connection that nothing of is left goes.
    pub(super) fn end_if_flushed(&mut self, wire: usize, out: &mut Outside) {
        let Some(socket) = self.sockets.get_mut(&wire) else { return };
        if !socket.is_flushed() || socket.direct.is_some() {
            return;
        }
        let seat = socket.seat;
        match std::mem::replace(&mut socket.fate, Fate::Moving) {
            Fate::Draining => {
                let owed = socket.inbound.take_owed();
                socket.stop_filling(&mut self.seats[seat]);
                if let Some(buf) = owed {
                    self.return_soon(seat, buf, &mut out.scene.run);
                }
                self.sockets.remove(&wire);
                out.scene.wires.close_down(wire, &mut out.scene.run);
            }
            Fate::HandingOver { to, state } => {
                let to = Self::place_of(to);
                self.set_aside(wire, &mut out.scene.run);
                let delay = out.scene.run.short_delay();
                let event = NodeEvent::Move { wire, to, state };
                self.after(delay, event, &mut out.scene.run);
            }
            fate @ (Fate::Open | Fate::Moving) => socket.fate = fate,
        }
    }

    /// A connection has come from another reactor.
    pub(super) fn adopt(&mut self, wire: usize, to: usize, state: HandedOver, out: &mut Outside) {
        let Some(socket) = self.sockets.get_mut(&wire) else { return };
        let digests = Digests { header: state.header_digest, data: state.data_digest };
        socket.enter_full_feature_phase(digests, state.max_data_segment_length);
        socket.seat = to;
        let now = units::Instant(out.scene.run.now);
        let conn = self.seats[to].call(now, |shard, now, actions| shard.adopt(now, state, actions));
        // The shard's first actions may name the connection that it has just got.
        socket.conn = conn;
        socket.fate = if conn.is_some() { Fate::Open } else { Fate::Draining };
        if let Some(conn) = conn {
            self.seats[to].conns.insert(conn, wire);
        }
        self.call(to, out, |_, _, _| ());
        if self.sockets.get(&wire).is_some_and(|s| s.conn.is_some()) {
            out.scene.wires.set_reading(wire, true, &mut out.scene.run);
        }
        self.schedule_parse(wire, &mut out.scene.run);
        self.end_if_flushed(wire, out);
    }
}

/// How often a turn of the reactor ends in the middle of what was received, in a thousand.
const TURN_ENDS: u64 = 20;
