//! Accepting connections: one multishot operation per listener, a completion per connection.

use std::os::fd::{FromRawFd, OwnedFd};

use io_uring::opcode;
use units::Key;

use crate::completion::Completion;
use crate::driver::Driver;
use crate::errors::{Errno, Refusal};
use crate::op::{count_of, for_handle};
use crate::ring::Cqe;
use crate::sockets::SocketId;
use crate::table::{Op, OpKind};

impl Driver {
    /// Accepts connections until the listener is closed or accepting fails. Each comes as
    /// [`Completion::Accepted`]; after [`Completion::AcceptFailed`] call this again.
    pub fn accept(&mut self, listener: SocketId, token: u64) -> Result<(), Refusal> {
        let handle = self.socket_handle(listener)?;
        if self.socket(listener)?.accept.is_some() {
            return Err(Refusal::Busy);
        }
        let op = Op { token, object: listener.0, kind: OpKind::Accept };
        let entry = for_handle!(handle, |fd| {
            opcode::AcceptMulti::new(fd).flags(libc::SOCK_CLOEXEC).build()
        });
        // SAFETY: a multishot accept without an address points at no memory.
        let key = unsafe { self.start(op, entry) }.map_err(|(reason, _)| reason)?;
        if let Some(socket) = self.sockets.get_mut(listener.0) {
            socket.accept = Some(key);
        }
        Ok(())
    }

    /// One connection, or the end of accepting.
    pub(crate) fn complete_accept(&mut self, key: Key, cqe: Cqe, out: &mut Vec<Completion>) {
        let Some((token, listener)) = self.table.op(key).map(|op| (op.token, op.object)) else {
            return;
        };
        let failed = match count_of(cqe.result) {
            Ok(_) => {
                // SAFETY: the kernel has just made this descriptor for us, and this completion
                // is the only place that names it.
                let socket = unsafe { OwnedFd::from_raw_fd(cqe.result) };
                out.push(Completion::Accepted { token, socket });
                None
            }
            Err(errno) => Some(errno),
        };
        if cqe.more() {
            return;
        }
        self.table.remove(key);
        if let Some(socket) = self.sockets.get_mut(listener) {
            socket.accept = None;
        }
        // The kernel ends a multishot operation now and then, for example when the completion
        // queue was full: go on where nothing was wrong.
        let failed = match failed {
            None if self.is_shutting_down() => Some(Errno::CANCELED),
            None => match self.accept(SocketId(listener), token) {
                Ok(()) => None,
                Err(Refusal::Closed) => Some(Errno::CANCELED),
                Err(Refusal::Kernel(errno)) => Some(errno),
                Err(Refusal::Busy | Refusal::Full | Refusal::InvalidBuffer) => {
                    Some(Errno(libc::EAGAIN))
                }
            },
            Some(errno) => Some(errno),
        };
        if let Some(errno) = failed {
            out.push(Completion::AcceptFailed { token, errno });
        }
        self.finish_close(listener);
    }
}
