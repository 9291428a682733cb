//! Commands that work in steps, once all of their data is here: each step ends with an
//! operation, whose end takes the next step.

use crate::action::{Action, IoResult};
use crate::combine::Combination;
use crate::message::{Job, Note};
use crate::operation::Operation;
use crate::task::burst::{Burst, Step};
use crate::task::bursts::{advance, next_chunk, wait_for_buffer};
use crate::task::respond::finish;
use crate::task::update;
use crate::task::work::{Work, chunk_bytes};
use crate::task::{Fault, Pair, Reach, Task};
use crate::unit::Unit;
use crate::unit::medium::Submitted;
use scsi::{BlockRange, LbaStatus, Plan, Provisioning, Sense, VerifyBytes};
use units::{BlockCount, BufId, BufSlice, Lba, Mutant, VolumeId, limits};
use volume::{BlockRequest, ByteRange, Geometry, SpaceChange};

/// Slot 0 holds the data that the initiator sent, slot 1 what is made of it chunk by chunk.
pub(crate) const DATA: usize = 0;
pub(crate) const CHUNK: usize = 1;

/// All data is here: takes the first step.
pub(crate) fn begin(task: &mut Task, reach: &mut Reach<'_, '_>) {
    match &mut task.work {
        Work::Coordinate(job) => match job.take() {
            Some(job) => ask_home(task, own_volume(task), job, reach),
            None => unreachable!("a job is asked for once"),
        },
        Work::AtomicUpdate(_) => update::begin(task, reach),
        Work::Parameters { .. } => parameters_here(task, reach),
        Work::Answer(_)
        | Work::Flush
        | Work::LbaStatus { .. }
        | Work::Management
        | Work::Read
        | Work::Unmap(_)
        | Work::Verify(_)
        | Work::Write { .. }
        | Work::WriteAndVerify(_)
        | Work::WriteSame { .. } => proceed(task, reach),
    }
}

/// Takes the next step: something that the task waited for has come.
pub(crate) fn proceed(task: &mut Task, reach: &mut Reach<'_, '_>) {
    if task.fault.is_some() {
        return advance(task, reach);
    }
    match task.work {
        Work::AtomicUpdate(update) => update::read(task, update, reach),
        Work::Flush => flush(task, reach),
        Work::LbaStatus { .. } => query_map(task, reach),
        Work::Unmap(_) => unmap_next(task, reach),
        Work::Verify(_) => verify_next(task, reach),
        Work::WriteSame { .. } => write_same_next(task, reach),
        Work::Coordinate(_) => finish_durably(task, reach),
        Work::Answer(_)
        | Work::Management
        | Work::Parameters { .. }
        | Work::Read
        | Work::Write { .. }
        | Work::WriteAndVerify(_) => finish(task, reach),
    }
}

/// An operation of a step has ended well.
pub(crate) fn step_done(task: &mut Task, result: IoResult, reach: &mut Reach<'_, '_>) {
    match (&mut task.work, result) {
        (&mut Work::AtomicUpdate(update), _) => update::step_done(task, update, result, reach),
        (Work::Flush, _) => finish(task, reach),
        (Work::LbaStatus { .. }, IoResult::Mapped { len, allocated }) => {
            map_known(task, len, allocated, reach);
        }
        (Work::Verify(_), _) => verify_done(task, result, reach),
        (Work::WriteSame { zeros, .. }, _) if zeros.is_none() => {
            *zeros = Some(result == IoResult::Done);
            proceed(task, reach);
        }
        _ => proceed(task, reach),
    }
}

/// Asks the home of the logical unit for a job; the answer comes as [`Note::Answer`].
pub(crate) fn ask_home(task: &mut Task, volume: VolumeId, job: Job, reach: &mut Reach<'_, '_>) {
    task.begin_job();
    let ticket = Some(reach.ticket());
    let home = reach.turn.cores.home_of(volume);
    reach.turn.post(home, Note::Ask { volume, ticket, job });
}

/// The volume of a command on a logical unit.
pub(crate) fn own_volume(task: &Task) -> VolumeId {
    match task.volume {
        Some(volume) => volume,
        None => unreachable!("a command on a logical unit has passed the check for its unit"),
    }
}

/// The unit of a command on the medium.
fn unit_of<'a>(reach: &'a Reach<'_, '_>) -> &'a Unit {
    match &reach.unit {
        Some(unit) => unit,
        None => unreachable!("a command on the medium has passed the check for its unit"),
    }
}

fn parameters_here(task: &mut Task, reach: &mut Reach<'_, '_>) {
    let Work::Parameters { kind, list } = &mut task.work else { unreachable!("a list is here") };
    let (kind, list) = (*kind, std::mem::take(list));
    let unit = unit_of(reach);
    let Some(by) = reach.session.as_deref().and_then(|s| s.nexus().cloned()) else {
        unreachable!("the data has just come in a normal session")
    };
    let geometry = unit.geometry;
    match scsi::parameters(&kind, &list, &unit.model) {
        Plan::Good => task.work = Work::Answer(Vec::new()),
        Plan::ModeChange(parameters) => {
            task.work = Work::Coordinate(Some(Job::Mode { by, parameters }));
        }
        Plan::Unmap(ranges) => {
            task.operation = Operation::Space;
            // From the back, so that the next one is the last.
            let ranges = ranges.iter().rev().map(|r| byte_range(&geometry, *r)).collect();
            task.work = Work::Unmap(ranges);
        }
        Plan::CheckCondition(sense) => task.fail(Fault::Check(sense)),
        Plan::AtomicUpdate { .. }
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
        | Plan::WriteSame { .. } => unreachable!("no parameter list leads to this"),
    }
    if task.fault.is_some() {
        return advance(task, reach);
    }
    begin(task, reach);
}

/// The range of a command on its volume. The device server has checked it.
#[inline(always)]
pub(crate) fn byte_range(geometry: &Geometry, range: BlockRange) -> ByteRange {
    match geometry.byte_range(range.lba, range.blocks) {
        Some(range) => range,
        None => unreachable!("the device server lets no range pass that leaves the unit"),
    }
}

/// Work is done. Where there is no write cache, or it has just been switched off, what was
/// done is made durable before the status: a change of space has no FUA of its own.
fn finish_durably(task: &mut Task, reach: &mut Reach<'_, '_>) {
    if unit_of(reach).writes_through() && !Mutant::FlushSkipped.is_active() {
        task.work = Work::Flush;
        return flush(task, reach);
    }
    finish(task, reach);
}

fn flush(task: &mut Task, reach: &mut Reach<'_, '_>) {
    let submitted = task.submit(DATA, BlockRequest::Flush, reach);
    debug_assert_ne!(submitted, Submitted::Waits, "a flush waits for no range");
}

/// The buffer of slot 0 that holds what the initiator sent.
fn data_buffer(task: &mut Task) -> BufId {
    task.burst_mut(DATA).buf
}

fn unmap_next(task: &mut Task, reach: &mut Reach<'_, '_>) {
    let Work::Unmap(left) = &task.work else { unreachable!("it is one") };
    let Some(&range) = left.last() else { return finish_durably(task, reach) };
    let request = BlockRequest::Space { change: SpaceChange::Unmap, range };
    if task.submit(DATA, request, reach) == Submitted::Waits {
        return;
    }
    task.range = range;
    if let Work::Unmap(left) = &mut task.work {
        left.pop();
    }
}

/// The buffer of slot 1: lent with that of slot 0, or, where the initiator sends nothing, when
/// it is first asked for. `None` where there is none: the task then waits for one.
fn chunk_buffer(task: &mut Task, reach: &mut Reach<'_, '_>) -> Option<Burst> {
    if let Some(burst) = task.bursts.get(CHUNK) {
        return Some(*burst);
    }
    let len = chunk_bytes(task.range.len);
    let Some(buf) = reach.lender.lend(len, task.need()) else {
        wait_for_buffer(task, len, reach);
        return None;
    };
    let burst = Burst { buf, second: None, offset: 0, len, received: len, step: Step::Read };
    task.bursts.put(CHUNK, burst);
    Some(burst)
}

fn write_same_next(task: &mut Task, reach: &mut Reach<'_, '_>) {
    let Work::WriteSame { unmap, no_data_out, block, zeros } = &mut task.work else {
        unreachable!("it is one")
    };
    let (unmap, block) = (*unmap, *block);
    if *no_data_out {
        *zeros = Some(true);
    }
    match *zeros {
        None => compare_with_zeros(task, block, reach),
        Some(true) => write_zeros(task, unmap, reach),
        Some(false) => write_pattern(task, block, reach),
    }
}

/// Finds out whether the block that WRITE SAME brought is all zeros.
fn compare_with_zeros(task: &mut Task, block: u32, reach: &mut Reach<'_, '_>) {
    let data = data_buffer(task);
    let Some(zeros) = chunk_buffer(task, reach) else { return };
    let second = BufSlice { buf: zeros.buf, offset: 0, len: block };
    reach.turn.push(Action::ZeroFill(second));
    let first = BufSlice { buf: data, offset: 0, len: block };
    task.combine(DATA, Pair { by: Combination::Compare, first, second }, reach);
}

fn write_zeros(task: &mut Task, unmap: bool, reach: &mut Reach<'_, '_>) {
    let range = task.range;
    if task.cursor >= range.len {
        return finish_durably(task, reach);
    }
    let model = &unit_of(reach).model;
    let unmaps = unmap && model.thin && model.reads_zero_after_unmap;
    let change = if unmaps { SpaceChange::Unmap } else { SpaceChange::Zero };
    if task.submit(DATA, BlockRequest::Space { change, range }, reach) != Submitted::Waits {
        task.cursor = range.len;
    }
}

fn write_pattern(task: &mut Task, block: u32, reach: &mut Reach<'_, '_>) {
    let data = data_buffer(task);
    let Some(chunk) = chunk_buffer(task, reach) else { return };
    let range = next_chunk(task.range, task.cursor, chunk.len);
    if range.len == 0 {
        return finish(task, reach);
    }
    let into = BufSlice { buf: chunk.buf, offset: 0, len: chunk.len };
    if task.cursor == 0 {
        let block = BufSlice { buf: data, offset: 0, len: block };
        reach.turn.push(Action::Replicate { block, into });
    }
    let durable = unit_of(reach).writes_through();
    let from = BufSlice { len: chunk_bytes(range.len), ..into };
    let request = BlockRequest::Write { offset: range.offset, from, durable, last_use: false };
    if task.submit(CHUNK, request, reach) != Submitted::Waits {
        task.cursor += range.len;
    }
}

/// VERIFY without data, or with one block for all: reads chunk by chunk.
fn verify_next(task: &mut Task, reach: &mut Reach<'_, '_>) {
    let compares = matches!(task.work, Work::Verify(VerifyBytes::CompareOneBlock));
    let Some(chunk) = chunk_buffer(task, reach) else { return };
    let range = next_chunk(task.range, task.cursor, chunk.len);
    if range.len == 0 {
        return finish(task, reach);
    }
    if compares && task.cursor == 0 {
        let block = unit_of(reach).geometry.block_size.bytes();
        let into = BufSlice { buf: chunk.buf, offset: 0, len: chunk.len };
        let block = BufSlice { buf: data_buffer(task), offset: 0, len: block };
        reach.turn.push(Action::Replicate { block, into });
    }
    let buf = chunk.second.unwrap_or(chunk.buf);
    let into = BufSlice { buf, offset: 0, len: chunk_bytes(range.len) };
    let request = BlockRequest::Read { offset: range.offset, into, only_to_send: false };
    if task.submit(CHUNK, request, reach) != Submitted::Waits {
        task.burst_mut(CHUNK).step = Step::Read;
    }
}

fn verify_done(task: &mut Task, result: IoResult, reach: &mut Reach<'_, '_>) {
    let compares = matches!(task.work, Work::Verify(VerifyBytes::CompareOneBlock));
    let left = task.range.len - task.cursor;
    debug_assert!(left > 0, "a chunk has been read");
    let burst = task.burst_mut(CHUNK);
    let len = chunk_bytes(left).min(burst.len);
    if compares && burst.step == Step::Read {
        burst.step = Step::Combine;
        let first = BufSlice { buf: burst.buf, offset: 0, len };
        let second = BufSlice { buf: burst.second(), offset: 0, len };
        return task.combine(CHUNK, Pair { by: Combination::Compare, first, second }, reach);
    }
    if let IoResult::Differs { at } = result {
        task.fail(Fault::Check(Sense::miscompare(task.cursor + u64::from(at))));
        return advance(task, reach);
    }
    task.cursor += u64::from(len);
    proceed(task, reach);
}

fn query_map(task: &mut Task, reach: &mut Reach<'_, '_>) {
    let offset = task.range.offset + task.cursor;
    let len = unit_of(reach).geometry.bytes().saturating_sub(offset);
    let Work::LbaStatus { allocation_length, ref found, .. } = task.work else {
        unreachable!("it is one")
    };
    let most = scsi::lba_status_descriptors_max(allocation_length).max(1);
    if len == 0 || found.len() >= most.min(limits::LBA_STATUS_DESCRIPTORS_MAX) {
        let data = scsi::lba_status_data(found, allocation_length);
        task.scsi_length = data.len() as u64;
        task.work = Work::Answer(data);
        return finish(task, reach);
    }
    let request = BlockRequest::MapQuery(ByteRange { offset, len });
    let submitted = task.submit(DATA, request, reach);
    debug_assert_ne!(submitted, Submitted::Waits, "a query of the map waits for no range");
}

fn map_known(task: &mut Task, len: u64, allocated: bool, reach: &mut Reach<'_, '_>) {
    let size = unit_of(reach).geometry.block_size;
    let Work::LbaStatus { lba, found, .. } = &mut task.work else { unreachable!("it is one") };
    // A block that is partly backed counts as mapped.
    let blocks = len.div_ceil(u64::from(size.bytes())).max(1);
    let first = Lba(lba.0 + (task.cursor >> size.shift()));
    let provisioning = if allocated { Provisioning::Mapped } else { Provisioning::Deallocated };
    let extent = BlockRange { lba: first, blocks: BlockCount(blocks) };
    found.push(LbaStatus { extent, provisioning });
    task.cursor += blocks << size.shift();
    query_map(task, reach);
}
