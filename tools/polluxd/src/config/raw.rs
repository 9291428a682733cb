//! The configuration as it is written: [`super::shape`] reads it and checks its shape, its values
//! are not checked yet.

use super::key::Key;
use super::keys::{NODE_KEYS, NodeConfig};
use super::unplaced;
use control_api::VolumeKind;
use serde::{Serialize, Serializer};
use std::collections::BTreeMap;
use toml::{Spanned, Value};

/// A whole file.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct RawConfig {
    #[serde(skip_serializing_if = "RawNode::is_empty")]
    pub(crate) node: RawNode,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) discovery: Option<RawDiscovery>,
    #[serde(rename = "portal", skip_serializing_if = "Vec::is_empty")]
    pub(crate) portals: Vec<RawPortal>,
    #[serde(rename = "volume", skip_serializing_if = "Vec::is_empty")]
    pub(crate) volumes: Vec<RawVolume>,
    #[serde(rename = "target", skip_serializing_if = "Vec::is_empty")]
    pub(crate) targets: Vec<RawTarget>,
}

/// `[node]`: what is set, key by key; [`super::keys`] knows which keys there are.
#[derive(Clone, Debug, Default)]
pub(crate) struct RawNode(BTreeMap<Spanned<String>, Spanned<Value>>);

impl RawNode {
    /// The keys that have a value in `node`.
    pub(super) fn of(node: &NodeConfig) -> Self {
        let entry = |key: &Key| Some((unplaced(key.name.to_owned()), unplaced(key.written(node)?)));
        Self(NODE_KEYS.iter().filter_map(entry).collect())
    }

    /// Sets a key.
    pub(super) fn insert(&mut self, key: Spanned<String>, value: Spanned<Value>) {
        self.0.insert(key, value);
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&Spanned<String>, &Spanned<Value>)> {
        self.0.iter()
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

// In the order of the table, not of the alphabet.
impl Serialize for RawNode {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let entry = |key: &Key| {
            let (_, value) = self.0.iter().find(|(name, _)| name.get_ref() == key.name)?;
            Some((key.name, value.get_ref()))
        };
        serializer.collect_map(NODE_KEYS.iter().filter_map(entry))
    }
}

/// `[discovery]`
#[derive(Clone, Debug, Serialize)]
pub(crate) struct RawDiscovery {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) chap: Option<RawCredential>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) mutual_chap: Option<RawCredential>,
}

/// A CHAP name and the file of its secret. The configuration itself never holds a secret.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct RawCredential {
    pub(crate) name: Spanned<String>,
    pub(crate) secret_file: Spanned<String>,
}

/// `[[portal]]`
#[derive(Clone, Debug, Serialize)]
pub(crate) struct RawPortal {
    pub(crate) address: Spanned<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) group: Option<Spanned<u16>>,
}

/// `[[volume]]`
#[derive(Clone, Debug, Serialize)]
pub(crate) struct RawVolume {
    pub(crate) name: Spanned<String>,
    pub(crate) kind: Spanned<VolumeKind>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) path: Option<Spanned<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) size: Option<Spanned<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) block_size: Option<Spanned<u32>>,
    #[serde(skip_serializing_if = "is_false")]
    pub(crate) read_only: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) write_cache: Option<Spanned<bool>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) adopt: Option<Spanned<bool>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) whole_blocks: Option<Spanned<bool>>,
}

impl RawVolume {
    /// A volume of which only this much is given.
    pub(crate) fn new(name: impl Into<String>, kind: VolumeKind) -> Self {
        Self {
            name: unplaced(name.into()),
            kind: unplaced(kind),
            path: None,
            size: None,
            block_size: None,
            read_only: false,
            write_cache: None,
            adopt: None,
            whole_blocks: None,
        }
    }
}

/// `[[target]]`
#[derive(Clone, Debug, Serialize)]
pub(crate) struct RawTarget {
    pub(crate) name: Spanned<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) alias: Option<Spanned<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) portal_group: Option<Spanned<u16>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) initiators: Option<Spanned<Vec<Spanned<String>>>>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) luns: BTreeMap<Spanned<String>, Spanned<RawLun>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) chap: Option<RawCredential>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) mutual_chap: Option<RawCredential>,
}

impl RawTarget {
    /// A target of which only the name is given.
    pub(crate) fn new(name: impl Into<String>) -> Self {
        Self {
            name: unplaced(name.into()),
            alias: None,
            portal_group: None,
            initiators: None,
            luns: BTreeMap::new(),
            chap: None,
            mutual_chap: None,
        }
    }
}

/// A LUN: the name of its volume, or a table with more.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub(crate) enum RawLun {
    Volume(String),
    Table(RawLunTable),
}

/// A LUN as a table.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct RawLunTable {
    pub(crate) volume: String,
    #[serde(skip_serializing_if = "is_false")]
    pub(crate) read_only: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
const fn is_false(value: &bool) -> bool {
    !*value
}
