//! The catalog: one checked, immutable generation of all that a node serves.

use crate::VolumeRecord;
use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use units::{VolumeId, limits};

/// A CHAP name and secret. `Debug` never shows the secret.
#[derive(Clone, PartialEq, Eq)]
pub struct ChapSecret {
    /// The name (CHAP_N).
    pub name: String,
    /// The secret, as bytes.
    pub secret: Vec<u8>,
}

impl fmt::Debug for ChapSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChapSecret").field("name", &self.name).finish_non_exhaustive()
    }
}

/// CHAP as a target asks for it (RFC 7143 12.1.3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chap {
    /// What initiators must prove.
    pub initiator: ChapSecret,
    /// What the target proves to an initiator that asks (mutual CHAP).
    pub target: Option<ChapSecret>,
}

/// Which initiators may log in to a target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Access {
    /// Every initiator.
    Any,
    /// These initiator names, in lower case.
    Initiators(Vec<String>),
}

impl Access {
    /// Whether an initiator may log in. Names are compared in lower case (RFC 7143 4.2.7.2).
    pub fn admits(&self, initiator_name: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Initiators(names) => names.iter().any(|n| n.eq_ignore_ascii_case(initiator_name)),
        }
    }
}

/// One LUN of a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LunMapping {
    /// The volume behind it.
    pub volume: VolumeId,
    /// Writes through this LUN are refused.
    pub read_only: bool,
}

/// One iSCSI target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetRecord {
    /// Its iSCSI name, in lower case.
    pub name: String,
    /// Its alias, for people.
    pub alias: Option<String>,
    /// The portal group through which it is reached.
    pub portal_group_tag: u16,
    /// Its relative target port identifier, unique over both nodes of a pair.
    pub relative_port: u16,
    /// Its logical units by LUN.
    pub luns: BTreeMap<u16, LunMapping>,
    /// Who may log in.
    pub access: Access,
    /// What must be proven to log in.
    pub chap: Option<Chap>,
}

/// An address that initiators connect to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Portal {
    /// Where the node listens; the address may be a wildcard.
    pub address: SocketAddr,
    /// The portal group it belongs to.
    pub portal_group_tag: u16,
}

/// Why a catalog cannot be served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CatalogFault {
    /// Two targets have this name.
    DuplicateTarget(String),
    /// A target maps this LUN to a volume that the catalog does not have.
    MissingVolume {
        /// The target.
        target: String,
        /// The LUN.
        lun: u16,
    },
    /// A target exceeds the limit of logical units.
    TooManyLuns(String),
    /// The limit of targets is exceeded.
    TooManyTargets,
    /// The limit of volumes is exceeded.
    TooManyVolumes,
    /// A volume is not at the place that its id names.
    WrongVolumeId(String),
}

impl fmt::Display for CatalogFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DuplicateTarget(t) => write!(f, "duplicate target name {t}"),
            Self::MissingVolume { target, lun } => {
                write!(f, "LUN {lun} of target {target} refers to a volume that does not exist")
            }
            Self::TooManyLuns(t) => write!(
                f,
                "target {t} has more than {} logical units; spread them over several targets",
                limits::LUNS_PER_TARGET_MAX
            ),
            Self::TooManyTargets => write!(f, "more than {} targets", limits::TARGETS_MAX),
            Self::TooManyVolumes => write!(f, "more than {} volumes", limits::VOLUMES_MAX),
            Self::WrongVolumeId(v) => write!(f, "volume {v} has an inconsistent id"),
        }
    }
}

impl std::error::Error for CatalogFault {}

/// One generation of the volumes, targets and portals of a node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Catalog {
    generation: u64,
    volumes: Vec<Option<VolumeRecord>>,
    targets: Vec<TargetRecord>,
    portals: Vec<Portal>,
    discovery_chap: Option<Chap>,
}

impl Catalog {
    /// A checked catalog. The place of a volume in `volumes` is that of its [`VolumeId`]; a removed
    /// volume leaves its place empty.
    ///
    /// # Errors
    /// The first rule that the parts break.
    pub fn new(
        generation: u64,
        volumes: Vec<Option<VolumeRecord>>,
        targets: Vec<TargetRecord>,
        portals: Vec<Portal>,
    ) -> Result<Self, CatalogFault> {
        if volumes.len() > limits::VOLUMES_MAX {
            return Err(CatalogFault::TooManyVolumes);
        }
        if targets.len() > limits::TARGETS_MAX {
            return Err(CatalogFault::TooManyTargets);
        }
        for (place, volume) in volumes.iter().enumerate() {
            if let Some(v) = volume
                && v.id.place() != place
            {
                return Err(CatalogFault::WrongVolumeId(v.name.clone()));
            }
        }
        let catalog = Self { generation, volumes, targets, portals, discovery_chap: None };
        catalog.check_targets()?;
        Ok(catalog)
    }

    /// The same catalog with CHAP for discovery sessions.
    #[must_use]
    pub fn with_discovery_chap(mut self, chap: Option<Chap>) -> Self {
        self.discovery_chap = chap;
        self
    }

    fn check_targets(&self) -> Result<(), CatalogFault> {
        for (i, target) in self.targets.iter().enumerate() {
            if self.targets[..i].iter().any(|t| t.name.eq_ignore_ascii_case(&target.name)) {
                return Err(CatalogFault::DuplicateTarget(target.name.clone()));
            }
            if target.luns.len() > limits::LUNS_PER_TARGET_MAX {
                return Err(CatalogFault::TooManyLuns(target.name.clone()));
            }
            for (&lun, mapping) in &target.luns {
                if self.volume(mapping.volume).is_none() {
                    return Err(CatalogFault::MissingVolume { target: target.name.clone(), lun });
                }
            }
        }
        Ok(())
    }

    /// Counts the catalogs of a running daemon; a later one has the greater number.
    pub const fn generation(&self) -> u64 {
        self.generation
    }

    /// The volume of an id.
    pub fn volume(&self, id: VolumeId) -> Option<&VolumeRecord> {
        self.volumes.get(id.place())?.as_ref().filter(|volume| volume.id == id)
    }

    /// All volumes.
    pub fn volumes(&self) -> impl Iterator<Item = &VolumeRecord> {
        self.volumes.iter().flatten()
    }

    /// All targets.
    pub fn targets(&self) -> &[TargetRecord] {
        &self.targets
    }

    /// The target of a name, which is compared in lower case.
    pub fn target(&self, name: &str) -> Option<&TargetRecord> {
        self.targets.iter().find(|t| t.name.eq_ignore_ascii_case(name))
    }

    /// All portals.
    pub fn portals(&self) -> &[Portal] {
        &self.portals
    }

    /// The portal group that a connection to this address of the node belongs to: that of the
    /// portal with the address, or of the wildcard portal with its port. `None` where no portal is
    /// known.
    pub fn portal_group_at(&self, local: SocketAddr) -> Option<u16> {
        let ip = local.ip().to_canonical();
        let rank = |portal: &&Portal| {
            let of_portal = portal.address.ip();
            if portal.address.port() != local.port() {
                None
            } else if of_portal.to_canonical() == ip {
                Some(0)
            } else if of_portal.is_unspecified() {
                // IPv6 wildcards take IPv4 connections where nothing else does.
                Some(if of_portal.is_ipv4() == ip.is_ipv4() { 1 } else { 2 })
            } else {
                None
            }
        };
        let nearest = self.portals.iter().filter(|p| rank(p).is_some()).min_by_key(rank)?;
        Some(nearest.portal_group_tag)
    }

    /// What discovery sessions must prove.
    pub const fn discovery_chap(&self) -> Option<&Chap> {
        self.discovery_chap.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(name: &str, luns: &[(u16, u32)]) -> TargetRecord {
        TargetRecord {
            name: name.into(),
            alias: None,
            portal_group_tag: 1,
            relative_port: 1,
            luns: luns
                .iter()
                .map(|&(l, v)| (l, LunMapping { volume: VolumeId(v), read_only: false }))
                .collect(),
            access: Access::Any,
            chap: None,
        }
    }

    #[test]
    fn a_lun_without_its_volume_is_refused() {
        let fault = Catalog::new(1, vec![None], vec![target("iqn.a", &[(3, 0)])], vec![]);
        assert_eq!(fault, Err(CatalogFault::MissingVolume { target: "iqn.a".into(), lun: 3 }));
    }

    #[test]
    fn target_names_differ_only_by_case_are_duplicates() {
        let targets = vec![target("iqn.a", &[]), target("IQN.A", &[])];
        assert_eq!(
            Catalog::new(1, vec![], targets, vec![]),
            Err(CatalogFault::DuplicateTarget("IQN.A".into()))
        );
    }

    #[test]
    fn a_connection_belongs_to_the_group_of_its_portal() {
        let portal = |address: &str, portal_group_tag| Portal {
            address: address.parse().unwrap(),
            portal_group_tag,
        };
        let portals = vec![
            portal("0.0.0.0:3260", 1),
            portal("192.0.2.1:3260", 2),
            portal("[::]:3260", 3),
            portal("[::]:3261", 4),
            portal("[2001:db8::1]:3262", 5),
        ];
        let catalog = Catalog::new(1, vec![], vec![], portals).unwrap();
        let group = |address: &str| catalog.portal_group_at(address.parse().unwrap());
        assert_eq!(group("192.0.2.1:3260"), Some(2));
        assert_eq!(group("[::ffff:192.0.2.1]:3260"), Some(2));
        assert_eq!(group("192.0.2.2:3260"), Some(1));
        assert_eq!(group("[2001:db8::1]:3260"), Some(3));
        assert_eq!(group("192.0.2.1:3261"), Some(4));
        assert_eq!(group("[2001:db8::1]:3262"), Some(5));
        assert_eq!(group("[2001:db8::2]:3262"), None);
    }

    #[test]
    fn a_secret_is_not_shown_in_debug_output() {
        let secret = ChapSecret { name: "alice".into(), secret: b"do not show".to_vec() };
        assert_eq!(format!("{secret:?}"), "ChapSecret { name: \"alice\", .. }");
    }
}
