//! Which parts of a volume have space, for GET LBA STATUS (SBC-4 5.6).

use std::io;
use std::os::fd::AsFd;

use rustix::fs::{SeekFrom, seek};
use rustix::io::Errno;

/// A run of bytes that is all data or all hole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Whether the run has space of its own; a hole reads as zeros.
    pub is_allocated: bool,
    /// The first byte after the run.
    pub end: u64,
}

/// The run that holds byte `offset` of a file of `size` bytes; `None` at or past its end.
///
/// A block device is one run of data, because the kernel does not know better.
pub fn extent_at(file: impl AsFd, offset: u64, size: u64) -> io::Result<Option<Extent>> {
    if offset >= size {
        return Ok(None);
    }
    let file = file.as_fd();
    let data = match seek(file, SeekFrom::Data(offset)) {
        Ok(data) => data,
        // A block device cannot say.
        Err(Errno::INVAL) => return Ok(Some(Extent { is_allocated: true, end: size })),
        // No data follows.
        Err(Errno::NXIO) => return Ok(Some(Extent { is_allocated: false, end: size })),
        Err(errno) => return Err(errno.into()),
    };
    if data > offset {
        return Ok(Some(Extent { is_allocated: false, end: data.min(size) }));
    }
    let hole = seek(file, SeekFrom::Hole(offset))?;
    Ok(Some(Extent { is_allocated: true, end: hole.min(size) }))
}
