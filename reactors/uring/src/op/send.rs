//! Sending: everything that is ready for a connection in one operation.

use io_uring::opcode;

use crate::completion::Completion;
use crate::driver::Driver;
use crate::errors::{Refusal, Refused};
use crate::gather::{Gather, Outgoing};
use crate::op::{count_of, for_handle};
use crate::ring::Cqe;
use crate::sockets::SocketId;
use crate::table::{Op, OpKind, OpName};

impl Driver {
    /// Sends what is left of a gather. Ends with [`Completion::Sent`], normally when all bytes
    /// have gone to the kernel; see [`DriverOptions::partial_sends`](crate::DriverOptions).
    pub fn send(
        &mut self,
        id: SocketId,
        token: u64,
        gather: Gather,
    ) -> Result<(), Refused<Gather>> {
        let handle = match self.socket_handle(id) {
            Ok(handle) => handle,
            Err(reason) => return Err(Refused { reason, given: gather }),
        };
        if self.socket(id).is_ok_and(|s| s.send.is_some()) {
            return Err(Refused { reason: Refusal::Busy, given: gather });
        }
        let mut gather = gather;
        let outgoing = match gather.begin_send(&mut self.pool) {
            Ok(outgoing) => outgoing,
            Err(reason) => return Err(Refused { reason, given: gather }),
        };
        let flags = self.send_flags;
        let entry = match outgoing {
            Outgoing::Bytes { address, len } => for_handle!(handle, |fd| {
                opcode::Send::new(fd, address, len).flags(flags).build()
            }),
            Outgoing::Message(header) => for_handle!(handle, |fd| {
                opcode::SendMsg::new(fd, header).flags(flags.unsigned_abs()).build()
            }),
        };
        let op = Op { token, object: id.0, kind: OpKind::Send { gather } };
        // SAFETY: everything that the entry points at is in the gather, which the operation now
        // owns, or is booked in the pool by `begin_send`, or is a memory store's, which the
        // gather keeps alive.
        match unsafe { self.start(op, entry) } {
            Ok(key) => {
                if let Some(socket) = self.sockets.get_mut(id.0) {
                    socket.send = Some(key);
                }
                Ok(())
            }
            Err((reason, op)) => {
                let OpKind::Send { gather: mut given } = op.kind else {
                    unreachable!("the operation that was passed comes back")
                };
                given.end_send(&mut self.pool);
                Err(Refused { reason, given })
            }
        }
    }

    /// Whether a send of the socket is in flight.
    pub fn is_sending(&self, socket: SocketId) -> bool {
        self.socket(socket).is_ok_and(|s| s.send.is_some())
    }

    /// An empty gather, used before where there is one.
    pub fn gather(&mut self) -> Gather {
        let gather = self.gathers.pop();
        self.gathers_unused = self.gathers_unused.min(self.gathers.len());
        gather.unwrap_or_else(|| Gather::new(self.gather_parts_max, self.gather_inline_bytes))
    }

    /// Frees half of the gathers that no send has needed since the last call, but a few: what a
    /// swarm of busy connections took is given back soon after it is gone.
    pub fn trim_gathers(&mut self) {
        let kept = self.gathers.len() - self.gathers_unused.div_ceil(2);
        self.gathers.truncate(kept.max(GATHERS_ALWAYS_KEPT));
        self.gathers_unused = self.gathers.len();
    }

    /// Gives a gather back, to be used again.
    pub fn recycle_gather(&mut self, mut gather: Gather) {
        gather.clear();
        if self.gathers.len() < GATHERS_KEPT_MAX {
            self.gathers.push(gather);
        }
    }

    pub(crate) fn complete_send(
        &mut self,
        name: OpName,
        mut gather: Gather,
        cqe: Cqe,
    ) -> Completion {
        gather.end_send(&mut self.pool);
        if let Some(socket) = self.sockets.get_mut(name.object) {
            socket.send = None;
        }
        self.finish_close(name.object);
        Completion::Sent { token: name.token, result: count_of(cqe.result), gather }
    }
}

/// Gathers that wait to be used again even where none was needed lately: some 2 MiB.
const GATHERS_ALWAYS_KEPT: usize = 32;

/// Gathers that wait to be used again: two for each connection that is busy at the same time.
pub(crate) const GATHERS_KEPT_MAX: usize = 256;
