//! One disk operation, and what is left of it.

use shard::IoResult;
use units::BufSlice;
use uring::{Errno, Fallocate};
use volume::{ByteRange, SpaceChange};

/// What an operation does, and from where on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Work {
    Flush,
    /// Where the range has blocks.
    Map(ByteRange),
    Read {
        offset: u64,
        slice: BufSlice,
    },
    Space {
        mode: Fallocate,
        range: ByteRange,
    },
    Write {
        offset: u64,
        slice: BufSlice,
        durable: bool,
    },
    /// Zeros are written, a buffer of them at a time.
    WriteZeros(ByteRange),
}

/// Where a transfer stands after the kernel has moved some bytes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    Done,
    /// This is left.
    More(Work),
    /// Nothing moved: the file has become shorter than its volume.
    Stuck,
}

impl Work {
    /// Where the operation stands after `moved` bytes.
    pub(super) fn after(self, moved: u32) -> Progress {
        if moved == 0 {
            return Progress::Stuck;
        }
        let further = u64::from(moved);
        let rest = |slice: BufSlice| {
            let left = slice.len.checked_sub(moved).filter(|&left| left > 0)?;
            Some(BufSlice { offset: slice.offset + moved, len: left, ..slice })
        };
        let left = match self {
            Self::Read { offset, slice } => {
                rest(slice).map(|slice| Self::Read { offset: offset + further, slice })
            }
            Self::Write { offset, slice, durable } => {
                rest(slice).map(|slice| Self::Write { offset: offset + further, slice, durable })
            }
            Self::WriteZeros(ByteRange { offset, len }) => (len > further).then(|| {
                Self::WriteZeros(ByteRange { offset: offset + further, len: len - further })
            }),
            Self::Flush | Self::Map(_) | Self::Space { .. } => None,
        };
        left.map_or(Progress::Done, Progress::More)
    }

    /// What to try instead, where the file system cannot do this: a hole reads as zeros just
    /// as well, and what has no holes can be written.
    pub(super) fn instead(self, errno: Errno) -> Option<Self> {
        if errno.0 != EOPNOTSUPP {
            return None;
        }
        let Self::Space { mode, range } = self else { return None };
        match mode {
            Fallocate::ZeroRange => Some(Self::Space { mode: Fallocate::PunchHole, range }),
            Fallocate::PunchHole => Some(Self::WriteZeros(range)),
            Fallocate::Allocate => None,
        }
    }

    /// Whether the kernel leaves it to a worker in any case.
    pub(super) const fn always_waits(&self) -> bool {
        match self {
            Self::Flush | Self::Space { .. } => true,
            Self::Map(_) | Self::Read { .. } | Self::Write { .. } | Self::WriteZeros(_) => false,
        }
    }
}

/// How a space change is asked of the kernel.
pub(super) const fn fallocate_mode(change: SpaceChange) -> Fallocate {
    match change {
        SpaceChange::Unmap => Fallocate::PunchHole,
        SpaceChange::Zero => Fallocate::ZeroRange,
    }
}

/// What an error of the kernel means to the engine.
pub(super) const fn io_result(errno: Errno) -> IoResult {
    match errno.0 {
        ENOSPC | EDQUOT => IoResult::NoSpace,
        other => IoResult::Failed(other),
    }
}

/// Zeros that are written at once: a write of this size is as fast as a longer one.
pub(super) const ZERO_BUFFER_BYTES: u32 = 512 << 10;
/// A multiple of every block size.
pub(super) const ZERO_BUFFER_STEP: u32 = 4096;

const ENOSPC: i32 = 28;
const EOPNOTSUPP: i32 = 95;
const EDQUOT: i32 = 122;

#[cfg(test)]
mod tests {
    use super::*;
    use units::BufId;

    const fn slice(offset: u32, len: u32) -> BufSlice {
        BufSlice { buf: BufId(3), offset, len }
    }

    const fn range(offset: u64, len: u64) -> ByteRange {
        ByteRange { offset, len }
    }

    #[test]
    fn what_a_short_transfer_left_is_asked_for_again() {
        let read = Work::Read { offset: 8192, slice: slice(512, 4096) };
        assert_eq!(
            read.after(1024),
            Progress::More(Work::Read { offset: 9216, slice: slice(1536, 3072) })
        );
        assert_eq!(read.after(4096), Progress::Done);
        assert_eq!(read.after(0), Progress::Stuck);
    }

    #[test]
    fn a_durable_write_stays_durable_to_its_end() {
        let write = Work::Write { offset: 0, slice: slice(0, 4096), durable: true };
        let rest = Work::Write { offset: 512, slice: slice(512, 3584), durable: true };
        assert_eq!(write.after(512), Progress::More(rest));
    }

    #[test]
    fn zeros_are_written_where_neither_ranges_nor_holes_are_supported() {
        let unsupported = Errno(95);
        let zero = Work::Space { mode: Fallocate::ZeroRange, range: range(4096, 1 << 20) };
        let hole = zero.instead(unsupported).unwrap();
        assert_eq!(hole, Work::Space { mode: Fallocate::PunchHole, range: range(4096, 1 << 20) });
        let write = hole.instead(unsupported).unwrap();
        assert_eq!(write, Work::WriteZeros(range(4096, 1 << 20)));
        let rest = Work::WriteZeros(range(528_384, 524_288));
        assert_eq!(write.after(524_288), Progress::More(rest));
        assert_eq!(rest.after(524_288), Progress::Done);
    }

    #[test]
    fn other_errors_are_not_worked_around() {
        let zero = Work::Space { mode: Fallocate::ZeroRange, range: range(0, 512) };
        assert_eq!(zero.instead(Errno(28)), None);
        assert_eq!(Work::Flush.instead(Errno(95)), None);
        assert_eq!(io_result(Errno(28)), IoResult::NoSpace);
        assert_eq!(io_result(Errno(5)), IoResult::Failed(5));
    }
}
