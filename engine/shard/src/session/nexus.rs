//! The I_T nexus: what reservations and unit attentions belong to.

use std::sync::Arc;
use units::ReactorId;

/// An initiator port joined with a target port (SAM-5 4.7, RFC 7143 4.4.2): InitiatorName and
/// ISID on the one side, target name and portal group tag on the other. It outlives a TCP
/// connection and a TSIH.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Nexus(Arc<NexusName>);

/// The parts of a nexus.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct NexusName {
    /// InitiatorName, in lower case.
    pub(crate) initiator_name: String,
    /// The initiator's part of the session identifier.
    pub(crate) isid: [u8; 6],
    /// TargetName, in lower case.
    pub(crate) target_name: String,
    /// The portal group that the initiator logged in through.
    pub(crate) portal_group_tag: u16,
}

/// A session of a nexus, as the holder of a reservation. A reservation belongs to the nexus, but
/// only the session that has made it ends it by its own end: a later session of the same nexus
/// may have made it anew meanwhile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Holder {
    pub(crate) nexus: Nexus,
    pub(crate) tsih: u16,
}

impl Nexus {
    /// The nexus of these parts.
    pub(crate) fn new(name: NexusName) -> Self {
        Self(Arc::new(name))
    }

    /// The parts.
    pub(crate) fn name(&self) -> &NexusName {
        &self.0
    }

    /// The reactor that keeps the record of this nexus's session.
    pub(crate) fn registrar(&self, reactors: u8) -> ReactorId {
        registrar_of(&self.0.initiator_name, reactors)
    }
}

/// The reactor that keeps the records of an initiator's sessions: one for all of them, because it
/// counts them. A plain sum spreads well enough for something that happens once per login, and it
/// is the same on every core.
pub(crate) fn registrar_of(initiator_name: &str, reactors: u8) -> ReactorId {
    let bytes = initiator_name.bytes();
    let sum = bytes.fold(0_u32, |sum, b| sum.wrapping_mul(31).wrapping_add(u32::from(b)));
    // The remainder is below a u8.
    #[expect(clippy::cast_possible_truncation, reason = "less than `reactors`, a u8")]
    ReactorId((sum % u32::from(reactors.max(1))) as u8)
}
