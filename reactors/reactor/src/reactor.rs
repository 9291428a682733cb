//! The reactor: one thread, one ring, one shard, and the turn that it makes over and over.
//!
//! A turn is bounded: so much mail, so many completions, so many PDUs of one connection. What is
//! left waits for the next turn, so that no connection starves the others.

use crate::backend::{Backend, Io, SharedStore, zero_buffer};
use crate::connection::Connection;
use crate::in_place::InPlace;
use crate::mailbox::{Bell, Doorbell, Inboxes, Outboxes};
use crate::node::{Command, NodeOptions, PollMode, ReactorReport};
use crate::stats::Recorder;
use crate::unplaced::Unplaced;
use crossbeam_queue::ArrayQueue;
use iscsi::Deframer;
use shard::{Action, Actions, HandedOver, IoResult, Message, OpId, Shard};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;
use units::{BufId, BufSlice, ConnId, Instant, Key, ReactorId, Slab, VolumeId, limits};
use uring::{Completion, Driver, Refusal, SocketId, Wait, Waker};

impl Bell for Waker {
    fn wake(&self) {
        Self::wake(self);
    }
}

/// What reactors send each other.
#[derive(Debug)]
pub(crate) enum Mail {
    /// From shard to shard.
    Message(Box<Message>),
    /// A logged-in connection with what it has received so far.
    Connection(Box<Traveller>),
}

/// A connection on its way to another reactor.
#[derive(Debug)]
pub(crate) struct Traveller {
    pub(crate) fd: OwnedFd,
    pub(crate) state: HandedOver,
    pub(crate) deframer: Deframer,
    /// Bytes received and not yet parsed.
    pub(crate) rest: Vec<u8>,
}

/// What a reactor's thread is given before it begins.
pub(crate) struct Parts {
    pub(crate) id: ReactorId,
    pub(crate) options: Arc<NodeOptions>,
    pub(crate) driver: Driver,
    pub(crate) shard: Shard,
    pub(crate) inboxes: Inboxes<Mail>,
    pub(crate) outboxes: Outboxes<Mail, Waker>,
    pub(crate) doorbell: Arc<Doorbell<Waker>>,
    pub(crate) commands: Arc<ArrayQueue<Command>>,
    pub(crate) warnings: Vec<String>,
}

/// One reactor.
pub(crate) struct Reactor {
    pub(crate) id: ReactorId,
    pub(crate) options: Arc<NodeOptions>,
    pub(crate) driver: Driver,
    pub(crate) shard: Shard,
    pub(crate) actions: Actions,
    pub(crate) connections: Slab<Connection>,
    /// The connection of each slot of the shard's table.
    pub(crate) by_conn: Vec<Option<(ConnId, Key)>>,
    /// Connections to look at in this turn: something to parse, send or receive.
    pub(crate) listed: Vec<Key>,
    /// The other list, empty: the two take turns, so that neither is allocated anew.
    pub(crate) unlisted: Vec<Key>,
    pub(crate) inboxes: Inboxes<Mail>,
    pub(crate) outboxes: Outboxes<Mail, Waker>,
    doorbell: Arc<Doorbell<Waker>>,
    commands: Arc<ArrayQueue<Command>>,
    pub(crate) volumes: Vec<Option<Backend>>,
    /// Files that are to be closed once nothing of them is under way.
    pub(crate) retired: Vec<uring::FileId>,
    pub(crate) ios: Slab<Io>,
    /// A buffer of the pool that the shard does not know: it is never written.
    pub(crate) zeros: BufSlice,
    /// Buffers whose bytes could not be made as the shard wanted them: what is next done with
    /// them fails. Always empty, unless the shard has lent one that is in use.
    pub(crate) spoiled: Vec<BufId>,
    /// Reads whose bytes were left in their volume.
    pub(crate) in_place: InPlace,
    /// A data segment that has not been copied to its buffer yet.
    pub(crate) unplaced: Option<Unplaced>,
    /// Operations that the ring had no room for.
    pub(crate) deferred: VecDeque<Io>,
    /// Operations that ended at once.
    pub(crate) done: VecDeque<(OpId, IoResult)>,
    /// Buffers that go back to the shard.
    pub(crate) returned: VecDeque<BufId>,
    completions: Vec<Completion>,
    pub(crate) recorder: Recorder,
    pub(crate) listeners: Vec<SocketId>,
    /// Listeners on which accepting has failed, and when it is tried again.
    pub(crate) accept_again: Vec<u64>,
    pub(crate) accept_again_at: Instant,
    pub(crate) now: Instant,
    /// Connections refused since the log was last told, and when that was.
    pub(crate) refusals: u64,
    pub(crate) refusal_told_at: Instant,
    /// When a turn that found something to do began, the last time.
    worked_at: Instant,
    /// The last turn found something to do.
    worked: bool,
    stopping: bool,
    warnings: Vec<String>,
}

/// What one turn takes of each kind of work.
const MAIL_PER_TURN_MAX: usize = 256;
const COMPLETIONS_PER_TURN_MAX: usize = 512;

/// How long a reactor that spins goes on while the disk works. It is about what a fast disk takes
/// for a read: sleeping at once cost 20 to 40 us of wake-up at queue depth 1, and never sleeping up
/// to a third of the rate of writes that allocate.
const DISK_SPIN: Duration = Duration::from_micros(100);

/// How long a reactor sleeps at most: a bound on what a lost wake-up could cost.
const SLEEP_MAX: Duration = Duration::from_millis(500);

impl Reactor {
    /// The reactor of these parts.
    pub(crate) fn new(parts: Parts) -> Self {
        let now = uring::now();
        Self {
            zeros: zero_buffer(&parts.options.layout),
            id: parts.id,
            options: parts.options,
            driver: parts.driver,
            shard: parts.shard,
            actions: Actions::with_capacity(1024),
            connections: Slab::new(limits::CONNECTIONS_PER_REACTOR_MAX),
            by_conn: Vec::new(),
            listed: Vec::new(),
            unlisted: Vec::new(),
            inboxes: parts.inboxes,
            outboxes: parts.outboxes,
            doorbell: parts.doorbell,
            commands: parts.commands,
            volumes: Vec::new(),
            retired: Vec::new(),
            ios: Slab::new(IOS_MAX),
            spoiled: Vec::new(),
            in_place: InPlace::default(),
            unplaced: None,
            deferred: VecDeque::new(),
            done: VecDeque::new(),
            returned: VecDeque::new(),
            completions: Vec::with_capacity(COMPLETIONS_PER_TURN_MAX),
            recorder: Recorder::new(),
            listeners: Vec::new(),
            accept_again: Vec::new(),
            accept_again_at: now,
            now,
            refusals: 0,
            refusal_told_at: Instant(0),
            worked_at: now,
            worked: false,
            stopping: false,
            warnings: parts.warnings,
        }
    }

    /// Makes turns until the node stops.
    pub(crate) fn run(&mut self) {
        while !self.stopping {
            self.turn();
        }
    }

    fn turn(&mut self) {
        // The clock is read once in a turn: in one that finds nothing, it is most of the turn.
        let now = uring::now();
        self.account(now);
        self.now = now;
        let mut worked = self.read_commands();
        worked |= self.read_mail();
        worked |= self.reap();
        worked |= self.fire_timers();
        worked |= self.accept_again();
        worked |= self.retry_deferred();
        worked |= self.serve_listed();
        self.close_retired();
        self.outboxes.deliver();
        self.worked = worked;
        if worked {
            self.worked_at = now;
            self.enter(Wait::No);
        } else {
            self.wait(now);
        }
    }

    /// Counts the time since the last turn began, the kernel's part included, as what that was.
    fn account(&mut self, now: Instant) {
        let took = ns(now.since(self.now));
        let counters = &mut self.recorder.counters;
        let counter = if self.worked { &mut counters.busy_ns } else { &mut counters.idle_ns };
        *counter += took;
    }

    /// Nothing was done: spins on, or sleeps.
    fn wait(&mut self, now: Instant) {
        let spins = match self.options.poll {
            PollMode::Busy => true,
            PollMode::Adaptive => now.since(self.worked_at) < self.options.spin,
            PollMode::Interrupt => false,
        };
        // A reactor that spins starves the kernel's own workers on its core, which may be what
        // the disk waits for. A disk that answers sooner than this needed none of them.
        let waits_for_disk = self.options.sleep_on_disk
            && !self.ios.is_empty()
            && now.since(self.worked_at) >= DISK_SPIN;
        if spins && !waits_for_disk {
            std::hint::spin_loop();
            return self.enter(Wait::No);
        }
        self.doorbell.prepare_sleep();
        if self.inboxes.is_empty() && self.commands.is_empty() && !self.outboxes.has_backlog() {
            self.enter(Wait::AtMost(self.sleep_time(now)));
        } else {
            self.enter(Wait::No);
        }
        self.doorbell.awake();
    }

    /// How long there is nothing to do unless something happens.
    fn sleep_time(&self, now: Instant) -> Duration {
        let shard = self.shard.poll_timeout().map_or(SLEEP_MAX, |at| at.since(now));
        let accept =
            if self.accept_again.is_empty() { SLEEP_MAX } else { self.accept_again_at.since(now) };
        shard.min(accept).min(SLEEP_MAX)
    }

    fn enter(&mut self, wait: Wait) {
        if let Err(error) = self.driver.submit(wait) {
            // The kernel refuses only what a full queue or a signal explains; it is tried again.
            tracing::debug!(reactor = self.id.0, %error, "io_uring_enter");
        }
    }

    fn read_mail(&mut self) -> bool {
        let mut worked = false;
        for from in self.inboxes.senders() {
            for _ in 0..MAIL_PER_TURN_MAX {
                let Some(mail) = self.inboxes.take(from) else { break };
                worked = true;
                match mail {
                    Mail::Message(message) => {
                        let now = self.now;
                        self.shard.handle_message(now, from, *message, &mut self.actions);
                        self.run_actions();
                    }
                    Mail::Connection(traveller) => self.adopt(*traveller),
                }
            }
        }
        worked
    }

    fn reap(&mut self) -> bool {
        let mut completions = std::mem::take(&mut self.completions);
        let worked = self.driver.reap(COMPLETIONS_PER_TURN_MAX, &mut completions) > 0;
        for completion in completions.drain(..) {
            self.completed(completion);
        }
        self.completions = completions;
        worked
    }

    fn completed(&mut self, completion: Completion) {
        match completion {
            Completion::Accepted { socket, .. } => self.accepted(socket),
            Completion::AcceptFailed { token, errno } => self.accept_failed(token, errno),
            Completion::Received { token, result, data, .. } => self.received(token, result, data),
            Completion::ReceivedInto { token, slice, result, .. } => {
                self.received_into(token, slice, result);
            }
            Completion::Sent { token, result, gather } => self.sent(token, result, gather),
            Completion::Closed { socket } => self.socket_closed(socket),
            Completion::Read { token, result, .. } | Completion::Written { token, result, .. } => {
                self.transferred(token, result);
            }
            Completion::Synced { token, result } | Completion::Allocated { token, result } => {
                self.io_ended(token, result);
            }
            Completion::Woken => {}
        }
    }

    fn fire_timers(&mut self) -> bool {
        if self.shard.poll_timeout().is_none_or(|at| at > self.now) {
            return false;
        }
        self.shard.handle_timeout(self.now, &mut self.actions);
        self.run_actions();
        true
    }

    /// Carries out what the shard asks for, until it asks for nothing more.
    pub(crate) fn run_actions(&mut self) {
        loop {
            if let Some(action) = self.actions.pop() {
                self.execute(action);
            } else if let Some(buf) = self.returned.pop_front() {
                self.shard.handle_buffer_returned(self.now, buf, &mut self.actions);
            } else if let Some((op, result)) = self.done.pop_front() {
                self.shard.handle_io(self.now, op, result, &mut self.actions);
            } else {
                return;
            }
        }
    }

    fn execute(&mut self, action: Action) {
        match action {
            Action::Send { conn, header, data, sample } => {
                self.queue_pdu(conn, &header, data, sample);
            }
            Action::Io { op, volume, request } => self.access(op, volume, request),
            Action::Combine { op, by, first, second } => self.combine(op, by, first, second),
            Action::Replicate { block, into } => self.replicate(block, into),
            Action::ZeroFill(into) => self.zero_fill(into),
            Action::Close(conn) => self.close(conn),
            Action::EnterFullFeaturePhase {
                conn,
                header_digest,
                data_digest,
                max_data_segment_length,
            } => {
                if let Some(connection) = self.connection_mut(conn) {
                    connection.enter_full_feature_phase(
                        header_digest,
                        data_digest,
                        max_data_segment_length,
                    );
                }
            }
            Action::HandOver { conn, to, state } => self.hand_over(conn, to, state),
            Action::Post { to, message } => {
                // The shard knows how many reactors there are.
                let unknown = self.outboxes.post(to, Mail::Message(message));
                debug_assert!(unknown.is_ok(), "a message to a reactor that does not exist");
            }
            Action::Return { conn, buf } => self.return_buffer(conn, buf),
        }
    }

    fn read_commands(&mut self) -> bool {
        let mut worked = false;
        while let Some(command) = self.commands.pop() {
            worked = true;
            match command {
                Command::Apply { catalog, opened } => {
                    self.take_stores(opened);
                    // First, so that what goes on because its volume is gone finds it gone.
                    self.retire_volumes(&catalog);
                    self.shard.handle_catalog(self.now, catalog, &mut self.actions);
                    self.run_actions();
                }
                Command::DropSession(conn) => {
                    // To the shard it is as if the initiator had gone.
                    self.shard.handle_closed(self.now, conn, &mut self.actions);
                    self.run_actions();
                }
                Command::Listen(listeners) => self.listen(listeners),
                Command::Report(reply) => {
                    // Whoever asked may have stopped waiting.
                    let _sent = reply.send(self.report());
                }
                Command::Shutdown => {
                    for listener in std::mem::take(&mut self.listeners) {
                        self.driver.close(listener);
                    }
                    self.shard.handle_shutdown(self.now, &mut self.actions);
                    self.run_actions();
                }
                Command::Stop => self.stopping = true,
            }
        }
        worked
    }

    fn report(&mut self) -> ReactorReport {
        self.recorder.counters.syscalls = self.driver.counters().enters;
        ReactorReport {
            reactor: self.id,
            core: self.options.cores.get(usize::from(self.id.0)).copied().unwrap_or(0),
            snapshot: self.recorder.snapshot(),
            sessions: self.shard.sessions(),
            connections: u32::try_from(self.connections.len()).unwrap_or(u32::MAX),
            buffers_in_use: self.shard.buffers_in_use(),
            buffers_total: self.options.layout.buffer_count(),
            is_idle: self.shard.is_idle() && self.connections.is_empty(),
            warnings: self.warnings.clone(),
        }
    }

    /// Takes new volumes in.
    pub(crate) fn take_stores(&mut self, opened: Vec<(VolumeId, SharedStore)>) {
        for (id, store) in opened {
            let backend = match store {
                SharedStore::File { fd, size, trust } => {
                    match self.driver.add_file(Arc::clone(&fd)) {
                        Ok(id) => Some(Backend::File { id, fd, size, trust }),
                        Err(refusal) => {
                            tracing::error!(volume = id.0, %refusal, "no room for its file");
                            // Not what the place holds: that is another volume.
                            None
                        }
                    }
                }
                SharedStore::Memory(store) => Some(Backend::Memory(store)),
                SharedStore::Null => Some(Backend::Null),
            };
            let place = usize::from(id.0);
            if self.volumes.len() <= place {
                self.volumes.resize(place + 1, None);
            }
            let before = std::mem::replace(&mut self.volumes[place], backend);
            if let Some(Backend::File { id, .. }) = before {
                self.retired.push(id);
            }
        }
    }

    fn retire_volumes(&mut self, catalog: &volume::Catalog) {
        for (place, slot) in self.volumes.iter_mut().enumerate() {
            let id = u16::try_from(place).map(VolumeId);
            let is_known = id.is_ok_and(|id| catalog.volume(id).is_some());
            if !is_known && let Some(Backend::File { id, .. }) = slot.take() {
                self.retired.push(id);
            }
        }
    }

    /// Closes the files of volumes that are gone, once their last operation has ended.
    fn close_retired(&mut self) {
        let driver = &mut self.driver;
        self.retired.retain(|&file| driver.remove_file(file) == Err(Refusal::Busy));
    }

    /// Begins to accept on these sockets.
    pub(crate) fn listen(&mut self, listeners: Vec<OwnedFd>) {
        for fd in listeners {
            match self.driver.add_listener(fd) {
                Ok(listener) => {
                    let token = u64::try_from(self.listeners.len()).unwrap_or(0);
                    self.listeners.push(listener);
                    self.begin_accepting(listener, token);
                }
                Err(refused) => {
                    let refusal = refused.reason;
                    tracing::error!(reactor = self.id.0, %refusal, "cannot listen");
                }
            }
        }
    }

    /// The addresses of a socket that has just been accepted.
    pub(crate) fn addresses(fd: &OwnedFd) -> Option<(SocketAddr, SocketAddr)> {
        Some((uring::socket::peer_address(fd).ok()?, uring::socket::local_address(fd).ok()?))
    }
}

fn ns(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Backend operations of one reactor with the kernel. More wait in the reactor.
const IOS_MAX: u32 = 8192;

#[cfg(test)]
mod tests;
