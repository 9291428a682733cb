//! The end of a task: its status, its residual, its sense.

use crate::action::{Action, Sample, SendData};
use crate::event::CommandFault;
use crate::session::{Session, Stamp};
use crate::task::bursts::send_answer;
use crate::task::completion::closing_sense;
use crate::task::work::Work;
use crate::task::{Fault, Phase, Reach, Task};
use crate::turn::Turn;
use iscsi::pdu::{Residual, ScsiResponse, ServiceResponse};
use scsi::{Sense, SenseFormat};
use units::Serial32;

/// SCSI status codes (SAM-5 5.3.1).
pub(crate) mod status {
    /// GOOD.
    pub(crate) const GOOD: u8 = 0x00;
    /// CHECK CONDITION.
    pub(crate) const CHECK_CONDITION: u8 = 0x02;
    /// RESERVATION CONFLICT.
    pub(crate) const RESERVATION_CONFLICT: u8 = 0x18;
    /// TASK SET FULL.
    pub(crate) const TASK_SET_FULL: u8 = 0x28;
}

/// Ends a task that is done or has failed: sends its response, unless it was aborted. Its buffers
/// go back once nothing of it is under way.
#[inline]
pub(crate) fn finish(task: &mut Task, reach: &mut Reach<'_, '_>) {
    assert!(task.phase != Phase::Finished, "a task finishes once");
    debug_assert!(!task.aborted, "an abort finishes a task by itself");
    debug_assert!(task.is_still(), "a response says that nothing of the task goes on: {task:?}");
    if task.fault.is_some() && task.data_out.unsolicited.is_some() {
        task.phase = Phase::Draining;
        return;
    }
    task.phase = Phase::Finished;
    task.untag(reach);
    if task.fault.is_some() || matches!(task.work, Work::Answer(_)) {
        return finish_specially(task, reach);
    }
    let Some(session) = reach.session.as_deref_mut() else {
        unreachable!("the end of a session aborts its tasks")
    };
    let closing = Closing { status: status::GOOD, residual: residual(task), data: Vec::new() };
    send_response(task, closing, sample(task, None), session, reach.turn);
}

/// Sends what is not just GOOD: data, sense, another status.
fn finish_specially(task: &mut Task, reach: &mut Reach<'_, '_>) {
    let answers = matches!(&task.work, Work::Answer(answer) if !answer.is_empty());
    if answers && task.fault.is_none() && task.expected_data_transfer_length > 0 {
        return send_answer(task, reach);
    }
    let unit = reach.unit.as_deref();
    let format = unit.map_or(SenseFormat::Fixed, |u| u.model.sense_format());
    let fault = task.fault.map(|fault| match fault {
        Fault::Check(sense) => Fault::Check(closing_sense(task, sense, unit)),
        Fault::ReservationConflict | Fault::TaskSetFull => fault,
    });
    let Some(session) = reach.session.as_deref_mut() else {
        unreachable!("the end of a session aborts its tasks")
    };
    let closing = match fault {
        Some(fault) => closing_fault(task, fault, format),
        None => Closing { status: status::GOOD, residual: residual(task), data: Vec::new() },
    };
    let sample = sample(task, fault.map(command_fault));
    send_response(task, closing, sample, session, reach.turn);
}

/// Sends TASK SET FULL for a command that found no room for its task.
pub(crate) fn refuse(task: &Task, session: &mut Session, turn: &mut Turn<'_>) {
    let closing = closing_fault(task, Fault::TaskSetFull, SenseFormat::Fixed);
    send_response(task, closing, None, session, turn);
}

#[inline(always)]
fn send_response(
    task: &Task,
    closing: Closing,
    sample: Option<Sample>,
    session: &mut Session,
    turn: &mut Turn<'_>,
) {
    let Stamp { stat_sn, exp_cmd_sn, max_cmd_sn } = session.stamp();
    let mut header = [0; 48];
    let Ok(data_segment_length) = u32::try_from(closing.data.len()) else {
        unreachable!("sense data has at most 252 bytes")
    };
    ScsiResponse {
        response: ServiceResponse::CommandCompleted,
        status: closing.status,
        data_segment_length,
        initiator_task_tag: task.tag,
        snack_tag: 0,
        stat_sn,
        exp_cmd_sn,
        max_cmd_sn,
        // Data-In and R2T PDUs that the task has sent (RFC 7143 11.4.8).
        exp_data_sn: Serial32(task.data_in.data_sn + task.data_out.r2t_sn),
        bidirectional_read_residual: Residual::None,
        residual: closing.residual,
    }
    .emit(&mut header);
    let data = if closing.data.is_empty() { SendData::None } else { SendData::Bytes(closing.data) };
    turn.push(Action::Send { conn: session.conn, header, data, sample });
}

/// How a task ends.
struct Closing {
    status: u8,
    residual: Residual,
    /// Sense, as a data segment.
    data: Vec<u8>,
}

/// The residual of a command that moved what it should (RFC 7143 11.4.5): the length that the
/// CDB asks for against the length that the initiator expects.
pub(crate) fn residual(task: &Task) -> Residual {
    let expected = u64::from(task.expected_data_transfer_length);
    // The field has 32 bits; more than that is not transferred by any command.
    let count = |n: u64| u32::try_from(n).unwrap_or(u32::MAX);
    match task.scsi_length {
        length if length > expected => Residual::Overflow(count(length - expected)),
        length if length < expected => Residual::Underflow(count(expected - length)),
        _ => Residual::None,
    }
}

/// The residual of a task that fails counts what was not moved.
#[cold]
fn closing_fault(task: &Task, fault: Fault, format: SenseFormat) -> Closing {
    let moved = task.data_in.sent.max(task.data_out.received);
    let left = task.expected_data_transfer_length.saturating_sub(moved);
    let residual = match fault {
        // The lengths of CDB and PDU do not fit together: the residual is their difference, as in a
        // command that moves its data. libiscsi's conformance suite asks for that.
        Fault::Check(Sense::INVALID_FIELD_IN_COMMAND_INFORMATION_UNIT) => residual(task),
        _ if left == 0 => Residual::None,
        Fault::Check(_) | Fault::ReservationConflict | Fault::TaskSetFull => {
            Residual::Underflow(left)
        }
    };
    let (status, data) = match fault {
        Fault::Check(sense) => (status::CHECK_CONDITION, sense_segment(sense, format)),
        Fault::ReservationConflict => (status::RESERVATION_CONFLICT, Vec::new()),
        Fault::TaskSetFull => (status::TASK_SET_FULL, Vec::new()),
    };
    Closing { status, residual, data }
}

const fn command_fault(fault: Fault) -> CommandFault {
    match fault {
        Fault::Check(sense) => CommandFault::of(sense.key),
        Fault::ReservationConflict => CommandFault::ReservationConflict,
        Fault::TaskSetFull => CommandFault::TaskSetFull,
    }
}

/// The data segment of a CHECK CONDITION: SenseLength and the sense data (RFC 7143 11.4.7).
fn sense_segment(sense: Sense, format: SenseFormat) -> Vec<u8> {
    let data = sense.data(format);
    let bytes = data.as_bytes();
    let Ok(len) = u16::try_from(bytes.len()) else {
        unreachable!("sense data has at most 252 bytes")
    };
    let mut segment = Vec::with_capacity(2 + bytes.len());
    segment.extend_from_slice(&len.to_be_bytes());
    segment.extend_from_slice(bytes);
    segment
}

/// What statistics learn of the task.
pub(crate) fn sample(task: &Task, fault: Option<CommandFault>) -> Option<Sample> {
    let volume = task.volume?;
    Some(Sample {
        volume,
        operation: task.operation,
        bytes: task.data_in.sent.max(task.data_out.received),
        fault,
        received_at: task.times.received,
        submitted_at: task.times.submitted.unwrap_or(task.times.received),
        completed_at: task.times.completed,
    })
}
