//! Ready To Transfer, R2T (RFC 7143 11.8).

use units::{Lun, Serial32};
use zerocopy::big_endian::{U32, U64};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout, Unaligned, transmute};

use super::{FINAL, PduFault, assert_covers_a_header, expect_opcode};
use crate::bhs::{Bhs, InitiatorTaskTag, Opcode, TargetTransferTag};

/// The target asks for data of a write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadyToTransfer {
    /// The logical unit.
    pub lun: Lun,
    /// The task.
    pub initiator_task_tag: InitiatorTaskTag,
    /// What the Data-Out PDUs that answer carry; never reserved (11.8.5).
    pub target_transfer_tag: TargetTransferTag,
    /// The next StatSN; it does not advance (11.8.2).
    pub stat_sn: Serial32,
    /// The next CmdSN that the target expects.
    pub exp_cmd_sn: Serial32,
    /// The last CmdSN that the target accepts.
    pub max_cmd_sn: Serial32,
    /// The R2T's number within the command, from 0 (11.8.3).
    pub r2t_sn: Serial32,
    /// Bytes from the start of the command's data.
    pub buffer_offset: u32,
    /// Bytes requested: at least 1, at most MaxBurstLength (11.8.4).
    pub desired_data_transfer_length: u32,
}

impl ReadyToTransfer {
    /// Reads the PDU from its header.
    pub fn parse(bhs: &Bhs) -> Result<Self, PduFault> {
        expect_opcode(bhs, Opcode::ReadyToTransfer)?;
        let wire: Layout = transmute!(*bhs.raw());
        Ok(Self {
            lun: Lun(wire.lun.get()),
            initiator_task_tag: bhs.initiator_task_tag(),
            target_transfer_tag: TargetTransferTag(wire.target_transfer_tag.get()),
            stat_sn: Serial32(wire.stat_sn.get()),
            exp_cmd_sn: Serial32(wire.exp_cmd_sn.get()),
            max_cmd_sn: Serial32(wire.max_cmd_sn.get()),
            r2t_sn: Serial32(wire.r2t_sn.get()),
            buffer_offset: wire.buffer_offset.get(),
            desired_data_transfer_length: wire.desired_data_transfer_length.get(),
        })
    }

    /// Writes the header.
    pub fn emit(&self, out: &mut [u8; 48]) {
        *out = transmute!(Layout {
            opcode: Opcode::ReadyToTransfer.code(),
            flags: FINAL,
            lun: self.lun.0.into(),
            initiator_task_tag: self.initiator_task_tag.0.into(),
            target_transfer_tag: self.target_transfer_tag.0.into(),
            stat_sn: self.stat_sn.0.into(),
            exp_cmd_sn: self.exp_cmd_sn.0.into(),
            max_cmd_sn: self.max_cmd_sn.0.into(),
            r2t_sn: self.r2t_sn.0.into(),
            buffer_offset: self.buffer_offset.into(),
            desired_data_transfer_length: self.desired_data_transfer_length.into(),
            ..Layout::new_zeroed()
        });
    }
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Layout {
    opcode: u8,
    flags: u8,
    _reserved_2: [u8; 2],
    _lengths: [u8; 4],
    lun: U64,
    initiator_task_tag: U32,
    target_transfer_tag: U32,
    stat_sn: U32,
    exp_cmd_sn: U32,
    max_cmd_sn: U32,
    r2t_sn: U32,
    buffer_offset: U32,
    desired_data_transfer_length: U32,
}
assert_covers_a_header!(Layout);

#[cfg(test)]
mod tests {
    use super::super::codec_facts::Sample;
    use super::*;

    #[test]
    fn second_burst_of_a_write() {
        let value = ReadyToTransfer {
            lun: Lun(0x0001_0000_0000_0000),
            initiator_task_tag: InitiatorTaskTag(0x99),
            target_transfer_tag: TargetTransferTag(0x12),
            stat_sn: Serial32(0x55),
            exp_cmd_sn: Serial32(0x30),
            max_cmd_sn: Serial32(0xaf),
            r2t_sn: Serial32(1),
            buffer_offset: 0x4_0000,
            desired_data_transfer_length: 0x2_0000,
        };
        Sample {
            bytes: "31800000 00000000 00010000 00000000 00000099 00000012 00000055 00000030
                000000af 00000001 00040000 00020000",
            value,
            ignored: "c0ffffff ffffffff 00000000 00000000 00000000 00000000 00000000 00000000
                00000000 00000000 00000000 00000000",
            parse: ReadyToTransfer::parse,
            emit: ReadyToTransfer::emit,
        }
        .check();
    }
}
