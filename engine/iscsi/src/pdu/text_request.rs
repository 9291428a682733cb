//! Text Request (RFC 7143 11.10).

use units::{Lun, Serial32};
use zerocopy::big_endian::{U32, U64};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout, Unaligned, transmute};

use super::{CONTINUE, DataSegmentLength, FINAL, PduFault, assert_covers_a_header, expect_opcode};
use crate::bhs::{Bhs, InitiatorTaskTag, Opcode, TargetTransferTag, request_byte};

/// Key text in full feature phase.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TextRequest {
    /// The I bit: outside the command window.
    pub immediate: bool,
    /// The F bit: the initiator has no more to negotiate.
    pub is_final: bool,
    /// The C bit: the text goes on in the next request.
    pub continues: bool,
    /// Bytes of text.
    pub data_segment_length: u32,
    /// The LUN that the response carried, with its target transfer tag.
    pub lun: Lun,
    /// The name of this negotiation: the same in all its requests (11.10.3).
    pub initiator_task_tag: InitiatorTaskTag,
    /// That of the response that this continues, else reserved (11.10.4).
    pub target_transfer_tag: TargetTransferTag,
    /// The request's place in the session.
    pub cmd_sn: Serial32,
    /// The next StatSN that the initiator expects.
    pub exp_stat_sn: Serial32,
}

impl TextRequest {
    /// Reads the PDU from its header.
    pub fn parse(bhs: &Bhs) -> Result<Self, PduFault> {
        expect_opcode(bhs, Opcode::TextRequest)?;
        let wire: Layout = transmute!(*bhs.raw());
        // RFC 7143 11.10.2: a request with C set must have F clear.
        if wire.flags & FINAL != 0 && wire.flags & CONTINUE != 0 {
            return Err(PduFault::ContinueWithFinal);
        }
        if bhs.initiator_task_tag() == InitiatorTaskTag::RESERVED {
            return Err(PduFault::InitiatorTaskTagReserved);
        }
        Ok(Self {
            immediate: bhs.immediate(),
            is_final: wire.flags & FINAL != 0,
            continues: wire.flags & CONTINUE != 0,
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
            opcode: request_byte(Opcode::TextRequest, self.immediate),
            flags: text_flags(self.is_final, self.continues),
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

/// F and C as byte 1 has them.
pub(super) fn text_flags(is_final: bool, continues: bool) -> u8 {
    (if is_final { FINAL } else { 0 }) | (if continues { CONTINUE } else { 0 })
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

    const SEND_TARGETS: &str = "04800000 00000010 00000000 00000000 00000002 ffffffff 00000003
        00000004 00000000 00000000 00000000 00000000";

    #[test]
    fn send_targets_in_one_request() {
        let value = TextRequest {
            immediate: false,
            is_final: true,
            continues: false,
            data_segment_length: 16,
            lun: Lun(0),
            initiator_task_tag: InitiatorTaskTag(2),
            target_transfer_tag: TargetTransferTag::RESERVED,
            cmd_sn: Serial32(3),
            exp_stat_sn: Serial32(4),
        };
        let ignored = "803fffff ff000000 00000000 00000000 00000000 00000000 00000000 00000000
            ffffffff ffffffff ffffffff ffffffff";
        let (parse, emit) = (TextRequest::parse, TextRequest::emit);
        Sample { bytes: SEND_TARGETS, value, ignored, parse, emit }.check();
    }

    #[test]
    fn final_text_cannot_continue() {
        let mut bytes = from_hex(SEND_TARGETS);
        bytes[1] = 0xc0;
        assert_eq!(TextRequest::parse(&Bhs::new(bytes)), Err(PduFault::ContinueWithFinal));
        bytes[1] = 0x40;
        assert!(TextRequest::parse(&Bhs::new(bytes)).unwrap().continues);
    }
}
