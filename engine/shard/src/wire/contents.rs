//! Where the bytes of each lent buffer are.
//!
//! Two shortcuts spare copies on memory volumes. A data segment that is whole in a receive buffer
//! stays there until its buffer is used: a last write to a memory volume takes it from where it is.
//! And a read whose bytes are only sent leaves them in the volume. In both cases the lent buffer
//! does not hold its bytes, so every use of a buffer goes through [`Contents`] first.

use units::{BufId, BufSlice, Mutant, VolumeId};

/// Where the bytes of a reactor's lent buffers are. `S` names bytes in a receive buffer.
#[derive(Debug)]
pub struct Contents<S> {
    /// At most one data segment waits in a receive buffer: what becomes of it is known when its
    /// PDU ends.
    unplaced: Option<Unplaced<S>>,
    /// By buffer.
    buffers: Vec<Whereabouts>,
}

/// A data segment that has not been copied to its buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unplaced<S> {
    /// Where the bytes belong.
    pub slice: BufSlice,
    /// Where they are.
    pub source: S,
}

/// Where bytes of a buffer are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whereabouts {
    /// In the buffer.
    Buffer,
    /// Nowhere: they could not be made as the shard wanted. What uses them fails.
    Spoiled,
    /// In a memory volume, and only there.
    Volume {
        /// The volume.
        volume: VolumeId,
        /// Bytes from the start of the volume.
        offset: u64,
    },
}

/// The answer to a use of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a data segment that waits has to be copied first"]
pub struct Located<S> {
    /// To be copied to its buffer before anything else.
    pub first: Option<Unplaced<S>>,
    /// Where the bytes are then.
    pub bytes: Whereabouts,
}

impl<S> Default for Contents<S> {
    fn default() -> Self {
        Self { unplaced: None, buffers: Vec::new() }
    }
}

impl<S> Contents<S> {
    /// The bytes of a slice are to be read: where they are.
    #[inline]
    pub fn locate(&mut self, slice: BufSlice) -> Located<S> {
        let first = self.take_before_use();
        let bytes = match self.buffers.get_mut(slice.buf.0 as usize) {
            None | Some(Whereabouts::Buffer) => Whereabouts::Buffer,
            Some(spoiled @ Whereabouts::Spoiled) => {
                // One failure is enough: the next use of the buffer is another command's.
                std::mem::replace(spoiled, Whereabouts::Buffer)
            }
            Some(Whereabouts::Volume { volume, offset }) => {
                Whereabouts::Volume { volume: *volume, offset: *offset + u64::from(slice.offset) }
            }
        };
        Located { first, bytes }
    }

    /// Bytes of a buffer are about to be written in the buffer. What is returned is to be copied
    /// to its own buffer first.
    #[inline]
    #[must_use = "a data segment that waits has to be copied first"]
    pub fn overwrite(&mut self, buf: BufId) -> Option<Unplaced<S>> {
        if !Mutant::InPlaceNotForgotten.is_active()
            && let Some(at) = self.buffers.get_mut(buf.0 as usize)
            && matches!(at, Whereabouts::Volume { .. })
        {
            *at = Whereabouts::Buffer;
        }
        self.take_before_use()
    }

    /// A whole data segment stays in its receive buffer for now. What is returned is another one,
    /// to be copied at once.
    #[inline]
    #[must_use = "a data segment that waits has to be copied first"]
    pub fn leave_in_receive_buffer(&mut self, slice: BufSlice, source: S) -> Option<Unplaced<S>> {
        let first = self.overwrite(slice.buf);
        self.unplaced = Some(Unplaced { slice, source });
        first
    }

    /// The bytes of a slice, which starts its buffer, stay where they are in a memory volume.
    /// What is returned is to be copied to its own buffer.
    ///
    /// # Panics
    /// When the slice does not start its buffer.
    #[inline]
    #[must_use = "a data segment that waits has to be copied first"]
    pub fn leave_in_volume(
        &mut self,
        slice: BufSlice,
        volume: VolumeId,
        offset: u64,
    ) -> Option<Unplaced<S>> {
        assert_eq!(slice.offset, 0, "what is left in a volume starts its buffer");
        self.set(slice.buf, Whereabouts::Volume { volume, offset });
        self.take_before_use()
    }

    /// The bytes of a slice are used for the last time, and by a memory volume: where they are if
    /// they are still in a receive buffer, from which the volume can take them.
    #[inline]
    pub fn use_up(&mut self, slice: BufSlice) -> Option<S> {
        if self.unplaced.as_ref().is_none_or(|unplaced| unplaced.slice != slice) {
            return None;
        }
        self.unplaced.take().map(|unplaced| unplaced.source)
    }

    /// The receive buffer of a data segment is about to go, or its PDU has ended: what is to be
    /// copied before.
    #[inline]
    #[must_use = "a data segment that waits has to be copied first"]
    pub const fn take_unplaced(&mut self) -> Option<Unplaced<S>> {
        self.unplaced.take()
    }

    /// The bytes of a buffer could not be made as the shard wanted. It is not told, so whatever
    /// uses them next fails: better an error than wrong data.
    pub fn spoil(&mut self, buf: BufId) {
        self.set(buf, Whereabouts::Spoiled);
    }

    #[inline]
    fn take_before_use(&mut self) -> Option<Unplaced<S>> {
        if Mutant::PlacementForgotten.is_active() {
            return None;
        }
        self.unplaced.take()
    }

    fn set(&mut self, buf: BufId, to: Whereabouts) {
        let index = buf.0 as usize;
        if self.buffers.len() <= index {
            self.buffers.resize(index + 1, Whereabouts::Buffer);
        }
        self.buffers[index] = to;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn slice(buf: u32, offset: u32, len: u32) -> BufSlice {
        BufSlice { buf: BufId(buf), offset, len }
    }

    const VOLUME: VolumeId = VolumeId(3);

    #[test]
    fn a_segment_that_waits_is_placed_before_any_buffer_is_used() {
        let waiting = Unplaced { slice: slice(1, 0, 512), source: 'a' };
        type Use = fn(&mut Contents<char>) -> Option<Unplaced<char>>;
        let uses: [Use; 5] = [
            |c| c.locate(slice(2, 0, 8)).first,
            |c| c.overwrite(BufId(2)),
            |c| c.leave_in_receive_buffer(slice(2, 0, 8), 'b'),
            |c| c.leave_in_volume(slice(2, 0, 8), VOLUME, 0),
            Contents::take_unplaced,
        ];
        for used in uses {
            let mut contents = Contents::default();
            assert_eq!(contents.leave_in_receive_buffer(waiting.slice, 'a'), None);
            assert_eq!(used(&mut contents), Some(waiting));
        }
    }

    #[test]
    fn only_the_segment_that_waits_is_used_up() {
        let mut contents = Contents::default();
        assert_eq!(contents.leave_in_receive_buffer(slice(1, 0, 512), 'a'), None);
        assert_eq!(contents.use_up(slice(1, 0, 256)), None);
        assert_eq!(contents.use_up(slice(2, 0, 512)), None);
        assert_eq!(contents.use_up(slice(1, 0, 512)), Some('a'));
        assert_eq!(contents.use_up(slice(1, 0, 512)), None);
        assert_eq!(contents.take_unplaced(), None);
    }

    #[test]
    fn bytes_left_in_a_volume_are_found_there_until_the_buffer_is_written() {
        let mut contents = Contents::<char>::default();
        assert_eq!(contents.leave_in_volume(slice(1, 0, 8192), VOLUME, 65_536), None);
        let there = |offset| Whereabouts::Volume { volume: VOLUME, offset };
        assert_eq!(contents.locate(slice(1, 0, 4096)).bytes, there(65_536));
        assert_eq!(contents.locate(slice(1, 4096, 4096)).bytes, there(69_632));
        assert_eq!(contents.locate(slice(0, 0, 4096)).bytes, Whereabouts::Buffer);
        assert_eq!(contents.overwrite(BufId(1)), None);
        assert_eq!(contents.locate(slice(1, 0, 4096)).bytes, Whereabouts::Buffer);
    }

    #[test]
    fn a_segment_in_a_receive_buffer_replaces_bytes_left_in_a_volume() {
        let mut contents = Contents::default();
        assert_eq!(contents.leave_in_volume(slice(1, 0, 512), VOLUME, 0), None);
        assert_eq!(contents.leave_in_receive_buffer(slice(1, 0, 512), 'a'), None);
        let first = Some(Unplaced { slice: slice(1, 0, 512), source: 'a' });
        let expected = Located { first, bytes: Whereabouts::Buffer };
        assert_eq!(contents.locate(slice(1, 0, 512)), expected);
    }

    /// A later segment of the same burst must not hide that an earlier one is missing.
    #[test]
    fn a_spoiled_buffer_fails_one_use_whatever_is_written_to_it_before() {
        let mut contents = Contents::<char>::default();
        contents.spoil(BufId(1));
        assert_eq!(contents.overwrite(BufId(1)), None);
        assert_eq!(contents.locate(slice(1, 0, 8)).bytes, Whereabouts::Spoiled);
        assert_eq!(contents.locate(slice(1, 0, 8)).bytes, Whereabouts::Buffer);
    }
}
