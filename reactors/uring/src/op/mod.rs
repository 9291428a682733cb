//! The operations, one per file: how each is started, and what its completion becomes.

mod accept;
mod cancel;
pub(crate) mod fallocate;
mod fsync;
pub(crate) mod read;
mod recv;
mod recv_into;
mod send;
mod wake;
pub(crate) mod write;

/// Builds an entry for a fixed file or a plain descriptor, whichever the handle is.
macro_rules! for_handle {
    ($handle:expr, |$fd:ident| $entry:expr) => {
        match $handle {
            $crate::driver::Handle::Fixed(index) => {
                let $fd = io_uring::types::Fixed(index);
                $entry
            }
            $crate::driver::Handle::Plain(raw) => {
                let $fd = io_uring::types::Fd(raw);
                $entry
            }
        }
    };
}
pub(crate) use for_handle;

pub(crate) use send::GATHERS_KEPT_PER_SOCKET;

use crate::errors::Errno;

/// The result of a completion: a count, or an error number.
pub(crate) fn count_of(result: i32) -> Result<u32, Errno> {
    u32::try_from(result).map_err(|_| Errno(result.wrapping_neg()))
}
