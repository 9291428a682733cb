//! `volume.*`: volumes.

use crate::LunName;
use serde::{Deserialize, Serialize};

/// The backing store of a volume: the one enum for it, from the configuration to the daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum VolumeKind {
    /// A block device.
    Block,
    /// A file.
    File,
    /// RAM of the daemon.
    Memory,
    /// No storage, for benchmarks.
    Null,
}

impl VolumeKind {
    /// All kinds.
    pub const ALL: [Self; 4] = [Self::File, Self::Block, Self::Memory, Self::Null];

    /// The kind's name in the configuration and on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Block => "block",
            Self::File => "file",
            Self::Memory => "memory",
            Self::Null => "null",
        }
    }
}

/// `volume.create`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VolumeCreate {
    /// Its name.
    pub name: String,
    /// Its backing store.
    pub kind: VolumeKind,
    /// The file or device, as an absolute path; without it, a file in the state directory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Its size, such as `10GiB` or `10G`. Not needed for an existing file or a device.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<String>,
    /// Bytes of a logical block: 512 or 4096.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub block_size: Option<u32>,
    /// Writes are rejected.
    #[serde(default)]
    pub read_only: bool,
    /// Serve the data that the file or device already holds. Without it, one that holds data is
    /// rejected.
    #[serde(default)]
    pub adopt: bool,
}

/// `volume.delete`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VolumeDelete {
    /// Its name.
    pub name: String,
    /// Remove the file too. Block devices are never touched.
    #[serde(default)]
    pub remove_file: bool,
}

/// The answer to `volume.delete`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeDeleted {
    /// Its name.
    pub name: String,
    /// The file or device that still has its data.
    pub file_left: Option<String>,
}

/// `volume.list`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VolumeList {}

/// The answer to `volume.list`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Volumes {
    /// The volumes in the order of the configuration.
    pub volumes: Vec<VolumeInfo>,
}

/// Whether a volume is served.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "state")]
pub enum VolumeState {
    /// It is not served.
    Failed {
        /// The reason.
        reason: String,
        /// For how many seconds.
        #[serde(default)]
        for_s: u64,
        /// Seconds until it is tried again; 0 while it is being opened. Absent where the
        /// configuration has to change first.
        #[serde(default)]
        retry_in_s: Option<u64>,
    },
    /// It is served.
    Served,
}

/// One volume.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeInfo {
    /// Its name.
    pub name: String,
    /// Its backing store.
    pub kind: VolumeKind,
    /// The file or device.
    pub path: Option<String>,
    /// Its size in bytes; unknown for a volume that was never served.
    pub size_bytes: Option<u64>,
    /// Bytes of a logical block.
    pub block_size: u32,
    /// Writes are rejected.
    pub read_only: bool,
    /// The NAA designator in hexadecimal, as initiators show it.
    pub wwid: Option<String>,
    /// The unit serial number.
    pub serial: Option<String>,
    /// Whether it is served.
    #[serde(flatten)]
    pub state: VolumeState,
    /// The LUNs to which it is mapped.
    pub luns: Vec<LunName>,
}
