//! Volumes as the reactor reaches them, and the operations on them that are under way.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use target::{IoResult, OpId, SpaceChange};
use units::BufSlice;
use uring::file::OpenFile;
use uring::{Errno, Fallocate, FileId, MemoryStore};

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
    File { fd: Arc<OwnedFd>, size: u64 },
    Memory(Arc<MemoryStore>),
    Null,
}

impl From<Store> for SharedStore {
    fn from(store: Store) -> Self {
        match store {
            Store::File(file) => Self::File { fd: Arc::new(file.fd), size: file.size },
            Store::Memory(store) => Self::Memory(store),
            Store::Null => Self::Null,
        }
    }
}

/// A volume on one reactor.
#[derive(Clone, Debug)]
pub(crate) enum Backend {
    File { id: FileId, fd: Arc<OwnedFd>, size: u64 },
    Memory(Arc<MemoryStore>),
    Null,
}

/// An operation that is with the kernel.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Io {
    pub(crate) op: OpId,
    pub(crate) file: FileId,
    pub(crate) kind: IoKind,
}

/// What the operation does, and from where on.
#[derive(Clone, Copy, Debug)]
pub(crate) enum IoKind {
    Read { offset: u64, slice: BufSlice },
    Write { offset: u64, slice: BufSlice, durable: bool },
    Flush,
    Space { mode: Fallocate, offset: u64, len: u64 },
}

impl Io {
    /// The part that is left of a transfer that moved `moved` bytes. `None` where nothing is
    /// left or nothing moved.
    pub(crate) fn rest(mut self, moved: u32) -> Option<Self> {
        let (IoKind::Read { offset, slice } | IoKind::Write { offset, slice, .. }) = &mut self.kind
        else {
            return None;
        };
        if moved == 0 || moved >= slice.len {
            return None;
        }
        *offset += u64::from(moved);
        slice.offset += moved;
        slice.len -= moved;
        Some(self)
    }

    /// What to try instead, where the file system cannot do this: a hole reads as zeros just
    /// as well.
    pub(crate) const fn instead(mut self, errno: Errno) -> Option<Self> {
        if let IoKind::Space { mode, .. } = &mut self.kind
            && matches!(mode, Fallocate::ZeroRange)
            && errno.0 == EOPNOTSUPP
        {
            *mode = Fallocate::PunchHole;
            return Some(self);
        }
        None
    }
}

/// How a space change is asked of the kernel.
pub(crate) const fn fallocate_mode(change: SpaceChange) -> Fallocate {
    match change {
        SpaceChange::Unmap => Fallocate::PunchHole,
        SpaceChange::Zero => Fallocate::ZeroRange,
    }
}

/// What an error of the kernel means to the engine.
pub(crate) const fn io_result(errno: Errno) -> IoResult {
    match errno.0 {
        ENOSPC | EDQUOT => IoResult::NoSpace,
        other => IoResult::Failed(other),
    }
}

const ENOSPC: i32 = 28;
const EOPNOTSUPP: i32 = 95;
const EDQUOT: i32 = 122;
/// What a transfer past the end of a file that has shrunk becomes.
pub(crate) const EIO: i32 = 5;
