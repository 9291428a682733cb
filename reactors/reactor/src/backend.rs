//! Volumes as the reactor reaches them, and the operations on them that are under way.

use shard::{IoResult, OpId};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use units::{BufId, BufSlice, PoolLayout, SizeClass};
use uring::file::OpenFile;
use uring::{Errno, Fallocate, FileId, MemoryStore};
use volume::SpaceChange;

/// An open volume, before any reactor has it.
#[derive(Debug)]
pub enum Store {
    /// A file or block device.
    File(OpenFile),
    /// RAM of this process.
    Memory(Arc<MemoryStore>),
    /// Nothing: writes are dropped, reads return zeros.
    Null,
}

/// An open volume that every reactor can have.
#[derive(Clone, Debug)]
pub(crate) enum SharedStore {
    File { fd: Arc<OwnedFd>, size: u64, trust: Arc<Trust> },
    Memory(Arc<MemoryStore>),
    Null,
}

impl From<Store> for SharedStore {
    fn from(store: Store) -> Self {
        match store {
            Store::File(file) => {
                let trust = Trust { is_lost: AtomicBool::new(false), is_direct: file.is_direct };
                Self::File { fd: Arc::new(file.fd), size: file.size, trust: Arc::new(trust) }
            }
            Store::Memory(store) => Self::Memory(store),
            Store::Null => Self::Null,
        }
    }
}

/// A volume on one reactor.
#[derive(Clone, Debug)]
pub(crate) enum Backend {
    File { id: FileId, fd: Arc<OwnedFd>, size: u64, trust: Arc<Trust> },
    Memory(Arc<MemoryStore>),
    Null,
}

/// Whether a volume may still be told to be durable; all reactors share it.
///
/// The kernel reports a flush that failed once, to one caller. What it could not write it then
/// takes for clean, so the next flush would succeed although data that was answered with GOOD is
/// lost.
#[derive(Debug)]
pub(crate) struct Trust {
    is_lost: AtomicBool,
    is_direct: bool,
}

impl Trust {
    /// Whether a flush has failed since the volume was opened.
    pub(crate) fn is_lost(&self) -> bool {
        self.is_lost.load(Ordering::Relaxed)
    }

    /// An operation has failed: tells whether data of others may be lost by that, and nobody knew.
    pub(crate) fn lose(&self, kind: &IoKind) -> bool {
        let loses = match kind {
            IoKind::Flush => true,
            // It flushes the page cache too, and is told what an earlier write of that met.
            IoKind::Write { durable, .. } => *durable && !self.is_direct,
            IoKind::Read { .. } | IoKind::Space { .. } | IoKind::WriteZeros { .. } => false,
        };
        loses && !self.is_lost.swap(true, Ordering::Relaxed)
    }
}

/// An operation that is with the kernel.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Io {
    pub(crate) op: OpId,
    pub(crate) file: FileId,
    pub(crate) kind: IoKind,
}

/// What the operation does, and from where on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum IoKind {
    Read {
        offset: u64,
        slice: BufSlice,
    },
    Write {
        offset: u64,
        slice: BufSlice,
        durable: bool,
    },
    Flush,
    Space {
        mode: Fallocate,
        offset: u64,
        len: u64,
    },
    /// Zeros are written, a buffer of them at a time.
    WriteZeros {
        offset: u64,
        len: u64,
    },
}

/// Where a transfer stands after the kernel has moved some bytes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    Done,
    /// This is left.
    More(IoKind),
    /// Nothing moved: the file has become shorter than its volume.
    Stuck,
}

impl IoKind {
    /// Where the operation stands after `moved` bytes.
    pub(crate) fn after(self, moved: u32) -> Progress {
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
            Self::WriteZeros { offset, len } => (len > further)
                .then(|| Self::WriteZeros { offset: offset + further, len: len - further }),
            Self::Flush | Self::Space { .. } => None,
        };
        left.map_or(Progress::Done, Progress::More)
    }

    /// What to try instead, where the file system cannot do this: a hole reads as zeros just
    /// as well, and what has no holes can be written.
    pub(crate) fn instead(self, errno: Errno) -> Option<Self> {
        let Self::Space { mode, offset, len } = self else { return None };
        if errno.0 != EOPNOTSUPP {
            return None;
        }
        match mode {
            Fallocate::ZeroRange => Some(Self::Space { mode: Fallocate::PunchHole, offset, len }),
            Fallocate::PunchHole => Some(Self::WriteZeros { offset, len }),
            Fallocate::Allocate => None,
        }
    }
}

/// How a space change is asked of the kernel.
pub(crate) const fn fallocate_mode(change: SpaceChange) -> Fallocate {
    match change {
        SpaceChange::Unmap => Fallocate::PunchHole,
        SpaceChange::Zero => Fallocate::ZeroRange,
    }
}

/// The layout of a reactor's pool: that of the shard, and behind it a buffer that the shard does
/// not know and nobody writes, so that it stays full of zeros.
pub(crate) fn with_zero_buffer(layout: &PoolLayout) -> PoolLayout {
    let mut classes = layout.classes().to_vec();
    classes.push(SizeClass { bytes: zero_buffer(layout).len, count: 1 });
    PoolLayout::new(classes)
}

/// The buffer of zeros of a pool whose shard has this layout.
pub(crate) fn zero_buffer(layout: &PoolLayout) -> BufSlice {
    let largest = layout.classes().last().map_or(0, |class| class.bytes);
    // Classes ascend in size, and this one is the last.
    let len = ZERO_BUFFER_BYTES.max(largest.saturating_add(ZERO_BUFFER_STEP));
    BufSlice { buf: BufId(layout.buffer_count()), offset: 0, len }
}

/// What an error of the kernel means to the engine.
pub(crate) const fn io_result(errno: Errno) -> IoResult {
    match errno.0 {
        ENOSPC | EDQUOT => IoResult::NoSpace,
        other => IoResult::Failed(other),
    }
}

/// Zeros that are written at once: a write of this size is as fast as a longer one.
const ZERO_BUFFER_BYTES: u32 = 512 << 10;
/// A multiple of every block size.
const ZERO_BUFFER_STEP: u32 = 4096;

const ENOSPC: i32 = 28;
const EOPNOTSUPP: i32 = 95;
const EDQUOT: i32 = 122;
/// What a transfer past the end of a file that has shrunk becomes.
pub(crate) const EIO: i32 = 5;

#[cfg(test)]
mod tests {
    use super::*;
    const fn slice(offset: u32, len: u32) -> BufSlice {
        BufSlice { buf: BufId(3), offset, len }
    }

    #[test]
    fn what_a_short_transfer_left_is_asked_for_again() {
        let read = IoKind::Read { offset: 8192, slice: slice(512, 4096) };
        assert_eq!(
            read.after(1024),
            Progress::More(IoKind::Read { offset: 9216, slice: slice(1536, 3072) })
        );
        assert_eq!(read.after(4096), Progress::Done);
        assert_eq!(read.after(0), Progress::Stuck);
    }

    #[test]
    fn a_durable_write_stays_durable_to_its_end() {
        let write = IoKind::Write { offset: 0, slice: slice(0, 4096), durable: true };
        let rest = IoKind::Write { offset: 512, slice: slice(512, 3584), durable: true };
        assert_eq!(write.after(512), Progress::More(rest));
    }

    #[test]
    fn zeros_are_written_where_neither_ranges_nor_holes_are_supported() {
        let unsupported = Errno(95);
        let zero = IoKind::Space { mode: Fallocate::ZeroRange, offset: 4096, len: 1 << 20 };
        let hole = zero.instead(unsupported).unwrap();
        assert_eq!(hole, IoKind::Space { mode: Fallocate::PunchHole, offset: 4096, len: 1 << 20 });
        let write = hole.instead(unsupported).unwrap();
        assert_eq!(write, IoKind::WriteZeros { offset: 4096, len: 1 << 20 });
        let rest = IoKind::WriteZeros { offset: 528_384, len: 524_288 };
        assert_eq!(write.after(524_288), Progress::More(rest));
        assert_eq!(rest.after(524_288), Progress::Done);
    }

    #[test]
    fn the_buffer_of_zeros_lies_behind_those_of_the_shard() {
        let class = |bytes, count| SizeClass { bytes, count };
        let layout = PoolLayout::new(vec![class(4096, 3), class(262_144, 2)]);
        let zeros = zero_buffer(&layout);
        assert_eq!(zeros, BufSlice { buf: BufId(5), offset: 0, len: 524_288 });
        let whole = with_zero_buffer(&layout);
        assert_eq!(whole.classes()[..2], *layout.classes());
        assert_eq!(whole.locate(zeros.buf), Some((2, 0)));
        let large = zero_buffer(&PoolLayout::new(vec![class(1 << 20, 1)]));
        assert_eq!(large.len, 1_052_672);
    }

    #[test]
    fn other_errors_are_not_worked_around() {
        let zero = IoKind::Space { mode: Fallocate::ZeroRange, offset: 0, len: 512 };
        assert_eq!(zero.instead(Errno(28)), None);
        assert_eq!(IoKind::Flush.instead(Errno(95)), None);
        assert_eq!(io_result(Errno(28)), IoResult::NoSpace);
        assert_eq!(io_result(Errno(5)), IoResult::Failed(5));
    }
}
