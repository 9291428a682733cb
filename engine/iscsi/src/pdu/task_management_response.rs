//! Task Management Function Response (RFC 7143 11.6).

use units::Serial32;
use zerocopy::big_endian::U32;
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout, Unaligned, transmute};

use super::{FINAL, PduFault, assert_covers_a_header, expect_opcode};
use crate::bhs::{Bhs, InitiatorTaskTag, Opcode};
use crate::wire_codes::wire_codes;

/// The outcome of a task management function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskManagementResponse {
    /// The outcome.
    pub outcome: TaskManagementOutcome,
    /// The request that this answers.
    pub initiator_task_tag: InitiatorTaskTag,
    /// The response's number on its connection.
    pub stat_sn: Serial32,
    /// The next CmdSN that the target expects.
    pub exp_cmd_sn: Serial32,
    /// The last CmdSN that the target accepts.
    pub max_cmd_sn: Serial32,
}

impl TaskManagementResponse {
    /// Reads the PDU from its header.
    pub fn parse(bhs: &Bhs) -> Result<Self, PduFault> {
        expect_opcode(bhs, Opcode::TaskManagementResponse)?;
        let wire: Layout = transmute!(*bhs.raw());
        Ok(Self {
            outcome: TaskManagementOutcome::from_code(wire.outcome),
            initiator_task_tag: bhs.initiator_task_tag(),
            stat_sn: Serial32(wire.stat_sn.get()),
            exp_cmd_sn: Serial32(wire.exp_cmd_sn.get()),
            max_cmd_sn: Serial32(wire.max_cmd_sn.get()),
        })
    }

    /// Writes the header.
    pub fn emit(&self, out: &mut [u8; 48]) {
        *out = transmute!(Layout {
            opcode: Opcode::TaskManagementResponse.code(),
            flags: FINAL,
            outcome: self.outcome.code(),
            initiator_task_tag: self.initiator_task_tag.0.into(),
            stat_sn: self.stat_sn.0.into(),
            exp_cmd_sn: self.exp_cmd_sn.0.into(),
            max_cmd_sn: self.max_cmd_sn.0.into(),
            ..Layout::new_zeroed()
        });
    }
}

wire_codes! {
    /// How a task management function ended (RFC 7143 11.6.1, RFC 7144 4.2).
    TaskManagementOutcome: u8 {
        /// Done; for a query: the answer is no.
        FunctionComplete = 0,
        /// The referenced task is not there.
        TaskDoesNotExist = 1,
        /// The logical unit is not there.
        LunDoesNotExist = 2,
        /// The task still belongs to another connection.
        TaskStillAllegiant = 3,
        /// Tasks cannot be moved.
        TaskReassignmentNotSupported = 4,
        /// The target does not do this function.
        FunctionNotSupported = 5,
        /// The initiator may not do this.
        FunctionAuthorizationFailed = 6,
        /// For a query: the answer is yes.
        FunctionSucceeded = 7,
        /// Refused for another reason.
        FunctionRejected = 255,
        ;
        /// A value that the standards reserve.
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
    _reserved_36: [u8; 12],
}
assert_covers_a_header!(Layout);

#[cfg(test)]
mod tests {
    use super::super::codec_facts::Sample;
    use super::*;

    #[test]
    fn task_does_not_exist() {
        let value = TaskManagementResponse {
            outcome: TaskManagementOutcome::TaskDoesNotExist,
            initiator_task_tag: InitiatorTaskTag(0x33),
            stat_sn: Serial32(0x0304_0506),
            exp_cmd_sn: Serial32(0x103),
            max_cmd_sn: Serial32(0x182),
        };
        Sample {
            bytes: "22800100 00000000 00000000 00000000 00000033 00000000 03040506 00000103
                00000182 00000000 00000000 00000000",
            value,
            ignored: "c0ff00ff ffffffff ffffffff ffffffff 00000000 ffffffff 00000000 00000000
                00000000 ffffffff ffffffff ffffffff",
            parse: TaskManagementResponse::parse,
            emit: TaskManagementResponse::emit,
        }
        .check();
    }
}
