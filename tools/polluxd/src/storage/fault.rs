//! Why a volume is not served.

use crate::state::RecordFault;
use control_api::VolumeKind;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use units::HEAD_ROOM;
use units::limits::OPEN_RETRY_INTERVAL;

/// Why a volume is not served, as the table of volumes keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NotServed {
    /// The reason.
    pub(crate) reason: String,
    /// Whether it is tried again.
    pub(crate) retry: Retry,
}

/// Whether a volume that is not served is tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Retry {
    /// It is being opened since the start.
    BeingOpened,
    /// The administrator has to do something about it, and to apply the configuration again.
    Never,
    /// Its cause may go at any time.
    Soon,
    /// The same, but a file that comes back may be a backup that is only partly restored: it is
    /// opened once it has stopped changing.
    WhenSettled,
}

/// A volume that is not served, and why.
#[derive(Debug)]
pub(crate) enum VolumeFault {
    /// Its blocks are smaller than what the medium takes.
    BlockTooSmall { path: PathBuf, configured: u32, needed: u32 },
    /// The configuration says another block size than its record.
    BlockSizeChanged { recorded: u32, configured: u32 },
    /// The medium wants buffers that are aligned better than those that there are.
    BuffersUnaligned { path: PathBuf, needed: u32 },
    /// It is to be created, but there is a record of its name.
    ExistedBefore { record: PathBuf, wwid: String },
    /// It is new, but its file or device holds data.
    HoldsData { path: PathBuf },
    /// The configuration says another kind than its record.
    KindChanged { recorded: VolumeKind, configured: VolumeKind },
    /// No memory for it. What the kernel said.
    Memory(String),
    /// The start does not wait for it any more.
    Late,
    /// The catalog names it, so that it was made once, and its record is gone.
    Lost { record: PathBuf, file: PathBuf },
    /// It was made once, and now it is gone.
    Missing { path: PathBuf },
    /// Every place for a volume is used, or its last volume is not closed yet.
    NoPlace,
    /// There is nothing yet, and no size to make it of.
    NoSize { path: PathBuf },
    /// It cannot be opened. The sentence of whoever tried.
    Open(String),
    /// Its record cannot be used.
    Record(RecordFault),
    /// It was made once, and its record is gone.
    RecordMissing { record: PathBuf, mark: PathBuf },
    /// The volume has another path now, and what is there is not what it had.
    OtherFile { path: PathBuf, recorded: PathBuf },
    /// The configuration says another size than its record.
    SizeChanged { recorded: u64, configured: u64 },
    /// Another volume has its identity.
    SameIdentity { volume: String, record: PathBuf },
    /// The operating system refused a step.
    Step { step: &'static str, path: PathBuf, source: io::Error },
    /// The file or device is that of another volume, which is served.
    Served { path: PathBuf, volume: String },
    /// It has not even one block.
    TooSmall { path: PathBuf, found: u64, block_size: u32 },
    /// It is smaller than it was made.
    Truncated { path: PathBuf, recorded: u64, found: u64 },
    /// It was missing or too small, and is being written now.
    Unsettled { path: PathBuf },
    /// What exists is of another size than the configuration says.
    WrongSizeFound { path: PathBuf, configured: u64, found: u64 },
    /// The path is a device where a file is expected, or the other way round.
    WrongType { path: PathBuf, configured: VolumeKind },
}

impl VolumeFault {
    /// Whether the volume is tried again.
    pub(crate) const fn retry(&self) -> Retry {
        match self {
            Self::Late => Retry::BeingOpened,
            Self::NoPlace
            | Self::Lost { .. }
            | Self::Open(_)
            | Self::Record(_)
            | Self::RecordMissing { .. }
            | Self::Served { .. }
            | Self::Step { .. } => Retry::Soon,
            Self::Missing { .. } | Self::Truncated { .. } | Self::Unsettled { .. } => {
                Retry::WhenSettled
            }
            // Data that is there is taken over only where the administrator says so. A file
            // without even a block is that of no known volume, so that nothing tells when all of it
            // is there. Each attempt to get memory may take it from others.
            Self::BlockTooSmall { .. }
            | Self::BlockSizeChanged { .. }
            | Self::BuffersUnaligned { .. }
            | Self::ExistedBefore { .. }
            | Self::HoldsData { .. }
            | Self::KindChanged { .. }
            | Self::Memory(_)
            | Self::NoSize { .. }
            | Self::OtherFile { .. }
            | Self::SameIdentity { .. }
            | Self::SizeChanged { .. }
            | Self::TooSmall { .. }
            | Self::WrongSizeFound { .. }
            | Self::WrongType { .. } => Retry::Never,
        }
    }
}

impl From<&VolumeFault> for NotServed {
    fn from(fault: &VolumeFault) -> Self {
        Self { reason: fault.to_string(), retry: fault.retry() }
    }
}

impl fmt::Display for NotServed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

impl From<RecordFault> for VolumeFault {
    fn from(fault: RecordFault) -> Self {
        Self::Record(fault)
    }
}

impl fmt::Display for VolumeFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BlockTooSmall { path, configured, needed } => {
                f.write_str(&block_too_small(path, *configured, *needed))
            }
            Self::BlockSizeChanged { recorded, configured } => write!(
                f,
                "block_size is {configured}, but the volume was created with {recorded} and cannot \
                 change; set block_size = {recorded}"
            ),
            Self::BuffersUnaligned { path, needed } => {
                f.write_str(&buffers_unaligned(path, *needed))
            }
            Self::ExistedBefore { record, wwid } => f.write_str(&existed_before(record, wwid)),
            Self::HoldsData { path } => write!(f, "{} {HOLDS_DATA}", path.display()),
            Self::KindChanged { recorded, configured } => write!(
                f,
                "kind is {}, but the volume was created as {} and cannot change; use another name \
                 for a new volume",
                configured.name(),
                recorded.name()
            ),
            Self::Late => f.write_str(LATE),
            Self::Lost { record, file } => f.write_str(&lost(record, file)),
            Self::Memory(words) => f.write_str(words),
            Self::Missing { path } => write!(
                f,
                "{} is missing; check that its file system is mounted, or delete the volume with \
                 \"perfctl volume delete\"",
                path.display()
            ),
            Self::NoPlace => f.write_str(NO_PLACE),
            Self::NoSize { path } => f.write_str(&no_size(path)),
            Self::Open(words) => f.write_str(words),
            Self::Record(fault) => fault.fmt(f),
            Self::RecordMissing { record, mark } => f.write_str(&record_missing(record, mark)),
            Self::OtherFile { path, recorded } => f.write_str(&other_file(path, recorded)),
            Self::SameIdentity { volume, record } => f.write_str(&same_identity(volume, record)),
            Self::SizeChanged { recorded, configured } => write!(
                f,
                "size is {configured} bytes, but the volume was created with {recorded} and cannot \
                 be resized; set size = {recorded} or remove the key"
            ),
            Self::Step { step, path, source } => {
                write!(f, "cannot {step} {}: {source}", path.display())
            }
            Self::Served { path, volume } => {
                write!(f, "{} is the file of volume {volume}, which is served", path.display())
            }
            Self::TooSmall { path, found, block_size } => {
                f.write_str(&too_small(path, *found, *block_size))
            }
            Self::Truncated { path, recorded, found } => {
                f.write_str(&truncated(path, *recorded, *found))
            }
            Self::Unsettled { path } => f.write_str(&unsettled(path)),
            Self::WrongSizeFound { path, configured, found } => write!(
                f,
                "{} exists with {found} bytes, but size is {configured}; remove the key size to \
                 use the volume as it is",
                path.display()
            ),
            Self::WrongType { path, configured } => f.write_str(&wrong_type(path, *configured)),
        }
    }
}

const HOLDS_DATA: &str = "already holds data. To serve this data, set adopt = true (perfctl volume \
                          create: --adopt); otherwise erase or remove it, or choose another path";

const LATE: &str = "it is in use or does not open yet; it is served as soon as it is open";

const NO_PLACE: &str = "4096 volumes are served or being closed, the maximum; delete a volume, or \
                        wait until the deleted ones are closed";

fn record_missing(record: &Path, mark: &Path) -> String {
    format!(
        "its record {} is missing. Check that the file system of the state directory is mounted, \
         or restore the record from a backup. To give up the volume's identity and create the \
         volume again, remove {}",
        record.display(),
        mark.display()
    )
}

fn unsettled(path: &Path) -> String {
    format!(
        "{} is being written, as a backup that is being restored; it is opened when it has not \
         changed for {} s",
        path.display(),
        OPEN_RETRY_INTERVAL.as_secs()
    )
}

fn lost(record: &Path, file: &Path) -> String {
    format!(
        "its record {} is missing. Check that the file system of the state directory is mounted, \
         or restore the record from a backup. To serve {} as a new volume, set adopt = true and \
         run \"perfctl apply\", or delete the volume and create it with --adopt",
        record.display(),
        file.display()
    )
}

fn existed_before(record: &Path, wwid: &str) -> String {
    format!(
        "it existed before: its record is {}, its WWID {wwid}. To bring it back with its data, \
         use --adopt; to create a new volume, use another name",
        record.display()
    )
}

fn other_file(path: &Path, recorded: &Path) -> String {
    format!(
        "{} holds data and is not the file that the volume had, {}. To serve this data as \
         the volume, set adopt = true (perfctl volume create: --adopt)",
        path.display(),
        recorded.display()
    )
}

fn same_identity(volume: &str, record: &Path) -> String {
    format!(
        "its record {} has the identity (WWID) of volume {volume}, which is served; restore \
         the record from a backup",
        record.display()
    )
}

fn too_small(path: &Path, found: u64, block_size: u32) -> String {
    format!(
        "{} has {found} bytes, which is less than one block of {block_size} bytes; remove \
         it and set a size to create it, or extend it",
        path.display()
    )
}

fn truncated(path: &Path, recorded: u64, found: u64) -> String {
    format!(
        "{} was truncated: it has {found} bytes, but the volume was created with \
         {recorded}; restore it from a backup",
        path.display()
    )
}

fn buffers_unaligned(path: &Path, needed: u32) -> String {
    format!(
        "{} requires buffers aligned to {needed} bytes, but polluxd aligns them to \
         {HEAD_ROOM}; use another device, for example one that is not encrypted in \
         sectors of {needed} bytes",
        path.display()
    )
}

fn no_size(path: &Path) -> String {
    format!(
        "{} does not exist, and no size is given to create it; set a size, for example \
         10GiB",
        path.display()
    )
}

fn block_too_small(path: &Path, configured: u32, needed: u32) -> String {
    format!(
        "{} requires blocks of at least {needed} bytes, but block_size is {configured}; set \
         block_size = {needed} for a new volume",
        path.display()
    )
}

fn wrong_type(path: &Path, configured: VolumeKind) -> String {
    let path = path.display();
    match configured {
        VolumeKind::Block => format!("{path} is not a block device; use kind = \"file\""),
        VolumeKind::File | VolumeKind::Memory | VolumeKind::Null => {
            format!("{path} is a block device; use kind = \"block\"")
        }
    }
}

impl std::error::Error for VolumeFault {}
