//! Receiving into whichever receive buffer is free when bytes come: an idle connection holds
//! none.

use io_uring::{opcode, squeue};

use crate::completion::Completion;
use crate::driver::{Driver, RECEIVE_GROUP};
use crate::errors::Refusal;
use crate::op::{count_of, for_handle};
use crate::ring::Cqe;
use crate::sockets::SocketId;
use crate::table::{Op, OpKind};
use units::Key;

impl Driver {
    /// Receives once, into a receive buffer. Ends with [`Completion::Received`].
    pub fn recv(&mut self, socket: SocketId, token: u64) -> Result<(), Refusal> {
        self.start_recv(socket, token, false)
    }

    /// Receives again and again: one [`Completion::Received`] each time bytes come. It goes on
    /// until [`Driver::is_receiving`] is false: after an error, the end of the stream, or now
    /// and then because the kernel says so.
    pub fn recv_multishot(&mut self, socket: SocketId, token: u64) -> Result<(), Refusal> {
        self.start_recv(socket, token, true)
    }

    /// Receives up to `bytes` bytes and drops them: the kernel copies nothing. Ends with
    /// [`Completion::Received`] without data. For an initiator that only counts what comes, and
    /// for payload that has no place.
    pub fn recv_dropped(&mut self, id: SocketId, token: u64, bytes: u32) -> Result<(), Refusal> {
        let handle = self.socket_handle(id)?;
        if self.socket(id)?.receive.is_some() {
            return Err(Refusal::Busy);
        }
        let op = Op { token, object: id.0, kind: OpKind::Receive };
        let entry = for_handle!(handle, |fd| {
            opcode::Recv::new(fd, std::ptr::null_mut(), bytes).flags(libc::MSG_TRUNC).build()
        });
        // SAFETY: a TCP socket writes nothing to the buffer under MSG_TRUNC (tcp(7)); for any
        // other socket the kernel refuses the null address with EFAULT.
        let key = unsafe { self.start(op, entry) }.map_err(|(reason, _)| reason)?;
        if let Some(socket) = self.sockets.get_mut(id.0) {
            socket.receive = Some(key);
        }
        Ok(())
    }

    /// Whether a receive of the socket is in flight.
    pub fn is_receiving(&self, socket: SocketId) -> bool {
        self.socket(socket).is_ok_and(|s| s.receive.is_some())
    }

    fn start_recv(&mut self, id: SocketId, token: u64, multi: bool) -> Result<(), Refusal> {
        let handle = self.socket_handle(id)?;
        if self.socket(id)?.receive.is_some() {
            return Err(Refusal::Busy);
        }
        let op = Op { token, object: id.0, kind: OpKind::Receive };
        let entry = if multi {
            for_handle!(handle, |fd| opcode::RecvMulti::new(fd, RECEIVE_GROUP).build())
        } else {
            for_handle!(handle, |fd| {
                opcode::Recv::new(fd, std::ptr::null_mut(), 0)
                    .buf_group(RECEIVE_GROUP)
                    .build()
                    .flags(squeue::Flags::BUFFER_SELECT)
            })
        };
        // SAFETY: the entry points at no memory; the buffers of the group are the driver's, and
        // are unmapped only after everything in flight has ended.
        let key = unsafe { self.start(op, entry) }.map_err(|(reason, _)| reason)?;
        if let Some(socket) = self.sockets.get_mut(id.0) {
            socket.receive = Some(key);
        }
        Ok(())
    }

    pub(crate) fn complete_recv(&mut self, key: Key, cqe: Cqe, out: &mut Vec<Completion>) {
        let Some((token, object)) = self.table.op(key).map(|op| (op.token, op.object)) else {
            return;
        };
        let result = count_of(cqe.result);
        // Some kernels take a buffer for an error or the end of the stream too.
        let data = cqe.buffer().and_then(|b| self.receive.take(b, result.unwrap_or(0)));
        let more_waiting = cqe.socket_has_more();
        out.push(Completion::Received { token, result, data, more_waiting });
        if cqe.more() {
            return;
        }
        self.table.remove(key);
        if let Some(socket) = self.sockets.get_mut(object) {
            socket.receive = None;
        }
        self.finish_close(object);
    }
}
