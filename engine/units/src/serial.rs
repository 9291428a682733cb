//! Serial numbers that wrap (RFC 1982), as CmdSN, StatSN and DataSN do (RFC 7143 4.2.2).

/// A 32-bit serial number. It has no total order, so it is not `Ord`: compare with the methods.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct Serial32(pub u32);

impl Serial32 {
    /// The number that is `n` further on. `n` is at most 2^31 - 1 (RFC 1982 3.1).
    pub const fn plus(self, n: u32) -> Self {
        debug_assert!(n < 1 << 31);
        Self(self.0.wrapping_add(n))
    }

    /// The number one back.
    pub const fn previous(self) -> Self {
        Self(self.0.wrapping_sub(1))
    }

    /// Moves one on and returns the number from before.
    pub const fn take_next(&mut self) -> Self {
        let now = *self;
        self.0 = self.0.wrapping_add(1);
        now
    }

    /// Whether this number comes before `other` (RFC 1982 3.2).
    pub const fn is_before(self, other: Self) -> bool {
        let distance = other.0.wrapping_sub(self.0);
        distance != 0 && distance < 1 << 31
    }

    /// Whether this number is `other` or comes before it.
    pub const fn is_at_most(self, other: Self) -> bool {
        self.0 == other.0 || self.is_before(other)
    }

    /// How far `self` is ahead of `earlier`; `None` if it is behind.
    pub const fn distance_from(self, earlier: Self) -> Option<u32> {
        if earlier.is_at_most(self) { Some(self.0.wrapping_sub(earlier.0)) } else { None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_holds_across_the_wrap() {
        let last = Serial32(0xffff_ffff);
        assert!(last.is_before(Serial32(0)));
        assert!(!Serial32(0).is_before(last));
        assert!(Serial32(0xffff_fff0).is_before(Serial32(0x10)));
        assert_eq!(Serial32(0x10).distance_from(Serial32(0xffff_fff0)), Some(0x20));
        assert_eq!(Serial32(5).distance_from(Serial32(6)), None);
    }

    #[test]
    fn equal_numbers_are_not_before_each_other() {
        assert!(!Serial32(7).is_before(Serial32(7)));
        assert!(Serial32(7).is_at_most(Serial32(7)));
    }

    #[test]
    fn numbers_half_the_space_apart_are_not_ordered() {
        assert!(!Serial32(0).is_before(Serial32(1 << 31)));
        assert!(!Serial32(1 << 31).is_before(Serial32(0)));
    }
}
