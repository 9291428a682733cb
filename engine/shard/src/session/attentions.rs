//! Pending unit attentions (SAM-5 5.14).

use scsi::Sense;
use units::{Mutant, limits};

/// The unit attentions to be reported to a nexus, oldest first (SAM-5 5.14).
#[derive(Debug, Default)]
pub(crate) struct Attentions {
    pending: Vec<Attention>,
}

#[derive(Clone, Copy, Debug)]
struct Attention {
    lun: u16,
    sense: Sense,
}

impl Attentions {
    /// Whether one is pending for a logical unit. Ask [`crate::unit::obstacles::Obstacles`].
    #[inline]
    pub(crate) fn is_pending(&self, lun: u16) -> bool {
        !self.pending.is_empty() && self.pending.iter().any(|a| a.lun == lun)
    }

    /// Adds one for a logical unit, unless it is there already.
    pub(crate) fn raise(&mut self, lun: u16, sense: Sense) {
        if Mutant::AttentionDropped.is_active() {
            return;
        }
        let of_lun = self.pending.iter().filter(|a| a.lun == lun);
        if of_lun.clone().any(|a| a.sense == sense) {
            return;
        }
        if of_lun.count() >= limits::UNIT_ATTENTIONS_MAX {
            // 29h/00h says that any of the others may have happened (SAM-5 5.14.3).
            self.pending.retain(|a| a.lun != lun);
            let sense = Sense::POWER_ON_RESET_OR_BUS_DEVICE_RESET_OCCURRED;
            self.pending.push(Attention { lun, sense });
            return;
        }
        self.pending.push(Attention { lun, sense });
    }

    /// Adds the same one for several logical units.
    pub(crate) fn raise_everywhere(&mut self, luns: impl Iterator<Item = u16>, sense: Sense) {
        for lun in luns {
            self.raise(lun, sense);
        }
    }

    /// Takes the oldest one of a logical unit.
    pub(crate) fn take(&mut self, lun: u16) -> Option<Sense> {
        let place = self.pending.iter().position(|a| a.lun == lun)?;
        Some(self.pending.remove(place).sense)
    }

    /// REPORT LUNS reports what this one was about, on every logical unit (SPC-4 6.33).
    pub(crate) fn clear(&mut self, sense: Sense) {
        self.pending.retain(|a| a.sense != sense);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attentions_come_out_oldest_first_and_only_once() {
        let mut a = Attentions::default();
        a.raise(1, Sense::POWER_ON_RESET_OR_BUS_DEVICE_RESET_OCCURRED);
        a.raise(1, Sense::MODE_PARAMETERS_CHANGED);
        a.raise(1, Sense::POWER_ON_RESET_OR_BUS_DEVICE_RESET_OCCURRED);
        assert_eq!(a.take(0), None);
        assert_eq!(a.take(1), Some(Sense::POWER_ON_RESET_OR_BUS_DEVICE_RESET_OCCURRED));
        assert_eq!(a.take(1), Some(Sense::MODE_PARAMETERS_CHANGED));
        assert_eq!(a.take(1), None);
    }
}
