//! One PDU as bytes: a 48-byte Basic Header Segment, Additional Header Segments and data.
//!
//! The constructors make correct headers; afterwards a test may overwrite any byte through
//! [`Pdu::bhs`]. Encoding never corrects what it is given: a length field that lies stays a lie.

/// Initiator Task Tag and Target Transfer Tag that mean "none" (RFC 7143 11.2.1.8, 11.7.4).
pub const TAG_NONE: u32 = 0xffff_ffff;

/// Opcodes (RFC 7143 11.2.1.2).
pub mod opcode {
    /// NOP-Out, initiator to target.
    pub const NOP_OUT: u8 = 0x00;
    /// SCSI Command.
    pub const SCSI_COMMAND: u8 = 0x01;
    /// Task Management Function Request.
    pub const TASK_MANAGEMENT_REQUEST: u8 = 0x02;
    /// Login Request.
    pub const LOGIN_REQUEST: u8 = 0x03;
    /// Text Request.
    pub const TEXT_REQUEST: u8 = 0x04;
    /// SCSI Data-Out.
    pub const DATA_OUT: u8 = 0x05;
    /// Logout Request.
    pub const LOGOUT_REQUEST: u8 = 0x06;
    /// SNACK Request.
    pub const SNACK_REQUEST: u8 = 0x10;
    /// NOP-In, target to initiator.
    pub const NOP_IN: u8 = 0x20;
    /// SCSI Response.
    pub const SCSI_RESPONSE: u8 = 0x21;
    /// Task Management Function Response.
    pub const TASK_MANAGEMENT_RESPONSE: u8 = 0x22;
    /// Login Response.
    pub const LOGIN_RESPONSE: u8 = 0x23;
    /// Text Response.
    pub const TEXT_RESPONSE: u8 = 0x24;
    /// SCSI Data-In.
    pub const DATA_IN: u8 = 0x25;
    /// Logout Response.
    pub const LOGOUT_RESPONSE: u8 = 0x26;
    /// Ready To Transfer.
    pub const R2T: u8 = 0x31;
    /// Asynchronous Message.
    pub const ASYNC_MESSAGE: u8 = 0x32;
    /// Reject.
    pub const REJECT: u8 = 0x3f;
}

/// Bit in byte 0: immediate delivery (RFC 7143 11.2.1.1).
pub const IMMEDIATE: u8 = 0x40;
/// Bit in byte 1: final PDU of a sequence (RFC 7143 11.2.1.3).
pub const FINAL: u8 = 0x80;
/// Bit in byte 1 of Text and Login: the key text continues (RFC 7143 11.10.2, 11.12.2).
pub const CONTINUE: u8 = 0x40;
/// Bit in byte 1 of a SCSI Command: data from the target is expected (RFC 7143 11.3.1).
pub const READ: u8 = 0x40;
/// Bit in byte 1 of a SCSI Command: data to the target is expected (RFC 7143 11.3.1).
pub const WRITE: u8 = 0x20;
/// Task attribute SIMPLE in byte 1 of a SCSI Command (RFC 7143 11.3.1).
pub const SIMPLE: u8 = 0x01;
/// Bit in byte 1 of Data-In: this PDU carries the status (RFC 7143 11.7.3).
pub const STATUS: u8 = 0x01;

/// Which digests a PDU carries (RFC 7143 13.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Digests {
    /// CRC32C over the Basic Header Segment and the Additional Header Segments.
    pub header: bool,
    /// CRC32C over the data segment and its padding.
    pub data: bool,
}

/// One PDU without padding and digests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pdu {
    /// The Basic Header Segment, every byte open to change.
    pub bhs: [u8; 48],
    /// Additional Header Segments as they are on the wire.
    pub ahs: Vec<u8>,
    /// The data segment without padding.
    pub data: Vec<u8>,
}

impl Pdu {
    /// A header that is zero but for the opcode byte.
    pub fn new(opcode_byte: u8) -> Self {
        let mut bhs = [0; 48];
        bhs[0] = opcode_byte;
        Self { bhs, ahs: Vec::new(), data: Vec::new() }
    }

    /// Sets the data segment and the matching DataSegmentLength.
    pub fn with_data(mut self, data: &[u8]) -> Self {
        let length = length_u32(data.len()).to_be_bytes();
        self.bhs[5..8].copy_from_slice(&length[1..4]);
        self.data = data.to_vec();
        self
    }

    /// Sets the Additional Header Segments and TotalAHSLength in words (RFC 7143 11.2.1.5).
    pub fn with_ahs(mut self, ahs: &[u8]) -> Self {
        // TotalAHSLength has 8 bits, so a test has no more to send.
        self.bhs[4] = u8::try_from(ahs.len() / 4).expect("at most 255 words");
        self.ahs = ahs.to_vec();
        self
    }

    /// Overwrites one byte of the header.
    pub fn with_byte(mut self, offset: usize, value: u8) -> Self {
        self.bhs[offset] = value;
        self
    }

    /// Overwrites four bytes of the header in network order.
    pub fn with_u32(mut self, offset: usize, value: u32) -> Self {
        self.bhs[offset..offset + 4].copy_from_slice(&value.to_be_bytes());
        self
    }

    /// Overwrites two bytes of the header in network order.
    pub fn with_u16(mut self, offset: usize, value: u16) -> Self {
        self.bhs[offset..offset + 2].copy_from_slice(&value.to_be_bytes());
        self
    }

    /// Sets the 8-byte LUN field (RFC 7143 11.2.1.7) for a LUN up to 16383 (SAM-5 4.7.7).
    pub fn with_lun(mut self, lun: u16) -> Self {
        let high = if lun < 256 { 0 } else { 0x40 };
        let [upper, lower] = lun.to_be_bytes();
        self.bhs[8..16].copy_from_slice(&[high | upper, lower, 0, 0, 0, 0, 0, 0]);
        self
    }

    /// Sets the bit for immediate delivery.
    pub fn immediate(mut self) -> Self {
        self.bhs[0] |= IMMEDIATE;
        self
    }

    /// The opcode without the immediate bit.
    pub fn opcode(&self) -> u8 {
        self.bhs[0] & 0x3f
    }

    /// Byte 1: the final bit and what each PDU puts beside it.
    pub fn flags(&self) -> u8 {
        self.bhs[1]
    }

    /// Four bytes of the header in network order.
    pub fn u32_at(&self, offset: usize) -> u32 {
        let mut bytes = [0; 4];
        bytes.copy_from_slice(&self.bhs[offset..offset + 4]);
        u32::from_be_bytes(bytes)
    }

    /// Two bytes of the header in network order.
    pub fn u16_at(&self, offset: usize) -> u16 {
        u16::from_be_bytes([self.bhs[offset], self.bhs[offset + 1]])
    }

    /// Initiator Task Tag.
    pub fn initiator_task_tag(&self) -> u32 {
        self.u32_at(16)
    }

    /// Target Transfer Tag, if the PDU has one.
    pub fn target_transfer_tag(&self) -> u32 {
        self.u32_at(20)
    }

    /// StatSN of a PDU from the target.
    pub fn stat_sn(&self) -> u32 {
        self.u32_at(24)
    }

    /// ExpCmdSN of a PDU from the target.
    pub fn exp_cmd_sn(&self) -> u32 {
        self.u32_at(28)
    }

    /// MaxCmdSN of a PDU from the target.
    pub fn max_cmd_sn(&self) -> u32 {
        self.u32_at(32)
    }

    /// The bytes on the wire: header, AHS, digest, data, padding, digest. Nothing is corrected.
    pub fn encode(&self, digests: Digests) -> Vec<u8> {
        let mut wire = Vec::with_capacity(48 + self.ahs.len() + self.data.len() + 12);
        wire.extend_from_slice(&self.bhs);
        wire.extend_from_slice(&self.ahs);
        if digests.header {
            // RFC 7143 13.1: the CRC is sent with its least significant byte first.
            let digest = crc32c::crc32c(&wire);
            wire.extend_from_slice(&digest.to_le_bytes());
        }
        if !self.data.is_empty() {
            let start = wire.len();
            wire.extend_from_slice(&self.data);
            wire.resize(start + self.data.len().next_multiple_of(4), 0);
            if digests.data {
                let digest = crc32c::crc32c(&wire[start..]);
                wire.extend_from_slice(&digest.to_le_bytes());
            }
        }
        wire
    }
}

/// A length as the 32-bit number that headers hold.
pub(crate) fn length_u32(length: usize) -> u32 {
    // Lengths here come from the tests themselves; none reaches 4 GiB.
    u32::try_from(length).expect("a test never sends 4 GiB in one piece")
}

/// NOP-Out that asks for an answer (RFC 7143 11.18); CmdSN is set by the session.
pub fn nop_out(initiator_task_tag: u32, ping: &[u8]) -> Pdu {
    Pdu::new(opcode::NOP_OUT)
        .with_byte(1, FINAL)
        .with_u32(16, initiator_task_tag)
        .with_u32(20, TAG_NONE)
        .with_data(ping)
}

/// SCSI Command (RFC 7143 11.3) with the flags of byte 1 as given.
pub fn scsi_command(flags: u8, lun: u16, expected_length: u32, cdb: &[u8; 16]) -> Pdu {
    let mut pdu = Pdu::new(opcode::SCSI_COMMAND)
        .with_byte(1, flags)
        .with_lun(lun)
        .with_u32(20, expected_length);
    pdu.bhs[32..48].copy_from_slice(cdb);
    pdu
}

/// SCSI Data-Out (RFC 7143 11.7), not final.
pub fn data_out(initiator_task_tag: u32, target_transfer_tag: u32, lun: u16) -> Pdu {
    Pdu::new(opcode::DATA_OUT)
        .with_lun(lun)
        .with_u32(16, initiator_task_tag)
        .with_u32(20, target_transfer_tag)
}

/// Task Management Function Request (RFC 7143 11.5), immediate.
pub fn task_management(function: u8, lun: u16, referenced_task_tag: u32) -> Pdu {
    Pdu::new(opcode::TASK_MANAGEMENT_REQUEST | IMMEDIATE)
        .with_byte(1, FINAL | function)
        .with_lun(lun)
        .with_u32(20, referenced_task_tag)
}

/// Text Request (RFC 7143 11.10) that is complete in one PDU.
pub fn text_request(text: &[u8]) -> Pdu {
    Pdu::new(opcode::TEXT_REQUEST).with_byte(1, FINAL).with_u32(20, TAG_NONE).with_data(text)
}

/// Logout Request (RFC 7143 11.14), immediate, for the given reason and connection.
pub fn logout_request(reason: u8, connection_id: u16) -> Pdu {
    Pdu::new(opcode::LOGOUT_REQUEST | IMMEDIATE)
        .with_byte(1, FINAL | reason)
        .with_u16(20, connection_id)
}

/// SNACK Request (RFC 7143 11.16) of the given type.
pub fn snack_request(kind: u8, initiator_task_tag: u32, target_transfer_tag: u32) -> Pdu {
    Pdu::new(opcode::SNACK_REQUEST)
        .with_byte(1, FINAL | kind)
        .with_u32(16, initiator_task_tag)
        .with_u32(20, target_transfer_tag)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nop_out_with_both_digests_is_these_bytes() {
        let wire = nop_out(0x0102_0304, b"ping!")
            .with_u32(24, 7)
            .encode(Digests { header: true, data: true });
        assert_eq!(&wire[..4], &[0x00, 0x80, 0, 0]);
        assert_eq!(&wire[4..8], &[0, 0, 0, 5]);
        assert_eq!(&wire[16..28], &[1, 2, 3, 4, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 7]);
        assert_eq!(&wire[52..60], b"ping!\0\0\0");
        assert_eq!(wire.len(), 48 + 4 + 8 + 4);
    }

    /// The example of RFC 7143 appendix A.4: 32 bytes of zeros give aa 36 91 8a on the wire.
    #[test]
    fn data_digest_of_32_zeros_is_the_example_of_the_standard() {
        let wire = Pdu::new(0).with_data(&[0; 32]).encode(Digests { header: false, data: true });
        assert_eq!(&wire[80..], &[0xaa, 0x36, 0x91, 0x8a]);
    }

    /// RFC 7143 appendix A.4: a READ(10) command PDU and its digest.
    #[test]
    fn header_digest_of_the_read_command_is_the_example_of_the_standard() {
        let mut pdu = Pdu::new(0x01).with_byte(1, 0xc0).with_u32(16, 0x1400_0000);
        pdu.bhs[20..24].copy_from_slice(&[0, 0, 4, 0]);
        pdu.bhs[24..28].copy_from_slice(&[0, 0, 0, 0x14]);
        pdu.bhs[28..32].copy_from_slice(&[0, 0, 0, 0x18]);
        pdu.bhs[32..42].copy_from_slice(&[0x28, 0, 0, 0, 0, 0, 0, 0, 0x02, 0]);
        let wire = pdu.encode(Digests { header: true, data: false });
        assert_eq!(&wire[48..], &[0x56, 0x3a, 0x96, 0xd9]);
    }

    #[test]
    fn no_data_means_no_data_digest() {
        assert_eq!(Pdu::new(0).encode(Digests { header: true, data: true }).len(), 52);
    }

    #[test]
    fn length_fields_stay_as_a_test_sets_them() {
        let wire = Pdu::new(0).with_data(b"abcd").with_byte(7, 200).encode(Digests::default());
        assert_eq!((wire[7], wire.len()), (200, 52));
    }

    #[test]
    fn large_luns_use_the_flat_space_format() {
        assert_eq!(&Pdu::new(1).with_lun(5).bhs[8..12], &[0x00, 0x05, 0, 0]);
        assert_eq!(&Pdu::new(1).with_lun(0x1234).bhs[8..12], &[0x52, 0x34, 0, 0]);
    }
}
