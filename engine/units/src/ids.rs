//! Identifiers that travel between layers and cores.

use crate::lengths::len_usize;
use crate::limits;
use crate::slab::Key;

/// One reactor, counted from 0 in the order of `--cores`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReactorId(pub u8);

/// One connection of a reactor. The generation distinguishes a slot's current connection from an
/// earlier one, so that a late completion is recognised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnId(pub Key);

/// One volume of the catalog: its place there, and above these bits how many volumes had the place
/// before. Places are used again, ids are not while the daemon runs: whatever is late (a
/// completion, a message, a sample) names a volume that is gone, never the one at its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VolumeId(pub u32);

impl VolumeId {
    const PLACE_BITS: u32 = limits::VOLUMES_MAX.trailing_zeros();

    /// The first volume at a place.
    ///
    /// # Panics
    /// A catalog has no such place.
    pub const fn first_at(place: u32) -> Self {
        assert!(place >> Self::PLACE_BITS == 0, "a catalog has VOLUMES_MAX places");
        Self(place)
    }

    /// Its place in the catalog.
    #[inline]
    pub const fn place(self) -> usize {
        len_usize(self.0 & ((1 << Self::PLACE_BITS) - 1))
    }

    /// The next volume at this place; `None` where all its ids were used, after a million.
    pub const fn successor(self) -> Option<Self> {
        match self.0.checked_add(1 << Self::PLACE_BITS) {
            Some(id) => Some(Self(id)),
            None => None,
        }
    }
}

// The place is a whole number of bits.
const _: () = assert!(limits::VOLUMES_MAX.is_power_of_two());

/// A logical unit number as its wire form, 8 bytes big-endian (SAM-5 4.7).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Lun(pub u64);

impl Lun {
    /// LUN 0: the one every initiator asks first.
    pub const ZERO: Self = Self(0);

    /// The single-level LUN of `number`: peripheral device addressing below 256, flat space
    /// addressing up to 16383 (SAM-5 4.7.7).
    pub const fn from_number(number: u16) -> Option<Self> {
        if number < 256 {
            Some(Self((number as u64) << 48))
        } else if number < 16384 {
            Some(Self((0x4000 | number as u64) << 48))
        } else {
            None
        }
    }

    /// The number of a single-level LUN in either addressing method; `None` for all others.
    pub const fn number(self) -> Option<u16> {
        if self.0 & 0x0000_ffff_ffff_ffff != 0 {
            return None;
        }
        let first_level = self.0 >> 48;
        match first_level >> 14 {
            // Bus identifier 0 only: peripheral device addressing.
            0 if first_level < 256 => Some((first_level & 0xff) as u16),
            1 => Some((first_level & 0x3fff) as u16),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lun_numbers_use_peripheral_then_flat_addressing() {
        assert_eq!(Lun::from_number(5), Some(Lun(0x0005_0000_0000_0000)));
        assert_eq!(Lun::from_number(256), Some(Lun(0x4100_0000_0000_0000)));
        assert_eq!(Lun::from_number(16384), None);
        assert_eq!(Lun(0x4100_0000_0000_0000).number(), Some(256));
        assert_eq!(Lun(0x4005_0000_0000_0000).number(), Some(5));
    }

    #[test]
    fn second_level_and_other_address_methods_have_no_number() {
        assert_eq!(Lun(0x0005_0001_0000_0000).number(), None);
        assert_eq!(Lun(0x0100_0000_0000_0000).number(), None);
        assert_eq!(Lun(0xc101_0000_0000_0000).number(), None);
    }
}
