//! The doorbell: a flag that says "asleep", and the fence that makes it safe to trust.
//!
//! The reader sets the flag, then looks at its mailboxes once more, then sleeps. The writer puts
//! mail in, then looks at the flag. Each side writes one place and reads the other (a Dekker
//! pattern), so both need a full fence between the two: with it, either the reader sees the
//! mail or the writer sees the flag. `mailbox/tests.rs` runs this under loom.

use super::Bell;
use std::sync::atomic::{AtomicBool, Ordering, fence};

/// The atomic flag of a doorbell; a trait so that a model checker can stand in for it.
pub(crate) trait Flag: Default {
    /// Stores without ordering.
    fn store(&self, value: bool);
    /// Loads without ordering.
    fn load(&self) -> bool;
    /// Clears the flag; tells whether it was set.
    fn take(&self) -> bool;
    /// A sequentially consistent fence.
    fn fence();
}

impl Flag for AtomicBool {
    fn store(&self, value: bool) {
        Self::store(self, value, Ordering::Relaxed);
    }

    fn load(&self) -> bool {
        Self::load(self, Ordering::Relaxed)
    }

    fn take(&self) -> bool {
        self.swap(false, Ordering::Relaxed)
    }

    fn fence() {
        fence(Ordering::SeqCst);
    }
}

/// One reactor's doorbell.
pub(crate) struct Doorbell<B, F = AtomicBool> {
    asleep: F,
    bell: B,
}

impl<B: Bell, F: Flag> Doorbell<B, F> {
    /// The doorbell of a reader that is awake.
    pub(crate) fn new(bell: B) -> Self {
        Self { asleep: F::default(), bell }
    }

    /// For the reader: it is about to sleep. It must look at every mailbox after this and sleep
    /// only if all are empty.
    pub(crate) fn prepare_sleep(&self) {
        self.asleep.store(true);
        F::fence();
    }

    /// For the reader: it is awake, or decided not to sleep.
    pub(crate) fn awake(&self) {
        self.asleep.store(false);
    }

    /// For a writer, after it has put mail in: wakes the reader if it sleeps or is about to.
    pub(crate) fn ring(&self) {
        F::fence();
        // The load keeps the flag's cache line shared while the reader is awake.
        if self.asleep.load() && self.asleep.take() {
            self.bell.wake();
        }
    }
}
