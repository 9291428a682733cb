//! What initiators have under way.

use crate::ledger::{Look, Span, Tick};
use crate::sectors::Mark;
use iscsi::pdu::{TaskAttribute, TaskManagementFunction};
use std::fmt;

/// What waits for an answer.
#[derive(Debug)]
pub(crate) enum Pending {
    Command(Box<Command>),
    Logout,
    Management(Management),
    Nop(Vec<u8>),
    Text,
}

/// A task management function that has been asked for.
#[derive(Clone, Debug)]
pub(crate) struct Management {
    pub(crate) function: TaskManagementFunction,
    pub(crate) volume: usize,
    pub(crate) referenced: u32,
    pub(crate) cmd_sn: u32,
    pub(crate) sent: Tick,
    /// When it reached the target.
    pub(crate) delivered: Tick,
    /// Writes that must have ended when it is answered.
    pub(crate) ends: Vec<u64>,
}

impl Pending {
    /// The command that it is.
    pub(crate) fn command_mut(&mut self) -> Option<&mut Command> {
        match self {
            Self::Command(command) => Some(command),
            Self::Logout | Self::Management(_) | Self::Nop(_) | Self::Text => None,
        }
    }
}

impl Management {
    /// Whether it reaches the tasks of other sessions.
    pub(crate) fn resets(&self, volume: usize) -> bool {
        match self.function {
            TaskManagementFunction::TargetWarmReset => true,
            TaskManagementFunction::LogicalUnitReset => volume == self.volume,
            TaskManagementFunction::AbortTask
            | TaskManagementFunction::AbortTaskSet
            | TaskManagementFunction::ClearAca
            | TaskManagementFunction::ClearTaskSet
            | TaskManagementFunction::TargetColdReset
            | TaskManagementFunction::TaskReassign
            | TaskManagementFunction::QueryTask
            | TaskManagementFunction::QueryTaskSet
            | TaskManagementFunction::ItNexusReset
            | TaskManagementFunction::QueryAsynchronousEvent
            | TaskManagementFunction::Unknown(_) => false,
        }
    }
}

/// A Data-Out sequence to be sent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sequence {
    pub(crate) tag: u32,
    pub(crate) transfer_tag: u32,
    pub(crate) next: u32,
    pub(crate) end: u32,
    pub(crate) data_sn: u32,
}

/// The kinds of command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    CompareAndWrite,
    Flush,
    /// INQUIRY, READ CAPACITY and the like: whatever the answer, it is GOOD.
    Inquiry,
    Mode {
        write_cache: bool,
    },
    /// Sets no bit: what it writes is what it has read.
    OrWrite,
    Read,
    Release,
    Reserve,
    TestUnitReady,
    Unmap,
    /// Without data, or with all of it.
    Verify {
        compares: bool,
    },
    Write,
    WriteAndVerify,
    WriteSame,
}

impl Kind {
    pub(crate) const fn touches_the_medium(self) -> bool {
        match self {
            Self::CompareAndWrite
            | Self::Flush
            | Self::OrWrite
            | Self::Read
            | Self::Unmap
            | Self::Verify { .. }
            | Self::Write
            | Self::WriteAndVerify
            | Self::WriteSame => true,
            Self::Inquiry
            | Self::Mode { .. }
            | Self::Release
            | Self::Reserve
            | Self::TestUnitReady => false,
        }
    }
}

impl Command {
    /// Whether another command of the session must end before this one, which was sent later.
    pub(crate) fn waits_for(&self, earlier: &Self) -> bool {
        let is_ordered = |command: &Self| command.attribute == TaskAttribute::Ordered;
        self.volume == earlier.volume
            && earlier.sent < self.sent
            && self.attribute != TaskAttribute::HeadOfQueue
            && (is_ordered(self) || is_ordered(earlier))
    }
}

/// A SCSI command under way.
#[derive(Clone)]
pub(crate) struct Command {
    /// Its number in the history, and the value that it writes.
    pub(crate) op: u64,
    pub(crate) initiator: usize,
    pub(crate) kind: Kind,
    pub(crate) cdb: [u8; 16],
    pub(crate) volume: usize,
    pub(crate) immediate: bool,
    pub(crate) attribute: TaskAttribute,
    /// It is ordered, or behind one that is: it may have to wait although data for it has come.
    pub(crate) may_be_dormant: bool,
    pub(crate) cmd_sn: u32,
    pub(crate) sent: Tick,
    pub(crate) expected: u32,
    /// Bytes that the CDB asks for, where that is known.
    pub(crate) scsi_length: Option<u64>,
    pub(crate) reads: bool,
    /// Data for the target.
    pub(crate) out: Vec<u8>,
    pub(crate) unasked: bool,
    /// The sectors that it is about.
    pub(crate) span: Span,
    /// What it writes, and the value.
    pub(crate) writes: Vec<(Span, u64)>,
    /// What COMPARE AND WRITE and VERIFY think is there.
    pub(crate) believes: Vec<Mark>,
    pub(crate) fua: bool,
    /// It reaches past the end.
    pub(crate) outside: bool,
    /// Its data ends inside a block: it must not end well.
    pub(crate) splits_block: bool,
    /// Something is wrong with its data: it must not end well.
    pub(crate) spoiled: bool,
    /// A reset by somebody else may have ended it without a word.
    pub(crate) maybe_aborted: bool,
    /// It must report a unit attention.
    pub(crate) must_report: bool,
    /// An ABORT TASK for it is under way.
    pub(crate) aborting: bool,
    pub(crate) look: Look,
    // What has come back so far.
    pub(crate) input: Vec<u8>,
    pub(crate) data_sn: u32,
    pub(crate) in_sequence: u32,
    pub(crate) r2t_sn: u32,
    pub(crate) requested: u32,
}

impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { op, kind, volume, cmd_sn, expected, .. } = self;
        let (first, count) = (self.span.first, self.span.count);
        write!(f, "op {op} {kind:?} volume {volume} {first}+{count} CmdSN {cmd_sn:x}, ")?;
        write!(f, "since {}, {expected} bytes, {} came, ", self.sent, self.input.len())?;
        write!(f, "{} of {} asked for", self.requested, self.out.len())
    }
}
