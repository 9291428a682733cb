//! Why a volume could not be opened.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

/// Why a volume could not be opened or made.
#[derive(Debug)]
pub enum OpenError {
    /// This process may not open it in this way.
    Denied {
        /// The file.
        path: PathBuf,
    },
    /// There is one already, and it is not overwritten.
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// Another program serves it, has it mounted, or uses it as a part of something.
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// Something else that the kernel says.
    Kernel {
        /// The file.
        path: PathBuf,
        /// What it says.
        source: io::Error,
    },
    /// The file system has no direct I/O.
    NoDirectIo {
        /// The file.
        path: PathBuf,
    },
    /// There is no space for it.
    NoSpace {
        /// The file.
        path: PathBuf,
    },
    /// It is neither a regular file nor a block device.
    NotAVolume {
        /// The file.
        path: PathBuf,
    },
    /// There is no such file.
    NotFound {
        /// The file.
        path: PathBuf,
    },
    /// The medium or the file system is read-only.
    ReadOnly {
        /// The file.
        path: PathBuf,
    },
}

impl OpenError {
    pub(super) fn new(path: &Path, errno: Errno) -> Self {
        let path = path.to_owned();
        match errno {
            Errno::ACCESS | Errno::PERM => Self::Denied { path },
            Errno::EXIST => Self::Exists { path },
            Errno::BUSY => Self::InUse { path },
            Errno::NOSPC | Errno::DQUOT | Errno::FBIG => Self::NoSpace { path },
            Errno::NOENT | Errno::NOTDIR | Errno::NXIO | Errno::NODEV => Self::NotFound { path },
            Errno::ROFS => Self::ReadOnly { path },
            Errno::ISDIR => Self::NotAVolume { path },
            other => Self::Kernel { path, source: other.into() },
        }
    }
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Denied { path } => write!(
                f,
                "cannot open volume {}: permission denied. The daemon's user needs to read and \
                 write it; block devices usually belong to the group `disk`",
                path.display()
            ),
            Self::Exists { path } => write!(
                f,
                "cannot make volume {}: the file is there already. Choose another name, or add \
                 the existing file as a volume",
                path.display()
            ),
            Self::InUse { path } => write!(
                f,
                "cannot open volume {}: it is in use. Another target serves it, it is mounted, \
                 or LVM, md or multipath has it; `lsof`, `lsblk` and `lslocks` show which",
                path.display()
            ),
            Self::Kernel { path, source } => {
                write!(f, "cannot open volume {}: {source}", path.display())
            }
            Self::NoDirectIo { path } => write!(
                f,
                "cannot open volume {}: its file system has no direct I/O. Put it on ext4 or XFS \
                 or on a block device, or allow buffered access for this volume",
                path.display()
            ),
            Self::NoSpace { path } => write!(
                f,
                "cannot make volume {}: there is not as much space (or quota) left. `df` shows \
                 how much there is; a sparse volume needs space only as it is written",
                path.display()
            ),
            Self::NotAVolume { path } => write!(
                f,
                "cannot open volume {}: it is neither a regular file nor a block device",
                path.display()
            ),
            Self::NotFound { path } => write!(
                f,
                "cannot open volume {}: there is no such file or device. Is the disk attached, \
                 and is its file system mounted?",
                path.display()
            ),
            Self::ReadOnly { path } => write!(
                f,
                "cannot open volume {} for writing: it is on a read-only medium or file system. \
                 Make it writable, or declare the volume read-only",
                path.display()
            ),
        }
    }
}

impl std::error::Error for OpenError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Kernel { source, .. } => Some(source),
            Self::Denied { .. }
            | Self::Exists { .. }
            | Self::InUse { .. }
            | Self::NoDirectIo { .. }
            | Self::NoSpace { .. }
            | Self::NotAVolume { .. }
            | Self::NotFound { .. }
            | Self::ReadOnly { .. } => None,
        }
    }
}
