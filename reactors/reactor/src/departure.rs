//! The ends of connections on a reactor: closing, and handing over to another one.

use crate::connection::{Fate, Pending};
use crate::reactor::{Mail, Reactor, Traveller};
use shard::{HandedOver, Placement};
use units::{ConnId, Key, ReactorId};
use uring::SocketId;

impl Reactor {
    /// Handles [`shard::Action::Close`].
    pub(crate) fn close(&mut self, conn: ConnId) {
        let Some(key) = self.key_of(conn) else { return };
        if let Some(slot) = self.by_conn.get_mut(conn.0.index as usize) {
            *slot = None;
        }
        self.recycle_pending(key);
        if let Some(connection) = self.connections.get_mut(key) {
            connection.fate = Fate::Draining;
            connection.placement = Placement::Discard;
        }
        self.list(key);
    }

    pub(crate) fn close_if_drained(&mut self, key: Key) {
        let Some(connection) = self.connections.get(key) else { return };
        match connection.fate {
            Fate::Draining if connection.is_flushed() => self.abandon(key),
            Fate::HandingOver { .. } => self.depart(key),
            Fate::Open | Fate::Draining | Fate::Closed => {}
        }
    }

    /// Closes a connection now; what is queued is dropped, and its buffers go back.
    pub(crate) fn abandon(&mut self, key: Key) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        if matches!(connection.fate, Fate::Closed) {
            return;
        }
        connection.fate = Fate::Closed;
        let socket = connection.socket;
        self.recycle_pending(key);
        self.drop_batches(key);
        self.driver.close(socket);
    }

    /// Drops what is queued to be sent; its buffers go back.
    pub(crate) fn drop_batches(&mut self, key: Key) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        for batch in std::mem::take(&mut connection.batches) {
            self.driver.recycle_gather(batch.gather);
            for buf in batch.meaning.returns {
                self.buffer_returned(buf);
            }
        }
        self.run_actions();
    }

    /// The ring is done with a socket.
    pub(crate) fn socket_closed(&mut self, socket: SocketId) {
        let found = self.connections.iter().find(|(_, c)| c.socket == socket).map(|(k, _)| k);
        let Some(connection) = found.and_then(|key| self.connections.remove(key)) else { return };
        // Everything in flight has ended, so nothing is owed but what was never started.
        if let Some(buf) = connection.return_after_receive {
            self.buffer_returned(buf);
            self.run_actions();
        }
    }

    /// Handles [`shard::Action::HandOver`].
    pub(crate) fn hand_over(&mut self, conn: ConnId, to: ReactorId, state: Box<HandedOver>) {
        let Some(key) = self.key_of(conn) else { return };
        if let Some(slot) = self.by_conn.get_mut(conn.0.index as usize) {
            *slot = None;
        }
        if let Some(connection) = self.connections.get_mut(key) {
            connection.fate = Fate::HandingOver { to, state };
        }
        self.list(key);
    }

    /// Sends a connection to its new reactor, as soon as nothing of it is with the kernel.
    fn depart(&mut self, key: Key) {
        let Some(connection) = self.connections.get(key) else { return };
        if !connection.is_flushed() {
            return;
        }
        let socket = connection.socket;
        if self.driver.is_receiving(socket) {
            return self.driver.cancel_recv(socket);
        }
        let Ok(fd) = self.driver.release(socket) else { return self.list(key) };
        let Some(connection) = self.connections.remove(key) else { return };
        let rest = match connection.pending {
            Some(Pending::Buffer(buffer, at)) => {
                let rest = self.driver.received(&buffer).get(at..).unwrap_or_default().to_vec();
                self.driver.recycle(buffer);
                rest
            }
            Some(Pending::Bytes(mut bytes, at)) => bytes.split_off(at.min(bytes.len())),
            None => Vec::new(),
        };
        let Fate::HandingOver { to, state } = connection.fate else { return };
        let traveller = Traveller { fd, state: *state, deframer: connection.deframer, rest };
        let unknown = self.outboxes.post(to, Mail::Connection(Box::new(traveller)));
        debug_assert!(unknown.is_ok(), "a hand-over to a reactor that does not exist");
    }

    /// A connection has come from another reactor.
    pub(crate) fn adopt(&mut self, traveller: Traveller) {
        let Traveller { fd, state, deframer, rest } = traveller;
        let (header, data) = (state.header_digest, state.data_digest);
        let length = state.max_data_segment_length;
        let adopted = self.shard.adopt(self.now, state, &mut self.actions);
        if let Some(key) = adopted.and_then(|conn| self.add_connection(conn, fd))
            && let Some(connection) = self.connections.get_mut(key)
        {
            connection.deframer = deframer;
            connection.enter_full_feature_phase(header, data, length);
            if !rest.is_empty() {
                connection.pending = Some(Pending::Bytes(rest, 0));
            }
        }
        self.run_actions();
    }
}
