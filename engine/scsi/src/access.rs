//! What a command does to the medium, as the reservation tables see it.

use crate::command::{Command, PowerCondition, StartStopUnit};

/// The class of a command in the tables of persistent reservations (SPC-4 and SBC-3, commands that
/// are allowed in the presence of various reservations).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Allowed under any reservation.
    Always,
    /// Conflicts with the exclusive access types of another nexus.
    Read,
    /// RESERVE and RELEASE, which the presence of registrations governs.
    Reservation,
    /// Conflicts with the write exclusive types too.
    Write,
}

impl Command {
    /// The class for persistent reservations.
    pub fn access(&self) -> Access {
        match self {
            Self::Inquiry(_)
            | Self::ReadCapacity10 { .. }
            | Self::ReadCapacity16 { .. }
            | Self::ReportLuns { .. }
            | Self::RequestSense { .. }
            | Self::TestUnitReady => Access::Always,
            Self::GetLbaStatus { .. }
            | Self::ModeSense(_)
            | Self::PreFetch { .. }
            | Self::Read(_)
            | Self::ReportSupportedOperationCodes(_)
            | Self::ReportSupportedTaskManagementFunctions { .. }
            | Self::Verify { .. } => Access::Read,
            Self::Release | Self::Reserve => Access::Reservation,
            Self::StartStopUnit(request) if request.only_starts() => Access::Always,
            Self::StartStopUnit(_) => Access::Write,
            Self::AtomicUpdate(_)
            | Self::ModeSelect(_)
            | Self::SendDiagnostic
            | Self::SynchronizeCache { .. }
            | Self::Unmap { .. }
            | Self::Write(_)
            | Self::WriteAndVerify { .. }
            | Self::WriteSame(_) => Access::Write,
        }
    }

    /// Whether another nexus may send the command while the logical unit is reserved by RESERVE
    /// (SPC-2 and SBC-2, the tables of reservations). RELEASE of a unit that is not one's own is
    /// GOOD and changes nothing; all others meet RESERVATION CONFLICT.
    pub fn allowed_while_reserved(&self) -> bool {
        match self {
            Self::Inquiry(_)
            | Self::ReadCapacity10 { .. }
            | Self::ReadCapacity16 { .. }
            | Self::Release
            | Self::ReportLuns { .. }
            | Self::RequestSense { .. } => true,
            Self::StartStopUnit(request) => request.only_starts(),
            Self::AtomicUpdate(_)
            | Self::GetLbaStatus { .. }
            | Self::ModeSelect(_)
            | Self::ModeSense(_)
            | Self::PreFetch { .. }
            | Self::Read(_)
            | Self::ReportSupportedOperationCodes(_)
            | Self::ReportSupportedTaskManagementFunctions { .. }
            | Self::Reserve
            | Self::SendDiagnostic
            | Self::SynchronizeCache { .. }
            | Self::TestUnitReady
            | Self::Unmap { .. }
            | Self::Verify { .. }
            | Self::Write(_)
            | Self::WriteAndVerify { .. }
            | Self::WriteSame(_) => false,
        }
    }
}

impl StartStopUnit {
    /// START set and POWER CONDITION zero: it takes nothing away from another nexus.
    fn only_starts(&self) -> bool {
        self.start && self.power_condition == PowerCondition::StartValid
    }
}
