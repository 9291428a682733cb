//! The lent buffers of a reactor, and the only way to their bytes.
//!
//! The bytes of a lent buffer may be elsewhere: a data segment may still be in its receive buffer,
//! and a read may have left its bytes in a memory volume (`shard::wire::Contents`). Everything here
//! brings them to the buffer first, or fails where they could not be made. Nothing outside of this
//! module can reach the pool, so none of this can be forgotten.

mod parcel;
mod ring;

pub(crate) use parcel::Parcel;
pub(crate) use ring::Ring;

use crate::backends::Volumes;
use shard::wire::{Contents, Unplaced, Whereabouts};
use shard::{Combination, IoResult};
use std::sync::Arc;
use units::{BufId, BufSlice, VolumeId};
use uring::{
    Driver, FileId, FileRead, FileWrite, MemoryStore, RecvBuffer, RecvSlice, Refusal, SocketId,
    StoreBytes,
};

/// The buffers and the ring that knows them.
pub(crate) struct Buffers {
    pub(crate) ring: Ring,
    contents: Contents<RecvSlice>,
    bytes_copied: u64,
}

/// Payload that has just come in.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Payload<'a> {
    /// In memory of its own.
    Bytes(&'a [u8]),
    /// In a receive buffer.
    Received(RecvSlice),
}

/// Bytes that can be sent: made sure of by [`Buffers::sendable`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sendable<'a> {
    slice: BufSlice,
    /// The store that has them and where in it, if they are not in the buffer.
    store: Option<(&'a Arc<MemoryStore>, u64)>,
}

/// A transfer between a buffer and a file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Transfer {
    pub(crate) file: FileId,
    pub(crate) token: u64,
    /// Bytes from the start of the file.
    pub(crate) offset: u64,
    pub(crate) slice: BufSlice,
    /// Fail rather than occupy one of the kernel's workers.
    pub(crate) at_once: bool,
}

/// A write to a memory volume.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StoreWrite {
    /// Bytes from the start of the volume.
    pub(crate) offset: u64,
    pub(crate) from: BufSlice,
    /// Nothing uses the buffer afterwards.
    pub(crate) last_use: bool,
}

impl Buffers {
    /// The buffers of a driver.
    pub(crate) fn new(driver: Driver) -> Self {
        Self { ring: Ring::new(driver), contents: Contents::default(), bytes_copied: 0 }
    }

    /// Payload bytes that were copied so far.
    pub(crate) const fn bytes_copied(&self) -> u64 {
        self.bytes_copied
    }

    /// Copies received payload to its buffer. False where the buffer is in use: the shard has lent
    /// it twice then.
    pub(crate) fn fill(&mut self, slice: BufSlice, payload: Payload<'_>) -> bool {
        let first = self.contents.overwrite(slice.buf);
        self.place(first);
        self.copy_in(slice, payload)
    }

    /// Leaves a whole data segment in its receive buffer until its bytes are needed.
    #[inline]
    pub(crate) fn leave(&mut self, slice: BufSlice, source: RecvSlice) {
        let first = self.contents.leave_in_receive_buffer(slice, source);
        self.place(first);
    }

    /// Copies a data segment that still waits to its buffer: its PDU has ended.
    #[inline]
    pub(crate) fn settle(&mut self) {
        let first = self.contents.take_unplaced();
        self.place(first);
    }

    /// Gives a receive buffer back to the kernel.
    #[inline]
    pub(crate) fn recycle(&mut self, buffer: RecvBuffer) {
        self.settle();
        self.ring.recycle(buffer);
    }

    /// Receives straight into a buffer.
    pub(crate) fn receive_into(
        &mut self,
        socket: SocketId,
        token: u64,
        slice: BufSlice,
    ) -> Result<(), Refusal> {
        let first = self.contents.overwrite(slice.buf);
        self.place(first);
        self.ring.recv_into(socket, token, slice)
    }

    /// What a receive straight into a buffer has brought. `None` where the kernel writes the
    /// buffer still: the shard has lent it twice then, and the bytes are anybody's.
    pub(crate) fn received_into(&self, slice: BufSlice) -> Option<&[u8]> {
        self.ring.pool().bytes(slice)
    }

    /// Reads from a file.
    pub(crate) fn read_file(&mut self, into: Transfer) -> Result<(), Refusal> {
        let first = self.contents.overwrite(into.slice.buf);
        self.place(first);
        let Transfer { file, token, offset, slice, at_once } = into;
        self.ring.read(file, token, FileRead { offset, slice, at_once })
    }

    /// Writes to a file. `Ok(false)` where there are no bytes to write: they could not be made.
    pub(crate) fn write_file(
        &mut self,
        from: Transfer,
        durable: bool,
        volumes: &Volumes,
    ) -> Result<bool, Refusal> {
        if !self.bring(from.slice, volumes) {
            return Ok(false);
        }
        let Transfer { file, token, offset, slice, at_once } = from;
        let write = FileWrite { offset, slice, durable, at_once };
        self.ring.write(file, token, write).map(|()| true)
    }

    /// Copies from a memory volume to a buffer.
    pub(crate) fn read_store(&mut self, store: &MemoryStore, offset: u64, slice: BufSlice) -> bool {
        let first = self.contents.overwrite(slice.buf);
        self.place(first);
        self.copy_from_store(store, offset, slice)
    }

    /// Leaves the bytes of a read in their memory volume: they are only sent.
    #[inline]
    pub(crate) fn leave_in_volume(&mut self, slice: BufSlice, volume: VolumeId, offset: u64) {
        let first = self.contents.leave_in_volume(slice, volume, offset);
        self.place(first);
    }

    /// Copies a buffer to a memory volume. On its `last_use` the bytes are taken from the receive
    /// buffer, if they are still there.
    pub(crate) fn write_store(
        &mut self,
        store: &MemoryStore,
        write: StoreWrite,
        volumes: &Volumes,
    ) -> bool {
        let StoreWrite { offset, from: slice, last_use } = write;
        let source = if last_use { self.contents.use_up(slice) } else { None };
        if source.is_none() && !self.bring(slice, volumes) {
            return false;
        }
        let (receive, pool) = self.ring.parts();
        let bytes = match source {
            Some(source) => receive.slice_bytes(source),
            None => pool.bytes(slice),
        };
        let written = bytes.is_some_and(|bytes| store.write_bytes(offset, bytes).is_ok());
        self.bytes_copied += u64::from(slice.len);
        written
    }

    /// Drops the bytes of a buffer that is used for the last time.
    pub(crate) fn drop_bytes(&mut self, slice: BufSlice) {
        let _dropped = self.contents.use_up(slice);
    }

    /// Fills a buffer with zeros. What uses the buffer next fails where that cannot be done.
    pub(crate) fn zero(&mut self, slice: BufSlice) -> bool {
        let first = self.contents.overwrite(slice.buf);
        self.place(first);
        let zeroed = self.ring.pool_mut().zero(slice);
        if !zeroed {
            self.spoil(slice.buf);
        }
        zeroed
    }

    /// Fills a buffer by repeating a block. What uses the buffer next fails where that cannot be
    /// done.
    pub(crate) fn replicate(&mut self, block: BufSlice, into: BufSlice, volumes: &Volumes) {
        if !self.bring(block, volumes) {
            return self.spoil(into.buf);
        }
        let first = self.contents.overwrite(into.buf);
        self.place(first);
        let mut pool = self.ring.pool_mut();
        let mut done = 0;
        while done < into.len {
            let len = block.len.min(into.len - done);
            let from = BufSlice { len, ..block };
            let to = BufSlice { offset: into.offset + done, len, ..into };
            if !pool.copy(from, to) {
                return self.spoil(into.buf);
            }
            done += len;
        }
        self.bytes_copied += u64::from(into.len);
    }

    /// Combines two buffers. What comes out is in the second.
    pub(crate) fn combine(
        &mut self,
        by: Combination,
        first: BufSlice,
        second: BufSlice,
        volumes: &Volumes,
    ) -> IoResult {
        // Both, so that a failure of each is reported once.
        let [one, two] = [first, second].map(|slice| self.bring(slice, volumes));
        let unplaced = self.contents.overwrite(second.buf);
        self.place(unplaced);
        match self.ring.pool_mut().pair(first, second) {
            Some((first, second)) if one && two => by.apply(first, second),
            _ => IoResult::Failed(crate::backends::EIO),
        }
    }

    /// Makes bytes ready to be sent: in their buffer or, unless `must_copy`, in the memory volume
    /// that has them. `None` where there are none: they could not be made, or their volume is gone.
    #[inline]
    pub(crate) fn sendable<'a>(
        &mut self,
        slice: BufSlice,
        must_copy: bool,
        volumes: &'a Volumes,
    ) -> Option<Sendable<'a>> {
        let located = self.contents.locate(slice);
        self.place(located.first);
        match located.bytes {
            Whereabouts::Buffer => Some(Sendable { slice, store: None }),
            Whereabouts::Spoiled => None,
            Whereabouts::Volume { volume, offset } => {
                let store = volumes.memory(volume)?;
                if !must_copy {
                    return Some(Sendable { slice, store: Some((store, offset)) });
                }
                let copied = self.copy_from_store(store, offset, slice);
                copied.then_some(Sendable { slice, store: None })
            }
        }
    }

    /// The bytes, to make a digest of; `None` where the kernel writes them, or they are in a
    /// volume, where another command may change them.
    pub(crate) fn bytes_of(&self, sendable: Sendable<'_>) -> Option<&[u8]> {
        if sendable.store.is_some() {
            return None;
        }
        self.ring.pool().bytes(sendable.slice)
    }

    /// Puts a header and bytes into a parcel. False where there was no room.
    #[inline]
    pub(crate) fn push(
        &mut self,
        parcel: &mut Parcel,
        head: &[u8],
        sendable: Sendable<'_>,
    ) -> bool {
        let slice = sendable.slice;
        match sendable.store {
            Some((store, offset)) => {
                let bytes = StoreBytes { store, offset, len: slice.len, home: Some(slice) };
                parcel.0.push_framed_store(head, bytes)
            }
            None if slice.offset == 0 => {
                parcel.0.push_framed(&mut self.ring.pool_mut(), head, slice)
            }
            None => parcel.0.push_inline(head) && parcel.0.push_buffer(slice),
        }
    }

    /// Brings the bytes of a slice to their buffer. False where that cannot be done.
    fn bring(&mut self, slice: BufSlice, volumes: &Volumes) -> bool {
        self.sendable(slice, true, volumes).is_some()
    }

    #[inline]
    fn place(&mut self, unplaced: Option<Unplaced<RecvSlice>>) {
        if let Some(unplaced) = unplaced {
            self.place_now(unplaced);
        }
    }

    #[cold]
    fn place_now(&mut self, unplaced: Unplaced<RecvSlice>) {
        if !self.copy_in(unplaced.slice, Payload::Received(unplaced.source)) {
            self.spoil(unplaced.slice.buf);
        }
    }

    fn copy_in(&mut self, slice: BufSlice, payload: Payload<'_>) -> bool {
        let (receive, mut pool) = self.ring.parts();
        let bytes = match payload {
            Payload::Bytes(bytes) => Some(bytes),
            Payload::Received(source) => receive.slice_bytes(source),
        };
        let filled = bytes.is_some_and(|bytes| pool.fill(slice, bytes));
        if filled {
            self.bytes_copied += u64::from(slice.len);
        }
        filled
    }

    fn copy_from_store(&mut self, store: &MemoryStore, offset: u64, slice: BufSlice) -> bool {
        let copied = store.read(offset, &mut self.ring.pool_mut(), slice).is_ok();
        if copied {
            self.bytes_copied += u64::from(slice.len);
        }
        copied
    }

    /// The bytes of a buffer are not what the shard asked for. It is not told, so the operation
    /// that uses them fails: better an error than wrong data.
    fn spoil(&mut self, buf: BufId) {
        tracing::error!(
            buffer = buf.0,
            "a buffer could not be filled because it was in use; the command that uses it fails. \
             This is a bug of polluxd"
        );
        self.contents.spoil(buf);
    }
}
