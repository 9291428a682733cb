//! `target.*` and `lun.*`: what initiators log in to, and what they find there.

use crate::Secret;
use serde::{Deserialize, Serialize};

/// `target.create`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TargetCreate {
    /// Its iSCSI name.
    pub name: String,
    /// Its alias, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alias: Option<String>,
    /// The portal group; 1 where not named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub portal_group: Option<u16>,
    /// The initiators that may log in; any initiator if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub initiators: Option<Vec<String>>,
}

/// `target.set`: change keys of a target. Those that are absent stay as they are. Sessions of
/// initiators that may no longer log in end; CHAP applies to new logins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TargetSet {
    /// Its iSCSI name.
    pub name: String,
    /// Its alias.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alias: Option<Change<String>>,
    /// The initiators that may log in; removed, any initiator may.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub initiators: Option<Change<Vec<String>>>,
    /// What initiators prove to know (CHAP). Mutual CHAP is removed with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chap: Option<Change<Credential>>,
    /// What the target proves to know (mutual CHAP).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mutual_chap: Option<Change<Credential>>,
}

impl TargetSet {
    /// Changes nothing yet.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), alias: None, initiators: None, chap: None, mutual_chap: None }
    }
}

/// The change of a key: `{"set": VALUE}` or `"remove"`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Change<T> {
    /// The key has no value any more.
    Remove,
    /// The key has this value.
    Set(T),
}

/// A CHAP name with its secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Credential {
    /// The name; the present one if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The secret.
    pub secret: Secret,
}

/// `target.delete`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TargetDelete {
    /// Its iSCSI name.
    pub name: String,
}

/// The answer to `target.delete`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetDeleted {
    /// Its iSCSI name.
    pub name: String,
}

/// `target.list`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TargetList {}

/// The answer to `target.list`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Targets {
    /// The targets in the order of the configuration.
    pub targets: Vec<TargetInfo>,
}

/// One target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetInfo {
    /// Its iSCSI name.
    pub name: String,
    /// Its alias.
    pub alias: Option<String>,
    /// The portal group through which it is reached.
    pub portal_group: u16,
    /// The initiators that may log in; every one where absent.
    pub initiators: Option<Vec<String>>,
    /// Initiators must prove who they are (CHAP).
    pub chap: bool,
    /// The target proves who it is, too (mutual CHAP).
    pub mutual_chap: bool,
    /// Its logical units.
    pub luns: Vec<LunInfo>,
}

/// One LUN.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LunInfo {
    /// The LUN.
    pub lun: u16,
    /// The volume behind it.
    pub volume: String,
    /// Writes are refused.
    pub read_only: bool,
    /// The volume is served; otherwise initiators do not see the LUN.
    pub served: bool,
}

/// `lun.map`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LunMap {
    /// The target's iSCSI name.
    pub target: String,
    /// The LUN; the lowest free one where not named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lun: Option<u16>,
    /// The volume.
    pub volume: String,
    /// Writes through this LUN are refused.
    #[serde(default)]
    pub read_only: bool,
}

/// `lun.unmap`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LunUnmap {
    /// The target's iSCSI name.
    pub target: String,
    /// The LUN.
    pub lun: u16,
}
