//! Opening a file or block device as a volume: what it is, how it must be accessed, and that
//! nobody else serves it.

mod content;
mod damage;
mod error;
mod extent;
mod queue;

use std::os::fd::OwnedFd;
use std::path::Path;

pub use content::holds_data;
pub use damage::{Damage, damage_of, renamed};
pub use error::OpenError;
pub use extent::{Extent, extent_at};

use queue::Queue;
use rustix::fs::{self, AtFlags, FileType, FlockOperation, Mode, OFlags, Statx, StatxFlags};
use rustix::io::Errno;

/// How a volume is opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OpenOptions {
    /// Never write to it.
    pub read_only: bool,
    /// Use the page cache if the file system does not support direct I/O, instead of failing.
    pub buffered_allowed: bool,
}

/// A volume that is open and locked, and what is known of it.
#[derive(Debug)]
pub struct OpenFile {
    /// The open file. The lock lasts as long as it, and everything made from it, is open.
    pub fd: OwnedFd,
    /// Bytes of the file or device.
    pub size: u64,
    /// The number of the file system that it is on, or of the block device that it is.
    pub device: u64,
    /// Whether a transfer that must not wait (`RWF_NOWAIT`) does not.
    pub never_waits_unasked: bool,
    /// Whether it is a block device.
    pub is_block_device: bool,
    /// Whether I/O goes past the page cache.
    pub is_direct: bool,
    /// What the address of a buffer must be a multiple of.
    pub dio_mem_align: u32,
    /// What offset and length of a transfer must be multiples of.
    pub dio_offset_align: u32,
    /// Bytes that the medium addresses.
    pub logical_block_size: u32,
    /// Bytes that the medium writes at once.
    pub physical_block_size: u32,
    /// Whether a hole can be punched, after which the range reads as zeros.
    pub punches_holes: bool,
    /// Bytes that a hole is a multiple of, where one can be punched.
    pub hole_granularity: u32,
    /// Whether the medium has a cache that forgets when the power fails, so that a write must
    /// be flushed to be durable. True where nothing is known.
    pub has_volatile_cache: bool,
}

/// Opens a volume for direct I/O and locks it against every other program that does the same.
pub fn open_direct(path: &Path, options: OpenOptions) -> Result<OpenFile, OpenError> {
    let stat = fs::statx(fs::CWD, path, AtFlags::empty(), StatxFlags::BASIC_STATS)
        .map_err(|errno| OpenError::new(path, errno))?;
    let is_block_device = match FileType::from_raw_mode(stat.stx_mode.into()) {
        FileType::RegularFile => false,
        FileType::BlockDevice => true,
        FileType::CharacterDevice
        | FileType::Directory
        | FileType::Fifo
        | FileType::Socket
        | FileType::Symlink
        | FileType::Unknown => return Err(OpenError::NotAVolume { path: path.to_owned() }),
    };
    let (fd, is_direct) = open(path, options, is_block_device)?;
    lock(&fd, path)?;
    describe(fd, is_direct).map_err(|errno| OpenError::new(path, errno))
}

/// Makes a file of `bytes` zeros to serve as a volume; with `preallocate` its space is reserved
/// at once. It must not exist.
pub fn create(path: &Path, bytes: u64, preallocate: bool) -> Result<(), OpenError> {
    let refused = |errno| OpenError::new(path, errno);
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::RDWR | OFlags::CLOEXEC;
    let fd = fs::open(path, flags, Mode::RUSR | Mode::WUSR).map_err(refused)?;
    let made = if preallocate && bytes > 0 {
        fs::fallocate(&fd, fs::FallocateFlags::empty(), 0, bytes)
    } else {
        fs::ftruncate(&fd, bytes)
    };
    // The size must survive a power failure, or a served volume would come back shorter.
    let made = made.and_then(|()| fs::fsync(&fd)).and_then(|()| sync_directory_of(path));
    made.map_err(|errno| {
        // The file is ours and of no use; the first error is the one that matters.
        let _removed = fs::unlink(path);
        refused(errno)
    })
}

/// A new name in a directory survives a power failure only once the directory is flushed.
fn sync_directory_of(path: &Path) -> Result<(), Errno> {
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        Some(_) | None => Path::new("."),
    };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    fs::fsync(fs::open(directory, flags, Mode::empty())?)
}

fn open(path: &Path, options: OpenOptions, block: bool) -> Result<(OwnedFd, bool), OpenError> {
    let access = if options.read_only { OFlags::RDONLY } else { OFlags::RDWR };
    // On a block device O_EXCL claims it: a mounted device, or one in use by LVM or md, is busy.
    let claim = if block { OFlags::EXCL } else { OFlags::empty() };
    let flags = access | claim | OFlags::CLOEXEC;
    match fs::open(path, flags | OFlags::DIRECT, Mode::empty()) {
        Ok(fd) => Ok((fd, true)),
        Err(Errno::INVAL) if options.buffered_allowed => {
            let fd = fs::open(path, flags, Mode::empty())
                .map_err(|errno| OpenError::new(path, errno))?;
            Ok((fd, false))
        }
        Err(Errno::INVAL) => Err(OpenError::NoDirectIo { path: path.to_owned() }),
        Err(errno) => Err(OpenError::new(path, errno)),
    }
}

fn lock(fd: &OwnedFd, path: &Path) -> Result<(), OpenError> {
    match fs::flock(fd, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(()),
        Err(Errno::WOULDBLOCK) => Err(OpenError::InUse { path: path.to_owned() }),
        Err(errno) => Err(OpenError::new(path, errno)),
    }
}

fn describe(fd: OwnedFd, is_direct: bool) -> Result<OpenFile, Errno> {
    let wanted = StatxFlags::BASIC_STATS | StatxFlags::DIOALIGN;
    let stat = fs::statx(&fd, "", AtFlags::EMPTY_PATH, wanted)?;
    let is_block_device = FileType::from_raw_mode(stat.stx_mode.into()) == FileType::BlockDevice;
    let (major, minor) = if is_block_device {
        (stat.stx_rdev_major, stat.stx_rdev_minor)
    } else {
        (stat.stx_dev_major, stat.stx_dev_minor)
    };
    let queue = Queue::of_device(major, minor);
    let (logical, physical) = if is_block_device {
        (fs::ioctl_blksszget(&fd)?, fs::ioctl_blkpbszget(&fd)?)
    } else {
        let logical = queue.number("logical_block_size").unwrap_or(SECTOR_BYTES);
        (logical, queue.number("physical_block_size").unwrap_or(logical))
    };
    let (size, punches_holes, hole_granularity) = if is_block_device {
        let size = fs::seek(&fd, fs::SeekFrom::End(0))?;
        // The kernel punches a hole into a device by writing zeros without data.
        let punches = queue.number("write_zeroes_max_bytes").is_some_and(|bytes| bytes > 0);
        (size, punches, queue.number("discard_granularity").unwrap_or(0).max(logical))
    } else {
        (stat.stx_size, punches_holes_in(&fd, &stat), stat.stx_blksize)
    };
    let (dio_mem_align, dio_offset_align) = alignment(&stat, is_direct, logical);
    Ok(OpenFile {
        size,
        never_waits_unasked: is_block_device || keeps_nowait(&fd)?,
        device: u64::from(major) << 32 | u64::from(minor),
        is_block_device,
        is_direct,
        dio_mem_align,
        dio_offset_align,
        logical_block_size: logical,
        physical_block_size: physical,
        punches_holes,
        hole_granularity,
        has_volatile_cache: queue.has_volatile_cache(),
        fd,
    })
}

/// Whether the file system is one of those that refuse what they would have to wait for. Others say
/// that they do, and wait for a server after all: FUSE does, and the whole reactor with it.
fn keeps_nowait(fd: &OwnedFd) -> Result<bool, Errno> {
    const LOCAL: [fs::FsWord; 6] = [
        0xef53,      // ext4
        0x5846_5342, // XFS
        0x9123_683e, // btrfs
        0xf2f5_2010, // F2FS
        0x0102_1994, // tmpfs
        0x794c_7630, // overlayfs, which adds nothing that waits
    ];
    let kind = fs::fstatfs(fd)?.f_type;
    Ok(LOCAL.contains(&kind))
}

/// Alignment of memory and of offsets, from statx (Linux 6.1) or the size of a block.
fn alignment(stat: &Statx, is_direct: bool, logical: u32) -> (u32, u32) {
    if !is_direct {
        return (1, 1);
    }
    let known = StatxFlags::from_bits_retain(stat.stx_mask).contains(StatxFlags::DIOALIGN);
    if known && stat.stx_dio_mem_align > 0 && stat.stx_dio_offset_align > 0 {
        (stat.stx_dio_mem_align, stat.stx_dio_offset_align)
    } else {
        (SECTOR_BYTES, logical)
    }
}

/// Tries it past the end of the file, where there is nothing to lose. A volume that is open for
/// reading only takes no holes.
fn punches_holes_in(fd: &OwnedFd, stat: &Statx) -> bool {
    let block = u64::from(stat.stx_blksize.max(SECTOR_BYTES));
    let Some(past_end) = stat.stx_size.checked_next_multiple_of(block) else { return false };
    let mode = fs::FallocateFlags::PUNCH_HOLE | fs::FallocateFlags::KEEP_SIZE;
    fs::fallocate(fd, mode, past_end, block).is_ok()
}

/// The block of a medium that says nothing else.
const SECTOR_BYTES: u32 = 512;

#[cfg(test)]
mod tests;
