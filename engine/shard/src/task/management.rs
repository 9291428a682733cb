//! Task management (RFC 7143 11.5, SAM-5 7): a function is answered only when what it ends has
//! really ended, at the medium too.

use crate::message::{Job, Ticket};
use crate::session::Session;
use crate::session::Stamp;
use crate::session::connection::{Connection, Phase};
use crate::task::steps::ask_home;
use crate::task::tasks::{Neighbours, Tasks};
use crate::task::waiting::Then;
use crate::task::work::{Planned, Work};
use crate::task::{Phase as TaskPhase, Reach, Request, Task};
use crate::turn::Turn;
use iscsi::pdu::{
    RejectReason, TaskManagementFunction as Function, TaskManagementOutcome as Outcome,
    TaskManagementRequest, TaskManagementResponse,
};
use units::{ConnId, Key, VolumeId};

impl Tasks {
    /// A task management function request.
    pub(crate) fn handle_management(
        &mut self,
        conn: ConnId,
        request: &TaskManagementRequest,
        neighbours: &mut Neighbours<'_>,
        turn: &mut Turn<'_>,
    ) {
        // The session may have ended since the header came.
        let Some(Connection { phase: Phase::FullFeature(session), header, .. }) =
            neighbours.sessions.get_mut(conn)
        else {
            return;
        };
        if session.tags.find(request.initiator_task_tag).is_some() {
            // The tag is in use (RFC 7143 11.17.1).
            session.retire(request.immediate);
            session.reject(header, RejectReason::TaskInProgress, turn);
            return;
        }
        let volume = request.lun.number().and_then(|n| session.mapping(n)).map(|m| m.volume);
        if self.is_full() {
            session.retire(request.immediate);
            return respond(session, request.initiator_task_tag, Outcome::FunctionRejected, turn);
        }
        let key = self.insert(|| management_task(conn, request, volume, turn));
        self.get_mut(key).tag_place = session.tags.insert(request.initiator_task_tag, key);
        let asker = Ticket { reactor: turn.cores.own, task: key };
        match self.targets_of(asker, request, session) {
            Targets::None(outcome) => {
                let then = Then::AnswerManagement { task: key, outcome };
                self.when_quiet(&[], then, turn);
            }
            Targets::Tasks(tasks) => {
                self.abort(&tasks, neighbours, turn);
                let outcome = Outcome::FunctionComplete;
                self.when_quiet(&tasks, Then::AnswerManagement { task: key, outcome }, turn);
            }
            Targets::Unit(volume, job) => {
                self.visit(key, neighbours, turn, |task, reach| {
                    ask_home(task, volume, job, reach);
                });
            }
            Targets::AllUnits { orphans } => {
                self.abort(&orphans, neighbours, turn);
                self.when_quiet(&orphans, Then::ResetTarget { task: key }, turn);
            }
        }
    }

    /// What a function ends.
    fn targets_of(
        &self,
        asker: Ticket,
        request: &TaskManagementRequest,
        session: &Session,
    ) -> Targets {
        let volume = self.get(asker.task).and_then(|task| task.volume);
        match request.function {
            Function::AbortTask => self.task_to_abort(request, session),
            Function::AbortTaskSet | Function::ClearTaskSet if volume.is_none() => {
                Targets::None(Outcome::LunDoesNotExist)
            }
            // Each nexus has a task set of its own (TST 001b), so the two do the same.
            Function::AbortTaskSet | Function::ClearTaskSet => {
                Targets::Tasks(self.which(|_, task| {
                    task.conn == Some(session.conn)
                        && task.lun == request.lun
                        && task.cmd_sn.is_before(request.cmd_sn)
                        && !matches!(task.work, Work::Management)
                }))
            }
            Function::LogicalUnitReset => match volume {
                Some(volume) => Targets::Unit(volume, Job::Reset { asker }),
                None => Targets::None(Outcome::LunDoesNotExist),
            },
            Function::TargetWarmReset => {
                // Tasks of LUNs that the target maps no longer have no unit that could be reset, so
                // they are ended first.
                let volumes = target_volumes(session);
                Targets::AllUnits {
                    orphans: self.which(|k, task| {
                        task.conn == Some(session.conn)
                            && k != asker.task
                            && task.volume.is_some_and(|v| !volumes.contains(&v))
                    }),
                }
            }
            Function::TaskReassign => Targets::None(Outcome::TaskReassignmentNotSupported),
            Function::ClearAca
            | Function::TargetColdReset
            | Function::QueryTask
            | Function::QueryTaskSet
            | Function::ItNexusReset
            | Function::QueryAsynchronousEvent
            | Function::Unknown(_) => Targets::None(Outcome::FunctionNotSupported),
        }
    }

    /// ABORT TASK (RFC 7143 11.5.1). On one connection commands come in order, so a task that
    /// is not there has been answered or aborted, or was never sent.
    fn task_to_abort(&self, request: &TaskManagementRequest, session: &Session) -> Targets {
        let tag = request.referenced_task_tag;
        // Another function may have aborted it already, and wait for it like this one.
        let is_aborted = |task: &Task| {
            task.conn == Some(session.conn)
                && task.tag == tag
                && task.aborted
                && task.has_operation()
        };
        let found = session.tags.find(tag);
        let found = found.or_else(|| self.which(|_, task| is_aborted(task)).first().copied());
        let fits = |task: &Task| task.lun == request.lun && !matches!(task.work, Work::Management);
        match found.filter(|&key| self.get(key).is_some_and(fits)) {
            Some(task) => Targets::Tasks(vec![task]),
            None => Targets::None(Outcome::TaskDoesNotExist),
        }
    }

    /// Handles [`Then::ResetTarget`]: asks for the reset of each logical unit of the target.
    pub(crate) fn reset_target(
        &mut self,
        key: Key,
        neighbours: &mut Neighbours<'_>,
        turn: &mut Turn<'_>,
    ) {
        self.visit(key, neighbours, turn, |task, reach| {
            let volumes = reach.session.as_deref().map(target_volumes).unwrap_or_default();
            if volumes.is_empty() {
                return answer(task, Outcome::FunctionComplete, reach);
            }
            let asker = reach.ticket();
            for volume in volumes {
                ask_home(task, volume, Job::Reset { asker }, reach);
            }
        });
    }

    /// Handles [`Then::AnswerManagement`].
    pub(crate) fn answer_management(
        &mut self,
        key: Key,
        outcome: Outcome,
        neighbours: &mut Neighbours<'_>,
        turn: &mut Turn<'_>,
    ) {
        self.visit(key, neighbours, turn, |task, reach| answer(task, outcome, reach));
    }
}

/// What a task management function has to end before it is answered.
enum Targets {
    /// Nothing: this is the answer.
    None(Outcome),
    /// Tasks of the session.
    Tasks(Vec<Key>),
    /// What a job of the logical unit's home ends.
    Unit(VolumeId, Job),
    /// Everything at the target: these tasks, and then every logical unit.
    AllUnits { orphans: Vec<Key> },
}

/// A job of a task management function has ended; after the last one comes the answer.
pub(crate) fn job_ended(task: &mut Task, reach: &mut Reach<'_, '_>) {
    if !task.has_job() {
        answer(task, Outcome::FunctionComplete, reach);
    }
}

/// Answers a task management function. Its response follows all earlier ones of the connection,
/// because they are queued in order.
fn answer(task: &mut Task, outcome: Outcome, reach: &mut Reach<'_, '_>) {
    assert!(task.phase != TaskPhase::Finished, "a function is answered once");
    task.phase = TaskPhase::Finished;
    task.untag(reach);
    // The session may have ended meanwhile: then nobody waits for the answer.
    if let Some(session) = reach.session.as_deref_mut() {
        respond(session, task.tag, outcome, reach.turn);
    }
}

fn respond(
    session: &mut Session,
    tag: iscsi::InitiatorTaskTag,
    outcome: Outcome,
    turn: &mut Turn<'_>,
) {
    let Stamp { stat_sn, exp_cmd_sn, max_cmd_sn } = session.stamp();
    let mut header = [0; 48];
    TaskManagementResponse { outcome, initiator_task_tag: tag, stat_sn, exp_cmd_sn, max_cmd_sn }
        .emit(&mut header);
    session.send(header, Vec::new(), turn);
}

/// The volumes behind the LUNs of a session's target.
fn target_volumes(session: &Session) -> Vec<VolumeId> {
    session.target().iter().flat_map(|t| t.luns.values().map(|m| m.volume)).collect()
}

/// The task that stands for a task management function while it is under way.
fn management_task(
    conn: ConnId,
    request: &TaskManagementRequest,
    volume: Option<VolumeId>,
    turn: &Turn<'_>,
) -> Task {
    let request = Request {
        conn,
        tag: request.initiator_task_tag,
        lun: request.lun,
        cmd_sn: request.cmd_sn,
        immediate: request.immediate,
        expected_data_transfer_length: 0,
    };
    let planned = Planned::simple(Work::Management, 0);
    Task { phase: TaskPhase::Executing, ..Task::new(request, volume, planned, turn.now) }
}
