//! What is wrong with a configuration, where, and what would be valid.

use super::position::Position;
use super::values::size_text;
use crate::config::check::SecretFault;
use control_api::InvalidSize;
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
    /// The sentence without file and place: for callers that did not write the file.
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
    /// This kind of volume never holds data when it begins.
    AdoptUnused { kind: &'static str },
    /// No portal has the group of this target.
    AbsentPortalGroup(u16),
    /// A LUN names a volume that does not exist.
    AbsentVolume { name: String, known: Vec<String> },
    /// The text is not an address with a port.
    BadAddress(String),
    /// The number is not a block size.
    BadBlockSize(u32),
    /// The text does not describe buffers.
    BadBuffers(BuffersFault),
    /// The text is not an iSCSI name.
    BadIscsiName { name: String, why: NameFault },
    /// The text is not a logical unit number.
    BadLun(String),
    /// The text is not an OUI.
    BadOui(String),
    /// The text is not a size.
    BadSize(InvalidSize),
    /// The value is of another type, or not one of those that are valid.
    BadValue { value: String, expected: String },
    /// The text is not a volume name.
    BadVolumeName(String),
    /// The value, with what it is, is there twice.
    Duplicate(String),
    /// The text has too many bytes.
    LongText { bytes: usize, most: usize },
    /// CHAP for the target alone, without CHAP for the initiators.
    MutualChapAlone,
    /// The core list is empty.
    NoCores,
    /// A key without which the table means nothing.
    MissingKey { expected: &'static str },
    /// The list of initiators is empty.
    NoInitiators,
    /// The number is out of range.
    OutOfRange { value: i64, least: i64, most: i64 },
    /// This kind of volume needs a path.
    PathMissing { kind: &'static str },
    /// This kind of volume has no path.
    PathUnused { kind: &'static str },
    /// The secret cannot be used.
    Secret { file: PathBuf, fault: SecretFault },
    /// The target's secret is that of the initiators.
    SecretShared,
    /// This kind of volume needs a size.
    SizeMissing { kind: &'static str },
    /// The size is not a whole number of blocks.
    SizeNotInBlocks { bytes: u64, block_bytes: u32 },
    /// The size is out of range.
    SizeOutOfRange { bytes: u64, least: u64, most: u64 },
    /// The text is not TOML, or a value has the wrong shape: the words of its parser.
    Syntax(String),
    /// There are more of them than a node serves.
    TooMany { what: &'static str, most: usize },
    /// No such key.
    UnknownKey { known: Vec<&'static str> },
    /// Whether READs of this kind of volume see whole blocks is not for the file to say.
    WholeBlocksUnused { kind: &'static str },
    /// This kind of volume has no such key.
    WriteCacheUnused { kind: &'static str },
}

impl Problem {
    /// Whether broken syntax elsewhere can be the cause: a line that is not TOML may have held the
    /// key, or the header of the table.
    pub(super) const fn may_follow_from_syntax(&self) -> bool {
        match self {
            Self::AbsentPortalGroup(_)
            | Self::AbsentVolume { .. }
            | Self::Duplicate(_)
            | Self::MissingKey { .. }
            | Self::MutualChapAlone
            | Self::PathMissing { .. }
            | Self::SizeMissing { .. }
            | Self::UnknownKey { .. } => true,
            Self::BadAddress(_)
            | Self::BadBlockSize(_)
            | Self::AdoptUnused { .. }
            | Self::BadBuffers(_)
            | Self::BadIscsiName { .. }
            | Self::BadLun(_)
            | Self::BadOui(_)
            | Self::BadSize(_)
            | Self::BadValue { .. }
            | Self::BadVolumeName(_)
            | Self::LongText { .. }
            | Self::NoCores
            | Self::NoInitiators
            | Self::OutOfRange { .. }
            | Self::PathUnused { .. }
            | Self::Secret { .. }
            | Self::SecretShared
            | Self::SizeNotInBlocks { .. }
            | Self::SizeOutOfRange { .. }
            | Self::Syntax(_)
            | Self::TooMany { .. }
            | Self::WholeBlocksUnused { .. }
            | Self::WriteCacheUnused { .. } => false,
        }
    }
}

/// Why a text is not an iSCSI name (RFC 7143 4.2.7).
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
    /// Some commands need more buffers at once than there are.
    TooFew { bytes: u32, count: u32, least: u32 },
    /// The largest is too small for one burst.
    TooSmall,
    /// A size is not a multiple of 4 KiB.
    Unaligned(u32),
}

impl fmt::Display for NameFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Character(c) => {
                write!(f, "invalid character {c:?}; use only a-z, 0-9, '.', '-' and ':'")
            }
            Self::Eui => f.write_str("eui. must be followed by 16 hexadecimal digits"),
            Self::Iqn => f.write_str(
                "use iqn.YYYY-MM.DOMAIN:NAME with a month in which you owned the domain, for \
                 example iqn.2026-11.org.example:disk1",
            ),
            Self::Long => write!(f, "longer than {} bytes", limits::ISCSI_NAME_BYTES_MAX),
            Self::Naa => f.write_str("naa. must be followed by 16 or 32 hexadecimal digits"),
            Self::Type => f.write_str("a name starts with iqn., eui. or naa."),
        }
    }
}

impl fmt::Display for BuffersFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("invalid buffers: ")?;
        match self {
            Self::NotAscending => f.write_str("sizes must ascend"),
            Self::Part(part) => write!(f, "{part:?} is not SIZE:COUNT"),
            Self::TooFew { bytes, count, least } => write!(
                f,
                "{size}:{count} is too few, at least {size}:{least} is required: VERIFY needs two \
                 buffers of 256KiB and one for a block at once",
                size = size_text((*bytes).into())
            ),
            Self::TooSmall => f.write_str("the largest must hold a burst of 256KiB"),
            Self::Unaligned(bytes) => write!(f, "{bytes} bytes is not a multiple of 4KiB"),
        }?;
        f.write_str("; use for example \"4KiB:4096,64KiB:512,256KiB:256\"")
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AdoptUnused { kind } => {
                write!(f, "a {kind} volume is always new and empty; remove the key")
            }
            Self::AbsentPortalGroup(group) => {
                write!(f, "no [[portal]] has group {group}; add one, or use an existing group")
            }
            Self::AbsentVolume { name, known } => f.write_str(&absent_volume(name, known)),
            Self::BadAddress(text) => write!(
                f,
                "invalid address {text:?}: use ADDRESS:PORT, for example \"192.0.2.1:3260\" or \
                 \"[2001:db8::1]:3260\""
            ),
            Self::BadBlockSize(bytes) => write!(f, "invalid block size {bytes}: use 512 or 4096"),
            Self::BadBuffers(fault) => fault.fmt(f),
            Self::BadIscsiName { name, why } => write!(f, "invalid iSCSI name {name:?}: {why}"),
            Self::BadLun(text) => write!(f, "invalid LUN {text:?}: use a number from 0 to 16383"),
            Self::BadOui(text) => write!(
                f,
                "invalid OUI {text:?}: use the 6 hexadecimal digits that the IEEE assigned to \
                 you, for example \"00a0b1\""
            ),
            Self::BadSize(fault) => fault.fmt(f),
            Self::BadValue { value, expected } => {
                write!(f, "invalid value {value}: use {expected}")
            }
            Self::BadVolumeName(text) => write!(
                f,
                "invalid volume name {text:?}: use up to 64 of a-z, A-Z, 0-9, '.', '_' and '-', \
                 starting with a letter or a digit"
            ),
            Self::Duplicate(value) => write!(f, "duplicate {value}"),
            Self::LongText { bytes, most } => {
                write!(f, "{bytes} bytes are too many; use at most {most}")
            }
            Self::MutualChapAlone => f.write_str(MUTUAL_CHAP_ALONE),
            Self::MissingKey { expected } => write!(f, "missing key; set it to {expected}"),
            Self::NoCores => f.write_str("empty list; name at least one core, for example [0]"),
            Self::NoInitiators => f.write_str(NO_INITIATORS),
            Self::OutOfRange { value, least, most } => {
                write!(f, "{value} is out of range; use a number from {least} to {most}")
            }
            Self::PathMissing { kind } => {
                write!(f, "a {kind} volume needs the path of its device, for example \"/dev/sdb\"")
            }
            Self::PathUnused { kind } => {
                write!(f, "a {kind} volume has no path; remove the key")
            }
            Self::Secret { file, fault } => write!(f, "{}: {fault}", file.display()),
            Self::SecretShared => f.write_str(SECRET_SHARED),
            Self::SizeMissing { kind } => {
                write!(f, "a {kind} volume needs a size, for example size = \"1GiB\"")
            }
            Self::SizeNotInBlocks { bytes, block_bytes } => write!(
                f,
                "{bytes} bytes is not a positive multiple of the block size, {block_bytes} bytes"
            ),
            Self::SizeOutOfRange { bytes, least, most } => {
                let [bytes, least, most] = [*bytes, *least, *most].map(size_text);
                write!(f, "{bytes} is out of range; use a size from {least} to {most}")
            }
            Self::Syntax(words) => f.write_str(words),
            Self::TooMany { what, most } => write!(f, "too many {what}; at most {most} are served"),
            Self::UnknownKey { known } => f.write_str(&unknown_key(known)),
            Self::WholeBlocksUnused { kind } => f.write_str(&whole_blocks_unused(kind)),
            Self::WriteCacheUnused { kind } => f.write_str(&write_cache_unused(kind)),
        }
    }
}

const MUTUAL_CHAP_ALONE: &str = "the target authenticates itself only to initiators that have \
                                 authenticated themselves; add the key chap";

const NO_INITIATORS: &str = "an empty list admits no initiator; list initiators, or remove the \
                             key to admit any initiator";

const SECRET_SHARED: &str = "the target and the initiators have the same secret, so whoever knows \
                             it can pose as either (RFC 7143 9.2.1); use different secrets";

fn whole_blocks_unused(kind: &str) -> String {
    format!("a {kind} volume has no such key; remove it, it is for memory volumes only")
}

fn write_cache_unused(kind: &str) -> String {
    format!(
        "the write cache of a {kind} volume is detected; remove the key, which is for block \
         volumes only"
    )
}

fn unknown_key(known: &[&str]) -> String {
    format!("unknown key; the keys are {}", known.join(", "))
}

fn absent_volume(name: &str, known: &[String]) -> String {
    if known.is_empty() {
        return format!("unknown volume {name:?}; add a [[volume]] with this name");
    }
    format!("unknown volume {name:?}; existing volumes: {}", known.join(", "))
}
