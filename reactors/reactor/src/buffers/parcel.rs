//! What one send puts on the wire.

use uring::Gather;

/// Bytes that leave together. Those of lent buffers and memory volumes get in through
/// [`Buffers::push`](super::Buffers::push) only.
#[derive(Debug)]
pub(crate) struct Parcel(pub(super) Gather);

impl Parcel {
    pub(crate) const fn of(gather: Gather) -> Self {
        Self(gather)
    }

    /// Adds a copy of `bytes`. False where there was no room.
    #[inline]
    pub(crate) fn push_inline(&mut self, bytes: &[u8]) -> bool {
        self.0.push_inline(bytes)
    }

    /// Whether there is no room for `inline_bytes` of copied bytes and a buffer.
    #[inline]
    pub(crate) fn is_full_for(&self, inline_bytes: usize) -> bool {
        self.0.is_full_for(inline_bytes)
    }

    /// Copied bytes.
    pub(crate) fn inline_bytes(&self) -> usize {
        self.0.inline_bytes()
    }

    /// Bytes that have not been sent yet.
    pub(crate) fn len_bytes(&self) -> u32 {
        self.0.len_bytes()
    }
}
