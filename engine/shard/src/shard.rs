//! The shard: everything one core knows, and the calls by which its reactor tells it more.

use crate::action::{Action, Actions, IoResult, Placement};
use crate::connection::{Connection, Incoming, Phase};
use crate::lease::Lender;
use crate::logical_unit::LogicalUnit;
use crate::message::{HandedOver, Message, Note};
use crate::operation::OpId;
use crate::registry::{Applicant, Registry};
use crate::task::Task;
use crate::wait::Wait;
use iscsi::{Bhs, DeframeFault};
use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use units::{BufId, ConnId, Instant, PoolLayout, ReactorId, Slab, VolumeId, limits};
use volume::Catalog;

/// How a shard is set up.
pub struct ShardOptions {
    /// The reactor that it belongs to.
    pub id: ReactorId,
    /// How many reactors the node has.
    pub reactors: u8,
    /// How the reactor's pool is cut: the shard lends its buffers.
    pub layout: PoolLayout,
    /// How long a login may take.
    pub login_time_max: Duration,
    /// READ and WRITE that nothing stands in the way of take the straight way. Without it they
    /// take the general one, as all others do: the answers are the same.
    pub straight: bool,
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
    pub(crate) id: ReactorId,
    pub(crate) reactors: u8,
    pub(crate) login_time_max: Duration,
    pub(crate) entropy: Entropy,
    pub(crate) straight: bool,
    pub(crate) catalog: Arc<Catalog>,
    pub(crate) lender: Lender,
    pub(crate) connections: Slab<Connection>,
    pub(crate) half_open: BTreeMap<IpAddr, u32>,
    pub(crate) tasks: Slab<Task>,
    arrivals: u64,
    pub(crate) units: Vec<Option<Box<LogicalUnit>>>,
    pub(crate) waits: Vec<Wait>,
    pub(crate) registry: Registry,
    pub(crate) shutting_down: bool,
    pub(crate) next_tick: Option<Instant>,
    /// Room for the connections that a tick looks at, so that ticks do not allocate.
    pub(crate) ticked: Vec<ConnId>,
}

impl fmt::Debug for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shard").field("id", &self.id).finish_non_exhaustive()
    }
}

/// What a shard is given with each call: the time, and the queue for what it wants done.
pub(crate) struct Turn<'a> {
    pub(crate) now: Instant,
    pub(crate) actions: &'a mut Actions,
}

impl Turn<'_> {
    pub(crate) fn push(&mut self, action: Action) {
        self.actions.push(action);
    }
}

impl Shard {
    /// A shard without connections that serves `catalog`.
    pub fn new(options: ShardOptions, catalog: Arc<Catalog>) -> Self {
        let mut shard = Self {
            id: options.id,
            reactors: options.reactors,
            login_time_max: options.login_time_max,
            entropy: options.entropy,
            straight: options.straight,
            catalog: Arc::new(Catalog::default()),
            lender: Lender::new(options.layout),
            connections: Slab::new(limits::CONNECTIONS_PER_REACTOR_MAX),
            half_open: BTreeMap::new(),
            tasks: Slab::new(limits::TASKS_PER_REACTOR_MAX),
            arrivals: 0,
            units: Vec::new(),
            waits: Vec::new(),
            registry: Registry::new(options.reactors),
            shutting_down: false,
            next_tick: None,
            ticked: Vec::new(),
        };
        shard.take_catalog(catalog);
        shard
    }

    /// A connection has been accepted. `None` where it is one too many, or the node shuts down:
    /// the reactor closes it.
    pub fn accept(&mut self, now: Instant, peer: SocketAddr, local: SocketAddr) -> Option<ConnId> {
        let half_open = self.half_open.get(&peer.ip()).copied().unwrap_or(0);
        if self.shutting_down || half_open >= limits::HALF_OPEN_LOGINS_PER_ADDRESS_MAX {
            return None;
        }
        let deadline = now.after(self.login_time_max);
        let mut stat_sn = [0; 4];
        (self.entropy)(&mut stat_sn);
        let connection = Connection::new(peer, local, deadline, u32::from_be_bytes(stat_sn));
        let key = self.connections.insert(connection).ok()?;
        self.half_open.insert(peer.ip(), half_open + 1);
        self.schedule_tick(now);
        Some(ConnId(key))
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
        let mut connection = Connection::new(peer, local, now, 0);
        connection.phase = Phase::FullFeature(session);
        let mut turn = Turn { now, actions };
        let key = match self.connections.insert(connection) {
            Ok(key) => key,
            Err(refused) => {
                self.forget_session(refused, &mut turn);
                return None;
            }
        };
        self.schedule_tick(now);
        self.catch_up(ConnId(key), &mut turn);
        self.session_located(ConnId(key), &mut turn);
        Some(ConnId(key))
    }

    /// Does for a session what was done for all others while it was on its way here.
    fn catch_up(&mut self, conn: ConnId, turn: &mut Turn<'_>) {
        let session = self.connections.get(conn.0).and_then(|c| c.session());
        let target = session.and_then(|s| s.target());
        if target.is_some_and(|t| self.catalog.target(&t.name) != Some(t)) {
            self.refresh_sessions(&[], turn);
        }
        if self.shutting_down {
            self.request_logout(conn, turn);
        }
    }

    /// The header of a PDU has come in. The answer says where its data segment goes; the PDU
    /// ends with [`Self::handle_pdu_end`], whether it has a data segment or not.
    pub fn handle_header(
        &mut self,
        now: Instant,
        conn: ConnId,
        bhs: &Bhs,
        actions: &mut Actions,
    ) -> Placement {
        let mut turn = Turn { now, actions };
        let Some(connection) = self.connections.get_mut(conn.0) else {
            return Placement::Discard;
        };
        connection.incoming = Incoming::Dropped;
        connection.header = *bhs;
        match connection.phase {
            Phase::Login(_) | Phase::Registering(_) => self.header_in_login(conn, bhs, &mut turn),
            Phase::FullFeature(_) => self.header_in_full_feature(conn, bhs, &mut turn),
            Phase::LoggedOut => Placement::Discard,
        }
    }

    /// A run of a data segment that was placed with [`Placement::Engine`].
    pub fn handle_segment(&mut self, conn: ConnId, bytes: &[u8]) {
        let Some(connection) = self.connections.get_mut(conn.0) else { return };
        if let Incoming::Parameters { task, .. } = connection.incoming {
            self.parameter_bytes(task, bytes);
        } else {
            // The deframer bounds a data segment by what the target has declared.
            connection.segment.extend_from_slice(bytes);
        }
    }

    /// The PDU is complete. `data_digest_ok` is false where its data digest did not match: its
    /// data is not used.
    pub fn handle_pdu_end(
        &mut self,
        now: Instant,
        conn: ConnId,
        data_digest_ok: bool,
        actions: &mut Actions,
    ) {
        let mut turn = Turn { now, actions };
        let Some(connection) = self.connections.get_mut(conn.0) else { return };
        let incoming = std::mem::replace(&mut connection.incoming, Incoming::Dropped);
        connection.filling = None;
        self.pdu_end(conn, incoming, data_digest_ok, &mut turn);
        if let Some(connection) = self.connections.get_mut(conn.0) {
            // Not just cleared: a connection keeps no memory for what its peer sent once.
            connection.segment = Vec::new();
        }
    }

    /// The bytes of a connection cannot be cut into PDUs any more.
    pub fn handle_deframe_fault(
        &mut self,
        now: Instant,
        conn: ConnId,
        fault: &DeframeFault,
        actions: &mut Actions,
    ) {
        let mut turn = Turn { now, actions };
        self.deframe_fault(conn, fault, &mut turn);
    }

    /// The peer has closed the connection, or the socket has failed.
    pub fn handle_closed(&mut self, now: Instant, conn: ConnId, actions: &mut Actions) {
        let mut turn = Turn { now, actions };
        self.drop_connection(conn, &mut turn);
    }

    /// A backend operation has ended.
    pub fn handle_io(&mut self, now: Instant, op: OpId, result: IoResult, actions: &mut Actions) {
        let mut turn = Turn { now, actions };
        self.io_ended(op, result, &mut turn);
    }

    /// The last PDU that named a buffer has left, or its connection is gone.
    pub fn handle_buffer_returned(&mut self, now: Instant, buf: BufId, actions: &mut Actions) {
        let mut turn = Turn { now, actions };
        self.off_wire(buf, &mut turn);
    }

    /// Another shard has posted a message.
    pub fn handle_message(
        &mut self,
        now: Instant,
        from: ReactorId,
        message: Message,
        actions: &mut Actions,
    ) {
        let mut turn = Turn { now, actions };
        self.note(from, message.0, &mut turn);
    }

    /// There is a new catalog. Sessions that it does not concern go on untouched.
    pub fn handle_catalog(&mut self, now: Instant, catalog: Arc<Catalog>, actions: &mut Actions) {
        let mut turn = Turn { now, actions };
        self.switch_catalog(catalog, &mut turn);
    }

    /// The node shuts down: every initiator is asked to log out (RFC 7143 11.9.1, event 1).
    /// Those that do not are dropped after [`limits::ASYNC_LOGOUT_TIME`].
    pub fn handle_shutdown(&mut self, now: Instant, actions: &mut Actions) {
        let mut turn = Turn { now, actions };
        self.begin_shutdown(&mut turn);
    }

    /// Whether there is no connection left, and nothing under way.
    pub fn is_idle(&self) -> bool {
        self.connections.is_empty() && self.tasks.is_empty()
    }

    /// The moment that [`Self::poll_timeout`] named has come.
    pub fn handle_timeout(&mut self, now: Instant, actions: &mut Actions) {
        let mut turn = Turn { now, actions };
        self.tick(&mut turn);
    }

    /// When the shard wants [`Self::handle_timeout`] to be called.
    pub const fn poll_timeout(&self) -> Option<Instant> {
        self.next_tick
    }

    /// How many buffers of the pool are lent.
    pub const fn buffers_in_use(&self) -> u32 {
        self.lender.lent_count()
    }

    /// The place of the next task in the order of their arrival.
    pub(crate) const fn next_arrival(&mut self) -> u64 {
        self.arrivals += 1;
        self.arrivals
    }

    /// Sends a note to another shard, or handles it here and now if it is for this one.
    pub(crate) fn post(&mut self, to: ReactorId, note: Note, turn: &mut Turn<'_>) {
        if to == self.id {
            self.note(to, note, turn);
        } else {
            turn.push(Action::Post { to, message: Box::new(Message(note)) });
        }
    }

    /// All reactors but this one.
    pub(crate) fn others(&self) -> impl Iterator<Item = ReactorId> + use<> {
        let own = self.id;
        (0..self.reactors).map(ReactorId).filter(move |&r| r != own)
    }

    /// The reactor that decides about a volume's logical unit.
    pub(crate) fn home_of(&self, volume: VolumeId) -> ReactorId {
        let remainder = volume.0 % u16::from(self.reactors.max(1));
        // The remainder is below a u8.
        #[expect(clippy::cast_possible_truncation, reason = "less than `reactors`, a u8")]
        ReactorId(remainder as u8)
    }

    /// The logical unit of a volume.
    pub(crate) fn unit(&self, volume: VolumeId) -> Option<&LogicalUnit> {
        self.units.get(usize::from(volume.0))?.as_deref()
    }

    /// The logical unit of a volume, to change it.
    pub(crate) fn unit_mut(&mut self, volume: VolumeId) -> Option<&mut LogicalUnit> {
        self.units.get_mut(usize::from(volume.0))?.as_deref_mut()
    }

    fn note(&mut self, from: ReactorId, note: Note, turn: &mut Turn<'_>) {
        match note {
            Note::Answer { ticket, outcome } => self.job_answered(ticket.task, outcome, turn),
            Note::Ask { volume, ticket, job } => self.job_asked(volume, ticket, job, turn),
            Note::Cancel { volume, ticket } => self.job_cancelled(volume, ticket, turn),
            Note::Displace { nexus, tsih } => self.displace(nexus, tsih, turn),
            Note::Do { volume, number, job } => self.perform(volume, number, job, turn),
            Note::Done { volume, number } => self.job_done(volume, number, turn),
            Note::Load { sessions } => self.registry.handle_load(from, sessions),
            Note::Register { conn, nexus, place, joins } => {
                self.register(Applicant { reactor: from, conn, place, joins }, nexus, turn);
            }
            Note::Registered { conn, nexus, outcome } => {
                self.registered(conn, nexus, outcome, turn);
            }
            Note::ReleaseRange { volume, holder } => {
                self.range_released(from, volume, holder, turn);
            }
            Note::SessionOver { nexus, tsih } => self.unregister(&nexus, tsih, turn),
        }
    }
}
