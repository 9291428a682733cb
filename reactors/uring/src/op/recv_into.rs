//! Receiving straight to the final place: the rest of a large payload goes into its lent buffer,
//! with no copy.

use io_uring::opcode;
use units::{BufSlice, Key};

use crate::completion::Completion;
use crate::driver::Driver;
use crate::errors::Refusal;
use crate::op::{count_of, for_handle};
use crate::ring::Cqe;
use crate::sockets::SocketId;
use crate::table::{Op, OpKind, OpName};

impl Driver {
    /// Receives into a pool buffer until it is full, the peer has finished, or the receive is
    /// cancelled. Ends with [`Completion::ReceivedInto`].
    pub fn recv_into(&mut self, id: SocketId, token: u64, slice: BufSlice) -> Result<(), Refusal> {
        let handle = self.receivable(id)?;
        let address = self.pool.begin_write(slice)?;
        let op = Op { token, object: id.0, kind: OpKind::ReceiveInto { slice } };
        let entry = for_handle!(handle, |fd| {
            opcode::Recv::new(fd, address, slice.len).flags(libc::MSG_WAITALL).build()
        });
        // SAFETY: the entry points at a slice of the pool that `begin_write` has booked for the
        // kernel until this operation has ended.
        match unsafe { self.start(op, entry) } {
            Ok(key) => {
                self.receive_started(id, key);
                Ok(())
            }
            Err((reason, _)) => {
                self.pool.end_write(slice);
                Err(reason)
            }
        }
    }

    /// The handle of a socket that has no receive in flight.
    fn receivable(&self, id: SocketId) -> Result<crate::driver::Handle, Refusal> {
        if self.socket(id)?.receive.is_some() {
            return Err(Refusal::Busy);
        }
        self.socket_handle(id)
    }

    fn receive_started(&mut self, id: SocketId, key: Key) {
        if let Some(socket) = self.sockets.get_mut(id.0) {
            socket.receive = Some(key);
        }
    }

    pub(crate) fn complete_recv_into(
        &mut self,
        name: OpName,
        slice: BufSlice,
        cqe: Cqe,
    ) -> Completion {
        self.pool.end_write(slice);
        if let Some(socket) = self.sockets.get_mut(name.object) {
            socket.receive = None;
        }
        self.finish_close(name.object);
        Completion::ReceivedInto {
            token: name.token,
            slice,
            result: count_of(cqe.result),
            more_waiting: cqe.socket_has_more(),
        }
    }
}
