//! Blocks that say who wrote them, where and in which order, so that a reader can judge them.

/// Bytes of a self-describing block.
const BLOCK_BYTES: usize = 512;

/// First bytes of every self-describing block.
const MARK: [u8; 8] = *b"POLLUXe2";

/// The self-description of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlockContent {
    /// Never written: zeros only.
    Empty,
    /// Neither empty nor one write from its first to its last byte.
    Torn,
    /// Written here with this number.
    Written {
        /// Number of the write; a writer counts upwards.
        sequence: u64,
    },
    /// Written for another address.
    Misplaced {
        /// The address that the block was written for.
        lba: u64,
    },
}

/// Fills one block of 512 bytes: mark, address, number, and bytes that follow from both.
pub fn fill_block(block: &mut [u8], lba: u64, sequence: u64) {
    block[..8].copy_from_slice(&MARK);
    block[8..16].copy_from_slice(&lba.to_be_bytes());
    block[16..24].copy_from_slice(&sequence.to_be_bytes());
    for (index, word) in block[24..BLOCK_BYTES].chunks_exact_mut(8).enumerate() {
        word.copy_from_slice(&filler(lba, sequence, index));
    }
}

/// Reads the self-description of a block of 512 bytes.
pub fn read_block(block: &[u8], lba: u64) -> BlockContent {
    if block.iter().all(|byte| *byte == 0) {
        return BlockContent::Empty;
    }
    let (Some(written_for), Some(sequence)) = (number_at(block, 8), number_at(block, 16)) else {
        return BlockContent::Torn;
    };
    let mut words = block[24..].chunks_exact(8).enumerate();
    let is_whole = words.all(|(index, word)| word == filler(written_for, sequence, index));
    if block[..8] != MARK || !is_whole {
        BlockContent::Torn
    } else if written_for != lba {
        BlockContent::Misplaced { lba: written_for }
    } else {
        BlockContent::Written { sequence }
    }
}

fn number_at(block: &[u8], offset: usize) -> Option<u64> {
    let bytes = block.get(offset..)?.first_chunk::<8>()?;
    Some(u64::from_be_bytes(*bytes))
}

fn filler(lba: u64, sequence: u64, index: usize) -> [u8; 8] {
    let mixed =
        (lba << 20 ^ sequence).wrapping_add(index as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed ^ mixed >> 29).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_tells_its_story() {
        let mut block = vec![0; 512];
        assert_eq!(read_block(&block, 5), BlockContent::Empty);
        fill_block(&mut block, 5, 77);
        assert_eq!(read_block(&block, 5), BlockContent::Written { sequence: 77 });
        assert_eq!(read_block(&block, 6), BlockContent::Misplaced { lba: 5 });
    }

    #[test]
    fn a_mix_of_two_writes_is_torn() {
        let (mut old, mut new) = (vec![0; 512], vec![0; 512]);
        fill_block(&mut old, 5, 77);
        fill_block(&mut new, 5, 78);
        old[..256].copy_from_slice(&new[..256]);
        assert_eq!(read_block(&old, 5), BlockContent::Torn);
    }
}
