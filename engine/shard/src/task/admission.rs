//! From the header of a SCSI command to a task: what may be refused is refused here, before a
//! buffer is lent or data is asked for.
//!
//! There is one path for every command. READ and WRITE that meet no obstacle leave it early at each
//! step: [`PlainTransfer`] is the fast parser in front of the general one.

use crate::message::Job;
use crate::operation::Operation;
use crate::session::Session;
use crate::task::Fault;
use crate::task::steps::byte_range;
use crate::task::update::Update;
use crate::task::work::{Planned, Work};
use crate::unit::obstacles::{Obstacle, Obstacles};
use crate::unit::units::Units;
use crate::unit::{Unit, target_port};
use iscsi::pdu::{RejectReason, ScsiCommand};
use scsi::{Command, PlainTransfer, Plan, Sense, VerifyBytes};
use units::{Lun, VolumeId};
use volume::ByteRange;

/// What a command is, and the volume behind its LUN.
pub(crate) struct Admitted {
    pub(crate) volume: Option<VolumeId>,
    pub(crate) planned: Planned,
}

/// A READ or WRITE that meets no obstacle.
#[derive(Clone, Copy)]
pub(crate) struct Plain {
    pub(crate) volume: VolumeId,
    range: ByteRange,
    /// Of a WRITE: whether it must be durable before its status.
    write: Option<bool>,
}

impl Plain {
    /// What it is, in the words of every command.
    #[inline(always)]
    pub(crate) const fn planned(self) -> Planned {
        let (work, operation) = match self.write {
            Some(fua) => (Work::Write { fua }, Operation::Write),
            None => (Work::Read, Operation::Read),
        };
        let range = self.range;
        Planned { work, scsi_length: range.len, range, operation, fault: None }
    }
}

/// Why a command that has its place in the window cannot become a task.
pub(crate) fn refusal(session: &Session, command: &ScsiCommand) -> Option<RejectReason> {
    if session.nexus().is_none() {
        // RFC 7143 4.3: a discovery session carries only text and logout.
        Some(RejectReason::ProtocolError)
    } else if session.tags.find(command.initiator_task_tag).is_some() {
        Some(RejectReason::TaskInProgress)
    } else {
        None
    }
}

/// READ and WRITE that meet no obstacle, which is nearly all of them.
#[inline(always)]
pub(crate) fn plain<'u>(
    session: &Session,
    units: &'u mut Units,
    command: &ScsiCommand,
) -> Option<(Plain, &'u mut Unit)> {
    let number = command.lun.number()?;
    let mapping = session.mapping(number)?;
    let unit = units.get_mut(mapping.volume)?;
    let PlainTransfer { write, extent, fua } = PlainTransfer::find(&command.cdb, &unit.model)?;
    let as_expected = command.write == write && command.read != write;
    if !as_expected
        || command.total_ahs_length > 0
        || !Obstacles::between(session, number, mapping, unit).is_clear(write)
    {
        return None;
    }
    let range = byte_range(&unit.geometry, extent);
    let write = write.then(|| fua || unit.writes_through());
    Some((Plain { volume: mapping.volume, range, write }, unit))
}

/// Finds out what a command is.
#[cold]
pub(crate) fn admit(session: &mut Session, units: &Units, command: &ScsiCommand) -> Admitted {
    let number = command.lun.number();
    let Some((number, mapping)) = number.and_then(|n| Some((n, session.mapping(n)?))) else {
        return Admitted { volume: None, planned: plan_without_unit(session, command) };
    };
    let volume = Some(mapping.volume);
    // The catalog that mapped it may not have reached this core yet.
    let Some(unit) = units.get(mapping.volume) else {
        return Admitted { volume, planned: Planned::check(Sense::LOGICAL_UNIT_NOT_SUPPORTED) };
    };
    let obstacles = Obstacles::between(session, number, mapping, unit);
    Admitted { volume, planned: plan(session, unit, obstacles, command, number) }
}

fn plan(
    session: &mut Session,
    unit: &Unit,
    obstacles: Obstacles,
    command: &ScsiCommand,
    number: u16,
) -> Planned {
    let parsed = match parse(command) {
        Ok(parsed) => parsed,
        Err(sense) => return Planned::check(sense),
    };
    let mut is_read_only = false;
    for obstacle in obstacles.in_order() {
        match obstacle {
            Obstacle::Attention => {
                if !parsed.as_ref().is_ok_and(passes_attention)
                    && let Some(sense) = session.attentions.take(number)
                {
                    return Planned::check(sense);
                }
            }
            Obstacle::Removed => return Planned::check(Sense::LOGICAL_UNIT_NOT_SUPPORTED),
            Obstacle::Reserved => {
                if parsed.as_ref().is_ok_and(|command| !command.allowed_while_reserved()) {
                    return Planned::fails(Fault::ReservationConflict);
                }
            }
            Obstacle::ReadOnly => is_read_only = true,
        }
    }
    let scsi_command = match parsed {
        Ok(scsi_command) => scsi_command,
        Err(sense) => return Planned::check(sense),
    };
    let planned = plan_for_unit(session, unit, &scsi_command, number, is_read_only);
    let block_size = unit.geometry.block_size;
    check_direction(command, check_exact_length(command, &scsi_command, block_size, planned))
}

/// The command of a CDB, or what is wrong with it; `Err` outside where no CDB of that kind is
/// carried out, whatever the state of the logical unit.
fn parse(command: &ScsiCommand) -> Result<Result<Command, Sense>, Sense> {
    if command.total_ahs_length > 0 || (command.read && command.write) {
        // Neither CDBs longer than 16 bytes nor bidirectional commands are among ours.
        return Err(Sense::INVALID_COMMAND_OPERATION_CODE);
    }
    Ok(scsi::parse(&command.cdb))
}

/// A LUN that the target does not have (SAM-5 4.7.4).
fn plan_without_unit(session: &mut Session, command: &ScsiCommand) -> Planned {
    let scsi_command = match parse(command) {
        Ok(Ok(scsi_command)) => scsi_command,
        Ok(Err(_)) => return Planned::check(Sense::LOGICAL_UNIT_NOT_SUPPORTED),
        Err(sense) => return Planned::check(sense),
    };
    let plan = scsi::plan_without_logical_unit(&scsi_command);
    let planned = if let Plan::ReportLuns { select_report, allocation_length } = plan {
        report_luns(session, select_report, allocation_length)
    } else if let Plan::DataIn(data) = plan {
        answer(data)
    } else {
        Planned::check(Sense::LOGICAL_UNIT_NOT_SUPPORTED)
    };
    check_direction(command, planned)
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
    let len = data.len() as u64;
    Planned::simple(Work::Answer(data), len)
}

/// A job at the home of the logical unit. Only normal sessions carry commands, so there is one.
fn coordinate(job: Option<Job>) -> Planned {
    assert!(job.is_some(), "a discovery session has no logical units");
    Planned::simple(Work::Coordinate(job), 0)
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
    unit: &Unit,
    command: &Command,
    number: u16,
    is_read_only: bool,
) -> Planned {
    // These show the port or the protection, which are the session's and not the volume's.
    let plan = if matches!(command, Command::Inquiry(_) | Command::ModeSense(_)) {
        let mut seen = unit.model.clone();
        seen.read_only |= is_read_only;
        if let Some(target) = session.target() {
            seen.target_port = target_port(target);
        }
        scsi::plan(command, &seen)
    } else {
        scsi::plan(command, &unit.model)
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
        Plan::Reserve => coordinate(session.holder().map(|by| Job::Reserve { by })),
        Plan::Release => coordinate(session.nexus().cloned().map(|by| Job::Release { by })),
        Plan::ModeChange(_) | Plan::Unmap(_) => unreachable!("only a parameter list leads to this"),
        Plan::AtomicUpdate { .. }
        | Plan::GetLbaStatus { .. }
        | Plan::Read { .. }
        | Plan::SynchronizeCache { .. }
        | Plan::Verify { .. }
        | Plan::Write { .. }
        | Plan::WriteAndVerify { .. }
        | Plan::WriteSame { .. } => medium_work(&plan, unit),
    };
    if is_read_only && planned.work.will_modify() {
        return Planned::check(Sense::WRITE_PROTECTED);
    }
    planned
}

/// Commands that touch the medium.
fn medium_work(plan: &Plan, unit: &Unit) -> Planned {
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
        Plan::AtomicUpdate { kind, extent, fua, .. } => {
            // The device server bounds data-out to one burst, and the blocks with it.
            let Ok(len) = u32::try_from(extent.blocks.0 * block) else {
                unreachable!("an atomic update is limited to one burst")
            };
            let update = Update { kind, len, fua: fua || through };
            let data = kind.data_out_bytes(len.into());
            (Work::AtomicUpdate(update), extent, Some(data), update.operation())
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
        | Plan::Unmap(_) => unreachable!("none of these touches the medium"),
    };
    let range = byte_range(geometry, extent);
    Planned { work, scsi_length: data.unwrap_or(range.len), range, operation, fault: None }
}

/// Atomic updates and WRITE SAME make sense only with exactly the data that they ask for, and a
/// parameter list only as a whole: an initiator that expects to send something else has made a
/// mistake.
fn check_exact_length(
    command: &ScsiCommand,
    scsi_command: &Command,
    block_size: units::BlockSize,
    planned: Planned,
) -> Planned {
    let expected = u64::from(command.expected_data_transfer_length);
    if matches!(planned.work, Work::Parameters { .. }) && expected < planned.scsi_length {
        return Planned::check(Sense::INVALID_FIELD_IN_COMMAND_INFORMATION_UNIT);
    }
    let exact = matches!(scsi_command, Command::AtomicUpdate(_) | Command::WriteSame(_));
    if !exact || planned.fault.is_some() {
        return planned;
    }
    let asked = match scsi_command.transfer(block_size) {
        scsi::Transfer::None => 0,
        scsi::Transfer::In(bytes) | scsi::Transfer::Out(bytes) => bytes,
    };
    if expected == asked { planned } else { Planned::check(Sense::INVALID_FIELD_IN_CDB) }
}

/// A command whose data goes the other way than the initiator thinks, or where it has set no flag
/// for the data that it expects (RFC 7143 11.3.1), is not carried out.
fn check_direction(command: &ScsiCommand, planned: Planned) -> Planned {
    if planned.fault.is_some() || planned.scsi_length == 0 {
        return planned;
    }
    let ScsiCommand { read, write, .. } = *command;
    let contrary = if planned.work.sends_data_in() { write || !read } else { read || !write };
    if contrary && command.expected_data_transfer_length > 0 {
        return Planned::check(Sense::invalid_field_in_cdb(0, None));
    }
    planned
}
