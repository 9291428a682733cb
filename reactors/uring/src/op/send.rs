//! Sending: everything that is ready for a connection in one operation.

use io_uring::{opcode, squeue};
use units::Key;

use crate::completion::Completion;
use crate::driver::{Driver, Handle};
use crate::errors::{Errno, Refusal, Refused};
use crate::gather::{Gather, Outgoing};
use crate::op::{count_of, for_handle};
use crate::ring::Cqe;
use crate::sockets::SocketId;
use crate::table::{Op, OpKind, OpName, user_data};

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
        let is_in_place = self.goes_on_copied(&gather);
        let flags = if is_in_place { libc::MSG_NOSIGNAL } else { self.send_flags };
        let entry = entry(handle, outgoing, flags);
        let op = Op { token, object: id.0, kind: OpKind::Send { gather } };
        // SAFETY: everything that the entry points at is in the gather, which the operation now
        // owns, or is booked in the pool by `begin_send`, or is a memory store's, which the
        // gather keeps alive.
        match unsafe { self.start(op, entry) } {
            Ok(key) => {
                if let Some(socket) = self.sockets.get_mut(id.0) {
                    socket.send = Some(key);
                }
                self.sends_in_place += u32::from(is_in_place);
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

    /// Whether the rest of a send is copied where the kernel could not take all at once: a memory
    /// volume may change before it takes the rest, in the middle of a block.
    #[inline]
    fn goes_on_copied(&self, gather: &Gather) -> bool {
        gather.has_homes() && self.send_flags & libc::MSG_WAITALL != 0
    }

    /// The kernel has ended a send. Where bytes of a memory volume are left of it, they are copied
    /// now, and it goes on with the copy; returns whether it does.
    pub(crate) fn send_rest(&mut self, key: Key, result: i32) -> bool {
        let Some(Op { object, kind: OpKind::Send { gather }, .. }) = self.table.op(key) else {
            return false;
        };
        let (object, left) = (*object, gather.len_bytes());
        let sent = count_of(result).unwrap_or(0);
        if !self.goes_on_copied(gather) || sent == 0 || sent >= left {
            return false;
        }
        let Ok(handle) = self.socket_handle(SocketId(object)) else { return false };
        let Some(Op { kind: OpKind::Send { gather }, .. }) = self.table.op_mut(key) else {
            unreachable!("it was there a moment ago")
        };
        gather.end_send(&mut self.pool);
        gather.bring_home(sent, &mut self.pool.as_mut());
        self.sends_in_place -= 1;
        if let Ok(outgoing) = gather.begin_send(&mut self.pool) {
            let entry = entry(handle, outgoing, self.send_flags).user_data(user_data(key));
            // SAFETY: as in `send`; the operation is still in the table, under the same key.
            if unsafe { self.ring.push(&entry) } {
                return true;
            }
            gather.end_send(&mut self.pool);
        }
        self.fail_send(key);
        true
    }

    /// A send could not go on: it ends.
    #[cold]
    fn fail_send(&mut self, key: Key) {
        let Some(Op { token, object, kind: OpKind::Send { gather } }) = self.table.remove(key)
        else {
            unreachable!("its caller has looked")
        };
        if let Some(socket) = self.sockets.get_mut(object) {
            socket.send = None;
        }
        self.ready.push(Completion::Sent { token, result: Err(Errno::CANCELED), gather });
        self.finish_close(object);
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

    /// Has half of the gathers freed that no send has needed since the last call, but a few: what a
    /// swarm of busy connections took is given back soon after it is gone.
    pub fn trim_gathers(&mut self) {
        let most = self.gathers.len().saturating_sub(GATHERS_ALWAYS_KEPT);
        self.gathers_to_free = self.gathers_unused.div_ceil(2).min(most);
        self.gathers_unused = self.gathers.len();
    }

    /// Frees some of those gathers; returns whether there were any.
    #[inline]
    pub fn free_gathers(&mut self) -> bool {
        self.gathers_to_free > 0 && self.free_some_gathers()
    }

    #[cold]
    fn free_some_gathers(&mut self) -> bool {
        let count = self.gathers_to_free.min(GATHERS_FREED_AT_ONCE);
        self.gathers_to_free -= count;
        // Sends may have taken some of them since.
        let kept = self.gathers.len().saturating_sub(count).max(GATHERS_ALWAYS_KEPT);
        self.gathers.truncate(kept);
        self.gathers_unused = self.gathers_unused.min(self.gathers.len());
        true
    }

    /// Gathers that wait to be used again.
    pub const fn gathers_kept(&self) -> usize {
        self.gathers.len()
    }

    /// Gives a gather back, to be used again.
    pub fn recycle_gather(&mut self, mut gather: Gather) {
        gather.clear();
        if self.gathers.len() < self.gathers.capacity() {
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
        if self.goes_on_copied(&gather) {
            self.sends_in_place -= 1;
        }
        let before = gather.take_sent_in_place();
        if let Some(socket) = self.sockets.get_mut(name.object) {
            socket.send = None;
        }
        self.finish_close(name.object);
        let result = count_of(cqe.result).map(|sent| sent + before);
        Completion::Sent { token: name.token, result, gather }
    }
}

/// The submission of a send.
#[inline]
fn entry(handle: Handle, outgoing: Outgoing, flags: i32) -> squeue::Entry {
    match outgoing {
        Outgoing::Bytes { address, len } => {
            for_handle!(handle, |fd| opcode::Send::new(fd, address, len).flags(flags).build())
        }
        Outgoing::Message(header) => for_handle!(handle, |fd| {
            opcode::SendMsg::new(fd, header).flags(flags.unsigned_abs()).build()
        }),
    }
}

/// Gathers that wait to be used again even where none was needed lately: some 2 MiB.
const GATHERS_ALWAYS_KEPT: usize = 32;

/// Gathers whose pages go back to the kernel in one turn: some 100 us.
const GATHERS_FREED_AT_ONCE: usize = 8;

/// Gathers of each socket that wait to be used again: one was with the kernel and one filled. To
/// map one anew takes longer than to fill it, so a swarm of busy connections must find its own.
pub(crate) const GATHERS_KEPT_PER_SOCKET: usize = 2;
