//! The versions of the pages of a memory volume: copies that see each logical block whole.
//!
//! A page that is being written has an odd version. Who reads copies it, and copies it again where
//! the version was odd or has changed meanwhile; who writes claims the version first. A logical
//! block lies inside of one page, so nobody sees a half-written one, and two writes of the same
//! block leave one of them. Several pages share a version: a few kilobytes of them are enough for
//! few reactors.

use std::sync::atomic::{AtomicU32, Ordering, fence};

/// Bytes that have one version: the largest logical block.
pub(crate) const PAGE_BYTES: usize = 4096;

/// The versions of one store.
#[derive(Debug)]
pub(crate) struct Versions {
    table: Box<[Version]>,
}

/// A cache line of its own: reactors that write different pages do not meet.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Version(AtomicU32);

impl Versions {
    /// Versions for a store of so many bytes.
    pub(crate) fn new(bytes: usize) -> Self {
        let count = bytes.div_ceil(PAGE_BYTES).next_power_of_two().min(VERSIONS_MAX);
        Self { table: (0..count).map(|_| Version::default()).collect() }
    }

    /// Changes the page at an offset while nobody else does.
    #[inline]
    pub(crate) fn write(&self, offset: usize, change: impl FnOnce()) {
        let Version(version) = self.of(offset);
        let mut tries = 0;
        let claimed = loop {
            let seen = version.load(Ordering::Relaxed);
            let is_free = seen.is_multiple_of(2);
            let claim = seen.wrapping_add(1);
            if is_free && version.compare_exchange_weak(seen, claim, ORDER, RELAXED).is_ok() {
                break claim;
            }
            wait(&mut tries);
        };
        // Who sees a byte of the change sees the odd version too.
        fence(Ordering::Release);
        change();
        version.store(claimed.wrapping_add(1), Ordering::Release);
    }

    /// Lets `copy` read the page at an offset until it has seen one version of it.
    #[inline]
    pub(crate) fn read(&self, offset: usize, mut copy: impl FnMut()) {
        let Version(version) = self.of(offset);
        let mut tries = 0;
        while tries < TRIES_MAX {
            let seen = version.load(Ordering::Acquire);
            if seen.is_multiple_of(2) {
                copy();
                // What was copied was there before the version is looked at again.
                fence(Ordering::Acquire);
                if version.load(Ordering::Relaxed) == seen {
                    return;
                }
            }
            wait(&mut tries);
        }
        // It is written all the time.
        self.write(offset, copy);
    }

    #[inline]
    fn of(&self, offset: usize) -> &Version {
        // The count is a power of two.
        &self.table[(offset / PAGE_BYTES) & (self.table.len() - 1)]
    }
}

/// The pieces of a range that lie in one page each: offset and bytes.
pub(crate) fn pages(offset: usize, bytes: usize) -> impl Iterator<Item = Piece> {
    let mut done = 0;
    std::iter::from_fn(move || {
        let at = offset + done;
        let len = (PAGE_BYTES - at % PAGE_BYTES).min(bytes - done);
        let piece = (len > 0).then_some(Piece { done, at, len });
        done += len;
        piece
    })
}

/// A part of a range in one page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    /// Bytes of the range in front of it.
    pub(crate) done: usize,
    /// Its offset in the store.
    pub(crate) at: usize,
    /// Its bytes.
    pub(crate) len: usize,
}

/// Waits for another thread, which copies a page or has lost its processor in the middle of that.
#[cold]
fn wait(tries: &mut u32) {
    *tries += 1;
    if tries.is_multiple_of(SPINS) {
        std::thread::yield_now();
    } else {
        std::hint::spin_loop();
    }
}

const ORDER: Ordering = Ordering::Acquire;
const RELAXED: Ordering = Ordering::Relaxed;

/// 64 KiB of versions for a store. Two reactors that write random pages meet in one of 1024 cases,
/// for the time of a copy.
const VERSIONS_MAX: usize = 1024;
/// A page is copied in a tenth of a microsecond: after so many pauses its writer is not running.
const SPINS: u32 = 64;
/// A page that is written so often is claimed to be read.
const TRIES_MAX: u32 = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_cut_where_pages_end() {
        let piece = |done, at, len| Piece { done, at, len };
        assert_eq!(pages(0, 0).count(), 0);
        assert_eq!(pages(512, 512).collect::<Vec<_>>(), [piece(0, 512, 512)]);
        let cut: Vec<_> = pages(4000, 8200).collect();
        assert_eq!(cut, [piece(0, 4000, 96), piece(96, 4096, 4096), piece(4192, 8192, 4008)]);
    }

    #[test]
    fn a_page_that_changed_meanwhile_is_copied_again() {
        let versions = Versions::new(1 << 20);
        let mut copies = 0;
        versions.read(8192, || {
            copies += 1;
            if copies < 3 {
                versions.write(8192, || {});
            }
        });
        assert_eq!(copies, 3);
        versions.read(8192, || copies += 1);
        assert_eq!(copies, 4);
    }

    #[test]
    fn a_page_that_never_rests_is_read_all_the_same() {
        let versions = Versions::new(4096);
        let mut copies = 0;
        versions.read(0, || {
            copies += 1;
            if copies <= TRIES_MAX {
                versions.write(0, || {});
            }
        });
        assert_eq!(copies, TRIES_MAX + 1);
    }
}
