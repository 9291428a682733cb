//! What may stand between a session and a logical unit, as one word.
//!
//! A command whose word is clear needs no further check of these states. The states themselves are
//! private to this module: whoever adds one (ALUA, a frozen mirror) gives it a bit here, and every
//! command meets it without further code.

use crate::session::Session;
use crate::session::nexus::{Holder, Nexus};
use crate::unit::Unit;
use units::Mutant;
use volume::LunMapping;

/// The obstacles between one session and one of its LUNs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Obstacles(u8);

impl Obstacles {
    /// A unit attention is pending (SAM-5 5.14).
    const ATTENTION: u8 = 1;
    /// Another nexus holds a reservation.
    const RESERVED: u8 = 1 << 1;
    /// The volume has left the catalog.
    const REMOVED: u8 = 1 << 2;
    /// The LUN's mapping allows no writes.
    const READ_ONLY: u8 = 1 << 3;

    /// The word for a LUN of a session. `number` is the LUN's number, `unit` the logical unit that
    /// `mapping` leads to.
    #[inline]
    pub(crate) fn between(
        session: &Session,
        number: u16,
        mapping: LunMapping,
        unit: &Unit,
    ) -> Self {
        let mut word = if mapping.read_only { Self::READ_ONLY } else { 0 };
        if session.attentions.is_pending(number) {
            word |= Self::ATTENTION;
        }
        word |= unit.standing.word_for(session.nexus());
        Self(word)
    }

    /// Whether nothing stands in the way of a READ (`writes` is false) or WRITE.
    #[inline]
    pub(crate) const fn is_clear(self, writes: bool) -> bool {
        // All that concerns writes only is named here; a bit that is not holds up both.
        let word = if writes { self.0 } else { self.0 & !Self::READ_ONLY };
        word == 0
    }

    pub(crate) const fn has_attention(self) -> bool {
        self.0 & Self::ATTENTION != 0
    }

    pub(crate) const fn is_reserved(self) -> bool {
        self.0 & Self::RESERVED != 0
    }

    pub(crate) const fn is_removed(self) -> bool {
        self.0 & Self::REMOVED != 0
    }

    pub(crate) const fn is_read_only(self) -> bool {
        self.0 & Self::READ_ONLY != 0
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
        let mut word = if self.removed { Obstacles::REMOVED } else { 0 };
        if let Some(holder) = &self.reserved_by
            && Some(&holder.nexus) != nexus
            && !Mutant::ReservationIgnored.is_active()
        {
            word |= Obstacles::RESERVED;
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
