//! The shape of a volume, and the translation from blocks to bytes.

use units::{BlockCount, BlockSize, Lba};

/// A run of bytes of a volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ByteRange {
    /// Bytes from the start of the volume.
    pub offset: u64,
    /// Bytes in the run.
    pub len: u64,
}

impl ByteRange {
    /// The first byte behind the run.
    pub const fn end(self) -> u64 {
        self.offset + self.len
    }

    /// Whether the two runs share a byte.
    pub const fn overlaps(self, other: Self) -> bool {
        self.offset < other.end() && other.offset < self.end()
    }
}

/// The shape of a volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// The logical block size that initiators see.
    pub block_size: BlockSize,
    /// The capacity in logical blocks; at least 1.
    pub blocks: BlockCount,
    /// Logical blocks per physical block, as a power of two (READ CAPACITY (16)).
    pub physical_block_exponent: u8,
}

impl Geometry {
    /// The geometry of a volume of `bytes`; a last partial block is not counted. `None` where
    /// not even one block fits.
    pub const fn of_bytes(bytes: u64, block_size: BlockSize, physical_bytes: u32) -> Option<Self> {
        let blocks = block_size.blocks_in(bytes);
        if blocks.0 == 0 {
            return None;
        }
        let mut exponent = 0;
        while (block_size.bytes() << exponent) < physical_bytes && exponent < 8 {
            exponent += 1;
        }
        Some(Self { block_size, blocks, physical_block_exponent: exponent })
    }

    /// The capacity in bytes.
    pub const fn bytes(&self) -> u64 {
        self.blocks.0 << self.block_size.shift()
    }

    /// Where a run of blocks lies, if it is all inside the volume.
    pub fn byte_range(&self, lba: Lba, blocks: BlockCount) -> Option<ByteRange> {
        let end = lba.0.checked_add(blocks.0)?;
        if end > self.blocks.0 {
            return None;
        }
        Some(ByteRange {
            offset: self.block_size.offset_of(lba)?,
            len: self.block_size.bytes_of(blocks)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partial_last_block_is_not_counted() {
        let g = Geometry::of_bytes(1024 + 511, BlockSize::B512, 4096).unwrap();
        assert_eq!((g.blocks, g.bytes(), g.physical_block_exponent), (BlockCount(2), 1024, 3));
        assert_eq!(Geometry::of_bytes(511, BlockSize::B512, 512), None);
    }

    #[test]
    fn a_range_outside_the_volume_is_none() {
        let g = Geometry::of_bytes(8192, BlockSize::B512, 512).unwrap();
        assert_eq!(
            g.byte_range(Lba(15), BlockCount(1)),
            Some(ByteRange { offset: 7680, len: 512 })
        );
        assert_eq!(g.byte_range(Lba(15), BlockCount(2)), None);
        assert_eq!(g.byte_range(Lba(u64::MAX), BlockCount(1)), None);
        assert_eq!(g.byte_range(Lba(16), BlockCount(0)), Some(ByteRange { offset: 8192, len: 0 }));
    }
}
