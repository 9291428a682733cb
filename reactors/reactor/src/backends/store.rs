//! Open volumes on their way to the reactors.

use super::file::Trust;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use units::VolumeId;
use uring::MemoryStore;
use uring::file::{Damage, OpenFile, damage_of, renamed};

/// An open volume, before any reactor has it.
#[derive(Debug)]
pub enum Store {
    /// A file or block device.
    File(OpenFile),
    /// RAM of this process.
    Memory {
        /// The RAM.
        store: Arc<MemoryStore>,
        /// No READ sees a logical block that another reactor has stored in part. Costs a copy of
        /// each READ where there are several reactors.
        whole_blocks: bool,
    },
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
    Memory {
        store: Arc<MemoryStore>,
        whole_blocks: bool,
    },
    Null,
}

/// The file or device of a volume that reactors have open.
#[derive(Debug)]
pub struct HeldFile {
    /// The volume.
    pub volume: VolumeId,
    fd: Arc<OwnedFd>,
    size: u64,
    trust: Arc<Trust>,
}

impl HeldFile {
    /// Whether a flush has failed since it was opened: writes that were answered before may be
    /// lost, and flushes and durable writes fail from then on.
    pub fn has_lost_writes(&self) -> bool {
        self.trust.is_lost()
    }

    /// What became of it since it was opened at a path. May block.
    ///
    /// # Errors
    /// The operating system does not say.
    pub fn damage(&self, path: Option<&Path>) -> io::Result<Option<Damage>> {
        let found = damage_of(&self.fd, self.size)?;
        match (found, path) {
            (Some(Damage::Deleted), _) | (_, None) => Ok(found),
            (_, Some(path)) => Ok(renamed(&self.fd, path)?.or(found)),
        }
    }
}

impl SharedStore {
    /// Its file, where it has one.
    pub(crate) fn file(&self, volume: VolumeId) -> Option<HeldFile> {
        match self {
            Self::File { fd, size, trust, .. } => {
                let (fd, trust) = (Arc::clone(fd), Arc::clone(trust));
                Some(HeldFile { volume, fd, size: *size, trust })
            }
            Self::Memory { .. } | Self::Null => None,
        }
    }
}

impl From<Store> for SharedStore {
    fn from(store: Store) -> Self {
        match store {
            Store::File(file) => {
                let trust = Arc::new(Trust::new(file.is_direct));
                let OpenFile { fd, size, device, never_waits_unasked, .. } = file;
                Self::File { fd: Arc::new(fd), size, device, never_waits_unasked, trust }
            }
            Store::Memory { store, whole_blocks } => Self::Memory { store, whole_blocks },
            Store::Null => Self::Null,
        }
    }
}
