//! The initiators: what each does next.

mod answers;
mod attentions;
mod command;
mod compose;
mod garbage;
mod hear;
mod hostile;
mod offer;
mod patience;
mod send;
mod session;
mod sessions;

pub(crate) use command::{Command, Kind, Management, Pending};
pub(crate) use session::Session;

use crate::ledger::{Span, Tick};
use crate::plan::Hostility;
use crate::run::{Event, Run, Stage};
use crate::scene::Scene;
use compose::Composer;
use garbage::Prankster;
use hostile::Attacker;
use iscsi::pdu::TaskManagementFunction;
use offer::transfer_max;
use patience::Patience;
use send::Wish;
use session::Phase;
use units::limits;

/// One initiator port.
#[derive(Debug)]
struct Initiator {
    /// What it does before things calm down.
    acts_left: u64,
    /// Its session.
    current: Option<usize>,
    /// Until then a login that was given up may still displace a later session.
    haunted_until: u64,
    /// It does not try to log in earlier.
    not_before: u64,
    /// How often in a row it had nothing to do.
    idle: u32,
    /// Changes of units that its lost sessions have asked for.
    unresolved: Vec<Change>,
    /// How it attacks, if it is hostile.
    hostility: Option<Hostility>,
    /// It begins nothing new earlier.
    rests_until: u64,
    patience: Patience,
}

/// A change of a logical unit's state that may still come.
#[derive(Clone, Copy, Debug)]
enum Change {
    Holder(usize),
    WriteCache(usize),
    /// A reset is under way.
    Reset(usize),
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

/// What the audit reads next.
#[derive(Clone, Copy, Debug)]
struct Audit {
    volume: usize,
    sector: u64,
}

/// All initiators with all their sessions.
pub(crate) struct Clients {
    initiators: Vec<Initiator>,
    sessions: Vec<Session>,
    /// What the audit reads next; `None` once it has read everything.
    audit: Option<Audit>,
    /// The audit has met a reservation.
    audit_conflicts: bool,
}

impl Clients {
    pub(crate) fn new(run: &mut Run) -> Self {
        let acts = run.plan.acts;
        let initiator = |hostility: Option<Hostility>| Initiator {
            acts_left: if hostility.is_some() { 0 } else { acts },
            current: None,
            haunted_until: 0,
            not_before: 0,
            idle: 0,
            unresolved: Vec::new(),
            hostility,
            rests_until: 0,
            patience: Patience::default(),
        };
        let honest = std::iter::repeat_n(None, run.plan.initiators);
        let hostile = run.plan.hostile.iter().copied().map(Some);
        let initiators: Vec<_> = honest.chain(hostile).map(initiator).collect();
        for initiator in 0..initiators.len() {
            let delay = run.rng.below(1_000_000);
            run.after(delay, Event::Act { initiator });
        }
        let audit = Some(Audit { volume: 0, sector: 0 });
        Self { initiators, sessions: Vec::new(), audit, audit_conflicts: false }
    }

    /// The session of a number.
    pub(crate) fn session(&self, session: usize) -> &Session {
        &self.sessions[session]
    }

    /// The session of a number, to change it.
    pub(crate) fn session_mut(&mut self, session: usize) -> &mut Session {
        &mut self.sessions[session]
    }

    /// A request of a session that has no answer yet.
    pub(crate) fn pending_mut(&mut self, session: usize, tag: u32) -> Option<&mut Pending> {
        self.sessions[session].pending.get_mut(&tag)
    }

    /// A command of a session has reached the target; returns its number in the record.
    pub(crate) fn command_arrives(&mut self, session: usize, tag: u32, now: Tick) -> Option<u64> {
        let state = &mut self.sessions[session];
        let command = state.pending.get_mut(&tag).and_then(Pending::command_mut)?;
        let cdb = &command.cdb;
        if !state.wild && state.attentions.command_arrives(command.volume, cdb, now) {
            command.must_report = true;
        }
        Some(command.op)
    }

    /// A reset of a volume that reached the target at `since` is done: every session is to be
    /// told.
    pub(crate) fn unit_was_reset(&mut self, volume: usize, since: Tick) {
        for session in self.sessions.iter_mut().filter(|s| s.phase == Phase::Full) {
            session.attentions.reset(volume, since);
        }
    }

    /// The number of the initiator that a session is of.
    pub(crate) fn initiator_of(&self, session: usize) -> usize {
        self.sessions[session].initiator
    }

    /// Whether a session is part of an attack: what comes back is not checked.
    fn is_attacking(&self, session: usize) -> bool {
        let state = &self.sessions[session];
        state.wild && self.initiators[state.initiator].hostility.is_some()
    }

    /// Whether all initiators have done what they wanted to.
    pub(crate) fn have_acted(&self) -> bool {
        self.initiators.iter().all(|i| i.acts_left == 0)
    }

    /// Whether nothing of any initiator that keeps the rules is under way.
    pub(crate) fn are_settled(&self) -> bool {
        let mut honest = self.initiators.iter().filter(|i| i.hostility.is_none());
        honest.all(|i| i.current.is_some_and(|s| self.sessions[s].settled))
    }

    /// Whether everything has been read.
    pub(crate) const fn are_audited(&self) -> bool {
        self.audit.is_none()
    }

    /// Whether all sessions are over.
    pub(crate) fn are_gone(&self) -> bool {
        self.sessions.iter().all(|s| s.phase == Phase::Over)
    }

    /// What has not ended.
    pub(crate) fn outstanding(&self) -> String {
        let open = self.sessions.iter().filter(|s| s.phase != Phase::Over);
        open.map(Session::outstanding).collect()
    }

    /// An initiator's turn.
    pub(crate) fn act(&mut self, initiator: usize, scene: &mut Scene) {
        if let Some(hostility) = self.initiators[initiator].hostility {
            return Attacker { clients: self, scene, initiator, hostility }.act();
        }
        patience::check(self, initiator, scene);
        let did = match self.initiators[initiator].current {
            None if scene.run.stage >= Stage::Farewell => return,
            None if scene.run.now < self.initiators[initiator].not_before => false,
            None => {
                self.log_in(initiator, scene);
                true
            }
            Some(session) => match self.sessions[session].phase {
                Phase::Login | Phase::LoggingOut => self.may_lose_patience(session, scene),
                Phase::Full => self.act_in(session, scene),
                Phase::Over => {
                    self.initiators[initiator].current = None;
                    true
                }
            },
        };
        let state = &mut self.initiators[initiator];
        state.idle = if did { 0 } else { (state.idle + 1).min(13) };
        let delay = 3_000_u64 << state.idle;
        let delay = delay / 2 + scene.run.rng.below(delay);
        scene.run.after(delay, Event::Act { initiator });
    }

    fn may_lose_patience(&mut self, session: usize, scene: &mut Scene) -> bool {
        let state = &self.sessions[session];
        if state.phase == Phase::Login && scene.run.now - state.began > LOGIN_TIME_MAX {
            // However long an operation of an older session hangs.
            scene.run.fail_stuck(|| format!("session {session}: no answer to a login"));
        }
        let chaos = scene.run.is_chaos() && scene.run.plan.weights.cut > 0;
        if chaos && scene.run.rng.chance(10) {
            self.break_off(session, scene);
        }
        false
    }

    fn act_in(&mut self, session: usize, scene: &mut Scene) -> bool {
        if self.sessions[session].wild {
            // Nobody knows any more what the numbers are.
            if !scene.run.is_chaos() || scene.run.rng.chance(200) {
                self.break_off(session, scene);
            }
            return true;
        }
        if self.sessions[session].logout_asked && self.answer_the_wish(session, scene) {
            return true;
        }
        let has_data = self.sessions[session].has_data_to_send();
        if has_data && (!scene.run.is_chaos() || scene.run.rng.chance(650)) {
            self.sessions[session].send_data_out(scene);
            return true;
        }
        match scene.run.stage {
            Stage::Chaos => self.act_in_chaos(session, scene) || has_data,
            Stage::Drain => self.act_in_drain(session, scene),
            Stage::Audit => self.act_in_audit(session, scene),
            Stage::Farewell => self.act_in_farewell(session, scene),
            Stage::Over => false,
        }
    }

    /// The target has asked for a logout: most initiators do it.
    fn answer_the_wish(&mut self, session: usize, scene: &mut Scene) -> bool {
        let state = &mut self.sessions[session];
        if state.ignored_shutdown {
            return false;
        }
        state.ignored_shutdown = scene.run.rng.chance(300);
        if state.ignored_shutdown {
            return false;
        }
        state.send_logout(scene);
        true
    }

    fn act_in_chaos(&mut self, session: usize, scene: &mut Scene) -> bool {
        let initiator = self.initiator_of(session);
        let state = &self.initiators[initiator];
        if state.acts_left == 0 || scene.run.now < state.rests_until {
            return false;
        }
        if scene.run.rng.chance(scene.run.plan.faults.cut) {
            self.break_off(session, scene);
            return true;
        }
        let Some(choice) = choose(&mut scene.run) else { return false };
        let did = self.carry_out(session, choice, scene);
        if did {
            let state = &mut self.initiators[initiator];
            state.acts_left -= 1;
            if !scene.run.plan.hostile.is_empty() && scene.run.rng.chance(RESTS) {
                // Attacks take time to tell.
                state.rests_until = scene.run.now + scene.run.rng.below(REST_NS_MAX);
            }
        }
        did
    }

    fn carry_out(&mut self, session: usize, choice: Choice, scene: &mut Scene) -> bool {
        let state = &mut self.sessions[session];
        match choice {
            Choice::Command(kind) => try_command(state, kind, scene),
            Choice::Nop => state.send_nop(scene),
            Choice::Text => state.send_text(scene),
            Choice::Abort => self.abort_something(session, scene),
            Choice::Reset => self.reset_something(session, scene),
            Choice::Garbage => Prankster { session: state, scene }.send_garbage(),
            Choice::Logout => {
                state.send_logout(scene);
                true
            }
            Choice::Reinstate => {
                // The old connection is left as it is: the target is to end it.
                let initiator = state.initiator;
                scene.run.report.reinstatements += 1;
                self.log_in(initiator, scene);
                true
            }
            Choice::Cut => {
                self.break_off(session, scene);
                true
            }
        }
    }

    fn abort_something(&mut self, session: usize, scene: &mut Scene) -> bool {
        let tags = self.sessions[session].abortable(|_| true);
        if tags.is_empty() || self.sessions[session].immediate_count() > 12 {
            return false;
        }
        let referenced = scene.run.rng.pick(&tags);
        let set = scene.run.rng.chance(150);
        let function = if !set {
            TaskManagementFunction::AbortTask
        } else if scene.run.rng.chance(500) {
            TaskManagementFunction::AbortTaskSet
        } else {
            TaskManagementFunction::ClearTaskSet
        };
        self.manage(session, Wish { function, referenced, volume: 0 }, scene);
        true
    }

    fn reset_something(&mut self, session: usize, scene: &mut Scene) -> bool {
        if self.sessions[session].immediate_count() > 12 {
            return false;
        }
        let function = scene.run.rng.pick(&[
            TaskManagementFunction::LogicalUnitReset,
            TaskManagementFunction::LogicalUnitReset,
            TaskManagementFunction::TargetWarmReset,
        ]);
        let volume = scene.run.rng.place(scene.run.plan.volumes.len());
        self.manage(session, Wish { function, referenced: NO_TASK, volume }, scene);
        true
    }

    /// Nothing new: what is under way ends, and what a reset may have ended is asked after.
    fn act_in_drain(&mut self, session: usize, scene: &mut Scene) -> bool {
        let state = &mut self.sessions[session];
        if state.settled {
            return false;
        }
        if state.pending.is_empty() && state.was_short && has_narrow_window(state) {
            return widen_window(state, scene);
        }
        if state.pending.is_empty() {
            // Its answer shows the whole window.
            let sent = state.send_nop(scene);
            state.last_ping = Some(state.next_tag);
            return sent;
        }
        match state.abortable(|c| c.maybe_aborted).first() {
            Some(&referenced) if state.immediate_count() <= 12 => {
                let function = TaskManagementFunction::AbortTask;
                self.manage(session, Wish { function, referenced, volume: 0 }, scene);
                true
            }
            Some(_) | None => false,
        }
    }

    /// The first initiator reads all volumes from their first to their last block.
    fn act_in_audit(&mut self, session: usize, scene: &mut Scene) -> bool {
        let state = &mut self.sessions[session];
        if state.initiator != 0 || !state.pending.is_empty() {
            return false;
        }
        let Some(Audit { volume, sector }) = self.audit else { return false };
        let end = scene.admin.sectors(volume);
        if sector >= end || !scene.admin.is_mapped(volume) {
            let next = Audit { volume: volume + 1, sector: 0 };
            self.audit = (next.volume < scene.run.plan.volumes.len()).then_some(next);
            return true;
        }
        if std::mem::take(&mut self.audit_conflicts) {
            // A reservation that somebody has left behind.
            let function = TaskManagementFunction::LogicalUnitReset;
            self.manage(session, Wish { function, referenced: NO_TASK, volume }, scene);
            return true;
        }
        let per_block = scene.run.plan.volumes[volume].sectors_per_block();
        let most = transfer_max(&state.terms);
        let most = (most / crate::sectors::SECTOR_BYTES / per_block).clamp(1, 512) * per_block;
        let span = Span { volume, first: sector, count: most.min(end - sector) };
        let command = Composer { terms: &state.terms, scene }.compose_audit(span);
        state.send_command(command, scene);
        true
    }

    /// A part of the audit has been read.
    fn audited(&mut self, span: Span, stage: Stage) {
        if let Some(Audit { volume, sector }) = self.audit
            && stage == Stage::Audit
            && volume == span.volume
            && sector == span.first
        {
            self.audit = Some(Audit { volume, sector: sector + span.count });
        }
    }

    fn act_in_farewell(&mut self, session: usize, scene: &mut Scene) -> bool {
        let state = &mut self.sessions[session];
        if scene.run.plan.shutdown || !state.pending.is_empty() {
            return false;
        }
        state.send_logout(scene);
        true
    }

    /// Asks for a task management function. A reset may end the tasks of others without a word
    /// to them.
    fn manage(&mut self, session: usize, wish: Wish, scene: &mut Scene) {
        let asked = self.sessions[session].send_management(wish, scene);
        for volume in (0..scene.ledger.units.len()).filter(|&v| asked.resets(v)) {
            scene.ledger.begin_reset(volume);
            let commands = self.sessions.iter_mut().flat_map(Session::commands_mut);
            for command in commands.filter(|c| c.volume == volume) {
                command.maybe_aborted = true;
            }
        }
    }
}

fn choose(run: &mut Run) -> Option<Choice> {
    let w = run.plan.weights;
    run.rng.weighted(&[
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
        (w.or_write, Choice::Command(Kind::OrWrite)),
        (w.garbage, Choice::Garbage),
    ])
}

fn try_command(session: &mut Session, kind: Kind, scene: &mut Scene) -> bool {
    if session.depth() >= scene.run.plan.queue_depth || !session.window_is_open() {
        return false;
    }
    let command = Composer { terms: &session.terms, scene }.compose(kind);
    session.send_command(command, scene);
    true
}

fn has_narrow_window(session: &Session) -> bool {
    session.window_free() < limits::COMMAND_WINDOW_MAX
}

/// Sends a command that needs no buffer: each that ends must open a window that was narrowed.
fn widen_window(session: &mut Session, scene: &mut Scene) -> bool {
    session.widening += 1;
    // At first what was granted before is used up, and then one place more is granted each time.
    if session.widening > 2 * limits::COMMAND_WINDOW_MAX {
        let (number, free) = (session.number, session.window_free());
        scene.run.fail(|| format!("session {number}: the window of {free} does not open again"));
    }
    let mut command = Composer { terms: &session.terms, scene }.compose(Kind::TestUnitReady);
    command.immediate = false;
    session.send_command(command, scene);
    true
}

/// The task tag of a request that is about no task.
const NO_TASK: u32 = u32::MAX;

/// How long a login may take: as long as the target waits for an older session, twice the longest
/// stall of a connection, and some.
const LOGIN_TIME_MAX: u64 = 30_000_000_000;

/// How often an initiator rests while others attack, in a thousand, and how long.
const RESTS: u64 = 30;
const REST_NS_MAX: u64 = 10_000_000_000;
