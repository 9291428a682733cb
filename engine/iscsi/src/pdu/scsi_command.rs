//! SCSI Command (RFC 7143 11.3).

use units::{Lun, Serial32};
use zerocopy::big_endian::{U32, U64};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout, Unaligned, transmute};

use super::{DataSegmentLength, FINAL, PduFault, assert_covers_a_header, expect_opcode};
use crate::bhs::{Bhs, InitiatorTaskTag, Opcode, request_byte};
use crate::wire_codes::wire_codes;

/// A CDB with what its transport needs to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScsiCommand {
    /// The I bit: outside the command window.
    pub immediate: bool,
    /// The F bit: no unsolicited Data-Out follows.
    pub is_final: bool,
    /// The R bit: the command expects data from the target.
    pub read: bool,
    /// The W bit: the command has data for the target.
    pub write: bool,
    /// How the task is to be ordered.
    pub attribute: TaskAttribute,
    /// Bytes of additional header segments, a multiple of 4.
    pub total_ahs_length: usize,
    /// Bytes of immediate data.
    pub data_segment_length: u32,
    /// The logical unit.
    pub lun: Lun,
    /// The task's name.
    pub initiator_task_tag: InitiatorTaskTag,
    /// Bytes that the initiator expects to move (11.3.4): of the write, where the command is
    /// bidirectional.
    pub expected_data_transfer_length: u32,
    /// The command's place in the session.
    pub cmd_sn: Serial32,
    /// The next StatSN that the initiator expects.
    pub exp_stat_sn: Serial32,
    /// The first 16 bytes of the CDB.
    pub cdb: [u8; 16],
}

impl ScsiCommand {
    /// Reads the command from its header.
    #[inline]
    pub fn parse(bhs: &Bhs) -> Result<Self, PduFault> {
        expect_opcode(bhs, Opcode::ScsiCommand)?;
        let wire: Layout = transmute!(*bhs.raw());
        let is_final = wire.flags & FINAL != 0;
        let write = wire.flags & WRITE != 0;
        // RFC 7143 11.3.1: setting both W and F to 0 is an error.
        if !is_final && !write {
            return Err(PduFault::NotFinalWithoutWrite);
        }
        if bhs.initiator_task_tag() == InitiatorTaskTag::RESERVED {
            return Err(PduFault::InitiatorTaskTagReserved);
        }
        Ok(Self {
            immediate: bhs.immediate(),
            is_final,
            read: wire.flags & READ != 0,
            write,
            attribute: TaskAttribute::from_code(wire.flags & ATTRIBUTE),
            total_ahs_length: bhs.total_ahs_length(),
            data_segment_length: wire.data_segment_length.bytes(),
            lun: Lun(wire.lun.get()),
            initiator_task_tag: bhs.initiator_task_tag(),
            expected_data_transfer_length: wire.expected_data_transfer_length.get(),
            cmd_sn: Serial32(wire.cmd_sn.get()),
            exp_stat_sn: Serial32(wire.exp_stat_sn.get()),
            cdb: wire.cdb,
        })
    }

    /// Writes the header.
    ///
    /// # Panics
    /// When the AHS length is not a multiple of 4 up to 1020, or a length field is too narrow.
    pub fn emit(&self, out: &mut [u8; 48]) {
        assert!(self.total_ahs_length.is_multiple_of(4), "AHS come in four-byte words");
        let mut flags = self.attribute.code() & ATTRIBUTE;
        flags |= if self.is_final { FINAL } else { 0 };
        flags |= if self.read { READ } else { 0 };
        flags |= if self.write { WRITE } else { 0 };
        // 1020 bytes are 255 words.
        let words = u8::try_from(self.total_ahs_length / 4).expect("AHS end at 1020 bytes");
        *out = transmute!(Layout {
            opcode: request_byte(Opcode::ScsiCommand, self.immediate),
            flags,
            total_ahs_length: words,
            data_segment_length: DataSegmentLength::of(self.data_segment_length),
            lun: self.lun.0.into(),
            initiator_task_tag: self.initiator_task_tag.0.into(),
            expected_data_transfer_length: self.expected_data_transfer_length.into(),
            cmd_sn: self.cmd_sn.0.into(),
            exp_stat_sn: self.exp_stat_sn.0.into(),
            cdb: self.cdb,
            ..Layout::new_zeroed()
        });
    }
}

wire_codes! {
    /// How a task is ordered among others (RFC 7143 11.3.1, SAM-5 8.6).
    TaskAttribute: u8 {
        /// None given; it counts as simple.
        Untagged = 0,
        /// Free to be reordered.
        Simple = 1,
        /// After all older tasks and before all younger ones.
        Ordered = 2,
        /// Before all others.
        HeadOfQueue = 3,
        /// For a nexus with an auto contingent allegiance.
        Aca = 4,
        ;
        /// A value that the standard reserves.
        Reserved
    }
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Layout {
    opcode: u8,
    flags: u8,
    _reserved_2: [u8; 2],
    total_ahs_length: u8,
    data_segment_length: DataSegmentLength,
    lun: U64,
    initiator_task_tag: U32,
    expected_data_transfer_length: U32,
    cmd_sn: U32,
    exp_stat_sn: U32,
    cdb: [u8; 16],
}
assert_covers_a_header!(Layout);

const READ: u8 = 0x40;
const WRITE: u8 = 0x20;
const ATTRIBUTE: u8 = 0x07;

#[cfg(test)]
mod tests {
    use super::super::codec_facts::{Sample, from_hex};
    use super::*;

    const WRITE_10: &str = "41a10000 02000200 00050000 00000000 0000001c 00001000 fffffff0 00000007
        2a000000 08000000 08000000 00000000";

    #[test]
    fn write_10_with_immediate_data_and_ahs() {
        let value = ScsiCommand {
            immediate: true,
            is_final: true,
            read: false,
            write: true,
            attribute: TaskAttribute::Simple,
            total_ahs_length: 8,
            data_segment_length: 512,
            lun: Lun(0x0005_0000_0000_0000),
            initiator_task_tag: InitiatorTaskTag(0x1c),
            expected_data_transfer_length: 4096,
            cmd_sn: Serial32(0xffff_fff0),
            exp_stat_sn: Serial32(7),
            cdb: [0x2a, 0, 0, 0, 8, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0],
        };
        let ignored = "8018ffff 00000000 00000000 00000000 00000000 00000000 00000000 00000000
            00000000 00000000 00000000 00000000";
        Sample {
            bytes: WRITE_10,
            value,
            ignored,
            parse: ScsiCommand::parse,
            emit: ScsiCommand::emit,
        }
        .check();
    }

    #[test]
    fn neither_final_nor_write_is_an_error() {
        let mut bytes = from_hex(WRITE_10);
        bytes[1] = 0x41;
        assert_eq!(ScsiCommand::parse(&Bhs::new(bytes)), Err(PduFault::NotFinalWithoutWrite));
    }

    #[test]
    fn the_reserved_task_tag_is_an_error() {
        let mut bytes = from_hex(WRITE_10);
        bytes[16..20].fill(0xff);
        assert_eq!(ScsiCommand::parse(&Bhs::new(bytes)), Err(PduFault::InitiatorTaskTagReserved));
    }
}
