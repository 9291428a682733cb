//! Cancelling operations. A cancelled operation still ends with its own completion.

use io_uring::{opcode, squeue, types};

use crate::driver::Driver;
use crate::table::NOBODY;

impl Driver {
    /// Hands the kernel the cancellations that wait; what finds no room waits on.
    pub(crate) fn flush_cancels(&mut self) {
        while let Some(&target) = self.cancels.last() {
            let entry = opcode::AsyncCancel::new(target)
                .build()
                .user_data(NOBODY)
                .flags(squeue::Flags::SKIP_SUCCESS);
            // SAFETY: a cancellation names its target by number and points at no memory.
            if !unsafe { self.ring.push(&entry) } {
                return;
            }
            self.cancels.pop();
        }
    }

    /// Cancels everything that is in flight.
    pub(crate) fn cancel_all(&mut self) -> bool {
        let entry =
            opcode::AsyncCancel2::new(types::CancelBuilder::any()).build().user_data(NOBODY);
        // SAFETY: a cancellation points at no memory.
        unsafe { self.ring.push(&entry) }
    }
}
