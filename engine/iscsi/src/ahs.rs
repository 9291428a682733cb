//! Additional Header Segments (RFC 7143 11.2.2).

use std::fmt;

use crate::bhs::pad_bytes;

/// One additional header segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ahs<'a> {
    /// Bytes that the data of a bidirectional command's read side has (11.2.2.4).
    BidirectionalReadLength(u32),
    /// The CDB bytes from byte 16 on (11.2.2.3).
    ExtendedCdb(&'a [u8]),
    /// A reserved type. A PDU with it is rejected, because its meaning is unknown.
    Unknown {
        /// The six-bit type code.
        kind: u8,
        /// What follows the type byte, without padding.
        bytes: &'a [u8],
    },
}

impl Ahs<'_> {
    /// Appends the segment with its padding.
    ///
    /// # Panics
    /// When an extended CDB is longer than 244 bytes (SPC-4 4.2.4 ends CDBs at 260), or another
    /// segment than fits: both are mistakes of the caller.
    pub fn emit(&self, out: &mut Vec<u8>) {
        let start = out.len();
        match *self {
            Self::BidirectionalReadLength(length) => {
                begin(out, 5, BIDIRECTIONAL_READ_LENGTH);
                out.push(0);
                out.extend_from_slice(&length.to_be_bytes());
            }
            Self::ExtendedCdb(rest) => {
                assert!(rest.len() <= 244, "a CDB has at most 260 bytes");
                begin(out, rest.len() + 1, EXTENDED_CDB);
                out.push(0);
                out.extend_from_slice(rest);
            }
            Self::Unknown { kind, bytes } => {
                begin(out, bytes.len(), kind);
                out.extend_from_slice(bytes);
            }
        }
        while !(out.len() - start).is_multiple_of(4) {
            out.push(0);
        }
    }
}

/// The segments in the AHS bytes of one PDU. After a fault there is nothing more.
#[derive(Clone, Debug)]
pub struct AhsSegments<'a> {
    rest: &'a [u8],
}

impl<'a> AhsSegments<'a> {
    /// The segments in `bytes`, which is what TotalAHSLength covers.
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    fn segment(&mut self) -> Result<Ahs<'a>, AhsFault> {
        let truncated = AhsFault::Truncated { bytes_left: self.rest.len() };
        let (&[high, low, kind], after) = self.rest.split_first_chunk().ok_or(truncated)?;
        let length = u16::from_be_bytes([high, low]);
        let (bytes, after) = after.split_at_checked(usize::from(length)).ok_or(truncated)?;
        // The three bytes of length and type are padded together with what follows.
        let pad = pad_bytes(3 + u32::from(length)) as usize;
        self.rest = after.get(pad..).ok_or(truncated)?;
        match (kind & KIND_MASK, bytes) {
            (EXTENDED_CDB, [_reserved, cdb @ ..]) if !cdb.is_empty() => Ok(Ahs::ExtendedCdb(cdb)),
            (BIDIRECTIONAL_READ_LENGTH, &[_reserved, a, b, c, d]) => {
                Ok(Ahs::BidirectionalReadLength(u32::from_be_bytes([a, b, c, d])))
            }
            (kind @ (EXTENDED_CDB | BIDIRECTIONAL_READ_LENGTH), _) => {
                Err(AhsFault::LengthWrong { kind, length })
            }
            (kind, bytes) => Ok(Ahs::Unknown { kind, bytes }),
        }
    }
}

impl<'a> Iterator for AhsSegments<'a> {
    type Item = Result<Ahs<'a>, AhsFault>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let segment = self.segment();
        if segment.is_err() {
            self.rest = &[];
        }
        Some(segment)
    }
}

/// Why AHS bytes are no sequence of segments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AhsFault {
    /// A segment's AHSLength is none that its type may have.
    LengthWrong {
        /// The six-bit type code.
        kind: u8,
        /// The AHSLength field in bytes.
        length: u16,
    },
    /// A segment is longer than what TotalAHSLength covers.
    Truncated {
        /// Bytes from the start of the segment to the end of the AHS.
        bytes_left: usize,
    },
}

impl fmt::Display for AhsFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LengthWrong { kind, length } => {
                write!(f, "additional header segment of type {kind} has length {length}, ")?;
                write!(f, "which RFC 7143 11.2.2 does not allow")
            }
            Self::Truncated { bytes_left } => {
                write!(f, "additional header segment is truncated: TotalAHSLength leaves only ")?;
                write!(f, "{bytes_left} bytes")
            }
        }
    }
}

impl std::error::Error for AhsFault {}

const EXTENDED_CDB: u8 = 1;
const BIDIRECTIONAL_READ_LENGTH: u8 = 2;
/// Bits 2 to 7 of the type byte, in the numbering of the standard (11.2.2.1).
const KIND_MASK: u8 = 0x3f;

fn begin(out: &mut Vec<u8>, length: usize, kind: u8) {
    // TotalAHSLength ends at 1020 bytes, far below what 16 bits hold.
    let length = u16::try_from(length).unwrap_or_else(|_| panic!("AHSLength of {length} bytes"));
    out.extend_from_slice(&length.to_be_bytes());
    out.push(kind & KIND_MASK);
}

#[cfg(test)]
mod tests {
    use super::*;

    const CDB_REST: [u8; 16] = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16];

    /// An extended CDB of 32 bytes in all, then a bidirectional read length.
    const BOTH: [u8; 28] = [
        0x00, 0x11, 0x01, 0x00, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, //
        0x00, 0x05, 0x02, 0x00, 0x00, 0x01, 0x00, 0x00,
    ];

    fn segments(bytes: &[u8]) -> Vec<Result<Ahs<'_>, AhsFault>> {
        AhsSegments::new(bytes).collect()
    }

    #[test]
    fn extended_cdb_and_bidirectional_length_are_read() {
        let expected =
            vec![Ok(Ahs::ExtendedCdb(&CDB_REST)), Ok(Ahs::BidirectionalReadLength(0x1_0000))];
        assert_eq!(segments(&BOTH), expected);
    }

    #[test]
    fn segments_are_written_as_they_are_read() {
        let mut out = Vec::new();
        Ahs::ExtendedCdb(&CDB_REST).emit(&mut out);
        Ahs::BidirectionalReadLength(0x1_0000).emit(&mut out);
        assert_eq!(out, BOTH);
    }

    #[test]
    fn padding_and_reserved_bits_are_ignored() {
        let bytes = [0x00, 0x03, 0xc1, 0xff, 0xaa, 0xbb, 0xff, 0xff];
        assert_eq!(segments(&bytes), [Ok(Ahs::ExtendedCdb(&[0xaa, 0xbb]))]);
    }

    #[test]
    fn an_unknown_type_is_told_with_its_bytes() {
        let bytes = [0x00, 0x02, 0x2a, 0x11, 0x22, 0, 0, 0];
        assert_eq!(segments(&bytes), [Ok(Ahs::Unknown { kind: 0x2a, bytes: &[0x11, 0x22] })]);
        let mut out = Vec::new();
        Ahs::Unknown { kind: 0x2a, bytes: &[0x11, 0x22] }.emit(&mut out);
        assert_eq!(out, bytes);
    }

    #[test]
    fn every_shorter_prefix_is_rejected() {
        for length in 1..20 {
            assert_eq!(
                segments(&BOTH[..length]),
                [Err(AhsFault::Truncated { bytes_left: length })],
            );
        }
        for length in 21..28 {
            assert_eq!(segments(&BOTH[..length]).len(), 2);
            assert!(segments(&BOTH[..length])[1].is_err());
        }
    }

    #[test]
    fn wrong_lengths_are_rejected_and_end_the_segments() {
        let bytes = [0x00, 0x04, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(segments(&bytes), [Err(AhsFault::LengthWrong { kind: 2, length: 4 })]);
        let bytes = [0x00, 0x01, 0x01, 0x00];
        assert_eq!(segments(&bytes), [Err(AhsFault::LengthWrong { kind: 1, length: 1 })]);
        let bytes = [0x00, 0x00, 0x02, 0x00];
        assert_eq!(segments(&bytes), [Err(AhsFault::LengthWrong { kind: 2, length: 0 })]);
    }
}
