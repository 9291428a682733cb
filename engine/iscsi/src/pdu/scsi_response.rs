//! SCSI Response (RFC 7143 11.4).

use units::Serial32;
use zerocopy::big_endian::U32;
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout, Unaligned, transmute};

use super::{DataSegmentLength, FINAL, PduFault, Residual, assert_covers_a_header, expect_opcode};
use crate::bhs::{Bhs, InitiatorTaskTag, Opcode};
use crate::wire_codes::wire_codes;

/// Status of a command; its sense data is in the data segment (11.4.7).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScsiResponse {
    /// What became of the command as seen by iSCSI.
    pub response: ServiceResponse,
    /// The SCSI status; it counts only with [`ServiceResponse::CommandCompleted`] (11.4.2).
    pub status: u8,
    /// Bytes of sense data and its length field, and of response data.
    pub data_segment_length: u32,
    /// The task.
    pub initiator_task_tag: InitiatorTaskTag,
    /// 0 unless data may be requested again with R-Data SNACK (11.4.8).
    pub snack_tag: u32,
    /// The response's number on its connection.
    pub stat_sn: Serial32,
    /// The next CmdSN that the target expects.
    pub exp_cmd_sn: Serial32,
    /// The last CmdSN that the target accepts.
    pub max_cmd_sn: Serial32,
    /// How many Data-In and R2T PDUs the command had (11.4.9).
    pub exp_data_sn: Serial32,
    /// The residual of the read side of a bidirectional command (11.4.6).
    pub bidirectional_read_residual: Residual,
    /// The residual of the command (11.4.5).
    pub residual: Residual,
}

impl ScsiResponse {
    /// Reads the PDU from its header.
    pub fn parse(bhs: &Bhs) -> Result<Self, PduFault> {
        expect_opcode(bhs, Opcode::ScsiResponse)?;
        let wire: Layout = transmute!(*bhs.raw());
        let flag = |mask| wire.flags & mask != 0;
        Ok(Self {
            response: ServiceResponse::from_code(wire.response),
            status: wire.status,
            data_segment_length: wire.data_segment_length.bytes(),
            initiator_task_tag: bhs.initiator_task_tag(),
            snack_tag: wire.snack_tag.get(),
            stat_sn: Serial32(wire.stat_sn.get()),
            exp_cmd_sn: Serial32(wire.exp_cmd_sn.get()),
            max_cmd_sn: Serial32(wire.max_cmd_sn.get()),
            exp_data_sn: Serial32(wire.exp_data_sn.get()),
            bidirectional_read_residual: Residual::from_wire(
                flag(READ_OVERFLOW),
                flag(READ_UNDERFLOW),
                wire.bidirectional_read_residual_count.get(),
            )?,
            residual: Residual::from_wire(
                flag(OVERFLOW),
                flag(UNDERFLOW),
                wire.residual_count.get(),
            )?,
        })
    }

    /// Writes the header.
    pub fn emit(&self, out: &mut [u8; 48]) {
        let (flag, residual_count) = self.residual.to_wire(OVERFLOW, UNDERFLOW);
        let (read_flag, read_count) =
            self.bidirectional_read_residual.to_wire(READ_OVERFLOW, READ_UNDERFLOW);
        *out = transmute!(Layout {
            opcode: Opcode::ScsiResponse.code(),
            flags: FINAL | flag | read_flag,
            response: self.response.code(),
            status: self.status,
            data_segment_length: DataSegmentLength::of(self.data_segment_length),
            initiator_task_tag: self.initiator_task_tag.0.into(),
            snack_tag: self.snack_tag.into(),
            stat_sn: self.stat_sn.0.into(),
            exp_cmd_sn: self.exp_cmd_sn.0.into(),
            max_cmd_sn: self.max_cmd_sn.0.into(),
            exp_data_sn: self.exp_data_sn.0.into(),
            bidirectional_read_residual_count: read_count.into(),
            residual_count: residual_count.into(),
            ..Layout::new_zeroed()
        });
    }
}

wire_codes! {
    /// What became of a command as seen by iSCSI (RFC 7143 11.4.3).
    ServiceResponse: u8 {
        /// It ended, with a SCSI status.
        CommandCompleted = 0x00,
        /// The target failed and has no status.
        TargetFailure = 0x01,
        ;
        /// A value that is reserved or a vendor's.
        Other
    }
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Layout {
    opcode: u8,
    flags: u8,
    response: u8,
    status: u8,
    _total_ahs_length: u8,
    data_segment_length: DataSegmentLength,
    _reserved_8: [u8; 8],
    initiator_task_tag: U32,
    snack_tag: U32,
    stat_sn: U32,
    exp_cmd_sn: U32,
    max_cmd_sn: U32,
    exp_data_sn: U32,
    bidirectional_read_residual_count: U32,
    residual_count: U32,
}
assert_covers_a_header!(Layout);

const READ_OVERFLOW: u8 = 0x10;
const READ_UNDERFLOW: u8 = 0x08;
const OVERFLOW: u8 = 0x04;
const UNDERFLOW: u8 = 0x02;

#[cfg(test)]
mod tests {
    use super::super::codec_facts::{Sample, from_hex};
    use super::*;

    const CHECK_CONDITION: &str = "218a0002 00000014 00000000 00000000 0000001c 00000000 00000008
        fffffff1 00000070 00000002 00000040 00000200";

    #[test]
    fn check_condition_with_both_residuals() {
        let value = ScsiResponse {
            response: ServiceResponse::CommandCompleted,
            status: 2,
            data_segment_length: 20,
            initiator_task_tag: InitiatorTaskTag(0x1c),
            snack_tag: 0,
            stat_sn: Serial32(8),
            exp_cmd_sn: Serial32(0xffff_fff1),
            max_cmd_sn: Serial32(0x70),
            exp_data_sn: Serial32(2),
            bidirectional_read_residual: Residual::Underflow(0x40),
            residual: Residual::Underflow(0x200),
        };
        let ignored = "c0e10000 ff000000 ffffffff ffffffff 00000000 00000000 00000000 00000000
            00000000 00000000 00000000 00000000";
        let (parse, emit) = (ScsiResponse::parse, ScsiResponse::emit);
        Sample { bytes: CHECK_CONDITION, value, ignored, parse, emit }.check();
    }

    #[test]
    fn overflow_and_underflow_exclude_each_other() {
        let mut bytes = from_hex(CHECK_CONDITION);
        bytes[1] = 0x86;
        assert_eq!(ScsiResponse::parse(&Bhs::new(bytes)), Err(PduFault::ResidualBothWays));
        bytes[1] = 0x98;
        assert_eq!(ScsiResponse::parse(&Bhs::new(bytes)), Err(PduFault::ResidualBothWays));
        bytes[1] = 0x94;
        let response = ScsiResponse::parse(&Bhs::new(bytes)).unwrap();
        assert_eq!(response.residual, Residual::Overflow(0x200));
        assert_eq!(response.bidirectional_read_residual, Residual::Overflow(0x40));
    }
}
