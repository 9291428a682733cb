//! The volumes and targets of the configuration in force, as the control interface shows them.

use super::followed::Followed;
use crate::storage::Volume;
use control_api::{LunInfo, TargetInfo, Targets, VolumeInfo, VolumeState, Volumes};
use volume::Access;

impl Followed {
    /// All volumes.
    pub(super) fn volume_list(&self) -> Volumes {
        Volumes { volumes: self.volumes.iter().map(|v| self.describe(v)).collect() }
    }

    /// The volume of a name.
    pub(super) fn volume_info(&self, name: &str) -> Option<VolumeInfo> {
        self.volumes.find(name).map(|v| self.describe(v))
    }

    fn describe(&self, volume: &Volume) -> VolumeInfo {
        let known = volume.known.as_ref();
        let (wwid, size_bytes, block_size, state) = match &volume.served {
            Ok(record) => (
                Some(&record.wwid),
                Some(record.geometry.bytes()),
                record.geometry.block_size,
                VolumeState::Served,
            ),
            Err(reason) => (
                known.map(|r| &r.wwid),
                known.map(|r| r.size_bytes),
                known.map_or(volume.config.block_size, |r| r.block_size),
                VolumeState::Failed { reason: reason.clone() },
            ),
        };
        VolumeInfo {
            name: volume.config.name.clone(),
            kind: volume.config.kind,
            path: volume.path.as_ref().map(|p| p.display().to_string()),
            size_bytes,
            block_size: block_size.bytes(),
            read_only: volume.config.read_only,
            wwid: wwid.map(|w| w.naa.bytes().iter().map(|b| format!("{b:02x}")).collect()),
            serial: wwid.map(|w| w.serial.clone()),
            state,
            luns: self.luns_of(&volume.config.name),
        }
    }

    /// All targets.
    pub(super) fn targets(&self) -> Targets {
        let names = self.loaded.config.targets.iter().map(|t| &t.name);
        Targets { targets: names.filter_map(|name| self.target_info(name)).collect() }
    }

    /// The target of a name.
    pub(super) fn target_info(&self, name: &str) -> Option<TargetInfo> {
        let target = self.target(name)?;
        let luns = target.luns.iter().map(|(&lun, mapping)| LunInfo {
            lun,
            volume: mapping.volume.clone(),
            read_only: mapping.read_only,
            served: self.volumes.find(&mapping.volume).is_some_and(|v| v.served.is_ok()),
        });
        Some(TargetInfo {
            name: target.name.clone(),
            alias: target.alias.clone(),
            portal_group: target.portal_group,
            initiators: match &target.access {
                Access::Any => None,
                Access::Initiators(names) => Some(names.clone()),
            },
            chap: target.chap.is_some(),
            mutual_chap: target.chap.as_ref().is_some_and(|c| c.target.is_some()),
            luns: luns.collect(),
        })
    }
}
