//! NOP-Out (RFC 7143 11.18).

use units::{Lun, Serial32};
use zerocopy::big_endian::{U32, U64};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout, Unaligned, transmute};

use super::{DataSegmentLength, FINAL, PduFault, assert_covers_a_header, expect_opcode};
use crate::bhs::{Bhs, InitiatorTaskTag, Opcode, TargetTransferTag, request_byte};

/// An initiator's ping, its answer to a target's ping, or just news of its ExpStatSN.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NopOut {
    /// The I bit: outside the command window.
    pub immediate: bool,
    /// Bytes of ping data.
    pub data_segment_length: u32,
    /// The LUN of the NOP-In that this answers.
    pub lun: Lun,
    /// Reserved unless an answer is wanted (11.18.1).
    pub initiator_task_tag: InitiatorTaskTag,
    /// That of the NOP-In that this answers, else reserved (11.18.2).
    pub target_transfer_tag: TargetTransferTag,
    /// The command's place in the session.
    pub cmd_sn: Serial32,
    /// The next StatSN that the initiator expects.
    pub exp_stat_sn: Serial32,
}

impl NopOut {
    /// Reads the PDU from its header.
    pub fn parse(bhs: &Bhs) -> Result<Self, PduFault> {
        expect_opcode(bhs, Opcode::NopOut)?;
        let wire: Layout = transmute!(*bhs.raw());
        // RFC 7143 11.18.1: without a task tag the I bit must be set.
        if bhs.initiator_task_tag() == InitiatorTaskTag::RESERVED && !bhs.immediate() {
            return Err(PduFault::NopOutNotImmediate);
        }
        Ok(Self {
            immediate: bhs.immediate(),
            data_segment_length: wire.data_segment_length.bytes(),
            lun: Lun(wire.lun.get()),
            initiator_task_tag: bhs.initiator_task_tag(),
            target_transfer_tag: TargetTransferTag(wire.target_transfer_tag.get()),
            cmd_sn: Serial32(wire.cmd_sn.get()),
            exp_stat_sn: Serial32(wire.exp_stat_sn.get()),
        })
    }

    /// Writes the header.
    pub fn emit(&self, out: &mut [u8; 48]) {
        *out = transmute!(Layout {
            opcode: request_byte(Opcode::NopOut, self.immediate),
            flags: FINAL,
            data_segment_length: DataSegmentLength::of(self.data_segment_length),
            lun: self.lun.0.into(),
            initiator_task_tag: self.initiator_task_tag.0.into(),
            target_transfer_tag: self.target_transfer_tag.0.into(),
            cmd_sn: self.cmd_sn.0.into(),
            exp_stat_sn: self.exp_stat_sn.0.into(),
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
    cmd_sn: U32,
    exp_stat_sn: U32,
    _reserved_32: [u8; 16],
}
assert_covers_a_header!(Layout);

#[cfg(test)]
mod tests {
    use super::super::codec_facts::{Sample, from_hex};
    use super::*;

    const PING: &str = "40800000 00000003 00010000 00000000 00000021 ffffffff 00000010 00000020
        00000000 00000000 00000000 00000000";

    #[test]
    fn ping_with_three_bytes() {
        let value = NopOut {
            immediate: true,
            data_segment_length: 3,
            lun: Lun(0x0001_0000_0000_0000),
            initiator_task_tag: InitiatorTaskTag(0x21),
            target_transfer_tag: TargetTransferTag::RESERVED,
            cmd_sn: Serial32(0x10),
            exp_stat_sn: Serial32(0x20),
        };
        let ignored = "80ffffff ff000000 00000000 00000000 00000000 00000000 00000000 00000000
            ffffffff ffffffff ffffffff ffffffff";
        Sample { bytes: PING, value, ignored, parse: NopOut::parse, emit: NopOut::emit }.check();
    }

    #[test]
    fn without_a_task_tag_it_must_be_immediate() {
        let mut bytes = from_hex(PING);
        bytes[16..20].fill(0xff);
        assert!(NopOut::parse(&Bhs::new(bytes)).is_ok());
        bytes[0] = 0x00;
        assert_eq!(NopOut::parse(&Bhs::new(bytes)), Err(PduFault::NopOutNotImmediate));
    }
}
