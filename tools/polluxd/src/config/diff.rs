//! The difference of two configurations: the changes that turn one into the other.

use super::key::Applies;
use super::keys::NODE_KEYS;
use super::objects::{TARGET_KEYS, VOLUME_KEYS, chap_text};
use super::{Config, TargetConfig, VolumeConfig};
use std::fmt;
use volume::{Chap, ChapSecret, Portal};

/// The value of a key before and after, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Values {
    old: String,
    new: String,
}

impl fmt::Display for Values {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.old == self.new {
            // Of CHAP, only the names are shown.
            return f.write_str("new secret");
        }
        write!(f, "{} -> {}", self.old, self.new)
    }
}

/// One change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// CHAP of discovery sessions.
    Discovery { key: &'static str, values: Values },
    /// A key of `[node]`.
    Node { key: &'static str, applies: Applies, values: Values },
    /// A portal is new.
    PortalAdded(Portal),
    /// A portal is gone.
    PortalRemoved(Portal),
    /// A target is new.
    TargetAdded(String),
    /// A key of a target.
    TargetChanged { name: String, key: &'static str, values: Values },
    /// A target is gone.
    TargetRemoved(String),
    /// A volume is new.
    VolumeAdded(String),
    /// A key of a volume.
    VolumeChanged { name: String, key: &'static str, values: Values },
    /// A volume is gone.
    VolumeRemoved(String),
}

impl Change {
    /// Whether the change takes effect only when the daemon starts again.
    pub(crate) const fn needs_restart(&self) -> bool {
        match self {
            Self::Node { applies, .. } => matches!(applies, Applies::AtRestart),
            // Listening sockets are opened once.
            Self::PortalAdded(_) | Self::PortalRemoved(_) => true,
            // The table of volumes warns: a volume that is not served is opened anew at once.
            Self::VolumeChanged { .. } => false,
            Self::Discovery { .. }
            | Self::TargetAdded(_)
            | Self::TargetChanged { .. }
            | Self::TargetRemoved(_)
            | Self::VolumeAdded(_)
            | Self::VolumeRemoved(_) => false,
        }
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Discovery { key, values } => write!(f, "discovery.{key}: {values}"),
            Self::Node { key, values, .. } => write!(f, "node.{key}: {values}"),
            Self::PortalAdded(p) => {
                write!(f, "portal {} of group {} added", p.address, p.portal_group_tag)
            }
            Self::PortalRemoved(p) => {
                write!(f, "portal {} of group {} removed", p.address, p.portal_group_tag)
            }
            Self::TargetAdded(name) => write!(f, "target {name} added"),
            Self::TargetChanged { name, key, values } => {
                write!(f, "target {name}: {key}: {values}")
            }
            Self::TargetRemoved(name) => write!(f, "target {name} removed"),
            Self::VolumeAdded(name) => write!(f, "volume {name} added"),
            Self::VolumeChanged { name, key, values } => {
                write!(f, "volume {name}: {key}: {values}")
            }
            Self::VolumeRemoved(name) => write!(f, "volume {name} removed"),
        }
    }
}

/// The changes that turn `old` into `new`: node, portals, volumes, targets, in this order.
pub(crate) fn difference(old: &Config, new: &Config) -> Vec<Change> {
    let mut changes = node_difference(old, new);
    let initiator = |chap: &Option<Chap>| chap.as_ref().map(|chap| chap.initiator.clone());
    let target = |chap: &Option<Chap>| chap.as_ref().and_then(|chap| chap.target.clone());
    let (before, after) = (&old.discovery_chap, &new.discovery_chap);
    changes.extend(discovery_change("chap", initiator(before), initiator(after)));
    changes.extend(discovery_change("mutual_chap", target(before), target(after)));
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

/// The changes of the node as a whole: its keys and its portals.
pub(crate) fn node_difference(old: &Config, new: &Config) -> Vec<Change> {
    let changed = NODE_KEYS.iter().filter(|key| (key.differs)(&old.node, &new.node));
    let mut changes: Vec<_> = changed
        .map(|key| {
            let values = Values { old: key.text(&old.node), new: key.text(&new.node) };
            Change::Node { key: key.name, applies: key.applies, values }
        })
        .collect();
    let gone = old.portals.iter().filter(|p| !new.portals.contains(p));
    changes.extend(gone.map(|p| Change::PortalRemoved(*p)));
    let added = new.portals.iter().filter(|p| !old.portals.contains(p));
    changes.extend(added.map(|p| Change::PortalAdded(*p)));
    changes
}

fn discovery_change(
    key: &'static str,
    old: Option<ChapSecret>,
    new: Option<ChapSecret>,
) -> Option<Change> {
    (old != new).then(|| {
        let values = Values { old: chap_text(old.as_ref()), new: chap_text(new.as_ref()) };
        Change::Discovery { key, values }
    })
}

fn volume_changes(old: &VolumeConfig, new: &VolumeConfig) -> impl Iterator<Item = Change> {
    let changed = VOLUME_KEYS.iter().filter(|key| (key.differs)(old, new));
    changed.map(|key| {
        let values = Values { old: (key.shown)(old), new: (key.shown)(new) };
        Change::VolumeChanged { name: new.name.clone(), key: key.name, values }
    })
}

fn target_changes(old: &TargetConfig, new: &TargetConfig) -> impl Iterator<Item = Change> {
    let changed = TARGET_KEYS.iter().filter(|key| (key.differs)(old, new));
    changed.map(|key| {
        let values = Values { old: (key.shown)(old), new: (key.shown)(new) };
        Change::TargetChanged { name: new.name.clone(), key: key.name, values }
    })
}
