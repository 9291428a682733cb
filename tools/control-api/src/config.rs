//! Methods for the daemon as a whole: configuration and shutdown.

use crate::SessionInfo;
use serde::{Deserialize, Serialize};

/// `config.apply`: check a configuration and apply it if it is valid.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConfigApply {
    /// The file, as an absolute path; without it, the one that the daemon was started with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// Only check it and return what would change.
    #[serde(default)]
    pub check_only: bool,
    /// Apply it even if it has no volumes and no targets, and so removes all of them.
    #[serde(default, skip_serializing_if = "is_false")]
    pub force: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
const fn is_false(value: &bool) -> bool {
    !*value
}

/// The answer to `config.apply`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigApplied {
    /// The changes, applied or only checked, one line each.
    pub changes: Vec<String>,
    /// The sessions that would end, if it was only checked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ending_sessions: Vec<SessionInfo>,
    /// Warnings: keys that take effect after a restart, volumes that failed.
    pub warnings: Vec<String>,
    /// The generation of the active catalog.
    pub generation: u64,
}

/// `shutdown`: graceful shutdown, as with SIGTERM.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shutdown {}

/// The answer to `shutdown`, given before the daemon ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShutdownStarted {
    /// Sessions that are asked to log out.
    pub sessions: u64,
}
