//! The login phase: the login state machine is fed, and the session it asks for registered.

use crate::action::{Action, Placement, SendData};
use crate::event::{Refusal, SessionChange};
use crate::message::{HandedOver, Note};
use crate::session::census::Source;
use crate::session::connection::{Incoming, Phase, Registering};
use crate::session::endings::{Who, report};
use crate::session::nexus::{Nexus, NexusName, registrar_of};
use crate::session::registry::{Applicant, DiscoveryEntered};
use crate::session::sessions::Sessions;
use crate::session::{Purpose, Session};
use crate::turn::Turn;
use iscsi::pdu::{LoginRequest, LoginResponse, LoginStatus};
use iscsi::{Bhs, LoginStep, SessionRequest, SessionType};
use std::sync::Arc;
use units::{ConnId, ReactorId, limits};

impl Sessions {
    /// The header of a PDU in login phase.
    pub(crate) fn header_in_login(
        &mut self,
        conn: ConnId,
        bhs: &Bhs,
        turn: &mut Turn<'_>,
    ) -> Placement {
        let Some(connection) = self.get_mut(conn) else { unreachable!("its header has just come") };
        let waits = matches!(connection.phase, Phase::Registering(_));
        match LoginRequest::parse(bhs) {
            Ok(request) if !waits => {
                connection.login_began = true;
                connection.incoming = Incoming::Login(request);
                Placement::Engine
            }
            // Login is a dialogue: who sends on without the answer, or sends something else
            // than a login request, is no initiator (RFC 7143 6.3.1).
            Ok(_) | Err(_) => {
                connection.refused = Some((Refusal::InvalidRequest, None));
                // Before a login nothing is answered at all (RFC 7143 6.3).
                if let Phase::Login(login) = &mut connection.phase
                    && connection.login_began
                {
                    let response = login.refuse(bhs, LoginStatus::InvalidDuringLogin);
                    send_login(conn, &response, Vec::new(), turn);
                }
                self.drop_connection(conn, turn);
                Placement::Discard
            }
        }
    }

    /// A login request is here.
    pub(crate) fn login_request(
        &mut self,
        conn: ConnId,
        request: &LoginRequest,
        turn: &mut Turn<'_>,
    ) {
        // The login may have been refused since its header came.
        let Some((connection, view, entropy)) = self.with_view(conn) else { return };
        let text = std::mem::take(&mut connection.segment);
        let Phase::Login(login) = &mut connection.phase else { return };
        if connection.is_surplus {
            connection.refused = Some((Refusal::NoResources, None));
            let response = login.refuse(&connection.header, LoginStatus::OutOfResources);
            send_login(conn, &response, Vec::new(), turn);
            return self.drop_connection(conn, turn);
        }
        match login.handle_request(request, &text, &view, entropy) {
            LoginStep::Respond { header, text } => send_login(conn, &header, text, turn),
            LoginStep::Refuse { header, text, fault } => {
                let reason = Refusal::of(fault.status());
                connection.refused = Some((reason, Some(fault.to_string())));
                send_login(conn, &header, text, turn);
                self.drop_connection(conn, turn);
            }
            LoginStep::Establish(request) => self.establish(conn, *request, turn),
        }
    }

    /// All is negotiated: the session is registered, if it is one that can do I/O.
    fn establish(&mut self, conn: ConnId, request: SessionRequest, turn: &mut Turn<'_>) {
        let nexus = match &request.session_type {
            SessionType::Discovery => None,
            SessionType::Normal { target_name, portal_group_tag } => Some(Nexus::new(NexusName {
                initiator_name: request.initiator_name.clone(),
                isid: request.isid,
                target_name: target_name.clone(),
                portal_group_tag: *portal_group_tag,
            })),
        };
        let joins = (request.tsih != 0).then_some(request.tsih);
        // Discovery sessions, too: a swarm of them must not fill the core that accepts.
        let place = self.registry.place_session(turn.cores.own);
        let Some(connection) = self.get_mut(conn) else { unreachable!("it has just logged in") };
        let source = Source::of(connection.peer.ip());
        let registrar = registrar_of(&request.initiator_name, turn.cores.count);
        let phase = std::mem::replace(&mut connection.phase, Phase::LoggedOut);
        let Phase::Login(login) = phase else { unreachable!("a login ends once") };
        let waiting = Registering { login: *login, request, place };
        connection.phase = Phase::Registering(Box::new(waiting));
        match nexus {
            None => turn.post(registrar, Note::EnterDiscovery { conn, source }),
            Some(nexus) => {
                let applicant = Applicant { reactor: turn.cores.own, conn, place, source, joins };
                turn.post(registrar, Note::Register { nexus, applicant });
            }
        }
    }

    /// Handles [`Note::DiscoveryEntered`] of a registrar.
    pub(crate) fn discovery_entered(
        &mut self,
        registrar: ReactorId,
        entered: DiscoveryEntered,
        turn: &mut Turn<'_>,
    ) {
        let DiscoveryEntered { conn, source, outcome } = entered;
        let is_waiting = self.get(conn).is_some_and(|c| matches!(c.phase, Phase::Registering(_)));
        match outcome {
            Ok(tsih) if is_waiting => {
                self.open_session(conn, Purpose::Discovery(source), tsih, turn);
            }
            // The connection is gone: so is the session.
            Ok(_) => turn.post(registrar, Note::DiscoveryOver { source }),
            Err(status) => self.refuse_login(conn, status, turn),
        }
    }

    /// Handles [`Note::Registered`].
    pub(crate) fn registered(
        &mut self,
        conn: ConnId,
        nexus: Nexus,
        outcome: Result<u16, LoginStatus>,
        turn: &mut Turn<'_>,
    ) {
        let is_waiting = self.get(conn).is_some_and(|c| matches!(c.phase, Phase::Registering(_)));
        match outcome {
            Ok(tsih) => {
                let target = self.catalog.target(&nexus.name().target_name).cloned();
                if let Some(target) = target
                    && is_waiting
                {
                    let purpose = Purpose::Normal { nexus, target: Arc::new(target) };
                    self.open_session(conn, purpose, tsih, turn);
                } else {
                    // The connection is gone, or the target: so is the session.
                    let registrar = nexus.registrar(turn.cores.count);
                    turn.post(registrar, Note::SessionOver { nexus, tsih });
                    self.refuse_login(conn, LoginStatus::TargetRemoved, turn);
                }
            }
            Err(status) => self.refuse_login(conn, status, turn),
        }
    }

    fn refuse_login(&mut self, conn: ConnId, status: LoginStatus, turn: &mut Turn<'_>) {
        // The peer may have gone meanwhile.
        let Some(connection) = self.get_mut(conn) else { return };
        // Nothing came after the request that ended the negotiation.
        let header = connection.header;
        connection.refused = Some((Refusal::of(status), None));
        if let Phase::Registering(waiting) = &mut connection.phase {
            let response = waiting.login.refuse(&header, status);
            send_login(conn, &response, Vec::new(), turn);
            self.drop_connection(conn, turn);
        }
    }

    /// Sends the last login response, and begins the full feature phase: here, or on the core
    /// that has the fewest sessions.
    fn open_session(&mut self, conn: ConnId, purpose: Purpose, tsih: u16, turn: &mut Turn<'_>) {
        let Some(connection) = self.get_mut(conn) else { unreachable!("its caller has looked") };
        let (peer, local) = (connection.peer, connection.local);
        let Phase::Registering(waiting) =
            std::mem::replace(&mut connection.phase, Phase::LoggedOut)
        else {
            unreachable!("a session opens once, behind its registration")
        };
        let Registering { mut login, request, place } = *waiting;
        let session = Box::new(Session::new(&request, purpose, tsih, conn, turn.now));
        let (header, text) = login.finish(tsih, session.stamp_without_status().max_cmd_sn);
        send_login(conn, &header, text, turn);
        let target = session.target().map(|target| target.name.clone());
        let who = Who { initiator: Some(session.initiator_name.clone()), target, peer };
        report(who, SessionChange::LoggedIn, None, turn);
        let header_digest = session.parameters.header_digest;
        let data_digest = session.parameters.data_digest;
        let max_data_segment_length = session.parameters.target_max_recv_data_segment_length;
        self.login_over(peer.ip());
        if place == turn.cores.own {
            if let Some(connection) = self.get_mut(conn) {
                connection.phase = Phase::FullFeature(session);
                // It matters to a discovery session only, until a logout is requested.
                connection.deadline = turn.now.after(limits::DISCOVERY_IDLE_TIME_MAX);
            }
            turn.push(Action::EnterFullFeaturePhase {
                conn,
                header_digest,
                data_digest,
                max_data_segment_length,
            });
            self.located(conn, turn);
            return;
        }
        self.remove_handed_over(conn);
        let state = Box::new(HandedOver {
            header_digest,
            data_digest,
            max_data_segment_length,
            session,
            peer,
            local,
        });
        turn.push(Action::HandOver { conn, to: place, state });
    }
}

fn send_login(conn: ConnId, response: &LoginResponse, text: Vec<u8>, turn: &mut Turn<'_>) {
    let mut header = [0; 48];
    response.emit(&mut header);
    let data = if text.is_empty() { SendData::None } else { SendData::Bytes(text) };
    turn.push(Action::Send { conn, header, data, sample: None });
}
