//! PDUs in the full feature phase: which part of the shard each is for.

use crate::action::{Action, Placement, SendData};
use crate::connection::{Incoming, ParametersEnd};
use crate::directory::View;
use crate::shard::{Shard, Turn};
use crate::task::Fault;
use crate::wait::Then;
use iscsi::pdu::{
    LogoutOutcome, LogoutReason, LogoutRequest, LogoutResponse, NopIn, NopOut, PduFault, Reject,
    RejectReason, TaskManagementRequest, TextRequest, TextResponse,
};
use iscsi::{Bhs, DeframeFault, InitiatorTaskTag, Opcode, TargetTransferTag, TextSession};
use scsi::Sense;
use units::{ConnId, Lun, Serial32, limits};

impl Shard {
    /// The header of a PDU in full feature phase.
    pub(crate) fn header_in_full_feature(
        &mut self,
        conn: ConnId,
        bhs: &Bhs,
        turn: &mut Turn<'_>,
    ) -> Placement {
        if let Some(session) = self.session_mut(conn) {
            session.ping.received_at = turn.now;
            // RFC 7143 11.14: after a logout request no new request is sent. What comes all the
            // same would begin a task whose session is about to go.
            if session.logging_out && bhs.opcode() != Opcode::NopOut {
                return Placement::Discard;
            }
        }
        let parsed = match bhs.opcode() {
            Opcode::ScsiCommand => return self.command_header(conn, bhs, turn),
            Opcode::DataOut => return self.data_out_header(conn, bhs, turn),
            Opcode::NopOut => NopOut::parse(bhs).map(|p| (p.cmd_sn, Incoming::NopOut(p))),
            Opcode::TaskManagementRequest => {
                TaskManagementRequest::parse(bhs).map(|p| (p.cmd_sn, Incoming::TaskManagement(p)))
            }
            Opcode::TextRequest => TextRequest::parse(bhs).map(|p| (p.cmd_sn, Incoming::Text(p))),
            Opcode::LogoutRequest => {
                LogoutRequest::parse(bhs).map(|p| (p.cmd_sn, Incoming::Logout(p)))
            }
            // ErrorRecoveryLevel is 0: nothing is kept to be sent again (RFC 7143 7.2).
            Opcode::SnackRequest => return self.reject(conn, bhs, RejectReason::SnackReject, turn),
            Opcode::LoginRequest => {
                return self.reject(conn, bhs, RejectReason::ProtocolError, turn);
            }
            Opcode::NopIn
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
                return self.reject(conn, bhs, RejectReason::CommandNotSupported, turn);
            }
        };
        let (cmd_sn, incoming) = match parsed {
            Ok(parsed) => parsed,
            Err(fault) => return self.refuse_malformed(conn, bhs, fault, turn),
        };
        // The answer to a NOP-In carries a CmdSN but takes none (RFC 7143 11.18.1).
        let answers_ping = bhs.opcode() == Opcode::NopOut
            && bhs.initiator_task_tag() == InitiatorTaskTag::RESERVED;
        if !answers_ping && !self.admit(conn, bhs, cmd_sn, turn) {
            return Placement::Discard;
        }
        if let Some(connection) = self.connections.get_mut(conn.0) {
            connection.incoming = incoming;
        }
        Placement::Engine
    }

    /// Whether a request may be carried out: in order, or immediate and not one too many.
    /// What lies outside of the window is silently ignored (RFC 7143 4.2.2.1).
    pub(crate) fn admit(
        &mut self,
        conn: ConnId,
        bhs: &Bhs,
        cmd_sn: Serial32,
        turn: &mut Turn<'_>,
    ) -> bool {
        let Some(session) = self.session_mut(conn) else { return false };
        if !bhs.immediate() {
            return session.window.admit(cmd_sn) == iscsi::CmdSnVerdict::InOrder;
        }
        if session.immediate_in_flight >= limits::IMMEDIATE_COMMANDS_MAX {
            self.reject(conn, bhs, RejectReason::ImmediateCommandReject, turn);
            return false;
        }
        session.immediate_in_flight += 1;
        true
    }

    /// A request with a header that makes no sense is rejected, and uses up its CmdSN all the
    /// same: otherwise the session would wait for that number for ever.
    pub(crate) fn refuse_malformed(
        &mut self,
        conn: ConnId,
        bhs: &Bhs,
        fault: PduFault,
        turn: &mut Turn<'_>,
    ) -> Placement {
        let [.., a, b, c, d] = *bhs.raw().first_chunk::<28>().unwrap_or(&[0; 28]);
        // CmdSN is at the same place in all requests (RFC 7143 11.3, 11.5, 11.10, 11.14, 11.18).
        let cmd_sn = Serial32(u32::from_be_bytes([a, b, c, d]));
        if !bhs.immediate() {
            if !self.admit(conn, bhs, cmd_sn, turn) {
                return Placement::Discard;
            }
            self.retire(conn, false);
        }
        self.reject(conn, bhs, fault.reject_reason(), turn)
    }

    /// A request is answered: its place is free for another one.
    pub(crate) fn retire(&mut self, conn: ConnId, immediate: bool) {
        let Some(session) = self.session_mut(conn) else { return };
        if immediate {
            session.immediate_in_flight = session.immediate_in_flight.saturating_sub(1);
        } else {
            session.window.retire();
        }
    }

    /// The end of a PDU: its data segment is where it belongs.
    pub(crate) fn pdu_end(
        &mut self,
        conn: ConnId,
        incoming: Incoming,
        digest_ok: bool,
        turn: &mut Turn<'_>,
    ) {
        match incoming {
            Incoming::Dropped => {}
            Incoming::Command { task, immediate_len } => {
                self.check_digest(conn, task, digest_ok, turn);
                self.command_received(task, immediate_len, turn);
            }
            Incoming::Parameters { task, end } => {
                self.check_digest(conn, task, digest_ok, turn);
                match end {
                    ParametersEnd::Command { immediate_len } => {
                        self.command_received(task, immediate_len, turn);
                    }
                    ParametersEnd::Data { len, is_final, solicited } => {
                        self.data_received(task, len, (is_final, solicited), turn);
                    }
                }
            }
            Incoming::Data { task, len, is_final, solicited } => {
                self.check_digest(conn, task, digest_ok, turn);
                self.data_received(task, len, (is_final, solicited), turn);
            }
            Incoming::Login(request) => self.login_request(conn, &request, turn),
            // RFC 7143 7.8: a PDU with a bad data digest is not used; at ErrorRecoveryLevel 0
            // the target may drop the connection, and so the request is not left unanswered.
            _ if !digest_ok => self.drop_connection(conn, turn),
            Incoming::Logout(request) => self.logout(conn, request, turn),
            Incoming::NopOut(request) => self.nop_out(conn, &request, turn),
            Incoming::TaskManagement(request) => self.task_management(conn, &request, turn),
            Incoming::Text(request) => self.text(conn, &request, turn),
        }
    }

    /// A task whose data came with a bad digest fails with "protocol service CRC error"
    /// (RFC 7143 11.4.7.2), behind a Reject of the PDU.
    fn check_digest(
        &mut self,
        conn: ConnId,
        task: units::Key,
        digest_ok: bool,
        turn: &mut Turn<'_>,
    ) {
        if digest_ok {
            return;
        }
        let header = self.connections.get(conn.0).map(|c| c.header);
        if let Some(header) = header {
            self.reject(conn, &header, RejectReason::DataDigestError, turn);
        }
        if let Some(task) = self.tasks.get_mut(task) {
            task.fail(Fault::Check(Sense::PROTOCOL_SERVICE_CRC_ERROR));
        }
    }

    /// Sends a Reject with the header of the bad PDU, whose data segment is dropped.
    pub(crate) fn reject(
        &mut self,
        conn: ConnId,
        bhs: &Bhs,
        reason: RejectReason,
        turn: &mut Turn<'_>,
    ) -> Placement {
        let Some(session) = self.session_mut(conn) else { return Placement::Discard };
        let mut header = [0; 48];
        Reject {
            reason,
            data_segment_length: 48,
            stat_sn: session.stat_sn.take_next(),
            exp_cmd_sn: session.window.exp_cmd_sn(),
            max_cmd_sn: session.window.max_cmd_sn(),
            data_sn: Serial32(0),
        }
        .emit(&mut header);
        let data = SendData::Bytes(bhs.raw().to_vec());
        turn.push(Action::Send { conn, header, data, sample: None });
        Placement::Discard
    }

    /// NOP-Out (RFC 7143 11.18): a ping is echoed, the answer to our ping noted.
    fn nop_out(&mut self, conn: ConnId, request: &NopOut, turn: &mut Turn<'_>) {
        let Some(connection) = self.connections.get_mut(conn.0) else { return };
        let mut echo = std::mem::take(&mut connection.segment);
        let Some(session) = connection.session_mut() else { return };
        if request.initiator_task_tag == InitiatorTaskTag::RESERVED {
            if session.ping.outstanding.is_some_and(|(tag, _)| tag == request.target_transfer_tag) {
                session.ping.outstanding = None;
            }
            return;
        }
        let room = session.parameters.max_recv_data_segment_length;
        echo.truncate(usize::try_from(room).unwrap_or(usize::MAX));
        self.retire(conn, request.immediate);
        let Some(session) = self.session_mut(conn) else { return };
        let mut header = [0; 48];
        NopIn {
            data_segment_length: u32::try_from(echo.len()).unwrap_or(0),
            lun: Lun::ZERO,
            initiator_task_tag: request.initiator_task_tag,
            target_transfer_tag: TargetTransferTag::RESERVED,
            stat_sn: session.stat_sn.take_next(),
            exp_cmd_sn: session.window.exp_cmd_sn(),
            max_cmd_sn: session.window.max_cmd_sn(),
        }
        .emit(&mut header);
        let data = if echo.is_empty() { SendData::None } else { SendData::Bytes(echo) };
        turn.push(Action::Send { conn, header, data, sample: None });
    }

    /// Logout (RFC 7143 11.14): with one connection per session, closing the one closes the
    /// other.
    fn logout(&mut self, conn: ConnId, request: LogoutRequest, turn: &mut Turn<'_>) {
        let Some(session) = self.session_mut(conn) else { return };
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
            self.retire(conn, request.immediate);
            self.send_logout_response(conn, &request, outcome, turn);
            return;
        }
        session.logging_out = true;
        let tasks = self.session_tasks(conn);
        self.abort_tasks(&tasks, turn);
        self.when_quiet(tasks, Then::AnswerLogout { conn, request }, turn);
    }

    /// All tasks of the session have ended: the logout is answered and the connection closed.
    pub(crate) fn answer_logout(
        &mut self,
        conn: ConnId,
        request: &LogoutRequest,
        turn: &mut Turn<'_>,
    ) {
        if self.session_mut(conn).is_none() {
            return;
        }
        self.retire(conn, request.immediate);
        self.send_logout_response(conn, request, LogoutOutcome::Closed, turn);
        // Not all initiators are silent behind their logout request.
        self.end_session(conn, turn);
    }

    fn send_logout_response(
        &mut self,
        conn: ConnId,
        request: &LogoutRequest,
        outcome: LogoutOutcome,
        turn: &mut Turn<'_>,
    ) {
        let Some(session) = self.session_mut(conn) else { return };
        let mut header = [0; 48];
        LogoutResponse {
            outcome,
            initiator_task_tag: request.initiator_task_tag,
            stat_sn: session.stat_sn.take_next(),
            exp_cmd_sn: session.window.exp_cmd_sn(),
            max_cmd_sn: session.window.max_cmd_sn(),
            time2wait: 0,
            time2retain: 0,
        }
        .emit(&mut header);
        turn.push(Action::Send { conn, header, data: SendData::None, sample: None });
    }

    /// Text requests: discovery, and the few keys that may change later.
    fn text(&mut self, conn: ConnId, request: &TextRequest, turn: &mut Turn<'_>) {
        self.retire(conn, request.immediate);
        let shutting_down = self.shutting_down;
        let Some(connection) = self.connections.get_mut(conn.0) else { return };
        let text = std::mem::take(&mut connection.segment);
        let (local, peer, bad) = (connection.local, connection.peer, connection.header);
        let Some(session) = connection.session_mut() else { return };
        let view = View { catalog: &self.catalog, local, shutting_down };
        let target = session.target().cloned();
        let asker = TextSession {
            initiator_name: &session.initiator_name,
            peer,
            local,
            target_name: target.as_ref().map(|t| t.name.as_str()),
            parameters: session.parameters,
        };
        let step = match session.text.handle_request(request, &text, &asker, &view) {
            Ok(step) => step,
            Err(fault) => {
                self.reject(conn, &bad, fault.reject_reason(), turn);
                return;
            }
        };
        let mut header = [0; 48];
        TextResponse {
            is_final: step.is_final,
            continues: step.continues,
            data_segment_length: u32::try_from(step.text.len()).unwrap_or(0),
            lun: Lun::ZERO,
            initiator_task_tag: request.initiator_task_tag,
            target_transfer_tag: step.target_transfer_tag,
            stat_sn: session.stat_sn.take_next(),
            exp_cmd_sn: session.window.exp_cmd_sn(),
            max_cmd_sn: session.window.max_cmd_sn(),
        }
        .emit(&mut header);
        if let Some(parameters) = step.parameters {
            session.parameters = parameters;
        }
        let data = if step.text.is_empty() { SendData::None } else { SendData::Bytes(step.text) };
        turn.push(Action::Send { conn, header, data, sample: None });
    }

    /// The stream cannot be cut into PDUs any more: all that is left is to say so and close.
    pub(crate) fn deframe_fault(
        &mut self,
        conn: ConnId,
        fault: &DeframeFault,
        turn: &mut Turn<'_>,
    ) {
        match fault {
            // RFC 7143 7.7: after a bad header digest no field can be believed, not even the
            // length.
            DeframeFault::HeaderDigest { .. } => {}
            DeframeFault::DataSegmentTooLong { bhs, .. } => {
                self.reject(conn, bhs, RejectReason::ProtocolError, turn);
            }
        }
        self.drop_connection(conn, turn);
    }

    /// The session of a connection, to change it.
    pub(crate) fn session_mut(&mut self, conn: ConnId) -> Option<&mut crate::session::Session> {
        self.connections.get_mut(conn.0)?.session_mut()
    }
}
