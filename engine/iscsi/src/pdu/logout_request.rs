//! Logout Request (RFC 7143 11.14).

use units::Serial32;
use zerocopy::big_endian::{U16, U32};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout, Unaligned, transmute};

use super::{FINAL, PduFault, assert_covers_a_header, expect_opcode};
use crate::bhs::{Bhs, InitiatorTaskTag, Opcode, request_byte};
use crate::wire_codes::wire_codes;

/// The wish to close a connection or the session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogoutRequest {
    /// The I bit: outside the command window.
    pub immediate: bool,
    /// What to close and why.
    pub reason: LogoutReason,
    /// The name of this request.
    pub initiator_task_tag: InitiatorTaskTag,
    /// The connection to close; ignored if the session is closed (11.14.2).
    pub cid: u16,
    /// The request's place in the session.
    pub cmd_sn: Serial32,
    /// The next StatSN that the initiator expects.
    pub exp_stat_sn: Serial32,
}

impl LogoutRequest {
    /// Reads the PDU from its header.
    pub fn parse(bhs: &Bhs) -> Result<Self, PduFault> {
        expect_opcode(bhs, Opcode::LogoutRequest)?;
        let wire: Layout = transmute!(*bhs.raw());
        if bhs.initiator_task_tag() == InitiatorTaskTag::RESERVED {
            return Err(PduFault::InitiatorTaskTagReserved);
        }
        Ok(Self {
            immediate: bhs.immediate(),
            reason: LogoutReason::from_code(wire.reason & REASON),
            initiator_task_tag: bhs.initiator_task_tag(),
            cid: wire.cid.get(),
            cmd_sn: Serial32(wire.cmd_sn.get()),
            exp_stat_sn: Serial32(wire.exp_stat_sn.get()),
        })
    }

    /// Writes the header.
    pub fn emit(&self, out: &mut [u8; 48]) {
        *out = transmute!(Layout {
            opcode: request_byte(Opcode::LogoutRequest, self.immediate),
            reason: FINAL | self.reason.code() & REASON,
            initiator_task_tag: self.initiator_task_tag.0.into(),
            cid: self.cid.into(),
            cmd_sn: self.cmd_sn.0.into(),
            exp_stat_sn: self.exp_stat_sn.0.into(),
            ..Layout::new_zeroed()
        });
    }
}

wire_codes! {
    /// Why an initiator logs out (RFC 7143 11.14.1).
    LogoutReason: u8 {
        /// All connections of the session are to be closed.
        CloseSession = 0,
        /// The connection of the CID is to be closed.
        CloseConnection = 1,
        /// The connection is to be taken away so that its tasks can be moved.
        RemoveConnectionForRecovery = 2,
        ;
        /// A value that the standard reserves.
        Reserved
    }
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Layout {
    opcode: u8,
    reason: u8,
    _reserved_2: [u8; 2],
    _lengths: [u8; 4],
    _reserved_8: [u8; 8],
    initiator_task_tag: U32,
    cid: U16,
    _reserved_22: [u8; 2],
    cmd_sn: U32,
    exp_stat_sn: U32,
    _reserved_32: [u8; 16],
}
assert_covers_a_header!(Layout);

const REASON: u8 = 0x7f;

#[cfg(test)]
mod tests {
    use super::super::codec_facts::Sample;
    use super::*;

    #[test]
    fn close_the_connection_1() {
        let value = LogoutRequest {
            immediate: true,
            reason: LogoutReason::CloseConnection,
            initiator_task_tag: InitiatorTaskTag(0x77),
            cid: 1,
            cmd_sn: Serial32(0x0a),
            exp_stat_sn: Serial32(0x0b),
        };
        Sample {
            bytes: "46810000 00000000 00000000 00000000 00000077 00010000 0000000a 0000000b
                00000000 00000000 00000000 00000000",
            value,
            ignored: "8080ffff ffffffff ffffffff ffffffff 00000000 0000ffff 00000000 00000000
                ffffffff ffffffff ffffffff ffffffff",
            parse: LogoutRequest::parse,
            emit: LogoutRequest::emit,
        }
        .check();
    }
}
