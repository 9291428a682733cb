//! The ring itself: set-up with its fall-backs, and the one way into the kernel.
//!
//! `io_uring_enter` is called here rather than through the `io-uring` crate, because that keeps a
//! registered ring descriptor only as long as one borrowed `Submitter` lives.

use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::time::Duration;

use io_uring::{IoUring, cqueue, squeue};
use rustix::io::Errno as Os;

use crate::errors::{SetupError, Warning};

/// One ring, used by the thread that made it.
pub(crate) struct Ring {
    ring: IoUring,
    /// The argument of `io_uring_enter`: the registered index of the ring, or its descriptor.
    enter_fd: RawFd,
    enter_flags: u32,
    pub(crate) enters: u64,
    pub(crate) pushed: u64,
}

/// A completion queue entry.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cqe {
    pub(crate) user_data: u64,
    pub(crate) result: i32,
    pub(crate) flags: u32,
}

impl Cqe {
    pub(crate) fn more(self) -> bool {
        cqueue::more(self.flags)
    }

    pub(crate) fn buffer(self) -> Option<u16> {
        cqueue::buffer_select(self.flags)
    }

    pub(crate) fn socket_has_more(self) -> bool {
        cqueue::sock_nonempty(self.flags)
    }
}

impl Ring {
    pub(crate) fn new(entries: u32, warnings: &mut Vec<Warning>) -> Result<Self, SetupError> {
        let ring = build(entries, warnings)?;
        if !ring.params().is_feature_nodrop() || !ring.params().is_feature_ext_arg() {
            return Err(SetupError::TooOld { missing: "io_uring features NODROP and EXT_ARG" });
        }
        let fd = ring.as_raw_fd();
        let (enter_fd, enter_flags) = match register_ring_fd(fd) {
            Some(index) => (index, ENTER_REGISTERED_RING),
            // Only a little slower, and the same on every kernel from 5.18 on.
            None => (fd, 0),
        };
        Ok(Self { ring, enter_fd, enter_flags, enters: 0, pushed: 0 })
    }

    pub(crate) fn submitter(&self) -> io_uring::Submitter<'_> {
        self.ring.submitter()
    }

    /// Queues an entry; enters the kernel once if the queue is full. Returns whether it succeeded.
    ///
    /// # Safety
    /// Everything that the entry points at must stay valid, and be touched by nobody in a way
    /// that conflicts with the kernel, until the completion of the entry has been reaped.
    pub(crate) unsafe fn push(&mut self, entry: &squeue::Entry) -> bool {
        // SAFETY: the caller's promise is exactly what `push` of the queue asks for.
        if unsafe { self.ring.submission().push(entry) }.is_ok() {
            self.pushed += 1;
            return true;
        }
        if self.enter(0, None).is_err() {
            return false;
        }
        // SAFETY: as above; the first attempt queued nothing.
        let taken = unsafe { self.ring.submission().push(entry) }.is_ok();
        self.pushed += u64::from(taken);
        taken
    }

    /// Takes completions out of the queue until `limit` are in `out`.
    pub(crate) fn pop_into(&mut self, limit: usize, out: &mut Vec<Cqe>) {
        let completions = self.ring.completion();
        out.extend(completions.take(limit.saturating_sub(out.len())).map(|e| Cqe {
            user_data: e.user_data(),
            result: e.result(),
            flags: e.flags(),
        }));
    }

    /// Whether completions wait to be reaped.
    pub(crate) fn has_completions(&mut self) -> bool {
        !self.ring.completion().is_empty()
    }

    /// Whether entering the kernel without waiting would do anything.
    pub(crate) fn needs_enter(&mut self) -> bool {
        let queue = self.ring.submission();
        let work = queue.taskrun() || queue.cq_overflow();
        work || !queue.is_empty()
    }

    /// Submits everything and, depending on `wait`, waits for one completion.
    pub(crate) fn enter(&mut self, min_complete: u32, wait: Option<Duration>) -> io::Result<()> {
        let queue = self.ring.submission();
        let queued = units::len_u32(queue.len());
        // GETEVENTS makes the kernel run deferred work and flush an overflown queue.
        let flags = self.enter_flags | ENTER_GETEVENTS;
        drop(queue);
        let timespec = wait.map(kernel_timespec);
        let argument = timespec.as_ref().map(|ts| EnterArgument {
            sigmask: 0,
            sigmask_bytes: 0,
            min_wait_usec: 0,
            timespec: std::ptr::from_ref(ts).expose_provenance() as u64,
        });
        self.enters += 1;
        let entered = enter_kernel(self.enter_fd, queued, min_complete, flags, argument.as_ref());
        match entered {
            Ok(()) => Ok(()),
            // ETIME: the wait is over. EINTR: a signal came. EBUSY: completions must be reaped
            // first. EAGAIN: the kernel is short of memory now. What is queued stays queued, and
            // the next turn tries again.
            Err(Os::TIME | Os::INTR | Os::BUSY | Os::AGAIN) => Ok(()),
            Err(other) => Err(other.into()),
        }
    }

    /// Whether every queued entry has been handed to the kernel.
    pub(crate) fn is_submitted(&mut self) -> bool {
        self.ring.submission().is_empty()
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        if self.enter_flags & ENTER_REGISTERED_RING == 0 {
            return;
        }
        // The registration belongs to the thread and would keep the ring, and every file in its
        // table, open until the thread ends.
        let mut update =
            RegisterUpdate { offset: self.enter_fd.unsigned_abs(), reserved: 0, data: 0 };
        let fd = self.ring.as_raw_fd();
        // SAFETY: IORING_UNREGISTER_RING_FDS reads one `io_uring_rsrc_update`, which
        // `RegisterUpdate` is laid out as and which lives until the call returns.
        let _unregistered = unsafe {
            libc::syscall(libc::SYS_io_uring_register, fd, UNREGISTER_RING_FDS, &raw mut update, 1)
        };
    }
}

fn build(entries: u32, warnings: &mut Vec<Warning>) -> Result<IoUring, SetupError> {
    let completions = entries.saturating_mul(COMPLETIONS_PER_ENTRY);
    let deferred = IoUring::builder()
        .dontfork()
        .setup_cqsize(completions)
        .setup_submit_all()
        .setup_single_issuer()
        .setup_defer_taskrun()
        .setup_taskrun_flag()
        .build(entries);
    let source = match deferred {
        Ok(ring) => return Ok(ring),
        Err(e) if e.raw_os_error() == Some(libc::EINVAL) => e,
        Err(e) => return Err(explain(e)),
    };
    warnings.push(Warning::NoDeferredTaskRun { source });
    IoUring::builder()
        .dontfork()
        .setup_cqsize(completions)
        .setup_submit_all()
        .setup_coop_taskrun()
        .setup_taskrun_flag()
        .build(entries)
        .map_err(explain)
}

/// Converts an error of `io_uring_setup` into one with advice.
fn explain(source: io::Error) -> SetupError {
    match source.raw_os_error() {
        Some(libc::ENOSYS) => SetupError::TooOld { missing: "io_uring" },
        Some(libc::EINVAL) => SetupError::TooOld { missing: "io_uring options of Linux 5.19" },
        Some(libc::EPERM | libc::EACCES) => SetupError::Forbidden {
            sysctl: std::fs::read_to_string("/proc/sys/kernel/io_uring_disabled")
                .ok()
                .and_then(|text| text.trim().parse().ok()),
        },
        Some(libc::ENOMEM) => SetupError::LockedMemory { source },
        Some(_) | None => SetupError::Kernel { step: "create an io_uring", source },
    }
}

/// Registers the ring's own descriptor with this thread, which spares a lookup per system call.
fn register_ring_fd(fd: RawFd) -> Option<RawFd> {
    let mut update =
        RegisterUpdate { offset: u32::MAX, reserved: 0, data: u64::try_from(fd).ok()? };
    // SAFETY: IORING_REGISTER_RING_FDS reads and writes one `io_uring_rsrc_update`, which
    // `RegisterUpdate` is laid out as and which lives until the call returns.
    let registered = unsafe {
        libc::syscall(libc::SYS_io_uring_register, fd, REGISTER_RING_FDS, &raw mut update, 1)
    };
    if registered == 1 { i32::try_from(update.offset).ok() } else { None }
}

fn enter_kernel(
    fd: RawFd,
    to_submit: u32,
    min_complete: u32,
    flags: u32,
    argument: Option<&EnterArgument>,
) -> Result<(), Os> {
    let (flags, address, bytes) = match argument {
        Some(a) => (flags | ENTER_EXT_ARG, std::ptr::from_ref(a), size_of::<EnterArgument>()),
        None => (flags, std::ptr::null(), 0),
    };
    // SAFETY: the argument, where there is one, is laid out as the kernel's
    // `io_uring_getevents_arg` and outlives the call, and so does the timespec that it points at.
    // What the queued entries point at is promised by whoever called `Ring::push`.
    let result = unsafe {
        libc::syscall(libc::SYS_io_uring_enter, fd, to_submit, min_complete, flags, address, bytes)
    };
    if result >= 0 {
        return Ok(());
    }
    Err(Os::from_io_error(&io::Error::last_os_error()).unwrap_or(Os::IO))
}

fn kernel_timespec(duration: Duration) -> KernelTimespec {
    KernelTimespec {
        // A wait of 2^63 seconds has no end either way.
        seconds: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        nanoseconds: i64::from(duration.subsec_nanos()),
    }
}

/// `struct io_uring_rsrc_update` of the kernel.
#[repr(C)]
struct RegisterUpdate {
    offset: u32,
    reserved: u32,
    data: u64,
}

/// `struct io_uring_getevents_arg` of the kernel.
#[repr(C)]
struct EnterArgument {
    sigmask: u64,
    sigmask_bytes: u32,
    min_wait_usec: u32,
    timespec: u64,
}

/// `struct __kernel_timespec`.
#[repr(C)]
struct KernelTimespec {
    seconds: i64,
    nanoseconds: i64,
}

const _: () = assert!(size_of::<RegisterUpdate>() == 16);
const _: () = assert!(size_of::<EnterArgument>() == 24);
const _: () = assert!(size_of::<KernelTimespec>() == 16);

/// The completion queue is this many times longer than the submission queue. Idle operations do
/// not complete together, and beyond that the kernel keeps what does not fit (NODROP), so a
/// longer queue would only take room in the cache.
const COMPLETIONS_PER_ENTRY: u32 = 4;

const ENTER_GETEVENTS: u32 = 1;
const ENTER_EXT_ARG: u32 = 1 << 3;
const ENTER_REGISTERED_RING: u32 = 1 << 4;
const REGISTER_RING_FDS: u32 = 20;
const UNREGISTER_RING_FDS: u32 = 21;
