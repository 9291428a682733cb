//! The conditions that Pollux reports, by the names that SPC-4 gives to their ASC and ASCQ.

use crate::sense::{FieldPointer, Sense, SenseKey};

/// Conditions of the command itself.
impl Sense {
    /// Nothing to report.
    pub const NO_ADDITIONAL_SENSE_INFORMATION: Self = Self::new(SenseKey::NoSense, 0x00, 0x00);

    /// The operation code is not one of ours; the field pointer shows at it.
    pub const INVALID_COMMAND_OPERATION_CODE: Self = Self {
        field: Some(FieldPointer { in_cdb: true, byte: 0, bit: None }),
        ..Self::new(SenseKey::IllegalRequest, 0x20, 0x00)
    };

    /// The command reaches past the last block.
    pub const LOGICAL_BLOCK_ADDRESS_OUT_OF_RANGE: Self =
        Self::new(SenseKey::IllegalRequest, 0x21, 0x00);

    /// A field of the CDB is wrong, where no single field is to blame.
    pub const INVALID_FIELD_IN_CDB: Self = Self::new(SenseKey::IllegalRequest, 0x24, 0x00);

    /// No logical unit at this LUN. Initiators take it as permanent, so it is never used for
    /// one that is only out of reach.
    pub const LOGICAL_UNIT_NOT_SUPPORTED: Self = Self::new(SenseKey::IllegalRequest, 0x25, 0x00);

    /// A field of the parameter list is wrong, where no single field is to blame.
    pub const INVALID_FIELD_IN_PARAMETER_LIST: Self =
        Self::new(SenseKey::IllegalRequest, 0x26, 0x00);

    /// The parameter list ends in the middle of a structure.
    pub const PARAMETER_LIST_LENGTH_ERROR: Self = Self::new(SenseKey::IllegalRequest, 0x1a, 0x00);

    /// Mode pages are not saved across a restart.
    pub const SAVING_PARAMETERS_NOT_SUPPORTED: Self =
        Self::new(SenseKey::IllegalRequest, 0x39, 0x00);

    /// A field of the CDB is wrong: `byte` is where it starts, `bit` its most significant bit
    /// where it is smaller than a byte.
    pub const fn invalid_field_in_cdb(byte: u16, bit: Option<u8>) -> Self {
        Self { field: Some(FieldPointer { in_cdb: true, byte, bit }), ..Self::INVALID_FIELD_IN_CDB }
    }

    /// A field of the parameter list is wrong; places as in [`Self::invalid_field_in_cdb`].
    pub const fn invalid_field_in_parameter_list(byte: u16, bit: Option<u8>) -> Self {
        Self {
            field: Some(FieldPointer { in_cdb: false, byte, bit }),
            ..Self::INVALID_FIELD_IN_PARAMETER_LIST
        }
    }
}

/// Conditions of the medium.
impl Sense {
    /// The data on the medium differ from those of the command; `offset_bytes` is where the first
    /// difference is in the data that were compared (SBC-3, COMPARE AND WRITE).
    pub const fn miscompare(offset_bytes: u64) -> Self {
        Self::new(SenseKey::Miscompare, 0x1d, 0x00).with_information(offset_bytes)
    }

    /// Reading failed at `lba`.
    pub const fn unrecovered_read_error(lba: u64) -> Self {
        Self::new(SenseKey::MediumError, 0x11, 0x00).with_information(lba)
    }

    /// Writing failed at `lba`.
    pub const fn write_error(lba: u64) -> Self {
        Self::new(SenseKey::MediumError, 0x0c, 0x00).with_information(lba)
    }

    /// The volume was made read-only by the administrator.
    pub const WRITE_PROTECTED: Self = Self::new(SenseKey::DataProtect, 0x27, 0x00);

    /// The initiator set SWP in the Control mode page.
    pub const LOGICAL_UNIT_SOFTWARE_WRITE_PROTECTED: Self =
        Self::new(SenseKey::DataProtect, 0x27, 0x02);

    /// A thinly provisioned volume found no space for new blocks (SBC-3, thin provisioned logical
    /// units).
    pub const SPACE_ALLOCATION_FAILED_WRITE_PROTECT: Self =
        Self::new(SenseKey::DataProtect, 0x27, 0x07);

    /// Something behind the logical unit failed that no retry will repair.
    pub const INTERNAL_TARGET_FAILURE: Self = Self::new(SenseKey::HardwareError, 0x44, 0x00);

    /// A flush of the write cache failed; what was acknowledged since the last one may be lost.
    pub const SYNCHRONIZATION_ERROR: Self = Self::new(SenseKey::MediumError, 0x0c, 0x00);
}

/// Conditions in which the command was not, or not wholly, carried out.
impl Sense {
    /// The logical unit is not ready and cannot say why.
    pub const LOGICAL_UNIT_NOT_READY: Self = Self::new(SenseKey::NotReady, 0x04, 0x00);

    /// The logical unit will be ready soon; the initiator polls.
    pub const LOGICAL_UNIT_IS_IN_PROCESS_OF_BECOMING_READY: Self =
        Self::new(SenseKey::NotReady, 0x04, 0x01);

    /// The target port changes its asymmetric access state; the initiator retries.
    pub const ASYMMETRIC_ACCESS_STATE_TRANSITION: Self = Self::new(SenseKey::NotReady, 0x04, 0x0a);

    /// The target port is in the standby state.
    pub const TARGET_PORT_IN_STANDBY_STATE: Self = Self::new(SenseKey::NotReady, 0x04, 0x0b);

    /// The target port is in the unavailable state.
    pub const TARGET_PORT_IN_UNAVAILABLE_STATE: Self = Self::new(SenseKey::NotReady, 0x04, 0x0c);

    /// More unsolicited data arrived than were allowed.
    pub const UNEXPECTED_UNSOLICITED_DATA: Self = Self::new(SenseKey::AbortedCommand, 0x0c, 0x0c);

    /// Less unsolicited data arrived than were announced.
    pub const NOT_ENOUGH_UNSOLICITED_DATA: Self = Self::new(SenseKey::AbortedCommand, 0x0c, 0x0d);

    /// The transport found a checksum error in the data of the command.
    pub const PROTOCOL_SERVICE_CRC_ERROR: Self = Self::new(SenseKey::AbortedCommand, 0x47, 0x05);

    /// The transport delivered data at an offset that was not requested.
    pub const DATA_OFFSET_ERROR: Self = Self::new(SenseKey::AbortedCommand, 0x4b, 0x05);

    /// The transport's header contradicts the CDB, for example in the direction of the data.
    pub const INVALID_FIELD_IN_COMMAND_INFORMATION_UNIT: Self =
        Self::new(SenseKey::IllegalRequest, 0x0e, 0x03);

    /// The node cannot finish the command now, and a retry may succeed.
    pub const COMMAND_ABORTED: Self = Self::new(SenseKey::AbortedCommand, 0x00, 0x00);
}

/// Unit attention conditions (SAM-5, unit attention conditions).
impl Sense {
    /// First command of a nexus, or too many other unit attentions at once.
    pub const POWER_ON_RESET_OR_BUS_DEVICE_RESET_OCCURRED: Self =
        Self::new(SenseKey::UnitAttention, 0x29, 0x00);

    /// The logical unit or the target was reset by task management.
    pub const BUS_DEVICE_RESET_FUNCTION_OCCURRED: Self =
        Self::new(SenseKey::UnitAttention, 0x29, 0x03);

    /// The nexus was lost and came back.
    pub const I_T_NEXUS_LOSS_OCCURRED: Self = Self::new(SenseKey::UnitAttention, 0x29, 0x07);

    /// Another nexus changed a mode page.
    pub const MODE_PARAMETERS_CHANGED: Self = Self::new(SenseKey::UnitAttention, 0x2a, 0x01);

    /// Another nexus preempted the reservation of this one.
    pub const RESERVATIONS_PREEMPTED: Self = Self::new(SenseKey::UnitAttention, 0x2a, 0x03);

    /// The reservation under which this nexus was registered was released.
    pub const RESERVATIONS_RELEASED: Self = Self::new(SenseKey::UnitAttention, 0x2a, 0x04);

    /// Another nexus removed the registration of this one.
    pub const REGISTRATIONS_PREEMPTED: Self = Self::new(SenseKey::UnitAttention, 0x2a, 0x05);

    /// The asymmetric access state of a target port group changed.
    pub const ASYMMETRIC_ACCESS_STATE_CHANGED: Self =
        Self::new(SenseKey::UnitAttention, 0x2a, 0x06);

    /// The logical unit was resized.
    pub const CAPACITY_DATA_HAS_CHANGED: Self = Self::new(SenseKey::UnitAttention, 0x2a, 0x09);

    /// Another nexus cleared commands of this one.
    pub const COMMANDS_CLEARED_BY_ANOTHER_INITIATOR: Self =
        Self::new(SenseKey::UnitAttention, 0x2f, 0x00);

    /// Something that INQUIRY reports is different now.
    pub const INQUIRY_DATA_HAS_CHANGED: Self = Self::new(SenseKey::UnitAttention, 0x3f, 0x03);

    /// A logical unit was added or removed.
    pub const REPORTED_LUNS_DATA_HAS_CHANGED: Self = Self::new(SenseKey::UnitAttention, 0x3f, 0x0e);
}
