//! Bytes in and out of the sockets of a reactor, whatever they mean.
//!
//! In: a single-shot receive into one of the ring's shared buffers, so that an idle connection
//! holds none; in the middle of a large payload the rest is received straight into its lent
//! buffer. Out: parcels in the order of `shard::wire::Outbound`, one at a time with the kernel.
//!
//! What the bytes mean is the link's (`L`): [`InitiatorLink`](crate::initiator_link) for iSCSI.

use crate::buffers::{Buffers, Parcel};
use crate::token::token_of;
use shard::wire::{Meaning, Outbound};
use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use units::{BufSlice, Instant, Key, Slab, limits};
use uring::{Errno, RecvBuffer, SocketId};

/// All connections of a reactor.
#[derive(Debug)]
pub(crate) struct Streams<L> {
    table: Slab<Connection<L>>,
    /// Connections to look at in this turn: something to parse, send or receive.
    listed: Vec<Key>,
    /// The other list, empty: the two take turns, so that neither is allocated anew.
    unlisted: Vec<Key>,
    /// Connections that drain, and when each has had its time; the oldest is first.
    drains: VecDeque<(Instant, Key)>,
}

/// A socket, and what its bytes mean.
#[derive(Debug)]
pub(crate) struct Connection<L> {
    pub(crate) stream: Stream,
    pub(crate) link: L,
}

/// One socket.
#[derive(Debug)]
pub(crate) struct Stream {
    pub(crate) socket: SocketId,
    /// Bytes that were received and not yet parsed.
    pub(crate) pending: Option<Pending>,
    pub(crate) out: Outbound<Parcel>,
    pub(crate) fate: Fate,
    /// It is in the list of connections to look at.
    is_listed: bool,
}

/// What a connection is about to become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It stays open.
    Open,
    /// What is queued leaves, within a limited time; then it is closed.
    Draining,
    /// The ring closes it; completions may still come.
    Closed,
    /// What is queued leaves, then another reactor gets it.
    Departing,
}

/// Bytes that were received and not yet parsed.
#[derive(Debug)]
pub(crate) enum Pending {
    /// In a buffer of the ring, from this byte on.
    Buffer(RecvBuffer, usize),
    /// In memory of their own, from this byte on: they came from another reactor, or wait for a
    /// peer that does not read, or for a buffer.
    Bytes(Vec<u8>, usize),
}

/// What has come of a receive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Arrival {
    /// Bytes to be parsed, or nothing that changes anything.
    Normal,
    /// The peer has closed, or the socket has failed.
    PeerGone,
}

/// A parcel that the kernel is done with.
#[derive(Debug)]
pub(crate) struct Departed {
    /// All of its bytes were sent.
    pub(crate) is_whole: bool,
    pub(crate) meaning: Meaning,
}

/// Whether a receive could be started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Armed {
    Yes,
    /// The ring is full; it has room after the next submission.
    Later,
}

impl<L> Streams<L> {
    pub(crate) const fn new() -> Self {
        Self {
            table: Slab::new(limits::CONNECTIONS_PER_REACTOR_MAX),
            listed: Vec::new(),
            unlisted: Vec::new(),
            drains: VecDeque::new(),
        }
    }

    #[inline]
    pub(crate) fn get(&self, key: Key) -> Option<&Connection<L>> {
        self.table.get(key)
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, key: Key) -> Option<&mut Connection<L>> {
        self.table.get_mut(key)
    }

    pub(crate) fn count(&self) -> u32 {
        // The table has at most CONNECTIONS_PER_REACTOR_MAX entries.
        u32::try_from(self.table.len()).unwrap_or(u32::MAX)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    #[cfg(test)]
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Key, &Connection<L>)> {
        self.table.iter()
    }

    /// Whether a connection is to be looked at.
    pub(crate) const fn is_any_listed(&self) -> bool {
        !self.listed.is_empty()
    }

    /// Takes a connected socket in. `None` where this reactor is full; the socket is closed then.
    pub(crate) fn add(&mut self, fd: OwnedFd, link: L, buffers: &mut Buffers) -> Option<Key> {
        let socket = buffers.ring.add_socket(fd).ok()?;
        let stream = Stream {
            socket,
            pending: None,
            out: Outbound::default(),
            fate: Fate::Open,
            is_listed: false,
        };
        match self.table.insert(Connection { stream, link }) {
            Ok(key) => {
                self.list(key);
                Some(key)
            }
            Err(_) => {
                buffers.ring.close(socket);
                None
            }
        }
    }

    /// The ring is done with a socket.
    pub(crate) fn remove_closed(&mut self, socket: SocketId) -> Option<Connection<L>> {
        let (key, _) = self.table.iter().find(|(_, c)| c.stream.socket == socket)?;
        self.table.remove(key)
    }

    /// Takes a connection and its socket out. `None` while something of it is with the kernel: it
    /// is tried again in the next turn.
    pub(crate) fn release(
        &mut self,
        key: Key,
        buffers: &mut Buffers,
    ) -> Option<(OwnedFd, Connection<L>)> {
        let socket = self.table.get(key)?.stream.socket;
        if buffers.ring.is_receiving(socket) {
            buffers.ring.cancel_recv(socket);
            return None;
        }
        let Ok(fd) = buffers.ring.release(socket) else {
            self.list(key);
            return None;
        };
        Some((fd, self.table.remove(key)?))
    }

    /// Makes sure that a connection is looked at in this turn.
    #[inline]
    pub(crate) fn list(&mut self, key: Key) {
        self.get_listed(key);
    }

    /// A connection, which is looked at in this turn.
    #[inline]
    pub(crate) fn get_listed(&mut self, key: Key) -> Option<&mut Connection<L>> {
        let connection = self.table.get_mut(key)?;
        if !connection.stream.is_listed {
            connection.stream.is_listed = true;
            self.listed.push(key);
        }
        Some(connection)
    }

    /// The connections to look at; those that are listed from now on are looked at in the next
    /// turn. Give the list back with [`Self::looked_at`].
    pub(crate) fn take_listed(&mut self) -> Vec<Key> {
        std::mem::replace(&mut self.listed, std::mem::take(&mut self.unlisted))
    }

    /// A connection is being looked at: what is to be done from now on lists it again.
    pub(crate) fn unlist(&mut self, key: Key) {
        if let Some(connection) = self.table.get_mut(key) {
            connection.stream.is_listed = false;
        }
    }

    pub(crate) fn looked_at(&mut self, mut listed: Vec<Key>) {
        listed.clear();
        self.unlisted = listed;
    }

    /// A receive into a shared buffer has ended.
    pub(crate) fn received(
        &mut self,
        key: Key,
        result: Result<u32, Errno>,
        data: Option<RecvBuffer>,
        buffers: &mut Buffers,
    ) -> Arrival {
        let stream = self.table.get_mut(key).map(|c| &mut c.stream);
        let is_heard =
            stream.as_ref().is_some_and(|s| matches!(s.fate, Fate::Open | Fate::Departing));
        let arrival = match (result, data) {
            (Ok(1..), Some(data)) => {
                match stream.filter(|_| is_heard) {
                    Some(stream) => stream.pending = Some(Pending::Buffer(data, 0)),
                    None => buffers.recycle(data),
                }
                Arrival::Normal
            }
            (_, Some(data)) => {
                buffers.recycle(data);
                Arrival::Normal
            }
            // All shared buffers are full: the next turn has free ones.
            (Err(Errno::NO_BUFFERS | Errno::CANCELED), None) => Arrival::Normal,
            (_, None) => Arrival::PeerGone,
        };
        self.list(key);
        arrival
    }

    /// Starts the next receive of a connection that has nothing to parse: straight into a lent
    /// buffer, or into a shared one.
    pub(crate) fn receive(
        &mut self,
        key: Key,
        straight: Option<BufSlice>,
        buffers: &mut Buffers,
    ) -> Armed {
        let Some(connection) = self.table.get(key) else { return Armed::Yes };
        let socket = connection.stream.socket;
        let armed = match straight {
            Some(slice) => buffers.receive_into(socket, token_of(key), slice),
            None => buffers.ring.recv(socket, token_of(key)),
        };
        if armed.is_ok() {
            return Armed::Yes;
        }
        self.list(key);
        Armed::Later
    }

    /// Sends the next parcel, if none is with the kernel.
    pub(crate) fn flush(&mut self, key: Key, buffers: &mut Buffers) {
        let Some(connection) = self.table.get_mut(key) else { return };
        let stream = &mut connection.stream;
        if stream.fate == Fate::Closed {
            return;
        }
        let Some(parcel) = stream.out.take_next() else { return };
        if let Err(parcel) = buffers.ring.send(stream.socket, token_of(key), parcel) {
            stream.out.refused(parcel);
            self.list(key);
        }
    }

    /// The kernel is done with a parcel. `None` where the connection is gone.
    pub(crate) fn sent(
        &mut self,
        key: Key,
        result: Result<u32, Errno>,
        parcel: Parcel,
        buffers: &mut Buffers,
    ) -> Option<Departed> {
        let is_whole = result == Ok(parcel.len_bytes());
        buffers.ring.recycle_parcel(parcel);
        let stream = &mut self.table.get_mut(key)?.stream;
        Some(Departed { is_whole, meaning: stream.out.left() })
    }

    /// What is queued on a connection leaves, then it is closed; it has
    /// [`limits::DRAIN_TIME_MAX`] for that.
    pub(crate) fn drain(&mut self, key: Key, now: Instant, buffers: &mut Buffers) {
        self.drop_received(key, buffers);
        if let Some(connection) = self.table.get_mut(key) {
            connection.stream.fate = Fate::Draining;
            // The time is the same for all, so they are overdue in this order.
            self.drains.push_back((now.after(limits::DRAIN_TIME_MAX), key));
        }
        self.list(key);
    }

    /// The next connection that has drained for too long. It may have been closed since.
    pub(crate) fn next_overdue(&mut self, now: Instant) -> Option<Key> {
        if self.drains.front()?.0 > now {
            return None;
        }
        self.drains.pop_front().map(|(_, key)| key)
    }

    /// When [`Self::next_overdue`] has something to say.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.drains.front().map(|&(at, _)| at)
    }

    /// Drops what was received and not parsed.
    pub(crate) fn drop_received(&mut self, key: Key, buffers: &mut Buffers) {
        let pending = self.table.get_mut(key).and_then(|c| c.stream.pending.take());
        if let Some(Pending::Buffer(buffer, _)) = pending {
            buffers.recycle(buffer);
        }
    }

    /// Closes a socket now. What is queued is the caller's to drop.
    pub(crate) fn close(&mut self, key: Key, buffers: &mut Buffers) {
        self.drop_received(key, buffers);
        if let Some(connection) = self.table.get_mut(key) {
            connection.stream.fate = Fate::Closed;
            buffers.ring.close(connection.stream.socket);
        }
    }
}

impl Stream {
    /// Whether so much waits to be sent that nothing more should be read.
    #[inline]
    pub(crate) fn is_backed_up(&self) -> bool {
        self.out.backlog() > 0 && self.is_behind()
    }

    #[cold]
    fn is_behind(&self) -> bool {
        let copied: usize = self.out.waiting().map(Parcel::inline_bytes).sum();
        copied >= limits::SEND_QUEUE_COPIED_BYTES_MAX || self.out.backlog() >= PARCELS_MAX
    }

    /// Whether the next bytes of the peer are wanted and none are here.
    pub(crate) fn wants_bytes(&self, buffers: &Buffers) -> bool {
        self.fate == Fate::Open
            && self.pending.is_none()
            && !self.is_backed_up()
            && !buffers.ring.is_receiving(self.socket)
    }

    /// Moves bytes that nobody knows the time to parse of to memory of their own: the receive
    /// buffers are there for the connections that go on.
    pub(crate) fn set_aside(&mut self, buffers: &mut Buffers) {
        let rest = match self.pending.take() {
            Some(Pending::Buffer(buffer, at)) => Pending::Bytes(take_rest(buffer, at, buffers), 0),
            Some(aside @ Pending::Bytes(..)) => aside,
            None => return,
        };
        self.pending = Some(rest);
    }

    /// The bytes that were received and not parsed, to travel with the connection.
    pub(crate) fn take_unparsed(&mut self, buffers: &mut Buffers) -> Vec<u8> {
        match self.pending.take() {
            Some(Pending::Buffer(buffer, at)) => take_rest(buffer, at, buffers),
            Some(Pending::Bytes(mut bytes, at)) => bytes.split_off(at.min(bytes.len())),
            None => Vec::new(),
        }
    }
}

fn take_rest(buffer: RecvBuffer, at: usize, buffers: &mut Buffers) -> Vec<u8> {
    let rest = buffers.ring.received(&buffer).get(at..).unwrap_or_default().to_vec();
    buffers.recycle(buffer);
    rest
}

/// Parcels of one connection that wait before nothing more is read from it. A full window of the
/// longest reads is as many; what fills more is a peer that sends and does not read. Those of
/// copied bytes, which take 88 KiB each, are bounded by [`limits::SEND_QUEUE_COPIED_BYTES_MAX`].
const PARCELS_MAX: usize = 16;
