//! The end of a task: its status, its residual, its sense.

use crate::action::{Action, Sample, SendData};
use crate::shard::{Shard, Turn};
use crate::task::{Fault, Phase, Task, Work};
use iscsi::pdu::{Residual, ScsiResponse, ServiceResponse};
use scsi::{Sense, SenseFormat};
use units::{Key, Serial32};

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

impl Shard {
    /// Ends a task that is done or has failed: sends its response, unless it was aborted or its
    /// Data-In has carried it, and lets it go once nothing of it is under way.
    pub(crate) fn finish(&mut self, key: Key, turn: &mut Turn<'_>) {
        let Some(task) = self.tasks.get_mut(key) else { return };
        if task.phase == Phase::Finished {
            self.let_go(key, turn);
            return;
        }
        if task.fault.is_some() && task.data_out.unsolicited.is_some() && !task.aborted {
            task.phase = Phase::Draining;
            return;
        }
        task.phase = Phase::Finished;
        if !task.aborted {
            self.untag(key);
            if let Some(task) = self.tasks.get(key) {
                let unit = task.volume.and_then(|v| self.unit(v));
                let format = unit.map_or(SenseFormat::Fixed, |u| u.unit.sense_format());
                let (data, end) = closing(task, format);
                self.send_response(key, data, end, turn);
            }
        }
        self.let_go(key, turn);
    }

    /// Removes the tag from the session, and gives its place in the window back.
    pub(crate) fn untag(&mut self, key: Key) {
        let Some(task) = self.tasks.get(key) else { return };
        let Some(conn) = task.conn else { return };
        let (tag, immediate) = (task.tag, task.immediate);
        if let Some(session) = self.session_mut(conn) {
            session.tags.remove(tag, key);
        }
        self.retire(conn, immediate);
    }

    /// Frees a finished task and its buffers, if nothing of it is under way.
    pub(crate) fn let_go(&mut self, key: Key, turn: &mut Turn<'_>) {
        let Some(task) = self.tasks.get(key) else { return };
        if task.io_in_flight > 0 || task.jobs_in_flight > 0 || self.is_filling(task.conn, key) {
            return;
        }
        let Some(task) = self.tasks.remove(key) else { return };
        if task.holds_range
            && let Some(volume) = task.volume
        {
            self.release_range(volume, key, turn);
        }
        for burst in task.bursts.into_iter().flatten() {
            self.give_back(burst.buf, turn);
            if let Some(second) = burst.second {
                self.give_back(second, turn);
            }
        }
        self.task_is_quiet(key, turn);
    }

    fn send_response(&mut self, key: Key, data: Vec<u8>, end: End, turn: &mut Turn<'_>) {
        let Some(task) = self.tasks.get(key) else { return };
        let Some(conn) = task.conn else { return };
        let sample = sample(task);
        let mut response = response(task, &end);
        if let Work::Answer(answer) = &task.work
            && end.status == status::GOOD
            && !answer.is_empty()
            && task.expected_data_transfer_length > 0
        {
            self.send_answer(key, turn);
            return;
        }
        let Some(session) = self.session_mut(conn) else { return };
        response.stat_sn = session.stat_sn.take_next();
        response.exp_cmd_sn = session.window.exp_cmd_sn();
        response.max_cmd_sn = session.window.max_cmd_sn();
        response.data_segment_length = u32::try_from(data.len()).unwrap_or(0);
        let mut header = [0; 48];
        response.emit(&mut header);
        let data = if data.is_empty() { SendData::None } else { SendData::Bytes(data) };
        turn.push(Action::Send { conn, header, data, sample });
    }

    /// Sends a status for a task that was never booked.
    pub(crate) fn send_status(&mut self, task: &Task, fault: Fault, turn: &mut Turn<'_>) {
        let Some(conn) = task.conn else { return };
        let (data, end) = closing_fault(task, fault, SenseFormat::Fixed);
        let mut response = response(task, &end);
        let Some(session) = self.session_mut(conn) else { return };
        response.stat_sn = session.stat_sn.take_next();
        response.exp_cmd_sn = session.window.exp_cmd_sn();
        response.max_cmd_sn = session.window.max_cmd_sn();
        response.data_segment_length = u32::try_from(data.len()).unwrap_or(0);
        let mut header = [0; 48];
        response.emit(&mut header);
        let data = if data.is_empty() { SendData::None } else { SendData::Bytes(data) };
        turn.push(Action::Send { conn, header, data, sample: None });
    }
}

/// How a task ends.
pub(crate) struct End {
    pub(crate) status: u8,
    pub(crate) residual: Residual,
}

/// The residual of a command that moved what it should (RFC 7143 11.4.5): the length that the
/// CDB asks for against the length that the initiator expects.
pub(crate) fn residual(task: &Task) -> Residual {
    let expected = u64::from(task.expected_data_transfer_length);
    let count = |n: u64| u32::try_from(n).unwrap_or(u32::MAX);
    match task.scsi_length {
        length if length > expected => Residual::Overflow(count(length - expected)),
        length if length < expected => Residual::Underflow(count(expected - length)),
        _ => Residual::None,
    }
}

fn closing(task: &Task, format: SenseFormat) -> (Vec<u8>, End) {
    match task.fault {
        Some(fault) => closing_fault(task, fault, format),
        None => (Vec::new(), End { status: status::GOOD, residual: residual(task) }),
    }
}

/// The residual of a task that fails counts what was not moved.
fn closing_fault(task: &Task, fault: Fault, format: SenseFormat) -> (Vec<u8>, End) {
    let moved = task.data_in.sent.max(task.data_out.received);
    let left = task.expected_data_transfer_length.saturating_sub(moved);
    let residual = if left == 0 { Residual::None } else { Residual::Underflow(left) };
    match fault {
        Fault::Check(sense) => {
            (sense_segment(sense, format), End { status: status::CHECK_CONDITION, residual })
        }
        Fault::ReservationConflict => {
            (Vec::new(), End { status: status::RESERVATION_CONFLICT, residual })
        }
        Fault::TaskSetFull => (Vec::new(), End { status: status::TASK_SET_FULL, residual }),
    }
}

/// The data segment of a CHECK CONDITION: SenseLength and the sense data (RFC 7143 11.4.7).
fn sense_segment(sense: Sense, format: SenseFormat) -> Vec<u8> {
    let data = sense.data(format);
    let bytes = data.as_bytes();
    let len = u16::try_from(bytes.len()).unwrap_or(0);
    let mut segment = Vec::with_capacity(2 + bytes.len());
    segment.extend_from_slice(&len.to_be_bytes());
    segment.extend_from_slice(bytes);
    segment
}

fn response(task: &Task, end: &End) -> ScsiResponse {
    ScsiResponse {
        response: ServiceResponse::CommandCompleted,
        status: end.status,
        data_segment_length: 0,
        initiator_task_tag: task.tag,
        snack_tag: 0,
        stat_sn: Serial32(0),
        exp_cmd_sn: Serial32(0),
        max_cmd_sn: Serial32(0),
        // Data-In and R2T PDUs that the task has sent (RFC 7143 11.4.8).
        exp_data_sn: Serial32(task.data_in.data_sn + task.data_out.r2t_sn),
        bidirectional_read_residual: Residual::None,
        residual: end.residual,
    }
}

/// What statistics learn of the task.
pub(crate) fn sample(task: &Task) -> Option<Sample> {
    let volume = task.volume?;
    Some(Sample {
        volume,
        operation: task.operation,
        bytes: task.data_in.sent.max(task.data_out.received),
        received_at: task.received_at,
        submitted_at: task.submitted_at.unwrap_or(task.received_at),
        completed_at: task.completed_at,
    })
}
