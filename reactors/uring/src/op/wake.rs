//! Waking through an eventfd: one multishot poll, a completion per ring of the waker.
//!
//! The eventfd is never read: an edge-triggered poll reports every write, and the counter of an
//! eventfd does not fill up in the life of a machine.

use std::os::fd::AsRawFd;

use io_uring::{opcode, types};
use units::Key;

use crate::completion::Completion;
use crate::driver::Driver;
use crate::ring::Cqe;
use crate::table::{Op, OpKind};

impl Driver {
    /// Arms the poll of the waker, if it is not armed.
    pub(crate) fn arm_waker(&mut self) {
        if self.waker_armed || self.is_shutting_down() {
            return;
        }
        let op = Op { token: 0, object: Key { index: 0, generation: 0 }, kind: OpKind::Wake };
        // The poll mask is a small positive constant.
        let mask = u32::from(libc::POLLIN.unsigned_abs());
        let fd = types::Fd(self.waker_event.as_raw_fd());
        let entry = opcode::PollAdd::new(fd, mask).multi(true).build();
        // SAFETY: a poll points at no memory; the descriptor lives as long as the driver.
        self.waker_armed = unsafe { self.start(op, entry) }.is_ok();
    }

    pub(crate) fn complete_wake(&mut self, key: Key, cqe: Cqe, out: &mut Vec<Completion>) {
        if cqe.result >= 0 {
            out.push(Completion::Woken);
        }
        if !cqe.more() {
            self.table.remove(key);
            // The next `submit` arms it again, before it may sleep.
            self.waker_armed = false;
        }
    }
}
