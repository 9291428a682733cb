//! What the daemon tells of itself: status, volumes, targets, sessions.

use super::{Daemon, sessions};
use crate::greeting::Greeting;
use crate::storage::Volume;
use control_api::{
    LunInfo, PortalInfo, Status, TargetInfo, Targets, VolumeInfo, VolumeState, Volumes,
};
use reactor::ReactorReport;
use units::len_u32;
use volume::Access;

impl Daemon {
    pub(super) fn status(&self, reports: &[&ReactorReport]) -> Status {
        Status {
            version: env!("CARGO_PKG_VERSION").into(),
            pid: std::process::id(),
            uptime_s: self.started_at.elapsed().as_secs(),
            state_dir: self.ground.state.path().display().to_string(),
            config_file: self.followed.loaded.file.display().to_string(),
            config_is_master: self.followed.loaded.is_master,
            config_refused: self.refused.clone(),
            generation: self.followed.catalog.generation(),
            cores: self.cores.iter().map(|&core| len_u32(core)).collect(),
            settings: self.settings.shown(),
            portals: self
                .ground
                .portals
                .iter()
                .map(|p| PortalInfo {
                    address: p.address.to_string(),
                    portal_group: p.portal_group_tag,
                })
                .collect(),
            sessions: sessions::count(reports),
            operations: self.operations.under_way().len() as u64,
            volumes: self.volume_list().volumes,
            targets: self.followed.loaded.config.targets.len() as u64,
            warnings: self.warnings().cloned().collect(),
        }
    }

    /// What is less than it could be.
    pub(super) fn warnings(&self) -> impl Iterator<Item = &String> {
        self.start_warnings.iter().chain(&self.followed.warnings)
    }

    /// What the daemon says when it serves.
    pub(crate) fn greeting(&self, perfctl: &str) -> String {
        let perfctl = if self.settings.control_is_default {
            perfctl.to_owned()
        } else {
            format!("{perfctl} --control {}", self.settings.control.display())
        };
        Greeting {
            state_dir: self.ground.state.path(),
            volumes: &self.volume_list().volumes,
            targets: &self.targets().targets,
            portals: &self.ground.portals,
            perfctl: &perfctl,
        }
        .text()
    }

    pub(super) fn volume_list(&self) -> Volumes {
        Volumes { volumes: self.followed.volumes.iter().map(|v| self.describe(v)).collect() }
    }

    pub(super) fn volume_info(&self, name: &str) -> Option<VolumeInfo> {
        self.followed.volumes.find(name).map(|v| self.describe(v))
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
            luns: self.followed.luns_of(&volume.config.name),
        }
    }

    pub(super) fn targets(&self) -> Targets {
        let names = self.followed.loaded.config.targets.iter().map(|t| &t.name);
        Targets { targets: names.filter_map(|name| self.target_info(name)).collect() }
    }

    pub(super) fn target_info(&self, name: &str) -> Option<TargetInfo> {
        let target = self.followed.target(name)?;
        let luns = target.luns.iter().map(|(&lun, mapping)| LunInfo {
            lun,
            volume: mapping.volume.clone(),
            read_only: mapping.read_only,
            served: self.followed.volumes.find(&mapping.volume).is_some_and(|v| v.served.is_ok()),
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
