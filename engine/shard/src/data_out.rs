//! Data from the initiator: immediate data, unsolicited Data-Out, and R2T (RFC 7143 4.2.5).
//!
//! A buffer is lent before data is asked for, so that solicited data always has a place. Data
//! that nobody asked for may find the pool empty: then the task ends with TASK SET FULL.

use crate::action::{Action, Placement, SendData};
use crate::connection::{Incoming, ParametersEnd};
use crate::shard::{Shard, Turn};
use crate::steps::CHUNK;
use crate::task::{Burst, Fault, Phase, Sequence, Step, Task, Work};
use iscsi::pdu::{DataOut, ReadyToTransfer, RejectReason, ScsiCommand};
use iscsi::{Bhs, Parameters, TargetTransferTag};
use scsi::Sense;
use units::{BufSlice, ConnId, Key, Serial32, limits};

impl Shard {
    /// Sets up what the initiator will send for a new task, and places its immediate data.
    pub(crate) fn expect_data(&mut self, key: Key, command: &ScsiCommand) -> Placement {
        let Some(task) = self.tasks.get(key) else { return Placement::Discard };
        let Some(conn) = task.conn else { return Placement::Discard };
        let block =
            task.volume.and_then(|v| self.unit(v)).map_or(1, |u| u.geometry.block_size.bytes());
        let Some(session) = self.connections.get(conn.0).and_then(|c| c.session()) else {
            return Placement::Discard;
        };
        let (total, shortage) = useful_bytes(task, block);
        let violation = unsolicited_violation(command, &session.parameters);
        let unasked_max =
            session.parameters.first_burst_length.min(command.expected_data_transfer_length);
        let Some(task) = self.tasks.get_mut(key) else { return Placement::Discard };
        task.data_out.total = total;
        let immediate_len = command.data_segment_length;
        task.data_out.requested = immediate_len.min(total);
        if !command.is_final {
            task.data_out.requested = unasked_max.min(total);
            task.data_out.unsolicited = Some(Sequence {
                tag: TargetTransferTag::RESERVED,
                next: immediate_len,
                end: unasked_max,
                data_sn: 0,
            });
        }
        if let Some(sense) = violation.or(shortage) {
            task.fail(Fault::Check(sense));
        }
        if immediate_len == 0 { Placement::Discard } else { self.place(key, 0, immediate_len) }
    }

    /// Where `len` bytes of data at `offset` of a task go.
    fn place(&mut self, key: Key, offset: u32, len: u32) -> Placement {
        let Some(task) = self.tasks.get_mut(key) else { return Placement::Discard };
        if task.fault.is_some() || task.aborted || offset >= task.data_out.total {
            return Placement::Discard;
        }
        if matches!(task.work, Work::Parameters { .. }) {
            return Placement::Engine;
        }
        let end = offset % limits::BURST_LENGTH_MAX + len;
        if task.burst_at(offset).is_none() && !self.open_burst(key, offset, end) {
            if let Some(task) = self.tasks.get_mut(key) {
                task.fail(Fault::TaskSetFull);
            }
            return Placement::Discard;
        }
        let Some(task) = self.tasks.get_mut(key) else { return Placement::Discard };
        let conn = task.conn;
        let Some((_, burst)) = task.burst_at(offset) else { return Placement::Discard };
        let slice = BufSlice { buf: burst.buf, offset: offset - burst.offset, len };
        if let Some(connection) = conn.and_then(|c| self.connections.get_mut(c.0)) {
            connection.filling = Some(slice.buf);
        }
        Placement::Buffer(slice)
    }

    /// Lends a buffer for the burst of a task's data that begins at or covers `offset`, with
    /// room for `end` bytes, and with it all that the work on the burst needs besides. False
    /// where there is none, or the task has enough bursts under way.
    fn open_burst(&mut self, key: Key, offset: u32, end: u32) -> bool {
        let Some(task) = self.tasks.get(key) else { return false };
        let Some(slot) = task.free_slot() else { return false };
        let start = offset - offset % limits::BURST_LENGTH_MAX;
        let len = (task.data_out.total - start).min(limits::BURST_LENGTH_MAX);
        // Unasked data may be more than the command takes; the rest of it is not used, but it
        // needs a place.
        let unasked = task.data_out.unsolicited.map_or(0, |s| s.end);
        let room = len.max(unasked.saturating_sub(start)).max(end).min(limits::BURST_LENGTH_MAX);
        let [second, chunk, chunk_second] = task.work.further_buffers(len, task.range.len);
        let Some([buf, second, chunk_buf, chunk_second]) =
            self.lender.lend_all([Some(room), second, chunk, chunk_second])
        else {
            return false;
        };
        let Some(task) = self.tasks.get_mut(key) else { return false };
        let burst = |buf, second, len, offset| Burst {
            buf,
            second,
            offset,
            len,
            received: 0,
            step: Step::Collect,
        };
        task.bursts[slot] = buf.map(|buf| burst(buf, second, len, start));
        if let Some(buf) = chunk_buf {
            task.bursts[CHUNK] = Some(burst(buf, chunk_second, chunk.unwrap_or(0), 0));
        }
        true
    }

    /// A part of a parameter list.
    pub(crate) fn parameter_bytes(&mut self, key: Key, bytes: &[u8]) {
        let Some(task) = self.tasks.get_mut(key) else { return };
        let total = usize::try_from(task.data_out.total).unwrap_or(0);
        if let Work::Parameters { list, .. } = &mut task.work {
            let room = total.saturating_sub(list.len());
            list.extend_from_slice(&bytes[..bytes.len().min(room)]);
        }
    }

    /// A command and its immediate data are here.
    pub(crate) fn command_received(&mut self, key: Key, len: u32, turn: &mut Turn<'_>) {
        self.count_received(key, 0, len);
        self.filled(key, turn);
    }

    /// The header of a Data-Out PDU (RFC 7143 11.7).
    pub(crate) fn data_out_header(
        &mut self,
        conn: ConnId,
        bhs: &Bhs,
        turn: &mut Turn<'_>,
    ) -> Placement {
        let Ok(pdu) = DataOut::parse(bhs) else {
            return self.reject(conn, bhs, RejectReason::InvalidPduField, turn);
        };
        let Some(session) = self.session_mut(conn) else { return Placement::Discard };
        // Data of a task that has ended meanwhile is dropped without a word.
        let Some(key) = session.tags.find(pdu.initiator_task_tag) else {
            return Placement::Discard;
        };
        let Some(task) = self.tasks.get_mut(key) else { return Placement::Discard };
        let solicited = pdu.target_transfer_tag != TargetTransferTag::RESERVED;
        // An R2T's LUN comes back with its tag (RFC 7143 11.7.4).
        if solicited && pdu.lun != task.lun {
            return self.reject(conn, bhs, RejectReason::InvalidPduField, turn);
        }
        let Some(task) = self.tasks.get_mut(key) else { return Placement::Discard };
        let Some(sequence) = sequence_mut(task, pdu.target_transfer_tag) else {
            return self.reject(conn, bhs, RejectReason::InvalidPduField, turn);
        };
        // DataPDUInOrder and DataSequenceInOrder are Yes: one offset and one number is right.
        let fits = pdu.buffer_offset == sequence.next
            && pdu.data_segment_length <= sequence.end.saturating_sub(sequence.next);
        let in_order = pdu.data_sn == Serial32(sequence.data_sn);
        if !in_order {
            task.fail(Fault::Check(Sense::PROTOCOL_SERVICE_CRC_ERROR));
        } else if !fits {
            task.fail(Fault::Check(Sense::DATA_OFFSET_ERROR));
        }
        let placement = self.place(key, pdu.buffer_offset, pdu.data_segment_length);
        let (len, is_final) = (pdu.data_segment_length, pdu.is_final);
        let solicited = solicited.then_some(pdu.target_transfer_tag);
        if let Some(connection) = self.connections.get_mut(conn.0) {
            connection.incoming = match placement {
                Placement::Engine => Incoming::Parameters {
                    task: key,
                    end: ParametersEnd::Data { len, is_final, solicited },
                },
                Placement::Buffer(_) | Placement::Discard => {
                    Incoming::Data { task: key, len, is_final, solicited }
                }
            };
        }
        placement
    }

    /// A Data-Out PDU is here.
    pub(crate) fn data_received(
        &mut self,
        key: Key,
        len: u32,
        end: (bool, Option<TargetTransferTag>),
        turn: &mut Turn<'_>,
    ) {
        let (is_final, solicited) = end;
        let Some(task) = self.tasks.get_mut(key) else { return };
        let tag = solicited.unwrap_or(TargetTransferTag::RESERVED);
        let Some(sequence) = sequence_mut(task, tag) else { return self.filled(key, turn) };
        let offset = sequence.next;
        sequence.next = sequence.next.saturating_add(len).min(sequence.end);
        sequence.data_sn = sequence.data_sn.wrapping_add(1);
        let (next, complete) = (sequence.next, sequence.next == sequence.end);
        if is_final || complete {
            if solicited.is_some() {
                task.data_out.solicited.retain(|s| s.tag != tag);
                if !complete {
                    // RFC 7143 11.8.4: an R2T is answered with all the data that it asks for.
                    task.fail(Fault::Check(Sense::NOT_ENOUGH_UNSOLICITED_DATA));
                }
            } else {
                task.data_out.unsolicited = None;
                task.data_out.requested = next.min(task.data_out.total);
            }
        }
        self.count_received(key, offset, len);
        self.filled(key, turn);
    }

    fn count_received(&mut self, key: Key, offset: u32, len: u32) {
        let Some(task) = self.tasks.get_mut(key) else { return };
        if task.fault.is_some() {
            return;
        }
        let useful = len.min(task.data_out.total.saturating_sub(offset));
        task.data_out.received += useful;
        if let Some((_, burst)) = task.burst_at(offset) {
            burst.received = (burst.received + useful).min(burst.len);
        }
    }

    /// Data has come in: goes on with the task.
    fn filled(&mut self, key: Key, turn: &mut Turn<'_>) {
        match self.tasks.get(key).map(|t| t.phase) {
            None => {}
            Some(Phase::Finished) => self.let_go(key, turn),
            Some(Phase::Collecting | Phase::Draining | Phase::Executing) => {
                self.advance(key, turn);
            }
        }
    }

    /// Asks for as much data as may be asked for now.
    pub(crate) fn solicit(&mut self, key: Key, turn: &mut Turn<'_>) {
        loop {
            let Some(task) = self.tasks.get_mut(key) else { return };
            let offset = task.data_out.requested;
            let Some(conn) = task.conn else { return };
            let Some(session) = self.connections.get_mut(conn.0).and_then(|c| c.session_mut())
            else {
                return;
            };
            let outstanding = task.data_out.solicited.len();
            if task.data_out.unsolicited.is_some()
                || offset >= task.data_out.total
                || outstanding
                    >= usize::try_from(session.parameters.max_outstanding_r2t).unwrap_or(1)
            {
                return;
            }
            let end = if matches!(task.work, Work::Parameters { .. }) {
                task.data_out.total
            } else if let Some((_, burst)) = task.burst_at(offset) {
                burst.offset + burst.len
            } else {
                if task.free_slot().is_some() && !self.open_burst(key, offset, 0) {
                    let wanted = self.tasks.get(key).map_or(0, |t| t.buffer_wanted(offset));
                    self.wait_for_buffer(key, wanted);
                    return;
                }
                if self.tasks.get_mut(key).and_then(|t| t.burst_at(offset)).is_none() {
                    return;
                }
                continue;
            };
            let len = (end - offset).min(session.parameters.max_burst_length);
            self.send_r2t(conn, key, len, turn);
        }
    }

    fn send_r2t(&mut self, conn: ConnId, key: Key, len: u32, turn: &mut Turn<'_>) {
        let Some(task) = self.tasks.get_mut(key) else { return };
        let Some(session) = self.connections.get_mut(conn.0).and_then(|c| c.session_mut()) else {
            return;
        };
        let tag = session.new_transfer_tag();
        let offset = task.data_out.requested;
        let mut header = [0; 48];
        ReadyToTransfer {
            lun: task.lun,
            initiator_task_tag: task.tag,
            target_transfer_tag: tag,
            stat_sn: session.stat_sn,
            exp_cmd_sn: session.window.exp_cmd_sn(),
            max_cmd_sn: session.window.max_cmd_sn(),
            r2t_sn: Serial32(task.data_out.r2t_sn),
            buffer_offset: offset,
            desired_data_transfer_length: len,
        }
        .emit(&mut header);
        task.data_out.r2t_sn += 1;
        task.data_out.requested = offset + len;
        let end = offset + len;
        task.data_out.solicited.push(Sequence { tag, next: offset, end, data_sn: 0 });
        turn.push(Action::Send { conn, header, data: SendData::None, sample: None });
    }
}

/// The sequence that a Data-Out PDU belongs to.
fn sequence_mut(task: &mut Task, tag: TargetTransferTag) -> Option<&mut Sequence> {
    if tag == TargetTransferTag::RESERVED {
        return task.data_out.unsolicited.as_mut();
    }
    task.data_out.solicited.iter_mut().find(|s| s.tag == tag)
}

/// Bytes of data-out that the command can use, and what is wrong where that is too little.
fn useful_bytes(task: &Task, block: u32) -> (u32, Option<Sense>) {
    let expected = task.expected_data_transfer_length;
    let wanted = u32::try_from(task.scsi_length).unwrap_or(u32::MAX);
    match &task.work {
        Work::Answer(_)
        | Work::Coordinate(_)
        | Work::Flush
        | Work::LbaStatus { .. }
        | Work::Management
        | Work::Read
        | Work::Unmap(_) => (0, None),
        Work::Parameters { .. } => (wanted.min(expected), None),
        // Whole blocks only: a part of a block is never written.
        Work::Write { .. } | Work::WriteAndVerify(_) | Work::Verify(scsi::VerifyBytes::Compare) => {
            let total = wanted.min(expected);
            (total - total % block.max(1), None)
        }
        // These make sense with all of their data only.
        Work::CompareAndWrite { .. } | Work::Verify(_) | Work::WriteSame { .. } => {
            if expected < wanted {
                (0, Some(Sense::INVALID_FIELD_IN_COMMAND_INFORMATION_UNIT))
            } else {
                (wanted, None)
            }
        }
    }
}

/// What is wrong with the data that a command brings or announces (RFC 7143 11.3.4, 11.4.7.2).
fn unsolicited_violation(command: &ScsiCommand, parameters: &Parameters) -> Option<Sense> {
    let len = command.data_segment_length;
    if len > 0 && (!command.write || !parameters.immediate_data) {
        return Some(Sense::UNEXPECTED_UNSOLICITED_DATA);
    }
    if !command.is_final && parameters.initial_r2t {
        return Some(Sense::UNEXPECTED_UNSOLICITED_DATA);
    }
    let most = parameters.first_burst_length.min(command.expected_data_transfer_length);
    (len > most).then_some(Sense::NOT_ENOUGH_UNSOLICITED_DATA)
}
