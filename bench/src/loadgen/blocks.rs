//! Blocks that say which they are, so that a read proves what it returns.
//!
//! Every word of a block follows from its number, its version and the run's seed. While a block
//! is in flight nothing else touches it, so the version that a read must return is known.

use super::access::mix;
use anyhow::{Result, ensure};

/// What every block must contain.
#[derive(Debug)]
pub(crate) struct Blocks {
    seed: u64,
    /// The version that was written last; 0 where nothing was.
    versions: Vec<u32>,
    busy: Vec<bool>,
}

/// A word of a block that is not what was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mismatch {
    /// The block's number.
    pub(crate) block: u64,
    /// The byte within it.
    pub(crate) byte: usize,
    /// What was written.
    pub(crate) expected: u64,
    /// What was read.
    pub(crate) found: u64,
}

impl Blocks {
    pub(crate) fn new(count: u64, seed: u64) -> Result<Self> {
        ensure!(
            count <= BLOCKS_MAX,
            "--verify keeps a version for each of {count} blocks, which is too many; use --size"
        );
        let count = usize::try_from(count)?;
        Ok(Self { seed, versions: vec![0; count], busy: vec![false; count] })
    }

    /// Takes a block for a command; false where another command has it.
    pub(crate) fn take(&mut self, block: u64) -> bool {
        let Some(busy) = self.busy.get_mut(place(block)) else { return false };
        !std::mem::replace(busy, true)
    }

    /// The command of a block has ended.
    pub(crate) fn give_back(&mut self, block: u64) {
        if let Some(busy) = self.busy.get_mut(place(block)) {
            *busy = false;
        }
    }

    /// Fills a block with its next version.
    pub(crate) fn fill_next(&mut self, block: u64, bytes: &mut [u8]) {
        let Some(version) = self.versions.get_mut(place(block)) else { return };
        *version += 1;
        let key = key(self.seed, block, *version);
        for (index, word) in bytes.as_chunks_mut::<8>().0.iter_mut().enumerate() {
            *word = word_at(key, block, index).to_le_bytes();
        }
    }

    /// Compares what was read with what was written, where something was.
    pub(crate) fn check(&self, block: u64, bytes: &[u8]) -> Option<Mismatch> {
        let version = *self.versions.get(place(block))?;
        if version == 0 {
            return None;
        }
        let key = key(self.seed, block, version);
        bytes.as_chunks::<8>().0.iter().enumerate().find_map(|(index, word)| {
            let (expected, found) = (word_at(key, block, index), u64::from_le_bytes(*word));
            let byte = index * 8;
            (expected != found).then_some(Mismatch { block, byte, expected, found })
        })
    }
}

fn place(block: u64) -> usize {
    // A block beyond the address space has no version, as any beyond the end of the table.
    usize::try_from(block).unwrap_or(usize::MAX)
}

fn key(seed: u64, block: u64, version: u32) -> u64 {
    mix(seed ^ mix(block) ^ (u64::from(version) << 40))
}

/// The first word of each 512 bytes is the block's number, for whoever looks at a dump.
const fn word_at(key: u64, block: u64, index: usize) -> u64 {
    if index.is_multiple_of(64) { block } else { mix(key.wrapping_add(index as u64)) }
}

const BLOCKS_MAX: u64 = 1 << 28;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_found_and_nothing_else_is() {
        let mut blocks = Blocks::new(4, 9).unwrap();
        let mut bytes = [0; 1024];
        assert_eq!(blocks.check(2, &bytes), None);
        blocks.fill_next(2, &mut bytes);
        assert_eq!(bytes[..8], [2, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(blocks.check(2, &bytes), None);
        let old = bytes;
        blocks.fill_next(2, &mut bytes);
        assert_eq!(blocks.check(2, &old).map(|m| (m.block, m.byte)), Some((2, 8)));
        bytes[1023] ^= 1;
        assert_eq!(blocks.check(2, &bytes).map(|m| m.byte), Some(1016));
    }

    #[test]
    fn a_block_of_another_place_is_found_out() {
        let mut blocks = Blocks::new(4, 9).unwrap();
        let (mut one, mut two) = ([0; 512], [0; 512]);
        blocks.fill_next(1, &mut one);
        blocks.fill_next(2, &mut two);
        let mismatch = Mismatch { block: 2, byte: 0, expected: 2, found: 1 };
        assert_eq!(blocks.check(2, &one), Some(mismatch));
    }

    #[test]
    fn a_block_is_taken_once_at_a_time() {
        let mut blocks = Blocks::new(2, 0).unwrap();
        assert!(blocks.take(1));
        assert!(!blocks.take(1));
        blocks.give_back(1);
        assert!(blocks.take(1));
        assert!(!blocks.take(2));
    }
}
