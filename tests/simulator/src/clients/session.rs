//! An initiator's session: its numbers, and what it waits for.

use super::attentions::Attentions;
use super::command::{Command, Pending, Sequence};
use crate::rng::word;
use iscsi::pdu::TaskAttribute;
use iscsi::{Bhs, Deframer};
use std::collections::{BTreeMap, VecDeque};
use units::Serial32;

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
    /// Its place in the list of sessions.
    pub(crate) number: usize,
    pub(crate) initiator: usize,
    pub(crate) wire: usize,
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
    pub(super) attentions: Attentions,
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
    /// Data that nobody asked for has waited for a buffer, or was refused: its window was narrowed.
    pub(crate) was_short: bool,
    /// Commands that it has sent only to have its window widened again.
    pub(crate) widening: u32,
    pub(crate) ignored_shutdown: bool,
}

/// What a session begins with.
pub(crate) struct Beginning {
    pub(crate) number: usize,
    pub(crate) initiator: usize,
    pub(crate) wire: usize,
    pub(crate) cmd_sn: u32,
    /// In nanoseconds.
    pub(crate) now: u64,
}

impl Session {
    pub(crate) fn new(beginning: &Beginning) -> Self {
        let &Beginning { number, initiator, wire, cmd_sn, now } = beginning;
        Self {
            number,
            initiator,
            wire,
            began: now,
            phase: Phase::Login,
            wild: false,
            terms: Terms::default(),
            cmd_sn,
            exp_cmd_sn: cmd_sn,
            max_cmd_sn: cmd_sn,
            stat_sn: None,
            next_tag: 1,
            pending: BTreeMap::new(),
            attentions: Attentions::default(),
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
            was_short: false,
            widening: 0,
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

    /// Commands that may follow those that have reached the target.
    pub(crate) const fn window_free(&self) -> u32 {
        self.max_cmd_sn.wrapping_sub(self.exp_cmd_sn).wrapping_add(1)
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
        word(self.pending.values().filter(resets).count())
    }

    pub(crate) fn command(&self, tag: u32) -> Option<&Command> {
        match self.pending.get(&tag) {
            Some(Pending::Command(command)) => Some(command),
            Some(Pending::Logout | Pending::Management(_) | Pending::Nop(_) | Pending::Text)
            | None => None,
        }
    }

    pub(crate) fn command_mut(&mut self, tag: u32) -> Option<&mut Command> {
        self.pending.get_mut(&tag).and_then(Pending::command_mut)
    }

    /// The commands that have no answer.
    pub(crate) fn commands_mut(&mut self) -> impl Iterator<Item = &mut Command> {
        self.pending.values_mut().filter_map(Pending::command_mut)
    }

    /// Whether a command is ordered, or behind one that is.
    pub(crate) fn has_ordered(&self, command: &Command) -> bool {
        let mut pending = self.pending.keys().filter_map(|&tag| self.command(tag));
        command.attribute == TaskAttribute::Ordered
            || pending.any(|c| c.volume == command.volume && c.attribute == TaskAttribute::Ordered)
    }

    /// Ordered tasks are barriers: a command that has ended well has waited for those before it
    /// that it must wait for.
    pub(crate) fn check_order(&self, ended: &Command) -> Result<(), String> {
        let is_open = |c: &&Command| !c.maybe_aborted && !c.aborting && ended.waits_for(c);
        let commands = self.pending.keys().filter_map(|&tag| self.command(tag));
        match commands.filter(|_| self.doubled.is_empty()).find(is_open) {
            Some(open) => Err(format!("it has ended before an earlier one: {open:?}")),
            None => Ok(()),
        }
    }

    /// The tags of commands that fit.
    pub(crate) fn tags_of(&self, fits: impl Fn(&Command) -> bool) -> Vec<u32> {
        let fits = |tag: &&u32| self.command(**tag).is_some_and(&fits);
        self.pending.keys().filter(fits).copied().collect()
    }

    /// The commands for which no ABORT TASK is under way.
    pub(crate) fn abortable(&self, wanted: impl Fn(&Command) -> bool) -> Vec<u32> {
        self.tags_of(|c| !c.aborting && wanted(c))
    }

    pub(crate) fn exp_stat_sn(&self) -> Serial32 {
        Serial32(self.stat_sn.unwrap_or(0))
    }

    /// The CmdSN of the next request; an immediate one takes none.
    pub(crate) const fn take_cmd_sn(&mut self, immediate: bool) -> Serial32 {
        let number = self.cmd_sn;
        if !immediate {
            self.cmd_sn = number.wrapping_add(1);
        }
        Serial32(number)
    }

    /// What has not ended.
    pub(crate) fn outstanding(&self) -> String {
        let Self { number, initiator, phase, settled, .. } = self;
        let pending = self.pending.iter().take(8);
        let tags: Vec<String> = pending.map(|(tag, p)| format!("{tag:x} {p:.300?}")).collect();
        let (exp, max, next) = (self.exp_cmd_sn, self.max_cmd_sn, self.cmd_sn);
        format!(
            "\n  session {number} of initiator {initiator} {phase:?} settled {settled} window \
             {exp:x}..{max:x} next {next:x}: {tags:?}"
        )
    }
}
