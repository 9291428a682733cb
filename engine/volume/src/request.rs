//! What may be asked of a volume's medium: the one vocabulary of engine, mirror and reactor.

use crate::ByteRange;
use units::BufSlice;

/// One request to the medium of a volume. Ranges are in bytes from the start of the volume, and
/// lie inside it; whole blocks, but for [`Self::MapQuery`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlockRequest {
    /// Make every completed write durable (SYNCHRONIZE CACHE).
    Flush,
    /// Report whether the start of a range has blocks behind it (GET LBA STATUS).
    MapQuery(ByteRange),
    /// Read into a buffer.
    Read {
        /// Bytes from the start of the volume.
        offset: u64,
        /// The buffer; its length is that of the range.
        into: BufSlice,
        /// The bytes are only sent to the initiator afterwards: a memory volume may leave them in
        /// place and send them from there.
        only_to_send: bool,
    },
    /// Change the allocation of a range (UNMAP, WRITE SAME of zeros).
    Space {
        /// The new state of the blocks.
        change: SpaceChange,
        /// The range.
        range: ByteRange,
    },
    /// Write a buffer.
    Write {
        /// Bytes from the start of the volume.
        offset: u64,
        /// The buffer; its length is that of the range. Its bytes do not change until the
        /// request has completed.
        from: BufSlice,
        /// Complete only when the bytes are durable (FUA).
        durable: bool,
        /// Nothing reads the buffer afterwards: a memory volume may store the bytes from the
        /// receive buffer instead.
        last_use: bool,
    },
}

/// A change to the allocation of a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpaceChange {
    /// Deallocate the blocks; they read as zeros if the backing store guarantees it.
    Unmap,
    /// The blocks read as zeros from now on.
    Zero,
}

impl BlockRequest {
    /// The range of the medium that the request accesses; `None` for a flush, which has none.
    pub const fn range(&self) -> Option<ByteRange> {
        match *self {
            Self::Flush => None,
            Self::MapQuery(range) | Self::Space { range, .. } => Some(range),
            Self::Read { offset, into: slice, .. } | Self::Write { offset, from: slice, .. } => {
                Some(ByteRange { offset, len: slice.len as u64 })
            }
        }
    }

    /// Whether the request changes blocks.
    pub const fn modifies(&self) -> bool {
        match self {
            Self::Space { .. } | Self::Write { .. } => true,
            Self::Flush | Self::MapQuery(_) | Self::Read { .. } => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use units::BufId;

    #[test]
    fn a_transfer_accesses_as_many_bytes_as_its_buffer_has() {
        let slice = BufSlice { buf: BufId(7), offset: 512, len: 4096 };
        let read = BlockRequest::Read { offset: 8192, into: slice, only_to_send: false };
        assert_eq!(read.range(), Some(ByteRange { offset: 8192, len: 4096 }));
        assert!(!read.modifies());
        let write =
            BlockRequest::Write { offset: 8192, from: slice, durable: false, last_use: true };
        assert_eq!(write.range(), Some(ByteRange { offset: 8192, len: 4096 }));
        assert!(write.modifies());
        assert_eq!(BlockRequest::Flush.range(), None);
    }
}
