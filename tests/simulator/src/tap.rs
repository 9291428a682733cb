//! What is heard at a node's side of the wires: which requests have reached it, and what the
//! answers that it is about to give say has ended.

use crate::clients::{Kind, Management, Pending};
use crate::ledger::Live;
use crate::scene::{Outside, Scene};
use iscsi::pdu::{
    LoginResponse, LoginStatus, LogoutOutcome, LogoutResponse, Stage as LoginStage,
    TaskManagementFunction, TaskManagementOutcome, TaskManagementRequest, TaskManagementResponse,
};
use iscsi::{Bhs, Opcode};
use shard::{Operation, Sample};

impl Outside {
    /// A header has reached the node: notes what a reset from now on must end.
    pub(crate) fn header_arrives(&mut self, session: usize, bhs: &Bhs) {
        match bhs.opcode() {
            Opcode::ScsiCommand => {
                let tag = bhs.initiator_task_tag().0;
                let Scene { run, ledger, .. } = &mut self.scene;
                if let Some(op) = self.clients.command_arrives(session, tag, run.tick()) {
                    ledger.delivered(op, run.now);
                }
            }
            Opcode::TaskManagementRequest => self.management_arrives(session, bhs),
            Opcode::NopOut
            | Opcode::LoginRequest
            | Opcode::TextRequest
            | Opcode::DataOut
            | Opcode::LogoutRequest
            | Opcode::SnackRequest
            | Opcode::NopIn
            | Opcode::ScsiResponse
            | Opcode::TaskManagementResponse
            | Opcode::LoginResponse
            | Opcode::TextResponse
            | Opcode::DataIn
            | Opcode::LogoutResponse
            | Opcode::ReadyToTransfer
            | Opcode::AsyncMessage
            | Opcode::Reject
            | Opcode::Unknown(_) => {}
        }
    }

    fn management_arrives(&mut self, session: usize, bhs: &Bhs) {
        if self.clients.session(session).wild {
            return;
        }
        let Ok(request) = TaskManagementRequest::parse(bhs) else { return };
        let Scene { run, ledger, .. } = &mut self.scene;
        let pending = self.clients.pending_mut(session, request.initiator_task_tag.0);
        let Some(Pending::Management(asked)) = pending else { return };
        asked.delivered = run.tick();
        asked.ends = ledger.delivered_ops(|live| ends(asked, session, live));
    }

    /// The node is about to say that a reset is done.
    pub(crate) fn reset_is_answered(&mut self, session: usize, bhs: &Bhs) {
        let Ok(response) = TaskManagementResponse::parse(bhs) else { return };
        let state = self.clients.session(session);
        let tag = response.initiator_task_tag.0;
        if response.outcome != TaskManagementOutcome::FunctionComplete || state.wild {
            return;
        }
        let Some(Pending::Management(asked)) = state.pending.get(&tag) else { return };
        let asked = asked.clone();
        for volume in (0..self.scene.ledger.units.len()).filter(|&v| asked.resets(v)) {
            self.clients.unit_was_reset(volume, asked.delivered);
        }
    }

    /// The commands of which an answer says that they have ended: it may only be given when they
    /// are quiet.
    pub(crate) fn ended_by(&self, session: usize, bhs: &Bhs) -> Vec<u64> {
        match bhs.opcode() {
            Opcode::TaskManagementResponse => self.ended_by_management(session, bhs),
            Opcode::LogoutResponse => self.ended_by_logout(session, bhs),
            Opcode::LoginResponse => self.ended_by_login(session, bhs),
            Opcode::NopOut
            | Opcode::ScsiCommand
            | Opcode::TaskManagementRequest
            | Opcode::LoginRequest
            | Opcode::TextRequest
            | Opcode::DataOut
            | Opcode::LogoutRequest
            | Opcode::SnackRequest
            | Opcode::NopIn
            | Opcode::ScsiResponse
            | Opcode::TextResponse
            | Opcode::DataIn
            | Opcode::ReadyToTransfer
            | Opcode::AsyncMessage
            | Opcode::Reject
            | Opcode::Unknown(_) => Vec::new(),
        }
    }

    /// TASK SET FULL within the window is for a medium that stands still: `oldest_ns` is how long
    /// the oldest operation has been under way. It is for small pools, too, whose buffers all wait
    /// for data that stands behind what waits for a buffer, for connections that stall, and for
    /// dormant tasks.
    pub(crate) fn check_refusal(&mut self, session: usize, bhs: &Bhs, oldest_ns: u64) {
        let is_refusal = bhs.opcode() == Opcode::ScsiResponse && bhs.raw()[3] == TASK_SET_FULL;
        if !is_refusal || self.clients.session(session).wild {
            return;
        }
        self.clients.session_mut(session).was_short = true;
        let tag = bhs.initiator_task_tag().0;
        let command = self.clients.session(session).command(tag);
        let is_dormant = command.is_none_or(|command| command.may_be_dormant);
        let plan = &self.scene.run.plan;
        let stands_still = oldest_ns >= STILL_NS || plan.faults.stall > 0 || plan.has_tiny_pool();
        if !stands_still && !is_dormant {
            let text = format!("session {session}: TASK SET FULL for {tag:x} while media work");
            self.scene.run.fail(|| text);
        }
    }

    /// Each command that reaches a volume has exactly one sample: with the PDU that ends it, and
    /// its moments in order.
    pub(crate) fn check_sample(&mut self, session: usize, bhs: &Bhs, sample: Option<&Sample>) {
        let result = self.judge_sample(session, bhs, sample);
        self.scene.run.check(result);
    }

    fn judge_sample(
        &self,
        session: usize,
        bhs: &Bhs,
        sample: Option<&Sample>,
    ) -> Result<(), String> {
        let state = self.clients.session(session);
        let tag = bhs.initiator_task_tag().0;
        if !carries_status(bhs) {
            let none = sample.is_none();
            return if none { Ok(()) } else { Err(format!("{bhs:?} has the sample {sample:?}")) };
        }
        // Of a command that is over for its initiator, or may be a doubled one, nothing is known.
        let known = state.command(tag).filter(|_| !state.wild && !state.doubled.contains(&tag));
        let Some(command) = known else { return Ok(()) };
        let good = bhs.raw()[3] == 0;
        let Scene { run, ledger, .. } = &self.scene;
        let unit = ledger.units[command.volume].since(&command.look);
        let Some(sample) = sample else {
            let reaches = good && unit.mapped.is_some_and(|(mapped, _)| mapped);
            return if reaches { Err(format!("no sample: {command:?}")) } else { Ok(()) };
        };
        let delivered = ledger.live(command.op).and_then(|live| live.delivered);
        let moved = command.scsi_length.unwrap_or(0).min(command.expected.into());
        // A transfer of no blocks is answered at once, as any command that needs no medium.
        let spans = command.writes.iter().map(|(span, _)| span);
        let is_empty = spans.chain([&command.span]).all(|span| span.count == 0);
        let right = sample.volume.place() == command.volume
            && sample.fault.is_none() == good
            && (!good || is_empty || Some(sample.operation) == operation_of(command.kind))
            && (!good || command.kind != Kind::Read || u64::from(sample.bytes) == moved)
            && Some(sample.received_at.0) == delivered
            && sample.received_at <= sample.submitted_at
            && sample.submitted_at <= sample.completed_at
            && sample.completed_at.0 <= run.now;
        if right { Ok(()) } else { Err(format!("{sample:?} of {command:?}")) }
    }

    fn ended_by_management(&self, session: usize, bhs: &Bhs) -> Vec<u64> {
        let Ok(response) = TaskManagementResponse::parse(bhs) else { return Vec::new() };
        let tag = response.initiator_task_tag.0;
        // A task that does not exist is quiet too.
        let complete = response.outcome == TaskManagementOutcome::FunctionComplete
            || response.outcome == TaskManagementOutcome::TaskDoesNotExist;
        let Some(Pending::Management(asked)) = self.clients.session(session).pending.get(&tag)
        else {
            return Vec::new();
        };
        if !complete {
            return Vec::new();
        }
        let ledger = &self.scene.ledger;
        let has_unit = |op: &&u64| ledger.live(**op).is_some_and(|live| ledger.has_unit(live));
        asked.ends.iter().filter(has_unit).copied().collect()
    }

    fn ended_by_logout(&self, session: usize, bhs: &Bhs) -> Vec<u64> {
        let response = LogoutResponse::parse(bhs);
        if !response.is_ok_and(|r| r.outcome == LogoutOutcome::Closed) {
            return Vec::new();
        }
        self.scene.ledger.ops_of(|s| s == session)
    }

    fn ended_by_login(&self, session: usize, bhs: &Bhs) -> Vec<u64> {
        let Ok(response) = LoginResponse::parse(bhs) else { return Vec::new() };
        let opens = response.status == LoginStatus::Success
            && response.transit
            && response.next_stage == LoginStage::FullFeaturePhase;
        if opens { self.clients.ops_before(session, &self.scene) } else { Vec::new() }
    }
}

/// A status code (SAM-5 5.3.1).
const TASK_SET_FULL: u8 = 0x28;

/// A medium that has ended nothing for so long stands still.
const STILL_NS: u64 = 1_000_000_000;

/// Whether a PDU ends a SCSI command: a SCSI Response, or the Data-In that carries the status.
fn carries_status(bhs: &Bhs) -> bool {
    const STATUS: u8 = 0x01;
    match bhs.opcode() {
        Opcode::ScsiResponse => true,
        Opcode::DataIn => bhs.raw()[1] & STATUS != 0,
        Opcode::NopOut
        | Opcode::ScsiCommand
        | Opcode::TaskManagementRequest
        | Opcode::LoginRequest
        | Opcode::TextRequest
        | Opcode::DataOut
        | Opcode::LogoutRequest
        | Opcode::SnackRequest
        | Opcode::NopIn
        | Opcode::TaskManagementResponse
        | Opcode::LoginResponse
        | Opcode::TextResponse
        | Opcode::LogoutResponse
        | Opcode::ReadyToTransfer
        | Opcode::AsyncMessage
        | Opcode::Reject
        | Opcode::Unknown(_) => false,
    }
}

/// The kind of command that a sample must name.
const fn operation_of(kind: Kind) -> Option<Operation> {
    match kind {
        Kind::Read => Some(Operation::Read),
        Kind::OrWrite | Kind::Write | Kind::WriteAndVerify => Some(Operation::Write),
        Kind::Flush => Some(Operation::Flush),
        Kind::WriteSame | Kind::Unmap => Some(Operation::Space),
        Kind::CompareAndWrite | Kind::Verify { .. } => Some(Operation::Compare),
        Kind::Inquiry | Kind::Mode { .. } | Kind::Release | Kind::Reserve | Kind::TestUnitReady => {
            Some(Operation::Other)
        }
    }
}

/// Whether a task management function has to end a command that reached the target before it.
fn ends(asked: &Management, session: usize, live: &Live) -> bool {
    match asked.function {
        TaskManagementFunction::AbortTask => {
            live.session == session && live.tag == asked.referenced
        }
        TaskManagementFunction::AbortTaskSet | TaskManagementFunction::ClearTaskSet => {
            live.session == session && live.volume == asked.volume && !live.immediate
        }
        TaskManagementFunction::LogicalUnitReset | TaskManagementFunction::TargetWarmReset => {
            asked.resets(live.volume)
        }
        TaskManagementFunction::ClearAca
        | TaskManagementFunction::TargetColdReset
        | TaskManagementFunction::TaskReassign
        | TaskManagementFunction::QueryTask
        | TaskManagementFunction::QueryTaskSet
        | TaskManagementFunction::ItNexusReset
        | TaskManagementFunction::QueryAsynchronousEvent
        | TaskManagementFunction::Unknown(_) => false,
    }
}
