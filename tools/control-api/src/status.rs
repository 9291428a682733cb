//! `status`: how the daemon runs.

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
    /// The keys of `[node]` with which it runs.
    pub settings: Vec<Setting>,
    /// Where the node listens.
    pub portals: Vec<PortalInfo>,
    /// Sessions now.
    pub sessions: u64,
    /// The volumes and whether they are served.
    pub volumes: Vec<VolumeInfo>,
    /// Targets that are served.
    pub targets: u64,
    /// What is slower or less than it could be, and why.
    pub warnings: Vec<String>,
}

/// One key of the configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Setting {
    /// Its name in the configuration.
    pub key: String,
    /// Its name for people.
    pub label: String,
    /// Its value in the configuration; absent where it is not given and has no default.
    pub value: Option<Value>,
    /// Its value for people, or what happens without one.
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
