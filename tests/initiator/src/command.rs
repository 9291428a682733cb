//! A SCSI command as a test asks for it, and what came back.

use crate::error::Error;

/// A SCSI command with its data and the choices that iSCSI leaves to the initiator.
#[derive(Clone, Debug)]
pub struct Command {
    pub(crate) lun: u16,
    pub(crate) cdb: [u8; 16],
    pub(crate) data_out: Vec<u8>,
    pub(crate) read_length: u32,
    pub(crate) expected_length: Option<u32>,
    pub(crate) immediate_delivery: bool,
    pub(crate) immediate_data_max: usize,
    pub(crate) unsolicited_data: bool,
}

impl Command {
    /// A command without data.
    pub fn without_data(lun: u16, cdb: [u8; 16]) -> Self {
        Self {
            lun,
            cdb,
            data_out: Vec::new(),
            read_length: 0,
            expected_length: None,
            immediate_delivery: false,
            immediate_data_max: usize::MAX,
            unsolicited_data: true,
        }
    }

    /// A command that expects up to `length` bytes.
    pub fn read(lun: u16, cdb: [u8; 16], length: u32) -> Self {
        Self { read_length: length, ..Self::without_data(lun, cdb) }
    }

    /// A command that carries data.
    pub fn write(lun: u16, cdb: [u8; 16], data: &[u8]) -> Self {
        Self { data_out: data.to_vec(), ..Self::without_data(lun, cdb) }
    }

    /// Announces another Expected Data Transfer Length than the data suggest.
    pub fn announcing(mut self, expected_length: u32) -> Self {
        self.expected_length = Some(expected_length);
        self
    }

    /// Marks the command for immediate delivery (RFC 7143 4.2.2.1).
    pub fn delivered_immediately(mut self) -> Self {
        self.immediate_delivery = true;
        self
    }

    /// Sends at most so many bytes as immediate data, whatever was negotiated beyond.
    pub fn with_immediate_data_up_to(mut self, length: usize) -> Self {
        self.immediate_data_max = length;
        self
    }

    /// Waits for R2Ts even where unsolicited Data-Out is allowed.
    pub fn without_unsolicited_data(mut self) -> Self {
        self.unsolicited_data = false;
        self
    }
}

/// Residual count of a response (RFC 7143 11.4.5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Residual {
    /// The transfer had the expected length.
    None,
    /// So many bytes did not fit into the expected length.
    Overflow(u32),
    /// So many of the expected bytes were not moved.
    Underflow(u32),
}

impl Residual {
    /// Reads the O and U bits and the count; both bits at once are no legal answer.
    pub(crate) fn from_wire(flags: u8, count: u32) -> Option<Self> {
        match flags & 0x06 {
            0x00 => Some(Self::None),
            0x02 => Some(Self::Underflow(count)),
            0x04 => Some(Self::Overflow(count)),
            _ => None,
        }
    }
}

/// Sense data reduced to what tests compare (SPC-4 4.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sense {
    /// Sense key.
    pub key: u8,
    /// Additional sense code in the upper, its qualifier in the lower byte.
    pub code: u16,
}

/// What a SCSI command came to.
#[derive(Clone, Debug)]
pub struct CommandResult {
    /// SCSI status.
    pub status: u8,
    /// iSCSI response code; 0 is Command Completed at Target.
    pub response: u8,
    /// Sense data without their length prefix.
    pub sense_bytes: Vec<u8>,
    /// Data from the target.
    pub data: Vec<u8>,
    /// Difference between expected and moved bytes.
    pub residual: Residual,
    /// R2Ts that the target sent for the command.
    pub r2t_count: u32,
    /// Data-In PDUs that the target sent for the command.
    pub data_in_count: u32,
    /// Whether the status came in the last Data-In instead of a SCSI Response.
    pub phase_collapse: bool,
}

impl CommandResult {
    /// Whether the target answered GOOD.
    pub fn is_good(&self) -> bool {
        self.response == 0 && self.status == 0
    }

    /// The sense key and code, from fixed (70h) or descriptor (72h) format.
    pub fn sense(&self) -> Option<Sense> {
        let bytes = &self.sense_bytes;
        match bytes.first()? & 0x7f {
            0x70 | 0x71 => Some(Sense {
                key: bytes.get(2)? & 0x0f,
                code: u16::from_be_bytes([*bytes.get(12)?, *bytes.get(13)?]),
            }),
            0x72 | 0x73 => Some(Sense {
                key: bytes.get(1)? & 0x0f,
                code: u16::from_be_bytes([*bytes.get(2)?, *bytes.get(3)?]),
            }),
            _ => None,
        }
    }
}

/// How a task that the target rejected is reported.
pub(crate) fn rejection(reason: u8, header: &[u8]) -> Error {
    Error::Rejected { reason, header: header.to_vec() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sense_is_read_from_both_formats() {
        let fixed = [0x70, 0, 5, 0, 0, 0, 0, 10, 0, 0, 0, 0, 0x24, 0x01, 0, 0, 0, 0];
        let descriptor = [0x72, 5, 0x24, 0x01, 0, 0, 0, 0];
        for bytes in [&fixed[..], &descriptor[..]] {
            let result = CommandResult {
                status: 2,
                response: 0,
                sense_bytes: bytes.to_vec(),
                data: Vec::new(),
                residual: Residual::None,
                r2t_count: 0,
                data_in_count: 0,
                phase_collapse: false,
            };
            assert_eq!(result.sense(), Some(Sense { key: 5, code: 0x2401 }));
        }
    }

    #[test]
    fn residual_with_both_bits_is_illegal() {
        assert_eq!(Residual::from_wire(0x86, 1), None);
        assert_eq!(Residual::from_wire(0x82, 9), Some(Residual::Underflow(9)));
        assert_eq!(Residual::from_wire(0x84, 9), Some(Residual::Overflow(9)));
    }
}
