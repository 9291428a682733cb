//! The files and devices of served volumes, looked at now and then: somebody may delete or
//! truncate one while it is open, and nobody would know before the next start.

use super::followed::Followed;
use reactor::HeldFile;
use reactor::file::Damage;
use std::collections::BTreeMap;
use std::time::Instant;
use units::VolumeId;
use units::limits::VOLUME_LOOK_INTERVAL;

/// What was found, and when to look again.
#[derive(Debug)]
pub(super) struct Watch {
    /// `None` while a worker looks: a device that hangs holds up one worker only.
    next_at: Option<Instant>,
    damaged: BTreeMap<VolumeId, Damage>,
}

/// What a worker has seen.
pub(super) type Seen = BTreeMap<VolumeId, Damage>;

/// Looks at files. May block.
pub(super) fn look(files: Vec<HeldFile>) -> Seen {
    let damage = |file: HeldFile| match file.damage() {
        Ok(damage) => damage.map(|damage| (file.volume, damage)),
        Err(error) => {
            tracing::debug!(volume = file.volume.0, %error, "cannot look at the file of a volume");
            None
        }
    };
    files.into_iter().filter_map(damage).collect()
}

impl Watch {
    /// Nothing was looked at yet.
    pub(super) fn new(now: Instant) -> Self {
        Self { next_at: Some(now + VOLUME_LOOK_INTERVAL), damaged: BTreeMap::new() }
    }

    /// When [`Self::begin`] has something to do.
    pub(super) const fn deadline(&self) -> Option<Instant> {
        self.next_at
    }

    /// Whether a worker is to look now.
    pub(super) fn begin(&mut self, now: Instant) -> bool {
        self.next_at.take_if(|at| *at <= now).is_some()
    }

    /// A worker has looked. What is new is logged, once.
    pub(super) fn seen(&mut self, mut seen: Seen, followed: &Followed, now: Instant) {
        self.next_at = Some(now + VOLUME_LOOK_INTERVAL);
        // A volume that was deleted meanwhile may well have lost its file.
        seen.retain(|&volume, _| followed.catalog.volume(volume).is_some());
        let before = std::mem::replace(&mut self.damaged, seen);
        for (&volume, damage) in &self.damaged {
            if before.get(&volume) != Some(damage) {
                tracing::warn!("{}", sentence(volume, damage, followed));
            }
        }
    }

    /// What is wrong, for people.
    pub(super) fn warnings(&self, followed: &Followed) -> Vec<String> {
        let served = self.damaged.iter().filter(|(id, _)| followed.catalog.volume(**id).is_some());
        served.map(|(&volume, damage)| sentence(volume, damage, followed)).collect()
    }
}

fn sentence(id: VolumeId, damage: &Damage, followed: &Followed) -> String {
    let mut volumes = followed.volumes.iter();
    let found = volumes.find(|v| v.served.as_ref().is_ok_and(|record| record.id == id));
    let path = found.and_then(|v| v.path.as_ref()).map(|path| path.display().to_string());
    let name = found.map_or_else(String::new, |v| v.config.name.clone());
    format!("volume {name}: {} {damage}", path.unwrap_or_default())
}
