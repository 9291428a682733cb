//! The volumes and targets of the configuration in force, as the control interface shows them.

use super::followed::Followed;
use super::retries::{Retries, State};
use crate::storage::Volume;
use control_api::{LunInfo, TargetInfo, Targets, VolumeInfo, VolumeState, Volumes};
use std::time::{Duration, Instant};
use volume::Access;

impl Followed {
    /// All volumes.
    pub(super) fn volume_list(&self, retries: &Retries, now: Instant) -> Volumes {
        let describe = |volume| self.describe(volume, retries, now);
        Volumes { volumes: self.volumes.iter().map(describe).collect() }
    }

    /// The volume of a name.
    pub(super) fn volume_info(
        &self,
        name: &str,
        retries: &Retries,
        now: Instant,
    ) -> Option<VolumeInfo> {
        self.volumes.find(name).map(|volume| self.describe(volume, retries, now))
    }

    fn describe(&self, volume: &Volume, retries: &Retries, now: Instant) -> VolumeInfo {
        let known = volume.known.as_ref();
        let (wwid, size_bytes, block_size, state) = match &volume.served {
            Ok(record) => (
                Some(&record.wwid),
                Some(record.geometry.bytes()),
                record.geometry.block_size,
                VolumeState::Served,
            ),
            Err(_) => (
                known.map(|r| &r.wwid),
                known.map(|r| r.size_bytes),
                known.map_or(volume.config.block_size, |r| r.block_size),
                failed(retries.state(&volume.config.name, now)),
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

fn failed(state: Option<State<'_>>) -> VolumeState {
    let Some(State { reason, since, next }) = state else {
        unreachable!("every volume that is not served is followed as such")
    };
    // The second that has begun, so that 0 means that it is being tried.
    let seconds = |time: Duration| time.as_secs() + u64::from(time.subsec_nanos() > 0);
    VolumeState::Failed {
        reason: reason.to_owned(),
        for_s: since.as_secs(),
        retry_in_s: next.map(seconds),
    }
}
