//! Commands whose data moves in bursts, each worked on as soon as it can be: READ, WRITE,
//! VERIFY and WRITE AND VERIFY with data.

use crate::action::{Action, IoResult, Sample, SendData};
use crate::combine::Combination;
use crate::session::Stamp;
use crate::task::burst::{Burst, Step};
use crate::task::data_out::solicit;
use crate::task::respond::{finish, residual, sample, status};
use crate::task::steps;
use crate::task::work::{Work, chunk_bytes};
use crate::task::{Fault, Pair, Phase, Reach, Task};
use crate::turn::Turn;
use crate::unit::medium::Submitted;
use crate::wake::Wake;
use iscsi::TargetTransferTag;
use iscsi::pdu::{DataIn, DataInStatus};
use scsi::{Sense, VerifyBytes};
use units::{BufSlice, ConnId, Lun, Mutant, Serial32, len_u32};
use volume::{BlockRequest, ByteRange};

/// Takes a task as far as it goes now. Everything that may have changed something for a task ends
/// here: data came, an operation ended, a buffer or a range became free.
#[inline]
pub(crate) fn advance(task: &mut Task, reach: &mut Reach<'_, '_>) {
    debug_assert!(task.phase != Phase::Finished, "a finished task goes nowhere");
    if task.fault.is_some() {
        if task.is_still() {
            finish(task, reach);
        }
        return;
    }
    if task.is_dormant {
        return;
    }
    if matches!(task.work, Work::Read) {
        return read_ahead(task, reach);
    }
    if task.work.streams() {
        if task.data_out.is_complete() && task.cursor >= u64::from(task.data_out.total) {
            return finish(task, reach);
        }
        start_filled_bursts(task, reach);
        if task.data_out.requested < task.data_out.total {
            solicit(task, reach);
        }
    } else if !task.data_out.is_complete() {
        solicit(task, reach);
    } else if task.phase == Phase::Collecting {
        task.phase = Phase::Executing;
        steps::begin(task, reach);
    }
}

/// What held the task up may have gone.
pub(crate) fn resume(task: &mut Task, reach: &mut Reach<'_, '_>) {
    match task.phase {
        Phase::Finished | Phase::Draining => {}
        Phase::Executing if !task.work.streams() => {
            if task.is_still() {
                steps::proceed(task, reach);
            }
        }
        Phase::Collecting | Phase::Executing => advance(task, reach),
    }
}

/// Notes that the task waits for a buffer of at least `bytes`.
pub(crate) fn wait_for_buffer(task: &mut Task, bytes: u32, reach: &mut Reach<'_, '_>) {
    if task.waits_for_buffer.is_none() {
        task.waits_for_buffer = Some(reach.lender.wait(reach.key, task.need(), bytes));
    }
}

fn start_filled_bursts(task: &mut Task, reach: &mut Reach<'_, '_>) {
    for part in task.bursts.parts() {
        let burst = task.burst_mut(part);
        if burst.step == Step::Collect && burst.received == burst.len {
            start_burst(task, part, reach);
        } else if burst.step == Step::ReadBack {
            read_second(task, part, reach);
        }
    }
}

fn start_burst(task: &mut Task, slot: usize, reach: &mut Reach<'_, '_>) {
    let Some(durable) = task.work.write_durability() else {
        return read_second(task, slot, reach);
    };
    let burst = *task.burst_mut(slot);
    let durable = durable && !Mutant::DurabilityForgotten.is_active();
    let last_use = task.work.verify_bytes().is_none() || Mutant::LastUseClaimed.is_active();
    let from = BufSlice { buf: burst.buf, offset: 0, len: burst.len };
    let mut offset = task.range_of(&burst).offset;
    if Mutant::BurstOffsetRepeated.is_active() {
        offset = task.range.offset;
    }
    let request = BlockRequest::Write { offset, from, durable, last_use };
    if task.submit(slot, request, reach) != Submitted::Waits {
        task.burst_mut(slot).step = Step::Write;
    }
}

/// Reads what the medium holds in place of a burst, to compare or just to see that it can.
fn read_second(task: &mut Task, slot: usize, reach: &mut Reach<'_, '_>) {
    let burst = *task.burst_mut(slot);
    let into = BufSlice { buf: burst.second(), offset: 0, len: burst.len };
    let offset = task.range_of(&burst).offset;
    let only_to_send = Mutant::OnlyToSendClaimed.is_active();
    let request = BlockRequest::Read { offset, into, only_to_send };
    reach.lender.wait_for_medium(burst.buf, steps::own_volume(task));
    if task.submit(slot, request, reach) != Submitted::Waits {
        task.burst_mut(slot).step = Step::Read;
    }
}

/// An operation of a streaming task has ended well.
#[inline]
pub(crate) fn burst_done(
    task: &mut Task,
    slot: usize,
    result: IoResult,
    reach: &mut Reach<'_, '_>,
) {
    let burst = *task.burst_mut(slot);
    match (burst.step, task.work.verify_bytes()) {
        (Step::Read, None) => {
            task.burst_mut(slot).step = Step::Send;
            send_ready(task, reach);
        }
        (Step::Write, None)
        | (Step::Read, Some(VerifyBytes::None | VerifyBytes::CompareOneBlock)) => {
            complete_burst(task, slot, reach);
        }
        (Step::Write, Some(_)) => {
            // The write has ended, and the read of what it wrote may have to wait for a range.
            task.burst_mut(slot).step = Step::ReadBack;
            read_second(task, slot, reach);
        }
        (Step::Read, Some(VerifyBytes::Compare)) => {
            task.burst_mut(slot).step = Step::Combine;
            let first = BufSlice { buf: burst.buf, offset: 0, len: burst.len };
            let second = BufSlice { buf: burst.second(), ..first };
            task.combine(slot, Pair { by: Combination::Compare, first, second }, reach);
        }
        (Step::Combine, _) => {
            if let IoResult::Differs { at } = result {
                let at = u64::from(burst.offset) + u64::from(at);
                task.fail(Fault::Check(Sense::miscompare(at)));
            }
            complete_burst(task, slot, reach);
        }
        (Step::Collect | Step::Send | Step::ReadBack, _) => {
            unreachable!("no operation is under way in {burst:?}")
        }
    }
}

fn complete_burst(task: &mut Task, slot: usize, reach: &mut Reach<'_, '_>) {
    let Some(burst) = task.bursts.take(slot) else { unreachable!("it has just been worked on") };
    task.cursor += u64::from(burst.len);
    debug_assert!(
        task.cursor <= task.data_out.total.into(),
        "a burst was worked on twice: {task:?}"
    );
    reach.give_back(burst);
    if reach.lender.has_hungry() {
        // Those who wait for a buffer get this one; the task asks for its next one behind them.
        reach.turn.wake(Wake::TaskMayProceed(reach.key));
    } else {
        advance(task, reach);
    }
}

/// Reads as many bursts ahead as a task may have.
#[inline(never)]
fn read_ahead(task: &mut Task, reach: &mut Reach<'_, '_>) {
    let total = task.data_in_total();
    if total == 0 {
        return finish(task, reach);
    }
    // Nearly every READ has one burst.
    if read_one(task, total, reach) && task.cursor < u64::from(total) {
        read_further(task, total, reach);
    }
}

#[cold]
fn read_further(task: &mut Task, total: u32, reach: &mut Reach<'_, '_>) {
    while task.cursor < u64::from(total) && read_one(task, total, reach) {}
}

/// Begins the next burst of a READ. False where it has to wait, or nothing is left.
#[inline(always)]
fn read_one(task: &mut Task, total: u32, reach: &mut Reach<'_, '_>) -> bool {
    let left = u64::from(total).saturating_sub(task.cursor);
    let (Some(part), 1..) = (task.free_part(), left) else { return false };
    let offset = task.range.offset + task.cursor;
    let disk_len = chunk_bytes(task.range.len - task.cursor);
    let len = chunk_bytes(left).min(disk_len);
    let Some(buf) = reach.lender.lend(disk_len, task.need()) else {
        wait_for_buffer(task, disk_len, reach);
        return false;
    };
    let into = BufSlice { buf, offset: 0, len: disk_len };
    let request = BlockRequest::Read { offset, into, only_to_send: true };
    if task.submit(part, request, reach) == Submitted::Waits {
        reach.lender.put_back(buf);
        return false;
    }
    let Ok(offset) = u32::try_from(task.cursor) else {
        unreachable!("the cursor stays below `total`, a u32")
    };
    let burst = Burst { buf, second: None, offset, len, received: 0, step: Step::Read };
    task.bursts.put(part, burst);
    task.cursor += u64::from(len);
    true
}

/// Sends the bursts whose turn it is.
#[inline]
fn send_ready(task: &mut Task, reach: &mut Reach<'_, '_>) {
    loop {
        let sent = task.data_in.sent;
        let is_next = |burst: &Burst| burst.step == Step::Send && burst.offset == sent;
        let Some(part) = task.bursts.find(is_next) else { break };
        let Some(burst) = task.bursts.take(part) else { unreachable!("it has just been found") };
        let ends = sent + burst.len == task.data_in_total();
        if ends {
            debug_assert!(task.is_still(), "the status says that nothing goes on: {task:?}");
            task.phase = Phase::Finished;
            task.untag(reach);
        } else {
            task.on_wire += 1;
            reach.lender.put_on_wire(burst.buf, reach.key);
        }
        send_burst(task, burst, ends, reach);
        if ends {
            return;
        }
    }
    let total = task.data_in_total();
    read_further(task, total, reach);
}

/// Sends a burst in PDUs that the initiator can take (RFC 7143 11.7), with the status in the last
/// one if the task `ends` with it.
#[inline]
fn send_burst(task: &mut Task, burst: Burst, ends: bool, reach: &mut Reach<'_, '_>) {
    reach.lender.leave_medium(burst.buf, reach.turn);
    // Nearly every burst fits into one PDU; only what does not is sent in a loop.
    let sent = send_piece(task, &burst, 0, ends, reach);
    if sent < burst.len {
        send_rest(task, &burst, sent, ends, reach);
    }
}

#[cold]
fn send_rest(
    task: &mut Task,
    burst: &Burst,
    mut offset: u32,
    ends: bool,
    reach: &mut Reach<'_, '_>,
) {
    while offset < burst.len {
        offset = send_piece(task, burst, offset, ends, reach);
    }
}

/// Sends one PDU of a burst from `offset` on; returns where the next one begins.
#[inline(always)]
fn send_piece(
    task: &mut Task,
    burst: &Burst,
    offset: u32,
    ends: bool,
    reach: &mut Reach<'_, '_>,
) -> u32 {
    let pdu = data_in(task, burst.len - offset, ends, reach);
    let slice = BufSlice { buf: burst.buf, offset, len: pdu.len };
    let next = offset + pdu.len;
    let is_last = next == burst.len;
    let last = if Mutant::BufferReturnedBeforeLastSend.is_active() { offset == 0 } else { is_last };
    pdu.send(SendData::Buffer { slice, last }, reach.turn);
    next
}

/// Sends parameter data: the whole of an answer, as far as the initiator has room.
pub(crate) fn send_answer(task: &mut Task, reach: &mut Reach<'_, '_>) {
    let total = task.data_in_total();
    let Work::Answer(data) = &mut task.work else { unreachable!("only an answer is sent so") };
    let data = std::mem::take(data);
    let mut rest = &data[..data.len().min(total as usize)];
    while !rest.is_empty() {
        let pdu = data_in(task, len_u32(rest.len()), true, reach);
        let (bytes, further) = rest.split_at(pdu.len as usize);
        rest = further;
        pdu.send(SendData::Bytes(bytes.to_vec()), reach.turn);
    }
}

/// A Data-In PDU that only lacks its data.
struct DataInPdu {
    conn: ConnId,
    header: [u8; 48],
    /// Bytes of its data segment.
    len: u32,
    sample: Option<Sample>,
}

impl DataInPdu {
    #[inline]
    fn send(self, data: SendData, turn: &mut Turn<'_>) {
        let Self { conn, header, sample, .. } = self;
        turn.push(Action::Send { conn, header, data, sample });
    }
}

/// The next Data-In PDU of a task that has `left` bytes to send now; with the status if it takes
/// all of them and the task `ends` with them.
#[inline(always)]
fn data_in(task: &mut Task, left: u32, ends: bool, reach: &mut Reach<'_, '_>) -> DataInPdu {
    let Some(session) = reach.session.as_deref_mut() else {
        unreachable!("the end of a session aborts its tasks, which send nothing then")
    };
    let in_sequence_left = session.parameters.max_burst_length - task.data_in.in_sequence;
    let len = left.min(session.parameters.max_recv_data_segment_length).min(in_sequence_left);
    debug_assert!(len > 0, "a Data-In PDU carries data: what is left would never end");
    let carries_status = ends && len == left;
    let is_final = carries_status || len == in_sequence_left;
    let Stamp { stat_sn, exp_cmd_sn, max_cmd_sn } =
        if carries_status { session.stamp() } else { session.stamp_without_status() };
    let status = carries_status.then(|| DataInStatus {
        status: status::GOOD,
        stat_sn,
        residual: residual(task),
    });
    let mut header = [0; 48];
    DataIn {
        is_final,
        acknowledge: false,
        status,
        data_segment_length: len,
        lun: Lun::ZERO,
        initiator_task_tag: task.tag,
        target_transfer_tag: TargetTransferTag::RESERVED,
        exp_cmd_sn,
        max_cmd_sn,
        data_sn: Serial32(task.data_in.data_sn),
        buffer_offset: task.data_in.sent,
    }
    .emit(&mut header);
    task.data_in.data_sn += 1;
    task.data_in.sent += len;
    task.data_in.in_sequence = if is_final { 0 } else { task.data_in.in_sequence + len };
    let has_sample = carries_status && !Mutant::SampleForgotten.is_active();
    let sample = if has_sample { sample(task, None) } else { None };
    DataInPdu { conn: session.conn, header, len, sample }
}

/// The part of `range` from `cursor` on, at most `chunk` bytes.
pub(crate) fn next_chunk(range: ByteRange, cursor: u64, chunk: u32) -> ByteRange {
    ByteRange { offset: range.offset + cursor, len: (range.len - cursor).min(u64::from(chunk)) }
}
