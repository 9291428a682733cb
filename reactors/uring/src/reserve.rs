//! A descriptor kept back for the moment in which the process has no other left.

use std::fs::File;
use std::io;

/// A descriptor that is of no use but to be given up: then the kernel has one to give, with which a
/// connection can be accepted and closed. Otherwise its peer would wait without an answer.
#[derive(Debug)]
pub struct ReserveDescriptor(Option<File>);

impl Default for ReserveDescriptor {
    fn default() -> Self {
        let mut reserve = Self(None);
        reserve.restore();
        reserve
    }
}

impl ReserveDescriptor {
    /// Gives it up; returns whether there was one.
    pub fn give_up(&mut self) -> bool {
        self.0.take().is_some()
    }

    /// Takes one again, if there is none; returns whether there is one now.
    pub fn restore(&mut self) -> bool {
        if self.0.is_none() {
            self.0 = File::open("/dev/null").ok();
        }
        self.0.is_some()
    }

    /// Whether this error says that descriptors are used up.
    pub fn is_needed_after(error: &io::Error) -> bool {
        matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE))
    }
}
