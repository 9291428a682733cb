//! Lengths and counts of what is in memory, as the integers of wire formats, files and reports.
//!
//! A conversion that cannot fail is made here, where its reason stands once.

const _: () = assert!(usize::BITS >= 32 && usize::BITS <= 64, "Pollux runs on 32 and 64 bits");

/// A length in memory as 32 bits, for what has a far lower limit of its own: a PDU, a buffer, a
/// parameter list, a table.
///
/// # Panics
/// When it does not fit: the limit was not kept.
#[track_caller]
pub const fn len_u32(len: usize) -> u32 {
    assert!(len <= u32::MAX as usize, "every length of one thing has a limit below 4 GiB");
    #[expect(clippy::cast_possible_truncation, reason = "the assertion above")]
    let len = len as u32;
    len
}

/// A length in memory as 16 bits, for what its format keeps below 64 KiB.
///
/// # Panics
/// When it does not fit: the format was not kept.
#[track_caller]
pub const fn len_u16(len: usize) -> u16 {
    assert!(len <= u16::MAX as usize, "the format keeps the length below 64 KiB");
    #[expect(clippy::cast_possible_truncation, reason = "the assertion above")]
    let len = len as u16;
    len
}

/// A length in memory as 8 bits, for what its format keeps below 256 bytes.
///
/// # Panics
/// When it does not fit: the format was not kept.
#[track_caller]
pub const fn len_u8(len: usize) -> u8 {
    assert!(len <= u8::MAX as usize, "the format keeps the length below 256 bytes");
    #[expect(clippy::cast_possible_truncation, reason = "the assertion above")]
    let len = len as u8;
    len
}

/// A length in memory as 64 bits; addresses have no more.
pub const fn len_u64(len: usize) -> u64 {
    len as u64
}

/// A length of 32 bits as one in memory; addresses have no fewer.
pub const fn len_usize(len: u32) -> usize {
    len as usize
}

/// A count for a field of 32 bits in which the greatest value also means "that many or more".
pub const fn saturating_u32(count: u64) -> u32 {
    #[expect(clippy::cast_possible_truncation, reason = "the smaller of the two fits")]
    let fits = if count < u32::MAX as u64 { count as u32 } else { u32::MAX };
    fits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_keep_their_value() {
        assert_eq!((len_u32(0), len_u32(0xffff_ffff)), (0, 0xffff_ffff));
        assert_eq!((len_u16(0xffff), len_u8(0xff)), (0xffff, 0xff));
        assert_eq!((len_u64(0x1_0000_0000), len_usize(0xffff_ffff)), (0x1_0000_0000, 0xffff_ffff));
    }

    #[test]
    #[should_panic(expected = "below 4 GiB")]
    fn a_length_that_has_no_limit_is_a_mistake() {
        len_u32(0x1_0000_0000);
    }

    #[test]
    #[should_panic(expected = "below 64 KiB")]
    fn a_length_beyond_16_bits_is_a_mistake() {
        len_u16(0x1_0000);
    }

    #[test]
    #[should_panic(expected = "below 256 bytes")]
    fn a_length_beyond_8_bits_is_a_mistake() {
        len_u8(0x100);
    }

    #[test]
    fn a_count_stops_at_the_greatest_value() {
        assert_eq!(saturating_u32(0xffff_fffe), 0xffff_fffe);
        assert_eq!(saturating_u32(0xffff_ffff), 0xffff_ffff);
        assert_eq!(saturating_u32(0x1_0000_0000), 0xffff_ffff);
        assert_eq!(saturating_u32(u64::MAX), 0xffff_ffff);
    }
}
