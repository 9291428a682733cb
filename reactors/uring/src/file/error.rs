//! Errors of opening and creating volumes.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

/// Why a volume could not be opened or created.
#[derive(Debug)]
pub enum OpenError {
    /// Permission denied.
    Denied {
        /// The file.
        path: PathBuf,
    },
    /// The file exists, and is not overwritten.
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// It is exported by another process, mounted, or part of another device.
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// Any other error of the kernel.
    Kernel {
        /// The file.
        path: PathBuf,
        /// The error.
        source: io::Error,
    },
    /// The file system does not support direct I/O.
    NoDirectIo {
        /// The file.
        path: PathBuf,
    },
    /// No space left.
    NoSpace {
        /// The file.
        path: PathBuf,
    },
    /// It is neither a regular file nor a block device.
    NotAVolume {
        /// The file.
        path: PathBuf,
    },
    /// The file does not exist.
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
                "cannot open volume {}: permission denied. The user that runs polluxd needs read \
                 and write access; block devices usually belong to the group `disk`",
                path.display()
            ),
            Self::Exists { path } => write!(
                f,
                "cannot create volume {}: the file already exists. Choose another name, or add \
                 the existing file as a volume",
                path.display()
            ),
            Self::InUse { path } => write!(
                f,
                "cannot open volume {}: in use. Another target exports it, it is mounted, or it \
                 belongs to LVM, md or multipath; check with `lsof`, `lsblk` and `lslocks`",
                path.display()
            ),
            Self::Kernel { path, source } => {
                write!(f, "cannot open volume {}: {source}", path.display())
            }
            Self::NoDirectIo { path } => write!(
                f,
                "cannot open volume {}: the file system does not support direct I/O. Move it to \
                 ext4, XFS or a block device, or allow buffered I/O for this volume",
                path.display()
            ),
            Self::NoSpace { path } => write!(
                f,
                "cannot create volume {}: not enough free space or quota. Check with `df`; a \
                 sparse volume needs space only for written data",
                path.display()
            ),
            Self::NotAVolume { path } => write!(
                f,
                "cannot open volume {}: neither a regular file nor a block device",
                path.display()
            ),
            Self::NotFound { path } => write!(
                f,
                "cannot open volume {}: file or device not found. Check that the disk is attached \
                 and its file system is mounted",
                path.display()
            ),
            Self::ReadOnly { path } => write!(
                f,
                "cannot open volume {} for writing: read-only medium or file system. Make it \
                 writable, or configure the volume as read-only",
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
