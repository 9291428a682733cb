//! What has happened: one value per completion, with what the operation held given back.

use std::os::fd::OwnedFd;

use units::BufSlice;

use crate::errors::Errno;
use crate::gather::Gather;
use crate::receive::RecvBuffer;
use crate::sockets::SocketId;

/// The end of an operation (or one step of an accept). `token` is what the caller passed.
#[derive(Debug)]
pub enum Completion {
    /// Accepting has ended and must be started again; [`Errno::CANCELED`] if the listener is
    /// being closed.
    AcceptFailed {
        /// The caller's name for the operation.
        token: u64,
        /// Why.
        errno: Errno,
    },
    /// A connection has come in. Accepting goes on.
    Accepted {
        /// The caller's name for the operation.
        token: u64,
        /// The connection.
        socket: OwnedFd,
    },
    /// A `fallocate` has ended.
    Allocated {
        /// The caller's name for the operation.
        token: u64,
        /// Whether it worked.
        result: Result<(), Errno>,
    },
    /// The last operation of a closing socket has ended, and its descriptor is closed. Nothing
    /// more comes for it.
    Closed {
        /// The socket; the name is not valid any more.
        socket: SocketId,
    },
    /// A read of a file has ended.
    Read {
        /// The caller's name for the operation.
        token: u64,
        /// Where the bytes are.
        slice: BufSlice,
        /// How many were read: fewer than requested at the end of the file.
        result: Result<u32, Errno>,
    },
    /// A receive has ended.
    Received {
        /// The caller's name for the operation.
        token: u64,
        /// How many bytes came: 0 when the peer has finished sending. [`Errno::NO_BUFFERS`] when
        /// all receive buffers are filled.
        result: Result<u32, Errno>,
        /// The bytes, where there are some.
        data: Option<RecvBuffer>,
        /// Whether the kernel has more bytes for this socket already.
        more_waiting: bool,
    },
    /// A receive to a given place has ended.
    ReceivedInto {
        /// The caller's name for the operation.
        token: u64,
        /// The place.
        slice: BufSlice,
        /// How many bytes came: 0 when the peer has finished sending.
        result: Result<u32, Errno>,
        /// Whether the kernel has more bytes for this socket already.
        more_waiting: bool,
    },
    /// A send has ended.
    Sent {
        /// The caller's name for the operation.
        token: u64,
        /// How many bytes the kernel took. If they are not all, advance the gather and send the
        /// rest.
        result: Result<u32, Errno>,
        /// What was to be sent.
        gather: Gather,
    },
    /// A flush of a file has ended.
    Synced {
        /// The caller's name for the operation.
        token: u64,
        /// Whether it worked.
        result: Result<(), Errno>,
    },
    /// Another thread has rung a [`Waker`](crate::Waker). Several rings may be one completion.
    Woken,
    /// A write to a file has ended.
    Written {
        /// The caller's name for the operation.
        token: u64,
        /// Where the bytes came from.
        slice: BufSlice,
        /// How many were written.
        result: Result<u32, Errno>,
    },
}
