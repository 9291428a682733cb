//! Why a volume is not served.

use crate::state::RecordFault;
use control_api::VolumeKind;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use units::HEAD_ROOM;

/// A volume that is not served, and why.
#[derive(Debug)]
pub(crate) enum VolumeFault {
    /// Its blocks are smaller than what the medium takes.
    BlockTooSmall { path: PathBuf, configured: u32, needed: u32 },
    /// The configuration says another block size than its record.
    BlockSizeChanged { recorded: u32, configured: u32 },
    /// The medium wants buffers that are aligned better than those that there are.
    BuffersUnaligned { path: PathBuf, needed: u32 },
    /// The configuration says another kind than its record.
    KindChanged { recorded: VolumeKind, configured: VolumeKind },
    /// No memory for it. What the kernel said.
    Memory(String),
    /// It was made once, and now it is gone.
    Missing { path: PathBuf },
    /// Every place for a volume was used since the start.
    NoPlace,
    /// There is nothing yet, and no size to make it of.
    NoSize { path: PathBuf },
    /// It cannot be opened. The sentence of whoever tried.
    Open(String),
    /// Its record cannot be used.
    Record(RecordFault),
    /// The configuration says another size than its record.
    SizeChanged { recorded: u64, configured: u64 },
    /// The operating system refused a step.
    Step { step: &'static str, path: PathBuf, source: io::Error },
    /// It is larger or smaller than it was made.
    WrongSize { path: PathBuf, recorded: u64, found: u64 },
    /// What exists is of another size than the configuration says.
    WrongSizeFound { path: PathBuf, configured: u64, found: u64 },
    /// The path is a device where a file is expected, or the other way round.
    WrongType { path: PathBuf, configured: VolumeKind },
}

impl From<RecordFault> for VolumeFault {
    fn from(fault: RecordFault) -> Self {
        Self::Record(fault)
    }
}

impl fmt::Display for VolumeFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BlockTooSmall { path, configured, needed } => write!(
                f,
                "{} takes blocks of {needed} bytes, not of {configured}; set block_size = {needed} \
                 for a new volume",
                path.display()
            ),
            Self::BlockSizeChanged { recorded, configured } => write!(
                f,
                "it was made with blocks of {recorded} bytes, and the configuration says \
                 {configured}; initiators rely on it, so set block_size = {recorded}"
            ),
            Self::BuffersUnaligned { path, needed } => write!(
                f,
                "{} reads and writes only memory at multiples of {needed} bytes, and the buffers \
                 lie at multiples of {HEAD_ROOM}; use another device, for example one that is \
                 not encrypted in sectors of {needed} bytes",
                path.display()
            ),
            Self::KindChanged { recorded, configured } => write!(
                f,
                "it was made as a {} volume, and the configuration says {}; use another name for \
                 another volume",
                recorded.name(),
                configured.name()
            ),
            Self::Memory(words) => f.write_str(words),
            Self::Missing { path } => write!(
                f,
                "{} is gone; bring it back (is its file system mounted?), or delete the volume \
                 with perfctl volume delete",
                path.display()
            ),
            Self::NoPlace => f.write_str(NO_PLACE),
            Self::NoSize { path } => write!(
                f,
                "{} is not there, and to make it a size is needed; add size = \"10GiB\" or \
                 another size",
                path.display()
            ),
            Self::Open(words) => f.write_str(words),
            Self::Record(fault) => fault.fmt(f),
            Self::SizeChanged { recorded, configured } => write!(
                f,
                "it was made with {recorded} bytes, and the configuration says {configured}; a \
                 volume keeps its size, so take the size out of the configuration or put it back"
            ),
            Self::Step { step, path, source } => {
                write!(f, "cannot {step} {}: {source}", path.display())
            }
            Self::WrongSize { path, recorded, found } => {
                let what = if found < recorded { "was cut short" } else { "has grown" };
                write!(
                    f,
                    "{} {what}: it has {found} bytes, and the volume was made with {recorded}; \
                     restore it from a backup",
                    path.display()
                )
            }
            Self::WrongSizeFound { path, configured, found } => write!(
                f,
                "{} is there with {found} bytes, and the configuration says {configured}; take \
                 the size out of the configuration to use it as it is",
                path.display()
            ),
            Self::WrongType { path, configured } => f.write_str(&wrong_type(path, *configured)),
        }
    }
}

const NO_PLACE: &str =
    "65535 volumes were opened since polluxd started, which is the most; restart it";

fn wrong_type(path: &Path, configured: VolumeKind) -> String {
    let path = path.display();
    match configured {
        VolumeKind::Block => format!("{path} is no block device; use kind = \"file\""),
        VolumeKind::File | VolumeKind::Memory | VolumeKind::Null => {
            format!("{path} is a block device; use kind = \"block\"")
        }
    }
}

impl std::error::Error for VolumeFault {}
