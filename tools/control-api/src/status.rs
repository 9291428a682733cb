//! `status`: configuration and state of the daemon.

use crate::VolumeInfo;
use serde::{Deserialize, Serialize};
use serde_json::Value;

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
    /// The active keys of `[node]`.
    pub settings: Vec<Setting>,
    /// The portals on which the node listens.
    pub portals: Vec<PortalInfo>,
    /// Sessions now.
    pub sessions: u64,
    /// Operations that are under way or wait.
    #[serde(default)]
    pub operations: u64,
    /// The volumes and whether they are served.
    pub volumes: Vec<VolumeInfo>,
    /// Number of active targets.
    pub targets: u64,
    /// Degraded features and volumes with I/O errors, with their cause.
    pub warnings: Vec<String>,
    /// Lines of the daemon's log that did not reach its reader since startup.
    #[serde(default)]
    pub log_lines_dropped: u64,
}

/// One key of the configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Setting {
    /// Its name in the configuration.
    pub key: String,
    /// Its human-readable name.
    pub label: String,
    /// Its value in the configuration; absent if it is not set and has no default.
    pub value: Option<Value>,
    /// Its human-readable value, or the behavior without one.
    pub text: String,
}

/// One portal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortalInfo {
    /// Address and port.
    pub address: String,
    /// The portal group.
    pub portal_group: u16,
}
