//! `status`: configuration and state of the daemon.

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
    /// Seconds since startup.
    pub uptime_s: u64,
    /// Its state directory.
    pub state_dir: String,
    /// The active configuration: a file of the administrator, or the catalog in the state
    /// directory that perfctl manages.
    pub config_file: String,
    /// Whether that file is authoritative, so that `perfctl` must not change it.
    pub config_is_master: bool,
    /// The errors of the last rejected reload; empty if it was accepted.
    pub config_refused: Vec<String>,
    /// Number of catalogs since startup.
    pub generation: u64,
    /// The cores of the reactors.
    pub cores: Vec<u32>,
    /// Entries of each ring.
    pub queue_depth: u32,
    /// `busy`, `adaptive` or `interrupt`.
    pub poll: String,
    /// How long a reactor spins before it sleeps, in microseconds.
    pub spin_us: u64,
    /// Size of the kernel's send and receive buffers of each connection in bytes; autotuned if
    /// absent.
    pub socket_buffer_bytes: Option<u32>,
    /// How long the kernel polls network cards before a reactor sleeps, in microseconds; off
    /// if absent.
    pub napi_busy_poll_us: Option<u64>,
    /// The buffer pool of each reactor.
    pub buffers: Vec<BufferClass>,
    /// The portals on which the node listens.
    pub portals: Vec<PortalInfo>,
    /// Sessions now.
    pub sessions: u64,
    /// The volumes and whether they are served.
    pub volumes: Vec<VolumeInfo>,
    /// Number of active targets.
    pub targets: u64,
    /// Degraded features with their cause.
    pub warnings: Vec<String>,
}

/// Buffers of one size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BufferClass {
    /// Payload bytes of each.
    pub bytes: u32,
    /// Number of buffers.
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
