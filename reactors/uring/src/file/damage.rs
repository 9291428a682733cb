//! What becomes of the file of a volume while it is open.

use std::cmp::Ordering;
use std::fmt;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use rustix::fs::{FileType, SeekFrom, fstat, seek, stat};
use rustix::io::Errno;

/// What somebody did to an open file or device behind the back of its volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Damage {
    /// The file has no name any more: its space is freed when it is closed.
    Deleted,
    /// It has more bytes than the volume.
    Grown {
        /// Its bytes.
        size: u64,
        /// Those of the volume.
        served: u64,
    },
    /// It has only so many bytes left.
    Truncated {
        /// The bytes.
        size: u64,
    },
    /// Its path leads nowhere any more, but it has another name.
    Moved,
    /// Its path leads to another file.
    Replaced,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Deleted => f.write_str(
                "was deleted while it is served. Its data is lost when polluxd ends; copy it to \
                 another volume before",
            ),
            Self::Grown { size, served } => {
                write!(f, "has grown to {size} bytes; the volume keeps its size of {served} bytes")
            }
            Self::Truncated { size } => write!(
                f,
                "was truncated to {size} bytes while it is served, and the data behind that is \
                 lost; restore it from a backup, then restart polluxd"
            ),
            Self::Moved => f.write_str(
                "was moved while it is served, and is missing at the next start; move it back",
            ),
            Self::Replaced => f.write_str(
                "was replaced by another file, which is served from the next start on; move the \
                 file that is served back",
            ),
        }
    }
}

/// Looks at an open file or device of a volume of `size` bytes.
pub fn damage_of(file: impl AsFd, size: u64) -> io::Result<Option<Damage>> {
    let stat = fstat(&file)?;
    let found = match FileType::from_raw_mode(stat.st_mode) {
        // Its name comes and goes as udev pleases.
        FileType::BlockDevice => seek(&file, SeekFrom::End(0))?,
        FileType::RegularFile
        | FileType::CharacterDevice
        | FileType::Directory
        | FileType::Fifo
        | FileType::Socket
        | FileType::Symlink
        | FileType::Unknown => {
            if stat.st_nlink == 0 {
                return Ok(Some(Damage::Deleted));
            }
            // No file has a negative size.
            u64::try_from(stat.st_size).unwrap_or(0)
        }
    };
    Ok(match found.cmp(&size) {
        Ordering::Less => Some(Damage::Truncated { size: found }),
        Ordering::Equal => None,
        Ordering::Greater => Some(Damage::Grown { size: found, served: size }),
    })
}

/// Looks where the path of an open file leads now.
pub fn renamed(file: impl AsFd, path: &Path) -> io::Result<Option<Damage>> {
    let open = fstat(&file)?;
    if FileType::from_raw_mode(open.st_mode) == FileType::BlockDevice {
        // Its name comes and goes as udev pleases.
        return Ok(None);
    }
    match stat(path) {
        Ok(at) => {
            let is_same = (at.st_dev, at.st_ino) == (open.st_dev, open.st_ino);
            Ok((!is_same).then_some(Damage::Replaced))
        }
        Err(Errno::NOENT) => Ok(Some(Damage::Moved)),
        Err(errno) => Err(errno.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_happens_to_an_open_file_is_seen() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("volume");
        let file = std::fs::File::create(&path).unwrap();
        file.set_len(8192).unwrap();
        assert_eq!(damage_of(&file, 8192).unwrap(), None);
        file.set_len(16_384).unwrap();
        let grown = Damage::Grown { size: 16_384, served: 8192 };
        assert_eq!(damage_of(&file, 8192).unwrap(), Some(grown));
        file.set_len(4096).unwrap();
        assert_eq!(damage_of(&file, 8192).unwrap(), Some(Damage::Truncated { size: 4096 }));
        assert_eq!(renamed(&file, &path).unwrap(), None);
        std::fs::rename(&path, directory.path().join("moved")).unwrap();
        assert_eq!(renamed(&file, &path).unwrap(), Some(Damage::Moved));
        std::fs::write(&path, "another one").unwrap();
        assert_eq!(renamed(&file, &path).unwrap(), Some(Damage::Replaced));
        file.set_len(8192).unwrap();
        assert_eq!(damage_of(&file, 8192).unwrap(), None);
        std::fs::remove_file(directory.path().join("moved")).unwrap();
        assert_eq!(damage_of(&file, 8192).unwrap(), Some(Damage::Deleted));
    }
}
