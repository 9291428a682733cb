//! Task management (RFC 7143 11.5, SAM-5 7): a function is answered only when what it ends has
//! really ended, at the backend too.

use crate::action::{Action, SendData};
use crate::message::{Job, Note, Ticket};
use crate::shard::{Shard, Turn};
use crate::task::{DataInState, DataOutState, Phase, Task, Work};
use crate::wait::Then;
use iscsi::pdu::{
    TaskManagementFunction, TaskManagementOutcome, TaskManagementRequest, TaskManagementResponse,
};
use units::{ConnId, Key, VolumeId, limits};
use volume::ByteRange;

impl Shard {
    /// A task management function request.
    pub(crate) fn task_management(
        &mut self,
        conn: ConnId,
        request: &TaskManagementRequest,
        turn: &mut Turn<'_>,
    ) {
        let known = self.session_mut(conn).map(|s| s.tags.find(request.initiator_task_tag));
        if known != Some(None) {
            // The tag is in use (RFC 7143 11.17.1), or the session is gone.
            self.retire(conn, request.immediate);
            let header = self.connections.get(conn.0).map(|c| c.header);
            if let Some(header) = header {
                let reason = iscsi::pdu::RejectReason::TaskInProgress;
                self.reject(conn, &header, reason, turn);
            }
            return;
        }
        let volume = self.mapping(conn, request.lun).map(|m| m.volume);
        let arrival = self.next_arrival();
        let task = Task { arrival, ..management_task(conn, request, volume, turn) };
        let Ok(key) = self.tasks.insert(task) else {
            self.retire(conn, request.immediate);
            return self.send_management_response(
                conn,
                request.initiator_task_tag,
                TaskManagementOutcome::FunctionRejected,
                turn,
            );
        };
        if let Some(session) = self.session_mut(conn) {
            session.tags.insert(request.initiator_task_tag, key);
        }
        self.manage(conn, key, request, turn);
    }

    fn manage(
        &mut self,
        conn: ConnId,
        key: Key,
        request: &TaskManagementRequest,
        turn: &mut Turn<'_>,
    ) {
        use TaskManagementOutcome as Outcome;
        let volume = self.tasks.get(key).and_then(|t| t.volume);
        let nexus = self.session_mut(conn).and_then(|s| s.nexus().cloned());
        match request.function {
            TaskManagementFunction::AbortTask => self.abort_task(conn, key, request, turn),
            TaskManagementFunction::AbortTaskSet => {
                if volume.is_none() {
                    return self.answer_management(key, Outcome::LunDoesNotExist, turn);
                }
                let tasks = self.session_tasks(conn);
                let of_lun = |k: &Key| {
                    self.tasks.get(*k).is_some_and(|t| {
                        t.lun == request.lun
                            && t.cmd_sn.is_before(request.cmd_sn)
                            && !matches!(t.work, Work::Management)
                    })
                };
                let tasks: Vec<Key> = tasks.into_iter().filter(of_lun).collect();
                self.abort_and_answer(tasks, key, turn);
            }
            TaskManagementFunction::ClearTaskSet | TaskManagementFunction::LogicalUnitReset => {
                let (Some(volume), Some(by)) = (volume, nexus) else {
                    return self.answer_management(key, Outcome::LunDoesNotExist, turn);
                };
                let clears = request.function == TaskManagementFunction::ClearTaskSet;
                let asker = Ticket { reactor: self.id, task: key };
                let job =
                    if clears { Job::ClearTaskSet { by, asker } } else { Job::Reset { asker } };
                self.ask_for(volume, Some(key), job, turn);
            }
            TaskManagementFunction::TargetWarmReset => {
                self.reset_target(conn, key, turn);
            }
            TaskManagementFunction::TaskReassign => {
                self.answer_management(key, Outcome::TaskReassignmentNotSupported, turn);
            }
            TaskManagementFunction::ClearAca
            | TaskManagementFunction::TargetColdReset
            | TaskManagementFunction::QueryTask
            | TaskManagementFunction::QueryTaskSet
            | TaskManagementFunction::ItNexusReset
            | TaskManagementFunction::QueryAsynchronousEvent
            | TaskManagementFunction::Unknown(_) => {
                self.answer_management(key, Outcome::FunctionNotSupported, turn);
            }
        }
    }

    /// ABORT TASK (RFC 7143 11.5.1). On one connection commands come in order, so a task that
    /// is not there has been answered or aborted, or was never sent.
    fn abort_task(
        &mut self,
        conn: ConnId,
        key: Key,
        request: &TaskManagementRequest,
        turn: &mut Turn<'_>,
    ) {
        use TaskManagementOutcome as Outcome;
        let tag = request.referenced_task_tag;
        let found = self.session_mut(conn).and_then(|s| s.tags.find(tag));
        // Another function may have aborted it already, and wait for it like this one.
        let aborted = |t: &Task| t.conn == Some(conn) && t.tag == tag && t.aborted;
        let found = found.or_else(|| {
            self.tasks.iter().find(|(_, t)| aborted(t) && t.io_in_flight > 0).map(|(k, _)| k)
        });
        let matches = |t: &Task| t.lun == request.lun && !matches!(t.work, Work::Management);
        match found.filter(|&k| self.tasks.get(k).is_some_and(matches)) {
            Some(task) => self.abort_and_answer(vec![task], key, turn),
            None => self.answer_management(key, Outcome::TaskDoesNotExist, turn),
        }
    }

    fn abort_and_answer(&mut self, tasks: Vec<Key>, key: Key, turn: &mut Turn<'_>) {
        self.abort_tasks(&tasks, turn);
        let outcome = TaskManagementOutcome::FunctionComplete;
        self.when_quiet(tasks, Then::AnswerManagement { task: key, outcome }, turn);
    }

    /// TARGET WARM RESET: resets all logical units of the target. Tasks of LUNs that it maps no
    /// longer have none that could be reset, so they are ended first.
    fn reset_target(&mut self, conn: ConnId, key: Key, turn: &mut Turn<'_>) {
        let volumes = self.target_volumes(conn);
        let orphans: Vec<Key> = self
            .session_tasks(conn)
            .into_iter()
            .filter(|&k| {
                let volume = self.tasks.get(k).and_then(|t| t.volume);
                k != key && volume.is_some_and(|v| !volumes.contains(&v))
            })
            .collect();
        self.abort_tasks(&orphans, turn);
        self.when_quiet(orphans, Then::ResetTarget { conn, task: key }, turn);
    }

    /// The volumes behind the LUNs of a session's target.
    fn target_volumes(&mut self, conn: ConnId) -> Vec<VolumeId> {
        let target = self.session_mut(conn).and_then(|s| s.target());
        target.iter().flat_map(|t| t.luns.values().map(|m| m.volume)).collect()
    }

    /// Asks for the reset of each logical unit of a target.
    pub(crate) fn reset_units(&mut self, conn: ConnId, key: Key, turn: &mut Turn<'_>) {
        let volumes = self.target_volumes(conn);
        // Held up until all are asked: with one reactor an answer comes within the call.
        if let Some(task) = self.tasks.get_mut(key) {
            task.jobs_in_flight += 1;
        }
        let asker = Ticket { reactor: self.id, task: key };
        for volume in volumes {
            self.ask_for(volume, Some(key), Job::Reset { asker }, turn);
        }
        if let Some(task) = self.tasks.get_mut(key) {
            task.jobs_in_flight -= 1;
        }
        self.management_job_ended(key, turn);
    }

    /// A job of a task management function has ended; after the last one comes the answer.
    pub(crate) fn management_job_ended(&mut self, key: Key, turn: &mut Turn<'_>) {
        let Some(task) = self.tasks.get(key) else { return };
        if task.jobs_in_flight == 0 {
            self.answer_management(key, TaskManagementOutcome::FunctionComplete, turn);
        }
    }

    /// Answers a task management function. Its response follows all earlier ones of the
    /// connection, because they are queued in order.
    pub(crate) fn answer_management(
        &mut self,
        key: Key,
        outcome: TaskManagementOutcome,
        turn: &mut Turn<'_>,
    ) {
        let Some(task) = self.tasks.get_mut(key) else { return };
        let (conn, tag, aborted) = (task.conn, task.tag, task.aborted);
        let finished = task.phase == Phase::Finished;
        task.phase = Phase::Finished;
        if !finished {
            self.untag(key);
        }
        if let Some(conn) = conn
            && !aborted
        {
            self.send_management_response(conn, tag, outcome, turn);
        }
        self.let_go(key, turn);
    }

    fn send_management_response(
        &mut self,
        conn: ConnId,
        tag: iscsi::InitiatorTaskTag,
        outcome: TaskManagementOutcome,
        turn: &mut Turn<'_>,
    ) {
        let Some(session) = self.session_mut(conn) else { return };
        let mut header = [0; 48];
        TaskManagementResponse {
            outcome,
            initiator_task_tag: tag,
            stat_sn: session.stat_sn.take_next(),
            exp_cmd_sn: session.window.exp_cmd_sn(),
            max_cmd_sn: session.window.max_cmd_sn(),
        }
        .emit(&mut header);
        turn.push(Action::Send { conn, header, data: SendData::None, sample: None });
    }

    /// Ends tasks without a response: no more data is asked for or taken, and what is at the
    /// backend is only waited for.
    pub(crate) fn abort_tasks(&mut self, tasks: &[Key], turn: &mut Turn<'_>) {
        for &key in tasks {
            let Some(task) = self.tasks.get_mut(key) else { continue };
            if task.phase == Phase::Finished || matches!(task.work, Work::Management) {
                continue;
            }
            task.aborted = true;
            task.phase = Phase::Finished;
            let asked = task.volume.filter(|_| task.jobs_in_flight > 0);
            self.untag(key);
            if let Some(volume) = asked {
                let ticket = Ticket { reactor: self.id, task: key };
                self.post(self.home_of(volume), Note::Cancel { volume, ticket }, turn);
            }
            self.let_go(key, turn);
        }
    }
}

/// The task that stands for a task management function while it is under way.
fn management_task(
    conn: ConnId,
    request: &TaskManagementRequest,
    volume: Option<units::VolumeId>,
    turn: &Turn<'_>,
) -> Task {
    Task {
        conn: Some(conn),
        tag: request.initiator_task_tag,
        lun: request.lun,
        volume,
        cmd_sn: request.cmd_sn,
        immediate: request.immediate,
        expected_data_transfer_length: 0,
        operation: crate::operation::Operation::Other,
        work: Work::Management,
        scsi_length: 0,
        range: ByteRange { offset: 0, len: 0 },
        phase: Phase::Executing,
        data_out: DataOutState::default(),
        data_in: DataInState::default(),
        cursor: 0,
        bursts: [None; limits::BURSTS_PER_TASK_MAX],
        is_hungry: false,
        on_wire: 0,
        io_in_flight: 0,
        jobs_in_flight: 0,
        fault: None,
        aborted: false,
        holds_range: false,
        arrival: 0,
        received_at: turn.now,
        submitted_at: None,
        completed_at: turn.now,
    }
}
