//! Connections' traffic: accepting, receiving, parsing, sending, handing over, closing.

use crate::connection::{Batch, Connection, Fate, Pending};
use crate::in_place::Place;
use crate::reactor::Reactor;
use crate::token::{key_of_token, token_of};
use crate::unplaced::Unplaced;
use iscsi::{Bhs, DeframeFault, Piece};
use shard::{Placement, Sample, SendData};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::Duration;
use units::{BufId, BufSlice, ConnId, Key, limits};
use uring::socket::Tuning;
use uring::{Errno, Gather, RecvBuffer, Refusal, SocketId};

/// What the next bytes of a connection turned out to be.
enum Found {
    End {
        data_digest_ok: bool,
    },
    Fault(DeframeFault),
    Header(Bhs),
    NeedMore,
    /// Payload that could not be put where the shard wants it.
    NoPlace,
    Run,
}

impl Reactor {
    /// The connection of a name that the shard gave.
    pub(crate) fn connection_mut(&mut self, conn: ConnId) -> Option<&mut Connection> {
        let key = self.key_of(conn)?;
        self.connections.get_mut(key)
    }

    pub(crate) fn key_of(&self, conn: ConnId) -> Option<Key> {
        let (known, key) = (*self.by_conn.get(conn.0.index as usize)?)?;
        (known == conn).then_some(key)
    }

    /// A connection has come in.
    pub(crate) fn accepted(&mut self, fd: OwnedFd) {
        let Some((peer, local)) = Self::addresses(&fd) else { return };
        if let Err(error) = uring::socket::tune(&fd, &Tuning::default()) {
            tracing::debug!(%peer, %error, "cannot tune the socket");
        }
        let Some(conn) = self.shard.accept(self.now, peer, local) else {
            self.warn_of_refusal(peer);
            return;
        };
        self.add_connection(conn, fd);
    }

    /// Says that a connection was refused, but not as often as a peer likes to be.
    fn warn_of_refusal(&mut self, peer: SocketAddr) {
        self.refusals += 1;
        if self.now.since(self.refusal_told_at) >= REFUSALS_TOLD_EVERY {
            let count = std::mem::take(&mut self.refusals);
            self.refusal_told_at = self.now;
            let why = "too many logins under way, or shutdown";
            tracing::warn!(%peer, count, why, "connections refused");
        }
    }

    pub(crate) fn add_connection(&mut self, conn: ConnId, fd: OwnedFd) -> Option<Key> {
        let added = self.driver.add_socket(fd).ok().and_then(|socket| {
            match self.connections.insert(Connection::new(conn, socket)) {
                Ok(key) => Some(key),
                Err(_) => {
                    self.driver.close(socket);
                    None
                }
            }
        });
        let Some(key) = added else {
            tracing::warn!("connection refused: this reactor is full");
            self.shard.handle_closed(self.now, conn, &mut self.actions);
            self.run_actions();
            return None;
        };
        let place = conn.0.index as usize;
        if self.by_conn.len() <= place {
            self.by_conn.resize(place + 1, None);
        }
        self.by_conn[place] = Some((conn, key));
        self.list(key);
        Some(key)
    }

    /// Accepting has stopped: it goes on, unless the listener is being closed.
    pub(crate) fn accept_failed(&mut self, token: u64, errno: Errno) {
        if errno == Errno::CANCELED {
            return;
        }
        tracing::warn!(
            reactor = self.id.0,
            %errno,
            "accepting connections failed; trying again. If too many files are open, raise \
             LimitNOFILE"
        );
        // Not at once: what is missing, most likely descriptors, is still missing.
        self.accept_again.push(token);
        self.accept_again_at = self.now.after(ACCEPT_PAUSE);
    }

    /// Goes on accepting, some time after it has failed.
    pub(crate) fn accept_again(&mut self) -> bool {
        if self.accept_again.is_empty() || self.now < self.accept_again_at {
            return false;
        }
        for token in std::mem::take(&mut self.accept_again) {
            let listener = usize::try_from(token).ok().and_then(|t| self.listeners.get(t).copied());
            if let Some(listener) = listener {
                self.begin_accepting(listener, token);
            }
        }
        true
    }

    /// Begins to accept, or tries it again some time later: the ring may be full just now.
    pub(crate) fn begin_accepting(&mut self, listener: SocketId, token: u64) {
        if let Err(refusal) = self.driver.accept(listener, token) {
            tracing::error!(reactor = self.id.0, %refusal, "cannot accept connections");
            if refusal == Refusal::Full {
                self.accept_again.push(token);
                self.accept_again_at = self.now.after(ACCEPT_PAUSE);
            }
        }
    }

    /// Makes sure that a connection is looked at in this turn.
    pub(crate) fn list(&mut self, key: Key) {
        if let Some(connection) = self.connections.get_mut(key)
            && !connection.is_listed
        {
            connection.is_listed = true;
            self.listed.push(key);
        }
    }

    /// A receive into a shared buffer has ended.
    pub(crate) fn received(
        &mut self,
        token: u64,
        result: Result<u32, Errno>,
        data: Option<RecvBuffer>,
    ) {
        let key = key_of_token(token);
        if let Ok(bytes) = result {
            self.recorder.counters.recv_bytes += u64::from(bytes);
        }
        let Some(connection) = self.connections.get_mut(key) else {
            if let Some(data) = data {
                self.driver.recycle(data);
            }
            return;
        };
        match (result, data) {
            (Ok(1..), Some(data)) if !matches!(connection.fate, Fate::Draining | Fate::Closed) => {
                connection.pending = Some(Pending::Buffer(data, 0));
            }
            (_, Some(data)) => self.driver.recycle(data),
            // All shared buffers are full: the next turn has free ones.
            (Err(Errno::NO_BUFFERS | Errno::CANCELED), None) => {}
            (_, None) => self.peer_gone(key),
        }
        self.list(key);
    }

    /// A receive straight into a lent buffer has ended.
    pub(crate) fn received_into(
        &mut self,
        token: u64,
        slice: BufSlice,
        result: Result<u32, Errno>,
    ) {
        let key = key_of_token(token);
        let Some(connection) = self.connections.get_mut(key) else { return };
        connection.receiving_into = None;
        let returned = connection.return_after_receive.take();
        match result {
            Ok(bytes @ 1..) if returned.is_none() => {
                self.recorder.counters.recv_bytes += u64::from(bytes);
                connection.filled += bytes;
                let here = BufSlice { len: bytes, ..slice };
                // The receive has ended, so the kernel does not write the buffer any more.
                match self.driver.pool().bytes(here) {
                    Some(bytes) => {
                        connection.deframer.payload_received(bytes);
                        connection.pending = Some(Pending::Bytes(Vec::new(), 0));
                    }
                    // Unless the shard has lent it twice: then the bytes are anybody's.
                    None => self.peer_gone(key),
                }
            }
            Ok(1..) | Err(Errno::CANCELED) => {}
            Ok(0) | Err(_) => self.peer_gone(key),
        }
        if let Some(buf) = returned {
            self.buffer_returned(buf);
            self.run_actions();
        }
        self.list(key);
    }

    /// The peer has closed, or the socket has failed.
    fn peer_gone(&mut self, key: Key) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        match connection.fate {
            Fate::Open => {
                let conn = connection.id;
                self.shard.handle_closed(self.now, conn, &mut self.actions);
                self.run_actions();
            }
            // The other reactor will find out.
            Fate::HandingOver { .. } => {}
            Fate::Draining | Fate::Closed => self.abandon(key),
        }
    }

    /// Looks at every listed connection: parses, sends, receives.
    pub(crate) fn serve_listed(&mut self) -> bool {
        if self.listed.is_empty() {
            return false;
        }
        // Connections that are listed meanwhile are looked at in the next turn.
        let mut listed = std::mem::replace(&mut self.listed, std::mem::take(&mut self.unlisted));
        for &key in &listed {
            if let Some(connection) = self.connections.get_mut(key) {
                connection.is_listed = false;
            }
            self.parse(key);
            self.flush_batches(key);
            self.receive(key);
            self.close_if_drained(key);
        }
        listed.clear();
        self.unlisted = listed;
        true
    }

    fn parse(&mut self, key: Key) {
        for _ in 0..limits::PDUS_PER_TURN_MAX * PIECES_PER_PDU {
            let Some(connection) = self.connections.get(key) else { return };
            let conn = connection.id;
            if !matches!(connection.fate, Fate::Open) {
                return;
            }
            if connection.is_backed_up() {
                return self.set_aside(key);
            }
            match self.next_piece(key) {
                Found::NeedMore => return self.recycle_pending(key),
                Found::Run => {}
                Found::Header(bhs) => {
                    self.recorder.counters.pdus_received += 1;
                    let now = self.now;
                    let placement = self.shard.handle_header(now, conn, &bhs, &mut self.actions);
                    self.run_actions();
                    if let Some(connection) = self.connections.get_mut(key) {
                        connection.placement = placement;
                        connection.filled = 0;
                    }
                }
                Found::End { data_digest_ok } => {
                    if let Some(connection) = self.connections.get_mut(key) {
                        connection.placement = Placement::Discard;
                    }
                    let now = self.now;
                    self.shard.handle_pdu_end(now, conn, data_digest_ok, &mut self.actions);
                    self.run_actions();
                    self.place();
                }
                Found::NoPlace => {
                    // Better no connection than one that loses data.
                    tracing::error!(reactor = self.id.0, "no place for a data segment");
                    return self.peer_gone(key);
                }
                Found::Fault(fault) => {
                    let now = self.now;
                    self.shard.handle_deframe_fault(now, conn, &fault, &mut self.actions);
                    self.run_actions();
                    return;
                }
            }
        }
        // The connection has had its share of this turn. A data segment whose end is yet to be
        // looked at must not wait as it is: the next connection may bring one of its own.
        self.place();
        self.list(key);
    }

    /// Takes the next piece off the bytes of a connection, and puts payload where it belongs.
    fn next_piece(&mut self, key: Key) -> Found {
        let (receive, mut pool) = self.driver.parts();
        let Some(connection) = self.connections.get_mut(key) else { return Found::NeedMore };
        let is_in_receive_buffer = matches!(connection.pending, Some(Pending::Buffer(..)));
        let (bytes, at) = match &mut connection.pending {
            Some(Pending::Buffer(buffer, at)) => (receive.bytes(buffer), at),
            Some(Pending::Bytes(bytes, at)) => (bytes.as_slice(), at),
            None => return Found::NeedMore,
        };
        let mut input = bytes.get(*at..).unwrap_or_default();
        let found = match connection.deframer.next(&mut input) {
            Ok(None) => Found::NeedMore,
            Ok(Some(Piece::Header(bhs))) => Found::Header(bhs),
            Ok(Some(Piece::End { data_digest_ok })) => Found::End { data_digest_ok },
            Ok(Some(Piece::Payload(run))) => {
                match connection.placement {
                    Placement::Discard => {}
                    Placement::Engine => self.shard.handle_segment(connection.id, run),
                    Placement::Buffer(slice) => {
                        let len = u32::try_from(run.len()).unwrap_or(u32::MAX);
                        let offset = slice.offset + connection.filled;
                        let fits = len <= slice.len.saturating_sub(connection.filled);
                        if len == slice.len && is_in_receive_buffer {
                            // All of it is here, so what becomes of it is known in a moment.
                            let start = bytes.len() - input.len() - run.len();
                            self.unplaced = Some(Unplaced { key, slice, start });
                        } else if fits && pool.fill(BufSlice { offset, len, ..slice }, run) {
                            self.recorder.counters.bytes_copied += u64::from(len);
                        } else {
                            debug_assert!(false, "a placement is inside of a buffer that is ours");
                            return Found::NoPlace;
                        }
                        connection.filled += len;
                    }
                }
                Found::Run
            }
            Err(fault) => Found::Fault(fault),
        };
        *at = bytes.len() - input.len();
        found
    }

    /// Nobody knows when a connection that is backed up is parsed again. Its bytes wait in memory
    /// of their own: the receive buffers are there for those who go on.
    fn set_aside(&mut self, key: Key) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        let Some(Pending::Buffer(buffer, at)) = &connection.pending else { return };
        let rest = self.driver.received(buffer).get(*at..).unwrap_or_default().to_vec();
        let aside = connection.pending.replace(Pending::Bytes(rest, 0));
        if let Some(Pending::Buffer(buffer, _)) = aside {
            self.driver.recycle(buffer);
        }
    }

    pub(crate) fn recycle_pending(&mut self, key: Key) {
        self.place();
        let pending = self.connections.get_mut(key).and_then(|c| c.pending.take());
        if let Some(Pending::Buffer(buffer, _)) = pending {
            self.driver.recycle(buffer);
        }
    }

    /// Arms the next receive of a connection, if it may take more.
    fn receive(&mut self, key: Key) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        if !matches!(connection.fate, Fate::Open)
            || connection.pending.is_some()
            || connection.is_backed_up()
            || self.driver.is_receiving(connection.socket)
        {
            return;
        }
        if self.outboxes.congested() {
            // Another reactor is behind: nothing new until it has caught up.
            return self.list(key);
        }
        let socket = connection.socket;
        let armed = match connection.direct_place() {
            Some(slice) => {
                connection.receiving_into = Some(slice.buf);
                let armed = self.driver.recv_into(socket, token_of(key), slice);
                if armed.is_err()
                    && let Some(connection) = self.connections.get_mut(key)
                {
                    connection.receiving_into = None;
                }
                armed
            }
            None => self.driver.recv(socket, token_of(key)),
        };
        if armed.is_err() {
            // The ring is full; it has room after the next submission.
            self.list(key);
        }
    }

    /// Queues a PDU of the shard.
    pub(crate) fn queue_pdu(
        &mut self,
        conn: ConnId,
        header: &[u8; 48],
        data: SendData,
        sample: Option<Sample>,
    ) {
        let key = self.key_of(conn);
        match key.and_then(|key| Some((key, self.connections.get_mut(key)?))) {
            Some((key, connection)) if !matches!(connection.fate, Fate::Closed) => {
                let mut place = None;
                if let SendData::Buffer { slice, .. } = &data {
                    place = self.in_place.find(*slice, &self.volumes);
                    if connection.needs_copies()
                        && let Some(Place { store: Some(store), offset }) = place
                        && store.read(offset, &mut self.driver.pool_mut(), *slice).is_ok()
                    {
                        self.recorder.counters.bytes_copied += u64::from(slice.len);
                        place = None;
                    }
                }
                if !connection.queue(&mut self.driver, header, (data, place), sample) {
                    // Better no connection than one that sends something else.
                    tracing::error!(
                        reactor = self.id.0,
                        "a PDU could not be made whole, so its connection ends"
                    );
                    self.driver.shutdown(connection.socket);
                }
                self.list(key);
            }
            Some(_) | None => {
                if let SendData::Buffer { slice, last: true } = data {
                    self.buffer_returned(slice.buf);
                }
            }
        }
    }

    /// Sends the next batch, if none is with the kernel.
    fn flush_batches(&mut self, key: Key) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        if connection.sending.is_some() || matches!(connection.fate, Fate::Closed) {
            return;
        }
        let Some(Batch { gather, meaning }) = connection.batches.pop_front() else { return };
        let socket = connection.socket;
        match self.driver.send(socket, token_of(key), gather) {
            Ok(()) => connection.sending = Some(meaning),
            Err(refused) => {
                connection.batches.push_front(Batch { gather: refused.given, meaning });
                self.list(key);
            }
        }
    }

    /// A batch has left, or failed to.
    pub(crate) fn sent(&mut self, token: u64, result: Result<u32, Errno>, gather: Gather) {
        let key = key_of_token(token);
        let whole = result == Ok(gather.len_bytes());
        self.driver.recycle_gather(gather);
        let Some(connection) = self.connections.get_mut(key) else { return };
        let Some(mut meaning) = connection.sending.take() else { return };
        if let Ok(bytes) = result {
            self.recorder.counters.send_bytes += u64::from(bytes);
        }
        if whole {
            self.recorder.counters.pdus_sent += meaning.pdus;
            for (sample, count) in &meaning.samples {
                self.recorder.record(sample, *count, self.now);
            }
        }
        let mut returns = std::mem::take(&mut meaning.returns);
        for buf in returns.drain(..) {
            self.buffer_returned(buf);
        }
        meaning.returns = returns;
        if let Some(connection) = self.connections.get_mut(key) {
            connection.recycle(meaning);
        }
        self.run_actions();
        if !whole {
            self.send_failed(key);
        }
        self.list(key);
    }

    /// Nothing more can be sent on a connection.
    fn send_failed(&mut self, key: Key) {
        let fate = self.connections.get(key).map(|c| &c.fate);
        if matches!(fate, Some(Fate::HandingOver { .. })) {
            // The session is the other reactor's already: it must get it, to end it.
            self.drop_batches(key);
        } else {
            self.peer_gone(key);
            self.abandon(key);
        }
    }

    /// A buffer goes back to the shard with the next `run_actions`, and not before the actions
    /// that are queued now: so actions never run within actions.
    pub(crate) fn buffer_returned(&mut self, buf: BufId) {
        self.returned.push_back(buf);
    }

    /// Handles [`shard::Action::Return`].
    pub(crate) fn return_buffer(&mut self, conn: ConnId, buf: BufId) {
        if let Some(connection) = self.connection_mut(conn)
            && connection.receiving_into == Some(buf)
        {
            connection.return_after_receive = Some(buf);
            return;
        }
        self.buffer_returned(buf);
    }
}

/// How long to wait before accepting is tried again.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A PDU is a header, an end, and a run of payload for each receive that it spans.
const PIECES_PER_PDU: u32 = 3;

/// A hostile peer must not fill the log.
const REFUSALS_TOLD_EVERY: Duration = Duration::from_secs(5);
