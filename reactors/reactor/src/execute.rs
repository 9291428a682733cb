//! The shard's backend operations, carried out.

use crate::backend::{Backend, EIO, Io, IoKind, Progress, fallocate_mode, io_result};
use crate::reactor::Reactor;
use crate::token::{key_of_token, token_of};
use shard::{Combination, IoResult, OpId};
use units::{BufId, BufSlice, VolumeId};
use uring::{Errno, FileId, Refusal};
use volume::{BlockRequest, SpaceChange};

impl Reactor {
    /// Handles [`shard::Action::Io`].
    pub(crate) fn access(&mut self, op: OpId, volume: VolumeId, request: BlockRequest) {
        match request {
            BlockRequest::Read { offset, into, only_to_send } => {
                self.read(op, volume, offset, (into, only_to_send));
            }
            BlockRequest::Write { offset, from, durable, last_use } => {
                if !(last_use && self.write_unplaced(op, volume, offset, from)) {
                    self.write(op, volume, offset, (from, durable));
                }
            }
            BlockRequest::Flush => self.flush(op, volume),
            BlockRequest::Space { change, range } => {
                self.change_space(op, volume, change, (range.offset, range.len));
            }
            BlockRequest::MapQuery(range) => self.query_map(op, volume, range.offset, range.len),
        }
    }

    fn backend(&self, volume: VolumeId) -> Option<Backend> {
        self.volumes.get(usize::from(volume.0))?.clone()
    }

    /// Ends an operation without the kernel.
    fn end_now(&mut self, op: OpId, ok: bool) {
        let result = if ok { IoResult::Done } else { IoResult::Failed(EIO) };
        self.done.push_back((op, result));
    }

    pub(crate) fn read(
        &mut self,
        op: OpId,
        volume: VolumeId,
        offset: u64,
        (slice, only_to_send): (BufSlice, bool),
    ) {
        // The buffer may be the one that a data segment has just been dropped from.
        self.place();
        self.in_place.forget(slice.buf);
        match self.volumes.get(usize::from(volume.0)) {
            Some(Some(Backend::File { id, .. })) => {
                let file = *id;
                self.start(op, file, IoKind::Read { offset, slice });
            }
            Some(Some(Backend::Memory(store))) if only_to_send => {
                let ok = store.contains(offset, slice.len);
                store.prefetch(offset, slice.len);
                self.in_place.leave(slice, volume, offset);
                self.end_now(op, ok);
            }
            Some(Some(Backend::Memory(store))) => {
                let ok = store.read(offset, &mut self.driver.pool_mut(), slice).is_ok();
                self.recorder.counters.bytes_copied += u64::from(slice.len);
                self.end_now(op, ok);
            }
            Some(Some(Backend::Null)) => {
                let ok = self.driver.pool_mut().zero(slice);
                self.end_now(op, ok);
            }
            Some(None) | None => self.end_now(op, false),
        }
    }

    pub(crate) fn write(
        &mut self,
        op: OpId,
        volume: VolumeId,
        offset: u64,
        (slice, durable): (BufSlice, bool),
    ) {
        self.place();
        if self.is_spoiled(slice) {
            return self.end_now(op, false);
        }
        match self.volumes.get(usize::from(volume.0)) {
            Some(Some(Backend::File { trust, .. })) if durable && trust.is_lost() => {
                self.end_now(op, false);
            }
            Some(Some(Backend::File { id, .. })) => {
                let file = *id;
                self.start(op, file, IoKind::Write { offset, slice, durable });
            }
            Some(Some(Backend::Memory(store))) => {
                let ok = store.write(offset, self.driver.pool(), slice).is_ok();
                self.recorder.counters.bytes_copied += u64::from(slice.len);
                self.end_now(op, ok);
            }
            Some(Some(Backend::Null)) => self.end_now(op, true),
            Some(None) | None => self.end_now(op, false),
        }
    }

    pub(crate) fn flush(&mut self, op: OpId, volume: VolumeId) {
        match self.backend(volume) {
            Some(Backend::File { trust, .. }) if trust.is_lost() => self.end_now(op, false),
            Some(Backend::File { id, .. }) => self.start(op, id, IoKind::Flush),
            Some(Backend::Memory(_) | Backend::Null) => self.end_now(op, true),
            None => self.end_now(op, false),
        }
    }

    pub(crate) fn change_space(
        &mut self,
        op: OpId,
        volume: VolumeId,
        change: SpaceChange,
        (offset, len): (u64, u64),
    ) {
        match self.backend(volume) {
            Some(Backend::File { id, .. }) => {
                let mode = fallocate_mode(change);
                self.start(op, id, IoKind::Space { mode, offset, len });
            }
            Some(Backend::Memory(store)) => {
                let ok = store.zero(offset, len).is_ok();
                self.end_now(op, ok);
            }
            Some(Backend::Null) => self.end_now(op, true),
            None => self.end_now(op, false),
        }
    }

    pub(crate) fn query_map(&mut self, op: OpId, volume: VolumeId, offset: u64, len: u64) {
        let result = match self.backend(volume) {
            Some(Backend::File { fd, size, .. }) => {
                match uring::file::extent_at(&fd, offset, size) {
                    Ok(Some(run)) => IoResult::Mapped {
                        len: (run.end - offset).min(len),
                        allocated: run.is_allocated,
                    },
                    Ok(None) => IoResult::Mapped { len, allocated: false },
                    Err(error) => IoResult::Failed(error.raw_os_error().unwrap_or(EIO)),
                }
            }
            Some(Backend::Memory(_)) => IoResult::Mapped { len, allocated: true },
            Some(Backend::Null) => IoResult::Mapped { len, allocated: false },
            None => IoResult::Failed(EIO),
        };
        self.done.push_back((op, result));
    }

    pub(crate) fn combine(&mut self, op: OpId, by: Combination, first: BufSlice, second: BufSlice) {
        self.place();
        if self.is_spoiled(first) || self.is_spoiled(second) {
            return self.end_now(op, false);
        }
        let result = match self.driver.pool_mut().pair(first, second) {
            Some((first, second)) => by.apply(first, second),
            // The shard combines only what it has lent and no operation has.
            None => IoResult::Failed(EIO),
        };
        self.done.push_back((op, result));
    }

    pub(crate) fn replicate(&mut self, block: BufSlice, into: BufSlice) {
        self.place();
        let mut pool = self.driver.pool_mut();
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
        self.recorder.counters.bytes_copied += u64::from(into.len);
    }

    pub(crate) fn zero_fill(&mut self, into: BufSlice) {
        self.place();
        if !self.driver.pool_mut().zero(into) {
            self.spoil(into.buf);
        }
    }

    /// The bytes of a buffer are not what the shard asked for. It is not told, so the operation
    /// that uses them fails: better an error than wrong data.
    pub(crate) fn spoil(&mut self, buf: BufId) {
        tracing::error!(reactor = self.id.0, ?buf, "a buffer was lent while it was in use");
        self.spoiled.push(buf);
    }

    /// Whether the bytes of a buffer are not what the shard asked for; tells it once.
    fn is_spoiled(&mut self, slice: BufSlice) -> bool {
        let Some(at) = self.spoiled.iter().position(|&buf| buf == slice.buf) else { return false };
        self.spoiled.swap_remove(at);
        true
    }

    fn start(&mut self, op: OpId, file: FileId, kind: IoKind) {
        self.submit_io(Io { op, file, kind });
    }

    /// Gives an operation to the ring; what the ring has no room for waits.
    fn submit_io(&mut self, io: Io) {
        let Ok(key) = self.ios.insert(io) else { return self.deferred.push_back(io) };
        let token = token_of(key);
        let started = match io.kind {
            IoKind::Read { offset, slice } => self.driver.read(io.file, token, offset, slice),
            IoKind::Write { offset, slice, durable } => {
                self.driver.write(io.file, token, offset, (slice, durable))
            }
            IoKind::Flush => self.driver.fsync(io.file, token, true),
            IoKind::Space { mode, offset, len } => {
                self.driver.fallocate(io.file, token, mode, (offset, len))
            }
            IoKind::WriteZeros { offset, len } => {
                let len = u32::try_from(len).unwrap_or(u32::MAX).min(self.zeros.len);
                self.driver.write(io.file, token, offset, (BufSlice { len, ..self.zeros }, false))
            }
        };
        match started {
            Ok(()) => {}
            Err(Refusal::Full) => {
                self.ios.remove(key);
                self.deferred.push_back(io);
            }
            Err(refusal) => {
                tracing::error!(%refusal, ?io, "the ring refused an operation");
                self.ios.remove(key);
                self.end_now(io.op, false);
            }
        }
    }

    /// Tries again what the ring had no room for.
    pub(crate) fn retry_deferred(&mut self) -> bool {
        let waiting = self.deferred.len();
        for _ in 0..waiting {
            let Some(io) = self.deferred.pop_front() else { break };
            self.submit_io(io);
        }
        self.run_actions();
        // If nothing could be started, the kernel has work to end first.
        self.deferred.len() < waiting
    }

    /// A read or write has ended; what a short one left is asked for again.
    pub(crate) fn transferred(&mut self, token: u64, result: Result<u32, Errno>) {
        let Some(io) = self.ios.remove(key_of_token(token)) else { return };
        match result.map(|moved| io.kind.after(moved)) {
            Ok(Progress::Done) => self.done.push_back((io.op, IoResult::Done)),
            Ok(Progress::More(kind)) => self.submit_io(Io { kind, ..io }),
            Ok(Progress::Stuck) => self.end_now(io.op, false),
            Err(errno) => self.failed(io, errno),
        }
        self.run_actions();
    }

    /// A flush or a space change has ended.
    pub(crate) fn io_ended(&mut self, token: u64, result: Result<(), Errno>) {
        let Some(io) = self.ios.remove(key_of_token(token)) else { return };
        match result {
            Ok(()) => self.done.push_back((io.op, IoResult::Done)),
            Err(errno) => match io.kind.instead(errno) {
                Some(kind) => self.submit_io(Io { kind, ..io }),
                None => self.failed(io, errno),
            },
        }
        self.run_actions();
    }

    fn failed(&mut self, io: Io, errno: Errno) {
        tracing::warn!(reactor = self.id.0, %errno, kind = ?io.kind, "backend operation failed");
        for (volume, backend) in self.volumes.iter().enumerate() {
            if let Some(Backend::File { id, trust, .. }) = backend
                && *id == io.file
                && trust.lose(&io.kind)
            {
                tracing::error!(
                    volume,
                    "a flush has failed: writes that were answered before may be lost. Flushes \
                     and durable writes of this volume fail from now on; check the disk, and \
                     then start the daemon again"
                );
            }
        }
        self.done.push_back((io.op, io_result(errno)));
    }
}
