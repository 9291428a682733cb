//! What is certain about each logical unit: its write cache, its reservation, its size.

use super::settled::Settled;
use crate::plan::VolumePlan;

/// What is certain about a logical unit.
#[derive(Clone, Copy, Debug)]
pub(crate) struct UnitState {
    /// The write cache is on (WCE).
    pub(crate) write_cache: Settled<bool>,
    /// The initiator that holds a reservation.
    pub(crate) holder: Settled<Option<usize>>,
    /// It is the unit of its LUN.
    pub(crate) mapped: Settled<bool>,
    /// Its size in sectors.
    pub(crate) sectors: Settled<u64>,
    /// The write cache after a reset.
    pub(crate) write_cache_default: bool,
}

impl UnitState {
    pub(crate) const fn new(volume: &VolumePlan) -> Self {
        Self {
            write_cache: Settled::new(volume.volatile),
            holder: Settled::new(None),
            mapped: Settled::new(true),
            sectors: Settled::new(volume.sectors),
            write_cache_default: volume.volatile,
        }
    }
}

/// What was certain when a command was sent, to compare with when it is answered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Look {
    pub(crate) write_cache: Option<(bool, u64)>,
    pub(crate) holder: Option<(Option<usize>, u64)>,
    pub(crate) mapped: Option<(bool, u64)>,
    pub(crate) sectors: Option<(u64, u64)>,
}

impl UnitState {
    pub(crate) fn look(&self) -> Look {
        Look {
            write_cache: self.write_cache.sure(),
            holder: self.holder.sure(),
            mapped: self.mapped.sure(),
            sectors: self.sectors.sure(),
        }
    }

    /// What was certain at an earlier look, and has been so ever since.
    pub(crate) fn since(&self, look: &Look) -> Look {
        Look {
            write_cache: look.write_cache.filter(|(_, e)| self.write_cache.still(*e)),
            holder: look.holder.filter(|(_, e)| self.holder.still(*e)),
            mapped: look.mapped.filter(|(_, e)| self.mapped.still(*e)),
            sectors: look.sectors.filter(|(_, e)| self.sectors.still(*e)),
        }
    }
}
