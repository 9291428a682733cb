//! Byte ranges of a volume that commands hold: overlapping ones wait for each other.

use crate::ByteRange;

/// The ranges that are held, each with a tag of its holder. It is short (one entry for each
/// atomic command in flight), so a list beats a tree.
#[derive(Debug)]
pub struct RangeSet<T> {
    held: Vec<(ByteRange, T)>,
}

impl<T> Default for RangeSet<T> {
    fn default() -> Self {
        Self { held: Vec::new() }
    }
}

impl<T: Copy + PartialEq> RangeSet<T> {
    /// An empty set.
    pub const fn new() -> Self {
        Self { held: Vec::new() }
    }

    /// Whether nothing is held: the one check that the data path makes.
    pub const fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// Whether a held range shares a byte with `range`.
    pub fn overlaps(&self, range: ByteRange) -> bool {
        self.held.iter().any(|(held, _)| held.overlaps(range))
    }

    /// Whether a range held by anybody but `holder` shares a byte with `range`.
    pub fn overlaps_other(&self, range: ByteRange, holder: T) -> bool {
        self.held.iter().any(|(held, tag)| *tag != holder && held.overlaps(range))
    }

    /// Holds a range.
    pub fn hold(&mut self, range: ByteRange, holder: T) {
        self.held.push((range, holder));
    }

    /// Releases everything that `holder` holds; returns whether it held anything.
    pub fn release(&mut self, holder: T) -> bool {
        let before = self.held.len();
        self.held.retain(|(_, h)| *h != holder);
        self.held.len() != before
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_that_touch_do_not_overlap() {
        let mut set = RangeSet::new();
        set.hold(ByteRange { offset: 4096, len: 4096 }, 1);
        assert!(!set.overlaps(ByteRange { offset: 0, len: 4096 }));
        assert!(!set.overlaps(ByteRange { offset: 8192, len: 4096 }));
        assert!(set.overlaps(ByteRange { offset: 8191, len: 1 }));
        assert!(!set.overlaps_other(ByteRange { offset: 8191, len: 1 }, 1));
        assert!(set.overlaps_other(ByteRange { offset: 8191, len: 1 }, 2));
        assert!(set.release(1));
        assert!(!set.release(1));
        assert!(set.is_empty());
    }
}
