//! What is wrong with a configuration, where it stands, and what would be valid.

use super::position::Position;
use crate::config::check::SecretFault;
use std::fmt;
use std::path::PathBuf;
use units::limits;

/// One fault of a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    /// The file.
    pub(crate) file: PathBuf,
    /// The place in it.
    pub(crate) position: Option<Position>,
    /// The key, with the object it belongs to: `volume "a".size`.
    pub(crate) key: Option<String>,
    /// What is wrong.
    pub(crate) problem: Problem,
}

impl Fault {
    /// The sentence without the place: for those who did not write the file.
    pub(crate) fn sentence(&self) -> String {
        match &self.key {
            Some(key) => format!("{key}: {}", self.problem),
            None => self.problem.to_string(),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.file.display())?;
        if let Some(position) = self.position {
            write!(f, "{position}:")?;
        }
        write!(f, " {}", self.sentence())
    }
}

/// The ways in which a configuration can be wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Problem {
    /// No portal carries the group of this target.
    AbsentPortalGroup(u16),
    /// A LUN names a volume that is not there.
    AbsentVolume { name: String, known: Vec<String> },
    /// The text is no address with a port.
    BadAddress(String),
    /// The number is no block size.
    BadBlockSize(u32),
    /// The text does not describe buffers.
    BadBuffers(BuffersFault),
    /// The text is no iSCSI name.
    BadIscsiName { name: String, why: NameFault },
    /// The text is no logical unit number.
    BadLun(String),
    /// The text is no OUI.
    BadOui(String),
    /// The text is no size.
    BadSize(String),
    /// The text is no volume name.
    BadVolumeName(String),
    /// CHAP for the target alone says nothing about the initiators.
    MutualChapAlone,
    /// The list would admit nobody.
    NobodyAdmitted,
    /// The core list is empty.
    NoCores,
    /// The number is out of range.
    OutOfRange { value: u64, least: u64, most: u64 },
    /// A key that this kind of volume needs is not there.
    PathMissing { kind: &'static str },
    /// A key that this kind of volume cannot have.
    PathUnused { kind: &'static str },
    /// The value stands there twice.
    Repeated(String),
    /// The secret cannot be used.
    Secret { file: PathBuf, fault: SecretFault },
    /// The target proves itself with what initiators prove themselves with.
    SecretShared,
    /// A size is needed.
    SizeMissing { kind: &'static str },
    /// The size is no whole number of blocks.
    SizeNotInBlocks { bytes: u64, block_bytes: u32 },
    /// The text is not TOML, or not of the right shape: the words of its parser.
    Syntax(String),
    /// There are more of them than a node serves.
    TooMany { what: &'static str, most: usize },
    /// The key means nothing for this kind of volume.
    WriteCacheUnused { kind: &'static str },
}

/// Why a text is no iSCSI name (RFC 7143 4.2.7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NameFault {
    /// A character that names do not have.
    Character(char),
    /// Not the 16 hexadecimal digits of an EUI-64.
    Eui,
    /// Not the date and domain of an iqn name.
    Iqn,
    /// More than 223 bytes.
    Long,
    /// Not the 16 or 32 hexadecimal digits of an NAA name.
    Naa,
    /// Not one of the three types.
    Type,
}

/// Why a text does not describe buffers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum BuffersFault {
    /// Sizes do not ascend.
    NotAscending,
    /// A part is not SIZE:COUNT.
    Part(String),
    /// The largest is too small for one burst.
    TooSmall,
    /// A size is not a multiple of 4 KiB.
    Unaligned(u32),
}

impl fmt::Display for NameFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Character(c) => {
                write!(f, "it has {c:?}; names have a-z, 0-9, '.', '-' and ':' only")
            }
            Self::Eui => f.write_str("eui. is followed by 16 hexadecimal digits"),
            Self::Iqn => f.write_str(
                "write iqn.YYYY-MM.DOMAIN:NAME with a month in which you owned the domain, such \
                 as iqn.2026-11.org.example:disk1",
            ),
            Self::Long => write!(f, "it has more than {} bytes", limits::ISCSI_NAME_BYTES_MAX),
            Self::Naa => f.write_str("naa. is followed by 16 or 32 hexadecimal digits"),
            Self::Type => f.write_str("a name starts with iqn., eui. or naa."),
        }
    }
}

impl fmt::Display for BuffersFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAscending => f.write_str("the sizes must ascend"),
            Self::Part(part) => write!(f, "{part:?} is not SIZE:COUNT"),
            Self::TooSmall => f.write_str("the largest must hold a burst of 256KiB"),
            Self::Unaligned(bytes) => write!(f, "{bytes} bytes is not a multiple of 4KiB"),
        }?;
        f.write_str("; write something like \"4KiB:4096,64KiB:512,256KiB:256\"")
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AbsentPortalGroup(group) => {
                write!(f, "no [[portal]] has group {group}; add one, or use the group of one")
            }
            Self::AbsentVolume { name, known } => f.write_str(&absent_volume(name, known)),
            Self::BadAddress(text) => write!(
                f,
                "{text:?} is no address with a port; write something like \"192.0.2.1:3260\" or \
                 \"[2001:db8::1]:3260\""
            ),
            Self::BadBlockSize(bytes) => write!(f, "{bytes} is no block size; use 512 or 4096"),
            Self::BadBuffers(fault) => fault.fmt(f),
            Self::BadIscsiName { name, why } => write!(f, "{name:?} is no iSCSI name: {why}"),
            Self::BadLun(text) => {
                write!(f, "{text:?} is no logical unit number; use a number from 0 to 16383")
            }
            Self::BadOui(text) => write!(
                f,
                "{text:?} is no OUI; write the 6 hexadecimal digits that the IEEE assigned to \
                 you, such as \"00a0b1\""
            ),
            Self::BadSize(text) => write!(
                f,
                "{text:?} is no size; write a whole number with B, KiB, MiB, GiB or TiB, such as \
                 \"10GiB\""
            ),
            Self::BadVolumeName(text) => write!(
                f,
                "{text:?} is no volume name; use up to 64 of a-z, A-Z, 0-9, '.', '_' and '-', \
                 starting with a letter or a digit"
            ),
            Self::MutualChapAlone => f.write_str(MUTUAL_CHAP_ALONE),
            Self::NobodyAdmitted => f.write_str(NOBODY_ADMITTED),
            Self::NoCores => f.write_str("name at least one core, such as [0]"),
            Self::OutOfRange { value, least, most } => {
                write!(f, "{value} is out of range; use a number from {least} to {most}")
            }
            Self::PathMissing { kind } => {
                write!(f, "a {kind} volume needs the path of its device, such as \"/dev/sdb\"")
            }
            Self::PathUnused { kind } => {
                write!(f, "a {kind} volume has no path; leave the key out")
            }
            Self::Repeated(value) => write!(f, "{value} is there twice; each must be unique"),
            Self::Secret { file, fault } => write!(f, "{} {fault}", file.display()),
            Self::SecretShared => f.write_str(SECRET_SHARED),
            Self::SizeMissing { kind } => {
                write!(f, "a {kind} volume needs a size, such as size = \"1GiB\"")
            }
            Self::SizeNotInBlocks { bytes, block_bytes } => write!(
                f,
                "{bytes} bytes is no whole number of blocks of {block_bytes}; use a multiple that \
                 is not zero"
            ),
            Self::Syntax(words) => f.write_str(words),
            Self::TooMany { what, most } => write!(f, "there are more than {most} {what}"),
            Self::WriteCacheUnused { kind } => write!(
                f,
                "a {kind} volume finds out by itself; only for a block volume can you know more"
            ),
        }
    }
}

const MUTUAL_CHAP_ALONE: &str = "the target proves itself only to initiators that have proven \
                                 themselves; add chap with what they must prove";

const NOBODY_ADMITTED: &str = "an empty list would admit nobody; name initiators, or leave the \
                               key out to admit every one";

const SECRET_SHARED: &str = "the target's secret is also an initiator's, which lets anyone who \
                             knows the one pose as the other (RFC 7143 9.2.1); use different \
                             secrets";

fn absent_volume(name: &str, known: &[String]) -> String {
    if known.is_empty() {
        return format!("there is no volume {name:?}; add a [[volume]] with this name");
    }
    format!("there is no volume {name:?}; there are {}", known.join(", "))
}
