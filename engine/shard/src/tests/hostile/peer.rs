//! The initiator's side of a session: the PDUs that it makes, and the numbers that it checks.

use super::events::{Pdu, transfer};
use crate::Placement;
use crate::tests::initiator::{DATA_IN, LOGIN_RESPONSE, R2T, REJECT, SCSI_RESPONSE};
use crate::tests::world::{Place, Sent, World};
use iscsi::pdu::{
    DataOut, LogoutReason, LogoutRequest, NopOut, ScsiCommand, TaskAttribute,
    TaskManagementFunction, TaskManagementRequest,
};
use iscsi::{InitiatorTaskTag, TargetTransferTag};
use std::collections::BTreeSet;
use units::{Lun, Serial32};

/// The initiator's side of one session.
pub(super) struct Peer {
    pub(super) place: Place,
    pub(super) cmd_sn: u32,
    pub(super) tag: u32,
    /// A PDU whose data has not come: where it goes, and how long it is.
    pub(super) open: Option<(Placement, u32)>,
    /// R2Ts that are not answered: tag, transfer tag, offset, length.
    pub(super) r2ts: Vec<(u32, u32, u32, u32)>,
    /// Commands that have no response.
    pub(super) waiting: BTreeSet<u32>,
    pub(super) stat_sn: Option<u32>,
    pub(super) max_cmd_sn: Option<u32>,
}

impl Peer {
    /// Takes what has come, and checks the numbers of it.
    pub(super) fn take(&mut self, world: &mut World) {
        for sent in world.sent(self.place) {
            self.take_one(&sent);
        }
    }

    fn take_one(&mut self, sent: &Sent) {
        let opcode = sent.opcode();
        if opcode == LOGIN_RESPONSE {
            self.stat_sn = Some(sent.word(24).wrapping_add(1));
            return;
        }
        let tag = sent.word(16);
        let ends = opcode == SCSI_RESPONSE || (opcode == DATA_IN && sent.header[1] & 1 == 1);
        if ends {
            assert!(self.waiting.remove(&tag), "{sent:?} answers no command");
            self.r2ts.retain(|r2t| r2t.0 != tag);
        }
        if opcode == R2T {
            self.r2ts.push((tag, sent.word(20), sent.word(40), sent.word(44)));
        }
        let is_ping = opcode == 0x20 && tag == 0xffff_ffff;
        if opcode != DATA_IN || ends {
            assert_eq!(Some(sent.word(24)), self.stat_sn, "{sent:?}");
        }
        if ends || !(is_ping || opcode == R2T || opcode == DATA_IN) {
            self.stat_sn = self.stat_sn.map(|sn| sn.wrapping_add(1));
        }
        let max = sent.word(32);
        let goes_back =
            self.max_cmd_sn.is_some_and(|before| Serial32(max).is_before(Serial32(before)));
        assert!(!goes_back, "MaxCmdSN goes back: {sent:?}");
        self.max_cmd_sn = Some(max);
        assert!(opcode != REJECT || sent.data.len() == 48);
    }

    /// The header of a PDU, and how much data follows.
    pub(super) fn header(&mut self, pdu: &Pdu) -> ([u8; 48], u32) {
        let is_data_out = matches!(pdu, Pdu::DataOut { .. });
        let takes_tag = !is_data_out && !matches!(pdu, Pdu::Command { old_tag: true, .. });
        let before = self.tag;
        self.tag += u32::from(takes_tag);
        let mut header = [0; 48];
        let len = match *pdu {
            Pdu::Command { immediate, .. } => {
                self.waiting.insert(self.tag);
                let len = self.command(pdu, &mut header);
                self.number(immediate);
                len
            }
            Pdu::DataOut { .. } => self.data_out(pdu, &mut header),
            Pdu::Manage { function, back, immediate } => {
                TaskManagementRequest {
                    immediate,
                    function: function_of(function),
                    lun: Lun::ZERO,
                    initiator_task_tag: InitiatorTaskTag(self.tag),
                    referenced_task_tag: InitiatorTaskTag(before - back.min(before)),
                    cmd_sn: Serial32(self.cmd_sn),
                    exp_stat_sn: Serial32(0),
                    ref_cmd_sn: Serial32(0),
                    exp_data_sn: Serial32(0),
                }
                .emit(&mut header);
                self.number(immediate);
                0
            }
            Pdu::LogOut => {
                LogoutRequest {
                    immediate: true,
                    reason: LogoutReason::CloseSession,
                    initiator_task_tag: InitiatorTaskTag(self.tag),
                    cid: 0,
                    cmd_sn: Serial32(self.cmd_sn),
                    exp_stat_sn: Serial32(0),
                }
                .emit(&mut header);
                0
            }
            Pdu::Ping { data } => {
                NopOut {
                    immediate: true,
                    data_segment_length: data,
                    lun: Lun::ZERO,
                    initiator_task_tag: InitiatorTaskTag(self.tag),
                    target_transfer_tag: TargetTransferTag::RESERVED,
                    cmd_sn: Serial32(self.cmd_sn),
                    exp_stat_sn: Serial32(0),
                }
                .emit(&mut header);
                data
            }
        };
        (header, len)
    }

    /// A request that is not immediate takes its CmdSN.
    const fn number(&mut self, immediate: bool) {
        if !immediate {
            self.cmd_sn = self.cmd_sn.wrapping_add(1);
        }
    }

    fn command(&self, pdu: &Pdu, header: &mut [u8; 48]) -> u32 {
        let &Pdu::Command { cdb, lun, wrong, is_final, immediate, data, .. } = pdu else {
            panic!("{pdu:?} is no command")
        };
        let (writes, bytes) = transfer(&cdb);
        let (read, write, expected) = match wrong {
            0 => (bytes > 0 && !writes, writes, bytes),
            1 => (writes, !writes, bytes),
            2 => (!writes, writes, bytes / 2),
            3 => (!writes, writes, bytes * 2 + 512),
            4 => (true, true, bytes),
            _ => (false, writes, bytes.saturating_sub(100)),
        };
        let all = if write && bytes <= 8192 { expected.min(8192) } else { 0 };
        let len = if data == u32::MAX { all } else { data };
        ScsiCommand {
            immediate,
            is_final,
            read,
            write,
            attribute: ATTRIBUTES[self.tag as usize % ATTRIBUTES.len()],
            total_ahs_length: 0,
            data_segment_length: len,
            lun: Lun::from_number(lun).unwrap(),
            initiator_task_tag: InitiatorTaskTag(self.tag),
            expected_data_transfer_length: expected,
            cmd_sn: Serial32(self.cmd_sn),
            exp_stat_sn: Serial32(0),
            cdb,
        }
        .emit(header);
        len
    }

    fn data_out(&self, pdu: &Pdu, header: &mut [u8; 48]) -> u32 {
        let &Pdu::DataOut { back, transfer, offset, data, data_sn, is_final } = pdu else {
            panic!("{pdu:?} is no Data-Out")
        };
        DataOut {
            is_final,
            data_segment_length: data,
            lun: Lun::ZERO,
            initiator_task_tag: InitiatorTaskTag(self.tag - back.min(self.tag)),
            target_transfer_tag: TargetTransferTag(transfer),
            exp_stat_sn: Serial32(0),
            data_sn: Serial32(data_sn),
            buffer_offset: offset,
        }
        .emit(header);
        data
    }
}

const fn function_of(code: u8) -> TaskManagementFunction {
    match code {
        1 | 2 => TaskManagementFunction::AbortTask,
        3 => TaskManagementFunction::AbortTaskSet,
        4 => TaskManagementFunction::ClearTaskSet,
        5 => TaskManagementFunction::TargetWarmReset,
        6 => TaskManagementFunction::QueryTask,
        _ => TaskManagementFunction::LogicalUnitReset,
    }
}

const ATTRIBUTES: [TaskAttribute; 11] = [
    TaskAttribute::Simple,
    TaskAttribute::Ordered,
    TaskAttribute::Simple,
    TaskAttribute::Simple,
    TaskAttribute::HeadOfQueue,
    TaskAttribute::Ordered,
    TaskAttribute::Untagged,
    TaskAttribute::Simple,
    TaskAttribute::Ordered,
    TaskAttribute::Simple,
    TaskAttribute::Aca,
];
