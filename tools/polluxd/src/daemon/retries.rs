//! Volumes that are not served: since when, why, and when each is tried again. A device may be
//! attached later, a file system mounted, a lock released; nobody should have to ask for it.

use crate::config::VolumeConfig;
use crate::state::StateDir;
use crate::storage::{NotServed, Outcome, Retry, VolumeFault, VolumeTable, path_of};
use control_api::VolumeKind;
use std::collections::BTreeMap;
use std::time::{Duration, Instant, SystemTime};
use units::limits::{OPEN_RETRIES_AT_ONCE_MAX, OPEN_RETRY_INTERVAL};

/// The volumes that are not served, by name.
#[derive(Debug, Default)]
pub(super) struct Retries {
    volumes: BTreeMap<String, Waiting>,
}

/// A volume that is not served.
#[derive(Debug)]
struct Waiting {
    since: Instant,
    /// What the table of volumes says, which learns only of the attempt that succeeds.
    in_table: NotServed,
    /// What the last attempt met.
    last: NotServed,
    next: Next,
    /// Its file, as the last attempt found it.
    seen: Option<Look>,
}

/// When a volume is tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    At(Instant),
    /// It is being opened since the start, by an operation of its own.
    BeingOpened,
    Never,
    /// It is being tried.
    Now,
}

/// What a file looks like from outside. One that is being written looks different each time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Look {
    bytes: u64,
    modified: Option<SystemTime>,
}

/// What an attempt has to know of those before it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Before {
    /// The file may be there in part: it is opened when it looks as it did.
    must_settle: bool,
    seen: Option<Look>,
}

/// A volume that is not served, for `status`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct State<'a> {
    pub(super) reason: &'a str,
    pub(super) since: Duration,
    /// How long until it is tried again, if it is.
    pub(super) next: Option<Duration>,
}

impl Retries {
    /// Takes in what has become of all volumes.
    pub(super) fn follow(&mut self, table: &VolumeTable, now: Instant) {
        let mut before = std::mem::take(&mut self.volumes);
        for (name, in_table) in table.not_served() {
            let known = before.remove(name);
            let waiting = match known {
                Some(known) if known.in_table == *in_table => known,
                known => Waiting::new(known.map_or(now, |known| known.since), in_table, now),
            };
            self.volumes.insert(name.to_owned(), waiting);
        }
    }

    /// The volumes that are to be tried now: as many as may be at once. Of each, the end of the
    /// attempt is noted by [`Self::failed`], by [`Self::put_off`] or by [`Self::follow`].
    pub(super) fn begin_due(&mut self, now: Instant) -> Vec<String> {
        let under_way = self.volumes.values().filter(|v| v.next == Next::Now).count();
        let room = OPEN_RETRIES_AT_ONCE_MAX.saturating_sub(under_way);
        let due = self.volumes.iter_mut().filter(|(_, v)| v.is_due(now));
        let begun = due.take(room).map(|(name, volume)| {
            volume.next = Next::Now;
            name.clone()
        });
        begun.collect()
    }

    /// When [`Self::begin_due`] has something to do.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let under_way = self.volumes.values().filter(|v| v.next == Next::Now).count();
        if under_way >= OPEN_RETRIES_AT_ONCE_MAX {
            // The end of one of them is an event.
            return None;
        }
        self.volumes.values().filter_map(Waiting::next_at).min()
    }

    /// What an attempt has to know.
    pub(super) fn before(&self, name: &str) -> Before {
        let waiting = self.volumes.get(name);
        Before {
            must_settle: waiting.is_some_and(|v| v.last.retry == Retry::WhenSettled),
            seen: waiting.and_then(|v| v.seen),
        }
    }

    /// An attempt has failed.
    pub(super) fn failed(&mut self, name: &str, why: NotServed, seen: Option<Look>, now: Instant) {
        // It is served or gone where the configuration was applied meanwhile.
        let Some(waiting) = self.volumes.get_mut(name) else { return };
        waiting.seen = seen;
        waiting.next = Next::after(why.retry, now);
        waiting.last = why;
    }

    /// An attempt did not come about.
    pub(super) fn put_off(&mut self, name: &str, now: Instant) {
        // As above.
        let Some(waiting) = self.volumes.get_mut(name) else { return };
        waiting.next = Next::after(waiting.last.retry, now);
    }

    /// A volume that is not served.
    pub(super) fn state(&self, name: &str, now: Instant) -> Option<State<'_>> {
        let Waiting { since, last, next, .. } = self.volumes.get(name)?;
        Some(State {
            reason: &last.reason,
            since: now.saturating_duration_since(*since),
            next: match next {
                Next::At(at) => Some(at.saturating_duration_since(now)),
                Next::Never => None,
                Next::BeingOpened | Next::Now => Some(Duration::ZERO),
            },
        })
    }

    /// All volumes that are not served, with the reason that the last attempt met.
    pub(super) fn reasons(&self) -> impl Iterator<Item = (&str, &NotServed)> {
        self.volumes.iter().map(|(name, waiting)| (&**name, &waiting.last))
    }
}

impl Waiting {
    fn new(since: Instant, in_table: &NotServed, now: Instant) -> Self {
        let next = Next::after(in_table.retry, now);
        Self { since, in_table: in_table.clone(), last: in_table.clone(), next, seen: None }
    }

    const fn next_at(&self) -> Option<Instant> {
        match self.next {
            Next::At(at) => Some(at),
            Next::BeingOpened | Next::Never | Next::Now => None,
        }
    }

    fn is_due(&self, now: Instant) -> bool {
        self.next_at().is_some_and(|at| at <= now)
    }
}

impl Next {
    fn after(retry: Retry, now: Instant) -> Self {
        match retry {
            Retry::BeingOpened => Self::BeingOpened,
            Retry::Never => Self::Never,
            Retry::Soon | Retry::WhenSettled => Self::At(now + OPEN_RETRY_INTERVAL),
        }
    }
}

/// One attempt. May block for long.
pub(super) fn attempt(
    config: &VolumeConfig,
    state: &StateDir,
    before: Before,
    open: impl FnOnce() -> Outcome,
) -> (Outcome, Option<Look>) {
    if config.kind != VolumeKind::File {
        return (open(), None);
    }
    let path = path_of(config, state);
    let seen = Look::at(&path);
    if before.must_settle && seen.is_some() && seen != before.seen {
        return (Outcome::failed(VolumeFault::Unsettled { path }), seen);
    }
    (open(), seen)
}

impl Look {
    fn at(path: &std::path::Path) -> Option<Self> {
        // What cannot be looked at does not open either, which names the reason.
        let metadata = std::fs::metadata(path).ok()?;
        Some(Self { bytes: metadata.len(), modified: metadata.modified().ok() })
    }
}

#[cfg(test)]
mod tests;
