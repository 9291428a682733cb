//! One reactor's driver: its ring, its buffers, its sockets and files, and the turn.

use std::io;
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::os::fd::{OwnedFd, RawFd};
use std::sync::Arc;
use std::time::Duration;

use io_uring::squeue;
use rustix::event::{EventfdFlags, eventfd};
use units::{Key, PoolLayout, Slab};

use crate::completion::Completion;
use crate::errors::{Refusal, SetupError, Warning};
use crate::files::File;
use crate::gather::Gather;
use crate::napi::Napi;
use crate::op::GATHERS_KEPT_PER_SOCKET;
use crate::pool::{Pool, PoolMut, REGISTERED_BYTES_MAX};
use crate::receive::{ReceiveBuffers, RecvBuffer};
use crate::ring::{Cqe, Ring};
use crate::sockets::Socket;
use crate::table::{NOBODY, Op, OpKind, OpName, OpTable, key_of, user_data};
use crate::waker::Waker;

/// How a driver is made.
#[derive(Clone, Debug)]
pub struct DriverOptions {
    /// Submissions that one turn queues before it enters the kernel.
    pub entries: u32,
    /// Operations in flight: one for each idle connection, and what the busy ones do.
    pub operations: u32,
    /// Sockets, listeners included.
    pub sockets: u32,
    /// Files.
    pub files: u32,
    /// How the payload memory is cut.
    pub layout: PoolLayout,
    /// Bytes of one receive buffer. 64 KiB was measured best: every boundary costs.
    pub recv_buffer_bytes: u32,
    /// Receive buffers: a power of two. Only busy connections hold one.
    pub recv_buffer_count: u16,
    /// Pieces of one send.
    pub gather_pieces: usize,
    /// Copied bytes of one send.
    pub gather_inline_bytes: usize,
    /// Whether a send ends as soon as a part of it went out. Otherwise the kernel goes on by
    /// itself until all of it has.
    pub partial_sends: bool,
    /// Let the kernel poll network cards while a reactor waits.
    pub napi: Option<Napi>,
    /// Cores for the kernel's own I/O workers; they inherit the reactor's core otherwise.
    pub worker_cores: Vec<usize>,
}

impl DriverOptions {
    /// Options for a pool of this layout, with everything else as measured best.
    pub const fn new(layout: PoolLayout) -> Self {
        Self {
            entries: 1024,
            operations: 16_384,
            sockets: units::limits::CONNECTIONS_PER_REACTOR_MAX + LISTENERS_MAX,
            files: FILES,
            layout,
            recv_buffer_bytes: 64 << 10,
            recv_buffer_count: 256,
            gather_pieces: 512,
            gather_inline_bytes: 64 << 10,
            partial_sends: false,
            napi: None,
            worker_cores: Vec::new(),
        }
    }
}

/// Whether a turn may sleep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Do not sleep; do not even enter the kernel if there is nothing to do there.
    No,
    /// Sleep until a completion comes, at most this long.
    AtMost(Duration),
}

/// What a driver has done since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// System calls into the ring.
    pub enters: u64,
    /// Submissions queued.
    pub submissions: u64,
    /// Completions reaped.
    pub completions: u64,
}

/// One io_uring and everything that it works on. It belongs to the thread that made it:
///
/// ```compile_fail,E0277
/// fn other_thread<T: Send>() {}
/// other_thread::<uring::Driver>();
/// ```
pub struct Driver {
    // The ring is closed before the memory that it knows is unmapped (fields are dropped in this
    // order, and `drop` below has waited for everything in flight before).
    pub(crate) ring: Ring,
    pub(crate) table: ManuallyDrop<OpTable>,
    pub(crate) pool: ManuallyDrop<Pool>,
    pub(crate) receive: ManuallyDrop<ReceiveBuffers>,
    pub(crate) sockets: Slab<Socket>,
    pub(crate) sockets_max: u32,
    pub(crate) files: Slab<File>,
    pub(crate) fixed_files: bool,
    pub(crate) gathers: Vec<Gather>,
    /// How many of them no send has needed lately.
    pub(crate) gathers_unused: usize,
    /// How many of them are to be freed.
    pub(crate) gathers_to_free: usize,
    pub(crate) gather_parts_max: usize,
    pub(crate) gather_inline_bytes: usize,
    pub(crate) send_flags: i32,
    /// Sends in flight whose bytes leave from memory volumes.
    pub(crate) sends_in_place: u32,
    pub(crate) waker_event: Arc<OwnedFd>,
    pub(crate) waker_armed: bool,
    /// Operations to cancel that the kernel does not know of yet.
    pub(crate) cancels: Vec<u64>,
    /// Completions without a queue entry.
    pub(crate) ready: Vec<Completion>,
    cqes: Vec<Cqe>,
    completions: u64,
    shutting_down: bool,
    /// The kernel takes submissions and completes them only for the thread that made the ring.
    not_send: PhantomData<*const ()>,
}

/// What an operation names a file by.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Handle {
    /// A slot of the ring's file table.
    Fixed(u32),
    /// A descriptor of the process.
    Plain(RawFd),
}

impl Driver {
    /// Makes the driver of the calling thread. The warnings are for the administrator.
    pub fn new(options: &DriverOptions) -> Result<(Self, Vec<Warning>), SetupError> {
        check(options)?;
        let mut warnings = Vec::new();
        let ring = Ring::new(options.entries, &mut warnings)?;
        let (mut pool, warning) = Pool::new(&options.layout)?;
        warnings.extend(warning);
        let (receive, warning) =
            ReceiveBuffers::new(options.recv_buffer_bytes, options.recv_buffer_count)?;
        warnings.extend(warning);
        register_pool(&ring, &mut pool, &mut warnings);
        register_receive_buffers(&ring, &receive)?;
        let fixed_files = register_file_table(&ring, options, &mut warnings);
        apply_tuning(&ring, options, &mut warnings);
        let event = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
            .map_err(|e| SetupError::Kernel { step: "create an eventfd", source: e.into() })?;
        let whole = if options.partial_sends { 0 } else { libc::MSG_WAITALL };
        let mut driver = Self {
            ring,
            table: ManuallyDrop::new(OpTable::new(options.operations)),
            pool: ManuallyDrop::new(pool),
            receive: ManuallyDrop::new(receive),
            sockets: Slab::new(options.sockets),
            sockets_max: options.sockets,
            files: Slab::new(options.files),
            fixed_files,
            gathers: Vec::with_capacity(options.sockets as usize * GATHERS_KEPT_PER_SOCKET),
            gathers_unused: 0,
            gathers_to_free: 0,
            gather_parts_max: options.gather_pieces,
            gather_inline_bytes: options.gather_inline_bytes,
            send_flags: libc::MSG_NOSIGNAL | whole,
            sends_in_place: 0,
            waker_event: Arc::new(event),
            waker_armed: false,
            cancels: Vec::new(),
            ready: Vec::new(),
            cqes: Vec::new(),
            completions: 0,
            shutting_down: false,
            not_send: PhantomData,
        };
        driver.arm_waker();
        Ok((driver, warnings))
    }

    /// The payload buffers.
    pub fn pool(&self) -> &Pool {
        &self.pool
    }

    /// The payload buffers, to change them.
    pub fn pool_mut(&mut self) -> PoolMut<'_> {
        self.pool.as_mut()
    }

    /// The bytes of a receive.
    pub fn received(&self, buffer: &RecvBuffer) -> &[u8] {
        self.receive.bytes(buffer)
    }

    /// The receive buffers and the payload buffers side by side, to copy from one to the other.
    pub fn parts(&mut self) -> (&ReceiveBuffers, PoolMut<'_>) {
        (&self.receive, self.pool.as_mut())
    }

    /// Gives a receive buffer back to the kernel.
    pub fn recycle(&mut self, buffer: RecvBuffer) {
        self.receive.give_back(buffer);
    }

    /// What wakes this driver's thread from another one.
    pub fn waker(&self) -> Waker {
        Waker::new(Arc::clone(&self.waker_event))
    }

    /// Submits what is queued and, depending on `wait` and if nothing has completed yet, sleeps.
    /// Enters the kernel only if there is something to submit, to run there, or to wait for.
    pub fn submit(&mut self, wait: Wait) -> io::Result<()> {
        if !self.cancels.is_empty() {
            self.flush_cancels();
        }
        if !self.waker_armed {
            self.arm_waker();
        }
        let entered = match wait {
            Wait::AtMost(limit) if !self.has_completions() => self.ring.enter(1, Some(limit)),
            Wait::AtMost(_) | Wait::No if self.ring.needs_enter() => self.ring.enter(0, None),
            Wait::AtMost(_) | Wait::No => Ok(()),
        };
        if self.sends_in_place > 0 {
            self.settle_sends_in_place();
        }
        entered
    }

    /// Moves completions to `out`, about `max` of them, and returns how many.
    pub fn reap(&mut self, max: usize, out: &mut Vec<Completion>) -> usize {
        // A reactor that spins comes here a million times a second for nothing.
        if !self.has_completions() {
            return 0;
        }
        if self.sends_in_place > 0 {
            self.settle_sends_in_place();
        }
        let before = out.len();
        let mut cqes = std::mem::take(&mut self.cqes);
        self.ring.pop_into(max, &mut cqes);
        self.completions += cqes.len() as u64;
        for cqe in cqes.drain(..) {
            self.complete(cqe, out);
        }
        self.cqes = cqes;
        // After the others: a socket is closed when its last operation has ended.
        out.append(&mut self.ready);
        out.len() - before
    }

    /// Whether anything is to be reaped without entering the kernel.
    pub fn has_completions(&mut self) -> bool {
        !self.ready.is_empty() || !self.cqes.is_empty() || self.ring.has_completions()
    }

    /// Operations in flight, the waker's own included.
    pub fn in_flight(&self) -> usize {
        self.table.len()
    }

    /// What this driver has done so far.
    pub const fn counters(&self) -> Counters {
        Counters {
            enters: self.ring.enters,
            submissions: self.ring.pushed,
            completions: self.completions,
        }
    }

    pub(crate) const fn is_shutting_down(&self) -> bool {
        self.shutting_down
    }

    pub(crate) const fn handle(&self, index: u32, fd: RawFd) -> Handle {
        if self.fixed_files { Handle::Fixed(index) } else { Handle::Plain(fd) }
    }

    /// Puts an operation into the table and queues its entry.
    ///
    /// # Safety
    /// Everything that the entry points at must be owned by the operation or be booked in the
    /// pool until the operation has ended.
    pub(crate) unsafe fn start(
        &mut self,
        op: Op,
        entry: squeue::Entry,
    ) -> Result<Key, (Refusal, Op)> {
        let key = self.table.insert(op).map_err(|op| (Refusal::Full, op))?;
        let entry = entry.user_data(user_data(key));
        // SAFETY: the caller's promise, together with the table: it keeps the operation until
        // its last completion has been reaped.
        if unsafe { self.ring.push(&entry) } {
            return Ok(key);
        }
        // The entry was inserted above, and nothing has run in between.
        let Some(op) = self.table.remove(key) else { unreachable!("just inserted") };
        Err((Refusal::Full, op))
    }

    /// Looks at the sends that the kernel has just ended, before anybody can change what they sent.
    /// With deferred task running it sends only while it is entered, so this is early enough.
    fn settle_sends_in_place(&mut self) {
        let mut cqes = std::mem::take(&mut self.cqes);
        let seen = cqes.len();
        self.ring.pop_into(usize::MAX, &mut cqes);
        for cqe in &mut cqes[seen..] {
            if let Some(key) = key_of(cqe.user_data)
                && self.send_rest(key, cqe.result)
            {
                // It goes on under the same key.
                cqe.user_data = NOBODY;
            }
        }
        self.cqes = cqes;
    }

    fn complete(&mut self, cqe: Cqe, out: &mut Vec<Completion>) {
        let Some(key) = key_of(cqe.user_data) else { return };
        let Some(op) = self.table.op(key) else {
            debug_assert!(false, "a completion of an operation that is not in flight");
            return;
        };
        match op.kind {
            // These may go on, so they take themselves out of the table.
            OpKind::Accept => return self.complete_accept(key, cqe, out),
            OpKind::Receive => return self.complete_recv(key, cqe, out),
            OpKind::Wake => return self.complete_wake(key, cqe, out),
            OpKind::Allocate
            | OpKind::Read { .. }
            | OpKind::ReceiveInto { .. }
            | OpKind::Send { .. }
            | OpKind::Sync
            | OpKind::Write { .. } => {}
        }
        let Some(op) = self.table.remove(key) else { return };
        let name = OpName { token: op.token, object: op.object };
        out.push(match op.kind {
            OpKind::Allocate => self.complete_fallocate(name, cqe.result),
            OpKind::Read { slice } => self.complete_read(name, slice, cqe.result),
            OpKind::ReceiveInto { slice } => self.complete_recv_into(name, slice, cqe),
            OpKind::Send { gather } => self.complete_send(name, gather, cqe),
            OpKind::Sync => self.complete_fsync(name, cqe.result),
            OpKind::Write { slice } => self.complete_write(name, slice, cqe.result),
            OpKind::Accept | OpKind::Receive | OpKind::Wake => return,
        });
    }

    /// Ends everything in flight; whether the kernel has let go of all of it in time.
    fn quiesce(&mut self) -> bool {
        self.shutting_down = true;
        let mut sink = Vec::new();
        for _ in 0..QUIESCE_ROUNDS_MAX {
            if self.table.len() == 0 && self.ring.is_submitted() {
                return true;
            }
            // Again in each round: an operation may have gone past the cancellation.
            if !self.cancel_all() || self.ring.enter(1, Some(QUIESCE_ROUND)).is_err() {
                return false;
            }
            while self.reap(usize::MAX, &mut sink) > 0 {
                sink.clear();
            }
        }
        false
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        let quiet = self.quiesce();
        if self.fixed_files {
            // The kernel takes a ring apart some time after it was closed; connections must end
            // now.
            let _emptied = self.ring.submitter().unregister_files();
        }
        if !quiet {
            // The kernel may still write to the buffers and read what the operations own: leak
            // them rather than let them be used for something else.
            return;
        }
        // SAFETY: dropped once, here, and not used afterwards. No operation is in flight, so the
        // kernel reads and writes none of what the table, the pool and the buffers own.
        unsafe { ManuallyDrop::drop(&mut self.table) };
        // SAFETY: as above.
        unsafe { ManuallyDrop::drop(&mut self.pool) };
        // SAFETY: as above.
        unsafe { ManuallyDrop::drop(&mut self.receive) };
    }
}

fn check(options: &DriverOptions) -> Result<(), SetupError> {
    let reason = if options.entries == 0 || options.entries > 8192 {
        "the submission queue must have 1 to 8192 entries"
    } else if options.operations < 2 {
        "at least two operations must fit, one of them the waker's"
    } else if options.gather_pieces < 2 || options.gather_pieces > 1024 {
        "a send must have 2 to 1024 pieces"
    } else if options.gather_inline_bytes == 0 || options.gather_inline_bytes > 1 << 24 {
        "the copied bytes of a send must be 1 byte to 16 MiB"
    } else if options.sockets.checked_add(options.files).is_none_or(|n| n > FILES_MAX) {
        "sockets and files together must be at most 32768"
    } else {
        return Ok(());
    };
    Err(SetupError::Options { reason })
}

fn register_pool(ring: &Ring, pool: &mut Pool, warnings: &mut Vec<Warning>) {
    let bytes = pool.memory().bytes();
    let runs: Vec<libc::iovec> = (0..bytes)
        .step_by(REGISTERED_BYTES_MAX)
        .map(|start| libc::iovec {
            iov_base: pool.memory().at(start).as_ptr().cast(),
            iov_len: REGISTERED_BYTES_MAX.min(bytes - start),
        })
        .collect();
    // SAFETY: the runs lie in the pool's memory, which is unmapped only after the ring has
    // nothing in flight; the kernel pins the pages until the ring is gone.
    match unsafe { ring.submitter().register_buffers(&runs) } {
        Ok(()) => pool.set_registered(),
        Err(source) => warnings.push(Warning::BuffersNotRegistered { bytes, source }),
    }
}

fn register_receive_buffers(ring: &Ring, receive: &ReceiveBuffers) -> Result<(), SetupError> {
    let (address, count) = receive.ring();
    // SAFETY: the address is that of `count` entries in a mapping of the receive buffers, which
    // is unmapped only after the ring has nothing in flight.
    let registered =
        unsafe { ring.submitter().register_buf_ring_with_flags(address, count, RECEIVE_GROUP, 0) };
    match registered {
        Ok(()) => Ok(()),
        Err(e) if e.raw_os_error() == Some(libc::EINVAL) => {
            Err(SetupError::TooOld { missing: "io_uring buffer rings" })
        }
        Err(source) => Err(SetupError::Kernel { step: "register receive buffers", source }),
    }
}

fn register_file_table(ring: &Ring, options: &DriverOptions, warnings: &mut Vec<Warning>) -> bool {
    let entries = options.sockets + options.files;
    match ring.submitter().register_files_sparse(entries) {
        Ok(()) => true,
        Err(source) => {
            warnings.push(Warning::FilesNotRegistered { entries, source });
            false
        }
    }
}

fn apply_tuning(ring: &Ring, options: &DriverOptions, warnings: &mut Vec<Warning>) {
    if let Some(napi) = options.napi {
        crate::napi::switch_on(ring, napi, warnings);
    }
    if !options.worker_cores.is_empty() {
        let cores = crate::affinity::core_set(&options.worker_cores);
        if let Err(source) = ring.submitter().register_iowq_aff(&cores) {
            warnings.push(Warning::WorkersNotMoved { source });
        }
    }
}

/// The group of the receive buffers; a driver has one.
pub(crate) const RECEIVE_GROUP: u16 = 0;
/// Room for listeners besides the connections: one per portal.
const LISTENERS_MAX: u32 = 64;
/// One file for each volume.
const FILES: u32 = 4096;
const _: () = assert!(FILES as usize == units::limits::VOLUMES_MAX);
/// The kernel's bound on the file table of a ring.
const FILES_MAX: u32 = 32_768;
/// How long a dropped driver waits for the kernel: a disk answers or fails within this.
const QUIESCE_ROUND: Duration = Duration::from_millis(100);
const QUIESCE_ROUNDS_MAX: u32 = 100;
