//! Whether a file or device already holds data: a new volume must not show it by accident.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use rustix::fs::{SeekFrom, seek};
use rustix::io::Errno;

use super::OpenFile;

/// What is looked at of each end of a device: partition tables, superblocks, and the labels of
/// LVM, md, ZFS and encryption all lie within it.
const DEVICE_END_BYTES: u64 = 1 << 20;

const CHUNK_BYTES: u64 = 64 << 10;

/// Whether a file or device holds data. A file does where anything was written to it, even zeros,
/// and where its file system cannot tell; a device does where its first or last MiB is not all
/// zeros. `path` is where `file` was opened.
pub fn holds_data(path: &Path, file: &OpenFile) -> io::Result<bool> {
    if file.is_block_device {
        // Not the open one: direct I/O would need aligned memory.
        return has_ends(&File::open(path)?, file.size);
    }
    match seek(&file.fd, SeekFrom::Data(0)) {
        Ok(_) => Ok(true),
        Err(Errno::NXIO) => Ok(false),
        // The file system does not know.
        Err(Errno::INVAL) => Ok(file.size > 0),
        Err(errno) => Err(errno.into()),
    }
}

/// Whether the start or end of a device is not all zeros.
fn has_ends(device: &File, size: u64) -> io::Result<bool> {
    let head_end = size.min(DEVICE_END_BYTES);
    let tail_start = size.saturating_sub(DEVICE_END_BYTES).max(head_end);
    Ok(has_bytes(device, 0, head_end)? || has_bytes(device, tail_start, size)?)
}

/// Whether any byte from `start` to `end` is not zero.
fn has_bytes(device: &File, start: u64, end: u64) -> io::Result<bool> {
    let mut chunk = Vec::new();
    let mut at = start;
    while at < end {
        let len = (end - at).min(CHUNK_BYTES);
        // At most CHUNK_BYTES.
        chunk.resize(usize::try_from(len).map_err(io::Error::other)?, 0);
        device.read_exact_at(&mut chunk, at)?;
        if chunk.iter().any(|&byte| byte != 0) {
            return Ok(true);
        }
        at += len;
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(size: u64, written: &[u64]) -> File {
        let file = tempfile::tempfile().unwrap();
        file.set_len(size).unwrap();
        for &at in written {
            file.write_all_at(&[1], at).unwrap();
        }
        file
    }

    #[test]
    fn a_device_whose_ends_are_zeros_is_blank() {
        let size = 5 << 20;
        assert!(!has_ends(&device(size, &[]), size).unwrap());
        assert!(!has_ends(&device(size, &[1 << 20, (4 << 20) - 1]), size).unwrap());
        for at in [0, 1080, (1 << 20) - 1, 4 << 20, size - 1] {
            assert!(has_ends(&device(size, &[at]), size).unwrap(), "a byte at {at}");
        }
    }

    #[test]
    fn all_of_a_small_device_is_looked_at() {
        let size = 1_500_000;
        assert!(!has_ends(&device(size, &[]), size).unwrap());
        assert!(has_ends(&device(size, &[size - 1]), size).unwrap());
        assert!(!has_ends(&device(0, &[]), 0).unwrap());
    }
}
