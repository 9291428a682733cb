//! Calls on the daemon as a whole: its configuration and its end.

use serde::{Deserialize, Serialize};

/// `config.apply`: check a configuration and follow it if it is good.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConfigApply {
    /// The file, as an absolute path; without it, the one that the daemon was started with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// Only check it and tell what would change.
    #[serde(default)]
    pub check_only: bool,
}

/// The answer to `config.apply`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigApplied {
    /// What changed (or would change), one sentence each; empty where nothing did.
    pub changes: Vec<String>,
    /// What is worth knowing: keys that take effect at the next start, volumes that failed.
    pub warnings: Vec<String>,
    /// The generation of the catalog that is served now.
    pub generation: u64,
}

/// `shutdown`: end the daemon as SIGTERM does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shutdown {}

/// The answer to `shutdown`, given before the daemon ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShutdownStarted {
    /// Sessions that are asked to log out.
    pub sessions: u64,
}
