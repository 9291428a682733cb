//! The conditions that Pollux reports, by the names that SPC-4 gives to their ASC and ASCQ.

use units::Lba;

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

    /// A read failed, and no block can be named.
    pub const UNRECOVERED_READ_ERROR: Self = Self::new(SenseKey::MediumError, 0x11, 0x00);

    /// A read failed at `lba`: the first block that is not known to be good.
    pub const fn unrecovered_read_error(lba: Lba) -> Self {
        Self::UNRECOVERED_READ_ERROR.with_information(lba.0)
    }

    /// A write failed, and no block can be named: a flush that failed may have lost any block
    /// that was acknowledged since the last one.
    pub const WRITE_ERROR: Self = Self::new(SenseKey::MediumError, 0x0c, 0x00);

    /// A write failed at `lba`: the first block that is not known to be good.
    pub const fn write_error(lba: Lba) -> Self {
        Self::WRITE_ERROR.with_information(lba.0)
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
}

/// Conditions in which the command was not, or not wholly, carried out.
impl Sense {
    /// More unsolicited data arrived than were allowed.
    pub const UNEXPECTED_UNSOLICITED_DATA: Self = Self::new(SenseKey::AbortedCommand, 0x0c, 0x0c);

    /// Less unsolicited data arrived than were announced.
    pub const NOT_ENOUGH_UNSOLICITED_DATA: Self = Self::new(SenseKey::AbortedCommand, 0x0c, 0x0d);

    /// The transport found a checksum error in the data of the command.
    pub const PROTOCOL_SERVICE_CRC_ERROR: Self = Self::new(SenseKey::AbortedCommand, 0x47, 0x05);

    /// The transport delivered data at an offset that was not requested.
    pub const DATA_OFFSET_ERROR: Self = Self::new(SenseKey::AbortedCommand, 0x4b, 0x05);

    /// The initiator did not send the data that it was asked for in time.
    pub const INITIATOR_RESPONSE_TIMEOUT: Self = Self::new(SenseKey::AbortedCommand, 0x4b, 0x06);

    /// The transport's header contradicts the CDB, for example in the direction of the data.
    pub const INVALID_FIELD_IN_COMMAND_INFORMATION_UNIT: Self =
        Self::new(SenseKey::IllegalRequest, 0x0e, 0x03);
}

/// Unit attention conditions (SAM-5, unit attention conditions).
impl Sense {
    /// First command of a nexus, or too many other unit attentions at once.
    pub const POWER_ON_RESET_OR_BUS_DEVICE_RESET_OCCURRED: Self =
        Self::new(SenseKey::UnitAttention, 0x29, 0x00);

    /// The logical unit or the target was reset by task management.
    pub const BUS_DEVICE_RESET_FUNCTION_OCCURRED: Self =
        Self::new(SenseKey::UnitAttention, 0x29, 0x03);

    /// Another nexus changed a mode page.
    pub const MODE_PARAMETERS_CHANGED: Self = Self::new(SenseKey::UnitAttention, 0x2a, 0x01);

    /// The logical unit was resized.
    pub const CAPACITY_DATA_HAS_CHANGED: Self = Self::new(SenseKey::UnitAttention, 0x2a, 0x09);

    /// A logical unit was added or removed.
    pub const REPORTED_LUNS_DATA_HAS_CHANGED: Self = Self::new(SenseKey::UnitAttention, 0x3f, 0x0e);
}
