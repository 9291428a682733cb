//! Reads of volumes in memory, whose bytes stay where they are until they are sent.
//!
//! The shard lends a buffer to each read and names it when it sends. A volume in memory has the
//! bytes already, so nothing is copied to the buffer: it only stands for the place in the volume.

use crate::backend::Backend;
use std::sync::Arc;
use units::{BufId, BufSlice, VolumeId};
use uring::MemoryStore;

/// Which buffers stand for which bytes.
#[derive(Debug, Default)]
pub(crate) struct InPlace {
    /// By buffer: the volume and where in it the buffer's first byte is.
    places: Vec<Option<(VolumeId, u64)>>,
}

/// Where bytes are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place<'a> {
    /// `None` where the volume is gone: then nothing may be sent in its place.
    pub(crate) store: Option<&'a Arc<MemoryStore>>,
    /// Bytes from the start of the store.
    pub(crate) offset: u64,
}

impl InPlace {
    /// The bytes of a slice, which starts its buffer, are those at `offset` of the volume.
    pub(crate) fn leave(&mut self, slice: BufSlice, volume: VolumeId, offset: u64) {
        let index = slice.buf.0 as usize;
        if self.places.len() <= index {
            self.places.resize(index + 1, None);
        }
        self.places[index] = Some((volume, offset));
    }

    /// The buffer has bytes of its own from now on.
    pub(crate) fn forget(&mut self, buf: BufId) {
        if let Some(place) = self.places.get_mut(buf.0 as usize) {
            *place = None;
        }
    }

    /// Where the bytes of a slice are, if not in its buffer.
    pub(crate) fn find<'a>(
        &self,
        slice: BufSlice,
        volumes: &'a [Option<Backend>],
    ) -> Option<Place<'a>> {
        let (volume, offset) = (*self.places.get(slice.buf.0 as usize)?)?;
        let store = match volumes.get(usize::from(volume.0)) {
            Some(Some(Backend::Memory(store))) => Some(store),
            Some(Some(Backend::File { .. } | Backend::Null) | None) | None => None,
        };
        Some(Place { store, offset: offset + u64::from(slice.offset) })
    }
}
