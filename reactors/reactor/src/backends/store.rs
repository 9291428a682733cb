//! Open volumes on their way to the reactors.

use super::file::Trust;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use uring::MemoryStore;
use uring::file::OpenFile;

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
    File {
        fd: Arc<OwnedFd>,
        size: u64,
        /// The file system or block device that it is on.
        device: u64,
        /// Its transfers do not wait where they must not.
        never_waits_unasked: bool,
        trust: Arc<Trust>,
    },
    Memory(Arc<MemoryStore>),
    Null,
}

impl From<Store> for SharedStore {
    fn from(store: Store) -> Self {
        match store {
            Store::File(file) => {
                let trust = Arc::new(Trust::new(file.is_direct));
                let OpenFile { fd, size, device, never_waits_unasked, .. } = file;
                Self::File { fd: Arc::new(fd), size, device, never_waits_unasked, trust }
            }
            Store::Memory(store) => Self::Memory(store),
            Store::Null => Self::Null,
        }
    }
}
