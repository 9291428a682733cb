//! The connections of one core with their sessions, the catalog that they see, and the record of
//! who is logged in where.

use crate::action::{Action, Actions, Closing, Placement};
use crate::event::Ending;
use crate::session::Purpose;
use crate::session::Session;
use crate::session::census::{Crowd, SessionCaps, Source};
use crate::session::connection::{Connection, Phase};
use crate::session::directory::{SessionInfo, View};
use crate::session::endings;
use crate::session::nexus::Nexus;
use crate::session::registry::Registry;
use crate::shard::Entropy;
use crate::turn::Turn;
use crate::wake::Wake;
use scsi::Sense;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use units::{ConnId, Instant, Slab, VolumeId, limits};
use volume::Catalog;

/// Connections of one address in their login phase, those that are going to be refused included.
const HALF_OPEN_MAX: u32 =
    limits::HALF_OPEN_LOGINS_PER_ADDRESS_MAX + limits::REFUSED_LOGINS_PER_ADDRESS_MAX;

/// Connections that may log in: the last places of the core are for those that are told that it is
/// full, and for sessions that come from another core.
const SERVED_MAX: usize =
    (limits::CONNECTIONS_PER_REACTOR_MAX - limits::REFUSED_LOGINS_PER_ADDRESS_MAX) as usize;

/// The connections of this core.
pub(crate) struct Sessions {
    connections: Slab<Connection>,
    /// Connections in their login phase, by address.
    half_open: Crowd,
    pub(crate) registry: Registry,
    pub(crate) catalog: Arc<Catalog>,
    pub(crate) entropy: Entropy,
    login_time_max: Duration,
    pub(crate) shutting_down: bool,
}

impl Sessions {
    /// No connection, and an empty catalog.
    pub(crate) fn new(
        reactors: u8,
        caps: SessionCaps,
        login_time_max: Duration,
        entropy: Entropy,
    ) -> Self {
        Self {
            connections: Slab::new(limits::CONNECTIONS_PER_REACTOR_MAX),
            half_open: Crowd::default(),
            registry: Registry::new(reactors, caps),
            catalog: Arc::new(Catalog::default()),
            entropy,
            login_time_max,
            shutting_down: false,
        }
    }

    /// A connection has been accepted. `None` where it is one too many, or the node shuts down.
    pub(crate) fn accept(
        &mut self,
        now: Instant,
        peer: SocketAddr,
        local: SocketAddr,
    ) -> Option<ConnId> {
        let source = Source::of(peer.ip());
        let half_open = self.half_open.count(source);
        if self.shutting_down || half_open >= HALF_OPEN_MAX {
            return None;
        }
        let is_surplus = half_open >= limits::HALF_OPEN_LOGINS_PER_ADDRESS_MAX
            || self.connections.len() >= SERVED_MAX;
        let time = if is_surplus { limits::REFUSED_LOGIN_TIME_MAX } else { self.login_time_max };
        let deadline = now.after(time.min(self.login_time_max));
        let mut stat_sn = [0; 4];
        (self.entropy)(&mut stat_sn);
        let mut connection = Connection::new(peer, local, deadline, u32::from_be_bytes(stat_sn));
        connection.is_surplus = is_surplus;
        let key = self.connections.insert(connection).ok()?;
        self.half_open.add(source);
        Some(ConnId(key))
    }

    /// Puts in a connection whose session comes from another core; gives the session back where
    /// there is no room.
    pub(crate) fn adopt(
        &mut self,
        now: Instant,
        session: Box<Session>,
        peer: SocketAddr,
        local: SocketAddr,
    ) -> Result<ConnId, Box<Session>> {
        assert_eq!(session.tags.count(), 0, "a session moves before its first command");
        // It matters to a discovery session only, until a logout is requested.
        let deadline = now.after(limits::DISCOVERY_IDLE_TIME_MAX);
        let mut connection = Connection::new(peer, local, deadline, 0);
        connection.phase = Phase::FullFeature(session);
        match self.connections.insert(connection) {
            Ok(key) => {
                let conn = ConnId(key);
                if let Some(session) = self.session_mut(conn) {
                    session.conn = conn;
                }
                Ok(conn)
            }
            Err(Connection { phase: Phase::FullFeature(session), .. }) => Err(session),
            Err(_) => unreachable!("the connection was made with a session"),
        }
    }

    /// A connection.
    pub(crate) fn get(&self, conn: ConnId) -> Option<&Connection> {
        self.connections.get(conn.0)
    }

    /// A connection, to change it.
    #[inline]
    pub(crate) fn get_mut(&mut self, conn: ConnId) -> Option<&mut Connection> {
        self.connections.get_mut(conn.0)
    }

    /// The session of a connection in full feature phase.
    pub(crate) fn session_mut(&mut self, conn: ConnId) -> Option<&mut Session> {
        self.connections.get_mut(conn.0)?.phase.session_mut()
    }

    /// Every session, to change it.
    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Session> {
        self.connections.iter_mut().filter_map(|(_, connection)| connection.phase.session_mut())
    }

    /// All connections.
    pub(crate) fn conns(&self) -> impl Iterator<Item = ConnId> {
        self.connections.iter().map(|(key, _)| ConnId(key))
    }

    /// How many connections there are.
    pub(crate) fn len(&self) -> usize {
        self.connections.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.connections.is_empty()
    }

    /// A connection and the catalog as it sees it, for login and discovery.
    pub(crate) fn with_view(
        &mut self,
        conn: ConnId,
    ) -> Option<(&mut Connection, View<'_>, &mut Entropy)> {
        let connection = self.connections.get_mut(conn.0)?;
        let view = View {
            catalog: &self.catalog,
            local: connection.local,
            shutting_down: self.shutting_down,
        };
        Some((connection, view, &mut self.entropy))
    }

    /// Ends a connection after what is queued has left, whatever phase it is in.
    pub(crate) fn drop_connection(&mut self, conn: ConnId, turn: &mut Turn<'_>) {
        self.end_connection(conn, Closing::Drain, turn);
    }

    /// Ends a connection at once: nothing that is queued on it matters any more.
    pub(crate) fn abandon_connection(&mut self, conn: ConnId, turn: &mut Turn<'_>) {
        self.end_connection(conn, Closing::Abandon, turn);
    }

    /// A connection with a session ends as a wake.
    fn end_connection(&mut self, conn: ConnId, closing: Closing, turn: &mut Turn<'_>) {
        // It may have ended with the PDU before.
        let Some(connection) = self.connections.get(conn.0) else { return };
        match &connection.phase {
            Phase::Login(_) | Phase::Registering(_) => {
                let address = connection.peer.ip();
                endings::report_refusal(connection, turn);
                self.login_over(address);
                self.remove(conn, closing, turn.actions);
            }
            Phase::FullFeature(_) => turn.wake(Wake::EndSession(conn, closing)),
            Phase::LoggedOut => self.remove(conn, closing, turn.actions),
        }
    }

    /// Handles [`Wake::Placed`]: the data segment of a connection goes there.
    pub(crate) fn place(&mut self, conn: ConnId, placement: Placement, turn: &mut Turn<'_>) {
        // Its session may have ended in the same call.
        if let Some(connection) = self.get_mut(conn) {
            debug_assert!(connection.filling.is_none(), "its data waited");
            if let Placement::Buffer(slice) = placement {
                connection.filling = Some(slice.buf);
            }
            if let Some(session) = connection.phase.session_mut() {
                session.release_window();
            }
            turn.push(Action::Place { conn, placement });
        }
    }

    /// Forgets a connection; the reactor closes it.
    pub(crate) fn remove(&mut self, conn: ConnId, closing: Closing, actions: &mut Actions) {
        let removed = self.connections.remove(conn.0);
        assert!(removed.is_some(), "a connection is removed once");
        assert!(
            removed.is_some_and(|connection| connection.filling.is_none()),
            "the buffer that a connection fills goes back before it"
        );
        actions.push(Action::Close { conn, closing });
    }

    /// Forgets a connection that goes to another core.
    pub(crate) fn remove_handed_over(&mut self, conn: ConnId) {
        let removed = self.connections.remove(conn.0);
        assert!(removed.is_some(), "a connection is handed over once");
    }

    /// One login fewer from this address.
    pub(crate) fn login_over(&mut self, address: IpAddr) {
        self.half_open.remove(Source::of(address));
    }

    /// A session has arrived on this core or begins here.
    pub(crate) fn located(&mut self, conn: ConnId, turn: &mut Turn<'_>) {
        self.report_load(turn);
        turn.wake(Wake::SessionBegan(conn));
        let Some(session) = self.connections.get(conn.0).and_then(Connection::session) else {
            unreachable!("it has just been located")
        };
        // A discovery session has no nexus.
        let Some(nexus) = session.nexus() else { return };
        if self.registry.take_doomed(nexus, session.tsih) {
            self.blame(conn, Ending::Reinstated);
            turn.wake(Wake::EndSession(conn, Closing::Abandon));
        }
    }

    /// Does for a session what was done for all others while it was on its way here.
    pub(crate) fn catch_up(&mut self, conn: ConnId, turn: &mut Turn<'_>) {
        let session = self.connections.get(conn.0).and_then(Connection::session);
        let target = session.and_then(Session::target);
        if target.is_some_and(|t| self.catalog.target(&t.name) != Some(t)) {
            self.refresh(&[], turn);
        }
        if self.shutting_down {
            self.request_logout(conn, turn);
        }
    }

    /// Tells the other shards how many sessions this one has.
    pub(crate) fn report_load(&mut self, turn: &mut Turn<'_>) {
        let count = self.connections.iter().filter(|(_, c)| c.session().is_some()).count();
        let Ok(sessions) = u32::try_from(count) else { unreachable!("bounded by a u32") };
        self.registry.report_load(sessions, turn);
    }

    /// Handles [`crate::message::Note::Displace`]: ends the session. The registrar hears of it once
    /// nothing of it is under way at the medium, so that no write of it lands after one of its
    /// successor.
    pub(crate) fn displace(&mut self, nexus: Nexus, tsih: u16, turn: &mut Turn<'_>) {
        let found = self.connections.iter().find_map(|(key, connection)| {
            let session = connection.session()?;
            (session.tsih == tsih && session.nexus() == Some(&nexus)).then_some(ConnId(key))
        });
        match found {
            Some(conn) => {
                self.blame(conn, Ending::Reinstated);
                turn.wake(Wake::EndSession(conn, Closing::Abandon));
            }
            None => self.registry.doom(nexus, tsih),
        }
    }

    /// Applies the catalog to the sessions: those whose target is gone, or no longer for their
    /// initiator, are asked to log out. All others stay.
    pub(crate) fn refresh(&mut self, resized: &[VolumeId], turn: &mut Turn<'_>) {
        let mut gone = Vec::new();
        for (key, connection) in self.connections.iter_mut() {
            let Some(session) = connection.phase.session_mut() else { continue };
            let Purpose::Normal { target, .. } = &mut session.purpose else { continue };
            let admitted = self.catalog.target(&target.name);
            let Some(now) = admitted.filter(|now| now.access.admits(&session.initiator_name))
            else {
                gone.push(ConnId(key));
                continue;
            };
            let before = std::mem::replace(target, Arc::new(now.clone()));
            let (target, attentions) = (target.clone(), &mut session.attentions);
            if before.luns != target.luns {
                let luns = target.luns.keys().copied();
                attentions.raise_everywhere(luns, Sense::REPORTED_LUNS_DATA_HAS_CHANGED);
            }
            let resized = target.luns.iter().filter(|(_, m)| resized.contains(&m.volume));
            attentions
                .raise_everywhere(resized.map(|(&lun, _)| lun), Sense::CAPACITY_DATA_HAS_CHANGED);
        }
        for conn in gone {
            self.request_logout(conn, turn);
        }
    }

    /// Asserts what holds between two calls: for debug builds and tests.
    pub(crate) fn self_check(&self) {
        self.registry.self_check();
        let mut logins = 0;
        for (_, connection) in self.connections.iter() {
            match &connection.phase {
                Phase::Login(_) | Phase::Registering(_) => logins += 1,
                Phase::FullFeature(session) => session.self_check(),
                Phase::LoggedOut => {}
            }
            assert!(
                connection.filling.is_none() || connection.session().is_some(),
                "only a session's data goes to buffers"
            );
        }
        assert_eq!(self.half_open.total(), logins, "logins are counted by address");
    }

    /// The sessions of this core. For the control path: it allocates.
    pub(crate) fn infos(&self) -> Vec<SessionInfo> {
        let info = |(key, connection): (_, &Connection)| {
            let session = connection.session()?;
            Some(SessionInfo {
                conn: ConnId(key),
                target: session.target().map(|t| t.name.clone()),
                initiator: session.initiator_name.clone(),
                isid: session.isid,
                tsih: session.tsih,
                peer: connection.peer,
                local: connection.local,
                header_digest: session.parameters.header_digest,
                data_digest: session.parameters.data_digest,
                commands: session.tags.count(),
                window: session.window_size(),
            })
        };
        self.connections.iter().filter_map(info).collect()
    }

    /// Connections in their login phase.
    #[cfg(test)]
    pub(crate) fn half_open_logins(&self) -> u32 {
        self.half_open.total()
    }
}
