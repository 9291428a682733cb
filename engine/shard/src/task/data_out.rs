//! Data from the initiator: immediate data, unsolicited Data-Out, and R2T (RFC 7143 4.2.5).
//!
//! A buffer is lent before data is asked for, so that solicited data always has a place. Data
//! that nobody asked for may find the pool empty: then its PDU waits ([`super::placing`]).

use crate::action::Placement;
use crate::session::{Session, Stamp};
use crate::task::bursts;
use crate::task::overdue;
use crate::task::placing::{open_burst, place};
use crate::task::work::{DataOutUse, Work};
use crate::task::{Fault, Phase, Reach, Task};
use iscsi::pdu::{DataOut as DataOutPdu, ReadyToTransfer, ScsiCommand};
use iscsi::{Parameters, TargetTransferTag};
use scsi::Sense;
use smallvec::SmallVec;
use units::{Instant, Serial32, limits};

/// Data on its way from the initiator.
#[derive(Debug)]
pub(crate) struct DataOut {
    /// Bytes that are of use: what the command takes, and no more than the initiator has.
    pub(crate) total: u32,
    /// Bytes received or dropped by order.
    pub(crate) received: u32,
    /// Up to here data was asked for, or is sent unasked.
    pub(crate) requested: u32,
    /// Bytes of immediate data that are a burst of their own; 0 where they are not.
    pub(super) immediate_burst: u32,
    /// The unsolicited sequence, until its F bit.
    pub(crate) unsolicited: Option<Sequence>,
    /// R2Ts that are not yet served, oldest first.
    solicited: SmallVec<[Sequence; 2]>,
    /// R2TSN of the next R2T (RFC 7143 11.8.3).
    pub(crate) r2t_sn: u32,
    /// A PDU for the task has begun and not ended.
    is_in_pdu: bool,
}

/// A sequence of Data-Out PDUs (RFC 7143 4.2.5.2): its data comes in order.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sequence {
    tag: TargetTransferTag,
    /// Buffer Offset of the next PDU.
    next: u32,
    /// The end of the data asked for.
    pub(super) end: u32,
    /// DataSN of the next PDU.
    data_sn: u32,
    /// When its data was asked for, or announced.
    pub(super) asked_at: Instant,
    /// The same, later by the time that its data so far was worth.
    pub(super) earned_at: Instant,
}

/// What a PDU brings for a task, besides a parameter list.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Part {
    /// A command with this many bytes of immediate data.
    Command { immediate_len: u32 },
    /// A Data-Out PDU.
    Data {
        len: u32,
        is_final: bool,
        /// The R2T that it serves; `None` for unsolicited data.
        solicited: Option<TargetTransferTag>,
    },
}

impl From<&DataOutPdu> for Part {
    fn from(pdu: &DataOutPdu) -> Self {
        let is_solicited = pdu.target_transfer_tag != TargetTransferTag::RESERVED;
        Self::Data {
            len: pdu.data_segment_length,
            is_final: pdu.is_final,
            solicited: is_solicited.then_some(pdu.target_transfer_tag),
        }
    }
}

impl DataOut {
    /// None is expected. A constant is stored to where a task is made; what a function returns is
    /// laid out elsewhere first.
    pub(crate) const NONE: Self = Self {
        total: 0,
        received: 0,
        requested: 0,
        immediate_burst: 0,
        unsolicited: None,
        solicited: SmallVec::new_const(),
        r2t_sn: 0,
        is_in_pdu: false,
    };

    /// Whether all data of the command is here, and nothing unsolicited is still to come.
    #[inline]
    pub(crate) const fn is_complete(&self) -> bool {
        self.received >= self.total && self.unsolicited.is_none()
    }

    /// Whether the initiator owes data.
    pub(crate) fn is_expected(&self) -> bool {
        self.is_in_pdu
            || self.unsolicited.is_some()
            || !self.solicited.is_empty()
            || self.received < self.requested.min(self.total)
    }

    /// Whether a PDU for the task has begun and not ended.
    pub(crate) const fn is_in_pdu(&self) -> bool {
        self.is_in_pdu
    }

    /// The sequences of which data is still to come.
    pub(super) fn open_sequences(&self) -> impl Iterator<Item = &Sequence> {
        self.unsolicited.iter().chain(&self.solicited)
    }

    /// What is still to come is not waited for any more.
    pub(crate) fn stop_waiting(&mut self) {
        self.unsolicited = None;
        self.solicited.clear();
    }

    /// Asserts that the counts of bytes agree: for debug builds and tests.
    pub(crate) fn self_check(&self) {
        assert!(
            self.received <= self.total,
            "more data is of use than the command takes: {self:?}"
        );
        assert!(self.requested <= self.total, "more data was asked for: {self:?}");
        for sequence in &self.solicited {
            assert!(sequence.next < sequence.end, "a served R2T is forgotten: {self:?}");
            assert!(sequence.end <= self.requested, "an R2T asks for its part: {self:?}");
        }
    }

    /// The sequence that a Data-Out PDU belongs to.
    fn sequence_mut(&mut self, tag: TargetTransferTag) -> Option<&mut Sequence> {
        if tag == TargetTransferTag::RESERVED {
            return self.unsolicited.as_mut();
        }
        self.solicited.iter_mut().find(|s| s.tag == tag)
    }
}

/// What is wrong with a Data-Out PDU: it belongs to no sequence of its task, or to another LUN.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stray;

/// Sets up what the initiator will send for a new task, and places its immediate data.
#[inline]
pub(crate) fn expect(
    task: &mut Task,
    command: &ScsiCommand,
    reach: &mut Reach<'_, '_>,
) -> Placement {
    if matches!(task.work, Work::Read) && command.data_segment_length == 0 && command.is_final {
        return Placement::Discard;
    }
    let Some(session) = reach.session.as_deref_mut() else {
        unreachable!("a command comes in a session")
    };
    let block = reach.unit.as_deref().map_or(1, |u| u.geometry.block_size.bytes());
    let violation = unsolicited_violation(command, &session.parameters);
    let unasked_max =
        session.parameters.first_burst_length.min(command.expected_data_transfer_length);
    let (total, shortage) = useful_bytes(task, block);
    let immediate_len = command.data_segment_length;
    task.data_out.is_in_pdu = immediate_len > 0;
    task.data_out.total = total;
    task.data_out.requested = immediate_len.min(total);
    if !command.is_final {
        let now = reach.turn.now;
        session.owed.ask(now);
        task.data_out.requested = unasked_max.min(total);
        task.data_out.unsolicited = Some(Sequence {
            tag: TargetTransferTag::RESERVED,
            next: immediate_len,
            end: unasked_max,
            data_sn: 0,
            asked_at: now,
            earned_at: now,
        });
    }
    // An R2T can fill what is missing of a block; the PDUs of an unsolicited sequence begin and end
    // where the initiator likes.
    let can_split = command.is_final || immediate_len.is_multiple_of(WHOLE_BYTES);
    if can_split && immediate_len < total && task.work.streams() {
        task.data_out.immediate_burst = immediate_len.next_multiple_of(WHOLE_BYTES).min(total);
    }
    if let Some(sense) = violation.or(shortage) {
        task.fail(Fault::Check(sense));
    }
    if immediate_len == 0 { Placement::Discard } else { place(task, 0, immediate_len, reach) }
}

/// A part of a parameter list.
pub(crate) fn parameter_bytes(task: &mut Task, bytes: &[u8]) {
    let total = task.data_out.total as usize;
    // The work is another one once the list is here, and a failed task takes no more of it.
    let Work::Parameters { list, .. } = &mut task.work else { return };
    let room = total.saturating_sub(list.len()).min(bytes.len());
    list.extend_from_slice(&bytes[..room]);
}

/// The header of a Data-Out PDU for this task (RFC 7143 11.7).
pub(crate) fn header(
    task: &mut Task,
    pdu: &DataOutPdu,
    reach: &mut Reach<'_, '_>,
) -> Result<Placement, Stray> {
    let solicited = pdu.target_transfer_tag != TargetTransferTag::RESERVED;
    // An R2T's LUN comes back with its tag (RFC 7143 11.7.4).
    if solicited && pdu.lun != task.lun {
        return Err(Stray);
    }
    let sequence = task.data_out.sequence_mut(pdu.target_transfer_tag).ok_or(Stray)?;
    let (next, end, data_sn) = (sequence.next, sequence.end, sequence.data_sn);
    // DataPDUInOrder and DataSequenceInOrder are Yes: one offset and one number is right.
    let fits = pdu.buffer_offset == next && pdu.data_segment_length <= end.saturating_sub(next);
    task.data_out.is_in_pdu = true;
    if pdu.data_sn != Serial32(data_sn) {
        task.fail(Fault::Check(Sense::PROTOCOL_SERVICE_CRC_ERROR));
    } else if !fits {
        task.fail(Fault::Check(Sense::DATA_OFFSET_ERROR));
    }
    Ok(place(task, pdu.buffer_offset, pdu.data_segment_length, reach))
}

/// A PDU for this task has come to its end.
#[inline]
pub(crate) fn received(task: &mut Task, part: Part, reach: &mut Reach<'_, '_>) {
    task.data_out.is_in_pdu = false;
    match part {
        Part::Command { immediate_len } => count_received(task, 0, immediate_len),
        Part::Data { len, is_final, solicited } => {
            let data = Arrived { len, is_final, solicited };
            data_received(task, data, reach);
        }
    }
    match task.phase {
        // Only its buffer was still being filled.
        Phase::Finished => {}
        Phase::Collecting | Phase::Draining | Phase::Executing => bursts::advance(task, reach),
    }
}

/// A Data-Out PDU that has come to its end.
struct Arrived {
    len: u32,
    is_final: bool,
    solicited: Option<TargetTransferTag>,
}

fn data_received(task: &mut Task, data: Arrived, reach: &mut Reach<'_, '_>) {
    let Arrived { len, is_final, solicited } = data;
    let tag = solicited.unwrap_or(TargetTransferTag::RESERVED);
    // A sequence ends early where the task fails.
    let Some(sequence) = task.data_out.sequence_mut(tag) else { return };
    let offset = sequence.next;
    sequence.next = sequence.next.saturating_add(len).min(sequence.end);
    sequence.data_sn = sequence.data_sn.wrapping_add(1);
    let (next, complete) = (sequence.next, sequence.next == sequence.end);
    sequence.earned_at = overdue::earned(sequence.earned_at, len, reach.turn.now);
    // The session may be gone: then nobody waits for its data.
    if let Some(session) = reach.session.as_deref_mut() {
        session.owed.hear(len, reach.turn.now);
        if is_final || complete {
            session.owed.answer(sequence.asked_at);
        }
    }
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
    count_received(task, offset, len);
}

#[inline]
fn count_received(task: &mut Task, offset: u32, len: u32) {
    if task.fault.is_some() || len == 0 {
        return;
    }
    let useful = len.min(task.data_out.total.saturating_sub(offset));
    task.data_out.received += useful;
    debug_assert!(task.data_out.received <= task.data_out.total, "useful bytes are counted once");
    if let Some(burst) = task.burst_at(offset) {
        burst.received = (burst.received + useful).min(burst.len);
    }
}

/// Asks for as much data as may be asked for now.
pub(crate) fn solicit(task: &mut Task, reach: &mut Reach<'_, '_>) {
    loop {
        let offset = task.data_out.requested;
        // The session may be gone: then nothing more comes.
        let Some(session) = reach.session.as_deref() else { return };
        if task.data_out.unsolicited.is_some()
            || offset >= task.data_out.total
            || task.data_out.solicited.len() >= session.parameters.max_outstanding_r2t as usize
        {
            return;
        }
        let end = if matches!(task.work, Work::Parameters { .. }) {
            task.data_out.total
        } else if let Some(burst) = task.burst_at(offset) {
            burst.offset + burst.len
        } else if open_burst(task, offset, 0, reach).is_some() {
            continue;
        } else {
            if task.free_part().is_some() {
                let wanted = buffer_wanted(task, offset);
                bursts::wait_for_buffer(task, wanted, reach);
            }
            return;
        };
        let len = (end - offset).min(session.parameters.max_burst_length);
        let Some(session) = reach.session.as_deref_mut() else { return };
        session.owed.ask(reach.turn.now);
        send_r2t(task, len, session, reach.turn);
    }
}

/// The largest buffer that the burst at `offset` of the data needs.
fn buffer_wanted(task: &Task, offset: u32) -> u32 {
    let len = task.data_out.total.saturating_sub(offset).min(limits::BURST_LENGTH_MAX);
    let further = task.work.further_buffers(len, task.range.len);
    further.into_iter().flatten().fold(len, u32::max)
}

fn send_r2t(task: &mut Task, len: u32, session: &mut Session, turn: &mut crate::turn::Turn<'_>) {
    let tag = session.new_transfer_tag();
    let offset = task.data_out.requested;
    assert!(len > 0, "an R2T asks for data (RFC 7143 11.8.4)");
    debug_assert!(task.data_out.sequence_mut(tag).is_none(), "{tag:?} is that of another R2T");
    let Stamp { stat_sn, exp_cmd_sn, max_cmd_sn } = session.stamp_without_status();
    let mut header = [0; 48];
    ReadyToTransfer {
        lun: task.lun,
        initiator_task_tag: task.tag,
        target_transfer_tag: tag,
        stat_sn,
        exp_cmd_sn,
        max_cmd_sn,
        r2t_sn: Serial32(task.data_out.r2t_sn),
        buffer_offset: offset,
        desired_data_transfer_length: len,
    }
    .emit(&mut header);
    task.data_out.r2t_sn += 1;
    task.data_out.requested = offset + len;
    let end = offset + len;
    let (asked_at, earned_at) = (turn.now, turn.now);
    let sequence = Sequence { tag, next: offset, end, data_sn: 0, asked_at, earned_at };
    task.data_out.solicited.push(sequence);
    session.send(header, Vec::new(), turn);
}

/// Bytes of data-out that the command can use, and what is wrong where that is too little.
fn useful_bytes(task: &Task, block: u32) -> (u32, Option<Sense>) {
    let expected = task.expected_data_transfer_length;
    // A command that wants more than fits in 32 bits wants more than any initiator can send.
    let wanted = u32::try_from(task.scsi_length).unwrap_or(u32::MAX);
    match task.work.data_out_use() {
        DataOutUse::None => (0, None),
        DataOutUse::WhatThereIs => (wanted.min(expected), None),
        DataOutUse::WholeBlocks => {
            let total = wanted.min(expected);
            // A block size is a power of two, so no division is needed.
            if total & (block - 1) == 0 { (total, None) } else { (0, UNUSABLE_LENGTH) }
        }
        DataOutUse::All if expected < wanted => (0, UNUSABLE_LENGTH),
        DataOutUse::All => (wanted, None),
    }
}

/// The initiator sends less than the command can use.
const UNUSABLE_LENGTH: Option<Sense> = Some(Sense::INVALID_FIELD_IN_COMMAND_INFORMATION_UNIT);

/// What is written for itself is a multiple of this: the blocks of a disk, which would otherwise
/// have to be read first.
const WHOLE_BYTES: u32 = 4096;

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
