//! Volumes as a reactor reaches them. One kind of volume, one file; [`Backends::submit`] is the
//! one way to all of them.

mod file;
mod memory;
mod null;
mod store;

pub(crate) use file::with_zero_buffer;
pub(crate) use store::SharedStore;
pub use store::{HeldFile, Store};

use crate::buffers::Buffers;
use file::{FileIos, FileStore, FileVolume, zero_buffer};
use shard::{IoResult, OpId};
use std::sync::Arc;
use units::{PoolLayout, VolumeId};
use uring::{Errno, MemoryStore};
use volume::BlockRequest;

/// The volumes of one reactor, and what is under way on them.
pub(crate) struct Backends {
    pub(crate) volumes: Volumes,
    pub(crate) files: FileIos,
    /// No other reactor stores to a memory volume while the kernel copies from it.
    is_alone: bool,
}

/// The volumes by their places.
#[derive(Debug, Default)]
pub(crate) struct Volumes {
    table: Vec<Option<Entry>>,
}

/// The volume at a place.
#[derive(Clone, Debug)]
struct Entry {
    id: VolumeId,
    backend: Backend,
}

/// A volume on one reactor.
#[derive(Clone, Debug)]
pub(crate) enum Backend {
    File(FileVolume),
    Memory(Memory),
    Null,
}

/// A memory volume on one reactor.
#[derive(Clone, Debug)]
pub(crate) struct Memory {
    store: Arc<MemoryStore>,
    /// Its READs leave their bytes there until they are sent. Where there are other reactors, one
    /// of them may store to a block while the kernel copies it.
    leaves_in_place: bool,
}

/// A request of the shard.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Request<'a> {
    pub(crate) op: OpId,
    pub(crate) volume: VolumeId,
    pub(crate) request: &'a BlockRequest,
}

impl Backends {
    /// No volumes, for a pool whose shard has this layout, in a node of so many reactors.
    pub(crate) fn new(layout: &PoolLayout, reactors: usize) -> Self {
        let files = FileIos::new(zero_buffer(layout));
        Self { volumes: Volumes::default(), files, is_alone: reactors == 1 }
    }

    /// Begins a request, and returns how it ended if it has ended at once. Otherwise
    /// [`Self::ended`] tells.
    pub(crate) fn submit(
        &mut self,
        request: Request<'_>,
        buffers: &mut Buffers,
    ) -> Option<IoResult> {
        let Request { op, volume, request } = request;
        match self.volumes.get(volume) {
            Some(Backend::Memory(memory)) => {
                Some(memory::perform(request, volume, memory, &self.volumes, buffers))
            }
            Some(Backend::File(file)) => {
                let named = file::Named { op, volume, file };
                self.files.submit(named, *request, &self.volumes, buffers)
            }
            Some(Backend::Null) => Some(null::perform(request, buffers)),
            // It was removed, and the shard learns of that from the catalog.
            None => Some(IoResult::Failed(EIO)),
        }
    }

    /// The kernel has ended a transfer. Returns what the shard is to be told, if the request has
    /// ended with it.
    pub(crate) fn transferred(
        &mut self,
        token: u64,
        result: Result<u32, Errno>,
        buffers: &mut Buffers,
    ) -> Option<(OpId, IoResult)> {
        self.files.transferred(token, result, &self.volumes, buffers)
    }

    /// The kernel has ended a flush or a change of space.
    pub(crate) fn ended(
        &mut self,
        token: u64,
        result: Result<(), Errno>,
        buffers: &mut Buffers,
    ) -> Option<(OpId, IoResult)> {
        self.files.ended(token, result, &self.volumes, buffers)
    }

    /// Tries one of the requests that the ring had no room for again; `None` where none can be
    /// started. Returns what the shard is to be told, if the request has ended.
    pub(crate) fn retry(&mut self, buffers: &mut Buffers) -> Option<Option<(OpId, IoResult)>> {
        self.files.retry(&self.volumes, buffers)
    }

    /// Takes new volumes in.
    pub(crate) fn take_stores(
        &mut self,
        opened: Vec<(VolumeId, SharedStore)>,
        buffers: &mut Buffers,
    ) {
        for (volume, store) in opened {
            let backend = match store {
                SharedStore::File { fd, size, device, never_waits_unasked, trust } => {
                    let store = FileStore { fd, size, device, never_waits_unasked, trust };
                    match self.files.open(store, buffers) {
                        Ok(file) => Backend::File(file),
                        Err(refusal) => {
                            tracing::error!(
                                volume = volume.0,
                                %refusal,
                                "cannot use the file of a volume; its commands fail"
                            );
                            continue;
                        }
                    }
                }
                SharedStore::Memory { store, whole_blocks } => {
                    let leaves_in_place = self.is_alone || !whole_blocks;
                    Backend::Memory(Memory { store, leaves_in_place })
                }
                SharedStore::Null => Backend::Null,
            };
            self.volumes.insert(volume, backend);
        }
    }

    /// Lets go of the volumes that a new catalog does not have. `closed` is told of those that
    /// have nothing under way; of files, [`FileIos::close_retired`] tells.
    pub(crate) fn retire(&mut self, gone: &[VolumeId], mut closed: impl FnMut(VolumeId)) {
        for &volume in gone {
            match self.volumes.remove(volume) {
                Some(Backend::File(file)) => self.files.retire(volume, &file),
                // `None` where there was no room for its file, or it went before it came.
                Some(Backend::Memory(_) | Backend::Null) | None => closed(volume),
            }
        }
    }
}

impl Volumes {
    #[inline]
    fn get(&self, volume: VolumeId) -> Option<&Backend> {
        let entry = self.table.get(volume.place())?.as_ref()?;
        if entry.id == volume { Some(&entry.backend) } else { None }
    }

    /// The bytes of a memory volume; `None` where it is gone or of another kind now.
    #[inline]
    pub(crate) fn memory(&self, volume: VolumeId) -> Option<&Arc<MemoryStore>> {
        match self.get(volume)? {
            Backend::Memory(memory) => Some(&memory.store),
            Backend::File(_) | Backend::Null => None,
        }
    }

    fn insert(&mut self, id: VolumeId, backend: Backend) {
        let place = id.place();
        if self.table.len() <= place {
            self.table.resize(place + 1, None);
        }
        let before = self.table[place].replace(Entry { id, backend });
        assert!(before.is_none(), "a place is given away once all reactors have closed its volume");
    }

    fn remove(&mut self, id: VolumeId) -> Option<Backend> {
        let place = self.table.get_mut(id.place())?;
        // Where there was no room for its file, the place may be another volume's.
        place.take_if(|entry| entry.id == id).map(|entry| entry.backend)
    }
}

/// Done, or failed without a reason of the kernel's.
const fn ended(ok: bool) -> IoResult {
    if ok { IoResult::Done } else { IoResult::Failed(EIO) }
}

/// What a transfer past the end of a file that has shrunk becomes.
pub(crate) const EIO: i32 = 5;

#[cfg(test)]
mod tests;
