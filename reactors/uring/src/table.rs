//! The operation table: everything in flight, and everything that the kernel may touch for it.
//!
//! `user_data` of a submission is the operation's slot and generation, so a completion is never
//! taken for that of another operation. An entry leaves the table with the operation's last
//! completion.

use units::{BufSlice, Key, Slab};

use crate::gather::Gather;

/// One operation in flight.
#[derive(Debug)]
pub(crate) struct Op {
    /// The caller's name for it.
    pub(crate) token: u64,
    /// The socket or file slot that it belongs to.
    pub(crate) object: Key,
    pub(crate) kind: OpKind,
}

/// The kind of an operation, and the resources that it holds in flight.
#[derive(Debug)]
pub(crate) enum OpKind {
    Accept,
    Allocate,
    Read { slice: BufSlice },
    Receive,
    ReceiveInto { slice: BufSlice, then: Option<BufSlice> },
    Send { gather: Gather },
    Sync,
    Wake,
    Write { slice: BufSlice },
}

/// Memory of one slot that the kernel reads or writes besides payload.
#[repr(C)]
pub(crate) struct Scratch {
    msghdr: libc::msghdr,
    iovecs: [libc::iovec; 2],
}

/// All operations in flight, up to a fixed number.
pub(crate) struct OpTable {
    ops: Slab<Op>,
    /// One per slot. Only addresses of its elements are used: never a reference, because the
    /// kernel writes a `msghdr` when a receive completes.
    scratch: Vec<Scratch>,
}

impl OpTable {
    pub(crate) fn new(capacity: u32) -> Self {
        let scratch = (0..capacity)
            .map(|_| Scratch { msghdr: EMPTY_MSGHDR, iovecs: [EMPTY_IOVEC; 2] })
            .collect();
        Self { ops: Slab::new(capacity), scratch }
    }

    pub(crate) fn insert(&mut self, op: Op) -> Result<Key, Op> {
        self.ops.insert(op)
    }

    pub(crate) fn op(&self, key: Key) -> Option<&Op> {
        self.ops.get(key)
    }

    pub(crate) fn remove(&mut self, key: Key) -> Option<Op> {
        self.ops.remove(key)
    }

    pub(crate) fn len(&self) -> usize {
        self.ops.len()
    }

    /// The scratch memory of an operation that the kernel does not know of yet.
    pub(crate) fn scratch(&mut self, key: Key) -> &mut Scratch {
        let index = key.index as usize;
        assert!(index < self.scratch.len(), "a slot of the table");
        let slot = self.scratch.as_mut_ptr().wrapping_add(index);
        // SAFETY: the index was just checked. The kernel touches the scratch memory of a slot
        // only while its operation is in flight, and this one has not been submitted; the memory
        // of other slots, which it may be writing, is not borrowed.
        unsafe { &mut *slot }
    }
}

impl Scratch {
    /// Builds a message of two byte ranges and returns the address of its header.
    pub(crate) fn lay_out(&mut self, iovecs: [libc::iovec; 2]) -> *mut libc::msghdr {
        self.iovecs = iovecs;
        self.msghdr = EMPTY_MSGHDR;
        self.msghdr.msg_iov = self.iovecs.as_mut_ptr();
        self.msghdr.msg_iovlen = self.iovecs.len();
        &raw mut self.msghdr
    }
}

/// The name of an operation towards the kernel.
pub(crate) fn user_data(key: Key) -> u64 {
    u64::from(key.index) << 32 | u64::from(key.generation)
}

/// The operation of a completion; `None` if no caller waits for it.
pub(crate) fn key_of(user_data: u64) -> Option<Key> {
    if user_data == NOBODY {
        return None;
    }
    // Both halves fit: the value is split at 32 bits.
    let index = u32::try_from(user_data >> 32).ok()?;
    let generation = u32::try_from(user_data & u64::from(u32::MAX)).ok()?;
    Some(Key { index, generation })
}

/// The `user_data` of requests whose completion means nothing, like cancellations. Its slot lies
/// past every table.
pub(crate) const NOBODY: u64 = u64::MAX;

const EMPTY_IOVEC: libc::iovec = libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 };

pub(crate) const EMPTY_MSGHDR: libc::msghdr = libc::msghdr {
    msg_name: std::ptr::null_mut(),
    msg_namelen: 0,
    msg_iov: std::ptr::null_mut(),
    msg_iovlen: 0,
    msg_control: std::ptr::null_mut(),
    msg_controllen: 0,
    msg_flags: 0,
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_data_is_slot_and_generation() {
        let key = Key { index: 0x0102_0304, generation: 0xfffe_fdfc };
        assert_eq!(user_data(key), 0x0102_0304_fffe_fdfc);
        assert_eq!(key_of(0x0102_0304_fffe_fdfc), Some(key));
        assert_eq!(key_of(NOBODY), None);
    }
}
