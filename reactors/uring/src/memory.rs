//! A volume in memory, shared by all reactors.
//!
//! Several reactors may read and write the same bytes at the same time, as several queues of a
//! disk may. So no reference to the bytes is ever made: they are copied in and out with the
//! accesses of [`crate::copy`], which do not race, page by page under the versions of
//! [`crate::versions`]: a logical block is seen whole. An order between overlapping commands, where
//! one is needed, is kept by whoever owns the range (its shard), not here.

use std::sync::Arc;

use units::BufSlice;

use crate::copy;
use crate::errors::{SetupError, Warning};
use crate::mapping::Mapping;
use crate::pool::{Pool, PoolMut};
use crate::versions::{Piece, Versions, pages};

/// RAM that serves as a volume.
#[derive(Debug)]
pub struct MemoryStore {
    memory: Mapping,
    versions: Versions,
    /// Writes go past the processor's caches, which hold little of a store this large.
    streams: bool,
}

/// The range is not in the store, or the pool refused its side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutOfStore;

impl std::fmt::Display for OutOfStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the range is outside the memory volume, or its buffer is in use")
    }
}

impl std::error::Error for OutOfStore {}

impl MemoryStore {
    /// Makes a store of `bytes` zeros, all of them in memory: a page that is found only when it is
    /// first written holds up every connection of the reactor that writes.
    pub fn new(bytes: u64) -> Result<(Arc<Self>, Option<Warning>), SetupError> {
        const WHAT: &str = "a memory volume";
        let bytes = usize::try_from(bytes).map_err(|_| SetupError::Options {
            reason: "the memory volume exceeds the address space",
        })?;
        if bytes == 0 {
            return Err(SetupError::Options { reason: "a memory volume needs at least one byte" });
        }
        let memory = Mapping::new(WHAT, bytes)?;
        memory.populate();
        let warning =
            (!memory.is_huge_enough()).then_some(Warning::NoHugePages { what: WHAT, bytes });
        let streams = bytes > CACHED_STORE_BYTES_MAX;
        let versions = Versions::new(bytes);
        Ok((Arc::new(Self { memory, versions, streams }), warning))
    }

    /// Bytes of the volume.
    pub const fn len_bytes(&self) -> u64 {
        self.memory.bytes() as u64
    }

    /// Copies from the volume into a pool buffer.
    pub fn read(
        &self,
        offset: u64,
        pool: &mut PoolMut<'_>,
        slice: BufSlice,
    ) -> Result<(), OutOfStore> {
        let target = pool.bytes_mut(slice).ok_or(OutOfStore)?;
        self.read_bytes(offset, target)
    }

    /// Copies from the volume into `target`.
    pub fn read_bytes(&self, offset: u64, target: &mut [u8]) -> Result<(), OutOfStore> {
        let start = self.place(offset, target.len())?;
        for Piece { done, at, len } in pages(start, target.len()) {
            let target = &mut target[done..done + len];
            let shared = self.memory.at(at).as_ptr().cast_const();
            // SAFETY: `place` found the bytes inside the mapping, which lives as long as `self`.
            // They are only ever touched through `copy`, here and below.
            self.versions.read(at, || unsafe { copy::from_shared(shared, target) });
        }
        Ok(())
    }

    /// Copies from a pool buffer into the volume.
    pub fn write(&self, offset: u64, pool: &Pool, slice: BufSlice) -> Result<(), OutOfStore> {
        self.write_bytes(offset, pool.bytes(slice).ok_or(OutOfStore)?)
    }

    /// Copies `source` into the volume.
    pub fn write_bytes(&self, offset: u64, source: &[u8]) -> Result<(), OutOfStore> {
        let start = self.place(offset, source.len())?;
        for Piece { done, at, len } in pages(start, source.len()) {
            let source = &source[done..done + len];
            let shared = self.memory.at(at).as_ptr();
            if self.streams {
                // SAFETY: as in `read_bytes`; the source is not in the store, because no reference
                // into the store exists.
                self.versions.write(at, || unsafe { copy::to_shared_streaming(source, shared) });
            } else {
                // SAFETY: as above.
                self.versions.write(at, || unsafe { copy::to_shared(source, shared) });
            }
        }
        Ok(())
    }

    /// Asks the processor to fetch the start of a range that is to be read soon: the bytes of a
    /// random read are seldom in its cache. Some lines are enough for it to fetch the rest of the
    /// page on its own. Returns whether the range lies in the volume.
    #[inline]
    pub fn prefetch(&self, offset: u64, len: u32) -> bool {
        let Ok(shared) = self.range(offset, len as usize) else { return false };
        #[cfg(all(target_arch = "x86_64", not(miri)))]
        for line in 0..PREFETCH_LINES {
            use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            let address = shared.wrapping_add(line * CACHE_LINE_BYTES);
            // SAFETY: a prefetch changes nothing but what the cache holds, whatever the address.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(address.cast_const().cast()) };
        }
        #[cfg(not(all(target_arch = "x86_64", not(miri))))]
        let _elsewhere_the_processor_finds_out_by_itself = shared;
        true
    }

    /// Fills a range with zeros.
    pub fn zero(&self, offset: u64, len: u64) -> Result<(), OutOfStore> {
        let bytes = usize::try_from(len).map_err(|_| OutOfStore)?;
        let start = self.place(offset, bytes)?;
        for Piece { at, len, .. } in pages(start, bytes) {
            let shared = self.memory.at(at).as_ptr();
            // SAFETY: as in `read_bytes`.
            self.versions.write(at, || unsafe { copy::zero_shared(shared, len) });
        }
        Ok(())
    }

    /// Compares a range with `expected`: the offset of the first byte that differs, if any does.
    pub fn compare(&self, offset: u64, expected: &[u8]) -> Result<Option<usize>, OutOfStore> {
        self.range(offset, expected.len())?;
        let mut piece = [0_u8; COMPARE_BYTES];
        for (index, expected) in expected.chunks(COMPARE_BYTES).enumerate() {
            let start = index * COMPARE_BYTES;
            let piece = &mut piece[..expected.len()];
            self.read_bytes(offset + start as u64, piece)?;
            // The whole comparison is vectorised; only a difference is looked for byte by byte.
            if piece != expected {
                let at = piece.iter().zip(expected).position(|(a, b)| a != b);
                return Ok(at.map(|at| start + at));
            }
        }
        Ok(None)
    }

    /// The address of a range that the kernel may read.
    pub(crate) fn address(&self, offset: u64, len: u32) -> Option<*const u8> {
        self.range(offset, len as usize).ok().map(<*mut u8>::cast_const)
    }

    fn range(&self, offset: u64, len: usize) -> Result<*mut u8, OutOfStore> {
        self.place(offset, len).map(|offset| self.memory.at(offset).as_ptr())
    }

    /// The offset of a range that lies in the store.
    fn place(&self, offset: u64, len: usize) -> Result<usize, OutOfStore> {
        let offset = usize::try_from(offset).map_err(|_| OutOfStore)?;
        let end = offset.checked_add(len).ok_or(OutOfStore)?;
        if end > self.memory.bytes() { Err(OutOfStore) } else { Ok(offset) }
    }
}

const CACHE_LINE_BYTES: usize = 64;

/// A store up to this size may be in the last-level cache as a whole, so its writes go there.
const CACHED_STORE_BYTES_MAX: usize = 32 << 20;

/// More was no better: 8 lines gained 3 to 6 % for 4 KiB reads, 32 lines nothing. They are as many
/// as the smallest block has.
const PREFETCH_LINES: usize = 8;

/// Bytes compared at a time: they stay in the first-level cache.
const COMPARE_BYTES: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back_and_nothing_else() {
        let (store, _) = MemoryStore::new(10_000).unwrap();
        store.write_bytes(4090, &[7; 20]).unwrap();
        let mut all = vec![1; 10_000];
        store.read_bytes(0, &mut all).unwrap();
        assert!(all[..4090].iter().all(|&b| b == 0));
        assert!(all[4090..4110].iter().all(|&b| b == 7));
        assert!(all[4110..].iter().all(|&b| b == 0));
        store.zero(4091, 2).unwrap();
        store.read_bytes(4090, &mut all[..4]).unwrap();
        assert_eq!(all[..4], [7, 0, 0, 7]);
    }

    #[test]
    fn a_store_that_no_cache_holds_keeps_what_is_written() {
        let (store, _) = MemoryStore::new(CACHED_STORE_BYTES_MAX as u64 + 4096).unwrap();
        assert!(store.streams);
        let data: Vec<u8> = (0..=250).cycle().take(10_001).collect();
        store.write_bytes(1_000_003, &data).unwrap();
        assert_eq!(store.compare(1_000_003, &data), Ok(None));
        assert_eq!(store.compare(999_000, &[0; 1003]), Ok(None));
        assert_eq!(store.compare(1_010_004, &[0; 1000]), Ok(None));
    }

    #[test]
    fn ranges_past_the_end_are_refused_whole() {
        let (store, _) = MemoryStore::new(4096).unwrap();
        assert_eq!(store.write_bytes(4095, &[1, 1]), Err(OutOfStore));
        assert_eq!(store.read_bytes(u64::MAX, &mut [0; 2]), Err(OutOfStore));
        assert_eq!(store.zero(0, 4097), Err(OutOfStore));
        assert_eq!(store.compare(4096, &[0]), Err(OutOfStore));
        assert_eq!(store.compare(0, &[0; 4096]), Ok(None));
        assert!(store.prefetch(4096, 0));
        assert!(!store.prefetch(4096, 1));
    }

    #[test]
    fn compare_names_the_first_byte_that_differs() {
        let (store, _) = MemoryStore::new(16_384).unwrap();
        store.write_bytes(9000, &[1]).unwrap();
        assert_eq!(store.compare(1000, &[0; 10_000]), Ok(Some(8000)));
    }

    /// They did: a copy of a block took what another reactor had stored of it so far.
    #[test]
    fn nobody_sees_a_half_written_block_of_another_reactor() {
        for bytes in [1 << 16, CACHED_STORE_BYTES_MAX as u64 + 4096] {
            let (store, _) = MemoryStore::new(bytes).unwrap();
            std::thread::scope(|scope| {
                for tag in 1..=2 {
                    let store = &store;
                    scope.spawn(move || {
                        for _ in 0..2000 {
                            store.write_bytes(512, &[tag; 8192]).unwrap();
                            let mut seen = [0; 8192];
                            store.read_bytes(512, &mut seen).unwrap();
                            for block in seen.chunks(512) {
                                assert!(block.iter().all(|&b| b == block[0] && b != 0));
                            }
                        }
                    });
                }
            });
        }
    }
}
