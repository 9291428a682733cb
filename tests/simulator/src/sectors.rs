//! What the simulator writes: every sector of 512 bytes names the write that it is of, and
//! the place that it is meant for.

use crate::rng::size;

/// Bytes of a sector: what a crash leaves whole.
pub(crate) const SECTOR: usize = 512;
/// The same, for offsets.
pub(crate) const SECTOR_BYTES: u64 = 512;
/// The place of a block that WRITE SAME lays everywhere.
pub(crate) const ANYWHERE: u64 = u64::MAX;
/// The value of a sector of zeros.
pub(crate) const ZEROS: u64 = 0;

/// What a sector says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    /// The write that it is of, or [`ZEROS`].
    pub(crate) value: u64,
    /// The sector of the volume, or [`ANYWHERE`].
    pub(crate) place: u64,
}

impl Mark {
    /// A sector of zeros.
    pub(crate) const ZERO: Self = Self { value: ZEROS, place: 0 };

    fn unit(self) -> [u8; 16] {
        let mut unit = [0; 16];
        unit[..8].copy_from_slice(&self.value.to_be_bytes());
        unit[8..].copy_from_slice(&self.place.to_be_bytes());
        unit
    }

    /// The sector with this mark.
    pub(crate) fn sector(self) -> Vec<u8> {
        self.unit().repeat(SECTOR / 16)
    }

    /// The mark of a sector; `None` where it is torn or never was one.
    pub(crate) fn of(sector: &[u8]) -> Option<Self> {
        let (value, rest) = sector.split_first_chunk()?;
        let (place, _) = rest.split_first_chunk()?;
        // All units are the same: the sector equals itself one unit further on.
        let whole = sector.len() == SECTOR && sector[..SECTOR - 16] == sector[16..];
        let mark = Self { value: u64::from_be_bytes(*value), place: u64::from_be_bytes(*place) };
        whole.then_some(mark)
    }

    /// The writes that parts of a torn sector are of, in their order.
    pub(crate) fn values_of_torn(sector: &[u8]) -> Vec<u64> {
        let units = sector.chunks_exact(16).filter_map(|unit| unit.first_chunk());
        let mut values: Vec<u64> = units.map(|value| u64::from_be_bytes(*value)).collect();
        values.dedup();
        values
    }

    /// Whether a sector with this mark may lie at `sector` of a volume.
    pub(crate) const fn belongs_at(self, sector: u64) -> bool {
        self.value == ZEROS || self.place == sector || self.place == ANYWHERE
    }
}

/// The sectors of the write `value` from sector `first` on.
pub(crate) fn sectors(value: u64, first: u64, count: u64) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(size(count) * SECTOR);
    for place in first..first + count {
        bytes.extend_from_slice(&Mark { value, place }.sector());
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sector_tells_its_write_and_its_place() {
        let bytes = sectors(7, 40, 2);
        assert_eq!(Mark::of(&bytes[512..]), Some(Mark { value: 7, place: 41 }));
        assert_eq!(Mark::of(&[0; 512]), Some(Mark::ZERO));
    }

    #[test]
    fn a_torn_sector_has_no_mark() {
        let mut bytes = sectors(7, 40, 1);
        bytes[300] ^= 1;
        assert_eq!(Mark::of(&bytes), None);
    }
}
