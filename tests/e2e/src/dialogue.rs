//! Exchanges that many tests have in common.

use initiator::{Command, Session, cdb};

/// Asserts that INQUIRY answers GOOD with 36 bytes and Peripheral Device Type 00h.
pub fn inquiry_is_answered(session: &mut Session, lun: u16) {
    let command = Command::read(lun, cdb::inquiry(36), 36);
    let result = session.scsi(command).unwrap_or_else(|error| panic!("no INQUIRY data: {error}"));
    assert!(result.is_good(), "INQUIRY answered {result:?}");
    assert_eq!(result.data.len(), 36, "INQUIRY data of {:02x?}", result.data);
    assert_eq!(result.data[0], 0, "a direct access block device is connected (SPC-4 6.4.2)");
}

/// Bytes that differ from place to place and from one `salt` to another.
pub fn pattern(length: usize, salt: u8) -> Vec<u8> {
    // 251 is prime, so that the pattern does not repeat with blocks or segments.
    (0..length).map(|index| (index % 251).to_le_bytes()[0] ^ salt).collect()
}
