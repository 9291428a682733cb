//! The sockets of one driver: each is a fixed file of the ring, with the operations it has in
//! flight.
//!
//! ```text
//!   add ──> open ──close──> closing ──last completion──> closed
//!             └──release, only with nothing in flight──> gone to the caller
//! ```

use std::os::fd::{AsRawFd, OwnedFd};

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use units::Key;

use crate::completion::Completion;
use crate::driver::{Driver, Handle};
use crate::errors::{Errno, Refusal, Refused};
use crate::table::user_data;

/// Names one socket of a driver. A name of a closed socket is recognised and refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SocketId(pub(crate) Key);

/// One socket and the operations that it has in flight: at most one of each kind, so that bytes
/// keep their order.
#[derive(Debug)]
pub(crate) struct Socket {
    pub(crate) fd: OwnedFd,
    pub(crate) accept: Option<Key>,
    pub(crate) receive: Option<Key>,
    pub(crate) send: Option<Key>,
    pub(crate) closing: bool,
}

impl Socket {
    fn in_flight(&self) -> impl Iterator<Item = Key> + use<> {
        [self.accept, self.receive, self.send].into_iter().flatten()
    }
}

impl Driver {
    /// Takes a listening socket in.
    pub fn add_listener(&mut self, fd: OwnedFd) -> Result<SocketId, Refused<OwnedFd>> {
        self.add_socket(fd)
    }

    /// Takes a connected socket in. From now on the driver owns it.
    pub fn add_socket(&mut self, fd: OwnedFd) -> Result<SocketId, Refused<OwnedFd>> {
        if let Err(errno) = make_blocking(&fd) {
            return Err(Refused { reason: Refusal::Kernel(errno), given: fd });
        }
        let raw = fd.as_raw_fd();
        let socket = Socket { fd, accept: None, receive: None, send: None, closing: false };
        let key = self
            .sockets
            .insert(socket)
            .map_err(|s| Refused { reason: Refusal::Full, given: s.fd })?;
        if let Err(errno) = self.register_file(key.index, raw) {
            // The entry was inserted three lines above.
            let Some(socket) = self.sockets.remove(key) else { unreachable!("just inserted") };
            return Err(Refused { reason: Refusal::Kernel(errno), given: socket.fd });
        }
        Ok(SocketId(key))
    }

    /// Ends both directions of the connection (shutdown(2)), so that operations in flight end
    /// and the peer learns of it. The socket stays until it is closed.
    pub fn shutdown(&mut self, socket: SocketId) {
        if let Some(socket) = self.sockets.get(socket.0) {
            // The only other outcome is that the connection has ended already.
            let _ended = rustix::net::shutdown(&socket.fd, rustix::net::Shutdown::Both);
        }
    }

    /// Closes a socket: cancels what is in flight and closes the descriptor when the last of it
    /// has ended. The completions still come with their tokens and what they held; the last one
    /// is [`Completion::Closed`].
    ///
    /// What was sent before still reaches the peer. To be sure that a last response leaves, wait
    /// for its [`Completion::Sent`] first.
    pub fn close(&mut self, id: SocketId) {
        let Some(socket) = self.sockets.get_mut(id.0) else { return };
        if socket.closing {
            return;
        }
        socket.closing = true;
        self.cancels.extend(socket.in_flight().map(user_data));
        self.finish_close(id.0);
    }

    /// Cancels the receive that is in flight, if one is; it ends with [`Errno::CANCELED`] or, if
    /// it was faster, with its bytes.
    pub fn cancel_recv(&mut self, socket: SocketId) {
        if let Some(receive) = self.sockets.get(socket.0).and_then(|s| s.receive) {
            self.cancels.push(user_data(receive));
        }
    }

    /// Gives a socket up to the caller, who may add it to another driver. Refused while an
    /// operation is in flight: cancel the receive and wait for its completion first.
    pub fn release(&mut self, id: SocketId) -> Result<OwnedFd, Refusal> {
        let socket = self.socket(id)?;
        if socket.in_flight().next().is_some() {
            return Err(Refusal::Busy);
        }
        self.unregister_file(id.0.index);
        self.sockets.remove(id.0).map(|s| s.fd).ok_or(Refusal::Closed)
    }

    /// Bytes that the peer of a connection has acknowledged and bytes that have come from it, in
    /// all. `None` where it has ended.
    pub fn bytes_moved(&self, id: SocketId) -> Option<u64> {
        crate::socket::bytes_moved(&self.socket(id).ok()?.fd)
    }

    /// Sockets that are open or being closed.
    pub fn socket_count(&self) -> usize {
        self.sockets.len()
    }

    /// An open socket.
    pub(crate) fn socket(&self, id: SocketId) -> Result<&Socket, Refusal> {
        self.sockets.get(id.0).filter(|s| !s.closing).ok_or(Refusal::Closed)
    }

    /// The socket argument of an operation.
    pub(crate) fn socket_handle(&self, id: SocketId) -> Result<Handle, Refusal> {
        let socket = self.socket(id)?;
        Ok(self.handle(id.0.index, socket.fd.as_raw_fd()))
    }

    /// Closes the descriptor if the socket is closing and nothing is in flight any more.
    pub(crate) fn finish_close(&mut self, key: Key) {
        let idle =
            self.sockets.get(key).is_some_and(|s| s.closing && s.in_flight().next().is_none());
        if idle {
            self.unregister_file(key.index);
            self.sockets.remove(key);
            self.ready.push(Completion::Closed { socket: SocketId(key) });
        }
    }
}

/// The ring waits for a socket only if the descriptor is blocking; otherwise operations would
/// end with EAGAIN.
fn make_blocking(fd: &OwnedFd) -> Result<(), Errno> {
    let flags = fcntl_getfl(fd).map_err(|e| Errno(e.raw_os_error()))?;
    if flags.contains(OFlags::NONBLOCK) {
        fcntl_setfl(fd, flags - OFlags::NONBLOCK).map_err(|e| Errno(e.raw_os_error()))?;
    }
    Ok(())
}
