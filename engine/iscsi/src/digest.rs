//! CRC32C digests of headers and data (RFC 7143 13.1).

use crate::bhs::BHS_BYTES;
use crc_fast::{CrcAlgorithm, Digest, crc32_iscsi};

/// Bytes of a digest on the wire.
pub const DIGEST_BYTES: usize = 4;

/// The digest of a header: the BHS and all additional header segments (RFC 7143 11.2.3), in
/// the order in which its bytes are sent.
pub fn header_digest(bhs: &[u8; BHS_BYTES], ahs: &[u8]) -> [u8; DIGEST_BYTES] {
    wire_order(append(crc32_iscsi(bhs), ahs))
}

/// The digest of a data segment, padding included (RFC 7143 11.2.3), built run by run.
#[derive(Clone, Copy, Debug, Default)]
pub struct DataDigest {
    crc: u32,
    bytes: u32,
}

impl DataDigest {
    /// The digest of nothing yet.
    pub const fn new() -> Self {
        Self { crc: 0, bytes: 0 }
    }

    /// Takes the next run of data, or of padding as it was received.
    pub fn update(&mut self, run: &[u8]) {
        self.crc = if self.bytes == 0 { crc32_iscsi(run) } else { append(self.crc, run) };
        // Only the two lowest bits count, to find the padding.
        #[expect(clippy::cast_possible_truncation, reason = "modulo four is all that is needed")]
        let run_bytes = run.len() as u32;
        self.bytes = self.bytes.wrapping_add(run_bytes);
    }

    /// Takes the zeros that pad what came so far to four bytes: for a sender.
    pub fn pad(&mut self) {
        let zeros = crate::bhs::pad_bytes(self.bytes);
        self.update([0; 3].get(..zeros as usize).unwrap_or_default());
    }

    /// The digest in the order in which its bytes are sent.
    pub fn wire(self) -> [u8; DIGEST_BYTES] {
        wire_order(self.crc)
    }
}

/// The CRC32C of bytes with this CRC and of `run` behind them.
fn append(crc: u32, run: &[u8]) -> u32 {
    if run.is_empty() {
        return crc;
    }
    let mut digest = Digest::new_with_init_state(CrcAlgorithm::Crc32Iscsi, u64::from(!crc));
    digest.update(run);
    // Of a CRC of 32 bits, the upper half is empty.
    u32::try_from(digest.finalize()).unwrap_or_default()
}

/// The CRC is bit-reflected, and so its least significant byte is sent first; the examples of
/// RFC 7143 A.4 show it.
const fn wire_order(crc: u32) -> [u8; DIGEST_BYTES] {
    crc.to_le_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest_of(bytes: &[u8]) -> [u8; 4] {
        let mut digest = DataDigest::new();
        digest.update(bytes);
        digest.wire()
    }

    #[test]
    fn the_examples_of_rfc_7143_appendix_a_4_come_out() {
        assert_eq!(digest_of(&[0; 32]), [0xaa, 0x36, 0x91, 0x8a]);
        assert_eq!(digest_of(&[0xff; 32]), [0x43, 0xab, 0xa8, 0x62]);
        let up: Vec<u8> = (0..32).collect();
        assert_eq!(digest_of(&up), [0x4e, 0x79, 0xdd, 0x46]);
        let down: Vec<u8> = (0..32).rev().collect();
        assert_eq!(digest_of(&down), [0x5c, 0xdb, 0x3f, 0x11]);
    }

    #[test]
    fn the_header_of_the_scsi_read_example_has_its_digest() {
        // RFC 7143 A.4: "An iSCSI - SCSI Read (10) Command PDU".
        let mut bhs = [0; 48];
        bhs[0] = 0x01;
        bhs[1] = 0xc0;
        bhs[16] = 0x14;
        bhs[22] = 0x04;
        bhs[27] = 0x14;
        bhs[31] = 0x18;
        bhs[32] = 0x28;
        bhs[40] = 0x02;
        assert_eq!(header_digest(&bhs, &[]), [0x56, 0x3a, 0x96, 0xd9]);
    }

    #[test]
    fn a_digest_does_not_depend_on_how_the_data_is_cut() {
        let data: Vec<u8> = (0..=255).collect();
        let mut cut = DataDigest::new();
        for run in data.chunks(7) {
            cut.update(run);
        }
        assert_eq!(cut.wire(), digest_of(&data));
    }

    #[test]
    fn padding_counts_as_zeros() {
        let mut padded = DataDigest::new();
        padded.update(&[0xff, 0, 0xff, 7, 9]);
        padded.pad();
        assert_eq!(padded.wire(), digest_of(&[0xff, 0, 0xff, 7, 9, 0, 0, 0]));
        padded.pad();
        assert_eq!(padded.wire(), digest_of(&[0xff, 0, 0xff, 7, 9, 0, 0, 0]));
    }
}
