//! Commands whose data moves in bursts, each worked on as soon as it can be: READ, WRITE,
//! VERIFY and WRITE AND VERIFY with data.

use crate::action::{Action, IoResult, SendData};
use crate::operation::OpId;
use crate::respond::{residual, sample, status};
use crate::shard::{Shard, Turn};
use crate::task::{Burst, Fault, Phase, Step, Task, Work};
use iscsi::TargetTransferTag;
use iscsi::pdu::{DataIn, DataInStatus};
use scsi::{Sense, VerifyBytes};
use units::{BufSlice, Key, Lun, Serial32, VolumeId, limits};
use volume::{BlockRequest, ByteRange};

impl Shard {
    /// Takes a task as far as it goes now. Everything that may have changed something for a
    /// task ends here: data came, an operation ended, a buffer or a range became free.
    pub(crate) fn advance(&mut self, key: Key, turn: &mut Turn<'_>) {
        let Some(task) = self.tasks.get_mut(key) else { return };
        if task.fault.is_some() {
            if task.io_in_flight == 0 && task.jobs_in_flight == 0 {
                self.finish(key, turn);
            }
            return;
        }
        let arrived = task.data_out.received >= task.data_out.total;
        let all_here = arrived && task.data_out.unsolicited.is_none();
        if task.work.streams() {
            if matches!(task.work, Work::Read) {
                return self.advance_read(key, turn);
            }
            if all_here && task.cursor >= u64::from(task.data_out.total) {
                return self.finish(key, turn);
            }
            self.start_filled_bursts(key, turn);
            self.solicit(key, turn);
        } else if all_here {
            if task.phase == Phase::Collecting {
                task.phase = Phase::Executing;
                self.begin(key, turn);
            }
        } else {
            self.solicit(key, turn);
        }
    }

    /// What held the task up may have gone.
    pub(crate) fn resume(&mut self, key: Key, turn: &mut Turn<'_>) {
        let Some(task) = self.tasks.get_mut(key) else { return };
        match task.phase {
            Phase::Finished | Phase::Draining => {}
            Phase::Executing if !task.work.streams() => {
                if task.io_in_flight == 0 && task.jobs_in_flight == 0 {
                    self.continue_after(key, turn);
                }
            }
            Phase::Collecting | Phase::Executing => self.advance(key, turn),
        }
    }

    /// Notes that the task waits for a buffer of at least `bytes`.
    pub(crate) fn wait_for_buffer(&mut self, key: Key, bytes: u32) {
        let Some(task) = self.tasks.get_mut(key) else { return };
        if !std::mem::replace(&mut task.is_hungry, true) {
            self.lender.wait(key, bytes);
            self.lender.forget_gone(self.tasks.len(), |key| self.tasks.get(key).is_some());
        }
    }

    /// Whether a range is free for the task; if another one holds it, the task waits.
    pub(crate) fn range_is_free(&mut self, key: Key, volume: VolumeId, extent: ByteRange) -> bool {
        let Some(unit) = self.unit_mut(volume) else { return true };
        if unit.held.is_empty() || !unit.held.overlaps(extent) {
            return true;
        }
        if !unit.waiting.contains(&key) {
            unit.waiting.push_back(key);
        }
        false
    }

    fn start_filled_bursts(&mut self, key: Key, turn: &mut Turn<'_>) {
        for slot in 0..limits::BURSTS_PER_TASK_MAX {
            let Some(task) = self.tasks.get(key) else { return };
            let Some(burst) = task.bursts[slot] else { continue };
            match burst.step {
                Step::Collect if burst.received == burst.len => {
                    self.start_burst(key, slot, burst, turn);
                }
                Step::Collect | Step::Compare | Step::Read | Step::Send | Step::Write => {}
            }
        }
    }

    fn start_burst(&mut self, key: Key, slot: usize, burst: Burst, turn: &mut Turn<'_>) {
        let Some(task) = self.tasks.get(key) else { return };
        let Some(volume) = task.volume else { return };
        let extent = burst_extent(task, &burst);
        let durable = task.work.write_durability();
        if !self.range_is_free(key, volume, extent) {
            return;
        }
        let Some(durable) = durable else {
            return self.read_second(key, slot, turn);
        };
        let Some(task) = self.tasks.get_mut(key) else { return };
        set_step(task, slot, Step::Write);
        let last_use = task.work.verify_bytes().is_none();
        let op = begin_io(task, key, slot, turn);
        let from = BufSlice { buf: burst.buf, offset: 0, len: burst.len };
        let offset = extent.offset;
        let request = BlockRequest::Write { offset, from, durable, last_use };
        turn.push(Action::Io { op, volume, request });
    }

    /// Reads what the medium holds in place of a burst, to compare or just to see that it can.
    fn read_second(&mut self, key: Key, slot: usize, turn: &mut Turn<'_>) {
        let Some(task) = self.tasks.get_mut(key) else { return };
        let (Some(volume), Some(burst)) = (task.volume, task.bursts[slot]) else { return };
        let extent = burst_extent(task, &burst);
        set_step(task, slot, Step::Read);
        let op = begin_io(task, key, slot, turn);
        // The second buffer was lent together with the first.
        let buf = burst.second.unwrap_or(burst.buf);
        let into = BufSlice { buf, offset: 0, len: burst.len };
        let offset = extent.offset;
        let request = BlockRequest::Read { offset, into, only_to_send: false };
        turn.push(Action::Io { op, volume, request });
    }

    /// An operation of a streaming task has ended well.
    pub(crate) fn burst_done(
        &mut self,
        key: Key,
        slot: usize,
        result: IoResult,
        turn: &mut Turn<'_>,
    ) {
        let Some(task) = self.tasks.get_mut(key) else { return };
        let Some(burst) = task.bursts[slot] else { return };
        let bytes = task.work.verify_bytes();
        match (burst.step, bytes) {
            (Step::Read, None) => {
                if self.end_straight_read(key, slot, turn) {
                    return;
                }
                let Some(task) = self.tasks.get_mut(key) else { return };
                set_step(task, slot, Step::Send);
                self.send_ready(key, turn);
            }
            (Step::Write, Some(_)) => self.read_second(key, slot, turn),
            (Step::Read, Some(VerifyBytes::Compare)) => {
                set_step(task, slot, Step::Compare);
                let op = begin_io(task, key, slot, turn);
                let expected = BufSlice { buf: burst.buf, offset: 0, len: burst.len };
                let second = burst.second.unwrap_or(burst.buf);
                let actual = BufSlice { buf: second, offset: 0, len: burst.len };
                turn.push(Action::Compare { op, expected, actual });
            }
            (Step::Compare, _) => {
                if let IoResult::Differs { at } = result {
                    let at = u64::from(burst.offset) + u64::from(at);
                    task.fail(Fault::Check(Sense::miscompare(at)));
                }
                self.complete_burst(key, slot, turn);
            }
            (Step::Write, None) if self.end_straight_write(key, slot, turn) => {}
            (Step::Write, None)
            | (Step::Read, Some(VerifyBytes::None | VerifyBytes::CompareOneBlock)) => {
                self.complete_burst(key, slot, turn);
            }
            (Step::Collect | Step::Send, _) => {}
        }
    }

    fn complete_burst(&mut self, key: Key, slot: usize, turn: &mut Turn<'_>) {
        let Some(task) = self.tasks.get_mut(key) else { return };
        let Some(burst) = task.bursts[slot].take() else { return };
        task.cursor += u64::from(burst.len);
        self.give_back(burst.buf, turn);
        if let Some(second) = burst.second {
            self.give_back(second, turn);
        }
        self.advance(key, turn);
    }

    /// Reads as many bursts ahead as a task may have.
    fn advance_read(&mut self, key: Key, turn: &mut Turn<'_>) {
        loop {
            let Some(task) = self.tasks.get(key) else { return };
            if task.data_in_total() == 0 {
                return self.finish(key, turn);
            }
            let left = u64::from(task.data_in_total()).saturating_sub(task.cursor);
            let (Some(slot), Some(volume), 1..) = (task.free_slot(), task.volume, left) else {
                return;
            };
            let on_medium = task.range.len - task.cursor;
            let disk_len = on_medium.min(u64::from(limits::BURST_LENGTH_MAX));
            // Both are at most BURST_LENGTH_MAX, a u32.
            let disk_len = u32::try_from(disk_len).unwrap_or(limits::BURST_LENGTH_MAX);
            let len = u32::try_from(left.min(u64::from(disk_len))).unwrap_or(disk_len);
            let extent =
                ByteRange { offset: task.range.offset + task.cursor, len: u64::from(disk_len) };
            if !self.range_is_free(key, volume, extent) {
                return;
            }
            let Some(buf) = self.lender.lend(disk_len) else {
                return self.wait_for_buffer(key, disk_len);
            };
            let Some(task) = self.tasks.get_mut(key) else { return };
            // The expected data transfer length is 32 bits wide, and so is the cursor below it.
            let offset = u32::try_from(task.cursor).unwrap_or(u32::MAX);
            task.bursts[slot] =
                Some(Burst { buf, second: None, offset, len, received: 0, step: Step::Read });
            task.cursor += u64::from(len);
            let op = begin_io(task, key, slot, turn);
            let into = BufSlice { buf, offset: 0, len: disk_len };
            let offset = extent.offset;
            let request = BlockRequest::Read { offset, into, only_to_send: true };
            turn.push(Action::Io { op, volume, request });
        }
    }

    /// Sends the bursts whose turn it is.
    fn send_ready(&mut self, key: Key, turn: &mut Turn<'_>) {
        loop {
            let Some(task) = self.tasks.get_mut(key) else { return };
            let sent = task.data_in.sent;
            let ready = |b: &Option<Burst>| {
                b.as_ref().is_some_and(|b| b.step == Step::Send && b.offset == sent)
            };
            let Some(slot) = task.bursts.iter().position(ready) else { break };
            let Some(burst) = task.bursts[slot].take() else { break };
            let ends = sent + burst.len == task.data_in_total();
            if ends {
                task.phase = Phase::Finished;
                self.untag(key);
            } else {
                task.on_wire += 1;
                self.lender.put_on_wire(burst.buf, key);
            }
            let payload = Payload::Buffer(burst);
            self.send_data_in(key, payload, ends, turn);
            if ends {
                return self.let_go(key, turn);
            }
        }
        self.advance_read(key, turn);
    }

    /// Sends parameter data: the whole of an answer, as far as the initiator has room.
    pub(crate) fn send_answer(&mut self, key: Key, turn: &mut Turn<'_>) {
        let Some(task) = self.tasks.get_mut(key) else { return };
        let total = task.data_in_total();
        let Work::Answer(data) = &mut task.work else { return };
        let mut data = std::mem::take(data);
        data.truncate(usize::try_from(total).unwrap_or(usize::MAX));
        self.send_data_in(key, Payload::Bytes(data), true, turn);
    }

    /// Sends data in PDUs that the initiator can take (RFC 7143 11.7), with the status in the
    /// last one if the task `ends` with it.
    fn send_data_in(&mut self, key: Key, payload: Payload, ends: bool, turn: &mut Turn<'_>) {
        let Some(task) = self.tasks.get_mut(key) else { return };
        let Some(conn) = task.conn else { return };
        let Some(session) = self.connections.get_mut(conn.0).and_then(|c| c.session_mut()) else {
            return;
        };
        let total = payload.len();
        let mut done = 0;
        while done < total {
            let in_sequence_left = session.parameters.max_burst_length - task.data_in.in_sequence;
            let len = (total - done)
                .min(session.parameters.max_recv_data_segment_length)
                .min(in_sequence_left);
            let last = done + len == total;
            let carries_status = last && ends;
            let is_final = carries_status || len == in_sequence_left;
            let mut header = [0; 48];
            let status = carries_status.then(|| DataInStatus {
                status: status::GOOD,
                stat_sn: session.stat_sn.take_next(),
                residual: residual(task),
            });
            DataIn {
                is_final,
                acknowledge: false,
                status,
                data_segment_length: len,
                lun: Lun::ZERO,
                initiator_task_tag: task.tag,
                target_transfer_tag: TargetTransferTag::RESERVED,
                exp_cmd_sn: session.window.exp_cmd_sn(),
                max_cmd_sn: session.window.max_cmd_sn(),
                data_sn: Serial32(task.data_in.data_sn),
                buffer_offset: task.data_in.sent,
            }
            .emit(&mut header);
            task.data_in.data_sn += 1;
            task.data_in.sent += len;
            task.data_in.in_sequence = if is_final { 0 } else { task.data_in.in_sequence + len };
            let data = payload.part(done, len, last);
            let sample = if carries_status { sample(task) } else { None };
            turn.push(Action::Send { conn, header, data, sample });
            done += len;
        }
    }
}

/// What Data-In PDUs carry.
enum Payload {
    Buffer(Burst),
    Bytes(Vec<u8>),
}

impl Payload {
    fn len(&self) -> u32 {
        match self {
            Self::Buffer(burst) => burst.len,
            Self::Bytes(bytes) => u32::try_from(bytes.len()).unwrap_or(u32::MAX),
        }
    }

    fn part(&self, offset: u32, len: u32, last: bool) -> SendData {
        match self {
            Self::Buffer(burst) => {
                SendData::Buffer { slice: BufSlice { buf: burst.buf, offset, len }, last }
            }
            Self::Bytes(bytes) => {
                let from = usize::try_from(offset).unwrap_or(usize::MAX);
                let rest = bytes.get(from..).unwrap_or_default();
                let len = rest.len().min(usize::try_from(len).unwrap_or(usize::MAX));
                SendData::Bytes(rest[..len].to_vec())
            }
        }
    }
}

/// The bytes of the volume that a burst stands for.
pub(crate) fn burst_extent(task: &Task, burst: &Burst) -> ByteRange {
    ByteRange { offset: task.range.offset + u64::from(burst.offset), len: u64::from(burst.len) }
}

/// Counts one more operation of a task, and names it.
pub(crate) fn begin_io(task: &mut Task, key: Key, slot: usize, turn: &Turn<'_>) -> OpId {
    task.io_in_flight += 1;
    task.submitted_at.get_or_insert(turn.now);
    // A task has a handful of slots.
    OpId { task: key, part: u8::try_from(slot).unwrap_or(u8::MAX) }
}

fn set_step(task: &mut Task, slot: usize, step: Step) {
    if let Some(burst) = &mut task.bursts[slot] {
        burst.step = step;
    }
}
