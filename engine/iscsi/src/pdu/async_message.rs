//! Asynchronous Message (RFC 7143 11.9).

use units::{Lun, Serial32};
use zerocopy::big_endian::{U16, U32, U64};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout, Unaligned, transmute};

use super::{DataSegmentLength, FINAL, PduFault, assert_covers_a_header, expect_opcode};
use crate::bhs::{Bhs, InitiatorTaskTag, Opcode};
use crate::wire_codes::wire_codes;

/// An event that no command caused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AsyncMessage {
    /// The event, which defines the parameters.
    pub event: AsyncEvent,
    /// A vendor's detail of the event (11.9.2).
    pub vendor_code: u8,
    /// Bytes of sense data or of a vendor's data (11.9.4).
    pub data_segment_length: u32,
    /// The logical unit, for SCSI events.
    pub lun: Lun,
    /// The message's number on its connection.
    pub stat_sn: Serial32,
    /// The next CmdSN that the target expects.
    pub exp_cmd_sn: Serial32,
    /// The last CmdSN that the target accepts.
    pub max_cmd_sn: Serial32,
    /// The CID, for events that concern one connection.
    pub parameter1: u16,
    /// Time2Wait in seconds, for events that close connections.
    pub parameter2: u16,
    /// Time2Retain in seconds, or the seconds that are left to log out.
    pub parameter3: u16,
}

impl AsyncMessage {
    /// Reads the PDU from its header.
    pub fn parse(bhs: &Bhs) -> Result<Self, PduFault> {
        expect_opcode(bhs, Opcode::AsyncMessage)?;
        let wire: Layout = transmute!(*bhs.raw());
        Ok(Self {
            event: AsyncEvent::from_code(wire.event),
            vendor_code: wire.vendor_code,
            data_segment_length: wire.data_segment_length.bytes(),
            lun: Lun(wire.lun.get()),
            stat_sn: Serial32(wire.stat_sn.get()),
            exp_cmd_sn: Serial32(wire.exp_cmd_sn.get()),
            max_cmd_sn: Serial32(wire.max_cmd_sn.get()),
            parameter1: wire.parameter1.get(),
            parameter2: wire.parameter2.get(),
            parameter3: wire.parameter3.get(),
        })
    }

    /// Writes the header.
    pub fn emit(&self, out: &mut [u8; 48]) {
        *out = transmute!(Layout {
            opcode: Opcode::AsyncMessage.code(),
            flags: FINAL,
            data_segment_length: DataSegmentLength::of(self.data_segment_length),
            lun: self.lun.0.into(),
            initiator_task_tag: InitiatorTaskTag::RESERVED.0.into(),
            stat_sn: self.stat_sn.0.into(),
            exp_cmd_sn: self.exp_cmd_sn.0.into(),
            max_cmd_sn: self.max_cmd_sn.0.into(),
            event: self.event.code(),
            vendor_code: self.vendor_code,
            parameter1: self.parameter1.into(),
            parameter2: self.parameter2.into(),
            parameter3: self.parameter3.into(),
            ..Layout::new_zeroed()
        });
    }
}

wire_codes! {
    /// What an asynchronous message is about (RFC 7143 11.9.1).
    AsyncEvent: u8 {
        /// A SCSI event, reported as sense data.
        ScsiEvent = 0,
        /// The target asks to be logged out of within Parameter3 seconds.
        LogoutRequest = 1,
        /// The target will drop the connection of Parameter1.
        DropConnection = 2,
        /// The target will drop all connections of the session.
        DropAllConnections = 3,
        /// The target asks for a negotiation of parameters within Parameter3 seconds.
        NegotiationRequest = 4,
        /// The tasks of the logical unit have been ended (FastAbort).
        TasksTerminated = 5,
        /// A vendor's event.
        VendorEvent = 255,
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
    _total_ahs_length: u8,
    data_segment_length: DataSegmentLength,
    lun: U64,
    initiator_task_tag: U32,
    _reserved_20: [u8; 4],
    stat_sn: U32,
    exp_cmd_sn: U32,
    max_cmd_sn: U32,
    event: u8,
    vendor_code: u8,
    parameter1: U16,
    parameter2: U16,
    parameter3: U16,
    _reserved_44: [u8; 4],
}
assert_covers_a_header!(Layout);

#[cfg(test)]
mod tests {
    use super::super::codec_facts::Sample;
    use super::*;

    #[test]
    fn please_log_out_within_three_seconds() {
        let value = AsyncMessage {
            event: AsyncEvent::LogoutRequest,
            vendor_code: 0,
            data_segment_length: 0,
            lun: Lun(0),
            stat_sn: Serial32(0x60),
            exp_cmd_sn: Serial32(0x70),
            max_cmd_sn: Serial32(0xef),
            parameter1: 0,
            parameter2: 0,
            parameter3: 3,
        };
        Sample {
            bytes: "32800000 00000000 00000000 00000000 ffffffff 00000000 00000060 00000070
                000000ef 01000000 00000003 00000000",
            value,
            // The task tag is always ffffffff (11.9) and so tells nothing.
            ignored: "c0ffffff ff000000 00000000 00000000 ffffffff ffffffff 00000000 00000000
                00000000 00000000 00000000 ffffffff",
            parse: AsyncMessage::parse,
            emit: AsyncMessage::emit,
        }
        .check();
    }
}
