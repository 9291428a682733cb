//! Data segments that are whole in a receive buffer, and where their bytes go.
//!
//! The shard lends a buffer for a data segment when it sees the header. Where all of the segment
//! is there, too, it is not copied at once: a write to a volume in memory, which most often
//! follows, takes it from the receive buffer. Everything else has it copied first.

use crate::backend::Backend;
use crate::connection::Pending;
use crate::reactor::Reactor;
use shard::{IoResult, OpId};
use units::{BufSlice, Key, VolumeId};

/// A data segment that is still in the receive buffer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Unplaced {
    /// The connection, which has the receive buffer.
    pub(crate) key: Key,
    /// Where the bytes belong.
    pub(crate) slice: BufSlice,
    /// Where they are: bytes from the start of the receive buffer.
    pub(crate) start: usize,
}

impl Reactor {
    /// Writes a data segment to a volume in memory from where it is. False where that cannot be:
    /// nothing is done then.
    pub(crate) fn write_unplaced(
        &mut self,
        op: OpId,
        volume: VolumeId,
        offset: u64,
        from: BufSlice,
    ) -> bool {
        let Some(unplaced) = self.unplaced.filter(|unplaced| unplaced.slice == from) else {
            return false;
        };
        let Some(Some(Backend::Memory(store))) = self.volumes.get(usize::from(volume.0)) else {
            return false;
        };
        let Some(bytes) = self.unplaced_bytes(unplaced) else { return false };
        let written = store.write_bytes(offset, bytes).is_ok();
        if written {
            self.recorder.counters.bytes_copied += u64::from(from.len);
            self.unplaced = None;
            self.done.push_back((op, IoResult::Done));
        }
        written
    }

    /// Copies the data segment that has not been copied yet, if there is one, to where it belongs.
    #[inline]
    pub(crate) fn place(&mut self) {
        if let Some(unplaced) = self.unplaced.take() {
            self.place_now(unplaced);
        }
    }

    #[cold]
    fn place_now(&mut self, unplaced: Unplaced) {
        let (receive, mut pool) = self.driver.parts();
        let pending = self.connections.get(unplaced.key).and_then(|c| c.pending.as_ref());
        let range = unplaced.start..unplaced.start + unplaced.slice.len as usize;
        let placed = match pending {
            Some(Pending::Buffer(buffer, _)) => receive
                .bytes(buffer)
                .get(range)
                .is_some_and(|bytes| pool.fill(unplaced.slice, bytes)),
            Some(Pending::Bytes(..)) | None => false,
        };
        if placed {
            self.recorder.counters.bytes_copied += u64::from(unplaced.slice.len);
        } else {
            self.spoil(unplaced.slice.buf);
        }
    }

    fn unplaced_bytes(&self, unplaced: Unplaced) -> Option<&[u8]> {
        let Some(Pending::Buffer(buffer, _)) = &self.connections.get(unplaced.key)?.pending else {
            return None;
        };
        let range = unplaced.start..unplaced.start + unplaced.slice.len as usize;
        self.driver.received(buffer).get(range)
    }
}
