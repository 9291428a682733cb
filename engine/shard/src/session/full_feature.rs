//! PDUs in the full feature phase: which part of the shard each is for.

use crate::action::{Closing, Placement};
use crate::event::Ending;
use crate::session::connection::{Connection, Incoming, Inlet};
use crate::session::sessions::Sessions;
use crate::session::{Session, Stamp};
use crate::task::Fault;
use crate::task::admission::refusal;
use crate::task::data_out::Stray;
use crate::task::tasks::{Arrived, Neighbours, Tasks};
use crate::task::waiting::Then;
use crate::turn::Turn;
use crate::unit::units::Units;
use crate::wake::Wake;
use iscsi::pdu::{
    DataOut, LogoutOutcome, LogoutReason, LogoutRequest, LogoutResponse, NopIn, NopOut, PduFault,
    RejectReason, ScsiCommand, TaskManagementRequest, TextRequest, TextResponse,
};
use iscsi::{Bhs, InitiatorTaskTag, Opcode, TargetTransferTag, TextSession};
use scsi::Sense;
use units::{ConnId, Key, Lun, Mutant, Serial32, limits};

/// The header of a PDU in full feature phase. `connection` has a session.
#[inline]
pub(crate) fn header(
    connection: &mut Connection,
    bhs: &Bhs,
    tasks: &mut Tasks,
    units: &mut Units,
    turn: &mut Turn<'_>,
) -> Placement {
    let Connection { phase, incoming, filling, .. } = connection;
    let Some(session) = phase.session_mut() else { unreachable!("it is in full feature phase") };
    session.ping.alive_at = turn.now;
    // RFC 7143 11.14: after a logout request no new request is sent. What comes nevertheless
    // would begin a task whose session is about to go.
    if session.logging_out && !bhs.is(Opcode::NopOut) {
        return Placement::Discard;
    }
    let inlet = Inlet { session, incoming };
    let placement = if bhs.is(Opcode::ScsiCommand) {
        command(inlet, bhs, tasks, units, turn)
    } else if bhs.is(Opcode::DataOut) {
        data_out(inlet, bhs, tasks, units, turn)
    } else {
        return request(inlet, bhs, turn);
    };
    if let Placement::Buffer(slice) = placement {
        *filling = Some(slice.buf);
    }
    placement
}

/// A SCSI Command PDU (RFC 7143 11.3).
#[inline]
fn command(
    inlet: Inlet<'_>,
    bhs: &Bhs,
    tasks: &mut Tasks,
    units: &mut Units,
    turn: &mut Turn<'_>,
) -> Placement {
    let session = &mut *inlet.session;
    let command = match ScsiCommand::parse(bhs) {
        Ok(command) => command,
        Err(fault) => return refuse_malformed(session, bhs, fault, turn),
    };
    if !session.admit(bhs, command.cmd_sn, turn) {
        return Placement::Discard;
    }
    if let Some(reason) = refusal(session, &command) {
        session.retire(command.immediate);
        return session.reject(bhs, reason, turn);
    }
    tasks.handle_command(inlet, Arrived { bhs, command }, units, turn)
}

/// A Data-Out PDU (RFC 7143 11.7).
fn data_out(
    inlet: Inlet<'_>,
    bhs: &Bhs,
    tasks: &mut Tasks,
    units: &mut Units,
    turn: &mut Turn<'_>,
) -> Placement {
    let Inlet { session, incoming } = inlet;
    let placed = match DataOut::parse(bhs) {
        Ok(pdu) => tasks.handle_data_out(Inlet { session, incoming }, &pdu, units, turn),
        Err(_) => Err(Stray),
    };
    placed.unwrap_or_else(|Stray| session.reject(bhs, RejectReason::InvalidPduField, turn))
}

/// A request whose data segment, if any, is text or dropped.
fn request(inlet: Inlet<'_>, bhs: &Bhs, turn: &mut Turn<'_>) -> Placement {
    let Inlet { session, incoming } = inlet;
    let parsed = match bhs.opcode() {
        Opcode::NopOut => NopOut::parse(bhs).map(|p| (p.cmd_sn, Incoming::NopOut(p))),
        Opcode::TaskManagementRequest => {
            TaskManagementRequest::parse(bhs).map(|p| (p.cmd_sn, Incoming::TaskManagement(p)))
        }
        Opcode::TextRequest => TextRequest::parse(bhs).map(|p| (p.cmd_sn, Incoming::Text(p))),
        Opcode::LogoutRequest => LogoutRequest::parse(bhs).map(|p| (p.cmd_sn, Incoming::Logout(p))),
        // ErrorRecoveryLevel is 0: nothing is kept to be sent again (RFC 7143 7.2).
        Opcode::SnackRequest => return session.reject(bhs, RejectReason::SnackReject, turn),
        Opcode::LoginRequest => {
            return session.reject(bhs, RejectReason::ProtocolError, turn);
        }
        Opcode::NopIn
        | Opcode::ScsiCommand
        | Opcode::DataOut
        | Opcode::ScsiResponse
        | Opcode::TaskManagementResponse
        | Opcode::LoginResponse
        | Opcode::TextResponse
        | Opcode::DataIn
        | Opcode::LogoutResponse
        | Opcode::ReadyToTransfer
        | Opcode::AsyncMessage
        | Opcode::Reject
        | Opcode::Unknown(_) => {
            return session.reject(bhs, RejectReason::CommandNotSupported, turn);
        }
    };
    let (cmd_sn, what) = match parsed {
        Ok(parsed) => parsed,
        Err(fault) => return refuse_malformed(session, bhs, fault, turn),
    };
    // The answer to a NOP-In carries a CmdSN but takes none (RFC 7143 11.18.1).
    let answers_ping =
        bhs.is(Opcode::NopOut) && bhs.initiator_task_tag() == InitiatorTaskTag::RESERVED;
    if !answers_ping && !session.admit(bhs, cmd_sn, turn) {
        return Placement::Discard;
    }
    *incoming = what;
    Placement::Engine
}

/// A request with a header that makes no sense is rejected, and uses up its CmdSN nevertheless:
/// otherwise the session would wait for that number forever.
fn refuse_malformed(
    session: &mut Session,
    bhs: &Bhs,
    fault: PduFault,
    turn: &mut Turn<'_>,
) -> Placement {
    // CmdSN is at the same place in all requests (RFC 7143 11.3, 11.5, 11.10, 11.14, 11.18).
    let raw = bhs.raw();
    let cmd_sn = Serial32(u32::from_be_bytes([raw[24], raw[25], raw[26], raw[27]]));
    if !bhs.immediate() {
        if !session.admit(bhs, cmd_sn, turn) {
            return Placement::Discard;
        }
        session.retire(false);
    }
    session.reject(bhs, fault.reject_reason(), turn)
}

/// A PDU that has come to its end.
pub(crate) struct EndedPdu {
    pub(crate) conn: ConnId,
    pub(crate) incoming: Incoming,
    /// Its data digest, if it had one, was right.
    pub(crate) digest_ok: bool,
}

/// The end of a PDU: its data segment is where it belongs.
#[inline]
pub(crate) fn pdu_end(
    pdu: EndedPdu,
    tasks: &mut Tasks,
    neighbours: &mut Neighbours<'_>,
    turn: &mut Turn<'_>,
) {
    let EndedPdu { conn, incoming, digest_ok } = pdu;
    let sessions = &mut *neighbours.sessions;
    match incoming {
        Incoming::Dropped => {}
        Incoming::Task { task, part } | Incoming::Parameters { task, part } => {
            if !digest_ok {
                reject_data(conn, task, tasks, neighbours, turn);
            }
            tasks.handle_part(task, part, neighbours, turn);
        }
        Incoming::Login(request) => sessions.login_request(conn, &request, turn),
        // RFC 7143 7.8: a PDU with a bad data digest is not used; at ErrorRecoveryLevel 0
        // the target may drop the connection, and so the request is not left unanswered.
        _ if !digest_ok => {
            sessions.blame(conn, Ending::BadDigest);
            sessions.drop_connection(conn, turn);
        }
        Incoming::Logout(request) => logout(conn, request, tasks, neighbours, turn),
        Incoming::NopOut(request) => nop_out(conn, &request, sessions, turn),
        Incoming::TaskManagement(request) => {
            tasks.handle_management(conn, &request, neighbours, turn);
        }
        Incoming::Text(request) => text(conn, &request, sessions, turn),
    }
}

/// A task whose data came with a bad digest fails with "protocol service CRC error"
/// (RFC 7143 11.4.7.2), behind a Reject of the PDU.
#[cold]
fn reject_data(
    conn: ConnId,
    task: Key,
    tasks: &mut Tasks,
    neighbours: &mut Neighbours<'_>,
    turn: &mut Turn<'_>,
) {
    if Mutant::DigestFaultIgnored.is_active() {
        return;
    }
    if let Some(Connection { phase, header, .. }) = neighbours.sessions.get_mut(conn)
        && let Some(session) = phase.session_mut()
    {
        session.reject(header, RejectReason::DataDigestError, turn);
    }
    tasks.visit(task, neighbours, turn, |task, _| {
        task.fail(Fault::Check(Sense::PROTOCOL_SERVICE_CRC_ERROR));
    });
}

/// NOP-Out (RFC 7143 11.18): a ping is echoed, the answer to our ping noted.
fn nop_out(conn: ConnId, request: &NopOut, sessions: &mut Sessions, turn: &mut Turn<'_>) {
    // The session may have ended since the header came.
    let Some(Connection { phase, segment, .. }) = sessions.get_mut(conn) else { return };
    let mut echo = std::mem::take(segment);
    let Some(session) = phase.session_mut() else { return };
    if request.initiator_task_tag == InitiatorTaskTag::RESERVED {
        if session.ping.outstanding.is_some_and(|(tag, _)| tag == request.target_transfer_tag) {
            session.ping.outstanding = None;
        }
        return;
    }
    echo.truncate(session.parameters.max_recv_data_segment_length as usize);
    session.retire(request.immediate);
    let Stamp { stat_sn, exp_cmd_sn, max_cmd_sn } = session.stamp();
    let mut header = [0; 48];
    NopIn {
        data_segment_length: segment_length(&echo),
        lun: Lun::ZERO,
        initiator_task_tag: request.initiator_task_tag,
        target_transfer_tag: TargetTransferTag::RESERVED,
        stat_sn,
        exp_cmd_sn,
        max_cmd_sn,
    }
    .emit(&mut header);
    session.send(header, echo, turn);
}

/// Logout (RFC 7143 11.14): with one connection per session, closing the one closes the
/// other.
fn logout(
    conn: ConnId,
    request: LogoutRequest,
    tasks: &mut Tasks,
    neighbours: &mut Neighbours<'_>,
    turn: &mut Turn<'_>,
) {
    // The session may have ended since the header came.
    let Some(session) = neighbours.sessions.session_mut(conn) else { return };
    let own = match request.reason {
        LogoutReason::CloseSession => true,
        LogoutReason::CloseConnection => request.cid == session.cid,
        LogoutReason::RemoveConnectionForRecovery | LogoutReason::Reserved(_) => false,
    };
    if !own {
        let outcome = match request.reason {
            LogoutReason::RemoveConnectionForRecovery => LogoutOutcome::RecoveryNotSupported,
            LogoutReason::CloseSession
            | LogoutReason::CloseConnection
            | LogoutReason::Reserved(_) => LogoutOutcome::CidNotFound,
        };
        session.retire(request.immediate);
        return send_logout_response(session, &request, outcome, turn);
    }
    assert!(!session.logging_out, "nothing behind a logout request is looked at");
    session.logging_out = true;
    neighbours.sessions.blame(conn, Ending::LoggedOut);
    let ends = tasks.of_connection(conn);
    tasks.abort(&ends, neighbours, turn);
    tasks.when_quiet(&ends, Then::AnswerLogout { conn, request }, turn);
}

/// Handles [`Then::AnswerLogout`]: the tasks of the session have ended, so the logout is answered
/// and the connection closed.
pub(crate) fn answer_logout(
    conn: ConnId,
    request: &LogoutRequest,
    sessions: &mut Sessions,
    turn: &mut Turn<'_>,
) {
    // The peer may have closed the connection instead of waiting for the answer.
    let Some(session) = sessions.session_mut(conn) else { return };
    assert!(session.logging_out, "a logout is answered that nobody asked for");
    session.retire(request.immediate);
    send_logout_response(session, request, LogoutOutcome::Closed, turn);
    // Not all initiators are silent behind their logout request.
    turn.wake(Wake::EndSession(conn, Closing::Drain));
}

fn send_logout_response(
    session: &mut Session,
    request: &LogoutRequest,
    outcome: LogoutOutcome,
    turn: &mut Turn<'_>,
) {
    let Stamp { stat_sn, exp_cmd_sn, max_cmd_sn } = session.stamp();
    let mut header = [0; 48];
    LogoutResponse {
        outcome,
        initiator_task_tag: request.initiator_task_tag,
        stat_sn,
        exp_cmd_sn,
        max_cmd_sn,
        time2wait: 0,
        time2retain: 0,
    }
    .emit(&mut header);
    session.send(header, Vec::new(), turn);
}

/// Text requests: discovery, and the few keys that may change later.
fn text(conn: ConnId, request: &TextRequest, sessions: &mut Sessions, turn: &mut Turn<'_>) {
    // The session may have ended since the header came.
    let Some((connection, view, _)) = sessions.with_view(conn) else { return };
    let Connection { phase, segment, local, peer, header: bad, deadline, .. } = connection;
    let text = std::mem::take(segment);
    let Some(session) = phase.session_mut() else { return };
    session.retire(request.immediate);
    if !session.logout_requested {
        // What a discovery session is there for: it is not idle.
        *deadline = turn.now.after(limits::DISCOVERY_IDLE_TIME_MAX);
    }
    let target = session.target().cloned();
    let asker = TextSession {
        initiator_name: &session.initiator_name,
        peer: *peer,
        local: *local,
        target_name: target.as_ref().map(|t| t.name.as_str()),
        parameters: session.parameters,
    };
    let step = match session.text.handle_request(request, &text, &asker, &view) {
        Ok(step) => step,
        Err(fault) => {
            session.reject(bad, fault.reject_reason(), turn);
            return;
        }
    };
    let Stamp { stat_sn, exp_cmd_sn, max_cmd_sn } = session.stamp();
    let mut header = [0; 48];
    TextResponse {
        is_final: step.is_final,
        continues: step.continues,
        data_segment_length: segment_length(&step.text),
        lun: Lun::ZERO,
        initiator_task_tag: request.initiator_task_tag,
        target_transfer_tag: step.target_transfer_tag,
        stat_sn,
        exp_cmd_sn,
        max_cmd_sn,
    }
    .emit(&mut header);
    if let Some(parameters) = step.parameters {
        session.parameters = parameters;
    }
    session.send(header, step.text, turn);
}

/// The length of a data segment of text, which is cut to what the initiator takes.
fn segment_length(data: &[u8]) -> u32 {
    match u32::try_from(data.len()) {
        Ok(len) => len,
        Err(_) => unreachable!("MaxRecvDataSegmentLength has 24 bits"),
    }
}
