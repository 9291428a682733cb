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

/// The owner of an operation.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OpName {
    /// The caller's name for it.
    pub(crate) token: u64,
    /// The socket or file slot that it belongs to.
    pub(crate) object: Key,
}

/// The kind of an operation, and the resources that it holds in flight.
#[derive(Debug)]
pub(crate) enum OpKind {
    Accept,
    Allocate,
    Read { slice: BufSlice },
    Receive,
    ReceiveInto { slice: BufSlice },
    Send { gather: Gather },
    Sync,
    Wake,
    Write { slice: BufSlice },
}

/// All operations in flight, up to a fixed number.
pub(crate) struct OpTable {
    ops: Slab<Op>,
}

impl OpTable {
    pub(crate) fn new(capacity: u32) -> Self {
        Self { ops: Slab::new(capacity) }
    }

    pub(crate) fn insert(&mut self, op: Op) -> Result<Key, Op> {
        self.ops.insert(op)
    }

    pub(crate) fn op(&self, key: Key) -> Option<&Op> {
        self.ops.get(key)
    }

    pub(crate) fn op_mut(&mut self, key: Key) -> Option<&mut Op> {
        self.ops.get_mut(key)
    }

    pub(crate) fn remove(&mut self, key: Key) -> Option<Op> {
        self.ops.remove(key)
    }

    pub(crate) fn len(&self) -> usize {
        self.ops.len()
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
