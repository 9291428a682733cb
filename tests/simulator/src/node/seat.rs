//! A reactor as the simulator plays it: it calls its shard, and carries out what that asks for.

use crate::link::{Link, Queued, Side};
use crate::pool::{Pool, Use};
use crate::rng::{Rng, size};
use crate::world::{Event, World};
use iscsi::{Bhs, Opcode};
use shard::{Action, Actions, HandedOver, SendData, Shard, ShardOptions};
use std::collections::{BTreeMap, VecDeque};
use units::{BufId, BufSlice, ConnId, Instant, ReactorId, limits};

/// One reactor.
pub(crate) struct Seat {
    pub(crate) shard: Shard,
    actions: Actions,
    pub(crate) pool: Pool,
    pub(crate) conns: BTreeMap<ConnId, usize>,
    timer: Option<u64>,
}

impl World {
    pub(crate) fn new_seat(&mut self, id: u8) -> Seat {
        let mut entropy = Rng::new(self.rng.next());
        let options = ShardOptions {
            id: ReactorId(id),
            reactors: self.plan.reactors,
            layout: self.plan.layout(),
            login_time_max: limits::LOGIN_TIME_MAX,
            straight: self.plan.straight,
            entropy: Box::new(move |bytes: &mut [u8]| {
                for byte in bytes {
                    *byte = entropy.next().to_le_bytes()[0];
                }
            }),
        };
        Seat {
            shard: Shard::new(options, self.admin.catalog()),
            actions: Actions::default(),
            pool: Pool::new(self.plan.layout()),
            conns: BTreeMap::new(),
            timer: None,
        }
    }

    /// Calls a shard, and carries out what it wants before anything else happens.
    pub(crate) fn shard<R>(
        &mut self,
        seat: usize,
        call: impl FnOnce(&mut Shard, Instant, &mut Actions) -> R,
    ) -> R {
        let now = Instant(self.now);
        let place = &mut self.seats[seat];
        let result = call(&mut place.shard, now, &mut place.actions);
        while let Some(action) = self.seats[seat].actions.pop() {
            self.carry_out(seat, action);
        }
        self.set_timer(seat);
        result
    }

    fn set_timer(&mut self, seat: usize) {
        let due = self.seats[seat].shard.poll_timeout().map(|t| t.0);
        if due == self.seats[seat].timer {
            return;
        }
        self.seats[seat].timer = due;
        if let Some(due) = due {
            let delay = due.saturating_sub(self.now);
            self.after(delay, Event::Timer { seat });
        }
    }

    pub(crate) fn timer(&mut self, seat: usize) {
        if self.seats[seat].timer.is_some_and(|due| due <= self.now) {
            self.seats[seat].timer = None;
            self.shard(seat, |shard, now, actions| shard.handle_timeout(now, actions));
        }
    }

    fn carry_out(&mut self, seat: usize, action: Action) {
        match action {
            Action::Close(conn) => {
                if let Some(link) = self.seats[seat].conns.remove(&conn) {
                    self.links[link].side = Side::Leaving { seat };
                    self.enqueue(link, Queued::Close);
                }
            }
            Action::EnterFullFeaturePhase {
                conn,
                header_digest,
                data_digest,
                max_data_segment_length,
            } => {
                if let Some(&link) = self.seats[seat].conns.get(&conn) {
                    let deframer = &mut self.links[link].deframer;
                    deframer.set_digests(header_digest, data_digest);
                    deframer.set_max_data_segment_length(max_data_segment_length);
                    let digests = Queued::Digests { header: header_digest, data: data_digest };
                    self.enqueue(link, digests);
                }
            }
            Action::HandOver { conn, to, state } => {
                if let Some(link) = self.seats[seat].conns.remove(&conn) {
                    self.links[link].side = Side::Moving { seat };
                    self.enqueue(link, Queued::HandOver { to, state });
                }
            }
            Action::Post { to, message } => self.post(seat, size(to.0), *message),
            Action::Replicate { block, into } => self.replicate(seat, block, into),
            Action::Return { conn: _, buf } => self.return_behind(seat, buf),
            Action::Send { conn, header, data, sample: _ } => self.send(seat, conn, header, data),
            Action::ZeroFill(slice) => {
                let result = self.seats[seat].pool.check(slice, Use::Writes);
                self.check(result);
                self.seats[seat].pool.bytes(slice).fill(0);
            }
            Action::Compare { .. } | Action::Io { .. } => self.start_io(seat, action),
        }
    }

    fn post(&mut self, from: usize, to: usize, message: shard::Message) {
        let delay = self.short_delay();
        let last = self.mail_last.entry((from, to)).or_insert(0);
        *last = (self.now + delay).max(*last);
        let delay = *last - self.now;
        self.mail.entry((from, to)).or_default().push_back(message);
        self.after(delay, Event::Mail { from, to });
    }

    pub(crate) fn mail_arrives(&mut self, from: usize, to: usize) {
        let message = self.mail.get_mut(&(from, to)).and_then(VecDeque::pop_front);
        let Some(message) = message else { return };
        self.trace(|_| format!("seat {to}: from {from}: {message:?}"));
        let sender = ReactorId(u8::try_from(from).unwrap_or(0));
        self.shard(to, |shard, now, actions| shard.handle_message(now, sender, message, actions));
    }

    fn replicate(&mut self, seat: usize, block: BufSlice, into: BufSlice) {
        let pool = &mut self.seats[seat].pool;
        let results = [pool.check(block, Use::Reads), pool.check(into, Use::Writes)];
        let block = pool.bytes(block).to_vec();
        let into = pool.bytes(into);
        let whole = !block.is_empty() && into.len().is_multiple_of(block.len());
        for part in into.chunks_exact_mut(block.len().max(1)) {
            part.copy_from_slice(&block);
        }
        for result in results {
            self.check(result);
        }
        if !whole {
            self.fail(|_| "a block is to be repeated to no whole number of blocks".into());
        }
    }

    /// A buffer goes back once what is queued on its connection has left. The connection may
    /// be leaving already, so it is found by what it fills.
    fn return_behind(&mut self, seat: usize, buf: BufId) {
        let fills =
            |l: &Link| l.seat() == Some(seat) && l.filling.is_some_and(|f| f.slice.buf == buf);
        match self.links.iter().position(fills) {
            Some(link) => self.enqueue(link, Queued::Return(buf)),
            None => self.fail(|_| format!("{buf:?} is to return, but no connection fills it")),
        }
    }

    fn send(&mut self, seat: usize, conn: ConnId, header: [u8; 48], data: SendData) {
        let Some(&link) = self.seats[seat].conns.get(&conn) else {
            return self.fail(|_| format!("a PDU is to be sent on {conn:?}, which is gone"));
        };
        let bhs = Bhs::new(header);
        self.trace(|w| {
            let tag = bhs.initiator_task_tag().0;
            let session = w.links[link].session;
            format!("session {session} <= {:?} {tag:x} {}", bhs.opcode(), bhs.data_segment_length())
        });
        let claim = self.tick();
        let mut seen = Vec::new();
        let announced = size(bhs.data_segment_length());
        let len = match &data {
            SendData::None => 0,
            SendData::Bytes(bytes) => bytes.len(),
            SendData::Buffer { slice, .. } => {
                let result = self.seats[seat].pool.claim(*slice, Use::Reads, claim);
                self.check(result);
                seen = self.seats[seat].pool.bytes(*slice).to_vec();
                seen.len()
            }
        };
        if len != announced {
            self.fail(|_| format!("{bhs:?} announces {announced} bytes and has {len}"));
        }
        self.is_quiet_enough(link, &bhs);
        self.enqueue(link, Queued::Pdu { header, data, claim, seen });
    }

    /// An answer that ends tasks may only be given when they are quiet.
    fn is_quiet_enough(&mut self, link: usize, bhs: &Bhs) {
        let session = self.links[link].session;
        let ended = match bhs.opcode() {
            Opcode::TaskManagementResponse => self.ended_by_management(session, bhs),
            Opcode::LogoutResponse => self.ended_by_logout(session, bhs),
            Opcode::LoginResponse => self.ended_by_login(session, bhs),
            Opcode::NopOut
            | Opcode::ScsiCommand
            | Opcode::TaskManagementRequest
            | Opcode::LoginRequest
            | Opcode::TextRequest
            | Opcode::DataOut
            | Opcode::LogoutRequest
            | Opcode::SnackRequest
            | Opcode::NopIn
            | Opcode::ScsiResponse
            | Opcode::TextResponse
            | Opcode::DataIn
            | Opcode::ReadyToTransfer
            | Opcode::AsyncMessage
            | Opcode::Reject
            | Opcode::Unknown(_) => return,
        };
        for op in ended {
            let busy = self.ios.values().find(|io| io.writes(op)).map(|io| io.describe());
            if let Some(busy) = busy {
                self.fail(|_| {
                    format!("{:?} is sent while write {op} is under way: {busy}", bhs.opcode())
                });
            }
            self.ended[size(op)] = true;
        }
    }

    pub(crate) fn enqueue(&mut self, link: usize, queued: Queued) {
        self.links[link].queue.push_back(queued);
        self.schedule_leave(link);
    }

    fn schedule_leave(&mut self, link: usize) {
        let state = &mut self.links[link];
        if state.queue_due || state.queue.is_empty() {
            return;
        }
        state.queue_due = true;
        // A broken connection holds nothing up.
        let stalled = if state.up_closed { 0 } else { state.stalled_until };
        let delay = self.short_delay().max(stalled.saturating_sub(self.now));
        self.after(delay, Event::Leave { link });
    }

    /// The next few of what a connection has to send leave.
    pub(crate) fn leave(&mut self, link: usize) {
        self.links[link].queue_due = false;
        for _ in 0..self.rng.between(1, 8) {
            let Some(queued) = self.links[link].queue.pop_front() else { break };
            let Some(seat) = self.links[link].seat() else { break };
            match queued {
                Queued::Close => self.close_target_side(link),
                Queued::Digests { header, data } => {
                    self.links[link].header_digests = header;
                    self.links[link].data_digests = data;
                }
                Queued::HandOver { to, state } => {
                    let delay = self.short_delay();
                    self.after(delay, Event::Move { link, to: size(to.0), state });
                }
                Queued::Pdu { header, data, claim, seen } => {
                    self.pdu_leaves(link, seat, (header, data), (claim, &seen));
                }
                Queued::Return(buf) => {
                    self.stop_filling(link, seat);
                    self.return_soon(seat, buf);
                }
            }
        }
        self.schedule_leave(link);
    }

    fn pdu_leaves(
        &mut self,
        link: usize,
        seat: usize,
        (header, data): ([u8; 48], SendData),
        (claim, seen): (u64, &[u8]),
    ) {
        let bytes = match data {
            SendData::None => Vec::new(),
            SendData::Bytes(bytes) => bytes,
            SendData::Buffer { slice, last } => {
                let bytes = self.seats[seat].pool.bytes(slice).to_vec();
                self.seats[seat].pool.release(slice.buf, claim);
                if bytes != seen {
                    self.fail(|_| format!("{slice:?} has changed while it waited to be sent"));
                }
                if last {
                    self.return_soon(seat, slice.buf);
                }
                bytes
            }
        };
        let state = &mut self.links[link];
        if !state.up_closed {
            let digests = (state.header_digests, state.data_digests);
            state.down.extend(crate::link::encode(&header, &bytes, digests, false));
            self.schedule_down(link);
        }
    }

    fn return_soon(&mut self, seat: usize, buf: BufId) {
        let result = self.seats[seat].pool.give_back(buf);
        self.check(result);
        let delay = self.short_delay();
        self.after(delay, Event::Return { seat, buf });
    }

    pub(crate) fn buffer_returns(&mut self, seat: usize, buf: BufId) {
        self.shard(seat, |shard, now, actions| shard.handle_buffer_returned(now, buf, actions));
    }

    /// The socket writes into no buffer any more.
    pub(crate) fn stop_filling(&mut self, link: usize, seat: usize) {
        if let Some(filling) = self.links[link].filling.take() {
            self.seats[seat].pool.release(filling.slice.buf, filling.claim);
        }
    }

    fn close_target_side(&mut self, link: usize) {
        if let Some(seat) = self.links[link].seat() {
            self.stop_filling(link, seat);
        }
        self.links[link].side = Side::Gone;
        self.links[link].down_closed = true;
        self.links[link].up.clear();
        self.schedule_down(link);
    }

    /// A connection has come from another core.
    pub(crate) fn link_arrives(&mut self, link: usize, to: usize, state: HandedOver) {
        let digests = (state.header_digest, state.data_digest);
        let deframer = &mut self.links[link].deframer;
        deframer.set_digests(digests.0, digests.1);
        deframer.set_max_data_segment_length(state.max_data_segment_length);
        (self.links[link].header_digests, self.links[link].data_digests) = digests;
        self.links[link].side = Side::Moving { seat: to };
        // The shard's first actions may name the connection that it is about to get.
        let conn = self.adopt(link, to, state);
        match conn {
            Some(_) => self.schedule_up(link),
            None => self.close_target_side(link),
        }
    }

    fn adopt(&mut self, link: usize, to: usize, state: HandedOver) -> Option<ConnId> {
        let now = Instant(self.now);
        let place = &mut self.seats[to];
        let conn = place.shard.adopt(now, state, &mut place.actions);
        if let Some(conn) = conn {
            place.conns.insert(conn, link);
            self.links[link].side = Side::At { seat: to, conn };
        }
        self.shard(to, |_, _, _| ());
        conn
    }
}
