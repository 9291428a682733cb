//! What a command turns out to be: the work that its task does.

use crate::message::Job;
use crate::operation::Operation;
use crate::task::Fault;
use crate::task::update::Update;
use scsi::{ParameterKind, Sense, VerifyBytes};
use units::limits;
use volume::ByteRange;

/// What a command turns out to be.
pub(crate) struct Planned {
    pub(crate) work: Work,
    /// Bytes that the command is about, by its CDB.
    pub(crate) scsi_length: u64,
    /// The range of the volume, of commands that have one.
    pub(crate) range: ByteRange,
    pub(crate) operation: Operation,
    pub(crate) fault: Option<Fault>,
}

impl Planned {
    const NOWHERE: ByteRange = ByteRange { offset: 0, len: 0 };

    pub(crate) fn simple(work: Work, scsi_length: u64) -> Self {
        Self { work, scsi_length, range: Self::NOWHERE, operation: Operation::Other, fault: None }
    }

    pub(crate) fn fails(fault: Fault) -> Self {
        Self { fault: Some(fault), ..Self::simple(Work::Answer(Vec::new()), 0) }
    }

    pub(crate) fn check(sense: Sense) -> Self {
        Self::fails(Fault::Check(sense))
    }
}

/// What a task does once it may. Its tag is a byte of its own: each step of a task asks for it, and
/// the compiler would hide it in a field of one of the works.
#[derive(Clone, Debug)]
#[repr(u8)]
pub(crate) enum Work {
    /// Answer with data or with nothing.
    Answer(Vec<u8>),
    /// COMPARE AND WRITE and its like.
    AtomicUpdate(Update),
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

/// How a command uses data from the initiator that is less than it asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DataOutUse {
    /// It takes none.
    None,
    /// It works with what there is.
    WhatThereIs,
    /// It works with what there is, if that is whole blocks. A part of a block cannot be written,
    /// and bytes that the initiator has sent are not dropped without a word.
    WholeBlocks,
    /// It makes sense with all of its data only.
    All,
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

    /// Whether a burst of data needs no buffer besides its own.
    #[inline]
    pub(crate) const fn needs_one_buffer(&self) -> bool {
        matches!(self, Self::Write { .. })
    }

    /// Lengths of the buffers that a burst of `len` bytes needs besides its own: one for what the
    /// medium holds in its place, and two for commands that work through a `range` chunk by chunk.
    pub(crate) fn further_buffers(&self, len: u32, range: u64) -> [Option<u32>; 3] {
        let chunk = chunk_bytes(range);
        match self {
            Self::AtomicUpdate(update) => [Some(update.len), None, None],
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

    /// Whether its data goes to the initiator.
    pub(crate) const fn sends_data_in(&self) -> bool {
        match self {
            Self::Answer(_) | Self::LbaStatus { .. } | Self::Read => true,
            Self::AtomicUpdate(_)
            | Self::Coordinate(_)
            | Self::Flush
            | Self::Management
            | Self::Parameters { .. }
            | Self::Unmap(_)
            | Self::Verify(_)
            | Self::Write { .. }
            | Self::WriteAndVerify(_)
            | Self::WriteSame { .. } => false,
        }
    }

    /// What it makes of data from the initiator.
    pub(crate) const fn data_out_use(&self) -> DataOutUse {
        match self {
            Self::Answer(_)
            | Self::Coordinate(_)
            | Self::Flush
            | Self::LbaStatus { .. }
            | Self::Management
            | Self::Read
            | Self::Unmap(_) => DataOutUse::None,
            Self::Parameters { .. } => DataOutUse::WhatThereIs,
            Self::Verify(VerifyBytes::Compare) | Self::Write { .. } | Self::WriteAndVerify(_) => {
                DataOutUse::WholeBlocks
            }
            Self::AtomicUpdate(_) | Self::Verify(_) | Self::WriteSame { .. } => DataOutUse::All,
        }
    }

    /// Whether it does its work in a range that is held for it.
    pub(crate) const fn holds_range(&self) -> bool {
        matches!(self, Self::AtomicUpdate(_))
    }

    /// Whether blocks change.
    pub(crate) const fn modifies(&self) -> bool {
        matches!(
            self,
            Self::AtomicUpdate(_)
                | Self::Unmap(_)
                | Self::Write { .. }
                | Self::WriteAndVerify(_)
                | Self::WriteSame { .. }
        )
    }
}

/// The size of the chunks in which a range of `bytes` is gone through.
pub(crate) fn chunk_bytes(bytes: u64) -> u32 {
    let longest = limits::BURST_LENGTH_MAX;
    u32::try_from(bytes).map_or(longest, |bytes| bytes.min(longest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use scsi::UpdateKind;

    /// The configuration refuses pools with fewer buffers: a command would wait forever.
    #[test]
    fn no_command_needs_more_buffers_at_once_than_every_pool_has() {
        let update = Update { kind: UpdateKind::CompareAndWrite, len: 131_072, fua: false };
        let or_write = Update { kind: UpdateKind::OrWrite, len: 262_144, fua: false };
        let works = [
            Work::AtomicUpdate(update),
            Work::AtomicUpdate(or_write),
            Work::Read,
            Work::Verify(VerifyBytes::Compare),
            Work::Verify(VerifyBytes::CompareOneBlock),
            Work::Write { fua: false },
            Work::WriteAndVerify(VerifyBytes::Compare),
            Work::WriteSame { unmap: false, no_data_out: false, block: 512, zeros: None },
        ];
        for work in works {
            // The one burst that CompareOneBlock and WRITE SAME have is a block.
            let is_block = matches!(work.data_out_use(), DataOutUse::All) && !work.holds_range();
            let burst = if is_block { 512 } else { limits::BURST_LENGTH_MAX };
            let further = work.further_buffers(burst, 1 << 30);
            let all: Vec<u32> = further.into_iter().flatten().chain([burst]).collect();
            assert!(all.len() <= limits::BUFFERS_PER_COMMAND as usize, "{work:?}: {all:?}");
            let full = all.iter().filter(|&&bytes| bytes > 131_072).count();
            assert!(full <= limits::FULL_BUFFERS_PER_COMMAND as usize, "{work:?}: {all:?}");
        }
    }
}
