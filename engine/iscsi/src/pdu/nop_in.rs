//! NOP-In (RFC 7143 11.19).

use units::{Lun, Serial32};
use zerocopy::big_endian::{U32, U64};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout, Unaligned, transmute};

use super::{DataSegmentLength, FINAL, PduFault, assert_covers_a_header, expect_opcode};
use crate::bhs::{Bhs, InitiatorTaskTag, Opcode, TargetTransferTag};

/// A target's answer to a ping, its own ping, or just news of the command window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NopIn {
    /// Bytes of ping data that are given back.
    pub data_segment_length: u32,
    /// Must be correct if the target transfer tag is not reserved (11.19.3).
    pub lun: Lun,
    /// That of the NOP-Out that this answers, else reserved.
    pub initiator_task_tag: InitiatorTaskTag,
    /// Not reserved where an answer is wanted (11.19.1).
    pub target_transfer_tag: TargetTransferTag,
    /// The next StatSN; it advances only with an answer (11.19.2).
    pub stat_sn: Serial32,
    /// The next CmdSN that the target expects.
    pub exp_cmd_sn: Serial32,
    /// The last CmdSN that the target accepts.
    pub max_cmd_sn: Serial32,
}

impl NopIn {
    /// Reads the PDU from its header.
    pub fn parse(bhs: &Bhs) -> Result<Self, PduFault> {
        expect_opcode(bhs, Opcode::NopIn)?;
        let wire: Layout = transmute!(*bhs.raw());
        Ok(Self {
            data_segment_length: wire.data_segment_length.bytes(),
            lun: Lun(wire.lun.get()),
            initiator_task_tag: bhs.initiator_task_tag(),
            target_transfer_tag: TargetTransferTag(wire.target_transfer_tag.get()),
            stat_sn: Serial32(wire.stat_sn.get()),
            exp_cmd_sn: Serial32(wire.exp_cmd_sn.get()),
            max_cmd_sn: Serial32(wire.max_cmd_sn.get()),
        })
    }

    /// Writes the header.
    pub fn emit(&self, out: &mut [u8; 48]) {
        *out = transmute!(Layout {
            opcode: Opcode::NopIn.code(),
            flags: FINAL,
            data_segment_length: DataSegmentLength::of(self.data_segment_length),
            lun: self.lun.0.into(),
            initiator_task_tag: self.initiator_task_tag.0.into(),
            target_transfer_tag: self.target_transfer_tag.0.into(),
            stat_sn: self.stat_sn.0.into(),
            exp_cmd_sn: self.exp_cmd_sn.0.into(),
            max_cmd_sn: self.max_cmd_sn.0.into(),
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
    _total_ahs_length: u8,
    data_segment_length: DataSegmentLength,
    lun: U64,
    initiator_task_tag: U32,
    target_transfer_tag: U32,
    stat_sn: U32,
    exp_cmd_sn: U32,
    max_cmd_sn: U32,
    _reserved_36: [u8; 12],
}
assert_covers_a_header!(Layout);

#[cfg(test)]
mod tests {
    use super::super::codec_facts::Sample;
    use super::*;

    #[test]
    fn a_target_asks_for_a_sign_of_life() {
        let value = NopIn {
            data_segment_length: 0,
            lun: Lun(0),
            initiator_task_tag: InitiatorTaskTag::RESERVED,
            target_transfer_tag: TargetTransferTag(0x21),
            stat_sn: Serial32(0x41),
            exp_cmd_sn: Serial32(0xffff_fffe),
            max_cmd_sn: Serial32(0x7d),
        };
        Sample {
            bytes: "20800000 00000000 00000000 00000000 ffffffff 00000021 00000041 fffffffe
                0000007d 00000000 00000000 00000000",
            value,
            ignored: "c0ffffff ff000000 00000000 00000000 00000000 00000000 00000000 00000000
                00000000 ffffffff ffffffff ffffffff",
            parse: NopIn::parse,
            emit: NopIn::emit,
        }
        .check();
    }
}
