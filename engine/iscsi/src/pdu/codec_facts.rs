//! What holds for every PDU, checked with one literal sample of each.

use std::fmt::Debug;

use proptest::prelude::*;

use super::PduFault;
use crate::bhs::Bhs;

/// A PDU's codec and one example of it.
pub(super) struct Sample<T> {
    /// The 48 bytes in hexadecimal.
    pub(super) bytes: &'static str,
    /// What they mean.
    pub(super) value: T,
    /// The bits that a reader ignores, in hexadecimal.
    pub(super) ignored: &'static str,
    pub(super) parse: fn(&Bhs) -> Result<T, PduFault>,
    pub(super) emit: fn(&T, &mut [u8; 48]),
}

impl<T: Debug + PartialEq> Sample<T> {
    pub(super) fn check(&self) {
        let bytes = from_hex(self.bytes);
        assert_eq!((self.parse)(&Bhs::new(bytes)).as_ref(), Ok(&self.value), "known bytes");
        assert_eq!(self.emitted(&self.value), bytes, "emitted over poison");
        self.check_every_bit(bytes);
        self.check_round_trips(bytes[0]);
        for length in 0..48 {
            assert_eq!(Bhs::from_prefix(&bytes[..length]), None, "prefix of {length} bytes");
        }
    }

    fn emitted(&self, value: &T) -> [u8; 48] {
        let mut out = [0xa5; 48];
        (self.emit)(value, &mut out);
        out
    }

    /// A bit is ignored if the sample says so; every other one changes the value or is refused.
    fn check_every_bit(&self, bytes: [u8; 48]) {
        let ignored = from_hex(self.ignored);
        for bit in 0..48 * 8 {
            let (byte, mask) = (bit / 8, 0x80 >> (bit % 8));
            let mut flipped = bytes;
            flipped[byte] ^= mask;
            let same = (self.parse)(&Bhs::new(flipped)).as_ref() == Ok(&self.value);
            assert_eq!(same, ignored[byte] & mask != 0, "byte {byte} mask {mask:02x}");
        }
    }

    fn check_round_trips(&self, opcode: u8) {
        proptest!(|(bytes in prop::collection::vec(any::<u8>(), 48))| {
            let mut bytes: [u8; 48] = bytes.try_into().unwrap();
            bytes[0] = bytes[0] & 0xc0 | opcode & 0x3f;
            if let Ok(value) = (self.parse)(&Bhs::new(bytes)) {
                let again = (self.parse)(&Bhs::new(self.emitted(&value)));
                prop_assert_eq!(again, Ok(value));
            }
        });
    }
}

/// 48 bytes of hexadecimal digits, spaced at will.
pub(super) fn from_hex(text: &str) -> [u8; 48] {
    let digits: Vec<u8> =
        text.chars().filter_map(|c| c.to_digit(16)).map(|d| u8::try_from(d).unwrap()).collect();
    let bytes: Vec<u8> = digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect();
    bytes.try_into().unwrap_or_else(|b: Vec<u8>| panic!("{} bytes of hex, not 48", b.len()))
}
