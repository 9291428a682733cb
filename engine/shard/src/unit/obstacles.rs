//! What may stand between a session and a logical unit, as one word.
//!
//! A READ or WRITE whose word is clear needs no further check of these states; every other
//! command goes through the obstacles of the word and matches on each kind. A new state (ALUA, a
//! frozen mirror) is a new [`Obstacle`], which does not compile until the general path handles it,
//! and which the early exit of READ and WRITE respects at once.

use crate::session::Session;
use crate::session::nexus::{Holder, Nexus};
use crate::unit::Unit;
use units::Mutant;
use volume::LunMapping;

/// The obstacles between one session and one of its LUNs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Obstacles(u8);

/// One obstacle, in the order in which commands meet them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Obstacle {
    /// A unit attention is pending (SAM-5 5.14).
    Attention,
    /// The volume has left the catalog.
    Removed,
    /// Another nexus holds a reservation.
    Reserved,
    /// The LUN's mapping allows no writes.
    ReadOnly,
}

impl Obstacle {
    const ALL: [Self; 4] = [Self::Attention, Self::Removed, Self::Reserved, Self::ReadOnly];

    const fn bit(self) -> u8 {
        1 << self as u8
    }
}

impl Obstacles {
    /// The word for a LUN of a session. `number` is the LUN's number, `unit` the logical unit that
    /// `mapping` leads to.
    #[inline]
    pub(crate) fn between(
        session: &Session,
        number: u16,
        mapping: LunMapping,
        unit: &Unit,
    ) -> Self {
        let is_read_only = mapping.read_only && !Mutant::ReadOnlyIgnored.is_active();
        let mut word = if is_read_only { Obstacle::ReadOnly.bit() } else { 0 };
        if session.attentions.is_pending(number) {
            word |= Obstacle::Attention.bit();
        }
        word |= unit.standing.word_for(session.nexus());
        Self(word)
    }

    /// Whether nothing stands in the way of a READ (`writes` is false) or WRITE.
    #[inline]
    pub(crate) const fn is_clear(self, writes: bool) -> bool {
        // All that concerns writes only is named here; a bit that is not holds up both.
        let word = if writes { self.0 } else { self.0 & !Obstacle::ReadOnly.bit() };
        word == 0
    }

    /// The obstacles of the word, in the order in which a command meets them. Who goes through them
    /// matches on each kind, so a new one cannot be left out.
    pub(crate) fn in_order(self) -> impl Iterator<Item = Obstacle> {
        let known = Obstacle::ALL.iter().fold(0, |known, obstacle| known | obstacle.bit());
        assert_eq!(self.0 & !known, 0, "an obstacle is missing in Obstacle::ALL");
        Obstacle::ALL.into_iter().filter(move |obstacle| self.0 & obstacle.bit() != 0)
    }
}

/// The states of a logical unit that are obstacles. They can be read through [`Obstacles`] only.
#[derive(Debug, Default)]
pub(crate) struct Standing {
    /// Who holds a reservation by RESERVE (SPC-2 5.5.1).
    reserved_by: Option<Holder>,
    removed: bool,
}

impl Standing {
    #[inline]
    fn word_for(&self, nexus: Option<&Nexus>) -> u8 {
        let mut word = if self.removed { Obstacle::Removed.bit() } else { 0 };
        if let Some(holder) = &self.reserved_by
            && Some(&holder.nexus) != nexus
            && !Mutant::ReservationIgnored.is_active()
        {
            word |= Obstacle::Reserved.bit();
        }
        word
    }

    /// The volume has left the catalog: no new command reaches the logical unit.
    pub(crate) const fn remove(&mut self) {
        self.removed = true;
    }

    /// RESERVE. The home has made sure that nobody else holds a reservation.
    pub(crate) fn reserve(&mut self, by: Holder) {
        assert!(
            self.reserved_by.as_ref().is_none_or(|holder| holder.nexus == by.nexus),
            "the home grants a reservation to one nexus at a time"
        );
        self.reserved_by = Some(by);
    }

    /// RELEASE by a nexus; without effect where it holds no reservation.
    pub(crate) fn release(&mut self, by: &Nexus) {
        self.reserved_by.take_if(|holder| holder.nexus == *by);
    }

    /// The end of a session; without effect where it holds no reservation.
    pub(crate) fn release_of_session(&mut self, session: &Holder) {
        self.reserved_by.take_if(|holder| holder == session);
    }

    /// LOGICAL UNIT RESET (SPC-2 5.5.1).
    pub(crate) fn reset(&mut self) {
        self.reserved_by = None;
    }

    /// Whether RESERVE or RELEASE by `nexus` meets the reservation of another one: for the home,
    /// which decides about reservations.
    pub(crate) fn is_reserved_from(&self, nexus: &Nexus) -> bool {
        self.reserved_by.as_ref().is_some_and(|holder| holder.nexus != *nexus)
    }

    /// Whether a session holds the reservation: for the end of that session.
    pub(crate) fn is_reserved_by(&self, session: &Holder) -> bool {
        self.reserved_by.as_ref() == Some(session)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::parts::{nexus, session, unit};
    use scsi::Sense;
    use units::VolumeId;

    const OPEN: LunMapping = LunMapping { volume: VolumeId(0), read_only: false };

    fn found(word: Obstacles) -> Vec<Obstacle> {
        word.in_order().collect()
    }

    fn holder(name: &str, tsih: u16) -> Holder {
        Holder { nexus: nexus(name), tsih }
    }

    /// A session that has been told of its beginning, and a unit that is free.
    fn free() -> (Session, Unit) {
        let mut session = session("a");
        for lun in [0, 1] {
            while session.attentions.take(lun).is_some() {}
        }
        (session, unit(0))
    }

    #[test]
    fn nothing_stands_between_a_session_and_a_free_unit() {
        let (session, unit) = free();
        let word = Obstacles::between(&session, 0, OPEN, &unit);
        assert!(word.is_clear(false) && word.is_clear(true));
        assert_eq!(found(word), []);
    }

    #[test]
    fn a_lun_that_is_read_only_stops_writes_and_nothing_else() {
        let (session, unit) = free();
        let mapping = LunMapping { read_only: true, ..OPEN };
        let word = Obstacles::between(&session, 0, mapping, &unit);
        assert!(word.is_clear(false) && !word.is_clear(true));
        assert_eq!(found(word), [Obstacle::ReadOnly]);
    }

    #[test]
    fn an_attention_stops_the_commands_of_its_lun() {
        let (mut session, unit) = free();
        session.attentions.raise(0, Sense::MODE_PARAMETERS_CHANGED);
        let word = Obstacles::between(&session, 0, OPEN, &unit);
        assert!(!word.is_clear(false) && !word.is_clear(true));
        assert_eq!(found(word), [Obstacle::Attention]);
        let other = Obstacles::between(&session, 1, OPEN, &unit);
        assert!(other.is_clear(true), "another LUN has none");
    }

    #[test]
    fn a_reservation_stops_every_nexus_but_its_own() {
        let (session, mut unit) = free();
        unit.standing.reserve(holder("b", 2));
        let word = Obstacles::between(&session, 0, OPEN, &unit);
        assert!(!word.is_clear(false) && !word.is_clear(true));
        assert_eq!(found(word), [Obstacle::Reserved]);
        unit.standing.release(&nexus("b"));
        // A later session of the same nexus has another TSIH.
        unit.standing.reserve(holder("a", 9));
        assert!(Obstacles::between(&session, 0, OPEN, &unit).is_clear(true));
    }

    #[test]
    fn a_removed_volume_stops_every_command() {
        let (session, mut unit) = free();
        unit.standing.remove();
        let word = Obstacles::between(&session, 0, OPEN, &unit);
        assert!(!word.is_clear(false) && !word.is_clear(true));
        assert_eq!(found(word), [Obstacle::Removed]);
    }

    #[test]
    fn obstacles_are_met_in_the_order_in_which_commands_are_refused() {
        let (mut session, mut unit) = free();
        session.attentions.raise(0, Sense::MODE_PARAMETERS_CHANGED);
        unit.standing.reserve(holder("b", 2));
        unit.standing.remove();
        let mapping = LunMapping { read_only: true, ..OPEN };
        let word = Obstacles::between(&session, 0, mapping, &unit);
        assert_eq!(
            found(word),
            [Obstacle::Attention, Obstacle::Removed, Obstacle::Reserved, Obstacle::ReadOnly]
        );
    }

    #[test]
    fn a_reservation_ends_only_for_who_made_it() {
        let mut standing = Standing::default();
        standing.reserve(holder("a", 1));
        standing.release(&nexus("b"));
        standing.release_of_session(&holder("a", 2));
        assert!(standing.is_reserved_by(&holder("a", 1)));
        assert!(standing.is_reserved_from(&nexus("b")) && !standing.is_reserved_from(&nexus("a")));
        standing.release_of_session(&holder("a", 1));
        assert!(!standing.is_reserved_from(&nexus("b")));
    }

    #[test]
    fn a_reset_ends_the_reservation_and_does_not_bring_a_volume_back() {
        let (session, mut unit) = free();
        unit.standing.reserve(holder("b", 2));
        unit.standing.remove();
        unit.standing.reset();
        let word = Obstacles::between(&session, 0, OPEN, &unit);
        assert_eq!(found(word), [Obstacle::Removed]);
    }

    #[test]
    #[should_panic(expected = "one nexus at a time")]
    fn a_second_reservation_is_a_mistake_of_the_home() {
        let mut standing = Standing::default();
        standing.reserve(holder("a", 1));
        standing.reserve(holder("b", 2));
    }
}
