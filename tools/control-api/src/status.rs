//! `status`: how the daemon runs.

use crate::VolumeInfo;
use serde::{Deserialize, Serialize};

/// `status`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StatusQuery {}

/// The answer to `status`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// The daemon's version.
    pub version: String,
    /// Its process id.
    pub pid: u32,
    /// Seconds since it was ready.
    pub uptime_s: u64,
    /// Its state directory.
    pub state_dir: String,
    /// The configuration that it follows: a file of the administrator, or its own catalog in
    /// the state directory.
    pub config_file: String,
    /// Whether that file is the administrator's, so that `perfctl` must not change it.
    pub config_is_master: bool,
    /// Why the last reload was refused, if it was.
    pub config_refused: Vec<String>,
    /// Counts the catalogs since the start.
    pub generation: u64,
    /// The cores of the reactors.
    pub cores: Vec<u32>,
    /// Entries of each ring.
    pub queue_depth: u32,
    /// `busy`, `adaptive` or `interrupt`.
    pub poll: String,
    /// How long a reactor spins before it sleeps, in microseconds.
    pub spin_us: u64,
    /// Bytes of the kernel's send and receive buffers of each connection; it adapts them by
    /// itself where absent.
    pub socket_buffer_bytes: Option<u32>,
    /// How long the kernel polls network cards before a reactor sleeps, in microseconds; not at
    /// all where absent.
    pub napi_busy_poll_us: Option<u64>,
    /// How each reactor's pool is cut.
    pub buffers: Vec<BufferClass>,
    /// Where the node listens.
    pub portals: Vec<PortalInfo>,
    /// Sessions now.
    pub sessions: u64,
    /// Operations that are under way or wait.
    #[serde(default)]
    pub operations: u64,
    /// The volumes and whether they are served.
    pub volumes: Vec<VolumeInfo>,
    /// Targets that are served.
    pub targets: u64,
    /// What is slower or less than it could be, and why.
    pub warnings: Vec<String>,
}

/// Buffers of one size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BufferClass {
    /// Payload bytes of each.
    pub bytes: u32,
    /// How many.
    pub count: u32,
}

/// One portal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortalInfo {
    /// Address and port.
    pub address: String,
    /// The portal group.
    pub portal_group: u16,
}
