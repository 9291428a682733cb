//! A volume's medium with its volatile cache: what was written is durable only after a flush, or
//! if it was asked for.

use crate::plan::VolumePlan;
use crate::rng::{Rng, size};
use crate::sectors::SECTOR;

/// One volume's medium.
#[derive(Debug)]
pub(super) struct Disk {
    /// What reads find.
    data: Vec<u8>,
    /// What a crash leaves of sectors that are not in the cache.
    stable: Vec<u8>,
    dirty: Vec<bool>,
    allocated: Vec<bool>,
    volatile: bool,
    in_memory: bool,
}

impl Disk {
    pub(super) fn new(volume: &VolumePlan) -> Self {
        let count = size(volume.sectors);
        let bytes = vec![0; count * SECTOR];
        Self {
            data: bytes.clone(),
            stable: bytes,
            dirty: vec![false; count],
            allocated: vec![false; count],
            volatile: volume.volatile,
            in_memory: volume.in_memory,
        }
    }

    /// Whether it is the memory of the node, and gone with its power.
    pub(super) const fn is_in_memory(&self) -> bool {
        self.in_memory
    }

    /// Bytes of the medium.
    pub(super) fn bytes(&self) -> u64 {
        self.data.len() as u64
    }

    /// What a read finds.
    pub(super) fn read(&self, offset: u64, into: &mut [u8]) {
        let from = size(offset);
        into.copy_from_slice(&self.data[from..from + into.len()]);
    }

    /// Writes whole sectors.
    pub(super) fn write(&mut self, offset: u64, bytes: &[u8], durable: bool) {
        let from = size(offset);
        self.data[from..from + bytes.len()].copy_from_slice(bytes);
        self.changed(from, bytes.len(), durable, true);
    }

    /// Makes whole sectors zeros.
    pub(super) fn zero(&mut self, offset: u64, len: u64, allocated: bool) {
        let from = size(offset);
        self.data[from..from + size(len)].fill(0);
        self.changed(from, size(len), false, allocated);
    }

    fn changed(&mut self, from: usize, len: usize, durable: bool, allocated: bool) {
        let first = from / SECTOR;
        let last = (from + len) / SECTOR;
        self.allocated[first..last].fill(allocated);
        if durable || !self.volatile {
            self.stable[from..from + len].copy_from_slice(&self.data[from..from + len]);
            self.dirty[first..last].fill(false);
        } else {
            self.dirty[first..last].fill(true);
        }
    }

    /// The sectors that a flush that begins now has to make durable.
    pub(super) fn dirty(&self) -> Vec<usize> {
        (0..self.dirty.len()).filter(|&s| self.dirty[s]).collect()
    }

    /// Those sectors are durable now.
    pub(super) fn flushed(&mut self, sectors: &[usize]) {
        for &sector in sectors {
            let at = sector * SECTOR;
            self.stable[at..at + SECTOR].copy_from_slice(&self.data[at..at + SECTOR]);
            self.dirty[sector] = false;
        }
    }

    /// The first run of sectors that are all allocated, or all not: its bytes, and which.
    pub(super) fn map(&self, offset: u64, len: u64) -> (u64, bool) {
        let first = size(offset) / SECTOR;
        let last = (size(offset + len) / SECTOR).min(self.allocated.len());
        let allocated = self.allocated.get(first).copied().unwrap_or(false);
        let run = self.allocated[first.min(last)..last].iter().take_while(|&&a| a == allocated);
        ((run.count() * SECTOR) as u64, allocated)
    }

    /// The power fails: each sector of the cache is written, or not.
    pub(super) fn crash(&mut self, rng: &mut Rng) {
        if self.in_memory {
            self.data.fill(0);
            return;
        }
        let keep = rng.pick(&[0, 100, 500, 900]);
        for sector in self.dirty() {
            if rng.chance(keep) {
                self.flushed(&[sector]);
            }
        }
        self.dirty.fill(false);
        self.data.copy_from_slice(&self.stable);
    }

    /// All of it.
    pub(super) fn contents(&self) -> &[u8] {
        &self.data
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crash_leaves_what_was_flushed() {
        let mut disk = Disk::new(&VolumePlan {
            sectors: 4,
            block_bytes: 512,
            volatile: true,
            unmap: true,
            read_only: false,
            in_memory: false,
        });
        disk.write(512, &[1; 512], true);
        disk.write(1024, &[2; 512], false);
        let dirty = disk.dirty();
        disk.write(1536, &[3; 512], false);
        disk.flushed(&dirty);
        disk.crash(&mut Rng::new(1));
        assert_eq!(disk.contents()[512], 1);
        assert_eq!(disk.contents()[1024], 2);
        assert_eq!(disk.map(0, 2048), (512, false));
    }
}
