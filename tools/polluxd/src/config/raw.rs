//! The configuration as it is written: what the TOML may hold, not yet whether it makes sense.

use control_api::VolumeKind;
use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use toml::Spanned;

/// A whole file.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawConfig {
    #[serde(default, skip_serializing_if = "RawNode::is_empty")]
    pub(crate) node: RawNode,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) discovery: Option<RawDiscovery>,
    #[serde(default, rename = "portal", skip_serializing_if = "Vec::is_empty")]
    pub(crate) portals: Vec<RawPortal>,
    #[serde(default, rename = "volume", skip_serializing_if = "Vec::is_empty")]
    pub(crate) volumes: Vec<RawVolume>,
    #[serde(default, rename = "target", skip_serializing_if = "Vec::is_empty")]
    pub(crate) targets: Vec<RawTarget>,
}

/// `[node]`
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawNode {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cores: Option<Spanned<Vec<u16>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) queue_depth: Option<Spanned<u32>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) poll: Option<super::Poll>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) spin_us: Option<Spanned<u32>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) buffers: Option<Spanned<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) sleep_on_disk: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) socket_buffer: Option<Spanned<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) napi_busy_poll_us: Option<Spanned<u32>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) napi_prefer_busy_poll: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) naa_oui: Option<Spanned<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) state_dir: Option<Spanned<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) control: Option<Spanned<String>>,
}

impl RawNode {
    fn is_empty(&self) -> bool {
        let Self {
            cores,
            queue_depth,
            poll,
            spin_us,
            buffers,
            sleep_on_disk,
            socket_buffer,
            napi_busy_poll_us,
            napi_prefer_busy_poll,
            naa_oui,
            state_dir,
            control,
        } = self;
        cores.is_none()
            && queue_depth.is_none()
            && poll.is_none()
            && spin_us.is_none()
            && buffers.is_none()
            && sleep_on_disk.is_none()
            && socket_buffer.is_none()
            && napi_busy_poll_us.is_none()
            && napi_prefer_busy_poll.is_none()
            && naa_oui.is_none()
            && state_dir.is_none()
            && control.is_none()
    }
}

/// `[discovery]`
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawDiscovery {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) chap: Option<RawCredential>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) mutual_chap: Option<RawCredential>,
}

/// A CHAP name and where its secret is kept. Secrets never stand in the configuration itself.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawCredential {
    pub(crate) name: Spanned<String>,
    pub(crate) secret_file: Spanned<String>,
}

/// `[[portal]]`
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawPortal {
    pub(crate) address: Spanned<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) group: Option<Spanned<u16>>,
}

/// `[[volume]]`
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawVolume {
    pub(crate) name: Spanned<String>,
    pub(crate) kind: Spanned<VolumeKind>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) path: Option<Spanned<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) size: Option<Spanned<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) block_size: Option<Spanned<u32>>,
    #[serde(default, skip_serializing_if = "is_false")]
    pub(crate) read_only: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) write_cache: Option<Spanned<bool>>,
}

/// `[[target]]`
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawTarget {
    pub(crate) name: Spanned<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) alias: Option<Spanned<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) portal_group: Option<Spanned<u16>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) initiators: Option<Spanned<Vec<Spanned<String>>>>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) luns: BTreeMap<Spanned<String>, Spanned<RawLun>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) chap: Option<RawCredential>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) mutual_chap: Option<RawCredential>,
}

/// A LUN: the name of its volume, or a table with more.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub(crate) enum RawLun {
    Volume(String),
    Table(RawLunTable),
}

/// A LUN as a table.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawLunTable {
    pub(crate) volume: String,
    #[serde(default, skip_serializing_if = "is_false")]
    pub(crate) read_only: bool,
}

// By hand, because serde's own error for an untagged enum does not say what was expected.
impl<'de> Deserialize<'de> for RawLun {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct LunVisitor;

        impl<'de> Visitor<'de> for LunVisitor {
            type Value = RawLun;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the name of a volume, or { volume = \"name\", read_only = true }")
            }

            fn visit_str<E>(self, name: &str) -> Result<RawLun, E> {
                Ok(RawLun::Volume(name.to_owned()))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<RawLun, A::Error> {
                RawLunTable::deserialize(MapAccessDeserializer::new(map)).map(RawLun::Table)
            }
        }

        deserializer.deserialize_any(LunVisitor)
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
const fn is_false(value: &bool) -> bool {
    !*value
}
