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
    found: Seen,
}

/// What a worker has seen.
pub(super) type Seen = BTreeMap<VolumeId, Findings>;

/// What is wrong with the file or device of a volume.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Findings {
    damage: Option<Damage>,
    has_lost_writes: bool,
}

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
    let findings = |file: HeldFile| {
        let damage = file.damage(path(file.volume)).unwrap_or_else(|error| {
            tracing::debug!(volume = file.volume.0, %error, "cannot look at the file of a volume");
            None
        });
        let findings = Findings { damage, has_lost_writes: file.has_lost_writes() };
        (findings != Findings::default()).then_some((file.volume, findings))
    };
    files.into_iter().filter_map(findings).collect()
}

impl Watch {
    /// Nothing was looked at yet.
    pub(super) fn new(now: Instant) -> Self {
        Self { next_at: Some(now), found: Seen::new() }
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
        for (&volume, before) in &self.found {
            let Some(before) = before.damage else { continue };
            let now = seen.get(&volume).and_then(|findings| findings.damage);
            if let Some(damage) = lasting(before, now) {
                seen.entry(volume).or_default().damage = Some(damage);
            }
        }
        // A volume that was deleted meanwhile may well have lost its file.
        seen.retain(|&volume, _| followed.catalog.volume(volume).is_some());
        let before = std::mem::replace(&mut self.found, seen);
        for (volume, findings) in &self.found {
            let known = before.get(volume).copied().unwrap_or_default();
            for warning in findings.without(known).sentences(*volume, followed) {
                tracing::warn!("{warning}");
            }
        }
    }

    /// What is wrong, for people.
    pub(super) fn warnings(&self, followed: &Followed) -> Vec<String> {
        let served = self.found.iter().filter(|(id, _)| followed.catalog.volume(**id).is_some());
        served.flat_map(|(&volume, findings)| findings.sentences(volume, followed)).collect()
    }
}

/// What is wrong after two looks. A file grows back when a host writes its last block, and what is
/// before that block is lost all the same: that stays until the volume is opened again.
fn lasting(before: Damage, now: Option<Damage>) -> Option<Damage> {
    let Damage::Truncated { size: least } = before else { return now };
    match now {
        Some(Damage::Truncated { size }) => Some(Damage::Truncated { size: size.min(least) }),
        Some(Damage::Deleted | Damage::Moved | Damage::Replaced) => now,
        Some(Damage::Grown { .. }) | None => Some(before),
    }
}

impl Findings {
    /// What was not known before.
    fn without(self, known: Self) -> Self {
        Self {
            damage: self.damage.filter(|_| self.damage != known.damage),
            has_lost_writes: self.has_lost_writes && !known.has_lost_writes,
        }
    }

    fn sentences(self, id: VolumeId, followed: &Followed) -> Vec<String> {
        let mut volumes = followed.volumes.iter();
        let found = volumes.find(|v| v.served.as_ref().is_ok_and(|record| record.id == id));
        let path = found.and_then(|v| v.path.as_ref()).map(|path| path.display().to_string());
        let (path, name) = (path.unwrap_or_default(), found.map_or("", |v| &v.config.name));
        let damage = self.damage.map(|damage| format!("volume {name}: {path} {damage}"));
        let lost = self.has_lost_writes.then(|| {
            format!(
                "volume {name}: a flush of {path} failed, so that writes which were answered \
                 before may be lost. Flushes and durable writes of the volume fail until polluxd \
                 is restarted; check the disk first"
            )
        });
        damage.into_iter().chain(lost).collect()
    }
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
        let grown = Damage::Grown { size: 16_384, served: 8192 };
        assert_eq!(lasting(cut(4096), Some(grown)), Some(cut(4096)));
        assert_eq!(lasting(grown, None), None);
        assert_eq!(lasting(cut(4096), Some(Damage::Deleted)), Some(Damage::Deleted));
        assert_eq!(lasting(Damage::Moved, None), None);
    }
}
