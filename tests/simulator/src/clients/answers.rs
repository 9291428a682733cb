//! What initiators receive, and what follows from it for all of them.

use super::command::{Command, Management, Pending};
use super::hear::{Numbers, Pdu};
use super::session::Phase;
use super::{Clients, Kind, hostile};
use crate::Canary;
use crate::ledger::{Answer, End, Ledger, ResetState};
use crate::scene::Scene;
use crate::wires::Delivery;
use iscsi::pdu::{
    LogoutOutcome, LogoutResponse, Residual, ScsiResponse, ServiceResponse, TaskManagementFunction,
    TaskManagementOutcome, TaskManagementResponse,
};
use iscsi::{Bhs, Opcode};
use units::Serial32;

impl Clients {
    /// Bytes have reached an initiator, or the end of its connection has.
    pub(crate) fn hear(&mut self, delivery: &Delivery, scene: &mut Scene) {
        let session = delivery.session;
        let mut rest = &delivery.bytes[..];
        while self.sessions[session].phase != Phase::Over && !scene.run.has_failed() {
            match self.sessions[session].next_pdu(&mut rest) {
                Ok(None) => break,
                Ok(Some(pdu)) => {
                    if self.is_attacking(session) {
                        hostile::hear(&mut self.sessions[session], &pdu, scene);
                    } else if !self.sessions[session].wild {
                        let result = self.pdu_arrives(session, &pdu, scene);
                        scene.run.check(result);
                    }
                }
                Err(text) => return scene.run.fail(|| text),
            }
        }
        if delivery.ends {
            self.see_end(session, scene);
        }
    }

    /// The target has closed the connection.
    fn see_end(&mut self, session: usize, scene: &mut Scene) {
        let state = &self.sessions[session];
        let initiator = &self.initiators[state.initiator];
        let displaced =
            initiator.current != Some(session) || scene.run.now < initiator.haunted_until;
        let may = match state.phase {
            _ if initiator.hostility.is_some() => true,
            Phase::Login | Phase::Over => true,
            Phase::Full => displaced || state.wild || state.logout_asked,
            // Who logs out answers no pings, and an operation that hangs holds the logout up.
            Phase::LoggingOut => displaced || state.wild || scene.run.plan.faults.hang > 0,
        };
        if !may {
            scene.run.fail(|| format!("session {session}: the target has closed the connection"));
        }
        self.session_over(session, scene);
    }

    fn pdu_arrives(&mut self, session: usize, pdu: &Pdu, scene: &mut Scene) -> Result<(), String> {
        let Pdu { bhs, data } = pdu;
        let opcode = bhs.opcode();
        scene.run.trace(|| {
            let tag = bhs.initiator_task_tag().0;
            format!("session {session} has {opcode:?} {tag:x} {}", data.len())
        });
        let state = &mut self.sessions[session];
        if (state.phase == Phase::Login) != (opcode == Opcode::LoginResponse) {
            return Err(format!("session {session}: {opcode:?} in this phase"));
        }
        match opcode {
            Opcode::LoginResponse => self.login_answered(session, pdu, scene),
            Opcode::ScsiResponse => self.response_arrives(session, pdu, scene),
            Opcode::DataIn => match state.data_in_arrives(bhs, data)? {
                Some(answer) => {
                    let tag = bhs.initiator_task_tag().0;
                    self.command_answered(session, tag, &answer, scene)
                }
                None => Ok(()),
            },
            Opcode::ReadyToTransfer => state.r2t_arrives(bhs),
            Opcode::NopIn => state.nop_in_arrives(bhs, data, scene),
            Opcode::TaskManagementResponse => self.management_answered(session, bhs, scene),
            Opcode::LogoutResponse => self.logout_answered(session, bhs, scene),
            Opcode::Reject => state.reject_arrives(bhs, data),
            Opcode::AsyncMessage => state.async_arrives(bhs, scene.run.stage),
            Opcode::TextResponse => state.text_arrives(bhs, data),
            Opcode::NopOut
            | Opcode::ScsiCommand
            | Opcode::TaskManagementRequest
            | Opcode::LoginRequest
            | Opcode::TextRequest
            | Opcode::DataOut
            | Opcode::LogoutRequest
            | Opcode::SnackRequest
            | Opcode::Unknown(_) => Err(format!("session {session}: {opcode:?} from a target")),
        }
    }

    fn response_arrives(
        &mut self,
        session: usize,
        pdu: &Pdu,
        scene: &mut Scene,
    ) -> Result<(), String> {
        let data = &pdu.data;
        let pdu = ScsiResponse::parse(&pdu.bhs).map_err(|f| format!("SCSI Response: {f}"))?;
        let numbers = Numbers {
            stat_sn: pdu.stat_sn,
            exp_cmd_sn: pdu.exp_cmd_sn,
            max_cmd_sn: pdu.max_cmd_sn,
        };
        self.sessions[session].check_numbers(&numbers, true)?;
        let tag = pdu.initiator_task_tag.0;
        if self.is_of_doubled(session, tag, scene) {
            return Ok(());
        }
        let Some(command) = self.sessions[session].command(tag) else {
            return Err(format!("session {session}: {pdu:?} answers nothing"));
        };
        let right = pdu.response == ServiceResponse::CommandCompleted
            && pdu.exp_data_sn.0 == command.data_sn + command.r2t_sn
            && pdu.bidirectional_read_residual == Residual::None;
        if !right {
            return Err(format!("session {session}: {pdu:?}"));
        }
        let answer = Answer::new(pdu.status, pdu.residual, data);
        self.command_answered(session, tag, &answer, scene)
    }

    /// A response to a second command with a tag that was in use when it was sent.
    fn is_of_doubled(&mut self, session: usize, tag: u32, scene: &mut Scene) -> bool {
        let state = &mut self.sessions[session];
        let Some(place) = state.doubled.iter().position(|&t| t == tag) else { return false };
        match state.command(tag) {
            None => {
                state.doubled.remove(place);
                true
            }
            // A reset may have ended the first one without a word: nobody can tell them apart.
            Some(command) if command.maybe_aborted => {
                if let Some(Pending::Command(command)) = state.pending.remove(&tag) {
                    let now = scene.run.tick();
                    scene.ledger.close(command.op, End::Unknown, now);
                    scene.ledger.end_change(&command, false, false);
                }
                true
            }
            Some(_) => false,
        }
    }

    /// A command has its status.
    fn command_answered(
        &mut self,
        session: usize,
        tag: u32,
        answer: &Answer,
        scene: &mut Scene,
    ) -> Result<(), String> {
        if scene.run.plan.canary == Some(Canary::AnswerIsLost) && scene.run.rng.chance(20) {
            return Ok(());
        }
        let Some(Pending::Command(command)) = self.sessions[session].pending.remove(&tag) else {
            return Ok(());
        };
        let Scene { run, ledger, .. } = scene;
        run.trace(|| format!("session {session}: op {} ends: {answer:x?}", command.op));
        let now = run.tick();
        let good = answer.is_good();
        self.audit_conflicts |= answer.is_conflict();
        let mut outcome = ledger.judge(&command, answer, &run.plan, now);
        if good && run.plan.faults.catalog == 0 {
            // A catalog may have put two commands of a LUN at different volumes.
            outcome = outcome.and_then(|()| self.sessions[session].check_order(&command));
        }
        if good {
            run.report.good += 1;
            run.report.replaced += u64::from(command.kind == Kind::CompareAndWrite);
            if command.kind == Kind::Read {
                self.audited(command.span, run.stage);
            }
        } else {
            ledger.close(command.op, Ledger::end_of_failed(answer), now);
        }
        // A session that is about to be displaced may lose what it has just got.
        let current = self.initiators[command.initiator].current;
        let stays = current.is_some_and(|s| self.sessions[s].phase == Phase::Full);
        ledger.end_change(&command, good, stays);
        self.sessions[session].solicited.retain(|s| s.tag != tag);
        outcome.map_err(|text| format!("session {session}: {answer:x?}: {text}: {command:?}"))?;
        let twice = run.plan.canary == Some(Canary::AnswerComesTwice);
        if twice && run.rng.chance(50) {
            return self.answer_again(session, tag, scene);
        }
        Ok(())
    }

    /// The canary that answers twice: the same response comes once more.
    fn answer_again(&mut self, session: usize, tag: u32, scene: &mut Scene) -> Result<(), String> {
        let mut header = [0; 48];
        let state = &self.sessions[session];
        ScsiResponse {
            response: ServiceResponse::CommandCompleted,
            status: 0,
            data_segment_length: 0,
            initiator_task_tag: iscsi::InitiatorTaskTag(tag),
            snack_tag: 0,
            stat_sn: state.exp_stat_sn(),
            exp_cmd_sn: Serial32(state.exp_cmd_sn),
            max_cmd_sn: Serial32(state.max_cmd_sn),
            exp_data_sn: Serial32(0),
            bidirectional_read_residual: Residual::None,
            residual: Residual::None,
        }
        .emit(&mut header);
        self.response_arrives(session, &Pdu { bhs: Bhs::new(header), data: Vec::new() }, scene)
    }

    fn management_answered(
        &mut self,
        session: usize,
        bhs: &Bhs,
        scene: &mut Scene,
    ) -> Result<(), String> {
        let pdu = TaskManagementResponse::parse(bhs).map_err(|f| format!("TMF response: {f}"))?;
        let numbers = Numbers {
            stat_sn: pdu.stat_sn,
            exp_cmd_sn: pdu.exp_cmd_sn,
            max_cmd_sn: pdu.max_cmd_sn,
        };
        self.sessions[session].check_numbers(&numbers, true)?;
        let tag = pdu.initiator_task_tag.0;
        let Some(Pending::Management(asked)) = self.sessions[session].pending.remove(&tag) else {
            return Err(format!("session {session}: {pdu:?} answers nothing"));
        };
        let complete = pdu.outcome == TaskManagementOutcome::FunctionComplete;
        for volume in (0..scene.ledger.units.len()).filter(|&v| asked.resets(v)) {
            let state = if complete { ResetState::Default } else { ResetState::Doubtful };
            scene.ledger.end_reset(volume, state);
        }
        match pdu.outcome {
            TaskManagementOutcome::FunctionComplete => {
                self.tasks_are_aborted(session, &asked, scene);
                Ok(())
            }
            TaskManagementOutcome::TaskDoesNotExist
                if asked.function == TaskManagementFunction::AbortTask =>
            {
                self.task_was_over(session, asked.referenced, scene)
            }
            TaskManagementOutcome::LunDoesNotExist if scene.run.plan.faults.catalog > 0 => {
                if let Some(command) = self.sessions[session].command_mut(asked.referenced) {
                    command.aborting = false;
                }
                Ok(())
            }
            TaskManagementOutcome::TaskDoesNotExist
            | TaskManagementOutcome::LunDoesNotExist
            | TaskManagementOutcome::TaskStillAllegiant
            | TaskManagementOutcome::TaskReassignmentNotSupported
            | TaskManagementOutcome::FunctionNotSupported
            | TaskManagementOutcome::FunctionAuthorizationFailed
            | TaskManagementOutcome::FunctionSucceeded
            | TaskManagementOutcome::FunctionRejected
            | TaskManagementOutcome::Reserved(_) => {
                Err(format!("session {session}: {asked:?} ends with {:?}", pdu.outcome))
            }
        }
    }

    fn tasks_are_aborted(&mut self, session: usize, asked: &Management, scene: &mut Scene) {
        let now = scene.run.tick();
        for &op in &asked.ends {
            scene.ledger.quieten(op, now);
        }
        let ended = |tag: u32, command: &Command| match asked.function {
            TaskManagementFunction::AbortTask => tag == asked.referenced,
            TaskManagementFunction::AbortTaskSet | TaskManagementFunction::ClearTaskSet => {
                let before = Serial32(command.cmd_sn).is_before(Serial32(asked.cmd_sn));
                command.volume == asked.volume && before
            }
            TaskManagementFunction::LogicalUnitReset | TaskManagementFunction::TargetWarmReset => {
                // A task without a logical unit goes on: it only has its status to come.
                let unit = scene.ledger.units[command.volume].mapped.sure();
                let has_unit = unit.is_some_and(|(mapped, _)| mapped);
                asked.resets(command.volume) && command.sent < asked.sent && has_unit
            }
            TaskManagementFunction::ClearAca
            | TaskManagementFunction::TargetColdReset
            | TaskManagementFunction::TaskReassign
            | TaskManagementFunction::QueryTask
            | TaskManagementFunction::QueryTaskSet
            | TaskManagementFunction::ItNexusReset
            | TaskManagementFunction::QueryAsynchronousEvent
            | TaskManagementFunction::Unknown(_) => false,
        };
        let state = &self.sessions[session];
        let mut tags = state.tags_of(|_| true);
        tags.retain(|&tag| state.command(tag).is_some_and(|command| ended(tag, command)));
        for tag in tags {
            self.command_is_gone(session, tag, scene);
        }
    }

    /// ABORT TASK has not found its task: it was answered before, or somebody's reset ended it.
    fn task_was_over(&mut self, session: usize, tag: u32, scene: &mut Scene) -> Result<(), String> {
        match self.sessions[session].command(tag) {
            Some(command) if command.maybe_aborted => self.command_is_gone(session, tag, scene),
            Some(command) => {
                return Err(format!("session {session}: the task does not exist: {command:?}"));
            }
            None => {}
        }
        Ok(())
    }

    /// A command will not be answered.
    fn command_is_gone(&mut self, session: usize, tag: u32, scene: &mut Scene) {
        let state = &mut self.sessions[session];
        let Some(Pending::Command(command)) = state.pending.remove(&tag) else { return };
        state.solicited.retain(|s| s.tag != tag);
        scene.run.report.aborted += 1;
        let now = scene.run.tick();
        scene.ledger.close(command.op, End::Unknown, now);
        scene.ledger.end_change(&command, false, false);
    }

    fn logout_answered(
        &mut self,
        session: usize,
        bhs: &Bhs,
        scene: &mut Scene,
    ) -> Result<(), String> {
        let pdu = LogoutResponse::parse(bhs).map_err(|f| format!("logout response: {f}"))?;
        let numbers = Numbers {
            stat_sn: pdu.stat_sn,
            exp_cmd_sn: pdu.exp_cmd_sn,
            max_cmd_sn: pdu.max_cmd_sn,
        };
        let state = &mut self.sessions[session];
        state.check_numbers(&numbers, true)?;
        let asked = state.pending.remove(&pdu.initiator_task_tag.0);
        if pdu.outcome != LogoutOutcome::Closed || !matches!(asked, Some(Pending::Logout)) {
            return Err(format!("session {session}: {pdu:?} answers {asked:?}"));
        }
        for tag in self.sessions[session].tags_of(|_| true) {
            self.command_is_gone(session, tag, scene);
        }
        scene.run.report.logouts += 1;
        self.session_over(session, scene);
        Ok(())
    }
}
