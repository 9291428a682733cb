//! Logout Response (RFC 7143 11.15).

use units::Serial32;
use zerocopy::big_endian::{U16, U32};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout, Unaligned, transmute};

use super::{FINAL, PduFault, assert_covers_a_header, expect_opcode};
use crate::bhs::{Bhs, InitiatorTaskTag, Opcode};
use crate::wire_codes::wire_codes;

/// The answer to a logout.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogoutResponse {
    /// How it ended.
    pub outcome: LogoutOutcome,
    /// The request that this answers.
    pub initiator_task_tag: InitiatorTaskTag,
    /// The response's number on its connection.
    pub stat_sn: Serial32,
    /// The next CmdSN that the target expects.
    pub exp_cmd_sn: Serial32,
    /// The last CmdSN that the target accepts.
    pub max_cmd_sn: Serial32,
    /// Seconds to wait before tasks are moved (11.15.3).
    pub time2wait: u16,
    /// Seconds after that for which the tasks are kept (11.15.4).
    pub time2retain: u16,
}

impl LogoutResponse {
    /// Reads the PDU from its header.
    pub fn parse(bhs: &Bhs) -> Result<Self, PduFault> {
        expect_opcode(bhs, Opcode::LogoutResponse)?;
        let wire: Layout = transmute!(*bhs.raw());
        Ok(Self {
            outcome: LogoutOutcome::from_code(wire.outcome),
            initiator_task_tag: bhs.initiator_task_tag(),
            stat_sn: Serial32(wire.stat_sn.get()),
            exp_cmd_sn: Serial32(wire.exp_cmd_sn.get()),
            max_cmd_sn: Serial32(wire.max_cmd_sn.get()),
            time2wait: wire.time2wait.get(),
            time2retain: wire.time2retain.get(),
        })
    }

    /// Writes the header.
    pub fn emit(&self, out: &mut [u8; 48]) {
        *out = transmute!(Layout {
            opcode: Opcode::LogoutResponse.code(),
            flags: FINAL,
            outcome: self.outcome.code(),
            initiator_task_tag: self.initiator_task_tag.0.into(),
            stat_sn: self.stat_sn.0.into(),
            exp_cmd_sn: self.exp_cmd_sn.0.into(),
            max_cmd_sn: self.max_cmd_sn.0.into(),
            time2wait: self.time2wait.into(),
            time2retain: self.time2retain.into(),
            ..Layout::new_zeroed()
        });
    }
}

wire_codes! {
    /// How a logout ended (RFC 7143 11.15.1).
    LogoutOutcome: u8 {
        /// The connection or session is closed.
        Closed = 0,
        /// The session has no connection with the CID.
        CidNotFound = 1,
        /// Tasks cannot be moved to another connection.
        RecoveryNotSupported = 2,
        /// The target could not clean up.
        CleanupFailed = 3,
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
    outcome: u8,
    _reserved_3: u8,
    _lengths: [u8; 4],
    _reserved_8: [u8; 8],
    initiator_task_tag: U32,
    _reserved_20: [u8; 4],
    stat_sn: U32,
    exp_cmd_sn: U32,
    max_cmd_sn: U32,
    _reserved_36: [u8; 4],
    time2wait: U16,
    time2retain: U16,
    _reserved_44: [u8; 4],
}
assert_covers_a_header!(Layout);

#[cfg(test)]
mod tests {
    use super::super::codec_facts::Sample;
    use super::*;

    #[test]
    fn no_such_connection() {
        let value = LogoutResponse {
            outcome: LogoutOutcome::CidNotFound,
            initiator_task_tag: InitiatorTaskTag(0x77),
            stat_sn: Serial32(0x0b),
            exp_cmd_sn: Serial32(0x0a),
            max_cmd_sn: Serial32(0x89),
            time2wait: 2,
            time2retain: 20,
        };
        Sample {
            bytes: "26800100 00000000 00000000 00000000 00000077 00000000 0000000b 0000000a
                00000089 00000000 00020014 00000000",
            value,
            ignored: "c0ff00ff ffffffff ffffffff ffffffff 00000000 ffffffff 00000000 00000000
                00000000 ffffffff 00000000 ffffffff",
            parse: LogoutResponse::parse,
            emit: LogoutResponse::emit,
        }
        .check();
    }
}
