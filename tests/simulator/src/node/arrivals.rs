//! Bytes on their way, cut anywhere, and the target side of their arrival.

use crate::link::{Filling, Link, Side};
use crate::pool::Use;
use crate::rng::size;
use crate::world::{Event, Stage, World};
use iscsi::{Bhs, DeframeFault, Piece};
use shard::Placement;
use std::net::SocketAddr;
use units::ConnId;

impl World {
    /// A new connection of a session, to any of the node's reactors.
    pub(crate) fn connect(&mut self, session: usize) -> usize {
        let seat = self.rng.place(self.seats.len());
        self.links.push(Link::new(session, seat));
        let link = self.links.len() - 1;
        let delay = self.short_delay();
        self.after(delay, Event::Knock { link });
        link
    }

    pub(crate) fn knock(&mut self, link: usize) {
        let Side::Knocking { seat } = self.links[link].side else { return };
        let number = u8::try_from(self.sessions[self.links[link].session].initiator).unwrap_or(0);
        let peer = SocketAddr::from(([10, 0, 0, number], 40_000));
        let local = SocketAddr::from(([10, 0, 1, 1], 3260));
        match self.shard(seat, |shard, now, _| shard.accept(now, peer, local)) {
            Some(conn) => {
                self.links[link].side = Side::At { seat, conn };
                self.seats[seat].conns.insert(conn, link);
                self.schedule_up(link);
            }
            None => {
                self.links[link].side = Side::Gone;
                self.links[link].down_closed = true;
                self.schedule_down(link);
            }
        }
    }

    /// Puts bytes on their way to the target.
    pub(crate) fn send_up(&mut self, link: usize, bytes: &[u8]) {
        if !self.links[link].up_closed {
            self.links[link].up.extend(bytes);
            self.schedule_up(link);
        }
    }

    pub(crate) fn schedule_up(&mut self, link: usize) {
        let state = &self.links[link];
        if state.up_due || state.up.is_empty() || !matches!(state.side, Side::At { .. }) {
            return;
        }
        let delay = self.wire_delay(link);
        self.links[link].up_due = true;
        self.after(delay, Event::Up { link });
    }

    pub(crate) fn schedule_down(&mut self, link: usize) {
        let state = &self.links[link];
        if state.down_due || (state.down.is_empty() && !state.down_closed) {
            return;
        }
        let delay = self.wire_delay(link);
        self.links[link].down_due = true;
        self.after(delay, Event::Down { link });
    }

    fn wire_delay(&mut self, link: usize) -> u64 {
        if self.stage == Stage::Chaos && self.rng.chance(self.plan.faults.stall) {
            let length = self.rng.between(1_000_000, 8_000_000_000);
            self.links[link].stalled_until = self.now + length;
        }
        let stalled = self.links[link].stalled_until.saturating_sub(self.now);
        self.short_delay().max(stalled)
    }

    /// How many of `waiting` bytes arrive at once.
    fn cut_of(&mut self, waiting: usize) -> usize {
        let dribbles = self.plan.faults.dribble && self.rng.chance(300);
        let most = if dribbles && waiting < 4096 {
            self.rng.pick(&[1, 3, 47, 49])
        } else {
            self.rng.pick(&[512, 4096, 65_536, 1 << 20, 1 << 20])
        };
        waiting.min(most)
    }

    pub(crate) fn bytes_down(&mut self, link: usize) {
        self.links[link].down_due = false;
        if self.links[link].up_closed {
            return;
        }
        let count = self.cut_of(self.links[link].down.len());
        let bytes: Vec<u8> = self.links[link].down.drain(..count).collect();
        let session = self.links[link].session;
        self.initiator_receives(session, &bytes);
        let state = &self.links[link];
        if state.down_closed && state.down.is_empty() {
            self.initiator_sees_end(session);
        } else {
            self.schedule_down(link);
        }
    }

    pub(crate) fn bytes_up(&mut self, link: usize) {
        self.links[link].up_due = false;
        let count = self.cut_of(self.links[link].up.len());
        let bytes: Vec<u8> = self.links[link].up.drain(..count).collect();
        let mut rest = &bytes[..];
        while let Side::At { seat, conn } = self.links[link].side {
            if !self.next_piece(link, (seat, conn), &mut rest) {
                break;
            }
        }
        // What was received already travels with a connection that moves.
        if matches!(self.links[link].side, Side::Moving { .. }) {
            for &byte in rest.iter().rev() {
                self.links[link].up.push_front(byte);
            }
        }
        self.schedule_up(link);
    }

    /// Takes the next piece off the bytes; false where there is none.
    fn next_piece(&mut self, link: usize, at: (usize, ConnId), rest: &mut &[u8]) -> bool {
        let (seat, conn) = at;
        let remaining = self.links[link].deframer.payload_remaining();
        let fills = self.links[link].filling.is_some() && remaining > 0 && !rest.is_empty();
        if fills && self.rng.chance(500) {
            // The kernel puts payload straight into the buffer, and nobody copies it.
            let (run, behind) = rest.split_at(rest.len().min(size(remaining)));
            *rest = behind;
            self.links[link].deframer.payload_received(run);
            self.fill(link, seat, run);
            return true;
        }
        match self.links[link].deframer.next(rest) {
            Ok(None) => false,
            Ok(Some(Piece::Header(bhs))) => {
                self.header_arrives(link, at, &bhs);
                true
            }
            Ok(Some(Piece::Payload(run))) => {
                self.payload_arrives(link, at, run);
                true
            }
            Ok(Some(Piece::End { data_digest_ok })) => {
                self.stop_filling(link, seat);
                self.shard(seat, |shard, now, actions| {
                    shard.handle_pdu_end(now, conn, data_digest_ok, actions);
                });
                true
            }
            Err(fault) => {
                self.deframe_fault(at, &fault);
                false
            }
        }
    }

    fn deframe_fault(&mut self, (seat, conn): (usize, ConnId), fault: &DeframeFault) {
        self.trace(|_| format!("{conn:?}: {fault}"));
        self.shard(seat, |shard, now, actions| {
            shard.handle_deframe_fault(now, conn, fault, actions);
        });
    }

    fn header_arrives(&mut self, link: usize, (seat, conn): (usize, ConnId), bhs: &Bhs) {
        let session = self.links[link].session;
        self.trace(|_| {
            let tag = bhs.initiator_task_tag().0;
            let len = bhs.data_segment_length();
            format!("session {session} => seat {seat} {:?} {tag:x} {len}", bhs.opcode())
        });
        self.delivered(session, bhs);
        let placement =
            self.shard(seat, |shard, now, actions| shard.handle_header(now, conn, bhs, actions));
        self.links[link].placement = placement;
        let Placement::Buffer(slice) = placement else { return };
        if slice.len != bhs.data_segment_length() {
            self.fail(|_| format!("{slice:?} is not as long as the data segment of {bhs:?}"));
        }
        let claim = self.tick();
        let result = self.seats[seat].pool.claim(slice, Use::Writes, claim);
        self.check(result);
        self.links[link].filling = Some(Filling { slice, done: 0, claim });
    }

    fn payload_arrives(&mut self, link: usize, (seat, conn): (usize, ConnId), run: &[u8]) {
        match self.links[link].placement {
            Placement::Buffer(_) => self.fill(link, seat, run),
            Placement::Discard => {}
            Placement::Engine => {
                self.shard(seat, |shard, _, _| shard.handle_segment(conn, run));
            }
        }
    }

    fn fill(&mut self, link: usize, seat: usize, run: &[u8]) {
        let Some(filling) = &mut self.links[link].filling else { return };
        let mut into = filling.slice;
        into.offset += filling.done;
        into.len = crate::rng::word(run.len());
        filling.done += into.len;
        if filling.done > filling.slice.len {
            return self.fail(|_| format!("more payload than {into:?} has room for"));
        }
        self.seats[seat].pool.bytes(into).copy_from_slice(run);
    }

    /// The initiator's side is gone: what is on its way may arrive, or a part of it, or nothing.
    pub(crate) fn cut(&mut self, link: usize) {
        if self.links[link].up_closed {
            return;
        }
        self.links[link].up_closed = true;
        self.links[link].stalled_until = 0;
        let arrive = self.rng.place(self.links[link].up.len() + 1);
        let arrive = self.rng.pick(&[0, arrive, self.links[link].up.len()]);
        self.links[link].up.truncate(arrive);
        self.links[link].down.clear();
        let delay = self.rng.below(3_000_000);
        self.after(delay, Event::Closed { link });
    }

    pub(crate) fn peer_closed(&mut self, link: usize) {
        match self.links[link].side {
            Side::At { .. } if !self.links[link].up.is_empty() => {
                self.schedule_up(link);
                self.after(100_000, Event::Closed { link });
            }
            Side::At { seat, conn } => {
                self.shard(seat, |shard, now, actions| shard.handle_closed(now, conn, actions));
            }
            Side::Knocking { .. } | Side::Moving { .. } => {
                self.after(100_000, Event::Closed { link });
            }
            Side::Leaving { .. } | Side::Gone => {}
        }
    }
}
