//! One task: a command from its header to its response (SAM-5 5.1), and the bursts that its
//! data is moved in.
//!
//! ```text
//!   header -> Collecting -> Executing -> Finished (response sent) -> gone
//!                 \______ fault: Draining ______/   (end of unsolicited data)
//! ```
//! A task lives until its last operation has ended, even if its session is gone: only then do its
//! buffers go back.
//!
//! The parts of the work live in the modules below, as functions of a task and its [`Reach`]: what
//! it may touch besides itself. Other tasks are not in reach; they are woken.

pub(crate) mod admission;
pub(crate) mod burst;
pub(crate) mod bursts;
pub(crate) mod completion;
pub(crate) mod data_out;
pub(crate) mod lender;
pub(crate) mod management;
pub(crate) mod order;
pub(crate) mod overdue;
pub(crate) mod placing;
pub(crate) mod respond;
pub(crate) mod steps;
pub(crate) mod tasks;
pub(crate) mod update;
pub(crate) mod waiting;
pub(crate) mod work;

use crate::action::Action;
use crate::combine::Combination;
use crate::operation::{OpId, Operation};
use crate::session::Session;
use crate::session::tags::TagPlace;
use crate::turn::Turn;
use crate::unit::Unit;
use crate::unit::medium::{Slot, Submitted};
use burst::{Burst, Bursts};
use data_out::DataOut;
use iscsi::InitiatorTaskTag;
use iscsi::pdu::ScsiCommand;
use lender::{Lender, Need, Waiting};
use placing::Unplaced;
use scsi::{Sense, SenseKey};
use units::{BufId, BufSlice, ConnId, Instant, Key, Lun, Mutant, Serial32, VolumeId, limits};
use volume::{BlockRequest, ByteRange};
use work::{Planned, Work};

/// One task.
#[derive(Debug)]
pub(crate) struct Task {
    /// The connection, while its session lives.
    pub(crate) conn: Option<ConnId>,
    pub(crate) tag: InitiatorTaskTag,
    /// Where its session keeps its tag.
    pub(crate) tag_place: TagPlace,
    pub(crate) lun: Lun,
    pub(crate) volume: Option<VolumeId>,
    pub(crate) cmd_sn: Serial32,
    pub(crate) immediate: bool,
    /// Bytes that the initiator has room for, or wants to send (RFC 7143 11.3.4).
    pub(crate) expected_data_transfer_length: u32,
    pub(crate) operation: Operation,
    /// What the command asks for.
    pub(crate) work: Work,
    /// Bytes that the command is about, by its CDB: what the residual counts from.
    pub(crate) scsi_length: u64,
    /// The range of the volume, of commands that have one.
    pub(crate) range: ByteRange,
    pub(crate) phase: Phase,
    /// Data that the initiator sends.
    pub(crate) data_out: DataOut,
    /// Data that goes to the initiator.
    pub(crate) data_in: DataIn,
    /// Bytes of the range for which work has begun.
    pub(crate) cursor: u64,
    pub(crate) bursts: Bursts,
    /// Where it waits for a buffer, in a queue of the lender.
    pub(crate) waits_for_buffer: Option<Waiting>,
    /// Data of the PDU that comes in, for which there was no buffer.
    pub(crate) unplaced: Option<Unplaced>,
    /// It waits for a held range, in the queue of its unit's door.
    waits_for_range: bool,
    /// It waits for tasks before it ([`order`]).
    pub(crate) is_dormant: bool,
    /// Another task may wait for its end, or it waits itself.
    pub(crate) is_in_order: bool,
    /// Further bursts whose bytes are on the wire.
    pub(crate) on_wire: u8,
    /// Operations under way, each in its part.
    operations: [Under; limits::BURSTS_PER_TASK_MAX],
    operation_count: u8,
    /// Jobs that logical units' homes do for it. They do not count as under way for other
    /// jobs that wait until the task is quiet: one may be queued behind the other.
    jobs_in_flight: u32,
    /// The first thing that went wrong.
    pub(crate) fault: Option<Fault>,
    /// A task management function or the end of the session has ended it: no response.
    pub(crate) aborted: bool,
    /// The range of the volume is held for this task on all cores.
    pub(crate) holds_range: bool,
    /// Its place in the order in which tasks came to this shard.
    pub(crate) arrival: u64,
    pub(crate) times: Times,
}

/// What a task may touch besides itself.
pub(crate) struct Reach<'a, 't> {
    /// The task's own key.
    pub(crate) key: Key,
    /// Its session, while that lives.
    pub(crate) session: Option<&'a mut Session>,
    /// Its logical unit, if its LUN has one.
    pub(crate) unit: Option<&'a mut Unit>,
    pub(crate) lender: &'a mut Lender,
    pub(crate) turn: &'a mut Turn<'t>,
}

/// The request line of a task, as the PDU of the initiator has it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Request {
    pub(crate) conn: ConnId,
    pub(crate) tag: InitiatorTaskTag,
    pub(crate) lun: Lun,
    pub(crate) cmd_sn: Serial32,
    pub(crate) immediate: bool,
    pub(crate) expected_data_transfer_length: u32,
}

/// When a task came how far.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Times {
    pub(crate) received: Instant,
    /// The first operation was submitted.
    pub(crate) submitted: Option<Instant>,
    /// The last operation so far has ended.
    pub(crate) completed: Instant,
}

/// How far a task has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Data comes in; work has not begun or goes on beside it.
    Collecting,
    /// All data is here, work goes on.
    Executing,
    /// Something went wrong, and unsolicited data is still to come: the tag stays in use until
    /// its end, so that the data is not mistaken for another task's.
    Draining,
    /// Work is done; the task goes once nothing of it is under way.
    Finished,
}

/// Why a task fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// CHECK CONDITION with this sense.
    Check(Sense),
    /// RESERVATION CONFLICT.
    ReservationConflict,
    /// TASK SET FULL: no buffer could be lent.
    TaskSetFull,
}

/// What is under way in one part of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Under {
    /// Nothing.
    Nothing,
    /// Two buffers are combined.
    Combination,
    /// A request is at the medium.
    Medium(Slot),
}

/// Two buffers to combine.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pair {
    pub(crate) by: Combination,
    pub(crate) first: BufSlice,
    pub(crate) second: BufSlice,
}

/// Data on its way to the initiator.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct DataIn {
    /// DataSN of the next Data-In PDU.
    pub(crate) data_sn: u32,
    /// Bytes handed to the connection.
    pub(crate) sent: u32,
    /// Bytes since the last F bit: a sequence ends at MaxBurstLength (RFC 7143 13.13).
    pub(crate) in_sequence: u32,
}

impl Request {
    /// The request line of a command.
    #[inline(always)]
    pub(crate) const fn of(conn: ConnId, command: &ScsiCommand) -> Self {
        Self {
            conn,
            tag: command.initiator_task_tag,
            lun: command.lun,
            cmd_sn: command.cmd_sn,
            immediate: command.immediate,
            expected_data_transfer_length: command.expected_data_transfer_length,
        }
    }
}

impl Task {
    /// A task that has just been received.
    #[inline(always)]
    pub(crate) fn new(
        request: Request,
        volume: Option<VolumeId>,
        planned: Planned,
        now: Instant,
    ) -> Self {
        Self {
            conn: Some(request.conn),
            tag: request.tag,
            tag_place: TagPlace::default(),
            lun: request.lun,
            volume,
            cmd_sn: request.cmd_sn,
            immediate: request.immediate,
            expected_data_transfer_length: request.expected_data_transfer_length,
            operation: planned.operation,
            work: planned.work,
            scsi_length: planned.scsi_length,
            range: planned.range,
            phase: Phase::Collecting,
            data_out: DataOut::NONE,
            data_in: DataIn::default(),
            cursor: 0,
            bursts: Bursts::new(),
            waits_for_buffer: None,
            unplaced: None,
            waits_for_range: false,
            is_dormant: false,
            is_in_order: false,
            on_wire: 0,
            operations: [Under::Nothing; limits::BURSTS_PER_TASK_MAX],
            operation_count: 0,
            jobs_in_flight: 0,
            fault: planned.fault,
            aborted: false,
            holds_range: false,
            arrival: 0,
            times: Times { received: now, submitted: None, completed: now },
        }
    }

    /// Bytes that go to the initiator: no more than it has room for.
    #[inline]
    pub(crate) fn data_in_total(&self) -> u32 {
        // The smaller of the two fits, because one of them does.
        let expected = self.expected_data_transfer_length;
        u32::try_from(self.scsi_length).map_or(expected, |length| length.min(expected))
    }

    /// The burst that covers `offset` of the task's data.
    #[inline]
    pub(crate) fn burst_at(&mut self, offset: u32) -> Option<&mut Burst> {
        let part = self.bursts.covering(offset)?;
        self.bursts.get_mut(part)
    }

    /// A part for one more burst. Bursts that are on the wire count: a task whose peer is slow
    /// holds no more buffers than another one.
    #[inline]
    pub(crate) fn free_part(&self) -> Option<usize> {
        if self.bursts.is_empty() && self.on_wire == 0 {
            return Some(0);
        }
        let held = self.bursts.count() as usize + usize::from(self.on_wire);
        if held < limits::BURSTS_PER_TASK_MAX { self.bursts.free_part() } else { None }
    }

    /// The range of the volume that a burst stands for.
    #[inline]
    pub(crate) fn range_of(&self, burst: &Burst) -> ByteRange {
        ByteRange { offset: self.range.offset + u64::from(burst.offset), len: u64::from(burst.len) }
    }

    /// The burst of a part in which something is under way.
    #[inline]
    pub(crate) fn burst_mut(&mut self, part: usize) -> &mut Burst {
        match self.bursts.get_mut(part) {
            Some(burst) => burst,
            None => unreachable!("work on part {part} without its burst"),
        }
    }

    /// Keeps the first fault.
    pub(crate) fn fail(&mut self, fault: Fault) {
        self.fault.get_or_insert(fault);
    }

    /// Keeps the first fault, and of several medium errors that of the lowest block: what is before
    /// the block that a medium error names counts as good.
    pub(crate) fn fail_at_medium(&mut self, sense: Sense) {
        if let Some(Fault::Check(first)) = &mut self.fault
            && first.key == SenseKey::MediumError
            && sense.information < first.information
        {
            *first = sense;
        }
        self.fail(Fault::Check(sense));
    }

    /// Keeps the first fault. One that names a block names none any more: this one may be before
    /// it.
    pub(crate) fn fail_without_place(&mut self, sense: Sense) {
        if let Some(Fault::Check(first)) = &mut self.fault
            && first.key == SenseKey::MediumError
        {
            first.information = None;
        }
        self.fail(Fault::Check(sense));
    }

    /// Whether an operation is under way.
    #[inline]
    pub(crate) const fn has_operation(&self) -> bool {
        self.operation_count > 0
    }

    /// Whether the home of a logical unit does a job for it.
    #[inline]
    pub(crate) const fn has_job(&self) -> bool {
        self.jobs_in_flight > 0
    }

    /// Whether neither an operation nor a job is under way.
    #[inline]
    pub(crate) const fn is_still(&self) -> bool {
        !self.has_operation() && !self.has_job()
    }

    /// Whether the buffer is that of one of its bursts.
    pub(crate) fn has_buffer(&self, buf: BufId) -> bool {
        self.bursts.find(|burst| burst.buf == buf).is_some()
    }

    /// Whether it stands for a task management function.
    pub(crate) const fn is_management(&self) -> bool {
        matches!(self.work, Work::Management)
    }

    /// Submits a request to the medium as the operation of `part`.
    #[inline(always)]
    pub(crate) fn submit(
        &mut self,
        part: usize,
        request: BlockRequest,
        reach: &mut Reach<'_, '_>,
    ) -> Submitted {
        let Some(unit) = reach.unit.as_deref_mut() else {
            unreachable!("a command on the medium has passed the check for its unit")
        };
        let buf = match &request {
            BlockRequest::Read { into: slice, .. } | BlockRequest::Write { from: slice, .. } => {
                Some(slice.buf)
            }
            BlockRequest::Flush | BlockRequest::Space { .. } | BlockRequest::MapQuery(_) => None,
        };
        if let Some(buf) = buf {
            reach.lender.wait_for_medium(buf, unit.volume);
        }
        let submitted = unit.medium.submit(op_of(reach.key, part), request, reach.turn);
        match submitted {
            Submitted::Started(slot) => self.begin(part, Under::Medium(slot), reach.turn.now),
            Submitted::Waits => self.waits_for_range = true,
        }
        submitted
    }

    /// Combines two buffers as the operation of `part`.
    pub(crate) fn combine(&mut self, part: usize, pair: Pair, reach: &mut Reach<'_, '_>) {
        let Pair { by, first, second } = pair;
        self.begin(part, Under::Combination, reach.turn.now);
        let op = op_of(reach.key, part);
        reach.turn.push(Action::Combine { op, by, first, second });
    }

    #[inline]
    fn begin(&mut self, part: usize, what: Under, now: Instant) {
        assert!(self.phase != Phase::Finished, "a finished task begins nothing");
        assert!(self.operations[part] == Under::Nothing, "one operation in a part at a time");
        self.operations[part] = what;
        self.operation_count += 1;
        self.times.submitted.get_or_insert(now);
    }

    /// The operation of `part` has ended.
    #[inline]
    pub(crate) fn end_operation(&mut self, part: usize, reach: &mut Reach<'_, '_>) {
        let ended = std::mem::replace(&mut self.operations[part], Under::Nothing);
        assert!(ended != Under::Nothing, "an operation of a task ended twice");
        if let (Under::Medium(slot), Some(unit)) = (ended, reach.unit.as_deref_mut()) {
            unit.medium.handle_io(op_of(reach.key, part), slot, reach.turn);
        }
        assert!(self.operation_count > 0, "an operation that was not counted");
        self.operation_count -= 1;
        if Mutant::CompletionCountedTwice.is_active() && self.operation_count > 0 {
            self.operation_count -= 1;
            self.operations = [Under::Nothing; limits::BURSTS_PER_TASK_MAX];
        }
        self.times.completed = reach.turn.now;
    }

    /// The home of a logical unit begins a job for it.
    pub(crate) fn begin_job(&mut self) {
        assert!(self.phase != Phase::Finished, "a finished task asks for nothing");
        self.jobs_in_flight += 1;
    }

    /// A job for it has ended.
    pub(crate) fn end_job(&mut self) {
        assert!(self.jobs_in_flight > 0, "a job ended that nobody asked for");
        self.jobs_in_flight -= 1;
    }

    /// Whether it waits for a held range.
    pub(crate) const fn waits_for_range(&self) -> bool {
        self.waits_for_range
    }

    /// The range that it waited for may be free.
    pub(crate) const fn stop_waiting_for_range(&mut self) {
        self.waits_for_range = false;
    }

    /// Removes the tag from the session, and gives its place in the window back.
    #[inline]
    pub(crate) fn untag(&self, reach: &mut Reach<'_, '_>) {
        // The session may be gone, and its tags with it.
        let Some(session) = reach.session.as_deref_mut() else { return };
        session.tags.remove(self.tag_place, self.tag, reach.key);
        session.retire(self.immediate);
    }

    /// Gives back what a finished task still holds, before it is forgotten.
    #[inline]
    pub(crate) fn let_go(&mut self, reach: &mut Reach<'_, '_>) {
        assert!(self.phase == Phase::Finished && self.is_still(), "a task goes when it is quiet");
        let waits = self.waits_for_range | self.waits_for_buffer.is_some();
        if !self.bursts.is_empty() || self.holds_range | waits | self.is_in_order {
            self.give_up(reach);
        }
    }

    fn give_up(&mut self, reach: &mut Reach<'_, '_>) {
        if self.holds_range
            && let Some(volume) = self.volume
        {
            reach.release_range(volume);
        }
        if self.waits_for_range
            && let Some(unit) = reach.unit.as_deref_mut()
        {
            unit.medium.forget(reach.key);
        }
        self.stop_waiting_for_buffer(reach);
        // The session may be gone, and the order of its tasks with it.
        if self.is_in_order
            && let Some(session) = reach.session.as_deref_mut()
        {
            session.order.ended(reach.key, reach.turn);
        }
        while let Some(part) = self.bursts.find(|_| true) {
            if let Some(burst) = self.bursts.take(part) {
                reach.give_back(burst);
            }
        }
    }

    /// It asks for no buffer any more.
    pub(crate) fn stop_waiting_for_buffer(&mut self, reach: &mut Reach<'_, '_>) {
        if let Some(waiting) = self.waits_for_buffer.take() {
            reach.lender.forget(reach.key, waiting, reach.turn);
        }
    }

    /// The session that its buffers are lent to.
    #[inline]
    pub(crate) fn holder(&self) -> ConnId {
        match self.conn {
            Some(conn) => conn,
            None => unreachable!("the end of a session aborts its tasks, which lend nothing then"),
        }
    }

    /// For whom and what it needs buffers.
    #[inline]
    pub(crate) fn need(&self) -> Need {
        Need { holder: self.holder(), volume: self.volume }
    }

    /// Asserts what holds for every task between two calls.
    pub(crate) fn self_check(&self) {
        let under = self.operations.iter().filter(|&&u| u != Under::Nothing).count();
        assert_eq!(under, usize::from(self.operation_count), "operations are counted: {self:?}");
        self.data_out.self_check();
        assert!(self.data_in.sent <= self.data_in_total(), "more was sent than there is: {self:?}");
        let held = self.bursts.count() as usize + usize::from(self.on_wire);
        assert!(held <= limits::BURSTS_PER_TASK_MAX, "a task has too many bursts: {self:?}");
        if self.phase == Phase::Finished {
            assert!(
                !self.is_still() || self.bursts.count() > 0,
                "a finished task stays for what is under way or for a buffer that is filled"
            );
            return;
        }
        assert!(!self.is_dormant || self.is_still(), "a dormant task does nothing: {self:?}");
        let waits = self.waits_for_buffer.is_some() || self.waits_for_range || self.is_dormant;
        let is_on_its_way = waits || !self.is_still() || self.on_wire > 0;
        assert!(
            is_on_its_way || self.data_out.is_expected() || matches!(self.work, Work::Management),
            "nothing will ever wake this task: {self:?}"
        );
    }
}

impl Reach<'_, '_> {
    /// The buffers of a burst come back.
    #[inline]
    pub(crate) fn give_back(&mut self, burst: Burst) {
        self.lender.give_back(burst.buf, self.turn);
        if let Some(second) = burst.second {
            self.lender.give_back(second, self.turn);
        }
    }

    /// Releases the range that the task holds, on all cores.
    pub(crate) fn release_range(&mut self, volume: VolumeId) {
        let holder = self.ticket();
        let home = self.turn.cores.home_of(volume);
        self.turn.post(home, crate::message::Note::ReleaseRange { volume, holder });
    }

    /// The task's name for other shards.
    pub(crate) const fn ticket(&self) -> crate::message::Ticket {
        crate::message::Ticket { reactor: self.turn.cores.own, task: self.key }
    }
}

/// Names the operation of a part of a task.
#[inline]
fn op_of(task: Key, part: usize) -> OpId {
    debug_assert!(part < limits::BURSTS_PER_TASK_MAX);
    // A task has a handful of parts.
    #[expect(clippy::cast_possible_truncation, reason = "below BURSTS_PER_TASK_MAX")]
    OpId { task, part: part as u8 }
}
