//! Files that somebody names: read whole, but never without bound, and never one that is no file.

use rustix::fs::OFlags;
use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;

/// Why a file was not read.
#[derive(Debug)]
pub(crate) enum ReadFault {
    /// It has more bytes than such a file may have.
    Long { bytes_max: u64 },
    /// It is something else: what it is.
    NotRegular(&'static str),
    /// The operating system refused it.
    Refused(io::Error),
}

impl fmt::Display for ReadFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Long { bytes_max } => {
                write!(f, "it is longer than {bytes_max} bytes; check the path")
            }
            Self::NotRegular(what) => write!(f, "it is {what}; use a regular file"),
            Self::Refused(error) => error.fmt(f),
        }
    }
}

impl From<io::Error> for ReadFault {
    fn from(error: io::Error) -> Self {
        Self::Refused(error)
    }
}

/// Opens a regular file. Anything else is refused instead of waited for: a FIFO has no end, and a
/// device may have none.
///
/// # Errors
/// It cannot be opened, or is something else.
pub(crate) fn open_regular(path: &Path) -> Result<File, ReadFault> {
    let flags = (OFlags::NONBLOCK | OFlags::NOCTTY).bits().cast_signed();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    let kind = file.metadata()?.file_type();
    if kind.is_file() {
        return Ok(file);
    }
    Err(ReadFault::NotRegular(if kind.is_dir() {
        "a directory"
    } else if kind.is_fifo() {
        "a FIFO"
    } else if kind.is_block_device() || kind.is_char_device() {
        "a device"
    } else {
        "not a regular file"
    }))
}

/// The bytes of an open file, if there are not more than `bytes_max`.
///
/// # Errors
/// There are more, or it cannot be read.
pub(crate) fn read_at_most(file: &File, bytes_max: u64) -> Result<Vec<u8>, ReadFault> {
    let mut bytes = Vec::new();
    file.take(bytes_max.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > bytes_max {
        return Err(ReadFault::Long { bytes_max });
    }
    Ok(bytes)
}

/// The text of a regular file of at most this many bytes.
///
/// # Errors
/// It cannot be read, or is no such file.
pub(crate) fn read_text(path: &Path, bytes_max: u64) -> Result<String, ReadFault> {
    let bytes = read_at_most(&open_regular(path)?, bytes_max)?;
    let invalid = |_| io::Error::new(io::ErrorKind::InvalidData, "it is not UTF-8 text");
    Ok(String::from_utf8(bytes).map_err(invalid)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::{CWD, FileType, Mode, mknodat};

    #[test]
    fn only_a_regular_file_within_the_limit_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        let read = |path: &Path| read_text(path, 8).map_err(|fault| fault.to_string());
        std::fs::write(path("eight"), "12345678").unwrap();
        assert_eq!(read(&path("eight")), Ok("12345678".into()));
        std::fs::write(path("nine"), "123456789").unwrap();
        let long = "it is longer than 8 bytes; check the path";
        assert_eq!(read(&path("nine")), Err(long.into()));
        assert_eq!(read(Path::new("/dev/zero")), Err("it is a device; use a regular file".into()));
        let fifo = path("fifo");
        mknodat(CWD, &fifo, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        assert_eq!(read(&fifo), Err("it is a FIFO; use a regular file".into()));
        assert_eq!(read(dir.path()), Err("it is a directory; use a regular file".into()));
        std::fs::write(path("binary"), [0xff]).unwrap();
        assert_eq!(read(&path("binary")), Err("it is not UTF-8 text".into()));
    }
}
