//! Errors by who can act on them: the administrator ([`SetupError`], [`Warning`]), the caller
//! ([`Refusal`]), or unclassified from the kernel ([`Errno`]).

use std::fmt;
use std::io;

/// An error number from the kernel; a plain number, so that the data path does not allocate.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Errno(pub i32);

impl Errno {
    /// The operation would have had to wait.
    pub const AGAIN: Self = Self(libc::EAGAIN);
    /// The operation was cancelled, on request or because its socket is being closed.
    pub const CANCELED: Self = Self(libc::ECANCELED);
    /// No receive buffer was available: return some and receive again.
    pub const NO_BUFFERS: Self = Self(libc::ENOBUFS);
    /// The file system cannot do that.
    pub const NOT_SUPPORTED: Self = Self(libc::EOPNOTSUPP);
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

/// Why the driver rejected an operation. Nothing was started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// An operation of this kind is already in flight on the object.
    Busy,
    /// The socket or file is closed, being closed, or unknown to this driver.
    Closed,
    /// A table or queue is full: reap completions and retry.
    Full,
    /// The slice is outside the buffer pool, or the gather list is empty.
    InvalidBuffer,
    /// The kernel rejected the descriptor.
    Kernel(Errno),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Busy => f.write_str("an operation of this kind is already in flight"),
            Self::Closed => f.write_str("the socket or file is closed or being closed"),
            Self::Full => f.write_str("an operation table is full; reap completions and retry"),
            Self::InvalidBuffer => f.write_str("the byte range is outside the buffer pool"),
            Self::Kernel(errno) => write!(f, "the kernel rejected the descriptor: {errno}"),
        }
    }
}

impl std::error::Error for Refusal {}

/// A rejection that returns the rejected argument.
#[derive(Debug)]
pub struct Refused<T> {
    /// The reason.
    pub reason: Refusal,
    /// The argument.
    pub given: T,
}

/// Why a driver could not be created.
#[derive(Debug)]
pub enum SetupError {
    /// The kernel has io_uring, but this process is not permitted to use it.
    Forbidden {
        /// The value of `kernel.io_uring_disabled`, if the kernel has it.
        sysctl: Option<u8>,
    },
    /// A step failed that all supported kernels implement.
    Kernel {
        /// The step, as a phrase.
        step: &'static str,
        /// The error of the kernel.
        source: io::Error,
    },
    /// The ring exceeds the locked-memory limit of this process.
    LockedMemory {
        /// The error of the kernel.
        source: io::Error,
    },
    /// The requested memory is not available.
    OutOfMemory {
        /// Its purpose.
        what: &'static str,
        /// Bytes requested.
        bytes: usize,
        /// The error of the kernel.
        source: io::Error,
    },
    /// An option is out of range.
    Options {
        /// The option and its range.
        reason: &'static str,
    },
    /// The kernel has no io_uring, or lacks a required feature of it.
    TooOld {
        /// The missing feature.
        missing: &'static str,
    },
}

impl fmt::Display for SetupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Forbidden { sysctl: Some(level @ 1..) } => write!(
                f,
                "io_uring is disabled: kernel.io_uring_disabled is {level}. \
                 Run `sysctl -w kernel.io_uring_disabled=0` (and set it in /etc/sysctl.d)"
            ),
            Self::Forbidden { sysctl: _ } => f.write_str(
                "io_uring is not permitted for this process, probably because of a seccomp \
                 filter. In a container, use a seccomp profile that allows io_uring_setup, \
                 io_uring_enter and io_uring_register",
            ),
            Self::Kernel { step, source } => {
                write!(f, "cannot set up io_uring: failed to {step}: {source}")
            }
            Self::LockedMemory { source } => write!(
                f,
                "cannot create an io_uring: {source}. The locked-memory limit is probably too \
                 low: set LimitMEMLOCK=infinity in the unit file, or run `ulimit -l unlimited`"
            ),
            Self::OutOfMemory { what, bytes, source } => write!(
                f,
                "cannot allocate {bytes} bytes of memory for {what}: {source}. \
                 Use fewer buffers, or increase the memory of the machine or the control group"
            ),
            Self::Options { reason } => write!(f, "invalid io_uring options: {reason}"),
            Self::TooOld { missing } => write!(
                f,
                "this kernel does not support {missing}. Linux 6.1 or newer with CONFIG_IO_URING \
                 is required"
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

/// A feature that is unavailable on this machine. The driver works without it.
#[derive(Debug)]
pub enum Warning {
    /// Buffers could not be registered: each disk operation pins its pages.
    BuffersNotRegistered {
        /// Bytes to register.
        bytes: usize,
        /// The error of the kernel.
        source: io::Error,
    },
    /// The file table could not be registered: each operation looks up its file.
    FilesNotRegistered {
        /// Entries requested.
        entries: u32,
        /// The error of the kernel.
        source: io::Error,
    },
    /// No huge pages are free: normal pages are used, with transparent huge pages.
    NoHugePages {
        /// The purpose of the memory.
        what: &'static str,
        /// Bytes requested.
        bytes: usize,
    },
    /// NAPI busy polling could not be enabled.
    NoNapi {
        /// The error of the kernel.
        source: io::Error,
    },
    /// Task work is not deferred to the reactor's turns, as Linux 6.1 and newer can do.
    NoDeferredTaskRun {
        /// The error of the kernel.
        source: io::Error,
    },
    /// The kernel's I/O workers could not be moved to other cores.
    WorkersNotMoved {
        /// The error of the kernel.
        source: io::Error,
    },
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BuffersNotRegistered { bytes, source } => write!(
                f,
                "cannot register {bytes} bytes of buffers with the kernel ({source}): disk I/O \
                 uses more CPU time. Raise the locked-memory limit (LimitMEMLOCK=infinity in the \
                 unit file, or `ulimit -l unlimited`)"
            ),
            Self::FilesNotRegistered { entries, source } => write!(
                f,
                "cannot register a table of {entries} files with the kernel ({source}): every \
                 operation uses slightly more CPU time. Raise the open-files limit \
                 (LimitNOFILE=65536 in the unit file, or `ulimit -n 65536`)"
            ),
            Self::NoHugePages { what, bytes } => write!(
                f,
                "no huge pages available for {what} ({bytes} bytes): using normal pages, which \
                 is slower. Reserve {} pages of 2 MiB with `sysctl -w vm.nr_hugepages=...`, then \
                 restart polluxd",
                bytes.div_ceil(2 << 20)
            ),
            Self::NoNapi { source } => write!(
                f,
                "NAPI busy polling is not available ({source}): network cards use interrupts. \
                 Linux 6.9 or newer with CONFIG_NET_RX_BUSY_POLL is required"
            ),
            Self::NoDeferredTaskRun { source } => write!(
                f,
                "deferred io_uring task work is not available ({source}): the kernel interrupts \
                 the reactors more often. Linux 6.1 or newer is required"
            ),
            Self::WorkersNotMoved { source } => write!(
                f,
                "cannot move the kernel's I/O workers off the reactor's core ({source}): a \
                 spinning reactor slows down file I/O"
            ),
        }
    }
}
