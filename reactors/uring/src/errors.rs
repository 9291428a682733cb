//! What can go wrong, by who can do something about it: the administrator ([`SetupError`],
//! [`Warning`]), the caller ([`Refusal`]), or whatever the kernel says ([`Errno`]).

use std::fmt;
use std::io;

/// An error number of the kernel, kept as it is so that the data path allocates nothing.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Errno(pub i32);

impl Errno {
    /// The operation was cancelled, because its socket is being closed or on request.
    pub const CANCELED: Self = Self(libc::ECANCELED);
    /// There was no receive buffer: give some back and receive again.
    pub const NO_BUFFERS: Self = Self(libc::ENOBUFS);
}

impl From<Errno> for io::Error {
    fn from(errno: Errno) -> Self {
        Self::from_raw_os_error(errno.0)
    }
}

impl fmt::Debug for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Errno({}: {})", self.0, io::Error::from_raw_os_error(self.0))
    }
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        io::Error::from_raw_os_error(self.0).fmt(f)
    }
}

impl std::error::Error for Errno {}

/// Why the driver did not take an operation. Nothing was started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// An operation of this kind is in flight on the object already.
    Busy,
    /// The socket or file is closed, is being closed, or was never this driver's.
    Closed,
    /// A table or queue is full: reap completions and try again.
    Full,
    /// The slice names no bytes of the pool, or the gather is empty.
    InvalidBuffer,
    /// The kernel refused the descriptor.
    Kernel(Errno),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Busy => f.write_str("an operation of this kind is in flight already"),
            Self::Closed => f.write_str("the socket or file is closed or being closed"),
            Self::Full => f.write_str("a table of the driver is full; reap and try again"),
            Self::InvalidBuffer => f.write_str("the slice names no bytes of the pool"),
            Self::Kernel(errno) => write!(f, "the kernel refused the descriptor: {errno}"),
        }
    }
}

impl std::error::Error for Refusal {}

/// A refusal that gives back what was passed.
#[derive(Debug)]
pub struct Refused<T> {
    /// Why.
    pub reason: Refusal,
    /// What was passed.
    pub given: T,
}

/// Why no driver could be made.
#[derive(Debug)]
pub enum SetupError {
    /// The kernel has io_uring, but this process may not use it.
    Forbidden {
        /// The value of `kernel.io_uring_disabled`, where the kernel has it.
        sysctl: Option<u8>,
    },
    /// The kernel refused a step that every supported kernel knows.
    Kernel {
        /// The step, in words.
        step: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
    /// The ring itself needs more locked memory than this process may have.
    LockedMemory {
        /// What the kernel said.
        source: io::Error,
    },
    /// There is not as much memory as was asked for.
    OutOfMemory {
        /// What it was for.
        what: &'static str,
        /// Bytes asked for.
        bytes: usize,
        /// What the kernel said.
        source: io::Error,
    },
    /// A value of the options is out of range.
    Options {
        /// What is wrong.
        reason: &'static str,
    },
    /// The kernel has no io_uring, or one that is too old.
    TooOld {
        /// What is missing.
        missing: &'static str,
    },
}

impl fmt::Display for SetupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Forbidden { sysctl: Some(level @ 1..) } => write!(
                f,
                "io_uring is switched off: kernel.io_uring_disabled is {level}. \
                 Run `sysctl -w kernel.io_uring_disabled=0` (and set it in /etc/sysctl.d)"
            ),
            Self::Forbidden { sysctl: _ } => f.write_str(
                "this process may not use io_uring, most likely because a seccomp filter forbids \
                 it. In a container, run with a seccomp profile that allows io_uring_setup, \
                 io_uring_enter and io_uring_register",
            ),
            Self::Kernel { step, source } => {
                write!(f, "cannot set up io_uring: the kernel refused to {step}: {source}")
            }
            Self::LockedMemory { source } => write!(
                f,
                "cannot make a ring: {source}. Most likely the limit of locked memory is too \
                 low: set LimitMEMLOCK=infinity in the unit file, or run `ulimit -l unlimited`"
            ),
            Self::OutOfMemory { what, bytes, source } => write!(
                f,
                "cannot get {bytes} bytes of memory for {what}: {source}. \
                 Use fewer buffers, or give the machine or the control group more memory"
            ),
            Self::Options { reason } => write!(f, "the driver's options are not usable: {reason}"),
            Self::TooOld { missing } => write!(
                f,
                "this kernel has no {missing}. Linux 6.1 or newer is needed, with CONFIG_IO_URING"
            ),
        }
    }
}

impl std::error::Error for SetupError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Kernel { source, .. }
            | Self::LockedMemory { source }
            | Self::OutOfMemory { source, .. } => Some(source),
            Self::Forbidden { .. } | Self::Options { .. } | Self::TooOld { .. } => None,
        }
    }
}

/// What works less well than it could on this machine. The driver runs all the same.
#[derive(Debug)]
pub enum Warning {
    /// Buffers could not be registered: each disk operation maps its pages anew.
    BuffersNotRegistered {
        /// Bytes that were to be registered.
        bytes: usize,
        /// What the kernel said.
        source: io::Error,
    },
    /// The file table could not be registered: each operation looks its file up anew.
    FilesNotRegistered {
        /// Entries that were asked for.
        entries: u32,
        /// What the kernel said.
        source: io::Error,
    },
    /// No huge pages are reserved: ordinary memory is used, with transparent huge pages.
    NoHugePages {
        /// What the memory is for.
        what: &'static str,
        /// Bytes asked for.
        bytes: usize,
    },
    /// NAPI busy polling could not be switched on.
    NoNapi {
        /// What the kernel said.
        source: io::Error,
    },
    /// Work is not deferred to the reactor's own turns, as it is from Linux 6.1 on.
    NoDeferredTaskRun {
        /// What the kernel said.
        source: io::Error,
    },
    /// The kernel's workers could not be moved to the given cores.
    WorkersNotMoved {
        /// What the kernel said.
        source: io::Error,
    },
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BuffersNotRegistered { bytes, source } => write!(
                f,
                "{bytes} bytes of buffers could not be registered with the kernel ({source}), so \
                 disk I/O costs more CPU time. Raise the limit of locked memory \
                 (LimitMEMLOCK=infinity in the unit file, or `ulimit -l unlimited`)"
            ),
            Self::FilesNotRegistered { entries, source } => write!(
                f,
                "a table of {entries} files could not be registered with the kernel ({source}), \
                 so every operation costs a little more. Raise the limit of open files \
                 (LimitNOFILE=65536 in the unit file, or `ulimit -n 65536`)"
            ),
            Self::NoHugePages { what, bytes } => write!(
                f,
                "no huge pages are free for {what} ({bytes} bytes), so ordinary memory is used. \
                 Reserve {} pages of 2 MiB with `sysctl -w vm.nr_hugepages=...`",
                bytes.div_ceil(2 << 20)
            ),
            Self::NoNapi { source } => write!(
                f,
                "the kernel does not poll network cards for a ring ({source}), so they interrupt \
                 as ever; it needs Linux 6.9 with CONFIG_NET_RX_BUSY_POLL"
            ),
            Self::NoDeferredTaskRun { source } => write!(
                f,
                "the kernel does not defer completions to the reactor's own turns ({source}), so \
                 it interrupts the reactor more often. Linux 6.1 or newer does"
            ),
            Self::WorkersNotMoved { source } => write!(
                f,
                "the kernel's I/O workers could not be moved off the reactor's core ({source}); \
                 a reactor that spins slows file I/O down"
            ),
        }
    }
}
