//! READ and WRITE that nothing stands in the way of, which is nearly all of them: one burst, one
//! PDU each way, no attention, reservation or held range.
//!
//! The general way (`command`, `data_out`, `streams`, `respond`) says what is right. This one does
//! the same in fewer steps, and leaves a task that the general way can take over at any moment. A
//! test runs both against each other (`tests::straight`).

use crate::action::{Action, Placement, Sample, SendData};
use crate::connection::Incoming;
use crate::operation::{OpId, Operation};
use crate::respond::{residual, status};
use crate::shard::{Shard, Turn};
use crate::task::{Burst, DataInState, DataOutState, Phase, Step, Task, Work};
use iscsi::TargetTransferTag;
use iscsi::pdu::{DataIn, DataInStatus, Residual, ScsiCommand, ScsiResponse, ServiceResponse};
use scsi::PlainTransfer;
use units::{BufSlice, ConnId, Key, Lun, Serial32, VolumeId, limits};
use volume::{BlockRequest, ByteRange};

/// A transfer that can go straight.
struct Found {
    volume: VolumeId,
    range: ByteRange,
    len: u32,
    work: Work,
}

impl Shard {
    /// Begins a command that has its place in the command window and a new tag. `None` where it
    /// is none of those that can go straight; nothing has been done then.
    pub(crate) fn begin_straight(
        &mut self,
        conn: ConnId,
        command: &ScsiCommand,
        turn: &mut Turn<'_>,
    ) -> Option<Placement> {
        let Found { volume, range, len, work } = self.find_straight(conn, command)?;
        if self.tasks.is_full() {
            return None;
        }
        let buf = self.lender.lend(len)?;
        let reads = matches!(work, Work::Read);
        let slice = BufSlice { buf, offset: 0, len };
        let step = if reads { Step::Read } else { Step::Collect };
        let mut bursts = [None; limits::BURSTS_PER_TASK_MAX];
        bursts[0] = Some(Burst { buf, second: None, offset: 0, len, received: 0, step });
        let data_out = if reads { 0 } else { len };
        let task = Task {
            conn: Some(conn),
            tag: command.initiator_task_tag,
            lun: command.lun,
            volume: Some(volume),
            cmd_sn: command.cmd_sn,
            immediate: false,
            expected_data_transfer_length: len,
            operation: if reads { Operation::Read } else { Operation::Write },
            work,
            scsi_length: range.len,
            range,
            phase: Phase::Collecting,
            data_out: DataOutState { total: data_out, requested: data_out, ..Default::default() },
            data_in: DataInState::default(),
            cursor: if reads { range.len } else { 0 },
            bursts,
            is_hungry: false,
            on_wire: 0,
            io_in_flight: u8::from(reads),
            jobs_in_flight: 0,
            fault: None,
            aborted: false,
            holds_range: false,
            arrival: self.next_arrival(),
            received_at: turn.now,
            submitted_at: reads.then_some(turn.now),
            completed_at: turn.now,
        };
        // There is room: this was checked.
        let key = self.tasks.insert(task).ok()?;
        let connection = self.connections.get_mut(conn.0)?;
        let placement = if reads {
            let op = OpId { task: key, part: 0 };
            let offset = range.offset;
            let request = BlockRequest::Read { offset, into: slice, only_to_send: true };
            turn.push(Action::Io { op, volume, request });
            Placement::Discard
        } else {
            connection.incoming = Incoming::Command { task: key, immediate_len: len };
            connection.filling = Some(buf);
            Placement::Buffer(slice)
        };
        connection.session_mut()?.tags.insert(command.initiator_task_tag, key);
        Some(placement)
    }

    fn find_straight(&self, conn: ConnId, command: &ScsiCommand) -> Option<Found> {
        let session = self.connections.get(conn.0)?.session()?;
        if !self.straight {
            return None;
        }
        if command.immediate || command.total_ahs_length > 0 || !session.attentions.is_empty() {
            return None;
        }
        let mapping = session.target()?.luns.get(&command.lun.number()?)?;
        let unit = self.unit(mapping.volume)?;
        if unit.removed || unit.reserved_by.is_some() || !unit.held.is_empty() {
            return None;
        }
        let transfer = PlainTransfer::find(&command.cdb, &unit.unit)?;
        let PlainTransfer { write, extent, fua } = transfer;
        let range = unit.geometry.byte_range(extent.lba, extent.blocks)?;
        let len = u32::try_from(range.len).ok().filter(|&len| len <= limits::BURST_LENGTH_MAX)?;
        let fits = command.expected_data_transfer_length == len
            && command.write == write
            && command.read != write;
        let goes_straight = if write {
            // All of the data comes with the command.
            command.is_final
                && command.data_segment_length == len
                && session.parameters.immediate_data
                && len <= session.parameters.first_burst_length
                && !mapping.read_only
        } else {
            command.data_segment_length == 0
        };
        if !fits || !goes_straight {
            return None;
        }
        let work =
            if write { Work::Write { fua: fua || unit.writes_through() } } else { Work::Read };
        Some(Found { volume: mapping.volume, range, len, work })
    }

    /// The only burst of a READ is here: sends it with the status. False where the task is not so
    /// simple; nothing has been done then.
    pub(crate) fn end_straight_read(&mut self, key: Key, slot: usize, turn: &mut Turn<'_>) -> bool {
        let Some(task) = self.tasks.get(key).filter(|_| self.straight) else { return false };
        let (Some(burst), Some(conn)) = (task.bursts[slot], task.conn) else { return false };
        let len = task.data_in_total();
        let is_whole = burst.offset == 0 && burst.len == len && is_alone(task);
        let Some(session) = self.connections.get_mut(conn.0).and_then(|c| c.session_mut()) else {
            return false;
        };
        let longest = session
            .parameters
            .max_recv_data_segment_length
            .min(session.parameters.max_burst_length);
        if !is_whole || len > longest {
            return false;
        }
        session.tags.remove(task.tag, key);
        session.window.retire();
        let stat_sn = session.stat_sn.take_next();
        let mut header = [0; 48];
        DataIn {
            is_final: true,
            acknowledge: false,
            status: Some(DataInStatus { status: status::GOOD, stat_sn, residual: residual(task) }),
            data_segment_length: len,
            lun: Lun::ZERO,
            initiator_task_tag: task.tag,
            target_transfer_tag: TargetTransferTag::RESERVED,
            exp_cmd_sn: session.window.exp_cmd_sn(),
            max_cmd_sn: session.window.max_cmd_sn(),
            data_sn: Serial32(0),
            buffer_offset: 0,
        }
        .emit(&mut header);
        let sample = straight_sample(task, len);
        let slice = BufSlice { buf: burst.buf, offset: 0, len };
        let data = SendData::Buffer { slice, last: true };
        turn.push(Action::Send { conn, header, data, sample });
        self.tasks.discard(key);
        true
    }

    /// The only burst of a WRITE is on the medium: answers it. False as with
    /// [`Self::end_straight_read`].
    pub(crate) fn end_straight_write(
        &mut self,
        key: Key,
        slot: usize,
        turn: &mut Turn<'_>,
    ) -> bool {
        let Some(task) = self.tasks.get(key).filter(|_| self.straight) else { return false };
        let (Some(burst), Some(conn)) = (task.bursts[slot], task.conn) else { return false };
        let len = task.data_out.total;
        let is_whole = burst.offset == 0
            && burst.len == len
            && task.data_out.received == len
            && task.data_out.unsolicited.is_none()
            && task.data_out.solicited.is_empty()
            && is_alone(task);
        let filling = self.connections.get(conn.0).and_then(|c| c.filling);
        if !is_whole || filling == Some(burst.buf) {
            return false;
        }
        if let Some(task) = self.tasks.get_mut(key) {
            task.bursts[slot] = None;
            task.cursor = len.into();
        }
        // Others may go on with it, before this task is answered as after.
        self.give_back(burst.buf, turn);
        self.answer_straight_write(key, conn, turn);
        true
    }

    fn answer_straight_write(&mut self, key: Key, conn: ConnId, turn: &mut Turn<'_>) {
        let Some(task) = self.tasks.get(key) else { return };
        let session = self.connections.get_mut(conn.0).and_then(|c| c.session_mut());
        let Some(session) = session.filter(|_| !task.aborted) else {
            return self.finish(key, turn);
        };
        session.tags.remove(task.tag, key);
        session.window.retire();
        let mut header = [0; 48];
        ScsiResponse {
            response: ServiceResponse::CommandCompleted,
            status: status::GOOD,
            data_segment_length: 0,
            initiator_task_tag: task.tag,
            snack_tag: 0,
            stat_sn: session.stat_sn.take_next(),
            exp_cmd_sn: session.window.exp_cmd_sn(),
            max_cmd_sn: session.window.max_cmd_sn(),
            exp_data_sn: Serial32(task.data_out.r2t_sn),
            bidirectional_read_residual: Residual::None,
            residual: residual(task),
        }
        .emit(&mut header);
        let sample = straight_sample(task, task.data_out.received);
        turn.push(Action::Send { conn, header, data: SendData::None, sample });
        self.tasks.discard(key);
    }
}

/// Whether nothing else of a task is under way, and nothing has gone wrong.
fn is_alone(task: &Task) -> bool {
    task.io_in_flight == 0
        && task.jobs_in_flight == 0
        && task.on_wire == 0
        && task.fault.is_none()
        && !task.aborted
        && !task.immediate
        && !task.holds_range
        && task.bursts.iter().flatten().count() == 1
}

fn straight_sample(task: &Task, bytes: u32) -> Option<Sample> {
    Some(Sample {
        volume: task.volume?,
        operation: task.operation,
        bytes,
        received_at: task.received_at,
        submitted_at: task.submitted_at.unwrap_or(task.received_at),
        completed_at: task.completed_at,
    })
}
