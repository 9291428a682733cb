//! The initiators: what each does next.

use crate::history::Span;
use crate::rng::size;
use crate::session::{Kind, Pending, Phase};
use crate::world::{Event, Stage, World};
use iscsi::pdu::TaskManagementFunction;

/// One initiator port.
#[derive(Debug)]
pub(crate) struct Initiator {
    /// What it does before things calm down.
    pub(crate) acts_left: u64,
    /// Its session.
    pub(crate) current: Option<usize>,
    /// Until then a login that was given up may still displace a later session.
    pub(crate) haunted_until: u64,
    /// It does not try to log in earlier.
    pub(crate) not_before: u64,
    /// How often in a row it had nothing to do.
    idle: u32,
    /// Changes of units that its lost sessions have asked for.
    pub(crate) unresolved: Vec<Change>,
}

/// A change of a logical unit's state that may still come.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Change {
    Holder(usize),
    WriteCache(usize),
    /// A reset is under way.
    Reset {
        volume: usize,
        changes: bool,
    },
}

/// What an initiator may do.
#[derive(Clone, Copy, Debug)]
enum Choice {
    Abort,
    Command(Kind),
    Cut,
    Garbage,
    Logout,
    Nop,
    Reinstate,
    Reset,
    Text,
}

impl Initiator {
    pub(crate) fn new(_number: usize, acts: u64) -> Self {
        Self {
            acts_left: acts,
            current: None,
            haunted_until: 0,
            not_before: 0,
            idle: 0,
            unresolved: Vec::new(),
        }
    }
}

impl World {
    /// An initiator's turn.
    pub(crate) fn act(&mut self, initiator: usize) {
        let did = match self.initiators[initiator].current {
            None if self.stage >= Stage::Farewell => return,
            None if self.now < self.initiators[initiator].not_before => false,
            None => {
                self.log_in(initiator);
                true
            }
            Some(session) => match self.sessions[session].phase {
                Phase::Login | Phase::LoggingOut => self.may_lose_patience(session),
                Phase::Full => self.act_in(session),
                Phase::Over => {
                    self.initiators[initiator].current = None;
                    true
                }
            },
        };
        let state = &mut self.initiators[initiator];
        state.idle = if did { 0 } else { (state.idle + 1).min(13) };
        let delay = 3_000_u64 << state.idle;
        let delay = delay / 2 + self.rng.below(delay);
        self.after(delay, Event::Act { initiator });
    }

    fn may_lose_patience(&mut self, session: usize) -> bool {
        let state = &self.sessions[session];
        if state.phase == Phase::Login && self.now - state.began > LOGIN_TIME_MAX {
            // However long an operation of an older session hangs.
            self.fail(|w| format!("session {session}: no answer to a login: {}", w.outstanding()));
        }
        let chaos = self.stage == Stage::Chaos && self.plan.weights.cut > 0;
        if chaos && self.rng.chance(10) {
            self.break_off(session);
        }
        false
    }

    fn act_in(&mut self, session: usize) -> bool {
        if self.sessions[session].wild {
            // Nobody knows any more what the numbers are.
            if self.stage != Stage::Chaos || self.rng.chance(200) {
                self.break_off(session);
            }
            return true;
        }
        if self.sessions[session].logout_asked && self.answer_the_wish(session) {
            return true;
        }
        let has_data = self.has_data_to_send(session);
        if has_data && (self.stage != Stage::Chaos || self.rng.chance(650)) {
            self.send_data_out(session);
            return true;
        }
        match self.stage {
            Stage::Chaos => self.act_in_chaos(session) || has_data,
            Stage::Drain => self.act_in_drain(session),
            Stage::Audit => self.act_in_audit(session),
            Stage::Farewell => self.act_in_farewell(session),
            Stage::Over => false,
        }
    }

    /// The target has asked for a logout: most initiators do it.
    fn answer_the_wish(&mut self, session: usize) -> bool {
        let state = &mut self.sessions[session];
        if state.ignored_shutdown {
            return false;
        }
        if self.rng.chance(300) {
            self.sessions[session].ignored_shutdown = true;
            return false;
        }
        self.send_logout(session);
        true
    }

    fn act_in_chaos(&mut self, session: usize) -> bool {
        let initiator = self.sessions[session].initiator;
        if self.initiators[initiator].acts_left == 0 {
            return false;
        }
        if self.rng.chance(self.plan.faults.cut) {
            self.break_off(session);
            return true;
        }
        let Some(choice) = self.choose() else { return false };
        let did = self.carry_out_choice(session, choice);
        if did {
            self.initiators[initiator].acts_left -= 1;
        }
        did
    }

    fn choose(&mut self) -> Option<Choice> {
        let w = self.plan.weights;
        self.rng.weighted(&[
            (w.read, Choice::Command(Kind::Read)),
            (w.write, Choice::Command(Kind::Write)),
            (w.flush, Choice::Command(Kind::Flush)),
            (w.compare_and_write, Choice::Command(Kind::CompareAndWrite)),
            (w.verify, Choice::Command(Kind::Verify { compares: true })),
            (w.verify, Choice::Command(Kind::Verify { compares: false })),
            (w.write_and_verify, Choice::Command(Kind::WriteAndVerify)),
            (w.write_same, Choice::Command(Kind::WriteSame)),
            (w.unmap, Choice::Command(Kind::Unmap)),
            (w.reserve, Choice::Command(Kind::Reserve)),
            (w.reserve, Choice::Command(Kind::Release)),
            (w.mode, Choice::Command(Kind::Mode { write_cache: true })),
            (w.inquiry, Choice::Command(Kind::Inquiry)),
            (w.inquiry, Choice::Command(Kind::TestUnitReady)),
            (w.nop, Choice::Nop),
            (w.nop / 4, Choice::Text),
            (w.abort, Choice::Abort),
            (w.reset, Choice::Reset),
            (w.logout, Choice::Logout),
            (w.reinstate, Choice::Reinstate),
            (w.cut, Choice::Cut),
            (w.garbage, Choice::Garbage),
        ])
    }

    fn carry_out_choice(&mut self, session: usize, choice: Choice) -> bool {
        match choice {
            Choice::Command(kind) => self.try_command(session, kind),
            Choice::Nop => self.send_nop(session),
            Choice::Text => self.send_text(session),
            Choice::Abort => self.abort_something(session),
            Choice::Reset => self.reset_something(session),
            Choice::Garbage => self.send_garbage(session),
            Choice::Logout => {
                self.send_logout(session);
                true
            }
            Choice::Reinstate => {
                // The old connection is left as it is: the target is to end it.
                let initiator = self.sessions[session].initiator;
                self.report.reinstatements += 1;
                self.log_in(initiator);
                true
            }
            Choice::Cut => {
                self.break_off(session);
                true
            }
        }
    }

    fn try_command(&mut self, session: usize, kind: Kind) -> bool {
        let state = &self.sessions[session];
        if state.depth() >= self.plan.queue_depth || !state.window_is_open() {
            return false;
        }
        let kind = if kind == Kind::Unmap && !self.plan.volumes.iter().all(|v| v.unmap) {
            Kind::Write
        } else if matches!(kind, Kind::Mode { .. }) && !self.plan.volumes.iter().all(|v| v.volatile)
        {
            Kind::Read
        } else {
            kind
        };
        let command = self.compose(session, kind);
        self.send_command(session, command);
        true
    }

    fn abort_something(&mut self, session: usize) -> bool {
        let tags: Vec<u32> = self.abortable(session, |_| true);
        if tags.is_empty() || self.sessions[session].immediate_count() > 12 {
            return false;
        }
        let tag = self.rng.pick(&tags);
        let set = self.rng.chance(150);
        let function = if set {
            TaskManagementFunction::AbortTaskSet
        } else {
            TaskManagementFunction::AbortTask
        };
        self.send_management(session, function, Some(tag), None);
        true
    }

    fn abortable(
        &self,
        session: usize,
        wanted: impl Fn(&crate::session::Command) -> bool,
    ) -> Vec<u32> {
        let state = &self.sessions[session];
        let fits = |tag: &&u32| state.command(**tag).is_some_and(|c| !c.aborting && wanted(c));
        state.pending.keys().filter(fits).copied().collect()
    }

    fn reset_something(&mut self, session: usize) -> bool {
        if self.sessions[session].immediate_count() > 12 {
            return false;
        }
        let function = self.rng.pick(&[
            TaskManagementFunction::LogicalUnitReset,
            TaskManagementFunction::LogicalUnitReset,
            TaskManagementFunction::ClearTaskSet,
            TaskManagementFunction::TargetWarmReset,
        ]);
        self.send_management(session, function, None, None);
        true
    }

    /// Nothing new: what is under way ends, and what a reset may have ended is asked after.
    fn act_in_drain(&mut self, session: usize) -> bool {
        if self.sessions[session].settled {
            return false;
        }
        if self.sessions[session].pending.is_empty() {
            // Its answer shows the whole window.
            let sent = self.send_nop(session);
            self.sessions[session].last_ping = Some(self.sessions[session].next_tag);
            return sent;
        }
        let orphans = self.abortable(session, |c| c.maybe_aborted);
        match orphans.first() {
            Some(&tag) if self.sessions[session].immediate_count() <= 12 => {
                self.send_management(session, TaskManagementFunction::AbortTask, Some(tag), None);
                true
            }
            Some(_) | None => false,
        }
    }

    /// The first initiator reads all volumes from their first to their last block.
    fn act_in_audit(&mut self, session: usize) -> bool {
        if self.sessions[session].initiator != 0 || !self.sessions[session].pending.is_empty() {
            return false;
        }
        let Some((volume, first)) = self.audit else { return false };
        let per_block = self.plan.volumes[volume].sectors_per_block();
        let end = self.admin.sectors(volume);
        if first >= end || !self.admin.is_mapped(volume) {
            let next = volume + 1;
            self.audit = (next < self.plan.volumes.len()).then_some((next, 0));
            return true;
        }
        if std::mem::take(&mut self.audit_conflicts) {
            // A reservation that somebody has left behind.
            let function = TaskManagementFunction::LogicalUnitReset;
            self.send_management(session, function, None, Some(volume));
            return true;
        }
        let most = crate::login::transfer_max(&self.sessions[session].terms);
        let most = (most / crate::sectors::SECTOR_BYTES / per_block).clamp(1, 512) * per_block;
        let count = most.min(end - first);
        let mut command = self.compose_audit(volume, first, count);
        command.immediate = false;
        self.send_command(session, command);
        true
    }

    /// A part of the audit has been read.
    pub(crate) fn audited(&mut self, span: Span) {
        if let Some((volume, first)) = self.audit
            && self.stage == Stage::Audit
            && volume == span.volume
            && first == span.first
        {
            self.audit = Some((volume, first + span.count));
        }
    }

    fn act_in_farewell(&mut self, session: usize) -> bool {
        if self.plan.shutdown || !self.sessions[session].pending.is_empty() {
            return false;
        }
        self.send_logout(session);
        true
    }

    /// The initiator's side of a session ends by itself: what it had under way is in doubt.
    pub(crate) fn break_off(&mut self, session: usize) {
        self.trace(|_| format!("session {session} is broken off"));
        let link = self.sessions[session].link;
        self.cut(link);
        self.session_over(session);
    }

    /// A session is over for its initiator; its writes may still be under way.
    pub(crate) fn session_over(&mut self, session: usize) {
        if self.sessions[session].phase == Phase::Over {
            return;
        }
        let initiator = self.sessions[session].initiator;
        if self.sessions[session].phase == Phase::Login {
            let link = self.sessions[session].link;
            self.links[link].up.clear();
            self.initiators[initiator].haunted_until = self.now + LATE_LOGIN;
        }
        self.sessions[session].phase = Phase::Over;
        let pending = std::mem::take(&mut self.sessions[session].pending);
        for (_, pending) in pending {
            self.leave_in_doubt(initiator, &pending);
        }
        self.reservations_may_end();
        let link = self.sessions[session].link;
        self.cut(link);
        if self.initiators[initiator].current == Some(session) {
            self.initiators[initiator].current = None;
        }
    }

    /// A session ends now or soon, and its reservations with it.
    pub(crate) fn reservations_may_end(&mut self) {
        for unit in &mut self.units {
            unit.holder.unsettle();
        }
    }

    fn leave_in_doubt(&mut self, initiator: usize, pending: &Pending) {
        let mut changes = Vec::new();
        match pending {
            Pending::Command(command) => match command.kind {
                Kind::Reserve | Kind::Release => changes.push(Change::Holder(command.volume)),
                Kind::Mode { .. } => changes.push(Change::WriteCache(command.volume)),
                Kind::CompareAndWrite
                | Kind::Flush
                | Kind::Inquiry
                | Kind::Read
                | Kind::TestUnitReady
                | Kind::Unmap
                | Kind::Verify { .. }
                | Kind::Write
                | Kind::WriteAndVerify
                | Kind::WriteSame => {}
            },
            Pending::Management(management) => {
                for volume in 0..self.units.len() {
                    if management.resets(volume) {
                        let changes_state = management.resets_state();
                        changes.push(Change::Reset { volume, changes: changes_state });
                    }
                }
            }
            Pending::Logout | Pending::Nop(_) | Pending::Text => {}
        }
        self.initiators[initiator].unresolved.extend(changes);
    }

    /// The power has failed: all sessions are over, and nothing of them is in doubt.
    pub(crate) fn everybody_loses_the_connection(&mut self) {
        for session in 0..self.sessions.len() {
            self.sessions[session].phase = Phase::Over;
            self.sessions[session].pending.clear();
        }
        for link in &mut self.links {
            link.side = crate::link::Side::Gone;
            link.up_closed = true;
            link.down_closed = true;
            link.queue.clear();
            link.up.clear();
            link.down.clear();
            link.filling = None;
        }
        for initiator in &mut self.initiators {
            initiator.current = None;
            initiator.unresolved.clear();
        }
        self.live.clear();
    }

    /// A new session of an initiator is open: nothing of the older ones happens any more.
    pub(crate) fn fence_older_sessions(&mut self, initiator: usize, session: usize) {
        let now = self.tick();
        let older: Vec<u64> = self.live_ops(|s| s < session, initiator);
        for op in older {
            self.close_write(op, crate::history::End::Unknown, now);
        }
        for old in 0..session {
            if self.sessions[old].initiator == initiator {
                self.session_over(old);
            }
        }
        for change in std::mem::take(&mut self.initiators[initiator].unresolved) {
            match change {
                Change::Holder(volume) => self.units[volume].holder.end(None),
                Change::WriteCache(volume) => self.units[volume].write_cache.end(None),
                Change::Reset { volume, changes } => self.reset_ends(volume, changes, false),
            }
        }
    }

    /// Writes of an initiator's sessions that have not ended for certain.
    pub(crate) fn live_ops(&self, of: impl Fn(usize) -> bool, initiator: usize) -> Vec<u64> {
        let fits = |s: usize| self.sessions[s].initiator == initiator && of(s);
        self.live.iter().filter(|(_, l)| fits(l.session)).map(|(&op, _)| op).collect()
    }

    /// A write has ended: one way or the other it can reach the medium no more.
    pub(crate) fn close_write(&mut self, op: u64, end: crate::history::End, now: u64) {
        self.ended[size(op)] = true;
        let Some(live) = self.live.remove(&op) else { return };
        for (span, _) in live.writes {
            self.history.end(span, op, end, now);
        }
    }
}

/// How long the shards may be busy with a login, in nanoseconds.
const LATE_LOGIN: u64 = 20_000_000;

/// How long a login may take: as long as the target waits for an older session, twice the longest
/// stall of a connection, and some.
const LOGIN_TIME_MAX: u64 = 30_000_000_000;
