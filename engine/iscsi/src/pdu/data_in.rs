//! SCSI Data-In (RFC 7143 11.7).

use units::{Lun, Serial32};
use zerocopy::big_endian::{U32, U64};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout, Unaligned, transmute};

use super::{DataSegmentLength, FINAL, PduFault, Residual, assert_covers_a_header, expect_opcode};
use crate::bhs::{Bhs, InitiatorTaskTag, Opcode, TargetTransferTag};

/// A piece of the data of a read, perhaps with the status of the command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataIn {
    /// The F bit: the last piece of its sequence (11.7.1).
    pub is_final: bool,
    /// The A bit: the target wants to know that the data has come (11.7.2).
    pub acknowledge: bool,
    /// The S bit and what comes with it; only together with `is_final` (11.7.3).
    pub status: Option<DataInStatus>,
    /// Bytes of data.
    pub data_segment_length: u32,
    /// The logical unit, where `acknowledge` is set.
    pub lun: Lun,
    /// The task.
    pub initiator_task_tag: InitiatorTaskTag,
    /// To be given back in a DataACK SNACK where `acknowledge` is set, else reserved.
    pub target_transfer_tag: TargetTransferTag,
    /// The next CmdSN that the target expects.
    pub exp_cmd_sn: Serial32,
    /// The last CmdSN that the target accepts.
    pub max_cmd_sn: Serial32,
    /// The piece's number within the command, from 0 (11.7.5).
    pub data_sn: Serial32,
    /// Bytes from the start of the command's data (11.7.6).
    pub buffer_offset: u32,
}

/// A status that needs no sense data and so no response of its own (RFC 7143 11.7.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DataInStatus {
    /// The SCSI status.
    pub status: u8,
    /// The number of this response on its connection.
    pub stat_sn: Serial32,
    /// The residual of the command.
    pub residual: Residual,
}

impl DataIn {
    /// Reads the PDU from its header.
    pub fn parse(bhs: &Bhs) -> Result<Self, PduFault> {
        expect_opcode(bhs, Opcode::DataIn)?;
        let wire: Layout = transmute!(*bhs.raw());
        let flag = |mask| wire.flags & mask != 0;
        let status = if flag(STATUS) {
            if !flag(FINAL) {
                return Err(PduFault::StatusWithoutFinal);
            }
            Some(DataInStatus {
                status: wire.status,
                stat_sn: Serial32(wire.stat_sn.get()),
                residual: Residual::from_wire(
                    flag(OVERFLOW),
                    flag(UNDERFLOW),
                    wire.residual_count.get(),
                )?,
            })
        } else {
            None
        };
        Ok(Self {
            is_final: flag(FINAL),
            acknowledge: flag(ACKNOWLEDGE),
            status,
            data_segment_length: wire.data_segment_length.bytes(),
            lun: Lun(wire.lun.get()),
            initiator_task_tag: bhs.initiator_task_tag(),
            target_transfer_tag: TargetTransferTag(wire.target_transfer_tag.get()),
            exp_cmd_sn: Serial32(wire.exp_cmd_sn.get()),
            max_cmd_sn: Serial32(wire.max_cmd_sn.get()),
            data_sn: Serial32(wire.data_sn.get()),
            buffer_offset: wire.buffer_offset.get(),
        })
    }

    /// Writes the header.
    ///
    /// # Panics
    /// When there is status without `is_final`: a mistake of the caller.
    pub fn emit(&self, out: &mut [u8; 48]) {
        assert!(self.is_final || self.status.is_none(), "status before the end of the data");
        let mut flags = if self.is_final { FINAL } else { 0 };
        flags |= if self.acknowledge { ACKNOWLEDGE } else { 0 };
        let mut wire = Layout {
            opcode: Opcode::DataIn.code(),
            data_segment_length: DataSegmentLength::of(self.data_segment_length),
            lun: self.lun.0.into(),
            initiator_task_tag: self.initiator_task_tag.0.into(),
            target_transfer_tag: self.target_transfer_tag.0.into(),
            exp_cmd_sn: self.exp_cmd_sn.0.into(),
            max_cmd_sn: self.max_cmd_sn.0.into(),
            data_sn: self.data_sn.0.into(),
            buffer_offset: self.buffer_offset.into(),
            ..Layout::new_zeroed()
        };
        if let Some(DataInStatus { status, stat_sn, residual }) = self.status {
            let (residual_flag, residual_count) = residual.to_wire(OVERFLOW, UNDERFLOW);
            flags |= STATUS | residual_flag;
            wire.status = status;
            wire.stat_sn = stat_sn.0.into();
            wire.residual_count = residual_count.into();
        }
        wire.flags = flags;
        *out = transmute!(wire);
    }
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Layout {
    opcode: u8,
    flags: u8,
    _reserved_2: u8,
    status: u8,
    _total_ahs_length: u8,
    data_segment_length: DataSegmentLength,
    lun: U64,
    initiator_task_tag: U32,
    target_transfer_tag: U32,
    stat_sn: U32,
    exp_cmd_sn: U32,
    max_cmd_sn: U32,
    data_sn: U32,
    buffer_offset: U32,
    residual_count: U32,
}
assert_covers_a_header!(Layout);

const ACKNOWLEDGE: u8 = 0x40;
const OVERFLOW: u8 = 0x04;
const UNDERFLOW: u8 = 0x02;
const STATUS: u8 = 0x01;

#[cfg(test)]
mod tests {
    use super::super::codec_facts::{Sample, from_hex};
    use super::*;

    const LAST: &str = "25830000 00001000 00000000 00000000 0000001d ffffffff 00000009 00000012
        00000091 00000003 00003000 00000200";

    fn last() -> DataIn {
        DataIn {
            is_final: true,
            acknowledge: false,
            status: Some(DataInStatus {
                status: 0,
                stat_sn: Serial32(9),
                residual: Residual::Underflow(512),
            }),
            data_segment_length: 4096,
            lun: Lun(0),
            initiator_task_tag: InitiatorTaskTag(0x1d),
            target_transfer_tag: TargetTransferTag::RESERVED,
            exp_cmd_sn: Serial32(0x12),
            max_cmd_sn: Serial32(0x91),
            data_sn: Serial32(3),
            buffer_offset: 0x3000,
        }
    }

    #[test]
    fn last_piece_with_status_and_underflow() {
        Sample {
            bytes: LAST,
            value: last(),
            ignored: "c038ff00 ff000000 00000000 00000000 00000000 00000000 00000000 00000000
                00000000 00000000 00000000 00000000",
            parse: DataIn::parse,
            emit: DataIn::emit,
        }
        .check();
    }

    #[test]
    fn without_status_its_fields_are_reserved() {
        Sample {
            bytes: "25000000 00001000 00000000 00000000 0000001d ffffffff 00000000 00000012
                00000091 00000003 00003000 00000000",
            value: DataIn { is_final: false, status: None, ..last() },
            ignored: "c03effff ff000000 00000000 00000000 00000000 00000000 ffffffff 00000000
                00000000 00000000 00000000 ffffffff",
            parse: DataIn::parse,
            emit: DataIn::emit,
        }
        .check();
    }

    #[test]
    fn status_before_the_end_is_an_error() {
        let mut bytes = from_hex(LAST);
        bytes[1] = 0x01;
        assert_eq!(DataIn::parse(&Bhs::new(bytes)), Err(PduFault::StatusWithoutFinal));
    }
}
