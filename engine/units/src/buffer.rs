//! Names for the buffers that payload lives in, and how a pool is cut into them.
//!
//! The engine lends buffers by name and never sees their bytes; `reactors/uring` owns the
//! memory and turns a name into an address.

/// Room in front of every buffer's payload area, so that a PDU header can be laid directly
/// before the payload. A multiple of 512, so that the payload keeps the alignment that
/// O_DIRECT asks for.
pub const HEAD_ROOM: u32 = 512;

/// The name of one buffer of a reactor's pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BufId(pub u32);

/// A run of bytes inside one buffer; `offset` counts from the start of its payload area.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BufSlice {
    /// The buffer.
    pub buf: BufId,
    /// Bytes from the start of the payload area.
    pub offset: u32,
    /// Bytes in the run.
    pub len: u32,
}

/// Buffers of one size in a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SizeClass {
    /// Payload bytes of each buffer.
    pub bytes: u32,
    /// How many there are.
    pub count: u32,
}

/// How a reactor's pool is cut: size classes in ascending order of size.
///
/// Buffer names run through the classes in order: the first `classes[0].count` names are of
/// the first class, and so on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolLayout {
    classes: Vec<SizeClass>,
}

impl PoolLayout {
    /// A layout of these classes.
    ///
    /// # Panics
    /// When there are no classes, or the sizes do not ascend: both are bugs of the caller.
    pub fn new(classes: Vec<SizeClass>) -> Self {
        assert!(!classes.is_empty(), "a pool needs at least one size class");
        assert!(classes.windows(2).all(|w| w[0].bytes < w[1].bytes), "size classes must ascend");
        Self { classes }
    }

    /// The classes, smallest first.
    pub fn classes(&self) -> &[SizeClass] {
        &self.classes
    }

    /// The class of a buffer and the buffer's rank in it.
    pub fn locate(&self, buf: BufId) -> Option<(usize, u32)> {
        let mut rank = buf.0;
        for (class, c) in self.classes.iter().enumerate() {
            if rank < c.count {
                return Some((class, rank));
            }
            rank -= c.count;
        }
        None
    }

    /// How many buffers there are in all classes.
    pub fn buffer_count(&self) -> u32 {
        self.classes.iter().map(|c| c.count).sum()
    }

    /// Bytes of memory that the pool needs, head room included.
    pub fn bytes_total(&self) -> u64 {
        self.classes
            .iter()
            .map(|c| u64::from(c.count) * (u64::from(c.bytes) + u64::from(HEAD_ROOM)))
            .sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout() -> PoolLayout {
        PoolLayout::new(vec![
            SizeClass { bytes: 4096, count: 3 },
            SizeClass { bytes: 65536, count: 2 },
        ])
    }

    #[test]
    fn names_run_through_the_classes_in_order() {
        assert_eq!(layout().locate(BufId(2)), Some((0, 2)));
        assert_eq!(layout().locate(BufId(3)), Some((1, 0)));
        assert_eq!(layout().locate(BufId(4)), Some((1, 1)));
        assert_eq!(layout().locate(BufId(5)), None);
        assert_eq!(layout().buffer_count(), 5);
        assert_eq!(layout().bytes_total(), 3 * 4608 + 2 * 66048);
    }
}
