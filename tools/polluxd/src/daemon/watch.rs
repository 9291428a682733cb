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

/// Looks at files. May block.
pub(super) fn look(files: Vec<HeldFile>) -> Seen {
    let findings = |file: HeldFile| {
        let damage = file.damage().unwrap_or_else(|error| {
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
