//! Logical block addresses, counts and sizes (SBC-4 4.3).

/// A logical block address: the number of a block from the start of a logical unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Lba(pub u64);

/// A number of logical blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct BlockCount(pub u64);

/// The size of one logical block: a power of two from 512 to 4096 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockSize {
    shift: u8,
}

impl BlockSize {
    /// The classic sector.
    pub const B512: Self = Self { shift: 9 };
    /// The native block of current disks.
    pub const B4096: Self = Self { shift: 12 };

    /// The block size of `bytes`, if it is 512, 1024, 2048 or 4096.
    pub const fn from_bytes(bytes: u32) -> Option<Self> {
        match bytes {
            512 => Some(Self { shift: 9 }),
            1024 => Some(Self { shift: 10 }),
            2048 => Some(Self { shift: 11 }),
            4096 => Some(Self { shift: 12 }),
            _ => None,
        }
    }

    /// Bytes in one block.
    pub const fn bytes(self) -> u32 {
        1 << self.shift
    }

    /// The power of two of the size.
    pub const fn shift(self) -> u8 {
        self.shift
    }

    /// The byte offset of a block, or `None` where it passes 64 bits.
    pub const fn offset_of(self, lba: Lba) -> Option<u64> {
        lba.0.checked_mul(1 << self.shift)
    }

    /// The bytes in `count` blocks, or `None` where they pass 64 bits.
    pub const fn bytes_of(self, count: BlockCount) -> Option<u64> {
        count.0.checked_mul(1 << self.shift)
    }

    /// How many whole blocks `bytes` holds.
    pub const fn blocks_in(self, bytes: u64) -> BlockCount {
        BlockCount(bytes >> self.shift)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_powers_of_two_from_512_to_4096_are_block_sizes() {
        let valid: Vec<u32> = (0..=8192).filter(|&b| BlockSize::from_bytes(b).is_some()).collect();
        assert_eq!(valid, [512, 1024, 2048, 4096]);
    }

    #[test]
    fn an_offset_past_64_bits_is_none() {
        assert_eq!(BlockSize::B512.offset_of(Lba(u64::MAX)), None);
        assert_eq!(BlockSize::B512.offset_of(Lba(3)), Some(1536));
    }
}
