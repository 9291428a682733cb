//! The reactor: one thread, one ring, one shard, and the turn that it makes over and over.
//!
//! A turn is bounded: so much mail, so many completions, so many PDUs of one connection. What is
//! left waits for the next turn, so that no connection starves the others.

mod actions;
mod connections;

use crate::backends::Backends;
use crate::buffers::{Buffers, Parcel};
use crate::commands::Command;
use crate::control_link::{ControlLink, Notice};
use crate::events::EventQueue;
use crate::handover::Traveller;
use crate::initiator_link::{InitiatorLink, Names};
use crate::listeners::{AcceptFailure, Listeners};
use crate::mailbox::{Bell, Doorbell, Inboxes, Outboxes};
use crate::node::{NodeOptions, PollMode};
use crate::report::ReactorReport;
use crate::stats::Recorder;
use crate::streams::Streams;
use crate::sweeper::Sweeps;
use crate::token::key_of_token;
use crossbeam_queue::ArrayQueue;
use shard::{Actions, IoResult, Message, OpId, Shard};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use units::{BufId, ConnId, Instant, ReactorId, nanoseconds};
use uring::{Completion, Driver, Wait, Waker};

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
    pub(crate) control: ControlLink,
    pub(crate) sweeps: Sweeps,
    pub(crate) warnings: Vec<String>,
}

/// One reactor.
pub(crate) struct Reactor {
    id: ReactorId,
    options: Arc<NodeOptions>,
    shard: Shard,
    buffers: Buffers,
    streams: Streams<InitiatorLink>,
    names: Names,
    backends: Backends,
    listeners: Listeners,
    inboxes: Inboxes<Mail>,
    outboxes: Outboxes<Mail, Waker>,
    doorbell: Arc<Doorbell<Waker>>,
    commands: Arc<ArrayQueue<Command>>,
    control: ControlLink,
    sweeps: Sweeps,
    /// What the shard asks for.
    actions: Actions,
    /// Requests that ended at once, to be told to the shard.
    done: VecDeque<(OpId, IoResult)>,
    /// Buffers that go back to the shard.
    returned: VecDeque<BufId>,
    /// Connections of which the shard wants to know whether they move bytes.
    probes: VecDeque<ConnId>,
    completions: Vec<Completion>,
    /// What an operator is to be told.
    events: EventQueue,
    recorder: Recorder,
    now: Instant,
    /// When a turn that found something to do began, the last time.
    worked_at: Instant,
    /// The last turn found something to do.
    worked: bool,
    /// When memory that was not needed was given back, the last time.
    trimmed_at: Instant,
    /// Connections have ended since.
    connections_ended: bool,
    stopping: bool,
    /// After the order to shut down: whether the control thread knows that nothing is left.
    drained: Option<bool>,
    warnings: Vec<String>,
}

/// What one turn takes of each kind of work.
const MAIL_PER_TURN_MAX: usize = 256;
const COMPLETIONS_PER_TURN_MAX: usize = 512;

/// How long a reactor that spins goes on while the disk works. It is about what a fast disk takes
/// for a read: sleeping at once cost 20 to 40 us of wake-up at queue depth 1, and never sleeping up
/// to a third of the rate of writes that allocate.
const DISK_SPIN: Duration = Duration::from_micros(100);

/// How often memory is given back that was not needed since the last time.
const TRIM_INTERVAL: Duration = Duration::from_secs(1);

/// How long a reactor sleeps at most: a bound on what a lost wake-up could cost.
const SLEEP_MAX: Duration = Duration::from_millis(500);

impl Reactor {
    /// The reactor of these parts.
    pub(crate) fn new(parts: Parts) -> Self {
        let now = uring::now();
        Self {
            backends: Backends::new(&parts.options.layout, parts.options.cores.len()),
            id: parts.id,
            options: parts.options,
            shard: parts.shard,
            buffers: Buffers::new(parts.driver),
            streams: Streams::new(),
            names: Names::default(),
            listeners: Listeners::new(parts.id, now),
            inboxes: parts.inboxes,
            outboxes: parts.outboxes,
            doorbell: parts.doorbell,
            commands: parts.commands,
            control: parts.control,
            sweeps: parts.sweeps,
            actions: Actions::with_capacity(1024),
            done: VecDeque::new(),
            returned: VecDeque::new(),
            probes: VecDeque::new(),
            completions: Vec::with_capacity(COMPLETIONS_PER_TURN_MAX),
            events: EventQueue::new(now),
            recorder: Recorder::new(),
            now,
            worked_at: now,
            worked: false,
            trimmed_at: now,
            connections_ended: false,
            stopping: false,
            drained: None,
            warnings: parts.warnings,
        }
    }

    /// Makes turns until the node stops.
    pub(crate) fn run(&mut self) {
        while !self.stopping {
            self.turn();
        }
        self.hand_over_events();
        self.control.deliver();
    }

    fn turn(&mut self) {
        // The clock is read once in a turn: in one that finds nothing, it is most of the turn.
        let now = uring::now();
        self.account(now);
        self.now = now;
        let mut worked = self.read_commands();
        worked |= self.read_mail();
        worked |= self.reap();
        worked |= self.end_overdue_drains();
        worked |= self.listeners.retry(now, &mut self.buffers.ring);
        worked |= self.take_maps();
        worked |= self.retry_deferred();
        worked |= self.serve_listed();
        // Behind the bytes that have come: they count before a deadline does.
        worked |= self.fire_timers();
        let control = &mut self.control;
        let closed = |volume| control.post(Notice::Closed(volume));
        self.backends.files.close_retired(&mut self.buffers, closed);
        self.outboxes.deliver();
        self.notify_control();
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
        let took = nanoseconds(now.since(self.now));
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
            && !self.backends.files.is_idle()
            && now.since(self.worked_at) >= DISK_SPIN;
        if spins && !waits_for_disk {
            std::hint::spin_loop();
            return self.enter(Wait::No);
        }
        self.doorbell.prepare_sleep();
        let has_backlog = self.outboxes.has_backlog() || self.control.has_backlog();
        if self.inboxes.is_empty() && self.commands.is_empty() && !has_backlog {
            self.enter(Wait::AtMost(self.sleep_time(now)));
        } else {
            self.enter(Wait::No);
        }
        self.doorbell.awake();
    }

    /// How long there is nothing to do unless something happens.
    fn sleep_time(&self, now: Instant) -> Duration {
        let due = [
            self.shard.poll_timeout(),
            self.listeners.poll_timeout(),
            self.streams.poll_timeout(),
            self.events.poll_timeout(),
        ];
        due.into_iter().flatten().map(|at| at.since(now)).fold(SLEEP_MAX, Duration::min)
    }

    fn enter(&mut self, wait: Wait) {
        if let Err(error) = self.buffers.ring.submit(wait) {
            // The kernel refuses only what a full queue or a signal explains; it is tried again.
            tracing::debug!(reactor = self.id.0, %error, "io_uring_enter failed");
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
        let worked = self.buffers.ring.reap(COMPLETIONS_PER_TURN_MAX, &mut completions) > 0;
        for completion in completions.drain(..) {
            self.completed(completion);
        }
        self.completions = completions;
        worked
    }

    fn completed(&mut self, completion: Completion) {
        match completion {
            Completion::Accepted { socket, .. } => self.accepted(socket),
            Completion::AcceptFailed { token, errno } => {
                let failure = AcceptFailure { token, errno };
                self.listeners.failed(failure, self.now, &mut self.buffers.ring);
            }
            Completion::Received { token, result, data, .. } => {
                self.received(key_of_token(token), result, data);
            }
            Completion::ReceivedInto { token, slice, result, .. } => {
                self.received_into(key_of_token(token), slice, result);
            }
            Completion::Sent { token, result, gather } => {
                self.sent(key_of_token(token), result, Parcel::of(gather));
            }
            Completion::Closed { socket } => self.socket_closed(socket),
            Completion::Read { token, result, .. } | Completion::Written { token, result, .. } => {
                let ended = self.backends.transferred(token, result, &mut self.buffers);
                self.io_ended(ended);
            }
            Completion::Synced { token, result } | Completion::Allocated { token, result } => {
                let ended = self.backends.ended(token, result, &mut self.buffers);
                self.io_ended(ended);
            }
            Completion::Woken => {}
        }
    }

    fn io_ended(&mut self, ended: Option<(OpId, IoResult)>) {
        if let Some((op, result)) = ended {
            self.shard.handle_io(self.now, op, result, &mut self.actions);
            self.run_actions();
        }
    }

    /// Tries requests again that the ring had no room for. If none can be started, the kernel has
    /// work to end first.
    fn retry_deferred(&mut self) -> bool {
        let waiting = self.backends.files.deferred();
        for _ in 0..waiting {
            let Some(ended) = self.backends.retry(&mut self.buffers) else { break };
            self.io_ended(ended);
        }
        self.backends.files.deferred() < waiting
    }

    /// Takes the answers to queries of where files have blocks.
    #[inline]
    fn take_maps(&mut self) -> bool {
        let mut worked = false;
        while let Some(ended) = self.backends.files.next_map() {
            self.io_ended(Some(ended));
            worked = true;
        }
        worked
    }

    fn fire_timers(&mut self) -> bool {
        if self.now.since(self.trimmed_at) >= TRIM_INTERVAL {
            self.trimmed_at = self.now;
            self.buffers.ring.trim_parcels();
            if std::mem::take(&mut self.connections_ended) {
                self.sweeps.ask();
            }
        }
        let freed = self.buffers.ring.free_parcels();
        if self.shard.poll_timeout().is_none_or(|at| at > self.now) {
            return freed;
        }
        self.shard.handle_timeout(self.now, &mut self.actions);
        self.run_actions();
        true
    }

    fn read_commands(&mut self) -> bool {
        let mut worked = false;
        while let Some(command) = self.commands.pop() {
            worked = true;
            match command {
                Command::Apply { catalog, opened, gone } => {
                    self.backends.take_stores(opened, &mut self.buffers);
                    // First, so that what goes on because its volume is gone finds it gone.
                    let control = &mut self.control;
                    self.backends.retire(&gone, |volume| control.post(Notice::Closed(volume)));
                    self.shard.handle_catalog(self.now, catalog, &mut self.actions);
                    self.run_actions();
                }
                Command::DropSession(conn) => {
                    self.shard.handle_drop(self.now, conn, &mut self.actions);
                    self.run_actions();
                }
                Command::Listen(listeners) => {
                    self.listeners.listen(listeners, self.now, &mut self.buffers.ring);
                }
                Command::Report(round) => {
                    let report = Box::new(self.report());
                    self.control.post(Notice::Report { round, report });
                }
                Command::Shutdown => {
                    self.listeners.close(&mut self.buffers.ring);
                    self.shard.handle_shutdown(self.now, &mut self.actions);
                    self.run_actions();
                    self.drained = Some(false);
                }
                Command::Stop => self.stopping = true,
            }
        }
        if worked {
            self.control.post(Notice::CommandsTaken(self.id));
        }
        worked
    }

    fn is_idle(&self) -> bool {
        self.shard.is_idle() && self.streams.is_empty()
    }

    /// Sends the control thread what it is to know at the end of a turn.
    fn notify_control(&mut self) {
        // What waits for room at the control thread goes first, so that a busy one bounds this.
        if !self.control.has_backlog()
            && let Some(events) = self.events.take_due(self.now)
        {
            self.control.post(Notice::Events(events));
        }
        if let Some(known) = self.drained {
            let is_drained = self.is_idle();
            if is_drained != known {
                // Nobody listens any more once the last reactor is drained.
                self.hand_over_events();
                self.drained = Some(is_drained);
                self.control.post(Notice::Drained { reactor: self.id, is_drained });
            }
        }
        self.control.deliver();
    }

    /// Hands over what waits, whenever the last time was.
    fn hand_over_events(&mut self) {
        if let Some(events) = self.events.take() {
            self.control.post(Notice::Events(events));
        }
    }

    fn report(&mut self) -> ReactorReport {
        self.recorder.counters.syscalls = self.buffers.ring.enters();
        self.recorder.counters.bytes_copied = self.buffers.bytes_copied();
        ReactorReport {
            reactor: self.id,
            core: self.options.cores.get(usize::from(self.id.0)).copied().unwrap_or(0),
            snapshot: self.recorder.snapshot(),
            sessions: self.shard.sessions(),
            connections: self.streams.count(),
            buffers_in_use: self.shard.buffers_in_use(),
            buffers_total: self.options.layout.buffer_count(),
            is_idle: self.is_idle(),
            warnings: self.warnings.clone(),
        }
    }
}

#[cfg(test)]
mod tests;
