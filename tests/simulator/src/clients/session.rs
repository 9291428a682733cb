//! An initiator's session: its numbers, and what it waits for.

use crate::history::{Span, Tick};
use crate::sectors::Mark;
use crate::units_state::Look;
use iscsi::pdu::TaskManagementFunction;
use iscsi::{Bhs, Deframer};
use std::collections::{BTreeMap, VecDeque};
use std::fmt;

/// What was negotiated, as the initiator understands it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terms {
    pub(crate) header_digest: bool,
    pub(crate) data_digest: bool,
    pub(crate) initial_r2t: bool,
    pub(crate) immediate_data: bool,
    /// What the initiator takes.
    pub(crate) segment_max: u32,
    /// What the target takes.
    pub(crate) target_segment_max: u32,
    pub(crate) burst_max: u32,
    pub(crate) first_burst: u32,
    pub(crate) r2ts_max: u32,
}

impl Default for Terms {
    /// The defaults of RFC 7143 13.
    fn default() -> Self {
        Self {
            header_digest: false,
            data_digest: false,
            initial_r2t: true,
            immediate_data: true,
            segment_max: 8192,
            target_segment_max: 8192,
            burst_max: 262_144,
            first_burst: 65_536,
            r2ts_max: 1,
        }
    }
}

/// How far a session is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Login,
    Full,
    LoggingOut,
    Over,
}

/// One session, with its one connection.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) initiator: usize,
    pub(crate) link: usize,
    /// When its login began, in nanoseconds.
    pub(crate) began: u64,
    pub(crate) phase: Phase,
    /// It has sent nonsense: whatever comes back is fine.
    pub(crate) wild: bool,
    pub(crate) terms: Terms,
    pub(crate) cmd_sn: u32,
    pub(crate) exp_cmd_sn: u32,
    pub(crate) max_cmd_sn: u32,
    /// The StatSN that comes next.
    pub(crate) stat_sn: Option<u32>,
    pub(crate) next_tag: u32,
    pub(crate) pending: BTreeMap<u32, Pending>,
    /// Data-Out sequences to be sent unasked, in the order of their commands.
    pub(crate) unsolicited: VecDeque<Sequence>,
    /// Data-Out sequences that R2Ts have asked for.
    pub(crate) solicited: VecDeque<Sequence>,
    pub(crate) deframer: Deframer,
    pub(crate) header: Option<Bhs>,
    pub(crate) data: Vec<u8>,
    /// Rejects that must come.
    pub(crate) rejects_due: u32,
    /// Rejects that may come: of data for a task that may be over.
    pub(crate) rejects_allowed: u32,
    /// Tags that may be answered once more than commands are known.
    pub(crate) doubled: Vec<u32>,
    /// Key text of the login so far.
    pub(crate) login_text: Vec<u8>,
    /// The target has asked for a logout.
    pub(crate) logout_asked: bool,
    /// The ping behind all that it has sent.
    pub(crate) last_ping: Option<u32>,
    /// All that it had under way has ended, and the window is whole.
    pub(crate) settled: bool,
    pub(crate) ignored_shutdown: bool,
}

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
    /// Writes that must have ended when it is answered.
    pub(crate) ends: Vec<u64>,
}

impl Management {
    /// Whether it changes the reservation and the mode pages too.
    pub(crate) fn resets_state(&self) -> bool {
        self.function != TaskManagementFunction::ClearTaskSet
    }

    /// Whether it reaches the tasks of other sessions.
    pub(crate) fn resets(&self, volume: usize) -> bool {
        match self.function {
            TaskManagementFunction::TargetWarmReset => true,
            TaskManagementFunction::LogicalUnitReset | TaskManagementFunction::ClearTaskSet => {
                volume == self.volume
            }
            TaskManagementFunction::AbortTask
            | TaskManagementFunction::AbortTaskSet
            | TaskManagementFunction::ClearAca
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
    /// Something is wrong with its data: it must not end well.
    pub(crate) spoiled: bool,
    /// A reset by somebody else may have ended it without a word.
    pub(crate) maybe_aborted: bool,
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

impl Session {
    pub(crate) fn new(initiator: usize, link: usize, cmd_sn: u32, began: u64) -> Self {
        Self {
            initiator,
            link,
            began,
            phase: Phase::Login,
            wild: false,
            terms: Terms::default(),
            cmd_sn,
            exp_cmd_sn: cmd_sn,
            max_cmd_sn: cmd_sn,
            stat_sn: None,
            next_tag: 1,
            pending: BTreeMap::new(),
            unsolicited: VecDeque::new(),
            solicited: VecDeque::new(),
            deframer: Deframer::new(),
            header: None,
            data: Vec::new(),
            rejects_due: 0,
            rejects_allowed: 0,
            doubled: Vec::new(),
            login_text: Vec::new(),
            logout_asked: false,
            last_ping: None,
            settled: false,
            ignored_shutdown: false,
        }
    }

    /// A tag that no task of the session has had.
    pub(crate) const fn new_tag(&mut self) -> u32 {
        self.next_tag += 1;
        self.next_tag
    }

    /// Commands that count against the queue depth.
    pub(crate) fn depth(&self) -> usize {
        let counts = |p: &&Pending| match p {
            Pending::Command(c) => !c.maybe_aborted,
            Pending::Logout | Pending::Management(_) | Pending::Nop(_) | Pending::Text => true,
        };
        self.pending.values().filter(counts).count()
    }

    /// Whether one more command may be sent (RFC 7143 4.2.2.1).
    pub(crate) const fn window_is_open(&self) -> bool {
        self.max_cmd_sn.wrapping_sub(self.cmd_sn) < 1 << 31
    }

    /// Requests outside of the window that have no answer.
    pub(crate) fn immediate_count(&self) -> usize {
        let counts = |p: &&Pending| match p {
            Pending::Command(c) => c.immediate,
            Pending::Logout | Pending::Management(_) | Pending::Nop(_) | Pending::Text => true,
        };
        self.pending.values().filter(counts).count()
    }

    /// Resets of a volume that the session has asked for.
    pub(crate) fn resets_of(&self, volume: usize) -> u32 {
        let resets = |p: &&Pending| matches!(p, Pending::Management(m) if m.resets(volume));
        crate::rng::word(self.pending.values().filter(resets).count())
    }

    pub(crate) fn command(&self, tag: u32) -> Option<&Command> {
        match self.pending.get(&tag) {
            Some(Pending::Command(command)) => Some(command),
            Some(Pending::Logout | Pending::Management(_) | Pending::Nop(_) | Pending::Text)
            | None => None,
        }
    }

    pub(crate) fn command_mut(&mut self, tag: u32) -> Option<&mut Command> {
        match self.pending.get_mut(&tag) {
            Some(Pending::Command(command)) => Some(command),
            Some(Pending::Logout | Pending::Management(_) | Pending::Nop(_) | Pending::Text)
            | None => None,
        }
    }
}
