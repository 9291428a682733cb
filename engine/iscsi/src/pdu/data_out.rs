//! SCSI Data-Out (RFC 7143 11.7).

use units::{Lun, Serial32};
use zerocopy::big_endian::{U32, U64};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout, Unaligned, transmute};

use super::{DataSegmentLength, FINAL, PduFault, assert_covers_a_header, expect_opcode};
use crate::bhs::{Bhs, InitiatorTaskTag, Opcode, TargetTransferTag, request_byte};

/// A piece of the data of a write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataOut {
    /// The F bit: the last piece of its sequence (11.7.1).
    pub is_final: bool,
    /// Bytes of data.
    pub data_segment_length: u32,
    /// That of the R2T, where there was one (11.7.4).
    pub lun: Lun,
    /// The task that the data is for.
    pub initiator_task_tag: InitiatorTaskTag,
    /// The R2T that solicited it; reserved for unsolicited data.
    pub target_transfer_tag: TargetTransferTag,
    /// The next StatSN that the initiator expects.
    pub exp_stat_sn: Serial32,
    /// The piece's number within its sequence, from 0 (11.7.5).
    pub data_sn: Serial32,
    /// Bytes from the start of the command's data (11.7.6).
    pub buffer_offset: u32,
}

impl DataOut {
    /// Reads the PDU from its header.
    pub fn parse(bhs: &Bhs) -> Result<Self, PduFault> {
        expect_opcode(bhs, Opcode::DataOut)?;
        let wire: Layout = transmute!(*bhs.raw());
        Ok(Self {
            is_final: wire.flags & FINAL != 0,
            data_segment_length: wire.data_segment_length.bytes(),
            lun: Lun(wire.lun.get()),
            initiator_task_tag: bhs.initiator_task_tag(),
            target_transfer_tag: TargetTransferTag(wire.target_transfer_tag.get()),
            exp_stat_sn: Serial32(wire.exp_stat_sn.get()),
            data_sn: Serial32(wire.data_sn.get()),
            buffer_offset: wire.buffer_offset.get(),
        })
    }

    /// Writes the header.
    pub fn emit(&self, out: &mut [u8; 48]) {
        *out = transmute!(Layout {
            opcode: request_byte(Opcode::DataOut, false),
            flags: if self.is_final { FINAL } else { 0 },
            data_segment_length: DataSegmentLength::of(self.data_segment_length),
            lun: self.lun.0.into(),
            initiator_task_tag: self.initiator_task_tag.0.into(),
            target_transfer_tag: self.target_transfer_tag.0.into(),
            exp_stat_sn: self.exp_stat_sn.0.into(),
            data_sn: self.data_sn.0.into(),
            buffer_offset: self.buffer_offset.into(),
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
    _reserved_24: [u8; 4],
    exp_stat_sn: U32,
    _reserved_32: [u8; 4],
    data_sn: U32,
    buffer_offset: U32,
    _reserved_44: [u8; 4],
}
assert_covers_a_header!(Layout);

#[cfg(test)]
mod tests {
    use super::super::codec_facts::Sample;
    use super::*;

    #[test]
    fn last_piece_of_a_solicited_sequence() {
        let value = DataOut {
            is_final: true,
            data_segment_length: 0x2000,
            lun: Lun(0x0001_0000_0000_0000),
            initiator_task_tag: InitiatorTaskTag(0x99),
            target_transfer_tag: TargetTransferTag(0x12),
            exp_stat_sn: Serial32(0x55),
            data_sn: Serial32(3),
            buffer_offset: 0x1_6000,
        };
        Sample {
            bytes: "05800000 00002000 00010000 00000000 00000099 00000012 00000000 00000055
                00000000 00000003 00016000 00000000",
            value,
            ignored: "c07fffff ff000000 00000000 00000000 00000000 00000000 ffffffff 00000000
                ffffffff 00000000 00000000 ffffffff",
            parse: DataOut::parse,
            emit: DataOut::emit,
        }
        .check();
    }
}
