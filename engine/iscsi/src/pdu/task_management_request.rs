//! Task Management Function Request (RFC 7143 11.5).

use units::{Lun, Serial32};
use zerocopy::big_endian::{U32, U64};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout, Unaligned, transmute};

use super::{FINAL, PduFault, assert_covers_a_header, expect_opcode};
use crate::bhs::{Bhs, InitiatorTaskTag, Opcode, request_byte};
use crate::wire_codes::wire_codes;

/// The wish to abort, clear, query or reset tasks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskManagementRequest {
    /// The I bit: outside the command window.
    pub immediate: bool,
    /// What to do.
    pub function: TaskManagementFunction,
    /// The logical unit, for the functions that concern one.
    pub lun: Lun,
    /// The name of this request.
    pub initiator_task_tag: InitiatorTaskTag,
    /// The task that is meant; reserved for functions that concern more than one (11.5.5).
    pub referenced_task_tag: InitiatorTaskTag,
    /// The request's place in the session.
    pub cmd_sn: Serial32,
    /// The next StatSN that the initiator expects.
    pub exp_stat_sn: Serial32,
    /// CmdSN of the task that is meant, for ABORT TASK (11.5.6).
    pub ref_cmd_sn: Serial32,
    /// For TASK REASSIGN only (11.5.7).
    pub exp_data_sn: Serial32,
}

impl TaskManagementRequest {
    /// Reads the PDU from its header.
    pub fn parse(bhs: &Bhs) -> Result<Self, PduFault> {
        expect_opcode(bhs, Opcode::TaskManagementRequest)?;
        let wire: Layout = transmute!(*bhs.raw());
        if bhs.initiator_task_tag() == InitiatorTaskTag::RESERVED {
            return Err(PduFault::InitiatorTaskTagReserved);
        }
        Ok(Self {
            immediate: bhs.immediate(),
            function: TaskManagementFunction::from_code(wire.function & FUNCTION),
            lun: Lun(wire.lun.get()),
            initiator_task_tag: bhs.initiator_task_tag(),
            referenced_task_tag: InitiatorTaskTag(wire.referenced_task_tag.get()),
            cmd_sn: Serial32(wire.cmd_sn.get()),
            exp_stat_sn: Serial32(wire.exp_stat_sn.get()),
            ref_cmd_sn: Serial32(wire.ref_cmd_sn.get()),
            exp_data_sn: Serial32(wire.exp_data_sn.get()),
        })
    }

    /// Writes the header.
    pub fn emit(&self, out: &mut [u8; 48]) {
        *out = transmute!(Layout {
            opcode: request_byte(Opcode::TaskManagementRequest, self.immediate),
            function: FINAL | self.function.code() & FUNCTION,
            lun: self.lun.0.into(),
            initiator_task_tag: self.initiator_task_tag.0.into(),
            referenced_task_tag: self.referenced_task_tag.0.into(),
            cmd_sn: self.cmd_sn.0.into(),
            exp_stat_sn: self.exp_stat_sn.0.into(),
            ref_cmd_sn: self.ref_cmd_sn.0.into(),
            exp_data_sn: self.exp_data_sn.0.into(),
            ..Layout::new_zeroed()
        });
    }
}

wire_codes! {
    /// What an initiator asks of tasks (RFC 7143 11.5.1; from 9 on RFC 7144 4.1).
    TaskManagementFunction: u8 {
        /// Ends the task of the referenced task tag.
        AbortTask = 1,
        /// Ends all tasks of this nexus at the logical unit.
        AbortTaskSet = 2,
        /// Ends an auto contingent allegiance.
        ClearAca = 3,
        /// Ends all tasks at the logical unit, of every nexus.
        ClearTaskSet = 4,
        /// Resets the logical unit.
        LogicalUnitReset = 5,
        /// Resets all logical units.
        TargetWarmReset = 6,
        /// Resets all logical units and closes all sessions.
        TargetColdReset = 7,
        /// Moves a task to this connection (error recovery level 2).
        TaskReassign = 8,
        /// Asks whether a task is there.
        QueryTask = 9,
        /// Asks whether this nexus has any task at the logical unit.
        QueryTaskSet = 10,
        /// Acts as if the nexus had been lost.
        ItNexusReset = 11,
        /// Asks for pending unit attentions.
        QueryAsynchronousEvent = 12,
        ;
        /// A value that no standard defines.
        Unknown
    }
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Layout {
    opcode: u8,
    function: u8,
    _reserved_2: [u8; 2],
    _lengths: [u8; 4],
    lun: U64,
    initiator_task_tag: U32,
    referenced_task_tag: U32,
    cmd_sn: U32,
    exp_stat_sn: U32,
    ref_cmd_sn: U32,
    exp_data_sn: U32,
    _reserved_40: [u8; 8],
}
assert_covers_a_header!(Layout);

const FUNCTION: u8 = 0x7f;

#[cfg(test)]
mod tests {
    use super::super::codec_facts::Sample;
    use super::*;

    #[test]
    fn abort_task() {
        let value = TaskManagementRequest {
            immediate: true,
            function: TaskManagementFunction::AbortTask,
            lun: Lun(0x0002_0000_0000_0000),
            initiator_task_tag: InitiatorTaskTag(0x33),
            referenced_task_tag: InitiatorTaskTag(0x31),
            cmd_sn: Serial32(0x0000_0102),
            exp_stat_sn: Serial32(0x0304_0506),
            ref_cmd_sn: Serial32(0x0000_0100),
            exp_data_sn: Serial32(0),
        };
        Sample {
            bytes: "42810000 00000000 00020000 00000000 00000033 00000031 00000102 03040506
                00000100 00000000 00000000 00000000",
            value,
            ignored: "8080ffff ffffffff 00000000 00000000 00000000 00000000 00000000 00000000
                00000000 00000000 ffffffff ffffffff",
            parse: TaskManagementRequest::parse,
            emit: TaskManagementRequest::emit,
        }
        .check();
    }

    #[test]
    fn functions_past_the_standards_are_unknown() {
        assert_eq!(
            TaskManagementFunction::from_code(12),
            TaskManagementFunction::QueryAsynchronousEvent,
        );
        assert_eq!(TaskManagementFunction::from_code(0), TaskManagementFunction::Unknown(0));
        assert_eq!(TaskManagementFunction::from_code(13), TaskManagementFunction::Unknown(13));
    }
}
