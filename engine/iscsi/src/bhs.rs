//! The Basic Header Segment, and the fields that every PDU has at the same place.

use std::fmt;

use units::Lun;

use crate::wire_codes::wire_codes;

/// Bytes of a Basic Header Segment (RFC 7143 11.2.1).
pub const BHS_BYTES: usize = 48;

/// How many pad bytes follow a segment of `bytes` bytes (RFC 7143 11.1): 0 to 3.
pub const fn pad_bytes(bytes: u32) -> u32 {
    bytes.wrapping_neg() & 3
}

/// The 48 bytes that every PDU begins with (RFC 7143 11.2.1), not yet checked.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Bhs([u8; BHS_BYTES]);

impl Bhs {
    /// A header of these bytes.
    pub const fn new(bytes: [u8; BHS_BYTES]) -> Self {
        Self(bytes)
    }

    /// The header at the front of `bytes`; `None` where fewer than 48 are there.
    pub fn from_prefix(bytes: &[u8]) -> Option<Self> {
        bytes.first_chunk().copied().map(Self)
    }

    /// The bytes as they came.
    pub const fn raw(&self) -> &[u8; BHS_BYTES] {
        &self.0
    }

    /// What kind of PDU this is (RFC 7143 11.2.1.2).
    #[inline]
    pub const fn opcode(&self) -> Opcode {
        Opcode::from_code(self.0[0] & OPCODE_MASK)
    }

    /// Whether this is a PDU of a kind.
    #[inline]
    pub const fn is(&self, opcode: Opcode) -> bool {
        self.0[0] & OPCODE_MASK == opcode.code()
    }

    /// The I bit: the PDU is for immediate delivery (RFC 7143 11.2.1.1).
    pub const fn immediate(&self) -> bool {
        self.0[0] & IMMEDIATE != 0
    }

    /// Bytes of all additional header segments, their padding included: up to 1020. The field
    /// counts four-byte words (RFC 7143 11.2.1.5).
    pub const fn total_ahs_length(&self) -> usize {
        self.0[4] as usize * 4
    }

    /// Bytes of the data segment without padding: up to 2^24-1 (RFC 7143 11.2.1.6).
    pub const fn data_segment_length(&self) -> u32 {
        u32::from_be_bytes([0, self.0[5], self.0[6], self.0[7]])
    }

    /// Bytes 8 to 15 as a logical unit number (RFC 7143 11.2.1.7). Some PDUs have other fields
    /// there; their parsed form tells.
    pub const fn lun(&self) -> Lun {
        let b = &self.0;
        Lun(u64::from_be_bytes([b[8], b[9], b[10], b[11], b[12], b[13], b[14], b[15]]))
    }

    /// The tag that the initiator gave the task (RFC 7143 11.2.1.8).
    pub const fn initiator_task_tag(&self) -> InitiatorTaskTag {
        InitiatorTaskTag(u32::from_be_bytes([self.0[16], self.0[17], self.0[18], self.0[19]]))
    }
}

impl fmt::Debug for Bhs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Bhs(")?;
        for (place, byte) in self.0.iter().enumerate() {
            let gap = if place > 0 && place % 4 == 0 { " " } else { "" };
            write!(f, "{gap}{byte:02x}")?;
        }
        write!(f, ")")
    }
}

/// The name that an initiator gives a task while it is active (RFC 7143 11.2.1.8).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct InitiatorTaskTag(pub u32);

impl InitiatorTaskTag {
    /// The value that names no task.
    pub const RESERVED: Self = Self(0xffff_ffff);
}

/// The name that a target gives a transfer or a question of its own (RFC 7143 11.7.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TargetTransferTag(pub u32);

impl TargetTransferTag {
    /// The value that names nothing: unsolicited data, or no answer wanted.
    pub const RESERVED: Self = Self(0xffff_ffff);
}

wire_codes! {
    /// What kind of PDU a header begins (RFC 7143 11.2.1.2).
    Opcode: u8 {
        /// An initiator's ping, or its answer to one (11.18).
        NopOut = 0x00,
        /// A CDB (11.3).
        ScsiCommand = 0x01,
        /// A task management function (11.5).
        TaskManagementRequest = 0x02,
        /// One step of a login (11.12).
        LoginRequest = 0x03,
        /// Key text in full feature phase (11.10).
        TextRequest = 0x04,
        /// Data for a write (11.7).
        DataOut = 0x05,
        /// The wish to close a connection or session (11.14).
        LogoutRequest = 0x06,
        /// A request to send something again (11.16).
        SnackRequest = 0x10,
        /// A target's ping, or its answer to one (11.19).
        NopIn = 0x20,
        /// Status and sense of a command (11.4).
        ScsiResponse = 0x21,
        /// The outcome of a task management function (11.6).
        TaskManagementResponse = 0x22,
        /// The answer to a login step (11.13).
        LoginResponse = 0x23,
        /// The answer to key text (11.11).
        TextResponse = 0x24,
        /// Data of a read (11.7).
        DataIn = 0x25,
        /// The answer to a logout (11.15).
        LogoutResponse = 0x26,
        /// The target asks for data of a write (11.8).
        ReadyToTransfer = 0x31,
        /// An event that no command caused (11.9).
        AsyncMessage = 0x32,
        /// The target could not accept a PDU (11.17).
        Reject = 0x3f,
        ;
        /// A value that the standard does not define, or leaves to vendors.
        Unknown
    }
}

/// The bits of byte 0 that hold the opcode.
const OPCODE_MASK: u8 = 0x3f;
/// The I bit of byte 0.
const IMMEDIATE: u8 = 0x40;

/// Byte 0 of a PDU that an initiator sends.
pub(crate) const fn request_byte(opcode: Opcode, immediate: bool) -> u8 {
    opcode.code() | if immediate { IMMEDIATE } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pad_fills_up_to_four_bytes() {
        assert_eq!([0, 1, 2, 3, 4, 5].map(pad_bytes), [0, 3, 2, 1, 0, 3]);
        assert_eq!(pad_bytes(0x00ff_ffff), 1);
    }

    #[test]
    fn fields_are_read_from_their_places() {
        let mut raw = [0; BHS_BYTES];
        raw[0] = 0xc1;
        raw[4] = 0xff;
        raw[5..8].copy_from_slice(&[0x12, 0x34, 0x56]);
        raw[8..16].copy_from_slice(&[0, 5, 0, 0, 0, 0, 0, 0]);
        raw[16..20].copy_from_slice(&[0xde, 0xad, 0xbe, 0xef]);
        let bhs = Bhs::new(raw);
        assert_eq!(bhs.opcode(), Opcode::ScsiCommand);
        assert!(bhs.immediate());
        assert_eq!(bhs.total_ahs_length(), 1020);
        assert_eq!(bhs.data_segment_length(), 0x12_3456);
        assert_eq!(bhs.lun(), Lun(0x0005_0000_0000_0000));
        assert_eq!(bhs.initiator_task_tag(), InitiatorTaskTag(0xdead_beef));
        assert_eq!(bhs.raw(), &raw);
    }

    #[test]
    fn a_header_is_48_bytes_and_no_less() {
        let bytes = [0x20; 50];
        for length in 0..48 {
            assert_eq!(Bhs::from_prefix(&bytes[..length]), None);
        }
        assert_eq!(Bhs::from_prefix(&bytes), Some(Bhs::new([0x20; 48])));
    }

    #[test]
    fn vendor_opcodes_are_unknown() {
        assert_eq!(Opcode::from_code(0x1c), Opcode::Unknown(0x1c));
        assert_eq!(Opcode::Unknown(0x1c).code(), 0x1c);
    }
}
