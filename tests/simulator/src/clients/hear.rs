//! What a session receives, and the rules of RFC 7143 that each PDU must keep by itself.

use super::command::{Pending, Sequence};
use super::send::Ping;
use super::session::{Phase, Session};
use crate::admin::{TARGET_NAME, lun_of};
use crate::ledger::Answer;
use crate::rng::{size, word};
use crate::run::Stage;
use crate::scene::Scene;
use iscsi::pdu::{
    AsyncEvent, AsyncMessage, DataIn, NopIn, ReadyToTransfer, Reject, RejectReason, TextResponse,
};
use iscsi::{Bhs, Opcode, Piece, TargetTransferTag};
use units::{Serial32, limits};

/// A whole PDU.
pub(crate) struct Pdu {
    pub(crate) bhs: Bhs,
    pub(crate) data: Vec<u8>,
}

/// The numbers of a PDU that the target sends.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Numbers {
    pub(crate) stat_sn: Serial32,
    pub(crate) exp_cmd_sn: Serial32,
    pub(crate) max_cmd_sn: Serial32,
}

impl Session {
    /// The next whole PDU of what has come in.
    pub(crate) fn next_pdu(&mut self, rest: &mut &[u8]) -> Result<Option<Pdu>, String> {
        loop {
            match self.deframer.next(rest) {
                Ok(None) => return Ok(None),
                Ok(Some(Piece::Header(bhs))) => {
                    self.header = Some(bhs);
                    self.data.clear();
                }
                Ok(Some(Piece::Payload(run))) => self.data.extend_from_slice(run),
                Ok(Some(Piece::End { data_digest_ok })) => {
                    let Some(bhs) = self.header.take() else { return Ok(None) };
                    if !data_digest_ok {
                        return Err(format!("session {}: data digest of {bhs:?}", self.number));
                    }
                    return Ok(Some(Pdu { bhs, data: std::mem::take(&mut self.data) }));
                }
                Err(fault) => return Err(format!("session {}: {fault}", self.number)),
            }
        }
    }

    /// ExpCmdSN and MaxCmdSN (RFC 7143 4.2.2.1): neither goes back, and the target expects
    /// nothing that has not been sent.
    pub(crate) fn check_window(&mut self, numbers: &Numbers) -> Result<(), String> {
        let (old_exp, old_max) = (Serial32(self.exp_cmd_sn), Serial32(self.max_cmd_sn));
        let (exp, max) = (numbers.exp_cmd_sn, numbers.max_cmd_sn);
        let right = old_exp.is_at_most(exp)
            && old_max.is_at_most(max)
            && exp.is_at_most(Serial32(self.cmd_sn))
            && exp.previous().is_at_most(max);
        self.exp_cmd_sn = exp.0;
        self.max_cmd_sn = max.0;
        if right {
            return Ok(());
        }
        let (number, next) = (self.number, self.cmd_sn);
        Err(format!(
            "session {number}: window {:x}..{:x} after {:x}..{:x}, next is {next:x}",
            exp.0, max.0, old_exp.0, old_max.0
        ))
    }

    /// All numbers of a PDU. StatSN (RFC 7143 4.2.2.2): each response has the next one.
    pub(crate) fn check_numbers(&mut self, numbers: &Numbers, counts: bool) -> Result<(), String> {
        self.check_window(numbers)?;
        let stat_sn = numbers.stat_sn.0;
        let expected = self.stat_sn.unwrap_or(stat_sn);
        if counts {
            self.stat_sn = Some(expected.wrapping_add(1));
        }
        if stat_sn == expected {
            return Ok(());
        }
        Err(format!("session {}: StatSN {stat_sn:x} where {expected:x} is due", self.number))
    }

    /// Data-In; the task's answer where it carries one.
    pub(crate) fn data_in_arrives(
        &mut self,
        bhs: &Bhs,
        data: &[u8],
    ) -> Result<Option<Answer>, String> {
        let pdu = DataIn::parse(bhs).map_err(|fault| format!("Data-In: {fault}"))?;
        let numbers = Numbers {
            stat_sn: pdu.status.map_or(Serial32(0), |s| s.stat_sn),
            exp_cmd_sn: pdu.exp_cmd_sn,
            max_cmd_sn: pdu.max_cmd_sn,
        };
        match pdu.status {
            Some(_) => self.check_numbers(&numbers, true)?,
            None => self.check_window(&numbers)?,
        }
        let (number, burst_max) = (self.number, self.terms.burst_max);
        let Some(command) = self.command_mut(pdu.initiator_task_tag.0) else {
            return Err(format!("session {number}: Data-In for no task: {pdu:?}"));
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
            return Err(format!("session {number}: {pdu:?} behind {offset} bytes"));
        }
        Ok(pdu.status.map(|s| Answer {
            status: s.status,
            residual: s.residual,
            sense: None,
            information: None,
        }))
    }

    pub(crate) fn r2t_arrives(&mut self, bhs: &Bhs) -> Result<(), String> {
        let pdu = ReadyToTransfer::parse(bhs).map_err(|fault| format!("R2T: {fault}"))?;
        let numbers = Numbers {
            stat_sn: pdu.stat_sn,
            exp_cmd_sn: pdu.exp_cmd_sn,
            max_cmd_sn: pdu.max_cmd_sn,
        };
        self.check_numbers(&numbers, false)?;
        let (tag, transfer_tag) = (pdu.initiator_task_tag.0, pdu.target_transfer_tag.0);
        let (number, terms) = (self.number, self.terms);
        let open = self.solicited.iter().filter(|s| s.tag == tag).count();
        let known = self.solicited.iter().any(|s| s.transfer_tag == transfer_tag);
        let unasked = self.unsolicited.iter().any(|s| s.tag == tag);
        let is_over = self.phase == Phase::LoggingOut;
        let Some(command) = self.command_mut(tag) else {
            return Err(format!("session {number}: R2T for no task: {pdu:?}"));
        };
        let len = pdu.desired_data_transfer_length;
        let right = pdu.r2t_sn.0 == command.r2t_sn
            && pdu.buffer_offset == command.requested
            && len > 0
            && len <= terms.burst_max
            && u64::from(pdu.buffer_offset) + u64::from(len) <= command.out.len() as u64
            && pdu.lun == lun_of(command.volume)
            && pdu.target_transfer_tag != TargetTransferTag::RESERVED
            && open < size(terms.r2ts_max)
            && !known
            && !unasked;
        command.r2t_sn += 1;
        command.requested += len;
        let (next, end) = (pdu.buffer_offset, pdu.buffer_offset + len);
        if !is_over {
            self.solicited.push_back(Sequence { tag, transfer_tag, next, end, data_sn: 0 });
        }
        if right { Ok(()) } else { Err(format!("session {number}: {pdu:?} with {open} open")) }
    }

    pub(crate) fn nop_in_arrives(
        &mut self,
        bhs: &Bhs,
        data: &[u8],
        scene: &mut Scene,
    ) -> Result<(), String> {
        let pdu = NopIn::parse(bhs).map_err(|fault| format!("NOP-In: {fault}"))?;
        let tag = pdu.initiator_task_tag.0;
        let answers = tag != u32::MAX;
        let numbers = Numbers {
            stat_sn: pdu.stat_sn,
            exp_cmd_sn: pdu.exp_cmd_sn,
            max_cmd_sn: pdu.max_cmd_sn,
        };
        self.check_numbers(&numbers, answers)?;
        if !answers {
            let transfer_tag = pdu.target_transfer_tag.0;
            if transfer_tag != u32::MAX && self.phase == Phase::Full {
                self.send_nop_out(Ping { tag, transfer_tag, immediate: true }, &[], scene);
            }
            return Ok(());
        }
        match self.pending.remove(&tag) {
            Some(Pending::Nop(sent)) if sent == data => self.may_be_settled(tag),
            other => Err(format!("session {}: {pdu:?} answers {other:?}", self.number)),
        }
    }

    /// With nothing under way the whole window must be free.
    fn may_be_settled(&mut self, tag: u32) -> Result<(), String> {
        if self.last_ping != Some(tag) || !self.pending.is_empty() {
            return Ok(());
        }
        self.settled = true;
        let free = self.max_cmd_sn.wrapping_sub(self.exp_cmd_sn).wrapping_add(1);
        let right = free == limits::COMMAND_WINDOW_MAX
            && self.exp_cmd_sn == self.cmd_sn
            && self.rejects_due == 0;
        if right {
            return Ok(());
        }
        let Self { number, cmd_sn, exp_cmd_sn, rejects_due, .. } = self;
        Err(format!(
            "session {number} has nothing under way, and a window of {free}: next {cmd_sn:x}, \
             expected {exp_cmd_sn:x}, {rejects_due} Rejects due"
        ))
    }

    pub(crate) fn reject_arrives(&mut self, bhs: &Bhs, data: &[u8]) -> Result<(), String> {
        let pdu = Reject::parse(bhs).map_err(|fault| format!("Reject: {fault}"))?;
        let numbers = Numbers {
            stat_sn: pdu.stat_sn,
            exp_cmd_sn: pdu.exp_cmd_sn,
            max_cmd_sn: pdu.max_cmd_sn,
        };
        self.check_numbers(&numbers, true)?;
        let number = self.number;
        let Some(bad) = Bhs::from_prefix(data).filter(|_| data.len() == 48) else {
            return Err(format!("session {number}: {pdu:?} without a header"));
        };
        let tag = bad.initiator_task_tag().0;
        let doubled = self.doubled.iter().position(|&t| t == tag);
        let late_data = bad.opcode() == Opcode::DataOut;
        match (pdu.reason, doubled) {
            (RejectReason::TaskInProgress, Some(place)) => {
                self.doubled.remove(place);
            }
            (RejectReason::DataDigestError, _) if late_data && self.rejects_allowed > 0 => {
                self.rejects_allowed -= 1;
            }
            _ if self.rejects_due > 0 => self.rejects_due -= 1,
            _ => return Err(format!("session {number}: {pdu:?} of {bad:?} ({late_data})")),
        }
        Ok(())
    }

    pub(crate) fn text_arrives(&mut self, bhs: &Bhs, data: &[u8]) -> Result<(), String> {
        let pdu = TextResponse::parse(bhs).map_err(|fault| format!("text response: {fault}"))?;
        let numbers = Numbers {
            stat_sn: pdu.stat_sn,
            exp_cmd_sn: pdu.exp_cmd_sn,
            max_cmd_sn: pdu.max_cmd_sn,
        };
        self.check_numbers(&numbers, true)?;
        let asked = self.pending.remove(&pdu.initiator_task_tag.0);
        let name = format!("TargetName={TARGET_NAME}\0");
        let right = matches!(asked, Some(Pending::Text))
            && pdu.is_final
            && !pdu.continues
            && pdu.target_transfer_tag == TargetTransferTag::RESERVED
            && data.starts_with(name.as_bytes());
        if right {
            return Ok(());
        }
        let text = String::from_utf8_lossy(data);
        Err(format!("session {}: {pdu:?} {text:?} answers {asked:?}", self.number))
    }

    pub(crate) fn async_arrives(&mut self, bhs: &Bhs, stage: Stage) -> Result<(), String> {
        let pdu = AsyncMessage::parse(bhs).map_err(|fault| format!("async message: {fault}"))?;
        let numbers = Numbers {
            stat_sn: pdu.stat_sn,
            exp_cmd_sn: pdu.exp_cmd_sn,
            max_cmd_sn: pdu.max_cmd_sn,
        };
        self.check_numbers(&numbers, true)?;
        self.logout_asked = true;
        let expected = stage == Stage::Farewell && pdu.event == AsyncEvent::LogoutRequest;
        if expected { Ok(()) } else { Err(format!("session {}: {pdu:?}", self.number)) }
    }
}
