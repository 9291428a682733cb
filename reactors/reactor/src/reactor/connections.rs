//! Connections: what their completions mean to the shard.

use super::{Mail, Reactor};
use crate::buffers::Parcel;
use crate::handover::{self, Traveller};
use crate::initiator_link::{Agreed, Found, InitiatorLink, Straight};
use crate::listeners::Ends;
use crate::streams::{Armed, Arrival, Connection, Fate, Pending};
use std::os::fd::OwnedFd;
use units::{BufSlice, ConnId, Key, limits};
use uring::socket::Tuning;
use uring::{Errno, RecvBuffer, SocketId};

impl Reactor {
    /// A connection has come in.
    pub(super) fn accepted(&mut self, fd: OwnedFd) {
        let ends = Ends::of(&fd);
        if !self.listeners.can_keep() {
            // Its descriptor becomes the reserve.
            drop(fd);
            return self.listeners.closed_for_want(ends.map(|ends| ends.peer), self.now);
        }
        // The peer may have gone already.
        let Some(Ends { peer, local }) = ends else { return };
        if let Err(error) = uring::socket::tune(&fd, &Tuning::default()) {
            tracing::debug!(%peer, %error, "cannot tune the socket");
        }
        match self.shard.accept(self.now, peer, local) {
            Some(conn) if self.add_connection(conn, fd).is_some() => {}
            Some(_) | None => {
                self.recorder.sessions.connections_refused += 1;
                self.listeners.refused(peer, self.now);
            }
        }
    }

    fn add_connection(&mut self, conn: ConnId, fd: OwnedFd) -> Option<Key> {
        let added = self.streams.add(fd, InitiatorLink::new(conn), &mut self.buffers);
        match added {
            Some(key) => self.names.insert(conn, key),
            // There is no room for its socket.
            None => {
                self.shard.handle_closed(self.now, conn, &mut self.actions);
                self.run_actions();
            }
        }
        added
    }

    /// A receive into a shared buffer has ended.
    pub(super) fn received(
        &mut self,
        key: Key,
        result: Result<u32, Errno>,
        data: Option<RecvBuffer>,
    ) {
        self.recorder.counters.recv_bytes += u64::from(result.unwrap_or(0));
        match self.streams.received(key, result, data, &mut self.buffers) {
            Arrival::Normal => {}
            Arrival::PeerGone => self.peer_gone(key),
        }
    }

    /// A receive straight into a lent buffer has ended.
    pub(super) fn received_into(&mut self, key: Key, slice: BufSlice, result: Result<u32, Errno>) {
        // It stays until its last completion.
        let Some(Connection { stream, link }) = self.streams.get_mut(key) else { return };
        let len = result.unwrap_or(0);
        self.recorder.counters.recv_bytes += u64::from(len);
        let here = BufSlice { len, ..slice };
        let straight = link.received_straight(here, stream, &self.buffers);
        match straight {
            Straight::Taken => {}
            Straight::Owed(buf) => {
                self.returned.push_back(buf);
                self.run_queued();
            }
            Straight::Unsound => self.peer_gone(key),
        }
        match result {
            Ok(1..) | Err(Errno::CANCELED) => {}
            Ok(0) | Err(_) => self.peer_gone(key),
        }
        self.streams.list(key);
    }

    /// The peer has closed, or the socket has failed.
    fn peer_gone(&mut self, key: Key) {
        let Some(connection) = self.streams.get(key) else { return };
        match connection.stream.fate {
            Fate::Open => {
                let conn = connection.link.id;
                self.shard.handle_closed(self.now, conn, &mut self.actions);
                self.run_actions();
            }
            // The other reactor will find out.
            Fate::Departing => {}
            Fate::Draining | Fate::Closed => {
                self.abandon(key);
                self.run_queued();
            }
        }
    }

    /// Looks at every listed connection: parses, sends, receives.
    pub(super) fn serve_listed(&mut self) -> bool {
        if !self.streams.is_any_listed() {
            return false;
        }
        let listed = self.streams.take_listed();
        for &key in &listed {
            self.streams.unlist(key);
            self.parse(key);
            self.streams.flush(key, &mut self.buffers);
            self.receive(key);
            self.end_if_drained(key);
        }
        self.streams.looked_at(listed);
        true
    }

    fn parse(&mut self, key: Key) {
        for _ in 0..limits::PDUS_PER_TURN_MAX * FINDS_PER_PDU {
            let Some(Connection { stream, link }) = self.streams.get_mut(key) else { return };
            if stream.fate != Fate::Open {
                return;
            }
            if stream.is_backed_up() || link.inbound.is_waiting() {
                return stream.set_aside(&mut self.buffers);
            }
            let conn = link.id;
            match link.find(stream, &mut self.buffers, &mut self.shard) {
                Found::NeedMore => return self.streams.drop_received(key, &mut self.buffers),
                Found::Header => {
                    self.recorder.counters.pdus_received += 1;
                    let (now, bhs) = (self.now, link.deframer.header());
                    let placement = self.shard.handle_header(now, conn, bhs, &mut self.actions);
                    link.inbound.begin(placement);
                }
                Found::End { data_digest_ok } => {
                    link.inbound.end();
                    let now = self.now;
                    self.shard.handle_pdu_end(now, conn, data_digest_ok, &mut self.actions);
                    self.run_actions();
                    self.buffers.settle();
                }
                Found::NoPlace => {
                    // Better no connection than one that loses data.
                    tracing::error!(
                        reactor = self.id.0,
                        "closing a connection: its data has no buffer. This is a bug of polluxd"
                    );
                    return self.peer_gone(key);
                }
                Found::Fault => {
                    if let Some(fault) = link.deframer.fault() {
                        self.shard.handle_deframe_fault(self.now, conn, fault, &mut self.actions);
                    }
                    return self.run_actions();
                }
            }
            self.run_actions();
        }
        // The connection has had its share of this turn. A data segment whose end is yet to be
        // looked at must not wait as it is: the next connection may bring one of its own.
        self.buffers.settle();
        self.streams.list(key);
    }

    /// Starts the next receive of a connection, if it may take more.
    fn receive(&mut self, key: Key) {
        let Some(Connection { stream, link }) = self.streams.get(key) else { return };
        if !stream.wants_bytes(&self.buffers) || link.inbound.is_waiting() {
            return;
        }
        if self.outboxes.congested() {
            // Another reactor is behind: nothing new until it has caught up.
            return self.streams.list(key);
        }
        let straight = link.straight_place();
        let armed = self.streams.receive(key, straight, &mut self.buffers);
        if armed == Armed::Yes
            && let Some(slice) = straight
            && let Some(connection) = self.streams.get_mut(key)
        {
            connection.link.inbound.direct_begun(slice.buf);
        }
    }

    /// A parcel has left, or failed to.
    pub(super) fn sent(&mut self, key: Key, result: Result<u32, Errno>, parcel: Parcel) {
        let departed = self.streams.sent(key, result, parcel, &mut self.buffers);
        // It stays until its last completion.
        let Some(departed) = departed else { return };
        let mut meaning = departed.meaning;
        self.recorder.counters.send_bytes += u64::from(result.unwrap_or(0));
        if departed.is_whole {
            self.recorder.counters.pdus_sent += meaning.pdus;
            for (sample, count) in &meaning.samples {
                self.recorder.record(sample, *count, self.now);
            }
        }
        for buf in meaning.returns.drain(..) {
            self.shard.handle_buffer_returned(self.now, buf, &mut self.actions);
            self.run_actions();
        }
        if let Some(connection) = self.streams.get_mut(key) {
            connection.stream.out.recycle(meaning);
        }
        if !departed.is_whole {
            self.send_failed(key);
        }
        self.streams.list(key);
    }

    /// Nothing more can be sent on a connection.
    fn send_failed(&mut self, key: Key) {
        let fate = self.streams.get(key).map(|c| c.stream.fate);
        if fate == Some(Fate::Departing) {
            // The session is the other reactor's already: it must get it, to end it.
            self.drop_queued(key);
        } else {
            self.peer_gone(key);
            self.abandon(key);
        }
        self.run_queued();
    }

    fn end_if_drained(&mut self, key: Key) {
        let Some(Connection { stream, .. }) = self.streams.get(key) else { return };
        match stream.fate {
            // Nothing of it is left to return.
            Fate::Draining if stream.out.is_flushed() => self.abandon(key),
            Fate::Departing if stream.out.is_flushed() => self.depart(key),
            Fate::Open | Fate::Draining | Fate::Departing | Fate::Closed => {}
        }
    }

    /// Closes a connection now; what is queued is dropped, and its buffers go back: those that the
    /// kernel reads when it has let go of them.
    pub(super) fn abandon(&mut self, key: Key) {
        if self.streams.get(key).is_some_and(|c| c.stream.fate != Fate::Closed) {
            self.streams.close(key, &mut self.buffers);
            self.drop_queued(key);
        }
    }

    /// Closes the connections whose peers have not taken what was queued in time.
    pub(super) fn end_overdue_drains(&mut self) -> bool {
        let mut worked = false;
        while let Some(key) = self.streams.next_overdue(self.now) {
            let drains = self.streams.get(key).is_some_and(|c| c.stream.fate == Fate::Draining);
            if drains {
                self.abandon(key);
                self.run_queued();
            }
            worked |= drains;
        }
        worked
    }

    /// Drops what is queued to be sent; its buffers go back with what else has to.
    fn drop_queued(&mut self, key: Key) {
        while let Some((parcel, meaning)) =
            self.streams.get_mut(key).and_then(|c| c.stream.out.abandon())
        {
            self.buffers.ring.recycle_parcel(parcel);
            self.returned.extend(meaning.returns);
        }
    }

    /// The ring is done with a socket. Listeners are no connections.
    pub(super) fn socket_closed(&mut self, socket: SocketId) {
        let Some(mut connection) = self.streams.remove_closed(socket) else { return };
        self.connections_ended = true;
        // Everything in flight has ended, so nothing is owed but what was never started.
        self.returned.extend(connection.link.inbound.take_owed());
        self.run_queued();
    }

    /// Sends a connection to its new reactor, as soon as nothing of it is with the kernel.
    fn depart(&mut self, key: Key) {
        let Some((fd, connection)) = self.streams.release(key, &mut self.buffers) else { return };
        let (to, traveller) = handover::pack(fd, connection, &mut self.buffers);
        let unknown = self.outboxes.post(to, Mail::Connection(Box::new(traveller)));
        debug_assert!(unknown.is_ok(), "a hand-over to a reactor that does not exist");
    }

    /// A connection has come from another reactor.
    pub(super) fn adopt(&mut self, traveller: Traveller) {
        let Traveller { fd, state, deframer, rest } = traveller;
        let agreed = Agreed {
            header_digest: state.header_digest,
            data_digest: state.data_digest,
            max_data_segment_length: state.max_data_segment_length,
        };
        let adopted = self.shard.adopt(self.now, state, &mut self.actions);
        if let Some(key) = adopted.and_then(|conn| self.add_connection(conn, fd))
            && let Some(connection) = self.streams.get_mut(key)
        {
            connection.link.deframer = deframer;
            connection.link.enter_full_feature_phase(agreed);
            if !rest.is_empty() {
                connection.stream.pending = Some(Pending::Bytes(rest, 0));
            }
        }
        self.run_actions();
    }
}

/// A PDU is a header and an end.
const FINDS_PER_PDU: u32 = 2;
