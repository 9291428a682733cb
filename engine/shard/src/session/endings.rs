//! The ends of connections and sessions: deadlines, logout requests, and what a session leaves.

use crate::action::{Action, Closing};
use crate::event::{Ending, Event, SessionChange, SessionEvent};
use crate::message::{Job, Note};
use crate::session::connection::{Connection, Phase};
use crate::session::nexus::{Holder, Nexus, registrar_of};
use crate::session::pings::{self, Due};
use crate::session::sessions::Sessions;
use crate::session::{Purpose, Session, Stamp};
use crate::task::tasks::{Neighbours, Tasks};
use crate::task::waiting::Then;
use crate::turn::Turn;
use crate::unit::units::Units;
use iscsi::DeframeFault;
use iscsi::pdu::{AsyncEvent, AsyncMessage, RejectReason};
use std::net::SocketAddr;
use units::{ConnId, Key, Lun, limits};

impl Sessions {
    /// The stream cannot be cut into PDUs any more: all that is left is to say so and close.
    pub(crate) fn handle_deframe_fault(
        &mut self,
        conn: ConnId,
        fault: &DeframeFault,
        turn: &mut Turn<'_>,
    ) {
        self.blame(
            conn,
            match fault {
                DeframeFault::HeaderDigest { .. } => Ending::BadDigest,
                DeframeFault::DataSegmentTooLong { .. } => Ending::ProtocolError,
            },
        );
        match fault {
            // RFC 7143 7.7: after a bad header digest no field can be believed, not even the
            // length.
            DeframeFault::HeaderDigest { .. } => {}
            DeframeFault::DataSegmentTooLong { bhs, .. } => {
                if let Some(session) = self.session_mut(conn) {
                    session.reject(bhs, RejectReason::ProtocolError, turn);
                }
            }
        }
        self.drop_connection(conn, turn);
    }

    /// Looks at the deadlines of one connection.
    pub(crate) fn check_deadlines(&mut self, conn: ConnId, turn: &mut Turn<'_>) {
        // It may have ended with the one before.
        let Some(connection) = self.get_mut(conn) else { return };
        let overdue = connection.deadline <= turn.now;
        let ends = match &mut connection.phase {
            Phase::Login(_) | Phase::LoggedOut => overdue.then_some(Ending::NoAnswer),
            // The registrar answers in bounded time.
            Phase::Registering(_) => None,
            Phase::FullFeature(session) if session.logout_requested && overdue => {
                Some(Ending::NotLoggedOut)
            }
            // A discovery session may be idle for some time only.
            Phase::FullFeature(session) if session.nexus().is_none() && overdue => {
                Some(Ending::Idle)
            }
            Phase::FullFeature(session) => ping_if_due(session, turn).then_some(Ending::NoAnswer),
        };
        if let Some(ending) = ends {
            self.blame(conn, ending);
            // Who does not answer in time may not read either.
            self.abandon_connection(conn, turn);
        }
    }

    /// Asks all initiators to log out, and drops connections that have no normal session.
    pub(crate) fn begin_shutdown(&mut self, turn: &mut Turn<'_>) {
        self.shutting_down = true;
        let conns: Vec<ConnId> = self.conns().collect();
        for conn in conns {
            let normal = self.session_mut(conn).is_some_and(|s| s.nexus().is_some());
            if normal {
                self.request_logout(conn, turn);
            } else {
                self.blame(conn, Ending::ShutDown);
                self.drop_connection(conn, turn);
            }
        }
    }

    /// Notes why a connection is about to end. A later reason is a consequence of the first.
    pub(crate) fn blame(&mut self, conn: ConnId, ending: Ending) {
        // It may have ended already.
        if let Some(connection) = self.get_mut(conn) {
            connection.ending.get_or_insert(ending);
        }
    }

    /// Async message 1: the target asks for a logout within Parameter3 seconds (RFC 7143
    /// 11.9.1).
    pub(crate) fn request_logout(&mut self, conn: ConnId, turn: &mut Turn<'_>) {
        let deadline = turn.now.after(limits::ASYNC_LOGOUT_TIME);
        let Some(connection) = self.get_mut(conn) else { unreachable!("its caller has looked") };
        connection.deadline = deadline;
        let Some(session) = connection.phase.session_mut() else {
            unreachable!("only a session can log out")
        };
        session.logout_requested = true;
        let Stamp { stat_sn, exp_cmd_sn, max_cmd_sn } = session.stamp();
        let mut header = [0; 48];
        AsyncMessage {
            event: AsyncEvent::LogoutRequest,
            vendor_code: 0,
            data_segment_length: 0,
            lun: Lun::ZERO,
            stat_sn,
            exp_cmd_sn,
            max_cmd_sn,
            parameter1: 0,
            parameter2: 0,
            parameter3: ASYNC_LOGOUT_SECONDS,
        }
        .emit(&mut header);
        session.send(header, Vec::new(), turn);
    }
}

/// Does what the silence of an initiator calls for; says whether it is the end of the session.
fn ping_if_due(session: &mut Session, turn: &mut Turn<'_>) -> bool {
    match session.ping.due(turn.now) {
        Due::Nothing => {}
        Due::Ping => pings::send(session, turn),
        Due::Probe => turn.push(Action::Probe(session.conn)),
        Due::End => return true,
    }
    false
}

/// [`limits::ASYNC_LOGOUT_TIME`] as Parameter3 has it.
#[expect(clippy::cast_possible_truncation, reason = "checked at compile time")]
const ASYNC_LOGOUT_SECONDS: u16 = {
    let seconds = limits::ASYNC_LOGOUT_TIME.as_secs();
    assert!(seconds <= u16::MAX as u64);
    seconds as u16
};

/// Handles [`crate::wake::Wake::EndSession`]: ends the session of a connection, and the connection
/// with it. What is under way at the medium is waited for before a new session of the same nexus
/// begins.
pub(crate) fn end_session(
    conn: ConnId,
    closing: Closing,
    tasks: &mut Tasks,
    neighbours: &mut Neighbours<'_>,
    turn: &mut Turn<'_>,
) {
    // Two reasons to end it may have come in one call.
    let Some(connection) = neighbours.sessions.get_mut(conn) else { return };
    if let Some(buf) = connection.filling.take() {
        tasks.give_up_filling(conn, buf, neighbours, turn);
    }
    let Some(connection) = neighbours.sessions.get_mut(conn) else {
        unreachable!("only its buffer went")
    };
    let phase = std::mem::replace(&mut connection.phase, Phase::LoggedOut);
    let Phase::FullFeature(session) = phase else { unreachable!("it has a session") };
    let ending = connection.ending.unwrap_or(Ending::ClosedByTarget);
    report_end(&session, connection.peer, ending, turn);
    let ends = tasks.of_connection(conn);
    tasks.disown(&ends, neighbours, turn);
    debug_assert!(tasks.of_connection(conn).is_empty(), "no task names a session that is gone");
    tasks.lender.leave(conn);
    session_over(&session, &ends, tasks, turn);
    neighbours.sessions.remove(conn, closing, turn.actions);
    neighbours.sessions.report_load(turn);
}

/// Whom an event is about.
pub(crate) struct Who {
    pub(crate) initiator: Option<String>,
    pub(crate) target: Option<String>,
    pub(crate) peer: SocketAddr,
}

/// Lets the operator know of a session that begins or ends, or of a login that is refused.
pub(crate) fn report(who: Who, change: SessionChange, detail: Option<String>, turn: &mut Turn<'_>) {
    let Who { initiator, target, peer } = who;
    let event = SessionEvent { change, initiator, target, peer, detail };
    turn.push(Action::Report(Box::new(Event::Session(Box::new(event)))));
}

/// Reports that a session has ended.
pub(crate) fn report_end(session: &Session, peer: SocketAddr, ending: Ending, turn: &mut Turn<'_>) {
    let who = Who {
        initiator: Some(session.initiator_name.clone()),
        target: session.target().map(|target| target.name.clone()),
        peer,
    };
    report(who, SessionChange::Ended(ending), None, turn);
}

/// Reports that a connection ends before its login has.
pub(crate) fn report_refusal(connection: &Connection, turn: &mut Turn<'_>) {
    let ending = connection.ending.unwrap_or(Ending::ClosedByTarget);
    if !connection.login_began && ending == Ending::PeerGone {
        // Who connects and says nothing checks that there is somebody: that is no login.
        return;
    }
    let login = match &connection.phase {
        Phase::Login(login) => login,
        Phase::Registering(waiting) => &waiting.login,
        Phase::FullFeature(_) | Phase::LoggedOut => unreachable!("its login has ended"),
    };
    let (reason, detail) = connection.refused.clone().unwrap_or_else(|| (ending.refusal(), None));
    let who = Who {
        initiator: login.claimed_initiator().map(str::to_owned),
        target: login.claimed_target().map(str::to_owned),
        peer: connection.peer,
    };
    report(who, SessionChange::Refused(reason), detail, turn);
}

/// What a session leaves behind ends once its tasks are quiet.
pub(crate) fn session_over(
    session: &Session,
    tasks_of_session: &[Key],
    tasks: &mut Tasks,
    turn: &mut Turn<'_>,
) {
    let nexus = match &session.purpose {
        Purpose::Normal { nexus, .. } => nexus.clone(),
        // It had no tasks.
        Purpose::Discovery(source) => {
            let registrar = registrar_of(&session.initiator_name, turn.cores.count);
            return turn.post(registrar, Note::DiscoveryOver { source: *source });
        }
    };
    let then = Then::SessionOver { nexus, tsih: session.tsih };
    tasks.when_quiet(tasks_of_session, then, turn);
}

/// Handles [`Then::SessionOver`]: the tasks of a session that is gone are quiet. Its reservations
/// end (SPC-2 5.5.1), and the registrar hears of it.
pub(crate) fn session_is_over(nexus: Nexus, tsih: u16, units: &Units, turn: &mut Turn<'_>) {
    let holder = Holder { nexus, tsih };
    for unit in units.iter().filter(|unit| unit.standing.is_reserved_by(&holder)) {
        let job = Job::NexusLost { holder: holder.clone() };
        let home = turn.cores.home_of(unit.volume);
        turn.post(home, Note::Ask { volume: unit.volume, ticket: None, job });
    }
    let registrar = holder.nexus.registrar(turn.cores.count);
    turn.post(registrar, Note::SessionOver { nexus: holder.nexus, tsih });
}
