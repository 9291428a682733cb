//! The unit attentions that a session must be told of: the first command to each logical unit
//! after the login or a reset must report one (SAM-5 5.14).

use crate::ledger::Tick;

/// The unit attentions of a session, by logical unit.
#[derive(Debug, Default)]
pub(super) struct Attentions {
    units: Vec<Unit>,
}

#[derive(Clone, Copy, Debug)]
struct Unit {
    /// One is pending for certain.
    is_due: bool,
    /// When the last command reached the target.
    last_command: Tick,
}

impl Attentions {
    /// The session begins: every logical unit has one.
    pub(super) fn begin(&mut self, units: usize) {
        self.units = vec![Unit { is_due: true, last_command: 0 }; units];
    }

    /// A command has reached the target; returns whether it must report one.
    pub(super) fn command_arrives(&mut self, unit: usize, cdb: &[u8; 16], now: Tick) -> bool {
        let Some(unit) = self.units.get_mut(unit) else { return false };
        unit.last_command = now;
        match cdb[0] {
            INQUIRY | REPORT_LUNS => false,
            REQUEST_SENSE => {
                // It reports it as its data.
                unit.is_due = false;
                false
            }
            _ => std::mem::take(&mut unit.is_due),
        }
    }

    /// A reset that reached the target at `since` is done.
    pub(super) fn reset(&mut self, unit: usize, since: Tick) {
        if let Some(unit) = self.units.get_mut(unit) {
            // A command that came meanwhile may have reported it.
            unit.is_due |= unit.last_command < since;
        }
    }

    /// Nobody knows what is pending any more.
    pub(super) fn lose_track(&mut self) {
        self.units.clear();
    }
}

const REQUEST_SENSE: u8 = 0x03;
const INQUIRY: u8 = 0x12;
const REPORT_LUNS: u8 = 0xa0;

#[cfg(test)]
mod tests {
    use super::*;

    fn cdb(code: u8) -> [u8; 16] {
        let mut cdb = [0; 16];
        cdb[0] = code;
        cdb
    }

    #[test]
    fn the_first_command_reports_it_and_inquiry_does_not() {
        let mut attentions = Attentions::default();
        attentions.begin(2);
        assert!(!attentions.command_arrives(0, &cdb(INQUIRY), 1));
        assert!(attentions.command_arrives(0, &cdb(0x28), 2));
        assert!(!attentions.command_arrives(0, &cdb(0x28), 3));
        assert!(attentions.command_arrives(1, &cdb(0x28), 4));
    }

    #[test]
    fn a_command_beside_a_reset_may_have_reported_it() {
        let mut attentions = Attentions::default();
        attentions.begin(1);
        assert!(attentions.command_arrives(0, &cdb(0x28), 5));
        attentions.reset(0, 4);
        assert!(!attentions.command_arrives(0, &cdb(0x28), 6));
        attentions.reset(0, 7);
        assert!(attentions.command_arrives(0, &cdb(0x28), 8));
    }
}
