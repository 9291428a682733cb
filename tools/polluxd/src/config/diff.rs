//! What two configurations differ in: the changes that turn one into the other.

use super::{Config, TargetConfig, VolumeConfig};
use std::fmt;
use volume::Portal;

/// One change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// What discovery sessions must prove.
    DiscoveryChap,
    /// A key of `[node]`.
    Node(&'static str),
    /// A portal is new.
    PortalAdded(Portal),
    /// A portal is gone.
    PortalRemoved(Portal),
    /// A target is new.
    TargetAdded(String),
    /// A key of a target.
    TargetChanged { name: String, key: &'static str },
    /// A target is gone.
    TargetRemoved(String),
    /// A volume is new.
    VolumeAdded(String),
    /// A key of a volume.
    VolumeChanged { name: String, key: &'static str },
    /// A volume is gone.
    VolumeRemoved(String),
}

impl Change {
    /// Whether the change takes effect only when the daemon starts again: rings, pools and
    /// listening sockets are made once.
    pub(crate) const fn needs_restart(&self) -> bool {
        match self {
            Self::Node(_) | Self::PortalAdded(_) | Self::PortalRemoved(_) => true,
            Self::DiscoveryChap
            | Self::TargetAdded(_)
            | Self::TargetChanged { .. }
            | Self::TargetRemoved(_)
            | Self::VolumeAdded(_)
            | Self::VolumeChanged { .. }
            | Self::VolumeRemoved(_) => false,
        }
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DiscoveryChap => f.write_str("discovery: CHAP changed"),
            Self::Node(key) => write!(f, "node.{key} changed"),
            Self::PortalAdded(p) => {
                write!(f, "portal {} of group {} added", p.address, p.portal_group_tag)
            }
            Self::PortalRemoved(p) => {
                write!(f, "portal {} of group {} removed", p.address, p.portal_group_tag)
            }
            Self::TargetAdded(name) => write!(f, "target {name} added"),
            Self::TargetChanged { name, key } => write!(f, "target {name}: {key} changed"),
            Self::TargetRemoved(name) => write!(f, "target {name} removed"),
            Self::VolumeAdded(name) => write!(f, "volume {name} added"),
            Self::VolumeChanged { name, key } => write!(f, "volume {name}: {key} changed"),
            Self::VolumeRemoved(name) => write!(f, "volume {name} removed"),
        }
    }
}

/// The changes that turn `old` into `new`: node, portals, volumes, targets, in this order.
pub(crate) fn difference(old: &Config, new: &Config) -> Vec<Change> {
    let mut changes = node_changes(old, new);
    let gone = old.portals.iter().filter(|p| !new.portals.contains(p));
    changes.extend(gone.map(|p| Change::PortalRemoved(*p)));
    let added = new.portals.iter().filter(|p| !old.portals.contains(p));
    changes.extend(added.map(|p| Change::PortalAdded(*p)));
    if old.discovery_chap != new.discovery_chap {
        changes.push(Change::DiscoveryChap);
    }
    for volume in &old.volumes {
        match new.volumes.iter().find(|v| v.name == volume.name) {
            Some(now) => changes.extend(volume_changes(volume, now)),
            None => changes.push(Change::VolumeRemoved(volume.name.clone())),
        }
    }
    let added = new.volumes.iter().filter(|v| old.volumes.iter().all(|o| o.name != v.name));
    changes.extend(added.map(|v| Change::VolumeAdded(v.name.clone())));
    for target in &old.targets {
        match new.targets.iter().find(|t| t.name == target.name) {
            Some(now) => changes.extend(target_changes(target, now)),
            None => changes.push(Change::TargetRemoved(target.name.clone())),
        }
    }
    let added = new.targets.iter().filter(|t| old.targets.iter().all(|o| o.name != t.name));
    changes.extend(added.map(|t| Change::TargetAdded(t.name.clone())));
    changes
}

fn node_changes(old: &Config, new: &Config) -> Vec<Change> {
    let (old, new) = (&old.node, &new.node);
    let keys = [
        ("cores", old.cores != new.cores),
        ("queue_depth", old.queue_depth != new.queue_depth),
        ("poll", old.poll != new.poll),
        ("spin_us", old.spin != new.spin),
        ("buffers", old.buffers != new.buffers),
        ("sleep_on_disk", old.sleep_on_disk != new.sleep_on_disk),
        ("socket_buffer", old.socket_buffer_bytes != new.socket_buffer_bytes),
        ("napi_busy_poll_us", old.napi_busy_poll != new.napi_busy_poll),
        ("napi_prefer_busy_poll", old.napi_prefer_busy_poll != new.napi_prefer_busy_poll),
        ("naa_oui", old.naa_oui != new.naa_oui),
        ("state_dir", old.state_dir != new.state_dir),
        ("control", old.control != new.control),
    ];
    keys.into_iter().filter(|(_, differs)| *differs).map(|(key, _)| Change::Node(key)).collect()
}

fn volume_changes(old: &VolumeConfig, new: &VolumeConfig) -> Vec<Change> {
    let keys = [
        ("kind", old.kind != new.kind),
        ("path", old.path != new.path),
        ("size", old.size_bytes != new.size_bytes),
        ("block_size", old.block_size != new.block_size),
        ("read_only", old.read_only != new.read_only),
        ("write_cache", old.write_cache != new.write_cache),
    ];
    keys.into_iter()
        .filter(|(_, differs)| *differs)
        .map(|(key, _)| Change::VolumeChanged { name: new.name.clone(), key })
        .collect()
}

fn target_changes(old: &TargetConfig, new: &TargetConfig) -> Vec<Change> {
    let keys = [
        ("alias", old.alias != new.alias),
        ("portal_group", old.portal_group != new.portal_group),
        ("luns", old.luns != new.luns),
        ("initiators", old.access != new.access),
        ("chap", old.chap != new.chap),
    ];
    keys.into_iter()
        .filter(|(_, differs)| *differs)
        .map(|(key, _)| Change::TargetChanged { name: new.name.clone(), key })
        .collect()
}
