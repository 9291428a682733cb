//! Waking a reactor that sleeps in its ring.

use std::os::fd::OwnedFd;
use std::sync::Arc;

/// Wakes the reactor of one driver, from any thread.
///
/// Each ring of it is one system call here and one completion there, so ring it only when the
/// other side sleeps: the protocol for that belongs to the mailbox, not to the waker.
#[derive(Clone, Debug)]
pub struct Waker {
    event: Arc<OwnedFd>,
}

impl Waker {
    pub(crate) const fn new(event: Arc<OwnedFd>) -> Self {
        Self { event }
    }

    /// Makes the reactor's next or present wait end, with a
    /// [`Completion::Woken`](crate::Completion::Woken).
    pub fn wake(&self) {
        // The counter would have to reach 2^64 for this to fail, or the driver be gone: nobody
        // is left to be woken then.
        let written = rustix::io::write(&*self.event, &1_u64.to_ne_bytes());
        debug_assert!(written.is_ok(), "an eventfd takes 8 bytes");
    }
}
