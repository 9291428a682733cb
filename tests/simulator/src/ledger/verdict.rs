//! The answers to SCSI commands: which are right, and what they prove.

use crate::Canary;
use crate::history::End;
use crate::rng::size;
use crate::sectors::{ANYWHERE, Mark, SECTOR, SECTOR_BYTES, ZEROS};
use crate::session::{Command, Kind, Pending, Phase};
use crate::world::World;
use iscsi::pdu::{LoginResponse, LoginStatus, LogoutOutcome, LogoutResponse};
use iscsi::pdu::{Residual, ScsiResponse, ServiceResponse, TaskManagementFunction};
use iscsi::pdu::{Stage as LoginStage, TaskManagementOutcome};
use iscsi::pdu::{TaskManagementRequest, TaskManagementResponse};
use iscsi::{Bhs, Opcode};
use units::Serial32;

/// SENSE KEY, ADDITIONAL SENSE CODE and its qualifier.
type Sense = (u8, u8, u8);

impl World {
    pub(crate) fn response_arrives(&mut self, session: usize, bhs: &Bhs, data: &[u8]) {
        let pdu = match ScsiResponse::parse(bhs) {
            Ok(pdu) => pdu,
            Err(fault) => return self.fail(|_| format!("SCSI Response: {fault}")),
        };
        self.check_window(session, pdu.exp_cmd_sn, pdu.max_cmd_sn);
        self.check_stat_sn(session, pdu.stat_sn, true);
        let tag = pdu.initiator_task_tag.0;
        if self.is_of_doubled(session, tag) {
            return;
        }
        let Some(command) = self.sessions[session].command(tag) else {
            return self.fail(|_| format!("session {session}: {pdu:?} answers nothing"));
        };
        let right = pdu.response == ServiceResponse::CommandCompleted
            && pdu.exp_data_sn.0 == command.data_sn + command.r2t_sn
            && pdu.bidirectional_read_residual == Residual::None;
        if !right {
            return self.fail(|_| format!("session {session}: {pdu:?}"));
        }
        self.command_answered(session, tag, (pdu.status, pdu.residual), data);
    }

    /// A response to a second command with a tag that was in use when it was sent.
    fn is_of_doubled(&mut self, session: usize, tag: u32) -> bool {
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
                    let now = self.tick();
                    self.close_write(command.op, End::Unknown, now);
                    self.end_changes(&command, false);
                }
                true
            }
            Some(_) => false,
        }
    }

    /// A command has its status.
    pub(crate) fn command_answered(
        &mut self,
        session: usize,
        tag: u32,
        (status, residual): (u8, Residual),
        data: &[u8],
    ) {
        let Some(Pending::Command(command)) = self.sessions[session].pending.remove(&tag) else {
            return;
        };
        let sense = sense_of(data);
        self.trace(|_| {
            format!("session {session}: op {} ends {status:02x} {sense:x?}", command.op)
        });
        let now = self.tick();
        let good = status == 0;
        self.audit_conflicts |= status == 0x18;
        let outcome = match (status, sense) {
            (0x00, None) => self.ended_well(session, &command, residual, now),
            (0x02, Some(sense)) => self.ended_badly(&command, sense),
            (0x18, None) => self.conflicts(session, &command),
            (0x28, None) if command.unasked => Ok(()),
            _ => Err("no such status is right".to_owned()),
        };
        // What never began leaves nothing behind; otherwise nobody knows.
        let never = matches!((status, sense), (0x18, _) | (0x02, Some((0x06, _, _))));
        let end = if never { End::Never } else { End::Unknown };
        if good {
            self.report.good += 1;
        } else {
            self.close_write(command.op, end, now);
        }
        self.end_changes(&command, good);
        let residual_bound = match residual {
            Residual::None => true,
            Residual::Overflow(_) => good,
            Residual::Underflow(count) => count <= command.expected,
        };
        self.sessions[session].solicited.retain(|s| s.tag != tag);
        if let Err(text) = outcome {
            return self.fail(|_| {
                format!("session {session}: status {status:02x} {sense:x?}: {text}: {command:?}")
            });
        }
        if !residual_bound {
            self.fail(|_| format!("session {session}: {residual:?} of {command:?}"));
        }
        let twice = self.plan.canary == Some(Canary::AnswerComesTwice);
        if twice && self.rng.chance(50) {
            self.fail_if_answered_again(session, tag);
        }
    }

    /// The canary that answers twice: the world plays the same response once more.
    fn fail_if_answered_again(&mut self, session: usize, tag: u32) {
        let mut header = [0; 48];
        ScsiResponse {
            response: ServiceResponse::CommandCompleted,
            status: 0,
            data_segment_length: 0,
            initiator_task_tag: iscsi::InitiatorTaskTag(tag),
            snack_tag: 0,
            stat_sn: Serial32(self.sessions[session].stat_sn.unwrap_or(0)),
            exp_cmd_sn: Serial32(self.sessions[session].exp_cmd_sn),
            max_cmd_sn: Serial32(self.sessions[session].max_cmd_sn),
            exp_data_sn: Serial32(0),
            bidirectional_read_residual: Residual::None,
            residual: Residual::None,
        }
        .emit(&mut header);
        self.response_arrives(session, &Bhs::new(header), &[]);
    }

    /// RESERVATION CONFLICT: somebody else may hold a reservation.
    fn conflicts(&self, session: usize, command: &Command) -> Result<(), String> {
        let since = self.units[command.volume].since(&command.look);
        let me = self.sessions[session].initiator;
        match since.holder {
            Some((None, _)) => Err("nobody holds a reservation".into()),
            Some((Some(holder), _)) if holder == me => Err("the initiator holds it".into()),
            Some(_) => Ok(()),
            None if self.plan.weights.reserve > 0 => Ok(()),
            None => Err("nobody ever reserves".into()),
        }
    }

    /// CHECK CONDITION: the sense must have a cause.
    fn ended_badly(&self, command: &Command, sense: Sense) -> Result<(), String> {
        let since = self.units[command.volume].since(&command.look);
        let faults = &self.plan.faults;
        let is_outside = since
            .sectors
            .is_none_or(|(sectors, _)| command.outside || ends(command).any(|end| end > sectors));
        let compares = matches!(
            command.kind,
            Kind::CompareAndWrite | Kind::Verify { compares: true } | Kind::WriteAndVerify
        );
        let has_cause = match sense {
            (0x06, _, _) => true,
            (0x03, 0x0c | 0x11, 0x00) => faults.io_error > 0,
            (0x07, 0x27, 0x07) => faults.no_space > 0,
            (0x05, 0x21, 0x00) => is_outside,
            (0x05, 0x25, 0x00) => since.mapped.is_none_or(|(mapped, _)| !mapped),
            (0x05, 0x20 | 0x24, 0x00) => command.kind == Kind::Inquiry,
            (0x0e, 0x1d, 0x00) => compares,
            (0x0b, _, _) => command.spoiled,
            _ => false,
        };
        if has_cause { Ok(()) } else { Err("this sense has no cause".into()) }
    }

    fn ended_well(
        &mut self,
        session: usize,
        command: &Command,
        residual: Residual,
        now: u64,
    ) -> Result<(), String> {
        let me = self.sessions[session].initiator;
        let since = self.units[command.volume].since(&command.look);
        if command.spoiled {
            return Err("its data was bad".into());
        }
        if let Some((Some(holder), _)) = since.holder
            && holder != me
            && command.kind.touches_the_medium()
        {
            return Err(format!("initiator {holder} holds a reservation"));
        }
        if command.kind != Kind::Inquiry && since.mapped.is_some_and(|(mapped, _)| !mapped) {
            return Err("the LUN is gone".into());
        }
        let outside = since.sectors.is_some_and(|(s, _)| ends(command).any(|end| end > s));
        if command.outside || outside {
            return Err("it reaches past the end".into());
        }
        check_residual(command, residual)?;
        self.prove(command, now)?;
        let plan = self.plan.volumes[command.volume];
        let through = since.write_cache.is_some_and(|(on, _)| !on);
        let never_crashes = self.plan.faults.crashes == 0;
        let durable = command.fua || through || !plan.volatile || never_crashes;
        self.close_write(command.op, End::Done { durable }, now);
        self.note_writes(command);
        Ok(())
    }

    /// What a command that ended well has shown of the volume.
    fn prove(&mut self, command: &Command, now: u64) -> Result<(), String> {
        let span = command.span;
        match command.kind {
            Kind::Read => self.prove_read(command, now),
            Kind::Verify { compares: true } => {
                for (sector, &mark) in (span.first..).zip(&command.believes) {
                    self.history.read(command.volume, sector, mark, (command.sent, now))?;
                }
                Ok(())
            }
            Kind::CompareAndWrite => {
                self.report.replaced += 1;
                self.history.replaced(span, command.op, &command.believes, now)
            }
            Kind::Flush => {
                self.history.flushed(span, command.sent);
                Ok(())
            }
            Kind::Inquiry
            | Kind::Mode { .. }
            | Kind::Release
            | Kind::Reserve
            | Kind::TestUnitReady
            | Kind::Unmap
            | Kind::Verify { compares: false }
            | Kind::Write
            | Kind::WriteAndVerify
            | Kind::WriteSame => Ok(()),
        }
    }

    fn prove_read(&mut self, command: &Command, now: u64) -> Result<(), String> {
        let wanted = command.scsi_length.unwrap_or(0).min(command.expected.into());
        if command.input.len() as u64 != wanted {
            return Err(format!("{} bytes instead of {wanted}", command.input.len()));
        }
        for (sector, bytes) in (command.span.first..).zip(command.input.chunks_exact(SECTOR)) {
            let Some(mark) = Mark::of(bytes) else {
                return Err(format!("sector {sector} is torn: {:x?}", &bytes[..32]));
            };
            self.history.read(command.volume, sector, mark, (command.sent, now))?;
            self.initiators_saw[command.volume][size(sector)] = mark;
        }
        self.audited(command.span);
        Ok(())
    }

    fn note_writes(&mut self, command: &Command) {
        for &(span, value) in &command.writes {
            for sector in span.first..span.first + span.count {
                let place = if command.kind == Kind::WriteSame { ANYWHERE } else { sector };
                let mark = if value == ZEROS { Mark::ZERO } else { Mark { value, place } };
                self.initiators_saw[span.volume][size(sector)] = mark;
            }
        }
    }

    /// What a command wanted to change of its unit is certain now, or remains in doubt.
    pub(crate) fn end_changes(&mut self, command: &Command, good: bool) {
        // A session that is about to be displaced may lose what it has just got.
        let stays = self.initiators[command.initiator]
            .current
            .is_some_and(|s| self.sessions[s].phase == Phase::Full);
        let unit = &mut self.units[command.volume];
        match command.kind {
            Kind::Reserve => {
                unit.holder.end((good && stays).then_some(Some(command.initiator)));
            }
            Kind::Release => unit.holder.end(None),
            Kind::Mode { .. } => {
                let write_cache = command.out[6] & 0x04 != 0;
                unit.write_cache.end(good.then_some(write_cache));
            }
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
        }
    }

    /// A header has reached the target: notes what a reset from now on must end.
    pub(crate) fn delivered(&mut self, session: usize, bhs: &Bhs) {
        let tag = bhs.initiator_task_tag().0;
        match bhs.opcode() {
            Opcode::ScsiCommand => {
                let op = self.sessions[session].command(tag).map(|c| c.op);
                if let Some(live) = op.and_then(|op| self.live.get_mut(&op)) {
                    live.delivered = true;
                }
            }
            Opcode::TaskManagementRequest => self.management_delivered(session, bhs),
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

    fn management_delivered(&mut self, session: usize, bhs: &Bhs) {
        if self.sessions[session].wild {
            return;
        }
        let Ok(request) = TaskManagementRequest::parse(bhs) else { return };
        let tag = request.initiator_task_tag.0;
        let Some(Pending::Management(asked)) = self.sessions[session].pending.get(&tag) else {
            return;
        };
        let ends = |live: &crate::world::Live| match asked.function {
            TaskManagementFunction::AbortTask => {
                live.session == session && live.tag == asked.referenced
            }
            TaskManagementFunction::AbortTaskSet => {
                live.session == session && live.volume == asked.volume && !live.immediate
            }
            TaskManagementFunction::ClearTaskSet
            | TaskManagementFunction::LogicalUnitReset
            | TaskManagementFunction::TargetWarmReset => asked.resets(live.volume),
            TaskManagementFunction::ClearAca
            | TaskManagementFunction::TargetColdReset
            | TaskManagementFunction::TaskReassign
            | TaskManagementFunction::QueryTask
            | TaskManagementFunction::QueryTaskSet
            | TaskManagementFunction::ItNexusReset
            | TaskManagementFunction::QueryAsynchronousEvent
            | TaskManagementFunction::Unknown(_) => false,
        };
        let live = self.live.iter().filter(|(_, l)| l.delivered && ends(l) && self.has_unit(l));
        let list: Vec<u64> = live.map(|(&op, _)| op).collect();
        if let Some(Pending::Management(asked)) = self.sessions[session].pending.get_mut(&tag) {
            asked.ends = list;
        }
    }

    /// Whether a command's LUN certainly has a logical unit, so that a reset reaches it.
    fn has_unit(&self, live: &crate::world::Live) -> bool {
        self.units[live.volume].mapped.sure().is_some_and(|(mapped, _)| mapped)
    }

    pub(crate) fn ended_by_management(&self, session: usize, bhs: &Bhs) -> Vec<u64> {
        let Ok(response) = TaskManagementResponse::parse(bhs) else { return Vec::new() };
        let tag = response.initiator_task_tag.0;
        match self.sessions[session].pending.get(&tag) {
            // A task that does not exist is quiet too.
            Some(Pending::Management(asked))
                if response.outcome == TaskManagementOutcome::FunctionComplete
                    || response.outcome == TaskManagementOutcome::TaskDoesNotExist =>
            {
                let has_unit = |op: &&u64| self.live.get(op).is_some_and(|l| self.has_unit(l));
                asked.ends.iter().filter(has_unit).copied().collect()
            }
            Some(
                Pending::Command(_)
                | Pending::Logout
                | Pending::Management(_)
                | Pending::Nop(_)
                | Pending::Text,
            )
            | None => Vec::new(),
        }
    }

    pub(crate) fn ended_by_logout(&self, session: usize, bhs: &Bhs) -> Vec<u64> {
        let response = LogoutResponse::parse(bhs);
        if !response.is_ok_and(|r| r.outcome == LogoutOutcome::Closed) {
            return Vec::new();
        }
        let initiator = self.sessions[session].initiator;
        self.live_ops(|s| s == session, initiator)
    }

    pub(crate) fn ended_by_login(&self, session: usize, bhs: &Bhs) -> Vec<u64> {
        let Ok(response) = LoginResponse::parse(bhs) else { return Vec::new() };
        let opens = response.status == LoginStatus::Success
            && response.transit
            && response.next_stage == LoginStage::FullFeaturePhase;
        if !opens {
            return Vec::new();
        }
        let initiator = self.sessions[session].initiator;
        self.live_ops(|s| s < session, initiator)
    }
}

/// The ends of the extents of a command, in sectors.
fn ends(command: &Command) -> impl Iterator<Item = u64> {
    let writes = command.writes.iter().map(|(s, _)| s.first + s.count);
    std::iter::once(command.span.first + command.span.count).chain(writes)
}

/// RFC 7143 11.4.5: what the CDB asks for against what the initiator expects.
fn check_residual(command: &Command, residual: Residual) -> Result<(), String> {
    let expected = u64::from(command.expected);
    let length = match command.scsi_length {
        Some(length) => length,
        // The length of the answer is known only where it fits.
        None if matches!(residual, Residual::Overflow(_)) => return Ok(()),
        None => command.input.len() as u64,
    };
    let count = |n: u64| crate::rng::word(n);
    let right = if length > expected {
        Residual::Overflow(count(length - expected))
    } else if length < expected {
        Residual::Underflow(count(expected - length))
    } else {
        Residual::None
    };
    if residual == right { Ok(()) } else { Err(format!("{residual:?} instead of {right:?}")) }
}

/// Fixed format sense data behind its length (RFC 7143 11.4.7).
fn sense_of(data: &[u8]) -> Option<Sense> {
    let (length, sense) = data.split_first_chunk::<2>()?;
    let whole = usize::from(u16::from_be_bytes(*length)) == sense.len();
    let fixed = whole && sense.first().is_some_and(|b| b & 0x7f == 0x70);
    fixed.then(|| Some((sense.get(2)? & 0x0f, *sense.get(12)?, *sense.get(13)?)))?
}

const _: () = assert!(SECTOR_BYTES == 512);
