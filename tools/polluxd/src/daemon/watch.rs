//! The files and devices of served volumes, looked at now and then: somebody may delete or
//! truncate one while it is open, and nobody would know before the next start.

use super::followed::Followed;
use reactor::HeldFile;
use reactor::file::Damage;
use std::collections::BTreeMap;
use std::path::PathBuf;
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

/// Where the files of volumes are.
pub(super) type Paths = BTreeMap<VolumeId, PathBuf>;

/// Where the files of the served volumes are.
pub(super) fn paths(followed: &Followed) -> Paths {
    let volumes = followed.volumes.iter();
    volumes.filter_map(|v| Some((v.served.as_ref().ok()?.id, v.path.clone()?))).collect()
}

/// Looks at files, which were opened at these paths. May block.
pub(super) fn look(files: Vec<HeldFile>, paths: &Paths) -> Seen {
    let path = |volume| paths.get(&volume).map(PathBuf::as_path);
    let damage = |file: HeldFile| match file.damage(path(file.volume)) {
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
        for (&volume, before) in &self.damaged {
            let now = seen.remove(&volume);
            seen.extend(lasting(*before, now).map(|damage| (volume, damage)));
        }
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

/// What is wrong after two looks. A file grows back when a host writes its last block, and what is
/// before that block is lost all the same: that stays until the volume is opened again.
fn lasting(before: Damage, now: Option<Damage>) -> Option<Damage> {
    let Damage::Truncated { size: least } = before else { return now };
    match now {
        Some(Damage::Truncated { size }) => Some(Damage::Truncated { size: size.min(least) }),
        Some(Damage::Deleted | Damage::Moved | Damage::Replaced) => now,
        None => Some(before),
    }
}

fn sentence(id: VolumeId, damage: &Damage, followed: &Followed) -> String {
    let mut volumes = followed.volumes.iter();
    let found = volumes.find(|v| v.served.as_ref().is_ok_and(|record| record.id == id));
    let path = found.and_then(|v| v.path.as_ref()).map(|path| path.display().to_string());
    let name = found.map_or_else(String::new, |v| v.config.name.clone());
    format!("volume {name}: {} {damage}", path.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The file had its size back, full of zeros, and nobody was warned any more.
    #[test]
    fn a_truncation_lasts_when_the_file_grows_again() {
        let cut = |size| Damage::Truncated { size };
        assert_eq!(lasting(cut(4096), None), Some(cut(4096)));
        assert_eq!(lasting(cut(4096), Some(cut(8192))), Some(cut(4096)));
        assert_eq!(lasting(cut(4096), Some(cut(512))), Some(cut(512)));
        assert_eq!(lasting(cut(4096), Some(Damage::Deleted)), Some(Damage::Deleted));
        assert_eq!(lasting(Damage::Moved, None), None);
    }
}
