//! One task: a command from its header to its response (SAM-5 5.1), and the bursts that its
//! data is moved in.
//!
//! ```text
//!   header -> Collecting -> (range held elsewhere: waits) -> Executing -> response
//!                 \___________ fault: waits for the end of unsolicited data ____/
//! ```
//! A task lives until its last backend operation has ended, even if its session is gone: only
//! then do its buffers go back.

use crate::message::Job;
use crate::operation::Operation;
use iscsi::{InitiatorTaskTag, TargetTransferTag};
use scsi::{BlockRange, ParameterKind, Sense, VerifyBytes};
use smallvec::SmallVec;
use units::{BufId, ConnId, Instant, Lun, Serial32, VolumeId, limits};
use volume::ByteRange;

/// One task.
#[derive(Debug)]
pub(crate) struct Task {
    /// The connection, while its session lives.
    pub(crate) conn: Option<ConnId>,
    pub(crate) tag: InitiatorTaskTag,
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
    pub(crate) data_out: DataOutState,
    /// Data that goes to the initiator: DataSN of the next PDU and bytes since the last F bit.
    pub(crate) data_in: DataInState,
    /// Bytes of the range for which work has begun.
    pub(crate) cursor: u64,
    pub(crate) bursts: [Option<Burst>; limits::BURSTS_PER_TASK_MAX],
    /// It waits for a buffer, in the queue of those that do.
    pub(crate) is_hungry: bool,
    /// Further bursts whose bytes are on the wire.
    pub(crate) on_wire: u8,
    /// Backend operations under way.
    pub(crate) io_in_flight: u8,
    /// Jobs that logical units' homes do for it. They do not count as under way for other
    /// jobs that wait until the task is quiet: one may be queued behind the other.
    pub(crate) jobs_in_flight: u32,
    /// The first thing that went wrong.
    pub(crate) fault: Option<Fault>,
    /// A task management function or the end of the session has ended it: no response.
    pub(crate) aborted: bool,
    /// The range of the volume is held for this task on all cores.
    pub(crate) holds_range: bool,
    /// Its place in the order in which tasks came to this shard.
    pub(crate) arrival: u64,
    pub(crate) received_at: Instant,
    pub(crate) submitted_at: Option<Instant>,
    pub(crate) completed_at: Instant,
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

/// What a task does once it may.
#[derive(Clone, Debug)]
pub(crate) enum Work {
    /// Answer with data or with nothing.
    Answer(Vec<u8>),
    /// COMPARE AND WRITE: `half` bytes to compare with, as many to write.
    CompareAndWrite { half: u32, fua: bool },
    /// Asks the home of the logical unit for a job, then GOOD.
    Coordinate(Option<Job>),
    /// SYNCHRONIZE CACHE, and whatever ends with a flush.
    Flush,
    /// GET LBA STATUS.
    LbaStatus { lba: units::Lba, allocation_length: u32, found: Vec<scsi::LbaStatus> },
    /// A task management function waits for tasks to end.
    Management,
    /// Gathers a parameter list.
    Parameters { kind: ParameterKind, list: Vec<u8> },
    /// READ.
    Read,
    /// UNMAP: the extents that are left.
    Unmap(Vec<ByteRange>),
    /// VERIFY.
    Verify(VerifyBytes),
    /// WRITE.
    Write { fua: bool },
    /// WRITE AND VERIFY.
    WriteAndVerify(VerifyBytes),
    /// WRITE SAME.
    WriteSame { unmap: bool, no_data_out: bool, block: u32, zeros: Option<bool> },
}

impl Work {
    /// Whether each burst of data is worked on by itself as soon as it is here.
    pub(crate) const fn streams(&self) -> bool {
        matches!(
            self,
            Self::Read
                | Self::Write { .. }
                | Self::WriteAndVerify(_)
                | Self::Verify(VerifyBytes::Compare)
        )
    }

    /// Of commands that write their bursts: whether each must be durable before it counts.
    pub(crate) const fn write_durability(&self) -> Option<bool> {
        if let Self::Write { fua } = self {
            return Some(*fua);
        }
        // What is verified must be on the medium.
        if matches!(self, Self::WriteAndVerify(_)) { Some(true) } else { None }
    }

    /// Of commands that look at the medium after, or instead of, writing: how.
    pub(crate) const fn verify_bytes(&self) -> Option<VerifyBytes> {
        if let Self::WriteAndVerify(bytes) | Self::Verify(bytes) = self {
            Some(*bytes)
        } else {
            None
        }
    }

    /// Whether the command is one that changes blocks, even if it does not touch them yet: UNMAP
    /// has its list to gather first.
    pub(crate) const fn will_modify(&self) -> bool {
        self.modifies() || matches!(self, Self::Parameters { kind: ParameterKind::Unmap, .. })
    }

    /// Lengths of the buffers that a burst of `len` bytes needs besides its own: one for what the
    /// medium holds in its place, and two for commands that work through a `range` chunk by chunk.
    pub(crate) fn further_buffers(&self, len: u32, range: u64) -> [Option<u32>; 3] {
        let chunk = u32::try_from(range).unwrap_or(u32::MAX).min(limits::BURST_LENGTH_MAX);
        match self {
            Self::CompareAndWrite { half, .. } => [Some(*half), None, None],
            Self::Verify(VerifyBytes::Compare) | Self::WriteAndVerify(_) => [Some(len), None, None],
            Self::Verify(VerifyBytes::CompareOneBlock) => [None, Some(chunk), Some(chunk)],
            Self::WriteSame { .. } => [None, Some(chunk), None],
            Self::Answer(_)
            | Self::Coordinate(_)
            | Self::Flush
            | Self::LbaStatus { .. }
            | Self::Management
            | Self::Parameters { .. }
            | Self::Read
            | Self::Unmap(_)
            | Self::Verify(VerifyBytes::None)
            | Self::Write { .. } => [None, None, None],
        }
    }

    /// Whether blocks change.
    pub(crate) const fn modifies(&self) -> bool {
        matches!(
            self,
            Self::CompareAndWrite { .. }
                | Self::Unmap(_)
                | Self::Write { .. }
                | Self::WriteAndVerify(_)
                | Self::WriteSame { .. }
        )
    }
}

/// A part of a task's data with the buffer that holds it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Burst {
    pub(crate) buf: BufId,
    /// A second buffer: what the medium holds, to compare with.
    pub(crate) second: Option<BufId>,
    /// Bytes from the start of the task's data.
    pub(crate) offset: u32,
    pub(crate) len: u32,
    /// Bytes received so far.
    pub(crate) received: u32,
    pub(crate) step: Step,
}

/// What a burst is waiting for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// For data from the initiator.
    Collect,
    /// For the comparison of `buf` with `second`.
    Compare,
    /// For the read of the medium.
    Read,
    /// For its turn to be sent: Data-In goes out in order.
    Send,
    /// For the write to the medium.
    Write,
}

/// Data on its way from the initiator.
#[derive(Debug, Default)]
pub(crate) struct DataOutState {
    /// Bytes that are of use: what the command takes, and no more than the initiator has.
    pub(crate) total: u32,
    /// Bytes received or dropped by order.
    pub(crate) received: u32,
    /// Up to here data was asked for, or is sent unasked.
    pub(crate) requested: u32,
    /// The unsolicited sequence, until its F bit.
    pub(crate) unsolicited: Option<Sequence>,
    /// R2Ts that are not yet served, oldest first.
    pub(crate) solicited: SmallVec<[Sequence; 2]>,
    /// R2TSN of the next R2T (RFC 7143 11.8.3).
    pub(crate) r2t_sn: u32,
}

/// A sequence of Data-Out PDUs (RFC 7143 4.2.5.2): its data comes in order.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sequence {
    pub(crate) tag: TargetTransferTag,
    /// Buffer Offset of the next PDU.
    pub(crate) next: u32,
    /// The end of the data asked for.
    pub(crate) end: u32,
    /// DataSN of the next PDU.
    pub(crate) data_sn: u32,
}

/// Data on its way to the initiator.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct DataInState {
    /// DataSN of the next Data-In PDU.
    pub(crate) data_sn: u32,
    /// Bytes handed to the connection.
    pub(crate) sent: u32,
    /// Bytes since the last F bit: a sequence ends at MaxBurstLength (RFC 7143 13.13).
    pub(crate) in_sequence: u32,
}

impl Task {
    /// Bytes that go to the initiator: no more than it has room for.
    pub(crate) fn data_in_total(&self) -> u32 {
        u32::try_from(self.scsi_length).unwrap_or(u32::MAX).min(self.expected_data_transfer_length)
    }

    /// The burst that covers `offset` of the task's data, and its place.
    pub(crate) fn burst_at(&mut self, offset: u32) -> Option<(usize, &mut Burst)> {
        self.bursts.iter_mut().enumerate().find_map(|(slot, burst)| {
            let burst = burst.as_mut()?;
            let covers = burst.offset <= offset && offset - burst.offset < burst.len;
            covers.then_some((slot, burst))
        })
    }

    /// A place for one more burst. Bursts that are on the wire count: a task whose peer is slow
    /// holds no more buffers than another one.
    pub(crate) fn free_slot(&self) -> Option<usize> {
        let held = self.bursts.iter().flatten().count() + usize::from(self.on_wire);
        if held >= self.bursts.len() {
            return None;
        }
        self.bursts.iter().position(Option::is_none)
    }

    /// The size of the chunks in which the task's range is gone through.
    pub(crate) fn chunk_bytes(&self) -> u32 {
        u32::try_from(self.range.len).unwrap_or(u32::MAX).min(limits::BURST_LENGTH_MAX)
    }

    /// The largest buffer that the burst at `offset` of the data needs.
    pub(crate) fn buffer_wanted(&self, offset: u32) -> u32 {
        let start = offset - offset % limits::BURST_LENGTH_MAX;
        let len = self.data_out.total.saturating_sub(start).min(limits::BURST_LENGTH_MAX);
        let further = self.work.further_buffers(len, self.range.len);
        further.into_iter().flatten().fold(len, u32::max)
    }

    /// Whether a write to the medium may be under way in a range.
    pub(crate) fn writes_into(&self, volume: VolumeId, extent: ByteRange) -> bool {
        self.volume == Some(volume)
            && self.io_in_flight > 0
            && self.work.modifies()
            && self.range.overlaps(extent)
    }

    /// Keeps the first fault.
    pub(crate) fn fail(&mut self, fault: Fault) {
        self.fault.get_or_insert(fault);
    }
}

/// The range of a command on its volume.
pub(crate) fn range_of(geometry: &volume::Geometry, extent: BlockRange) -> ByteRange {
    geometry
        .byte_range(extent.lba, extent.blocks)
        .unwrap_or_else(|| ByteRange { offset: geometry.bytes(), len: 0 })
}
