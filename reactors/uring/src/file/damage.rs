//! What becomes of the file of a volume while it is open.

use std::cmp::Ordering;
use std::fmt;
use std::io;
use std::os::fd::AsFd;

use rustix::fs::{FileType, SeekFrom, fstat, seek};

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
                 lost; restore it from a backup"
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
        std::fs::rename(&path, directory.path().join("moved")).unwrap();
        file.set_len(8192).unwrap();
        assert_eq!(damage_of(&file, 8192).unwrap(), None);
        std::fs::remove_file(directory.path().join("moved")).unwrap();
        assert_eq!(damage_of(&file, 8192).unwrap(), Some(Damage::Deleted));
    }
}
