//! The front door of a shard: the calls by which its reactor tells it what happened, and the routes
//! from each of them to the owner of the state that it changes.
//!
//! Three owners hold the state: [`Sessions`], [`Tasks`] and [`Units`]. They borrow each other for
//! the time of a call, and reach each other by wakes otherwise ([`crate::wake`]); none of them
//! knows this type.

use crate::action::{Actions, IoResult, Placement, Progress};
use crate::event::Ending;
use crate::message::{HandedOver, Message, Note};
use crate::operation::OpId;
use crate::session::census::{SessionCaps, Source};
use crate::session::connection::{Incoming, Phase};
use crate::session::directory::SessionInfo;
use crate::session::full_feature::EndedPdu;
use crate::session::sessions::Sessions;
use crate::session::{endings, full_feature, stalls};
use crate::task::order;
use crate::task::tasks::{Neighbours, Tasks};
use crate::task::waiting::Then;
use crate::task::{overdue, placing};
use crate::turn::{Cores, Turn};
use crate::unit::jobs;
use crate::unit::units::Units;
use crate::wake::{Wake, Wakes};
use iscsi::{Bhs, DeframeFault};
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use units::{BufId, ConnId, Instant, PoolLayout, ReactorId};
use volume::Catalog;

/// How a shard is set up.
pub struct ShardOptions {
    /// The reactor that it belongs to.
    pub id: ReactorId,
    /// How many reactors the node has.
    pub reactors: u8,
    /// How the reactor's pool is cut: the shard lends its buffers.
    pub layout: PoolLayout,
    /// How many sessions each address and each initiator may have.
    pub caps: SessionCaps,
    /// How long a login may take.
    pub login_time_max: Duration,
    /// Fills a slice with random bytes that nobody can guess: challenges and tags.
    pub entropy: Entropy,
}

/// A source of random bytes.
pub type Entropy = Box<dyn FnMut(&mut [u8]) + Send>;

impl fmt::Debug for ShardOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ShardOptions").field("id", &self.id).finish_non_exhaustive()
    }
}

/// All the state of one core. It never blocks, reads no clock and does no I/O.
///
/// Calls come in any order that the outside world makes; each may push actions, which the
/// reactor carries out in order before the next call.
pub struct Shard {
    cores: Cores,
    sessions: Sessions,
    tasks: Tasks,
    units: Units,
    wakes: Wakes,
    next_tick: Option<Instant>,
    /// The last tick came late and judged nothing.
    tick_was_late: bool,
    /// Room for the connections that a tick looks at, so that ticks do not allocate.
    ticked: Vec<ConnId>,
}

impl fmt::Debug for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shard").field("id", &self.cores.own).finish_non_exhaustive()
    }
}

/// How often the shard looks at its deadlines. None of them is shorter than seconds.
const TICK: Duration = Duration::from_millis(500);

/// A shard with more tasks than this is not checked after every call of a debug build: the check
/// looks at each of them.
const CHECKED_TASKS_MAX: usize = 64;

/// The same for connections.
const CHECKED_CONNECTIONS_MAX: usize = 64;

/// The turn of one call, beside the owners that it borrows.
macro_rules! turn {
    ($shard:ident, $now:expr, $actions:expr) => {
        &mut Turn { now: $now, actions: $actions, wakes: &mut $shard.wakes, cores: $shard.cores }
    };
}

impl Shard {
    /// A shard without connections that serves `catalog`.
    ///
    /// # Panics
    /// When the node has no reactor.
    pub fn new(options: ShardOptions, catalog: Arc<Catalog>) -> Self {
        assert!(options.reactors > 0, "a node has at least one reactor");
        let ShardOptions { reactors, caps, login_time_max, entropy, .. } = options;
        let mut sessions = Sessions::new(reactors, caps, login_time_max, entropy);
        let mut units = Units::default();
        let mut tasks = Tasks::new(&options.layout);
        units.follow(&catalog);
        tasks.lender.follow(&catalog);
        sessions.catalog = catalog;
        Self {
            cores: Cores { own: options.id, count: options.reactors },
            sessions,
            tasks,
            units,
            wakes: Wakes::default(),
            next_tick: None,
            tick_was_late: false,
            ticked: Vec::new(),
        }
    }

    /// A connection has been accepted. `None` where it is one too many, or the node shuts down:
    /// the reactor closes it.
    pub fn accept(&mut self, now: Instant, peer: SocketAddr, local: SocketAddr) -> Option<ConnId> {
        let conn = self.sessions.accept(now, peer, local)?;
        self.schedule_tick(now);
        Some(conn)
    }

    /// Another reactor's shard has handed a session over. `None` where this one is full: the
    /// reactor closes the connection.
    pub fn adopt(
        &mut self,
        now: Instant,
        state: HandedOver,
        actions: &mut Actions,
    ) -> Option<ConnId> {
        let HandedOver { session, peer, local, .. } = state;
        let turn = turn!(self, now, actions);
        let adopted = match self.sessions.adopt(now, session, peer, local) {
            Ok(conn) => {
                self.sessions.catch_up(conn, turn);
                self.sessions.located(conn, turn);
                Some(conn)
            }
            Err(session) => {
                endings::report_end(&session, peer, Ending::NoRoom, turn);
                endings::session_over(&session, &[], &mut self.tasks, turn);
                None
            }
        };
        self.schedule_tick(now);
        self.settle(now, actions);
        adopted
    }

    /// The header of a PDU has come in. The answer says where its data segment goes; the PDU
    /// ends with [`Self::handle_pdu_end`]. One without a data segment has ended with its header,
    /// unless it has to wait: a further call for its end does nothing.
    pub fn handle_header(
        &mut self,
        now: Instant,
        conn: ConnId,
        bhs: &Bhs,
        actions: &mut Actions,
    ) -> Placement {
        // The reactor may have more of its bytes than the connection lived to see.
        let Some(connection) = self.sessions.get_mut(conn) else { return Placement::Discard };
        debug_assert!(connection.filling.is_none(), "PDUs of a connection come one by one");
        connection.incoming = Incoming::Dropped;
        connection.header = *bhs;
        let turn = turn!(self, now, actions);
        let mut is_awaited = true;
        let placement = match connection.phase {
            Phase::FullFeature(_) => {
                let (tasks, units) = (&mut self.tasks, &mut self.units);
                let placement = full_feature::header(connection, bhs, tasks, units, turn);
                is_awaited = !matches!(connection.incoming, Incoming::Dropped);
                placement
            }
            Phase::Login(_) | Phase::Registering(_) => {
                self.sessions.header_in_login(conn, bhs, turn)
            }
            Phase::LoggedOut => Placement::Discard,
        };
        self.settle(now, actions);
        if is_awaited && bhs.data_segment_length() == 0 && placement != Placement::Wait {
            self.end_with_header(now, conn, actions);
        }
        placement
    }

    #[cold]
    fn end_with_header(&mut self, now: Instant, conn: ConnId, actions: &mut Actions) {
        self.handle_pdu_end(now, conn, true, actions);
    }

    /// A run of a data segment that was placed with [`Placement::Engine`].
    pub fn handle_segment(&mut self, conn: ConnId, bytes: &[u8]) {
        // The connection may have ended behind its header.
        let Some(connection) = self.sessions.get_mut(conn) else { return };
        if let Incoming::Parameters { task, .. } = connection.incoming {
            self.tasks.handle_parameters(task, bytes);
        } else {
            // The deframer bounds a data segment by what the target has declared.
            connection.segment.extend_from_slice(bytes);
        }
    }

    /// The PDU is complete. `data_digest_ok` is false where its data digest did not match: its
    /// data is not used.
    #[inline(always)]
    pub fn handle_pdu_end(
        &mut self,
        now: Instant,
        conn: ConnId,
        data_digest_ok: bool,
        actions: &mut Actions,
    ) {
        // The connection may have ended behind its header.
        let Some(connection) = self.sessions.get_mut(conn) else { return };
        let incoming = std::mem::replace(&mut connection.incoming, Incoming::Dropped);
        connection.filling = None;
        if matches!(incoming, Incoming::Dropped) {
            return;
        }
        let turn = turn!(self, now, actions);
        let Self { sessions, tasks, units, .. } = self;
        let is_for_task = matches!(incoming, Incoming::Task { .. });
        let pdu = EndedPdu { conn, incoming, digest_ok: data_digest_ok };
        full_feature::pdu_end(pdu, tasks, &mut Neighbours { sessions, units }, turn);
        if !is_for_task && let Some(connection) = self.sessions.get_mut(conn) {
            // Not just cleared: a connection keeps no memory for what its peer sent once.
            connection.segment = Vec::new();
        }
        self.settle(now, actions);
    }

    /// The bytes of a connection cannot be cut into PDUs any more.
    pub fn handle_deframe_fault(
        &mut self,
        now: Instant,
        conn: ConnId,
        fault: &DeframeFault,
        actions: &mut Actions,
    ) {
        self.sessions.handle_deframe_fault(conn, fault, turn!(self, now, actions));
        self.settle(now, actions);
    }

    /// The peer has closed the connection, the socket has failed, or an administrator drops the
    /// session.
    pub fn handle_closed(&mut self, now: Instant, conn: ConnId, actions: &mut Actions) {
        self.end_connection(now, conn, Ending::PeerGone, actions);
    }

    /// An administrator ends a connection.
    pub fn handle_drop(&mut self, now: Instant, conn: ConnId, actions: &mut Actions) {
        self.end_connection(now, conn, Ending::Dropped, actions);
    }

    fn end_connection(
        &mut self,
        now: Instant,
        conn: ConnId,
        ending: Ending,
        actions: &mut Actions,
    ) {
        self.sessions.blame(conn, ending);
        self.sessions.abandon_connection(conn, turn!(self, now, actions));
        self.settle(now, actions);
    }

    /// A backend operation has ended.
    ///
    /// # Panics
    /// When it was not under way: the reactor reports each operation once.
    #[inline]
    pub fn handle_io(&mut self, now: Instant, op: OpId, result: IoResult, actions: &mut Actions) {
        let turn = turn!(self, now, actions);
        let Self { sessions, tasks, units, .. } = self;
        tasks.handle_io(op, result, &mut Neighbours { sessions, units }, turn);
        self.settle(now, actions);
    }

    /// The last PDU that named a buffer has left, or its connection is gone.
    ///
    /// # Panics
    /// When the buffer is not lent: the reactor returns each once.
    #[inline]
    pub fn handle_buffer_returned(&mut self, now: Instant, buf: BufId, actions: &mut Actions) {
        self.tasks.handle_buffer_returned(buf, turn!(self, now, actions));
        self.settle(now, actions);
    }

    /// The answer to [`crate::Action::Probe`].
    pub fn handle_progress(
        &mut self,
        now: Instant,
        conn: ConnId,
        progress: Progress,
        actions: &mut Actions,
    ) {
        let turn = turn!(self, now, actions);
        stalls::handle_progress(conn, progress, &mut self.sessions, turn);
        self.settle(now, actions);
    }

    /// Another shard has posted a message.
    pub fn handle_message(
        &mut self,
        now: Instant,
        from: ReactorId,
        message: Message,
        actions: &mut Actions,
    ) {
        self.handle_note(now, from, message.0, actions);
        self.settle(now, actions);
    }

    /// There is a new catalog. Sessions that it does not concern go on untouched.
    pub fn handle_catalog(&mut self, now: Instant, catalog: Arc<Catalog>, actions: &mut Actions) {
        let resized = self.units.follow(&catalog);
        self.tasks.lender.follow(&catalog);
        self.sessions.catalog = catalog;
        self.sessions.refresh(&resized, turn!(self, now, actions));
        self.schedule_tick(now);
        self.settle(now, actions);
        let tasks = &self.tasks;
        self.units.forget_left(|volume| !tasks.of_unit(volume, None).is_empty());
    }

    /// The node shuts down: every initiator is asked to log out (RFC 7143 11.9.1, event 1).
    /// Those that do not are dropped after [`units::limits::ASYNC_LOGOUT_TIME`].
    pub fn handle_shutdown(&mut self, now: Instant, actions: &mut Actions) {
        self.sessions.begin_shutdown(turn!(self, now, actions));
        self.schedule_tick(now);
        self.settle(now, actions);
    }

    /// The moment that [`Self::poll_timeout`] named has come.
    pub fn handle_timeout(&mut self, now: Instant, actions: &mut Actions) {
        // A tick that comes late had to wait for a core that stood still. What peers have sent
        // meanwhile waits, too: it counts before a deadline does. Twice in a row would be a core
        // that is always late, and its deadlines must come some time.
        let is_late = self.next_tick.take().is_some_and(|due| now.since(due) >= TICK);
        self.tick_was_late = is_late && !self.tick_was_late;
        if self.tick_was_late {
            return self.schedule_tick(now);
        }
        let turn = turn!(self, now, actions);
        self.sessions.registry.refuse_overdue(turn);
        let mut conns = std::mem::take(&mut self.ticked);
        conns.extend(self.sessions.conns());
        for conn in conns.drain(..) {
            self.sessions.check_deadlines(conn, turn);
            let near = &mut Neighbours { sessions: &mut self.sessions, units: &mut self.units };
            overdue::end_overdue(conn, &mut self.tasks, near, turn);
            overdue::probe(conn, &self.tasks, &mut self.sessions, turn);
        }
        self.ticked = conns;
        self.tasks.end_share_period();
        let near = &mut Neighbours { sessions: &mut self.sessions, units: &mut self.units };
        placing::refuse_overdue(&mut self.tasks, near, turn);
        self.settle(now, actions);
        if !self.is_idle() || self.sessions.registry.has_successors() {
            self.schedule_tick(now);
        }
    }

    /// When the shard wants [`Self::handle_timeout`] to be called.
    pub const fn poll_timeout(&self) -> Option<Instant> {
        self.next_tick
    }

    /// Whether there is no connection left, and nothing under way.
    pub fn is_idle(&self) -> bool {
        self.sessions.is_empty() && self.tasks.is_empty()
    }

    /// How many buffers of the pool are lent.
    pub fn buffers_in_use(&self) -> u32 {
        self.tasks.lender.lent_count()
    }

    /// The sessions of this core. For the control path: it allocates.
    pub fn sessions(&self) -> Vec<SessionInfo> {
        self.sessions.infos()
    }

    /// Makes sure that the deadlines are looked at.
    fn schedule_tick(&mut self, now: Instant) {
        self.ticked.reserve(self.sessions.conns().count());
        if self.next_tick.is_none() {
            self.next_tick = Some(now.after(TICK));
        }
    }

    /// Routes wakes until there is none, and checks the state that every call must leave.
    #[inline]
    fn settle(&mut self, now: Instant, actions: &mut Actions) {
        while let Some(wake) = self.wakes.pop() {
            self.route(now, wake, actions);
        }
        if cfg!(debug_assertions)
            && self.tasks.len() <= CHECKED_TASKS_MAX
            && self.sessions.len() <= CHECKED_CONNECTIONS_MAX
        {
            self.self_check();
        }
    }

    /// Asserts the invariants of all owners, one by one and between each other.
    #[cold]
    fn self_check(&self) {
        assert!(self.ticked.is_empty(), "a tick has looked at its connections");
        self.sessions.self_check();
        self.tasks.self_check(&self.sessions, &self.units);
        self.units.self_check(self.cores);
    }

    fn route(&mut self, now: Instant, wake: Wake, actions: &mut Actions) {
        let turn = turn!(self, now, actions);
        let Self { sessions, tasks, units, .. } = self;
        let near = &mut Neighbours { sessions, units };
        match wake {
            Wake::BufferFree => tasks.feed_hungry(near, turn),
            Wake::EndSession(conn, closing) => {
                endings::end_session(conn, closing, tasks, near, turn);
            }
            Wake::SessionBegan(conn) => {
                let Some(connection) = near.sessions.get_mut(conn) else {
                    unreachable!("nothing else has happened since it began")
                };
                tasks.lender.enter(conn, Source::of(connection.peer.ip()));
            }
            Wake::HomeReady(volume) => near.units.poll_home(volume, turn),
            Wake::JobDone { volume, number } => {
                turn.post(turn.cores.home_of(volume), Note::Done { volume, number });
            }
            Wake::Note(note) => self.handle_note(now, self.cores.own, note, actions),
            Wake::Placed { conn, placement } => near.sessions.place(conn, placement, turn),
            Wake::Quiet(then) => self.handle_then(now, then, actions),
            Wake::RangeFree(key) => tasks.handle_range_free(key, near, turn),
            Wake::TaskIsNext(key) => order::begin_dormant(tasks, key, near, turn),
            Wake::TaskMayProceed(key) => tasks.resume(key, near, turn),
            Wake::TaskQuiet(key) => tasks.handle_quiet(key, turn),
        }
    }

    fn handle_then(&mut self, now: Instant, then: Then, actions: &mut Actions) {
        let turn = turn!(self, now, actions);
        let Self { sessions, tasks, units, .. } = self;
        let near = &mut Neighbours { sessions, units };
        match then {
            Then::AnswerManagement { task, outcome } => {
                tasks.answer_management(task, outcome, near, turn);
            }
            Then::ResetTarget { task } => tasks.reset_target(task, near, turn),
            Then::AnswerLogout { conn, request } => {
                full_feature::answer_logout(conn, &request, near.sessions, turn);
            }
            Then::SessionOver { nexus, tsih } => {
                endings::session_is_over(nexus, tsih, near.units, turn);
            }
            Then::JobDone { volume, number } => turn.wake(Wake::JobDone { volume, number }),
        }
    }

    fn handle_note(&mut self, now: Instant, from: ReactorId, note: Note, actions: &mut Actions) {
        let turn = turn!(self, now, actions);
        let Self { sessions, tasks, units, .. } = self;
        match note {
            Note::Answer { ticket, outcome } => {
                let near = &mut Neighbours { sessions, units };
                tasks.handle_answer(ticket.task, outcome, near, turn);
            }
            Note::Ask { volume, ticket, job } => units.handle_ask(volume, ticket, job, turn),
            Note::Cancel { volume, ticket } => units.handle_cancel(volume, ticket, turn),
            Note::DiscoveryEntered(entered) => sessions.discovery_entered(from, entered, turn),
            Note::DiscoveryOver { source } => sessions.registry.handle_discovery_over(source),
            Note::Displace { nexus, tsih } => sessions.displace(nexus, tsih, turn),
            Note::Do(duty) => {
                jobs::perform(duty, tasks, &mut Neighbours { sessions, units }, turn);
            }
            Note::Done { volume, number } => units.handle_done(volume, number, turn),
            Note::EnterDiscovery { conn, source } => {
                sessions.registry.handle_enter_discovery(from, conn, source, turn);
            }
            Note::Load { sessions: count } => sessions.registry.handle_load(from, count),
            Note::Register { nexus, applicant } => {
                sessions.registry.handle_register(applicant, nexus, turn);
                self.schedule_tick(now);
            }
            Note::Registered { conn, nexus, outcome } => {
                sessions.registered(conn, nexus, outcome, turn);
            }
            Note::ReleaseRange { volume, holder } => {
                units.handle_release(from, volume, holder, turn);
            }
            Note::SessionOver { nexus, tsih } => {
                sessions.registry.handle_session_over(&nexus, tsih, turn);
            }
        }
    }

    /// Asserts that nothing is under way and nothing waits.
    #[cfg(test)]
    pub(crate) fn assert_at_rest(&self) {
        assert!(self.tasks.is_empty(), "a task is left: {:?}", self.tasks);
        assert!(self.tasks.waits.is_empty(), "something waits: {:?}", self.tasks.waits);
        self.self_check();
    }

    /// Connections in their login phase.
    #[cfg(test)]
    pub(crate) fn half_open_logins(&self) -> u32 {
        self.sessions.half_open_logins()
    }
}
