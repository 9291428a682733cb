//! Commands that work in steps, once all of their data is here: each step ends with an
//! operation, whose end takes the next step.

use crate::action::{Action, IoResult};
use crate::logical_unit::LogicalUnit;
use crate::message::{Job, Ticket};
use crate::shard::{Shard, Turn};
use crate::streams::begin_io;
use crate::task::{Burst, Fault, Step, Work, range_of};
use scsi::{LbaStatus, Plan, Provisioning, Sense, VerifyBytes};
use units::{BlockCount, BufId, BufSlice, Key, Lba, VolumeId, limits};
use volume::{BlockRequest, ByteRange, SpaceChange};

/// Slot 0 holds the data that the initiator sent, slot 1 what is made of it chunk by chunk.
const DATA: usize = 0;
pub(crate) const CHUNK: usize = 1;

impl Shard {
    /// All data is here: takes the first step.
    pub(crate) fn begin(&mut self, key: Key, turn: &mut Turn<'_>) {
        let Some(task) = self.tasks.get_mut(key) else { return };
        let volume = task.volume;
        match &mut task.work {
            Work::Coordinate(job) => match (job.take(), volume) {
                (Some(job), Some(volume)) => self.ask_for(volume, Some(key), job, turn),
                _ => self.finish(key, turn),
            },
            Work::CompareAndWrite { half: 0, .. } => self.finish(key, turn),
            Work::CompareAndWrite { .. } => self.hold_range(key, turn),
            Work::Parameters { .. } => self.parameters_here(key, turn),
            Work::Answer(_)
            | Work::Flush
            | Work::LbaStatus { .. }
            | Work::Management
            | Work::Read
            | Work::Unmap(_)
            | Work::Verify(_)
            | Work::Write { .. }
            | Work::WriteAndVerify(_)
            | Work::WriteSame { .. } => self.continue_after(key, turn),
        }
    }

    /// Takes the next step: something that the task waited for has come.
    pub(crate) fn continue_after(&mut self, key: Key, turn: &mut Turn<'_>) {
        let Some(task) = self.tasks.get(key) else { return };
        if task.aborted {
            return self.let_go(key, turn);
        }
        if task.fault.is_some() {
            return self.advance(key, turn);
        }
        match task.work {
            Work::CompareAndWrite { half, .. } => self.compare_first(key, half, turn),
            Work::Flush => self.flush(key, turn),
            Work::LbaStatus { .. } => self.query_map(key, turn),
            Work::Unmap(_) => self.unmap_next(key, turn),
            Work::Verify(_) => self.verify_next(key, turn),
            Work::WriteSame { .. } => self.write_same_next(key, turn),
            Work::Coordinate(_) => self.finish_durably(key, turn),
            Work::Answer(_)
            | Work::Management
            | Work::Parameters { .. }
            | Work::Read
            | Work::Write { .. }
            | Work::WriteAndVerify(_) => self.finish(key, turn),
        }
    }

    /// An operation of a step has ended well.
    pub(crate) fn step_done(&mut self, key: Key, result: IoResult, turn: &mut Turn<'_>) {
        let Some(task) = self.tasks.get_mut(key) else { return };
        match (&mut task.work, result) {
            (Work::CompareAndWrite { half, fua }, _) => {
                let (half, fua) = (*half, *fua);
                self.compare_and_write_done(key, (half, fua), result, turn);
            }
            (Work::Flush, _) => self.finish(key, turn),
            (Work::LbaStatus { .. }, IoResult::Mapped { len, allocated }) => {
                self.map_known(key, len, allocated, turn);
            }
            (Work::Verify(_), _) => self.verify_done(key, result, turn),
            (Work::WriteSame { zeros, .. }, _) if zeros.is_none() => {
                *zeros = Some(result == IoResult::Done);
                self.continue_after(key, turn);
            }
            _ => self.continue_after(key, turn),
        }
    }

    fn parameters_here(&mut self, key: Key, turn: &mut Turn<'_>) {
        let Some(task) = self.tasks.get_mut(key) else { return };
        let Work::Parameters { kind, list } = &mut task.work else { return };
        let (kind, list) = (*kind, std::mem::take(list));
        let by = task.conn.and_then(|c| self.connections.get(c.0)?.session()?.nexus().cloned());
        let unit = task.volume.and_then(|v| self.units.get(usize::from(v.0))?.as_deref());
        let (Some(unit), Some(by)) = (unit, by) else { return self.finish(key, turn) };
        let plan = scsi::parameters(&kind, &list, &unit.unit);
        let geometry = unit.geometry;
        let Some(task) = self.tasks.get_mut(key) else { return };
        match plan {
            Plan::Good => task.work = Work::Answer(Vec::new()),
            Plan::ModeChange(parameters) => {
                task.work = Work::Coordinate(Some(Job::Mode { by, parameters }));
            }
            Plan::Unmap(extents) => {
                task.operation = crate::operation::Operation::Space;
                // From the back, so that the next one is the last.
                let ranges = extents.iter().rev().map(|e| range_of(&geometry, *e)).collect();
                task.work = Work::Unmap(ranges);
            }
            Plan::CheckCondition(sense) => task.fail(Fault::Check(sense)),
            // A parameter list leads to nothing else.
            Plan::CompareAndWrite { .. }
            | Plan::DataIn(_)
            | Plan::GetLbaStatus { .. }
            | Plan::Parameters { .. }
            | Plan::Read { .. }
            | Plan::Release
            | Plan::ReportLuns { .. }
            | Plan::RequestSense { .. }
            | Plan::Reserve
            | Plan::SynchronizeCache { .. }
            | Plan::Verify { .. }
            | Plan::Write { .. }
            | Plan::WriteAndVerify { .. }
            | Plan::WriteSame { .. } => task.fail(Fault::Check(Sense::INTERNAL_TARGET_FAILURE)),
        }
        if task.fault.is_some() {
            return self.advance(key, turn);
        }
        self.begin(key, turn);
    }

    /// Work is done. Where there is no write cache, or it has just been switched off, what was
    /// done is made durable before the status: a change of space has no FUA of its own.
    fn finish_durably(&mut self, key: Key, turn: &mut Turn<'_>) {
        let Some(task) = self.tasks.get_mut(key) else { return };
        let unit = task.volume.and_then(|v| self.units.get(usize::from(v.0))?.as_deref());
        if unit.is_some_and(LogicalUnit::writes_through) {
            task.work = Work::Flush;
            return self.flush(key, turn);
        }
        self.finish(key, turn);
    }

    fn flush(&mut self, key: Key, turn: &mut Turn<'_>) {
        let Some(task) = self.tasks.get_mut(key) else { return };
        let Some(volume) = task.volume else { return self.finish(key, turn) };
        let op = begin_io(task, key, DATA, turn);
        turn.push(Action::Io { op, volume, request: BlockRequest::Flush });
    }

    /// The buffer of slot 0 that holds what the initiator sent.
    fn data_buffer(&self, key: Key) -> Option<BufId> {
        Some(self.tasks.get(key)?.bursts[DATA]?.buf)
    }

    /// COMPARE AND WRITE asks for its range. It has its second buffer by now: a task that holds
    /// a range must not wait for a buffer of a task that waits for the range.
    fn hold_range(&mut self, key: Key, turn: &mut Turn<'_>) {
        let holder = Ticket { reactor: self.id, task: key };
        let Some(task) = self.tasks.get_mut(key) else { return };
        let Some(volume) = task.volume else { return };
        let extent = task.range;
        self.ask_for(volume, Some(key), Job::HoldRange { extent, holder }, turn);
    }

    /// The range is held, so the blocks are read.
    fn compare_first(&mut self, key: Key, half: u32, turn: &mut Turn<'_>) {
        let Some(task) = self.tasks.get_mut(key) else { return };
        let (Some(volume), Some(burst)) = (task.volume, &mut task.bursts[DATA]) else { return };
        let Some(second) = burst.second else { return };
        burst.step = Step::Read;
        let offset = task.range.offset;
        let op = begin_io(task, key, DATA, turn);
        let into = BufSlice { buf: second, offset: 0, len: half };
        let request = BlockRequest::Read { offset, into, only_to_send: false };
        turn.push(Action::Io { op, volume, request });
    }

    fn compare_and_write_done(
        &mut self,
        key: Key,
        (half, fua): (u32, bool),
        result: IoResult,
        turn: &mut Turn<'_>,
    ) {
        let Some(task) = self.tasks.get_mut(key) else { return };
        let offset = task.range.offset;
        let (Some(volume), Some(burst)) = (task.volume, &mut task.bursts[DATA]) else { return };
        let (buf, second) = (burst.buf, burst.second.unwrap_or(burst.buf));
        match (burst.step, result) {
            (Step::Read, _) => {
                burst.step = Step::Compare;
                let op = begin_io(task, key, DATA, turn);
                let expected = BufSlice { buf, offset: 0, len: half };
                let actual = BufSlice { buf: second, offset: 0, len: half };
                turn.push(Action::Compare { op, expected, actual });
            }
            (Step::Compare, IoResult::Differs { at }) => {
                task.fail(Fault::Check(Sense::miscompare(u64::from(at))));
                self.advance(key, turn);
            }
            (Step::Compare, _) => {
                burst.step = Step::Write;
                let op = begin_io(task, key, DATA, turn);
                let from = BufSlice { buf, offset: half, len: half };
                let request = BlockRequest::Write { offset, from, durable: fua, last_use: false };
                turn.push(Action::Io { op, volume, request });
            }
            _ => self.finish(key, turn),
        }
    }

    fn unmap_next(&mut self, key: Key, turn: &mut Turn<'_>) {
        let Some(task) = self.tasks.get(key) else { return };
        let (Work::Unmap(left), Some(volume)) = (&task.work, task.volume) else { return };
        let Some(&extent) = left.last() else { return self.finish_durably(key, turn) };
        if !self.range_is_free(key, volume, extent) {
            return;
        }
        let Some(task) = self.tasks.get_mut(key) else { return };
        if let Work::Unmap(left) = &mut task.work {
            left.pop();
        }
        task.range = extent;
        let op = begin_io(task, key, DATA, turn);
        let request = BlockRequest::Space { change: SpaceChange::Unmap, range: extent };
        turn.push(Action::Io { op, volume, request });
    }

    /// The buffer of slot 1: lent with that of slot 0, or, where the initiator sends nothing, when
    /// it is first asked for. `None` where there is none: the task then waits for one.
    fn chunk_buffer(&mut self, key: Key) -> Option<Burst> {
        let task = self.tasks.get(key)?;
        if let Some(burst) = task.bursts[CHUNK] {
            return Some(burst);
        }
        let len = task.chunk_bytes();
        let Some(buf) = self.lender.lend(len) else {
            self.wait_for_buffer(key, len);
            return None;
        };
        let burst = Burst { buf, second: None, offset: 0, len, received: len, step: Step::Read };
        self.tasks.get_mut(key)?.bursts[CHUNK] = Some(burst);
        Some(burst)
    }

    /// The next chunk of the task's range, at most as long as the chunk buffer.
    fn next_chunk(&self, key: Key, chunk: u32) -> Option<(VolumeId, ByteRange)> {
        let task = self.tasks.get(key)?;
        let left = task.range.len - task.cursor;
        let len = left.min(u64::from(chunk));
        Some((task.volume?, ByteRange { offset: task.range.offset + task.cursor, len }))
    }

    fn write_same_next(&mut self, key: Key, turn: &mut Turn<'_>) {
        let Some(task) = self.tasks.get_mut(key) else { return };
        let Work::WriteSame { unmap, no_data_out, block, zeros } = task.work else { return };
        match zeros {
            None if no_data_out => {
                task.work = Work::WriteSame { unmap, no_data_out, block, zeros: Some(true) };
                self.write_same_next(key, turn);
            }
            None => self.compare_with_zeros(key, block, turn),
            Some(true) => self.write_zeros(key, unmap, turn),
            Some(false) => self.write_pattern(key, block, turn),
        }
    }

    /// Finds out whether the block that WRITE SAME brought is all zeros.
    fn compare_with_zeros(&mut self, key: Key, block: u32, turn: &mut Turn<'_>) {
        let Some(data) = self.data_buffer(key) else { return };
        let Some(zeros) = self.chunk_buffer(key) else { return };
        let Some(task) = self.tasks.get_mut(key) else { return };
        let op = begin_io(task, key, DATA, turn);
        let actual = BufSlice { buf: zeros.buf, offset: 0, len: block };
        turn.push(Action::ZeroFill(actual));
        let expected = BufSlice { buf: data, offset: 0, len: block };
        turn.push(Action::Compare { op, expected, actual });
    }

    fn write_zeros(&mut self, key: Key, unmap: bool, turn: &mut Turn<'_>) {
        let Some(task) = self.tasks.get(key) else { return };
        let (Some(volume), extent) = (task.volume, task.range) else { return };
        if task.cursor >= extent.len {
            return self.finish_durably(key, turn);
        }
        if !self.range_is_free(key, volume, extent) {
            return;
        }
        let unit = self.unit(volume);
        let unmaps = unmap && unit.is_some_and(|u| u.unit.thin && u.unit.reads_zero_after_unmap);
        let change = if unmaps { SpaceChange::Unmap } else { SpaceChange::Zero };
        let Some(task) = self.tasks.get_mut(key) else { return };
        task.cursor = extent.len;
        let op = begin_io(task, key, DATA, turn);
        let request = BlockRequest::Space { change, range: extent };
        turn.push(Action::Io { op, volume, request });
    }

    fn write_pattern(&mut self, key: Key, block: u32, turn: &mut Turn<'_>) {
        let Some(data) = self.data_buffer(key) else { return };
        let first = self.tasks.get(key).is_some_and(|t| t.cursor == 0);
        let Some(chunk) = self.chunk_buffer(key) else { return };
        let Some((volume, extent)) = self.next_chunk(key, chunk.len) else { return };
        if extent.len == 0 {
            return self.finish(key, turn);
        }
        if !self.range_is_free(key, volume, extent) {
            return;
        }
        let into = BufSlice { buf: chunk.buf, offset: 0, len: chunk.len };
        if first {
            let block = BufSlice { buf: data, offset: 0, len: block };
            turn.push(Action::Replicate { block, into });
        }
        let through = self.unit(volume).is_some_and(LogicalUnit::writes_through);
        let Some(task) = self.tasks.get_mut(key) else { return };
        task.cursor += extent.len;
        let op = begin_io(task, key, CHUNK, turn);
        // A chunk is at most as long as its buffer.
        let len = u32::try_from(extent.len).unwrap_or(chunk.len);
        let from = BufSlice { len, ..into };
        let offset = extent.offset;
        let request = BlockRequest::Write { offset, from, durable: through, last_use: false };
        turn.push(Action::Io { op, volume, request });
    }

    /// VERIFY without data, or with one block for all: reads chunk by chunk.
    fn verify_next(&mut self, key: Key, turn: &mut Turn<'_>) {
        let Some(task) = self.tasks.get(key) else { return };
        let compares = matches!(task.work, Work::Verify(VerifyBytes::CompareOneBlock));
        let first = task.cursor == 0;
        let Some(chunk) = self.chunk_buffer(key) else { return };
        let Some((volume, extent)) = self.next_chunk(key, chunk.len) else { return };
        if extent.len == 0 {
            return self.finish(key, turn);
        }
        if !self.range_is_free(key, volume, extent) {
            return;
        }
        if compares
            && first
            && let Some(data) = self.data_buffer(key)
        {
            let block = self.unit(volume).map_or(512, |u| u.geometry.block_size.bytes());
            let into = BufSlice { buf: chunk.buf, offset: 0, len: chunk.len };
            let block = BufSlice { buf: data, offset: 0, len: block };
            turn.push(Action::Replicate { block, into });
        }
        let Some(task) = self.tasks.get_mut(key) else { return };
        if let Some(burst) = &mut task.bursts[CHUNK] {
            burst.step = Step::Read;
        }
        let op = begin_io(task, key, CHUNK, turn);
        let buf = chunk.second.unwrap_or(chunk.buf);
        let len = u32::try_from(extent.len).unwrap_or(chunk.len);
        let into = BufSlice { buf, offset: 0, len };
        let offset = extent.offset;
        let request = BlockRequest::Read { offset, into, only_to_send: false };
        turn.push(Action::Io { op, volume, request });
    }

    fn verify_done(&mut self, key: Key, result: IoResult, turn: &mut Turn<'_>) {
        let Some(task) = self.tasks.get_mut(key) else { return };
        let compares = matches!(task.work, Work::Verify(VerifyBytes::CompareOneBlock));
        let Some(burst) = &mut task.bursts[CHUNK] else { return };
        let left = task.range.len - task.cursor;
        let len = u32::try_from(left.min(u64::from(burst.len))).unwrap_or(burst.len);
        if compares && burst.step == Step::Read {
            burst.step = Step::Compare;
            let expected = BufSlice { buf: burst.buf, offset: 0, len };
            let actual = BufSlice { buf: burst.second.unwrap_or(burst.buf), offset: 0, len };
            let op = begin_io(task, key, CHUNK, turn);
            turn.push(Action::Compare { op, expected, actual });
            return;
        }
        if let IoResult::Differs { at } = result {
            let at = task.cursor + u64::from(at);
            task.fail(Fault::Check(Sense::miscompare(at)));
            return self.advance(key, turn);
        }
        task.cursor += u64::from(len);
        self.continue_after(key, turn);
    }

    fn query_map(&mut self, key: Key, turn: &mut Turn<'_>) {
        let Some(task) = self.tasks.get(key) else { return };
        let Some(volume) = task.volume else { return self.finish(key, turn) };
        let Some(unit) = self.unit(volume) else { return self.finish(key, turn) };
        let offset = task.range.offset + task.cursor;
        let len = unit.geometry.bytes().saturating_sub(offset);
        let Work::LbaStatus { allocation_length, ref found, .. } = task.work else { return };
        let most = scsi::lba_status_descriptors_max(allocation_length).max(1);
        if len == 0 || found.len() >= most.min(limits::LBA_STATUS_DESCRIPTORS_MAX) {
            let data = scsi::lba_status_data(found, allocation_length);
            let Some(task) = self.tasks.get_mut(key) else { return };
            task.scsi_length = u64::try_from(data.len()).unwrap_or(0);
            task.work = Work::Answer(data);
            return self.finish(key, turn);
        }
        let Some(task) = self.tasks.get_mut(key) else { return };
        let op = begin_io(task, key, DATA, turn);
        let request = BlockRequest::MapQuery(ByteRange { offset, len });
        turn.push(Action::Io { op, volume, request });
    }

    fn map_known(&mut self, key: Key, len: u64, allocated: bool, turn: &mut Turn<'_>) {
        let Some(task) = self.tasks.get(key) else { return };
        let Some(size) = task.volume.and_then(|v| self.unit(v)).map(|u| u.geometry.block_size)
        else {
            return self.finish(key, turn);
        };
        let Some(task) = self.tasks.get_mut(key) else { return };
        let Work::LbaStatus { lba, found, .. } = &mut task.work else { return };
        // A block that is partly backed counts as mapped.
        let blocks = len.div_ceil(u64::from(size.bytes())).max(1);
        let first = Lba(lba.0 + (task.cursor >> size.shift()));
        let provisioning = if allocated { Provisioning::Mapped } else { Provisioning::Deallocated };
        let extent = scsi::BlockRange { lba: first, blocks: BlockCount(blocks) };
        found.push(LbaStatus { extent, provisioning });
        task.cursor += blocks << size.shift();
        self.query_map(key, turn);
    }
}
