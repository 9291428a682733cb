//! Where the data segment of the PDU goes that a connection is receiving.
//!
//! ```text
//!   begin --> run* --------------------------> end
//!         --> run, direct_begun, direct_ended --> ...
//! ```

use crate::action::Placement;
use units::{BufId, BufSlice, Mutant};

/// The data segment that a connection is receiving.
#[derive(Debug)]
pub struct Inbound {
    placement: Placement,
    /// Bytes of the segment that have been taken.
    filled: u32,
    /// A receive straight into this buffer is with the kernel.
    direct: Option<BufId>,
    /// The shard wants this buffer back when that receive has ended.
    owed: Option<BufId>,
}

/// What becomes of a run of a data segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Run {
    /// It is dropped.
    Drop,
    /// It goes to the shard (`handle_segment`).
    Engine,
    /// It is copied to the buffer now.
    Fill(BufSlice),
    /// It is the whole segment and stays in the receive buffer
    /// ([`Contents::leave_in_receive_buffer`](super::Contents::leave_in_receive_buffer)).
    Leave(BufSlice),
    /// It does not fit where the shard wants it, which is a mistake of ours. The connection ends:
    /// better that than lost data.
    Misfit,
}

impl Default for Inbound {
    fn default() -> Self {
        Self { placement: Placement::Discard, filled: 0, direct: None, owed: None }
    }
}

impl Inbound {
    /// A header has come; the shard has said where its data segment goes.
    #[inline]
    pub fn begin(&mut self, placement: Placement) {
        self.placement = placement;
        self.filled = 0;
        if Mutant::DataOutOffsetIgnored.is_active()
            && let Placement::Buffer(slice) = &mut self.placement
        {
            slice.offset = 0;
        }
    }

    /// Whether the shard does not know yet where the segment goes. Then nothing more of the
    /// connection is looked at.
    #[inline]
    pub const fn is_waiting(&self) -> bool {
        matches!(self.placement, Placement::Wait)
    }

    /// Whether a part of the segment that a buffer waits for is still to come.
    pub const fn is_filling(&self) -> bool {
        match self.placement {
            Placement::Buffer(slice) => self.filled < slice.len,
            Placement::Discard | Placement::Engine | Placement::Wait => false,
        }
    }

    /// The PDU has ended, or nothing more of it is wanted.
    #[inline]
    pub const fn end(&mut self) {
        self.placement = Placement::Discard;
    }

    /// The next `len` bytes of the segment have come. `stays` says whether they are in a receive
    /// buffer, which keeps them until the PDU has ended.
    #[inline]
    pub const fn run(&mut self, len: u32, stays: bool) -> Run {
        let slice = match self.placement {
            Placement::Discard => return Run::Drop,
            Placement::Engine => return Run::Engine,
            Placement::Wait => {
                debug_assert!(false, "nothing of a connection that waits is looked at");
                return Run::Misfit;
            }
            Placement::Buffer(slice) => slice,
        };
        if len > slice.len.saturating_sub(self.filled) {
            debug_assert!(false, "a placement is as long as its data segment");
            return Run::Misfit;
        }
        let offset = slice.offset + self.filled;
        self.filled += len;
        if len == slice.len && stays {
            // All of it is here, so what becomes of it is known in a moment.
            return Run::Leave(slice);
        }
        Run::Fill(BufSlice { offset, len, ..slice })
    }

    /// Where the rest of the segment goes, `left` bytes, if that is a buffer: it can be received
    /// straight to there.
    pub const fn rest(&self, left: u32) -> Option<BufSlice> {
        let Placement::Buffer(slice) = self.placement else { return None };
        if left == 0 || self.filled.saturating_add(left) != slice.len {
            return None;
        }
        Some(BufSlice { offset: slice.offset + self.filled, len: left, ..slice })
    }

    /// A receive straight into a buffer is with the kernel.
    pub const fn direct_begun(&mut self, buf: BufId) {
        debug_assert!(self.direct.is_none(), "one receive at a time");
        self.direct = Some(buf);
    }

    /// That receive has ended with `bytes` bytes. The buffer that is returned goes back to the
    /// shard now; then the bytes are nobody's.
    #[must_use = "the shard wants the buffer back"]
    pub fn direct_ended(&mut self, bytes: u32) -> Option<BufId> {
        self.direct = None;
        self.filled = self.filled.saturating_add(bytes);
        if Mutant::OwedBufferForgotten.is_active() {
            self.owed = None;
        }
        self.owed.take()
    }

    /// The shard wants a buffer back ([`Action::Return`](crate::Action::Return)). Returns whether
    /// it goes now; otherwise [`Self::direct_ended`] tells when.
    #[must_use = "the shard wants the buffer back"]
    pub fn give_back(&mut self, buf: BufId) -> bool {
        if self.direct != Some(buf) {
            return true;
        }
        self.owed = Some(buf);
        false
    }

    /// The socket is gone, and nothing of it is with the kernel: what was still owed.
    #[must_use = "the shard wants the buffer back"]
    pub const fn take_owed(&mut self) -> Option<BufId> {
        self.owed.take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn slice(offset: u32, len: u32) -> BufSlice {
        BufSlice { buf: BufId(7), offset, len }
    }

    fn filling(at: BufSlice) -> Inbound {
        let mut inbound = Inbound::default();
        inbound.begin(Placement::Buffer(at));
        inbound
    }

    #[test]
    fn runs_of_a_segment_lie_one_behind_the_other() {
        let mut inbound = filling(slice(8192, 4096));
        assert_eq!(inbound.run(100, true), Run::Fill(slice(8192, 100)));
        assert_eq!(inbound.rest(3996), Some(slice(8292, 3996)));
        assert_eq!(inbound.run(3996, true), Run::Fill(slice(8292, 3996)));
        inbound.end();
        assert_eq!(inbound.run(1, true), Run::Drop);
    }

    #[test]
    fn a_whole_segment_stays_only_where_a_receive_buffer_keeps_it() {
        assert_eq!(filling(slice(512, 4096)).run(4096, true), Run::Leave(slice(512, 4096)));
        assert_eq!(filling(slice(512, 4096)).run(4096, false), Run::Fill(slice(512, 4096)));
    }

    #[test]
    fn a_rest_of_another_length_than_the_placement_has_is_not_received_straight() {
        let inbound = filling(slice(0, 4096));
        assert_eq!(inbound.rest(4095), None);
        assert_eq!(inbound.rest(0), None);
        assert_eq!(Inbound::default().rest(4096), None);
    }

    #[test]
    fn a_buffer_goes_back_when_the_kernel_no_longer_writes_it() {
        let mut inbound = filling(slice(0, 4096));
        inbound.direct_begun(BufId(7));
        assert!(inbound.give_back(BufId(8)));
        assert!(!inbound.give_back(BufId(7)));
        assert_eq!(inbound.direct_ended(10), Some(BufId(7)));
        assert_eq!(inbound.take_owed(), None);
        assert!(inbound.give_back(BufId(7)));
    }

    #[test]
    fn what_is_received_straight_counts_as_taken() {
        let mut inbound = filling(slice(0, 4096));
        inbound.direct_begun(BufId(7));
        assert_eq!(inbound.direct_ended(4000), None);
        assert_eq!(inbound.run(96, true), Run::Fill(slice(4000, 96)));
    }
}
