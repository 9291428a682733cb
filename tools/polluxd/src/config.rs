//! The configuration: text -> raw types -> checked types -> difference to what runs.
//!
//! Nothing in here does I/O: secrets are read through a function that the caller passes in. A
//! check reports all faults, not only the first, and a configuration with a fault is never used.
//! [`keys`] has the keys of `[node]` as one table, [`objects`] those of volumes and targets.

mod check;
mod diff;
mod fault;
mod faults;
mod key;
mod keys;
mod names;
mod node;
mod objects;
mod position;
mod raw;
mod shape;
mod targets;
mod values;
mod volumes;
mod write;

pub(crate) use check::{ReadSecret, SecretFault, Source, check, check_secret};
pub(crate) use diff::{difference, node_difference};
pub(crate) use fault::Fault;
pub(crate) use key::{Applies, Flag, Key, Kind};
pub(crate) use keys::{NODE_KEYS, NodeConfig};
pub(crate) use names::{check_iscsi_name, check_volume_name};
pub(crate) use objects::VOLUME_KEYS;
pub(crate) use raw::{RawConfig, RawCredential, RawLun, RawLunTable, RawTarget, RawVolume};
pub(crate) use values::Poll;
pub(crate) use write::{effective_text, to_text, unplaced};

use control_api::VolumeKind;
use std::collections::BTreeMap;
use std::path::PathBuf;
use units::BlockSize;
use volume::{Access, Chap, Portal};

/// A configuration that breaks no rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Config {
    /// How the node runs.
    pub(crate) node: NodeConfig,
    /// The portals; empty where the configuration has none.
    pub(crate) portals: Vec<Portal>,
    /// The volumes.
    pub(crate) volumes: Vec<VolumeConfig>,
    /// The targets.
    pub(crate) targets: Vec<TargetConfig>,
    /// CHAP of discovery sessions.
    pub(crate) discovery_chap: Option<Chap>,
}

/// One volume as configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct VolumeConfig {
    /// Its name.
    pub(crate) name: String,
    /// Its backing store.
    pub(crate) kind: VolumeKind,
    /// The file or device; none for memory and null, and for a file in the state directory.
    pub(crate) path: Option<PathBuf>,
    /// Its size in bytes; taken from the file or device where not given.
    pub(crate) size_bytes: Option<u64>,
    /// The logical block size.
    pub(crate) block_size: BlockSize,
    /// Writes are rejected.
    pub(crate) read_only: bool,
    /// Whether completed writes may be lost in a power cut; detected where not given.
    pub(crate) write_cache: Option<bool>,
    /// A new volume serves the data that its file or device already holds.
    pub(crate) adopt: bool,
    /// No READ of a memory volume sees a logical block in part, also with several reactors.
    pub(crate) whole_blocks: bool,
}

/// One target as configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TargetConfig {
    /// Its iSCSI name, in lower case.
    pub(crate) name: String,
    /// Its alias.
    pub(crate) alias: Option<String>,
    /// Its portal group.
    pub(crate) portal_group: u16,
    /// Its logical units.
    pub(crate) luns: BTreeMap<u16, LunConfig>,
    /// The initiators that may log in.
    pub(crate) access: Access,
    /// CHAP of its sessions.
    pub(crate) chap: Option<Chap>,
}

/// One LUN as configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LunConfig {
    /// The volume's name.
    pub(crate) volume: String,
    /// Writes through it are rejected.
    pub(crate) read_only: bool,
}

#[cfg(test)]
mod tests;
