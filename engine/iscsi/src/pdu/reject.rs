//! Reject (RFC 7143 11.17).

use units::Serial32;
use zerocopy::big_endian::U32;
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout, Unaligned, transmute};

use super::{DataSegmentLength, FINAL, PduFault, assert_covers_a_header, expect_opcode};
use crate::bhs::{Bhs, InitiatorTaskTag, Opcode};
use crate::wire_codes::wire_codes;

/// The target could not accept a PDU, whose whole header is in the data segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reject {
    /// Why.
    pub reason: RejectReason,
    /// Bytes of the rejected header: 48 and its AHS.
    pub data_segment_length: u32,
    /// The response's number on its connection.
    pub stat_sn: Serial32,
    /// The next CmdSN that the target expects.
    pub exp_cmd_sn: Serial32,
    /// The last CmdSN that the target accepts.
    pub max_cmd_sn: Serial32,
    /// The next number of Data-In or R2T for the task, where a SNACK of it is rejected
    /// (11.17.3).
    pub data_sn: Serial32,
}

impl Reject {
    /// Reads the PDU from its header.
    pub fn parse(bhs: &Bhs) -> Result<Self, PduFault> {
        expect_opcode(bhs, Opcode::Reject)?;
        let wire: Layout = transmute!(*bhs.raw());
        Ok(Self {
            reason: RejectReason::from_code(wire.reason),
            data_segment_length: wire.data_segment_length.bytes(),
            stat_sn: Serial32(wire.stat_sn.get()),
            exp_cmd_sn: Serial32(wire.exp_cmd_sn.get()),
            max_cmd_sn: Serial32(wire.max_cmd_sn.get()),
            data_sn: Serial32(wire.data_sn.get()),
        })
    }

    /// Writes the header.
    pub fn emit(&self, out: &mut [u8; 48]) {
        *out = transmute!(Layout {
            opcode: Opcode::Reject.code(),
            flags: FINAL,
            reason: self.reason.code(),
            data_segment_length: DataSegmentLength::of(self.data_segment_length),
            initiator_task_tag: InitiatorTaskTag::RESERVED.0.into(),
            stat_sn: self.stat_sn.0.into(),
            exp_cmd_sn: self.exp_cmd_sn.0.into(),
            max_cmd_sn: self.max_cmd_sn.0.into(),
            data_sn: self.data_sn.0.into(),
            ..Layout::new_zeroed()
        });
    }
}

wire_codes! {
    /// Why a PDU was not accepted (RFC 7143 11.17.1).
    RejectReason: u8 {
        /// The data does not match its digest.
        DataDigestError = 0x02,
        /// What a SNACK asks for cannot be sent again.
        SnackReject = 0x03,
        /// The PDU breaks a rule of the protocol.
        ProtocolError = 0x04,
        /// The target does not do this command.
        CommandNotSupported = 0x05,
        /// There are too many immediate commands.
        ImmediateCommandReject = 0x06,
        /// The initiator task tag belongs to an active task.
        TaskInProgress = 0x07,
        /// A DataACK is for nothing that was sent.
        InvalidDataAck = 0x08,
        /// A field has a value that it may not have.
        InvalidPduField = 0x09,
        /// The target cannot make a target transfer tag for such a long operation now.
        LongOperationReject = 0x0a,
        /// Was "negotiation reset" (RFC 3720), and must not be used any more.
        DeprecatedNegotiationReset = 0x0b,
        /// The connection waits for a requested logout.
        WaitingForLogout = 0x0c,
        ;
        /// A value that the standard does not define.
        Unknown
    }
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Layout {
    opcode: u8,
    flags: u8,
    reason: u8,
    _reserved_3: u8,
    _total_ahs_length: u8,
    data_segment_length: DataSegmentLength,
    _reserved_8: [u8; 8],
    initiator_task_tag: U32,
    _reserved_20: [u8; 4],
    stat_sn: U32,
    exp_cmd_sn: U32,
    max_cmd_sn: U32,
    data_sn: U32,
    _reserved_40: [u8; 8],
}
assert_covers_a_header!(Layout);

#[cfg(test)]
mod tests {
    use super::super::codec_facts::Sample;
    use super::*;

    #[test]
    fn protocol_error() {
        let value = Reject {
            reason: RejectReason::ProtocolError,
            data_segment_length: 48,
            stat_sn: Serial32(0x10),
            exp_cmd_sn: Serial32(0x20),
            max_cmd_sn: Serial32(0x9f),
            data_sn: Serial32(0),
        };
        Sample {
            bytes: "3f800400 00000030 00000000 00000000 ffffffff 00000000 00000010 00000020
                0000009f 00000000 00000000 00000000",
            value,
            // The task tag is always ffffffff (11.17) and so tells nothing.
            ignored: "c0ff00ff ff000000 ffffffff ffffffff ffffffff ffffffff 00000000 00000000
                00000000 00000000 ffffffff ffffffff",
            parse: Reject::parse,
            emit: Reject::emit,
        }
        .check();
    }
}
