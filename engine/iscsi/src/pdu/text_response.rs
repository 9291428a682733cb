//! Text Response (RFC 7143 11.11).

use units::{Lun, Serial32};
use zerocopy::big_endian::{U32, U64};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout, Unaligned, transmute};

use super::text_request::text_flags;
use super::{CONTINUE, DataSegmentLength, FINAL, PduFault, assert_covers_a_header, expect_opcode};
use crate::bhs::{Bhs, InitiatorTaskTag, Opcode, TargetTransferTag};

/// The answer to key text in full feature phase.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TextResponse {
    /// The F bit: the target has no more to say or to negotiate.
    pub is_final: bool,
    /// The C bit: the text goes on in the next response.
    pub continues: bool,
    /// Bytes of text.
    pub data_segment_length: u32,
    /// Given back by the initiator together with the target transfer tag.
    pub lun: Lun,
    /// As in the request.
    pub initiator_task_tag: InitiatorTaskTag,
    /// Not reserved if the target expects the initiator to continue (11.11.4).
    pub target_transfer_tag: TargetTransferTag,
    /// The response's number on its connection.
    pub stat_sn: Serial32,
    /// The next CmdSN that the target expects.
    pub exp_cmd_sn: Serial32,
    /// The last CmdSN that the target accepts.
    pub max_cmd_sn: Serial32,
}

impl TextResponse {
    /// Reads the PDU from its header.
    pub fn parse(bhs: &Bhs) -> Result<Self, PduFault> {
        expect_opcode(bhs, Opcode::TextResponse)?;
        let wire: Layout = transmute!(*bhs.raw());
        // RFC 7143 11.11.2: a response with C set must have F clear.
        if wire.flags & FINAL != 0 && wire.flags & CONTINUE != 0 {
            return Err(PduFault::ContinueWithFinal);
        }
        Ok(Self {
            is_final: wire.flags & FINAL != 0,
            continues: wire.flags & CONTINUE != 0,
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
            opcode: Opcode::TextResponse.code(),
            flags: text_flags(self.is_final, self.continues),
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
    fn text_that_goes_on() {
        let value = TextResponse {
            is_final: false,
            continues: true,
            data_segment_length: 0x200,
            lun: Lun(0),
            initiator_task_tag: InitiatorTaskTag(2),
            target_transfer_tag: TargetTransferTag(1),
            stat_sn: Serial32(4),
            exp_cmd_sn: Serial32(4),
            max_cmd_sn: Serial32(0x83),
        };
        Sample {
            bytes: "24400000 00000200 00000000 00000000 00000002 00000001 00000004 00000004
                00000083 00000000 00000000 00000000",
            value,
            ignored: "c03fffff ff000000 00000000 00000000 00000000 00000000 00000000 00000000
                00000000 ffffffff ffffffff ffffffff",
            parse: TextResponse::parse,
            emit: TextResponse::emit,
        }
        .check();
    }
}
