//! Volumes in files and block devices: requests go through the ring, and end later.

mod domains;
mod maps;
mod transfer;

pub(super) use transfer::Work;
use transfer::{Progress, ZERO_BUFFER_BYTES, ZERO_BUFFER_STEP, fallocate_mode, io_result};

use super::{Backend, EIO, Volumes, ended};
use crate::buffers::{Buffers, Transfer};
use crate::token::{key_of_token, token_of};
use domains::{DomainId, Domains};
use maps::{Maps, Query};
use shard::{IoResult, OpId};
use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use units::{BufId, BufSlice, PoolLayout, SizeClass, Slab, VolumeId};
use uring::{Errno, FileId, Refusal};
use volume::{BlockRequest, ByteRange};

/// A file or block device on one reactor.
#[derive(Clone, Debug)]
pub(crate) struct FileVolume {
    pub(super) id: FileId,
    pub(super) fd: Arc<OwnedFd>,
    pub(super) size: u64,
    pub(super) trust: Arc<Trust>,
    domain: DomainId,
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
    pub(super) const fn new(is_direct: bool) -> Self {
        Self { is_lost: AtomicBool::new(false), is_direct }
    }

    /// Whether a flush has failed since the volume was opened.
    pub(super) fn is_lost(&self) -> bool {
        self.is_lost.load(Ordering::Relaxed)
    }

    /// An operation has failed, and data of others may be lost by that.
    fn lose(&self, work: &Work) {
        let loses = match work {
            Work::Flush => true,
            // It flushes the page cache too, and is told what an earlier write of that met.
            Work::Write { durable, .. } => *durable && !self.is_direct,
            Work::Map(_) | Work::Read { .. } | Work::Space { .. } | Work::WriteZeros { .. } => {
                false
            }
        };
        if loses {
            self.is_lost.store(true, Ordering::Relaxed);
        }
    }
}

/// The operations of one reactor on files.
pub(crate) struct FileIos {
    with_kernel: Slab<Io>,
    /// Operations that the ring had no room for.
    deferred: VecDeque<Io>,
    /// Files that are to be closed once nothing of them is under way.
    retired: Vec<Retired>,
    domains: Domains,
    maps: Maps,
    /// A buffer of the pool that the shard does not know: it is never written.
    zeros: BufSlice,
}

/// A file that is to be closed.
#[derive(Clone, Copy, Debug)]
struct Retired {
    volume: VolumeId,
    file: FileId,
    domain: DomainId,
}

/// One operation.
#[derive(Clone, Copy, Debug)]
struct Io {
    op: OpId,
    volume: VolumeId,
    file: FileId,
    domain: DomainId,
    work: Work,
    /// It may occupy one of the kernel's workers. Otherwise it fails where it would have to.
    has_place: bool,
}

impl Io {
    /// Whether the kernel has done nothing, because it would have had to wait.
    const fn needs_place(&self, errno: Errno) -> bool {
        !self.has_place && matches!(errno, Errno::AGAIN | Errno::NOT_SUPPORTED)
    }
}

/// What becomes of an operation that the kernel has ended.
enum Step {
    /// It is done, or has failed.
    Ended(IoResult),
    /// This is left.
    Further(Work),
    /// It waits for a place at the workers.
    Waits,
}

/// A file or block device before a reactor has it.
#[derive(Debug)]
pub(super) struct FileStore {
    pub(super) fd: Arc<OwnedFd>,
    pub(super) size: u64,
    pub(super) device: u64,
    pub(super) never_waits_unasked: bool,
    pub(super) trust: Arc<Trust>,
}

/// Who wants a request, and of which file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Named<'a> {
    pub(super) op: OpId,
    pub(super) volume: VolumeId,
    pub(super) file: &'a FileVolume,
}

impl FileIos {
    pub(super) fn new(zeros: BufSlice) -> Self {
        Self {
            with_kernel: Slab::new(IOS_MAX),
            deferred: VecDeque::new(),
            retired: Vec::new(),
            domains: Domains::default(),
            maps: Maps::new(),
            zeros,
        }
    }

    /// Takes a file in.
    pub(super) fn open(
        &mut self,
        store: FileStore,
        buffers: &mut Buffers,
    ) -> Result<FileVolume, Refusal> {
        let FileStore { fd, size, device, never_waits_unasked, trust } = store;
        let id = buffers.ring.add_file(Arc::clone(&fd))?;
        let before = self.domains.workers();
        let domain = self.domains.enter(device);
        if !never_waits_unasked {
            self.domains.note_always_waits(domain);
        }
        let workers = self.domains.workers();
        if workers > before
            && let Err(errno) = buffers.ring.set_workers_max(workers)
        {
            tracing::warn!(
                workers,
                %errno,
                "cannot get kernel workers for each file system: one that hangs may hold up others"
            );
        }
        Ok(FileVolume { id, fd, size, trust, domain })
    }

    /// Whether no operation is with the kernel.
    pub(crate) fn is_idle(&self) -> bool {
        self.with_kernel.is_empty()
    }

    pub(super) fn submit(
        &mut self,
        named: Named<'_>,
        request: BlockRequest,
        volumes: &Volumes,
        buffers: &mut Buffers,
    ) -> Option<IoResult> {
        let Named { op, volume, file } = named;
        let is_lost = || file.trust.is_lost();
        let work = match request {
            BlockRequest::Read { offset, into, only_to_send: _ } => {
                Work::Read { offset, slice: into }
            }
            BlockRequest::Write { durable: true, .. } | BlockRequest::Flush if is_lost() => {
                return Some(IoResult::Failed(EIO));
            }
            BlockRequest::Write { offset, from, durable, last_use: _ } => {
                Work::Write { offset, slice: from, durable }
            }
            BlockRequest::Flush => Work::Flush,
            BlockRequest::Space { change, range } => {
                Work::Space { mode: fallocate_mode(change), range }
            }
            BlockRequest::MapQuery(range) => Work::Map(range),
        };
        let domain = file.domain;
        let io = Io { op, volume, file: file.id, domain, work, has_place: false };
        if let Work::Map(range) = work {
            return self.ask_map(io, file, range, buffers);
        }
        self.start(io, volumes, buffers)
    }

    #[cold]
    fn ask_map(
        &mut self,
        io: Io,
        file: &FileVolume,
        range: ByteRange,
        buffers: &Buffers,
    ) -> Option<IoResult> {
        let Ok(key) = self.with_kernel.insert(io) else {
            // So many operations hang that there is no room for a query.
            return Some(IoResult::Failed(EIO));
        };
        let query = Query { key, fd: Arc::clone(&file.fd), size: file.size, range };
        let mapper = self.domains.mapper(io.domain);
        let failed = self.maps.ask(mapper, query, || buffers.ring.waker());
        if failed.is_some() {
            self.with_kernel.remove(key);
        }
        failed
    }

    /// The answer to a query of where a file has blocks, if one has come.
    #[inline]
    pub(crate) fn next_map(&mut self) -> Option<(OpId, IoResult)> {
        let answer = self.maps.next()?;
        let io = self.take(token_of(answer.key));
        Some((io.op, answer.result))
    }

    /// Starts an operation; where it may occupy a worker of the kernel, in a place of its domain's
    /// share. What has no place, or the ring no room for, waits. Returns how it ended, where it
    /// could not even begin.
    #[inline]
    fn start(&mut self, io: Io, volumes: &Volumes, buffers: &mut Buffers) -> Option<IoResult> {
        let waits = io.work.always_waits() || self.domains.always_waits(io.domain);
        if !waits || io.has_place {
            return self.give_to_ring(io, volumes, buffers);
        }
        let io = self.domains.take_place(io)?;
        self.give_to_ring(io, volumes, buffers)
    }

    fn give_to_ring(
        &mut self,
        io: Io,
        volumes: &Volumes,
        buffers: &mut Buffers,
    ) -> Option<IoResult> {
        let Ok(key) = self.with_kernel.insert(io) else {
            self.deferred.push_back(io);
            return None;
        };
        let (file, token, at_once) = (io.file, token_of(key), !io.has_place);
        let started = match io.work {
            Work::Read { offset, slice } => {
                buffers.read_file(Transfer { file, token, offset, slice, at_once }).map(|()| true)
            }
            Work::Write { offset, slice, durable } => {
                let from = Transfer { file, token, offset, slice, at_once };
                buffers.write_file(from, durable, volumes)
            }
            Work::Map(_) => unreachable!("no operation of the ring"),
            Work::Flush => buffers.ring.fsync(file, token).map(|()| true),
            Work::Space { mode, range } => {
                buffers.ring.fallocate(file, token, mode, range).map(|()| true)
            }
            Work::WriteZeros(range) => {
                // As many as the buffer has; the rest follows.
                let len = u32::try_from(range.len).unwrap_or(u32::MAX).min(self.zeros.len);
                let slice = BufSlice { len, ..self.zeros };
                let zeros = Transfer { file, token, offset: range.offset, slice, at_once };
                buffers.write_file(zeros, false, volumes)
            }
        };
        let errno = match started {
            Ok(true) => return None,
            Ok(false) => EIO,
            Err(Refusal::Full) => {
                self.with_kernel.remove(key);
                self.deferred.push_back(io);
                return None;
            }
            Err(Refusal::Kernel(errno)) => errno.0,
            Err(Refusal::Busy | Refusal::Closed | Refusal::InvalidBuffer) => EBADF,
        };
        self.with_kernel.remove(key);
        self.leave(io);
        Some(IoResult::Failed(errno))
    }

    /// An operation has ended: the next one of its domain gets its place.
    fn leave(&mut self, io: Io) {
        if io.has_place
            && let Some(next) = self.domains.give_back(io.domain)
        {
            self.deferred.push_back(next);
        }
    }

    /// What an operation has become, as the shard is to be told.
    fn go_on(
        &mut self,
        io: Io,
        step: Step,
        volumes: &Volumes,
        buffers: &mut Buffers,
    ) -> Option<(OpId, IoResult)> {
        let result = match step {
            Step::Ended(result) => {
                self.leave(io);
                Some(result)
            }
            Step::Further(work) => self.start(Io { work, ..io }, volumes, buffers),
            Step::Waits => {
                let io = self.domains.take_place(io)?;
                self.give_to_ring(io, volumes, buffers)
            }
        };
        result.map(|result| (io.op, result))
    }

    /// A read or write has ended; what a short one left is asked for again.
    pub(super) fn transferred(
        &mut self,
        token: u64,
        result: Result<u32, Errno>,
        volumes: &Volumes,
        buffers: &mut Buffers,
    ) -> Option<(OpId, IoResult)> {
        let io = self.take(token);
        let step = match result.map(|moved| io.work.after(moved)) {
            Ok(Progress::Done) => Step::Ended(IoResult::Done),
            Ok(Progress::More(work)) => Step::Further(work),
            Ok(Progress::Stuck) => Step::Ended(ended(false)),
            Err(errno) if io.needs_place(errno) => {
                if errno == Errno::NOT_SUPPORTED {
                    self.domains.note_always_waits(io.domain);
                }
                Step::Waits
            }
            Err(errno) => Step::Ended(failed(io, errno, volumes)),
        };
        self.go_on(io, step, volumes, buffers)
    }

    /// A flush or a change of space has ended.
    pub(super) fn ended(
        &mut self,
        token: u64,
        result: Result<(), Errno>,
        volumes: &Volumes,
        buffers: &mut Buffers,
    ) -> Option<(OpId, IoResult)> {
        let io = self.take(token);
        let step = match result {
            Ok(()) => Step::Ended(IoResult::Done),
            Err(errno) => match io.work.instead(errno) {
                Some(work) => Step::Further(work),
                None => Step::Ended(failed(io, errno, volumes)),
            },
        };
        self.go_on(io, step, volumes, buffers)
    }

    /// How many operations wait for room in the ring.
    pub(crate) fn deferred(&self) -> usize {
        self.deferred.len()
    }

    pub(super) fn retry(
        &mut self,
        volumes: &Volumes,
        buffers: &mut Buffers,
    ) -> Option<Option<(OpId, IoResult)>> {
        let io = self.deferred.pop_front()?;
        Some(self.start(io, volumes, buffers).map(|result| (io.op, result)))
    }

    /// Closes a file once its last operation has ended.
    pub(super) fn retire(&mut self, volume: VolumeId, file: &FileVolume) {
        let &FileVolume { id: file, domain, .. } = file;
        self.retired.push(Retired { volume, file, domain });
    }

    /// Closes what is retired and has ended; `closed` is told of each.
    pub(crate) fn close_retired(
        &mut self,
        buffers: &mut Buffers,
        mut closed: impl FnMut(VolumeId),
    ) {
        let Self { retired, domains, deferred, with_kernel, .. } = self;
        retired.retain(|&Retired { volume, file, domain }| {
            let is_busy = domains.has_waiting(file)
                || deferred.iter().any(|io| io.file == file)
                || with_kernel.iter().any(|(_, io)| io.file == file)
                || buffers.ring.remove_file(file) == Err(Refusal::Busy);
            if !is_busy {
                domains.leave(domain);
                closed(volume);
            }
            is_busy
        });
    }

    fn take(&mut self, token: u64) -> Io {
        let io = self.with_kernel.remove(key_of_token(token));
        let Some(io) = io else { unreachable!("the ring completes an operation once") };
        io
    }

    /// The tokens of the operations that are with the kernel.
    #[cfg(test)]
    pub(crate) fn tokens(&self) -> Vec<u64> {
        self.with_kernel.iter().map(|(key, _)| token_of(key)).collect()
    }
}

fn failed(io: Io, errno: Errno, volumes: &Volumes) -> IoResult {
    if let Some(Backend::File(file)) = volumes.get(io.volume)
        && file.id == io.file
    {
        file.trust.lose(&io.work);
    }
    io_result(errno)
}

/// The layout of a reactor's pool: that of the shard, and behind it a buffer that the shard does
/// not know and nobody writes, so that it stays full of zeros.
pub(crate) fn with_zero_buffer(layout: &PoolLayout) -> PoolLayout {
    let mut classes = layout.classes().to_vec();
    classes.push(SizeClass { bytes: zero_buffer(layout).len, count: 1 });
    PoolLayout::new(classes)
}

/// The buffer of zeros of a pool whose shard has this layout.
pub(super) fn zero_buffer(layout: &PoolLayout) -> BufSlice {
    let largest = layout.classes().last().map_or(0, |class| class.bytes);
    // Classes ascend in size, and this one is the last.
    let len = ZERO_BUFFER_BYTES.max(largest.saturating_add(ZERO_BUFFER_STEP));
    BufSlice { buf: BufId(layout.buffer_count()), offset: 0, len }
}

/// The ring knows no such file or buffer.
const EBADF: i32 = 9;

/// Disk operations of one reactor with the kernel. More wait in the reactor.
const IOS_MAX: u32 = 8192;

#[cfg(test)]
mod tests {
    use super::*;

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
}
