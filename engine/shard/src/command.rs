//! From the header of a SCSI command to a task: what may be refused is refused here, before a
//! buffer is lent or data is asked for.

use crate::action::Placement;
use crate::connection::Incoming;
use crate::logical_unit::{LogicalUnit, target_port};
use crate::message::Job;
use crate::operation::Operation;
use crate::session::Session;
use crate::shard::{Shard, Turn};
use crate::task::{DataInState, DataOutState, Fault, Phase, Task, Work, range_of};
use iscsi::Bhs;
use iscsi::pdu::{RejectReason, ScsiCommand};
use scsi::{Command, Plan, Sense, VerifyBytes};
use units::{ConnId, Lun, limits};
use volume::{ByteRange, LunMapping};

/// What a command turns out to be.
struct Planned {
    work: Work,
    scsi_length: u64,
    range: ByteRange,
    operation: Operation,
    fault: Option<Fault>,
}

impl Planned {
    const NOWHERE: ByteRange = ByteRange { offset: 0, len: 0 };

    fn simple(work: Work, scsi_length: u64) -> Self {
        Self { work, scsi_length, range: Self::NOWHERE, operation: Operation::Other, fault: None }
    }

    fn fails(fault: Fault) -> Self {
        Self { fault: Some(fault), ..Self::simple(Work::Answer(Vec::new()), 0) }
    }

    fn check(sense: Sense) -> Self {
        Self::fails(Fault::Check(sense))
    }
}

impl Shard {
    /// A SCSI Command PDU (RFC 7143 11.3).
    pub(crate) fn command_header(
        &mut self,
        conn: ConnId,
        bhs: &Bhs,
        turn: &mut Turn<'_>,
    ) -> Placement {
        let command = match ScsiCommand::parse(bhs) {
            Ok(command) => command,
            Err(fault) => return self.refuse_malformed(conn, bhs, fault, turn),
        };
        if !self.admit(conn, bhs, command.cmd_sn, turn) {
            return Placement::Discard;
        }
        let Some(session) = self.connections.get(conn.0).and_then(|c| c.session()) else {
            return Placement::Discard;
        };
        let reason = if session.nexus().is_none() {
            // RFC 7143 4.3: a discovery session carries only text and logout.
            Some(RejectReason::ProtocolError)
        } else if session.tags.find(command.initiator_task_tag).is_some() {
            Some(RejectReason::TaskInProgress)
        } else {
            None
        };
        if let Some(reason) = reason {
            self.retire(conn, command.immediate);
            return self.reject(conn, bhs, reason, turn);
        }
        if let Some(placement) = self.begin_straight(conn, &command, turn) {
            return placement;
        }
        let planned = self.plan(conn, &command);
        self.begin_task(conn, &command, planned, turn)
    }

    /// Books the task and says where its immediate data goes.
    fn begin_task(
        &mut self,
        conn: ConnId,
        command: &ScsiCommand,
        planned: Planned,
        turn: &mut Turn<'_>,
    ) -> Placement {
        let volume = self.mapping(conn, command.lun).map(|m| m.volume);
        let task = Task {
            conn: Some(conn),
            tag: command.initiator_task_tag,
            lun: command.lun,
            volume,
            cmd_sn: command.cmd_sn,
            immediate: command.immediate,
            expected_data_transfer_length: command.expected_data_transfer_length,
            operation: planned.operation,
            work: planned.work,
            scsi_length: planned.scsi_length,
            range: planned.range,
            phase: Phase::Collecting,
            data_out: DataOutState::default(),
            data_in: DataInState::default(),
            cursor: 0,
            bursts: [None; limits::BURSTS_PER_TASK_MAX],
            is_hungry: false,
            on_wire: 0,
            io_in_flight: 0,
            jobs_in_flight: 0,
            fault: planned.fault,
            aborted: false,
            holds_range: false,
            arrival: self.next_arrival(),
            received_at: turn.now,
            submitted_at: None,
            completed_at: turn.now,
        };
        let key = match self.tasks.insert(task) {
            Ok(key) => key,
            Err(task) => return self.refuse_task(&task, command, turn),
        };
        let placement = self.expect_data(key, command);
        let Some(connection) = self.connections.get_mut(conn.0) else { return Placement::Discard };
        let immediate_len = command.data_segment_length;
        connection.incoming = match placement {
            Placement::Engine => Incoming::Parameters {
                task: key,
                end: crate::connection::ParametersEnd::Command { immediate_len },
            },
            Placement::Buffer(_) | Placement::Discard => {
                Incoming::Command { task: key, immediate_len }
            }
        };
        if let Some(session) = connection.session_mut() {
            session.tags.insert(command.initiator_task_tag, key);
        }
        placement
    }

    /// There is no room for one more task on this core.
    fn refuse_task(
        &mut self,
        task: &Task,
        command: &ScsiCommand,
        turn: &mut Turn<'_>,
    ) -> Placement {
        if let Some(conn) = task.conn {
            self.retire(conn, command.immediate);
        }
        self.send_status(task, Fault::TaskSetFull, turn);
        Placement::Discard
    }

    /// The volume behind a LUN of the session's target.
    pub(crate) fn mapping(&self, conn: ConnId, lun: Lun) -> Option<LunMapping> {
        let session = self.connections.get(conn.0)?.session()?;
        let mapping = session.target()?.luns.get(&lun.number()?)?;
        Some(*mapping)
    }

    fn plan(&mut self, conn: ConnId, command: &ScsiCommand) -> Planned {
        if command.total_ahs_length > 0 || (command.read && command.write) {
            // Neither CDBs longer than 16 bytes nor bidirectional commands are among ours.
            return Planned::check(Sense::INVALID_COMMAND_OPERATION_CODE);
        }
        let parsed = scsi::parse(&command.cdb);
        let Some(mapping) = self.mapping(conn, command.lun) else {
            return self.plan_without_unit(conn, command, parsed);
        };
        let Some(session) = self.connections.get_mut(conn.0).and_then(|c| c.session_mut()) else {
            return Planned::check(Sense::LOGICAL_UNIT_NOT_SUPPORTED);
        };
        // A mapping exists only for single-level LUNs.
        let number = command.lun.number().unwrap_or(0);
        if !session.attentions.is_empty()
            && !parsed.as_ref().is_ok_and(passes_attention)
            && let Some(sense) = session.attentions.take(number)
        {
            return Planned::check(sense);
        }
        let unit = self.units.get(usize::from(mapping.volume.0)).and_then(Option::as_deref);
        let Some(unit) = unit.filter(|unit| !unit.removed) else {
            return Planned::check(Sense::LOGICAL_UNIT_NOT_SUPPORTED);
        };
        let scsi_command = match parsed {
            Ok(scsi_command) => scsi_command,
            Err(sense) => return Planned::check(sense),
        };
        if let Some(nexus) = session.nexus()
            && unit.is_reserved_from(nexus)
            && !scsi_command.allowed_while_reserved()
        {
            return Planned::fails(Fault::ReservationConflict);
        }
        let planned = plan_for_unit(session, unit, &scsi_command, mapping, number);
        let block_size = unit.geometry.block_size;
        check_direction(command, check_exact_length(command, &scsi_command, block_size, planned))
    }

    /// A LUN that the target does not have (SAM-5 4.7.4).
    fn plan_without_unit(
        &mut self,
        conn: ConnId,
        command: &ScsiCommand,
        parsed: Result<Command, Sense>,
    ) -> Planned {
        let Ok(scsi_command) = parsed else {
            return Planned::check(Sense::LOGICAL_UNIT_NOT_SUPPORTED);
        };
        let plan = scsi::plan_without_logical_unit(&scsi_command);
        let planned = if let Plan::ReportLuns { select_report, allocation_length } = plan {
            let Some(session) = self.session_mut(conn) else {
                return Planned::check(Sense::LOGICAL_UNIT_NOT_SUPPORTED);
            };
            report_luns(session, select_report, allocation_length)
        } else if let Plan::DataIn(data) = plan {
            answer(data)
        } else {
            Planned::check(Sense::LOGICAL_UNIT_NOT_SUPPORTED)
        };
        check_direction(command, planned)
    }
}

/// Commands that neither report nor clear a unit attention (SAM-5 5.14.7).
const fn passes_attention(command: &Command) -> bool {
    matches!(
        command,
        Command::Inquiry(_) | Command::ReportLuns { .. } | Command::RequestSense { .. }
    )
}

/// The answer to commands that the device server gives at once.
fn answer(data: Vec<u8>) -> Planned {
    let len = u64::try_from(data.len()).unwrap_or(u64::MAX);
    Planned::simple(Work::Answer(data), len)
}

fn report_luns(session: &mut Session, select_report: u8, allocation_length: u32) -> Planned {
    session.attentions.clear(Sense::REPORTED_LUNS_DATA_HAS_CHANGED);
    let luns: Vec<Lun> = session
        .target()
        .map(|t| t.luns.keys().filter_map(|&n| Lun::from_number(n)).collect())
        .unwrap_or_default();
    match scsi::report_luns(select_report, &luns, allocation_length) {
        Ok(data) => answer(data),
        Err(sense) => Planned::check(sense),
    }
}

fn plan_for_unit(
    session: &mut Session,
    unit: &LogicalUnit,
    command: &Command,
    mapping: LunMapping,
    number: u16,
) -> Planned {
    // These show the port or the protection, which are the session's and not the volume's.
    let plan = if matches!(command, Command::Inquiry(_) | Command::ModeSense(_)) {
        let mut seen = unit.unit.clone();
        seen.read_only |= mapping.read_only;
        if let Some(target) = session.target() {
            seen.target_port = target_port(target);
        }
        scsi::plan(command, &seen)
    } else {
        scsi::plan(command, &unit.unit)
    };
    let planned = match plan {
        Plan::CheckCondition(sense) => Planned::check(sense),
        Plan::DataIn(data) => answer(data),
        Plan::Good => answer(Vec::new()),
        Plan::ReportLuns { select_report, allocation_length } => {
            report_luns(session, select_report, allocation_length)
        }
        Plan::RequestSense { format, allocation_length } => {
            answer(scsi::request_sense(format, session.attentions.take(number), allocation_length))
        }
        Plan::Parameters { length, kind } => {
            Planned::simple(Work::Parameters { kind, list: Vec::new() }, length.into())
        }
        Plan::Reserve => {
            Planned::simple(Work::Coordinate(session.holder().map(|by| Job::Reserve { by })), 0)
        }
        Plan::Release => Planned::simple(
            Work::Coordinate(session.nexus().cloned().map(|by| Job::Release { by })),
            0,
        ),
        // Only a parameter list leads to these.
        Plan::ModeChange(_) | Plan::Unmap(_) => Planned::check(Sense::INTERNAL_TARGET_FAILURE),
        Plan::CompareAndWrite { .. }
        | Plan::GetLbaStatus { .. }
        | Plan::Read { .. }
        | Plan::SynchronizeCache { .. }
        | Plan::Verify { .. }
        | Plan::Write { .. }
        | Plan::WriteAndVerify { .. }
        | Plan::WriteSame { .. } => medium_work(&plan, unit),
    };
    if mapping.read_only && planned.work.will_modify() {
        return Planned::check(Sense::WRITE_PROTECTED);
    }
    planned
}

/// Commands that touch the medium.
fn medium_work(plan: &Plan, unit: &LogicalUnit) -> Planned {
    let geometry = &unit.geometry;
    let block = u64::from(geometry.block_size.bytes());
    let through = unit.writes_through();
    let (work, extent, data, operation) = match *plan {
        Plan::Read { extent, .. } => (Work::Read, extent, None, Operation::Read),
        Plan::Write { extent, fua, .. } => {
            (Work::Write { fua: fua || through }, extent, None, Operation::Write)
        }
        Plan::WriteAndVerify { extent, bytes, .. } => {
            (Work::WriteAndVerify(bytes), extent, None, Operation::Write)
        }
        Plan::Verify { extent, bytes, .. } => {
            let data = match bytes {
                VerifyBytes::None => Some(0),
                VerifyBytes::Compare => None,
                VerifyBytes::CompareOneBlock => Some(block),
            };
            (Work::Verify(bytes), extent, data, Operation::Compare)
        }
        Plan::CompareAndWrite { extent, fua, .. } => {
            // The device server bounds the blocks to one byte's worth, and their bytes to half
            // of a burst.
            let half = u32::try_from(extent.blocks.0 * block).unwrap_or(0);
            let work = Work::CompareAndWrite { half, fua: fua || through };
            (work, extent, Some(u64::from(half) * 2), Operation::Compare)
        }
        Plan::WriteSame { extent, unmap, no_data_out } => {
            let data = if no_data_out { 0 } else { block };
            let work = Work::WriteSame {
                unmap,
                no_data_out,
                block: geometry.block_size.bytes(),
                zeros: None,
            };
            (work, extent, Some(data), Operation::Space)
        }
        Plan::SynchronizeCache { extent, .. } => (Work::Flush, extent, Some(0), Operation::Flush),
        Plan::GetLbaStatus { lba, allocation_length } => {
            let work = Work::LbaStatus { lba, allocation_length, found: Vec::new() };
            let extent = scsi::BlockRange { lba, blocks: units::BlockCount(0) };
            (work, extent, Some(0), Operation::Other)
        }
        Plan::CheckCondition(_)
        | Plan::DataIn(_)
        | Plan::Good
        | Plan::ModeChange(_)
        | Plan::Parameters { .. }
        | Plan::Release
        | Plan::ReportLuns { .. }
        | Plan::RequestSense { .. }
        | Plan::Reserve
        | Plan::Unmap(_) => return Planned::check(Sense::INTERNAL_TARGET_FAILURE),
    };
    let range = range_of(geometry, extent);
    Planned { work, scsi_length: data.unwrap_or(range.len), range, operation, fault: None }
}

/// COMPARE AND WRITE and WRITE SAME make sense only with exactly the data that they ask for: an
/// initiator that expects to send more or less has made a mistake in the CDB.
fn check_exact_length(
    command: &ScsiCommand,
    scsi_command: &Command,
    block_size: units::BlockSize,
    planned: Planned,
) -> Planned {
    let exact = matches!(scsi_command, Command::CompareAndWrite(_) | Command::WriteSame(_));
    if !exact || planned.fault.is_some() {
        return planned;
    }
    let asked = match scsi_command.transfer(block_size) {
        scsi::Transfer::None => 0,
        scsi::Transfer::In(bytes) | scsi::Transfer::Out(bytes) => bytes,
    };
    if u64::from(command.expected_data_transfer_length) == asked {
        planned
    } else {
        Planned::check(Sense::INVALID_FIELD_IN_CDB)
    }
}

/// A command whose data goes the other way than the initiator thinks is not carried out.
fn check_direction(command: &ScsiCommand, planned: Planned) -> Planned {
    if planned.fault.is_some() || planned.scsi_length == 0 {
        return planned;
    }
    let reads = match planned.work {
        Work::Answer(_) | Work::LbaStatus { .. } | Work::Read => true,
        Work::CompareAndWrite { .. }
        | Work::Coordinate(_)
        | Work::Flush
        | Work::Management
        | Work::Parameters { .. }
        | Work::Unmap(_)
        | Work::Verify(_)
        | Work::Write { .. }
        | Work::WriteAndVerify(_)
        | Work::WriteSame { .. } => false,
    };
    let contrary = if reads { command.write } else { command.read };
    if contrary && command.expected_data_transfer_length > 0 {
        return Planned::check(Sense::invalid_field_in_cdb(0, None));
    }
    planned
}
