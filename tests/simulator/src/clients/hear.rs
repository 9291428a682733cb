//! What initiators receive, and the rules of RFC 7143 that it must keep.

use crate::history::End;
use crate::rng::{size, word};
use crate::session::{Management, Pending, Phase, Sequence};
use crate::world::{Stage, World};
use iscsi::pdu::{
    AsyncEvent, AsyncMessage, DataIn, LogoutOutcome, LogoutResponse, NopIn, ReadyToTransfer,
    Reject, RejectReason, TaskManagementFunction, TaskManagementOutcome, TaskManagementResponse,
    TextResponse,
};
use iscsi::{Bhs, Opcode, Piece, TargetTransferTag};
use units::{Serial32, limits};

impl World {
    /// Bytes have reached an initiator.
    pub(crate) fn initiator_receives(&mut self, session: usize, bytes: &[u8]) {
        let mut rest = bytes;
        while self.sessions[session].phase != Phase::Over && self.failure.is_none() {
            let state = &mut self.sessions[session];
            match state.deframer.next(&mut rest) {
                Ok(None) => return,
                Ok(Some(Piece::Header(bhs))) => {
                    state.header = Some(bhs);
                    state.data.clear();
                }
                Ok(Some(Piece::Payload(run))) => state.data.extend_from_slice(run),
                Ok(Some(Piece::End { data_digest_ok })) => {
                    let Some(bhs) = state.header.take() else { return };
                    let data = std::mem::take(&mut state.data);
                    if !data_digest_ok {
                        self.fail(|_| format!("session {session}: data digest of {bhs:?}"));
                    }
                    self.pdu_arrives(session, &bhs, &data);
                }
                Err(fault) => {
                    return self.fail(|_| format!("session {session}: {fault}"));
                }
            }
        }
    }

    /// The target has closed the connection.
    pub(crate) fn initiator_sees_end(&mut self, session: usize) {
        let state = &self.sessions[session];
        let initiator = &self.initiators[state.initiator];
        let displaced = initiator.current != Some(session) || self.now < initiator.haunted_until;
        let may = match state.phase {
            Phase::Login | Phase::Over => true,
            Phase::Full => displaced || state.wild || state.logout_asked,
            // Who logs out answers no pings, and an operation that hangs holds the logout up.
            Phase::LoggingOut => displaced || state.wild || self.plan.faults.hang > 0,
        };
        if !may {
            self.fail(|_| format!("session {session}: the target has closed the connection"));
        }
        self.session_over(session);
    }

    fn pdu_arrives(&mut self, session: usize, bhs: &Bhs, data: &[u8]) {
        if self.sessions[session].wild {
            return;
        }
        let opcode = bhs.opcode();
        self.trace(|_| {
            let tag = bhs.initiator_task_tag().0;
            format!("session {session} has {opcode:?} {tag:x} {}", data.len())
        });
        let in_login = self.sessions[session].phase == Phase::Login;
        if in_login != (opcode == Opcode::LoginResponse) {
            return self.fail(|_| format!("session {session}: {opcode:?} in this phase"));
        }
        match opcode {
            Opcode::LoginResponse => self.login_answered(session, bhs, data),
            Opcode::ScsiResponse => self.response_arrives(session, bhs, data),
            Opcode::DataIn => self.data_in_arrives(session, bhs, data),
            Opcode::ReadyToTransfer => self.r2t_arrives(session, bhs),
            Opcode::NopIn => self.nop_in_arrives(session, bhs, data),
            Opcode::TaskManagementResponse => self.management_answered(session, bhs),
            Opcode::LogoutResponse => self.logout_answered(session, bhs),
            Opcode::Reject => self.reject_arrives(session, bhs, data),
            Opcode::AsyncMessage => self.async_arrives(session, bhs),
            Opcode::TextResponse => self.text_arrives(session, bhs, data),
            Opcode::NopOut
            | Opcode::ScsiCommand
            | Opcode::TaskManagementRequest
            | Opcode::LoginRequest
            | Opcode::TextRequest
            | Opcode::DataOut
            | Opcode::LogoutRequest
            | Opcode::SnackRequest
            | Opcode::Unknown(_) => {
                self.fail(|_| format!("session {session}: {opcode:?} from a target"));
            }
        }
    }

    /// ExpCmdSN and MaxCmdSN (RFC 7143 4.2.2.1): neither goes back, and the target expects
    /// nothing that has not been sent.
    pub(crate) fn check_window(&mut self, session: usize, exp: Serial32, max: Serial32) {
        let state = &mut self.sessions[session];
        let (old_exp, old_max) = (Serial32(state.exp_cmd_sn), Serial32(state.max_cmd_sn));
        let right = old_exp.is_at_most(exp)
            && old_max.is_at_most(max)
            && exp.is_at_most(Serial32(state.cmd_sn))
            && exp.previous().is_at_most(max);
        state.exp_cmd_sn = exp.0;
        state.max_cmd_sn = max.0;
        if !right {
            self.fail(|w| {
                let next = w.sessions[session].cmd_sn;
                format!(
                    "session {session}: window {:x}..{:x} after {:x}..{:x}, next is {next:x}",
                    exp.0, max.0, old_exp.0, old_max.0
                )
            });
        }
    }

    /// StatSN (RFC 7143 4.2.2.2): each response has the next one.
    pub(crate) fn check_stat_sn(&mut self, session: usize, stat_sn: Serial32, counts: bool) {
        let state = &mut self.sessions[session];
        let expected = state.stat_sn.unwrap_or(stat_sn.0);
        if counts {
            state.stat_sn = Some(expected.wrapping_add(1));
        }
        if stat_sn.0 != expected {
            self.fail(|_| {
                format!("session {session}: StatSN {:x} where {expected:x} is due", stat_sn.0)
            });
        }
    }

    fn data_in_arrives(&mut self, session: usize, bhs: &Bhs, data: &[u8]) {
        let pdu = match DataIn::parse(bhs) {
            Ok(pdu) => pdu,
            Err(fault) => return self.fail(|_| format!("Data-In: {fault}")),
        };
        self.check_window(session, pdu.exp_cmd_sn, pdu.max_cmd_sn);
        if let Some(status) = pdu.status {
            self.check_stat_sn(session, status.stat_sn, true);
        }
        let tag = pdu.initiator_task_tag.0;
        let burst_max = self.sessions[session].terms.burst_max;
        let Some(command) = self.sessions[session].command_mut(tag) else {
            return self.fail(|_| format!("session {session}: Data-In for no task: {pdu:?}"));
        };
        let len = word(data.len());
        let offset = word(command.input.len());
        let ends_burst = command.in_sequence + len == burst_max;
        let right = pdu.data_sn.0 == command.data_sn
            && pdu.buffer_offset == offset
            && command.reads
            && len > 0
            && offset + len <= command.expected
            && command.in_sequence + len <= burst_max
            && pdu.is_final == (ends_burst || pdu.status.is_some())
            && !pdu.acknowledge
            && pdu.target_transfer_tag == TargetTransferTag::RESERVED;
        command.data_sn += 1;
        command.in_sequence = if pdu.is_final { 0 } else { command.in_sequence + len };
        command.input.extend_from_slice(data);
        if !right {
            return self.fail(|_| format!("session {session}: {pdu:?} behind {offset} bytes"));
        }
        if let Some(status) = pdu.status {
            self.command_answered(session, tag, (status.status, status.residual), &[]);
        }
    }

    fn r2t_arrives(&mut self, session: usize, bhs: &Bhs) {
        let pdu = match ReadyToTransfer::parse(bhs) {
            Ok(pdu) => pdu,
            Err(fault) => return self.fail(|_| format!("R2T: {fault}")),
        };
        self.check_window(session, pdu.exp_cmd_sn, pdu.max_cmd_sn);
        self.check_stat_sn(session, pdu.stat_sn, false);
        let state = &mut self.sessions[session];
        let (tag, transfer_tag) = (pdu.initiator_task_tag.0, pdu.target_transfer_tag.0);
        let terms = state.terms;
        let of_task = |s: &&Sequence| s.tag == tag;
        let open = state.solicited.iter().filter(of_task).count();
        let known = state.solicited.iter().any(|s| s.transfer_tag == transfer_tag);
        let unasked = state.unsolicited.iter().any(|s| s.tag == tag);
        let is_over = state.phase == Phase::LoggingOut;
        let Some(command) = state.command_mut(tag) else {
            return self.fail(|_| format!("session {session}: R2T for no task: {pdu:?}"));
        };
        let len = pdu.desired_data_transfer_length;
        let right = pdu.r2t_sn.0 == command.r2t_sn
            && pdu.buffer_offset == command.requested
            && len > 0
            && len <= terms.burst_max
            && u64::from(pdu.buffer_offset) + u64::from(len) <= command.out.len() as u64
            && pdu.lun == Self::lun_of(command.volume)
            && pdu.target_transfer_tag != TargetTransferTag::RESERVED
            && open < size(terms.r2ts_max)
            && !known
            && !unasked;
        command.r2t_sn += 1;
        command.requested += len;
        let (next, end) = (pdu.buffer_offset, pdu.buffer_offset + len);
        if !is_over {
            state.solicited.push_back(Sequence { tag, transfer_tag, next, end, data_sn: 0 });
        }
        if !right {
            self.fail(|_| format!("session {session}: {pdu:?} with {open} open"));
        }
    }

    fn nop_in_arrives(&mut self, session: usize, bhs: &Bhs, data: &[u8]) {
        let pdu = match NopIn::parse(bhs) {
            Ok(pdu) => pdu,
            Err(fault) => return self.fail(|_| format!("NOP-In: {fault}")),
        };
        let tag = pdu.initiator_task_tag.0;
        let answers = tag != u32::MAX;
        self.check_window(session, pdu.exp_cmd_sn, pdu.max_cmd_sn);
        self.check_stat_sn(session, pdu.stat_sn, answers);
        if !answers {
            let transfer_tag = pdu.target_transfer_tag.0;
            if transfer_tag != u32::MAX && self.sessions[session].phase == Phase::Full {
                self.send_nop_out(session, (u32::MAX, transfer_tag), true, &[]);
            }
            return;
        }
        match self.sessions[session].pending.remove(&tag) {
            Some(Pending::Nop(sent)) if sent == data => self.may_be_settled(session, tag),
            other => self.fail(|_| format!("session {session}: {pdu:?} answers {other:?}")),
        }
    }

    /// With nothing under way the whole window must be free.
    fn may_be_settled(&mut self, session: usize, tag: u32) {
        let state = &mut self.sessions[session];
        if state.last_ping != Some(tag) || !state.pending.is_empty() {
            return;
        }
        let free = state.max_cmd_sn.wrapping_sub(state.exp_cmd_sn).wrapping_add(1);
        let right = free == limits::COMMAND_WINDOW_MAX
            && state.exp_cmd_sn == state.cmd_sn
            && state.rejects_due == 0;
        state.settled = true;
        if !right {
            self.fail(|w| {
                let state = &w.sessions[session];
                format!(
                    "session {session} has nothing under way, and a window of {free}: next {:x}, \
                     expected {:x}, {} Rejects due",
                    state.cmd_sn, state.exp_cmd_sn, state.rejects_due
                )
            });
        }
    }

    fn management_answered(&mut self, session: usize, bhs: &Bhs) {
        let pdu = match TaskManagementResponse::parse(bhs) {
            Ok(pdu) => pdu,
            Err(fault) => return self.fail(|_| format!("TMF response: {fault}")),
        };
        self.check_window(session, pdu.exp_cmd_sn, pdu.max_cmd_sn);
        self.check_stat_sn(session, pdu.stat_sn, true);
        let tag = pdu.initiator_task_tag.0;
        let Some(Pending::Management(asked)) = self.sessions[session].pending.remove(&tag) else {
            return self.fail(|_| format!("session {session}: {pdu:?} answers nothing"));
        };
        let complete = pdu.outcome == TaskManagementOutcome::FunctionComplete;
        for volume in 0..self.units.len() {
            if asked.resets(volume) {
                self.reset_ends(volume, asked.resets_state(), complete);
            }
        }
        match pdu.outcome {
            TaskManagementOutcome::FunctionComplete => self.tasks_are_aborted(session, &asked),
            TaskManagementOutcome::TaskDoesNotExist
                if asked.function == TaskManagementFunction::AbortTask =>
            {
                self.task_was_over(session, asked.referenced);
            }
            TaskManagementOutcome::LunDoesNotExist if self.plan.faults.catalog > 0 => {
                if let Some(command) = self.sessions[session].command_mut(asked.referenced) {
                    command.aborting = false;
                }
            }
            TaskManagementOutcome::TaskDoesNotExist
            | TaskManagementOutcome::LunDoesNotExist
            | TaskManagementOutcome::TaskStillAllegiant
            | TaskManagementOutcome::TaskReassignmentNotSupported
            | TaskManagementOutcome::FunctionNotSupported
            | TaskManagementOutcome::FunctionAuthorizationFailed
            | TaskManagementOutcome::FunctionSucceeded
            | TaskManagementOutcome::FunctionRejected
            | TaskManagementOutcome::Reserved(_) => {
                self.fail(|_| format!("session {session}: {asked:?} ends with {:?}", pdu.outcome));
            }
        }
    }

    fn tasks_are_aborted(&mut self, session: usize, asked: &Management) {
        let now = self.tick();
        for &op in &asked.ends {
            if let Some(live) = self.live.get(&op).cloned() {
                for (span, _) in live.writes {
                    self.history.end(span, op, End::Unknown, now);
                }
            }
        }
        let state = &self.sessions[session];
        let mut tags = Vec::new();
        for (&tag, pending) in &state.pending {
            let Pending::Command(command) = pending else { continue };
            let ended = match asked.function {
                TaskManagementFunction::AbortTask => tag == asked.referenced,
                TaskManagementFunction::AbortTaskSet => {
                    let before = Serial32(command.cmd_sn).is_before(Serial32(asked.cmd_sn));
                    command.volume == asked.volume && before
                }
                TaskManagementFunction::ClearTaskSet
                | TaskManagementFunction::LogicalUnitReset
                | TaskManagementFunction::TargetWarmReset => {
                    // A task without a logical unit goes on: it only has its status to come.
                    let unit = self.units[command.volume].mapped.sure();
                    let has_unit = unit.is_some_and(|(mapped, _)| mapped);
                    asked.resets(command.volume) && command.sent < asked.sent && has_unit
                }
                TaskManagementFunction::ClearAca
                | TaskManagementFunction::TargetColdReset
                | TaskManagementFunction::TaskReassign
                | TaskManagementFunction::QueryTask
                | TaskManagementFunction::QueryTaskSet
                | TaskManagementFunction::ItNexusReset
                | TaskManagementFunction::QueryAsynchronousEvent
                | TaskManagementFunction::Unknown(_) => false,
            };
            if ended {
                tags.push(tag);
            }
        }
        for tag in tags {
            self.command_is_gone(session, tag);
        }
    }

    /// ABORT TASK has not found its task: it was answered before, or somebody's reset ended it.
    fn task_was_over(&mut self, session: usize, tag: u32) {
        match self.sessions[session].command(tag) {
            Some(command) if command.maybe_aborted => self.command_is_gone(session, tag),
            Some(command) => {
                let text = format!("{command:?}");
                self.fail(|_| format!("session {session}: the task does not exist: {text}"));
            }
            None => {}
        }
    }

    /// A command will not be answered.
    fn command_is_gone(&mut self, session: usize, tag: u32) {
        let Some(Pending::Command(command)) = self.sessions[session].pending.remove(&tag) else {
            return;
        };
        self.report.aborted += 1;
        let now = self.tick();
        self.close_write(command.op, End::Unknown, now);
        self.end_changes(&command, false);
        self.sessions[session].solicited.retain(|s| s.tag != tag);
    }

    fn logout_answered(&mut self, session: usize, bhs: &Bhs) {
        let pdu = match LogoutResponse::parse(bhs) {
            Ok(pdu) => pdu,
            Err(fault) => return self.fail(|_| format!("logout response: {fault}")),
        };
        self.check_window(session, pdu.exp_cmd_sn, pdu.max_cmd_sn);
        self.check_stat_sn(session, pdu.stat_sn, true);
        let tag = pdu.initiator_task_tag.0;
        let asked = self.sessions[session].pending.remove(&tag);
        let right = pdu.outcome == LogoutOutcome::Closed && matches!(asked, Some(Pending::Logout));
        if !right {
            return self.fail(|_| format!("session {session}: {pdu:?} answers {asked:?}"));
        }
        let state = &self.sessions[session];
        let commands = state.pending.keys().filter(|&&tag| state.command(tag).is_some());
        let tags: Vec<u32> = commands.copied().collect();
        for tag in tags {
            self.command_is_gone(session, tag);
        }
        self.report.logouts += 1;
        self.session_over(session);
    }

    fn reject_arrives(&mut self, session: usize, bhs: &Bhs, data: &[u8]) {
        let pdu = match Reject::parse(bhs) {
            Ok(pdu) => pdu,
            Err(fault) => return self.fail(|_| format!("Reject: {fault}")),
        };
        self.check_window(session, pdu.exp_cmd_sn, pdu.max_cmd_sn);
        self.check_stat_sn(session, pdu.stat_sn, true);
        let Some(bad) = Bhs::from_prefix(data).filter(|_| data.len() == 48) else {
            return self.fail(|_| format!("session {session}: {pdu:?} without a header"));
        };
        let state = &mut self.sessions[session];
        let tag = bad.initiator_task_tag().0;
        let doubled = state.doubled.iter().position(|&t| t == tag);
        let late_data = bad.opcode() == Opcode::DataOut;
        match (pdu.reason, doubled) {
            (RejectReason::TaskInProgress, Some(place)) => {
                state.doubled.remove(place);
            }
            (RejectReason::DataDigestError, _) if late_data && state.rejects_allowed > 0 => {
                state.rejects_allowed -= 1;
            }
            _ if state.rejects_due > 0 => state.rejects_due -= 1,
            _ => self.fail(|_| format!("session {session}: {pdu:?} of {bad:?} ({late_data})")),
        }
    }

    fn text_arrives(&mut self, session: usize, bhs: &Bhs, data: &[u8]) {
        let pdu = match TextResponse::parse(bhs) {
            Ok(pdu) => pdu,
            Err(fault) => return self.fail(|_| format!("text response: {fault}")),
        };
        self.check_window(session, pdu.exp_cmd_sn, pdu.max_cmd_sn);
        self.check_stat_sn(session, pdu.stat_sn, true);
        let asked = self.sessions[session].pending.remove(&pdu.initiator_task_tag.0);
        let name = format!("TargetName={}\0", crate::admin::TARGET_NAME);
        let right = matches!(asked, Some(Pending::Text))
            && pdu.is_final
            && !pdu.continues
            && pdu.target_transfer_tag == TargetTransferTag::RESERVED
            && data.starts_with(name.as_bytes());
        if !right {
            let text = String::from_utf8_lossy(data).into_owned();
            self.fail(|_| format!("session {session}: {pdu:?} {text:?} answers {asked:?}"));
        }
    }

    fn async_arrives(&mut self, session: usize, bhs: &Bhs) {
        let pdu = match AsyncMessage::parse(bhs) {
            Ok(pdu) => pdu,
            Err(fault) => return self.fail(|_| format!("async message: {fault}")),
        };
        self.check_window(session, pdu.exp_cmd_sn, pdu.max_cmd_sn);
        self.check_stat_sn(session, pdu.stat_sn, true);
        let expected = self.stage == Stage::Farewell && pdu.event == AsyncEvent::LogoutRequest;
        self.sessions[session].logout_asked = true;
        if !expected {
            self.fail(|_| format!("session {session}: {pdu:?}"));
        }
    }
}
